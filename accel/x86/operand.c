/*
 * Operands of a decoded instruction: registers, immediates, memory.
 */
#include "accel/x86/internal.h"

uint64_t x86_reg_read(X86Cpu *cpu, ZydisRegister reg)
{
    const uint64_t *gpr = cpu->st.gpr;
    if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
        return gpr[reg - ZYDIS_REGISTER_RAX];
    if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
        return (uint32_t)gpr[reg - ZYDIS_REGISTER_EAX];
    if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
        return (uint16_t)gpr[reg - ZYDIS_REGISTER_AX];
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH)
        return (uint8_t)(gpr[reg - ZYDIS_REGISTER_AH] >> 8);
    if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
        return (uint8_t)gpr[reg - ZYDIS_REGISTER_AL];
    if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_DIL)
        return (uint8_t)gpr[reg - ZYDIS_REGISTER_SPL + R_RSP];
    if (reg >= ZYDIS_REGISTER_R8B && reg <= ZYDIS_REGISTER_R15B)
        return (uint8_t)gpr[reg - ZYDIS_REGISTER_R8B + R_R8];
    if (reg >= ZYDIS_REGISTER_ES && reg <= ZYDIS_REGISTER_GS)
        return cpu->st.seg[reg - ZYDIS_REGISTER_ES].selector;
    return 0;
}

void x86_gpr_write(X86Cpu *cpu, unsigned reg, uint64_t value, unsigned size)
{
    uint64_t *r = &cpu->st.gpr[reg];
    switch (size) {
    case 1: *r = (*r & ~0xffull) | (value & 0xff); break;
    case 2: *r = (*r & ~0xffffull) | (value & 0xffff); break;
    case 4: *r = (uint32_t)value; break;
    default: *r = value; break;
    }
}

void x86_reg_write(X86Cpu *cpu, ZydisRegister reg, uint64_t value)
{
    if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_RAX, value, 8);
    else if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_EAX, value, 4);
    else if (reg >= ZYDIS_REGISTER_AX && reg <= ZYDIS_REGISTER_R15W)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_AX, value, 2);
    else if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
        uint64_t *r = &cpu->st.gpr[reg - ZYDIS_REGISTER_AH];
        *r = (*r & ~0xff00ull) | (value & 0xff) << 8;
    } else if (reg >= ZYDIS_REGISTER_AL && reg <= ZYDIS_REGISTER_BL)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_AL, value, 1);
    else if (reg >= ZYDIS_REGISTER_SPL && reg <= ZYDIS_REGISTER_DIL)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_SPL + R_RSP, value, 1);
    else if (reg >= ZYDIS_REGISTER_R8B && reg <= ZYDIS_REGISTER_R15B)
        x86_gpr_write(cpu, reg - ZYDIS_REGISTER_R8B + R_R8, value, 1);
}

uint64_t x86_operand_offset(X86Cpu *cpu, const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *op)
{
    uint64_t offset = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
    if (op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP)
        offset += cpu->st.rip + insn->length;
    else if (op->mem.base != ZYDIS_REGISTER_NONE)
        offset += x86_reg_read(cpu, op->mem.base);
    if (op->mem.index != ZYDIS_REGISTER_NONE)
        offset += x86_reg_read(cpu, op->mem.index) * op->mem.scale;
    return x86_trunc(offset, insn->address_width / 8);
}

uint64_t x86_op_lin(X86Cpu *cpu, const Insn *in, unsigned n, unsigned size, unsigned access)
{
    const ZydisDecodedOperand *op = &in->op[n];
    return x86_seg_lin(cpu, x86_operand_seg(op), x86_operand_offset(cpu, in->zi, op), size, access);
}

static uint64_t operand_read(X86Cpu *cpu, const Insn *in, unsigned n, unsigned access)
{
    const ZydisDecodedOperand *op = &in->op[n];
    unsigned size = op->size / 8;
    switch (op->type) {
    case ZYDIS_OPERAND_TYPE_REGISTER:
        return x86_reg_read(cpu, op->reg.value);
    case ZYDIS_OPERAND_TYPE_MEMORY:
        return x86_ld(cpu, x86_op_lin(cpu, in, n, size, access), size, access);
    default:
        return op->imm.is_signed ? (uint64_t)op->imm.value.s : op->imm.value.u;
    }
}

uint64_t x86_op_read(X86Cpu *cpu, const Insn *in, unsigned n)
{
    return operand_read(cpu, in, n, X86_READ);
}

uint64_t x86_op_read_rmw(X86Cpu *cpu, const Insn *in, unsigned n)
{
    return operand_read(cpu, in, n, X86_WRITE);
}

void x86_op_write(X86Cpu *cpu, const Insn *in, unsigned n, uint64_t value)
{
    const ZydisDecodedOperand *op = &in->op[n];
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
        x86_reg_write(cpu, op->reg.value, value);
        return;
    }
    unsigned size = op->size / 8;
    x86_st(cpu, x86_op_lin(cpu, in, n, size, X86_WRITE), value, size, 0);
}
