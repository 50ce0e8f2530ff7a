/*
 * Instances: how a class table becomes a GObject type, and the life of one object. The class functions of GObject run once
 * per type here, so that no class author meets them.
 */
#include "qom/internal.h"

#include <string.h>

typedef struct {
    GObjectClass gobject;
    ClassEntry *entry;
} ObjectGClass;

static ClassEntry *object_entry(const Object *obj)
{
    return ((ObjectGClass *)G_OBJECT_GET_CLASS(obj))->entry;
}

static void run_init(Object *obj, const ClassEntry *entry)
{
    if (entry->parent)
        run_init(obj, entry->parent);
    if (entry->klass->init)
        entry->klass->init(obj);
}

/* After GObject built the instance: defaults, then the init functions from the base down. */
static void object_constructed(GObject *gobject)
{
    Object *obj = OBJECT(gobject);
    const ClassEntry *entry = object_entry(obj);
    obj->klass = entry->klass;
    for (guint i = 0; i < entry->props->len; i++)
        property_set_default(obj, entry->props->pdata[i]);
    run_init(obj, entry);
}

static void object_gobject_finalize(GObject *gobject)
{
    Object *obj = OBJECT(gobject);
    const ClassEntry *entry = object_entry(obj);
    for (const ClassEntry *level = entry; level; level = level->parent)
        if (level->klass->finalize)
            level->klass->finalize(obj);
    while (obj->child_order && obj->child_order->len)
        object_remove_from_parent(obj->child_order->pdata[obj->child_order->len - 1]);
    for (guint i = 0; i < entry->props->len; i++)
        property_clear(obj, entry->props->pdata[i]);
    g_clear_pointer(&obj->children, g_hash_table_unref);
    g_clear_pointer(&obj->child_order, g_ptr_array_unref);
    g_clear_pointer(&obj->given, g_hash_table_unref);
    g_clear_pointer(&obj->id, g_free);
    ((GObjectClass *)g_type_class_peek(G_TYPE_OBJECT))->finalize(gobject);
}

static void object_gclass_init(gpointer gclass, gpointer data)
{
    ObjectGClass *klass = gclass;
    klass->entry = data;
    klass->gobject.constructed = object_constructed;
    klass->gobject.finalize = object_gobject_finalize;
    klass->gobject.set_property = param_set;
    klass->gobject.get_property = param_get;
    param_install_all(&klass->gobject, klass->entry);
}

/* GType names allow letters, digits, - _ + only; class names such as "pc-i440fx-8.2-machine" don't keep to that. */
static char *gtype_name(const char *name)
{
    GString *out = g_string_new("Rhea-");
    for (const char *p = name; *p; p++) {
        if (g_ascii_isalnum(*p) || *p == '-' || *p == '_')
            g_string_append_c(out, *p);
        else
            g_string_append_printf(out, "+%02x", (unsigned char)*p);
    }
    return g_string_free(out, FALSE);
}

GType object_gtype_register(ClassEntry *entry)
{
    GType parent = entry->parent ? class_entry_gtype(entry->parent) : G_TYPE_OBJECT;
    g_autofree char *name = gtype_name(entry->klass->name);
    if (entry->size > G_MAXUINT16)
        g_error("class '%s': an instance of %zu bytes is too large (65535 at most): allocate big tables on their own",
                entry->klass->name, entry->size);
    g_assert(entry->size >= sizeof(Object) && (!entry->parent || entry->size >= entry->parent->size));
    const GTypeInfo info = {
        .class_size = sizeof(ObjectGClass),
        .class_init = object_gclass_init,
        .class_data = entry,
        .instance_size = (guint16)entry->size,
    };
    return g_type_register_static(parent, name, &info, entry->klass->abstract ? G_TYPE_FLAG_ABSTRACT : 0);
}

/* Names of the classes that can be made, for the nearest-name hint. */
static const char *nearest_class(const char *type)
{
    g_autoptr(GPtrArray) all = object_class_list(NULL, false);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < all->len; i++)
        g_ptr_array_add(names, (void *)((const ObjectClass *)all->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return nearest_name(type, (const char *const *)names->pdata);
}

Object *object_new(const char *type, GError **err)
{
    ClassEntry *entry = class_entry_find(type);
    if (!entry) {
        const char *near = nearest_class(type);
        error_set(err, "there is no object type '%s'%s%s%s", type, near ? "; did you mean '" : "", near ? near : "",
                  near ? "'?" : "");
        return NULL;
    }
    if (entry->klass->abstract) {
        error_set(err, "object type '%s' is abstract: only types derived from it can be made", type);
        return NULL;
    }
    g_autoptr(Object) obj = g_object_new(class_entry_gtype(entry), NULL);
    if (!globals_apply(obj, err))
        return NULL;
    return g_steal_pointer(&obj);
}

Object *object_ref(Object *obj)
{
    return obj ? g_object_ref(obj) : NULL;
}

void object_unref(Object *obj)
{
    if (obj)
        g_object_unref(obj);
}

bool object_is_a(const Object *obj, const char *type)
{
    return object_class_is_a(obj->klass, type);
}

const char *object_type_name(const Object *obj)
{
    return obj->klass->name;
}
