/*
 * Bottom halves, posts and fd watches of a domain. See rhea/loop.h.
 *
 * Scheduled bottom halves wait on a lock-free stack, which the loop empties into a queue in their order. A bottom half is on
 * at most one of the two.
 */
#include "system/loop_internal.h"

#define BH_QUEUED 1u   /* on the stack or the queue: the loop will look at it */
#define BH_WANTED 2u   /* to be called then */
#define BH_FREED 4u    /* to be freed then */
#define BH_ONCE 8u     /* freed after the call */

struct BottomHalf {
    Domain *domain;
    void (*func)(void *opaque);
    void *opaque;
    _Atomic unsigned state;
    BottomHalf *next;
};

BottomHalf *bh_new(Domain *domain, void (*func)(void *opaque), void *opaque)
{
    BottomHalf *bh = g_new0(BottomHalf, 1);
    bh->domain = domain;
    bh->func = func;
    bh->opaque = opaque;
    return bh;
}

static void bh_push(BottomHalf *bh)
{
    Domain *d = bh->domain;
    BottomHalf *head = atomic_load_explicit(&d->bh_pushed, memory_order_relaxed);
    do
        bh->next = head;
    while (!atomic_compare_exchange_weak(&d->bh_pushed, &head, bh));
    domain_wake(d, 0);
}

void bh_schedule(BottomHalf *bh)
{
    if (!(atomic_fetch_or(&bh->state, BH_QUEUED | BH_WANTED) & BH_QUEUED))
        bh_push(bh);
}

void bh_cancel(BottomHalf *bh)
{
    atomic_fetch_and(&bh->state, ~BH_WANTED);
}

void bh_free(BottomHalf *bh)
{
    if (bh && !(atomic_fetch_or(&bh->state, BH_QUEUED | BH_FREED) & BH_QUEUED))
        g_free(bh);
}

void domain_post(Domain *domain, void (*func)(void *opaque), void *opaque)
{
    BottomHalf *bh = bh_new(domain, func, opaque);
    bh->state = BH_QUEUED | BH_WANTED | BH_ONCE;
    bh_push(bh);
}

bool bh_any(const Domain *domain)
{
    return domain->bh_ready || atomic_load(&((Domain *)domain)->bh_pushed);
}

/* Appends the stack to the queue, oldest first. */
static void bh_collect(Domain *d)
{
    BottomHalf *bh = atomic_exchange(&d->bh_pushed, NULL), *chain = NULL, *last = bh;
    while (bh) {
        BottomHalf *next = bh->next;
        bh->next = chain;
        chain = bh;
        bh = next;
    }
    if (!chain)
        return;
    if (d->bh_ready)
        d->bh_ready_tail->next = chain;
    else
        d->bh_ready = chain;
    d->bh_ready_tail = last;
}

/*
 * What is scheduled meanwhile waits for the next turn. The queue belongs to the domain, not to this call, so that a callback
 * that iterates the loop also gets the others run.
 */
void bh_run(Domain *d)
{
    bh_collect(d);
    while (d->bh_ready) {
        BottomHalf *bh = d->bh_ready;
        d->bh_ready = bh->next;
        void (*func)(void *) = bh->func;
        void *opaque = bh->opaque;
        unsigned state = atomic_fetch_and(&bh->state, ~(BH_QUEUED | BH_WANTED));
        if (state & (BH_FREED | BH_ONCE))
            g_free(bh);
        if ((state & BH_WANTED) && !(state & BH_FREED))
            func(opaque);
    }
}

void bh_drop_all(Domain *d)
{
    bh_collect(d);
    while (d->bh_ready) {
        BottomHalf *bh = d->bh_ready;
        d->bh_ready = bh->next;
        if (atomic_fetch_and(&bh->state, ~(BH_QUEUED | BH_WANTED)) & (BH_FREED | BH_ONCE))
            g_free(bh);
    }
}

/* ---- fd watches ---- */

typedef struct FdSource {
    GSource source;
    gpointer tag;       /* NULL while muted: a muted descriptor must not report hang-ups either */
    int fd;
    FdWatchFunc *func;
    void *opaque;
} FdSource;

struct FdWatch {
    FdSource *source;
};

static gboolean fd_dispatch(GSource *source, GSourceFunc func, gpointer data)
{
    FdSource *s = (FdSource *)source;
    GIOCondition events = s->tag ? g_source_query_unix_fd(source, s->tag) : 0;
    if (events)
        s->func(s->fd, events, s->opaque);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs fd_source_funcs = { .dispatch = fd_dispatch };

FdWatch *fd_watch_new(Domain *domain, int fd, GIOCondition events, FdWatchFunc *func, void *opaque)
{
    FdWatch *watch = g_new0(FdWatch, 1);
    FdSource *s = (FdSource *)g_source_new(&fd_source_funcs, sizeof(FdSource));
    s->fd = fd;
    s->func = func;
    s->opaque = opaque;
    watch->source = s;
    fd_watch_set_events(watch, events);
    g_source_set_static_name(&s->source, "fd watch");
    g_source_set_can_recurse(&s->source, TRUE);
    g_source_attach(&s->source, domain->context);
    return watch;
}

void fd_watch_set_events(FdWatch *watch, GIOCondition events)
{
    FdSource *s = watch->source;
    if (!events && s->tag) {
        g_source_remove_unix_fd(&s->source, s->tag);
        s->tag = NULL;
    } else if (events && s->tag) {
        g_source_modify_unix_fd(&s->source, s->tag, events);
    } else if (events) {
        s->tag = g_source_add_unix_fd(&s->source, s->fd, events);
    }
}

void fd_watch_free(FdWatch *watch)
{
    if (!watch)
        return;
    g_source_destroy(&watch->source->source);
    g_source_unref(&watch->source->source);
    g_free(watch);
}
