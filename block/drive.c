/*
 * -drive: one option that makes the nodes of an image, the disk, and with if=virtio the device, as QEMU's users know it. A plain path, a
 * format that is guessed when format= is missing, and cache= as one word are its conveniences over -blockdev.
 */
#include "block/block-int.h"

#include <glib/gstdio.h>
#include <hw/device.h>
#include <string.h>

#include "system/machine.h"

/* Keys that belong to the drive, not to its nodes. */
static const char *const drive_keys[] = {
    "file", "if", "id", "index", "bus", "unit", "media", "format", "cache", "aio", "readonly", "snapshot", "rerror", "werror",
    "serial", "driver", "node-name", "read-only", "auto-read-only", "force-share", "detect-zeroes", "discard", "filename",
    "locking", "offset", "size", "copy-on-read", "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "group", NULL
};

static const struct {
    const char *name;
    bool writeback, direct, no_flush;
} cache_modes[] = {
    {"writeback", true, false, false}, {"none", true, true, false}, {"writethrough", false, false, false},
    {"directsync", false, true, false}, {"unsafe", true, false, true},
};

typedef struct DriveArgs {
    json_object *node;     /* what is left for the nodes (owned) */
    const char *file, *id, *format, *serial, *aio, *media;
    DriveInterface interface;
    int index;
    bool writeback;
    DiskOnError rerror, werror;
} DriveArgs;

static bool check_keys(json_object *options, GError **err)
{
    json_object_object_foreach(options, key, value) {
        static const char *const prefixes[] = {"file.", "cache.", "throttling.", "backing.", NULL};
        bool known = g_strv_contains(drive_keys, key) || json_object_is_type(value, json_type_object);
        for (unsigned i = 0; prefixes[i]; i++)
            known = known || g_str_has_prefix(key, prefixes[i]);
        if (known)
            continue;
        const char *near = nearest_name(key, drive_keys);
        if (near)
            error_set(err, "has no option \"%s\"; the nearest is \"%s\"", key, near);
        else
            error_set(err, "has no option \"%s\"", key);
        return false;
    }
    static const char *const refused[] = {"bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr", "group", "copy-on-read",
                                          "throttling", "backing"};
    json_object_object_foreach(options, name, unused) {
        for (unsigned i = 0; i < G_N_ELEMENTS(refused); i++) {
            size_t len = strlen(refused[i]);
            if (strncmp(name, refused[i], len) == 0 && (name[len] == 0 || name[len] == '.')) {
                bool off = false;
                if (g_str_equal(name, "copy-on-read") && block_parse_bool(unused, &off) && !off)
                    continue;
                error_set(err, "%s= is not supported by this version", name);
                return false;
            }
        }
    }
    return true;
}

static const char *take(json_object *options, const char *key)
{
    json_object *value = NULL;
    if (!json_object_object_get_ex(options, key, &value) || json_object_is_type(value, json_type_object))
        return NULL;
    return json_object_get_string(value);
}

static bool take_on_error(json_object *options, const char *key, bool write, DiskOnError *out, GError **err)
{
    const char *text = take(options, key);
    *out = DISK_ON_ERROR_AUTO;
    if (!text)
        return true;
    for (int i = 1; disk_on_error_names[i]; i++) {
        if (g_str_equal(disk_on_error_names[i], text) && (write || i != DISK_ON_ERROR_ENOSPC)) {
            *out = (DiskOnError)i;
            return true;
        }
    }
    error_set(err, "%s= takes one of %s, not \"%s\"", key,
              write ? "report, ignore, stop, enospc" : "report, ignore, stop", text);
    return false;
}

static bool take_cache(json_object *from, DriveArgs *args, GError **err)
{
    const char *mode = take(from, "cache");
    args->writeback = true;
    if (!mode)
        return true;
    for (unsigned i = 0; i < G_N_ELEMENTS(cache_modes); i++) {
        if (!g_str_equal(mode, cache_modes[i].name))
            continue;
        args->writeback = cache_modes[i].writeback;
        block_option_default(args->node, "cache.direct", cache_modes[i].direct ? "on" : "off");
        block_option_default(args->node, "cache.no-flush", cache_modes[i].no_flush ? "on" : "off");
        return true;
    }
    error_set(err, "cache= takes one of none, writeback, writethrough, directsync, unsafe, not \"%s\"", mode);
    return false;
}

