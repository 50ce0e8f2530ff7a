/* QMP commands about character devices. */
#include <string.h>

#include "chardev/internal.h"
#include "chardev/ringbuf.h"
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"

json_object *qmp_query_chardev(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    GPtrArray *children = object_get_container("/chardevs")->child_order;
    for (unsigned i = 0; children && i < children->len; i++) {
        Chardev *chr = children->pdata[i];
        json_object *info = json_object_new_object();
        g_autofree char *filename = chardev_filename(chr);
        bool open = false;
        for (unsigned f = 0; f < chr->nr_frontends; f++)
            open |= chr->frontends[f]->open;
        put_bool(info, "frontend-open", open);
        put_str(info, "filename", filename);
        put_str(info, "label", chardev_id(chr));
        json_object_array_add(list, info);
    }
    return list;
}

json_object *qmp_query_chardev_backends(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    g_autofree const char **names = (const char **)chardev_backend_names();
    for (const char **name = names; *name; name++) {
        json_object *info = json_object_new_object();
        put_str(info, "name", *name);
        json_object_array_add(list, info);
    }
    return list;
}

static json_object *added(Chardev *chr)
{
    json_object *info = json_object_new_object();
    const char *pty = chardev_pty_path(chr);
    if (pty)
        put_str(info, "pty", pty);
    return info;
}

json_object *qmp_chardev_add(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *backend;
    json_object_object_get_ex(args, "backend", &backend);
    g_autoptr(json_object) options = chardev_flatten_backend(arg_str(args, "id"), backend, err);
    Chardev *chr = options ? chardev_add(ctx->machine->domain, options, err) : NULL;
    return chr ? added(chr) : NULL;
}

json_object *qmp_chardev_remove(QmpContext *ctx, json_object *args, GError **err)
{
    return chardev_remove(arg_str(args, "id"), err) ? json_object_new_object() : NULL;
}

json_object *qmp_chardev_send_break(QmpContext *ctx, json_object *args, GError **err)
{
    Chardev *chr = chardev_find(arg_str(args, "id"));
    if (!chr)
        error_set(err, "Character device '%s' does not exist", arg_str(args, "id"));
    else
        chardev_break(chr);
    return NULL;
}

static bool wants_base64(json_object *args)
{
    const char *format = arg_str(args, "format");
    return format && !strcmp(format, "base64");
}

json_object *qmp_ringbuf_write(QmpContext *ctx, json_object *args, GError **err)
{
    const char *text = arg_str(args, "data");
    gsize len = strlen(text);
    g_autofree guchar *decoded = wants_base64(args) ? g_base64_decode(text, &len) : NULL;
    if (!ringbuf_write(arg_str(args, "device"), decoded ? decoded : (const uint8_t *)text, len, err))
        return NULL;
    return NULL;
}

json_object *qmp_ringbuf_read(QmpContext *ctx, json_object *args, GError **err)
{
    int64_t size = arg_int(args, "size", 0);
    if (!size) {
        error_set(err, "Parameter 'size' must be greater than zero");
        return NULL;
    }
    GByteArray *bytes = ringbuf_read(arg_str(args, "device"), size, err);
    if (!bytes)
        return NULL;
    json_object *text;
    if (!bytes->len) {
        text = json_object_new_string("");
    } else if (wants_base64(args)) {
        g_autofree char *encoded = g_base64_encode(bytes->data, bytes->len);
        text = json_object_new_string(encoded);
    } else {
        g_autofree char *valid = g_utf8_make_valid((const char *)bytes->data, bytes->len);
        text = json_object_new_string(valid);
    }
    g_byte_array_unref(bytes);
    return text;
}
