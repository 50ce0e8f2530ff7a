/* Walks the schema tables: argument checks and query-qmp-schema. */
#include "monitor/schema.h"

#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "monitor/qmp.h"

/* ---- checking ---- */

static bool check_value(const char *path, const SchemaType *type, json_object *value, GError **err);

static const char *kind_words(const SchemaType *type)
{
    switch (type->kind) {
    case SCHEMA_STR:
        return "string";
    case SCHEMA_INT:
        return "integer";
    case SCHEMA_UINT:
        return "integer that is not negative";
    case SCHEMA_NUMBER:
        return "number";
    case SCHEMA_BOOL:
        return "boolean";
    case SCHEMA_NULL:
        return "null";
    case SCHEMA_ARRAY:
        return "array";
    case SCHEMA_STRUCT:
        return "object";
    default:
        return "value";
    }
}

static bool type_error(const char *path, const SchemaType *type, GError **err)
{
    error_set(err, "Invalid parameter type for '%s', expected: %s", path, kind_words(type));
    return false;
}

static bool check_enum(const char *path, const SchemaType *type, json_object *value, GError **err)
{
    if (!json_object_is_type(value, json_type_string)) {
        error_set(err, "Invalid parameter type for '%s', expected: string", path);
        return false;
    }
    const char *text = json_object_get_string(value);
    if (g_strv_contains(type->values, text) || type->introspect)
        return true;
    g_autofree char *list = g_strjoinv(", ", (char **)type->values);
    error_set(err, "Parameter '%s' does not accept value '%s'; it takes: %s", path, text, list);
    return false;
}

static const SchemaMember *find_member(const SchemaMember *members, const char *name)
{
    for (; members && members->name; members++)
        if (!strcmp(members->name, name))
            return members;
    return NULL;
}

static const SchemaType *find_variant(const SchemaType *type, json_object *value)
{
    json_object *tag;
    if (!type->tag || !json_object_object_get_ex(value, type->tag, &tag) || !json_object_is_type(tag, json_type_string))
        return NULL;
    for (const SchemaVariant *v = type->variants; v && v->value; v++)
        if (!strcmp(v->value, json_object_get_string(tag)))
            return v->type;
    return NULL;
}

static bool check_members(const char *path, const SchemaMember *members, json_object *value, GError **err)
{
    for (const SchemaMember *m = members; m->name; m++) {
        g_autofree char *name = *path ? g_strdup_printf("%s.%s", path, m->name) : g_strdup(m->name);
        json_object *child;
        if (!json_object_object_get_ex(value, m->name, &child)) {
            if (m->optional)
                continue;
            error_set(err, "Parameter '%s' is missing", name);
            return false;
        }
        if (!check_value(name, m->type, child, err))
            return false;
    }
    return true;
}

static bool unexpected(const char *path, const SchemaType *type, const SchemaType *variant, const char *name, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const SchemaMember *m = type->members; m->name; m++)
        g_ptr_array_add(names, (char *)m->name);
    for (const SchemaMember *m = variant ? variant->members : NULL; m && m->name; m++)
        g_ptr_array_add(names, (char *)m->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    const char *dot = *path ? "." : "";
    if (near)
        error_set(err, "Parameter '%s%s%s' is unexpected; did you mean '%s'?", path, dot, name, near);
    else
        error_set(err, "Parameter '%s%s%s' is unexpected", path, dot, name);
    return false;
}

static bool check_struct(const char *path, const SchemaType *type, json_object *value, GError **err)
{
    if (!json_object_is_type(value, json_type_object))
        return type_error(path, type, err);
    if (!check_members(path, type->members, value, err))
        return false;
    const SchemaType *variant = find_variant(type, value);
    if (variant && !check_members(path, variant->members, value, err))
        return false;
    if (type->open || (variant && variant->open))
        return true;
    json_object_object_foreach(value, key, member) {
        (void)member;
        if (!find_member(type->members, key) && !(variant && find_member(variant->members, key)))
            return unexpected(path, type, variant, key, err);
    }
    return true;
}

