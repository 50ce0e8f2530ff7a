/*
 * memory-backend-ram, -memfd, -file. What a property asks of the host kernel and the kernel refuses is an error: an
 * administrator who wrote host-nodes= or prealloc=on relies on it.
 */
#include "system/memory-backend.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system/memory-prealloc.h"

/* log2 of the huge page size goes above this bit of memfd_create(2) flags; glibc 2.36 leaves the name to linux/memfd.h, which clashes */
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

enum { NODES_MAX = 128 };

typedef struct {
    Object obj;
    RamBlock *ram;
    Object *user;             /* borrowed, NULL: nobody */
    uint64_t size;            /* bytes */
    bool share, prealloc, merge, dump, canonical_id;
    uint32_t prealloc_threads;
    int policy;               /* MPOL_*, the names below are in that order */
    uint64_t nodes[NODES_MAX / 64];
} Hostmem;

typedef struct {
    Hostmem base;
    bool hugetlb, seal;
    uint64_t hugetlbsize;     /* bytes, 0: the kernel's default */
} HostmemMemfd;

typedef struct {
    Hostmem base;
    char *mem_path;
    bool readonly, discard_data;
} HostmemFile;

typedef struct {
    OBJECT_CLASS_FIELDS;
    RamBlock *(*alloc)(Hostmem *mem, const char *name, GError **err);
} HostmemClass;

static const char *const policies[] = { "default", "preferred", "bind", "interleave", NULL };

/* ---- host-nodes: "2", "0-3", or a list of numbers ---- */

static bool add_nodes(Hostmem *mem, uint64_t first, uint64_t last)
{
    if (first > last || last >= NODES_MAX)
        return false;
    for (uint64_t node = first; node <= last; node++)
        mem->nodes[node / 64] |= 1ull << node % 64;
    return true;
}

static bool add_node_text(Hostmem *mem, const char *text)
{
    char *end;
    if (!g_ascii_isdigit(*text))
        return false;
    uint64_t first = g_ascii_strtoull(text, &end, 10), last = first;
    if (*end == '-' && g_ascii_isdigit(end[1]))
        last = g_ascii_strtoull(end + 1, &end, 10);
    return !*end && add_nodes(mem, first, last);
}

static bool add_node_json(Hostmem *mem, json_object *value)
{
    if (json_object_is_type(value, json_type_int) && json_object_get_int64(value) >= 0)
        return add_nodes(mem, json_object_get_uint64(value), json_object_get_uint64(value));
    return json_object_is_type(value, json_type_string) && add_node_text(mem, json_object_get_string(value));
}

static bool host_nodes_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    Hostmem *mem = (Hostmem *)obj;
    memset(mem->nodes, 0, sizeof(mem->nodes));
    bool ok = true;
    if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            ok = ok && add_node_json(mem, json_object_array_get_idx(value, i));
    } else {
        ok = add_node_json(mem, value);
    }
    if (!ok)
        error_set(err, "%s: property 'host-nodes' can't be %s: it takes node numbers from 0 to %d, such as 0 or 0-3",
                  obj->klass->name, json_object_to_json_string(value), NODES_MAX - 1);
    return ok;
}

static json_object *host_nodes_get(Object *obj, const Property *prop, GError **err)
{
    json_object *list = json_object_new_array();
    for (int node = 0; node < NODES_MAX; node++)
        if (((Hostmem *)obj)->nodes[node / 64] >> node % 64 & 1)
            json_object_array_add(list, json_object_new_int(node));
    return list;
}

/* ---- what all have in common ---- */

static bool any_node(const Hostmem *mem)
{
    return mem->nodes[0] || mem->nodes[1];
}

static bool check_policy(const Hostmem *mem, GError **err)
{
    if (mem->policy == MPOL_DEFAULT && any_node(mem)) {
        error_set(err, "%s '%s': host-nodes needs a policy: preferred, bind or interleave", mem->obj.klass->name,
                  mem->obj.id);
        return false;
    }
    if (mem->policy != MPOL_DEFAULT && !any_node(mem)) {
        error_set(err, "%s '%s': policy '%s' needs host-nodes", mem->obj.klass->name, mem->obj.id, policies[mem->policy]);
        return false;
    }
    return true;
}

