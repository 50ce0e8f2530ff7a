/*
 * bootindex= and the firmware's list of boot devices: Open Firmware paths (IEEE 1275 §3.2.1) in the order of the indexes, as
 * SeaBIOS and OVMF read them from fw_cfg "bootorder".
 */
#include "hw/core/device-class.h"
#include "hw/core/internal.h"
#include "system/machine.h"

static bool collect(Object *obj, void *opaque)
{
    if (object_is_a(obj, TYPE_DEVICE) && DEVICE(obj)->realized && DEVICE(obj)->bootindex >= 0)
        g_ptr_array_add(opaque, obj);
    return true;
}

bool bootindex_check(Device *dev, GError **err)
{
    if (dev->bootindex < 0)
        return true;
    g_autoptr(GPtrArray) others = g_ptr_array_new();
    object_foreach(&dev->machine->obj, collect, others);
    for (guint i = 0; i < others->len; i++) {
        const Device *other = others->pdata[i];
        if (other->bootindex != dev->bootindex)
            continue;
        g_autofree char *path = object_path(&other->obj);
        error_set(err, "%s: bootindex %d is taken by %s: each device needs its own", dev->obj.klass->name, dev->bootindex,
                  path);
        return false;
    }
    return true;
}

char *device_firmware_path(Device *dev)
{
    if (!dev->bus)
        return g_strdup("");
    g_autofree char *above = dev->bus->provider ? device_firmware_path(dev->bus->provider) : g_strdup("");
    const BusClass *klass = bus_class(dev->bus);
    g_autofree char *own = klass->firmware_path ? klass->firmware_path(dev->bus, dev) : g_strdup("");
    return g_strconcat(above, own, NULL);
}

static gint compare_index(gconstpointer a, gconstpointer b)
{
    const Device *const *left = a, *const *right = b;
    return (*left)->bootindex - (*right)->bootindex;
}

GPtrArray *boot_order(Machine *machine)
{
    g_autoptr(GPtrArray) devices = g_ptr_array_new();
    object_foreach(&machine->obj, collect, devices);
    g_ptr_array_sort(devices, compare_index);
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < devices->len; i++)
        g_ptr_array_add(paths, device_firmware_path(devices->pdata[i]));
    return paths;
}
