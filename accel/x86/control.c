/*
 * Control and debug registers, EFER. SDM 3A 2.5, 17.2.
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"

void x86_tlb_flush(X86Cpu *cpu, X86TlbFlush kind, uint64_t lin)
{
    if (cpu->engine && cpu->engine->tlb_flush)
        cpu->engine->tlb_flush(cpu, kind, lin, cpu->st.cr4 & CR4_PCIDE ? cpu->st.cr3 & 0xfff : 0);
}

/* PAE: the four directory pointers are checked when they become active; SDM 3A 4.4.1. */
static void check_pdptes(X86Cpu *cpu, uint64_t cr3)
{
    uint64_t bad = 0x1e6 | (cpu->phys_bits < 64 ? ~((1ull << cpu->phys_bits) - 1) : 0);
    for (unsigned i = 0; i < 4; i++) {
        X86RamRef ref;
        uint64_t gpa = (cr3 & 0xffffffe0u) + i * 8;
        if (!cpu->st.a20)
            gpa &= ~(1ull << 20);
        if (!x86_ram_ref(cpu, gpa, false, &ref))
            continue;
        uint64_t pdpte = ld64(ref.hva);
        if ((pdpte & 1) && (pdpte & bad))
            x86_fault(cpu, EXC_GP, 0);
    }
}

#define CR0_KNOWN (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

void x86_set_cr0(X86Cpu *cpu, uint64_t value)
{
    X86State *st = &cpu->st;
    if (value >> 32)
        x86_fault(cpu, EXC_GP, 0);
    if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
        x86_fault(cpu, EXC_GP, 0);
    value = (value & CR0_KNOWN) | CR0_ET;
    uint64_t changed = st->cr0 ^ value;
    uint64_t efer = st->efer;
    if ((changed & CR0_PG) && (value & CR0_PG)) {
        if (efer & EFER_LME) {
            if (!(st->cr4 & CR4_PAE) || (st->seg[SEG_CS].attr & SEG_ATTR_L))
                x86_fault(cpu, EXC_GP, 0);
            efer |= EFER_LMA;
        } else if (st->cr4 & CR4_PAE) {
            check_pdptes(cpu, st->cr3);
        }
    } else if (changed & CR0_PG) {
        if (x86_code64(st) || (st->cr4 & CR4_PCIDE))
            x86_fault(cpu, EXC_GP, 0);
        efer &= ~(uint64_t)EFER_LMA;
    }
    st->cr0 = value;
    st->efer = efer;
    if (changed & (CR0_PG | CR0_WP | CR0_PE))
        x86_tlb_flush(cpu, X86_TLB_ALL, 0);
    x86_mode_changed(cpu);
}

void x86_set_cr3(X86Cpu *cpu, uint64_t value)
{
    X86State *st = &cpu->st;
    bool keep = false;
    if (st->cr4 & CR4_PCIDE) {
        keep = value >> 63;
        value &= ~(1ull << 63);
    }
    if (x86_long_mode(st)) {
        if (value >> cpu->phys_bits)
            x86_fault(cpu, EXC_GP, 0);
    } else {
        value = (uint32_t)value;
        if ((st->cr4 & CR4_PAE) && (st->cr0 & CR0_PG))
            check_pdptes(cpu, value);
    }
    st->cr3 = value;
    x86_tlb_flush(cpu, keep ? X86_TLB_SWITCH : X86_TLB_SWITCH_FLUSH, 0);
}

static uint64_t cr4_allowed(const X86Cpu *cpu)
{
    static const struct { uint64_t bits; X86Feature feature; } by_feature[] = {
        { CR4_VME | CR4_PVI, X86_FEAT_VME }, { CR4_TSD, X86_FEAT_TSC }, { CR4_DE, X86_FEAT_DE }, { CR4_PSE, X86_FEAT_PSE },
        { CR4_PAE, X86_FEAT_PAE }, { CR4_MCE, X86_FEAT_MCE }, { CR4_PGE, X86_FEAT_PGE }, { CR4_OSFXSR, X86_FEAT_FXSR },
        { CR4_OSXMMEXCPT, X86_FEAT_SSE }, { CR4_UMIP, X86_FEAT_UMIP }, { CR4_FSGSBASE, X86_FEAT_FSGSBASE },
        { CR4_PCIDE, X86_FEAT_PCID }, { CR4_OSXSAVE, X86_FEAT_XSAVE }, { CR4_SMEP, X86_FEAT_SMEP },
        { CR4_SMAP, X86_FEAT_SMAP },
    };
    uint64_t allowed = CR4_PCE;
    for (unsigned i = 0; i < G_N_ELEMENTS(by_feature); i++)
        if (x86_has(cpu, by_feature[i].feature))
            allowed |= by_feature[i].bits;
    return allowed;
}