static bool take_interface(json_object *from, DriveArgs *args, GError **err)
{
    const char *text = take(from, "if");
    if (!text || g_str_equal(text, "ide")) {
        error_set(err, "%s: this version has no IDE disks; if=virtio and if=none work",
                  text ? "if=ide" : "without if= is an IDE disk on this machine");
        return false;
    }
    if (g_str_equal(text, "virtio"))
        args->interface = DRIVE_IF_VIRTIO;
    else if (g_str_equal(text, "none"))
        args->interface = DRIVE_IF_NONE;
    else {
        error_set(err, "if=%s is not supported by this version; if=virtio and if=none work", text);
        return false;
    }
    return true;
}

static bool take_number(json_object *from, const char *key, int *out, GError **err)
{
    json_object *value = NULL;
    uint64_t number;
    if (!json_object_object_get_ex(from, key, &value))
        return true;
    if (!block_parse_size(value, &number) || number > 255) {
        error_set(err, "%s= takes a number up to 255, not \"%s\"", key, json_object_get_string(value));
        return false;
    }
    *out = (int)number;
    return true;
}

static void move_to_nodes(json_object *from, json_object *node)
{
    static const char *const ours[] = {"file", "if", "id", "index", "bus", "unit", "media", "format", "cache", "aio",
                                       "readonly", "snapshot", "rerror", "werror", "serial", "copy-on-read", "locking", NULL};
    json_object_object_foreach(from, key, value)
        if (!g_strv_contains(ours, key) || json_object_is_type(value, json_type_object))
            json_object_object_add(node, key, json_object_get(value));
}

static bool read_args(json_object *options, DriveArgs *args, GError **err)
{
    if (!check_keys(options, err))
        return false;
    json_object *flat = json_object_new_object();
    move_to_nodes(options, flat);
    args->node = block_options_nest(flat, err);
    json_object_put(flat);
    if (!args->node)
        return false;
    args->file = take(options, "file");
    args->id = take(options, "id");
    args->format = take(options, "format");
    args->serial = take(options, "serial");
    args->aio = take(options, "aio");
    args->media = take(options, "media");
    args->index = -1;
    int unit = -1, bus = 0;
    if (!take_interface(options, args, err) || !take_cache(options, args, err) ||
        !take_on_error(options, "rerror", false, &args->rerror, err) ||
        !take_on_error(options, "werror", true, &args->werror, err) ||
        !take_number(options, "index", &args->index, err) || !take_number(options, "unit", &unit, err) ||
        !take_number(options, "bus", &bus, err))
        return false;
    if (args->index >= 0 && unit >= 0) {
        error_set(err, "index= and unit= exclude each other");
        return false;
    }
    if (unit >= 0)
        args->index = unit;
    if (args->media && !g_str_equal(args->media, "disk") && !g_str_equal(args->media, "cdrom")) {
        error_set(err, "media= takes disk or cdrom, not \"%s\"", args->media);
        return false;
    }
    json_object *snapshot = block_option_get(options, "snapshot"), *readonly = block_option_get(options, "readonly");
    bool on = false;
    if (snapshot && (!block_parse_bool(snapshot, &on) || on)) {
        error_set(err, "snapshot=%s is not supported by this version", json_object_get_string(snapshot));
        return false;
    }
    on = args->media && g_str_equal(args->media, "cdrom");
    if (readonly && !block_parse_bool(readonly, &on)) {
        error_set(err, "readonly= takes on or off, not \"%s\"", json_object_get_string(readonly));
        return false;
    }
    if (on || readonly)
        block_option_default(args->node, "read-only", on ? "on" : "off");
    else if (!block_option_get(args->node, "read-only"))
        block_option_default(args->node, "auto-read-only", "on");
    const char *locking = take(options, "locking");
    if (locking)
        block_option_default(args->node, "file.locking", locking);
    return true;
}

