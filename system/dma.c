/*
 * Guest memory for devices. See mem/dma.h.
 *
 * A call works on one view from start to end. Each thread keeps the last views it used, so that a call costs two
 * atomic operations on the thread's own cache line instead of a shared reference count.
 */
#include <mem/dma.h>

#include <sched.h>
#include <string.h>

#include "system/memory_internal.h"

#define SLOTS 4
#define CACHE_BUSY 1u   /* the owner is inside a call, or somebody is flushing */
#define CACHE_STALE 2u  /* to be flushed by whoever is busy with it */

typedef struct ViewCache {
    _Atomic unsigned state;
    unsigned depth;      /* of calls; owner only */
    unsigned next;       /* slot to replace */
    struct {
        const AddressSpace *as;
        MemView *view;
        unsigned hint;
    } slot[SLOTS];
} ViewCache;

static GMutex caches_lock; /* guards the list; leaf */
static GPtrArray *caches;  /* ViewCache * of all threads */

/* Moves the references out: they are dropped by the caller when the cache may be used again. */
static unsigned cache_empty(ViewCache *c, MemView **out)
{
    unsigned n = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        if (c->slot[i].view)
            out[n++] = c->slot[i].view;
        c->slot[i].as = NULL;
        c->slot[i].view = NULL;
    }
    return n;
}

static void views_unref(MemView **views, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        mem_view_unref(views[i]);
}

static void cache_free(gpointer data)
{
    ViewCache *c = data;
    MemView *out[SLOTS];
    g_mutex_lock(&caches_lock);
    g_ptr_array_remove_fast(caches, c);
    g_mutex_unlock(&caches_lock);
    views_unref(out, cache_empty(c, out));
    g_free(c);
}

static GPrivate cache_key = G_PRIVATE_INIT(cache_free);
static __thread ViewCache *cache_here;

static ViewCache *cache_new(void)
{
    ViewCache *c = g_new0(ViewCache, 1);
    g_mutex_lock(&caches_lock);
    if (!caches)
        caches = g_ptr_array_new();
    g_ptr_array_add(caches, c);
    g_mutex_unlock(&caches_lock);
    g_private_set(&cache_key, c);
    cache_here = c;
    return c;
}

static void cache_acquire(ViewCache *c)
{
    /* Busy here means that a flush is moving four pointers. */
    while (atomic_fetch_or_explicit(&c->state, CACHE_BUSY, memory_order_acquire) & CACHE_BUSY)
        sched_yield();
}

static void cache_release(ViewCache *c)
{
    unsigned expected = CACHE_BUSY;
    while (!atomic_compare_exchange_strong(&c->state, &expected, 0)) {
        MemView *out[SLOTS];
        atomic_fetch_and(&c->state, ~CACHE_STALE);
        c->depth++; /* what goes with a view may do DMA */
        views_unref(out, cache_empty(c, out));
        c->depth--;
        expected = CACHE_BUSY;
    }
}

void dma_views_flush(void)
{
    g_autoptr(GPtrArray) dropped = g_ptr_array_new();
    g_mutex_lock(&caches_lock);
    for (unsigned i = 0; caches && i < caches->len; i++) {
        ViewCache *c = g_ptr_array_index(caches, i);
        /* Either we see it idle and take it, or its owner sees STALE when it leaves. */
        unsigned expected = CACHE_STALE;
        atomic_fetch_or(&c->state, CACHE_STALE);
        if (!atomic_compare_exchange_strong(&c->state, &expected, CACHE_BUSY))
            continue;
        MemView *out[SLOTS];
        unsigned n = cache_empty(c, out);
        for (unsigned k = 0; k < n; k++)
            g_ptr_array_add(dropped, out[k]);
        atomic_store_explicit(&c->state, 0, memory_order_release);
    }
    g_mutex_unlock(&caches_lock);
    views_unref((MemView **)dropped->pdata, dropped->len);
}

