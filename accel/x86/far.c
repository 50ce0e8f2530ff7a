/*
 * Far transfers: JMP, CALL, RET, IRET, software interrupts, SYSCALL, SYSENTER and their returns.
 *
 * Source: the pseudocode of these instructions in SDM vol. 2; AMD APM vol. 2 for SYSCALL/SYSRET.
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"

#define FAR_DONE (X86_EXEC_JUMP | X86_EXEC_MODE | X86_EXEC_END)

/* Loads CS with a checked descriptor; cpl becomes the selector's RPL. */
static void load_cs(X86Cpu *cpu, X86Desc *d, uint16_t sel, unsigned cpl)
{
    x86_desc_accessed(cpu, d);
    cpu->st.seg[SEG_CS] = x86_desc_segment(d, (sel & ~3u) | cpl);
    x86_set_cpl(cpu, cpl);
}

static unsigned far_done(X86Cpu *cpu, uint64_t rip)
{
    cpu->st.rip = rip;
    x86_mode_changed(cpu);
    return FAR_DONE;
}

/* L and D set together is reserved in long mode. */
static bool bad_long_cs(X86Cpu *cpu, const X86Desc *d)
{
    return x86_long_mode(&cpu->st) && DESC_L(d) && DESC_DB(d);
}

static void check_target(X86Cpu *cpu, const X86Desc *d, uint64_t rip)
{
    X86Segment cs = x86_desc_segment(d, 0);
    x86_check_rip(cpu, &cs, rip);
}

/* Checks of a direct far JMP or CALL to a code segment. */
static void check_direct_cs(X86Cpu *cpu, const X86Desc *d, uint16_t sel)
{
    unsigned cpl = cpu->st.cpl;
    bool ok = DESC_CONFORMING(d) ? DESC_DPL(d) <= cpl : (sel & 3) <= cpl && DESC_DPL(d) == cpl;
    if (!ok || bad_long_cs(cpu, d))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel));
}

/* A call gate as read; its target descriptor is checked. */
typedef struct CallGate {
    uint64_t offset;
    uint16_t sel;
    unsigned params, size; /* words to copy; operand size in bytes: 2, 4, 8 */
    X86Desc cs;
} CallGate;

static void read_call_gate(X86Cpu *cpu, const X86Desc *gate, uint16_t gate_sel, bool call, CallGate *g)
{
    unsigned cpl = cpu->st.cpl;
    bool long_mode = x86_long_mode(&cpu->st);
    if (DESC_DPL(gate) < cpl || DESC_DPL(gate) < (gate_sel & 3))
        x86_fault(cpu, EXC_GP, SEL_ERR(gate_sel));
    if (!DESC_P(gate))
        x86_fault(cpu, EXC_NP, SEL_ERR(gate_sel));
    g->sel = gate->lo >> 16;
    g->offset = (gate->lo & 0xffff) | (gate->hi & 0xffff0000u);
    g->params = gate->hi & 0x1f;
    g->size = long_mode ? 8 : DESC_TYPE(gate) == 0xc ? 4 : 2;
    if (g->size == 2)
        g->offset &= 0xffff;
    if (long_mode) {
        uint64_t upper = x86_ld(cpu, gate->addr + 8, 8, X86_READ | X86_SUPERVISOR);
        if (upper >> 40 & 0x1f)
            x86_fault(cpu, EXC_GP, SEL_ERR(gate_sel));
        g->offset |= upper << 32;
        g->params = 0;
    }
    if (SEL_NULL(g->sel))
        x86_fault(cpu, EXC_GP, 0);
    if (!x86_desc_read(cpu, g->sel, &g->cs) || !DESC_IS_CODE(&g->cs) || DESC_DPL(&g->cs) > cpl)
        x86_fault(cpu, EXC_GP, SEL_ERR(g->sel));
    if (!call && !DESC_CONFORMING(&g->cs) && DESC_DPL(&g->cs) != cpl)
        x86_fault(cpu, EXC_GP, SEL_ERR(g->sel));
    if (long_mode && (!DESC_L(&g->cs) || DESC_DB(&g->cs)))
        x86_fault(cpu, EXC_GP, SEL_ERR(g->sel));
    if (!DESC_P(&g->cs))
        x86_fault(cpu, EXC_NP, SEL_ERR(g->sel));
}

