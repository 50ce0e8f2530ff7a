/*
 * Memory backends. The mapping is made when the object is completed, so that a failure is the object's.
 */
#include "system/memory-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "system/machine.h"

typedef struct MemoryBackend {
    Object obj;
    uint64_t size;
    bool share, prealloc, dump, merge, canonical_id;
    RamBlock *ram;
    Object *user;
} MemoryBackend;

typedef struct MemfdBackend {
    MemoryBackend base;
    bool hugetlb, seal;
    uint64_t hugetlb_size;
} MemfdBackend;

typedef struct FileBackend {
    MemoryBackend base;
    char *path;
    bool discard_data, readonly;
} FileBackend;

static bool check_size(const MemoryBackend *backend, GError **err)
{
    if (backend->size && backend->size % 4096 == 0)
        return true;
    error_set(err, "%s '%s': size=%" PRIu64 " is not a positive multiple of 4096", object_type_name(&backend->obj),
              backend->obj.id ? backend->obj.id : "", backend->size);
    return false;
}

/* The wishes that hold for every kind, on memory that was just mapped. */
static bool apply_options(MemoryBackend *backend, GError **err)
{
    RamBlock *ram = backend->ram;

    if (backend->prealloc && madvise(ram->host, ram->size, MADV_POPULATE_WRITE) < 0) {
        error_set_errno(err, errno, "can't allocate the %" PRIu64 " bytes of '%s' in advance", ram->size, ram->name);
        return false;
    }
    if (!backend->dump && madvise(ram->host, ram->size, MADV_DONTDUMP) < 0)
        g_debug("'%s' stays in core dumps", ram->name);
    if (backend->merge && madvise(ram->host, ram->size, MADV_MERGEABLE) < 0)
        g_debug("no page merging for '%s'", ram->name);
    return true;
}

static bool use_fd(MemoryBackend *backend, int fd, bool share, bool readonly, GError **err)
{
    backend->ram = ram_block_new_fd(backend->obj.id ? backend->obj.id : "memory", fd, backend->size, share, readonly, err);
    if (!backend->ram) {
        close(fd);
        return false;
    }
    return apply_options(backend, err);
}

static bool new_memfd(MemoryBackend *backend, unsigned flags, bool share, GError **err)
{
    int fd = memfd_create(backend->obj.id ? backend->obj.id : "memory", MFD_CLOEXEC | flags);

    if (fd < 0 || ftruncate(fd, backend->size) < 0) {
        error_set_errno(err, errno, "can't make %" PRIu64 " bytes of shared memory for '%s'", backend->size, backend->obj.id);
        if (fd >= 0)
            close(fd);
        return false;
    }
    if ((flags & MFD_ALLOW_SEALING) && fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0)
        g_debug("no seals on '%s'", backend->obj.id);
    return use_fd(backend, fd, share, false, err);
}

static bool ram_complete(Object *obj, GError **err)
{
    MemoryBackend *backend = (MemoryBackend *)obj;

    if (!check_size(backend, err))
        return false;
    if (backend->share)
        return new_memfd(backend, 0, true, err);
    backend->ram = ram_block_new(obj->id ? obj->id : "memory", backend->size, err);
    return backend->ram && apply_options(backend, err);
}

static bool memfd_complete(Object *obj, GError **err)
{
    MemfdBackend *memfd = (MemfdBackend *)obj;
    unsigned flags = memfd->seal ? MFD_ALLOW_SEALING : 0;

    if (!check_size(&memfd->base, err))
        return false;
    if (memfd->hugetlb) {
        uint64_t page = memfd->hugetlb_size ? memfd->hugetlb_size : 2 * MIB;
        if (page & (page - 1) || page < 4096) {
            error_set(err, "memory-backend-memfd '%s': hugetlbsize=%" PRIu64 " is not a power of two", obj->id, page);
            return false;
        }
        flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << 26;
    } else if (memfd->hugetlb_size) {
        error_set(err, "memory-backend-memfd '%s': hugetlbsize needs hugetlb=on", obj->id);
        return false;
    }
    return new_memfd(&memfd->base, flags, memfd->base.share, err);
}

