/*
 * Disks: what devices plug into. Bounds, the write cache mode, statistics, the error policy, and how a property finds its disk.
 */
#include "block/block-int.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "monitor/events.h"
#include "system/machine.h"

const char *const disk_on_error_names[] = {"auto", "report", "ignore", "stop", "enospc", NULL};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* ---- life ---- */

Disk *disk_find(const char *id)
{
    for (guint i = 0; id[0] && block_graph.disks && i < block_graph.disks->len; i++) {
        Disk *disk = (Disk *)block_graph.disks->pdata[i];
        if (g_str_equal(disk->id, id))
            return disk;
    }
    return NULL;
}

Disk *disk_new(const char *id, BlockNode *node, GError **err)
{
    Disk *disk = g_new0(Disk, 1);
    disk->id = g_strdup(id);
    disk->index = -1;
    disk->interface = DRIVE_IF_NONE;
    if (node) {
        disk->root = block_edge_new(node, NULL, disk, "root", 0, BLOCK_PERM_ALL, err);
        if (!disk->root) {
            g_free(disk->id);
            g_free(disk);
            return NULL;
        }
    }
    disk->cache_writeback = disk->writeback = true;
    disk_set_on_error(disk, DISK_ON_ERROR_AUTO, DISK_ON_ERROR_AUTO);
    if (!block_graph.disks)
        block_graph.disks = g_ptr_array_new();
    g_ptr_array_add(block_graph.disks, disk);
    return disk;
}

void disk_free(Disk *disk)
{
    g_assert(!disk->in_use && !disk->in_flight);
    g_ptr_array_remove(block_graph.disks, disk);
    if (disk->root)
        block_edge_free(disk->root);
    g_free(disk->serial);
    g_free(disk->id);
    g_free(disk);
}

Disk *disk_new_empty(Object *device)
{
    Disk *disk = disk_new("", NULL, NULL);
    disk->owner = device;
    disk->removable = true;
    return disk;
}

void disk_free_empty(Disk *disk)
{
    disk_free(disk);
}

bool disk_start_use(Disk *disk, Object *device, const DiskUse *use, Domain *domain, GError **err)
{
    g_assert(!disk->in_use);
    BlockNode *node = disk_node(disk);
    if (node) {
        uint32_t perm = BLOCK_PERM_READ, shared = BLOCK_PERM_READ | BLOCK_PERM_UNCHANGED;
        if (!use->read_only && !node->read_only)
            perm |= BLOCK_PERM_WRITE;
        if (use->share_rw)
            shared |= BLOCK_PERM_WRITE;
        if (use->resizable)
            shared |= BLOCK_PERM_RESIZE;
        if (!block_edge_set_perm(disk->root, perm, shared, err))
            return false;
        int64_t length = block_node_length(node);
        if (length < 0) {
            error_set_errno(err, (int)-length, "the size of node \"%s\" is unknown", node->name);
            g_autoptr(GError) ignored = NULL;
            (void)!block_edge_set_perm(disk->root, 0, BLOCK_PERM_ALL, &ignored);
            return false;
        }
    }
    disk->owner = device;
    disk->use = *use;
    disk->in_use = true;
    disk->loop = block_loop_ref(domain);
    return true;
}

void disk_end_use(Disk *disk)
{
    if (!disk->in_use)
        return;
    disk_drain(disk);
    disk->in_use = false;
    memset(&disk->use, 0, sizeof(disk->use));
    if (disk->root) {
        g_autoptr(GError) err = NULL;
        if (!block_edge_set_perm(disk->root, 0, BLOCK_PERM_ALL, &err))
            report_warning("%s", err->message);
    }
    block_loop_unref(disk->loop);
    disk->loop = NULL;
}

void disk_unplug(Disk *disk)
{
    disk_end_use(disk);
    if (disk->root)
        block_edge_free(disk->root);
    disk->root = NULL;
    disk->interface = DRIVE_IF_NONE;
    g_free(disk->id);
    disk->id = g_strdup("");
    disk->owner = NULL; /* not shown any more; the property still holds the struct */
}

/* ---- the drive= property ---- */

static void *property_find(const char *id)
{
    Disk *disk = disk_find(id);
    if (disk)
        return disk;
    BlockNode *node = block_node_find(id);
    if (!node)
        return NULL;
    /* a node can have several users (share-rw): each device gets a disk of its own */
    for (guint i = 0; i < block_graph.disks->len; i++) {
        disk = (Disk *)block_graph.disks->pdata[i];
        if (disk->unclaimed && disk_node(disk) == node)
            return disk;
    }
    disk = disk_new("", node, NULL);
    disk->unclaimed = true;
    return disk;
}

