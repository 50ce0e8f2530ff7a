/*
 * The machine's clocks. See rhea/timer.h.
 *
 * CLOCK_GUEST is CLOCK_MONO minus an offset while the machine runs, a constant while it is stopped, and what the test last
 * said in manual mode. The pair (mode, value) is read under a sequence counter, so that readers take no lock.
 */
#include "system/loop_internal.h"

#include <sched.h>
#include <time.h>

typedef enum { GUEST_STANDS, GUEST_RUNS } GuestMode;

struct Clocks {
    _Atomic uint32_t seq;      /* odd while it changes */
    _Atomic int mode;          /* GuestMode */
    _Atomic int64_t value;     /* RUNS: CLOCK_MONO minus guest time; STANDS: guest time. ns */
    bool manual;
    bool running;              /* of the machine; manual mode only uses it */
    GMutex lock;               /* guards changes and `domains`; leaf but for domain_wake */
    GPtrArray *domains;        /* Domain * */
};

int64_t mono_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static int64_t host_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

Clocks *clocks_new(void)
{
    Clocks *c = g_new0(Clocks, 1);
    g_mutex_init(&c->lock);
    c->domains = g_ptr_array_new();
    return c;
}

void clocks_free(Clocks *c)
{
    if (!c)
        return;
    for (unsigned i = 0; i < c->domains->len; i++)
        ((Domain *)g_ptr_array_index(c->domains, i))->clocks = NULL;
    g_ptr_array_unref(c->domains);
    g_mutex_clear(&c->lock);
    g_free(c);
}

static void guest_read(Clocks *c, GuestMode *mode, int64_t *value)
{
    for (;;) {
        uint32_t seq = atomic_load_explicit(&c->seq, memory_order_acquire);
        *mode = atomic_load_explicit(&c->mode, memory_order_acquire);
        *value = atomic_load_explicit(&c->value, memory_order_acquire);
        if (!(seq & 1) && atomic_load_explicit(&c->seq, memory_order_acquire) == seq)
            return;
        sched_yield();
    }
}

/* Lock held. */
static void guest_write_locked(Clocks *c, GuestMode mode, int64_t value)
{
    atomic_fetch_add(&c->seq, 1);
    atomic_store(&c->mode, mode);
    atomic_store(&c->value, value);
    atomic_fetch_add(&c->seq, 1);
}

int64_t clock_now(Clocks *c, ClockKind kind)
{
    GuestMode mode;
    int64_t value;
    if (kind == CLOCK_HOST)
        return host_now();
    if (kind == CLOCK_MONO)
        return mono_now();
    guest_read(c, &mode, &value);
    return mode == GUEST_RUNS ? mono_now() - value : value;
}

static void wake_domains_locked(Clocks *c)
{
    for (unsigned i = 0; i < c->domains->len; i++)
        domain_wake(g_ptr_array_index(c->domains, i), 0);
}

void clocks_set_running(Clocks *c, bool running)
{
    g_mutex_lock(&c->lock);
    if (!c->manual && running != c->running) {
        int64_t now = clock_now(c, CLOCK_GUEST);
        if (running)
            guest_write_locked(c, GUEST_RUNS, mono_now() - now);
        else
            guest_write_locked(c, GUEST_STANDS, now);
    }
    c->running = running;
    wake_domains_locked(c);
    g_mutex_unlock(&c->lock);
}

void clocks_set_manual(Clocks *c)
{
    g_mutex_lock(&c->lock);
    c->manual = true;
    guest_write_locked(c, GUEST_STANDS, 0);
    wake_domains_locked(c);
    g_mutex_unlock(&c->lock);
}

int64_t clock_to_mono(Clocks *c, ClockKind kind, int64_t deadline)
{
    GuestMode mode;
    int64_t value;
    if (deadline == INT64_MAX || kind == CLOCK_MONO)
        return deadline;
    if (kind == CLOCK_HOST) {
        /* The wall clock may be set while we sleep: look again every second. */
        int64_t wait = add_saturated(deadline, -host_now());
        return wait <= 0 ? 0 : mono_now() + MIN(wait, NS_PER_SEC);
    }
    guest_read(c, &mode, &value);
    if (mode == GUEST_RUNS)
        return MAX(add_saturated(deadline, value), 0);
    return c->manual && c->running && deadline <= value ? 0 : INT64_MAX;
}

void domain_set_clocks(Domain *domain, Clocks *clocks)
{
    if (domain->clocks)
        clocks_forget_domain(domain->clocks, domain);
    domain->clocks = clocks;
    g_mutex_lock(&clocks->lock);
    g_ptr_array_add(clocks->domains, domain);
    g_mutex_unlock(&clocks->lock);
}

Clocks *domain_clocks(Domain *domain)
{
    return domain->clocks;
}

void clocks_forget_domain(Clocks *c, Domain *domain)
{
    g_mutex_lock(&c->lock);
    g_ptr_array_remove(c->domains, domain);
    g_mutex_unlock(&c->lock);
}

static int64_t next_deadline_locked(Clocks *c)
{
    int64_t next = INT64_MAX;
    for (unsigned i = 0; i < c->domains->len; i++) {
        Domain *d = g_ptr_array_index(c->domains, i);
        next = MIN(next, atomic_load(&d->heap[CLOCK_GUEST].next));
    }
    return next;
}

int64_t clocks_next_deadline(Clocks *c)
{
    int64_t next = -1;
    g_mutex_lock(&c->lock);
    if (c->running)
        next = next_deadline_locked(c);
    g_mutex_unlock(&c->lock);
    return next == INT64_MAX ? -1 : next;
}

/* What is due in every domain, bottom halves included: what a timer set going has happened before the clock moves on. */
static void run_all_domains(Clocks *c)
{
    g_autoptr(GPtrArray) domains = g_ptr_array_new();
    g_mutex_lock(&c->lock);
    for (unsigned i = 0; i < c->domains->len; i++)
        g_ptr_array_add(domains, g_ptr_array_index(c->domains, i));
    g_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < domains->len; i++) {
        Domain *d = g_ptr_array_index(domains, i);
        DOMAIN_GUARD(d);
        timers_run(d);
        bh_run(d);
    }
}

void clocks_step_to(Clocks *c, int64_t target_ns)
{
    for (;;) {
        int64_t next = clocks_next_deadline(c);
        int64_t now = clock_now(c, CLOCK_GUEST);
        bool hop = next >= 0 && next <= target_ns;
        int64_t to = hop ? MAX(next, now) : MAX(target_ns, now);
        g_mutex_lock(&c->lock);
        guest_write_locked(c, GUEST_STANDS, to);
        g_mutex_unlock(&c->lock);
        if (!hop)
            return;
        run_all_domains(c);
    }
}
