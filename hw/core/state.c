/* Saved state by tables. */
#include "hw/core/state.h"

#include <string.h>

#include "hw/core/internal.h"

static unsigned element_count(const StateField *field)
{
    return field->count ? field->count : 1;
}

static size_t element_size(const StateField *field)
{
    static const size_t sizes[] = {
        [STATE_BOOL] = sizeof(bool), [STATE_U8] = 1, [STATE_U16] = 2, [STATE_U32] = 4, [STATE_U64] = 8, [STATE_I64] = 8,
        [STATE_TIMER] = sizeof(Timer *),
    };
    return field->kind == STATE_STRUCT ? field->stride : sizes[field->kind];
}

/* ---- save ---- */

static json_object *save_fields(const StateField *fields, const void *instance);

static json_object *save_u64(uint64_t value)
{
    return value > INT64_MAX ? json_object_new_uint64(value) : json_object_new_int64((int64_t)value);
}

static json_object *save_element(const StateField *field, const void *at)
{
    switch (field->kind) {
    case STATE_BOOL: return json_object_new_boolean(*(const bool *)at);
    case STATE_U8: return save_u64(*(const uint8_t *)at);
    case STATE_U16: return save_u64(*(const uint16_t *)at);
    case STATE_U32: return save_u64(*(const uint32_t *)at);
    case STATE_U64: return save_u64(*(const uint64_t *)at);
    case STATE_I64: return json_object_new_int64(*(const int64_t *)at);
    case STATE_TIMER: {
        const Timer *timer = *(Timer *const *)at;
        return json_object_new_int64(timer ? timer_deadline(timer) : -1);
    }
    case STATE_STRUCT: return save_fields(field->sub, at);
    case STATE_BYTES: case STATE_HOOK: break;
    }
    g_assert_not_reached();
}

static json_object *save_bytes(const uint8_t *bytes, size_t count)
{
    GString *hex = g_string_sized_new(count * 2);
    for (size_t i = 0; i < count; i++)
        g_string_append_printf(hex, "%02x", bytes[i]);
    json_object *value = json_object_new_string_len(hex->str, (int)hex->len);
    g_string_free(hex, TRUE);
    return value;
}

static json_object *save_field(const StateField *field, const uint8_t *at)
{
    if (field->kind == STATE_BYTES)
        return save_bytes(at, field->count);
    if (field->count <= 1)
        return save_element(field, at);
    json_object *list = json_object_new_array();
    for (unsigned i = 0; i < field->count; i++)
        json_object_array_add(list, save_element(field, at + i * element_size(field)));
    return list;
}

static json_object *save_fields(const StateField *fields, const void *instance)
{
    json_object *object = json_object_new_object();
    for (const StateField *field = fields; field->name; field++)
        if (field->kind != STATE_HOOK)
            json_object_object_add(object, field->name, save_field(field, (const uint8_t *)instance + field->offset));
    return object;
}

json_object *device_state_save(Device *dev)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(dev->obj.klass, levels);
    json_object *state = json_object_new_object();
    for (unsigned i = 0; i < n; i++) {
        if (!levels[i]->state)
            continue;
        json_object *level = save_fields(levels[i]->state, dev);
        json_object_object_add(level, "version", json_object_new_int64(levels[i]->state_version));
        json_object_object_add(state, levels[i]->name, level);
    }
    return state;
}

/* ---- load ---- */

static bool load_fields(const StateField *fields, void *instance, uint32_t version, json_object *object, const char *what,
                        GError **err);

static bool load_number(json_object *value, uint64_t max, uint64_t *out)
{
    *out = json_object_get_uint64(value);
    return json_object_is_type(value, json_type_int) && *out <= max &&
           (*out > INT64_MAX || json_object_get_int64(value) >= 0);
}

static bool load_timer(Timer *timer, json_object *value)
{
    int64_t deadline = json_object_get_int64(value);
    if (!json_object_is_type(value, json_type_int) || deadline < -1 || (!timer && deadline >= 0))
        return false;
    if (timer && deadline >= 0)
        timer_mod(timer, deadline);
    else if (timer)
        timer_del(timer);
    return true;
}

