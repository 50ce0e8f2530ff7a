/*
 * The core of character devices: who is connected to whom, buffering of output, logging, connection state.
 */
#include <chardev/chardev.h>

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <string.h>
#include <unistd.h>

#include "chardev/internal.h"
#include "qom/id.h"

#define CHARDEV_CONTAINER "/chardevs"
#define BACKLOG_MAX (64 * MIB)
/* Output that a slow reader has not taken when the process ends. */
#define CLOSE_FLUSH_US (500 * 1000)

static CharHooks hooks;

void chardev_set_hooks(const CharHooks *h)
{
    hooks = *h;
}

const CharHooks *chardev_hooks(void)
{
    return &hooks;
}

Chardev *chardev_find(const char *id)
{
    return (Chardev *)object_child(object_get_container(CHARDEV_CONTAINER), id);
}

const char *chardev_id(const Chardev *chr)
{
    return chr->obj.id ? chr->obj.id : "";
}

Domain *chardev_domain(const Chardev *chr)
{
    return chr->domain;
}

Chardev *chardev_of(const CharFrontend *fe)
{
    return fe->chr;
}

static void frontend_event(CharFrontend *fe, CharEvent event)
{
    if (fe->ops->event)
        fe->ops->event(fe->opaque, event);
}

/* ---- front ends ---- */

static void update_reading(Chardev *chr)
{
    bool on = chr->nr_frontends && chardev_room(chr) > 0;
    if (on == chr->reading)
        return;
    chr->reading = on;
    if (char_class(chr)->set_reading)
        char_class(chr)->set_reading(chr, on);
}

CharFrontend *chardev_attach(Chardev *chr, Object *owner, const CharFrontendOps *ops, void *opaque, GError **err)
{
    DOMAIN_GUARD(chr->domain);
    unsigned limit = chr->mux ? CHAR_MAX_FRONTENDS : 1;
    if (chr->nr_frontends >= limit || (!chr->mux && chr->owner && chr->owner != owner)) {
        if (chr->mux)
            error_set(err, "Character device '%s' has %u users already, the most that mux=on allows", chardev_id(chr), limit);
        else
            error_set(err, "Character device '%s' is in use; with mux=on up to %d users share one", chardev_id(chr),
                      CHAR_MAX_FRONTENDS);
        return NULL;
    }
    CharFrontend *fe = g_new0(CharFrontend, 1);
    fe->chr = chr;
    fe->owner = owner;
    fe->ops = ops;
    fe->opaque = opaque;
    fe->open = true;
    object_ref(OBJECT(chr));
    chr->frontends[chr->nr_frontends++] = fe;
    if (chr->mux)
        mux_set_focus(chr, chr->nr_frontends - 1);
    if (chr->connected)
        frontend_event(fe, CHAR_EVENT_OPENED);
    update_reading(chr);
    return fe;
}

void chardev_detach(CharFrontend *fe)
{
    if (!fe)
        return;
    Chardev *chr = fe->chr;
    domain_lock(chr->domain);
    unsigned i = 0;
    while (chr->frontends[i] != fe)
        i++;
    chr->nr_frontends--;
    memmove(&chr->frontends[i], &chr->frontends[i + 1], (chr->nr_frontends - i) * sizeof(chr->frontends[0]));
    chr->frontends[chr->nr_frontends] = NULL;
    if (chr->focus > i || chr->focus >= chr->nr_frontends)
        chr->focus = chr->focus ? chr->focus - 1 : 0;
    if (chr->mux && chr->nr_frontends)
        frontend_event(chr->frontends[chr->focus], CHAR_EVENT_MUX_IN);
    update_reading(chr);
    if (fe->queued)
        g_byte_array_unref(fe->queued);
    g_free(fe);
    domain_unlock(chr->domain);
    object_unref(OBJECT(chr));
}

void chardev_accept_input(CharFrontend *fe)
{
    DOMAIN_GUARD(fe->chr->domain);
    if (fe->queued)
        mux_drain(fe);
    update_reading(fe->chr);
}

bool chardev_is_connected(const CharFrontend *fe)
{
    return fe->chr->connected;
}

void chardev_set_frontend_open(CharFrontend *fe, bool open)
{
    fe->open = open;
}

void chardev_send_break(CharFrontend *fe)
{
    if (char_class(fe->chr)->send_break)
        char_class(fe->chr)->send_break(fe->chr);
}

int chardev_take_fd(CharFrontend *fe)
{
    Chardev *chr = fe->chr;
    return char_class(chr)->take_fd ? char_class(chr)->take_fd(chr) : -1;
}

