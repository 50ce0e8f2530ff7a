/* Help texts of the command line. */
#include "system/cli-help.h"

#include <chardev/chardev.h>
#include <hw/device.h>
#include <string.h>

#include "accel/accel.h"
#include "accel/x86/cpu.h"
#include "accel/x86/models.h"
#include "hw/core/device-class.h"
#include "qom/help.h"
#include "system/start.h"

char *cli_help_machine(const char *name)
{
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_MACHINE, false);
    if (name) {
        const MachineClass *klass = start_find_machine(name, NULL);
        return klass ? object_class_help((const ObjectClass *)klass) : NULL;
    }
    GString *text = g_string_new("Supported machines are:\n");
    for (unsigned i = 0; i < classes->len; i++) {
        const MachineClass *klass = classes->pdata[i];
        if (klass->alias)
            g_string_append_printf(text, "%-20s %s (alias of %s)\n", klass->alias, klass->desc, klass->machine_name);
        g_string_append_printf(text, "%-20s %s%s%s\n", klass->machine_name, klass->desc, klass->is_default ? " (default)" : "",
                               klass->deprecated ? " (deprecated)" : "");
    }
    return g_string_free(text, FALSE);
}

char *cli_help_accel(const char *name)
{
    if (name) {
        const AccelClass *klass = accel_find(name);
        return klass ? object_class_help((const ObjectClass *)klass) : NULL;
    }
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_ACCEL, false);
    GString *text = g_string_new("Accelerators:\n");
    for (unsigned i = 0; i < classes->len; i++) {
        const AccelClass *klass = classes->pdata[i];
        g_string_append_printf(text, "  %-10s %s\n", klass->accel_name, klass->desc);
        for (const char *const *alias = klass->aliases; alias && *alias; alias++)
            g_string_append_printf(text, "  %-10s the same as %s\n", *alias, klass->accel_name);
    }
    return g_string_free(text, FALSE);
}

char *cli_help_cpu(const char *name)
{
    return name ? NULL : x86_cpu_help();
}

char *cli_help_device(const char *name)
{
    return name ? device_class_help(name, NULL) : device_list_help();
}

char *cli_help_object(const char *name)
{
    if (!name)
        return user_object_list_help();
    const ObjectClass *klass = object_class_find(name);
    return klass && user_object_class_ok(klass) ? object_class_help(klass) : NULL;
}

char *cli_help_chardev(const char *name)
{
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_CHARDEV, false);
    GString *text = g_string_new("Character device back ends:\n");
    for (unsigned i = 0; i < classes->len; i++) {
        const CharClass *klass = classes->pdata[i];
        if (klass->internal || !klass->backend_name)
            continue;
        if (name && !strcmp(name, klass->backend_name)) {
            g_string_free(text, TRUE);
            return object_class_help((const ObjectClass *)klass);
        }
        g_string_append_printf(text, "  %-10s %s\n", klass->backend_name, klass->desc);
    }
    if (!name)
        return g_string_free(text, FALSE);
    g_string_free(text, TRUE);
    return NULL;
}
