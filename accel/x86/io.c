/*
 * Port I/O: IN, OUT, INS, OUTS, permission by IOPL and the I/O bitmap of the TSS. SDM vol. 1 ch. 19.
 */
#include "accel/x86/internal.h"

/* Iterations of a REP string instruction before events are looked at. */
#define REP_CHUNK 1024

void x86_io_check(X86Cpu *cpu, uint16_t port, unsigned size)
{
    const X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PE) || (!x86_v8086(st) && st->cpl <= x86_iopl(st)))
        return;
    const X86Segment *tr = &st->seg[SEG_TR];
    if (!(tr->attr & SEG_ATTR_P) || !(tr->attr & 8) || tr->limit < 103)
        x86_fault(cpu, EXC_GP, 0);
    uint32_t map = x86_ld(cpu, tr->base + 102, 2, X86_READ | X86_SUPERVISOR);
    uint32_t at = map + port / 8;
    if (at + 1 > tr->limit)
        x86_fault(cpu, EXC_GP, 0);
    unsigned bits = x86_ld(cpu, tr->base + at, 2, X86_READ | X86_SUPERVISOR);
    if (bits >> (port & 7) & ((1u << size) - 1))
        x86_fault(cpu, EXC_GP, 0);
}

static uint16_t port_operand(X86Cpu *cpu, const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE ? op->imm.value.u & 0xff : cpu->st.gpr[R_RDX];
}

static unsigned io_size(const ZydisDecodedOperand *op) { return op->size / 8; }

static unsigned exec_in(X86Cpu *cpu, const Insn *in)
{
    uint16_t port = port_operand(cpu, &in->op[1]);
    unsigned size = io_size(&in->op[0]);
    x86_io_check(cpu, port, size);
    x86_fpu_out(cpu);
    x86_reg_write(cpu, in->op[0].reg.value, vcpu_pio_read(&cpu->vcpu, port, size));
    return X86_EXEC_END;
}

static unsigned exec_out(X86Cpu *cpu, const Insn *in)
{
    uint16_t port = port_operand(cpu, &in->op[0]);
    unsigned size = io_size(&in->op[1]);
    x86_io_check(cpu, port, size);
    x86_fpu_out(cpu);
    vcpu_pio_write(&cpu->vcpu, port, x86_reg_read(cpu, in->op[1].reg.value), size);
    return X86_EXEC_END;
}

static bool has_rep(const Insn *in)
{
    return in->zi->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
}

static void advance(X86Cpu *cpu, const Insn *in, unsigned reg, unsigned size)
{
    uint64_t step = cpu->st.rflags & FL_DF ? -(uint64_t)size : size;
    x86_gpr_write(cpu, reg, cpu->st.gpr[reg] + step, in->asz);
}

static void ins_once(X86Cpu *cpu, const Insn *in, unsigned size)
{
    uint64_t lin = x86_seg_lin(cpu, SEG_ES, x86_trunc(cpu->st.gpr[R_RDI], in->asz), size, X86_WRITE);
    x86_probe(cpu, lin, size, X86_WRITE); /* before the port is read: the read may have effects */
    uint64_t value = vcpu_pio_read(&cpu->vcpu, cpu->st.gpr[R_RDX], size);
    x86_st(cpu, lin, value, size, 0);
    advance(cpu, in, R_RDI, size);
}

static void outs_once(X86Cpu *cpu, const Insn *in, unsigned size, unsigned seg)
{
    uint64_t lin = x86_seg_lin(cpu, seg, x86_trunc(cpu->st.gpr[R_RSI], in->asz), size, X86_READ);
    uint64_t value = x86_ld(cpu, lin, size, X86_READ);
    vcpu_pio_write(&cpu->vcpu, cpu->st.gpr[R_RDX], value, size);
    advance(cpu, in, R_RSI, size);
}

static unsigned string_io(X86Cpu *cpu, const Insn *in, bool input)
{
    X86State *st = &cpu->st;
    const ZydisDecodedOperand *mem = &in->op[input ? 0 : 1];
    unsigned size = io_size(mem), seg = x86_operand_seg(mem);
    bool rep = has_rep(in);
    x86_io_check(cpu, st->gpr[R_RDX], size); /* also when there is nothing to transfer */
    if (rep && !x86_trunc(st->gpr[R_RCX], in->asz))
        return 0;
    x86_fpu_out(cpu);
    for (unsigned i = 0; i < REP_CHUNK; i++) {
        if (input)
            ins_once(cpu, in, size);
        else
            outs_once(cpu, in, size, seg);
        if (!rep)
            return X86_EXEC_END;
        uint64_t left = x86_trunc(st->gpr[R_RCX] - 1, in->asz);
        x86_gpr_write(cpu, R_RCX, left, in->asz);
        if (!left)
            return X86_EXEC_END;
    }
    return X86_EXEC_REP;
}

static unsigned exec_ins(X86Cpu *cpu, const Insn *in) { return string_io(cpu, in, true); }
static unsigned exec_outs(X86Cpu *cpu, const Insn *in) { return string_io(cpu, in, false); }

void x86_register_io(ExecFunc **table)
{
    table[ZYDIS_MNEMONIC_IN] = exec_in;
    table[ZYDIS_MNEMONIC_OUT] = exec_out;
    table[ZYDIS_MNEMONIC_INSB] = table[ZYDIS_MNEMONIC_INSW] = table[ZYDIS_MNEMONIC_INSD] = exec_ins;
    table[ZYDIS_MNEMONIC_OUTSB] = table[ZYDIS_MNEMONIC_OUTSW] = table[ZYDIS_MNEMONIC_OUTSD] = exec_outs;
}
