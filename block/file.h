/* Private to the file driver. */
#pragma once

#include "block/block-int.h"

typedef enum { FILE_AIO_AUTO, FILE_AIO_URING, FILE_AIO_THREADS } FileAio;

/* A write under way on a file that needs aligned requests; read-modify-write cycles wait for their neighbours. */
typedef struct FileRange {
    uint64_t start, end;
    bool exclusive;
    struct FileRange *next;
} FileRange;

typedef struct FileNode {
    int fd;
    bool is_block;             /* a block device of the host */
    bool direct;               /* O_DIRECT is on */
    FileAio aio;
    uint32_t mem_align;        /* bytes: what O_DIRECT needs of buffers */
    bool lock_files, lock_required;
    uint32_t locked_perm, locked_unshared; /* BLOCK_PERM_* with a lock on the file */
    _Atomic bool no_punch, no_zero_range;  /* the host can't */
    _Atomic bool flush_failed; /* data may be lost: every later flush fails, too */
    GMutex ranges_lock;
    GCond ranges_cond;
    FileRange *ranges;         /* under ranges_lock */
} FileNode;

/* file-lock.c */
bool file_lock_set(FileNode *file, const char *filename, uint32_t perm, uint32_t unshared, GError **err) WARN_UNUSED;
/* file-io.c */
void file_submit(BlockNode *node, BlockReq *req);
