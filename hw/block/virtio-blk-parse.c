/*
 * Requests of virtio-blk (virtio 1.2 §5.2.6): a 16-byte header, data, a status byte. Drivers may cut the chain into buffers as they
 * like (§2.7.4), so header and status are taken by bytes, not by buffers.
 */
#include "hw/block/virtio-blk.h"

#include <string.h>

typedef struct Header {
    uint32_t type, reserved;
    uint64_t sector;
} Header;

typedef struct Segment {
    uint64_t sector;
    uint32_t sectors, flags;
} Segment;

static void trim_front(struct iovec **iov, uint16_t *n, uint64_t *total, size_t bytes)
{
    *total -= bytes;
    while (bytes && *n) {
        size_t part = MIN(bytes, (*iov)->iov_len);
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + part;
        (*iov)->iov_len -= part;
        bytes -= part;
        if (!(*iov)->iov_len) {
            (*iov)++;
            (*n)--;
        }
    }
}

/* The last byte of the writable part. */
static uint8_t *take_status(VirtqElem *elem)
{
    if (!elem->n_in)
        return NULL;
    struct iovec *last = &elem->in[elem->n_in - 1];
    uint8_t *status = (uint8_t *)last->iov_base + --last->iov_len;
    elem->in_bytes--;
    if (!last->iov_len)
        elem->n_in--;
    return status;
}

static bool range_is_good(const VirtioBlkLimits *limits, uint64_t sector, uint64_t bytes)
{
    if (sector > UINT64_MAX / BLOCK_SECTOR)
        return false;
    uint64_t offset = sector * BLOCK_SECTOR;
    return IS_ALIGNED(offset, (uint64_t)limits->block_size) && IS_ALIGNED(bytes, (uint64_t)limits->block_size) &&
           offset <= limits->capacity && bytes <= limits->capacity - offset;
}

static VirtioBlkVerdict parse_transfer(VirtqElem *elem, const VirtioBlkLimits *limits, uint64_t sector, VirtioBlkCmd *cmd)
{
    bool write = cmd->op == BLOCK_WRITE;
    cmd->data = write ? elem->out : elem->in;
    cmd->n_data = write ? elem->n_out : elem->n_in;
    cmd->bytes = write ? elem->out_bytes : elem->in_bytes;
    if (cmd->bytes > BLOCK_MAX_TRANSFER || !range_is_good(limits, sector, cmd->bytes))
        return VIRTIO_BLK_INVALID;
    cmd->offset = sector * BLOCK_SECTOR;
    return VIRTIO_BLK_PARSED;
}

/* Discard and write zeroes: one segment, as max_*_seg says. */
static VirtioBlkVerdict parse_segment(VirtqElem *elem, const VirtioBlkLimits *limits, VirtioBlkCmd *cmd)
{
    bool zeroes = cmd->op == BLOCK_WRITE_ZEROES;
    uint32_t max = zeroes ? limits->max_write_zeroes_sectors : limits->max_discard_sectors;
    Segment seg;
    if (!(zeroes ? limits->write_zeroes : limits->discard))
        return VIRTIO_BLK_UNSUPPORTED;
    if (elem->out_bytes != sizeof(seg))
        return elem->out_bytes && elem->out_bytes % sizeof(seg) == 0 ? VIRTIO_BLK_UNSUPPORTED : VIRTIO_BLK_INVALID;
    iov_to_buf(elem->out, elem->n_out, 0, &seg, sizeof(seg));
    if (seg.flags & ~(uint32_t)VIRTIO_BLK_UNMAP || (seg.flags && !zeroes))
        return VIRTIO_BLK_UNSUPPORTED;
    uint64_t bytes = (uint64_t)seg.sectors * BLOCK_SECTOR;
    if (!seg.sectors || seg.sectors > max || !range_is_good(limits, seg.sector, bytes))
        return VIRTIO_BLK_INVALID;
    cmd->offset = seg.sector * BLOCK_SECTOR;
    cmd->bytes = bytes;
    cmd->flags = seg.flags & VIRTIO_BLK_UNMAP ? BLOCK_REQ_MAY_UNMAP : 0;
    return VIRTIO_BLK_PARSED;
}

VirtioBlkVerdict virtio_blk_parse(VirtqElem *elem, const VirtioBlkLimits *limits, VirtioBlkCmd *cmd)
{
    Header header;
    memset(cmd, 0, sizeof(*cmd));
    if (elem->out_bytes < sizeof(header) || !(cmd->status = take_status(elem)))
        return VIRTIO_BLK_MALFORMED;
    iov_to_buf(elem->out, elem->n_out, 0, &header, sizeof(header));
    trim_front(&elem->out, &elem->n_out, &elem->out_bytes, sizeof(header));
    cmd->type = header.type;
    switch (header.type) {
    case VIRTIO_BLK_T_IN:
        cmd->op = BLOCK_READ;
        return parse_transfer(elem, limits, header.sector, cmd);
    case VIRTIO_BLK_T_OUT:
        cmd->op = BLOCK_WRITE;
        return parse_transfer(elem, limits, header.sector, cmd);
    case VIRTIO_BLK_T_FLUSH:
        cmd->op = BLOCK_FLUSH;
        return VIRTIO_BLK_PARSED;
    case VIRTIO_BLK_T_GET_ID:
        cmd->data = elem->in;
        cmd->n_data = elem->n_in;
        cmd->bytes = elem->in_bytes;
        return VIRTIO_BLK_PARSED;
    case VIRTIO_BLK_T_DISCARD:
        cmd->op = BLOCK_DISCARD;
        return parse_segment(elem, limits, cmd);
    case VIRTIO_BLK_T_WRITE_ZEROES:
        cmd->op = BLOCK_WRITE_ZEROES;
        return parse_segment(elem, limits, cmd);
    default:
        return VIRTIO_BLK_UNSUPPORTED;
    }
}
