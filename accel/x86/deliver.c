/*
 * Delivery of exceptions and interrupts: real-mode vectors, protected-mode gates, v8086, long mode. SDM 3A ch. 6 and
 * 20, and
 * the pseudocode of INT in vol. 2A.
 */
#include "accel/x86/internal.h"

void x86_set_cpl(X86Cpu *cpu, unsigned cpl)
{
    cpu->st.cpl = cpl;
}

void x86_mode_changed(X86Cpu *cpu)
{
    if (cpu->engine && cpu->engine->mode_changed)
        cpu->engine->mode_changed(cpu);
}

void x86_check_rip(X86Cpu *cpu, const X86Segment *cs, uint64_t rip)
{
    bool code64 = x86_long_mode(&cpu->st) && (cs->attr & SEG_ATTR_L);
    if (code64 ? !x86_canonical(rip) : rip > cs->limit)
        x86_fault(cpu, EXC_GP, 0);
}

/* What is being delivered, with what the gate said. */
typedef struct Delivery {
    const X86Event *ev;
    unsigned ext;          /* EXT bit of error codes */
    uint32_t flags;        /* as pushed */
    unsigned gate_type;
    uint16_t sel;
    uint64_t offset;
    unsigned ist;
    X86Desc cs;
    unsigned new_cpl;
} Delivery;

#define GATE_TASK   0x5
#define GATE_INT16  0x6
#define GATE_TRAP16 0x7
#define GATE_INT32  0xe
#define GATE_TRAP32 0xf

static bool is_interrupt_gate(const Delivery *d) { return d->gate_type == GATE_INT16 || d->gate_type == GATE_INT32; }

/* Faults push RF set, so that returning to the instruction does not hit its breakpoint again; SDM 3A 17.3.1.1. */
static uint32_t pushed_flags(const X86State *st, const X86Event *ev)
{
    uint32_t flags = st->rflags;
    if (ev->kind == X86_EVENT_EXCEPTION && ev->vector != EXC_DB && ev->vector != EXC_DF && ev->vector != EXC_MC)
        flags |= FL_RF;
    return flags;
}

static void deliver_real(X86Cpu *cpu, const X86Event *ev)
{
    X86State *st = &cpu->st;
    unsigned slot = ev->vector * 4u;
    if (slot + 3 > st->idt.limit)
        x86_fault(cpu, EXC_GP, 0);
    uint64_t lin = (st->idt.base + slot) & 0xffffffffu;
    uint16_t ip = x86_ld(cpu, lin, 2, X86_READ | X86_SUPERVISOR);
    uint16_t cs = x86_ld(cpu, lin + 2, 2, X86_READ | X86_SUPERVISOR);
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, st->rflags & 0xffff, 2);
    x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, 2);
    x86_stack_push(cpu, &s, st->rip & 0xffff, 2);
    x86_stack_commit(cpu, &s);
    st->rflags &= ~(uint64_t)(FL_IF | FL_TF | FL_AC | FL_RF);
    x86_seg_load_real(cpu, SEG_CS, cs);
    st->rip = ip;
}

static void read_gate(X86Cpu *cpu, Delivery *d)
{
    X86State *st = &cpu->st;
    const X86Event *ev = d->ev;
    bool long_mode = x86_long_mode(st);
    unsigned size = long_mode ? 16 : 8;
    uint32_t slot = ev->vector * size;
    uint32_t error = ev->vector * 8u + 2 + d->ext;
    if (slot + size - 1 > st->idt.limit)
        x86_fault(cpu, EXC_GP, error);
    uint64_t lin = st->idt.base + slot;
    uint64_t low = x86_ld(cpu, lin, 8, X86_READ | X86_SUPERVISOR);
    uint32_t hi = low >> 32;
    d->gate_type = (hi >> 8) & 0x1f;
    bool known = d->gate_type == GATE_INT32 || d->gate_type == GATE_TRAP32 ||
                 (!long_mode && (d->gate_type == GATE_INT16 || d->gate_type == GATE_TRAP16 || d->gate_type == GATE_TASK));
    if (!known)
        x86_fault(cpu, EXC_GP, error);
    if (ev->kind == X86_EVENT_SOFT && ((hi >> 13) & 3) < st->cpl)
        x86_fault(cpu, EXC_GP, error);
    if (!(hi & 0x8000))
        x86_fault(cpu, EXC_NP, error);
    d->sel = low >> 16;
    d->offset = (low & 0xffff) | (hi & 0xffff0000u);
    if (long_mode) {
        d->offset |= x86_ld(cpu, lin + 8, 4, X86_READ | X86_SUPERVISOR) << 32;
        d->ist = hi & 7;
    }
    if (d->gate_type == GATE_INT16 || d->gate_type == GATE_TRAP16)
        d->offset &= 0xffff;
}

