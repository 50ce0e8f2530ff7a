/* Text and JSON to plain values. */
#include "qom/property-parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/size.h"

bool parse_json_bool(json_object *json, bool *out)
{
    static const char *const yes[] = { "on", "yes", "true", "y", NULL };
    static const char *const no[] = { "off", "no", "false", "n", NULL };
    if (json_object_is_type(json, json_type_boolean)) {
        *out = json_object_get_boolean(json);
        return true;
    }
    if (!json_object_is_type(json, json_type_string))
        return false;
    const char *text = json_object_get_string(json);
    *out = g_strv_contains(yes, text);
    return *out || g_strv_contains(no, text);
}

/* C's number syntax without a leading space or sign, which strtoull would take. */
static bool parse_digits(const char *text, uint64_t *out)
{
    if (!g_ascii_isdigit(*text))
        return false;
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 0);
    return !errno && !*end;
}

bool parse_json_unsigned(json_object *json, uint64_t *out)
{
    if (json_object_is_type(json, json_type_int)) {
        *out = json_object_get_uint64(json);
        return *out > INT64_MAX || json_object_get_int64(json) >= 0;
    }
    return json_object_is_type(json, json_type_string) && parse_digits(json_object_get_string(json), out);
}

bool parse_json_signed(json_object *json, int64_t *out)
{
    if (json_object_is_type(json, json_type_int)) {
        *out = json_object_get_int64(json);
        return *out != INT64_MAX || json_object_get_uint64(json) == INT64_MAX;
    }
    if (!json_object_is_type(json, json_type_string))
        return false;
    const char *text = json_object_get_string(json);
    bool negative = *text == '-';
    uint64_t size;
    if (!parse_digits(text + negative, &size) || size > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)-size : (int64_t)size;
    return true;
}

bool parse_json_size(json_object *json, uint64_t *out)
{
    if (json_object_is_type(json, json_type_string))
        return size_parse(json_object_get_string(json), 'B', out);
    return json_object_is_type(json, json_type_int) && parse_json_unsigned(json, out);
}

static bool parse_hex_upto(const char **text, unsigned max, unsigned *out)
{
    const char *p = *text;
    if (p[0] == '0' && (p[1] == 'x' || p[1] == 'X'))
        p += 2;
    unsigned value = 0, digits = 0;
    for (; g_ascii_isxdigit(*p) && digits < 4; p++, digits++)
        value = value * 16 + (unsigned)g_ascii_xdigit_value(*p);
    *text = p;
    *out = value;
    return digits && value <= max;
}

bool parse_json_pci_addr(json_object *json, int64_t *devfn)
{
    if (json_object_is_type(json, json_type_int))
        return parse_json_signed(json, devfn) && *devfn >= -1 && *devfn <= 0xff;
    if (!json_object_is_type(json, json_type_string))
        return false;
    const char *p = json_object_get_string(json);
    unsigned slot, function = 0;
    if (!parse_hex_upto(&p, 0x1f, &slot))
        return false;
    if (*p == '.') {
        p++;
        if (!parse_hex_upto(&p, 7, &function))
            return false;
    }
    *devfn = slot * 8 + function;
    return !*p;
}

bool parse_mac(const char *text, uint8_t mac[6])
{
    for (unsigned i = 0; i < 6; i++, text += 3) {
        if (!g_ascii_isxdigit(text[0]) || !g_ascii_isxdigit(text[1]))
            return false;
        if (i < 5 ? text[2] != ':' && text[2] != '-' : text[2])
            return false;
        mac[i] = (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
    }
    return true;
}

bool parse_uuid(const char *text, uint8_t uuid[16])
{
    g_autofree char *random = !strcmp(text, "auto") ? g_uuid_string_random() : NULL;
    const char *p = random ? random : text;
    if (!g_uuid_string_is_valid(p))
        return false;
    for (unsigned i = 0; i < 16; i++, p += 2) {
        if (*p == '-')
            p++;
        uuid[i] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
    }
    return true;
}

void format_uuid(const uint8_t uuid[16], char text[37])
{
    for (unsigned i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *text++ = '-';
        g_snprintf(text, 3, "%02x", uuid[i]);
        text += 2;
    }
}