static unsigned call_gate_same(X86Cpu *cpu, const Insn *in, CallGate *g)
{
    Stack s = x86_stack(cpu);
    if (x86_long_mode(&cpu->st)) {
        s.flat = true;
        s.mask = UINT64_MAX;
    }
    x86_stack_push(cpu, &s, cpu->st.seg[SEG_CS].selector, g->size);
    x86_stack_push(cpu, &s, in->next, g->size);
    check_target(cpu, &g->cs, g->offset);
    load_cs(cpu, &g->cs, g->sel, cpu->st.cpl);
    x86_stack_commit(cpu, &s);
    return far_done(cpu, g->offset);
}

static unsigned call_gate_inner(X86Cpu *cpu, const Insn *in, CallGate *g)
{
    X86State *st = &cpu->st;
    unsigned dpl = DESC_DPL(&g->cs);
    Stack old = x86_stack(cpu), s;
    if (x86_long_mode(st)) {
        s = (Stack) { .sp = x86_tss_rsp(cpu, dpl, 0), .mask = UINT64_MAX, .flat = true, .access = X86_SUPERVISOR };
        s.ss = (X86Segment) { .selector = dpl, .attr = dpl << SEG_ATTR_DPL_SHIFT };
    } else {
        uint16_t ss;
        uint32_t sp;
        x86_tss_stack(cpu, dpl, 0, &ss, &sp);
        s = (Stack) { .ss = x86_inner_ss(cpu, ss, dpl, 0), .sp = sp, .access = X86_SUPERVISOR, .error = SEL_ERR(ss) };
        s.mask = s.ss.attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu;
    }
    uint32_t params[31];
    for (unsigned i = 0; i < g->params; i++)
        params[i] = x86_stack_pop(cpu, &old, g->size);
    x86_stack_push(cpu, &s, st->seg[SEG_SS].selector, g->size);
    x86_stack_push(cpu, &s, st->gpr[R_RSP], g->size);
    for (unsigned i = g->params; i-- > 0;)
        x86_stack_push(cpu, &s, params[i], g->size);
    x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, g->size);
    x86_stack_push(cpu, &s, in->next, g->size);
    check_target(cpu, &g->cs, g->offset);
    load_cs(cpu, &g->cs, g->sel, dpl);
    st->seg[SEG_SS] = s.ss;
    x86_stack_commit(cpu, &s);
    return far_done(cpu, g->offset);
}

static unsigned task_transfer(X86Cpu *cpu, const Insn *in, uint16_t sel, bool call)
{
    TaskSwitch ts = { .cause = call ? TASK_CALL : TASK_JMP, .selector = sel, .rip = in->next, .flags = cpu->st.rflags };
    x86_task_switch(cpu, &ts);
    return FAR_DONE;
}

static unsigned far_system(X86Cpu *cpu, const Insn *in, const X86Desc *d, uint16_t sel, bool call)
{
    bool long_mode = x86_long_mode(&cpu->st);
    unsigned type = DESC_TYPE(d);
    if (type == 0xc || (type == 4 && !long_mode)) {
        CallGate g;
        read_call_gate(cpu, d, sel, call, &g);
        if (call && !DESC_CONFORMING(&g.cs) && DESC_DPL(&g.cs) < cpu->st.cpl)
            return call_gate_inner(cpu, in, &g);
        if (call)
            return call_gate_same(cpu, in, &g);
        check_target(cpu, &g.cs, g.offset);
        load_cs(cpu, &g.cs, g.sel, cpu->st.cpl);
        return far_done(cpu, g.offset);
    }
    bool tss = type == 1 || type == 9, task_gate = type == 5;
    if (long_mode || !(tss || task_gate))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (DESC_DPL(d) < cpu->st.cpl || DESC_DPL(d) < (sel & 3))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel));
    return task_transfer(cpu, in, task_gate ? d->lo >> 16 : sel, call);
}

