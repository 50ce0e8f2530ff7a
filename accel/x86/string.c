/*
 * MOVS, STOS, LODS, CMPS, SCAS with every prefix: one element at a time. The translator has faster ways for plain RAM.
 */
#include "accel/x86/internal.h"

#define REP_CHUNK 1024

static bool is_rep(const Insn *in)
{
    return in->zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static void advance(X86Cpu *cpu, const Insn *in, unsigned reg, unsigned size)
{
    uint64_t step = cpu->st.rflags & FL_DF ? -(uint64_t)size : size;
    x86_gpr_write(cpu, reg, cpu->st.gpr[reg] + step, in->asz);
}

static uint64_t load_at(X86Cpu *cpu, const Insn *in, unsigned seg, unsigned reg, unsigned size)
{
    uint64_t lin = x86_seg_lin(cpu, seg, x86_trunc(cpu->st.gpr[reg], in->asz), size, X86_READ);
    return x86_ld(cpu, lin, size, X86_READ);
}

static void store_at_rdi(X86Cpu *cpu, const Insn *in, uint64_t value, unsigned size)
{
    uint64_t lin = x86_seg_lin(cpu, SEG_ES, x86_trunc(cpu->st.gpr[R_RDI], in->asz), size, X86_WRITE);
    x86_st(cpu, lin, value, size, 0);
}

/* Flags of a - b at this width. */
static void compare_flags(X86Cpu *cpu, uint64_t a, uint64_t b, unsigned size)
{
    unsigned shift = 64 - size * 8;
    uint64_t x = a << shift, y = b << shift, r = x - y, low = a - b;
    uint64_t flags = 0;
    flags |= x < y ? FL_CF : 0;
    flags |= r == 0 ? FL_ZF : 0;
    flags |= r >> 63 ? FL_SF : 0;
    flags |= ((x ^ y) & (x ^ r)) >> 63 ? FL_OF : 0;
    flags |= (a ^ b ^ low) & 0x10 ? FL_AF : 0;
    flags |= __builtin_parity(low & 0xff) ? 0 : FL_PF;
    x86_set_flags(cpu, flags, FL_ARITH);
}

/* The loop shared by all: once does one element. until: stops early by ZF (CMPS, SCAS). */
static unsigned repeat(X86Cpu *cpu, const Insn *in, void (*once)(X86Cpu *, const Insn *), bool compares)
{
    X86State *st = &cpu->st;
    if (!is_rep(in)) {
        once(cpu, in);
        return 0;
    }
    bool repne = in->zi->attributes & ZYDIS_ATTRIB_HAS_REPNE;
    for (unsigned i = 0; i < REP_CHUNK; i++) {
        if (!x86_trunc(st->gpr[R_RCX], in->asz))
            return 0;
        once(cpu, in);
        uint64_t left = x86_trunc(st->gpr[R_RCX] - 1, in->asz);
        x86_gpr_write(cpu, R_RCX, left, in->asz);
        if (!left || (compares && !(st->rflags & FL_ZF) != repne))
            return 0;
    }
    return X86_EXEC_REP;
}

static unsigned element_size(const Insn *in) { return in->op[0].size / 8; }

static void movs_once(X86Cpu *cpu, const Insn *in)
{
    unsigned size = element_size(in);
    store_at_rdi(cpu, in, load_at(cpu, in, x86_operand_seg(&in->op[1]), R_RSI, size), size);
    advance(cpu, in, R_RSI, size);
    advance(cpu, in, R_RDI, size);
}

static void stos_once(X86Cpu *cpu, const Insn *in)
{
    store_at_rdi(cpu, in, cpu->st.gpr[R_RAX], element_size(in));
    advance(cpu, in, R_RDI, element_size(in));
}

static void lods_once(X86Cpu *cpu, const Insn *in)
{
    unsigned size = element_size(in);
    x86_gpr_write(cpu, R_RAX, load_at(cpu, in, x86_operand_seg(&in->op[1]), R_RSI, size), size);
    advance(cpu, in, R_RSI, size);
}

static void cmps_once(X86Cpu *cpu, const Insn *in)
{
    unsigned size = element_size(in);
    uint64_t a = load_at(cpu, in, x86_operand_seg(&in->op[0]), R_RSI, size);
    uint64_t b = load_at(cpu, in, SEG_ES, R_RDI, size);
    compare_flags(cpu, a, b, size);
    advance(cpu, in, R_RSI, size);
    advance(cpu, in, R_RDI, size);
}

static void scas_once(X86Cpu *cpu, const Insn *in)
{
    unsigned size = element_size(in);
    compare_flags(cpu, x86_trunc(cpu->st.gpr[R_RAX], size), load_at(cpu, in, SEG_ES, R_RDI, size), size);
    advance(cpu, in, R_RDI, size);
}

static unsigned exec_movs(X86Cpu *cpu, const Insn *in) { return repeat(cpu, in, movs_once, false); }
static unsigned exec_stos(X86Cpu *cpu, const Insn *in) { return repeat(cpu, in, stos_once, false); }
static unsigned exec_lods(X86Cpu *cpu, const Insn *in) { return repeat(cpu, in, lods_once, false); }
static unsigned exec_cmps(X86Cpu *cpu, const Insn *in) { return repeat(cpu, in, cmps_once, true); }
static unsigned exec_scas(X86Cpu *cpu, const Insn *in) { return repeat(cpu, in, scas_once, true); }

void x86_register_string(ExecFunc **t)
{
    /* MOVSD and CMPSD are SSE2 instructions too: exec.c tells them apart by their operands */
    t[ZYDIS_MNEMONIC_MOVSB] = t[ZYDIS_MNEMONIC_MOVSW] = t[ZYDIS_MNEMONIC_MOVSD] = t[ZYDIS_MNEMONIC_MOVSQ] = exec_movs;
    t[ZYDIS_MNEMONIC_STOSB] = t[ZYDIS_MNEMONIC_STOSW] = t[ZYDIS_MNEMONIC_STOSD] = t[ZYDIS_MNEMONIC_STOSQ] = exec_stos;
    t[ZYDIS_MNEMONIC_LODSB] = t[ZYDIS_MNEMONIC_LODSW] = t[ZYDIS_MNEMONIC_LODSD] = t[ZYDIS_MNEMONIC_LODSQ] = exec_lods;
    t[ZYDIS_MNEMONIC_CMPSB] = t[ZYDIS_MNEMONIC_CMPSW] = t[ZYDIS_MNEMONIC_CMPSD] = t[ZYDIS_MNEMONIC_CMPSQ] = exec_cmps;
    t[ZYDIS_MNEMONIC_SCASB] = t[ZYDIS_MNEMONIC_SCASW] = t[ZYDIS_MNEMONIC_SCASD] = t[ZYDIS_MNEMONIC_SCASQ] = exec_scas;
}
