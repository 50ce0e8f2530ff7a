/*
 * Raising faults: the exception is recorded and control goes back to the run loop.
 */
#include "accel/x86/internal.h"

static bool vector_has_error(int vector)
{
    /* DF, TS, NP, SS, GP, PF, AC; SDM 3A table 6-1 */
    return vector < 32 && ((1u << vector) & 0x27d00u);
}

static _Noreturn void jump(X86Cpu *cpu)
{
    g_assert(cpu->fault_jmp);
    __builtin_longjmp(cpu->fault_jmp, 1);
}

void x86_fault(X86Cpu *cpu, int vector, uint32_t error_code)
{
    *cpu->fault = (X86Event) {
        .kind = X86_EVENT_EXCEPTION, .vector = vector, .has_error = vector_has_error(vector), .error = error_code,
    };
    jump(cpu);
}

void x86_fault_page(X86Cpu *cpu, uint64_t lin, uint32_t error_code)
{
    *cpu->fault = (X86Event) {
        .kind = X86_EVENT_EXCEPTION, .vector = EXC_PF, .has_error = true, .error = error_code, .cr2 = lin,
    };
    jump(cpu);
}

void x86_fault_debug(X86Cpu *cpu, uint64_t dr6)
{
    *cpu->fault = (X86Event) { .kind = X86_EVENT_EXCEPTION, .vector = EXC_DB, .dr6 = dr6 };
    jump(cpu);
}

void x86_fault_translation(X86Cpu *cpu, const X86Translation *tr)
{
    x86_fault_page(cpu, tr->fault_lin, tr->fault_error);
}
