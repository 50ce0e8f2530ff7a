/*
 * virtio-blk, virtio 1.2 §5.2: a disk over virtqueues. One kick takes everything off a queue, merges neighbours, and sends it
 * to the disk in one batch; completions interrupt the guest once a burst. Left out: SCSI passthrough (gone since virtio 1.0), secure
 * erase, lifetime, zones.
 */
#include "hw/block/virtio-blk.h"

#include <errno.h>
#include <rhea/iothread.h>
#include <string.h>

#include "system/machine.h"

#define F_SEG_MAX 2
#define F_GEOMETRY 4
#define F_RO 5
#define F_BLK_SIZE 6
#define F_FLUSH 9
#define F_TOPOLOGY 10
#define F_CONFIG_WCE 11
#define F_MQ 12
#define F_DISCARD 13
#define F_WRITE_ZEROES 14

#define AUTO_QUEUES UINT16_MAX
#define MAX_QUEUES 256u
#define MAX_MERGED_BYTES (8u << 20)
#define KICK_LIMIT 2048u      /* requests taken in one go before others get the loop */

/* Configuration space, §5.2.4. */
typedef struct __attribute__((packed)) BlkConfig {
    uint64_t capacity;        /* 512-byte sectors */
    uint32_t size_max, seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t blk_size;
    uint8_t physical_block_exp, alignment_offset;
    uint16_t min_io_size;     /* logical blocks */
    uint32_t opt_io_size;     /* logical blocks */
    uint8_t writeback, unused0;
    uint16_t num_queues;
    uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
    uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
    uint8_t write_zeroes_may_unmap, unused1[3];
} BlkConfig;

typedef struct VirtioBlk VirtioBlk;

typedef struct VirtioBlkReq {
    VirtqElem elem;
    VirtioBlkCmd cmd;
    BlockReq block;
    VirtioBlk *blk;
    Virtq *vq;
    struct VirtioBlkReq *merged; /* further requests of this transfer; also links the free and the retry list */
    struct VirtioBlkReq *tail;   /* last of them, in the first */
    unsigned n_segs;             /* of all merged ones */
    struct iovec *iov;           /* merged segments, NULL if alone */
} VirtioBlkReq;

struct VirtioBlk {
    VirtioDevice vdev;
    Disk *disk;
    Object *iothread;
    uint16_t num_queues, queue_size;
    char *serial;
    bool share_rw, merge, scsi, config_wce, discard, write_zeroes;
    OnOffAuto write_cache;
    uint64_t logical_block_size, physical_block_size, min_io_size, opt_io_size, discard_granularity;
    uint32_t cyls, heads, secs;
    uint32_t max_discard_sectors, max_write_zeroes_sectors;
    int rerror, werror;
    bool original_writeback;
    VirtioBlkReq *free;
    VirtioBlkReq *retry;       /* failed with the policy "stop": sent again when the machine runs */
    BlockBurst *bursts;        /* [num_queues] */
    BottomHalf *more_bh;       /* KICK_LIMIT was reached */
};
#define VIRTIO_BLK(ptr) ((VirtioBlk *)(ptr))

/* ---- requests ---- */

static VirtioBlkReq *take_request(VirtioBlk *blk, Virtq *vq)
{
    VirtioBlkReq *req = blk->free;
    if (req)
        blk->free = req->merged;
    else
        req = g_new(VirtioBlkReq, 1);
    req->blk = blk;
    req->vq = vq;
    req->merged = NULL;
    req->tail = req;
    req->iov = NULL;
    return req;
}

static void put_request(VirtioBlkReq *req)
{
    g_clear_pointer(&req->iov, g_free);
    req->merged = req->blk->free;
    req->blk->free = req;
}

static void notify_burst(void *opaque)
{
    virtq_notify((Virtq *)opaque);
}

static void finish(VirtioBlkReq *req, uint8_t status)
{
    VirtioBlk *blk = req->blk;
    Virtq *vq = req->vq;
    uint32_t written = 1;
    *req->cmd.status = status;
    if (req->cmd.type == VIRTIO_BLK_T_IN || req->cmd.type == VIRTIO_BLK_T_GET_ID)
        written = (uint32_t)MIN(req->cmd.bytes + 1, UINT32_MAX);
    virtq_push(vq, &req->elem, written);
    put_request(req);
    block_loop_at_burst_end(disk_loop(blk->disk), &blk->bursts[vq->index]);
}

