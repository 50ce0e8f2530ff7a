/*
 * Flattening of the region tree into a sorted array, and single accesses through it. See mem/memory.h.
 */
#include <mem/memory.h>

#include <string.h>

#include "system/loop_internal.h"
#include "system/memory_internal.h"

/* Positions can lie below 0 (a window into the middle of a region) and up to 2^64. */
typedef __int128 Pos;

#define ALIAS_DEPTH_MAX 64

/* ---- flattening ---- */

static Pos region_size(const MemoryRegion *mr)
{
    return mr->size == UINT64_MAX ? (Pos)1 << 64 : (Pos)mr->size;
}

static Pos range_end(const MemRange *r)
{
    return (Pos)r->start + r->size;
}

/* First range of the array that ends after lo. */
static unsigned array_index(const GArray *out, Pos lo)
{
    unsigned a = 0, b = out->len;
    while (a < b) {
        unsigned mid = (a + b) / 2;
        if (range_end(&g_array_index(out, MemRange, mid)) > lo)
            b = mid;
        else
            a = mid + 1;
    }
    return a;
}

static MemRange make_range(MemoryRegion *mr, Pos base, Pos lo, Pos hi, bool readonly)
{
    bool backed = mr->kind == MR_RAM || mr->kind == MR_ROM || (mr->kind == MR_ROMD && !mr->romd_off);
    return (MemRange){
        .start = (uint64_t)lo,
        .size = hi - lo > UINT64_MAX ? UINT64_MAX : (uint64_t)(hi - lo),
        .mr = mr,
        .offset = (uint64_t)(lo - base),
        .ram = backed ? mr->ram : NULL,
        .owner = mr->owner,
        .readonly = readonly || mr->kind == MR_ROM || mr->kind == MR_ROMD,
    };
}

/* Gives mr what of [lo, hi) is still free. */
static void fill_holes(GArray *out, MemoryRegion *mr, Pos base, Pos lo, Pos hi, bool readonly)
{
    for (unsigned i = array_index(out, lo); lo < hi; i++) {
        Pos next = i < out->len ? (Pos)g_array_index(out, MemRange, i).start : hi;
        Pos end = MIN(next, hi);
        if (end > lo) {
            MemRange r = make_range(mr, base, lo, end, readonly);
            g_array_insert_val(out, i, r);
        }
        /* i is now our new range or the one that was in the way: either way go on after it. */
        lo = range_end(&g_array_index(out, MemRange, i));
        if (g_array_index(out, MemRange, i).size == UINT64_MAX)
            return;
    }
}

/* Draws mr, whose offset 0 lies at base, into [lo, hi); what is drawn first stays on top. */
static void render(GArray *out, MemoryRegion *mr, Pos base, Pos lo, Pos hi, bool readonly, unsigned depth)
{
    if (!mr->enabled || depth > ALIAS_DEPTH_MAX)
        return;
    readonly |= mr->readonly;
    lo = MAX(lo, base);
    hi = MIN(hi, base + region_size(mr));
    if (lo >= hi)
        return;
    if (mr->kind == MR_ALIAS) {
        render(out, mr->alias, base - mr->alias_offset, lo, hi, readonly, depth + 1);
        return;
    }
    for (GList *l = mr->children; l; l = l->next) {
        MemoryRegion *child = l->data;
        render(out, child, base + child->addr, lo, hi, readonly, depth + 1);
    }
    if (mr->kind != MR_CONTAINER)
        fill_holes(out, mr, base, lo, hi, readonly);
}

static bool ranges_join(const MemRange *a, const MemRange *b)
{
    return a->mr == b->mr && a->start + a->size == b->start && a->offset + a->size == b->offset && a->ram == b->ram &&
           a->readonly == b->readonly;
}

MemView *mem_view_build(MemoryRegion *root)
{
    g_autoptr(GArray) out = g_array_new(FALSE, FALSE, sizeof(MemRange));
    render(out, root, 0, 0, (Pos)1 << 64, false, 0);
    MemView *view = g_malloc0(sizeof(*view) + out->len * sizeof(view->ranges[0]));
    for (unsigned i = 0; i < out->len; i++) {
        const MemRange *r = &g_array_index(out, MemRange, i);
        if (view->n && ranges_join(&view->ranges[view->n - 1], r))
            view->ranges[view->n - 1].size += r->size;
        else
            view->ranges[view->n++] = *r;
    }
    for (unsigned i = 0; i < view->n; i++) {
        object_ref(view->ranges[i].owner);
        if (view->ranges[i].ram)
            ram_block_ref(view->ranges[i].ram);
    }
    view->refs = 1;
    return view;
}

bool mem_view_equal(const MemView *a, const MemView *b)
{
    if (a->n != b->n)
        return false;
    for (unsigned i = 0; i < a->n; i++) {
        const MemRange *x = &a->ranges[i], *y = &b->ranges[i];
        if (x->start != y->start || x->size != y->size || x->mr != y->mr || x->offset != y->offset || x->ram != y->ram ||
            x->readonly != y->readonly)
            return false;
    }
    return true;
}

