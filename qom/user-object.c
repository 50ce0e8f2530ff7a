/* -object / object-add / object-del: objects that users make, below /objects. */
#include <string.h>

#include "qom/help.h"
#include "qom/id.h"
#include "qom/internal.h"

/* The class that completes: the nearest ancestor with a complete function. */
static const ObjectClass *completing_class(const ObjectClass *klass)
{
    for (const ClassEntry *entry = class_entry_of(klass); entry; entry = entry->parent)
        if (entry->klass->complete)
            return entry->klass;
    return NULL;
}

bool user_object_class_ok(const ObjectClass *klass)
{
    return !klass->abstract && completing_class(klass);
}

bool id_well_formed(const char *id)
{
    if (!g_ascii_isalpha(*id))
        return false;
    return !id[strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")];
}

static const char *nearest_user_class(const char *type)
{
    g_autoptr(GPtrArray) classes = object_class_list(NULL, false);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < classes->len; i++)
        if (user_object_class_ok(classes->pdata[i]))
            g_ptr_array_add(names, (void *)((const ObjectClass *)classes->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return nearest_name(type, (const char *const *)names->pdata);
}

static const char *option_text(json_object *options, const char *key, GError **err)
{
    json_object *value;
    if (!json_object_object_get_ex(options, key, &value)) {
        error_set(err, "an object needs '%s'", key);
        return NULL;
    }
    if (!json_object_is_type(value, json_type_string)) {
        error_set(err, "'%s' of an object must be text, not %s", key, json_object_to_json_string(value));
        return NULL;
    }
    return json_object_get_string(value);
}

static bool check_request(const char *type, const char *id, GError **err)
{
    const ObjectClass *klass = object_class_find(type);
    if (!klass || !user_object_class_ok(klass)) {
        const char *near = nearest_user_class(type);
        error_set(err, "there is no object type '%s' that users can make%s%s%s", type, near ? "; did you mean '" : "",
                  near ? near : "", near ? "'?" : "");
        return false;
    }
    if (!id_well_formed(id)) {
        error_set(err, "object id '%s' is not valid: it takes a letter, then letters, digits, '-', '.' and '_'", id);
        return false;
    }
    if (user_object_find(id)) {
        error_set(err, "there is an object with the id '%s' already", id);
        return false;
    }
    return true;
}

Object *user_object_add(json_object *options, GError **err)
{
    static const char *const skip[] = { "qom-type", "id", NULL };
    const char *type = option_text(options, "qom-type", err);
    const char *id = type ? option_text(options, "id", err) : NULL;
    if (!id || !check_request(type, id, err))
        return NULL;
    g_autoptr(Object) obj = object_new(type, err);
    if (!obj || !object_set_all_json(obj, options, skip, err) || !object_check_required(obj, err))
        return NULL;
    object_add_child(object_get_container("/objects"), id, obj);
    if (!completing_class(obj->klass)->complete(obj, err)) {
        object_remove_from_parent(obj);
        return NULL;
    }
    obj->sealed = true;
    return obj;
}

Object *user_object_find(const char *id)
{
    return object_child(object_get_container("/objects"), id);
}

bool user_object_del(const char *id, GError **err)
{
    Object *obj = user_object_find(id);
    if (!obj) {
        error_set(err, "there is no object with the id '%s'", id);
        return false;
    }
    for (const ClassEntry *entry = class_entry_of(obj->klass); entry; entry = entry->parent)
        if (entry->klass->can_delete && !entry->klass->can_delete(obj, err))
            return false;
    /* one reference is the tree's: any other belongs to a link that uses the object */
    if (((GObject *)obj)->ref_count > 1) {
        error_set(err, "object '%s' is in use and can't be deleted", id);
        return false;
    }
    object_remove_from_parent(obj);
    return true;
}

void user_objects_free_all(void)
{
    const Object *folder = object_get_container("/objects");
    while (folder->child_order && folder->child_order->len)
        object_remove_from_parent(folder->child_order->pdata[folder->child_order->len - 1]);
}
