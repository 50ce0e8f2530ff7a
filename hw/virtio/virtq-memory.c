/*
 * Guest memory under virtqueues. A queue holds one view of the memory map and translates through it without a lock; an element
 * holds the view that its pointers came from, so that RAM which leaves the machine stays mapped until the request is done.
 */
#include "hw/virtio/virtq-int.h"

#include <stdatomic.h>
#include <string.h>

/*
 * Host address of gpa, with in *len how many bytes of the given follow there. NULL: not RAM (or not writable RAM). Windows of one
 * block that lie next to each other on both sides count as one.
 */
static uint8_t *translate(Virtq *vq, uint64_t gpa, uint64_t *len, bool write, RamBlock **ram, uint64_t *ram_offset)
{
    const MemRange *range = mem_view_find(vq->view, gpa, &vq->hint);
    if (!range || !range->mr->ram || (range->mr->kind != MR_RAM && (write || range->mr->kind != MR_ROM)) ||
        (write && range->readonly))
        return NULL;
    uint64_t offset = range->offset + (gpa - range->start), have = range->size - (gpa - range->start);
    *ram = range->mr->ram;
    *ram_offset = offset;
    const MemRange *end = vq->view->ranges + vq->view->n;
    for (const MemRange *next = range + 1; have < *len && next < end; next++) {
        const MemRange *last = next - 1;
        if (next->start != last->start + last->size || next->mr->ram != *ram || next->mr->kind != range->mr->kind ||
            next->offset != last->offset + last->size || (write && next->readonly))
            break;
        have += next->size;
    }
    *len = MIN(*len, have);
    if (offset > (*ram)->size || *len > (*ram)->size - offset)
        return NULL;
    return (*ram)->host + offset;
}

static bool translate_area(Virtq *vq, VirtqArea *area, bool write, const char *what)
{
    uint64_t len = area->len;
    area->hva = area->gpa <= UINT64_MAX - len ? translate(vq, area->gpa, &len, write, &area->ram, &area->ram_offset) : NULL;
    if (area->hva && len == area->len)
        return true;
    area->hva = NULL;
    virtio_error(vq->vdev, "queue %u: the %s at 0x%" PRIx64 " (%u bytes) is not in RAM", vq->index, what, area->gpa, area->len);
    return false;
}

bool virtq_refresh(Virtq *vq)
{
    if (vq->view && vq->view_generation == address_space_generation(vq->vdev->as))
        return true;
    MemView *old = vq->view;
    vq->view = address_space_view_ref(vq->vdev->as);
    vq->view_generation = vq->view->generation;
    vq->hint = 0;
    vq->last_ram = NULL;
    if (old)
        mem_view_unref(old);
    return translate_area(vq, &vq->desc_area, vq->packed, "descriptor area") &&
           translate_area(vq, &vq->avail_area, false, "driver area") &&
           translate_area(vq, &vq->used_area, true, "device area");
}

void virtq_release_memory(Virtq *vq)
{
    if (vq->view)
        mem_view_unref(vq->view);
    vq->view = NULL;
    vq->last_ram = NULL;
    vq->desc_area.hva = vq->avail_area.hva = vq->used_area.hva = NULL;
}

bool virtq_copy_in(Virtq *vq, uint64_t gpa, void *buf, uint32_t len)
{
    for (uint32_t done = 0; done < len;) {
        RamBlock *ram;
        uint64_t ram_offset, part = len - done;
        const uint8_t *hva = gpa <= UINT64_MAX - len ? translate(vq, gpa + done, &part, false, &ram, &ram_offset) : NULL;
        if (!hva) {
            virtio_error(vq->vdev, "queue %u: 0x%" PRIx64 " is not in RAM", vq->index, gpa + done);
            return false;
        }
        memcpy((uint8_t *)buf + done, hva, part);
        done += (uint32_t)part;
    }
    return true;
}

/* ---- elements ---- */

void virtq_elem_init(Virtq *vq, VirtqElem *elem)
{
    elem->segs = elem->inline_segs;
    elem->n_out = elem->n_in = 0;
    elem->out_bytes = elem->in_bytes = 0;
    elem->descs = 0;
    elem->generation = vq->generation;
    elem->view = vq->view;
    atomic_fetch_add(&vq->view->refs, 1);
}

void virtq_elem_seal(VirtqElem *elem)
{
    elem->out = elem->segs;
    elem->in = elem->segs + elem->n_out;
}

void virtq_elem_free(VirtqElem *elem)
{
    if (elem->segs != elem->inline_segs)
        g_free(elem->segs);
    elem->segs = elem->inline_segs;
    elem->n_out = elem->n_in = 0;
    if (elem->view)
        mem_view_unref(elem->view);
    elem->view = NULL;
}

static bool add_segment(Virtq *vq, VirtqElem *elem, uint8_t *hva, uint64_t len, bool write)
{
    unsigned n = (unsigned)elem->n_out + elem->n_in;
    if (n >= VIRTQ_MAX_SEGMENTS) {
        virtio_error(vq->vdev, "queue %u: a chain has more than %u buffers", vq->index, VIRTQ_MAX_SEGMENTS);
        return false;
    }
    if (elem->segs == elem->inline_segs && n == VIRTQ_INLINE_SEGMENTS) {
        elem->segs = g_new(struct iovec, VIRTQ_MAX_SEGMENTS);
        memcpy(elem->segs, elem->inline_segs, sizeof(elem->inline_segs));
    }
    elem->segs[n] = (struct iovec){hva, len};
    if (write) {
        elem->n_in++;
        elem->in_bytes += len;
    } else {
        elem->n_out++;
        elem->out_bytes += len;
    }
    return true;
}

