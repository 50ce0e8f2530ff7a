/*
 * Near control flow, the stack, plain moves, division, decimal adjustment: what has to work on any memory and in any
 * mode without
 * the host executing it. SDM vol. 2.
 */
#include "accel/x86/internal.h"

unsigned x86_exec_far_jmp_call(X86Cpu *cpu, const Insn *in, bool call);
unsigned x86_exec_ret_far(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_push_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_pop_sreg(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_cr(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_mov_dr(X86Cpu *cpu, const Insn *in);

/* ---- branches ---- */

static bool is_far(const Insn *in) { return in->zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR; }

/* Operand size of near branches: 64-bit code has one. (AMD processors honour 0x66 there; nothing uses it.) */
static unsigned near_osz(const Insn *in) { return in->bits == 64 ? 8 : in->osz; }

static uint64_t branch_target(X86Cpu *cpu, const Insn *in)
{
    const ZydisDecodedOperand *op = &in->op[0];
    bool relative = op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE && op->imm.is_relative;
    uint64_t target = relative ? in->next + op->imm.value.s : x86_op_read(cpu, in, 0);
    target = x86_trunc(target, near_osz(in));
    x86_check_rip(cpu, &cpu->st.seg[SEG_CS], target);
    return target;
}

static unsigned jump_to(X86Cpu *cpu, uint64_t target)
{
    cpu->st.rip = target;
    return X86_EXEC_JUMP;
}

static unsigned exec_jmp(X86Cpu *cpu, const Insn *in)
{
    return is_far(in) ? x86_exec_far_jmp_call(cpu, in, false) : jump_to(cpu, branch_target(cpu, in));
}

static unsigned exec_call(X86Cpu *cpu, const Insn *in)
{
    if (is_far(in))
        return x86_exec_far_jmp_call(cpu, in, true);
    uint64_t target = branch_target(cpu, in);
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, in->next, near_osz(in));
    x86_stack_commit(cpu, &s);
    return jump_to(cpu, target);
}

static unsigned exec_ret(X86Cpu *cpu, const Insn *in)
{
    if (is_far(in))
        return x86_exec_ret_far(cpu, in);
    Stack s = x86_stack(cpu);
    uint64_t target = x86_stack_pop(cpu, &s, near_osz(in));
    x86_check_rip(cpu, &cpu->st.seg[SEG_CS], target);
    if (in->op[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
        s.sp = (s.sp & ~s.mask) | ((s.sp + (in->op[0].imm.value.u & 0xffff)) & s.mask);
    x86_stack_commit(cpu, &s);
    return jump_to(cpu, target);
}

static bool condition(uint64_t flags, unsigned cc)
{
    bool sf = flags & FL_SF, of = flags & FL_OF, zf = flags & FL_ZF, cf = flags & FL_CF, value;
    switch (cc >> 1) {
    case 0: value = of; break;
    case 1: value = cf; break;
    case 2: value = zf; break;
    case 3: value = cf || zf; break;
    case 4: value = sf; break;
    case 5: value = flags & FL_PF; break;
    case 6: value = sf != of; break;
    default: value = zf || sf != of; break;
    }
    return value != (cc & 1);
}

static unsigned exec_jcc(X86Cpu *cpu, const Insn *in)
{
    return condition(cpu->st.rflags, in->zi->opcode & 15) ? jump_to(cpu, branch_target(cpu, in)) : 0;
}

static unsigned exec_jcxz(X86Cpu *cpu, const Insn *in)
{
    return x86_trunc(cpu->st.gpr[R_RCX], in->asz) ? 0 : jump_to(cpu, branch_target(cpu, in));
}

static unsigned exec_loop(X86Cpu *cpu, const Insn *in)
{
    uint64_t count = x86_trunc(cpu->st.gpr[R_RCX] - 1, in->asz);
    bool zf = cpu->st.rflags & FL_ZF, taken = count != 0;
    if (in->zi->mnemonic == ZYDIS_MNEMONIC_LOOPE)
        taken = taken && zf;
    else if (in->zi->mnemonic == ZYDIS_MNEMONIC_LOOPNE)
        taken = taken && !zf;
    uint64_t target = taken ? branch_target(cpu, in) : 0;
    x86_gpr_write(cpu, R_RCX, count, in->asz);
    return taken ? jump_to(cpu, target) : 0;
}

/* ---- stack ---- */

static bool is_segment_register(const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_REGISTER && x86_is_sreg(op->reg.value);
}

static unsigned exec_push(X86Cpu *cpu, const Insn *in)
{
    if (is_segment_register(&in->op[0]))
        return x86_exec_push_sreg(cpu, in);
    uint64_t value = x86_op_read(cpu, in, 0);
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, value, x86_stack_osz(in));
    x86_stack_commit(cpu, &s);
    return 0;
}

/* POP to memory computes its address with the stack pointer already moved. */
static unsigned pop_memory(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    Stack s = x86_stack(cpu);
    uint64_t value = x86_stack_pop(cpu, &s, x86_stack_osz(in)), old = st->gpr[R_RSP];
    const ZydisDecodedOperand *op = &in->op[0];
    x86_stack_commit(cpu, &s);
    uint64_t moved = st->gpr[R_RSP], offset = x86_operand_offset(cpu, in->zi, op);
    st->gpr[R_RSP] = old; /* as before in case the store faults */
    unsigned size = x86_stack_osz(in);
    x86_st(cpu, x86_seg_lin(cpu, x86_operand_seg(op), offset, size, X86_WRITE), value, size, 0);
    st->gpr[R_RSP] = moved;
    return 0;
}

static unsigned exec_pop(X86Cpu *cpu, const Insn *in)
{
    if (is_segment_register(&in->op[0]))
        return x86_exec_pop_sreg(cpu, in);
    if (x86_op_is_mem(in, 0))
        return pop_memory(cpu, in);
    Stack s = x86_stack(cpu);
    uint64_t value = x86_stack_pop(cpu, &s, x86_stack_osz(in));
    x86_stack_commit(cpu, &s);
    x86_reg_write(cpu, in->op[0].reg.value, value);
    return 0;
}

static unsigned exec_pusha(X86Cpu *cpu, const Insn *in)
{
    Stack s = x86_stack(cpu);
    for (unsigned r = R_RAX; r <= R_RDI; r++)
        x86_stack_push(cpu, &s, cpu->st.gpr[r], in->osz);
    x86_stack_commit(cpu, &s);
    return 0;
}

static unsigned exec_popa(X86Cpu *cpu, const Insn *in)
{
    Stack s = x86_stack(cpu);
    uint64_t value[8];
    for (int r = R_RDI; r >= R_RAX; r--)
        value[r] = x86_stack_pop(cpu, &s, in->osz);
    for (unsigned r = R_RAX; r <= R_RDI; r++)
        if (r != R_RSP)
            x86_gpr_write(cpu, r, value[r], in->osz);
    x86_stack_commit(cpu, &s);
    return 0;
}

static unsigned exec_enter(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = x86_stack_osz(in), level = in->op[1].imm.value.u & 31;
    uint64_t room = in->op[0].imm.value.u & 0xffff;
    Stack s = x86_stack(cpu);
    x86_stack_push(cpu, &s, st->gpr[R_RBP], size);
    uint64_t frame = s.sp;
    uint64_t bp = st->gpr[R_RBP];
    for (unsigned i = 1; i < level; i++) {
        bp = (bp & ~s.mask) | ((bp - size) & s.mask);
        Stack from = s;
        from.sp = bp;
        x86_stack_push(cpu, &s, x86_stack_pop(cpu, &from, size), size);
    }
    if (level)
        x86_stack_push(cpu, &s, frame, size);
    s.sp = (s.sp & ~s.mask) | ((s.sp - room) & s.mask);
    /* the new top must be writable */
    uint64_t top = s.sp & s.mask;
    x86_probe(cpu, s.flat ? top : x86_seg_check(cpu, &s.ss, true, top, size, X86_WRITE, 0), size, X86_WRITE);
    x86_gpr_write(cpu, R_RBP, frame, size);
    x86_stack_commit(cpu, &s);
    return 0;
}

static unsigned exec_leave(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = x86_stack_osz(in);
    Stack s = x86_stack(cpu);
    s.sp = (s.sp & ~s.mask) | (st->gpr[R_RBP] & s.mask);
    uint64_t bp = x86_stack_pop(cpu, &s, size);
    x86_stack_commit(cpu, &s);
    x86_gpr_write(cpu, R_RBP, bp, size);
    return 0;
}

/* ---- moves ---- */

static unsigned exec_mov(X86Cpu *cpu, const Insn *in)
{
    for (unsigned i = 0; i < 2; i++) {
        if (in->op[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        ZydisRegister reg = in->op[i].reg.value;
        if (x86_is_sreg(reg))
            return x86_exec_mov_sreg(cpu, in);
        if (x86_is_creg(reg))
            return x86_exec_mov_cr(cpu, in);
        if (x86_is_dreg(reg))
            return x86_exec_mov_dr(cpu, in);
        if (x86_is_treg(reg)) /* gone since the Pentium */
            x86_fault(cpu, EXC_UD, 0);
    }
    x86_op_write(cpu, in, 0, x86_op_read(cpu, in, 1));
    return 0;
}

static unsigned exec_movsx(X86Cpu *cpu, const Insn *in)
{
    unsigned shift = 64 - in->op[1].size;
    x86_op_write(cpu, in, 0, (uint64_t)((int64_t)(x86_op_read(cpu, in, 1) << shift) >> shift));
    return 0;
}

static unsigned exec_lea(X86Cpu *cpu, const Insn *in)
{
    x86_reg_write(cpu, in->op[0].reg.value, x86_operand_offset(cpu, in->zi, &in->op[1]));
    return 0;
}

/*
 * Registers only: the one-byte form that an encoder picks for XCHG EAX, EAX is a NOP, which does not clear the upper
 * half.
 */
static unsigned exec_xchg(X86Cpu *cpu, const Insn *in)
{
    if (x86_op_is_mem(in, 0) || x86_op_is_mem(in, 1))
        return x86_exec_native(cpu, in);
    uint64_t a = x86_op_read(cpu, in, 0), b = x86_op_read(cpu, in, 1);
    x86_op_write(cpu, in, 0, b);
    x86_op_write(cpu, in, 1, a);
    return 0;
}

static unsigned exec_xlat(X86Cpu *cpu, const Insn *in)
{
    const ZydisDecodedOperand *mem = NULL;
    for (unsigned i = 0; i < in->zi->operand_count; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            mem = &in->op[i];
    uint64_t offset = x86_trunc(cpu->st.gpr[R_RBX] + (cpu->st.gpr[R_RAX] & 0xff), in->asz);
    uint64_t lin = x86_seg_lin(cpu, mem ? x86_operand_seg(mem) : SEG_DS, offset, 1, X86_READ);
    x86_gpr_write(cpu, R_RAX, x86_ld(cpu, lin, 1, X86_READ), 1);
    return 0;
}

static unsigned exec_bound(X86Cpu *cpu, const Insn *in)
{
    unsigned size = in->osz, shift = 64 - size * 8;
    uint64_t lin = x86_op_lin(cpu, in, 1, size * 2, X86_READ);
#define SIGNED(v) ((int64_t)((uint64_t)(v) << shift) >> shift)
    int64_t index = SIGNED(x86_reg_read(cpu, in->op[0].reg.value));
    int64_t low = SIGNED(x86_ld(cpu, lin, size, X86_READ)), high = SIGNED(x86_ld(cpu, lin + size, size, X86_READ));
#undef SIGNED
    if (index < low || index > high)
        x86_fault(cpu, EXC_BR, 0);
    return 0;
}

/* ---- division ---- */

/* Quotient and remainder of the double-width dividend; #DE when it does not fit. Flags stay: undefined by the SDM. */
static unsigned exec_div(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    unsigned size = in->op[0].size / 8, bits = size * 8;
    bool is_signed = in->zi->mnemonic == ZYDIS_MNEMONIC_IDIV;
    uint64_t d = x86_op_read(cpu, in, 0);
    unsigned __int128 n = size == 1 ? st->gpr[R_RAX] & 0xffff
        : (unsigned __int128)x86_trunc(st->gpr[R_RDX], size) << bits | x86_trunc(st->gpr[R_RAX], size);
    if (d == 0)
        x86_fault(cpu, EXC_DE, 0);
    uint64_t quotient, remainder;
    if (!is_signed) {
        if ((uint64_t)(n >> bits) >= d) /* the quotient would not fit */
            x86_fault(cpu, EXC_DE, 0);
        quotient = n / d;
        remainder = n % d;
    } else {
        __int128 sn = (__int128)(n << (128 - 2 * bits)) >> (128 - 2 * bits);
        __int128 sd = (int64_t)(d << (64 - bits)) >> (64 - bits);
        if (sd == -1 && sn == (__int128)1 << 127) /* overflows 128 bits as well */
            x86_fault(cpu, EXC_DE, 0);
        __int128 q = sn / sd, max = ((__int128)1 << (bits - 1)) - 1;
        if (q > max || q < -max - 1)
            x86_fault(cpu, EXC_DE, 0);
        quotient = q;
        remainder = sn % sd;
    }
    if (size == 1) {
        x86_gpr_write(cpu, R_RAX, (remainder & 0xff) << 8 | (quotient & 0xff), 2);
        return 0;
    }
    x86_gpr_write(cpu, R_RAX, quotient, size);
    x86_gpr_write(cpu, R_RDX, remainder, size);
    return 0;
}

/* ---- decimal adjustment ---- */

static uint64_t result_flags(uint8_t al)
{
    return (al == 0 ? FL_ZF : 0) | (al & 0x80 ? FL_SF : 0) | (__builtin_parity(al) ? 0 : FL_PF);
}

static unsigned exec_daa_das(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    bool das = in->zi->mnemonic == ZYDIS_MNEMONIC_DAS;
    uint8_t al = st->gpr[R_RAX], old = al;
    bool cf = st->rflags & FL_CF, af = st->rflags & FL_AF, new_cf = false, new_af = false;
    if ((al & 15) > 9 || af) {
        new_cf = cf || (das ? al < 6 : al > 0xf9);
        al = das ? al - 6 : al + 6;
        new_af = true;
    }
    if (old > 0x99 || cf) {
        al = das ? al - 0x60 : al + 0x60;
        new_cf = true;
    } else if (!das) {
        new_cf = false;
    }
    x86_gpr_write(cpu, R_RAX, al, 1);
    return x86_set_flags(cpu, result_flags(al) | (new_cf ? FL_CF : 0) | (new_af ? FL_AF : 0), FL_ARITH);
}

static unsigned exec_aaa_aas(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    bool aas = in->zi->mnemonic == ZYDIS_MNEMONIC_AAS;
    uint16_t ax = st->gpr[R_RAX];
    bool adjust = (ax & 15) > 9 || (st->rflags & FL_AF);
    if (adjust)
        ax = aas ? ax - 0x106 : ax + 0x106;
    ax &= 0xff0f;
    x86_gpr_write(cpu, R_RAX, ax, 2);
    return x86_set_flags(cpu, result_flags(ax) | (adjust ? FL_CF | FL_AF : 0), FL_ARITH);
}

static unsigned exec_aam(X86Cpu *cpu, const Insn *in)
{
    uint8_t base = in->op[0].imm.value.u, al = cpu->st.gpr[R_RAX];
    if (!base)
        x86_fault(cpu, EXC_DE, 0);
    uint8_t low = al % base;
    x86_gpr_write(cpu, R_RAX, (al / base) << 8 | low, 2);
    return x86_set_flags(cpu, result_flags(low), FL_ARITH);
}

static unsigned exec_aad(X86Cpu *cpu, const Insn *in)
{
    uint16_t ax = cpu->st.gpr[R_RAX];
    uint8_t al = ax + (ax >> 8) * in->op[0].imm.value.u;
    x86_gpr_write(cpu, R_RAX, al, 2);
    return x86_set_flags(cpu, result_flags(al), FL_ARITH);
}

static unsigned exec_salc(X86Cpu *cpu, const Insn *in)
{
    x86_gpr_write(cpu, R_RAX, cpu->st.rflags & FL_CF ? 0xff : 0, 1);
    return 0;
}

void x86_register_flow(ExecFunc **t)
{
    static const struct { ZydisMnemonic mnemonic; ExecFunc *func; } rows[] = {
        { ZYDIS_MNEMONIC_JMP, exec_jmp }, { ZYDIS_MNEMONIC_CALL, exec_call }, { ZYDIS_MNEMONIC_RET, exec_ret },
        { ZYDIS_MNEMONIC_JO, exec_jcc }, { ZYDIS_MNEMONIC_JNO, exec_jcc }, { ZYDIS_MNEMONIC_JB, exec_jcc },
        { ZYDIS_MNEMONIC_JNB, exec_jcc }, { ZYDIS_MNEMONIC_JZ, exec_jcc }, { ZYDIS_MNEMONIC_JNZ, exec_jcc },
        { ZYDIS_MNEMONIC_JBE, exec_jcc }, { ZYDIS_MNEMONIC_JNBE, exec_jcc }, { ZYDIS_MNEMONIC_JS, exec_jcc },
        { ZYDIS_MNEMONIC_JNS, exec_jcc }, { ZYDIS_MNEMONIC_JP, exec_jcc }, { ZYDIS_MNEMONIC_JNP, exec_jcc },
        { ZYDIS_MNEMONIC_JL, exec_jcc }, { ZYDIS_MNEMONIC_JNL, exec_jcc }, { ZYDIS_MNEMONIC_JLE, exec_jcc },
        { ZYDIS_MNEMONIC_JNLE, exec_jcc }, { ZYDIS_MNEMONIC_JCXZ, exec_jcxz }, { ZYDIS_MNEMONIC_JECXZ, exec_jcxz },
        { ZYDIS_MNEMONIC_JRCXZ, exec_jcxz }, { ZYDIS_MNEMONIC_LOOP, exec_loop }, { ZYDIS_MNEMONIC_LOOPE, exec_loop },
        { ZYDIS_MNEMONIC_LOOPNE, exec_loop }, { ZYDIS_MNEMONIC_PUSH, exec_push }, { ZYDIS_MNEMONIC_POP, exec_pop },
        { ZYDIS_MNEMONIC_PUSHA, exec_pusha }, { ZYDIS_MNEMONIC_PUSHAD, exec_pusha }, { ZYDIS_MNEMONIC_POPA, exec_popa },
        { ZYDIS_MNEMONIC_POPAD, exec_popa }, { ZYDIS_MNEMONIC_ENTER, exec_enter }, { ZYDIS_MNEMONIC_LEAVE, exec_leave },
        { ZYDIS_MNEMONIC_MOV, exec_mov }, { ZYDIS_MNEMONIC_MOVZX, exec_mov }, { ZYDIS_MNEMONIC_MOVSX, exec_movsx },
        { ZYDIS_MNEMONIC_MOVSXD, exec_movsx }, { ZYDIS_MNEMONIC_LEA, exec_lea }, { ZYDIS_MNEMONIC_XCHG, exec_xchg },
        { ZYDIS_MNEMONIC_XLAT, exec_xlat },
        { ZYDIS_MNEMONIC_BOUND, exec_bound }, { ZYDIS_MNEMONIC_DIV, exec_div }, { ZYDIS_MNEMONIC_IDIV, exec_div },
        { ZYDIS_MNEMONIC_DAA, exec_daa_das }, { ZYDIS_MNEMONIC_DAS, exec_daa_das }, { ZYDIS_MNEMONIC_AAA, exec_aaa_aas },
        { ZYDIS_MNEMONIC_AAS, exec_aaa_aas }, { ZYDIS_MNEMONIC_AAM, exec_aam }, { ZYDIS_MNEMONIC_AAD, exec_aad },
        { ZYDIS_MNEMONIC_SALC, exec_salc },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        t[rows[i].mnemonic] = rows[i].func;
}