static unsigned far_transfer(X86Cpu *cpu, const Insn *in, uint16_t sel, uint64_t offset, bool call)
{
    X86State *st = &cpu->st;
    unsigned size = in->osz;
    X86Desc d;
    bool protected_mode = x86_protected(st);
    if (protected_mode) {
        if (SEL_NULL(sel))
            x86_fault(cpu, EXC_GP, 0);
        if (!x86_desc_read(cpu, sel, &d))
            x86_fault(cpu, EXC_GP, SEL_ERR(sel));
        if (!DESC_S(&d))
            return far_system(cpu, in, &d, sel, call);
        if (!DESC_IS_CODE(&d))
            x86_fault(cpu, EXC_GP, SEL_ERR(sel));
        check_direct_cs(cpu, &d, sel);
        check_target(cpu, &d, offset);
    } else if (offset > st->seg[SEG_CS].limit) {
        x86_fault(cpu, EXC_GP, 0);
    }
    Stack s = x86_stack(cpu);
    if (call) {
        x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, size);
        x86_stack_push(cpu, &s, in->next, size);
    }
    if (protected_mode)
        load_cs(cpu, &d, sel, st->cpl);
    else
        x86_seg_load_real(cpu, SEG_CS, sel);
    if (call)
        x86_stack_commit(cpu, &s);
    return far_done(cpu, offset);
}

static void far_operand(X86Cpu *cpu, const Insn *in, uint16_t *sel, uint64_t *offset)
{
    const ZydisDecodedOperand *op = &in->op[0];
    if (op->type == ZYDIS_OPERAND_TYPE_POINTER) {
        *sel = op->ptr.segment;
        *offset = op->ptr.offset;
        return;
    }
    uint64_t lin = x86_op_lin(cpu, in, 0, in->osz + 2, X86_READ);
    *offset = x86_ld(cpu, lin, in->osz, X86_READ);
    *sel = x86_ld(cpu, lin + in->osz, 2, X86_READ);
}

unsigned x86_exec_far_jmp_call(X86Cpu *cpu, const Insn *in, bool call);
unsigned x86_exec_far_jmp_call(X86Cpu *cpu, const Insn *in, bool call)
{
    uint16_t sel;
    uint64_t offset;
    far_operand(cpu, in, &sel, &offset);
    return far_transfer(cpu, in, sel, offset, call);
}

/* ---- returns ---- */

/* What an outer or same-ring return popped. */
typedef struct Return {
    uint64_t rip;
    uint16_t cs;
    X86Desc d;
} Return;

static void check_return_cs(X86Cpu *cpu, Return *r)
{
    unsigned rpl = r->cs & 3;
    if (SEL_NULL(r->cs))
        x86_fault(cpu, EXC_GP, 0);
    if (!x86_desc_read(cpu, r->cs, &r->d) || !DESC_IS_CODE(&r->d) || rpl < cpu->st.cpl || bad_long_cs(cpu, &r->d))
        x86_fault(cpu, EXC_GP, SEL_ERR(r->cs));
    bool ok = DESC_CONFORMING(&r->d) ? DESC_DPL(&r->d) <= rpl : DESC_DPL(&r->d) == rpl;
    if (!ok)
        x86_fault(cpu, EXC_GP, SEL_ERR(r->cs));
    if (!DESC_P(&r->d))
        x86_fault(cpu, EXC_NP, SEL_ERR(r->cs));
}

/* SS for the ring that is returned to; returns the segment, nothing changed. */
static X86Segment return_ss(X86Cpu *cpu, uint16_t sel, unsigned rpl, bool to64)
{
    X86Desc d;
    if (SEL_NULL(sel)) {
        if (!to64 || rpl == 3 || (sel & 3) != rpl)
            x86_fault(cpu, EXC_GP, 0);
        return (X86Segment) { .selector = sel, .attr = rpl << SEG_ATTR_DPL_SHIFT };
    }
    if (!x86_desc_read(cpu, sel, &d) || (sel & 3) != rpl || !DESC_S(&d) || (DESC_TYPE(&d) & 0xa) != 2 || DESC_DPL(&d) != rpl)
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_SS, SEL_ERR(sel));
    x86_desc_accessed(cpu, &d);
    return x86_desc_segment(&d, sel);
}

static void load_outer_stack(X86Cpu *cpu, X86Segment ss, uint64_t rsp)
{
    X86State *st = &cpu->st;
    st->seg[SEG_SS] = ss;
    if (x86_code64(st))
        st->gpr[R_RSP] = rsp;
    else if (ss.attr & SEG_ATTR_DB)
        st->gpr[R_RSP] = rsp & 0xffffffffu;
    else
        st->gpr[R_RSP] = (st->gpr[R_RSP] & ~0xffffull) | (rsp & 0xffff);
}

