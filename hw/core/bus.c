/* Buses: making, finding, plugging. */
#include <hw/bus.h>

#include <string.h>

#include "hw/core/internal.h"
#include "system/machine.h"

static void bus_init(Object *obj)
{
    BUS(obj)->devices = g_ptr_array_new_with_free_func((GDestroyNotify)object_unref);
}

static void bus_finalize(Object *obj)
{
    g_ptr_array_unref(BUS(obj)->devices);
}

static const BusClass bus_base = {
    .name = TYPE_BUS, .parent = TYPE_OBJECT, .desc = "base of all buses", .size = sizeof(Bus), .abstract = true,
    .init = bus_init, .finalize = bus_finalize,
};
REGISTER_OBJECT(bus_base)

/* A derived bus that leaves its kind out is of its parent's. */
static const char *bus_kind(const Bus *bus)
{
    for (const ObjectClass *klass = bus->obj.klass; strcmp(klass->name, TYPE_BUS); klass = object_class_parent(klass))
        if (((const BusClass *)klass)->kind)
            return ((const BusClass *)klass)->kind;
    return bus->obj.klass->name;
}

typedef struct {
    const char *name, *kind;
    Bus *found;          /* first match */
    Bus *roomy;          /* first of the kind with room */
    GString *names;      /* of all buses of the kind, for messages */
} BusSearch;

static bool bus_has_room(const Bus *bus)
{
    return !bus_class(bus)->max_devices || bus->devices->len < bus_class(bus)->max_devices;
}

static bool search_visit(Object *obj, void *opaque)
{
    BusSearch *search = opaque;
    if (!object_is_a(obj, TYPE_BUS))
        return true;
    Bus *bus = BUS(obj);
    if (search->name && !strcmp(obj->id, search->name) && !search->found)
        search->found = bus;
    if (search->kind && strcmp(bus_kind(bus), search->kind))
        return true;
    if (search->names)
        g_string_append_printf(search->names, "%s'%s'", search->names->len ? ", " : "", obj->id);
    if (!search->roomy && bus_has_room(bus))
        search->roomy = bus;
    return true;
}

static char *free_name(Machine *machine, const char *type, const Device *provider)
{
    const char *id = provider ? provider->id_str : NULL;
    const BusClass *klass = (const BusClass *)object_class_find(type);
    g_autofree char *lower = g_ascii_strdown(id ? "" : klass->kind ? klass->kind : type, -1);
    for (unsigned n = 0;; n++) {
        char *name = g_strdup_printf("%s.%u", id ? id : lower, n);
        BusSearch search = { .name = name };
        object_foreach(&machine->obj, search_visit, &search);
        if (!search.found)
            return name;
        g_free(name);
    }
}

Bus *bus_new(Machine *machine, const char *type, Device *provider, const char *name)
{
    GError *err = NULL;
    Bus *bus = BUS(object_new(type, &err));
    if (!bus)
        g_error("%s", err->message);
    g_autofree char *made = name ? NULL : free_name(machine, type, provider);
    bus->machine = machine;
    bus->provider = provider;
    object_add_child(provider ? &provider->obj : &machine->obj, name ? name : made, &bus->obj);
    object_unref(&bus->obj); /* the tree's reference is the one that counts */
    if (provider)
        g_ptr_array_add(provider->buses, bus);
    return bus;
}

void bus_free(Bus *bus)
{
    if (!bus)
        return;
    while (bus->devices->len)
        device_unrealize(bus->devices->pdata[bus->devices->len - 1]);
    if (bus->provider)
        g_ptr_array_remove(bus->provider->buses, bus);
    bus->provider = NULL;
    object_remove_from_parent(&bus->obj);
}

/* A device's id or path stands for the first of its buses of the kind. */
static Bus *bus_of_named_object(Machine *machine, const char *name, const char *kind)
{
    Object *obj = object_child(object_get_container("/machine/peripheral"), name);
    if (!obj)
        obj = object_resolve(name, NULL);
    if (obj && object_is_a(obj, TYPE_BUS))
        return BUS(obj);
    if (!obj || !object_is_a(obj, TYPE_DEVICE))
        return NULL;
    const GPtrArray *buses = DEVICE(obj)->buses;
    for (guint i = 0; i < buses->len; i++)
        if (!kind || !strcmp(bus_kind(buses->pdata[i]), kind))
            return buses->pdata[i];
    return buses->len ? buses->pdata[0] : NULL;
}

static Bus *find_named(Machine *machine, BusSearch *search, GError **err)
{
    Bus *bus = search->found ? search->found : bus_of_named_object(machine, search->name, search->kind);
    if (!bus) {
        error_set(err, "there is no bus '%s'%s%s", search->name, search->names->len ? "; there are " : "",
                  search->names->str);
    } else if (search->kind && strcmp(bus_kind(bus), search->kind)) {
        error_set(err, "bus '%s' is a %s bus: the device plugs into a %s bus", search->name, bus_kind(bus), search->kind);
    } else if (!bus_has_room(bus)) {
        error_set(err, "bus '%s' is full: it takes %u devices", search->name, bus_class(bus)->max_devices);
    } else {
        return bus;
    }
    return NULL;
}

Bus *bus_find(Machine *machine, const char *name, const char *kind, GError **err)
{
    g_autoptr(GString) names = g_string_new(NULL);
    BusSearch search = { .name = name, .kind = kind, .names = names };
    object_foreach(&machine->obj, search_visit, &search);
    if (name)
        return find_named(machine, &search, err);
    if (search.roomy)
        return search.roomy;
    if (names->len)
        error_set(err, "every %s bus is full: %s", kind, names->str);
    else
        error_set(err, "the machine has no %s bus", kind);
    return NULL;
}

bool bus_plug(Bus *bus, Device *dev, GError **err)
{
    if (!bus_has_room(bus)) {
        error_set(err, "bus '%s' is full: it takes %u devices", bus->obj.id, bus_class(bus)->max_devices);
        return false;
    }
    dev->bus = bus;
    g_ptr_array_add(bus->devices, object_ref(&dev->obj));
    if (!bus_class(bus)->plug || bus_class(bus)->plug(bus, dev, err))
        return true;
    dev->bus = NULL;
    g_ptr_array_remove(bus->devices, dev);
    return false;
}

void bus_unplug(Bus *bus, Device *dev)
{
    if (bus_class(bus)->unplug)
        bus_class(bus)->unplug(bus, dev);
    dev->bus = NULL;
    g_ptr_array_remove(bus->devices, dev);
}
