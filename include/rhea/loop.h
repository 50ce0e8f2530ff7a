/*
 * Domains: an event loop plus the lock of everything that runs on it.
 *
 * Every device belongs to one domain. All callbacks into a device (register access, timers,
 * bottom halves, fd watches, irq inputs) run with the domain's lock held. By default a device
 * lives in the machine's domain (the main thread's loop); one given an iothread lives in that
 * iothread's. The loop holds its lock while it dispatches and drops it while it polls, so a vCPU
 * thread only waits for callbacks, never for idle time.
 *
 * The lock is recursive for its owner thread. Lock order: docs/locking.md.
 */
#pragma once

#include <rhea/base.h>

typedef struct Domain Domain;

/* A domain over a new GMainContext (the main one passes the default context). (owned) */
Domain *domain_new(const char *name, GMainContext *context);
void domain_free(Domain *domain);

/* Starts a thread that runs the domain's loop (iothreads). The main domain is run by domain_run() instead. */
bool domain_start_thread(Domain *domain, GError **err) WARN_UNUSED;
/* Ends the domain's thread and waits for it. Called from another thread, without the lock. */
void domain_stop_thread(Domain *domain);
/* Runs the loop on the calling thread until domain_quit(). */
void domain_run(Domain *domain);
/* One iteration with the lock held while dispatching; block waits for an event. Any caller that may own the lock. */
void domain_iterate(Domain *domain, bool block);
void domain_quit(Domain *domain);

void domain_lock(Domain *domain);
void domain_unlock(Domain *domain);
bool domain_is_locked(const Domain *domain); /* by the calling thread */
GMainContext *domain_context(Domain *domain);
const char *domain_name(const Domain *domain);

/* Locks for the rest of the scope: DOMAIN_GUARD(dev->domain); NULL is allowed and locks nothing. */
static inline Domain *domain_guard_enter(Domain *d) { if (d) domain_lock(d); return d; }
static inline void domain_guard_leave(Domain **d) { if (*d) domain_unlock(*d); }
#define DOMAIN_GUARD(d) \
    __attribute__((cleanup(domain_guard_leave), unused)) Domain *G_PASTE(guard_, __LINE__) = domain_guard_enter(d)

/* Bottom half: func(opaque) once on the domain's loop after each schedule; scheduling is coalesced, any thread. */
typedef struct BottomHalf BottomHalf;
BottomHalf *bh_new(Domain *domain, void (*func)(void *opaque), void *opaque);
void bh_schedule(BottomHalf *bh);
void bh_cancel(BottomHalf *bh);
void bh_free(BottomHalf *bh);

/* Runs func(opaque) once on the domain's loop. Any thread. */
void domain_post(Domain *domain, void (*func)(void *opaque), void *opaque);

/*
 * Watches fd for G_IO_IN/G_IO_OUT. func runs with the lock held. events may be changed later; 0 mutes.
 * The fd stays the caller's.
 */
typedef struct FdWatch FdWatch;
typedef void FdWatchFunc(int fd, GIOCondition events, void *opaque);
FdWatch *fd_watch_new(Domain *domain, int fd, GIOCondition events, FdWatchFunc *func, void *opaque);
void fd_watch_set_events(FdWatch *watch, GIOCondition events);
void fd_watch_free(FdWatch *watch);
