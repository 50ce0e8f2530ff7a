/*
 * device_add and device_del, shared by -device, QMP and HMP. A request is carried out completely or leaves the machine
 * as it was.
 */
#include <json-c/json.h>
#include <string.h>

#include "hw/core/device-class.h"
#include "qom/id.h"
#include "system/machine.h"

/* What the options say besides properties. Strings borrowed from them. */
typedef struct {
    const char *driver, *id, *bus;
} AddRequest;

static bool take_text(json_object *options, const char *key, const char **out, GError **err)
{
    json_object *value;
    if (!json_object_object_get_ex(options, key, &value))
        return true;
    if (!json_object_is_type(value, json_type_string)) {
        error_set(err, "'%s' of a device must be text, not %s", key, json_object_to_json_string(value));
        return false;
    }
    *out = json_object_get_string(value);
    return true;
}

static bool parse_request(json_object *options, AddRequest *request, GError **err)
{
    if (!take_text(options, "driver", &request->driver, err) || !take_text(options, "id", &request->id, err) ||
        !take_text(options, "bus", &request->bus, err))
        return false;
    if (!request->driver) {
        error_set(err, "a device needs 'driver', the name of its model");
        return false;
    }
    if (!request->id)
        return true;
    if (!id_well_formed(request->id)) {
        error_set(err, "device id '%s' is not valid: it takes a letter, then letters, digits, '-', '.' and '_'",
                  request->id);
        return false;
    }
    if (object_child(object_get_container("/machine/peripheral"), request->id)) {
        error_set(err, "there is a device with the id '%s' already", request->id);
        return false;
    }
    return true;
}

static bool check_hotplug(Machine *machine, const ObjectClass *klass, const Bus *bus, GError **err)
{
    if (!machine->started)
        return true;
    if (device_class_no_hotplug(klass)) {
        error_set(err, "device model '%s' can't be added while the machine runs", klass->name);
        return false;
    }
    if (bus && !bus->hotpluggable) {
        error_set(err, "bus '%s' takes no devices while the machine runs", bus->obj.id);
        return false;
    }
    return true;
}

static bool choose_bus(Machine *machine, const ObjectClass *klass, const char *name, Bus **bus, GError **err)
{
    const char *kind = device_class_bus_kind(klass);
    if (!kind && name) {
        error_set(err, "device model '%s' plugs into no bus: bus=%s can't be used", klass->name, name);
        return false;
    }
    if (!kind)
        return true;
    *bus = bus_find(machine, name, kind, err);
    if (!*bus)
        g_prefix_error(err, "%s: ", klass->name);
    return *bus;
}

Device *device_add(Machine *machine, json_object *options, GError **err)
{
    static const char *const skip[] = { "driver", "id", "bus", NULL };
    AddRequest request = { 0 };
    Bus *bus = NULL;
    if (!parse_request(options, &request, err))
        return NULL;
    const ObjectClass *klass = (const ObjectClass *)device_class_for_user(request.driver, err);
    if (!klass || !choose_bus(machine, klass, request.bus, &bus, err) || !check_hotplug(machine, klass, bus, err))
        return NULL;
    Device *dev = device_new(machine, klass->name, err);
    if (!dev)
        return NULL;
    dev->user_created = true;
    dev->id_str = g_strdup(request.id);
    dev->hotplugged = machine->started;
    if (!object_set_all_json(&dev->obj, options, skip, err)) {
        object_unref(&dev->obj);
        return NULL;
    }
    return device_realize(dev, bus, err) ? dev : NULL;
}

Device *device_find(Machine *machine, const char *id_or_path, GError **err)
{
    Object *obj = object_child(object_get_container("/machine/peripheral"), id_or_path);
    if (!obj && strchr(id_or_path, '/'))
        obj = object_resolve(id_or_path, NULL);
    if (!obj) {
        error_set_class(err, RHEA_ERROR_DEVICE_NOT_FOUND, "there is no device '%s'", id_or_path);
        return NULL;
    }
    if (!object_is_a(obj, TYPE_DEVICE)) {
        error_set(err, "'%s' is of type %s, not a device", id_or_path, obj->klass->name);
        return NULL;
    }
    return DEVICE(obj);
}

static bool check_removable(Machine *machine, Device *dev, const char *id, GError **err)
{
    if (dev->unplugging) {
        error_set(err, "device '%s' is being unplugged already: the guest has not answered", id);
        return false;
    }
    if (!dev->user_created) {
        error_set(err, "device '%s' is part of the machine and can't be removed", id);
        return false;
    }
    if (machine->started && device_class_no_hotplug(dev->obj.klass)) {
        error_set(err, "device '%s' of model '%s' can't be removed while the machine runs", id, dev->obj.klass->name);
        return false;
    }
    if (machine->started && dev->bus && !dev->bus->hotpluggable) {
        error_set(err, "device '%s' can't be removed while the machine runs: bus '%s' doesn't allow it", id,
                  dev->bus->obj.id);
        return false;
    }
    return true;
}

/* Who asks the guest: the bus, else the device itself, else nobody needs to be asked. */
static bool request_unplug(Device *dev, GError **err)
{
    dev->unplugging = true;
    bool ok = true;
    if (dev->bus && bus_class(dev->bus)->unplug_request)
        ok = bus_class(dev->bus)->unplug_request(dev->bus, dev, err);
    else if (device_class(dev)->unplug_request)
        ok = device_class(dev)->unplug_request(dev, err);
    else
        device_unrealize(dev);
    if (!ok)
        dev->unplugging = false;
    return ok;
}

bool device_del(Machine *machine, const char *id, GError **err)
{
    Device *dev = device_find(machine, id, err);
    if (!dev || !check_removable(machine, dev, id, err))
        return false;
    g_autoptr(Object) held = object_ref(&dev->obj);
    if (machine->started)
        return request_unplug(dev, err);
    device_unrealize(dev);
    return true;
}

void device_unplug_complete(Device *dev)
{
    device_unrealize(dev);
}
