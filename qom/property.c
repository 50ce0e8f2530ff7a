/*
 * The kinds of properties: from JSON (a string is what a command line wrote) to the field, and back. One table row a kind
 * holds what differs between them, ranges are checked in one place.
 */
#include "qom/internal.h"

#include <string.h>

#include "qom/property-parse.h"
#include "util/size.h"

/* The kinds of fields that hold a pointer to a back end. */
static const PropBackendOps *backend_ops[PROP_KIND_CUSTOM];

void property_set_backend_ops(PropKind kind, const PropBackendOps *ops)
{
    g_assert(kind == PROP_KIND_DISK || kind == PROP_KIND_CHARDEV || kind == PROP_KIND_NETDEV);
    backend_ops[kind] = ops;
}

/* A checked value on its way into the field. */
typedef struct {
    uint64_t number;    /* bools, numbers, enums, bits; signed kinds as int64_t */
    const char *text;   /* borrowed from the JSON */
    uint8_t bytes[16];
    void *pointer;      /* Object * or back end, borrowed */
} PropValue;

static void *field_of(const Object *obj, const Property *prop)
{
    return (char *)obj + prop->offset;
}

/* Offset 0 is GObject's own header: such rows work through get and set only. */
static bool has_field(const Property *prop)
{
    return prop->kind != PROP_KIND_CUSTOM && prop->offset;
}

static bool is_signed(PropKind kind)
{
    return kind == PROP_KIND_I32 || kind == PROP_KIND_I64 || kind == PROP_KIND_PCI_ADDR;
}

static bool is_backend(PropKind kind)
{
    return kind == PROP_KIND_DISK || kind == PROP_KIND_CHARDEV || kind == PROP_KIND_NETDEV;
}

/* Both limits as stored in the table's uint64_t, with the whole range of the kind for 0, 0. */
static void range_of(const Property *prop, uint64_t *min, uint64_t *max)
{
    static const uint64_t tops[] = {
        [PROP_KIND_U8] = UINT8_MAX, [PROP_KIND_U16] = UINT16_MAX, [PROP_KIND_U32] = UINT32_MAX,
        [PROP_KIND_U64] = UINT64_MAX, [PROP_KIND_I32] = INT32_MAX, [PROP_KIND_I64] = INT64_MAX,
        [PROP_KIND_SIZE] = UINT64_MAX,
    };
    *min = prop->min;
    *max = prop->max;
    if (prop->min || prop->max)
        return;
    *max = tops[prop->kind];
    if (is_signed(prop->kind))
        *min = prop->kind == PROP_KIND_I32 ? (uint64_t)(int64_t)INT32_MIN : (uint64_t)INT64_MIN;
}

char *property_accepted(const Property *prop)
{
    uint64_t min, max;
    switch (prop->kind) {
    case PROP_KIND_BOOL:
    case PROP_KIND_BIT:
        return g_strdup("on or off");
    case PROP_KIND_ONOFF:
        return g_strdup("on, off or auto");
    case PROP_KIND_U8: case PROP_KIND_U16: case PROP_KIND_U32: case PROP_KIND_U64:
        range_of(prop, &min, &max);
        return g_strdup_printf("a number from %" PRIu64 " to %" PRIu64, min, max);
    case PROP_KIND_SIZE:
        range_of(prop, &min, &max);
        return g_strdup_printf("a size from %" PRIu64 " to %" PRIu64 " bytes, such as 512M or 1.5G", min, max);
    case PROP_KIND_I32: case PROP_KIND_I64:
        range_of(prop, &min, &max);
        return g_strdup_printf("a number from %" PRId64 " to %" PRId64, (int64_t)min, (int64_t)max);
    case PROP_KIND_ENUM: {
        g_autofree char *names = g_strjoinv(", ", (char **)prop->names);
        return g_strdup_printf("one of %s", names);
    }
    case PROP_KIND_LINK:
        return g_strdup_printf("the id or path of an object of type %s", prop->type);
    case PROP_KIND_DISK:
        return g_strdup("the name of a block node or drive");
    case PROP_KIND_CHARDEV:
        return g_strdup("the id of a character device");
    case PROP_KIND_NETDEV:
        return g_strdup("the id of a network back end");
    case PROP_KIND_PCI_ADDR:
        return g_strdup("slot or slot.function in hexadecimal, slot 0 to 1f and function 0 to 7, such as 06.0");
    case PROP_KIND_MAC:
        return g_strdup("an address such as 52:54:00:12:34:56");
    case PROP_KIND_UUID:
        return g_strdup("a UUID such as 550e8400-e29b-41d4-a716-446655440000, or auto");
    case PROP_KIND_STR:
    case PROP_KIND_CUSTOM:
        break;
    }
    return g_strdup("text");
}

