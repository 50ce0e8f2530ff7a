/*
 * Vector instructions that touch memory element by element under a mask: VMASKMOV, VPMASKMOV, gathers, MASKMOVDQU,
 * MASKMOVQ. Only
 * selected elements are accessed, so these can't be given a whole operand to work on. SDM vol. 2.
 */
#include "accel/x86/internal.h"

#include "accel/x86/isa.h"

static void use_unit(X86Cpu *cpu, X86Unit unit)
{
    int vector = x86_unit_fault(cpu, unit);
    if (vector >= 0)
        x86_fault(cpu, vector, 0);
    x86_fpu_out(cpu);
    st64(cpu->st.xsave + XSAVE_HEADER, ld64(cpu->st.xsave + XSAVE_HEADER) | 7);
}

static unsigned vector_number(ZydisRegister r)
{
    return r >= ZYDIS_REGISTER_YMM0 ? r - ZYDIS_REGISTER_YMM0 : r - ZYDIS_REGISTER_XMM0;
}

static bool is_ymm(ZydisRegister r) { return r >= ZYDIS_REGISTER_YMM0; }

/* Byte `at` (0-31) of a vector register in the XSAVE area. */
static uint8_t *vector_byte(X86Cpu *cpu, unsigned reg, unsigned at)
{
    return cpu->st.xsave + (at < 16 ? XSAVE_XMM0 + reg * 16 + at : XSAVE_YMMH + reg * 16 + at - 16);
}

static uint64_t element(X86Cpu *cpu, unsigned reg, unsigned n, unsigned size)
{
    const uint8_t *p = vector_byte(cpu, reg, n * size);
    return size == 8 ? ld64(p) : ld32(p);
}

static void set_element(X86Cpu *cpu, unsigned reg, unsigned n, unsigned size, uint64_t value)
{
    uint8_t *p = vector_byte(cpu, reg, n * size);
    if (size == 8)
        st64(p, value);
    else
        st32(p, value);
}

static void clear_above(X86Cpu *cpu, unsigned reg, unsigned bytes)
{
    for (unsigned at = bytes; at < 32; at += 4)
        st32(vector_byte(cpu, reg, at), 0);
}

/* VMASKMOV, VPMASKMOV: the sign bit of each mask element selects. */
static void mask_move(X86Cpu *cpu, const Insn *in, unsigned size)
{
    bool load = in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER;
    unsigned mem = load ? 2 : 0, mask = vector_number(in->op[1].reg.value);
    unsigned data = vector_number(in->op[load ? 0 : 2].reg.value);
    unsigned count = (is_ymm(in->op[1].reg.value) ? 32 : 16) / size;
    uint64_t offset = x86_operand_offset(cpu, in->zi, &in->op[mem]), value[8];
    unsigned seg = x86_operand_seg(&in->op[mem]);
    uint64_t lin[8];
    bool on[8];
    for (unsigned i = 0; i < count; i++) {
        on[i] = element(cpu, mask, i, size) >> (size * 8 - 1) & 1;
        if (!on[i])
            continue;
        lin[i] = x86_seg_lin(cpu, seg, x86_trunc(offset + i * size, in->asz), size, load ? X86_READ : X86_WRITE);
        if (load)
            value[i] = x86_ld(cpu, lin[i], size, X86_READ);
        else
            x86_probe(cpu, lin[i], size, X86_WRITE);
    }
    for (unsigned i = 0; i < count; i++) {
        if (load)
            set_element(cpu, data, i, size, on[i] ? value[i] : 0);
        else if (on[i])
            x86_st(cpu, lin[i], element(cpu, data, i, size), size, 0);
    }
    if (load)
        clear_above(cpu, data, count * size);
}

/* Gathers complete element by element: after a fault the finished ones are done and their mask is clear. */
static void gather(X86Cpu *cpu, const Insn *in, unsigned size, unsigned index_size)
{
    unsigned dest = vector_number(in->op[0].reg.value), mask = vector_number(in->op[2].reg.value);
    const ZydisDecodedOperand *mem = &in->op[1];
    unsigned index = vector_number(mem->mem.index), seg = x86_operand_seg(mem);
    if (dest == mask || dest == index || mask == index)
        x86_fault(cpu, EXC_UD, 0);
    unsigned width = is_ymm(in->op[0].reg.value) ? 32 : 16;
    unsigned index_width = is_ymm(mem->mem.index) ? 32 : 16;
    unsigned count = MIN(width / size, index_width / index_size);
    uint64_t base = mem->mem.base == ZYDIS_REGISTER_NONE ? 0 : x86_reg_read(cpu, mem->mem.base);
    if (mem->mem.disp.has_displacement)
        base += mem->mem.disp.value;
    for (unsigned i = 0; i < count; i++) {
        if (!(element(cpu, mask, i, size) >> (size * 8 - 1) & 1))
            continue;
        uint64_t n = element(cpu, index, i, index_size);
        if (index_size == 4)
            n = (int32_t)n;
        uint64_t lin = x86_seg_lin(cpu, seg, x86_trunc(base + n * mem->mem.scale, in->asz), size, X86_READ);
        set_element(cpu, dest, i, size, x86_ld(cpu, lin, size, X86_READ));
        set_element(cpu, mask, i, size, 0);
    }
    for (unsigned i = 0; i < count; i++)
        set_element(cpu, mask, i, size, 0);
    clear_above(cpu, dest, count * size);
    clear_above(cpu, mask, count * size);
}

