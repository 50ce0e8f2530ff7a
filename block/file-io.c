/*
 * Requests on host files. The straight ones (aligned reads and writes, flushes) go to the loop's io_uring; everything that takes more
 * than one system call, and everything when there is no io_uring, is plain code on a worker thread.
 *
 * A flush is fdatasync(2): what was written before is on stable storage when it completes. After a failed one the page cache
 * can't be trusted to still hold the data, so that later flushes fail as well.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BOUNCE_MAX (1u << 20)      /* bytes bounced at a time */

/* ---- ranges under write (only when the file needs alignment) ---- */

static bool ranges_clash(const FileNode *file, uint64_t start, uint64_t end, bool exclusive)
{
    for (const FileRange *r = file->ranges; r; r = r->next)
        if (r->start < end && start < r->end && (r->exclusive || exclusive))
            return true;
    return false;
}

static bool range_enter(FileNode *file, FileRange *range, bool wait)
{
    g_mutex_lock(&file->ranges_lock);
    bool clash;
    while ((clash = ranges_clash(file, range->start, range->end, range->exclusive)) && wait)
        g_cond_wait(&file->ranges_cond, &file->ranges_lock);
    if (!clash) {
        range->next = file->ranges;
        file->ranges = range;
    }
    g_mutex_unlock(&file->ranges_lock);
    return !clash;
}

static void range_leave(FileNode *file, FileRange *range)
{
    g_mutex_lock(&file->ranges_lock);
    for (FileRange **p = &file->ranges; *p; p = &(*p)->next) {
        if (*p == range) {
            *p = range->next;
            break;
        }
    }
    g_cond_broadcast(&file->ranges_cond);
    g_mutex_unlock(&file->ranges_lock);
}

/* ---- plain I/O, may block ---- */

static void iov_zero_from(const struct iovec *iov, unsigned n, uint64_t from)
{
    for (unsigned i = 0; i < n; i++) {
        if (from < iov[i].iov_len) {
            memset((char *)iov[i].iov_base + from, 0, iov[i].iov_len - from);
            from = 0;
        } else {
            from -= iov[i].iov_len;
        }
    }
}

/* The rest of iov after skipping `skip` bytes, into to[n]; entries used. */
static unsigned iov_rest(struct iovec *to, const struct iovec *iov, unsigned n, uint64_t skip)
{
    unsigned used = 0;
    for (unsigned i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        to[used].iov_base = (char *)iov[i].iov_base + skip;
        to[used++].iov_len = iov[i].iov_len - skip;
        skip = 0;
    }
    return used;
}

/* All of it, whatever the kernel does in one go. Reads past the end of the file are zeroes. done: bytes already transferred. */
static int transfer(const FileNode *file, bool write, const struct iovec *iov, unsigned n, uint64_t offset, uint64_t bytes,
                    uint64_t done)
{
    g_autofree struct iovec *rest = g_new(struct iovec, MAX(n, 1));
    while (done < bytes) {
        unsigned used = iov_rest(rest, iov, n, done);
        ssize_t ret = write ? pwritev(file->fd, rest, (int)used, (off_t)(offset + done))
                            : preadv(file->fd, rest, (int)used, (off_t)(offset + done));
        if (ret < 0 && errno == EINTR)
            continue;
        if (ret < 0)
            return -errno;
        if (ret == 0) {
            if (write)
                return -ENOSPC;
            iov_zero_from(iov, n, done);
            return 0;
        }
        done += (uint64_t)ret;
    }
    return 0;
}

static int flush_fd(FileNode *file)
{
    if (file->flush_failed)
        return -EIO;
    int ret;
    do {
        ret = fdatasync(file->fd);
    } while (ret < 0 && errno == EINTR);
    if (ret < 0) {
        ret = -errno;
        if (!file->direct && ret != -ENOSPC && ret != -EDQUOT)
            file->flush_failed = true;
    }
    return ret;
}