/* "file:x" and plain paths; other protocols and json: are recognised by their prefix. */
json_object *block_options_for_filename(const char *filename, GError **err)
{
    if (g_str_has_prefix(filename, "json:")) {
        json_object *object = json_tokener_parse(filename + 5);
        if (json_object_is_type(object, json_type_object))
            return object;
        json_object_put(object);
        error_set(err, "\"%s\" is not a JSON object after \"json:\"", filename);
        return NULL;
    }
    if (g_str_has_prefix(filename, "file:"))
        filename += 5;
    const char *colon = strpbrk(filename, ":/");
    if (colon && *colon == ':' && colon > filename) {
        bool word = true;
        for (const char *p = filename; p < colon; p++)
            word = word && (g_ascii_isalnum(*p) || strchr("+-.", *p));
        if (word && !g_file_test(filename, G_FILE_TEST_EXISTS)) {
            g_autofree char *protocol = g_strndup(filename, (gsize)(colon - filename));
            error_set(err, "\"%s\": this version has no protocol \"%s\"; a path with a colon is written \"./%s\"", filename,
                      protocol, filename);
            return NULL;
        }
    }
    json_object *object = json_object_new_object();
    bool device = false;
    if (!g_str_has_prefix(filename, "/dev/fdset/")) {
        GStatBuf st;
        device = g_stat(filename, &st) == 0 && S_ISBLK(st.st_mode);
    }
    json_object_object_add(object, "driver", json_object_new_string(device ? "host_device" : "file"));
    json_object_object_add(object, "filename", json_object_new_string(filename));
    return object;
}

static void inherit(json_object *to, json_object *from, const char *path)
{
    json_object *value = block_option_get(from, path);
    if (value && !block_option_get(to, path))
        block_option_set(to, path, json_object_get(value));
}

/* The node of the host file with what -drive says about it. */
static BlockNode *open_protocol(DriveArgs *args, json_object *file_options, GError **err)
{
    static const char *const inherited[] = {"read-only", "auto-read-only", "force-share", "cache.direct", "cache.no-flush"};
    for (unsigned i = 0; i < G_N_ELEMENTS(inherited); i++)
        inherit(file_options, args->node, inherited[i]);
    block_option_default(file_options, "discard", "unmap");
    if (args->aio)
        block_option_default(file_options, "aio", args->aio);
    return block_node_open(file_options, NULL, err);
}

static BlockNode *open_format(DriveArgs *args, BlockNode *protocol, GError **err)
{
    const char *name = args->format ?: block_option_str(args->node, "driver");
    if (!name) {
        const BlockDriver *driver = block_probe(protocol, err);
        if (!driver)
            return NULL;
        name = driver->name;
        if (g_str_equal(name, "raw") && !protocol->read_only) {
            report_warning("the format of \"%s\" was not given and looks like raw: the guest can't write to its first sector what looks like "
                           "another format; format=raw lifts that", protocol->filename);
            block_option_default(args->node, "x-probed", "on");
        }
    }
    block_option_set(args->node, "driver", json_object_new_string(name));
    block_option_set(args->node, "file", json_object_new_string(protocol->name));
    return block_node_open(args->node, NULL, err);
}

/* (owned) NULL without error: an empty drive. */
static BlockNode *open_nodes(DriveArgs *args, GError **err)
{
    json_object *nested = block_option_get(args->node, "file");
    const char *driver = args->format ?: block_option_str(args->node, "driver");
    const BlockDriver *known = driver ? block_find_driver(driver) : NULL;
    const char *filename = args->file && args->file[0] ? args->file : block_option_str(args->node, "filename");
    if (nested && json_object_is_type(nested, json_type_string))
        return open_format(args, NULL, err);
    if (!nested && !filename)
        return NULL;
    json_object *file_options = filename ? block_options_for_filename(filename, err) : json_object_new_object();
    if (!file_options)
        return NULL;
    if (nested) {
        json_object_object_foreach(nested, key, value)
            json_object_object_add(file_options, key, json_object_get(value));
        block_option_default(file_options, "driver", "file");
        json_object_object_del(args->node, "file");
    }
    json_object_object_del(args->node, "filename");
    BlockNode *node;
    if (known && !known->is_format) {
        /* driver=file: no format on top */
        json_object_object_foreach(args->node, key, value)
            if (!json_object_is_type(value, json_type_object))
                json_object_object_add(file_options, key, json_object_get(value));
        node = open_protocol(args, file_options, err);
    } else if (block_option_get(file_options, "file")) {
        node = open_protocol(args, file_options, err); /* json: with a format */
    } else {
        BlockNode *protocol = open_protocol(args, file_options, err);
        node = protocol ? open_format(args, protocol, err) : NULL;
        block_node_unref(protocol);
    }
    json_object_put(file_options);
    return node;
}

