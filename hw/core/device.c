/*
 * The life of a device: made, plugged into a bus, realized, unrealized. Every failure on the way undoes the steps before it,
 * in reverse order.
 */
#include <json-c/json.h>
#include <string.h>

#include "hw/core/device-class.h"
#include "hw/core/internal.h"
#include "monitor/events.h"
#include "system/machine.h"

static json_object *realized_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_boolean(DEVICE(obj)->realized);
}

static json_object *hotplugged_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_boolean(DEVICE(obj)->hotplugged);
}

static json_object *hotpluggable_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_boolean(!device_class_no_hotplug(obj->klass));
}

static json_object *parent_bus_get(Object *obj, const Property *prop, GError **err)
{
    g_autofree char *path = DEVICE(obj)->bus ? object_path(OBJECT(DEVICE(obj)->bus)) : g_strdup("");
    return json_object_new_string(path);
}

#define PROP_STATUS(n, t, g, h) \
    { .name = n, .kind = PROP_KIND_CUSTOM, .flags = PROP_READONLY | PROP_HIDDEN, .type = t, .get = g, .help = h }

static const Property device_props[] = {
    PROP_STATUS("realized", "bool", realized_get, "the guest can see it"),
    PROP_STATUS("hotplugged", "bool", hotplugged_get, "added while the machine was running"),
    PROP_STATUS("hotpluggable", "bool", hotpluggable_get, "can be added and removed while the machine runs"),
    PROP_STATUS("parent_bus", "link<bus>", parent_bus_get, "where it is plugged in"),
    PROP_END
};

static void device_init(Object *obj)
{
    Device *dev = DEVICE(obj);
    dev->buses = g_ptr_array_new();
    dev->bootindex = -1;
}

static void device_finalize(Object *obj)
{
    Device *dev = DEVICE(obj);
    g_assert(!dev->realized);
    g_assert(!dev->buses->len);
    g_ptr_array_unref(dev->buses);
    device_gpios_free(dev);
    g_free(dev->id_str);
}

static const DeviceClass device_base = {
    .name = TYPE_DEVICE, .parent = TYPE_OBJECT, .desc = "base of all devices", .size = sizeof(Device), .abstract = true,
    .props = device_props, .init = device_init, .finalize = device_finalize,
};
REGISTER_OBJECT(device_base)

unsigned device_class_levels(const ObjectClass *klass, const DeviceClass *levels[CLASS_DEPTH_MAX])
{
    const DeviceClass *up[CLASS_DEPTH_MAX];
    unsigned n = 0;
    for (; strcmp(klass->name, TYPE_OBJECT); klass = object_class_parent(klass)) {
        g_assert(n < CLASS_DEPTH_MAX);
        up[n++] = (const DeviceClass *)klass;
    }
    for (unsigned i = 0; i < n; i++)
        levels[i] = up[n - 1 - i];
    return n;
}

Device *device_new(Machine *machine, const char *type, GError **err)
{
    const ObjectClass *klass = object_class_find(type);
    if (klass && !object_class_is_a(klass, TYPE_DEVICE)) {
        error_set(err, "'%s' is not a device", type);
        return NULL;
    }
    Device *dev = DEVICE(object_new(type, err));
    if (dev) {
        dev->machine = machine;
        dev->domain = machine->domain;
    }
    return dev;
}

/* A part of the device that is a device itself (a CPU's local APIC); NULL if there is none left. */
static Device *realized_part(const Device *dev)
{
    for (guint i = dev->obj.child_order ? dev->obj.child_order->len : 0; i-- > 0;) {
        Object *child = dev->obj.child_order->pdata[i];
        if (object_is_a(child, TYPE_DEVICE) && DEVICE(child)->realized)
            return DEVICE(child);
    }
    return NULL;
}

static void unrealize_children(Device *dev)
{
    for (Device *part; (part = realized_part(dev));)
        device_unrealize(part);
    for (guint i = dev->buses->len; i-- > 0;) {
        Bus *bus = dev->buses->pdata[i];
        while (bus->devices->len)
            device_unrealize(bus->devices->pdata[bus->devices->len - 1]);
    }
}

