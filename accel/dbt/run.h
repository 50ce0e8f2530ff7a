/* The run loop's side of the accelerator class. */
#pragma once

#include "accel/dbt/dbt.h"

/* A decoded instruction for x86_exec_insn. a, b: its first 15 bytes, overlapping by one. */
typedef struct ExecInsn {
    uint64_t a, b;
    uint32_t mode;
    uint8_t bytes[16];
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
} ExecInsn;

VcpuExit dbt_run(Vcpu *vcpu);
VcpuExit dbt_step(Vcpu *vcpu);
const X86EngineOps *dbt_engine_ops(void);
/* Logs registers; VCPU_EXIT_FAILED. */
VcpuExit dbt_report_failure(DbtVcpu *v);
