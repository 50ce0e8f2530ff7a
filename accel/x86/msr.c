/*
 * Model-specific registers: what kernels read and write on the CPUs offered here; all others raise #GP. SDM vol. 4,
 * AMD APM
 * vol. 2 appendix A.
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"
#include "accel/x86/kvmclock.h"

#define MSR_P5_MC_ADDR       0x000
#define MSR_P5_MC_TYPE       0x001
#define MSR_TSC              0x010
#define MSR_PLATFORM_ID      0x017
#define MSR_APIC_BASE        0x01b
#define MSR_EBL_CR_POWERON   0x02a
#define MSR_TSC_ADJUST       0x03b
#define MSR_UCODE_WRITE      0x079
#define MSR_UCODE_REV        0x08b
#define MSR_MTRRCAP          0x0fe
#define MSR_SYSENTER_CS      0x174
#define MSR_SYSENTER_ESP     0x175
#define MSR_SYSENTER_EIP     0x176
#define MSR_MCG_CAP          0x179
#define MSR_MCG_STATUS       0x17a
#define MSR_MCG_CTL          0x17b
#define MSR_MISC_ENABLE      0x1a0
#define MSR_DEBUGCTL         0x1d9
#define MSR_MTRR_BASE0       0x200
#define MSR_MTRR_FIX64K      0x250
#define MSR_MTRR_FIX16K_80   0x258
#define MSR_MTRR_FIX16K_A0   0x259
#define MSR_MTRR_FIX4K_C0    0x268
#define MSR_PAT              0x277
#define MSR_MTRR_DEF_TYPE    0x2ff
#define MSR_MC0_CTL          0x400
#define MSR_TSC_DEADLINE     0x6e0
#define MSR_X2APIC_FIRST     0x800
#define MSR_X2APIC_LAST      0x8ff
#define MSR_EFER             0xc0000080
#define MSR_STAR             0xc0000081
#define MSR_LSTAR            0xc0000082
#define MSR_CSTAR            0xc0000083
#define MSR_SFMASK           0xc0000084
#define MSR_FS_BASE          0xc0000100
#define MSR_GS_BASE          0xc0000101
#define MSR_KERNEL_GS_BASE   0xc0000102
#define MSR_TSC_AUX          0xc0000103
#define MSR_AMD_SYSCFG       0xc0010010
#define MSR_AMD_HWCR         0xc0010015
#define MSR_AMD_NB_CFG       0xc001001f
#define MSR_AMD_PATCH_LOADER 0xc0010020
#define MSR_AMD_INT_PENDING  0xc0010055
#define MSR_AMD_MMIO_CONF    0xc0010058
#define MSR_AMD_DC_CFG       0xc0011022
#define MSR_AMD_DE_CFG       0xc0011029
#define MSR_AMD_BU_CFG2      0xc001102a

#define MC_BANKS 10u
#define MTRR_COUNT 8u
#define MTRR_CAP (MTRR_COUNT | 1u << 8 | 1u << 10) /* fixed ranges, write-combining */
#define UCODE_REV (1ull << 32)
#define DE_CFG_LFENCE 2u /* LFENCE is dispatch serializing */
#define NB_CFG_CF8_EXT (1ull << 46) /* extended configuration space through port CF8: this host bridge has none to enable */
#define HWCR_IGNORED 0x148u /* cache and TLB flush filter controls: nothing to control */

static bool valid_memory_type(unsigned type)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

/* Index into mtrr_fixed, or -1. */
static int fixed_mtrr(uint32_t msr)
{
    if (msr == MSR_MTRR_FIX64K)
        return 0;
    if (msr == MSR_MTRR_FIX16K_80 || msr == MSR_MTRR_FIX16K_A0)
        return 1 + (msr - MSR_MTRR_FIX16K_80);
    if (msr >= MSR_MTRR_FIX4K_C0 && msr < MSR_MTRR_FIX4K_C0 + 8)
        return 3 + (msr - MSR_MTRR_FIX4K_C0);
    return -1;
}

static bool is_mtrr(uint32_t msr)
{
    return msr == MSR_MTRRCAP || msr == MSR_MTRR_DEF_TYPE || (msr >= MSR_MTRR_BASE0 && msr < MSR_MTRR_BASE0 + 2 * MTRR_COUNT) ||
           fixed_mtrr(msr) >= 0;
}