void dma_view_enter(DmaView *dv, AddressSpace *as)
{
    ViewCache *c = cache_here ? cache_here : cache_new();
    if (c->depth++) {
        /* Nested (a register write that led to more DMA): the outer call's slots must stay as they are. */
        *dv = (DmaView){ .view = address_space_view_ref(as), .owned = true };
        return;
    }
    cache_acquire(c);
    uint64_t generation = address_space_generation(as);
    unsigned i = 0;
    while (i < SLOTS && c->slot[i].as != as)
        i++;
    if (i == SLOTS)
        i = c->next++ % SLOTS;
    if (c->slot[i].as != as || c->slot[i].view->generation != generation) {
        mem_view_unref(c->slot[i].view);
        c->slot[i].as = as;
        c->slot[i].view = address_space_view_ref(as);
        c->slot[i].hint = 0;
    }
    *dv = (DmaView){ .view = c->slot[i].view, .hint = &c->slot[i].hint };
}

void dma_view_leave(DmaView *dv)
{
    ViewCache *c = cache_here;
    if (dv->owned)
        mem_view_unref(dv->view);
    if (--c->depth == 0)
        cache_release(c);
}

/* ---- copies ---- */

/* What the walk finds at one place: memory, registers or nothing, and for how many bytes. */
typedef struct Span {
    const MemRange *range;
    uint64_t offset;   /* in the region */
    uint64_t len;
} Span;

static Span span_at(const DmaView *dv, uint64_t gpa, uint64_t len)
{
    Span s = { .range = mem_view_find(dv->view, gpa, dv->hint) };
    uint64_t room = UINT64_MAX;
    if (s.range) {
        s.offset = gpa - s.range->start + s.range->offset;
        room = s.range->size - (gpa - s.range->start);
    } else {
        unsigned i = mem_view_index(dv->view, gpa);
        if (i < dv->view->n)
            room = dv->view->ranges[i].start - gpa;
    }
    s.len = MIN(room, len);
    return s;
}

static bool range_wraps(uint64_t gpa, uint64_t len)
{
    return len && gpa + (len - 1) < gpa;
}

/* Registers: one access of the widest size that is aligned and that the region takes. */
static unsigned register_size(const Span *s)
{
    const MemoryRegionOps *ops = s->range->mr->ops;
    unsigned widest = ops && ops->max_access ? ops->max_access : 4;
    if (ops && ops->valid_max)
        widest = MIN(widest, ops->valid_max);
    return mem_access_size(s->offset, MIN(s->len, widest));
}

MemTx dma_read_fill(AddressSpace *as, uint64_t gpa, void *buf, uint64_t len, uint8_t fill)
{
    uint8_t *out = buf;
    MemTx result = MEMTX_OK;
    if (range_wraps(gpa, len)) {
        memset(buf, fill, len);
        return MEMTX_DECODE_ERROR;
    }
    DmaView dv;
    dma_view_enter(&dv, as);
    while (len) {
        Span s = span_at(&dv, gpa, len);
        MemTx tx = MEMTX_OK;
        if (!s.range) {
            memset(out, fill, s.len);
            tx = MEMTX_DECODE_ERROR;
        } else if (s.range->ram) {
            memcpy(out, s.range->ram->host + s.offset, s.len);
        } else {
            uint64_t value;
            s.len = register_size(&s);
            tx = mem_range_read(s.range, gpa, &value, s.len);
            memcpy(out, &value, s.len);
        }
        result = MAX(result, tx);
        out += s.len;
        gpa += s.len;
        len -= s.len;
    }
    dma_view_leave(&dv);
    return result;
}

MemTx dma_read(AddressSpace *as, uint64_t gpa, void *buf, uint64_t len)
{
    return dma_read_fill(as, gpa, buf, len, 0xff);
}

