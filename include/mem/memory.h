/*
 * Guest memory map: a tree of regions with priorities, flattened into an immutable sorted array
 * (MemView) for each address space. Readers use the array without a lock; a change builds a new
 * array and replaces it at once.
 *
 * Regions are changed by a holder of the main domain's lock only. Physical addresses are bytes (gpa),
 * host virtual addresses are pointers into guest RAM (hva).
 */
#pragma once

#include <stdatomic.h>

#include <qom/object.h>
#include <rhea/loop.h>

typedef enum { MEMTX_OK, MEMTX_DECODE_ERROR, MEMTX_DEVICE_ERROR } MemTx;

/*
 * What a register window does. offset is relative to the region; size is 1, 2, 4 or 8 bytes; the value is
 * little-endian in the low `size` bytes. The core splits or widens an access so that the callbacks only see sizes between
 * min_access and max_access (0 means 1 and 4); a widened one is aligned, its bytes stay in their lanes, the other lanes are
 * written as zero. A guest access outside valid_min..valid_max (0 means 1 and 8) reads as all
 * ones and is ignored when written. Unaligned accesses are split into aligned ones unless `unaligned` is set.
 */
typedef struct MemoryRegionOps {
    uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
    void (*write)(void *opaque, uint64_t offset, uint64_t value, unsigned size);
    uint8_t min_access, max_access;
    uint8_t valid_min, valid_max;
    bool unaligned;
} MemoryRegionOps;

typedef enum { MR_CONTAINER, MR_IO, MR_RAM, MR_ROM, MR_ROMD, MR_ALIAS } MemoryRegionKind;

/* Host memory behind RAM and ROM regions. */
typedef struct RamBlock {
    uint8_t *host;      /* hva of byte 0 */
    uint64_t size;      /* bytes, page multiple */
    int fd;             /* memfd or file, -1 for anonymous memory */
    bool huge;          /* backed by huge pages as far as the kernel agrees */
    char *name;
    /*
     * One byte a 4 KiB page: bits of RAM_WATCH_*. A writer that finds a bit set after its write must
     * call ram_watch_hit(). Translated code lives behind RAM_WATCH_CODE, dirty logging behind RAM_WATCH_DIRTY.
     */
    _Atomic uint8_t *watch;
    _Atomic int refs;   /* the maker, and every view and DmaMap that shows it */
    void *owner_data;
} RamBlock;

#define RAM_WATCH_CODE 0x01
#define RAM_WATCH_DIRTY 0x02

typedef struct MemoryRegion MemoryRegion;
struct MemoryRegion {
    MemoryRegionKind kind;
    const char *name;            /* (owned) */
    Object *owner;               /* borrowed; a view holds a reference to it while it maps the region */
    Domain *domain;              /* whose lock guards the callbacks; NULL: they lock for themselves */
    const MemoryRegionOps *ops;
    void *opaque;
    uint64_t size;               /* bytes; UINT64_MAX stands for 2^64 */
    uint64_t addr;               /* offset in the parent */
    int priority;                /* higher wins */
    bool enabled;
    bool readonly;               /* for RAM: writes are dropped */
    bool romd_off;               /* ROMD: reads go to ops */
    RamBlock *ram;               /* RAM, ROM, ROMD */
    MemoryRegion *alias;         /* ALIAS target, with alias_offset */
    uint64_t alias_offset;
    MemoryRegion *parent;
    GList *children;             /* MemoryRegion *, by priority then insertion */
    struct MemNotifierTable *_Atomic notifiers; /* immutable, replaced; see memory_region_add_notifier */
    _Atomic unsigned notifier_readers;
    _Atomic int live;            /* current views that show it: 0 means callbacks must not be entered any more */
    bool owns_ram;
};

/*
 * Initialise an embedded region. `owner` is the object whose life bounds the region. Nothing fails except RAM.
 * name is copied. Regions start enabled and unmapped; memory_region_clear() undoes an init (unmaps first).
 */
void memory_region_init(MemoryRegion *mr, Object *owner, const char *name, uint64_t size); /* container */
void memory_region_init_io(MemoryRegion *mr, Object *owner, Domain *domain, const MemoryRegionOps *ops, void *opaque,
                           const char *name, uint64_t size);
bool memory_region_init_ram(MemoryRegion *mr, Object *owner, const char *name, uint64_t size, GError **err) WARN_UNUSED;
/* RAM whose guest writes are dropped; contents are set through mr->ram->host. */
bool memory_region_init_rom(MemoryRegion *mr, Object *owner, const char *name, uint64_t size, GError **err) WARN_UNUSED;
/* Reads like ROM, writes reach ops->write (flash chips); ops->read is used while the chip shows registers: see set_romd. */
bool memory_region_init_romd(MemoryRegion *mr, Object *owner, Domain *domain, const MemoryRegionOps *ops, void *opaque,
                             const char *name, uint64_t size, GError **err) WARN_UNUSED;
/* ROMD only: false makes reads go to ops->read too. */
void memory_region_set_romd(MemoryRegion *mr, bool reads_memory);
/* A region over an existing RamBlock (memory back ends). The block stays the caller's. */
void memory_region_init_ram_block(MemoryRegion *mr, Object *owner, const char *name, RamBlock *ram);
void memory_region_init_alias(MemoryRegion *mr, Object *owner, const char *name, MemoryRegion *target, uint64_t offset,
                              uint64_t size);
void memory_region_clear(MemoryRegion *mr);