static unsigned ret_far_real(X86Cpu *cpu, const Insn *in, unsigned extra)
{
    Stack s = x86_stack(cpu);
    uint64_t rip = x86_stack_pop(cpu, &s, in->osz);
    uint16_t cs = x86_stack_pop(cpu, &s, in->osz);
    if (rip > cpu->st.seg[SEG_CS].limit)
        x86_fault(cpu, EXC_GP, 0);
    s.sp = (s.sp & ~s.mask) | ((s.sp + extra) & s.mask);
    x86_stack_commit(cpu, &s);
    x86_seg_load_real(cpu, SEG_CS, cs);
    return far_done(cpu, rip);
}

unsigned x86_exec_ret_far(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_ret_far(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned extra = in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? in->op[0].imm.value.u & 0xffff : 0;
    if (!x86_protected(st))
        return ret_far_real(cpu, in, extra);
    Stack s = x86_stack(cpu);
    Return r = { 0 };
    r.rip = x86_stack_pop(cpu, &s, in->osz);
    r.cs = x86_stack_pop(cpu, &s, in->osz);
    check_return_cs(cpu, &r);
    unsigned rpl = r.cs & 3;
    s.sp = (s.sp & ~s.mask) | ((s.sp + extra) & s.mask);
    if (rpl == st->cpl) {
        check_target(cpu, &r.d, r.rip);
        load_cs(cpu, &r.d, r.cs, rpl);
        x86_stack_commit(cpu, &s);
        return far_done(cpu, r.rip);
    }
    uint64_t rsp = x86_stack_pop(cpu, &s, in->osz);
    uint16_t ss_sel = x86_stack_pop(cpu, &s, in->osz);
    bool to64 = x86_long_mode(st) && DESC_L(&r.d);
    X86Segment ss = return_ss(cpu, ss_sel, rpl, to64);
    check_target(cpu, &r.d, r.rip);
    load_cs(cpu, &r.d, r.cs, rpl);
    uint64_t mask = to64 ? UINT64_MAX : ss.attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu;
    load_outer_stack(cpu, ss, (rsp & ~mask) | ((rsp + extra) & mask));
    x86_seg_drop_privileged(cpu);
    return far_done(cpu, r.rip);
}

/* ---- IRET ---- */

#define IRET_FLAGS (FL_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID)

static void iret_unmask_nmi(X86Cpu *cpu) { cpu->st.nmi_masked = false; }

/* EFLAGS bits that IRET to protected or 64-bit code may load; size in bytes. */
static uint64_t iret_mask(const X86State *st, unsigned size)
{
    uint64_t mask = IRET_FLAGS;
    if (st->cpl == 0)
        mask |= FL_IOPL | FL_VIF | FL_VIP;
    if (st->cpl <= x86_iopl(st))
        mask |= FL_IF;
    return size == 2 ? mask & 0xffff : mask;
}

static unsigned iret_real(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    Stack s = x86_stack(cpu);
    uint64_t rip = x86_stack_pop(cpu, &s, in->osz);
    uint16_t cs = x86_stack_pop(cpu, &s, in->osz);
    uint64_t flags = x86_stack_pop(cpu, &s, in->osz);
    if (rip > st->seg[SEG_CS].limit)
        x86_fault(cpu, EXC_GP, 0);
    x86_stack_commit(cpu, &s);
    x86_seg_load_real(cpu, SEG_CS, cs);
    uint64_t mask = IRET_FLAGS | FL_IF | FL_IOPL;
    x86_set_flags(cpu, flags, in->osz == 2 ? mask & 0xffff : mask);
    iret_unmask_nmi(cpu);
    return far_done(cpu, rip);
}

/* From v8086 mode: IOPL 3, or with VME the virtual interrupt flag for 16-bit frames. */
static unsigned iret_v86(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    bool vme = x86_iopl(st) < 3;
    if (vme && (!(st->cr4 & CR4_VME) || in->osz != 2))
        x86_fault(cpu, EXC_GP, 0);
    Stack s = x86_stack(cpu);
    uint64_t rip = x86_stack_pop(cpu, &s, in->osz);
    uint16_t cs = x86_stack_pop(cpu, &s, in->osz);
    uint64_t flags = x86_stack_pop(cpu, &s, in->osz);
    uint64_t mask = IRET_FLAGS | FL_IF;
    if (vme) {
        if ((flags & FL_TF) || ((flags & FL_IF) && (st->rflags & FL_VIP)))
            x86_fault(cpu, EXC_GP, 0);
        mask &= ~(uint64_t)FL_IF;
    }
    if (rip > 0xffff)
        x86_fault(cpu, EXC_GP, 0);
    x86_stack_commit(cpu, &s);
    x86_seg_load_real(cpu, SEG_CS, cs);
    x86_set_flags(cpu, flags, in->osz == 2 ? mask & 0xffff : mask);
    if (vme)
        st->rflags = (st->rflags & ~(uint64_t)FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
    iret_unmask_nmi(cpu);
    return far_done(cpu, rip);
}

static unsigned iret_to_v86(X86Cpu *cpu, Stack *s, uint64_t rip, uint16_t cs, uint64_t flags)
{
    X86State *st = &cpu->st;
    uint32_t esp = x86_stack_pop(cpu, s, 4);
    uint16_t seg[6];
    static const uint8_t order[] = { SEG_SS, SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < 5; i++)
        seg[order[i]] = x86_stack_pop(cpu, s, 4);
    seg[SEG_CS] = cs;
    x86_set_flags(cpu, flags, IRET_FLAGS | FL_IF | FL_IOPL | FL_VM | FL_VIF | FL_VIP);
    x86_set_cpl(cpu, 3);
    for (unsigned i = 0; i < 6; i++)
        x86_seg_load_real(cpu, i, seg[i]);
    st->gpr[R_RSP] = esp;
    iret_unmask_nmi(cpu);
    return far_done(cpu, rip & 0xffff);
}

static unsigned iret_task(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (x86_long_mode(st))
        x86_fault(cpu, EXC_GP, 0);
    TaskSwitch ts = { .cause = TASK_IRET, .rip = in->next, .flags = st->rflags };
    ts.selector = x86_ld(cpu, st->seg[SEG_TR].base & 0xffffffffu, 2, X86_READ | X86_SUPERVISOR);
    x86_task_switch(cpu, &ts);
    iret_unmask_nmi(cpu);
    return FAR_DONE;
}

static unsigned iret_protected(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = in->osz;
    Stack s = x86_stack(cpu);
    Return r = { 0 };
    r.rip = x86_stack_pop(cpu, &s, size);
    r.cs = x86_stack_pop(cpu, &s, size);
    uint64_t flags = x86_stack_pop(cpu, &s, size);
    if (size == 4 && (flags & FL_VM) && st->cpl == 0 && !x86_long_mode(st))
        return iret_to_v86(cpu, &s, r.rip, r.cs, flags);
    check_return_cs(cpu, &r);
    unsigned rpl = r.cs & 3;
    bool to64 = x86_long_mode(st) && DESC_L(&r.d), outer = rpl != st->cpl;
    uint64_t rsp = 0;
    X86Segment ss = { 0 };
    if (outer || in->bits == 64) { /* 64-bit code always has SS:RSP in the frame */
        rsp = x86_stack_pop(cpu, &s, size);
        ss = return_ss(cpu, x86_stack_pop(cpu, &s, size), rpl, to64);
    }
    check_target(cpu, &r.d, r.rip);
    uint64_t mask = iret_mask(st, size);
    bool from64 = in->bits == 64;
    load_cs(cpu, &r.d, r.cs, rpl);
    if (outer || from64)
        load_outer_stack(cpu, ss, rsp);
    else
        x86_stack_commit(cpu, &s);
    x86_set_flags(cpu, flags, mask);
    if (outer)
        x86_seg_drop_privileged(cpu);
    iret_unmask_nmi(cpu);
    return far_done(cpu, r.rip);
}

static unsigned exec_iret(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PE))
        return iret_real(cpu, in);
    if (x86_v8086(st))
        return iret_v86(cpu, in);
    if (st->rflags & FL_NT)
        return iret_task(cpu, in);
    return iret_protected(cpu, in);
}

