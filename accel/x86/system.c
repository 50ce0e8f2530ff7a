/*
 * System instructions: descriptor table registers, HLT, CPUID, time stamps, FS/GS bases, cache control. SDM vol. 2.
 */
#include "accel/x86/internal.h"

#include <sched.h>

#include "accel/x86/features.h"

#define PAUSES_PER_YIELD 8

static void need_cpl0(X86Cpu *cpu)
{
    if (cpu->st.cpl != 0)
        x86_fault(cpu, EXC_GP, 0);
}

static void need_feature(X86Cpu *cpu, X86Feature feature)
{
    if (!x86_has(cpu, feature))
        x86_fault(cpu, EXC_UD, 0);
}

static void need_umip(X86Cpu *cpu)
{
    if ((cpu->st.cr4 & CR4_UMIP) && cpu->st.cpl != 0)
        x86_fault(cpu, EXC_GP, 0);
}

/* ---- descriptor tables ---- */

static unsigned load_table(X86Cpu *cpu, const Insn *in, X86Table *table)
{
    need_cpl0(cpu);
    bool wide = in->bits == 64;
    uint64_t at = x86_op_lin(cpu, in, 0, wide ? 10 : 6, X86_READ);
    uint32_t limit = x86_ld(cpu, at, 2, X86_READ);
    uint64_t base = x86_ld(cpu, at + 2, wide ? 8 : 4, X86_READ);
    if (wide && !x86_canonical(base))
        x86_fault(cpu, EXC_GP, 0);
    if (!wide && in->osz == 2)
        base &= 0xffffff;
    table->base = base;
    table->limit = limit;
    return 0;
}

static unsigned store_table(X86Cpu *cpu, const Insn *in, const X86Table *table)
{
    need_umip(cpu);
    bool wide = in->bits == 64;
    unsigned size = wide ? 10 : 6;
    uint64_t at = x86_op_lin(cpu, in, 0, size, X86_WRITE);
    uint8_t image[10];
    st16(image, table->limit);
    st64(image + 2, table->base);
    x86_st_bytes(cpu, at, image, size, 0);
    return 0;
}

static unsigned exec_lgdt(X86Cpu *cpu, const Insn *in) { return load_table(cpu, in, &cpu->st.gdt); }
static unsigned exec_lidt(X86Cpu *cpu, const Insn *in) { return load_table(cpu, in, &cpu->st.idt); }
static unsigned exec_sgdt(X86Cpu *cpu, const Insn *in) { return store_table(cpu, in, &cpu->st.gdt); }
static unsigned exec_sidt(X86Cpu *cpu, const Insn *in) { return store_table(cpu, in, &cpu->st.idt); }

static void need_protected(X86Cpu *cpu)
{
    if (!x86_protected(&cpu->st))
        x86_fault(cpu, EXC_UD, 0);
}

static uint16_t selector_source(X86Cpu *cpu, const Insn *in)
{
    return x86_op_is_mem(in, 0) ? x86_ld(cpu, x86_op_lin(cpu, in, 0, 2, X86_READ), 2, X86_READ)
                                : x86_reg_read(cpu, in->op[0].reg.value);
}

/* System segment of long mode: 16-byte descriptor whose second half extends the base. */
static X86Segment system_segment(X86Cpu *cpu, const X86Desc *d, uint16_t sel)
{
    X86Segment s = x86_desc_segment(d, sel);
    if (x86_long_mode(&cpu->st)) {
        uint64_t upper = x86_ld(cpu, d->addr + 8, 8, X86_READ | X86_SUPERVISOR);
        s.base |= upper << 32;
        if (!x86_canonical(s.base) || (upper >> 40 & 0x1f))
            x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    }
    return s;
}

static void check_system_limit(X86Cpu *cpu, uint16_t sel)
{
    if ((sel & 4) || (x86_long_mode(&cpu->st) && (uint32_t)(sel & ~7u) + 15 > cpu->st.gdt.limit))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
}

static unsigned exec_lldt(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    need_protected(cpu);
    need_cpl0(cpu);
    uint16_t sel = selector_source(cpu, in);
    if (SEL_NULL(sel)) {
        cpu->st.seg[SEG_LDTR] = (X86Segment) { .selector = sel };
        return 0;
    }
    check_system_limit(cpu, sel);
    if (!x86_desc_read(cpu, sel, &d) || DESC_S(&d) || DESC_TYPE(&d) != 2)
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel));
    cpu->st.seg[SEG_LDTR] = system_segment(cpu, &d, sel);
    return 0;
}

