/*
 * Segment descriptors: limit and type checks, loads of segment registers. SDM 3A ch. 3 and 5.
 */
#include "accel/x86/internal.h"

static _Noreturn void seg_fault(X86Cpu *cpu, bool ss, uint32_t error)
{
    x86_fault(cpu, ss ? EXC_SS : EXC_GP, error);
}

static bool in_limit(const X86Segment *seg, uint64_t offset, unsigned size)
{
    uint64_t last = offset + size - 1;
    if (!(seg->attr & SEG_ATTR_CODE) && (seg->attr & SEG_ATTR_CE) && (seg->attr & SEG_ATTR_S)) {
        uint64_t top = seg->attr & SEG_ATTR_DB ? 0xffffffffu : 0xffffu; /* expand down */
        return offset > seg->limit && last <= top;
    }
    return last <= seg->limit;
}

uint64_t x86_seg_check(X86Cpu *cpu, const X86Segment *seg, bool ss, uint64_t offset, unsigned size, unsigned access,
                       uint32_t error)
{
    const X86State *st = &cpu->st;
    if (x86_protected(st)) {
        if (!(seg->attr & SEG_ATTR_P))
            seg_fault(cpu, ss, error);
        bool code = seg->attr & SEG_ATTR_CODE;
        if ((access & X86_KIND) == X86_WRITE && (code || !(seg->attr & SEG_ATTR_RW)))
            seg_fault(cpu, ss, error);
        if ((access & X86_KIND) == X86_READ && code && !(seg->attr & SEG_ATTR_RW))
            seg_fault(cpu, ss, error);
    }
    if (!in_limit(seg, offset, size))
        seg_fault(cpu, ss, error);
    return (seg->base + offset) & 0xffffffffu;
}

uint64_t x86_seg_lin(X86Cpu *cpu, unsigned seg, uint64_t offset, unsigned size, unsigned access)
{
    const X86State *st = &cpu->st;
    if (!x86_code64(st))
        return x86_seg_check(cpu, &st->seg[seg], seg == SEG_SS, offset, size, access, 0);
    uint64_t lin = offset + (seg == SEG_FS || seg == SEG_GS ? st->seg[seg].base : 0);
    if (!x86_canonical(lin) || !x86_canonical(lin + size - 1))
        seg_fault(cpu, seg == SEG_SS, 0);
    return lin;
}

bool x86_desc_read(X86Cpu *cpu, uint16_t sel, X86Desc *desc)
{
    const X86State *st = &cpu->st;
    uint64_t base = st->gdt.base;
    uint32_t limit = st->gdt.limit;
    if (sel & 4) {
        if (!(st->seg[SEG_LDTR].attr & SEG_ATTR_P))
            return false;
        base = st->seg[SEG_LDTR].base;
        limit = st->seg[SEG_LDTR].limit;
    }
    if ((uint32_t)(sel | 7) > limit)
        return false;
    desc->addr = base + (sel & 0xfff8);
    if (!x86_long_mode(st))
        desc->addr &= 0xffffffffu;
    uint64_t value = x86_ld(cpu, desc->addr, 8, X86_READ | X86_SUPERVISOR);
    desc->lo = value;
    desc->hi = value >> 32;
    return true;
}

uint64_t x86_desc_base(const X86Desc *d)
{
    return (d->lo >> 16) | (d->hi & 0xff) << 16 | (d->hi & 0xff000000u);
}

uint32_t x86_desc_limit(const X86Desc *d)
{
    uint32_t limit = (d->lo & 0xffff) | (d->hi & 0xf0000);
    return d->hi & (1u << 23) ? limit << 12 | 0xfff : limit;
}

X86Segment x86_desc_segment(const X86Desc *d, uint16_t sel)
{
    return (X86Segment) {
        .base = x86_desc_base(d), .limit = x86_desc_limit(d), .selector = sel, .attr = (d->hi >> 8) & 0xf0ff,
    };
}

void x86_desc_accessed(X86Cpu *cpu, X86Desc *d)
{
    if (!DESC_S(d) || (d->hi & 0x100))
        return;
    d->hi |= 0x100;
    uint8_t type = x86_ld(cpu, d->addr + 5, 1, X86_WRITE | X86_SUPERVISOR);
    x86_st(cpu, d->addr + 5, type | 1, 1, X86_SUPERVISOR);
}