bool virtq_add_buffer(Virtq *vq, VirtqElem *elem, uint64_t gpa, uint32_t len, bool write)
{
    for (uint64_t left = len; left;) {
        RamBlock *ram;
        uint64_t ram_offset, part = left;
        uint8_t *hva = gpa <= UINT64_MAX - left ? translate(vq, gpa, &part, write, &ram, &ram_offset) : NULL;
        if (!hva) {
            virtio_error(vq->vdev, "queue %u: the buffer at 0x%" PRIx64 " (%u bytes) is not in %sRAM", vq->index, gpa, len,
                         write ? "writable " : "");
            return false;
        }
        if (!add_segment(vq, elem, hva, part, write))
            return false;
        gpa += part;
        left -= part;
    }
    return true;
}

bool virtq_add_desc(Virtq *vq, VirtqElem *elem, uint64_t addr, uint32_t len, bool write)
{
    if (!len) {
        virtio_error(vq->vdev, "queue %u: a buffer of length 0 at 0x%" PRIx64, vq->index, addr);
        return false;
    }
    if (!write && elem->n_in) {
        virtio_error(vq->vdev, "queue %u: a readable buffer follows a writable one", vq->index);
        return false;
    }
    return virtq_add_buffer(vq, elem, addr, len, write);
}

bool virtq_add_indirect(Virtq *vq, VirtqElem *elem, uint64_t table, uint32_t bytes)
{
    uint32_t n = bytes / sizeof(VringDesc);
    if (!virtio_has_feature(vq->vdev, VIRTIO_F_INDIRECT_DESC) || !n || bytes % sizeof(VringDesc)) {
        virtio_error(vq->vdev, "queue %u: an indirect table of %u bytes%s", vq->index, bytes,
                     virtio_has_feature(vq->vdev, VIRTIO_F_INDIRECT_DESC) ? "" : " without the feature");
        return false;
    }
    uint32_t at = 0;
    for (uint32_t seen = 0; seen < MIN(n, VIRTQ_MAX_SEGMENTS + 1); seen++) {
        VringDesc desc;
        if (!virtq_copy_in(vq, table + (uint64_t)at * sizeof(desc), &desc, sizeof(desc)))
            return false;
        uint16_t flags = vq->packed ? desc.b : desc.a;
        if (flags & VRING_DESC_INDIRECT) {
            virtio_error(vq->vdev, "queue %u: an indirect table inside an indirect table", vq->index);
            return false;
        }
        if (!virtq_add_desc(vq, elem, desc.addr, desc.len, flags & VRING_DESC_WRITE))
            return false;
        if (vq->packed) {
            if (++at == n)
                return true;
            continue;
        }
        if (!(flags & VRING_DESC_NEXT))
            return true;
        at = desc.b;
        if (at >= n) {
            virtio_error(vq->vdev, "queue %u: descriptor %u of an indirect table of %u", vq->index, at, n);
            return false;
        }
    }
    virtio_error(vq->vdev, "queue %u: an indirect chain loops or has more than %u buffers", vq->index, VIRTQ_MAX_SEGMENTS);
    return false;
}

static bool block_has(const RamBlock *ram, const uint8_t *hva)
{
    return ram && hva >= ram->host && hva < ram->host + ram->size;
}

static RamBlock *block_of(Virtq *vq, const MemView *view, const uint8_t *hva)
{
    if (block_has(vq->last_ram, hva) && view == vq->view)
        return vq->last_ram;
    for (unsigned i = 0; i < view->n; i++)
        if (block_has(view->ranges[i].mr->ram, hva)) {
            if (view == vq->view)
                vq->last_ram = view->ranges[i].mr->ram;
            return view->ranges[i].mr->ram;
        }
    return NULL;
}

void virtq_tell_written(Virtq *vq, const VirtqElem *elem)
{
    for (unsigned i = 0; i < elem->n_in; i++) {
        const uint8_t *hva = (const uint8_t *)elem->in[i].iov_base;
        RamBlock *ram = block_of(vq, elem->view, hva);
        if (!ram)
            continue;
        uint64_t offset = (uint64_t)(hva - ram->host);
        if (ram_watched(ram, offset, elem->in[i].iov_len))
            ram_watch_hit(ram, offset, elem->in[i].iov_len);
    }
}

void virtq_area_written(const VirtqArea *area, uint32_t offset, uint32_t len)
{
    if (ram_watched(area->ram, area->ram_offset + offset, len))
        ram_watch_hit(area->ram, area->ram_offset + offset, len);
}

static size_t iov_walk(const struct iovec *iov, unsigned n, size_t offset, uint8_t *buf, size_t len, bool to_buf)
{
    size_t done = 0;
    for (unsigned i = 0; i < n && done < len; i++) {
        if (offset >= iov[i].iov_len) {
            offset -= iov[i].iov_len;
            continue;
        }
        size_t part = MIN(iov[i].iov_len - offset, len - done);
        uint8_t *at = (uint8_t *)iov[i].iov_base + offset;
        memcpy(to_buf ? buf + done : at, to_buf ? at : buf + done, part);
        done += part;
        offset = 0;
    }
    return done;
}

size_t iov_to_buf(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len)
{
    return iov_walk(iov, n, offset, (uint8_t *)buf, len, true);
}

size_t iov_from_buf(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t len)
{
    return iov_walk(iov, n, offset, (uint8_t *)buf, len, false);
}
