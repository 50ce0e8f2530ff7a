/* The QMP commands about objects. */
#include "qom/qom-qmp.h"

#include <string.h>

#include "qom/help.h"
#include "qom/internal.h"

static Object *resolve(const char *path, GError **err)
{
    bool ambiguous;
    Object *obj = object_resolve(path, &ambiguous);
    if (ambiguous)
        error_set(err, "the path '%s' fits several objects", path);
    else if (!obj)
        error_set_class(err, RHEA_ERROR_DEVICE_NOT_FOUND, "there is no object '%s'", path);
    return obj;
}

static json_object *entry_new(const char *name, const char *type)
{
    json_object *entry = json_object_new_object();
    json_object_object_add(entry, "name", json_object_new_string(name));
    json_object_object_add(entry, "type", json_object_new_string(type));
    return entry;
}

json_object *qom_qmp_list(const char *path, GError **err)
{
    Object *obj = resolve(path, err);
    if (!obj)
        return NULL;
    json_object *list = json_object_new_array();
    const GPtrArray *props = class_entry_of(obj->klass)->props;
    for (guint i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];
        json_object_array_add(list, entry_new(prop->name, property_type_name(prop)));
    }
    for (guint i = 0; obj->child_order && i < obj->child_order->len; i++) {
        const Object *child = obj->child_order->pdata[i];
        g_autofree char *type = g_strdup_printf("child<%s>", child->klass->name);
        json_object_array_add(list, entry_new(child->id, type));
    }
    return list;
}

json_object *qom_qmp_get(const char *path, const char *property, GError **err)
{
    Object *obj = resolve(path, err);
    return obj ? object_get_json(obj, property, err) : NULL;
}

bool qom_qmp_set(const char *path, const char *property, json_object *value, GError **err)
{
    Object *obj = resolve(path, err);
    return obj && object_set_json(obj, property, value, err);
}

static json_object *type_entry(const char *name, const ObjectClass *klass)
{
    json_object *entry = json_object_new_object();
    json_object_object_add(entry, "name", json_object_new_string(name));
    if (klass->abstract)
        json_object_object_add(entry, "abstract", json_object_new_boolean(true));
    const ObjectClass *parent = object_class_parent(klass);
    if (parent)
        json_object_object_add(entry, "parent", json_object_new_string(parent->name));
    return entry;
}

json_object *qom_qmp_list_types(const char *implements, bool abstract)
{
    json_object *list = json_object_new_array();
    const ObjectClass *top = implements ? object_class_find(implements) : NULL;
    if (implements && !top)
        return list;
    g_autoptr(GPtrArray) classes = object_class_list(top ? top->name : NULL, abstract);
    if (top && (abstract || !top->abstract))
        json_object_array_add(list, type_entry(top->name, top));
    for (guint i = 0; i < classes->len; i++) {
        const ObjectClass *klass = classes->pdata[i];
        json_object_array_add(list, type_entry(klass->name, klass));
        const char *alias = object_class_alias(klass->name);
        if (alias)
            json_object_array_add(list, type_entry(alias, klass));
    }
    return list;
}

/* What clients may set, and for objects also what they may read. */
static json_object *list_properties(const ObjectClass *klass, bool settable_only)
{
    json_object *list = json_object_new_array();
    const GPtrArray *props = class_entry_of(klass)->props;
    for (guint i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];
        if (settable_only && (prop->flags & PROP_READONLY))
            continue;
        json_object *entry = entry_new(prop->name, property_type_name(prop));
        if (prop->help)
            json_object_object_add(entry, "description", json_object_new_string(prop->help));
        json_object *def = property_default_json(prop);
        if (def)
            json_object_object_add(entry, "default-value", def);
        json_object_array_add(list, entry);
    }
    return list;
}

json_object *qom_qmp_list_properties(const char *type, GError **err)
{
    const ObjectClass *klass = object_class_find(type);
    if (!klass) {
        error_set(err, "there is no object type '%s'", type);
        return NULL;
    }
    return list_properties(klass, false);
}

json_object *qom_qmp_device_list_properties(const char *type, GError **err)
{
    const ObjectClass *klass = object_class_find(type);
    const ObjectClass *device = object_class_find("device");
    if (!klass || !device || !object_class_is_a(klass, device->name)) {
        error_set_class(err, RHEA_ERROR_DEVICE_NOT_FOUND, "there is no device model '%s'", type);
        return NULL;
    }
    if (klass->abstract) {
        error_set(err, "device model '%s' is abstract: only models derived from it have instances", type);
        return NULL;
    }
    return list_properties(klass, true);
}