/* Tree changes; outside a begin/commit pair each takes effect at once. */
void memory_region_add(MemoryRegion *parent, uint64_t addr, MemoryRegion *child, int priority);
void memory_region_remove(MemoryRegion *child);
void memory_region_set_enabled(MemoryRegion *mr, bool enabled);
void memory_region_set_readonly(MemoryRegion *mr, bool readonly);
void memory_region_set_addr(MemoryRegion *mr, uint64_t addr);
void memory_region_set_alias_offset(MemoryRegion *mr, uint64_t offset);
void memory_region_set_size(MemoryRegion *mr, uint64_t size);
bool memory_region_is_mapped(const MemoryRegion *mr);
/* Groups changes: views are rebuilt once, at the outermost commit. */
void memory_transaction_begin(void);
void memory_transaction_commit(void);

/*
 * A doorbell: a write of `size` bytes (0: any) at `offset`, with `match` also of value `data`, schedules func(opaque) on
 * domain's loop without entering the region's callbacks or its lock. KVM maps it to an ioeventfd, the other
 * accelerators call bh_schedule().
 */
typedef struct MemNotifier {
    uint64_t offset; unsigned size; bool match; uint64_t data;
    BottomHalf *bh;
    int eventfd;     /* -1 if none */
} MemNotifier;
void memory_region_add_notifier(MemoryRegion *mr, const MemNotifier *notifier);
void memory_region_remove_notifier(MemoryRegion *mr, uint64_t offset, unsigned size, bool match, uint64_t data);

/* Flattened, immutable. ranges[] is sorted by start and does not overlap. */
typedef struct MemRange {
    uint64_t start, size;        /* bytes in the address space */
    MemoryRegion *mr;            /* never a container or alias */
    uint64_t offset;             /* of start inside mr */
    RamBlock *ram;               /* reads are plain memory: mr->ram, offset is valid in it too; NULL for registers */
    Object *owner;               /* of mr, or NULL; a reference is held */
    bool readonly;               /* writes don't go to ram: dropped, or for ROMD to the callbacks */
} MemRange;

typedef struct MemView {
    _Atomic int refs;
    unsigned users;              /* address spaces that show it now; main domain's lock */
    uint64_t generation;         /* unique to this view */
    unsigned n;
    MemRange ranges[];
} MemView;

typedef struct AddressSpace AddressSpace;
AddressSpace *address_space_new(MemoryRegion *root, const char *name);
void address_space_free(AddressSpace *as);
MemView *address_space_view_ref(AddressSpace *as); /* (owned) any thread */
void mem_view_unref(MemView *view);
/* The generation of the newest view: a held view is out of date when its own differs. Any thread. */
uint64_t address_space_generation(const AddressSpace *as);
/* The range that holds addr, or NULL for a hole. hint is the caller's last hit index. */
const MemRange *mem_view_find(const MemView *view, uint64_t addr, unsigned *hint);

/*
 * Hears of every change after it took effect, under the main domain's lock: accelerators (KVM slots, translator TLBs).
 */
typedef struct MemListener {
    void (*changed)(struct MemListener *listener, AddressSpace *as, const MemView *old_view, const MemView *new_view);
    void *opaque;
} MemListener;
void address_space_add_listener(AddressSpace *as, MemListener *listener);
void address_space_remove_listener(AddressSpace *as, MemListener *listener);

/*
 * One register access of 1, 2, 4 or 8 bytes through the map, under the owning domain's lock. Any thread. RAM is accessed as
 * memory, holes give MEMTX_DECODE_ERROR and all ones.
 */
MemTx mem_view_read(const MemView *view, uint64_t addr, uint64_t *value, unsigned size);
MemTx mem_view_write(const MemView *view, uint64_t addr, uint64_t value, unsigned size);
/* The same on an already found range; addr is in the address space. */
MemTx mem_range_read(const MemRange *range, uint64_t addr, uint64_t *value, unsigned size);
MemTx mem_range_write(const MemRange *range, uint64_t addr, uint64_t value, unsigned size);

/*
 * Watch bits. The translator sets RAM_WATCH_CODE on a page and registers one function that is told when anybody but translated
 * code wrote to such a page: any thread, after the write. Caller-side check: `if (ram_watched(..)) ram_watch_hit(..)`.
 */
typedef void RamWatchFunc(void *opaque, RamBlock *ram, uint64_t offset, uint64_t len);
void ram_set_watch_func(uint8_t bit, RamWatchFunc *func, void *opaque);
void ram_watch_hit(RamBlock *ram, uint64_t offset, uint64_t len);
static inline bool ram_watched(const RamBlock *ram, uint64_t offset, uint64_t len)
{
    /* The write must be visible before the bit is read: the watcher sets the bit first and reads the page after. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    for (uint64_t page = offset >> 12, last = (offset + len - 1) >> 12; len && page <= last; page++)
        if (__atomic_load_n((const uint8_t *)&ram->watch[page], __ATOMIC_RELAXED))
            return true;
    return false;
}

/* A host mapping: memfd when share or fd is needed, transparent huge pages asked for. */
RamBlock *ram_block_new(const char *name, uint64_t size, GError **err) WARN_UNUSED;
/* The same over an open file (memory-backend-file, memfd with hugetlb): fd is taken over on success. */
RamBlock *ram_block_new_fd(const char *name, int fd, uint64_t size, bool share, bool readonly, GError **err) WARN_UNUSED;
/* Drops the maker's reference; the memory goes when no view or DmaMap shows it any more. NULL is allowed. */
void ram_block_free(RamBlock *ram);
RamBlock *ram_block_ref(RamBlock *ram);