static void read_target(X86Cpu *cpu, Delivery *d)
{
    X86State *st = &cpu->st;
    uint32_t error = SEL_ERR(d->sel) + d->ext;
    if (SEL_NULL(d->sel))
        x86_fault(cpu, EXC_GP, d->ext);
    if (!x86_desc_read(cpu, d->sel, &d->cs) || !DESC_IS_CODE(&d->cs) || DESC_DPL(&d->cs) > st->cpl)
        x86_fault(cpu, EXC_GP, error);
    if (x86_long_mode(st) && (!DESC_L(&d->cs) || DESC_DB(&d->cs)))
        x86_fault(cpu, EXC_GP, error);
    if (!DESC_P(&d->cs))
        x86_fault(cpu, EXC_NP, error);
    d->new_cpl = DESC_CONFORMING(&d->cs) ? st->cpl : DESC_DPL(&d->cs);
    if (x86_v8086(st) && d->new_cpl != 0)
        x86_fault(cpu, EXC_GP, error);
}

static void enter_handler(X86Cpu *cpu, Delivery *d)
{
    X86State *st = &cpu->st;
    x86_desc_accessed(cpu, &d->cs);
    st->seg[SEG_CS] = x86_desc_segment(&d->cs, (d->sel & ~3u) | d->new_cpl);
    x86_set_cpl(cpu, d->new_cpl);
    st->rip = d->offset;
    st->rflags &= ~(uint64_t)(FL_TF | FL_VM | FL_RF | FL_NT);
    if (is_interrupt_gate(d))
        st->rflags &= ~(uint64_t)FL_IF;
}

/* SDM: an inner ring's frame has SS:ESP, that of a v8086 task the data segments before it. */
static void deliver_protected(X86Cpu *cpu, Delivery *d)
{
    X86State *st = &cpu->st;
    bool v86 = x86_v8086(st), inner = d->new_cpl < st->cpl;
    unsigned size = d->gate_type >= GATE_INT32 ? 4 : 2;
    X86Segment code = x86_desc_segment(&d->cs, d->sel);
    Stack s = x86_stack(cpu);
    if (inner) {
        uint16_t ss;
        uint32_t sp;
        x86_tss_stack(cpu, d->new_cpl, d->ext, &ss, &sp);
        s = (Stack) { .ss = x86_inner_ss(cpu, ss, d->new_cpl, d->ext), .sp = sp, .access = X86_SUPERVISOR,
                      .error = SEL_ERR(ss) + d->ext };
        s.mask = s.ss.attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu;
    } else {
        s.error = d->ext;
    }
    uint64_t saved_flags = st->rflags;
    st->rflags &= ~(uint64_t)FL_VM; /* pushes go by protected-mode rules; put back if one faults */
    if (inner) {
        if (v86) {
            static const uint8_t order[] = { SEG_GS, SEG_FS, SEG_DS, SEG_ES };
            for (unsigned i = 0; i < 4; i++)
                x86_stack_push(cpu, &s, st->seg[order[i]].selector, size);
        }
        x86_stack_push(cpu, &s, st->seg[SEG_SS].selector, size);
        x86_stack_push(cpu, &s, st->gpr[R_RSP], size);
    }
    x86_stack_push(cpu, &s, d->flags, size);
    x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, size);
    x86_stack_push(cpu, &s, st->rip, size);
    if (d->ev->has_error)
        x86_stack_push(cpu, &s, d->ev->error, size);
    if (d->offset > code.limit)
        x86_fault(cpu, EXC_GP, d->ext);
    st->rflags = saved_flags;
    enter_handler(cpu, d);
    if (inner) {
        st->seg[SEG_SS] = s.ss;
        if (v86)
            for (unsigned seg = 0; seg <= SEG_GS; seg++)
                if (seg != SEG_CS && seg != SEG_SS)
                    st->seg[seg] = (X86Segment) { 0 };
    }
    x86_stack_commit(cpu, &s);
}

static void deliver_long(X86Cpu *cpu, Delivery *d)
{
    X86State *st = &cpu->st;
    bool inner = d->new_cpl < st->cpl;
    uint64_t rsp = st->gpr[R_RSP];
    if (d->ist)
        rsp = x86_tss_rsp(cpu, 2 + d->ist, d->ext);
    else if (inner)
        rsp = x86_tss_rsp(cpu, d->new_cpl, d->ext);
    Stack s = { .sp = rsp & ~15ull, .mask = UINT64_MAX, .flat = true, .access = inner ? X86_SUPERVISOR : 0,
                .error = d->ext };
    x86_stack_push(cpu, &s, st->seg[SEG_SS].selector, 8);
    x86_stack_push(cpu, &s, st->gpr[R_RSP], 8);
    x86_stack_push(cpu, &s, d->flags, 8);
    x86_stack_push(cpu, &s, st->seg[SEG_CS].selector, 8);
    x86_stack_push(cpu, &s, st->rip, 8);
    if (d->ev->has_error)
        x86_stack_push(cpu, &s, d->ev->error, 8);
    if (!x86_canonical(d->offset))
        x86_fault(cpu, EXC_GP, d->ext);
    enter_handler(cpu, d);
    if (inner)
        st->seg[SEG_SS] = (X86Segment) { .selector = d->new_cpl, .attr = d->new_cpl << SEG_ATTR_DPL_SHIFT };
    st->gpr[R_RSP] = s.sp;
}

