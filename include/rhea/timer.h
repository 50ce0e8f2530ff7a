/*
 * Clocks and timers.
 *
 * CLOCK_GUEST   the machine's virtual time in ns: stands still while the machine is stopped, and under
 *               the qtest accelerator moves only when the test says so. Device timers use this one.
 * CLOCK_HOST    the host's wall clock in ns since 1970 (RTC with `-rtc clock=host`).
 * CLOCK_MONO    the host's monotonic clock: time-outs that have nothing to do with the guest.
 */
#pragma once

#include <rhea/base.h>
#include <rhea/loop.h>

typedef enum { CLOCK_GUEST, CLOCK_HOST, CLOCK_MONO, CLOCK_KINDS } ClockKind;

/* The three clocks of one machine; every domain of the machine shares them. */
typedef struct Clocks Clocks;
Clocks *clocks_new(void);
void clocks_free(Clocks *clocks);
int64_t clock_now(Clocks *clocks, ClockKind kind); /* ns; any thread */
/* Run state: stops and resumes CLOCK_GUEST; timers on it do not fire while stopped. */
void clocks_set_running(Clocks *clocks, bool running);
/*
 * qtest: CLOCK_GUEST becomes manual from now on, at 0. clocks_step_to() runs the due timers in order of
 * deadline, the clock standing at each deadline in turn, and leaves it at target; caller holds the main domain's lock.
 */
void clocks_set_manual(Clocks *clocks);
void clocks_step_to(Clocks *clocks, int64_t target_ns);
/* Earliest pending deadline of any CLOCK_GUEST timer in any domain; -1 when there is none or the clock is stopped. */
int64_t clocks_next_deadline(Clocks *clocks);

/* A domain uses one Clocks for all its timers. */
void domain_set_clocks(Domain *domain, Clocks *clocks);
Clocks *domain_clocks(Domain *domain);
static inline int64_t domain_now(Domain *domain, ClockKind kind) { return clock_now(domain_clocks(domain), kind); }

/*
 * A one-shot timer on a domain's loop. func runs with the domain's lock held and may re-arm.
 * timer_mod/timer_del may be called from any thread; after timer_del returns to a caller that holds
 * the domain's lock, func will not run. A deadline in the past fires on the next loop turn.
 */
typedef struct Timer Timer;
typedef void TimerFunc(void *opaque);
Timer *timer_new(Domain *domain, ClockKind kind, TimerFunc *func, void *opaque);
void timer_free(Timer *timer); /* NULL is allowed */
void timer_mod(Timer *timer, int64_t deadline_ns);
/* Arms only if not pending or pending later. */
void timer_mod_earlier(Timer *timer, int64_t deadline_ns);
void timer_del(Timer *timer);
bool timer_pending(const Timer *timer);
int64_t timer_deadline(const Timer *timer); /* ns, -1 when not pending */
