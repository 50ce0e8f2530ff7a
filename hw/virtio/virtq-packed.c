/* Packed virtqueues, virtio 1.2 §2.8. The ring is one array of descriptors that both sides read and write. */
#include "hw/virtio/virtq-int.h"

#include <string.h>

static VringDesc load_desc(const Virtq *vq, uint16_t at)
{
    VringDesc desc;
    memcpy(&desc, vq->desc_area.hva + at * sizeof(desc), sizeof(desc));
    return desc;
}

static uint16_t load_flags(const Virtq *vq, uint16_t at)
{
    return area_ld16(&vq->desc_area, at * (uint32_t)sizeof(VringDesc) + 14);
}

static bool is_avail(uint16_t flags, bool wrap)
{
    bool avail = flags & VRING_PACKED_AVAIL, used = flags & VRING_PACKED_USED;
    return avail == wrap && used != wrap;
}

bool virtq_packed_has_work(Virtq *vq)
{
    return is_avail(load_flags(vq, vq->last_avail), vq->avail_wrap);
}

/* Forwards or backwards by n <= num ring entries; the wrap counter flips when the end is passed. */
static void advance(const Virtq *vq, uint16_t *index, bool *wrap, int n)
{
    int next = *index + n;
    if (next >= vq->num || next < 0) {
        next += next < 0 ? vq->num : -vq->num;
        *wrap = !*wrap;
    }
    *index = (uint16_t)next;
}

bool virtq_packed_pop(Virtq *vq, VirtqElem *elem)
{
    if (!virtq_packed_has_work(vq))
        return false;
    if (vq->inuse >= vq->num) {
        virtio_error(vq->vdev, "queue %u: more than %u buffers in use", vq->index, vq->num);
        return false;
    }
    virtq_elem_init(vq, elem);
    uint16_t at = vq->last_avail, n = 0;
    VringDesc desc;
    do {
        if (n == vq->num) {
            virtio_error(vq->vdev, "queue %u: a chain is longer than the ring", vq->index);
            virtq_elem_free(elem);
            return false;
        }
        desc = load_desc(vq, at);
        bool ok;
        if (!(desc.b & VRING_DESC_INDIRECT)) {
            ok = virtq_add_desc(vq, elem, desc.addr, desc.len, desc.b & VRING_DESC_WRITE);
        } else if (n || desc.b & VRING_DESC_NEXT) {
            virtio_error(vq->vdev, "queue %u: an indirect descriptor inside a chain", vq->index);
            ok = false;
        } else {
            ok = virtq_add_indirect(vq, elem, desc.addr, desc.len);
        }
        if (!ok) {
            virtq_elem_free(elem);
            return false;
        }
        n++;
        at = at + 1u == vq->num ? 0 : at + 1;
    } while (desc.b & VRING_DESC_NEXT);
    virtq_elem_seal(elem);
    elem->id = desc.a;
    elem->descs = n;
    advance(vq, &vq->last_avail, &vq->avail_wrap, n);
    vq->inuse++;
    return true;
}

void virtq_packed_unpop(Virtq *vq, const VirtqElem *elem)
{
    advance(vq, &vq->last_avail, &vq->avail_wrap, -(int)elem->descs);
}

void virtq_packed_push(Virtq *vq, const VirtqElem *elem, uint32_t written)
{
    uint32_t offset = vq->used_idx * (uint32_t)sizeof(VringDesc);
    st32(vq->desc_area.hva + offset + 8, written);
    st16(vq->desc_area.hva + offset + 12, elem->id);
    uint16_t flags = (vq->used_wrap ? VRING_PACKED_AVAIL | VRING_PACKED_USED : 0) | (written ? VRING_DESC_WRITE : 0);
    area_st16(&vq->desc_area, offset + 14, flags);
    virtq_area_written(&vq->desc_area, offset, sizeof(VringDesc));
    advance(vq, &vq->used_idx, &vq->used_wrap, elem->descs);
    vq->unsignalled = (uint16_t)MIN(vq->unsignalled + elem->descs, vq->num);
}

bool virtq_packed_wants_notify(Virtq *vq)
{
    uint16_t flags = area_ld16(&vq->avail_area, 2) & 3, n = vq->unsignalled;
    vq->unsignalled = 0;
    if (flags == VRING_EVENT_DISABLE)
        return false;
    if (flags != VRING_EVENT_DESC || !vq->event_idx)
        return true;
    uint16_t off_wrap = area_ld16(&vq->avail_area, 0), event = off_wrap & 0x7fff;
    if ((bool)(off_wrap >> 15) != vq->used_wrap)
        event = (uint16_t)(event - vq->num);
    return vring_need_event(event, vq->used_idx, (uint16_t)(vq->used_idx - n));
}

void virtq_packed_set_doorbell(Virtq *vq, bool on)
{
    uint16_t flags = on ? VRING_EVENT_ENABLE : VRING_EVENT_DISABLE;
    if (on && vq->event_idx) {
        area_st16(&vq->used_area, 0, (uint16_t)(vq->last_avail | (vq->avail_wrap ? 0x8000 : 0)));
        flags = VRING_EVENT_DESC;
    }
    area_st16(&vq->used_area, 2, flags);
    virtq_area_written(&vq->used_area, 0, 4);
}
