/*
 * From Zydis' instruction sets to CPUID features and processor units. Sources: SDM vol. 2A 2.4 (exception classes),
 * vol. 3A 2.5.
 */
#include "accel/x86/isa.h"

#include "accel/x86/features.h"

/* Offset by one so that an absent row (zero) means: never. */
#define ALWAYS 1
#define NEEDS(f) (X86_FEAT_##f + 2)
static const int16_t isa_table[ZYDIS_ISA_SET_MAX_VALUE + 1] = {
    [ZYDIS_ISA_SET_I86] = ALWAYS, [ZYDIS_ISA_SET_I186] = ALWAYS, [ZYDIS_ISA_SET_I286REAL] = ALWAYS,
    [ZYDIS_ISA_SET_I286PROTECTED] = ALWAYS, [ZYDIS_ISA_SET_I386] = ALWAYS, [ZYDIS_ISA_SET_I486REAL] = ALWAYS,
    [ZYDIS_ISA_SET_I486] = ALWAYS, [ZYDIS_ISA_SET_PENTIUMREAL] = ALWAYS, [ZYDIS_ISA_SET_PPRO] = ALWAYS,
    [ZYDIS_ISA_SET_FAT_NOP] = ALWAYS, [ZYDIS_ISA_SET_PREFETCH_NOP] = ALWAYS,
    [ZYDIS_ISA_SET_PREFETCHWT1] = ALWAYS, /* a hint on all that know PREFETCHW */
    [ZYDIS_ISA_SET_PAUSE] = ALWAYS,
    [ZYDIS_ISA_SET_LONGMODE] = ALWAYS, [ZYDIS_ISA_SET_LAHF] = ALWAYS, [ZYDIS_ISA_SET_RDPMC] = ALWAYS,
    [ZYDIS_ISA_SET_X87] = NEEDS(FPU), [ZYDIS_ISA_SET_FCMOV] = NEEDS(CMOV), [ZYDIS_ISA_SET_CMOV] = NEEDS(CMOV),
    [ZYDIS_ISA_SET_PENTIUMMMX] = NEEDS(MMX), [ZYDIS_ISA_SET_SSE] = NEEDS(SSE), [ZYDIS_ISA_SET_SSEMXCSR] = NEEDS(SSE),
    [ZYDIS_ISA_SET_SSE_PREFETCH] = NEEDS(SSE), [ZYDIS_ISA_SET_SSE2] = NEEDS(SSE2), [ZYDIS_ISA_SET_SSE2MMX] = NEEDS(SSE2),
    [ZYDIS_ISA_SET_SSE3] = NEEDS(SSE3), [ZYDIS_ISA_SET_SSE3X87] = NEEDS(SSE3), [ZYDIS_ISA_SET_SSSE3] = NEEDS(SSSE3),
    [ZYDIS_ISA_SET_SSSE3MMX] = NEEDS(SSSE3), [ZYDIS_ISA_SET_SSE4] = NEEDS(SSE41), [ZYDIS_ISA_SET_SSE42] = NEEDS(SSE42),
    [ZYDIS_ISA_SET_SSE4A] = NEEDS(SSE4A), [ZYDIS_ISA_SET_AES] = NEEDS(AES), [ZYDIS_ISA_SET_PCLMULQDQ] = NEEDS(PCLMULQDQ),
    [ZYDIS_ISA_SET_AVX] = NEEDS(AVX), [ZYDIS_ISA_SET_AVX2] = NEEDS(AVX2), [ZYDIS_ISA_SET_AVX2GATHER] = NEEDS(AVX2),
    [ZYDIS_ISA_SET_AVXAES] = NEEDS(AES), [ZYDIS_ISA_SET_AVX_GFNI] = NEEDS(GFNI), [ZYDIS_ISA_SET_AVX_VNNI] = NEEDS(AVX_VNNI),
    [ZYDIS_ISA_SET_BMI1] = NEEDS(BMI1), [ZYDIS_ISA_SET_BMI2] = NEEDS(BMI2), [ZYDIS_ISA_SET_ADOX_ADCX] = NEEDS(ADX),
    [ZYDIS_ISA_SET_LZCNT] = NEEDS(ABM), [ZYDIS_ISA_SET_POPCNT] = NEEDS(POPCNT), [ZYDIS_ISA_SET_MOVBE] = NEEDS(MOVBE),
    [ZYDIS_ISA_SET_F16C] = NEEDS(F16C), [ZYDIS_ISA_SET_FMA] = NEEDS(FMA), [ZYDIS_ISA_SET_SHA] = NEEDS(SHA_NI),
    [ZYDIS_ISA_SET_GFNI] = NEEDS(GFNI), [ZYDIS_ISA_SET_VAES] = NEEDS(VAES), [ZYDIS_ISA_SET_VPCLMULQDQ] = NEEDS(VPCLMULQDQ),
    [ZYDIS_ISA_SET_CMPXCHG16B] = NEEDS(CX16), [ZYDIS_ISA_SET_RDRAND] = NEEDS(RDRAND), [ZYDIS_ISA_SET_RDSEED] = NEEDS(RDSEED),
    [ZYDIS_ISA_SET_RDTSCP] = NEEDS(RDTSCP), [ZYDIS_ISA_SET_RDPID] = NEEDS(RDPID), [ZYDIS_ISA_SET_RDWRFSGS] = NEEDS(FSGSBASE),
    [ZYDIS_ISA_SET_SMAP] = NEEDS(SMAP), [ZYDIS_ISA_SET_INVPCID] = NEEDS(INVPCID), [ZYDIS_ISA_SET_CLFSH] = NEEDS(CLFLUSH),
    [ZYDIS_ISA_SET_CLFLUSHOPT] = NEEDS(CLFLUSHOPT), [ZYDIS_ISA_SET_CLWB] = NEEDS(CLWB),
    [ZYDIS_ISA_SET_FXSAVE] = NEEDS(FXSR), [ZYDIS_ISA_SET_FXSAVE64] = NEEDS(FXSR), [ZYDIS_ISA_SET_XSAVE] = NEEDS(XSAVE),
    [ZYDIS_ISA_SET_XSAVEC] = NEEDS(XSAVEC), [ZYDIS_ISA_SET_XSAVEOPT] = NEEDS(XSAVEOPT),
    [ZYDIS_ISA_SET_MONITOR] = NEEDS(MONITOR), [ZYDIS_ISA_SET_AMD] = NEEDS(SYSCALL),
};