static bool mtrr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    const X86State *st = &cpu->st;
    int fixed = fixed_mtrr(msr);
    if (!x86_has(cpu, X86_FEAT_MTRR))
        return false;
    if (msr == MSR_MTRRCAP)
        *value = MTRR_CAP;
    else if (msr == MSR_MTRR_DEF_TYPE)
        *value = st->mtrr_def_type;
    else if (fixed >= 0)
        *value = st->mtrr_fixed[fixed];
    else
        *value = msr & 1 ? st->mtrr_mask[(msr - MSR_MTRR_BASE0) / 2] : st->mtrr_base[(msr - MSR_MTRR_BASE0) / 2];
    return true;
}

static bool mtrr_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    X86State *st = &cpu->st;
    int fixed = fixed_mtrr(msr);
    uint64_t beyond = ~((1ull << cpu->phys_bits) - 1);
    if (!x86_has(cpu, X86_FEAT_MTRR) || msr == MSR_MTRRCAP)
        return false;
    if (msr == MSR_MTRR_DEF_TYPE) {
        if ((value & ~0xcffull) || !valid_memory_type(value & 0xff))
            return false;
        st->mtrr_def_type = value;
        return true;
    }
    if (fixed >= 0) {
        for (unsigned i = 0; i < 8; i++)
            if (!valid_memory_type(value >> (i * 8) & 0xff))
                return false;
        st->mtrr_fixed[fixed] = value;
        return true;
    }
    unsigned n = (msr - MSR_MTRR_BASE0) / 2;
    if (msr & 1) {
        if (value & (beyond | 0x7ff))
            return false;
        st->mtrr_mask[n] = value;
    } else {
        if ((value & (beyond | 0xf00)) || !valid_memory_type(value & 0xff))
            return false;
        st->mtrr_base[n] = value;
    }
    return true;
}

static bool is_mc_bank(uint32_t msr) { return msr >= MSR_MC0_CTL && msr < MSR_MC0_CTL + 4 * MC_BANKS; }

static bool mc_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    unsigned bank = (msr - MSR_MC0_CTL) / 4, reg = msr & 3;
    if (reg == 0 && value != 0 && value != UINT64_MAX && (value | 1u << 10) != UINT64_MAX)
        return false;
    if (reg == 1 && value != 0)
        return false; /* status is only ever cleared by software */
    cpu->st.mc[bank][reg] = value;
    return true;
}

static bool apic_msr(uint32_t msr)
{
    return (msr >= MSR_X2APIC_FIRST && msr <= MSR_X2APIC_LAST) || msr == MSR_TSC_DEADLINE;
}

static bool apic_msr_allowed(X86Cpu *cpu, uint32_t msr)
{
    if (!cpu->apic_ops)
        return false;
    return x86_has(cpu, msr == MSR_TSC_DEADLINE ? X86_FEAT_TSC_DEADLINE : X86_FEAT_X2APIC);
}

/* Registers that read as a constant. */
static bool constant_read(uint32_t msr, uint64_t *value)
{
    switch (msr) {
    case MSR_P5_MC_ADDR: case MSR_P5_MC_TYPE: case MSR_PLATFORM_ID: case MSR_EBL_CR_POWERON: case MSR_AMD_SYSCFG:
    case MSR_AMD_NB_CFG: case MSR_AMD_INT_PENDING: case MSR_AMD_MMIO_CONF: case MSR_AMD_DC_CFG: case MSR_AMD_BU_CFG2: case MSR_AMD_HWCR:
        *value = 0;
        return true;
    case MSR_UCODE_REV:
        *value = UCODE_REV;
        return true;
    case MSR_AMD_DE_CFG:
        *value = DE_CFG_LFENCE;
        return true;
    case MSR_MCG_CAP:
        *value = MC_BANKS | 1u << 8;
        return true;
    default:
        return false;
    }
}

/* 64-bit registers that are plainly stored; feature says who has them. */
typedef struct PlainMsr {
    uint32_t msr;
    uint32_t offset;   /* in X86State */
    int feature;       /* -1: always */
    bool canonical;
} PlainMsr;

