/*
 * Block devices: a graph of nodes that store bytes, the disks through which devices use them, and requests.
 *
 * A *node* is one layer of an image (the host file, the raw or qcow2 format on it, a filter); it has a driver, a name and children.
 * A *disk* is the place where a device plugs in: it carries the drive id, the error policy, the statistics. A *request* is a
 * struct with a done callback; there are no coroutines: what must block runs as plain code on worker threads.
 *
 * Threads: a request is submitted with the lock of its BlockLoop's domain held and completes there, with the lock held, whatever
 * thread did the work. The graph itself changes only under the main domain's lock.
 */
#pragma once

#include <qom/object.h>
#include <rhea/loop.h>
#include <sys/uio.h>

typedef struct BlockNode BlockNode;
typedef struct BlockDriver BlockDriver;
typedef struct BlockReq BlockReq;
typedef struct BlockLoop BlockLoop;
typedef struct BlockEdge BlockEdge;
typedef struct Disk Disk;

/* Unit of guest addresses and of capacities that devices report, bytes. Nodes count in bytes. */
#define BLOCK_SECTOR 512u
/* A request is never longer than this, bytes; longer ones fail with -EINVAL. */
#define BLOCK_MAX_TRANSFER ((uint64_t)INT32_MAX & ~(uint64_t)(BLOCK_SECTOR - 1))

/* ---- requests --------------------------------------------------------------------------------------------------- */

typedef enum { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_WRITE_ZEROES, BLOCK_OPS } BlockOp;

#define BLOCK_REQ_FUA 0x01       /* write, write zeroes: on stable storage when done */
#define BLOCK_REQ_MAY_UNMAP 0x02 /* write zeroes: the space may be given back */

/* ret is 0 or -errno. The request is the caller's again. */
typedef void BlockDoneFunc(BlockReq *req, int ret);

struct BlockReq {
    BlockOp op;
    uint32_t flags;            /* BLOCK_REQ_* */
    uint64_t offset, bytes;    /* in the node it is submitted to; 0, 0 for a flush */
    const struct iovec *iov;   /* [niov], niov <= 1024, together `bytes`; read and write only. Borrowed until done */
    unsigned niov;
    BlockLoop *loop;           /* where it completes; NULL: block_submit does it all and calls done before it returns (workers) */
    BlockDoneFunc *done;
    void *opaque;              /* the caller's */
    /* below: the block layer's */
    Disk *disk;                /* accounting, NULL below a disk */
    BlockOp disk_op;           /* what was asked for: drivers may turn a write into a write of zeroes */
    BlockNode *entry;          /* node whose in_flight counts it */
    int64_t start_ns;
    BlockReq *next;
    int ret;
    void *driver_data;         /* of the driver that has it now */
    uint64_t progress;         /* bytes already transferred (short transfers) */
};

/*
 * Hands the request to a node. It completes later, never inside this call, except inside block_loop_unplug() or a poll. No checks of
 * bounds or permissions: disk_submit() does that for devices, drivers do it for their children. Lock of req->loop's domain.
 */
void block_submit(BlockNode *node, BlockReq *req);
/* A driver passes the request on to its child, offset adjusted. */
void block_forward(BlockNode *child, BlockReq *req);
/* For drivers: it is done. complete: on the request's loop, lock held. complete_later: any thread, any locks. */
void block_complete(BlockReq *req, int ret);
void block_complete_later(BlockReq *req, int ret);

/* The same on the calling thread, which may block: worker threads, tools, start-up code. 0 or -errno. */
int block_read_sync(BlockNode *node, uint64_t offset, void *buf, size_t bytes);
int block_write_sync(BlockNode *node, uint64_t offset, const void *buf, size_t bytes);
int block_flush_sync(BlockNode *node);

/* ---- loops ------------------------------------------------------------------------------------------------------ */

/* The block layer's part of a domain: its io_uring and its completions. One per domain, shared. (owned) */
BlockLoop *block_loop_ref(Domain *domain);
void block_loop_unref(BlockLoop *loop);
Domain *block_loop_domain(const BlockLoop *loop);
/* Between plug and unplug, submissions are collected; the outermost unplug sends them at once and completes what is ready. */
void block_loop_plug(BlockLoop *loop);
void block_loop_unplug(BlockLoop *loop);
/*
 * func(opaque) at the end of the burst of completions that is running, or of the current unplug; at once when there is none.
 * The struct is the caller's, zeroed before first use; adding it twice in a burst is one call.
 */