static bool iov_is_aligned(const struct iovec *iov, unsigned n, uint32_t mem_align, uint32_t len_align)
{
    for (unsigned i = 0; i < n; i++)
        if (!IS_ALIGNED((uintptr_t)iov[i].iov_base, mem_align) || !IS_ALIGNED(iov[i].iov_len, len_align))
            return false;
    return true;
}

static bool is_straight(const BlockNode *node, const FileNode *file, const BlockReq *req)
{
    uint32_t align = node->request_align;
    return align == 1 || (IS_ALIGNED(req->offset, align) && IS_ALIGNED(req->bytes, align) &&
                          iov_is_aligned(req->iov, req->niov, file->mem_align, align));
}

static size_t iov_copy(const struct iovec *iov, unsigned n, uint64_t from, void *buf, size_t len, bool to_buf)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (from >= iov[i].iov_len) {
            from -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - from, len - done);
        if (to_buf)
            memcpy((char *)buf + done, (char *)iov[i].iov_base + from, part);
        else
            memcpy((char *)iov[i].iov_base + from, (char *)buf + done, part);
        done += part;
        from = 0;
    }
    return done;
}

/* One stretch [start, start + len) of the request, all of it inside `buf`'s aligned window. */
static int bounce_part(BlockNode *node, FileNode *file, const BlockReq *req, void *buf, uint64_t start, uint64_t len)
{
    uint32_t align = node->request_align;
    uint64_t low = ROUND_DOWN_TO(start, (uint64_t)align), high = ROUND_UP_TO(start + len, (uint64_t)align);
    struct iovec whole = {buf, high - low};
    bool write = req->op == BLOCK_WRITE;
    int ret = 0;
    if (!write || low != start || high != start + len) {
        ret = transfer(file, false, &whole, 1, low, high - low, 0);
        if (ret < 0)
            return ret;
    }
    iov_copy(req->iov, req->niov, start - req->offset, (char *)buf + (start - low), len, write);
    return write ? transfer(file, true, &whole, 1, low, high - low, 0) : 0;
}

/* Reads and writes that O_DIRECT would refuse: through an aligned buffer; the edges of a write are read first. */
static int bounce(BlockNode *node, FileNode *file, const BlockReq *req)
{
    uint32_t align = node->request_align;
    void *buf;
    if (posix_memalign(&buf, MAX(file->mem_align, 4096), BOUNCE_MAX + 2 * (size_t)align))
        return -ENOMEM;
    FileRange range = {.start = ROUND_DOWN_TO(req->offset, (uint64_t)align),
                       .end = ROUND_UP_TO(req->offset + req->bytes, (uint64_t)align), .exclusive = true};
    if (req->op == BLOCK_WRITE)
        range_enter(file, &range, true);
    int ret = 0;
    for (uint64_t done = 0; done < req->bytes && ret == 0;) {
        uint64_t len = MIN(req->bytes - done, BOUNCE_MAX);
        ret = bounce_part(node, file, req, buf, req->offset + done, len);
        done += len;
    }
    if (req->op == BLOCK_WRITE)
        range_leave(file, &range);
    free(buf);
    return ret;
}

static int read_write(BlockNode *node, FileNode *file, BlockReq *req)
{
    bool write = req->op == BLOCK_WRITE;
    int ret;
    if (!is_straight(node, file, req)) {
        ret = bounce(node, file, req);
    } else if (write && node->request_align > 1) {
        FileRange range = {.start = req->offset, .end = req->offset + req->bytes};
        range_enter(file, &range, true);
        ret = transfer(file, true, req->iov, req->niov, req->offset, req->bytes, req->progress);
        range_leave(file, &range);
    } else {
        ret = transfer(file, write, req->iov, req->niov, req->offset, req->bytes, req->progress);
    }
    if (ret == 0 && write && req->flags & BLOCK_REQ_FUA && !node->cache_no_flush)
        ret = flush_fd(file);
    return ret;
}