#define PLAIN(msr_, field, feature_, canonical_) { msr_, offsetof(X86State, field), feature_, canonical_ }
static const PlainMsr plain_msrs[] = {
    PLAIN(MSR_LSTAR, lstar, X86_FEAT_LM, true), PLAIN(MSR_CSTAR, cstar, X86_FEAT_LM, true),
    PLAIN(MSR_STAR, star, X86_FEAT_SYSCALL, false), PLAIN(MSR_FS_BASE, seg[SEG_FS].base, X86_FEAT_LM, true),
    PLAIN(MSR_GS_BASE, seg[SEG_GS].base, X86_FEAT_LM, true),
    PLAIN(MSR_KERNEL_GS_BASE, kernel_gs_base, X86_FEAT_LM, true),
    PLAIN(MSR_SYSENTER_ESP, sysenter_esp, X86_FEAT_SEP, true), PLAIN(MSR_SYSENTER_EIP, sysenter_eip, X86_FEAT_SEP, true),
    PLAIN(MSR_SYSENTER_CS, sysenter_cs, X86_FEAT_SEP, false), PLAIN(MSR_MISC_ENABLE, misc_enable, -1, false),
    PLAIN(MSR_MCG_CTL, mcg_ctl, X86_FEAT_MCA, false),
};

static uint64_t *plain_msr(X86Cpu *cpu, uint32_t msr, bool *canonical)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(plain_msrs); i++) {
        const PlainMsr *p = &plain_msrs[i];
        if (p->msr != msr)
            continue;
        if (p->feature >= 0 && !x86_has(cpu, p->feature))
            return NULL;
        *canonical = p->canonical;
        return (uint64_t *)((char *)&cpu->st + p->offset);
    }
    return NULL;
}

bool x86_msr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    X86State *st = &cpu->st;
    bool canonical;
    const uint64_t *plain = plain_msr(cpu, msr, &canonical);
    if (plain) {
        *value = *plain;
        return true;
    }
    if (is_mtrr(msr))
        return mtrr_read(cpu, msr, value);
    if (is_mc_bank(msr)) {
        *value = st->mc[(msr - MSR_MC0_CTL) / 4][msr & 3];
        return x86_has(cpu, X86_FEAT_MCA);
    }
    if (apic_msr(msr)) {
        x86_fpu_out(cpu);
        return apic_msr_allowed(cpu, msr) && cpu->apic_ops->read_msr(cpu->apic, msr, value);
    }
    if (x86_kvmclock_is_msr(msr)) {
        x86_fpu_out(cpu);
        return x86_kvmclock_read(cpu, msr, value);
    }
    switch (msr) {
    case MSR_TSC: *value = x86_rdtsc(cpu); return true;
    case MSR_TSC_ADJUST: *value = st->tsc_adjust; return x86_has(cpu, X86_FEAT_TSC_ADJUST);
    case MSR_APIC_BASE:
        if (!cpu->apic_ops)
            return false;
        x86_fpu_out(cpu);
        *value = cpu->apic_ops->get_base(cpu->apic);
        return true;
    case MSR_EFER: *value = st->efer; return true;
    case MSR_SFMASK: *value = st->sfmask; return x86_has(cpu, X86_FEAT_SYSCALL);
    case MSR_TSC_AUX: *value = st->tsc_aux; return x86_has(cpu, X86_FEAT_RDTSCP) || x86_has(cpu, X86_FEAT_RDPID);
    case MSR_PAT: *value = st->pat; return x86_has(cpu, X86_FEAT_PAT);
    case MSR_MCG_STATUS: *value = st->mcg_status; return x86_has(cpu, X86_FEAT_MCA);
    case MSR_DEBUGCTL: *value = st->debugctl; return true;
    default: return constant_read(msr, value);
    }
}

static bool pat_write(X86Cpu *cpu, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = value >> (i * 8) & 0xff;
        if (!valid_memory_type(type) && type != 7)
            return false;
    }
    cpu->st.pat = value;
    return x86_has(cpu, X86_FEAT_PAT);
}

static void tsc_move(X86Cpu *cpu, uint64_t delta)
{
    cpu->st.tsc_offset += delta;
    cpu->st.tsc_adjust += delta;
    x86_fpu_out(cpu);
    x86_kvmclock_refresh(cpu);
}

