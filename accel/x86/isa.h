/*
 * Which instructions this CPU has, and whether the x87, SSE or AVX unit may be used now.
 */
#pragma once

#include "accel/x86/exec.h"

#define X86_ISA_ALWAYS (-1)
#define X86_ISA_NEVER (-2)

/* The CPUID feature (X86_FEAT_*) that an instruction needs, or one of the above. */
int x86_isa_feature(const ZydisDecodedInstruction *zi);

typedef enum { X86_UNIT_NONE, X86_UNIT_X87, X86_UNIT_MMX, X86_UNIT_SSE, X86_UNIT_AVX } X86Unit;
/* The unit whose state it uses. ops: with the hidden ones. */
X86Unit x86_isa_unit(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops);
/* Reports pending x87 exceptions before it does anything: waiting x87 instructions and all that use MMX registers. */
bool x86_isa_waits(const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops);
/* Exception that using the unit raises by CR0, CR4, XCR0 and mode: EXC_UD, EXC_NM, or -1. */
int x86_unit_fault(const X86Cpu *cpu, X86Unit unit);
/* VEX-encoded instructions do not exist in real and v8086 mode. */
static inline bool x86_isa_vex_refused(const X86State *st, const ZydisDecodedInstruction *zi)
{
    return zi->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !x86_protected(st);
}
/*
 * An aligned memory operand is demanded: alignment in bytes, 0 if any will do. size: of the operand, bytes.
 */
unsigned x86_isa_alignment(const ZydisDecodedInstruction *zi, unsigned size);

/* Decoder for code of 16, 32 or 64 bits that reads the reused encodings (TZCNT, LZCNT, ENDBR..) as this CPU does. */
void x86_decoder_init(const X86Cpu *cpu, unsigned bits, ZydisDecoder *decoder);
/* ZydisDecoderDecodeFull, with what it gets wrong put right. */
ZyanStatus x86_decode(const ZydisDecoder *decoder, const uint8_t *code, unsigned len, ZydisDecodedInstruction *zi,
                      ZydisDecodedOperand *ops);
