/*
 * The task state segment: inner stacks and hardware task switching. SDM 3A ch. 7.
 */
#include "accel/x86/internal.h"

/* Offsets in the 32-bit and the 16-bit TSS. */
enum {
    TSS32_LINK = 0, TSS32_CR3 = 28, TSS32_EIP = 32, TSS32_EFLAGS = 36, TSS32_GPR = 40, TSS32_SEG = 72, TSS32_LDT = 96,
    TSS32_TRAP = 100, TSS32_SIZE = 104,
    TSS16_LINK = 0, TSS16_IP = 14, TSS16_FLAGS = 16, TSS16_GPR = 18, TSS16_SEG = 34, TSS16_LDT = 42, TSS16_SIZE = 44,
};

#define SYS (X86_READ | X86_SUPERVISOR)

static bool tr_is_32(const X86State *st) { return st->seg[SEG_TR].attr & 8; }

void x86_tss_stack(X86Cpu *cpu, unsigned dpl, unsigned ext, uint16_t *ss, uint32_t *sp)
{
    const X86Segment *tr = &cpu->st.seg[SEG_TR];
    bool wide = tr_is_32(&cpu->st);
    unsigned offset = wide ? 4 + dpl * 8 : 2 + dpl * 4, size = wide ? 4 : 2;
    if (!(tr->attr & SEG_ATTR_P) || offset + size + 1 > tr->limit)
        x86_fault(cpu, EXC_TS, SEL_ERR(tr->selector) + ext);
    uint64_t lin = (tr->base + offset) & 0xffffffffu;
    *sp = x86_ld(cpu, lin, size, SYS);
    *ss = x86_ld(cpu, (lin + size) & 0xffffffffu, 2, SYS);
}

uint64_t x86_tss_rsp(X86Cpu *cpu, unsigned index, unsigned ext)
{
    const X86Segment *tr = &cpu->st.seg[SEG_TR];
    unsigned offset = index < 3 ? 4 + index * 8 : 36 + (index - 3) * 8;
    if (!(tr->attr & SEG_ATTR_P) || offset + 7 > tr->limit)
        x86_fault(cpu, EXC_TS, SEL_ERR(tr->selector) + ext);
    uint64_t rsp = x86_ld(cpu, tr->base + offset, 8, SYS);
    if (!x86_canonical(rsp))
        x86_fault(cpu, EXC_SS, ext);
    return rsp;
}

X86Segment x86_inner_ss(X86Cpu *cpu, uint16_t sel, unsigned dpl, unsigned ext)
{
    X86Desc d;
    if (SEL_NULL(sel))
        x86_fault(cpu, EXC_TS, ext);
    if ((sel & 3) != dpl || !x86_desc_read(cpu, sel, &d) || !DESC_S(&d) || (DESC_TYPE(&d) & 0xa) != 2 ||
        DESC_DPL(&d) != dpl)
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_SS, SEL_ERR(sel) + ext);
    x86_desc_accessed(cpu, &d);
    return x86_desc_segment(&d, sel);
}

/* ---- task switch ---- */

/* What a TSS of either width holds of a task. */
typedef struct Task {
    uint32_t cr3, eip, eflags, gpr[8];
    uint16_t seg[6], ldt;
    bool trap;
} Task;

static void task_load(X86Cpu *cpu, uint64_t base, bool wide, Task *t)
{
    t->cr3 = wide && (cpu->st.cr0 & CR0_PG) ? x86_ld(cpu, base + TSS32_CR3, 4, SYS) : 0;
    t->eip = wide ? x86_ld(cpu, base + TSS32_EIP, 4, SYS) : x86_ld(cpu, base + TSS16_IP, 2, SYS);
    t->eflags = wide ? x86_ld(cpu, base + TSS32_EFLAGS, 4, SYS) : x86_ld(cpu, base + TSS16_FLAGS, 2, SYS);
    for (unsigned i = 0; i < 8; i++)
        t->gpr[i] = wide ? x86_ld(cpu, base + TSS32_GPR + i * 4, 4, SYS)
                         : x86_ld(cpu, base + TSS16_GPR + i * 2, 2, SYS) | 0xffff0000u;
    for (unsigned i = 0; i < 6; i++) {
        t->seg[i] = 0;
        if (wide || i < 4)
            t->seg[i] = x86_ld(cpu, base + (wide ? TSS32_SEG + i * 4 : TSS16_SEG + i * 2), 2, SYS);
    }
    t->ldt = x86_ld(cpu, base + (wide ? TSS32_LDT : TSS16_LDT), 2, SYS);
    t->trap = wide && (x86_ld(cpu, base + TSS32_TRAP, 2, SYS) & 1);
}

