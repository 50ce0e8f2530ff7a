/*
 * The local APIC's timer: one-shot, periodic and TSC-deadline modes.
 *
 * Guests arm it on every tick, so arming has to be cheap: the host timer is only moved when it has to fire earlier than it is
 * set for. One that fires too early, because the guest has moved or cancelled its deadline since, just re-arms itself.
 *
 * Source: Intel SDM vol. 3A 10.5.4.
 */
#include "hw/intc/apic-internal.h"

#define NEVER INT64_MAX
#define MIN_PERIOD_NS 20000 /* periods shorter than this are interrupts that no guest can take: they would only busy the host */

/* log2 of the divider: bits 3, 1, 0 of the divide configuration register; 0b111 divides by 1. */
static unsigned divide_shift(const Apic *a)
{
    unsigned code = (a->timer_divide & 3) | (a->timer_divide & 8) >> 1;
    return (code + 1) & 7;
}

static int64_t ticks_to_ns(const Apic *a, uint32_t ticks)
{
    G_STATIC_ASSERT(APIC_BUS_HZ == NS_PER_SEC);
    return (int64_t)((uint64_t)ticks << divide_shift(a));
}

static bool is_mode(const Apic *a, uint32_t mode)
{
    return (a->lvt[LVT_TIMER] & LVT_TIMER_MODE) == mode;
}

static int64_t now_of(const Apic *a)
{
    return domain_now(a->dev.domain, CLOCK_GUEST);
}

void apic_timer_rearm_locked(Apic *a)
{
    if (a->timer_deadline == NEVER || (a->lvt[LVT_TIMER] & LVT_MASKED) || !a->timer)
        return;
    timer_mod_earlier(a->timer, a->timer_deadline);
}

void apic_timer_stop_locked(Apic *a)
{
    a->timer_deadline = NEVER;
    a->timer_initial = 0;
    a->tsc_deadline = 0;
}

/* Moves a periodic deadline past `now` in whole periods; ticks that nobody could see in between are one interrupt. */
static void advance_period(Apic *a, int64_t now)
{
    int64_t period = ticks_to_ns(a, a->timer_initial);
    if (a->timer_deadline <= now)
        a->timer_deadline += ((now - a->timer_deadline) / period + 1) * period;
}

void apic_timer_fired(void *opaque)
{
    Apic *a = opaque;
    g_mutex_lock(&a->lock);
    int64_t now = now_of(a);
    if (a->timer_deadline <= now && !(a->lvt[LVT_TIMER] & LVT_MASKED)) {
        if (is_mode(a, TIMER_PERIODIC) && a->timer_initial) {
            advance_period(a, MAX(now, now + MIN_PERIOD_NS - ticks_to_ns(a, a->timer_initial)));
        } else {
            a->timer_deadline = NEVER;
            a->tsc_deadline = 0;
        }
        apic_fire_lvt_locked(a, LVT_TIMER);
    }
    apic_timer_rearm_locked(a);
    g_mutex_unlock(&a->lock);
}

void apic_timer_set_initial_locked(Apic *a, uint32_t count)
{
    if (is_mode(a, TIMER_DEADLINE))
        return;
    a->timer_initial = count;
    a->timer_deadline = count ? now_of(a) + ticks_to_ns(a, count) : NEVER;
    apic_timer_rearm_locked(a);
}

uint32_t apic_timer_current_locked(Apic *a)
{
    if (a->timer_deadline == NEVER || is_mode(a, TIMER_DEADLINE))
        return 0;
    int64_t now = now_of(a);
    int64_t left = a->timer_deadline - now;
    if (left <= 0) {
        if (!is_mode(a, TIMER_PERIODIC) || !a->timer_initial)
            return 0;
        int64_t period = ticks_to_ns(a, a->timer_initial);
        left = period - (-left) % period;
    }
    uint64_t ticks = ((uint64_t)left + (1ull << divide_shift(a)) - 1) >> divide_shift(a);
    return MIN(ticks, a->timer_initial);
}

/* A running count goes on at the new rate. */
void apic_timer_set_divide_locked(Apic *a, uint32_t value)
{
    uint32_t left = apic_timer_current_locked(a);
    a->timer_divide = value & 0xb;
    if (left) {
        a->timer_deadline = now_of(a) + ticks_to_ns(a, left);
        apic_timer_rearm_locked(a);
    }
}

/* TSC value to CLOCK_GUEST, rounded up so that the guest never sees the interrupt before its deadline. */
static int64_t tsc_to_ns(Apic *a, uint64_t tsc)
{
    uint64_t tsc_now = x86_rdtsc(a->cpu);
    int64_t now = now_of(a);
    if (tsc <= tsc_now)
        return now;
    uint64_t hz = x86_tsc_hz();
    unsigned __int128 ns = ((unsigned __int128)(tsc - tsc_now) * NS_PER_SEC + hz - 1) / hz;
    return ns > (uint64_t)(NEVER - now) ? NEVER : now + (int64_t)ns;
}

void apic_timer_set_deadline_locked(Apic *a, uint64_t tsc)
{
    if (!is_mode(a, TIMER_DEADLINE))
        return;
    a->tsc_deadline = tsc;
    a->timer_deadline = tsc ? tsc_to_ns(a, tsc) : NEVER;
    if (tsc && a->timer_deadline <= now_of(a)) { /* passed already: at once */
        a->timer_deadline = NEVER;
        a->tsc_deadline = 0;
        apic_fire_lvt_locked(a, LVT_TIMER);
    }
    apic_timer_rearm_locked(a);
}

/* A change between TSC-deadline mode and the others disarms (SDM 10.5.4.1). */
void apic_timer_lvt_changed_locked(Apic *a, uint32_t old)
{
    uint32_t old_mode = old & LVT_TIMER_MODE, mode = a->lvt[LVT_TIMER] & LVT_TIMER_MODE;
    if (old_mode != mode && (old_mode == TIMER_DEADLINE || mode == TIMER_DEADLINE)) {
        apic_timer_stop_locked(a);
        return;
    }
    /* While the entry was masked nothing fired: what ran out then is over, or goes on from its next period. */
    int64_t now = now_of(a);
    if ((old & LVT_MASKED) && a->timer_deadline <= now) {
        if (mode == TIMER_PERIODIC && a->timer_initial)
            advance_period(a, now);
        else
            a->timer_deadline = NEVER;
    }
    apic_timer_rearm_locked(a);
}