/* ---- INT n ---- */

/* The event is raised with rip behind the instruction. */
static _Noreturn void soft_interrupt(X86Cpu *cpu, const Insn *in, X86EventKind kind, uint8_t vector)
{
    cpu->st.rip = in->next;
    cpu->st.rflags &= ~(uint64_t)FL_RF;
    *cpu->fault = (X86Event) { .kind = kind, .vector = vector };
    __builtin_longjmp(cpu->fault_jmp, 1);
}

/* INT n in v8086 mode with VME: the TSS's redirection bitmap says whether the task's own vector table serves it. */
static bool v86_redirects(X86Cpu *cpu, uint8_t vector)
{
    const X86Segment *tr = &cpu->st.seg[SEG_TR];
    if (!(tr->attr & 8) || tr->limit < 103)
        x86_fault(cpu, EXC_GP, 0);
    unsigned io_map = x86_ld(cpu, tr->base + 102, 2, X86_READ | X86_SUPERVISOR);
    unsigned at = io_map - 32 + vector / 8;
    if (io_map < 32 || at > tr->limit)
        x86_fault(cpu, EXC_GP, 0);
    return !(x86_ld(cpu, tr->base + at, 1, X86_READ | X86_SUPERVISOR) >> (vector & 7) & 1);
}

static unsigned int_v86_own(X86Cpu *cpu, const Insn *in, uint8_t vector)
{
    X86State *st = &cpu->st;
    bool low_iopl = x86_iopl(st) < 3;
    uint16_t flags = st->rflags;
    if (low_iopl) {
        flags = (flags & ~FL_IF) | FL_IOPL;
        if (st->rflags & FL_VIF)
            flags |= FL_IF;
    }
    uint16_t ip = x86_ld(cpu, vector * 4u, 2, X86_READ), cs = x86_ld(cpu, vector * 4u + 2, 2, X86_READ);
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, flags, 2);
    x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, 2);
    x86_stack_push(cpu, &s, in->next, 2);
    x86_stack_commit(cpu, &s);
    st->rflags &= ~(uint64_t)(FL_TF | FL_NT | (low_iopl ? FL_VIF : FL_IF));
    x86_seg_load_real(cpu, SEG_CS, cs);
    return far_done(cpu, ip);
}

