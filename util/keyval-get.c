/* Typed members of options objects. */
#include "util/keyval.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/size.h"

static json_object *member(json_object *options, const char *key)
{
    json_object *value = NULL;
    json_object_object_get_ex(options, key, &value);
    return value;
}

static bool refuse(GError **err, const char *what, const char *key, json_object *given, const char *accepted)
{
    bool text = json_object_is_type(given, json_type_string);
    error_set(err, "%s: %s can't be %s%s%s: it takes %s", what, key, text ? "'" : "",
              text ? json_object_get_string(given) : json_object_to_json_string(given), text ? "'" : "", accepted);
    return false;
}

bool keyval_has(json_object *options, const char *key)
{
    return json_object_object_get_ex(options, key, NULL);
}

bool keyval_get_str(json_object *options, const char *what, const char *key, const char **out, GError **err)
{
    if (!keyval_has(options, key))
        return true;
    json_object *value = member(options, key);
    if (!json_object_is_type(value, json_type_string))
        return refuse(err, what, key, value, "text");
    *out = json_object_get_string(value);
    return true;
}

bool keyval_get_bool(json_object *options, const char *what, const char *key, bool *out, GError **err)
{
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    static const char *const no[] = { "off", "no", "false", "n", NULL };
    if (!keyval_has(options, key))
        return true;
    json_object *value = member(options, key);
    if (json_object_is_type(value, json_type_boolean)) {
        *out = json_object_get_boolean(value);
        return true;
    }
    const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    bool on = g_strv_contains(yes, text);
    if (!on && !g_strv_contains(no, text))
        return refuse(err, what, key, value, "on or off");
    *out = on;
    return true;
}

static bool number_of(json_object *value, uint64_t *out)
{
    if (json_object_is_type(value, json_type_int)) {
        *out = json_object_get_uint64(value);
        return *out > INT64_MAX || json_object_get_int64(value) >= 0;
    }
    const char *text = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    if (!g_ascii_isdigit(*text))
        return false;
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return !errno && !*end;
}

bool keyval_get_uint(json_object *options, const char *what, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                     GError **err)
{
    if (!keyval_has(options, key))
        return true;
    uint64_t number;
    if (number_of(member(options, key), &number) && number >= min && number <= max) {
        *out = number;
        return true;
    }
    g_autofree char *accepted = g_strdup_printf("a number from %" PRIu64 " to %" PRIu64, min, max);
    return refuse(err, what, key, member(options, key), accepted);
}

bool keyval_get_size(json_object *options, const char *what, const char *key, char unit, uint64_t *out, GError **err)
{
    if (!keyval_has(options, key))
        return true;
    json_object *value = member(options, key);
    uint64_t size;
    bool ok = json_object_is_type(value, json_type_string) ? size_parse(json_object_get_string(value), unit, &size)
                                                           : number_of(value, &size);
    if (!ok)
        return refuse(err, what, key, value, "a size such as 512M or 1.5G");
    *out = size;
    return true;
}

int keyval_name_index(const char *what, const char *given, const char *const *names, GError **err)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], given))
            return i;
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    error_set(err, "%s can't be '%s': it takes one of %s", what, given, all);
    return -1;
}

bool keyval_get_enum(json_object *options, const char *what, const char *key, const char *const *names, int *out,
                     GError **err)
{
    const char *text = NULL;
    if (!keyval_get_str(options, what, key, &text, err))
        return false;
    if (!text)
        return true;
    g_autofree char *both = g_strdup_printf("%s: %s", what, key);
    int index = keyval_name_index(both, text, names, err);
    if (index >= 0)
        *out = index;
    return index >= 0;
}

bool keyval_check_known(json_object *options, const char *what, const char *const *known, GError **err)
{
    json_object_object_foreach(options, key, value) {
        (void)value;
        if (g_strv_contains(known, key))
            continue;
        const char *near = nearest_name(key, known);
        g_autofree char *all = g_strjoinv(", ", (char **)known);
        if (near)
            error_set(err, "%s: there is no option '%s'; did you mean '%s'?", what, key, near);
        else
            error_set(err, "%s: there is no option '%s': there are %s", what, key, all);
        return false;
    }
    return true;
}
