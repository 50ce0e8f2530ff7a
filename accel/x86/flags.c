/*
 * Instructions on EFLAGS: PUSHF, POPF, CLI, STI and the single-flag ones. SDM vol. 2; VME in SDM 3A 20.3, PVI in 20.4.
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"

unsigned x86_set_flags(X86Cpu *cpu, uint64_t value, uint64_t mask)
{
    X86State *st = &cpu->st;
    uint64_t old = st->rflags;
    st->rflags = (old & ~mask) | (value & mask) | 2;
    uint64_t changed = old ^ st->rflags;
    unsigned result = 0;
    if (changed & (FL_TF | FL_IF | FL_IOPL | FL_VIF | FL_VIP))
        result |= X86_EXEC_END;
    if (changed & (FL_AC | FL_VM | FL_TF))
        result |= X86_EXEC_MODE;
    return result;
}

/* v8086 at IOPL < 3: only 16-bit PUSHF/POPF, and only with VME. */
static bool v86_virtual(X86Cpu *cpu, unsigned size)
{
    const X86State *st = &cpu->st;
    if (!x86_v8086(st) || x86_iopl(st) == 3)
        return false;
    if (!(st->cr4 & CR4_VME) || size != 2)
        x86_fault(cpu, EXC_GP, 0);
    return true;
}

static unsigned exec_pushf(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = x86_stack_osz(in);
    uint64_t flags = st->rflags & ~(uint64_t)(FL_VM | FL_RF);
    if (v86_virtual(cpu, size)) {
        flags = (flags & ~(uint64_t)FL_IF) | FL_IOPL;
        if (st->rflags & FL_VIF)
            flags |= FL_IF;
    }
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, flags, size);
    x86_stack_commit(cpu, &s);
    return 0;
}

static unsigned exec_popf(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = x86_stack_osz(in);
    bool virtual_if = v86_virtual(cpu, size);
    Stack s = x86_stack(cpu);
    uint64_t flags = x86_stack_pop(cpu, &s, size);
    uint64_t mask = FL_ARITH | FL_TF | FL_DF | FL_NT | FL_RF | FL_AC | FL_ID;
    if (virtual_if) {
        if ((flags & FL_TF) || ((flags & FL_IF) && (st->rflags & FL_VIP)))
            x86_fault(cpu, EXC_GP, 0);
        st->rflags = (st->rflags & ~(uint64_t)FL_VIF) | (flags & FL_IF ? FL_VIF : 0);
    } else if (st->cpl == 0) {
        mask |= FL_IOPL | FL_IF;
        if (size > 2) {
            mask |= FL_VIF | FL_VIP;
            flags &= ~(uint64_t)(FL_VIF | FL_VIP);
        }
    } else if (st->cpl <= x86_iopl(st)) {
        mask |= FL_IF;
    }
    if (size == 2)
        mask &= 0xffff;
    x86_stack_commit(cpu, &s);
    return x86_set_flags(cpu, flags & ~(uint64_t)FL_RF, mask) | (flags & FL_TF ? X86_EXEC_END : 0);
}

/* Whether CLI/STI act on IF; with VME or PVI they act on VIF; else #GP. */
static bool real_if(X86Cpu *cpu)
{
    const X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PE) || st->cpl <= x86_iopl(st))
        return true;
    bool virtual_if = x86_v8086(st) ? st->cr4 & CR4_VME : st->cpl == 3 && (st->cr4 & CR4_PVI);
    if (!virtual_if)
        x86_fault(cpu, EXC_GP, 0);
    return false;
}

static unsigned exec_cli(X86Cpu *cpu, const Insn *in)
{
    uint64_t bit = real_if(cpu) ? FL_IF : FL_VIF;
    cpu->st.rflags &= ~bit;
    return X86_EXEC_END;
}

static unsigned exec_sti(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (real_if(cpu)) {
        if (!(st->rflags & FL_IF))
            st->shadow = SHADOW_STI;
        st->rflags |= FL_IF;
    } else {
        if (st->rflags & FL_VIP)
            x86_fault(cpu, EXC_GP, 0);
        st->rflags |= FL_VIF;
    }
    return X86_EXEC_END;
}

static unsigned exec_lahf(X86Cpu *cpu, const Insn *in)
{
    if (in->bits == 64 && !x86_has(cpu, X86_FEAT_LAHF_LM))
        x86_fault(cpu, EXC_UD, 0);
    x86_reg_write(cpu, ZYDIS_REGISTER_AH, (cpu->st.rflags & 0xd5) | 2);
    return 0;
}

static unsigned exec_sahf(X86Cpu *cpu, const Insn *in)
{
    if (in->bits == 64 && !x86_has(cpu, X86_FEAT_LAHF_LM))
        x86_fault(cpu, EXC_UD, 0);
    return x86_set_flags(cpu, x86_reg_read(cpu, ZYDIS_REGISTER_AH), 0xd5);
}

static unsigned exec_clc(X86Cpu *cpu, const Insn *in) { return x86_set_flags(cpu, 0, FL_CF); }
static unsigned exec_stc(X86Cpu *cpu, const Insn *in) { return x86_set_flags(cpu, FL_CF, FL_CF); }
static unsigned exec_cmc(X86Cpu *cpu, const Insn *in) { return x86_set_flags(cpu, ~cpu->st.rflags, FL_CF); }
static unsigned exec_cld(X86Cpu *cpu, const Insn *in) { return x86_set_flags(cpu, 0, FL_DF); }
static unsigned exec_std(X86Cpu *cpu, const Insn *in) { return x86_set_flags(cpu, FL_DF, FL_DF); }

static unsigned set_ac(X86Cpu *cpu, uint64_t value)
{
    if (!x86_has(cpu, X86_FEAT_SMAP) || cpu->st.cpl != 0 || x86_v8086(&cpu->st))
        x86_fault(cpu, EXC_UD, 0);
    return x86_set_flags(cpu, value, FL_AC);
}

static unsigned exec_stac(X86Cpu *cpu, const Insn *in) { return set_ac(cpu, FL_AC); }
static unsigned exec_clac(X86Cpu *cpu, const Insn *in) { return set_ac(cpu, 0); }

void x86_register_flags(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_PUSHF] = table[ZYDIS_MNEMONIC_PUSHFD] = table[ZYDIS_MNEMONIC_PUSHFQ] = exec_pushf;
    table[ZYDIS_MNEMONIC_POPF] = table[ZYDIS_MNEMONIC_POPFD] = table[ZYDIS_MNEMONIC_POPFQ] = exec_popf;
    table[ZYDIS_MNEMONIC_CLI] = exec_cli;
    table[ZYDIS_MNEMONIC_STI] = exec_sti;
    table[ZYDIS_MNEMONIC_LAHF] = exec_lahf;
    table[ZYDIS_MNEMONIC_SAHF] = exec_sahf;
    table[ZYDIS_MNEMONIC_CLC] = exec_clc;
    table[ZYDIS_MNEMONIC_STC] = exec_stc;
    table[ZYDIS_MNEMONIC_CMC] = exec_cmc;
    table[ZYDIS_MNEMONIC_CLD] = exec_cld;
    table[ZYDIS_MNEMONIC_STD] = exec_std;
    table[ZYDIS_MNEMONIC_STAC] = exec_stac;
    table[ZYDIS_MNEMONIC_CLAC] = exec_clac;
}