/* in NULL: `byte` everywhere. */
static MemTx write_any(AddressSpace *as, uint64_t gpa, const uint8_t *in, uint8_t byte, uint64_t len)
{
    MemTx result = MEMTX_OK;
    if (range_wraps(gpa, len))
        return MEMTX_DECODE_ERROR;
    DmaView dv;
    dma_view_enter(&dv, as);
    while (len) {
        Span s = span_at(&dv, gpa, len);
        MemTx tx = MEMTX_OK;
        if (!s.range) {
            tx = MEMTX_DECODE_ERROR;
        } else if (s.range->ram && !s.range->readonly) {
            uint8_t *host = s.range->ram->host + s.offset;
            if (in)
                memcpy(host, in, s.len);
            else
                memset(host, byte, s.len);
            if (ram_watched(s.range->ram, s.offset, s.len))
                ram_watch_hit(s.range->ram, s.offset, s.len);
        } else if (s.range->mr->kind == MR_IO || s.range->mr->kind == MR_ROMD) {
            uint64_t value = 0x0101010101010101ull * byte;
            s.len = register_size(&s);
            if (in)
                memcpy(&value, in, s.len);
            tx = mem_range_write(s.range, gpa, value, s.len);
        }
        result = MAX(result, tx);
        if (in)
            in += s.len;
        gpa += s.len;
        len -= s.len;
    }
    dma_view_leave(&dv);
    return result;
}

MemTx dma_write(AddressSpace *as, uint64_t gpa, const void *buf, uint64_t len)
{
    return write_any(as, gpa, buf, 0, len);
}

MemTx dma_set(AddressSpace *as, uint64_t gpa, uint8_t byte, uint64_t len)
{
    return write_any(as, gpa, NULL, byte, len);
}

/* ---- single values ---- */

static uint64_t load(AddressSpace *as, uint64_t gpa, unsigned size, MemTx *result)
{
    DmaView dv;
    uint64_t value;
    MemTx tx;
    dma_view_enter(&dv, as);
    const MemRange *r = mem_view_find(dv.view, gpa, dv.hint);
    if (G_LIKELY(r && r->size - (gpa - r->start) >= size))
        tx = mem_range_read(r, gpa, &value, size);
    else
        tx = mem_view_read(dv.view, gpa, &value, size);
    dma_view_leave(&dv);
    if (result)
        *result = tx;
    return value;
}

static MemTx store(AddressSpace *as, uint64_t gpa, uint64_t value, unsigned size)
{
    DmaView dv;
    MemTx tx;
    dma_view_enter(&dv, as);
    const MemRange *r = mem_view_find(dv.view, gpa, dv.hint);
    if (G_LIKELY(r && r->size - (gpa - r->start) >= size))
        tx = mem_range_write(r, gpa, value, size);
    else
        tx = mem_view_write(dv.view, gpa, value, size);
    dma_view_leave(&dv);
    return tx;
}

uint16_t dma_ld16(AddressSpace *as, uint64_t gpa, MemTx *result) { return load(as, gpa, 2, result); }
uint32_t dma_ld32(AddressSpace *as, uint64_t gpa, MemTx *result) { return load(as, gpa, 4, result); }
uint64_t dma_ld64(AddressSpace *as, uint64_t gpa, MemTx *result) { return load(as, gpa, 8, result); }
MemTx dma_st16(AddressSpace *as, uint64_t gpa, uint16_t value) { return store(as, gpa, value, 2); }
MemTx dma_st32(AddressSpace *as, uint64_t gpa, uint32_t value) { return store(as, gpa, value, 4); }
MemTx dma_st64(AddressSpace *as, uint64_t gpa, uint64_t value) { return store(as, gpa, value, 8); }

/* ---- direct access ---- */

bool dma_map(AddressSpace *as, uint64_t gpa, uint64_t len, bool write, DmaMap *map)
{
    DmaView dv;
    bool ok = false;
    if (!len || range_wraps(gpa, len))
        return false;
    dma_view_enter(&dv, as);
    Span s = span_at(&dv, gpa, len);
    if (s.range && s.range->ram && !(write && s.range->readonly)) {
        *map = (DmaMap){
            .hva = s.range->ram->host + s.offset,
            .len = s.len,
            .ram = ram_block_ref(s.range->ram),
            .ram_offset = s.offset,
        };
        ok = true;
    }
    dma_view_leave(&dv);
    return ok;
}

void dma_unmap(DmaMap *map, uint64_t written)
{
    RamBlock *ram = map->ram;
    if (!ram)
        return;
    written = MIN(written, map->len);
    if (written && ram_watched(ram, map->ram_offset, written))
        ram_watch_hit(ram, map->ram_offset, written);
    map->ram = NULL;
    map->hva = NULL;
    ram_block_free(ram);
}
