/*
 * The paravirtual clock that Linux and others use on KVM: the guest reads the time from its TSC by a scale in a page
 * it shares with
 * us, without an exit, and need not calibrate the TSC against slow timers at boot.
 *
 * Source: Linux Documentation/virt/kvm/x86/msr.rst (MSR_KVM_SYSTEM_TIME_NEW, MSR_KVM_WALL_CLOCK_NEW), cpuid.rst.
 *
 * Since the TSC stands while the machine is stopped, and no TSC of ours ever changes its rate, the page is written
 * when the guest
 * gives it and when it sets its TSC, never otherwise.
 */
#include "accel/x86/kvmclock.h"

#include <mem/dma.h>
#include <string.h>

#include "accel/x86/exec.h"

#define ENABLE 1u
#define FLAG_TSC_STABLE 1u  /* all CPUs' TSCs agree */

/* ns = (tsc << shift) * mul >> 32 */
typedef struct Scale { uint32_t mul; int8_t shift; } Scale;

static Scale scale_of(uint64_t hz)
{
    double ratio = 1e9 / (double)hz * 4294967296.0;
    Scale s = { 0, 0 };
    while (ratio >= 4294967296.0) {
        ratio /= 2;
        s.shift++;
    }
    while (ratio < 2147483648.0) {
        ratio *= 2;
        s.shift--;
    }
    s.mul = (uint32_t)ratio;
    return s;
}

/* Fixed at first use, for all CPUs alike. */
static Scale scale(void)
{
    static gsize once;
    static Scale s;
    if (g_once_init_enter(&once)) {
        s = scale_of(x86_tsc_hz_measured());
        g_once_init_leave(&once, 1);
    }
    return s;
}

static uint64_t to_ns(uint64_t tsc)
{
    Scale s = scale();
    tsc = s.shift >= 0 ? tsc << s.shift : tsc >> -s.shift;
    return (uint64_t)((unsigned __int128)tsc * s.mul >> 32);
}

/* struct pvclock_vcpu_time_info: the clock is the TSC as it would be had the guest never set it. */
static bool write_system_time(X86Cpu *cpu)
{
    Scale s = scale();
    uint8_t page[32] = { 0 };
    st32(page, 2); /* version: even, complete */
    st64(page + 8, cpu->st.tsc_adjust);
    st64(page + 16, 0);
    st32(page + 24, s.mul);
    page[28] = s.shift;
    page[29] = x86_has(cpu, X86_FEAT_KVMCLOCK_STABLE) ? FLAG_TSC_STABLE : 0;
    uint64_t gpa = cpu->st.kvmclock_system & ~(uint64_t)ENABLE;
    return dma_write(cpu->vcpu.mem, gpa, page, sizeof(page)) == MEMTX_OK;
}

/* struct pvclock_wall_clock: the date at which the clock was 0. */
static bool write_wall_clock(X86Cpu *cpu)
{
    Machine *m = cpu->vcpu.dev.machine;
    int64_t now = clock_now(m->clocks, m->rtc_clock) + m->rtc_base_offset_s * NS_PER_SEC;
    int64_t boot = now - (int64_t)to_ns(x86_rdtsc(cpu) - cpu->st.tsc_adjust);
    uint8_t image[12];
    st32(image, 2);
    st32(image + 4, boot / NS_PER_SEC);
    st32(image + 8, boot % NS_PER_SEC);
    return dma_write(cpu->vcpu.mem, cpu->st.kvmclock_wall, image, sizeof(image)) == MEMTX_OK;
}

static bool known(const X86Cpu *cpu, uint32_t msr)
{
    bool old = msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_SYSTEM_TIME;
    return cpu->expose_kvm && x86_has(cpu, old ? X86_FEAT_KVMCLOCK : X86_FEAT_KVMCLOCK2);
}

static bool is_wall(uint32_t msr) { return msr == MSR_KVM_WALL_CLOCK || msr == MSR_KVM_WALL_CLOCK_NEW; }

bool x86_kvmclock_read(X86Cpu *cpu, uint32_t msr, uint64_t *value)
{
    *value = is_wall(msr) ? cpu->st.kvmclock_wall : cpu->st.kvmclock_system;
    return known(cpu, msr);
}

bool x86_kvmclock_write(X86Cpu *cpu, uint32_t msr, uint64_t value)
{
    if (!known(cpu, msr) || (value & 2))
        return false;
    if (is_wall(msr)) {
        cpu->st.kvmclock_wall = value;
        return write_wall_clock(cpu);
    }
    cpu->st.kvmclock_system = value;
    return !(value & ENABLE) || write_system_time(cpu);
}

void x86_kvmclock_refresh(X86Cpu *cpu)
{
    if (cpu->st.kvmclock_system & ENABLE)
        write_system_time(cpu);
}