bool property_error(GError **err, const Object *obj, const Property *prop, json_object *given, const char *accepted)
{
    g_autofree char *kinds = accepted ? g_strdup(accepted) : property_accepted(prop);
    bool quote = !given || json_object_is_type(given, json_type_string);
    const char *text = !given                                        ? "null"
                       : json_object_is_type(given, json_type_string) ? json_object_get_string(given)
                                                                      : json_object_to_json_string(given);
    error_set(err, "%s%s%s%s: property '%s' can't be %s%s%s: it takes %s", obj->klass->name, obj->id ? " '" : "",
              obj->id ? obj->id : "", obj->id ? "'" : "", prop->name, quote ? "'" : "", text, quote ? "'" : "", kinds);
    return false;
}

static bool parse_number(const Object *obj, const Property *prop, json_object *json, PropValue *out, GError **err)
{
    uint64_t min, max;
    range_of(prop, &min, &max);
    bool ok;
    if (prop->kind == PROP_KIND_SIZE)
        ok = parse_json_size(json, &out->number);
    else if (is_signed(prop->kind))
        ok = parse_json_signed(json, (int64_t *)&out->number);
    else
        ok = parse_json_unsigned(json, &out->number);
    if (ok && is_signed(prop->kind))
        ok = (int64_t)out->number >= (int64_t)min && (int64_t)out->number <= (int64_t)max;
    else if (ok)
        ok = out->number >= min && out->number <= max;
    return ok || property_error(err, obj, prop, json, NULL);
}

static bool parse_enum(const Object *obj, const Property *prop, json_object *json, PropValue *out, GError **err)
{
    const char *text = json_object_is_type(json, json_type_string) ? json_object_get_string(json) : NULL;
    for (unsigned i = 0; text && prop->names[i]; i++)
        if (!strcmp(prop->names[i], text)) {
            out->number = i;
            return true;
        }
    return property_error(err, obj, prop, json, NULL);
}

/* An id names an object below /objects first, then any object whose path ends so. */
static bool parse_link(const Object *obj, const Property *prop, json_object *json, PropValue *out, GError **err)
{
    if (!json || json_object_is_type(json, json_type_null))
        return true;
    if (!json_object_is_type(json, json_type_string))
        return property_error(err, obj, prop, json, NULL);
    const char *text = json_object_get_string(json);
    if (!*text)
        return true;
    bool ambiguous = false;
    Object *target = strchr(text, '/') ? NULL : user_object_find(text);
    if (!target)
        target = object_resolve(text, &ambiguous);
    if (ambiguous)
        return property_error(err, obj, prop, json, "a path that fits one object only");
    if (!target || !object_is_a(target, prop->type))
        return property_error(err, obj, prop, json, NULL);
    out->pointer = target;
    return true;
}

static bool parse_backend(const Object *obj, const Property *prop, json_object *json, PropValue *out, GError **err)
{
    const PropBackendOps *ops = backend_ops[prop->kind];
    const char *text = json_object_is_type(json, json_type_string) ? json_object_get_string(json) : NULL;
    if (!text || !ops)
        return property_error(err, obj, prop, json, NULL);
    out->pointer = ops->find(text);
    if (out->pointer)
        return true;
    g_autofree char *known = ops->known_ids ? ops->known_ids() : NULL;
    g_autofree char *plain = property_accepted(prop);
    g_autofree char *accepted = known && *known ? g_strdup_printf("%s; there are %s", plain, known)
                                                : g_strdup_printf("%s, and there is none yet", plain);
    return property_error(err, obj, prop, json, accepted);
}