/* A directory (hugetlbfs, /dev/shm) gets an unnamed file of its own; a file is made and grown as needed. */
static int open_backing(const FileBackend *file, GError **err)
{
    struct stat st;
    bool directory = stat(file->path, &st) == 0 && S_ISDIR(st.st_mode);
    int fd;

    if (directory) {
        g_autofree char *name = g_build_filename(file->path, "rhea-memory-XXXXXX", NULL);
        fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            unlink(name);
    } else {
        fd = open(file->path, (file->readonly ? O_RDONLY : O_RDWR | O_CREAT) | O_CLOEXEC, 0644);
    }
    if (fd < 0 || fstat(fd, &st) < 0 ||
        (!file->readonly && (uint64_t)st.st_size < file->base.size && ftruncate(fd, file->base.size) < 0)) {
        error_set_errno(err, errno, "can't use '%s' for guest memory", file->path);
    } else if (file->readonly && (uint64_t)st.st_size < file->base.size) {
        error_set(err, "'%s' has %" PRIu64 " bytes, less than size=%" PRIu64, file->path, (uint64_t)st.st_size,
                  file->base.size);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool file_complete(Object *obj, GError **err)
{
    FileBackend *file = (FileBackend *)obj;

    if (!check_size(&file->base, err))
        return false;
    int fd = open_backing(file, err);
    return fd >= 0 && use_fd(&file->base, fd, file->base.share, file->readonly, err);
}

static bool backend_can_delete(Object *obj, GError **err)
{
    MemoryBackend *backend = (MemoryBackend *)obj;

    if (!backend->user)
        return true;
    error_set(err, "memory backend '%s' is in use", obj->id);
    return false;
}

static void memfd_init(Object *obj)
{
    ((MemoryBackend *)obj)->share = true;
}

static void backend_finalize(Object *obj)
{
    MemoryBackend *backend = (MemoryBackend *)obj;

    if (backend->ram)
        ram_block_free(backend->ram);
}

static void file_finalize(Object *obj)
{
    FileBackend *file = (FileBackend *)obj;

    if (file->discard_data && file->base.ram && madvise(file->base.ram->host, file->base.ram->size, MADV_REMOVE) < 0)
        g_debug("contents of '%s' stay", file->path);
}

uint64_t memory_backend_size(const Object *backend)
{
    return ((const MemoryBackend *)backend)->size;
}

RamBlock *memory_backend_take(Object *obj, Object *user, uint64_t size, GError **err)
{
    MemoryBackend *backend = (MemoryBackend *)obj;

    if (backend->user && backend->user != user) {
        error_set(err, "memory backend '%s' is in use", obj->id);
        return NULL;
    }
    if (backend->size != size) {
        error_set(err, "memory backend '%s' has %" PRIu64 " bytes, the machine's RAM (-m) %" PRIu64, obj->id, backend->size, size);
        return NULL;
    }
    backend->user = user;
    return ram_block_ref(backend->ram);
}

static const Property backend_props[] = {
    { .name = "size", .kind = PROP_KIND_SIZE, .flags = PROP_REQUIRED, .offset = offsetof(MemoryBackend, size), .help = "bytes" },
    PROP_BOOL("share", MemoryBackend, share, false, "other processes can map it; writes reach the file"),
    PROP_BOOL("prealloc", MemoryBackend, prealloc, false, "allocate all of it at once"),
    PROP_BOOL("dump", MemoryBackend, dump, true, "part of core dumps of this process"),
    PROP_BOOL("merge", MemoryBackend, merge, true, "the host may share equal pages"),
    PROP_BOOL("x-use-canonical-path-for-ramblock-id", MemoryBackend, canonical_id, true,
              "name in saved states: the object's path, or its id"),
    PROP_END
};
static const Property memfd_props[] = {
    PROP_BOOL("hugetlb", MemfdBackend, hugetlb, false, "huge pages"),
    PROP_SIZE("hugetlbsize", MemfdBackend, hugetlb_size, 0, "huge page size, 0: 2 MiB"),
    PROP_BOOL("seal", MemfdBackend, seal, true, "the size can't be changed"),
    PROP_END
};
static const Property file_props[] = {
    { .name = "mem-path", .kind = PROP_KIND_STR, .flags = PROP_REQUIRED, .offset = offsetof(FileBackend, path),
      .help = "file, or a directory for an unnamed one" },
    PROP_BOOL("discard-data", FileBackend, discard_data, false, "the contents are not needed after the end"),
    PROP_BOOL("readonly", FileBackend, readonly, false, "open the file for reading only"),
    PROP_END
};

static const ObjectClass backend_class = {
    .name = TYPE_MEMORY_BACKEND, .parent = TYPE_OBJECT, .desc = "guest memory", .size = sizeof(MemoryBackend),
    .abstract = true, .props = backend_props, .finalize = backend_finalize,
};
static const ObjectClass ram_class = {
    .name = "memory-backend-ram", .parent = TYPE_MEMORY_BACKEND, .desc = "anonymous memory", .size = sizeof(MemoryBackend),
    .complete = ram_complete, .can_delete = backend_can_delete,
};
static const ObjectClass memfd_class = {
    .name = "memory-backend-memfd", .parent = TYPE_MEMORY_BACKEND, .desc = "memory behind a descriptor",
    .size = sizeof(MemfdBackend), .props = memfd_props, .init = memfd_init, .complete = memfd_complete, .can_delete = backend_can_delete,
};
static const ObjectClass file_class = {
    .name = "memory-backend-file", .parent = TYPE_MEMORY_BACKEND, .desc = "a mapped file", .size = sizeof(FileBackend),
    .props = file_props, .complete = file_complete, .can_delete = backend_can_delete, .finalize = file_finalize,
};
REGISTER_OBJECT(backend_class)
REGISTER_OBJECT(ram_class)
REGISTER_OBJECT(memfd_class)
REGISTER_OBJECT(file_class)
