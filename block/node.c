/*
 * Nodes: how they are made from options, named, found and closed, and how requests enter them.
 */
#include "block/block-int.h"

#include <errno.h>
#include <string.h>

BlockGraph block_graph;

static const char *const detect_zeroes_names[] = {"off", "on", "unmap", NULL};
static const char *const discard_names[] = {"ignore", "off", "unmap", "on", NULL};

/* Options that every node has. */
static const BlockOption common_options[] = {
    {"driver", BLOCK_OPT_STR, .help = "block driver"},
    {"node-name", BLOCK_OPT_STR, .help = "name of the node, up to 31 letters, digits, '-', '.', '_'"},
    {"read-only", BLOCK_OPT_BOOL, .help = "refuse writes"},
    {"auto-read-only", BLOCK_OPT_BOOL, .help = "become read-only when the host refuses to write"},
    {"force-share", BLOCK_OPT_BOOL, .help = "read although another process writes (needs read-only=on)"},
    {"detect-zeroes", BLOCK_OPT_ENUM, detect_zeroes_names, .help = "turn writes of zeroes into holes"},
    {"discard", BLOCK_OPT_ENUM, discard_names, .help = "what happens to discard requests"},
    {"cache.direct", BLOCK_OPT_BOOL, .help = "bypass the host's page cache"},
    {"cache.no-flush", BLOCK_OPT_BOOL, .help = "ignore flush requests"},
    BLOCK_OPTION_END
};

static void graph_init(void)
{
    if (block_graph.nodes)
        return;
    block_graph.nodes = g_ptr_array_new();
    block_graph.disks = g_ptr_array_new();
}

void block_register_driver(const BlockDriver *driver)
{
    if (!block_graph.drivers)
        block_graph.drivers = g_ptr_array_new();
    g_assert(!block_find_driver(driver->name));
    g_ptr_array_add(block_graph.drivers, (gpointer)driver);
}

const BlockDriver *block_find_driver(const char *name)
{
    for (guint i = 0; block_graph.drivers && i < block_graph.drivers->len; i++) {
        const BlockDriver *driver = (const BlockDriver *)block_graph.drivers->pdata[i];
        if (g_str_equal(driver->name, name))
            return driver;
    }
    return NULL;
}

static const BlockDriver *require_driver(const char *name, GError **err)
{
    const BlockDriver *driver = block_find_driver(name);
    if (driver)
        return driver;
    GString *known = g_string_new(NULL);
    for (guint i = 0; i < block_graph.drivers->len; i++)
        g_string_append_printf(known, "%s%s", i ? ", " : "", ((const BlockDriver *)block_graph.drivers->pdata[i])->name);
    error_set(err, "unknown block driver \"%s\"; this version has %s", name, known->str);
    g_string_free(known, TRUE);
    return NULL;
}

BlockNode *block_node_find(const char *name)
{
    for (guint i = 0; block_graph.nodes && i < block_graph.nodes->len; i++) {
        BlockNode *node = (BlockNode *)block_graph.nodes->pdata[i];
        if (g_str_equal(node->name, name))
            return node;
    }
    return NULL;
}

bool block_name_is_valid(const char *name)
{
    if (!g_ascii_isalpha(name[0]))
        return false;
    for (const char *p = name; *p; p++)
        if (!g_ascii_isalnum(*p) && !strchr("-._", *p))
            return false;
    return true;
}

bool block_name_is_free(const char *name, GError **err)
{
    if (block_node_find(name)) {
        error_set(err, "there is a block node named \"%s\" already", name);
        return false;
    }
    if (disk_find(name)) {
        error_set(err, "there is a drive with the id \"%s\" already", name);
        return false;
    }
    return true;
}

static bool choose_name(BlockNode *node, const char *name, GError **err)
{
    if (!name) {
        node->name = g_strdup_printf("#block%03u", ++block_graph.next_name);
        return true;
    }
    if (!block_name_is_valid(name) || strlen(name) > 31) {
        error_set(err, "\"%s\" is not a node name: it takes a letter, then up to 30 letters, digits, '-', '.' and '_'", name);
        return false;
    }
    if (!block_name_is_free(name, err))
        return false;
    node->name = g_strdup(name);
    return true;
}