void x86_set_cr4(X86Cpu *cpu, uint64_t value)
{
    X86State *st = &cpu->st;
    uint64_t changed = st->cr4 ^ value;
    if (value & ~cr4_allowed(cpu))
        x86_fault(cpu, EXC_GP, 0);
    if (x86_long_mode(st) && !(value & CR4_PAE))
        x86_fault(cpu, EXC_GP, 0);
    if ((changed & CR4_PCIDE) && (value & CR4_PCIDE) && (!x86_long_mode(st) || (st->cr3 & 0xfff)))
        x86_fault(cpu, EXC_GP, 0);
    if ((changed & CR4_PAE) && (value & CR4_PAE) && (st->cr0 & CR0_PG))
        check_pdptes(cpu, st->cr3);
    st->cr4 = value;
    if (changed & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP))
        x86_tlb_flush(cpu, X86_TLB_ALL, 0);
    x86_mode_changed(cpu);
}

void x86_set_efer(X86Cpu *cpu, uint64_t value)
{
    X86State *st = &cpu->st;
    uint64_t allowed = 0;
    if (x86_has(cpu, X86_FEAT_SYSCALL))
        allowed |= EFER_SCE;
    if (x86_has(cpu, X86_FEAT_LM))
        allowed |= EFER_LME | EFER_LMA;
    if (x86_has(cpu, X86_FEAT_NX))
        allowed |= EFER_NXE;
    if (value & ~allowed)
        x86_fault(cpu, EXC_GP, 0);
    if ((st->cr0 & CR0_PG) && ((st->efer ^ value) & EFER_LME))
        x86_fault(cpu, EXC_GP, 0);
    uint64_t changed = st->efer ^ value;
    st->efer = (value & ~(uint64_t)EFER_LMA) | (st->efer & EFER_LMA);
    if (changed & EFER_NXE)
        x86_tlb_flush(cpu, X86_TLB_ALL, 0);
    x86_mode_changed(cpu);
}

/* ---- instructions ---- */

#define CR_DONE (X86_EXEC_MODE | X86_EXEC_END)

static void need_cpl0(X86Cpu *cpu)
{
    if (cpu->st.cpl != 0)
        x86_fault(cpu, EXC_GP, 0);
}

static uint64_t read_cr(X86Cpu *cpu, unsigned n)
{
    X86State *st = &cpu->st;
    switch (n) {
    case 0: return st->cr0;
    case 2: return st->cr2;
    case 3: return st->cr3;
    case 4: return st->cr4;
    case 8:
        if (!cpu->apic_ops)
            return st->cr8;
        x86_fpu_out(cpu);
        return cpu->apic_ops->get_cr8(cpu->apic);
    default: x86_fault(cpu, EXC_UD, 0);
    }
}

static void write_cr8(X86Cpu *cpu, uint64_t value)
{
    if (value & ~0xfull)
        x86_fault(cpu, EXC_GP, 0);
    cpu->st.cr8 = value;
    if (cpu->apic_ops) {
        x86_fpu_out(cpu);
        cpu->apic_ops->set_cr8(cpu->apic, value);
    }
}

static unsigned write_cr(X86Cpu *cpu, unsigned n, uint64_t value)
{
    switch (n) {
    case 0: x86_set_cr0(cpu, value); return CR_DONE;
    case 2: cpu->st.cr2 = value; return 0;
    case 3: x86_set_cr3(cpu, value); return CR_DONE;
    case 4: x86_set_cr4(cpu, value); return CR_DONE;
    case 8: write_cr8(cpu, value); return X86_EXEC_END;
    default: x86_fault(cpu, EXC_UD, 0);
    }
}