static unsigned exec_ltr(X86Cpu *cpu, const Insn *in)
{
    X86Desc d;
    need_protected(cpu);
    need_cpl0(cpu);
    uint16_t sel = selector_source(cpu, in);
    if (SEL_NULL(sel))
        x86_fault(cpu, EXC_GP, 0);
    check_system_limit(cpu, sel);
    if (!x86_desc_read(cpu, sel, &d))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    unsigned type = DESC_TYPE(&d);
    if (DESC_S(&d) || !(type == 9 || (type == 1 && !x86_long_mode(&cpu->st))))
        x86_fault(cpu, EXC_GP, SEL_ERR(sel));
    if (!DESC_P(&d))
        x86_fault(cpu, EXC_NP, SEL_ERR(sel));
    X86Segment tr = system_segment(cpu, &d, sel);
    x86_st(cpu, d.addr + 5, (d.hi >> 8 & 0xff) | 2, 1, X86_SUPERVISOR);
    tr.attr |= 2;
    cpu->st.seg[SEG_TR] = tr;
    return 0;
}

static unsigned store_selector(X86Cpu *cpu, const Insn *in, uint16_t sel)
{
    need_protected(cpu);
    need_umip(cpu);
    if (x86_op_is_mem(in, 0))
        x86_st(cpu, x86_op_lin(cpu, in, 0, 2, X86_WRITE), sel, 2, 0);
    else
        x86_reg_write(cpu, in->op[0].reg.value, sel);
    return 0;
}

static unsigned exec_sldt(X86Cpu *cpu, const Insn *in) { return store_selector(cpu, in, cpu->st.seg[SEG_LDTR].selector); }
static unsigned exec_str(X86Cpu *cpu, const Insn *in) { return store_selector(cpu, in, cpu->st.seg[SEG_TR].selector); }

/* ---- processor control ---- */

static unsigned exec_hlt(X86Cpu *cpu, const Insn *in)
{
    need_cpl0(cpu);
    cpu->vcpu.halted = true;
    return X86_EXEC_HALTED | X86_EXEC_END;
}

static unsigned exec_monitor(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_MONITOR);
    if (cpu->st.cpl != 0)
        x86_fault(cpu, EXC_UD, 0);
    if (cpu->st.gpr[R_RCX])
        x86_fault(cpu, EXC_GP, 0);
    uint64_t lin = x86_seg_lin(cpu, x86_operand_seg(&in->op[0]), x86_trunc(cpu->st.gpr[R_RAX], in->asz), 1, X86_READ);
    x86_ld(cpu, lin, 1, X86_READ);
    return 0;
}

/* Returns at once: a spurious wake-up, which software must expect (SDM 3A 8.10.4). */
static unsigned exec_mwait(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_MONITOR);
    if (cpu->st.cpl != 0)
        x86_fault(cpu, EXC_UD, 0);
    if (cpu->st.gpr[R_RCX] & ~1ull)
        x86_fault(cpu, EXC_GP, 0);
    return X86_EXEC_END;
}

static unsigned exec_cpuid(X86Cpu *cpu, const Insn *in)
{
    uint32_t out[4];
    uint64_t *gpr = cpu->st.gpr;
    x86_cpuid(cpu, gpr[R_RAX], gpr[R_RCX], out);
    gpr[R_RAX] = out[0];
    gpr[R_RBX] = out[1];
    gpr[R_RCX] = out[2];
    gpr[R_RDX] = out[3];
    return 0;
}

uint64_t x86_rdtsc(X86Cpu *cpu)
{
    return __builtin_ia32_rdtsc() + cpu->st.tsc_offset;
}

static void tsc_allowed(X86Cpu *cpu)
{
    if ((cpu->st.cr4 & CR4_TSD) && cpu->st.cpl != 0)
        x86_fault(cpu, EXC_GP, 0);
}

static unsigned exec_rdtsc(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_TSC);
    tsc_allowed(cpu);
    uint64_t tsc = x86_rdtsc(cpu);
    cpu->st.gpr[R_RAX] = (uint32_t)tsc;
    cpu->st.gpr[R_RDX] = tsc >> 32;
    return 0;
}