static int fallocate_retry(int fd, int mode, uint64_t offset, uint64_t bytes)
{
    int ret;
    do {
        ret = fallocate(fd, mode, (off_t)offset, (off_t)bytes);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : 0;
}

static bool is_unsupported(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -ENOSYS || ret == -EINVAL;
}

static int punch(FileNode *file, uint64_t offset, uint64_t bytes)
{
    if (file->no_punch)
        return -ENOTSUP;
    int ret;
    if (file->is_block) {
        uint64_t range[2] = {offset, bytes};
        ret = ioctl(file->fd, BLKDISCARD, range) < 0 ? -errno : 0;
    } else {
        ret = fallocate_retry(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes);
    }
    if (ret == -EOPNOTSUPP || ret == -ENOTTY || ret == -ENOSYS) {
        file->no_punch = true;
        ret = -ENOTSUP;
    }
    return ret;
}

static int write_plain_zeroes(BlockNode *node, FileNode *file, const BlockReq *req)
{
    size_t size = MIN(req->bytes, BOUNCE_MAX);
    g_autofree void *zeroes = g_try_malloc0(size);
    if (!zeroes)
        return -ENOMEM;
    int ret = 0;
    for (uint64_t done = 0; done < req->bytes && ret == 0;) {
        struct iovec iov = {zeroes, MIN(req->bytes - done, size)};
        BlockReq part = {.op = BLOCK_WRITE, .offset = req->offset + done, .bytes = iov.iov_len, .iov = &iov, .niov = 1};
        ret = read_write(node, file, &part);
        done += iov.iov_len;
    }
    return ret;
}

/* A hole where the space may go, else a zeroed extent, else zeroes. A discard on a block device need not read back as zeroes. */
static int write_zeroes(BlockNode *node, FileNode *file, const BlockReq *req)
{
    int ret = -ENOTSUP;
    if (req->flags & BLOCK_REQ_MAY_UNMAP && !file->is_block)
        ret = punch(file, req->offset, req->bytes);
    if (ret == -ENOTSUP && !file->no_zero_range) {
        if (file->is_block) {
            uint64_t range[2] = {req->offset, req->bytes};
            ret = ioctl(file->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
        } else {
            ret = fallocate_retry(file->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, req->offset, req->bytes);
        }
        if (is_unsupported(ret)) {
            file->no_zero_range = ret != -EINVAL;
            ret = -ENOTSUP;
        }
    }
    if (ret == -ENOTSUP)
        ret = write_plain_zeroes(node, file, req);
    if (ret == 0 && req->flags & BLOCK_REQ_FUA && !node->cache_no_flush)
        ret = flush_fd(file);
    return ret;
}

static int discard(BlockNode *node, FileNode *file, const BlockReq *req)
{
    int ret = punch(file, req->offset, req->bytes);
    if (ret == 0) {
        node->stats.discard_ok++;
        node->stats.discard_bytes += req->bytes;
        return 0;
    }
    node->stats.discard_failed++;
    return ret == -ENOTSUP || ret == -EINVAL ? 0 : ret; /* a discard is a hint */
}

static int perform(BlockNode *node, BlockReq *req)
{
    FileNode *file = (FileNode *)node->opaque;
    switch (req->op) {
    case BLOCK_READ:
    case BLOCK_WRITE:
        return read_write(node, file, req);
    case BLOCK_FLUSH:
        return node->cache_no_flush ? 0 : flush_fd(file);
    case BLOCK_DISCARD:
        return discard(node, file, req);
    case BLOCK_WRITE_ZEROES:
        return write_zeroes(node, file, req);
    default:
        return -ENOTSUP;
    }
}

static void on_worker(void *opaque)
{
    BlockReq *req = (BlockReq *)opaque;
    block_complete_later(req, perform((BlockNode *)req->driver_data, req));
}

/* ---- io_uring ---- */

typedef struct UringWrite {
    FileRange range;
    BlockNode *node;
} UringWrite;

/*
 * driver_data of a queued request is its node; writes to files with alignment additionally own a range, found by its
 * address: it is kept in a UringWrite whose node pointer is tagged.
 */
static BlockNode *uring_finish(BlockReq *req)
{
    uintptr_t tagged = (uintptr_t)req->driver_data;
    if (!(tagged & 1))
        return (BlockNode *)req->driver_data;
    UringWrite *write = (UringWrite *)(tagged & ~(uintptr_t)1);
    BlockNode *node = write->node;
    range_leave((FileNode *)node->opaque, &write->range);
    g_free(write);
    return node;
}

void block_file_uring_done(BlockReq *req, int res)
{
    BlockNode *node = uring_finish(req);
    FileNode *file = (FileNode *)node->opaque;
    req->driver_data = node;
    switch (req->op) {
    case BLOCK_FLUSH:
        if (res < 0 && res != -EINTR && !file->direct && res != -ENOSPC && res != -EDQUOT)
            file->flush_failed = true;
        break;
    case BLOCK_READ:
    case BLOCK_WRITE:
        if (res > 0 && (uint64_t)res == req->bytes) {
            block_complete(req, 0);
            return;
        }
        if (res >= 0) {
            /* short: the rest, and what a short transfer means, is the worker's */
            req->progress = (uint64_t)res;
            block_worker_run(on_worker, req);
            return;
        }
        break;
    default:
        break;
    }
    if (res == -EINTR || res == -EAGAIN) {
        block_worker_run(on_worker, req);
        return;
    }
    block_complete(req, MIN(res, 0));
}

static bool try_uring(BlockNode *node, FileNode *file, BlockReq *req)
{
    if (req->op > BLOCK_FLUSH || (req->op != BLOCK_FLUSH && !is_straight(node, file, req)))
        return false;
    if (req->op == BLOCK_FLUSH && file->flush_failed)
        return false;
    if (!block_loop_has_uring(req->loop))
        return false;
    if (req->op == BLOCK_WRITE && node->request_align > 1) {
        UringWrite *write = g_new0(UringWrite, 1);
        write->node = node;
        write->range = (FileRange){.start = req->offset, .end = req->offset + req->bytes};
        if (!range_enter(file, &write->range, false)) {
            g_free(write);
            return false; /* waits on a worker */
        }
        req->driver_data = (void *)((uintptr_t)write | 1);
    }
    struct io_uring_sqe *sqe = block_loop_get_sqe(req->loop);
    switch (req->op) {
    case BLOCK_READ:
        if (req->niov == 1)
            io_uring_prep_read(sqe, file->fd, req->iov[0].iov_base, (unsigned)req->iov[0].iov_len, req->offset);
        else
            io_uring_prep_readv(sqe, file->fd, req->iov, req->niov, req->offset);
        break;
    case BLOCK_WRITE:
        if (req->niov == 1)
            io_uring_prep_write(sqe, file->fd, req->iov[0].iov_base, (unsigned)req->iov[0].iov_len, req->offset);
        else
            io_uring_prep_writev(sqe, file->fd, req->iov, req->niov, req->offset);
        if (req->flags & BLOCK_REQ_FUA && !node->cache_no_flush)
            sqe->rw_flags = RWF_DSYNC;
        break;
    default:
        io_uring_prep_fsync(sqe, file->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    block_loop_queue_sqe(req->loop, sqe, req);
    return true;
}

void file_submit(BlockNode *node, BlockReq *req)
{
    FileNode *file = (FileNode *)node->opaque;
    req->driver_data = node;
    if (req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES) {
        uint64_t end = req->offset + req->bytes, seen = node->stats.wr_highest_offset;
        while (end > seen && !atomic_compare_exchange_weak(&node->stats.wr_highest_offset, &seen, end))
            ;
    }
    if (req->op != BLOCK_FLUSH && !req->bytes) {
        block_complete_later(req, 0);
        return;
    }
    if (!req->loop) {
        block_complete(req, perform(node, req));
        return;
    }
    if (req->op == BLOCK_FLUSH && node->cache_no_flush) {
        block_complete_later(req, 0);
        return;
    }
    if (file->aio == FILE_AIO_THREADS || !try_uring(node, file, req))
        block_worker_run(on_worker, req);
}
