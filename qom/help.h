/* Help texts for -device, -object, -machine, -cpu and the like, all made from the class tables. */
#pragma once

#include <qom/object.h>

/* "NAME options:" and a line for each property that can be set, sorted. (owned) */
char *object_class_help(const ObjectClass *klass);
/* title, then a line "  name  description" for each class below ancestor (NULL: all) that wanted() (NULL: all) takes. (owned) */
char *object_list_help(const char *title, const char *ancestor, bool (*wanted)(const ObjectClass *klass));
/* -object help (owned) */
char *user_object_list_help(void);
/* Whether -object can make instances of klass. */
bool user_object_class_ok(const ObjectClass *klass);
/* The default as device-list-properties shows it, NULL if there is none. (owned) */
json_object *property_default_json(const Property *prop);
