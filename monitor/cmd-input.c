/* QMP commands that press keys and move pointers. */
#include <string.h>

#include <ui/input.h>

#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"

#define KEYS_MAX 64

static json_object *member(json_object *o, const char *name)
{
    json_object *value = NULL;
    json_object_object_get_ex(o, name, &value);
    return value;
}

static bool parse_key(json_object *value, KeyCode *key, GError **err)
{
    json_object *data = member(value, "data");
    if (!strcmp(arg_str(value, "type"), "number")) {
        int64_t number = json_object_get_int64(data);
        *key = number > UINT16_MAX ? KEY_UNMAPPED : key_by_number(number);
        if (*key != KEY_UNMAPPED)
            return true;
        error_set(err, "Key number %" PRId64 " is not the code of a key", number);
        return false;
    }
    *key = key_by_name(json_object_get_string(data));
    if (*key != KEY_COUNT)
        return true;
    const char *near = nearest_name(json_object_get_string(data), key_names());
    if (near)
        error_set(err, "There is no key '%s'; did you mean '%s'?", json_object_get_string(data), near);
    else
        error_set(err, "There is no key '%s'", json_object_get_string(data));
    return false;
}

json_object *qmp_send_key(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = member(args, "keys");
    KeyCode keys[KEYS_MAX];
    size_t n = json_object_array_length(list);
    if (n > KEYS_MAX) {
        error_set(err, "At most %d keys can be sent at once, not %zu", KEYS_MAX, n);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        if (!parse_key(json_object_array_get_idx(list, i), &keys[i], err))
            return NULL;
    input_type_keys(ctx->machine, keys, n, MIN(arg_int(args, "hold-time", 100), 60000));
    return NULL;
}

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1; /* the schema lets no others through */
}

static bool parse_event(json_object *value, InputEvent *event, GError **err)
{
    const char *type = arg_str(value, "type");
    json_object *data = member(value, "data");
    if (!strcmp(type, "key")) {
        event->kind = INPUT_KEY;
        event->key.down = arg_bool(data, "down", false);
        return parse_key(member(data, "key"), &event->key.key, err);
    }
    if (!strcmp(type, "btn")) {
        event->kind = INPUT_BUTTON;
        event->button.down = arg_bool(data, "down", false);
        event->button.button = index_of(input_button_names, arg_str(data, "button"));
        return true;
    }
    event->kind = !strcmp(type, "rel") ? INPUT_REL : INPUT_ABS;
    event->move.axis = index_of(input_axis_names, arg_str(data, "axis"));
    int64_t at = arg_int(data, "value", 0), low = event->kind == INPUT_REL ? INT16_MIN : 0;
    event->move.value = CLAMP(at, low, INPUT_ABS_MAX);
    return true;
}

json_object *qmp_input_send_event(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = member(args, "events");
    size_t n = json_object_array_length(list);
    if (arg_has(args, "device") || arg_has(args, "head")) {
        error_set(err, "There is no display to address: leave 'device' and 'head' out");
        return NULL;
    }
    /* All are checked before the first is sent. */
    g_autofree InputEvent *events = g_new0(InputEvent, n + 1);
    for (size_t i = 0; i < n; i++)
        if (!parse_event(json_object_array_get_idx(list, i), &events[i], err))
            return NULL;
    for (size_t i = 0; i < n; i++)
        input_send(ctx->machine, &events[i]);
    input_sync(ctx->machine);
    return NULL;
}

static bool add_mouse(void *opaque, unsigned index, const char *name, bool current, bool absolute)
{
    json_object *info = json_object_new_object();
    put_str(info, "name", name);
    put_int(info, "index", index);
    put_bool(info, "current", current);
    put_bool(info, "absolute", absolute);
    json_object_array_add(opaque, info);
    return true;
}

json_object *qmp_query_mice(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    input_foreach_mouse(ctx->machine, add_mouse, list);
    return list;
}

void introspect_keys(json_object *entity, json_object *entities)
{
    json_object *values = member(entity, "values"), *members = member(entity, "members");
    for (const char *const *name = key_names(); *name; name++) {
        json_object *one = json_object_new_object();
        put_str(one, "name", *name);
        json_object_array_add(members, one);
        json_object_array_add(values, json_object_new_string(*name));
    }
}
