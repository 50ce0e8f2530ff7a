/* Split virtqueues (virtio 1.2 §2.7) and what both formats have in common. */
#include "hw/virtio/virtq-int.h"

#include <string.h>

void virtq_init(Virtq *vq, VirtioDevice *vdev, uint16_t index, uint16_t max)
{
    memset(vq, 0, sizeof(*vq));
    vq->vdev = vdev;
    vq->index = index;
    vq->max = max;
    vq->generation = 1;
    virtq_reset(vq);
}

void virtq_reset(Virtq *vq)
{
    virtq_release_memory(vq);
    vq->num = vq->max;
    vq->vector = VIRTIO_NO_VECTOR;
    vq->enabled = vq->broken = vq->packed = vq->event_idx = vq->legacy = false;
    vq->notify_enabled = true;
    vq->desc = vq->avail = vq->used = 0;
    vq->last_avail = vq->used_idx = vq->shadow_avail = vq->signalled = vq->unsignalled = 0;
    vq->signalled_valid = false;
    vq->avail_wrap = vq->used_wrap = true;
    vq->inuse = 0;
    vq->generation++;
}

bool virtq_start(Virtq *vq)
{
    const VirtioDevice *vdev = vq->vdev;
    vq->packed = virtio_has_feature(vdev, VIRTIO_F_RING_PACKED);
    vq->event_idx = virtio_has_feature(vdev, VIRTIO_F_EVENT_IDX);
    uint32_t event = vq->event_idx ? 2 : 0, num = vq->num;
    if (!num || num > vq->max || (!vq->packed && num & (num - 1))) {
        virtio_error(vq->vdev, "queue %u can't have %u entries", vq->index, num);
        return false;
    }
    vq->desc_area = (VirtqArea){.gpa = vq->desc, .len = num * (uint32_t)sizeof(VringDesc)};
    vq->avail_area = (VirtqArea){.gpa = vq->avail, .len = vq->packed ? 4 : 4 + 2 * num + event};
    vq->used_area = (VirtqArea){.gpa = vq->used, .len = vq->packed ? 4 : 4 + 8 * num + event};
    if (vq->desc & 15 || vq->avail & (vq->packed ? 3 : 1) || vq->used & 3) {
        virtio_error(vq->vdev, "queue %u: a ring is not aligned", vq->index);
        return false;
    }
    virtq_release_memory(vq);
    return virtq_refresh(vq);
}

/* Is it there, and are its pointers good for the memory map of now? */
static bool is_usable(Virtq *vq)
{
    return vq->enabled && !virtio_is_broken(vq->vdev) && vq->vdev->started && vq->desc_area.gpa == vq->desc &&
           vq->desc_area.len && virtq_refresh(vq);
}

/* ---- split ---- */

static bool split_has_work(Virtq *vq)
{
    if (vq->shadow_avail == vq->last_avail)
        vq->shadow_avail = area_ld16(&vq->avail_area, 2);
    return vq->shadow_avail != vq->last_avail;
}

static bool split_walk(Virtq *vq, VirtqElem *elem, uint16_t head)
{
    uint16_t at = head;
    for (unsigned seen = 0; seen < vq->num; seen++) {
        VringDesc desc;
        memcpy(&desc, vq->desc_area.hva + at * sizeof(desc), sizeof(desc));
        uint16_t flags = desc.a;
        if (flags & VRING_DESC_INDIRECT) {
            if (flags & VRING_DESC_NEXT) {
                virtio_error(vq->vdev, "queue %u: an indirect descriptor with a successor", vq->index);
                return false;
            }
            return virtq_add_indirect(vq, elem, desc.addr, desc.len);
        }
        if (!virtq_add_desc(vq, elem, desc.addr, desc.len, flags & VRING_DESC_WRITE))
            return false;
        if (!(flags & VRING_DESC_NEXT))
            return true;
        at = desc.b;
        if (at >= vq->num) {
            virtio_error(vq->vdev, "queue %u: descriptor %u of %u", vq->index, at, vq->num);
            return false;
        }
    }
    virtio_error(vq->vdev, "queue %u: the chain at descriptor %u loops", vq->index, head);
    return false;
}