static bool choose_place(DriveArgs *args, char **id, GError **err)
{
    static const char *const names[] = {"ide", "none", "virtio"};
    bool taken = true;
    int index = args->index >= 0 ? args->index : 0;
    while (taken) {
        taken = false;
        for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
            const Disk *disk = (const Disk *)block_graph.disks->pdata[i];
            taken = taken || (disk->is_drive && disk->interface == args->interface && disk->index == index);
        }
        if (taken && args->index >= 0) {
            error_set(err, "there is a drive with if=%s and index=%d already", names[args->interface], index);
            return false;
        }
        index += taken;
    }
    args->index = index;
    *id = args->id ? g_strdup(args->id) : g_strdup_printf("%s%d", names[args->interface], index);
    if (args->id && !block_name_is_valid(args->id)) {
        error_set(err, "\"%s\" is not an id: it takes a letter, then letters, digits, '-', '.' and '_'", args->id);
        g_clear_pointer(id, g_free);
        return false;
    }
    if (!block_name_is_free(*id, err)) {
        g_clear_pointer(id, g_free);
        return false;
    }
    return true;
}

static bool make_drive(DriveArgs *args, GError **err)
{
    g_autofree char *id = NULL;
    if (!choose_place(args, &id, err))
        return false;
    GError *local = NULL;
    BlockNode *node = open_nodes(args, &local);
    if (local) {
        g_propagate_error(err, local);
        return false;
    }
    Disk *disk = disk_new(id, node, err);
    block_node_unref(node);
    if (!disk)
        return false;
    disk->is_drive = true;
    disk->interface = args->interface;
    disk->index = args->index;
    disk->serial = g_strdup(args->serial);
    disk->removable = args->media && g_str_equal(args->media, "cdrom");
    disk->cache_writeback = disk->writeback = args->writeback;
    if (args->rerror || args->werror) {
        disk->drive_on_error_given = true;
        disk_set_on_error(disk, args->rerror, args->werror);
    }
    return true;
}

bool drive_add(json_object *options, GError **err)
{
    DriveArgs args = {0};
    bool ok = read_args(options, &args, err) && make_drive(&args, err);
    json_object_put(args.node);
    return ok;
}

bool drive_create_devices(Machine *machine, GError **err)
{
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        Disk *disk = (Disk *)block_graph.disks->pdata[i];
        if (!disk->is_drive || disk->interface != DRIVE_IF_VIRTIO || disk->owner)
            continue;
        json_object *options = json_object_new_object();
        json_object_object_add(options, "driver", json_object_new_string("virtio-blk-pci"));
        json_object_object_add(options, "drive", json_object_new_string(disk->id));
        Device *dev = device_add(machine, options, err);
        json_object_put(options);
        if (!dev) {
            g_prefix_error(err, "-drive if=virtio: ");
            return false;
        }
    }
    return true;
}

char *drive_check_unused(void)
{
    for (guint i = 0; block_graph.disks && i < block_graph.disks->len; i++) {
        const Disk *disk = (const Disk *)block_graph.disks->pdata[i];
        if (disk->is_drive && disk->interface != DRIVE_IF_NONE && !disk->owner)
            return g_strdup_printf("drive \"%s\" has no device: this machine has no place for it", disk->id);
    }
    return NULL;
}

void block_shutdown(void)
{
    block_drain_all();
    for (guint i = block_graph.disks ? block_graph.disks->len : 0; i-- > 0;) {
        Disk *disk = (Disk *)block_graph.disks->pdata[i];
        if (disk->in_use)
            disk_end_use(disk);
        if (!disk->owner)
            disk_free(disk);
    }
    /* users before what they use; nodes that a device still holds stay open until the process ends, flushed */
    bool progress = true;
    while (progress) {
        progress = false;
        for (guint i = block_graph.nodes ? block_graph.nodes->len : 0; i-- > 0 && !progress;) {
            BlockNode *node = (BlockNode *)block_graph.nodes->pdata[i];
            if (node->user_named && !node->parents->len) {
                node->user_named = false;
                block_node_unref(node);
                progress = true;
            }
        }
    }
    block_flush_all();
}
