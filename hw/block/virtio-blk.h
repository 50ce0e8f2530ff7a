/* virtio-blk, private to hw/block and its tests. */
#pragma once

#include <block/block.h>
#include <hw/virtio.h>

/* Request types and status, virtio 1.2 §5.2.6. */
enum {
    VIRTIO_BLK_T_IN = 0, VIRTIO_BLK_T_OUT = 1, VIRTIO_BLK_T_SCSI = 2, VIRTIO_BLK_T_FLUSH = 4, VIRTIO_BLK_T_GET_ID = 8,
    VIRTIO_BLK_T_DISCARD = 11, VIRTIO_BLK_T_WRITE_ZEROES = 13,
};
enum { VIRTIO_BLK_S_OK = 0, VIRTIO_BLK_S_IOERR = 1, VIRTIO_BLK_S_UNSUPP = 2 };
#define VIRTIO_BLK_ID_BYTES 20
#define VIRTIO_BLK_UNMAP 0x1 /* flag of a write-zeroes segment */

/* What the guest asks for, taken out of a chain. */
typedef struct VirtioBlkCmd {
    uint32_t type;        /* VIRTIO_BLK_T_* or anything else */
    BlockOp op;           /* of IN, OUT, FLUSH, DISCARD, WRITE_ZEROES */
    uint32_t flags;       /* BLOCK_REQ_* */
    uint64_t offset, bytes; /* disk range in bytes; bytes of data for IN and OUT */
    struct iovec *data;   /* [n_data] the data buffers, parts of the element's segments */
    unsigned n_data;
    uint8_t *status;      /* where the status byte goes */
} VirtioBlkCmd;

typedef enum {
    VIRTIO_BLK_PARSED,      /* cmd is complete and inside the limits */
    VIRTIO_BLK_INVALID,     /* answer IOERR */
    VIRTIO_BLK_UNSUPPORTED, /* answer UNSUPP */
    VIRTIO_BLK_MALFORMED,   /* no header or no status byte: the device needs a reset */
} VirtioBlkVerdict;

/* What a request is checked against. */
typedef struct VirtioBlkLimits {
    uint64_t capacity;       /* bytes */
    uint32_t block_size;     /* bytes, power of two */
    uint32_t max_discard_sectors, max_write_zeroes_sectors;
    bool discard, write_zeroes; /* offered */
} VirtioBlkLimits;

/* Pure: reads the chain's readable part once and trims its segment arrays; touches nothing else. cmd->status is set unless malformed. */
VirtioBlkVerdict virtio_blk_parse(VirtqElem *elem, const VirtioBlkLimits *limits, VirtioBlkCmd *cmd);
