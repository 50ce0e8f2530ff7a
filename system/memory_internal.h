/*
 * What memory.c (tree), memview.c (flattening, access) and dma.c share. Nothing here is for devices.
 */
#pragma once

#include <mem/memory.h>

struct AddressSpace {
    char *name;
    MemoryRegion *root;
    GMutex view_lock;            /* guards loading `view` together with taking a reference; leaf */
    MemView *view;
    _Atomic uint64_t generation; /* of view */
    GPtrArray *listeners;        /* MemListener *, main domain's lock */
};

struct MemNotifierTable {
    unsigned n;
    MemNotifier entry[];
};

/* Where the last reference of a view that a foreign thread dropped is released. NULL: at once, where it happens. */
void memory_set_main_domain(Domain *domain);

/* The flattened map below root as it is now; generation still 0. (owned) */
MemView *mem_view_build(MemoryRegion *root);
bool mem_view_equal(const MemView *a, const MemView *b);
/* Index of the first range that ends after addr; view->n when there is none. */
unsigned mem_view_index(const MemView *view, uint64_t addr);

/* A region's doorbells: true if the write was one, then it has been rung. */
bool memory_notifier_hit(MemoryRegion *mr, uint64_t offset, uint64_t value, unsigned size);

/* Largest access of 1, 2, 4 or 8 bytes at offset that is aligned and not longer than len. */
unsigned mem_access_size(uint64_t offset, uint64_t len);

/*
 * A view of `as` for the time of one DMA call, from a cache of the calling thread. enter and leave nest.
 */
typedef struct DmaView {
    MemView *view;
    unsigned *hint;
    bool owned;
} DmaView;
void dma_view_enter(DmaView *dv, AddressSpace *as);
void dma_view_leave(DmaView *dv);
/* Makes every thread's cache let go of views, at once where the thread is outside DMA, else when it leaves it. */
void dma_views_flush(void);

/* dma_read with a chosen byte for holes (the test channel reads them as zero). */
MemTx dma_read_fill(AddressSpace *as, uint64_t gpa, void *buf, uint64_t len, uint8_t fill);
