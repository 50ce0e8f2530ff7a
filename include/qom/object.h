/*
 * Objects: every accelerator, machine, bus, device, back end is an instance of a class registered by name.
 *
 * A class is a const table. The core registers it as a GObject type the first time it is needed; references, weak
 * references, properties and notification are GObject's. Objects form a composition tree whose paths
 * ("/machine/peripheral/disk0") QMP clients see.
 *
 * Tables start with the fields of ObjectClass (OBJECT_CLASS_FIELDS), so that a derived table is also an ObjectClass.
 * The tree is changed by holders of the main domain's lock only. An instance is at most 65535 bytes (GObject's limit):
 * allocate big tables on their own.
 */
#pragma once

#include <qom/property.h>
#include <rhea/plugin.h>

typedef struct ObjectClass ObjectClass;

#define OBJECT_CLASS_FIELDS                                                                                          \
    const char *name;       /* as users write it */                                                                  \
    const char *parent;     /* registered name of the parent class; its props, init and finalize come first */       \
    const char *desc;       /* one phrase for help */                                                                \
    size_t size;            /* of the instance struct; 0: the parent's */                                            \
    bool abstract;                                                                                                   \
    const Property *props;  /* PROP_END-terminated or NULL */                                                        \
    void (*init)(Object *obj);     /* after defaults were set; parent's first */                                     \
    void (*finalize)(Object *obj); /* own part only; strings and links of properties are freed by the core */        \
    /* -object/object-add: NULL for classes that users can't create that way */                                      \
    bool (*complete)(Object *obj, GError **err);                                                                     \
    bool (*can_delete)(Object *obj, GError **err);                                                                   \
    const void *data        /* free for generated classes (models, wrappers) */

struct ObjectClass {
    OBJECT_CLASS_FIELDS;
};

struct Object {
    GObject gobject;
    const ObjectClass *klass;
    char *id;             /* name in the parent, NULL at the root */
    Object *owner;        /* composition parent, borrowed */
    GHashTable *children; /* name -> Object *, references held; NULL until needed */
    GPtrArray *child_order; /* Object *, in order of addition */
    GHashTable *given;    /* names of properties that were set explicitly */
    bool sealed;          /* in use (device realized, object completed): only PROP_LIVE properties can be set */
};

/* Base class names. */
#define TYPE_OBJECT "object"
#define TYPE_CONTAINER "container"

#define OBJECT(ptr) ((Object *)(ptr))

/* Registers a static table. Called by constructors and plugins; two classes of one name are a bug in us, or a plugin error. */
void object_register_class(const ObjectClass *klass);
const ObjectClass *object_class_find(const char *name);                         /* NULL if unknown */
const ObjectClass *object_class_parent(const ObjectClass *klass);
bool object_class_is_a(const ObjectClass *klass, const char *ancestor);
/* All classes below `ancestor` (NULL: all), sorted by name. (container owned: g_ptr_array_unref) */
GPtrArray *object_class_list(const char *ancestor, bool with_abstract);
/* The same without loading modules that were not needed yet: for look-ups at start-up, before asking for all. */
GPtrArray *object_class_list_loaded(const char *ancestor, bool with_abstract);
/* Alternative spelling: "virtio-blk" for -device, "tcg" for dbt. */
void object_class_add_alias(const char *alias, const char *name);
const char *object_class_alias(const char *name); /* of a class, NULL if it has none */

#define REGISTER_OBJECT(table) RHEA_REGISTER(object_register_class, table)

/* A new instance with defaults applied, -global values included. (owned) NULL with a sentence if unknown or abstract. */
Object *object_new(const char *type, GError **err) WARN_UNUSED;
Object *object_ref(Object *obj);
void object_unref(Object *obj);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Object, object_unref)
bool object_is_a(const Object *obj, const char *type);
const char *object_type_name(const Object *obj);

/* Composition. add takes its own reference. name is copied; "NAME[*]" picks the first free index. */
void object_add_child(Object *parent, const char *name, Object *child);
void object_remove_from_parent(Object *child);
Object *object_child(const Object *parent, const char *name);   /* borrowed */
Object *object_get_root(void);                                  /* "/" */
Object *object_get_container(const char *path);                 /* makes missing containers; "/machine/peripheral" */
char *object_path(const Object *obj);                           /* (owned) */
/*
 * Absolute path, or a partial one: trailing components unique in the tree. (borrowed) *ambiguous is set when several fit.
 * Link properties are followed as components.
 */
Object *object_resolve(const char *path, bool *ambiguous);
/* Depth first over the tree below root; stops when func returns false. */
bool object_foreach(Object *root, bool (*func)(Object *obj, void *opaque), void *opaque);

/*
 * Properties by name. *_json: value as JSON. *_text: as written on a command line. Unknown names give the nearest valid one.
 */
const Property *object_property_find(const ObjectClass *klass, const char *name);
/* Every property of the class and its ancestors, ancestors first. (container owned) of const Property * */
GPtrArray *object_property_list(const ObjectClass *klass);
bool object_set_json(Object *obj, const char *name, json_object *value, GError **err) WARN_UNUSED;
bool object_set_text(Object *obj, const char *name, const char *text, GError **err) WARN_UNUSED;
bool object_set_bool(Object *obj, const char *name, bool value, GError **err) WARN_UNUSED;
bool object_set_uint(Object *obj, const char *name, uint64_t value, GError **err) WARN_UNUSED;
bool object_set_link(Object *obj, const char *name, Object *value, GError **err) WARN_UNUSED;
json_object *object_get_json(Object *obj, const char *name, GError **err) WARN_UNUSED; /* (owned) */
bool object_was_given(const Object *obj, const char *property);
/* Every member of an options object except the names in skip[] (NULL-terminated, may be NULL). */
bool object_set_all_json(Object *obj, json_object *options, const char *const *skip, GError **err) WARN_UNUSED;
/* The type name that qom-list and device-list-properties show for a property ("bool", "uint32", "size", "link<...>"). */
const char *property_type_name(const Property *prop);
/* One line for -device NAME,help: "name=<type> - help (default: x)". (owned) */
char *property_help_line(const Property *prop);

/* -global driver.property=value: applies to instances of driver and of classes derived from it made later. */
void object_add_global(const char *driver, const char *property, const char *value);
/* -global entries whose driver or property exists nowhere. (owned sentence) NULL if none. */
char *object_check_globals(void);

/*
 * -object / object-add: makes /objects/ID, sets properties, completes. options: "qom-type", "id" and the properties.
 */
Object *user_object_add(json_object *options, GError **err) WARN_UNUSED; /* borrowed */
bool user_object_del(const char *id, GError **err) WARN_UNUSED;
Object *user_object_find(const char *id); /* borrowed, NULL if unknown */
void user_objects_free_all(void);         /* last made first, at the end of the process; the main domain not locked */
/* Fails with a sentence when a PROP_REQUIRED property was not given. For life cycles other than devices and -object. */
bool object_check_required(const Object *obj, GError **err) WARN_UNUSED;