static bool apic_base_write(X86Cpu *cpu, uint64_t value)
{
    if (!cpu->apic_ops)
        return false;
    x86_fpu_out(cpu);
    return cpu->apic_ops->set_base(cpu->apic, value);
}

bool x86_msr_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    X86State *st = &cpu->st;
    bool canonical;
    uint64_t *plain = plain_msr(cpu, msr, &canonical), constant;
    if (plain) {
        if (canonical && !x86_canonical(value))
            return false;
        *plain = value;
        return true;
    }
    if (is_mtrr(msr))
        return mtrr_write(cpu, msr, value);
    if (is_mc_bank(msr))
        return x86_has(cpu, X86_FEAT_MCA) && mc_write(cpu, msr, value);
    if (apic_msr(msr)) {
        x86_fpu_out(cpu);
        return apic_msr_allowed(cpu, msr) && cpu->apic_ops->write_msr(cpu->apic, msr, value);
    }
    if (x86_kvmclock_is_msr(msr)) {
        x86_fpu_out(cpu);
        return x86_kvmclock_write(cpu, msr, value);
    }
    switch (msr) {
    case MSR_TSC: tsc_move(cpu, value - x86_rdtsc(cpu)); return true;
    case MSR_TSC_ADJUST:
        if (!x86_has(cpu, X86_FEAT_TSC_ADJUST))
            return false;
        tsc_move(cpu, value - st->tsc_adjust);
        return true;
    case MSR_APIC_BASE: return apic_base_write(cpu, value);
    case MSR_EFER: x86_set_efer(cpu, value); return true;
    case MSR_SFMASK: st->sfmask = (uint32_t)value; return x86_has(cpu, X86_FEAT_SYSCALL);
    case MSR_TSC_AUX:
        if (value >> 32 || !(x86_has(cpu, X86_FEAT_RDTSCP) || x86_has(cpu, X86_FEAT_RDPID)))
            return false;
        st->tsc_aux = value;
        return true;
    case MSR_PAT: return pat_write(cpu, value);
    case MSR_MCG_STATUS: st->mcg_status = value; return x86_has(cpu, X86_FEAT_MCA);
    case MSR_DEBUGCTL: return value == 0; /* no branch records, no branch trace */
    case MSR_UCODE_WRITE: case MSR_AMD_PATCH_LOADER: case MSR_UCODE_REV:
        return true; /* an update that brings no newer revision */
    case MSR_AMD_NB_CFG: return !(value & ~NB_CFG_CF8_EXT);
    case MSR_AMD_HWCR: return !(value & ~(uint64_t)HWCR_IGNORED);
    default: return constant_read(msr, &constant) && value == constant;
    }
}

/* ---- instructions ---- */

static unsigned exec_rdmsr(X86Cpu *cpu, const Insn *in)
{
    uint64_t value = 0;
    if (!x86_has(cpu, X86_FEAT_MSR))
        x86_fault(cpu, EXC_UD, 0);
    if (cpu->st.cpl != 0 || !x86_msr_read(cpu, cpu->st.gpr[R_RCX], &value))
        x86_fault(cpu, EXC_GP, 0);
    cpu->st.gpr[R_RAX] = (uint32_t)value;
    cpu->st.gpr[R_RDX] = value >> 32;
    return 0;
}

static unsigned exec_wrmsr(X86Cpu *cpu, const Insn *in)
{
    const uint64_t *gpr = cpu->st.gpr;
    if (!x86_has(cpu, X86_FEAT_MSR))
        x86_fault(cpu, EXC_UD, 0);
    uint64_t value = (gpr[R_RDX] << 32) | (uint32_t)gpr[R_RAX];
    if (cpu->st.cpl != 0 || !x86_msr_write(cpu, gpr[R_RCX], value))
        x86_fault(cpu, EXC_GP, 0);
    uint32_t msr = gpr[R_RCX];
    bool mode = msr == MSR_EFER || msr == MSR_FS_BASE || msr == MSR_GS_BASE;
    return X86_EXEC_END | (mode ? X86_EXEC_MODE : 0);
}

void x86_register_msr(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_RDMSR] = exec_rdmsr;
    table[ZYDIS_MNEMONIC_WRMSR] = exec_wrmsr;
}