static void task_save(X86Cpu *cpu, const TaskSwitch *ts, uint32_t flags)
{
    const X86State *st = &cpu->st;
    uint64_t base = st->seg[SEG_TR].base;
    bool wide = tr_is_32(st);
    unsigned size = wide ? 4 : 2;
    x86_st(cpu, base + (wide ? TSS32_EIP : TSS16_IP), ts->rip, size, X86_SUPERVISOR);
    x86_st(cpu, base + (wide ? TSS32_EFLAGS : TSS16_FLAGS), flags, size, X86_SUPERVISOR);
    for (unsigned i = 0; i < 8; i++)
        x86_st(cpu, base + (wide ? TSS32_GPR : TSS16_GPR) + i * size, st->gpr[i], size, X86_SUPERVISOR);
    for (unsigned i = 0; i < (wide ? 6u : 4u); i++)
        x86_st(cpu, base + (wide ? TSS32_SEG : TSS16_SEG) + i * size, st->seg[i].selector, 2, X86_SUPERVISOR);
}

static void set_busy(X86Cpu *cpu, const X86Desc *d, bool busy)
{
    uint8_t type = x86_ld(cpu, d->addr + 5, 1, X86_WRITE | X86_SUPERVISOR);
    x86_st(cpu, d->addr + 5, busy ? type | 2 : type & ~2, 1, X86_SUPERVISOR);
}

static X86Desc read_new_tss(X86Cpu *cpu, const TaskSwitch *ts)
{
    X86Desc d;
    int vector = ts->cause == TASK_IRET ? EXC_TS : EXC_GP;
    uint32_t error = SEL_ERR(ts->selector) + ts->ext;
    if ((ts->selector & 4) || SEL_NULL(ts->selector) || !x86_desc_read(cpu, ts->selector, &d))
        x86_fault(cpu, vector, error);
    unsigned type = DESC_TYPE(&d);
    unsigned want = ts->cause == TASK_IRET ? 0x3 : 0x1; /* busy or available */
    if (DESC_S(&d) || (type & 7) != want)
        x86_fault(cpu, vector, error);
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, error);
    if (x86_desc_limit(&d) < (type & 8 ? TSS32_SIZE : TSS16_SIZE) - 1)
        x86_fault(cpu, EXC_TS, error);
    return d;
}

static void load_task_ldt(X86Cpu *cpu, uint16_t sel, unsigned ext)
{
    X86Desc d;
    cpu->st.seg[SEG_LDTR] = (X86Segment) { .selector = sel };
    if (SEL_NULL(sel))
        return;
    if ((sel & 4) || !x86_desc_read(cpu, sel, &d) || DESC_S(&d) || DESC_TYPE(&d) != 2 || !DESC_P(&d))
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    cpu->st.seg[SEG_LDTR] = x86_desc_segment(&d, sel);
}

static void load_task_cs(X86Cpu *cpu, uint16_t sel, unsigned ext)
{
    X86Desc d;
    if (SEL_NULL(sel) || !x86_desc_read(cpu, sel, &d) || !DESC_IS_CODE(&d))
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    bool ok = DESC_CONFORMING(&d) ? DESC_DPL(&d) <= (sel & 3) : DESC_DPL(&d) == (sel & 3);
    if (!ok)
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel) + ext);
    x86_desc_accessed(cpu, &d);
    cpu->st.seg[SEG_CS] = x86_desc_segment(&d, sel);
}

static void load_task_data(X86Cpu *cpu, unsigned seg, uint16_t sel, unsigned ext)
{
    X86Desc d;
    if (SEL_NULL(sel))
        return;
    if (!x86_desc_read(cpu, sel, &d) || !DESC_S(&d) || (DESC_TYPE(&d) & 0xa) == 8)
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    bool conforming = DESC_IS_CODE(&d) && DESC_CONFORMING(&d);
    if (!conforming && MAX(sel & 3u, cpu->st.cpl) > DESC_DPL(&d))
        x86_fault(cpu, EXC_TS, SEL_ERR(sel) + ext);
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel) + ext);
    x86_desc_accessed(cpu, &d);
    cpu->st.seg[seg] = x86_desc_segment(&d, sel);
}