/* ---- output ---- */

static void log_output(Chardev *chr, const uint8_t *buf, size_t len)
{
    while (chr->log_fd >= 0 && len) {
        ssize_t n = write(chr->log_fd, buf, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            report_warning("Log file '%s' of character device '%s' is closed: %s", chr->logfile, chardev_id(chr),
                           g_strerror(errno));
            close(chr->log_fd);
            chr->log_fd = -1;
            return;
        }
        buf += n;
        len -= n;
    }
}

static bool has_pending(const Chardev *chr)
{
    return chr->pending && chr->pending->len;
}

static size_t backend_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (!chr->connected)
        return len; /* nobody there: as a line without a plug, the bytes are gone */
    if (has_pending(chr))
        return 0;
    return char_class(chr)->write ? char_class(chr)->write(chr, buf, len) : len;
}

static void want_writable(Chardev *chr)
{
    if (chr->connected && char_class(chr)->want_writable)
        char_class(chr)->want_writable(chr);
}

size_t chardev_write(CharFrontend *fe, const void *buf, size_t len)
{
    Chardev *chr = fe->chr;
    if (!len)
        return 0;
    if (chr->timestamps) {
        chardev_write_all(fe, buf, len);
        return len;
    }
    DOMAIN_GUARD(chr->domain);
    size_t done = backend_write(chr, buf, len);
    log_output(chr, buf, done);
    if (done < len) {
        fe->wants_room = true;
        want_writable(chr);
    }
    return done;
}

static void write_all_raw(Chardev *chr, const uint8_t *buf, size_t len)
{
    log_output(chr, buf, len);
    size_t done = backend_write(chr, buf, len);
    if (done == len)
        return;
    if (!chr->pending)
        chr->pending = g_byte_array_new();
    if (chr->pending->len + (len - done) > BACKLOG_MAX) {
        report_warning("Character device '%s' drops output: its reader left more than %" PRIu64 " MiB unread", chardev_id(chr),
                       BACKLOG_MAX / MIB);
        return;
    }
    g_byte_array_append(chr->pending, buf + done, len - done);
    want_writable(chr);
}

void chardev_write_all(CharFrontend *fe, const void *buf, size_t len)
{
    Chardev *chr = fe->chr;
    DOMAIN_GUARD(chr->domain);
    if (!chr->timestamps) {
        write_all_raw(chr, buf, len);
        return;
    }
    GByteArray *stamped = mux_stamp(chr, buf, len);
    write_all_raw(chr, stamped->data, stamped->len);
    g_byte_array_unref(stamped);
}

size_t chardev_backlog(const CharFrontend *fe)
{
    return fe->chr->pending ? fe->chr->pending->len : 0;
}

/* True when nothing is left. */
static bool flush_pending(Chardev *chr)
{
    if (!has_pending(chr))
        return true;
    if (!chr->connected) {
        g_byte_array_set_size(chr->pending, 0);
        return true;
    }
    size_t done = char_class(chr)->write(chr, chr->pending->data, chr->pending->len);
    if (done == chr->pending->len) {
        g_byte_array_unref(chr->pending); /* a burst's memory is not kept */
        chr->pending = NULL;
        return true;
    }
    if (done)
        g_byte_array_remove_range(chr->pending, 0, done);
    return false;
}

void chardev_writable(Chardev *chr)
{
    DOMAIN_GUARD(chr->domain);
    if (!flush_pending(chr)) {
        want_writable(chr);
        return;
    }
    for (unsigned i = 0; i < chr->nr_frontends; i++) {
        CharFrontend *fe = chr->frontends[i];
        if (!fe->wants_room)
            continue;
        fe->wants_room = false;
        if (fe->ops->writable)
            fe->ops->writable(fe->opaque);
    }
}

/* ---- input and connection ---- */

size_t chardev_room(Chardev *chr)
{
    if (chr->mux)
        return mux_room(chr);
    CharFrontend *fe = chr->nr_frontends ? chr->frontends[0] : NULL;
    if (!fe)
        return 0;
    return fe->ops->can_read ? fe->ops->can_read(fe->opaque) : 4096;
}

void chardev_input(Chardev *chr, const uint8_t *buf, size_t len)
{
    if (chr->mux)
        mux_input(chr, buf, len);
    else if (chr->nr_frontends && chr->frontends[0]->ops->read)
        chr->frontends[0]->ops->read(chr->frontends[0]->opaque, buf, len);
    update_reading(chr);
}