static const char *property_name(void *backend)
{
    Disk *disk = (Disk *)backend;
    return disk->id[0] ? disk->id : disk->root ? disk->root->child->name : "";
}

static bool property_attach(void *backend, Object *owner, GError **err)
{
    Disk *disk = (Disk *)backend;
    if (disk->owner) {
        g_autofree char *path = object_path(disk->owner);
        error_set(err, "drive \"%s\" is in use by device %s", disk->id, path);
        return false;
    }
    disk->owner = owner;
    disk->unclaimed = false;
    return true;
}

static void property_detach(void *backend, Object *owner)
{
    Disk *disk = (Disk *)backend;
    g_assert(!disk->in_use);
    disk->owner = NULL;
    /* an unplugged drive goes with its device, as users of -drive expect; one whose device failed to start stays */
    if (!disk->is_drive || !disk->id[0])
        disk_free(disk);
}

static char *property_known_ids(void)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        Disk *disk = (Disk *)block_graph.disks->pdata[i];
        if (disk->id[0])
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", disk->id);
    }
    for (guint i = 0; block_graph.nodes && i < block_graph.nodes->len; i++) {
        BlockNode *node = (BlockNode *)block_graph.nodes->pdata[i];
        if (node->name[0] != '#')
            g_string_append_printf(text, "%s%s", text->len ? ", " : "", node->name);
    }
    return g_string_free(text, FALSE);
}

static const PropBackendOps disk_property_ops = {
    .find = property_find, .name = property_name, .attach = property_attach, .detach = property_detach,
    .known_ids = property_known_ids,
};

static void __attribute__((constructor)) install_property_ops(void)
{
    property_set_backend_ops(PROP_KIND_DISK, &disk_property_ops);
}

/* ---- facts ---- */

BlockNode *disk_node(const Disk *disk)
{
    return disk->root ? disk->root->child : NULL;
}

BlockLoop *disk_loop(const Disk *disk)
{
    return disk->loop;
}

uint64_t disk_length(const Disk *disk)
{
    return disk->root ? ROUND_UP_TO(disk->root->child->length, (uint64_t)BLOCK_SECTOR) : 0;
}

bool disk_is_read_only(const Disk *disk)
{
    return !disk->root || disk->root->child->read_only || (disk->in_use && disk->use.read_only);
}

const char *disk_id(const Disk *disk)
{
    return disk->id;
}

const char *disk_serial(const Disk *disk)
{
    return disk->serial;
}

bool disk_writeback(const Disk *disk)
{
    return disk->writeback;
}

void disk_set_writeback(Disk *disk, bool on)
{
    disk->writeback = on;
}

bool disk_cache_is_writeback(const Disk *disk)
{
    return disk->cache_writeback;
}

unsigned disk_in_flight(const Disk *disk)
{
    return disk->in_flight;
}

DiskStats *disk_stats(Disk *disk)
{
    return &disk->stats;
}

void disk_account_invalid(Disk *disk, BlockOp op)
{
    disk->stats.invalid[op]++;
    disk->stats.last_access_ns = now_ns();
}

void disk_account_merged(Disk *disk, BlockOp op, unsigned n)
{
    disk->stats.merged[op] += n;
}

/* ---- requests ---- */

static int check_request(const Disk *disk, const BlockReq *req)
{
    const BlockNode *node = disk_node(disk);
    if (!node)
        return -ENOMEDIUM;
    if (req->op != BLOCK_READ && req->op != BLOCK_FLUSH && disk_is_read_only(disk))
        return -EROFS;
    if (req->op == BLOCK_FLUSH)
        return 0;
    uint64_t end = ROUND_UP_TO(node->length, (uint64_t)BLOCK_SECTOR);
    if (req->offset > end || req->bytes > end - req->offset)
        return -EINVAL;
    if (req->bytes > BLOCK_MAX_TRANSFER && (req->op == BLOCK_READ || req->op == BLOCK_WRITE))
        return -EINVAL;
    return 0;
}

void disk_submit(Disk *disk, BlockReq *req)
{
    req->loop = disk->loop;
    req->disk = disk;
    req->disk_op = req->op;
    req->start_ns = now_ns();
    disk->in_flight++;
    int ret = check_request(disk, req);
    if (G_UNLIKELY(ret < 0)) {
        req->entry = disk_node(disk);
        if (req->entry)
            req->entry->in_flight++;
        block_complete_later(req, ret);
        return;
    }
    if (!disk->writeback && (req->op == BLOCK_WRITE || req->op == BLOCK_WRITE_ZEROES))
        req->flags |= BLOCK_REQ_FUA;
    block_submit(disk->root->child, req);
}

