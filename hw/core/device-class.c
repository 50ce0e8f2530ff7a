/* Questions to device classes, and -device's help. */
#include "hw/core/device-class.h"

#include <string.h>

#include "hw/core/internal.h"
#include "qom/help.h"

const char *device_class_bus_kind(const ObjectClass *klass)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(klass, levels);
    while (n-- > 0)
        if (levels[n]->bus)
            return levels[n]->bus;
    return NULL;
}

DeviceCategory device_class_category(const ObjectClass *klass)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(klass, levels);
    while (n-- > 0)
        if (levels[n]->category)
            return levels[n]->category;
    return DEV_MISC;
}

bool device_class_no_hotplug(const ObjectClass *klass)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(klass, levels);
    while (n-- > 0)
        if (levels[n]->no_hotplug)
            return true;
    return false;
}

bool device_class_user_creatable(const ObjectClass *klass)
{
    return object_class_is_a(klass, TYPE_DEVICE) && !klass->abstract && !((const DeviceClass *)klass)->internal;
}

static const char *nearest_device(const char *driver)
{
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_DEVICE, false);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < classes->len; i++)
        if (device_class_user_creatable(classes->pdata[i]))
            g_ptr_array_add(names, (void *)((const ObjectClass *)classes->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return nearest_name(driver, (const char *const *)names->pdata);
}

const DeviceClass *device_class_for_user(const char *driver, GError **err)
{
    const ObjectClass *klass = object_class_find(driver);
    if (!klass || !object_class_is_a(klass, TYPE_DEVICE)) {
        const char *near = nearest_device(driver);
        error_set(err, "'%s' is not a device model%s%s%s", driver, near ? "; did you mean '" : "", near ? near : "",
                  near ? "'?" : "");
        return NULL;
    }
    if (klass->abstract) {
        error_set(err, "device model '%s' is abstract: only models derived from it can be added", driver);
        return NULL;
    }
    if (((const DeviceClass *)klass)->internal) {
        error_set(err, "device '%s' is part of the machine and can't be added by users", driver);
        return NULL;
    }
    return (const DeviceClass *)klass;
}

static void append_device(GString *text, const ObjectClass *klass)
{
    const char *bus = device_class_bus_kind(klass);
    const char *alias = object_class_alias(klass->name);
    g_string_append_printf(text, "name \"%s\"", klass->name);
    if (bus)
        g_string_append_printf(text, ", bus %s", bus);
    if (alias)
        g_string_append_printf(text, ", alias \"%s\"", alias);
    if (klass->desc)
        g_string_append_printf(text, ", desc \"%s\"", klass->desc);
    g_string_append_c(text, '\n');
}

char *device_list_help(void)
{
    static const struct {
        DeviceCategory category;
        const char *title;
    } groups[] = {
        { DEV_BRIDGE, "Controller and bridge" }, { DEV_USB, "USB" }, { DEV_STORAGE, "Storage" },
        { DEV_NETWORK, "Network" }, { DEV_INPUT, "Input" }, { DEV_DISPLAY, "Display" }, { DEV_SOUND, "Sound" },
        { DEV_MISC, "Misc" }, { DEV_CPU, "CPU" }, { DEV_WATCHDOG, "Watchdog" },
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(groups) == DEV_CATEGORIES);
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_DEVICE, false);
    GString *text = g_string_new(NULL);
    for (unsigned g = 0; g < G_N_ELEMENTS(groups); g++) {
        bool titled = false;
        for (guint i = 0; i < classes->len; i++) {
            const ObjectClass *klass = classes->pdata[i];
            if (!device_class_user_creatable(klass) || device_class_category(klass) != groups[g].category)
                continue;
            if (!titled)
                g_string_append_printf(text, "%s%s devices:\n", text->len ? "\n" : "", groups[g].title);
            titled = true;
            append_device(text, klass);
        }
    }
    return g_string_free(text, FALSE);
}

char *device_class_help(const char *driver, GError **err)
{
    const DeviceClass *klass = device_class_for_user(driver, err);
    return klass ? object_class_help((const ObjectClass *)klass) : NULL;
}