static void keep_for_retry(VirtioBlkReq *req)
{
    VirtioBlk *blk = req->blk;
    VirtioBlkReq **end = &blk->retry;
    while (*end)
        end = &(*end)->merged;
    req->merged = NULL;
    *end = req;
}

static void done(BlockReq *block, int ret)
{
    VirtioBlkReq *req = (VirtioBlkReq *)block->opaque;
    VirtioBlk *blk = req->blk;
    DiskAction action = DISK_ACTION_IGNORE;
    if (G_UNLIKELY(ret < 0))
        action = disk_error(blk->disk, block->op, ret);
    while (req) {
        VirtioBlkReq *next = req->merged;
        if (action == DISK_ACTION_STOP)
            keep_for_retry(req);
        else
            finish(req, action == DISK_ACTION_REPORT ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK);
        req = next;
    }
}

/* All of a merged transfer as one list of segments. */
static const struct iovec *gather(VirtioBlkReq *first)
{
    if (!first->merged)
        return first->cmd.data;
    if (!first->iov) {
        first->iov = g_new(struct iovec, first->n_segs);
        unsigned n = 0;
        for (const VirtioBlkReq *req = first; req; req = req->merged) {
            memcpy(first->iov + n, req->cmd.data, req->cmd.n_data * sizeof(struct iovec));
            n += req->cmd.n_data;
        }
    }
    return first->iov;
}

static void submit(VirtioBlkReq *req)
{
    BlockReq *block = &req->block;
    uint64_t bytes = 0;
    unsigned merged = 0;
    for (const VirtioBlkReq *part = req; part; part = part->merged, merged++)
        bytes += part->cmd.bytes;
    memset(block, 0, sizeof(*block));
    block->op = req->cmd.op;
    block->flags = req->cmd.flags;
    block->offset = req->cmd.offset;
    block->bytes = bytes;
    if (req->cmd.op == BLOCK_READ || req->cmd.op == BLOCK_WRITE) {
        block->niov = req->merged ? req->n_segs : req->cmd.n_data;
        block->iov = gather(req);
    }
    block->done = done;
    block->opaque = req;
    if (merged > 1)
        disk_account_merged(req->blk->disk, block->op, merged - 1);
    disk_submit(req->blk->disk, block);
}

/* True: req now travels with batch. */
static bool try_merge(VirtioBlkReq *batch, VirtioBlkReq *req)
{
    if (!req->blk->merge || !batch || batch->cmd.type != req->cmd.type || req->cmd.type > VIRTIO_BLK_T_OUT ||
        batch->vq != req->vq)
        return false;
    const VirtioBlkReq *last = batch->tail;
    uint64_t end = last->cmd.offset + last->cmd.bytes;
    if (req->cmd.offset != end || end + req->cmd.bytes - batch->cmd.offset > MAX_MERGED_BYTES ||
        batch->n_segs + req->cmd.n_data > VIRTQ_MAX_SEGMENTS)
        return false;
    batch->tail->merged = req;
    batch->tail = req;
    batch->n_segs += req->cmd.n_data;
    return true;
}

static void get_id(VirtioBlkReq *req)
{
    char id[VIRTIO_BLK_ID_BYTES] = {0};
    const char *serial = req->blk->serial ?: disk_serial(req->blk->disk);
    if (serial)
        memcpy(id, serial, MIN(strlen(serial), sizeof(id)));
    req->cmd.bytes = iov_from_buf(req->cmd.data, req->cmd.n_data, 0, id, sizeof(id));
    finish(req, VIRTIO_BLK_S_OK);
}

static VirtioBlkLimits limits_of(const VirtioBlk *blk)
{
    return (VirtioBlkLimits){
        .capacity = disk_length(blk->disk), .block_size = (uint32_t)blk->logical_block_size,
        .max_discard_sectors = blk->max_discard_sectors, .max_write_zeroes_sectors = blk->max_write_zeroes_sectors,
        .discard = blk->discard && !disk_is_read_only(blk->disk),
        .write_zeroes = blk->write_zeroes && !disk_is_read_only(blk->disk),
    };
}

static void refuse(VirtioBlkReq *req, VirtioBlkVerdict verdict)
{
    if (verdict == VIRTIO_BLK_INVALID)
        disk_account_invalid(req->blk->disk, req->cmd.op);
    req->cmd.bytes = 0;
    finish(req, verdict == VIRTIO_BLK_INVALID ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_UNSUPP);
}