static bool check_alternate(const char *path, const SchemaType *type, json_object *value, GError **err)
{
    GString *words = g_string_new(NULL);
    for (const SchemaMember *m = type->members; m->name; m++) {
        if (check_value(path, m->type, value, NULL)) {
            g_string_free(words, TRUE);
            return true;
        }
        g_string_append_printf(words, "%s%s", words->len ? " or " : "", kind_words(m->type));
    }
    error_set(err, "Invalid parameter type for '%s', expected: %s", path, words->str);
    g_string_free(words, TRUE);
    return false;
}

static bool check_value(const char *path, const SchemaType *type, json_object *value, GError **err)
{
    switch (type->kind) {
    case SCHEMA_STR:
        return json_object_is_type(value, json_type_string) || type_error(path, type, err);
    case SCHEMA_INT:
        return json_object_is_type(value, json_type_int) || type_error(path, type, err);
    case SCHEMA_UINT:
        return (json_object_is_type(value, json_type_int) &&
                (json_object_get_int64(value) >= 0 || json_object_get_uint64(value) > INT64_MAX)) ||
               type_error(path, type, err);
    case SCHEMA_NUMBER:
        return json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double) ||
               type_error(path, type, err);
    case SCHEMA_BOOL:
        return json_object_is_type(value, json_type_boolean) || type_error(path, type, err);
    case SCHEMA_NULL:
        return !value || type_error(path, type, err);
    case SCHEMA_ANY:
        return true;
    case SCHEMA_ENUM:
        return check_enum(path, type, value, err);
    case SCHEMA_STRUCT:
        return check_struct(path, type, value, err);
    case SCHEMA_ALTERNATE:
        return check_alternate(path, type, value, err);
    case SCHEMA_ARRAY:
        if (!json_object_is_type(value, json_type_array))
            return type_error(path, type, err);
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            g_autofree char *name = g_strdup_printf("%s[%zu]", path, i);
            if (!check_value(name, type->element, json_object_array_get_idx(value, i), err))
                return false;
        }
        return true;
    }
    g_assert_not_reached();
}

bool schema_check(const SchemaType *type, json_object *value, GError **err)
{
    return check_value("", type, value, err);
}

static int compare_command(const void *name, const void *command)
{
    return strcmp(name, ((const SchemaCommand *)command)->name);
}

const SchemaCommand *schema_find_command(const char *name)
{
    return bsearch(name, schema_commands, schema_nr_commands, sizeof(schema_commands[0]), compare_command);
}

/* ---- query-qmp-schema ---- */

typedef struct Walk {
    json_object *entities;
    GHashTable *seen;  /* SchemaType * that were described */
    GQueue todo;       /* SchemaType * found on the way */
} Walk;

/* uint has no builtin of its own in the protocol's introspection. */
static const char *wire_name(const SchemaType *type)
{
    return type->kind == SCHEMA_UINT ? "int" : type->name;
}

static const char *need(Walk *w, const SchemaType *type)
{
    if (g_hash_table_add(w->seen, (gpointer)type))
        g_queue_push_tail(&w->todo, (gpointer)type);
    return wire_name(type);
}

static json_object *entity_new(const char *name, const char *meta)
{
    json_object *o = json_object_new_object();
    put_str(o, "name", name);
    put_str(o, "meta-type", meta);
    return o;
}

static json_object *describe_members(Walk *w, const SchemaMember *members)
{
    json_object *list = json_object_new_array();
    for (const SchemaMember *m = members; m->name; m++) {
        json_object *o = json_object_new_object();
        put_str(o, "name", m->name);
        put_str(o, "type", need(w, m->type));
        if (m->optional)
            put(o, "default", NULL);
        json_object_array_add(list, o);
    }
    return list;
}

