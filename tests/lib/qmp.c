/* The QMP side of the client. See qtest-client.h. */
#include "internal.h"

#include <string.h>

static json_object *parse(const char *text)
{
    json_object *obj = json_tokener_parse(text);
    if (!obj)
        g_error("not JSON: '%.300s'", text);
    return obj;
}

static json_object *read_message(QtEmu *q)
{
    g_autofree char *line = qt_lines_read(&q->qmp);
    if (!line)
        g_error("the emulator closed the QMP socket");
    return parse(line);
}

/* The next reply; events are kept. */
static json_object *read_reply(QtEmu *q)
{
    for (;;) {
        json_object *msg = read_message(q);
        if (!json_object_object_get_ex(msg, "event", NULL))
            return msg;
        g_queue_push_tail(&q->events, msg);
    }
}

void qt_qmp_greet(QtEmu *q)
{
    json_object *greeting = read_message(q);
    if (!qt_json_at(greeting, "QMP.version.qemu.major"))
        g_error("not a QMP greeting: %s", json_object_to_json_string(greeting));
    json_object_put(greeting);
    json_object_put(qt_qmp(q, "qmp_capabilities", NULL));
}

json_object *qt_qmp_raw(QtEmu *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    /* in one piece: after a complete "quit" there may be nobody left to take the line end */
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    qt_lines_send(&q->qmp, line, strlen(line));
    return read_reply(q);
}

/* args is taken. */
static json_object *execute(QtEmu *q, const char *command, char *args)
{
    json_object *request = json_object_new_object();
    json_object_object_add(request, "execute", json_object_new_string(command));
    if (args) {
        /* QMP takes single quotes, but JSON readers in between should not have to */
        json_object_object_add(request, "arguments", parse(args));
        g_free(args);
    }
    json_object *reply =
        qt_qmp_raw(q, "%s", json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(request);
    return reply;
}

static char *format_args(const char *args, va_list ap)
{
    return args ? g_strdup_vprintf(args, ap) : NULL;
}

json_object *qt_qmp(QtEmu *q, const char *command, const char *args, ...)
{
    va_list ap;
    va_start(ap, args);
    json_object *reply = execute(q, command, format_args(args, ap));
    va_end(ap);
    json_object *value;
    if (!json_object_object_get_ex(reply, "return", &value))
        g_error("%s was answered with %s", command, json_object_to_json_string(reply));
    json_object_get(value);
    json_object_put(reply);
    return value;
}

char *qt_qmp_error(QtEmu *q, const char *class, const char *command, const char *args, ...)
{
    va_list ap;
    va_start(ap, args);
    json_object *reply = execute(q, command, format_args(args, ap));
    va_end(ap);
    json_object *error = qt_json_at(reply, "error.class");
    if (!error || strcmp(json_object_get_string(error), class))
        g_error("%s should fail with %s, but was answered with %s", command, class, json_object_to_json_string(reply));
    char *desc = g_strdup(qt_json_str(reply, "error.desc"));
    json_object_put(reply);
    return desc;
}

static GList *find_event(QtEmu *q, const char *name)
{
    for (GList *l = q->events.head; l; l = l->next)
        if (!strcmp(qt_json_str(l->data, "event"), name))
            return l;
    return NULL;
}

json_object *qt_event_wait(QtEmu *q, const char *name)
{
    GList *l;
    while (!(l = find_event(q, name))) {
        json_object *msg = read_message(q);
        if (!json_object_object_get_ex(msg, "event", NULL))
            g_error("a reply that nobody asked for: %s", json_object_to_json_string(msg));
        g_queue_push_tail(&q->events, msg);
    }
    json_object *event = l->data;
    g_queue_delete_link(&q->events, l);
    return event;
}

bool qt_event_seen(QtEmu *q, const char *name)
{
    while (qt_lines_ready(&q->qmp))
        g_queue_push_tail(&q->events, read_message(q));
    return find_event(q, name) != NULL;
}

char *qt_hmp(QtEmu *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_object *args = json_object_new_object();
    json_object_object_add(args, "command-line", json_object_new_string(line));
    json_object *value = qt_qmp(q, "human-monitor-command", "%s", json_object_to_json_string(args));
    char *text = g_strdup(json_object_get_string(value));
    json_object_put(value);
    json_object_put(args);
    return text;
}

/* ---- json ---- */

json_object *qt_json_at(json_object *obj, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);
    for (char **name = names; *name; name++)
        if (!json_object_is_type(obj, json_type_object) || !json_object_object_get_ex(obj, *name, &obj))
            return NULL;
    return obj;
}

static json_object *at(json_object *obj, const char *path, json_type type)
{
    json_object *value = qt_json_at(obj, path);
    if (!value || !json_object_is_type(value, type))
        g_error("no %s '%s' in %s", json_type_to_name(type), path, json_object_to_json_string(obj));
    return value;
}

const char *qt_json_str(json_object *obj, const char *path)
{
    return json_object_get_string(at(obj, path, json_type_string));
}

int64_t qt_json_int(json_object *obj, const char *path)
{
    return json_object_get_int64(at(obj, path, json_type_int));
}

bool qt_json_bool(json_object *obj, const char *path)
{
    return json_object_get_boolean(at(obj, path, json_type_boolean));
}
