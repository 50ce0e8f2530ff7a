/*
 * Host memory behind guest RAM and ROM, and the watch bits on its pages.
 *
 * Memory is only reserved here; pages come with the first touch. Huge pages are asked for from 2 MiB on, because a first touch of
 * 4 KiB pages costs about 8 us each on nested hosts.
 */
#include <mem/memory.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGE 4096ull
#define HUGE_PAGE (2 * MIB)
#define HUGETLBFS_MAGIC 0x958458f6

static struct {
    RamWatchFunc *func;
    void *opaque;
} watchers[8];

static uint64_t watch_bytes(uint64_t size)
{
    return ROUND_UP_TO(size / PAGE, PAGE);
}

/* Zero pages that the kernel shares until they are written. */
static void *map_anonymous(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* An address range of this size aligned for huge pages, not accessible yet. NULL with errno. */
static uint8_t *reserve_aligned(uint64_t size, uint64_t align)
{
    uint64_t whole = size + align;
    uint8_t *base = mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    uint8_t *start = (uint8_t *)ROUND_UP_TO((uintptr_t)base, align);
    if (start > base)
        munmap(base, start - base);
    if (start + size < base + whole)
        munmap(start + size, base + whole - (start + size));
    return start;
}

static bool size_check(const char *name, uint64_t size, GError **err)
{
    if (size && size <= (1ull << 46))
        return true;
    error_set(err, "memory '%s' can't have %" PRIu64 " bytes: 1 byte to 64 TiB are accepted", name, size);
    return false;
}

/* Maps fd (or anonymous memory for -1) and makes the block. */
static RamBlock *block_map(const char *name, int fd, uint64_t size, uint64_t align, int flags, GError **err)
{
    uint8_t *host = reserve_aligned(size, align);
    if (!host || mmap(host, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED | MAP_NORESERVE, fd, 0) == MAP_FAILED) {
        error_set_errno(err, errno, "can't get %" PRIu64 " MiB of host memory for '%s'", (uint64_t)((size + MIB - 1) / MIB), name);
        if (host)
            munmap(host, size);
        return NULL;
    }
    RamBlock *ram = g_new0(RamBlock, 1);
    ram->watch = map_anonymous(watch_bytes(size));
    if (!ram->watch) {
        error_set_errno(err, errno, "can't get host memory for the page state of '%s'", name);
        munmap(host, size);
        g_free(ram);
        return NULL;
    }
    ram->refs = 1;
    ram->host = host;
    ram->size = size;
    ram->fd = fd;
    ram->name = g_strdup(name);
    ram->huge = size >= HUGE_PAGE && madvise(host, size, MADV_HUGEPAGE) == 0;
    return ram;
}

RamBlock *ram_block_new(const char *name, uint64_t size, GError **err)
{
    if (!size_check(name, size, err))
        return NULL;
    return block_map(name, -1, ROUND_UP_TO(size, PAGE), size >= HUGE_PAGE ? HUGE_PAGE : PAGE,
                     MAP_PRIVATE | MAP_ANONYMOUS, err);
}

/* The page size that fd's file system maps with. */
static uint64_t fd_page_size(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) == 0 && (uint32_t)fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
        return fs.f_bsize;
    return PAGE;
}

static bool fd_make_room(const char *name, int fd, uint64_t size, bool readonly, GError **err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "can't look at the file behind memory '%s'", name);
        return false;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size >= size)
        return true;
    if (readonly) {
        error_set(err, "the file behind memory '%s' has %" PRIu64 " bytes, %" PRIu64 " are needed", name,
                  (uint64_t)st.st_size, size);
        return false;
    }
    if (ftruncate(fd, size) < 0) {
        error_set_errno(err, errno, "can't grow the file behind memory '%s' to %" PRIu64 " bytes", name, size);
        return false;
    }
    return true;
}

RamBlock *ram_block_new_fd(const char *name, int fd, uint64_t size, bool share, bool readonly, GError **err)
{
    uint64_t page = fd_page_size(fd);
    if (!size_check(name, size, err))
        return NULL;
    if (page > PAGE && !IS_ALIGNED(size, page)) {
        error_set(err, "memory '%s' of %" PRIu64 " bytes is not a multiple of the %" PRIu64 " KiB pages that back it", name,
                  size, (uint64_t)(page / KIB));
        return NULL;
    }
    if (!fd_make_room(name, fd, size, readonly, err))
        return NULL;
    uint64_t align = MAX(page, size >= HUGE_PAGE ? HUGE_PAGE : PAGE);
    /* A read-only file is mapped privately: the guest's writes stay in this process. */
    int flags = share && !readonly ? MAP_SHARED : MAP_PRIVATE;
    RamBlock *ram = block_map(name, fd, ROUND_UP_TO(size, PAGE), align, flags, err);
    if (ram && page > PAGE)
        ram->huge = true;
    return ram;
}

RamBlock *ram_block_ref(RamBlock *ram)
{
    atomic_fetch_add_explicit(&ram->refs, 1, memory_order_relaxed);
    return ram;
}

void ram_block_free(RamBlock *ram)
{
    if (!ram || atomic_fetch_sub_explicit(&ram->refs, 1, memory_order_acq_rel) != 1)
        return;
    munmap(ram->host, ram->size);
    munmap((void *)ram->watch, watch_bytes(ram->size));
    if (ram->fd >= 0)
        close(ram->fd);
    g_free(ram->name);
    g_free(ram);
}

void ram_set_watch_func(uint8_t bit, RamWatchFunc *func, void *opaque)
{
    g_assert(bit && !(bit & (bit - 1)));
    unsigned i = __builtin_ctz(bit);
    watchers[i].opaque = opaque;
    __atomic_store_n(&watchers[i].func, func, __ATOMIC_RELEASE);
}

void ram_watch_hit(RamBlock *ram, uint64_t offset, uint64_t len)
{
    uint8_t bits = 0;
    for (uint64_t page = offset / PAGE, last = (offset + len - 1) / PAGE; len && page <= last; page++)
        bits |= atomic_load_explicit(&ram->watch[page], memory_order_acquire);
    for (; bits; bits &= bits - 1) {
        unsigned i = __builtin_ctz(bits);
        RamWatchFunc *func = __atomic_load_n(&watchers[i].func, __ATOMIC_ACQUIRE);
        if (func)
            func(watchers[i].opaque, ram, offset, len);
    }
}