static unsigned exec_rdtscp(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_RDTSCP);
    exec_rdtsc(cpu, in);
    cpu->st.gpr[R_RCX] = (uint32_t)cpu->st.tsc_aux;
    return 0;
}

/* There are no counters: every index is out of range. */
static unsigned exec_rdpmc(X86Cpu *cpu, const Insn *in)
{
    x86_fault(cpu, EXC_GP, 0);
}

static unsigned exec_rdpid(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_RDPID);
    x86_reg_write(cpu, in->op[0].reg.value, (uint32_t)cpu->st.tsc_aux);
    return 0;
}

/* ---- FS, GS ---- */

static unsigned exec_swapgs(X86Cpu *cpu, const Insn *in)
{
    if (in->bits != 64)
        x86_fault(cpu, EXC_UD, 0);
    need_cpl0(cpu);
    uint64_t base = cpu->st.seg[SEG_GS].base;
    cpu->st.seg[SEG_GS].base = cpu->st.kernel_gs_base;
    cpu->st.kernel_gs_base = base;
    return 0;
}

static void need_fsgsbase(X86Cpu *cpu, const Insn *in)
{
    if (in->bits != 64 || !(cpu->st.cr4 & CR4_FSGSBASE))
        x86_fault(cpu, EXC_UD, 0);
}

static unsigned read_base(X86Cpu *cpu, const Insn *in, unsigned seg)
{
    need_fsgsbase(cpu, in);
    x86_reg_write(cpu, in->op[0].reg.value, cpu->st.seg[seg].base);
    return 0;
}

static unsigned write_base(X86Cpu *cpu, const Insn *in, unsigned seg)
{
    need_fsgsbase(cpu, in);
    uint64_t base = x86_reg_read(cpu, in->op[0].reg.value);
    if (!x86_canonical(base))
        x86_fault(cpu, EXC_GP, 0);
    cpu->st.seg[seg].base = base;
    return 0;
}

static unsigned exec_rdfsbase(X86Cpu *cpu, const Insn *in) { return read_base(cpu, in, SEG_FS); }
static unsigned exec_rdgsbase(X86Cpu *cpu, const Insn *in) { return read_base(cpu, in, SEG_GS); }
static unsigned exec_wrfsbase(X86Cpu *cpu, const Insn *in) { return write_base(cpu, in, SEG_FS); }
static unsigned exec_wrgsbase(X86Cpu *cpu, const Insn *in) { return write_base(cpu, in, SEG_GS); }

/* ---- caches, random numbers ---- */

static unsigned exec_wbinvd(X86Cpu *cpu, const Insn *in)
{
    need_cpl0(cpu);
    return 0;
}

static unsigned flush_line(X86Cpu *cpu, const Insn *in, X86Feature feature)
{
    need_feature(cpu, feature);
    x86_ld(cpu, x86_op_lin(cpu, in, 0, 1, X86_READ), 1, X86_READ);
    return 0;
}

static unsigned exec_clflush(X86Cpu *cpu, const Insn *in) { return flush_line(cpu, in, X86_FEAT_CLFLUSH); }
static unsigned exec_clflushopt(X86Cpu *cpu, const Insn *in) { return flush_line(cpu, in, X86_FEAT_CLFLUSHOPT); }
static unsigned exec_clwb(X86Cpu *cpu, const Insn *in) { return flush_line(cpu, in, X86_FEAT_CLWB); }

static unsigned exec_fence(X86Cpu *cpu, const Insn *in)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return 0;
}

static unsigned exec_nop(X86Cpu *cpu, const Insn *in) { return 0; }

/* A vCPU that spins waits for another one, whose thread may be waiting for this very host core. */
static unsigned exec_pause(X86Cpu *cpu, const Insn *in)
{
    if (++cpu->pauses % PAUSES_PER_YIELD == 0)
        sched_yield();
    return X86_EXEC_END;
}

static unsigned exec_ud(X86Cpu *cpu, const Insn *in) { x86_fault(cpu, EXC_UD, 0); }

static unsigned random_result(X86Cpu *cpu, const Insn *in, uint64_t value, bool ok)
{
    x86_reg_write(cpu, in->op[0].reg.value, ok ? value : 0);
    return x86_set_flags(cpu, ok ? FL_CF : 0, FL_ARITH);
}

static unsigned exec_rdrand(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_RDRAND);
    uint64_t value;
    bool ok;
    __asm__ volatile("rdrand %0" : "=r"(value), "=@ccc"(ok));
    return random_result(cpu, in, value, ok);
}

