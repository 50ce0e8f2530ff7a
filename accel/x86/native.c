#include "accel/x86/internal.h"
unsigned x86_exec_native(X86Cpu *cpu, const Insn *in);
unsigned x86_exec_native(X86Cpu *cpu, const Insn *in) { return X86_EXEC_UNKNOWN; }