static bool parse_value(const Object *obj, const Property *prop, json_object *json, PropValue *out, GError **err)
{
    const char *text = json_object_is_type(json, json_type_string) ? json_object_get_string(json) : NULL;
    switch (prop->kind) {
    case PROP_KIND_BOOL:
    case PROP_KIND_BIT: {
        bool on;
        if (!parse_json_bool(json, &on))
            return property_error(err, obj, prop, json, NULL);
        out->number = on;
        return true;
    }
    case PROP_KIND_ONOFF: {
        bool on;
        if (text && !strcmp(text, "auto"))
            out->number = ON_OFF_AUTO_AUTO;
        else if (parse_json_bool(json, &on))
            out->number = on ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
        else
            return property_error(err, obj, prop, json, NULL);
        return true;
    }
    case PROP_KIND_U8: case PROP_KIND_U16: case PROP_KIND_U32: case PROP_KIND_U64:
    case PROP_KIND_I32: case PROP_KIND_I64: case PROP_KIND_SIZE:
        return parse_number(obj, prop, json, out, err);
    case PROP_KIND_STR:
        out->text = text;
        return text || property_error(err, obj, prop, json, NULL);
    case PROP_KIND_ENUM:
        return parse_enum(obj, prop, json, out, err);
    case PROP_KIND_LINK:
        return parse_link(obj, prop, json, out, err);
    case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
        return parse_backend(obj, prop, json, out, err);
    case PROP_KIND_PCI_ADDR:
        return parse_json_pci_addr(json, (int64_t *)&out->number) || property_error(err, obj, prop, json, NULL);
    case PROP_KIND_MAC:
        return (text && parse_mac(text, out->bytes)) || property_error(err, obj, prop, json, NULL);
    case PROP_KIND_UUID:
        return (text && parse_uuid(text, out->bytes)) || property_error(err, obj, prop, json, NULL);
    case PROP_KIND_CUSTOM:
        break;
    }
    return true;
}

static void store_number(Object *obj, const Property *prop, uint64_t number)
{
    void *field = field_of(obj, prop);
    switch (prop->kind) {
    case PROP_KIND_BOOL: *(bool *)field = number; break;
    case PROP_KIND_ONOFF: *(OnOffAuto *)field = (OnOffAuto)number; break;
    case PROP_KIND_U8: *(uint8_t *)field = (uint8_t)number; break;
    case PROP_KIND_U16: *(uint16_t *)field = (uint16_t)number; break;
    case PROP_KIND_U32: *(uint32_t *)field = (uint32_t)number; break;
    case PROP_KIND_U64: case PROP_KIND_SIZE: *(uint64_t *)field = number; break;
    case PROP_KIND_I32: case PROP_KIND_PCI_ADDR: *(int32_t *)field = (int32_t)number; break;
    case PROP_KIND_I64: *(int64_t *)field = (int64_t)number; break;
    case PROP_KIND_ENUM: *(int *)field = (int)number; break;
    case PROP_KIND_BIT:
        *(uint64_t *)field = (*(uint64_t *)field & ~(1ull << prop->bit)) | (uint64_t)!!number << prop->bit;
        break;
    default: g_assert_not_reached();
    }
}

/* The new back end is taken before the old one is let go, so that a refusal leaves the old one in place. */
static bool store_backend(Object *obj, const Property *prop, void *backend, GError **err)
{
    void **field = field_of(obj, prop);
    const PropBackendOps *ops = backend_ops[prop->kind];
    if (*field == backend)
        return true;
    if (!ops->attach(backend, obj, err)) {
        g_prefix_error(err, "%s: property '%s': ", obj->klass->name, prop->name);
        return false;
    }
    if (*field)
        ops->detach(*field, obj);
    *field = backend;
    return true;
}

static bool store_value(Object *obj, const Property *prop, const PropValue *value, GError **err)
{
    void *field = field_of(obj, prop);
    switch (prop->kind) {
    case PROP_KIND_STR:
        g_free(*(char **)field);
        *(char **)field = g_strdup(value->text);
        return true;
    case PROP_KIND_LINK: {
        Object *old = *(Object **)field;
        *(Object **)field = object_ref(value->pointer);
        object_unref(old);
        return true;
    }
    case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
        return store_backend(obj, prop, value->pointer, err);
    case PROP_KIND_MAC:
        memcpy(field, value->bytes, 6);
        return true;
    case PROP_KIND_UUID:
        memcpy(field, value->bytes, 16);
        return true;
    default:
        store_number(obj, prop, value->number);
        return true;
    }
}

static uint64_t load_number(const Object *obj, const Property *prop)
{
    const void *field = field_of(obj, prop);
    switch (prop->kind) {
    case PROP_KIND_BOOL: return *(const bool *)field;
    case PROP_KIND_ONOFF: return *(const OnOffAuto *)field;
    case PROP_KIND_U8: return *(const uint8_t *)field;
    case PROP_KIND_U16: return *(const uint16_t *)field;
    case PROP_KIND_U32: return *(const uint32_t *)field;
    case PROP_KIND_U64: case PROP_KIND_SIZE: return *(const uint64_t *)field;
    case PROP_KIND_I32: case PROP_KIND_PCI_ADDR: return (uint64_t)(int64_t)*(const int32_t *)field;
    case PROP_KIND_I64: return (uint64_t)*(const int64_t *)field;
    case PROP_KIND_ENUM: return (uint64_t)*(const int *)field;
    case PROP_KIND_BIT: return *(const uint64_t *)field >> prop->bit & 1;
    default: g_assert_not_reached();
    }
}