/* Takes one request; *batch is the transfer that is still open for neighbours. False when the queue is empty or dead. */
static bool handle_one(VirtioBlk *blk, Virtq *vq, const VirtioBlkLimits *limits, VirtioBlkReq **batch)
{
    VirtioBlkReq *req = take_request(blk, vq);
    if (!virtq_pop(vq, &req->elem)) {
        put_request(req);
        return false;
    }
    VirtioBlkVerdict verdict = virtio_blk_parse(&req->elem, limits, &req->cmd);
    req->n_segs = req->cmd.n_data;
    if (verdict == VIRTIO_BLK_MALFORMED) {
        virtio_error(&blk->vdev, "queue %u: a request without header or status byte", vq->index);
        virtq_drop(vq, &req->elem);
        put_request(req);
        return false;
    }
    if (verdict != VIRTIO_BLK_PARSED) {
        refuse(req, verdict);
    } else if (req->cmd.type == VIRTIO_BLK_T_GET_ID) {
        get_id(req);
    } else if (!try_merge(*batch, req)) {
        if (*batch)
            submit(*batch);
        *batch = req;
    }
    return true;
}

static void virtio_blk_kick(VirtioDevice *vdev, Virtq *vq)
{
    VirtioBlk *blk = VIRTIO_BLK(vdev);
    BlockLoop *loop = disk_loop(blk->disk);
    VirtioBlkLimits limits = limits_of(blk);
    VirtioBlkReq *batch = NULL;
    unsigned taken = 0;
    block_loop_plug(loop);
    do {
        virtq_set_doorbell(vq, false);
        while (taken < KICK_LIMIT && handle_one(blk, vq, &limits, &batch))
            taken++;
        if (taken >= KICK_LIMIT) {
            bh_schedule(blk->more_bh);
            break;
        }
        virtq_set_doorbell(vq, true);
    } while (virtq_has_work(vq));
    if (batch)
        submit(batch);
    block_loop_unplug(loop);
}

static void kick_more(void *opaque)
{
    VirtioBlk *blk = VIRTIO_BLK(opaque);
    for (unsigned i = 0; i < blk->vdev.n_vqs; i++)
        if (virtq_has_work(&blk->vdev.vqs[i]))
            virtio_kick_queue(&blk->vdev, i);
}

/* ---- stop and go ---- */

static void drop_retries(VirtioBlk *blk, const Virtq *vq)
{
    VirtioBlkReq **link = &blk->retry;
    while (*link) {
        VirtioBlkReq *req = *link;
        if (vq && req->vq != vq) {
            link = &req->merged;
            continue;
        }
        *link = req->merged;
        virtq_drop(req->vq, &req->elem);
        put_request(req);
    }
}

static void virtio_blk_stop(VirtioDevice *vdev)
{
    VirtioBlk *blk = VIRTIO_BLK(vdev);
    bh_cancel(blk->more_bh);
    disk_drain(blk->disk);
    drop_retries(blk, NULL);
    disk_set_writeback(blk->disk, blk->original_writeback);
}

static void virtio_blk_stop_queue(VirtioDevice *vdev, Virtq *vq)
{
    VirtioBlk *blk = VIRTIO_BLK(vdev);
    disk_drain(blk->disk);
    drop_retries(blk, vq);
}

/* A driver that can neither flush nor choose gets a disk whose writes are durable when done: §5.2.5.2. */
static void virtio_blk_start(VirtioDevice *vdev)
{
    VirtioBlk *blk = VIRTIO_BLK(vdev);
    if (!virtio_has_feature(vdev, F_CONFIG_WCE))
        disk_set_writeback(blk->disk, blk->original_writeback && virtio_has_feature(vdev, F_FLUSH));
}

static void on_run_change(void *opaque, bool running, RunStateKind state)
{
    VirtioBlk *blk = VIRTIO_BLK(opaque);
    if (!running)
        return;
    DOMAIN_GUARD(blk->vdev.dev.domain);
    VirtioBlkReq *req = g_steal_pointer(&blk->retry);
    if (!req)
        return;
    disk_reset_io_status(blk->disk);
    block_loop_plug(disk_loop(blk->disk));
    while (req) {
        VirtioBlkReq *next = g_steal_pointer(&req->merged);
        g_clear_pointer(&req->iov, g_free);
        req->tail = req;
        submit(req);
        req = next;
    }
    block_loop_unplug(disk_loop(blk->disk));
}

/* ---- configuration ---- */