/* ---- lookup ---- */

unsigned mem_view_index(const MemView *view, uint64_t addr)
{
    unsigned a = 0, b = view->n;
    while (a < b) {
        unsigned mid = (a + b) / 2;
        const MemRange *r = &view->ranges[mid];
        if (addr < r->start || addr - r->start < r->size)
            b = mid;
        else
            a = mid + 1;
    }
    return a;
}

const MemRange *mem_view_find(const MemView *view, uint64_t addr, unsigned *hint)
{
    if (hint && *hint < view->n) {
        const MemRange *r = &view->ranges[*hint];
        if (addr - r->start < r->size)
            return r;
    }
    unsigned i = mem_view_index(view, addr);
    if (i == view->n || addr < view->ranges[i].start)
        return NULL;
    if (hint)
        *hint = i;
    return &view->ranges[i];
}

/* ---- registers ---- */

unsigned mem_access_size(uint64_t offset, uint64_t len)
{
    unsigned size = 8;
    while (size > 1 && (size > len || !IS_ALIGNED(offset, size)))
        size /= 2;
    return size;
}

static unsigned min_access(const MemoryRegionOps *ops) { return ops->min_access ? ops->min_access : 1; }
static unsigned max_access(const MemoryRegionOps *ops) { return ops->max_access ? ops->max_access : 4; }

static bool access_valid(const MemoryRegionOps *ops, unsigned size)
{
    return size >= (ops->valid_min ? ops->valid_min : 1) && size <= (ops->valid_max ? ops->valid_max : 8);
}

/* The next callback for `left` bytes at offset: where it goes, how wide it is, how many of its bytes count. */
typedef struct Piece {
    uint64_t offset;
    unsigned size, lead, bytes;   /* access; bytes in front of ours; ours */
} Piece;

static Piece next_piece(const MemoryRegionOps *ops, uint64_t offset, unsigned left)
{
    unsigned widest = max_access(ops), narrowest = min_access(ops);
    Piece p = { .offset = offset, .size = MIN(left, widest) };
    if (!ops->unaligned)
        p.size = mem_access_size(offset, p.size);
    if (p.size < narrowest) {
        p.size = narrowest;
        if (!ops->unaligned)
            p.offset = ROUND_DOWN_TO(offset, narrowest);
        p.lead = offset - p.offset;
    }
    p.bytes = MIN(left, p.size - p.lead);
    return p;
}

static uint64_t ops_read(const MemoryRegion *mr, uint64_t offset, unsigned size)
{
    uint64_t value = 0;
    for (unsigned done = 0; done < size;) {
        Piece p = next_piece(mr->ops, offset + done, size - done);
        uint64_t got = mr->ops->read(mr->opaque, p.offset, p.size) >> (p.lead * 8);
        value |= (got & mask_bytes(p.bytes)) << (done * 8);
        done += p.bytes;
    }
    return value;
}

static void ops_write(const MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size)
{
    for (unsigned done = 0; done < size;) {
        Piece p = next_piece(mr->ops, offset + done, size - done);
        uint64_t part = (value >> (done * 8)) & mask_bytes(p.bytes);
        mr->ops->write(mr->opaque, p.offset, part << (p.lead * 8), p.size);
        done += p.bytes;
    }
}

/*
 * A device whose DMA reaches registers (its own, or another's that answers with DMA) could be made to recurse without end. The
 * register windows this thread is inside of are kept here; a window is entered twice at most.
 */
#define NEST_MAX 8
static __thread struct {
    const MemoryRegion *inside[NEST_MAX];
    unsigned depth;
} nest;

static bool nest_enter(const MemoryRegion *mr)
{
    unsigned same = 0;
    for (unsigned i = 0; i < nest.depth; i++)
        same += nest.inside[i] == mr;
    if (nest.depth == NEST_MAX || same > 1)
        return false;
    nest.inside[nest.depth++] = mr;
    return true;
}

static MemTx io_read(const MemRange *range, uint64_t offset, uint64_t *value, unsigned size)
{
    MemoryRegion *mr = range->mr;
    MemTx result = MEMTX_DECODE_ERROR;
    *value = mask_bytes(size);
    if (!domain_may_enter(mr->domain))
        return MEMTX_DEVICE_ERROR;
    DOMAIN_GUARD(mr->domain);
    /* The view may be old: a region that was taken off the map while we waited for the lock is gone. */
    if (atomic_load(&mr->live) <= 0 || !access_valid(mr->ops, size) || !mr->ops->read)
        return result;
    if (!nest_enter(mr))
        return MEMTX_DEVICE_ERROR;
    *value = ops_read(mr, offset, size);
    nest.depth--;
    return MEMTX_OK;
}

