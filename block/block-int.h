/* Private to block/: the registry, disks, and helpers that the files of this folder share. */
#pragma once

#include <block/block.h>
#include <json-c/json.h>

/* All nodes, disks and drivers of the process. Main domain's lock. */
typedef struct BlockGraph {
    GPtrArray *drivers;    /* const BlockDriver * */
    GPtrArray *nodes;      /* BlockNode *, in order of creation; borrowed */
    GPtrArray *disks;      /* Disk *, in order of creation; borrowed */
    unsigned next_name;
    Machine *machine;
} BlockGraph;
extern BlockGraph block_graph;

/* -drive's if=. */
typedef enum { DRIVE_IF_DEFAULT, DRIVE_IF_NONE, DRIVE_IF_VIRTIO } DriveInterface;

struct Disk {
    char *id;              /* drive id, "" without */
    bool is_drive;         /* made by -drive: lives until the process ends or its device is deleted */
    bool unclaimed;        /* made by a property look-up that no device attached yet */
    bool removable;
    DriveInterface interface;
    int index;
    char *serial;
    Object *owner;         /* device that holds it, borrowed */
    bool in_use;           /* between start_use and end_use */
    DiskUse use;
    BlockEdge *root;       /* NULL: no medium */
    BlockLoop *loop;
    bool cache_writeback;  /* asked for by cache= */
    bool writeback;        /* now */
    bool drive_on_error_given;
    DiskOnError on_read_error, on_write_error;
    const char *io_status; /* "ok", "failed", "nospace"; NULL when no policy needs it */
    unsigned in_flight;    /* loop's domain */
    DiskStats stats;
};

/* graph.c */
BlockEdge *block_edge_new(BlockNode *child, BlockNode *parent, Disk *disk, const char *name, uint32_t perm,
                          uint32_t shared, GError **err) WARN_UNUSED;
void block_edge_free(BlockEdge *edge);
bool block_edge_set_perm(BlockEdge *edge, uint32_t perm, uint32_t shared, GError **err) WARN_UNUSED;
char *block_user_description(const BlockEdge *edge);

/* node.c */
BlockNode *block_node_open(json_object *options, const BlockNode *parent, GError **err) WARN_UNUSED; /* (owned) */
bool block_name_is_valid(const char *name);
bool block_name_is_free(const char *name, GError **err);
/* A protocol node for a name as users write it ("disk.img", "file:disk.img", "json:{...}"), options added by the caller. */
json_object *block_options_for_filename(const char *filename, GError **err) WARN_UNUSED;

/* options.c */
/* A copy where "a.b" keys became nested objects. (owned) */
json_object *block_options_nest(json_object *options, GError **err) WARN_UNUSED;
json_object *block_option_get(json_object *options, const char *path); /* borrowed, NULL if absent */
bool block_options_check(json_object *options, const char *what, const BlockOption *const *tables, GError **err) WARN_UNUSED;
/* def when absent; err set when it is not of the kind (never after block_options_check). */
bool block_option_bool(json_object *options, const char *path, bool def);
uint64_t block_option_size(json_object *options, const char *path, uint64_t def);
const char *block_option_str(json_object *options, const char *path); /* NULL if absent */
int block_option_enum(json_object *options, const char *path, const char *const *names, int def);
void block_option_set(json_object *options, const char *path, json_object *value);
void block_option_default(json_object *options, const char *path, const char *value);
bool block_parse_bool(json_object *value, bool *out);
bool block_parse_size(json_object *value, uint64_t *out);

/* probe.c */
/* The format driver of an image, "raw" when nothing else claims it; *probed_raw says that only nothing else did. NULL with err. */
const BlockDriver *block_probe(BlockNode *protocol, GError **err);

/* Name of the format whose signature buf[len] begins with, NULL if there is none. */
const char *block_foreign_format(const uint8_t *buf, size_t len);

/* disk.c */
Disk *disk_find(const char *id); /* by drive id */
Disk *disk_new(const char *id, BlockNode *node, GError **err) WARN_UNUSED;
void disk_free(Disk *disk);
void disk_complete(BlockReq *req, int ret);

/* loop.c */
struct io_uring_sqe;
struct io_uring;
/* For file.c: a submission entry whose completion calls func(req, res). NULL: this loop has no io_uring. */
typedef void BlockUringFunc(BlockReq *req, int res);
struct io_uring_sqe *block_loop_get_sqe(BlockLoop *loop);
void block_loop_queue_sqe(BlockLoop *loop, struct io_uring_sqe *sqe, BlockReq *req);
bool block_loop_has_uring(BlockLoop *loop);
bool block_uring_available(void);
/* Implemented by file-io.c: result of an operation that was queued. */
void block_file_uring_done(BlockReq *req, int res);

static inline bool iov_is_zero(const struct iovec *iov, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *p = (const uint8_t *)iov[i].iov_base;
        size_t len = iov[i].iov_len;
        if (len && (p[0] || (len > 1 && memcmp(p, p + 1, len - 1))))
            return false;
    }
    return true;
}