void x86_seg_load_real(X86Cpu *cpu, unsigned seg, uint16_t sel)
{
    X86Segment *s = &cpu->st.seg[seg];
    s->selector = sel;
    s->base = (uint32_t)sel << 4;
    if (x86_v8086(&cpu->st)) {
        s->limit = 0xffff;
        s->attr = 0xf3;
    } /* else limit and attributes stay: "unreal mode" */
}

/*
 * A null selector; in 64-bit mode the base of FS and GS is cleared as well (Intel leaves it on some, both are
 * allowed).
 */
static void load_null(X86Cpu *cpu, unsigned seg, uint16_t sel)
{
    X86Segment *s = &cpu->st.seg[seg];
    *s = (X86Segment) { .selector = sel };
    if (seg == SEG_SS)
        s->attr = (sel & 3) << SEG_ATTR_DPL_SHIFT;
}

static void load_ss(X86Cpu *cpu, uint16_t sel)
{
    X86State *st = &cpu->st;
    X86Desc d;
    if (SEL_NULL(sel)) {
        if (!x86_code64(st) || st->cpl == 3 || (sel & 3) != st->cpl)
            x86_fault(cpu, EXC_GP, 0);
        load_null(cpu, SEG_SS, sel);
        return;
    }
    if (!x86_desc_read(cpu, sel, &d) || (sel & 3) != st->cpl || !DESC_S(&d) || (DESC_TYPE(&d) & 0xa) != 2 ||
        DESC_DPL(&d) != st->cpl)
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_SS, SEL_ERR(sel));
    x86_desc_accessed(cpu, &d);
    st->seg[SEG_SS] = x86_desc_segment(&d, sel);
}

void x86_seg_load(X86Cpu *cpu, unsigned seg, uint16_t sel)
{
    X86State *st = &cpu->st;
    X86Desc d;
    if (!x86_protected(st)) {
        x86_seg_load_real(cpu, seg, sel);
        return;
    }
    if (seg == SEG_SS) {
        load_ss(cpu, sel);
        return;
    }
    if (SEL_NULL(sel)) {
        load_null(cpu, seg, sel);
        return;
    }
    if (!x86_desc_read(cpu, sel, &d) || !DESC_S(&d) || (DESC_TYPE(&d) & 0xa) == 8) /* execute-only code */
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    bool conforming = DESC_IS_CODE(&d) && DESC_CONFORMING(&d);
    if (!conforming && MAX(sel & 3u, st->cpl) > DESC_DPL(&d))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel));
    x86_desc_accessed(cpu, &d);
    st->seg[seg] = x86_desc_segment(&d, sel);
}

void x86_seg_drop_privileged(X86Cpu *cpu)
{
    static const uint8_t data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
    X86State *st = &cpu->st;
    for (unsigned i = 0; i < G_N_ELEMENTS(data); i++) {
        X86Segment *s = &st->seg[data[i]];
        bool conforming = (s->attr & (SEG_ATTR_CODE | SEG_ATTR_CE)) == (SEG_ATTR_CODE | SEG_ATTR_CE);
        if (!(s->attr & SEG_ATTR_P)) /* null already: in 64-bit mode its base may be in use (MSR_FS_BASE) */
            continue;
        if (!conforming && ((s->attr >> SEG_ATTR_DPL_SHIFT) & 3) < st->cpl)
            *s = (X86Segment) { 0 };
    }
}

unsigned x86_operand_seg(const ZydisDecodedOperand *op)
{
    switch (op->mem.segment) {
    case ZYDIS_REGISTER_ES: return SEG_ES;
    case ZYDIS_REGISTER_CS: return SEG_CS;
    case ZYDIS_REGISTER_SS: return SEG_SS;
    case ZYDIS_REGISTER_FS: return SEG_FS;
    case ZYDIS_REGISTER_GS: return SEG_GS;
    default: return SEG_DS;
    }
}

/* ---- instructions ---- */