/* From block_complete(). */
void disk_complete(BlockReq *req, int ret)
{
    Disk *disk = req->disk;
    BlockOp op = req->disk_op;
    int64_t now = now_ns();
    disk->in_flight--;
    disk->stats.time_ns[op] += now - req->start_ns;
    disk->stats.last_access_ns = now;
    if (ret < 0) {
        disk->stats.failed[op]++;
    } else {
        disk->stats.ops[op]++;
        disk->stats.bytes[op] += req->bytes;
    }
    req->op = op;
}

void disk_drain(Disk *disk)
{
    if (!disk->loop)
        return;
    DOMAIN_GUARD(block_loop_domain(disk->loop));
    while (disk->in_flight)
        block_loop_poll(disk->loop, true);
}

/* ---- error policy ---- */

void disk_set_on_error(Disk *disk, DiskOnError rerror, DiskOnError werror)
{
    if (rerror != DISK_ON_ERROR_AUTO)
        disk->on_read_error = rerror;
    else if (!disk->drive_on_error_given)
        disk->on_read_error = DISK_ON_ERROR_REPORT;
    if (werror != DISK_ON_ERROR_AUTO)
        disk->on_write_error = werror;
    else if (!disk->drive_on_error_given)
        disk->on_write_error = DISK_ON_ERROR_ENOSPC;
    if (disk->on_read_error == DISK_ON_ERROR_AUTO)
        disk->on_read_error = DISK_ON_ERROR_REPORT;
    if (disk->on_write_error == DISK_ON_ERROR_AUTO)
        disk->on_write_error = DISK_ON_ERROR_ENOSPC;
    bool stops = disk->on_read_error >= DISK_ON_ERROR_STOP || disk->on_write_error >= DISK_ON_ERROR_STOP;
    if (stops && !disk->io_status)
        disk->io_status = "ok";
}

void block_set_machine(Machine *machine)
{
    block_graph.machine = machine;
}

static void emit_io_error(Disk *disk, bool is_read, int errnum, const char *action)
{
    json_object *data = json_object_new_object();
    json_object_object_add(data, "device", json_object_new_string(disk->id));
    if (disk->owner) {
        g_autofree char *path = object_path(disk->owner);
        json_object_object_add(data, "qom-path", json_object_new_string(path));
    }
    if (disk->root)
        json_object_object_add(data, "node-name", json_object_new_string(disk->root->child->name));
    json_object_object_add(data, "operation", json_object_new_string(is_read ? "read" : "write"));
    json_object_object_add(data, "action", json_object_new_string(action));
    json_object_object_add(data, "nospace", json_object_new_boolean(errnum == ENOSPC));
    json_object_object_add(data, "reason", json_object_new_string(g_strerror(errnum)));
    qmp_event_emit("BLOCK_IO_ERROR", data);
}

DiskAction disk_error(Disk *disk, BlockOp op, int ret)
{
    bool is_read = op == BLOCK_READ;
    DiskOnError policy = is_read ? disk->on_read_error : disk->on_write_error;
    DiskAction action = DISK_ACTION_REPORT;
    /* a request that can't be right whatever the host does is the guest's to handle */
    if (ret == -EINVAL || ret == -EROFS || ret == -ENOMEDIUM || ret == -ENOTSUP)
        action = DISK_ACTION_REPORT;
    else if (policy == DISK_ON_ERROR_IGNORE)
        action = DISK_ACTION_IGNORE;
    else if (policy == DISK_ON_ERROR_STOP || (policy == DISK_ON_ERROR_ENOSPC && ret == -ENOSPC))
        action = DISK_ACTION_STOP;
    if (!block_graph.machine && action == DISK_ACTION_STOP)
        action = DISK_ACTION_REPORT;
    static const char *const names[] = {"report", "ignore", "stop"};
    if (action == DISK_ACTION_STOP && (!disk->io_status || g_str_equal(disk->io_status, "ok")))
        disk->io_status = ret == -ENOSPC ? "nospace" : "failed";
    emit_io_error(disk, is_read, -ret, names[action]);
    if (action == DISK_ACTION_STOP)
        machine_request_stop(block_graph.machine, RUN_IO_ERROR);
    return action;
}

void disk_reset_io_status(Disk *disk)
{
    if (disk->io_status)
        disk->io_status = "ok";
}