typedef struct BlockBurst {
    void (*func)(void *opaque);
    void *opaque;
    struct BlockBurst *next;
    bool queued;
} BlockBurst;
void block_loop_at_burst_end(BlockLoop *loop, BlockBurst *burst);
/* Completes what is ready; wait: sleeps until something was. Lock held; callbacks of the domain other than completions do not run. */
void block_loop_poll(BlockLoop *loop, bool wait);
/* func(opaque) on a worker thread. */
void block_worker_run(void (*func)(void *opaque), void *opaque);

/* ---- drivers ---------------------------------------------------------------------------------------------------- */

/* What a user of a node does with it, and what it lets others do at the same time. Bits of the lock bytes in image files. */
#define BLOCK_PERM_READ 0x01      /* data is consistent */
#define BLOCK_PERM_WRITE 0x02
#define BLOCK_PERM_UNCHANGED 0x04 /* writes that don't change what is read */
#define BLOCK_PERM_RESIZE 0x08
#define BLOCK_PERM_ALL 0x0f

typedef enum { BLOCK_OPT_BOOL, BLOCK_OPT_STR, BLOCK_OPT_SIZE, BLOCK_OPT_UINT, BLOCK_OPT_ENUM, BLOCK_OPT_NODE } BlockOptKind;

/* An option of a driver, as in -blockdev. A nested one is written with its dot: "cache.direct". */
typedef struct BlockOption {
    const char *name;
    BlockOptKind kind;
    const char *const *names; /* ENUM, NULL-terminated */
    bool required;
    const char *help;
} BlockOption;
#define BLOCK_OPTION_END { .name = NULL }

struct BlockDriver {
    const char *name;          /* "file", "raw", "qcow2" */
    bool is_format;            /* sits on a "file" child, can be given as format= and be probed */
    size_t size;               /* of node->opaque, zeroed */
    const BlockOption *options;/* own ones; those of every node are added */
    /* Options were checked against the table. Sets node->length, may change node->read_only. Undoes its work on failure. */
    bool (*open)(BlockNode *node, json_object *options, GError **err);
    void (*close)(BlockNode *node);
    /* Takes the request; calls block_complete*() or block_forward() in the end. Any domain, its lock held; must not block. */
    void (*submit)(BlockNode *node, BlockReq *req);
    /* The users' needs changed (cumulative). Refuses with a sentence; abort never follows a success. NULL: nothing to do. */
    bool (*set_perm)(BlockNode *node, uint32_t perm, uint32_t shared, GError **err);
    /* What a child must grant; NULL: what the node's users ask for. */
    void (*child_perm)(BlockNode *node, BlockEdge *edge, uint32_t perm, uint32_t shared, uint32_t *nperm, uint32_t *nshared);
    int64_t (*get_length)(BlockNode *node);    /* bytes now, -errno; NULL: node->length */
    bool (*truncate)(BlockNode *node, uint64_t bytes, GError **err); /* NULL: can't be resized */
    int64_t (*allocated)(BlockNode *node);     /* bytes on the host, -1 unknown; NULL: the first child's */
    /* 0..100: how sure it is that an image that begins with buf[len] is its own; 0 not at all. */
    int (*probe)(const uint8_t *buf, size_t len, const char *filename);
    json_object *(*specific_stats)(BlockNode *node); /* "driver-specific" of query-blockstats (owned) */
    json_object *(*specific_info)(BlockNode *node);  /* "format-specific" of ImageInfo (owned) */
};

void block_register_driver(const BlockDriver *driver);
const BlockDriver *block_find_driver(const char *name);
#define REGISTER_BLOCK_DRIVER(table) RHEA_REGISTER(block_register_driver, table)

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

typedef enum { DETECT_ZEROES_OFF, DETECT_ZEROES_ON, DETECT_ZEROES_UNMAP } DetectZeroes;

typedef struct BlockNodeStats {
    _Atomic uint64_t wr_highest_offset;
    _Atomic uint64_t discard_ok, discard_failed, discard_bytes;
} BlockNodeStats;