/* Before the first touch: pages that exist don't move. */
static bool apply_policy(Hostmem *mem, GError **err)
{
    if (mem->policy == MPOL_DEFAULT)
        return true;
    if (!syscall(SYS_mbind, mem->ram->host, mem->ram->size, mem->policy, mem->nodes, NODES_MAX + 1,
                 MPOL_MF_STRICT | MPOL_MF_MOVE))
        return true;
    error_set_errno(err, errno, "%s '%s': the host can't bind memory to these nodes with policy '%s'", mem->obj.klass->name,
                    mem->obj.id, policies[mem->policy]);
    return false;
}

static bool apply_advice(Hostmem *mem, GError **err)
{
    if (mem->merge && madvise(mem->ram->host, mem->ram->size, MADV_MERGEABLE) && object_was_given(&mem->obj, "merge")) {
        error_set_errno(err, errno, "%s '%s': the host doesn't merge pages (merge=on)", mem->obj.klass->name, mem->obj.id);
        return false;
    }
    if (!mem->dump && madvise(mem->ram->host, mem->ram->size, MADV_DONTDUMP)) {
        error_set_errno(err, errno, "%s '%s': the host can't keep it out of core dumps (dump=off)", mem->obj.klass->name,
                        mem->obj.id);
        return false;
    }
    return true;
}

static bool hostmem_complete(Object *obj, GError **err)
{
    Hostmem *mem = (Hostmem *)obj;
    if (!mem->size || mem->size % 4096) {
        error_set(err, "%s '%s': property 'size' can't be %" PRIu64 ": it takes a multiple of 4096 bytes, such as 512M",
                  obj->klass->name, obj->id, mem->size);
        return false;
    }
    if (!check_policy(mem, err))
        return false;
    g_autofree char *path = object_path(obj);
    mem->ram = ((const HostmemClass *)obj->klass)->alloc(mem, mem->canonical_id ? path : obj->id, err);
    if (!mem->ram) {
        g_prefix_error(err, "%s '%s': ", obj->klass->name, obj->id);
        return false;
    }
    if (!apply_policy(mem, err) || !apply_advice(mem, err))
        return false;
    if (!mem->prealloc || memory_prealloc(mem->ram->host, mem->ram->size, mem->prealloc_threads, err))
        return true;
    g_prefix_error(err, "%s '%s': ", obj->klass->name, obj->id);
    return false;
}

static bool hostmem_can_delete(Object *obj, GError **err)
{
    if (!((Hostmem *)obj)->user)
        return true;
    error_set(err, "memory back end '%s' is in use and can't be deleted", obj->id);
    return false;
}

static void hostmem_finalize(Object *obj)
{
    ram_block_free(((Hostmem *)obj)->ram);
}

static const Property hostmem_props[] = {
    { .name = "size", .kind = PROP_KIND_SIZE, .flags = PROP_REQUIRED, .offset = offsetof(Hostmem, size), .help = "size in bytes, or such as 512M" },
    PROP_BOOL("share", Hostmem, share, false, "the memory can be shared with other processes"),
    PROP_BOOL("prealloc", Hostmem, prealloc, false, "all pages are there before the guest starts"),
    PROP_U32("prealloc-threads", Hostmem, prealloc_threads, 1, 1, 64, "threads that do the preallocation"),
    PROP_BOOL("merge", Hostmem, merge, true, "let the host share equal pages (KSM)"),
    PROP_BOOL("dump", Hostmem, dump, true, "part of a core dump of this process"),
    { .name = "host-nodes", .kind = PROP_KIND_CUSTOM, .type = "int", .get = host_nodes_get, .set = host_nodes_set, .help = "host NUMA nodes for policy=" },
    { .name = "policy", .kind = PROP_KIND_ENUM, .type = "HostMemPolicy", .offset = offsetof(Hostmem, policy), .names = policies, .help = "host NUMA policy" },
    PROP_BOOL("x-use-canonical-path-for-ramblock-id", Hostmem, canonical_id, true, "the memory block's name is the object's path, not its id"),
    PROP_END
};