/* False without sentence: a value of another kind. */
static bool load_scalar(const StateField *field, void *at, json_object *value)
{
    uint64_t number;
    switch (field->kind) {
    case STATE_BOOL:
        *(bool *)at = json_object_get_boolean(value);
        return json_object_is_type(value, json_type_boolean);
    case STATE_U8:
        return load_number(value, UINT8_MAX, &number) && (*(uint8_t *)at = (uint8_t)number, true);
    case STATE_U16:
        return load_number(value, UINT16_MAX, &number) && (*(uint16_t *)at = (uint16_t)number, true);
    case STATE_U32:
        return load_number(value, UINT32_MAX, &number) && (*(uint32_t *)at = (uint32_t)number, true);
    case STATE_U64:
        return load_number(value, UINT64_MAX, &number) && (*(uint64_t *)at = number, true);
    case STATE_I64:
        *(int64_t *)at = json_object_get_int64(value);
        return json_object_is_type(value, json_type_int);
    case STATE_TIMER:
        return load_timer(*(Timer **)at, value);
    case STATE_BYTES: case STATE_STRUCT: case STATE_HOOK:
        break;
    }
    g_assert_not_reached();
}

static bool load_bytes(uint8_t *bytes, size_t count, json_object *value)
{
    const char *hex = json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
    if (strlen(hex) != count * 2 || strspn(hex, "0123456789abcdef") != count * 2)
        return false;
    for (size_t i = 0; i < count; i++, hex += 2)
        bytes[i] = (uint8_t)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
    return true;
}

static bool load_element(const StateField *field, void *at, uint32_t version, json_object *value, const char *what,
                         GError **err)
{
    if (field->kind == STATE_STRUCT)
        return load_fields(field->sub, at, version, value, what, err);
    if (load_scalar(field, at, value))
        return true;
    error_set(err, "%s can't be %s", what, json_object_to_json_string(value));
    return false;
}

static bool load_array(const StateField *field, uint8_t *at, uint32_t version, json_object *value, const char *what,
                       GError **err)
{
    if (!json_object_is_type(value, json_type_array) || json_object_array_length(value) != field->count) {
        error_set(err, "%s must be a list of %u values", what, field->count);
        return false;
    }
    for (unsigned i = 0; i < field->count; i++) {
        g_autofree char *name = g_strdup_printf("%s[%u]", what, i);
        if (!load_element(field, at + i * element_size(field), version, json_object_array_get_idx(value, i), name, err))
            return false;
    }
    return true;
}

static bool load_field(const StateField *field, uint8_t *at, uint32_t version, json_object *value, const char *what,
                       GError **err)
{
    if (field->kind == STATE_BYTES) {
        if (load_bytes(at, field->count, value))
            return true;
        error_set(err, "%s must be the hexadecimal text of %u bytes", what, field->count);
        return false;
    }
    return element_count(field) > 1 ? load_array(field, at, version, value, what, err)
                                    : load_element(field, at, version, value, what, err);
}

static bool load_fields(const StateField *fields, void *instance, uint32_t version, json_object *object, const char *what,
                        GError **err)
{
    if (!json_object_is_type(object, json_type_object)) {
        error_set(err, "%s must be an object", what);
        return false;
    }
    for (const StateField *field = fields; field->name; field++) {
        json_object *value;
        if (field->kind == STATE_HOOK || field->since > version)
            continue;
        g_autofree char *name = g_strdup_printf("%s.%s", what, field->name);
        if (!json_object_object_get_ex(object, field->name, &value)) {
            error_set(err, "%s is missing", name);
            return false;
        }
        if (!load_field(field, (uint8_t *)instance + field->offset, version, value, name, err))
            return false;
    }
    for (const StateField *field = fields; field->name; field++)
        if (field->kind == STATE_HOOK && !field->post_load(instance, version, err))
            return false;
    return true;
}

static bool load_level(Device *dev, const DeviceClass *level, json_object *state, GError **err)
{
    json_object *object, *version = NULL;
    uint64_t number;
    if (!json_object_object_get_ex(state, level->name, &object) || !json_object_is_type(object, json_type_object) ||
        !json_object_object_get_ex(object, "version", &version) || !load_number(version, UINT32_MAX, &number)) {
        error_set(err, "there is no saved state of '%s'", level->name);
        return false;
    }
    if (number > level->state_version) {
        error_set(err, "its state of '%s' has version %" PRIu64 ", this program knows %u", level->name, number,
                  level->state_version);
        return false;
    }
    return load_fields(level->state, dev, (uint32_t)number, object, level->name, err);
}

bool device_state_load(Device *dev, json_object *state, GError **err)
{
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(dev->obj.klass, levels);
    for (unsigned i = 0; i < n; i++) {
        if (!levels[i]->state || load_level(dev, levels[i], state, err))
            continue;
        g_autofree char *path = object_path(&dev->obj);
        g_prefix_error(err, "%s: ", path);
        return false;
    }
    return true;
}
