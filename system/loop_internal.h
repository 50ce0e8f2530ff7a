/*
 * Inside of a domain: shared by loop.c (lock, turns), bh.c (bottom halves, watches), timer.c and clock.c.
 */
#pragma once

#include <rhea/loop.h>
#include <rhea/timer.h>

#include <stdatomic.h>

/* Timers of one clock: a binary heap by deadline. */
typedef struct TimerHeap {
    Timer **at;
    unsigned n, room;
    _Atomic int64_t next;          /* deadline of at[0], INT64_MAX when empty; on this clock */
} TimerHeap;

struct Domain {
    char *name;
    bool is_main;
    GMainContext *context;
    GSource *source;               /* bottom halves and timers */

    /* the lock, see loop.c */
    _Atomic uint32_t state;        /* 0 free, 1 taken, 2 taken and somebody sleeps on it */
    _Atomic uint32_t waiters;
    _Atomic uint32_t grants;       /* times a waiter got it */
    void *_Atomic owner;
    unsigned depth;                /* owner only */

    /* the loop */
    GThread *thread;               /* domain_start_thread() */
    void *_Atomic runner;          /* thread inside domain_run() */
    _Atomic bool quit;
    _Atomic int64_t sleep_until;   /* CLOCK_MONO ns that the loop polls to; 0 when it is awake */
    _Atomic uint32_t turns;
    _Atomic uint32_t turn_waiters;

    /* bottom halves: pushed from any thread, moved to ready by the loop */
    BottomHalf *_Atomic bh_pushed;
    BottomHalf *bh_ready, *bh_ready_tail;

    /* busy waiting before sleeping; domain_set_polling() */
    int64_t poll_max_ns;
    unsigned poll_grow, poll_shrink;
    int64_t poll_now_ns;           /* how long at present, 0..poll_max_ns */

    Clocks *clocks;
    GMutex timer_lock;             /* guards heaps and firing; leaf */
    TimerHeap heap[CLOCK_KINDS];
    Timer *firing, *firing_tail;   /* due, taken off the heap, not called yet */
};

/* Makes the loop turn if it sleeps past at_ns (CLOCK_MONO; 0: in any case). Any thread. */
void domain_wake(Domain *domain, int64_t at_ns);

/* Gives up the lock however often it was taken, for waiting; the return value goes to domain_reacquire. */
unsigned domain_release_all(Domain *domain);
void domain_reacquire(Domain *domain, unsigned depth);

/*
 * Whether the calling thread may take this lock: a thread that holds the lock of a domain other than the main one takes no further
 * domain's. NULL and a lock it already has are always fine. See docs/locking.md.
 */
bool domain_may_enter(const Domain *domain);

/*
 * Before the loop sleeps it looks for events up to max_ns (0: not at all). The time in use grows (times grow, 0: 2) while events come
 * just after it ended, and shrinks (divided by shrink, 0: to nothing) when they don't. Lock held.
 */
void domain_set_polling(Domain *domain, int64_t max_ns, unsigned grow, unsigned shrink);

/* The main domain of the process, NULL before it was made. */
Domain *domain_main(void);

/* bh.c */
bool bh_any(const Domain *domain);
void bh_run(Domain *domain);
void bh_drop_all(Domain *domain);

/* timer.c */
/* When the next timer is due, on CLOCK_MONO; INT64_MAX when never. */
int64_t timers_next_mono(Domain *domain);
/* Runs what is due now. Lock held. */
void timers_run(Domain *domain);
void timers_clear(Domain *domain);

/* clock.c */
/* Where a deadline lies on CLOCK_MONO now: 0 when it has passed, INT64_MAX while its clock stands. */
int64_t clock_to_mono(Clocks *clocks, ClockKind kind, int64_t deadline);
void clocks_forget_domain(Clocks *clocks, Domain *domain);
int64_t mono_now(void);
