/*
 * Loading of plugins. A file is opened with lazy binding first, so that one that was made for another version is refused by its
 * abi number and not by the first missing symbol; then all symbols are bound, so that nothing is missing later.
 */
#include "system/plugin.h"

#include <errno.h>
#include <gmodule.h>
#include <rhea/plugin.h>
#include <string.h>
#include <unistd.h>

#include "qom/class-loader.h"

static char *directory;
static GHashTable *tried;  /* file names in the directory that were loaded or refused */
static bool all_tried;
static GHashTable *loaded; /* descriptors */

static bool check_descriptor(const char *file, const RheaPlugin *plugin, GError **err)
{
    if (plugin->abi != RHEA_PLUGIN_ABI)
        error_set(err, "plugin '%s' was made for version %u of the plugin interface: this program has version %u", file,
                  plugin->abi, RHEA_PLUGIN_ABI);
    else if (plugin->entries == plugin->entries_end)
        error_set(err, "plugin '%s' (%s) has no classes", file, plugin->name);
    else
        return true;
    return false;
}

static bool add_classes(const char *file, const RheaPlugin *plugin, GError **err)
{
    object_classes_begin();
    for (const RheaPluginEntry *entry = plugin->entries; entry < plugin->entries_end; entry++)
        (*entry)();
    if (object_classes_commit(err))
        return true;
    g_prefix_error(err, "plugin '%s' (%s): ", file, plugin->name);
    return false;
}

/* GLib's messages begin with the file name or not, as the dynamic linker likes. */
static void error_module(GError **err, const char *file)
{
    const char *why = g_module_error();
    g_autofree char *prefix = g_strdup_printf("%s: ", file);
    if (why && g_str_has_prefix(why, prefix))
        why += strlen(prefix);
    error_set(err, "plugin '%s' can't be loaded: %s", file, why ? why : "unknown reason");
}

/* *again: the file was loaded before, which only an explicit request needs to hear of. */
static bool load_file(const char *file, bool *again, GError **err)
{
    *again = false;
    if (access(file, R_OK)) {
        error_set_errno(err, errno, "plugin '%s' can't be read", file);
        return false;
    }
    g_autofree char *path = g_canonicalize_filename(file, NULL);
    GModule *module = g_module_open(path, G_MODULE_BIND_LAZY | G_MODULE_BIND_LOCAL);
    if (!module) {
        error_module(err, path);
        return false;
    }
    gpointer plugin;
    if (!g_module_symbol(module, "rhea_plugin", &plugin)) {
        error_set(err, "'%s' is not a plugin: it has no symbol 'rhea_plugin'", file);
        g_module_close(module);
        return false;
    }
    if (!loaded)
        loaded = g_hash_table_new(NULL, NULL);
    *again = g_hash_table_contains(loaded, plugin);
    if (*again) {
        error_set(err, "plugin '%s' is loaded already", file);
        g_module_close(module);
        return false;
    }
    if (!check_descriptor(file, plugin, err)) {
        g_module_close(module);
        return false;
    }
    GModule *bound = g_module_open(path, G_MODULE_BIND_LOCAL);
    if (!bound) {
        error_module(err, path);
        g_module_close(module);
        return false;
    }
    g_module_make_resident(module);
    g_hash_table_add(loaded, plugin);
    return add_classes(file, plugin, err);
}

bool plugin_load(const char *file, GError **err)
{
    bool again;
    return load_file(file, &again, err);
}

/* True if the file was there and brought something. */
static bool try_file(const char *name)
{
    if (!g_hash_table_add(tried, g_strdup(name)))
        return false;
    g_autofree char *file = g_build_filename(directory, name, NULL);
    if (access(file, F_OK))
        return false;
    g_autoptr(GError) err = NULL;
    bool again;
    if (load_file(file, &again, &err))
        return true;
    if (!again)
        report_warning("%s", err->message);
    return false;
}

/* "virtio-rng-pci" is in virtio-rng-pci.so, virtio-rng.so or virtio.so. */
static bool try_prefixes(const char *class_name)
{
    g_autofree char *stem = g_strdup(class_name);
    if (strchr(stem, '/'))
        return false;
    while (*stem) {
        g_autofree char *name = g_strconcat(stem, ".so", NULL);
        if (try_file(name))
            return true;
        char *dash = strrchr(stem, '-');
        *(dash ? dash : stem) = '\0';
    }
    return false;
}

static bool try_all(void)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    bool any = false;
    const char *name;
    all_tried = true;
    while (dir && (name = g_dir_read_name(dir)))
        if (g_str_has_suffix(name, ".so") && try_file(name))
            any = true;
    return any;
}

static bool load_class(const char *class_name)
{
    if (all_tried)
        return false;
    if (class_name && try_prefixes(class_name))
        return true;
    return try_all();
}

void plugin_set_directory(const char *dir)
{
    g_free(directory);
    directory = g_strdup(dir);
    if (tried)
        g_hash_table_remove_all(tried);
    else
        tried = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    all_tried = false;
    object_set_class_loader(load_class);
}

void plugin_enable_directory(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    if (!program)
        return;
    g_autofree char *bin = g_path_get_dirname(program);
    g_autofree char *in_build = g_build_filename(bin, "modules", NULL);
    g_autofree char *installed = g_canonicalize_filename(RHEA_PLUGIN_DIR_FROM_BIN, bin);
    plugin_set_directory(g_file_test(in_build, G_FILE_TEST_IS_DIR) ? in_build : installed);
}