static unsigned exec_int(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    uint8_t vector = in->op[0].imm.value.u;
    if (x86_v8086(st)) {
        if ((st->cr4 & CR4_VME) && v86_redirects(cpu, vector))
            return int_v86_own(cpu, in, vector);
        if (x86_iopl(st) < 3)
            x86_fault(cpu, EXC_GP, 0);
    }
    soft_interrupt(cpu, in, X86_EVENT_SOFT, vector);
}

static unsigned exec_int3(X86Cpu *cpu, const Insn *in) { soft_interrupt(cpu, in, X86_EVENT_SOFT, EXC_BP); }
static unsigned exec_int1(X86Cpu *cpu, const Insn *in) { soft_interrupt(cpu, in, X86_EVENT_ICEBP, EXC_DB); }

static unsigned exec_into(X86Cpu *cpu, const Insn *in)
{
    if (cpu->st.rflags & FL_OF)
        soft_interrupt(cpu, in, X86_EVENT_SOFT, EXC_OF);
    return 0;
}

/* ---- fast system calls ---- */

static X86Segment flat_code(uint16_t sel, unsigned dpl, bool code64)
{
    return (X86Segment) { .limit = 0xffffffffu, .selector = sel,
                          .attr = 0x809b | dpl << SEG_ATTR_DPL_SHIFT | (code64 ? SEG_ATTR_L : SEG_ATTR_DB) };
}

static X86Segment flat_stack(uint16_t sel, unsigned dpl)
{
    return (X86Segment) { .limit = 0xffffffffu, .selector = sel, .attr = 0xc093 | dpl << SEG_ATTR_DPL_SHIFT };
}

static unsigned exec_syscall(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    /* legacy-mode SYSCALL exists on AMD processors only; this CPU has it in 64-bit and compatibility mode as they do */
    if (!(st->efer & EFER_SCE) || !x86_protected(st) || !x86_has(cpu, X86_FEAT_SYSCALL))
        x86_fault(cpu, EXC_UD, 0);
    uint16_t cs = st->star >> 32 & 0xfffc;
    if (x86_long_mode(st)) {
        bool from64 = in->bits == 64;
        st->gpr[R_RCX] = in->next;
        st->gpr[R_R11] = st->rflags & ~(uint64_t)FL_RF;
        st->rflags = (st->rflags & ~st->sfmask & ~(uint64_t)(FL_RF | FL_VM)) | 2;
        st->seg[SEG_CS] = flat_code(cs, 0, true);
        st->seg[SEG_SS] = flat_stack(cs + 8, 0);
        x86_set_cpl(cpu, 0);
        return far_done(cpu, from64 ? st->lstar : st->cstar);
    }
    st->gpr[R_RCX] = (uint32_t)in->next;
    st->rflags &= ~(uint64_t)(FL_IF | FL_VM | FL_RF);
    st->seg[SEG_CS] = flat_code(cs, 0, false);
    st->seg[SEG_SS] = flat_stack(cs + 8, 0);
    x86_set_cpl(cpu, 0);
    return far_done(cpu, (uint32_t)st->star);
}