int x86_isa_feature(const ZydisDecodedInstruction *zi)
{
    if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY && zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return X86_ISA_NEVER;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_RSM: return X86_ISA_NEVER; /* outside SMM, which there is none of */
    case ZYDIS_MNEMONIC_SYSENTER: case ZYDIS_MNEMONIC_SYSEXIT: return X86_FEAT_SEP;
    case ZYDIS_MNEMONIC_SYSCALL: case ZYDIS_MNEMONIC_SYSRET: return X86_FEAT_SYSCALL;
    case ZYDIS_MNEMONIC_CMPXCHG8B: return X86_FEAT_CX8;
    case ZYDIS_MNEMONIC_RDTSC: return X86_FEAT_TSC;
    case ZYDIS_MNEMONIC_RDMSR: case ZYDIS_MNEMONIC_WRMSR: return X86_FEAT_MSR;
    case ZYDIS_MNEMONIC_ENDBR32: case ZYDIS_MNEMONIC_ENDBR64: return X86_ISA_ALWAYS; /* NOPs without CET */
    default: return isa_table[zi->meta.isa_set] - 2;
    }
}

static bool is_mmx(ZydisRegister r) { return r >= ZYDIS_REGISTER_MM0 && r <= ZYDIS_REGISTER_MM7; }
static bool is_vector(ZydisRegister r) { return r >= ZYDIS_REGISTER_XMM0 && r <= ZYDIS_REGISTER_YMM31; }

X86Unit x86_isa_unit(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    bool mmx = false, vector = false;
    switch (zi->meta.isa_set) {
    case ZYDIS_ISA_SET_X87: case ZYDIS_ISA_SET_FCMOV: case ZYDIS_ISA_SET_SSE3X87: return X86_UNIT_X87;
    case ZYDIS_ISA_SET_SSEMXCSR: return X86_UNIT_SSE;
    default: break;
    }
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_FCOMI: case ZYDIS_MNEMONIC_FCOMIP: case ZYDIS_MNEMONIC_FUCOMI: case ZYDIS_MNEMONIC_FUCOMIP:
    case ZYDIS_MNEMONIC_FISTTP:
        return X86_UNIT_X87;
    case ZYDIS_MNEMONIC_EMMS: return X86_UNIT_MMX;
    case ZYDIS_MNEMONIC_VZEROALL: case ZYDIS_MNEMONIC_VZEROUPPER: return X86_UNIT_AVX;
    default: break;
    }
    for (unsigned i = 0; i < zi->operand_count; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        mmx |= is_mmx(ops[i].reg.value);
        vector |= is_vector(ops[i].reg.value);
    }
    /* conversions from memory to a general register, and control: vector units without a vector operand */
    switch (zi->meta.isa_set) {
    case ZYDIS_ISA_SET_SSE: case ZYDIS_ISA_SET_SSE2:
        vector |= zi->meta.category == ZYDIS_CATEGORY_CONVERT;
        break;
    case ZYDIS_ISA_SET_AVX: case ZYDIS_ISA_SET_AVX2:
        vector = true;
        break;
    default:
        break;
    }
    if (vector)
        return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX ? X86_UNIT_AVX : X86_UNIT_SSE;
    return mmx ? X86_UNIT_MMX : X86_UNIT_NONE;
}