/* A use of a node by another node (parent) or a disk. */
struct BlockEdge {
    char *name;            /* "file", "backing", "root" */
    BlockNode *child;      /* reference held */
    BlockNode *parent;     /* NULL for a disk */
    Disk *disk;
    uint32_t perm, shared; /* BLOCK_PERM_* */
};

struct BlockNode {
    const BlockDriver *driver;
    void *opaque;
    int refs;
    char *name;            /* node-name; generated ones start with '#' */
    bool user_named;       /* made by blockdev-add: the user holds a reference */
    char *filename;        /* as the user would write it (owned) */
    bool read_only;
    bool auto_read_only;
    bool force_share;
    bool cache_direct, cache_no_flush;
    bool discard_unmap;    /* discard=unmap */
    DetectZeroes detect_zeroes;
    uint64_t length;       /* bytes */
    uint32_t request_align;/* bytes, power of two: what the host needs of offset and length (1 if anything goes) */
    GPtrArray *children;   /* BlockEdge *, owned */
    GPtrArray *parents;    /* BlockEdge *, borrowed */
    _Atomic int in_flight; /* requests that entered the graph here */
    BlockNodeStats stats;
};

BlockNode *block_node_find(const char *name); /* borrowed, NULL if unknown */
/* A child as options say: a node name, or an object of options for a new one. Driver's open. (owned by node) */
BlockNode *block_node_open_child(BlockNode *node, json_object *options, const char *name, GError **err) WARN_UNUSED;
static inline BlockNode *block_node_child(const BlockNode *node, const char *name)
{
    for (guint i = 0; i < node->children->len; i++) {
        BlockEdge *edge = (BlockEdge *)node->children->pdata[i];
        if (g_str_equal(edge->name, name))
            return edge->child;
    }
    return NULL;
}
BlockNode *block_node_ref(BlockNode *node);
void block_node_unref(BlockNode *node);
/* Current length in bytes; asks the driver. -errno. */
int64_t block_node_length(BlockNode *node);
/* Waits for every request that entered the graph at this node or above. Main domain locked. */
void block_node_drain(BlockNode *node);
/* All of the graph: stop, quit, migration. Main domain locked. */
void block_drain_all(void);
/* Flushes every writable node, -errno of the first failure. Main domain locked. */
int block_flush_all(void);

/* -blockdev, blockdev-add: {"driver", "node-name", ...}; values may be JSON or the strings of a command line. (borrowed) */
BlockNode *blockdev_add(json_object *options, GError **err) WARN_UNUSED;
bool blockdev_del(const char *node_name, GError **err) WARN_UNUSED;
/* block_resize: by drive id or node name (the other NULL); bytes. */
bool block_resize(const char *device, const char *node_name, uint64_t bytes, GError **err) WARN_UNUSED;

/* ---- disks: what devices hold ------------------------------------------------------------------------------------ */

typedef enum { DISK_ON_ERROR_AUTO, DISK_ON_ERROR_REPORT, DISK_ON_ERROR_IGNORE, DISK_ON_ERROR_STOP, DISK_ON_ERROR_ENOSPC } DiskOnError;
extern const char *const disk_on_error_names[]; /* "auto", "report", "ignore", "stop", "enospc": for PROP_ENUM */
typedef enum { DISK_ACTION_REPORT, DISK_ACTION_IGNORE, DISK_ACTION_STOP } DiskAction;

typedef struct DiskStats {
    uint64_t bytes[BLOCK_OPS], ops[BLOCK_OPS], failed[BLOCK_OPS], invalid[BLOCK_OPS], merged[BLOCK_OPS];
    int64_t time_ns[BLOCK_OPS];
    int64_t last_access_ns; /* CLOCK_MONOTONIC, 0: none yet */
} DiskStats;

/* What a device is told. Machine's domain locked; each may be NULL. */
typedef struct DiskOps {
    void (*resized)(void *opaque);
} DiskOps;

/* How a device will use the disk. */
typedef struct DiskUse {
    bool read_only;      /* the device can't write (a CD drive) */
    bool share_rw;       /* others may write at the same time */
    bool resizable;      /* the device takes note of a new size */
    const DiskOps *ops;
    void *opaque;
} DiskUse;

