/* Processors in the human monitor. Main domain locked; what needs the processor runs on its thread, which waits meanwhile. */
#pragma once

#include "monitor/hmp.h"

/* Linear memory of the context's CPU; bytes read, fewer than len with err. */
size_t hmp_read_linear(QmpContext *ctx, uint64_t lin, void *buf, size_t len, GError **err);
/* "rip", "rax", "eax", "cr3", ... */
bool hmp_register(QmpContext *ctx, const char *name, uint64_t *value, GError **err) WARN_UNUSED;
/* hmp->count instructions in the CPU's present mode. */
void hmp_disassemble(Hmp *hmp, uint64_t addr, bool physical);

HmpFunc hmp_info_registers, hmp_gva2gpa, hmp_cpu;
