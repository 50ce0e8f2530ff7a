/*
 * Options of nodes: nested JSON, as QMP sends it, or the flat "cache.direct=on" strings of a command line. Both are brought into
 * the nested form and checked against the tables of the driver before it sees them.
 */
#include "block/block-int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool nest_into(json_object *to, const char *key, json_object *value, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", 0);
    json_object *at = to;
    for (unsigned i = 0; parts[i]; i++) {
        json_object *have = NULL;
        bool found = json_object_object_get_ex(at, parts[i], &have);
        if (!parts[i + 1]) {
            if (found && json_object_is_type(have, json_type_object) && json_object_is_type(value, json_type_object)) {
                json_object_object_foreach(value, sub, subvalue)
                    if (!nest_into(have, sub, subvalue, err))
                        return false;
                return true;
            }
            if (found) {
                error_set(err, "option \"%s\" is given twice", key);
                return false;
            }
            if (json_object_is_type(value, json_type_object)) {
                json_object *copy = block_options_nest(value, err);
                if (!copy)
                    return false;
                json_object_object_add(at, parts[i], copy);
            } else {
                json_object_object_add(at, parts[i], json_object_get(value));
            }
            return true;
        }
        if (!found) {
            have = json_object_new_object();
            json_object_object_add(at, parts[i], have);
        } else if (!json_object_is_type(have, json_type_object)) {
            error_set(err, "options \"%s\" and \"%s\" exclude each other", parts[i], key);
            return false;
        }
        at = have;
    }
    return true;
}

json_object *block_options_nest(json_object *options, GError **err)
{
    json_object *to = json_object_new_object();
    json_object_object_foreach(options, key, value) {
        if (!nest_into(to, key, value, err)) {
            json_object_put(to);
            return NULL;
        }
    }
    return to;
}

json_object *block_option_get(json_object *options, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, ".", 0);
    json_object *at = options;
    for (unsigned i = 0; parts[i]; i++)
        if (!json_object_is_type(at, json_type_object) || !json_object_object_get_ex(at, parts[i], &at))
            return NULL;
    return at;
}

void block_option_set(json_object *options, const char *path, json_object *value)
{
    g_auto(GStrv) parts = g_strsplit(path, ".", 0);
    json_object *at = options;
    for (unsigned i = 0; parts[i]; i++) {
        if (!parts[i + 1]) {
            json_object_object_add(at, parts[i], value);
            return;
        }
        json_object *have = NULL;
        if (!json_object_object_get_ex(at, parts[i], &have) || !json_object_is_type(have, json_type_object)) {
            have = json_object_new_object();
            json_object_object_add(at, parts[i], have);
        }
        at = have;
    }
}

void block_option_default(json_object *options, const char *path, const char *value)
{
    if (!block_option_get(options, path))
        block_option_set(options, path, json_object_new_string(value));
}

bool block_parse_bool(json_object *value, bool *out)
{
    if (json_object_is_type(value, json_type_boolean)) {
        *out = json_object_get_boolean(value);
        return true;
    }
    if (!json_object_is_type(value, json_type_string))
        return false;
    static const char *const yes[] = {"on", "yes", "true", "y", NULL}, *const no[] = {"off", "no", "false", "n", NULL};
    const char *text = json_object_get_string(value);
    if (g_strv_contains(yes, text))
        *out = true;
    else if (g_strv_contains(no, text))
        *out = false;
    else
        return false;
    return true;
}

/* "10", "0x200", "64k", "1.5G": suffixes are powers of 1024. */
bool block_parse_size(json_object *value, uint64_t *out)
{
    if (json_object_is_type(value, json_type_int)) {
        int64_t number = json_object_get_int64(value);
        *out = json_object_get_uint64(value);
        return number >= 0;
    }
    if (!json_object_is_type(value, json_type_string))
        return false;
    const char *text = json_object_get_string(value);
    if (!g_ascii_isdigit(text[0]))
        return false;
    char *end;
    errno = 0;
    bool hex = g_ascii_strncasecmp(text, "0x", 2) == 0;
    double fraction = 0;
    uint64_t number = g_ascii_strtoull(text, &end, hex ? 16 : 10);
    if (errno)
        return false;
    if (!hex && *end == '.')
        fraction = g_ascii_strtod(end, &end);
    static const char suffixes[] = "BKMGTPE";
    unsigned shift = 0;
    if (*end) {
        const char *suffix = strchr(suffixes, g_ascii_toupper(*end));
        if (!suffix || end[1])
            return false;
        shift = 10 * (unsigned)(suffix - suffixes);
    }
    if (shift && number >> (64 - shift))
        return false;
    if (fraction && !shift)
        return false;
    *out = (number << shift) + (uint64_t)(fraction * (double)(1ull << shift));
    return true;
}