static bool split_pop(Virtq *vq, VirtqElem *elem)
{
    if (!split_has_work(vq))
        return false;
    if ((uint16_t)(vq->shadow_avail - vq->last_avail) > vq->num) {
        virtio_error(vq->vdev, "queue %u: the available index jumped from %u to %u", vq->index, vq->last_avail,
                     vq->shadow_avail);
        return false;
    }
    uint16_t head = area_ld16(&vq->avail_area, 4 + 2u * (vq->last_avail & (vq->num - 1u)));
    if (head >= vq->num || vq->inuse >= vq->num) {
        virtio_error(vq->vdev, "queue %u: descriptor %u of %u, %u in use", vq->index, head, vq->num, vq->inuse);
        return false;
    }
    virtq_elem_init(vq, elem);
    if (!split_walk(vq, elem, head)) {
        virtq_elem_free(elem);
        return false;
    }
    virtq_elem_seal(elem);
    elem->id = head;
    elem->descs = 1;
    vq->last_avail++;
    vq->inuse++;
    return true;
}

static void split_push(Virtq *vq, const VirtqElem *elem, uint32_t written)
{
    uint32_t offset = 4 + 8u * (vq->used_idx & (vq->num - 1u));
    st32(vq->used_area.hva + offset, elem->id);
    st32(vq->used_area.hva + offset + 4, written);
    area_st16(&vq->used_area, 2, ++vq->used_idx);
    virtq_area_written(&vq->used_area, offset, 8);
    virtq_area_written(&vq->used_area, 0, 4);
}

static bool split_wants_notify(Virtq *vq)
{
    if (virtio_has_feature(vq->vdev, VIRTIO_F_NOTIFY_ON_EMPTY) && !vq->inuse && !split_has_work(vq))
        return true;
    if (!vq->event_idx)
        return !(area_ld16(&vq->avail_area, 0) & VRING_AVAIL_NO_INTERRUPT);
    uint16_t old = vq->signalled;
    bool valid = vq->signalled_valid;
    vq->signalled = vq->used_idx;
    vq->signalled_valid = true;
    return !valid || vring_need_event(area_ld16(&vq->avail_area, 4 + 2u * vq->num), vq->used_idx, old);
}

static void split_set_doorbell(Virtq *vq, bool on)
{
    if (vq->event_idx) {
        /* off: the old index stays, which the driver passes at most once */
        if (!on)
            return;
        area_st16(&vq->used_area, 4 + 8u * vq->num, vq->last_avail);
        virtq_area_written(&vq->used_area, 4 + 8u * vq->num, 2);
    } else {
        area_st16(&vq->used_area, 0, on ? 0 : VRING_USED_NO_NOTIFY);
        virtq_area_written(&vq->used_area, 0, 2);
    }
}

/* ---- both ---- */

bool virtq_pop(Virtq *vq, VirtqElem *elem)
{
    if (!is_usable(vq))
        return false;
    return vq->packed ? virtq_packed_pop(vq, elem) : split_pop(vq, elem);
}

void virtq_push(Virtq *vq, VirtqElem *elem, uint32_t written)
{
    if (elem->generation == vq->generation && vq->inuse) {
        virtq_tell_written(vq, elem);
        vq->inuse--;
        if (is_usable(vq)) {
            if (vq->packed)
                virtq_packed_push(vq, elem, written);
            else
                split_push(vq, elem, written);
        }
    }
    virtq_elem_free(elem);
}

void virtq_drop(Virtq *vq, VirtqElem *elem)
{
    if (elem->generation == vq->generation && vq->inuse)
        vq->inuse--;
    virtq_elem_free(elem);
}

void virtq_unpop(Virtq *vq, VirtqElem *elem)
{
    if (elem->generation == vq->generation && vq->inuse) {
        if (vq->packed)
            virtq_packed_unpop(vq, elem);
        else
            vq->last_avail--;
    }
    virtq_drop(vq, elem);
}

void virtq_notify(Virtq *vq)
{
    if (!is_usable(vq))
        return;
    /* what was pushed must be visible before we look whether the driver sleeps */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vq->packed ? virtq_packed_wants_notify(vq) : split_wants_notify(vq))
        vq->vdev->transport->notify_queue(vq->vdev, vq);
}

bool virtq_has_work(Virtq *vq)
{
    return is_usable(vq) && (vq->packed ? virtq_packed_has_work(vq) : split_has_work(vq));
}

void virtq_set_doorbell(Virtq *vq, bool on)
{
    if (!is_usable(vq))
        return;
    vq->notify_enabled = on;
    if (vq->packed)
        virtq_packed_set_doorbell(vq, on);
    else
        split_set_doorbell(vq, on);
    /* the driver sees it before we look at the ring again */
    if (on)
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
