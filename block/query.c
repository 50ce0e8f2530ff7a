/* What QMP and HMP show of disks and nodes, in QEMU's field names. */
#include "block/block-int.h"

#include <string.h>
#include <time.h>

static void add(json_object *to, const char *key, json_object *value)
{
    json_object_object_add(to, key, value);
}

static void add_str(json_object *to, const char *key, const char *value)
{
    add(to, key, json_object_new_string(value));
}

static void add_u64(json_object *to, const char *key, uint64_t value)
{
    add(to, key, json_object_new_uint64(value));
}

static void add_bool(json_object *to, const char *key, bool value)
{
    add(to, key, json_object_new_boolean(value));
}

static int64_t allocated(BlockNode *node)
{
    if (node->driver->allocated)
        return node->driver->allocated(node);
    return node->children->len ? allocated(((BlockEdge *)node->children->pdata[0])->child) : -1;
}

static json_object *image_info(BlockNode *node)
{
    json_object *image = json_object_new_object();
    block_node_length(node);
    add_u64(image, "virtual-size", ROUND_UP_TO(node->length, (uint64_t)BLOCK_SECTOR));
    add_str(image, "filename", node->filename ?: "");
    add_str(image, "format", node->driver->name);
    int64_t actual = allocated(node);
    if (actual >= 0)
        add_u64(image, "actual-size", (uint64_t)actual);
    add_bool(image, "dirty-flag", false);
    if (node->driver->specific_info)
        add(image, "format-specific", node->driver->specific_info(node));
    return image;
}

/* BlockDeviceInfo. */
static json_object *node_info(BlockNode *node, const Disk *disk)
{
    static const char *const detect[] = {"off", "on", "unmap"};
    static const char *const limits[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "write_threshold"};
    json_object *info = json_object_new_object(), *cache = json_object_new_object();
    add_str(info, "file", node->filename ?: "");
    add_str(info, "node-name", node->name);
    add_bool(info, "ro", node->read_only);
    add_str(info, "drv", node->driver->name);
    add_u64(info, "backing_file_depth", 0);
    add_bool(info, "encrypted", false);
    add_str(info, "detect_zeroes", detect[node->detect_zeroes]);
    for (unsigned i = 0; i < G_N_ELEMENTS(limits); i++)
        add_u64(info, limits[i], 0);
    add_bool(cache, "writeback", disk ? disk->writeback : true);
    add_bool(cache, "direct", node->cache_direct);
    add_bool(cache, "no-flush", node->cache_no_flush);
    add(info, "cache", cache);
    add(info, "image", image_info(node));
    return info;
}

/* Drives, and disks that a device holds. */
static bool is_shown(const Disk *disk)
{
    return disk->id[0] || disk->owner;
}

static void add_qdev(json_object *to, const Disk *disk)
{
    if (!disk->owner)
        return;
    g_autofree char *path = object_path(disk->owner);
    add_str(to, "qdev", path);
}

json_object *block_query(void)
{
    json_object *list = json_object_new_array();
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        const Disk *disk = (const Disk *)block_graph.disks->pdata[i];
        if (!is_shown(disk))
            continue;
        json_object *entry = json_object_new_object();
        add_str(entry, "device", disk->id);
        add_qdev(entry, disk);
        add_str(entry, "type", "unknown");
        add_bool(entry, "removable", disk->removable);
        add_bool(entry, "locked", false);
        if (disk->removable)
            add_bool(entry, "tray_open", false);
        if (disk->owner || disk->io_status)
            add_str(entry, "io-status", disk->io_status ?: "ok");
        if (disk->root)
            add(entry, "inserted", node_info(disk->root->child, disk));
        json_object_array_add(list, entry);
    }
    return list;
}

static uint64_t highest_offset(const BlockNode *node)
{
    uint64_t own = node->stats.wr_highest_offset;
    return own || !node->children->len ? own : highest_offset(((const BlockEdge *)node->children->pdata[0])->child);
}