static void deliver_gate(X86Cpu *cpu, const X86Event *ev)
{
    X86State *st = &cpu->st;
    Delivery d = { .ev = ev, .ext = ev->kind != X86_EVENT_SOFT, .flags = pushed_flags(st, ev) };
    read_gate(cpu, &d);
    if (d.gate_type == GATE_TASK) {
        TaskSwitch ts = { .cause = TASK_GATE, .selector = d.sel, .rip = st->rip, .flags = d.flags,
                          .has_error = ev->has_error, .error = ev->error, .ext = d.ext };
        x86_task_switch(cpu, &ts);
        return;
    }
    read_target(cpu, &d);
    if (x86_long_mode(st))
        deliver_long(cpu, &d);
    else
        deliver_protected(cpu, &d);
}

static void deliver_once(X86Cpu *cpu, const X86Event *ev)
{
    X86State *st = &cpu->st;
    if (ev->vector == EXC_PF && ev->kind == X86_EVENT_EXCEPTION)
        st->cr2 = ev->cr2;
    if (st->cr0 & CR0_PE)
        deliver_gate(cpu, ev);
    else
        deliver_real(cpu, ev);
    if (ev->vector == EXC_DB && ev->kind == X86_EVENT_EXCEPTION) {
        st->dr[6] |= ev->dr6;
        st->dr[7] &= ~0x2000ull; /* GD */
    }
    if (ev->kind == X86_EVENT_NMI)
        st->nmi_masked = true;
}

typedef enum { CLASS_BENIGN, CLASS_CONTRIBUTORY, CLASS_PAGE, CLASS_DOUBLE } EventClass;

static EventClass classify(const X86Event *ev)
{
    if (ev->kind != X86_EVENT_EXCEPTION)
        return CLASS_BENIGN;
    switch (ev->vector) {
    case EXC_DE: case EXC_TS: case EXC_NP: case EXC_SS: case EXC_GP: return CLASS_CONTRIBUTORY;
    case EXC_PF: return CLASS_PAGE;
    case EXC_DF: return CLASS_DOUBLE;
    default: return CLASS_BENIGN;
    }
}

/* What follows when `second` was raised while `first` was delivered. false: shutdown. */
static bool combine(const X86Event *first, X86Event *second)
{
    EventClass a = classify(first), b = classify(second);
    if (b == CLASS_BENIGN || a == CLASS_BENIGN)
        return true;
    if (a == CLASS_DOUBLE)
        return false;
    if (a == CLASS_CONTRIBUTORY && b == CLASS_PAGE)
        return true;
    *second = (X86Event) { .kind = X86_EVENT_EXCEPTION, .vector = EXC_DF, .has_error = true };
    return true;
}

/* One attempt. false: *ev was replaced by what went wrong. A function of its own because of setjmp. */
static __attribute__((noinline)) bool try_deliver(X86Cpu *cpu, X86Event *ev)
{
    void *jmp[5];
    void **volatile outer = cpu->fault_jmp;
    uint64_t flags = cpu->st.rflags;
    volatile uint64_t saved_flags = flags;
    bool done = true;
    if (__builtin_setjmp(jmp) == 0) {
        cpu->fault_jmp = jmp;
        deliver_once(cpu, ev);
    } else {
        done = false;
        /*
         * VM may have been cleared for the frame; a task switch that faults after its commit has new flags without VM
         */
        if (saved_flags & FL_VM && cpu->st.cpl == 3 && !(cpu->st.rflags & FL_VM))
            cpu->st.rflags |= FL_VM;
    }
    cpu->fault_jmp = outer;
    return done;
}

bool x86_deliver(X86Cpu *cpu, const X86Event *event)
{
    X86Event ev = *event;
    bool real = !(cpu->st.cr0 & CR0_PE);
    cpu->st.delivering = ev.vector;
    cpu->st.shadow = 0;
    cpu->vcpu.halted = false;
    if (real)
        ev.has_error = false;
    while (!try_deliver(cpu, &ev)) {
        X86Event next = *cpu->fault;
        if (!combine(&ev, &next)) {
            cpu->st.delivering = -1;
            return false;
        }
        if (real)
            next.has_error = false;
        ev = next;
    }
    cpu->st.delivering = -1;
    x86_mode_changed(cpu);
    return true;
}

uint64_t x86_exec_breakpoint(X86Cpu *cpu, uint64_t lin)
{
    const X86State *st = &cpu->st;
    uint64_t hit = 0;
    if (st->rflags & FL_RF)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        if ((st->dr[7] >> (i * 2) & 3) && !(st->dr[7] >> (16 + i * 4) & 3) && st->dr[i] == lin)
            hit |= 1u << i;
    return hit;
}