static uint64_t virtio_blk_features(VirtioDevice *vdev)
{
    VirtioBlk *blk = VIRTIO_BLK(vdev);
    uint64_t bits = VIRTIO_BIT(F_SEG_MAX) | VIRTIO_BIT(F_GEOMETRY) | VIRTIO_BIT(F_BLK_SIZE) | VIRTIO_BIT(F_TOPOLOGY);
    if (blk->config_wce)
        bits |= VIRTIO_BIT(F_CONFIG_WCE) | VIRTIO_BIT(F_FLUSH);
    if (blk->original_writeback)
        bits |= VIRTIO_BIT(F_FLUSH);
    if (disk_is_read_only(blk->disk))
        bits |= VIRTIO_BIT(F_RO);
    if (blk->num_queues > 1)
        bits |= VIRTIO_BIT(F_MQ);
    if (blk->discard && !disk_is_read_only(blk->disk))
        bits |= VIRTIO_BIT(F_DISCARD);
    if (blk->write_zeroes && !disk_is_read_only(blk->disk))
        bits |= VIRTIO_BIT(F_WRITE_ZEROES);
    return bits;
}

static void fill_geometry(const VirtioBlk *blk, BlkConfig *c)
{
    uint64_t sectors = c->capacity;
    c->heads = (uint8_t)(blk->heads ?: 16);
    c->sectors = (uint8_t)(blk->secs ?: 63);
    uint64_t cylinders = blk->cyls ?: CLAMP(sectors / (16 * 63), 2, 16383);
    c->cylinders = (uint16_t)MIN(cylinders, UINT16_MAX);
}

static void virtio_blk_config_read(VirtioDevice *vdev, uint8_t *config)
{
    const VirtioBlk *blk = VIRTIO_BLK(vdev);
    uint32_t block = (uint32_t)blk->logical_block_size;
    BlkConfig c = {
        .capacity = disk_length(blk->disk) / BLOCK_SECTOR,
        .seg_max = blk->queue_size - 2u,
        .blk_size = block,
        .physical_block_exp = (uint8_t)(__builtin_ctzll(blk->physical_block_size) - __builtin_ctz(block)),
        .min_io_size = (uint16_t)(blk->min_io_size / block),
        .opt_io_size = (uint32_t)(blk->opt_io_size / block),
        .writeback = disk_writeback(blk->disk),
        .num_queues = blk->num_queues,
    };
    fill_geometry(blk, &c);
    if (blk->discard) {
        uint64_t granularity = blk->discard_granularity == UINT32_MAX ? block : blk->discard_granularity;
        c.max_discard_sectors = blk->max_discard_sectors;
        c.max_discard_seg = 1;
        c.discard_sector_alignment = (uint32_t)(MAX(granularity, block) / BLOCK_SECTOR);
    }
    if (blk->write_zeroes) {
        c.max_write_zeroes_sectors = blk->max_write_zeroes_sectors;
        c.max_write_zeroes_seg = 1;
        c.write_zeroes_may_unmap = 1;
    }
    memcpy(config, &c, sizeof(c));
}

static void virtio_blk_config_write(VirtioDevice *vdev, const uint8_t *config, uint32_t offset, uint32_t len)
{
    uint32_t at = offsetof(BlkConfig, writeback);
    if (offset <= at && at < offset + len && virtio_has_feature(vdev, F_CONFIG_WCE))
        disk_set_writeback(VIRTIO_BLK(vdev)->disk, config[at] & 1);
}

static void on_resized(void *opaque)
{
    VirtioBlk *blk = VIRTIO_BLK(opaque);
    DOMAIN_GUARD(blk->vdev.dev.domain);
    virtio_config_changed(&blk->vdev);
}

static const DiskOps disk_ops = {.resized = on_resized};

/* ---- life ---- */

static bool check_block_size(const char *name, uint64_t value, GError **err)
{
    if (value >= 512 && value <= 2 * MIB && !(value & (value - 1)))
        return true;
    error_set(err, "%s=%" PRIu64 ": a power of two from 512 to 2 MiB is needed", name, value);
    return false;
}

