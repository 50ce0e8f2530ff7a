/*
 * The guest's time stamp counter: the host's plus an offset. It stands still while the machine is stopped.
 */
#include "accel/x86/kvmclock.h"

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

static uint64_t start_tsc;
static int64_t start_ns;

/* From here on the baseline grows for free. */
static void __attribute__((constructor)) take_start(void)
{
    sample(&start_tsc, &start_ns);
}

static uint64_t measure_hz(void)
{
    uint64_t tsc;
    int64_t ns;
    do
        sample(&tsc, &ns);
    while (ns - start_ns < CALIBRATION_NS);
    return (uint64_t)((double)(tsc - start_tsc) * 1e9 / (double)(ns - start_ns));
}

uint64_t x86_tsc_hz_measured(void)
{
    uint64_t hz = hz_from_cpuid();
    return hz ? hz : measure_hz();
}

uint64_t x86_tsc_hz(void)
{
    static gsize hz;
    if (g_once_init_enter(&hz)) {
        g_once_init_leave(&hz, x86_tsc_hz_measured());
    }
    return hz;
}