/*
 * A device's PROP_DISK property holds a `Disk *`. In realize it says how it will use it; this takes the permissions and the
 * lock on the image. A device without a medium gets a disk that has no node.
 */
bool disk_start_use(Disk *disk, Object *device, const DiskUse *use, Domain *domain, GError **err) WARN_UNUSED;
void disk_end_use(Disk *disk); /* drains first */
/* The same for a device that is gone for good (unrealize): the nodes are let go, too, and a -drive ends with its device. */
void disk_unplug(Disk *disk);
/* For a device that was given no drive= and has a removable medium. (owned) */
Disk *disk_new_empty(Object *device);
void disk_free_empty(Disk *disk);

BlockNode *disk_node(const Disk *disk);       /* NULL: no medium */
BlockLoop *disk_loop(const Disk *disk);
uint64_t disk_length(const Disk *disk);       /* bytes, rounded up to BLOCK_SECTOR; 0 without a medium */
bool disk_is_read_only(const Disk *disk);
const char *disk_id(const Disk *disk);        /* drive id, "" for one made from a node name */
const char *disk_serial(const Disk *disk);    /* -drive serial=, NULL if not given */
bool disk_writeback(const Disk *disk);        /* false: every write is FUA */
void disk_set_writeback(Disk *disk, bool on);
bool disk_cache_is_writeback(const Disk *disk); /* what cache= or cache.writeback asked for */
unsigned disk_in_flight(const Disk *disk);

/*
 * Checks bounds, medium and permission, accounts, applies the write cache mode, hands to the node. Failures come through
 * done as well: -ENOMEDIUM, -EROFS, -EINVAL (beyond the end or too long).
 */
void disk_submit(Disk *disk, BlockReq *req);
/* Waits until nothing of this disk is in flight. Any holder of the disk's domain lock, or of none. */
void disk_drain(Disk *disk);
DiskStats *disk_stats(Disk *disk);
/* The device refused it before submitting. */
void disk_account_invalid(Disk *disk, BlockOp op);
void disk_account_merged(Disk *disk, BlockOp op, unsigned n);

/* Error policy: device properties override -drive's (AUTO keeps them). */
void disk_set_on_error(Disk *disk, DiskOnError rerror, DiskOnError werror);
/*
 * What to do about a failed request, -errno in ret: emits BLOCK_IO_ERROR, sets io-status, stops the machine for STOP. The device
 * keeps a STOPped request and submits it again when the machine runs.
 */
DiskAction disk_error(Disk *disk, BlockOp op, int ret);
void disk_reset_io_status(Disk *disk);

/* ---- -drive and QMP ---------------------------------------------------------------------------------------------- */

typedef struct Machine Machine;
/* -drive: an object of the option's keys, dotted or nested. */
bool drive_add(json_object *options, GError **err) WARN_UNUSED;
/* Makes the devices of -drive if=virtio (and of no if=, when the machine's default is that). After the board was built. */
bool drive_create_devices(Machine *machine, GError **err) WARN_UNUSED;
/* Drives that no device uses and that were not if=none: a sentence, NULL if there are none. (owned) */
char *drive_check_unused(void);
/* Everything is closed: end of the process, tests. */
void block_shutdown(void);
/* Whose run state error policies change. */
void block_set_machine(Machine *machine);

json_object *block_query(void);                        /* query-block (owned) */
json_object *block_query_stats(bool query_nodes);      /* query-blockstats (owned) */
json_object *block_query_named_nodes(bool flat);       /* query-named-block-nodes (owned) */
char *block_info_text(void);                           /* HMP info block (owned) */

/* -add-fd fd=,set=,opaque= and add-fd/remove-fd/query-fdsets; /dev/fdset/N opens a duplicate of a fitting member. */
bool fdset_add(int fd, bool has_set, int64_t set, const char *opaque, int64_t *set_out, GError **err) WARN_UNUSED;
bool fdset_remove(int64_t set, bool has_fd, int64_t fd, GError **err) WARN_UNUSED;
json_object *fdset_query(void);
/* open(2) that knows /dev/fdset/N; -errno. */
int fdset_open(const char *path, int flags, mode_t mode);