static unsigned exec_sysret(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->efer & EFER_SCE) || !x86_protected(st) || !x86_has(cpu, X86_FEAT_SYSCALL))
        x86_fault(cpu, EXC_UD, 0);
    if (st->cpl != 0)
        x86_fault(cpu, EXC_GP, 0);
    uint16_t base = st->star >> 48;
    bool to64 = in->osz == 8;
    uint64_t rip = to64 ? st->gpr[R_RCX] : (uint32_t)st->gpr[R_RCX];
    if (to64 && !x86_canonical(rip))
        x86_fault(cpu, EXC_GP, 0);
    if (x86_long_mode(st)) {
        uint64_t known = 0x3f7fd5 & ~(uint64_t)(FL_RF | FL_VM);
        st->rflags = (st->gpr[R_R11] & known) | 2;
    } else {
        st->rflags |= FL_IF;
    }
    st->seg[SEG_CS] = flat_code((base + (to64 ? 16 : 0)) | 3, 3, to64);
    st->seg[SEG_SS] = flat_stack((base + 8) | 3, 3);
    x86_set_cpl(cpu, 3);
    return far_done(cpu, rip);
}

static unsigned exec_sysenter(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PE) || SEL_NULL(st->sysenter_cs))
        x86_fault(cpu, EXC_GP, 0);
    bool long_mode = x86_long_mode(st);
    uint16_t cs = st->sysenter_cs & 0xfffc;
    st->rflags &= ~(uint64_t)(FL_VM | FL_IF | FL_RF);
    st->seg[SEG_CS] = flat_code(cs, 0, long_mode);
    st->seg[SEG_SS] = flat_stack(cs + 8, 0);
    x86_set_cpl(cpu, 0);
    st->gpr[R_RSP] = long_mode ? st->sysenter_esp : (uint32_t)st->sysenter_esp;
    return far_done(cpu, long_mode ? st->sysenter_eip : (uint32_t)st->sysenter_eip);
}

static unsigned exec_sysexit(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PE) || SEL_NULL(st->sysenter_cs) || st->cpl != 0 || x86_v8086(st))
        x86_fault(cpu, EXC_GP, 0);
    bool to64 = in->osz == 8;
    uint64_t rip = st->gpr[R_RDX], rsp = st->gpr[R_RCX];
    if (to64 && (!x86_canonical(rip) || !x86_canonical(rsp)))
        x86_fault(cpu, EXC_GP, 0);
    uint16_t base = st->sysenter_cs & 0xfffc;
    st->seg[SEG_CS] = flat_code((base + (to64 ? 32 : 16)) | 3, 3, to64);
    st->seg[SEG_SS] = flat_stack((base + (to64 ? 40 : 24)) | 3, 3);
    x86_set_cpl(cpu, 3);
    st->gpr[R_RSP] = to64 ? rsp : (uint32_t)rsp;
    return far_done(cpu, to64 ? rip : (uint32_t)rip);
}

void x86_register_far(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_IRET] = table[ZYDIS_MNEMONIC_IRETD] = table[ZYDIS_MNEMONIC_IRETQ] = exec_iret;
    table[ZYDIS_MNEMONIC_INT] = exec_int;
    table[ZYDIS_MNEMONIC_INT3] = exec_int3;
    table[ZYDIS_MNEMONIC_INT1] = exec_int1;
    table[ZYDIS_MNEMONIC_INTO] = exec_into;
    table[ZYDIS_MNEMONIC_SYSCALL] = exec_syscall;
    table[ZYDIS_MNEMONIC_SYSRET] = exec_sysret;
    table[ZYDIS_MNEMONIC_SYSENTER] = exec_sysenter;
    table[ZYDIS_MNEMONIC_SYSEXIT] = exec_sysexit;
}
