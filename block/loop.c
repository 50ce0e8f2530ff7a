/*
 * The block layer's part of a domain: one io_uring and one queue of completions that worker threads made, both watched by the
 * domain's loop. Submissions of one batch (plug to unplug) are one system call, completions that are there at once are delivered in
 * the same turn, and devices signal the guest once per burst of completions.
 */
#include "block/block-int.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RING_ENTRIES 256

struct BlockLoop {
    Domain *domain;
    int refs;
    bool has_ring;
    struct io_uring ring;
    FdWatch *ring_watch;
    unsigned queued;       /* entries not yet submitted */
    unsigned ring_flight;  /* submitted, not reaped */
    unsigned plugged;
    bool in_burst;
    BlockBurst *bursts;
    /* completions by other threads */
    GMutex lock;
    BlockReq *done_head, *done_tail; /* under lock */
    int done_fd;
    FdWatch *done_watch;
};

static GMutex loops_lock;
static GPtrArray *loops; /* BlockLoop *, under loops_lock */

/* Some hosts forbid io_uring (seccomp, sysctl): asked once. */
bool block_uring_available(void)
{
    static gsize state;
    if (g_once_init_enter(&state)) {
        struct io_uring ring;
        int ret = io_uring_queue_init(2, &ring, 0);
        if (ret == 0)
            io_uring_queue_exit(&ring);
        g_once_init_leave(&state, ret == 0 ? 1 : 2);
    }
    return state == 1;
}

static void reap_ring(BlockLoop *loop)
{
    struct io_uring_cqe *cqes[64];
    unsigned n;
    while ((n = io_uring_peek_batch_cqe(&loop->ring, cqes, G_N_ELEMENTS(cqes))) > 0) {
        struct {
            BlockReq *req;
            int res;
        } ready[G_N_ELEMENTS(cqes)];
        for (unsigned i = 0; i < n; i++) {
            ready[i].req = (BlockReq *)io_uring_cqe_get_data(cqes[i]);
            ready[i].res = cqes[i]->res;
        }
        io_uring_cq_advance(&loop->ring, n);
        loop->ring_flight -= n;
        for (unsigned i = 0; i < n; i++)
            block_file_uring_done(ready[i].req, ready[i].res);
    }
}

static void submit_ring(BlockLoop *loop)
{
    while (loop->queued) {
        int ret = io_uring_submit(&loop->ring);
        if (ret > 0) {
            unsigned sent = MIN((unsigned)ret, loop->queued);
            loop->queued -= sent;
            loop->ring_flight += sent;
        } else if (ret == -EBUSY || ret == -EAGAIN) {
            /* the completion side is full or the kernel is short of memory: make room */
            if (loop->ring_flight) {
                struct io_uring_cqe *cqe;
                if (io_uring_wait_cqe(&loop->ring, &cqe) == 0)
                    reap_ring(loop);
            } else {
                g_usleep(1000);
            }
        } else if (ret != -EINTR) {
            g_error("io_uring_enter failed: %s", g_strerror(-ret));
        }
    }
}

static bool take_done(BlockLoop *loop)
{
    g_mutex_lock(&loop->lock);
    BlockReq *req = loop->done_head;
    loop->done_head = loop->done_tail = NULL;
    g_mutex_unlock(&loop->lock);
    bool any = req != NULL;
    while (req) {
        BlockReq *next = req->next;
        req->next = NULL;
        block_complete(req, req->ret);
        req = next;
    }
    return any;
}

static void run_bursts(BlockLoop *loop)
{
    while (loop->bursts) {
        BlockBurst *burst = loop->bursts;
        loop->bursts = burst->next;
        burst->queued = false;
        burst->func(burst->opaque);
    }
}

/* Delivers all that is done and sends what completions queued in turn. */
static void run_completions(BlockLoop *loop)
{
    bool outer = !loop->in_burst;
    loop->in_burst = true;
    if (loop->has_ring) {
        reap_ring(loop);
        if (!loop->plugged)
            submit_ring(loop);
    }
    take_done(loop);
    if (outer) {
        run_bursts(loop);
        loop->in_burst = false;
        if (loop->queued && !loop->plugged)
            submit_ring(loop);
    }
}

static void ring_ready(int fd, GIOCondition events, void *opaque)
{
    run_completions((BlockLoop *)opaque);
}

static void done_ready(int fd, GIOCondition events, void *opaque)
{
    BlockLoop *loop = (BlockLoop *)opaque;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
        report_warning("block: reading an eventfd failed: %s", g_strerror(errno));
    run_completions(loop);
}

static void open_ring(BlockLoop *loop)
{
    if (!block_uring_available())
        return;
    if (io_uring_queue_init(RING_ENTRIES, &loop->ring, IORING_SETUP_CLAMP) < 0)
        return;
    io_uring_ring_dontfork(&loop->ring);
    loop->has_ring = true;
    loop->ring_watch = fd_watch_new(loop->domain, loop->ring.ring_fd, G_IO_IN, ring_ready, loop);
}