static unsigned exec_rdseed(X86Cpu *cpu, const Insn *in)
{
    need_feature(cpu, X86_FEAT_RDSEED);
    uint64_t value;
    bool ok;
    __asm__ volatile("rdseed %0" : "=r"(value), "=@ccc"(ok));
    return random_result(cpu, in, value, ok);
}

void x86_register_system(ExecFunc **t)
{
    static const struct { ZydisMnemonic mnemonic; ExecFunc *func; } rows[] = {
        { ZYDIS_MNEMONIC_LGDT, exec_lgdt }, { ZYDIS_MNEMONIC_LIDT, exec_lidt }, { ZYDIS_MNEMONIC_SGDT, exec_sgdt },
        { ZYDIS_MNEMONIC_SIDT, exec_sidt }, { ZYDIS_MNEMONIC_LLDT, exec_lldt }, { ZYDIS_MNEMONIC_LTR, exec_ltr },
        { ZYDIS_MNEMONIC_SLDT, exec_sldt }, { ZYDIS_MNEMONIC_STR, exec_str }, { ZYDIS_MNEMONIC_HLT, exec_hlt },
        { ZYDIS_MNEMONIC_MONITOR, exec_monitor }, { ZYDIS_MNEMONIC_MWAIT, exec_mwait },
        { ZYDIS_MNEMONIC_CPUID, exec_cpuid }, { ZYDIS_MNEMONIC_RDTSC, exec_rdtsc }, { ZYDIS_MNEMONIC_RDTSCP, exec_rdtscp },
        { ZYDIS_MNEMONIC_RDPMC, exec_rdpmc }, { ZYDIS_MNEMONIC_RDPID, exec_rdpid },
        { ZYDIS_MNEMONIC_SWAPGS, exec_swapgs }, { ZYDIS_MNEMONIC_RDFSBASE, exec_rdfsbase },
        { ZYDIS_MNEMONIC_RDGSBASE, exec_rdgsbase }, { ZYDIS_MNEMONIC_WRFSBASE, exec_wrfsbase },
        { ZYDIS_MNEMONIC_WRGSBASE, exec_wrgsbase }, { ZYDIS_MNEMONIC_WBINVD, exec_wbinvd },
        { ZYDIS_MNEMONIC_INVD, exec_wbinvd }, { ZYDIS_MNEMONIC_CLFLUSH, exec_clflush },
        { ZYDIS_MNEMONIC_CLFLUSHOPT, exec_clflushopt }, { ZYDIS_MNEMONIC_CLWB, exec_clwb },
        { ZYDIS_MNEMONIC_MFENCE, exec_fence }, { ZYDIS_MNEMONIC_LFENCE, exec_fence },
        { ZYDIS_MNEMONIC_SFENCE, exec_fence }, { ZYDIS_MNEMONIC_NOP, exec_nop }, { ZYDIS_MNEMONIC_PAUSE, exec_pause },
        { ZYDIS_MNEMONIC_ENDBR32, exec_nop }, { ZYDIS_MNEMONIC_ENDBR64, exec_nop },
        { ZYDIS_MNEMONIC_PREFETCH, exec_nop }, { ZYDIS_MNEMONIC_PREFETCHW, exec_nop },
        { ZYDIS_MNEMONIC_PREFETCHNTA, exec_nop }, { ZYDIS_MNEMONIC_PREFETCHWT1, exec_nop }, { ZYDIS_MNEMONIC_PREFETCHT0, exec_nop },
        { ZYDIS_MNEMONIC_PREFETCHT1, exec_nop }, { ZYDIS_MNEMONIC_PREFETCHT2, exec_nop },
        { ZYDIS_MNEMONIC_UD0, exec_ud }, { ZYDIS_MNEMONIC_UD1, exec_ud }, { ZYDIS_MNEMONIC_UD2, exec_ud },
        { ZYDIS_MNEMONIC_RSM, exec_ud }, { ZYDIS_MNEMONIC_VMCALL, exec_ud }, { ZYDIS_MNEMONIC_VMMCALL, exec_ud },
        { ZYDIS_MNEMONIC_RDRAND, exec_rdrand }, { ZYDIS_MNEMONIC_RDSEED, exec_rdseed },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        t[rows[i].mnemonic] = rows[i].func;
}