static bool check_sizes(VirtioBlk *blk, GError **err)
{
    blk->logical_block_size = blk->logical_block_size ?: 512;
    blk->physical_block_size = blk->physical_block_size ?: MAX(blk->logical_block_size, 512);
    if (!check_block_size("logical_block_size", blk->logical_block_size, err) ||
        !check_block_size("physical_block_size", blk->physical_block_size, err))
        return false;
    if (blk->physical_block_size < blk->logical_block_size) {
        error_set(err, "physical_block_size=%" PRIu64 " is smaller than logical_block_size=%" PRIu64,
                  blk->physical_block_size, blk->logical_block_size);
        return false;
    }
    if (blk->min_io_size % blk->logical_block_size || blk->min_io_size / blk->logical_block_size > UINT16_MAX) {
        error_set(err, "min_io_size=%" PRIu64 " is not a multiple of the logical block size, up to 65535 of them", blk->min_io_size);
        return false;
    }
    if (blk->opt_io_size % blk->logical_block_size || blk->opt_io_size / blk->logical_block_size > UINT32_MAX) {
        error_set(err, "opt_io_size=%" PRIu64 " is not a multiple of the logical block size", blk->opt_io_size);
        return false;
    }
    if (blk->discard_granularity != UINT32_MAX && blk->discard_granularity % blk->logical_block_size) {
        error_set(err, "discard_granularity=%" PRIu64 " is not a multiple of the logical block size", blk->discard_granularity);
        return false;
    }
    return true;
}

static bool check_options(VirtioBlk *blk, GError **err)
{
    if (!disk_node(blk->disk)) {
        error_set(err, "drive \"%s\" has no medium, and virtio-blk can't be without one", disk_id(blk->disk));
        return false;
    }
    if (blk->scsi) {
        error_set(err, "scsi=on is not supported: SCSI passthrough left virtio-blk with virtio 1.0");
        return false;
    }
    if (blk->queue_size < 4 || blk->queue_size > VIRTQ_MAX_SIZE || blk->queue_size & (blk->queue_size - 1)) {
        error_set(err, "queue-size=%u: a power of two from 4 to %u is needed", blk->queue_size, VIRTQ_MAX_SIZE);
        return false;
    }
    if (blk->num_queues == AUTO_QUEUES)
        blk->num_queues = (uint16_t)CLAMP(blk->vdev.dev.machine->smp.cpus, 1, MAX_QUEUES);
    if (!blk->num_queues || blk->num_queues > MAX_QUEUES) {
        error_set(err, "num-queues=%u: 1 to %u are possible", blk->num_queues, MAX_QUEUES);
        return false;
    }
    if (blk->cyls > 65535 || blk->heads > 255 || blk->secs > 255) {
        error_set(err, "cyls, heads and secs go up to 65535, 255 and 255");
        return false;
    }
    return check_sizes(blk, err);
}

static bool virtio_blk_realize(Device *dev, GError **err)
{
    VirtioBlk *blk = VIRTIO_BLK(dev);
    VirtioDevice *vdev = &blk->vdev;
    if (!check_options(blk, err))
        return false;
    if (blk->iothread)
        dev->domain = iothread_domain(blk->iothread);
    DiskUse use = {.share_rw = blk->share_rw, .resizable = true, .ops = &disk_ops, .opaque = blk};
    if (!disk_start_use(blk->disk, OBJECT(dev), &use, dev->domain, err))
        return false;
    disk_set_on_error(blk->disk, (DiskOnError)blk->rerror, (DiskOnError)blk->werror);
    blk->original_writeback = blk->write_cache == ON_OFF_AUTO_AUTO ? disk_cache_is_writeback(blk->disk)
                                                                  : blk->write_cache == ON_OFF_AUTO_ON;
    disk_set_writeback(blk->disk, blk->original_writeback);
    blk->bursts = g_new0(BlockBurst, blk->num_queues);
    for (unsigned i = 0; i < blk->num_queues; i++)
        virtio_add_queue(vdev, blk->queue_size);
    for (unsigned i = 0; i < blk->num_queues; i++)
        blk->bursts[i] = (BlockBurst){.func = notify_burst, .opaque = &vdev->vqs[i]};
    blk->more_bh = bh_new(dev->domain, kick_more, blk);
    if (dev->machine->run)
        runstate_on_change(dev->machine->run, on_run_change, blk);
    return true;
}

static void virtio_blk_unrealize(Device *dev)
{
    VirtioBlk *blk = VIRTIO_BLK(dev);
    if (dev->machine->run)
        runstate_off_change(dev->machine->run, on_run_change, blk);
    DOMAIN_GUARD(dev->domain);
    virtio_reset(&blk->vdev);
    disk_unplug(blk->disk);
    g_clear_pointer(&blk->more_bh, bh_free);
    g_clear_pointer(&blk->bursts, g_free);
    while (blk->free) {
        VirtioBlkReq *req = blk->free;
        blk->free = req->merged;
        g_free(req);
    }
}