BlockNode *block_node_ref(BlockNode *node)
{
    node->refs++;
    return node;
}

void block_node_unref(BlockNode *node)
{
    if (!node || --node->refs)
        return;
    g_assert(!node->parents->len && !node->in_flight);
    if (!node->read_only && !node->cache_no_flush && node->opaque)
        block_flush_sync(node);
    if (node->opaque && node->driver->close)
        node->driver->close(node);
    while (node->children->len)
        block_edge_free((BlockEdge *)node->children->pdata[node->children->len - 1]);
    g_ptr_array_remove(block_graph.nodes, node);
    g_ptr_array_unref(node->children);
    g_ptr_array_unref(node->parents);
    g_free(node->opaque);
    g_free(node->filename);
    g_free(node->name);
    g_free(node);
}

/* Options that every node has, and what a child takes over from the node that opened it. */
static bool read_common_options(BlockNode *node, json_object *options, const BlockNode *parent, GError **err)
{
    node->read_only = block_option_bool(options, "read-only", parent ? parent->read_only : false);
    node->auto_read_only = block_option_bool(options, "auto-read-only", parent ? parent->auto_read_only : false);
    node->force_share = block_option_bool(options, "force-share", parent ? parent->force_share : false);
    node->cache_direct = block_option_bool(options, "cache.direct", parent ? parent->cache_direct : false);
    node->cache_no_flush = block_option_bool(options, "cache.no-flush", parent ? parent->cache_no_flush : false);
    node->detect_zeroes = (DetectZeroes)block_option_enum(options, "detect-zeroes", detect_zeroes_names, 0);
    /* A format decides what it passes down, so what it opens is left free to discard. */
    node->discard_unmap = block_option_enum(options, "discard", discard_names, parent ? 2 : 0) >= 2;
    if (node->force_share && !node->read_only) {
        error_set(err, "force-share=on needs read-only=on");
        return false;
    }
    if (node->detect_zeroes == DETECT_ZEROES_UNMAP && !node->discard_unmap) {
        error_set(err, "detect-zeroes=unmap needs discard=unmap");
        return false;
    }
    return true;
}

static bool check_options(const BlockDriver *driver, json_object *options, GError **err)
{
    const BlockOption *tables[] = {common_options, driver->options, NULL};
    g_autofree char *what = g_strdup_printf("block driver \"%s\"", driver->name);
    return block_options_check(options, what, tables, err);
}

BlockNode *block_node_open(json_object *given, const BlockNode *parent, GError **err)
{
    graph_init();
    json_object *options = block_options_nest(given, err);
    if (!options)
        return NULL;
    const char *driver_name = block_option_str(options, "driver");
    const BlockDriver *driver = NULL;
    if (driver_name)
        driver = require_driver(driver_name, err);
    else
        error_set(err, "a block node needs the option \"driver\"");
    if (!driver || !check_options(driver, options, err)) {
        json_object_put(options);
        return NULL;
    }
    BlockNode *node = g_new0(BlockNode, 1);
    node->driver = driver;
    node->refs = 1;
    node->request_align = 1;
    node->children = g_ptr_array_new();
    node->parents = g_ptr_array_new();
    if (choose_name(node, block_option_str(options, "node-name"), err) && read_common_options(node, options, parent, err)) {
        g_ptr_array_add(block_graph.nodes, node);
        node->opaque = g_malloc0(MAX(driver->size, 1));
        if (driver->open(node, options, err)) {
            if (!node->filename && node->children->len)
                node->filename = g_strdup(((BlockEdge *)node->children->pdata[0])->child->filename);
            json_object_put(options);
            return node;
        }
        g_free(node->opaque);
        node->opaque = NULL; /* open undid its work: no close */
    }
    json_object_put(options);
    if (!node->name)
        node->name = g_strdup("");
    block_node_unref(node);
    return NULL;
}

