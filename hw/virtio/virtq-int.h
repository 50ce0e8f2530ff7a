/* Private to hw/virtio: what the two ring formats and the memory helpers share. */
#pragma once

#include <hw/virtio.h>

/* Descriptor flags, virtio 1.2 §2.7.5 and §2.8.1. */
#define VRING_DESC_NEXT 0x0001
#define VRING_DESC_WRITE 0x0002
#define VRING_DESC_INDIRECT 0x0004
#define VRING_PACKED_AVAIL 0x0080
#define VRING_PACKED_USED 0x8000
/* Split ring: avail->flags and used->flags */
#define VRING_AVAIL_NO_INTERRUPT 0x0001
#define VRING_USED_NO_NOTIFY 0x0001
/* Packed ring: event suppression flags, §2.8.10 */
#define VRING_EVENT_ENABLE 0
#define VRING_EVENT_DISABLE 1
#define VRING_EVENT_DESC 2

/* Layout is the same in both formats; the last two fields are swapped. */
typedef struct VringDesc {
    uint64_t addr;
    uint32_t len;
    uint16_t a, b; /* split: flags, next; packed: id, flags */
} VringDesc;

/* virtq-memory.c */
/* Takes a fresh view if the memory map changed. False: a ring is not in RAM any more, the device is broken now. */
bool virtq_refresh(Virtq *vq);
void virtq_release_memory(Virtq *vq);
/* Adds guest memory [gpa, gpa + len) to the segments of elem; false after virtio_error(). */
bool virtq_add_buffer(Virtq *vq, VirtqElem *elem, uint64_t gpa, uint32_t len, bool write);
/* Copies len bytes of guest RAM; false after virtio_error(). */
bool virtq_copy_in(Virtq *vq, uint64_t gpa, void *buf, uint32_t len);
void virtq_elem_init(Virtq *vq, VirtqElem *elem);
void virtq_elem_seal(VirtqElem *elem);
void virtq_elem_free(VirtqElem *elem);
/* Others who watch guest RAM (translated code, dirty logging) hear of the writes into the in part. */
void virtq_tell_written(Virtq *vq, const VirtqElem *elem);
void virtq_area_written(const VirtqArea *area, uint32_t offset, uint32_t len);

/* Indirect table of `bytes` bytes: its descriptors follow `next` (split) or lie in order (packed). */
bool virtq_add_indirect(Virtq *vq, VirtqElem *elem, uint64_t table, uint32_t bytes);
/* Order readable before writable, zero length, count: then virtq_add_buffer(). */
bool virtq_add_desc(Virtq *vq, VirtqElem *elem, uint64_t addr, uint32_t len, bool write);

/* virtq-packed.c */
bool virtq_packed_pop(Virtq *vq, VirtqElem *elem);
void virtq_packed_push(Virtq *vq, const VirtqElem *elem, uint32_t written);
bool virtq_packed_wants_notify(Virtq *vq);
bool virtq_packed_has_work(Virtq *vq);
void virtq_packed_set_doorbell(Virtq *vq, bool on);
void virtq_packed_unpop(Virtq *vq, const VirtqElem *elem);

static inline uint16_t area_ld16(const VirtqArea *area, uint32_t offset)
{
    return __atomic_load_n((const uint16_t *)(area->hva + offset), __ATOMIC_ACQUIRE);
}
static inline void area_st16(const VirtqArea *area, uint32_t offset, uint16_t value)
{
    __atomic_store_n((uint16_t *)(area->hva + offset), value, __ATOMIC_RELEASE);
}
/* "event" lies in the half-open ring interval (old, new]: §2.7.10.1. */
static inline bool vring_need_event(uint16_t event, uint16_t new_idx, uint16_t old_idx)
{
    return (uint16_t)(new_idx - event - 1) < (uint16_t)(new_idx - old_idx);
}