static json_object *stats_json(const DiskStats *stats, const BlockNode *node, bool account)
{
    static const struct {
        const char *name;
        BlockOp op;
    } ops[] = {{"rd", BLOCK_READ}, {"wr", BLOCK_WRITE}, {"flush", BLOCK_FLUSH}, {"unmap", BLOCK_DISCARD}};
    static const DiskStats none;
    if (!stats)
        stats = &none;
    json_object *out = json_object_new_object();
    for (unsigned i = 0; i < G_N_ELEMENTS(ops); i++) {
        BlockOp op = ops[i].op;
        char key[40];
        uint64_t extra_ops = op == BLOCK_WRITE ? stats->ops[BLOCK_WRITE_ZEROES] : 0;
        uint64_t extra_bytes = op == BLOCK_WRITE ? stats->bytes[BLOCK_WRITE_ZEROES] : 0;
        if (op != BLOCK_FLUSH) {
            g_snprintf(key, sizeof(key), "%s_bytes", ops[i].name);
            add_u64(out, key, stats->bytes[op] + extra_bytes);
            g_snprintf(key, sizeof(key), "%s_merged", ops[i].name);
            add_u64(out, key, stats->merged[op]);
        }
        g_snprintf(key, sizeof(key), "%s_operations", ops[i].name);
        add_u64(out, key, stats->ops[op] + extra_ops);
        g_snprintf(key, sizeof(key), "%s_total_time_ns", ops[i].name);
        add_u64(out, key, (uint64_t)stats->time_ns[op]);
        g_snprintf(key, sizeof(key), "failed_%s_operations", ops[i].name);
        add_u64(out, key, stats->failed[op]);
        g_snprintf(key, sizeof(key), "invalid_%s_operations", ops[i].name);
        add_u64(out, key, stats->invalid[op]);
    }
    add_u64(out, "wr_highest_offset", node ? highest_offset(node) : 0);
    if (stats->last_access_ns) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        int64_t idle = ts.tv_sec * NS_PER_SEC + ts.tv_nsec - stats->last_access_ns;
        add_u64(out, "idle_time_ns", (uint64_t)MAX(idle, 0));
    }
    add_bool(out, "account_invalid", account);
    add_bool(out, "account_failed", account);
    add(out, "timed_stats", json_object_new_array());
    return out;
}

static json_object *node_stats(BlockNode *node, const DiskStats *stats)
{
    json_object *entry = json_object_new_object();
    add_str(entry, "node-name", node->name);
    add(entry, "stats", stats_json(stats, node, stats != NULL));
    if (node->driver->specific_stats)
        add(entry, "driver-specific", node->driver->specific_stats(node));
    if (node->children->len)
        add(entry, "parent", node_stats(((BlockEdge *)node->children->pdata[0])->child, NULL));
    return entry;
}

json_object *block_query_stats(bool query_nodes)
{
    json_object *list = json_object_new_array();
    if (query_nodes) {
        for (guint i = 0; block_graph.nodes && i < block_graph.nodes->len; i++)
            json_object_array_add(list, node_stats((BlockNode *)block_graph.nodes->pdata[i], NULL));
        return list;
    }
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        const Disk *disk = (const Disk *)block_graph.disks->pdata[i];
        if (!is_shown(disk))
            continue;
        json_object *entry = disk->root ? node_stats(disk->root->child, &disk->stats) : json_object_new_object();
        if (!disk->root)
            add(entry, "stats", stats_json(&disk->stats, NULL, true));
        add_str(entry, "device", disk->id);
        add_qdev(entry, disk);
        json_object_array_add(list, entry);
    }
    return list;
}

json_object *block_query_named_nodes(bool flat)
{
    json_object *list = json_object_new_array();
    for (guint i = 0; block_graph.nodes && i < block_graph.nodes->len; i++)
        json_object_array_add(list, node_info((BlockNode *)block_graph.nodes->pdata[i], NULL));
    return list;
}

static void disk_text(GString *text, const Disk *disk)
{
    const BlockNode *node = disk_node(disk);
    if (disk->id[0])
        g_string_append(text, disk->id);
    if (node && disk->id[0])
        g_string_append_printf(text, " (%s)", node->name);
    else if (node)
        g_string_append(text, node->name);
    if (node)
        g_string_append_printf(text, ": %s (%s%s)\r\n", node->filename ?: "", node->driver->name,
                               node->read_only ? ", read-only" : "");
    else
        g_string_append(text, ": [not inserted]\r\n");
    if (disk->io_status && !g_str_equal(disk->io_status, "ok"))
        g_string_append_printf(text, "    I/O status:       %s\r\n", disk->io_status);
    if (disk->owner) {
        g_autofree char *path = object_path(disk->owner);
        g_string_append_printf(text, "    Attached to:      %s\r\n", path);
    }
    if (disk->removable)
        g_string_append(text, "    Removable device: not locked, tray closed\r\n");
    if (node)
        g_string_append_printf(text, "    Cache mode:       %s%s%s\r\n", disk->writeback ? "writeback" : "writethrough",
                               node->cache_direct ? ", direct" : "", node->cache_no_flush ? ", ignore flushes" : "");
}

char *block_info_text(void)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        const Disk *disk = (const Disk *)block_graph.disks->pdata[i];
        if (!is_shown(disk))
            continue;
        if (text->len)
            g_string_append(text, "\r\n");
        disk_text(text, disk);
    }
    return g_string_free(text, FALSE);
}
