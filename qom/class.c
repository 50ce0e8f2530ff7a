/*
 * The class registry. Registering only appends to a list, because it happens in constructors of every device file before
 * main(); the list is indexed at the first look-up, and a class becomes a GObject type when its first instance is made.
 */
#include "qom/internal.h"

#include <string.h>

#include "qom/class-loader.h"

static GPtrArray *pending;     /* const ObjectClass *, not indexed yet */
static GHashTable *by_name;    /* class name -> ClassEntry * */
static GHashTable *aliases;    /* spelling -> class name */
static ClassLoader *loader;
static GPtrArray *candidates;  /* const ObjectClass * of a plugin being loaded, NULL otherwise */
static GRecMutex lock;

static json_object *type_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string(obj->klass->name);
}

static const Property object_props[] = {
    { .name = "type", .kind = PROP_KIND_CUSTOM, .flags = PROP_READONLY | PROP_HIDDEN, .type = "string", .get = type_get,
      .help = "name of the object's class" },
    PROP_END
};

static const ObjectClass object_class = {
    .name = TYPE_OBJECT, .desc = "base of every class", .size = sizeof(Object), .abstract = true, .props = object_props,
};
REGISTER_OBJECT(object_class)

static const ObjectClass container_class = { .name = TYPE_CONTAINER, .parent = TYPE_OBJECT, .desc = "a folder of objects" };
REGISTER_OBJECT(container_class)

void object_register_class(const ObjectClass *klass)
{
    g_rec_mutex_lock(&lock);
    if (!pending)
        pending = g_ptr_array_new();
    g_ptr_array_add(candidates ? candidates : pending, (void *)klass);
    g_rec_mutex_unlock(&lock);
}

void object_class_add_alias(const char *alias, const char *name)
{
    g_rec_mutex_lock(&lock);
    if (!aliases)
        aliases = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_insert(aliases, (void *)g_intern_string(alias), (void *)g_intern_string(name));
    g_rec_mutex_unlock(&lock);
}

const char *object_class_alias(const char *name)
{
    const char *found = NULL;
    GHashTableIter iter;
    gpointer alias, target;
    g_rec_mutex_lock(&lock);
    if (aliases) {
        g_hash_table_iter_init(&iter, aliases);
        while (g_hash_table_iter_next(&iter, &alias, &target))
            if (!strcmp(target, name) && (!found || strcmp(alias, found) < 0))
                found = alias;
    }
    g_rec_mutex_unlock(&lock);
    return found;
}

void object_set_class_loader(ClassLoader *func)
{
    loader = func;
}

/* A derived class may redefine an ancestor's property: its table then wins, in the ancestor's place. */
static void entry_add_props(ClassEntry *entry)
{
    entry->props = g_ptr_array_new();
    entry->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; entry->parent && i < entry->parent->props->len; i++) {
        const Property *prop = entry->parent->props->pdata[i];
        g_ptr_array_add(entry->props, (void *)prop);
        g_hash_table_insert(entry->by_name, (void *)prop->name, (void *)prop);
    }
    for (const Property *prop = entry->klass->props; prop && prop->name; prop++) {
        const Property *old = g_hash_table_lookup(entry->by_name, prop->name);
        guint at;
        if (old && g_ptr_array_find(entry->props, old, &at))
            entry->props->pdata[at] = (void *)prop;
        else
            g_ptr_array_add(entry->props, (void *)prop);
        g_hash_table_replace(entry->by_name, (void *)prop->name, (void *)prop);
    }
}

static void index_pending(void)
{
    if (!by_name)
        by_name = g_hash_table_new(g_str_hash, g_str_equal);
    if (!pending || !pending->len)
        return;
    for (guint i = 0; i < pending->len; i++) {
        ClassEntry *entry = g_new0(ClassEntry, 1);
        entry->klass = pending->pdata[i];
        if (!entry->klass->name || g_hash_table_contains(by_name, entry->klass->name))
            g_error("class '%s' is registered twice", entry->klass->name ? entry->klass->name : "(null)");
        g_hash_table_insert(by_name, (void *)entry->klass->name, entry);
    }
    g_ptr_array_set_size(pending, 0);
}

void object_classes_begin(void)
{
    g_rec_mutex_lock(&lock);
    index_pending();
    g_assert(!candidates);
    candidates = g_ptr_array_new();
}

static const ObjectClass *candidate_find(const char *name)
{
    for (guint i = 0; i < candidates->len; i++)
        if (!g_strcmp0(((const ObjectClass *)candidates->pdata[i])->name, name))
            return candidates->pdata[i];
    return NULL;
}

