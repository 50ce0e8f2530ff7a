/* Domains, bottom halves, fd watches, timers and clocks. */
#include <rhea/timer.h>

#include <string.h>
#include <unistd.h>

#include "system/loop_internal.h"

static void count(void *opaque) { g_atomic_int_inc((int *)opaque); }

/* Turns until *n reaches want; a hang is the test program's time-out. */
static void turn_until(Domain *d, const int *n, int want)
{
    while (g_atomic_int_get(n) < want)
        domain_iterate(d, true);
}

/* ---- lock ---- */

typedef struct LockTest { Domain *d; int value; int rounds; } LockTest;

static gpointer lock_worker(gpointer data)
{
    LockTest *t = data;
    for (int i = 0; i < t->rounds; i++) {
        DOMAIN_GUARD(t->d);
        DOMAIN_GUARD(t->d);
        g_assert_true(domain_is_locked(t->d));
        int v = t->value;
        if (i % 64 == 0)
            g_thread_yield();
        t->value = v + 1;
    }
    g_assert_false(domain_is_locked(t->d));
    return NULL;
}

static void test_lock(void)
{
    LockTest t = { domain_new("t", NULL), 0, 20000 };
    GThread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = g_thread_new("w", lock_worker, &t);
    for (int i = 0; i < 4; i++)
        g_thread_join(threads[i]);
    g_assert_cmpint(t.value, ==, 4 * t.rounds);
    domain_free(t.d);
}

/* A loop that always finds work must still let others in. */
typedef struct Busy { Domain *d; BottomHalf *bh; _Atomic int turns; } Busy;

static void busy_again(void *opaque)
{
    Busy *b = opaque;
    b->turns++;
    bh_schedule(b->bh);
}

static void test_fairness(void)
{
    Busy b = { .d = domain_new("busy", NULL) };
    g_autoptr(GError) err = NULL;
    b.bh = bh_new(b.d, busy_again, &b);
    bh_schedule(b.bh);
    g_assert_true(domain_start_thread(b.d, &err));
    while (!b.turns)
        g_thread_yield();
    int64_t start = g_get_monotonic_time();
    for (int i = 0; i < 200; i++) {
        DOMAIN_GUARD(b.d);
        g_assert_true(domain_is_locked(b.d));
    }
    g_assert_cmpint(g_get_monotonic_time() - start, <, 5000000);
    domain_stop_thread(b.d);
    g_test_message("%d turns meanwhile", b.turns);
    bh_free(b.bh);
    domain_free(b.d);
}

/* ---- bottom halves ---- */

typedef struct Order { GString *log; const char *name; BottomHalf *other; } Order;

static void append(void *opaque)
{
    Order *o = opaque;
    g_string_append(o->log, o->name);
    if (o->other)
        bh_schedule(o->other);
}

static void test_bh(void)
{
    Domain *d = domain_new("t", NULL);
    g_autoptr(GString) log = g_string_new(NULL);
    Order a = { log, "a", NULL }, b = { log, "b", NULL }, c = { log, "c", NULL };
    BottomHalf *bha = bh_new(d, append, &a), *bhb = bh_new(d, append, &b), *bhc = bh_new(d, append, &c);
    a.other = bhc;
    bh_schedule(bha);
    bh_schedule(bhb);
    bh_schedule(bha);
    domain_post(d, append, &b);
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "abb"); /* c was scheduled during the turn */
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "abbc");
    bh_schedule(bhb);
    bh_cancel(bhb);
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "abbc");
    bh_schedule(bhb);
    bh_free(bhb);
    bh_free(bha);
    bh_free(bhc);
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "abbc");
    domain_post(d, append, &b); /* dropped with the domain */
    domain_free(d);
}

typedef struct Nested { Domain *d; int inner, outer; } Nested;

static void nested_wait(void *opaque)
{
    Nested *n = opaque;
    turn_until(n->d, &n->inner, 1);
    n->outer++;
}

static void test_nested(void)
{
    /* the callback waits for a bottom half that stands behind it in the same queue */
    Nested n = { .d = domain_new("t", NULL) };
    domain_post(n.d, nested_wait, &n);
    domain_post(n.d, count, &n.inner);
    domain_iterate(n.d, true);
    g_assert_cmpint(n.outer, ==, 1);
    domain_free(n.d);
}

/* ---- threads ---- */

typedef struct Ping { Domain *d; BottomHalf *bh; int got; GThread *on; } Ping;

static void ping_got(void *opaque)
{
    Ping *p = opaque;
    g_assert_true(domain_is_locked(p->d));
    p->on = g_thread_self();
    g_atomic_int_inc(&p->got);
}

