/* -readconfig files. */
#include <string.h>

#include "util/keyval.h"

typedef struct {
    const char *name;      /* of the file, for messages */
    unsigned line;
    json_object *groups;
    json_object *options;  /* of the last group, borrowed */
} ConfigReader;

/* [group] or [group "id"] */
static bool read_header(ConfigReader *reader, char *line, GError **err)
{
    size_t len = strlen(line);
    g_autofree char *inside = len > 2 && line[len - 1] == ']' ? g_strndup(line + 1, len - 2) : NULL;
    char *group = inside ? g_strstrip(inside) : NULL;
    char *quote = group ? strchr(group, '"') : NULL;
    char *id = NULL;
    if (quote) {
        char *close = strchr(quote + 1, '"');
        if (!close || close[1] || close == quote + 1)
            group = NULL;
        else
            *close = *quote = '\0';
        id = quote + 1;
        if (group)
            g_strchomp(group);
    }
    if (!group || !*group) {
        error_set(err, "%s:%u: '%s' is not a group: it takes [group] or [group \"id\"]", reader->name, reader->line, line);
        return false;
    }
    json_object *entry = json_object_new_object();
    json_object_object_add(entry, "group", json_object_new_string(group));
    if (id)
        json_object_object_add(entry, "id", json_object_new_string(id));
    reader->options = json_object_new_object();
    json_object_object_add(entry, "options", reader->options);
    json_object_array_add(reader->groups, entry);
    return true;
}

/* key = "value"; the quotes may be left out */
static bool read_option(ConfigReader *reader, char *line, GError **err)
{
    char *equals = strchr(line, '=');
    if (!equals || equals == line) {
        error_set(err, "%s:%u: '%s' is neither a group nor 'name = \"value\"'", reader->name, reader->line, line);
        return false;
    }
    if (!reader->options) {
        error_set(err, "%s:%u: '%s' stands before the first group", reader->name, reader->line, line);
        return false;
    }
    g_autofree char *key = g_strndup(line, (gsize)(equals - line));
    g_strchomp(key);
    char *value = g_strchug(equals + 1);
    size_t len = strlen(value);
    if (*value == '"') {
        if (len < 2 || value[len - 1] != '"') {
            error_set(err, "%s:%u: the value of '%s' has no closing quote", reader->name, reader->line, key);
            return false;
        }
        value[len - 1] = '\0';
        value++;
    }
    json_object_object_add(reader->options, key, json_object_new_string(value));
    return true;
}

json_object *keyval_parse_config(const char *text, const char *name, GError **err)
{
    ConfigReader reader = { .name = name, .groups = json_object_new_array() };
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **p = lines; *p; p++) {
        reader.line++;
        char *line = g_strstrip(*p);
        if (!*line || *line == '#')
            continue;
        if (*line == '[' ? read_header(&reader, line, err) : read_option(&reader, line, err))
            continue;
        json_object_put(reader.groups);
        return NULL;
    }
    return reader.groups;
}

json_object *keyval_read_config(const char *path, GError **err)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) problem = NULL;
    gsize len;
    if (!g_file_get_contents(path, &text, &len, &problem)) {
        error_set(err, "the configuration file '%s' can't be read: %s", path, problem->message);
        return NULL;
    }
    if (strlen(text) != len || !g_utf8_validate(text, (gssize)len, NULL)) {
        error_set(err, "the configuration file '%s' is not text", path);
        return NULL;
    }
    return keyval_parse_config(text, path, err);
}