static unsigned exec_mov_sreg(X86Cpu *cpu, const Insn *in)
{
    bool to_sreg = in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && x86_is_sreg(in->op[0].reg.value);
    if (!to_sreg) {
        uint16_t sel = cpu->st.seg[in->op[1].reg.value - ZYDIS_REGISTER_ES].selector;
        /* a register takes the operand size (zero-extended), memory 16 bits */
        if (x86_op_is_mem(in, 0))
            x86_st(cpu, x86_op_lin(cpu, in, 0, 2, X86_WRITE), sel, 2, 0);
        else
            x86_reg_write(cpu, in->op[0].reg.value, sel);
        return 0;
    }
    unsigned seg = in->op[0].reg.value - ZYDIS_REGISTER_ES;
    if (seg == SEG_CS || seg > SEG_GS)
        x86_fault(cpu, EXC_UD, 0);
    uint16_t sel = x86_op_is_mem(in, 1) ? x86_ld(cpu, x86_op_lin(cpu, in, 1, 2, X86_READ), 2, X86_READ)
                                        : x86_reg_read(cpu, in->op[1].reg.value);
    x86_seg_load(cpu, seg, sel);
    if (seg == SEG_SS)
        cpu->st.shadow = SHADOW_SS;
    return X86_EXEC_MODE | (seg == SEG_SS ? X86_EXEC_END : 0);
}

unsigned x86_exec_mov_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_sreg(X86Cpu *cpu, const Insn *in) { return exec_mov_sreg(cpu, in); }

unsigned x86_exec_push_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_push_sreg(X86Cpu *cpu, const Insn *in)
{
    Stack s = x86_stack(cpu);
    uint16_t sel = cpu->st.seg[in->op[0].reg.value - ZYDIS_REGISTER_ES].selector;
    unsigned size = x86_stack_osz(in);
    /* only 16 bits are written in a 32-bit slot, as recent processors do; 64-bit slots are zero-extended */
    if (size == 4) {
        uint64_t sp = (s.sp - 4) & s.mask;
        x86_st(cpu, x86_seg_check(cpu, &s.ss, true, sp, 4, X86_WRITE, 0), sel, 2, 0);
        s.sp = (s.sp & ~s.mask) | sp;
    } else {
        x86_stack_push(cpu, &s, sel, size);
    }
    x86_stack_commit(cpu, &s);
    return 0;
}

unsigned x86_exec_pop_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_pop_sreg(X86Cpu *cpu, const Insn *in)
{
    unsigned seg = in->op[0].reg.value - ZYDIS_REGISTER_ES;
    Stack s = x86_stack(cpu);
    unsigned size = x86_stack_osz(in);
    uint16_t sel = x86_stack_pop(cpu, &s, size);
    x86_seg_load(cpu, seg, sel);
    if (seg == SEG_SS) {
        cpu->st.shadow = SHADOW_SS;
        /* the pointer is written by the size of the old stack segment */
    }
    x86_stack_commit(cpu, &s);
    return X86_EXEC_MODE | (seg == SEG_SS ? X86_EXEC_END : 0);
}

static unsigned load_far_pointer(X86Cpu *cpu, const Insn *in, unsigned seg)
{
    unsigned size = in->osz;
    uint64_t lin = x86_op_lin(cpu, in, 1, size + 2, X86_READ);
    uint64_t offset = x86_ld(cpu, lin, size, X86_READ);
    uint16_t sel = x86_ld(cpu, lin + size, 2, X86_READ);
    x86_seg_load(cpu, seg, sel);
    x86_reg_write(cpu, in->op[0].reg.value, offset);
    return X86_EXEC_MODE;
}

static unsigned exec_les(X86Cpu *cpu, const Insn *in) { return load_far_pointer(cpu, in, SEG_ES); }
static unsigned exec_lds(X86Cpu *cpu, const Insn *in) { return load_far_pointer(cpu, in, SEG_DS); }
static unsigned exec_lss(X86Cpu *cpu, const Insn *in) { return load_far_pointer(cpu, in, SEG_SS); }
static unsigned exec_lfs(X86Cpu *cpu, const Insn *in) { return load_far_pointer(cpu, in, SEG_FS); }
static unsigned exec_lgs(X86Cpu *cpu, const Insn *in) { return load_far_pointer(cpu, in, SEG_GS); }