unsigned x86_exec_mov_cr(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_cr(X86Cpu *cpu, const Insn *in)
{
    bool write = x86_is_creg(in->op[0].reg.value);
    unsigned n = in->op[write ? 0 : 1].reg.value - ZYDIS_REGISTER_CR0;
    if (n != 0 && n != 2 && n != 3 && n != 4 && n != 8)
        x86_fault(cpu, EXC_UD, 0);
    need_cpl0(cpu);
    if (write)
        return write_cr(cpu, n, x86_reg_read(cpu, in->op[1].reg.value));
    x86_reg_write(cpu, in->op[0].reg.value, read_cr(cpu, n));
    return 0;
}

#define DR6_FIXED 0xffff0ff0ull
#define DR6_WRITABLE 0xe00full
#define DR7_WRITABLE 0xffff23ffull
#define DR7_FIXED 0x400ull
#define DR7_GD 0x2000ull

unsigned x86_exec_mov_dr(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_dr(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    bool write = x86_is_dreg(in->op[0].reg.value);
    unsigned n = in->op[write ? 0 : 1].reg.value - ZYDIS_REGISTER_DR0;
    if (n > 7 || ((n == 4 || n == 5) && (st->cr4 & CR4_DE)))
        x86_fault(cpu, EXC_UD, 0);
    if (n == 4 || n == 5)
        n += 2;
    need_cpl0(cpu);
    if (st->dr[7] & DR7_GD)
        x86_fault_debug(cpu, DR6_BD);
    if (!write) {
        x86_reg_write(cpu, in->op[0].reg.value, st->dr[n]);
        return 0;
    }
    uint64_t value = x86_reg_read(cpu, in->op[1].reg.value);
    if (n >= 6 && value >> 32)
        x86_fault(cpu, EXC_GP, 0);
    if (n == 6)
        value = (value & DR6_WRITABLE) | DR6_FIXED;
    else if (n == 7)
        value = (value & DR7_WRITABLE) | DR7_FIXED;
    st->dr[n] = value;
    x86_mode_changed(cpu);
    return X86_EXEC_MODE | X86_EXEC_END;
}

static unsigned exec_lmsw(X86Cpu *cpu, const Insn *in)
{
    need_cpl0(cpu);
    uint64_t value = x86_op_is_mem(in, 0) ? x86_ld(cpu, x86_op_lin(cpu, in, 0, 2, X86_READ), 2, X86_READ)
                                          : x86_reg_read(cpu, in->op[0].reg.value);
    uint64_t cr0 = cpu->st.cr0;
    /* PE can be set, not cleared */
    x86_set_cr0(cpu, (cr0 & ~0xeull) | (value & 0xf));
    return CR_DONE;
}

static unsigned exec_smsw(X86Cpu *cpu, const Insn *in)
{
    if ((cpu->st.cr4 & CR4_UMIP) && cpu->st.cpl)
        x86_fault(cpu, EXC_GP, 0);
    if (x86_op_is_mem(in, 0))
        x86_st(cpu, x86_op_lin(cpu, in, 0, 2, X86_WRITE), cpu->st.cr0, 2, 0);
    else
        x86_reg_write(cpu, in->op[0].reg.value, cpu->st.cr0);
    return 0;
}

static unsigned exec_clts(X86Cpu *cpu, const Insn *in)
{
    need_cpl0(cpu);
    cpu->st.cr0 &= ~(uint64_t)CR0_TS;
    x86_mode_changed(cpu);
    return CR_DONE;
}

static unsigned exec_invlpg(X86Cpu *cpu, const Insn *in)
{
    need_cpl0(cpu);
    const ZydisDecodedOperand *op = &in->op[0];
    unsigned seg = x86_operand_seg(op);
    uint64_t lin = x86_operand_offset(cpu, in->zi, op);
    if (in->bits != 64 || seg == SEG_FS || seg == SEG_GS)
        lin += cpu->st.seg[seg].base;
    if (in->bits != 64)
        lin &= 0xffffffffu;
    if (in->bits != 64 || x86_canonical(lin)) /* non-canonical: nothing happens */
        x86_tlb_flush(cpu, X86_TLB_PAGE, lin);
    return X86_EXEC_END;
}

static unsigned exec_invpcid(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!x86_has(cpu, X86_FEAT_INVPCID))
        x86_fault(cpu, EXC_UD, 0);
    need_cpl0(cpu);
    if (x86_v8086(st))
        x86_fault(cpu, EXC_GP, 0);
    uint64_t kind = x86_reg_read(cpu, in->op[0].reg.value);
    uint64_t at = x86_op_lin(cpu, in, 1, 16, X86_READ);
    uint64_t pcid = x86_ld(cpu, at, 8, X86_READ), lin = x86_ld(cpu, at + 8, 8, X86_READ);
    if (kind > 3 || (kind < 2 && (pcid >> 12 || (!(st->cr4 & CR4_PCIDE) && pcid))) || (kind == 0 && !x86_canonical(lin)))
        x86_fault(cpu, EXC_GP, 0);
    static const X86TlbFlush kinds[] = { X86_TLB_PAGE, X86_TLB_PCID, X86_TLB_ALL, X86_TLB_NON_GLOBAL };
    if (cpu->engine && cpu->engine->tlb_flush)
        cpu->engine->tlb_flush(cpu, kinds[kind], lin, pcid);
    return X86_EXEC_END;
}

void x86_register_control(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_LMSW] = exec_lmsw;
    table[ZYDIS_MNEMONIC_SMSW] = exec_smsw;
    table[ZYDIS_MNEMONIC_CLTS] = exec_clts;
    table[ZYDIS_MNEMONIC_INVLPG] = exec_invlpg;
    table[ZYDIS_MNEMONIC_INVPCID] = exec_invpcid;
}