/*
 * From here on faults belong to the new task: selectors are loaded first, hidden parts as far as their descriptors
 * are good.
 */
static void load_segments(X86Cpu *cpu, const Task *t, unsigned ext)
{
    X86State *st = &cpu->st;
    for (unsigned i = 0; i < 6; i++)
        st->seg[i] = (X86Segment) { .selector = t->seg[i] };
    load_task_ldt(cpu, t->ldt, ext);
    if (st->rflags & FL_VM) {
        x86_set_cpl(cpu, 3);
        for (unsigned i = 0; i < 6; i++)
            x86_seg_load_real(cpu, i, t->seg[i]);
        return;
    }
    x86_set_cpl(cpu, t->seg[SEG_CS] & 3);
    load_task_cs(cpu, t->seg[SEG_CS], ext);
    st->seg[SEG_SS] = x86_inner_ss(cpu, t->seg[SEG_SS], st->cpl, ext);
    static const uint8_t data[] = { SEG_DS, SEG_ES, SEG_FS, SEG_GS };
    for (unsigned i = 0; i < 4; i++)
        load_task_data(cpu, data[i], t->seg[data[i]], ext);
}

static void commit_task(X86Cpu *cpu, const Task *t, bool wide, bool nest)
{
    X86State *st = &cpu->st;
    for (unsigned i = 0; i < 8; i++)
        st->gpr[i] = t->gpr[i];
    st->rip = t->eip;
    uint32_t known = 0x3f7fd5;
    st->rflags = (wide ? t->eflags & known : (st->rflags & 0x3f0000 & ~(uint64_t)FL_VM & ~(uint64_t)FL_RF) |
                                             (t->eflags & 0x7fd5)) | 2;
    if (nest)
        st->rflags |= FL_NT;
    st->cr0 |= CR0_TS;
    st->dr[7] &= ~0x155ull; /* local breakpoints */
    if (wide && (st->cr0 & CR0_PG) && t->cr3 != st->cr3) {
        st->cr3 = t->cr3;
        x86_tlb_flush(cpu, X86_TLB_SWITCH_FLUSH, 0);
    }
}

void x86_task_switch(X86Cpu *cpu, const TaskSwitch *ts)
{
    X86State *st = &cpu->st;
    X86Desc d = read_new_tss(cpu, ts), old;
    bool wide = DESC_TYPE(&d) & 8, nest = ts->cause == TASK_CALL || ts->cause == TASK_GATE;
    uint16_t old_sel = st->seg[SEG_TR].selector;
    uint64_t base = x86_desc_base(&d);

    /* all pages are checked before anything changes */
    x86_probe(cpu, st->seg[SEG_TR].base, tr_is_32(st) ? TSS32_SIZE : TSS16_SIZE, X86_WRITE | X86_SUPERVISOR);
    x86_probe(cpu, base, wide ? TSS32_SIZE : TSS16_SIZE, nest ? X86_WRITE | X86_SUPERVISOR : SYS);
    Task t;
    task_load(cpu, base, wide, &t);
    bool old_known = x86_desc_read(cpu, old_sel, &old);

    task_save(cpu, ts, ts->cause == TASK_IRET ? ts->flags & ~FL_NT : ts->flags);
    if (!nest && old_known)
        set_busy(cpu, &old, false);
    if (nest)
        x86_st(cpu, base + TSS32_LINK, old_sel, 2, X86_SUPERVISOR);
    if (ts->cause != TASK_IRET)
        set_busy(cpu, &d, true);
    st->seg[SEG_TR] = x86_desc_segment(&d, ts->selector);
    st->seg[SEG_TR].attr |= 2;
    commit_task(cpu, &t, wide, nest);
    load_segments(cpu, &t, ts->ext);
    if (ts->has_error) {
        Stack s = x86_stack(cpu);
        x86_stack_push(cpu, &s, ts->error, wide ? 4 : 2);
        x86_stack_commit(cpu, &s);
    }
    x86_check_rip(cpu, &st->seg[SEG_CS], st->rip);
    x86_mode_changed(cpu);
    if (t.trap)
        x86_fault_debug(cpu, DR6_BT);
}
