/* Properties of an instance by name. */
#include "qom/internal.h"

#include <string.h>

const char *property_nearest(const ObjectClass *klass, const char *name)
{
    const GPtrArray *props = class_entry_of(klass)->props;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < props->len; i++)
        if (!(((const Property *)props->pdata[i])->flags & (PROP_HIDDEN | PROP_READONLY)))
            g_ptr_array_add(names, (void *)((const Property *)props->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return nearest_name(name, (const char *const *)names->pdata);
}

static void error_unknown(GError **err, const Object *obj, const char *name)
{
    const char *near = property_nearest(obj->klass, name);
    error_set(err, "%s%s%s%s: there is no property '%s'%s%s%s", obj->klass->name, obj->id ? " '" : "",
              obj->id ? obj->id : "", obj->id ? "'" : "", name, near ? "; did you mean '" : "", near ? near : "",
              near ? "'?" : "");
}

bool object_set_json(Object *obj, const char *name, json_object *value, GError **err)
{
    const Property *prop = object_property_find(obj->klass, name);
    if (!prop) {
        error_unknown(err, obj, name);
        return false;
    }
    if (prop->flags & PROP_READONLY) {
        error_set(err, "%s: property '%s' can only be read", obj->klass->name, name);
        return false;
    }
    if (obj->sealed && !(prop->flags & PROP_LIVE)) {
        g_autofree char *path = object_path(obj);
        error_set(err, "%s '%s': property '%s' can't be changed any more, it is in use", obj->klass->name, path, name);
        return false;
    }
    if (!property_store_json(obj, prop, value, err))
        return false;
    if (!obj->given)
        obj->given = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_add(obj->given, (void *)prop->name);
    param_notify(obj, prop);
    return true;
}

static bool set_and_put(Object *obj, const char *name, json_object *value, GError **err)
{
    bool ok = object_set_json(obj, name, value, err);
    json_object_put(value);
    return ok;
}

bool object_set_text(Object *obj, const char *name, const char *text, GError **err)
{
    return set_and_put(obj, name, json_object_new_string(text), err);
}

bool object_set_bool(Object *obj, const char *name, bool value, GError **err)
{
    return set_and_put(obj, name, json_object_new_boolean(value), err);
}

bool object_set_uint(Object *obj, const char *name, uint64_t value, GError **err)
{
    return set_and_put(obj, name, value > INT64_MAX ? json_object_new_uint64(value) : json_object_new_int64((int64_t)value),
                       err);
}

/* By pointer, so that objects outside the tree can be linked too. */
bool object_set_link(Object *obj, const char *name, Object *value, GError **err)
{
    const Property *prop = object_property_find(obj->klass, name);
    if (!prop || prop->set || prop->kind != PROP_KIND_LINK) {
        g_autofree char *path = value ? object_path(value) : g_strdup("");
        return object_set_text(obj, name, path, err);
    }
    if (obj->sealed && !(prop->flags & PROP_LIVE)) {
        error_set(err, "%s: link '%s' can't be changed any more, it is in use", obj->klass->name, name);
        return false;
    }
    if (value && !object_is_a(value, prop->type)) {
        error_set(err, "%s: link '%s' can't be an object of type %s: it takes one of type %s", obj->klass->name, name,
                  value->klass->name, prop->type);
        return false;
    }
    Object **field = (Object **)((char *)obj + prop->offset);
    Object *old = *field;
    *field = object_ref(value);
    object_unref(old);
    if (!obj->given)
        obj->given = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_add(obj->given, (void *)prop->name);
    param_notify(obj, prop);
    return true;
}

json_object *object_get_json(Object *obj, const char *name, GError **err)
{
    const Property *prop = object_property_find(obj->klass, name);
    if (prop)
        return property_load_json(obj, prop, err);
    Object *child = object_child(obj, name);
    if (child) {
        g_autofree char *path = object_path(child);
        return json_object_new_string(path);
    }
    error_unknown(err, obj, name);
    return NULL;
}

bool object_was_given(const Object *obj, const char *property)
{
    return obj->given && g_hash_table_contains(obj->given, property);
}

bool object_set_all_json(Object *obj, json_object *options, const char *const *skip, GError **err)
{
    json_object_object_foreach(options, name, value) {
        if (skip && g_strv_contains(skip, name))
            continue;
        if (!object_set_json(obj, name, value, err))
            return false;
    }
    return true;
}

bool object_check_required(const Object *obj, GError **err)
{
    const GPtrArray *props = class_entry_of(obj->klass)->props;
    for (guint i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];
        if (!(prop->flags & PROP_REQUIRED) || object_was_given(obj, prop->name))
            continue;
        error_set(err, "%s%s%s%s: property '%s' must be given: %s", obj->klass->name, obj->id ? " '" : "",
                  obj->id ? obj->id : "", obj->id ? "'" : "", prop->name, prop->help ? prop->help : "it has no default");
        return false;
    }
    return true;
}