static const ObjectClass hostmem_class = {
    .name = TYPE_MEMORY_BACKEND, .desc = "base of the kinds of guest memory", .size = sizeof(Hostmem), .abstract = true,
    .props = hostmem_props, .complete = hostmem_complete, .can_delete = hostmem_can_delete, .finalize = hostmem_finalize,
};
REGISTER_OBJECT(hostmem_class)

/* ---- memory-backend-ram ---- */

static int make_memfd(const char *name, unsigned flags, GError **err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | flags);
    if (fd < 0)
        error_set_errno(err, errno, "the host gives no memory file");
    return fd;
}

static RamBlock *over_fd(int fd, Hostmem *mem, const char *name, bool readonly, GError **err)
{
    RamBlock *ram = ram_block_new_fd(name, fd, mem->size, mem->share, readonly, err);
    if (!ram)
        close(fd);
    return ram;
}

static RamBlock *ram_alloc(Hostmem *mem, const char *name, GError **err)
{
    if (!mem->share)
        return ram_block_new(name, mem->size, err);
    int fd = make_memfd(mem->obj.id, 0, err);
    return fd < 0 ? NULL : over_fd(fd, mem, name, false, err);
}

static const HostmemClass ram_class = {
    .name = "memory-backend-ram", .parent = TYPE_MEMORY_BACKEND, .desc = "anonymous memory", .alloc = ram_alloc,
};
REGISTER_OBJECT(ram_class)

/* ---- memory-backend-memfd ---- */

static bool hugetlb_flags(const HostmemMemfd *mem, unsigned *flags, GError **err)
{
    if (mem->hugetlbsize && !mem->hugetlb) {
        error_set(err, "hugetlbsize needs hugetlb=on");
        return false;
    }
    if (mem->hugetlbsize & (mem->hugetlbsize - 1)) {
        error_set(err, "hugetlbsize can't be %" PRIu64 ": it takes a power of two such as 2M", mem->hugetlbsize);
        return false;
    }
    if (mem->hugetlb)
        *flags |= MFD_HUGETLB;
    if (mem->hugetlbsize)
        *flags |= (unsigned)__builtin_ctzll(mem->hugetlbsize) << MFD_HUGE_SHIFT;
    return true;
}

