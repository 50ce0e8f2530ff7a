/*
 * MSRs of the paravirtual clock. vCPU thread, vector registers free to use.
 */
#pragma once

#include "accel/x86/features.h"

#define MSR_KVM_WALL_CLOCK      0x11
#define MSR_KVM_SYSTEM_TIME     0x12
#define MSR_KVM_WALL_CLOCK_NEW  0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01

static inline bool x86_kvmclock_is_msr(uint32_t msr)
{
    return msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_SYSTEM_TIME || msr == MSR_KVM_WALL_CLOCK_NEW ||
           msr == MSR_KVM_SYSTEM_TIME_NEW;
}
bool x86_kvmclock_read(X86Cpu *cpu, uint32_t msr, uint64_t *value) WARN_UNUSED;  /* false: #GP */
bool x86_kvmclock_write(X86Cpu *cpu, uint32_t msr, uint64_t value) WARN_UNUSED;
/* After the guest has set its TSC. */
void x86_kvmclock_refresh(X86Cpu *cpu);

/* The host's TSC rate, measured from program start until now: the later, the better. tsc.c */
uint64_t x86_tsc_hz_measured(void);
