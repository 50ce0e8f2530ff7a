/*
 * Domains: the lock and the turns of the loop. See rhea/loop.h and docs/locking.md.
 *
 * The loop is a GMainContext whose poll function drops the domain's lock while it waits. It also does the waiting for timers, with
 * nanoseconds (GLib's own time-outs are milliseconds).
 *
 * The lock is a futex word. Sections are short (a register access, a callback), while waking a sleeper costs about
 * 50 us on a nested host; so a waiter spins for some microseconds before it sleeps. The loop would starve waiters by
 * re-locking at once after a poll that found work; it lets one of them through first.
 */
#include "system/loop_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 300
#define YIELDS 40

static __thread char self_marker;
#define SELF ((void *)&self_marker)
static __thread unsigned others_held; /* domains other than the main one whose lock this thread has */
static __thread Domain *running;      /* whose context this thread is iterating */

static Domain *main_domain;

Domain *domain_main(void)
{
    return main_domain;
}

static void futex_wait(_Atomic uint32_t *word, uint32_t value, int64_t timeout_ns)
{
    struct timespec ts = { .tv_sec = timeout_ns / NS_PER_SEC, .tv_nsec = timeout_ns % NS_PER_SEC };
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout_ns < 0 ? NULL : &ts, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/* ---- lock ---- */

static bool try_take(Domain *d)
{
    uint32_t free = 0;
    return atomic_compare_exchange_strong_explicit(&d->state, &free, 1, memory_order_acquire, memory_order_relaxed);
}

static void take_contended(Domain *d)
{
    for (int i = 0; i < SPINS; i++) {
        __builtin_ia32_pause();
        if (atomic_load_explicit(&d->state, memory_order_relaxed) == 0 && try_take(d))
            return;
    }
    atomic_fetch_add(&d->waiters, 1);
    while (atomic_exchange_explicit(&d->state, 2, memory_order_acquire) != 0)
        futex_wait(&d->state, 2, -1);
    atomic_fetch_sub(&d->waiters, 1);
    atomic_fetch_add(&d->grants, 1);
}

static void take(Domain *d, unsigned depth)
{
    if (!try_take(d))
        take_contended(d);
    atomic_store_explicit(&d->owner, SELF, memory_order_relaxed);
    d->depth = depth;
    if (!d->is_main)
        others_held++;
}

static void release(Domain *d)
{
    if (!d->is_main)
        others_held--;
    atomic_store_explicit(&d->owner, NULL, memory_order_relaxed);
    if (atomic_exchange_explicit(&d->state, 0, memory_order_release) == 2)
        futex_wake(&d->state, 1);
}

bool domain_is_locked(const Domain *d)
{
    return atomic_load_explicit(&((Domain *)d)->owner, memory_order_relaxed) == SELF;
}

bool domain_may_enter(const Domain *d)
{
    return !d || !others_held || domain_is_locked(d);
}

void domain_lock(Domain *d)
{
    if (domain_is_locked(d)) {
        d->depth++;
        return;
    }
    if (G_UNLIKELY(others_held)) {
        static gsize warned;
        if (g_once_init_enter(&warned)) {
            g_warning("lock order: '%s' is taken by a thread that holds another domain's lock", d->name);
            g_once_init_leave(&warned, 1);
        }
    }
    take(d, 1);
}

void domain_unlock(Domain *d)
{
    g_assert(domain_is_locked(d));
    if (--d->depth == 0)
        release(d);
}

unsigned domain_release_all(Domain *d)
{
    unsigned depth = domain_is_locked(d) ? d->depth : 0;
    if (depth)
        release(d);
    return depth;
}

void domain_reacquire(Domain *d, unsigned depth)
{
    if (depth)
        take(d, depth);
}

/* After a poll: whoever was waiting when the loop let go is served first, within bounds. */
static void reacquire_fair(Domain *d, unsigned depth, uint32_t grants)
{
    for (int i = 0; i < YIELDS; i++) {
        if (!atomic_load(&d->waiters) || atomic_load(&d->grants) != grants)
            break;
        sched_yield();
    }
    domain_reacquire(d, depth);
}

/* ---- turns ---- */

void domain_wake(Domain *d, int64_t at_ns)
{
    atomic_thread_fence(memory_order_seq_cst);
    int64_t until = atomic_load(&d->sleep_until);
    if (until && at_ns < until && atomic_exchange(&d->sleep_until, 0))
        g_main_context_wakeup(d->context);
}

static int poll_ns(GPollFD *fds, guint n, int64_t ns)
{
    struct timespec ts = { .tv_sec = ns / NS_PER_SEC, .tv_nsec = ns % NS_PER_SEC };
    G_STATIC_ASSERT(sizeof(GPollFD) == sizeof(struct pollfd));
    return ppoll((struct pollfd *)fds, n, ns == INT64_MAX ? NULL : &ts, NULL);
}

void domain_set_polling(Domain *d, int64_t max_ns, unsigned grow, unsigned shrink)
{
    d->poll_max_ns = max_ns;
    d->poll_grow = grow ? grow : 2;
    d->poll_shrink = shrink;
    d->poll_now_ns = MIN(d->poll_now_ns, max_ns);
}

/* A wait that ended a little later than the busy part would have been worth a longer one. */
static void adapt_polling(Domain *d, int64_t waited)
{
    if (waited <= d->poll_now_ns)
        return;
    if (waited > d->poll_max_ns)
        d->poll_now_ns = d->poll_shrink ? d->poll_now_ns / d->poll_shrink : 0;
    else
        d->poll_now_ns = MIN(d->poll_max_ns, MAX(4000, d->poll_now_ns * (int64_t)d->poll_grow));
}

/* Looks for up to poll_now_ns before it sleeps: a wake-up costs tens of microseconds, an event may be closer. */
static int poll_busy(Domain *d, GPollFD *fds, guint n, int64_t ns)
{
    int64_t start = mono_now(), waited = 0, busy = MIN(d->poll_now_ns, ns);
    int ready = 0;
    while (!ready && waited < busy) {
        ready = poll_ns(fds, n, 0);
        waited = mono_now() - start;
    }
    if (!ready)
        ready = poll_ns(fds, n, ns == INT64_MAX ? ns : MAX(ns - waited, 0));
    int saved = errno;
    adapt_polling(d, mono_now() - start);
    errno = saved;
    return ready;
}

static gint domain_poll(GPollFD *fds, guint n, gint timeout_ms)
{
    Domain *d = running;
    if (!d)
        return g_poll(fds, n, timeout_ms);
    int64_t left = 0;
    if (timeout_ms) {
        int64_t now = mono_now();
        int64_t until = timeout_ms < 0 ? INT64_MAX : now + timeout_ms * 1000000ll;
        until = MIN(until, timers_next_mono(d));
        /* Who adds work from now on sees that we sleep; what was added before is seen here. */
        atomic_store(&d->sleep_until, MAX(until, 1));
        if (!bh_any(d) && !atomic_load(&d->quit) && timers_next_mono(d) >= until)
            left = until == INT64_MAX ? INT64_MAX : MAX(until - now, 0);
    }
    uint32_t grants = atomic_load(&d->grants);
    unsigned depth = domain_release_all(d);
    int ready = left && d->poll_max_ns ? poll_busy(d, fds, n, left) : poll_ns(fds, n, left);
    int saved = errno;
    atomic_store(&d->sleep_until, 0);
    reacquire_fair(d, depth, grants);
    errno = saved;
    return ready;
}

static gboolean source_prepare(GSource *source, gint *timeout);
static gboolean source_check(GSource *source);
static gboolean source_dispatch(GSource *source, GSourceFunc func, gpointer data);

typedef struct DomainSource {
    GSource source;
    Domain *domain;
} DomainSource;

static GSourceFuncs source_funcs = { .prepare = source_prepare, .check = source_check, .dispatch = source_dispatch };

static gboolean source_check(GSource *source)
{
    Domain *d = ((DomainSource *)source)->domain;
    return bh_any(d) || timers_next_mono(d) <= mono_now();
}

static gboolean source_prepare(GSource *source, gint *timeout)
{
    *timeout = -1;
    return source_check(source);
}

static gboolean source_dispatch(GSource *source, GSourceFunc func, gpointer data)
{
    Domain *d = ((DomainSource *)source)->domain;
    timers_run(d);
    bh_run(d);
    return G_SOURCE_CONTINUE;
}

static void turn(Domain *d, bool block)
{
    Domain *outer = running;
    running = d;
    g_main_context_iteration(d->context, block);
    running = outer;
    atomic_fetch_add(&d->turns, 1);
    if (atomic_load(&d->turn_waiters))
        futex_wake(&d->turns, INT_MAX);
}

void domain_run(Domain *d)
{
    /* Timers are the guest's: the kernel may not put them off by its usual 50 us to save wake-ups. */
    prctl(PR_SET_TIMERSLACK, 1);
    domain_lock(d);
    g_assert(!atomic_load(&d->runner));
    atomic_store(&d->runner, SELF);
    while (!atomic_load(&d->quit))
        turn(d, true);
    atomic_store(&d->quit, false);
    atomic_store(&d->runner, NULL);
    domain_unlock(d);
}

/* The loop is another thread's: let it do a turn. */
static void wait_turn(Domain *d, bool block)
{
    uint32_t before = atomic_load(&d->turns);
    unsigned depth = domain_release_all(d);
    atomic_fetch_add(&d->turn_waiters, 1);
    if (block)
        futex_wait(&d->turns, before, 100 * 1000000ll); /* a turn may have ended just before; callers loop */
    else
        sched_yield();
    atomic_fetch_sub(&d->turn_waiters, 1);
    domain_reacquire(d, depth);
}

void domain_iterate(Domain *d, bool block)
{
    void *runner = atomic_load(&d->runner);
    if (runner && runner != SELF) {
        wait_turn(d, block);
        return;
    }
    domain_lock(d);
    turn(d, block);
    domain_unlock(d);
}

void domain_quit(Domain *d)
{
    atomic_store(&d->quit, true);
    domain_wake(d, 0);
}

/* ---- life ---- */

Domain *domain_new(const char *name, GMainContext *context)
{
    Domain *d = g_new0(Domain, 1);
    d->name = g_strdup(name);
    d->is_main = context && context == g_main_context_default();
    d->context = context ? g_main_context_ref(context) : g_main_context_new();
    g_mutex_init(&d->timer_lock);
    for (int kind = 0; kind < CLOCK_KINDS; kind++)
        d->heap[kind].next = INT64_MAX;
    g_main_context_set_poll_func(d->context, domain_poll);
    d->source = g_source_new(&source_funcs, sizeof(DomainSource));
    ((DomainSource *)d->source)->domain = d;
    g_source_set_name(d->source, name);
    g_source_set_can_recurse(d->source, TRUE); /* callbacks may iterate */
    g_source_attach(d->source, d->context);
    if (d->is_main)
        main_domain = d;
    else if (main_domain && main_domain->clocks)
        domain_set_clocks(d, main_domain->clocks);
    return d;
}

void domain_free(Domain *d)
{
    if (!d)
        return;
    g_assert(!d->thread);
    g_source_destroy(d->source);
    g_source_unref(d->source);
    bh_drop_all(d);
    timers_clear(d);
    if (d->clocks)
        clocks_forget_domain(d->clocks, d);
    if (main_domain == d) {
        g_main_context_set_poll_func(d->context, NULL);
        main_domain = NULL;
    }
    g_main_context_unref(d->context);
    g_mutex_clear(&d->timer_lock);
    g_free(d->name);
    g_free(d);
}

static gpointer domain_thread(gpointer data)
{
    Domain *d = data;
    g_main_context_push_thread_default(d->context);
    domain_run(d);
    g_main_context_pop_thread_default(d->context);
    return NULL;
}

bool domain_start_thread(Domain *d, GError **err)
{
    g_autoptr(GError) local = NULL;
    g_assert(!d->thread);
    d->thread = g_thread_try_new(d->name, domain_thread, d, &local);
    if (!d->thread)
        error_set(err, "can't start the thread of '%s': %s", d->name, local->message);
    return d->thread != NULL;
}

void domain_stop_thread(Domain *d)
{
    if (!d->thread)
        return;
    domain_quit(d);
    g_thread_join(d->thread);
    d->thread = NULL;
}

GMainContext *domain_context(Domain *d)
{
    return d->context;
}

const char *domain_name(const Domain *d)
{
    return d->name;
}