static const Property virtio_blk_props[] = {
    PROP_DISK("drive", VirtioBlk, disk, PROP_REQUIRED, "node name or drive id of the disk"),
    PROP_LINK("iothread", VirtioBlk, iothread, TYPE_IOTHREAD, "thread that does this disk's work"),
    PROP_U16("num-queues", VirtioBlk, num_queues, AUTO_QUEUES, 1, UINT16_MAX, "request queues (default: one for each vCPU)"),
    PROP_U16("queue-size", VirtioBlk, queue_size, 256, 4, VIRTQ_MAX_SIZE, "entries of a queue, a power of two"),
    PROP_STR("serial", VirtioBlk, serial, NULL, "serial number, the first 20 bytes count"),
    PROP_BOOL("share-rw", VirtioBlk, share_rw, false, "others may write to the image at the same time"),
    PROP_BOOL("request-merging", VirtioBlk, merge, true, "make one request of neighbouring ones"),
    PROP_BOOL("scsi", VirtioBlk, scsi, false, "SCSI passthrough (not supported)"),
    PROP_BOOL("config-wce", VirtioBlk, config_wce, true, "the guest may switch the write cache"),
    PROP_BOOL("discard", VirtioBlk, discard, true, "offer discard requests"),
    PROP_BOOL("write-zeroes", VirtioBlk, write_zeroes, true, "offer write-zeroes requests"),
    PROP_ONOFF("write-cache", VirtioBlk, write_cache, ON_OFF_AUTO_AUTO, "writes need a flush to be durable"),
    PROP_SIZE("logical_block_size", VirtioBlk, logical_block_size, 0, "unit of requests, bytes (default: 512)"),
    PROP_SIZE("physical_block_size", VirtioBlk, physical_block_size, 0, "unit that the medium writes, bytes (default: 512)"),
    PROP_SIZE("min_io_size", VirtioBlk, min_io_size, 0, "smallest request without penalty, bytes"),
    PROP_SIZE("opt_io_size", VirtioBlk, opt_io_size, 0, "best size of requests, bytes"),
    PROP_SIZE("discard_granularity", VirtioBlk, discard_granularity, UINT32_MAX, "unit of discards, bytes (default: a logical block)"),
    PROP_U32("max-discard-sectors", VirtioBlk, max_discard_sectors, 4194303, 1, 4194303, "longest discard, 512-byte sectors"),
    PROP_U32("max-write-zeroes-sectors", VirtioBlk, max_write_zeroes_sectors, 4194303, 1, 4194303, "longest write of zeroes, 512-byte sectors"),
    PROP_U32("cyls", VirtioBlk, cyls, 0, 0, UINT32_MAX, "cylinders (0: guessed)"),
    PROP_U32("heads", VirtioBlk, heads, 0, 0, UINT32_MAX, "heads (0: guessed)"),
    PROP_U32("secs", VirtioBlk, secs, 0, 0, UINT32_MAX, "sectors of a track (0: guessed)"),
    PROP_ENUM("rerror", VirtioBlk, rerror, DISK_ON_ERROR_AUTO, disk_on_error_names, "what a failed read does"),
    PROP_ENUM("werror", VirtioBlk, werror, DISK_ON_ERROR_AUTO, disk_on_error_names, "what a failed write does"),
    PROP_I32("bootindex", VirtioBlk, vdev.dev.bootindex, -1, -1, INT32_MAX, "place in the firmware's boot order"),
    PROP_END
};

static const VirtioClass virtio_blk_class = {
    .name = "virtio-blk", .desc = "virtio disk", .size = sizeof(VirtioBlk), .props = virtio_blk_props, .category = DEV_STORAGE,
    .realize = virtio_blk_realize, .unrealize = virtio_blk_unrealize,
    .device_id = VIRTIO_ID_BLOCK, .pci_class = 0x0100, .pci_legacy_id = 0x1001, .config_size = sizeof(BlkConfig),
    .features = virtio_blk_features, .start = virtio_blk_start, .stop = virtio_blk_stop,
    .stop_queue = virtio_blk_stop_queue, .kick = virtio_blk_kick,
    .config_read = virtio_blk_config_read, .config_write = virtio_blk_config_write,
};
VIRTIO_DEVICE(virtio_blk_class)