json_object *property_number_json(const Property *prop, uint64_t number)
{
    static const char *const on_off_auto[] = { "auto", "on", "off" };
    switch (prop->kind) {
    case PROP_KIND_BOOL: case PROP_KIND_BIT:
        return json_object_new_boolean(!!number);
    case PROP_KIND_ONOFF:
        return json_object_new_string(on_off_auto[number % 3]);
    case PROP_KIND_ENUM:
        return json_object_new_string(prop->names[number]);
    case PROP_KIND_I32: case PROP_KIND_I64: case PROP_KIND_PCI_ADDR:
        return json_object_new_int64((int64_t)number);
    default:
        return number > INT64_MAX ? json_object_new_uint64(number) : json_object_new_int64((int64_t)number);
    }
}

json_object *property_load_json(Object *obj, const Property *prop, GError **err)
{
    if (prop->get)
        return prop->get(obj, prop, err);
    void *field = prop->kind == PROP_KIND_CUSTOM ? NULL : field_of(obj, prop);
    switch (prop->kind) {
    case PROP_KIND_STR:
        return json_object_new_string(*(char **)field ? *(char **)field : "");
    case PROP_KIND_LINK: {
        g_autofree char *path = *(Object **)field ? object_path(*(Object **)field) : g_strdup("");
        return json_object_new_string(path);
    }
    case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
        return json_object_new_string(*(void **)field ? backend_ops[prop->kind]->name(*(void **)field) : "");
    case PROP_KIND_MAC: {
        const uint8_t *mac = field;
        g_autofree char *text = g_strdup_printf("%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
                                                mac[5]);
        return json_object_new_string(text);
    }
    case PROP_KIND_UUID: {
        char text[37];
        format_uuid(field, text);
        return json_object_new_string(text);
    }
    case PROP_KIND_CUSTOM:
        error_set(err, "%s: property '%s' can only be written", obj->klass->name, prop->name);
        return NULL;
    default:
        return property_number_json(prop, load_number(obj, prop));
    }
}

/* What a refining setter is given: the checked value in its plain form. */
static json_object *canonical_json(const Property *prop, const PropValue *value, json_object *given)
{
    switch (prop->kind) {
    case PROP_KIND_STR: case PROP_KIND_LINK: case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
    case PROP_KIND_MAC: case PROP_KIND_UUID: case PROP_KIND_CUSTOM:
        return json_object_get(given);
    default:
        return property_number_json(prop, value->number);
    }
}

bool property_store_json(Object *obj, const Property *prop, json_object *json, GError **err)
{
    PropValue value = { 0 };
    if (prop->kind == PROP_KIND_CUSTOM && !prop->set) {
        error_set(err, "%s: property '%s' can only be read", obj->klass->name, prop->name);
        return false;
    }
    if (!parse_value(obj, prop, json, &value, err))
        return false;
    if (!prop->set)
        return store_value(obj, prop, &value, err);
    json_object *plain = canonical_json(prop, &value, json);
    bool ok = prop->set(obj, prop, plain, err);
    json_object_put(plain);
    return ok;
}

void property_set_default(Object *obj, const Property *prop)
{
    void *field = field_of(obj, prop);
    if (!has_field(prop))
        return;
    switch (prop->kind) {
    case PROP_KIND_LINK: case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
        return;
    case PROP_KIND_STR:
        /* a redefined property shares the field with the ancestor's row, which is not in the list any more */
        *(char **)field = g_strdup(prop->def_str);
        return;
    case PROP_KIND_MAC:
        g_assert(!prop->def_str || parse_mac(prop->def_str, field));
        return;
    case PROP_KIND_UUID:
        g_assert(!prop->def_str || parse_uuid(prop->def_str, field));
        return;
    default:
        store_number(obj, prop, prop->def);
    }
}

void property_clear(Object *obj, const Property *prop)
{
    if (!has_field(prop))
        return;
    if (prop->kind == PROP_KIND_STR) {
        g_clear_pointer((char **)field_of(obj, prop), g_free);
    } else if (prop->kind == PROP_KIND_LINK) {
        g_clear_pointer((Object **)field_of(obj, prop), object_unref);
    } else if (is_backend(prop->kind)) {
        void **field = field_of(obj, prop);
        if (*field)
            backend_ops[prop->kind]->detach(*field, obj);
        *field = NULL;
    }
}