/* LAR, LSL, VERR, VERW: descriptor that the current privilege may see, or false. */
static bool visible_desc(X86Cpu *cpu, uint16_t sel, X86Desc *d)
{
    if (SEL_NULL(sel) || !x86_desc_read(cpu, sel, d))
        return false;
    if (DESC_IS_CODE(d) && DESC_CONFORMING(d))
        return true;
    return MAX(cpu->st.cpl, sel & 3u) <= DESC_DPL(d);
}

static uint16_t selector_operand(X86Cpu *cpu, const Insn *in, unsigned n)
{
    if (!x86_protected(&cpu->st))
        x86_fault(cpu, EXC_UD, 0);
    if (x86_op_is_mem(in, n))
        return x86_ld(cpu, x86_op_lin(cpu, in, n, 2, X86_READ), 2, X86_READ);
    return x86_reg_read(cpu, in->op[n].reg.value);
}

static void set_zf(X86Cpu *cpu, bool on)
{
    cpu->st.rflags = (cpu->st.rflags & ~(uint64_t)FL_ZF) | (on ? FL_ZF : 0);
}

/* System types that LAR and LSL accept, by mode; SDM 2A tables for LAR and LSL. */
static bool system_type_ok(X86Cpu *cpu, unsigned type, bool lsl)
{
    uint16_t types = x86_long_mode(&cpu->st) ? (lsl ? 0x0a04 : 0x1a04) : (lsl ? 0x0a0e : 0x1a3e);
    return types >> type & 1;
}

static unsigned exec_lar(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    uint16_t sel = selector_operand(cpu, in, 1);
    bool ok = visible_desc(cpu, sel, &d) && (DESC_S(&d) || system_type_ok(cpu, DESC_TYPE(&d), false));
    if (ok)
        x86_reg_write(cpu, in->op[0].reg.value, d.hi & 0x00ffff00u);
    set_zf(cpu, ok);
    return 0;
}

static unsigned exec_lsl(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    uint16_t sel = selector_operand(cpu, in, 1);
    bool ok = visible_desc(cpu, sel, &d) && (DESC_S(&d) || system_type_ok(cpu, DESC_TYPE(&d), true));
    if (ok)
        x86_reg_write(cpu, in->op[0].reg.value, x86_desc_limit(&d));
    set_zf(cpu, ok);
    return 0;
}

static unsigned exec_verr(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    uint16_t sel = selector_operand(cpu, in, 0);
    set_zf(cpu, visible_desc(cpu, sel, &d) && DESC_S(&d) && (!DESC_IS_CODE(&d) || (DESC_TYPE(&d) & 2)));
    return 0;
}

static unsigned exec_verw(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    uint16_t sel = selector_operand(cpu, in, 0);
    set_zf(cpu, visible_desc(cpu, sel, &d) && DESC_S(&d) && !DESC_IS_CODE(&d) && (DESC_TYPE(&d) & 2));
    return 0;
}

static unsigned exec_arpl(X86Cpu *cpu, const Insn *in)
{
    if (!x86_protected(&cpu->st))
        x86_fault(cpu, EXC_UD, 0);
    uint16_t dest = x86_op_read_rmw(cpu, in, 0), src = x86_op_read(cpu, in, 1);
    bool adjust = (dest & 3) < (src & 3);
    if (adjust)
        x86_op_write(cpu, in, 0, (dest & ~3u) | (src & 3));
    set_zf(cpu, adjust);
    return 0;
}

void x86_register_segment(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_LES] = exec_les;
    table[ZYDIS_MNEMONIC_LDS] = exec_lds;
    table[ZYDIS_MNEMONIC_LSS] = exec_lss;
    table[ZYDIS_MNEMONIC_LFS] = exec_lfs;
    table[ZYDIS_MNEMONIC_LGS] = exec_lgs;
    table[ZYDIS_MNEMONIC_LAR] = exec_lar;
    table[ZYDIS_MNEMONIC_LSL] = exec_lsl;
    table[ZYDIS_MNEMONIC_VERR] = exec_verr;
    table[ZYDIS_MNEMONIC_VERW] = exec_verw;
    table[ZYDIS_MNEMONIC_ARPL] = exec_arpl;
}