static void test_thread(void)
{
    Ping p = { .d = domain_new("io", NULL) };
    g_autoptr(GError) err = NULL;
    p.bh = bh_new(p.d, ping_got, &p);
    g_assert_true(domain_start_thread(p.d, &err));
    for (int i = 0; i < 200; i++) {
        int before = g_atomic_int_get(&p.got);
        if (i % 10 == 0)
            g_usleep(300); /* let it fall asleep now and then */
        bh_schedule(p.bh);
        while (g_atomic_int_get(&p.got) == before)
            g_thread_yield();
    }
    g_assert_true(p.on != g_thread_self());
    /* a turn seen from another thread that has the lock */
    domain_lock(p.d);
    int before = p.got;
    bh_schedule(p.bh);
    while (p.got == before)
        domain_iterate(p.d, true);
    domain_unlock(p.d);
    domain_stop_thread(p.d);
    bh_free(p.bh);
    domain_free(p.d);
}

/* ---- fd ---- */

typedef struct FdTest { FdWatch *watch; int calls; GIOCondition last; } FdTest;

static void fd_ready(int fd, GIOCondition events, void *opaque)
{
    FdTest *t = opaque;
    char c;
    t->last = events;
    t->calls++;
    if (events & G_IO_IN)
        g_assert_cmpint(read(fd, &c, 1), >=, 0);
}

static void test_fd(void)
{
    Domain *d = domain_new("t", NULL);
    FdTest t = { 0 };
    int p[2];
    g_assert_cmpint(pipe(p), ==, 0);
    t.watch = fd_watch_new(d, p[0], G_IO_IN, fd_ready, &t);
    domain_iterate(d, false);
    g_assert_cmpint(t.calls, ==, 0);
    g_assert_cmpint(write(p[1], "xy", 2), ==, 2);
    turn_until(d, &t.calls, 2);
    fd_watch_set_events(t.watch, 0);
    g_assert_cmpint(write(p[1], "z", 1), ==, 1);
    close(p[1]);
    for (int i = 0; i < 3; i++)
        domain_iterate(d, false);
    g_assert_cmpint(t.calls, ==, 2); /* muted, for the hang-up too */
    fd_watch_set_events(t.watch, G_IO_IN);
    turn_until(d, &t.calls, 3);
    fd_watch_free(t.watch);
    domain_iterate(d, false);
    g_assert_cmpint(t.calls, ==, 3);
    close(p[0]);
    domain_free(d);
}

/* ---- timers ---- */

typedef struct Tick { Clocks *clocks; Timer *timer; GString *log; const char *name; int64_t period; Timer *kill; } Tick;

static void tick(void *opaque)
{
    Tick *t = opaque;
    g_string_append_printf(t->log, "%s%" PRId64 " ", t->name, clock_now(t->clocks, CLOCK_GUEST));
    if (t->period)
        timer_mod(t->timer, clock_now(t->clocks, CLOCK_GUEST) + t->period);
    if (t->kill)
        timer_del(t->kill);
}

static void test_manual(void)
{
    Domain *d = domain_new("t", NULL);
    Clocks *c = clocks_new();
    g_autoptr(GString) log = g_string_new(NULL);
    domain_set_clocks(d, c);
    clocks_set_manual(c);
    Tick a = { c, NULL, log, "a", 30, NULL }, b = { c, NULL, log, "b", 0, NULL }, k = { c, NULL, log, "k", 0, NULL };
    a.timer = timer_new(d, CLOCK_GUEST, tick, &a);
    b.timer = timer_new(d, CLOCK_GUEST, tick, &b);
    k.timer = timer_new(d, CLOCK_GUEST, tick, &k);
    g_assert_cmpint(clocks_next_deadline(c), ==, -1);
    timer_mod(a.timer, 30);
    timer_mod(b.timer, 45);
    g_assert_cmpint(clocks_next_deadline(c), ==, -1); /* stopped */
    clocks_set_running(c, true);
    g_assert_cmpint(clocks_next_deadline(c), ==, 30);
    domain_lock(d);
    clocks_step_to(c, 100);
    g_assert_cmpstr(log->str, ==, "a30 b45 a60 a90 ");
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), ==, 100);
    g_assert_cmpint(timer_deadline(a.timer), ==, 120);
    g_assert_false(timer_pending(b.timer));
    timer_mod_earlier(a.timer, 130);
    g_assert_cmpint(timer_deadline(a.timer), ==, 120);
    timer_mod_earlier(a.timer, 110);
    g_assert_cmpint(clocks_next_deadline(c), ==, 110);
    /* two due at once, the first stops the second */
    g_string_truncate(log, 0);
    timer_del(a.timer);
    timer_mod(b.timer, 200);
    timer_mod(k.timer, 201);
    b.kill = k.timer;
    clocks_step_to(c, 205);
    g_assert_cmpstr(log->str, ==, "b200 ");
    timer_mod(b.timer, 150); /* past: next turn of the loop */
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "b200 b205 ");
    /* stopped: time can be moved, nothing fires */
    timer_mod(b.timer, 300);
    clocks_set_running(c, false);
    clocks_step_to(c, 400);
    domain_iterate(d, false);
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), ==, 400);
    g_assert_cmpstr(log->str, ==, "b200 b205 ");
    clocks_set_running(c, true);
    domain_iterate(d, false);
    g_assert_cmpstr(log->str, ==, "b200 b205 b400 ");
    domain_unlock(d);
    timer_free(a.timer);
    timer_free(b.timer);
    timer_free(k.timer);
    domain_free(d);
    clocks_free(c);
}

