/* Option text to JSON. The grammar is in keyval.h. */
#include "util/keyval.h"

#include <string.h>

static json_object *parse_json_object(const char *text, GError **err)
{
    json_tokener *tokener = json_tokener_new();
    json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
    size_t len = strlen(text);
    json_object *value = json_tokener_parse_ex(tokener, text, (int)MIN(len, G_MAXINT));
    enum json_tokener_error problem = json_tokener_get_error(tokener);
    size_t end = json_tokener_get_parse_end(tokener);
    json_tokener_free(tokener);
    while (end < len && g_ascii_isspace(text[end]))
        end++;
    if (problem == json_tokener_success && end == len && json_object_is_type(value, json_type_object))
        return value;
    const char *why = problem == json_tokener_continue  ? "it ends too early"
                      : problem != json_tokener_success ? json_tokener_error_desc(problem)
                                                        : "there is more behind the object";
    error_set(err, "'%s' is not a JSON object: %s at character %zu", text, why, end + 1);
    json_object_put(value);
    return NULL;
}

/* Up to the next single comma; ",," is one comma of the value. Moves *text behind the separator. */
static char *take_value(const char **text)
{
    GString *value = g_string_new(NULL);
    const char *p = *text;
    for (; *p; p++) {
        if (*p == ',' && p[1] != ',')
            break;
        if (*p == ',')
            p++;
        g_string_append_c(value, *p);
    }
    *text = *p ? p + 1 : p;
    return g_string_free(value, FALSE);
}

static bool key_well_formed(const char *key, size_t len)
{
    static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    if (!len || key[0] == '.' || key[len - 1] == '.' || g_strstr_len(key, (gssize)len, ".."))
        return false;
    return strspn(key, chars) >= len;
}

/* Puts text at key in root, nesting at dots. */
static bool put_value(json_object *root, const char *key, const char *text, unsigned flags, GError **err)
{
    json_object *at = root;
    const char *name = key, *dot;
    while (!(flags & KEYVAL_FLAT) && (dot = strchr(name, '.'))) {
        g_autofree char *part = g_strndup(name, (gsize)(dot - name));
        json_object *inner;
        if (!json_object_object_get_ex(at, part, &inner)) {
            inner = json_object_new_object();
            json_object_object_add(at, part, inner);
        } else if (!json_object_is_type(inner, json_type_object)) {
            error_set(err, "'%s' and '%.*s' can't both be given", key, (int)(dot - key), key);
            return false;
        }
        at = inner;
        name = dot + 1;
    }
    json_object *old;
    if (json_object_object_get_ex(at, name, &old) && json_object_is_type(old, json_type_object)) {
        error_set(err, "'%s' can't be given together with '%s.…'", key, key);
        return false;
    }
    json_object_object_add(at, name, json_object_new_string(text));
    return true;
}

static bool put_flag(json_object *root, const char *flag, unsigned flags, GError **err)
{
    bool negated = g_str_has_prefix(flag, "no") && flag[2] && flag[2] != '-';
    return put_value(root, negated ? flag + 2 : flag, negated ? "off" : "on", flags, err);
}

/* A copy, because folding changes the object that is walked. */
static GPtrArray *member_names(json_object *object)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    json_object_object_foreach(object, name, value) {
        (void)value;
        g_ptr_array_add(names, g_strdup(name));
    }
    return names;
}

static bool all_digits(const char *name)
{
    return *name && !name[strspn(name, "0123456789")];
}

/* An object with the names 0..n-1 is a list, at any depth. (takes value, owned) */
static json_object *fold_lists(json_object *value, const char *key, GError **err)
{
    if (!json_object_is_type(value, json_type_object))
        return value;
    int n = json_object_object_length(value), numbers = 0;
    g_autoptr(GPtrArray) names = member_names(value);
    for (guint i = 0; i < names->len; i++) {
        numbers += all_digits(names->pdata[i]);
        json_object *member = json_object_get(json_object_object_get(value, names->pdata[i]));
        json_object *folded = fold_lists(member, names->pdata[i], err);
        if (!folded) {
            json_object_put(value);
            return NULL;
        }
        json_object_object_add(value, names->pdata[i], folded);
    }
    if (!n || !numbers)
        return value;
    json_object *list = json_object_new_array();
    for (int i = 0; i < n; i++) {
        char name[16];
        g_snprintf(name, sizeof(name), "%d", i);
        json_object *member;
        if (!json_object_object_get_ex(value, name, &member)) {
            error_set(err, "the list '%s' has other members than 0 to %d, or '%s.%d' is missing", key, n - 1, key, i);
            json_object_put(list);
            json_object_put(value);
            return NULL;
        }
        json_object_array_add(list, json_object_get(member));
    }
    json_object_put(value);
    return list;
}

static bool parse_member(json_object *root, const char **text, const char *implied, unsigned flags, GError **err)
{
    const char *start = *text;
    size_t len = strcspn(start, "=,");
    if (start[len] != '=') {
        g_autofree char *value = take_value(text);
        if (implied)
            return put_value(root, implied, value, flags | KEYVAL_FLAT, err);
        if (!key_well_formed(value, strlen(value))) {
            error_set(err, "'%s' is neither 'name=value' nor the name of a flag", value);
            return false;
        }
        return put_flag(root, value, flags, err);
    }
    if (!key_well_formed(start, len)) {
        error_set(err, "'%.*s' is not a valid name in front of '='", (int)len, start);
        return false;
    }
    g_autofree char *key = g_strndup(start, len);
    *text = start + len + 1;
    g_autofree char *value = take_value(text);
    return put_value(root, key, value, flags, err);
}

json_object *keyval_parse(const char *text, const char *implied, unsigned flags, GError **err)
{
    while (g_ascii_isspace(*text))
        text++;
    if (*text == '{')
        return parse_json_object(text, err);
    json_object *root = json_object_new_object();
    const char *p = text;
    while (*p) {
        if (!parse_member(root, &p, p == text ? implied : NULL, flags, err)) {
            g_prefix_error(err, "option '%s': ", text);
            json_object_put(root);
            return NULL;
        }
    }
    if (flags & KEYVAL_FLAT)
        return root;
    /* the outermost level is never a list */
    g_autoptr(GPtrArray) names = member_names(root);
    for (guint i = 0; i < names->len; i++) {
        json_object *value = json_object_get(json_object_object_get(root, names->pdata[i]));
        json_object *folded = fold_lists(value, names->pdata[i], err);
        if (!folded) {
            g_prefix_error(err, "option '%s': ", text);
            json_object_put(root);
            return NULL;
        }
        json_object_object_add(root, names->pdata[i], folded);
    }
    return root;
}

static bool is_help_word(const char *word)
{
    return !strcmp(word, "help") || !strcmp(word, "?");
}

bool keyval_wants_help(const char *text, char **name)
{
    *name = NULL;
    if (*text == '{')
        return false;
    if (is_help_word(text))
        return true;
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    for (char **part = parts; *part; part++) {
        if (part == parts || !is_help_word(*part))
            continue;
        const char *equals = strchr(parts[0], '=');
        *name = g_strdup(equals ? equals + 1 : parts[0]);
        return true;
    }
    return false;
}