BlockNode *block_node_open_child(BlockNode *node, json_object *options, const char *name, GError **err)
{
    json_object *value = block_option_get(options, name);
    BlockNode *child = NULL;
    if (!value) {
        error_set(err, "block driver \"%s\" needs the option \"%s\"", node->driver->name, name);
    } else if (json_object_is_type(value, json_type_string)) {
        const char *ref = json_object_get_string(value);
        child = block_node_find(ref);
        if (child)
            block_node_ref(child);
        else
            error_set(err, "there is no block node named \"%s\"", ref);
    } else if (json_object_is_type(value, json_type_object)) {
        child = block_node_open(value, node, err);
    }
    if (!child)
        return NULL;
    if (child->read_only && !node->read_only) {
        if (node->auto_read_only)
            node->read_only = true;
        else
            error_set(err, "node \"%s\" is read-only, node \"%s\" above it is not; read-only=on or auto-read-only=on helps",
                      child->name, node->name);
    }
    BlockEdge *edge = NULL;
    if (!child->read_only || node->read_only)
        edge = block_edge_new(child, node, NULL, name, 0, BLOCK_PERM_ALL, err);
    block_node_unref(child); /* the edge has its own */
    return edge ? child : NULL;
}

int64_t block_node_length(BlockNode *node)
{
    if (node->driver->get_length) {
        int64_t now = node->driver->get_length(node);
        if (now >= 0)
            node->length = (uint64_t)now;
        return now;
    }
    return (int64_t)node->length;
}

BlockNode *blockdev_add(json_object *options, GError **err)
{
    json_object *name = NULL;
    if (!json_object_object_get_ex(options, "node-name", &name)) {
        error_set(err, "a block node needs the option \"node-name\"");
        return NULL;
    }
    BlockNode *node = block_node_open(options, NULL, err);
    if (node)
        node->user_named = true;
    return node;
}

bool blockdev_del(const char *node_name, GError **err)
{
    BlockNode *node = block_node_find(node_name);
    if (!node) {
        error_set(err, "there is no block node named \"%s\"", node_name);
        return false;
    }
    if (!node->user_named) {
        error_set(err, "node \"%s\" was not made by blockdev-add or -blockdev", node_name);
        return false;
    }
    if (node->parents->len) {
        g_autofree char *user = block_user_description((BlockEdge *)node->parents->pdata[0]);
        error_set(err, "node \"%s\" is in use by %s", node_name, user);
        return false;
    }
    node->user_named = false;
    block_node_unref(node);
    return true;
}

static bool resize_needs(BlockNode *node, bool on, GError **err)
{
    for (guint i = 0; i < node->parents->len; i++) {
        const BlockEdge *e = (const BlockEdge *)node->parents->pdata[i];
        if (on && !(e->shared & BLOCK_PERM_RESIZE)) {
            g_autofree char *user = block_user_description(e);
            error_set(err, "node \"%s\" is in use by %s, which does not let it be resized", node->name, user);
            return false;
        }
    }
    return true;
}

static void tell_resized(BlockNode *node)
{
    for (guint i = 0; i < node->parents->len; i++) {
        BlockEdge *e = (BlockEdge *)node->parents->pdata[i];
        if (e->parent) {
            block_node_length(e->parent);
            tell_resized(e->parent);
        } else if (e->disk && e->disk->in_use && e->disk->use.ops && e->disk->use.ops->resized) {
            e->disk->use.ops->resized(e->disk->use.opaque);
        }
    }
}

bool block_resize(const char *device, const char *node_name, uint64_t bytes, GError **err)
{
    BlockNode *node = NULL;
    if (node_name) {
        node = block_node_find(node_name);
    } else if (device) {
        Disk *disk = disk_find(device);
        node = disk ? disk_node(disk) : NULL;
    }
    if (!node) {
        error_set_class(err, RHEA_ERROR_DEVICE_NOT_FOUND, "there is no block device \"%s\"", node_name ?: device ?: "");
        return false;
    }
    if (bytes > INT64_MAX - BLOCK_SECTOR) {
        error_set(err, "size %" PRIu64 " is too big for a block device", bytes);
        return false;
    }
    if (node->read_only) {
        error_set(err, "node \"%s\" is read-only", node->name);
        return false;
    }
    if (!node->driver->truncate) {
        error_set(err, "block driver \"%s\" of node \"%s\" can't be resized", node->driver->name, node->name);
        return false;
    }
    if (!resize_needs(node, true, err))
        return false;
    block_node_drain(node);
    if (!node->driver->truncate(node, bytes, err))
        return false;
    block_node_length(node);
    tell_resized(node);
    return true;
}
