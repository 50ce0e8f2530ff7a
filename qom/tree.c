/* The composition tree and its paths. */
#include "qom/internal.h"

#include <string.h>

static Object *root;

static void object_adopt(Object *parent, char *name, Object *child)
{
    g_assert(!child->owner && child != parent);
    if (!parent->children) {
        parent->children = g_hash_table_new(g_str_hash, g_str_equal);
        parent->child_order = g_ptr_array_new();
    }
    child->id = name;
    child->owner = parent;
    g_hash_table_insert(parent->children, child->id, object_ref(child));
    g_ptr_array_add(parent->child_order, child);
}

void object_add_child(Object *parent, const char *name, Object *child)
{
    g_assert(*name && !strchr(name, '/'));
    size_t len = strlen(name);
    if (len > 3 && !strcmp(name + len - 3, "[*]")) {
        for (unsigned i = 0;; i++) {
            g_autofree char *numbered = g_strdup_printf("%.*s[%u]", (int)(len - 3), name, i);
            if (!object_child(parent, numbered)) {
                object_adopt(parent, g_steal_pointer(&numbered), child);
                return;
            }
        }
    }
    g_assert(!object_child(parent, name));
    object_adopt(parent, g_strdup(name), child);
}

void object_remove_from_parent(Object *child)
{
    Object *parent = child->owner;
    if (!parent)
        return;
    g_hash_table_remove(parent->children, child->id);
    g_ptr_array_remove(parent->child_order, child);
    child->owner = NULL;
    g_clear_pointer(&child->id, g_free);
    object_unref(child);
}

Object *object_child(const Object *parent, const char *name)
{
    return parent->children ? g_hash_table_lookup(parent->children, name) : NULL;
}

static Object *container_new(void)
{
    return g_object_new(class_entry_gtype(class_entry_find(TYPE_CONTAINER)), NULL);
}

Object *object_get_root(void)
{
    if (!root)
        root = container_new();
    return root;
}

Object *object_get_container(const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    Object *at = object_get_root();
    for (char **part = parts; *part; part++) {
        if (!**part)
            continue;
        Object *next = object_child(at, *part);
        if (!next) {
            next = container_new();
            object_add_child(at, *part, next);
            object_unref(next);
        }
        at = next;
    }
    return at;
}

char *object_path(const Object *obj)
{
    if (obj == root)
        return g_strdup("/");
    GString *path = g_string_new(NULL);
    for (; obj && obj != root; obj = obj->owner) {
        g_string_prepend(path, obj->id ? obj->id : "(unattached)");
        g_string_prepend_c(path, '/');
    }
    return g_string_free(path, FALSE);
}

/* A component is a child, or a property that names another object. */
static Object *step(Object *at, const char *name)
{
    Object *child = object_child(at, name);
    if (child)
        return child;
    const Property *prop = object_property_find(at->klass, name);
    if (!prop)
        return NULL;
    if (prop->kind == PROP_KIND_LINK)
        return *(Object **)((char *)at + prop->offset);
    if (prop->kind == PROP_KIND_CUSTOM && prop->type && g_str_has_prefix(prop->type, "link<") && prop->get) {
        json_object *value = prop->get(at, prop, NULL);
        const char *path = json_object_get_string(value);
        Object *target = path && *path == '/' ? object_resolve(path, NULL) : NULL;
        json_object_put(value);
        return target;
    }
    return NULL;
}

static Object *walk(Object *from, char *const *parts)
{
    for (; from && *parts; parts++)
        if (**parts)
            from = step(from, *parts);
    return from;
}

/* Every object of the tree as a starting point; two different results make the path ambiguous. */
static void find_partial(Object *from, char *const *parts, Object **found, bool *ambiguous)
{
    Object *hit = walk(from, parts);
    if (hit && *found && *found != hit)
        *ambiguous = true;
    else if (hit)
        *found = hit;
    for (guint i = 0; from->child_order && i < from->child_order->len && !*ambiguous; i++)
        find_partial(from->child_order->pdata[i], parts, found, ambiguous);
}

Object *object_resolve(const char *path, bool *ambiguous)
{
    if (ambiguous)
        *ambiguous = false;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    if (path[0] == '/')
        return walk(object_get_root(), parts);
    if (!path[0])
        return NULL;
    Object *found = NULL;
    bool several = false;
    find_partial(object_get_root(), parts, &found, &several);
    if (ambiguous)
        *ambiguous = several;
    return several ? NULL : found;
}

bool object_foreach(Object *from, bool (*func)(Object *obj, void *opaque), void *opaque)
{
    if (!func(from, opaque))
        return false;
    for (guint i = 0; from->child_order && i < from->child_order->len; i++)
        if (!object_foreach(from->child_order->pdata[i], func, opaque))
            return false;
    return true;
}