static void free_buses(Device *dev)
{
    while (dev->buses->len)
        bus_free(dev->buses->pdata[dev->buses->len - 1]);
}

static bool realize_levels(Device *dev, GError **err)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(dev->obj.klass, levels);
    for (unsigned i = 0; i < n; i++) {
        if (!levels[i]->realize || levels[i]->realize(dev, err))
            continue;
        unrealize_children(dev);
        free_buses(dev);
        while (i-- > 0)
            if (levels[i]->unrealize)
                levels[i]->unrealize(dev);
        return false;
    }
    return true;
}

static void unrealize_levels(Device *dev)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(dev->obj.klass, levels);
    while (n-- > 0)
        if (levels[n]->unrealize)
            levels[n]->unrealize(dev);
}

static void place_in_tree(Device *dev)
{
    if (dev->obj.owner)
        return;
    if (dev->id_str)
        object_add_child(object_get_container("/machine/peripheral"), dev->id_str, &dev->obj);
    else if (dev->user_created)
        object_add_child(object_get_container("/machine/peripheral-anon"), "device[*]", &dev->obj);
    else
        object_add_child(object_get_container("/machine/unattached"), "device[*]", &dev->obj);
}

/* All of it or nothing; the device is in the tree. */
static bool realize_in_place(Device *dev, Bus *bus, GError **err)
{
    if (bus && !bus_plug(bus, dev, err))
        return false;
    DOMAIN_GUARD(dev->domain);
    if (!realize_levels(dev, err)) {
        if (bus)
            bus_unplug(bus, dev);
        return false;
    }
    dev->realized = true;
    dev->obj.sealed = true;
    if (!dev->machine->started)
        return true;
    /* no machine reset will come to bring it to its power-on state */
    device_reset_tree(dev);
    if (bus && bus_class(bus)->announce)
        bus_class(bus)->announce(bus, dev);
    return true;
}

bool device_realize(Device *dev, Bus *bus, GError **err)
{
    g_autoptr(Object) held = &dev->obj;
    g_assert(!dev->realized && !dev->bus);
    dev->hotplugged = dev->machine->started;
    bool placed_before = dev->obj.owner;
    if (!object_check_required(&dev->obj, err) || !bootindex_check(dev, err)) {
        if (placed_before)
            object_remove_from_parent(&dev->obj);
        return false;
    }
    place_in_tree(dev);
    if (realize_in_place(dev, bus, err))
        return true;
    object_remove_from_parent(&dev->obj);
    return false;
}

static void emit_deleted(const char *id, const char *path)
{
    json_object *data = json_object_new_object();
    if (id)
        json_object_object_add(data, "device", json_object_new_string(id));
    json_object_object_add(data, "path", json_object_new_string(path));
    qmp_event_emit("DEVICE_DELETED", data);
}

void device_unrealize(Device *dev)
{
    if (!dev->realized)
        return;
    g_autoptr(Object) held = object_ref(&dev->obj);
    g_autofree char *path = object_path(&dev->obj);
    {
        DOMAIN_GUARD(dev->domain);
        unrealize_children(dev);
        dev->realized = false;
        unrealize_levels(dev);
        free_buses(dev);
    }
    if (dev->bus)
        bus_unplug(dev->bus, dev);
    object_remove_from_parent(&dev->obj);
    dev->unplugging = false;
    if (dev->user_created)
        emit_deleted(dev->id_str, path);
}

static bool collect_device(Object *obj, void *opaque)
{
    if (object_is_a(obj, TYPE_DEVICE))
        g_ptr_array_add(opaque, object_ref(obj));
    return true;
}

void devices_unrealize_all(Machine *machine)
{
    /* no events and no questions to the guest: the machine is going away as a whole */
    g_autoptr(GPtrArray) devices = g_ptr_array_new_with_free_func((GDestroyNotify)object_unref);
    object_foreach(&machine->obj, collect_device, devices);
    for (guint i = devices->len; i-- > 0;) {
        Device *dev = devices->pdata[i];
        dev->user_created = false;
        device_unrealize(dev);
    }
}