static void test_guest_clock(void)
{
    Clocks *c = clocks_new();
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), ==, 0);
    clocks_set_running(c, true);
    g_usleep(2000);
    clocks_set_running(c, false);
    int64_t stood = clock_now(c, CLOCK_GUEST);
    g_assert_cmpint(stood, >=, 2000000);
    g_usleep(2000);
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), ==, stood);
    clocks_set_running(c, true);
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), >=, stood);
    g_assert_cmpint(clock_now(c, CLOCK_GUEST), <, stood + NS_PER_SEC);
    clocks_free(c);
}

static void test_real_timer(void)
{
    Domain *d = domain_new("t", NULL);
    int fired = 0;
    Timer *t = timer_new(d, CLOCK_MONO, count, &fired);
    int64_t start = mono_now();
    timer_mod(t, start + 3300000);
    turn_until(d, &fired, 1);
    int64_t late = mono_now() - (start + 3300000);
    g_assert_cmpint(late, >=, 0);
    g_test_message("late by %" PRId64 " us", late / 1000);
    /* a loop asleep for long is woken by an earlier deadline from another thread, not by a later one */
    Timer *far = timer_new(d, CLOCK_MONO, count, &fired);
    g_autoptr(GError) err = NULL;
    timer_mod(far, mono_now() + 3600 * NS_PER_SEC);
    g_assert_true(domain_start_thread(d, &err));
    g_usleep(20000);
    uint32_t turns = d->turns;
    timer_mod(far, mono_now() + 3601 * NS_PER_SEC);
    timer_mod(far, mono_now() + 3602 * NS_PER_SEC);
    timer_del(far);
    g_usleep(20000);
    g_assert_cmpuint(d->turns, ==, turns);
    timer_mod(t, mono_now() + 1000000);
    while (g_atomic_int_get(&fired) < 2)
        g_usleep(100);
    domain_stop_thread(d);
    timer_free(t);
    timer_free(far);
    domain_free(d);
}

static void test_heap(void)
{
    /* many timers armed, moved and deleted at random fire in order */
    enum { N = 200 };
    Domain *d = domain_new("t", NULL);
    Clocks *c = clocks_new();
    domain_set_clocks(d, c);
    clocks_set_manual(c);
    clocks_set_running(c, true);
    Timer *t[N];
    int fired[N] = { 0 }, want[N] = { 0 };
    int64_t now = 0;
    for (int i = 0; i < N; i++)
        t[i] = timer_new(d, CLOCK_GUEST, count, &fired[i]);
    domain_lock(d);
    for (int round = 0; round < 3000; round++) {
        int i = g_test_rand_int_range(0, N);
        if (g_test_rand_int_range(0, 4))
            timer_mod(t[i], now + g_test_rand_int_range(1, 1000));
        else
            timer_del(t[i]);
        int64_t min = INT64_MAX;
        for (int k = 0; k < N; k++)
            if (timer_pending(t[k]))
                min = MIN(min, timer_deadline(t[k]));
        g_assert_cmpint(clocks_next_deadline(c), ==, min == INT64_MAX ? -1 : min);
        if (round % 8 == 0) {
            now += g_test_rand_int_range(1, 200);
            for (int k = 0; k < N; k++)
                want[k] += timer_pending(t[k]) && timer_deadline(t[k]) <= now;
            clocks_step_to(c, now);
            g_assert_cmpmem(want, sizeof(want), fired, sizeof(fired));
        }
    }
    domain_unlock(d);
    for (int i = 0; i < N; i++)
        timer_free(t[i]);
    domain_free(d);
    clocks_free(c);
}

static void test_speed(void)
{
    Domain *d = domain_new("t", NULL);
    enum { N = 1000000 };
    int64_t start = mono_now();
    for (int i = 0; i < N; i++) {
        domain_lock(d);
        domain_unlock(d);
    }
    g_test_message("uncontended lock+unlock %.1f ns", (double)(mono_now() - start) / N);
    Timer *t = timer_new(d, CLOCK_MONO, count, NULL);
    start = mono_now();
    for (int i = 0; i < N; i++)
        timer_mod(t, start + 1000 * NS_PER_SEC + i);
    g_test_message("timer_mod %.1f ns", (double)(mono_now() - start) / N);
    timer_free(t);
    domain_free(d);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/loop/lock", test_lock);
    g_test_add_func("/loop/fairness", test_fairness);
    g_test_add_func("/loop/bh", test_bh);
    g_test_add_func("/loop/nested", test_nested);
    g_test_add_func("/loop/thread", test_thread);
    g_test_add_func("/loop/fd", test_fd);
    g_test_add_func("/timer/manual", test_manual);
    g_test_add_func("/timer/guest-clock", test_guest_clock);
    g_test_add_func("/timer/real", test_real_timer);
    g_test_add_func("/timer/heap", test_heap);
    g_test_add_func("/loop/speed", test_speed);
    return g_test_run();
}
