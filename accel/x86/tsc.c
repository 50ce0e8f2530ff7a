/*
 * The guest's time stamp counter: the host's plus an offset. It stands still while the machine is stopped.
 */
#include "accel/x86/cpu.h"

#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

/* One pair of readings, the tightest of a few so that an interruption between them does not count. */
static void sample(uint64_t *tsc, int64_t *ns)
{
    uint64_t best = UINT64_MAX;
    for (unsigned i = 0; i < 8; i++) {
        struct timespec ts;
        uint64_t before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
        uint64_t after = __rdtsc();
        if (after - before < best) {
            best = after - before;
            *tsc = before + best / 2;
            *ns = ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
        }
    }
}

/* Leaf 0x15 gives the crystal and the ratio on processors that know. */
static uint64_t hz_from_cpuid(void)
{
    uint32_t denominator, numerator, crystal, edx;
    if (!__get_cpuid_count(0x15, 0, &denominator, &numerator, &crystal, &edx) || !denominator || !numerator || !crystal)
        return 0;
    return (uint64_t)crystal * numerator / denominator;
}

#define CALIBRATION_NS 500000

static uint64_t measure_hz(void)
{
    uint64_t tsc0, tsc1;
    int64_t ns0, ns1;
    sample(&tsc0, &ns0);
    do
        sample(&tsc1, &ns1);
    while (ns1 - ns0 < CALIBRATION_NS);
    return (uint64_t)((double)(tsc1 - tsc0) * 1e9 / (double)(ns1 - ns0));
}

uint64_t x86_tsc_hz(void)
{
    static gsize hz;
    if (g_once_init_enter(&hz)) {
        uint64_t value = hz_from_cpuid();
        g_once_init_leave(&hz, value ? value : measure_hz());
    }
    return hz;
}
