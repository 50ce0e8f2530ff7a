/*
 * Timers: a heap for each domain and clock, run by the domain's loop. See rhea/timer.h.
 */
#include "system/loop_internal.h"

typedef enum { TIMER_IDLE, TIMER_HEAPED, TIMER_FIRING } TimerState;

struct Timer {
    Domain *domain;
    ClockKind kind;
    TimerFunc *func;
    void *opaque;
    _Atomic int64_t deadline;  /* ns on its clock; -1 when not pending */
    TimerState state;          /* this and below: under domain->timer_lock */
    unsigned index;            /* in the heap */
    Timer *next;               /* in the firing list */
};

static int64_t deadline_of(const Timer *t)
{
    return atomic_load_explicit(&((Timer *)t)->deadline, memory_order_relaxed);
}

/* ---- heap ---- */

static void heap_put(TimerHeap *h, unsigned i, Timer *t)
{
    h->at[i] = t;
    t->index = i;
}

static void heap_up(TimerHeap *h, unsigned i)
{
    Timer *t = h->at[i];
    for (; i && deadline_of(h->at[(i - 1) / 2]) > deadline_of(t); i = (i - 1) / 2)
        heap_put(h, i, h->at[(i - 1) / 2]);
    heap_put(h, i, t);
}

static void heap_down(TimerHeap *h, unsigned i)
{
    Timer *t = h->at[i];
    for (;;) {
        unsigned child = 2 * i + 1;
        if (child + 1 < h->n && deadline_of(h->at[child + 1]) < deadline_of(h->at[child]))
            child++;
        if (child >= h->n || deadline_of(h->at[child]) >= deadline_of(t))
            break;
        heap_put(h, i, h->at[child]);
        i = child;
    }
    heap_put(h, i, t);
}

static void heap_publish(TimerHeap *h)
{
    atomic_store(&h->next, h->n ? deadline_of(h->at[0]) : INT64_MAX);
}

static void heap_insert(TimerHeap *h, Timer *t)
{
    if (h->n == h->room) {
        h->room = MAX(16, h->room * 2);
        h->at = g_renew(Timer *, h->at, h->room);
    }
    heap_put(h, h->n++, t);
    heap_up(h, t->index);
    t->state = TIMER_HEAPED;
}

static void heap_remove(TimerHeap *h, Timer *t)
{
    unsigned i = t->index;
    Timer *last = h->at[--h->n];
    if (last != t) {
        heap_put(h, i, last);
        heap_up(h, i);
        heap_down(h, last->index);
    }
    t->state = TIMER_IDLE;
}

/* ---- firing list ---- */

static void firing_append(Domain *d, Timer *t)
{
    t->next = NULL;
    t->state = TIMER_FIRING;
    if (d->firing)
        d->firing_tail->next = t;
    else
        d->firing = t;
    d->firing_tail = t;
}

static void firing_remove(Domain *d, Timer *t)
{
    Timer *before = NULL;
    for (Timer *i = d->firing; i != t; i = i->next)
        before = i;
    if (before)
        before->next = t->next;
    else
        d->firing = t->next;
    if (d->firing_tail == t)
        d->firing_tail = before;
    t->state = TIMER_IDLE;
}

static void detach_locked(Timer *t)
{
    if (t->state == TIMER_HEAPED)
        heap_remove(&t->domain->heap[t->kind], t);
    else if (t->state == TIMER_FIRING)
        firing_remove(t->domain, t);
}

/* ---- public ---- */

Timer *timer_new(Domain *domain, ClockKind kind, TimerFunc *func, void *opaque)
{
    Timer *t = g_new0(Timer, 1);
    t->domain = domain;
    t->kind = kind;
    t->func = func;
    t->opaque = opaque;
    t->deadline = -1;
    return t;
}

void timer_del(Timer *t)
{
    Domain *d = t->domain;
    g_mutex_lock(&d->timer_lock);
    detach_locked(t);
    atomic_store(&t->deadline, -1);
    heap_publish(&d->heap[t->kind]);
    g_mutex_unlock(&d->timer_lock);
}

void timer_free(Timer *t)
{
    if (!t)
        return;
    timer_del(t);
    g_free(t);
}

static void arm(Timer *t, int64_t deadline, bool only_earlier)
{
    Domain *d = t->domain;
    TimerHeap *h = &d->heap[t->kind];
    deadline = MAX(deadline, 0);
    g_mutex_lock(&d->timer_lock);
    if (only_earlier && t->state != TIMER_IDLE && deadline_of(t) <= deadline) {
        g_mutex_unlock(&d->timer_lock);
        return;
    }
    int64_t before = atomic_load_explicit(&h->next, memory_order_relaxed);
    if (t->state == TIMER_HEAPED) {
        atomic_store(&t->deadline, deadline);
        heap_up(h, t->index);
        heap_down(h, t->index);
    } else {
        detach_locked(t);
        atomic_store(&t->deadline, deadline);
        heap_insert(h, t);
    }
    heap_publish(h);
    bool sooner = atomic_load_explicit(&h->next, memory_order_relaxed) < before;
    g_mutex_unlock(&d->timer_lock);
    if (sooner)
        domain_wake(d, clock_to_mono(d->clocks, t->kind, deadline));
}

void timer_mod(Timer *t, int64_t deadline_ns)
{
    arm(t, deadline_ns, false);
}

void timer_mod_earlier(Timer *t, int64_t deadline_ns)
{
    arm(t, deadline_ns, true);
}

bool timer_pending(const Timer *t)
{
    return deadline_of(t) >= 0;
}

int64_t timer_deadline(const Timer *t)
{
    return deadline_of(t);
}

/* ---- for the loop ---- */

int64_t timers_next_mono(Domain *d)
{
    int64_t next = INT64_MAX;
    if (d->firing)
        return 0;
    for (int kind = 0; kind < CLOCK_KINDS; kind++) {
        int64_t deadline = atomic_load(&d->heap[kind].next);
        if (deadline != INT64_MAX)
            next = MIN(next, clock_to_mono(d->clocks, kind, deadline));
    }
    return next;
}

/* Moves what is due at this moment to the firing list; what callbacks arm meanwhile is for the next turn. */
static void collect_due(Domain *d)
{
    g_mutex_lock(&d->timer_lock);
    for (int kind = 0; kind < CLOCK_KINDS; kind++) {
        TimerHeap *h = &d->heap[kind];
        if (!h->n || clock_to_mono(d->clocks, kind, deadline_of(h->at[0])) > mono_now())
            continue;
        int64_t now = clock_now(d->clocks, kind);
        while (h->n && deadline_of(h->at[0]) <= now) {
            Timer *t = h->at[0];
            heap_remove(h, t);
            firing_append(d, t);
        }
        heap_publish(h);
    }
    g_mutex_unlock(&d->timer_lock);
}

void timers_run(Domain *d)
{
    collect_due(d);
    for (;;) {
        g_mutex_lock(&d->timer_lock);
        Timer *t = d->firing;
        if (t) {
            firing_remove(d, t);
            atomic_store(&t->deadline, -1);
        }
        g_mutex_unlock(&d->timer_lock);
        if (!t)
            return;
        /* The timer may free itself in there. */
        t->func(t->opaque);
    }
}

void timers_clear(Domain *d)
{
    for (int kind = 0; kind < CLOCK_KINDS; kind++)
        g_clear_pointer(&d->heap[kind].at, g_free);
}
