/* The ways in which users write a character device, brought to flat options: -chardev, -serial and friends, chardev-add. */
#include <json-c/json.h>
#include <string.h>

#include "chardev/internal.h"
#include "util/keyval.h"

static void put_text(json_object *options, const char *key, const char *value)
{
    json_object_object_add(options, key, json_object_new_string(value));
}

/* delay=off is an older nodelay=on. */
static bool normalize(json_object *options, GError **err)
{
    bool delay = true;
    if (!keyval_has(options, "delay"))
        return true;
    if (!keyval_get_bool(options, "chardev", "delay", &delay, err))
        return false;
    json_object_object_del(options, "delay");
    json_object_object_add(options, "nodelay", json_object_new_boolean(!delay));
    return true;
}

json_object *chardev_parse_option(const char *text, GError **err)
{
    json_object *options = keyval_parse(text, "backend", KEYVAL_FLAT, err);
    if (options && normalize(options, err))
        return options;
    json_object_put(options);
    return NULL;
}

/* "HOST:PORT", "[V6]:PORT", ":PORT" */
static bool split_host_port(json_object *options, const char *text, GError **err)
{
    const char *colon = strrchr(text, ':');
    if (!colon || !colon[1]) {
        error_set(err, "'%s' is not an address: HOST:PORT is expected", text);
        return false;
    }
    g_autofree char *host = g_strndup(text, colon - text);
    size_t len = strlen(host);
    if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
        host[len - 1] = '\0';
        put_text(options, "host", host + 1);
    } else {
        put_text(options, "host", host);
    }
    put_text(options, "port", colon + 1);
    return true;
}

/* The rest after "unix:", "tcp:" or "telnet:". */
static json_object *parse_socket(const char *rest, const char *implied, bool telnet, GError **err)
{
    g_autofree char *text = g_strconcat(implied, "=", rest, NULL);
    json_object *options = keyval_parse(text, NULL, KEYVAL_FLAT, err), *address;
    if (!options)
        return NULL;
    put_text(options, "backend", "socket");
    bool ok = normalize(options, err);
    if (ok && !strcmp(implied, "address")) {
        json_object_object_get_ex(options, "address", &address);
        ok = split_host_port(options, json_object_get_string(address), err);
        json_object_object_del(options, "address");
    }
    if (ok && telnet)
        put_text(options, "telnet", "on");
    if (ok)
        return options;
    json_object_put(options);
    return NULL;
}

static json_object *simple(const char *backend, const char *path)
{
    json_object *options = json_object_new_object();
    put_text(options, "backend", backend);
    if (path)
        put_text(options, "path", path);
    return options;
}

static json_object *parse_backend(const char *text, GError **err)
{
    static const char *const plain[] = { "stdio", "null", "pty", "ringbuf", NULL };
    if (g_strv_contains(plain, text))
        return simple(text, NULL);
    if (g_str_has_prefix(text, "file:"))
        return simple("file", text + 5);
    if (g_str_has_prefix(text, "pipe:"))
        return simple("pipe", text + 5);
    if (g_str_has_prefix(text, "pty:"))
        return simple("pty", text + 4);
    if (g_str_has_prefix(text, "unix:"))
        return parse_socket(text + 5, "path", false, err);
    if (g_str_has_prefix(text, "tcp:"))
        return parse_socket(text + 4, "address", false, err);
    if (g_str_has_prefix(text, "telnet:"))
        return parse_socket(text + 7, "address", true, err);
    g_autofree char *word = g_strndup(text, strcspn(text, ":"));
    static const char *const known[] = { "stdio", "null", "none", "pty", "ringbuf", "file", "pipe", "unix", "tcp", "telnet", "mon",
                                         "chardev", NULL };
    const char *near = nearest_name(word, known);
    error_set(err, "Character device '%s' is not supported%s%s%s; supported: stdio, null, none, pty, ringbuf, file:PATH, pipe:PATH, "
              "unix:PATH[,server=on][,wait=off], tcp:HOST:PORT[,...], telnet:HOST:PORT[,...], chardev:ID, mon:DEVICE",
              text, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    return NULL;
}

json_object *chardev_parse_short(const char *id, const char *text, bool *mon, GError **err)
{
    *mon = g_str_has_prefix(text, "mon:");
    if (*mon)
        text += 4;
    if (!strcmp(text, "none"))
        return NULL;
    json_object *options = parse_backend(text, err);
    if (!options)
        return NULL;
    put_text(options, "id", id);
    if (*mon) {
        put_text(options, "mux", "on");
        /* The guest's console shares the terminal: C-c is the guest's. */
        if (!strcmp(text, "stdio"))
            put_text(options, "signal", "off");
    }
    return options;
}

/* ---- QMP ---- */

static void copy_members(json_object *to, json_object *from)
{
    static const struct { const char *qmp, *flat; } names[] = {
        { "out", "path" }, { "in", "input-path" }, { "device", "path" }, { "str", "fd" },
    };
    json_object_object_foreach(from, key, value) {
        const char *flat = key;
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
            if (!strcmp(key, names[i].qmp))
                flat = names[i].flat;
        json_object_object_add(to, flat, json_object_get(value));
    }
}

json_object *chardev_flatten_backend(const char *id, json_object *backend, GError **err)
{
    json_object *type, *data = NULL, *addr = NULL, *addr_data = NULL;
    json_object *options = json_object_new_object();
    json_object_object_get_ex(backend, "type", &type);
    put_text(options, "id", id);
    put_text(options, "backend", json_object_get_string(type));
    if (!json_object_object_get_ex(backend, "data", &data))
        return options;
    copy_members(options, data);
    if (!json_object_object_get_ex(data, "addr", &addr))
        return options;
    json_object_object_del(options, "addr");
    json_object_object_get_ex(addr, "data", &addr_data);
    copy_members(options, addr_data);
    /* In this spelling a server is the default. */
    if (!keyval_has(options, "server"))
        json_object_object_add(options, "server", json_object_new_boolean(true));
    return options;
}