bool x86_isa_waits(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_EMMS:
        return true;
    case ZYDIS_MNEMONIC_FNCLEX: case ZYDIS_MNEMONIC_FNINIT: case ZYDIS_MNEMONIC_FNSTSW: case ZYDIS_MNEMONIC_FNSTCW:
    case ZYDIS_MNEMONIC_FNSTENV: case ZYDIS_MNEMONIC_FNSAVE: case ZYDIS_MNEMONIC_FENI8087_NOP:
    case ZYDIS_MNEMONIC_FDISI8087_NOP: case ZYDIS_MNEMONIC_FSETPM287_NOP:
        return false;
    default:
        break;
    }
    for (unsigned i = 0; i < zi->operand_count; i++)
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && is_mmx(ops[i].reg.value))
            return true;
    return x86_isa_unit(zi, ops) == X86_UNIT_X87;
}

int x86_unit_fault(const X86Cpu *cpu, X86Unit unit)
{
    const X86State *st = &cpu->st;
    switch (unit) {
    case X86_UNIT_NONE:
        return -1;
    case X86_UNIT_X87:
        return st->cr0 & (CR0_EM | CR0_TS) ? EXC_NM : -1;
    case X86_UNIT_MMX:
        return st->cr0 & CR0_EM ? EXC_UD : st->cr0 & CR0_TS ? EXC_NM : -1;
    case X86_UNIT_SSE:
        if ((st->cr0 & CR0_EM) || !(st->cr4 & CR4_OSFXSR))
            return EXC_UD;
        break;
    case X86_UNIT_AVX:
        if (!(st->cr4 & CR4_OSXSAVE) || (st->xcr0 & 6) != 6 || !x86_protected(st))
            return EXC_UD;
        break;
    }
    return st->cr0 & CR0_TS ? EXC_NM : -1;
}

unsigned x86_isa_alignment(const ZydisDecodedInstruction *zi, unsigned size)
{
    if (zi->mnemonic == ZYDIS_MNEMONIC_CMPXCHG16B)
        return 16;
    if (zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX)
        return zi->meta.exception_class == ZYDIS_EXCEPTION_CLASS_AVX1 ? size : 0;
    if (size != 16)
        return 0;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_MOVUPS: case ZYDIS_MNEMONIC_MOVUPD: case ZYDIS_MNEMONIC_MOVDQU: case ZYDIS_MNEMONIC_LDDQU:
    case ZYDIS_MNEMONIC_PCMPESTRI: case ZYDIS_MNEMONIC_PCMPESTRM: case ZYDIS_MNEMONIC_PCMPISTRI:
    case ZYDIS_MNEMONIC_PCMPISTRM:
        return 0;
    default:
        return 16;
    }
}

void x86_decoder_init(const X86Cpu *cpu, unsigned bits, ZydisDecoder *decoder)
{
    static const ZydisMachineMode modes[] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_MACHINE_MODE_LONG_COMPAT_32,
                                              ZYDIS_MACHINE_MODE_LONG_64 };
    static const ZydisStackWidth widths[] = { ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64 };
    unsigned n = bits / 32;
    ZydisDecoderInit(decoder, modes[n], widths[n]);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_KNC, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_CLDEMOTE, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_WBNOINVD, ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_LZCNT, x86_has(cpu, X86_FEAT_ABM));
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_TZCNT, x86_has(cpu, X86_FEAT_BMI1));
}

ZyanStatus x86_decode(const ZydisDecoder *decoder, const uint8_t *code, unsigned len, ZydisDecodedInstruction *zi,
                      ZydisDecodedOperand *ops)
{
    ZyanStatus status = ZydisDecoderDecodeFull(decoder, code, len, zi, ops);
    if (!ZYAN_SUCCESS(status))
        return status;
    /* Zydis 4.0: a SIB byte without base has one after all when 0x67 and REX.B are there */
    bool no_base = (zi->attributes & ZYDIS_ATTRIB_HAS_SIB) && zi->raw.sib.base == 5 && zi->raw.modrm.mod == 0;
    for (unsigned i = 0; no_base && i < zi->operand_count_visible; i++) {
        if (ops[i].type != ZYDIS_OPERAND_TYPE_MEMORY)
            continue;
        ops[i].mem.base = ZYDIS_REGISTER_NONE;
        ops[i].mem.disp.has_displacement = ZYAN_TRUE;
        ops[i].mem.disp.value = zi->raw.disp.value;
    }
    return status;
}
