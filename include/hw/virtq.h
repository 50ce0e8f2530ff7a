/*
 * Virtqueues: split and packed rings of virtio 1.2 §2.7 and §2.8, and the legacy layout of §2.7.2, behind one interface.
 *
 * Everything the guest wrote is copied before it is checked. What can't be right (a loop, a chain longer than VIRTQ_MAX_SEGMENTS, a
 * zero length, memory outside RAM, an index that jumps) marks the device NEEDS_RESET and the queue is dead until then.
 * All functions run with the device's domain locked.
 */
#pragma once

#include <mem/memory.h>
#include <sys/uio.h>

typedef struct VirtioDevice VirtioDevice;
typedef struct Virtq Virtq;

#define VIRTQ_MAX_SIZE 1024u      /* entries that a queue can have here (a split ring may have 32768 by the specification) */
#define VIRTQ_MAX_SEGMENTS 1024u  /* buffers in one chain */
#define VIRTQ_INLINE_SEGMENTS 12u

/* One buffer chain, taken off a queue. The segments are guest memory in place: valid until virtq_push or virtq_drop. */
typedef struct VirtqElem {
    struct iovec *out;   /* [n_out] device-readable */
    struct iovec *in;    /* [n_in] device-writable */
    uint16_t n_out, n_in;
    uint64_t out_bytes, in_bytes;
    /* the queue's */
    uint16_t id, descs;
    uint32_t generation; /* resets of the queue that it has seen */
    MemView *view;       /* keeps the memory */
    struct iovec *segs;  /* inline_segs or allocated */
    struct iovec inline_segs[VIRTQ_INLINE_SEGMENTS];
} VirtqElem;

/* Part of a ring in guest memory, translated. */
typedef struct VirtqArea {
    uint64_t gpa;
    uint8_t *hva;        /* NULL: not translated */
    RamBlock *ram;
    uint64_t ram_offset;
    uint32_t len;        /* bytes */
} VirtqArea;

struct Virtq {
    VirtioDevice *vdev;
    uint16_t index;
    uint16_t max;            /* entries, what the device offers */
    uint16_t num;            /* entries, what the driver chose: 1..max */
    uint16_t vector;         /* MSI-X, VIRTIO_NO_VECTOR */
    bool enabled;            /* queue_enable, or a legacy PFN was set */
    bool broken;
    bool packed, event_idx;  /* negotiated */
    bool notify_enabled;     /* we want doorbells */
    bool legacy;
    uint64_t desc, avail, used; /* gpa; packed: descriptor, driver event, device event area */
    uint16_t last_avail;     /* next entry to take; packed: index in the ring */
    uint16_t used_idx;       /* next entry to fill; packed: index in the ring */
    uint16_t shadow_avail;   /* last avail idx seen (split) */
    uint16_t signalled;      /* used index at the last interrupt decision */
    bool signalled_valid;
    uint16_t unsignalled;    /* packed: ring entries used since then */
    bool avail_wrap, used_wrap; /* packed */
    unsigned inuse;          /* elements taken and not pushed */
    uint32_t generation;
    VirtqArea desc_area, avail_area, used_area;
    MemView *view;
    uint64_t view_generation;
    unsigned hint;
    RamBlock *last_ram;      /* of the last buffer written */
};

/*
 * Takes the next chain. False: none there (or the queue is broken or off). elem is filled; it needs no initialisation.
 */
bool virtq_pop(Virtq *vq, VirtqElem *elem) WARN_UNUSED;
/* Returns a chain with `written` bytes of its in part filled, and frees what elem holds. The guest is not told yet. */
void virtq_push(Virtq *vq, VirtqElem *elem, uint32_t written);
/* Gives a chain back unused (split: it will be popped again if it was the last taken) at reset or on error: frees what elem holds. */
void virtq_drop(Virtq *vq, VirtqElem *elem);
/* Undoes the last pop: the next one yields the same chain. */
void virtq_unpop(Virtq *vq, VirtqElem *elem);
/* Interrupts the guest if it wants to know of what was pushed since the last call. Once per burst. */
void virtq_notify(Virtq *vq);
/* Something may be there (cheap, reads the ring). */
bool virtq_has_work(Virtq *vq);
/*
 * Doorbells on or off. Usual pattern: off; pop until empty; on; if virtq_has_work again from the start.
 */
void virtq_set_doorbell(Virtq *vq, bool on);

/* Copies from a chain's readable part / into its writable part from `offset`; bytes copied. */
size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len);
size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t len);

/* For transports. */
void virtq_init(Virtq *vq, VirtioDevice *vdev, uint16_t index, uint16_t max);
void virtq_reset(Virtq *vq);
/* Checks alignment and layout, translates; false marks the device NEEDS_RESET. */
bool virtq_start(Virtq *vq);
