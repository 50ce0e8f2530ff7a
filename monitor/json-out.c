/* JSON writer. */
#include "monitor/json-out.h"

#include <json-c/json.h>
#include <string.h>

static void write_escape(GString *out, gunichar c)
{
    if (c >= 0x10000) {
        c -= 0x10000;
        g_string_append_printf(out, "\\u%04X\\u%04X", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
    } else {
        g_string_append_printf(out, "\\u%04X", c);
    }
}

static void write_string(GString *out, const char *text, size_t len)
{
    g_string_append_c(out, '"');
    for (const char *p = text, *end = text + len; p < end;) {
        unsigned char c = *p;
        if (c == '"' || c == '\\') {
            g_string_append_c(out, '\\');
            g_string_append_c(out, c);
            p++;
        } else if (c >= 0x20 && c < 0x7f) {
            g_string_append_c(out, c);
            p++;
        } else if (c < 0x80) {
            static const char names[] = "\b\f\n\r\t", letters[] = "bfnrt";
            const char *at = c ? strchr(names, c) : NULL;
            if (at)
                g_string_append_printf(out, "\\%c", letters[at - names]);
            else
                write_escape(out, c);
            p++;
        } else {
            gunichar u = g_utf8_get_char_validated(p, end - p);
            bool bad = u >= 0xfffffffe; /* host paths may be anything */
            write_escape(out, bad ? 0xfffd : u);
            p = bad ? p + 1 : g_utf8_next_char(p);
        }
    }
    g_string_append_c(out, '"');
}

static void new_line(GString *out, bool pretty, unsigned level)
{
    if (!pretty)
        return;
    g_string_append_c(out, '\n');
    for (unsigned i = 0; i < level * 4; i++)
        g_string_append_c(out, ' ');
}

static void write_value(GString *out, json_object *value, bool pretty, unsigned level)
{
    const char *separator = pretty ? "," : ", ";
    bool first = true;
    switch (json_object_get_type(value)) {
    case json_type_object:
        g_string_append_c(out, '{');
        json_object_object_foreach(value, key, member) {
            if (!first)
                g_string_append(out, separator);
            first = false;
            new_line(out, pretty, level + 1);
            write_string(out, key, strlen(key));
            g_string_append(out, ": ");
            write_value(out, member, pretty, level + 1);
        }
        if (!first)
            new_line(out, pretty, level);
        g_string_append_c(out, '}');
        break;
    case json_type_array:
        g_string_append_c(out, '[');
        for (size_t i = 0; i < json_object_array_length(value); i++) {
            if (i)
                g_string_append(out, separator);
            new_line(out, pretty, level + 1);
            write_value(out, json_object_array_get_idx(value, i), pretty, level + 1);
        }
        if (json_object_array_length(value))
            new_line(out, pretty, level);
        g_string_append_c(out, ']');
        break;
    case json_type_string:
        write_string(out, json_object_get_string(value), json_object_get_string_len(value));
        break;
    default: /* null, booleans, numbers: json-c's own text */
        g_string_append(out, value ? json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN) : "null");
    }
}

void json_out(GString *out, json_object *value, bool pretty)
{
    write_value(out, value, pretty, 0);
}
