/*
 * The way of a request through the graph: options that every node obeys, waiting for requests, and synchronous access for threads
 * that may block.
 */
#include "block/block-int.h"

#include <errno.h>
#include <string.h>

void block_forward(BlockNode *node, BlockReq *req)
{
    if (req->op == BLOCK_DISCARD && !node->discard_unmap) {
        block_complete_later(req, 0);
        return;
    }
    if (req->op == BLOCK_WRITE && node->detect_zeroes != DETECT_ZEROES_OFF && iov_is_zero(req->iov, req->niov)) {
        req->op = BLOCK_WRITE_ZEROES;
        req->flags &= ~BLOCK_REQ_MAY_UNMAP;
        if (node->detect_zeroes == DETECT_ZEROES_UNMAP)
            req->flags |= BLOCK_REQ_MAY_UNMAP;
    }
    if (req->op == BLOCK_WRITE_ZEROES && !node->discard_unmap)
        req->flags &= ~BLOCK_REQ_MAY_UNMAP;
    node->driver->submit(node, req);
}

void block_submit(BlockNode *node, BlockReq *req)
{
    req->entry = node;
    req->ret = 0;
    req->progress = 0;
    req->next = NULL;
    req->driver_data = NULL;
    node->in_flight++;
    block_forward(node, req);
}

void block_complete(BlockReq *req, int ret)
{
    if (req->entry)
        req->entry->in_flight--;
    if (req->disk)
        disk_complete(req, ret);
    req->done(req, ret);
}

/* ---- waiting ---- */

static void sync_done(BlockReq *req, int ret)
{
    *(int *)req->opaque = ret;
}

static int submit_sync(BlockNode *node, BlockOp op, uint64_t offset, struct iovec *iov)
{
    int ret = 1;
    BlockReq req = {.op = op, .offset = offset, .bytes = iov ? iov->iov_len : 0, .iov = iov, .niov = iov ? 1 : 0,
                    .done = sync_done, .opaque = &ret, .disk_op = op};
    block_submit(node, &req);
    g_assert(ret <= 0);
    return ret;
}

int block_read_sync(BlockNode *node, uint64_t offset, void *buf, size_t bytes)
{
    struct iovec iov = {buf, bytes};
    return submit_sync(node, BLOCK_READ, offset, &iov);
}

int block_write_sync(BlockNode *node, uint64_t offset, const void *buf, size_t bytes)
{
    struct iovec iov = {(void *)buf, bytes};
    return submit_sync(node, BLOCK_WRITE, offset, &iov);
}

int block_flush_sync(BlockNode *node)
{
    return submit_sync(node, BLOCK_FLUSH, 0, NULL);
}

static void drain_disks_of(BlockNode *node)
{
    for (guint i = 0; i < node->parents->len; i++) {
        BlockEdge *edge = (BlockEdge *)node->parents->pdata[i];
        if (edge->parent)
            block_node_drain(edge->parent);
        else if (edge->disk)
            disk_drain(edge->disk);
    }
}

void block_node_drain(BlockNode *node)
{
    drain_disks_of(node);
    /* what entered here without a disk runs on threads of its own and needs no help to finish */
    while (node->in_flight)
        g_usleep(50);
}

void block_drain_all(void)
{
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++)
        disk_drain((Disk *)block_graph.disks->pdata[i]);
}

int block_flush_all(void)
{
    int result = 0;
    for (guint i = 0; block_graph.nodes && i < block_graph.nodes->len; i++) {
        BlockNode *node = (BlockNode *)block_graph.nodes->pdata[i];
        int ret = node->read_only ? 0 : block_flush_sync(node);
        if (ret < 0 && !result)
            result = ret;
    }
    return result;
}
