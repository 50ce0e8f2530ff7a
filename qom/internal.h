/* What the files of qom/ share: the class registry's entries and the property engine. Not for other folders. */
#pragma once

#include <json-c/json.h>
#include <qom/object.h>

/* A registered class, indexed. Made by class.c at the first look-up, lives as long as the process. */
typedef struct ClassEntry ClassEntry;
struct ClassEntry {
    const ObjectClass *klass;
    ClassEntry *parent;    /* NULL for "object" */
    size_t size;           /* of the instance, inherited where the table says 0 */
    GType gtype;           /* 0 until the first instance */
    GPtrArray *props;      /* const Property *, ancestors first; a redefined one keeps the ancestor's place */
    GHashTable *by_name;   /* property name -> const Property * */
};

ClassEntry *class_entry_find(const char *name); /* aliases too; NULL if unknown */
ClassEntry *class_entry_of(const ObjectClass *klass);
GType class_entry_gtype(ClassEntry *entry);

/* object.c */
GType object_gtype_register(ClassEntry *entry);

/* property.c: the field of a property, and its life in an instance. */
void property_set_default(Object *obj, const Property *prop);
void property_clear(Object *obj, const Property *prop);
/* Checks and stores, without regard to READONLY and sealed objects. */
bool property_store_json(Object *obj, const Property *prop, json_object *value, GError **err) WARN_UNUSED;
json_object *property_load_json(Object *obj, const Property *prop, GError **err) WARN_UNUSED;

/* param.c: the GObject side. */
void param_install_all(GObjectClass *gclass, ClassEntry *entry);
void param_set(GObject *gobject, guint id, const GValue *value, GParamSpec *pspec);
void param_get(GObject *gobject, guint id, GValue *value, GParamSpec *pspec);
void param_notify(Object *obj, const Property *prop);

/* globals.c */
bool globals_apply(Object *obj, GError **err) WARN_UNUSED;
void object_clear_globals(void); /* tests */

/* access.c */
const char *property_nearest(const ObjectClass *klass, const char *name); /* borrowed, NULL if nothing is close */