static RamBlock *memfd_alloc(Hostmem *base, const char *name, GError **err)
{
    HostmemMemfd *mem = (HostmemMemfd *)base;
    unsigned flags = mem->seal ? MFD_ALLOW_SEALING : 0;
    int fd = hugetlb_flags(mem, &flags, err) ? make_memfd(base->obj.id, flags, err) : -1;
    RamBlock *ram = fd < 0 ? NULL : over_fd(fd, base, name, false, err);
    if (!ram || !mem->seal || !fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
        return ram;
    error_set_errno(err, errno, "the host can't seal the memory file (seal=on)");
    ram_block_free(ram);
    return NULL;
}

static const Property memfd_props[] = {
    PROP_BOOL("hugetlb", HostmemMemfd, hugetlb, false, "use huge pages from the host's pool"),
    PROP_SIZE("hugetlbsize", HostmemMemfd, hugetlbsize, 0, "size of a huge page, such as 2M or 1G; 0: the host's default"),
    PROP_BOOL("seal", HostmemMemfd, seal, true, "nobody can change the size of the memory file"),
    PROP_BOOL("share", Hostmem, share, true, "the memory can be shared with other processes"),
    PROP_END
};

static const HostmemClass memfd_class = {
    .name = "memory-backend-memfd", .parent = TYPE_MEMORY_BACKEND, .desc = "a memory file without name",
    .size = sizeof(HostmemMemfd), .props = memfd_props, .alloc = memfd_alloc,
};
REGISTER_OBJECT(memfd_class)

/* ---- memory-backend-file ---- */

/* In a directory (hugetlbfs, /dev/shm): a new file that nobody else can open. */
static int open_in_directory(const char *dir, const char *id, GError **err)
{
    g_autofree char *name = g_strdup_printf("%s/rhea-%s-XXXXXX", dir, id);
    int fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        error_set_errno(err, errno, "can't make a file in '%s'", dir);
    else
        unlink(name);
    return fd;
}

static int open_mem_path(const HostmemFile *mem, GError **err)
{
    struct stat st;
    bool exists = !stat(mem->mem_path, &st);
    if (exists && S_ISDIR(st.st_mode) && !mem->readonly)
        return open_in_directory(mem->mem_path, mem->base.obj.id, err);
    int fd = open(mem->mem_path, mem->readonly ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        error_set_errno(err, errno, "can't open mem-path '%s'", mem->mem_path);
    return fd;
}

static RamBlock *file_alloc(Hostmem *base, const char *name, GError **err)
{
    HostmemFile *mem = (HostmemFile *)base;
    bool existed = !access(mem->mem_path, F_OK);
    int fd = open_mem_path(mem, err);
    RamBlock *ram = fd < 0 ? NULL : over_fd(fd, base, name, mem->readonly, err);
    if (!ram && fd >= 0 && !existed)
        unlink(mem->mem_path);
    return ram;
}

static void file_finalize(Object *obj)
{
    HostmemFile *mem = (HostmemFile *)obj;
    RamBlock *ram = mem->base.ram;
    if (ram && mem->discard_data && mem->base.share)
        madvise(ram->host, ram->size, MADV_REMOVE);
}

static const Property file_props[] = {
    { .name = "mem-path", .kind = PROP_KIND_STR, .flags = PROP_REQUIRED, .offset = offsetof(HostmemFile, mem_path), .help = "the file, or a directory for a new one" },
    PROP_BOOL("readonly", HostmemFile, readonly, false, "the file is opened for reading; what the guest writes stays in memory"),
    PROP_BOOL("discard-data", HostmemFile, discard_data, false, "the file's data need not be kept at the end"),
    PROP_END
};

static const HostmemClass file_class = {
    .name = "memory-backend-file", .parent = TYPE_MEMORY_BACKEND, .desc = "memory that is a file's contents",
    .size = sizeof(HostmemFile), .props = file_props, .finalize = file_finalize, .alloc = file_alloc,
};
REGISTER_OBJECT(file_class)

/* ---- users ---- */

RamBlock *memory_backend_ram(const Object *backend)
{
    g_assert(object_is_a(backend, TYPE_MEMORY_BACKEND));
    return ((const Hostmem *)backend)->ram;
}

uint64_t memory_backend_size(const Object *backend)
{
    return ((const Hostmem *)backend)->size;
}

RamBlock *memory_backend_take(Object *backend, Object *user, uint64_t size, GError **err)
{
    Hostmem *mem = (Hostmem *)backend;
    g_assert(object_is_a(backend, TYPE_MEMORY_BACKEND));
    if (mem->user && mem->user != user) {
        error_set(err, "memory back end '%s' is in use already", backend->id);
        return NULL;
    }
    if (mem->size != size) {
        error_set(err, "memory back end '%s' has %" PRIu64 " bytes, %" PRIu64 " are needed", backend->id, mem->size, size);
        return NULL;
    }
    mem->user = user;
    return ram_block_ref(mem->ram);
}

void memory_backend_release(Object *backend, Object *user)
{
    if (((Hostmem *)backend)->user == user)
        ((Hostmem *)backend)->user = NULL;
}

json_object *memory_backends_query(void)
{
    static const char *const shown[] = { "size", "merge", "dump", "prealloc", "share", "host-nodes", "policy" };
    json_object *list = json_object_new_array();
    const Object *folder = object_get_container("/objects");
    for (guint i = 0; folder->child_order && i < folder->child_order->len; i++) {
        Object *obj = folder->child_order->pdata[i];
        if (!object_is_a(obj, TYPE_MEMORY_BACKEND))
            continue;
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "id", json_object_new_string(obj->id));
        for (unsigned p = 0; p < G_N_ELEMENTS(shown); p++)
            json_object_object_add(entry, shown[p], object_get_json(obj, shown[p], NULL));
        json_object_array_add(list, entry);
    }
    return list;
}
