/*
 * Plugins: shared objects with device models, back ends, block drivers ... outside of the tree.
 *
 * The sources are those of a built-in device. Compiled with -DRHEA_PLUGIN (the flags of `pkg-config rhea-plugin` have it), the
 * macros that register a class (REGISTER_DEVICE, VIRTIO_DEVICE, ...) put it on the list of an exported descriptor `rhea_plugin`;
 * nothing runs when the file is loaded. Rhea compares the descriptor's abi with its own first, and then adds the classes.
 * Loaded plugins stay for the life of the process. See docs/plugin-guide.md.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Grows with every change of a header in include/ that a compiled plugin could notice. */
#define RHEA_PLUGIN_ABI 1

/* Adds one class or driver: calls its registration function. */
typedef void (*RheaPluginEntry)(void);

/* The first two members keep their place in all versions. */
typedef struct RheaPlugin {
    uint32_t abi;
    const char *name;
    const RheaPluginEntry *entries, *entries_end;
} RheaPlugin;

/*
 * RHEA_REGISTER(func, table): func(&table) when the program starts, or when the plugin is loaded. For headers that define a kind
 * of class; device authors use theirs.
 */
#ifndef RHEA_PLUGIN

#define RHEA_REGISTER(func, table)                                                       \
    static void __attribute__((constructor)) register_##table(void)                      \
    {                                                                                    \
        func((const void *)&(table));                                                    \
    }

#else

#ifndef RHEA_PLUGIN_NAME
#define RHEA_PLUGIN_NAME "unnamed"
#endif

#define RHEA_REGISTER(func, table)                                                       \
    static void register_##table(void)                                                   \
    {                                                                                    \
        func((const void *)&(table));                                                    \
    }                                                                                    \
    static const RheaPluginEntry entry_##table                                           \
        __attribute__((used, section("rhea_plugin_entries"))) = register_##table;

/* The linker collects the entries of all files of the plugin; each file offers the descriptor, one of them is kept. */
extern const RheaPluginEntry __start_rhea_plugin_entries[] __attribute__((weak, visibility("hidden")));
extern const RheaPluginEntry __stop_rhea_plugin_entries[] __attribute__((weak, visibility("hidden")));
extern const RheaPlugin rhea_plugin;
__attribute__((weak, visibility("default"))) const RheaPlugin rhea_plugin = {
    RHEA_PLUGIN_ABI, RHEA_PLUGIN_NAME, __start_rhea_plugin_entries, __stop_rhea_plugin_entries,
};

#endif
