/* Plugins and loadable modules: see include/rhea/plugin.h for what they are. */
#pragma once

#include <rhea/base.h>

/* -plugin FILE: loads it and adds its classes, all or none. */
bool plugin_load(const char *file, GError **err) WARN_UNUSED;
/*
 * From now on a class name that is not known is looked for in the plugin directory: beside the program (build tree: modules/) or
 * ../lib/.../rhea of an installation. "virtio-rng-pci" is looked for in virtio-rng-pci.so, virtio-rng.so and virtio.so, then in
 * all others. Files that can't be loaded are warned of once. Listing classes loads all.
 */
void plugin_enable_directory(void);
/* The same with a given directory (tests). */
void plugin_set_directory(const char *dir);