/* MASKMOVDQU and MASKMOVQ: bytes selected by sign bits go to DS:rDI. */
static void byte_mask_store(X86Cpu *cpu, const Insn *in, unsigned count, const uint8_t *data, const uint8_t *mask)
{
    unsigned seg = SEG_DS;
    for (unsigned i = 0; i < in->zi->operand_count; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            seg = x86_operand_seg(&in->op[i]);
    uint64_t lin[16];
    for (unsigned i = 0; i < count; i++) {
        if (!(mask[i] & 0x80))
            continue;
        lin[i] = x86_seg_lin(cpu, seg, x86_trunc(cpu->st.gpr[R_RDI] + i, in->asz), 1, X86_WRITE);
        x86_probe(cpu, lin[i], 1, X86_WRITE);
    }
    for (unsigned i = 0; i < count; i++)
        if (mask[i] & 0x80)
            x86_st(cpu, lin[i], data[i], 1, 0);
}

static void byte_mask_xmm(X86Cpu *cpu, const Insn *in, X86Unit unit)
{
    use_unit(cpu, unit);
    /* the visible operands: data, mask; the memory one is hidden and may come first */
    unsigned regs[2], n = 0;
    for (unsigned i = 0; i < in->zi->operand_count && n < 2; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[i].reg.value >= ZYDIS_REGISTER_XMM0 &&
            in->op[i].reg.value <= ZYDIS_REGISTER_XMM31)
            regs[n++] = in->op[i].reg.value - ZYDIS_REGISTER_XMM0;
    byte_mask_store(cpu, in, 16, vector_byte(cpu, regs[0], 0), vector_byte(cpu, regs[1], 0));
}

static void byte_mask_mmx(X86Cpu *cpu, const Insn *in)
{
    use_unit(cpu, X86_UNIT_MMX);
    uint8_t *x = cpu->st.xsave;
    uint16_t fsw = ld16(x + XSAVE_FSW);
    if (fsw & 0x80)
        x86_fault(cpu, EXC_MF, 0);
    unsigned regs[2], n = 0, top = fsw >> 11 & 7;
    for (unsigned i = 0; i < in->zi->operand_count && n < 2; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[i].reg.value >= ZYDIS_REGISTER_MM0 &&
            in->op[i].reg.value <= ZYDIS_REGISTER_MM7)
            regs[n++] = in->op[i].reg.value - ZYDIS_REGISTER_MM0;
    const uint8_t *data = x + XSAVE_ST0 + ((regs[0] - top) & 7) * 16, *mask = x + XSAVE_ST0 + ((regs[1] - top) & 7) * 16;
    byte_mask_store(cpu, in, 8, data, mask);
    /* like any MMX instruction: the stack top becomes 0 and all tags valid; ST images are kept in stack order */
    uint64_t image[16];
    for (unsigned i = 0; i < 8; i++) {
        image[2 * i] = ld64(x + XSAVE_ST0 + ((i - top) & 7) * 16);
        image[2 * i + 1] = ld64(x + XSAVE_ST0 + ((i - top) & 7) * 16 + 8);
    }
    for (unsigned i = 0; i < 16; i++)
        st64(x + XSAVE_ST0 + i * 8, image[i]);
    st16(x + XSAVE_FSW, fsw & ~0x3800);
    x[XSAVE_FTW] = 0xff;
}

bool x86_exec_masked(X86Cpu *cpu, const Insn *in)
{
    switch (in->zi->mnemonic) {
    case ZYDIS_MNEMONIC_VMASKMOVPS: case ZYDIS_MNEMONIC_VPMASKMOVD:
        use_unit(cpu, X86_UNIT_AVX);
        mask_move(cpu, in, 4);
        return true;
    case ZYDIS_MNEMONIC_VMASKMOVPD: case ZYDIS_MNEMONIC_VPMASKMOVQ:
        use_unit(cpu, X86_UNIT_AVX);
        mask_move(cpu, in, 8);
        return true;
    case ZYDIS_MNEMONIC_VGATHERDPS: case ZYDIS_MNEMONIC_VPGATHERDD:
        use_unit(cpu, X86_UNIT_AVX);
        gather(cpu, in, 4, 4);
        return true;
    case ZYDIS_MNEMONIC_VGATHERDPD: case ZYDIS_MNEMONIC_VPGATHERDQ:
        use_unit(cpu, X86_UNIT_AVX);
        gather(cpu, in, 8, 4);
        return true;
    case ZYDIS_MNEMONIC_VGATHERQPS: case ZYDIS_MNEMONIC_VPGATHERQD:
        use_unit(cpu, X86_UNIT_AVX);
        gather(cpu, in, 4, 8);
        return true;
    case ZYDIS_MNEMONIC_VGATHERQPD: case ZYDIS_MNEMONIC_VPGATHERQQ:
        use_unit(cpu, X86_UNIT_AVX);
        gather(cpu, in, 8, 8);
        return true;
    case ZYDIS_MNEMONIC_MASKMOVDQU:
        byte_mask_xmm(cpu, in, X86_UNIT_SSE);
        return true;
    case ZYDIS_MNEMONIC_VMASKMOVDQU:
        byte_mask_xmm(cpu, in, X86_UNIT_AVX);
        return true;
    case ZYDIS_MNEMONIC_MASKMOVQ:
        byte_mask_mmx(cpu, in);
        return true;
    default:
        return false;
    }
}