static json_object *describe_builtin(const SchemaType *type)
{
    static const struct { const char *name, *json; } kinds[] = {
        [SCHEMA_STR] = { "str", "string" }, [SCHEMA_INT] = { "int", "int" }, [SCHEMA_UINT] = { "int", "int" },
        [SCHEMA_NUMBER] = { "number", "number" }, [SCHEMA_BOOL] = { "bool", "boolean" }, [SCHEMA_NULL] = { "null", "null" },
        [SCHEMA_ANY] = { "any", "value" },
    };
    json_object *o = entity_new(kinds[type->kind].name, "builtin");
    put_str(o, "json-type", kinds[type->kind].json);
    return o;
}

static json_object *describe_type(Walk *w, const SchemaType *type)
{
    json_object *o;
    switch (type->kind) {
    case SCHEMA_ENUM: {
        o = entity_new(type->name, "enum");
        json_object *values = json_object_new_array(), *members = json_object_new_array();
        for (const char *const *v = type->values; *v; v++) {
            json_object *member = json_object_new_object();
            put_str(member, "name", *v);
            json_object_array_add(members, member);
            json_object_array_add(values, json_object_new_string(*v));
        }
        put(o, "members", members);
        put(o, "values", values);
        break;
    }
    case SCHEMA_ARRAY:
        o = entity_new(type->name, "array");
        put_str(o, "element-type", need(w, type->element));
        break;
    case SCHEMA_ALTERNATE: {
        o = entity_new(type->name, "alternate");
        json_object *members = json_object_new_array();
        for (const SchemaMember *m = type->members; m->name; m++) {
            json_object *member = json_object_new_object();
            put_str(member, "type", need(w, m->type));
            json_object_array_add(members, member);
        }
        put(o, "members", members);
        break;
    }
    case SCHEMA_STRUCT:
        o = entity_new(type->name, "object");
        put(o, "members", describe_members(w, type->members));
        if (type->variants) {
            json_object *variants = json_object_new_array();
            for (const SchemaVariant *v = type->variants; v->value; v++) {
                json_object *variant = json_object_new_object();
                put_str(variant, "case", v->value);
                put_str(variant, "type", need(w, v->type));
                json_object_array_add(variants, variant);
            }
            put_str(o, "tag", type->tag);
            put(o, "variants", variants);
        }
        break;
    default:
        o = describe_builtin(type);
    }
    if (type->introspect)
        type->introspect(o, w->entities);
    return o;
}

static void describe_commands(Walk *w)
{
    for (unsigned i = 0; i < schema_nr_commands; i++) {
        const SchemaCommand *c = &schema_commands[i];
        json_object *o = entity_new(c->name, "command");
        put_str(o, "arg-type", need(w, c->args));
        put_str(o, "ret-type", need(w, c->ret));
        if (c->oob)
            put_bool(o, "allow-oob", true);
        if (c->features) {
            json_object *features = json_object_new_array();
            for (const char *const *f = c->features; *f; f++)
                json_object_array_add(features, json_object_new_string(*f));
            put(o, "features", features);
        }
        json_object_array_add(w->entities, o);
    }
}

json_object *schema_introspect(void)
{
    Walk w = { .entities = json_object_new_array(), .seen = g_hash_table_new(NULL, NULL) };
    describe_commands(&w);
    for (unsigned i = 0; i < schema_nr_events; i++) {
        json_object *o = entity_new(schema_events[i].name, "event");
        put_str(o, "arg-type", need(&w, schema_events[i].data));
        json_object_array_add(w.entities, o);
    }
    GHashTable *builtins = g_hash_table_new(g_str_hash, g_str_equal);
    for (const SchemaType *type; (type = g_queue_pop_head(&w.todo));)
        if (type->kind > SCHEMA_ANY || g_hash_table_add(builtins, (gpointer)wire_name(type)))
            json_object_array_add(w.entities, describe_type(&w, type));
    g_hash_table_unref(builtins);
    g_hash_table_unref(w.seen);
    return w.entities;
}