void chardev_set_connected(Chardev *chr, bool connected)
{
    if (chr->connected == connected)
        return;
    chr->connected = connected;
    chr->reading = false; /* the back end starts afresh */
    if (!connected && chr->pending)
        g_byte_array_set_size(chr->pending, 0);
    object_ref(OBJECT(chr)); /* a front end may detach in its event */
    for (unsigned i = chr->nr_frontends; i-- > 0;)
        frontend_event(chr->frontends[i], connected ? CHAR_EVENT_OPENED : CHAR_EVENT_CLOSED);
    update_reading(chr);
    if (!connected) {
        /* short writers wait for nothing now */
        for (unsigned i = 0; i < chr->nr_frontends; i++) {
            CharFrontend *fe = chr->frontends[i];
            if (fe->wants_room && fe->ops->writable) {
                fe->wants_room = false;
                fe->ops->writable(fe->opaque);
            }
        }
    }
    object_unref(OBJECT(chr));
}

void chardev_break(Chardev *chr)
{
    if (chr->nr_frontends)
        frontend_event(chr->frontends[chr->focus], CHAR_EVENT_BREAK);
}

/* ---- life ---- */

static const char *const *backend_names(bool with_aliases)
{
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_CHARDEV, false);
    GPtrArray *names = g_ptr_array_new();
    for (unsigned i = 0; i < classes->len; i++) {
        const CharClass *klass = classes->pdata[i];
        if (klass->internal || !klass->backend_name)
            continue;
        g_ptr_array_add(names, (char *)klass->backend_name);
        for (const char *const *alias = klass->aliases; with_aliases && alias && *alias; alias++)
            g_ptr_array_add(names, (char *)*alias);
    }
    g_ptr_array_add(names, NULL);
    return (const char *const *)g_ptr_array_free(names, FALSE);
}

const char *const *chardev_backend_names(void)
{
    return backend_names(true);
}

static const CharClass *match_backend(const GPtrArray *classes, const char *name)
{
    for (unsigned i = 0; i < classes->len; i++) {
        const CharClass *klass = classes->pdata[i];
        if (!klass->backend_name || klass->internal)
            continue;
        if (!strcmp(klass->backend_name, name))
            return klass;
        for (const char *const *alias = klass->aliases; alias && *alias; alias++)
            if (!strcmp(*alias, name))
                return klass;
    }
    return NULL;
}

static const CharClass *find_backend(const char *name, GError **err)
{
    g_autoptr(GPtrArray) loaded = object_class_list_loaded(TYPE_CHARDEV, false);
    const CharClass *found = match_backend(loaded, name);
    if (found)
        return found;
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_CHARDEV, false);
    found = match_backend(classes, name);
    if (found)
        return found;
    g_autofree const char **names = (const char **)backend_names(false);
    g_autofree char *list = g_strjoinv(", ", (char **)names);
    const char *near = nearest_name(name, names);
    if (near)
        error_set(err, "Character device backend '%s' is not supported; did you mean '%s'? Supported: %s", name, near, list);
    else
        error_set(err, "Character device backend '%s' is not supported; supported: %s", name, list);
    return NULL;
}

char *chardev_filename(Chardev *chr)
{
    if (chr->mux)
        return g_strdup("mux");
    return char_class(chr)->filename ? char_class(chr)->filename(chr) : g_strdup(char_class(chr)->backend_name);
}

static const char *get_text(json_object *options, const char *key)
{
    json_object *value;
    return json_object_object_get_ex(options, key, &value) ? json_object_get_string(value) : NULL;
}

static bool open_log(Chardev *chr, GError **err)
{
    if (!chr->logfile)
        return true;
    chr->log_fd = chardev_open_path(chr->logfile, O_WRONLY | O_CREAT | (chr->logappend ? O_APPEND : O_TRUNC), err);
    return chr->log_fd >= 0;
}

Chardev *chardev_add(Domain *domain, json_object *options, GError **err)
{
    static const char *const skip[] = { "id", "backend", "type", NULL };
    const char *id = get_text(options, "id");
    const char *backend = get_text(options, "backend");
    if (!backend)
        backend = get_text(options, "type");
    if (!id || !*id) {
        error_set(err, "A character device needs an id=");
        return NULL;
    }
    if (!id_well_formed(id)) {
        error_set(err, "Character device id '%s' is not one: a letter, then letters, digits, '-', '.', '_'", id);
        return NULL;
    }
    if (!backend) {
        error_set(err, "Character device '%s' needs a backend, as in -chardev socket,id=%s,path=FILE", id, id);
        return NULL;
    }
    if (chardev_find(id)) {
        error_set(err, "Character device '%s' exists already", id);
        return NULL;
    }
    const CharClass *klass = find_backend(backend, err);
    if (!klass)
        return NULL;
    g_autoptr(Object) obj = object_new(klass->name, err);
    if (!obj)
        return NULL;
    Chardev *chr = (Chardev *)obj;
    chr->domain = domain;
    object_add_child(object_get_container(CHARDEV_CONTAINER), id, obj);
    if (object_set_all_json(obj, options, skip, err) && open_log(chr, err)) {
        if (!klass->open || klass->open(chr, err))
            return chr;
        if (klass->close)
            klass->close(chr);
    }
    g_prefix_error(err, "Character device '%s': ", id);
    object_remove_from_parent(obj);
    return NULL;
}