BlockLoop *block_loop_ref(Domain *domain)
{
    g_mutex_lock(&loops_lock);
    if (!loops)
        loops = g_ptr_array_new();
    for (guint i = 0; i < loops->len; i++) {
        BlockLoop *loop = (BlockLoop *)loops->pdata[i];
        if (loop->domain == domain) {
            loop->refs++;
            g_mutex_unlock(&loops_lock);
            return loop;
        }
    }
    BlockLoop *loop = g_new0(BlockLoop, 1);
    loop->domain = domain;
    loop->refs = 1;
    g_mutex_init(&loop->lock);
    loop->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->done_fd < 0)
        g_error("eventfd: %s", g_strerror(errno));
    loop->done_watch = fd_watch_new(domain, loop->done_fd, G_IO_IN, done_ready, loop);
    g_ptr_array_add(loops, loop);
    g_mutex_unlock(&loops_lock);
    return loop;
}

void block_loop_unref(BlockLoop *loop)
{
    if (!loop)
        return;
    g_mutex_lock(&loops_lock);
    bool last = --loop->refs == 0;
    if (last)
        g_ptr_array_remove_fast(loops, loop);
    g_mutex_unlock(&loops_lock);
    if (!last)
        return;
    g_assert(!loop->queued && !loop->ring_flight && !loop->done_head);
    fd_watch_free(loop->done_watch);
    close(loop->done_fd);
    if (loop->has_ring) {
        fd_watch_free(loop->ring_watch);
        io_uring_queue_exit(&loop->ring);
    }
    g_mutex_clear(&loop->lock);
    g_free(loop);
}

Domain *block_loop_domain(const BlockLoop *loop)
{
    return loop->domain;
}

bool block_loop_has_uring(BlockLoop *loop)
{
    if (!loop->has_ring && block_uring_available())
        open_ring(loop);
    return loop->has_ring;
}

struct io_uring_sqe *block_loop_get_sqe(BlockLoop *loop)
{
    if (!block_loop_has_uring(loop))
        return NULL;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);
    while (!sqe) {
        submit_ring(loop);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    return sqe;
}

void block_loop_queue_sqe(BlockLoop *loop, struct io_uring_sqe *sqe, BlockReq *req)
{
    io_uring_sqe_set_data(sqe, req);
    loop->queued++;
    if (!loop->plugged && !loop->in_burst)
        submit_ring(loop);
}

void block_loop_plug(BlockLoop *loop)
{
    loop->plugged++;
}

void block_loop_unplug(BlockLoop *loop)
{
    g_assert(loop->plugged);
    if (--loop->plugged || loop->in_burst)
        return;
    if (loop->queued)
        submit_ring(loop);
    run_completions(loop);
}

void block_loop_at_burst_end(BlockLoop *loop, BlockBurst *burst)
{
    if (!loop->in_burst && !loop->plugged) {
        burst->func(burst->opaque);
        return;
    }
    if (burst->queued)
        return;
    burst->queued = true;
    burst->next = loop->bursts;
    loop->bursts = burst;
}

void block_loop_poll(BlockLoop *loop, bool wait)
{
    if (loop->has_ring && loop->queued)
        submit_ring(loop);
    if (wait) {
        g_mutex_lock(&loop->lock);
        bool ready = loop->done_head != NULL;
        g_mutex_unlock(&loop->lock);
        struct pollfd fds[2] = {{.fd = loop->done_fd, .events = POLLIN},
                                {.fd = loop->has_ring ? loop->ring.ring_fd : -1, .events = POLLIN}};
        /* the time-out is for completions whose eventfd count the loop consumed before us */
        if (!ready)
            poll(fds, 2, 100);
    }
    run_completions(loop);
}

void block_complete_later(BlockReq *req, int ret)
{
    BlockLoop *loop = req->loop;
    if (!loop) {
        block_complete(req, ret);
        return;
    }
    req->ret = ret;
    req->next = NULL;
    g_mutex_lock(&loop->lock);
    bool first = !loop->done_head;
    if (first)
        loop->done_head = req;
    else
        loop->done_tail->next = req;
    loop->done_tail = req;
    uint64_t one = 1;
    if (first && write(loop->done_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        g_error("eventfd: %s", g_strerror(errno));
    g_mutex_unlock(&loop->lock);
}

/* ---- worker threads ---- */

#define MAX_WORKERS 32

typedef struct WorkItem {
    void (*func)(void *opaque);
    void *opaque;
} WorkItem;

static void run_work(gpointer data, gpointer unused)
{
    WorkItem *item = (WorkItem *)data;
    item->func(item->opaque);
    g_free(item);
}

void block_worker_run(void (*func)(void *opaque), void *opaque)
{
    static gsize pool;
    if (g_once_init_enter(&pool))
        g_once_init_leave(&pool, (gsize)g_thread_pool_new(run_work, NULL, MAX_WORKERS, FALSE, NULL));
    WorkItem *item = g_new(WorkItem, 1);
    item->func = func;
    item->opaque = opaque;
    g_thread_pool_push((GThreadPool *)pool, item, NULL);
}