static const BlockOption *find_option(const BlockOption *const *tables, const char *path, bool *is_prefix)
{
    *is_prefix = false;
    size_t len = strlen(path);
    for (unsigned t = 0; tables[t]; t++) {
        for (const BlockOption *o = tables[t]; o->name; o++) {
            if (g_str_equal(o->name, path))
                return o;
            if (g_str_has_prefix(o->name, path) && o->name[len] == '.')
                *is_prefix = true;
        }
    }
    return NULL;
}

static bool check_value(const BlockOption *o, const char *path, json_object *value, GError **err)
{
    const char *text = value ? json_object_get_string(value) : "null";
    bool dummy_bool;
    uint64_t dummy_size;
    switch (o->kind) {
    case BLOCK_OPT_BOOL:
        if (block_parse_bool(value, &dummy_bool))
            return true;
        error_set(err, "option \"%s\" takes on or off, not \"%s\"", path, text);
        return false;
    case BLOCK_OPT_SIZE:
    case BLOCK_OPT_UINT:
        if (block_parse_size(value, &dummy_size))
            return true;
        error_set(err, "option \"%s\" takes a number%s, not \"%s\"", path,
                  o->kind == BLOCK_OPT_SIZE ? " of bytes with an optional suffix k, M, G, T, P or E" : "", text);
        return false;
    case BLOCK_OPT_ENUM: {
        if (json_object_is_type(value, json_type_string) && g_strv_contains(o->names, text))
            return true;
        g_autofree char *all = g_strjoinv(", ", (char **)o->names);
        error_set(err, "option \"%s\" takes one of %s, not \"%s\"", path, all, text);
        return false;
    }
    case BLOCK_OPT_NODE:
        if (!value || json_object_is_type(value, json_type_string) || json_object_is_type(value, json_type_object))
            return true;
        error_set(err, "option \"%s\" takes a node name or the options of a node", path);
        return false;
    case BLOCK_OPT_STR:
        if (json_object_is_type(value, json_type_string) || json_object_is_type(value, json_type_int))
            return true;
        error_set(err, "option \"%s\" takes a string", path);
        return false;
    }
    return false;
}

static void set_unknown(GError **err, const char *what, const char *path, const BlockOption *const *tables)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (unsigned t = 0; tables[t]; t++)
        for (const BlockOption *o = tables[t]; o->name; o++)
            g_ptr_array_add(names, (gpointer)o->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(path, (const char *const *)names->pdata);
    if (near)
        error_set(err, "%s has no option \"%s\"; the nearest is \"%s\"", what, path, near);
    else
        error_set(err, "%s has no option \"%s\"", what, path);
}

static bool check_object(json_object *object, const char *prefix, const char *what, const BlockOption *const *tables,
                         GError **err)
{
    json_object_object_foreach(object, key, value) {
        g_autofree char *path = prefix ? g_strdup_printf("%s.%s", prefix, key) : g_strdup(key);
        bool is_prefix;
        const BlockOption *o = find_option(tables, path, &is_prefix);
        if (o) {
            if (!check_value(o, path, value, err))
                return false;
        } else if (is_prefix && json_object_is_type(value, json_type_object)) {
            if (!check_object(value, path, what, tables, err))
                return false;
        } else {
            set_unknown(err, what, path, tables);
            return false;
        }
    }
    return true;
}

bool block_options_check(json_object *options, const char *what, const BlockOption *const *tables, GError **err)
{
    if (!check_object(options, NULL, what, tables, err))
        return false;
    for (unsigned t = 0; tables[t]; t++) {
        for (const BlockOption *o = tables[t]; o->name; o++) {
            if (o->required && !block_option_get(options, o->name)) {
                error_set(err, "%s needs the option \"%s\"", what, o->name);
                return false;
            }
        }
    }
    return true;
}

bool block_option_bool(json_object *options, const char *path, bool def)
{
    json_object *value = block_option_get(options, path);
    bool out = def;
    return value && block_parse_bool(value, &out) ? out : def;
}

uint64_t block_option_size(json_object *options, const char *path, uint64_t def)
{
    json_object *value = block_option_get(options, path);
    uint64_t out = def;
    return value && block_parse_size(value, &out) ? out : def;
}

const char *block_option_str(json_object *options, const char *path)
{
    json_object *value = block_option_get(options, path);
    return value ? json_object_get_string(value) : NULL;
}

int block_option_enum(json_object *options, const char *path, const char *const *names, int def)
{
    const char *text = block_option_str(options, path);
    for (int i = 0; text && names[i]; i++)
        if (g_str_equal(names[i], text))
            return i;
    return def;
}