static void chardev_close(Chardev *chr)
{
    for (gint64 end = g_get_monotonic_time() + CLOSE_FLUSH_US; !flush_pending(chr) && g_get_monotonic_time() < end;)
        g_usleep(1000);
    if (char_class(chr)->close)
        char_class(chr)->close(chr);
    chr->connected = false;
}

bool chardev_remove(const char *id, GError **err)
{
    Chardev *chr = chardev_find(id);
    if (!chr) {
        error_set(err, "Character device '%s' does not exist", id);
        return false;
    }
    DOMAIN_GUARD(chr->domain);
    if (chr->nr_frontends || chr->owner) {
        error_set(err, "Character device '%s' is in use", id);
        return false;
    }
    chardev_close(chr);
    object_remove_from_parent(OBJECT(chr));
    return true;
}

void chardev_close_all(void)
{
    Object *container = object_get_container(CHARDEV_CONTAINER);
    while (container->child_order && container->child_order->len) {
        Object *obj = container->child_order->pdata[container->child_order->len - 1];
        if (object_is_a(obj, TYPE_CHARDEV))
            chardev_close((Chardev *)obj);
        object_remove_from_parent(obj);
    }
}

/* ---- the base class ---- */

static void chardev_init(Object *obj)
{
    Chardev *chr = (Chardev *)obj;
    chr->log_fd = -1;
    chr->at_line_start = true;
}

static void chardev_finalize(Object *obj)
{
    Chardev *chr = (Chardev *)obj;
    if (chr->log_fd >= 0)
        close(chr->log_fd);
    if (chr->pending)
        g_byte_array_unref(chr->pending);
}

static const Property chardev_props[] = {
    PROP_BOOL("mux", Chardev, mux, false, "several users share it, C-a C-h shows the escapes"),
    PROP_STR("logfile", Chardev, logfile, NULL, "file that gets a copy of the output"),
    PROP_BOOL("logappend", Chardev, logappend, false, "the log file is appended to, not emptied"),
    PROP_END
};

static const CharClass chardev_class = {
    .name = TYPE_CHARDEV, .parent = TYPE_OBJECT, .desc = "character device", .size = sizeof(Chardev), .abstract = true,
    .props = chardev_props, .init = chardev_init, .finalize = chardev_finalize,
};
REGISTER_OBJECT(chardev_class)

/* ---- -device NAME,chardev=ID ---- */

static void *prop_find(const char *id)
{
    return chardev_find(id);
}

static const char *prop_name(void *backend)
{
    return chardev_id(backend);
}

static bool prop_attach(void *backend, Object *owner, GError **err)
{
    Chardev *chr = backend;
    if (!chr->mux && (chr->owner || chr->nr_frontends)) {
        error_set(err, "Character device '%s' is in use; with mux=on up to %d users share one", chardev_id(chr),
                  CHAR_MAX_FRONTENDS);
        return false;
    }
    if (!chr->mux)
        chr->owner = owner;
    return true;
}

static void prop_detach(void *backend, Object *owner)
{
    Chardev *chr = backend;
    if (chr->owner == owner)
        chr->owner = NULL;
}

static char *prop_known_ids(void)
{
    GPtrArray *children = object_get_container(CHARDEV_CONTAINER)->child_order;
    GString *text = g_string_new(NULL);
    for (unsigned i = 0; children && i < children->len; i++)
        g_string_append_printf(text, "%s%s", i ? ", " : "", ((Object *)children->pdata[i])->id);
    return g_string_free(text, text->len == 0);
}

static const PropBackendOps prop_ops = {
    .find = prop_find, .name = prop_name, .attach = prop_attach, .detach = prop_detach, .known_ids = prop_known_ids,
};

static void __attribute__((constructor)) install_property_kind(void)
{
    property_set_backend_ops(PROP_KIND_CHARDEV, &prop_ops);
}