static MemTx io_write(const MemRange *range, uint64_t offset, uint64_t value, unsigned size)
{
    MemoryRegion *mr = range->mr;
    value &= mask_bytes(size);
    if (G_UNLIKELY(atomic_load_explicit(&mr->notifiers, memory_order_relaxed)) &&
        memory_notifier_hit(mr, offset, value, size))
        return MEMTX_OK;
    if (!domain_may_enter(mr->domain))
        return MEMTX_DEVICE_ERROR;
    DOMAIN_GUARD(mr->domain);
    if (atomic_load(&mr->live) <= 0 || !access_valid(mr->ops, size) || !mr->ops->write)
        return MEMTX_DECODE_ERROR;
    if (!nest_enter(mr))
        return MEMTX_DEVICE_ERROR;
    ops_write(mr, offset, value, size);
    nest.depth--;
    return MEMTX_OK;
}

/* ---- one access ---- */

/* One host access of that width when aligned; the guest's other CPUs see it whole. */
static uint64_t host_read(const uint8_t *p, unsigned size)
{
    uint64_t v = 0;
    if (IS_ALIGNED((uintptr_t)p, size)) {
        switch (size) {
        case 1: return __atomic_load_n(p, __ATOMIC_RELAXED);
        case 2: return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
        case 4: return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
        case 8: return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
        }
    }
    memcpy(&v, p, size);
    return v;
}

static void host_write(uint8_t *p, uint64_t v, unsigned size)
{
    if (IS_ALIGNED((uintptr_t)p, size)) {
        switch (size) {
        case 1: __atomic_store_n(p, (uint8_t)v, __ATOMIC_RELAXED); return;
        case 2: __atomic_store_n((uint16_t *)p, (uint16_t)v, __ATOMIC_RELAXED); return;
        case 4: __atomic_store_n((uint32_t *)p, (uint32_t)v, __ATOMIC_RELAXED); return;
        case 8: __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); return;
        }
    }
    memcpy(p, &v, size);
}

MemTx mem_range_read(const MemRange *range, uint64_t addr, uint64_t *value, unsigned size)
{
    uint64_t offset = addr - range->start + range->offset;
    if (!range->ram)
        return io_read(range, offset, value, size);
    *value = host_read(range->ram->host + offset, size);
    return MEMTX_OK;
}

MemTx mem_range_write(const MemRange *range, uint64_t addr, uint64_t value, unsigned size)
{
    uint64_t offset = addr - range->start + range->offset;
    if (!range->ram || range->readonly) {
        if (range->mr->kind == MR_IO || range->mr->kind == MR_ROMD)
            return range->readonly && range->mr->kind == MR_IO ? MEMTX_OK : io_write(range, offset, value, size);
        return MEMTX_OK;
    }
    host_write(range->ram->host + offset, value, size);
    if (ram_watched(range->ram, offset, size))
        ram_watch_hit(range->ram, offset, size);
    return MEMTX_OK;
}

/* Bytes from addr that are in `range`, at most size; in a hole, up to the next range. */
static unsigned span(const MemView *view, const MemRange *range, uint64_t addr, unsigned size)
{
    uint64_t room;
    if (range) {
        room = range->size - (addr - range->start);
    } else {
        unsigned i = mem_view_index(view, addr);
        room = i < view->n ? view->ranges[i].start - addr : UINT64_MAX;
    }
    return MIN(room, size);
}

MemTx mem_view_read(const MemView *view, uint64_t addr, uint64_t *value, unsigned size)
{
    const MemRange *range = mem_view_find(view, addr, NULL);
    MemTx result = MEMTX_OK;
    *value = 0;
    for (unsigned done = 0; done < size;) {
        unsigned n = span(view, range, addr + done, size - done);
        uint64_t part = UINT64_MAX;
        MemTx tx = MEMTX_DECODE_ERROR;
        if (n != size) /* across a border: power-of-two pieces */
            n = mem_access_size(addr + done, n);
        if (range)
            tx = mem_range_read(range, addr + done, &part, n);
        result = MAX(result, tx);
        *value |= (part & mask_bytes(n)) << (done * 8);
        done += n;
        if (done < size)
            range = mem_view_find(view, addr + done, NULL);
    }
    return result;
}

MemTx mem_view_write(const MemView *view, uint64_t addr, uint64_t value, unsigned size)
{
    const MemRange *range = mem_view_find(view, addr, NULL);
    MemTx result = MEMTX_OK;
    for (unsigned done = 0; done < size;) {
        unsigned n = span(view, range, addr + done, size - done);
        MemTx tx = MEMTX_DECODE_ERROR;
        if (n != size)
            n = mem_access_size(addr + done, n);
        if (range)
            tx = mem_range_write(range, addr + done, value >> (done * 8), n);
        result = MAX(result, tx);
        done += n;
        if (done < size)
            range = mem_view_find(view, addr + done, NULL);
    }
    return result;
}