static bool candidate_check(const ObjectClass *klass, GError **err)
{
    if (!klass->name || !*klass->name) {
        error_set(err, "it has a class without a name");
    } else if (g_hash_table_contains(by_name, klass->name) || candidate_find(klass->name) != klass) {
        error_set(err, "there is a class '%s' already", klass->name);
    } else if (klass->parent && !g_hash_table_contains(by_name, klass->parent) && !candidate_find(klass->parent)) {
        error_set(err, "its class '%s' has the unknown parent '%s'", klass->name, klass->parent);
    } else {
        return true;
    }
    return false;
}

bool object_classes_commit(GError **err)
{
    g_autoptr(GPtrArray) all = NULL;
    bool ok = true;
    for (guint i = 0; i < candidates->len && ok; i++)
        ok = candidate_check(candidates->pdata[i], err);
    all = g_steal_pointer(&candidates);
    for (guint i = 0; i < all->len && ok; i++)
        g_ptr_array_add(pending, all->pdata[i]);
    g_rec_mutex_unlock(&lock);
    return ok;
}

/* Resolves the parent and flattens the properties at first use: most classes of a run are never used. */
static ClassEntry *entry_complete(ClassEntry *entry)
{
    if (entry->props)
        return entry;
    const char *parent = entry->klass->parent;
    if (parent) {
        ClassEntry *found = class_entry_find(parent);
        if (!found)
            g_error("class '%s' has the unknown parent '%s'", entry->klass->name, parent);
        entry->parent = found;
    } else if (entry->klass != &object_class) {
        entry->parent = class_entry_find(TYPE_OBJECT);
    }
    entry->size = entry->klass->size ? entry->klass->size : entry->parent->size;
    entry_add_props(entry);
    return entry;
}

ClassEntry *class_entry_find(const char *name)
{
    g_rec_mutex_lock(&lock);
    index_pending();
    ClassEntry *entry = g_hash_table_lookup(by_name, name);
    if (!entry && aliases) {
        const char *real = g_hash_table_lookup(aliases, name);
        entry = real ? g_hash_table_lookup(by_name, real) : NULL;
    }
    while (!entry && loader && loader(name)) {
        index_pending();
        const char *real = aliases ? g_hash_table_lookup(aliases, name) : NULL;
        entry = g_hash_table_lookup(by_name, real ? real : name);
    }
    if (entry)
        entry_complete(entry);
    g_rec_mutex_unlock(&lock);
    return entry;
}

ClassEntry *class_entry_of(const ObjectClass *klass)
{
    ClassEntry *entry = class_entry_find(klass->name);
    g_assert(entry && entry->klass == klass);
    return entry;
}

GType class_entry_gtype(ClassEntry *entry)
{
    g_rec_mutex_lock(&lock);
    if (!entry->gtype)
        entry->gtype = object_gtype_register(entry);
    g_rec_mutex_unlock(&lock);
    return entry->gtype;
}

const ObjectClass *object_class_find(const char *name)
{
    ClassEntry *entry = class_entry_find(name);
    return entry ? entry->klass : NULL;
}

const ObjectClass *object_class_parent(const ObjectClass *klass)
{
    ClassEntry *parent = class_entry_of(klass)->parent;
    return parent ? parent->klass : NULL;
}

bool object_class_is_a(const ObjectClass *klass, const char *ancestor)
{
    for (ClassEntry *entry = class_entry_of(klass); entry; entry = entry->parent)
        if (!strcmp(entry->klass->name, ancestor))
            return true;
    return false;
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    const ObjectClass *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

GPtrArray *object_class_list_loaded(const char *ancestor, bool with_abstract)
{
    g_rec_mutex_lock(&lock);
    index_pending();
    GPtrArray *list = g_ptr_array_new();
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, by_name);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const ClassEntry *entry = entry_complete(value);
        if (entry->klass->abstract && !with_abstract)
            continue;
        if (ancestor && (!strcmp(entry->klass->name, ancestor) || !object_class_is_a(entry->klass, ancestor)))
            continue;
        g_ptr_array_add(list, (void *)entry->klass);
    }
    g_rec_mutex_unlock(&lock);
    g_ptr_array_sort(list, compare_names);
    return list;
}

GPtrArray *object_class_list(const char *ancestor, bool with_abstract)
{
    g_rec_mutex_lock(&lock);
    if (loader)
        loader(NULL);
    g_rec_mutex_unlock(&lock);
    return object_class_list_loaded(ancestor, with_abstract);
}

GPtrArray *object_property_list(const ObjectClass *klass)
{
    return g_ptr_array_copy(class_entry_of(klass)->props, NULL, NULL);
}

const Property *object_property_find(const ObjectClass *klass, const char *name)
{
    return g_hash_table_lookup(class_entry_of(klass)->by_name, name);
}
