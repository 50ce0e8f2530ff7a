/*
 * The format "raw": the bytes of the node below, or a part of them (offset=, size=).
 *
 * When raw is only what is left after probing, a guest could write another format's signature into sector 0 and make the next start
 * read its disk as that format, with host files of its choice as backing file. Such writes are refused.
 */
#include "block/block-int.h"

#include <errno.h>
#include <string.h>

#define PROBED_BYTES 512

typedef struct RawNode {
    BlockNode *file;
    uint64_t offset, size;
    bool has_size, probed;
} RawNode;

static const BlockOption raw_options[] = {
    {"file", BLOCK_OPT_NODE, .required = true, .help = "node that holds the bytes"},
    {"offset", BLOCK_OPT_SIZE, .help = "where the disk begins in it, bytes, a multiple of 512"},
    {"size", BLOCK_OPT_SIZE, .help = "bytes of the disk, a multiple of 512 (default: all that follow)"},
    {"x-probed", BLOCK_OPT_BOOL, .help = "the format was guessed: protect sector 0"},
    BLOCK_OPTION_END
};

static int64_t raw_get_length(BlockNode *node)
{
    RawNode *raw = (RawNode *)node->opaque;
    int64_t below = block_node_length(raw->file);
    if (below < 0)
        return below;
    if (raw->has_size)
        return (int64_t)raw->size;
    return (uint64_t)below > raw->offset ? below - (int64_t)raw->offset : 0;
}

static bool raw_open(BlockNode *node, json_object *options, GError **err)
{
    RawNode *raw = (RawNode *)node->opaque;
    raw->file = block_node_open_child(node, options, "file", err);
    if (!raw->file)
        return false;
    raw->offset = block_option_size(options, "offset", 0);
    raw->has_size = block_option_get(options, "size") != NULL;
    raw->size = block_option_size(options, "size", 0);
    raw->probed = block_option_bool(options, "x-probed", false);
    if (!IS_ALIGNED(raw->offset, BLOCK_SECTOR) || !IS_ALIGNED(raw->size, BLOCK_SECTOR)) {
        error_set(err, "offset and size of a raw node are multiples of 512");
        return false;
    }
    int64_t below = block_node_length(raw->file);
    if (below < 0) {
        error_set_errno(err, (int)-below, "the size of node \"%s\" is unknown", raw->file->name);
        return false;
    }
    if (raw->offset > (uint64_t)below || (raw->has_size && raw->size > (uint64_t)below - raw->offset)) {
        error_set(err, "offset %" PRIu64 " and size %" PRIu64 " do not fit into node \"%s\" of %" PRId64 " bytes",
                  raw->offset, raw->size, raw->file->name, below);
        return false;
    }
    node->request_align = raw->file->request_align;
    node->length = (uint64_t)raw_get_length(node);
    return true;
}

static bool is_signature_write(const BlockReq *req)
{
    uint8_t head[PROBED_BYTES] = {0};
    size_t have = 0;
    for (unsigned i = 0; i < req->niov && have < sizeof(head); i++) {
        size_t part = MIN(req->iov[i].iov_len, sizeof(head) - have);
        memcpy(head + have, req->iov[i].iov_base, part);
        have += part;
    }
    return block_foreign_format(head, have) != NULL;
}

static void raw_submit(BlockNode *node, BlockReq *req)
{
    RawNode *raw = (RawNode *)node->opaque;
    if (G_UNLIKELY(raw->probed) && req->op == BLOCK_WRITE && req->offset == 0 && is_signature_write(req)) {
        block_complete_later(req, -EPERM);
        return;
    }
    if (req->op != BLOCK_FLUSH && raw->has_size &&
        (req->offset > raw->size || req->bytes > raw->size - req->offset)) {
        block_complete_later(req, -EINVAL);
        return;
    }
    req->offset += raw->offset;
    block_forward(raw->file, req);
}

static bool raw_truncate(BlockNode *node, uint64_t bytes, GError **err)
{
    RawNode *raw = (RawNode *)node->opaque;
    if (raw->has_size) {
        error_set(err, "node \"%s\" has a fixed size=", node->name);
        return false;
    }
    if (!raw->file->driver->truncate) {
        error_set(err, "block driver \"%s\" of node \"%s\" can't be resized", raw->file->driver->name, raw->file->name);
        return false;
    }
    return raw->file->driver->truncate(raw->file, bytes + raw->offset, err);
}

static const BlockDriver raw_driver = {
    .name = "raw", .is_format = true, .size = sizeof(RawNode), .options = raw_options,
    .open = raw_open, .submit = raw_submit, .get_length = raw_get_length, .truncate = raw_truncate,
};
REGISTER_BLOCK_DRIVER(raw_driver)
