/*
 * Several front ends on one back end: the input focus, and the escapes that the user types after C-a.
 */
#include <string.h>

#include "chardev/internal.h"

#define ESCAPE 0x01 /* C-a */
/* Input kept for a front end that is full, so that C-a x works while the guest takes nothing. */
#define QUEUE_MAX 4096

static CharFrontend *focused(Chardev *chr)
{
    return chr->nr_frontends ? chr->frontends[chr->focus] : NULL;
}

static size_t queued(const CharFrontend *fe)
{
    return fe->queued ? fe->queued->len : 0;
}

static size_t frontend_room(CharFrontend *fe)
{
    return fe->ops->can_read ? fe->ops->can_read(fe->opaque) : 4096;
}

size_t mux_room(Chardev *chr)
{
    CharFrontend *fe = focused(chr);
    return fe ? QUEUE_MAX - MIN(queued(fe), QUEUE_MAX - 1) : 0;
}

static void deliver(CharFrontend *fe, uint8_t byte)
{
    if (!fe || !fe->ops->read)
        return;
    if (!queued(fe) && frontend_room(fe)) {
        fe->ops->read(fe->opaque, &byte, 1);
        return;
    }
    if (!fe->queued)
        fe->queued = g_byte_array_new();
    if (fe->queued->len < QUEUE_MAX)
        g_byte_array_append(fe->queued, &byte, 1);
}

void mux_drain(CharFrontend *fe)
{
    size_t n;
    while ((n = MIN(queued(fe), frontend_room(fe))) > 0) {
        uint8_t chunk[256];
        n = MIN(n, sizeof(chunk));
        memcpy(chunk, fe->queued->data, n);
        g_byte_array_remove_range(fe->queued, 0, n);
        fe->ops->read(fe->opaque, chunk, n);
    }
}

void mux_set_focus(Chardev *chr, unsigned index)
{
    CharFrontend *old = focused(chr), *fe = chr->frontends[index];
    if (old && old != fe && old->ops->event)
        old->ops->event(old->opaque, CHAR_EVENT_MUX_OUT);
    chr->focus = index;
    if (fe->ops->event)
        fe->ops->event(fe->opaque, CHAR_EVENT_MUX_IN);
}

static void print(Chardev *chr, const char *text)
{
    if (chr->nr_frontends)
        chardev_write_all(chr->frontends[chr->focus], text, strlen(text));
}

static void print_help(Chardev *chr)
{
    print(chr, "\r\n"
               "C-a h    show this help\r\n"
               "C-a x    exit the emulator\r\n"
               "C-a s    write disk data back to the host's files\r\n"
               "C-a t    time in front of each output line on or off\r\n"
               "C-a b    send a break\r\n"
               "C-a c    next of: guest console, monitor\r\n"
               "C-a C-a  send C-a\r\n");
}

static void escape(Chardev *chr, uint8_t key)
{
    const CharHooks *hooks = chardev_hooks();
    switch (key) {
    case ESCAPE:
        deliver(focused(chr), ESCAPE);
        break;
    case 'c':
        if (chr->nr_frontends)
            mux_set_focus(chr, (chr->focus + 1) % chr->nr_frontends);
        break;
    case 'x':
        print(chr, "\r\nTerminated from the terminal\r\n");
        if (hooks->quit)
            hooks->quit(hooks->opaque);
        break;
    case 's':
        if (hooks->sync)
            hooks->sync(hooks->opaque);
        break;
    case 'b':
        chardev_break(chr);
        break;
    case 't':
        chr->timestamps = !chr->timestamps;
        chr->timestamps_start = g_get_monotonic_time();
        chr->at_line_start = true;
        break;
    default: /* h, ?, C-h and whatever else: say what there is */
        print_help(chr);
    }
}

void mux_input(Chardev *chr, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (chr->escape_seen) {
            chr->escape_seen = false;
            escape(chr, buf[i]);
        } else if (buf[i] == ESCAPE) {
            chr->escape_seen = true;
        } else {
            deliver(focused(chr), buf[i]);
        }
    }
}

GByteArray *mux_stamp(Chardev *chr, const uint8_t *buf, size_t len)
{
    GByteArray *out = g_byte_array_sized_new(len + 64);
    for (size_t i = 0; i < len; i++) {
        if (chr->at_line_start) {
            gint64 ms = (g_get_monotonic_time() - chr->timestamps_start) / 1000;
            g_autofree char *stamp = g_strdup_printf("[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000), (int)(ms / 60000 % 60),
                                                     (int)(ms / 1000 % 60), (int)(ms % 1000));
            g_byte_array_append(out, (const uint8_t *)stamp, strlen(stamp));
        }
        g_byte_array_append(out, &buf[i], 1);
        chr->at_line_start = buf[i] == '\n';
    }
    return out;
}

/* ---- -chardev mux,chardev=ID: a mux over a back end that has a name of its own ---- */

typedef struct CharMux {
    Chardev chr;
    char *base_id;
    CharFrontend *base;
} CharMux;

static size_t base_can_read(void *opaque)
{
    return chardev_room(opaque);
}

static void base_read(void *opaque, const uint8_t *buf, size_t len)
{
    chardev_input(opaque, buf, len);
}

static void base_event(void *opaque, CharEvent event)
{
    if (event == CHAR_EVENT_OPENED || event == CHAR_EVENT_CLOSED)
        chardev_set_connected(opaque, event == CHAR_EVENT_OPENED);
    else if (event == CHAR_EVENT_BREAK)
        chardev_break(opaque);
}

static void base_writable(void *opaque)
{
    chardev_writable(opaque);
}

static const CharFrontendOps base_ops = {
    .can_read = base_can_read, .read = base_read, .event = base_event, .writable = base_writable,
};

static bool mux_open(Chardev *chr, GError **err)
{
    CharMux *mux = (CharMux *)chr;
    chr->mux = true;
    if (!mux->base_id) {
        error_set(err, "chardev=ID, the character device to share, is missing");
        return false;
    }
    Chardev *base = chardev_find(mux->base_id);
    if (!base) {
        error_set(err, "There is no character device '%s' to share", mux->base_id);
        return false;
    }
    mux->base = chardev_attach(base, OBJECT(chr), &base_ops, chr, err);
    return mux->base != NULL;
}

static void mux_close(Chardev *chr)
{
    CharMux *mux = (CharMux *)chr;
    g_clear_pointer(&mux->base, chardev_detach);
}

static size_t mux_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return chardev_write(((CharMux *)chr)->base, buf, len);
}

static void mux_set_reading(Chardev *chr, bool on)
{
    CharMux *mux = (CharMux *)chr;
    if (on && mux->base)
        chardev_accept_input(mux->base);
}

static char *mux_filename(Chardev *chr)
{
    return g_strdup("mux");
}

static const Property mux_props[] = {
    PROP_STR("chardev", CharMux, base_id, NULL, "character device to share"),
    PROP_END
};

static const CharClass mux_class = {
    .name = "chardev-mux", .parent = TYPE_CHARDEV, .desc = "several users of one character device", .size = sizeof(CharMux),
    .props = mux_props, .backend_name = "mux", .open = mux_open, .close = mux_close, .write = mux_write,
    .set_reading = mux_set_reading, .filename = mux_filename,
};
REGISTER_OBJECT(mux_class)
