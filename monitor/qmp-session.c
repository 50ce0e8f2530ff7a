/*
 * A QMP client's conversation over a character device: greeting, negotiation, requests as they come, replies in their order.
 * A client that does not read its replies is not read from either.
 */
#include <string.h>
#include <unistd.h>

#include "chardev/internal.h"
#include "monitor/json-out.h"
#include "monitor/monitor.h"
#include "monitor/qmp-commands.h"
#include "util/named-fd.h"

/* Unread reply bytes at which a client's requests have to wait. */
#define BACKLOG_LIMIT (1 * MIB)
#define READ_ROOM 65536

static GPtrArray *monitors;

GPtrArray *monitor_list(void)
{
    if (!monitors)
        monitors = g_ptr_array_new();
    return monitors;
}

void qmp_session_send(Monitor *mon, json_object *object)
{
    GString *text = g_string_sized_new(256);
    json_out(text, object, mon->pretty);
    g_string_append(text, "\r\n");
    chardev_write_all(mon->fe, text->str, text->len);
    g_string_free(text, TRUE);
}

static void send_parse_error(Monitor *mon, GError *error)
{
    json_object *reply = qmp_error_object(error);
    events_flush();
    qmp_session_send(mon, reply);
    json_object_put(reply);
    g_error_free(error);
}

static void run_request(Monitor *mon, json_object *request)
{
    bool now_negotiated = mon->negotiated;
    json_object *reply = qmp_dispatch(&mon->ctx, request, mon->negotiated, &now_negotiated, mon->oob);
    /* What the command caused comes before its reply. */
    events_flush();
    mon->negotiated = now_negotiated;
    if (mon->open)
        qmp_session_send(mon, reply);
    json_object_put(reply);
}

static size_t session_can_read(void *opaque)
{
    Monitor *mon = opaque;
    mon->muted = chardev_backlog(mon->fe) > BACKLOG_LIMIT;
    return mon->muted ? 0 : READ_ROOM;
}

static void session_writable(void *opaque)
{
    Monitor *mon = opaque;
    if (mon->muted)
        chardev_accept_input(mon->fe);
}

static void session_read(void *opaque, const uint8_t *buf, size_t len)
{
    Monitor *mon = opaque;
    const char *text = (const char *)buf;
    while (len && mon->open) {
        json_object *request = NULL;
        GError *error = NULL;
        size_t used = 0;
        bool complete = json_frame_feed(mon->frame, text, len, &used, &request, &error);
        text += used;
        len -= used;
        if (error)
            send_parse_error(mon, error);
        else if (complete)
            run_request(mon, request);
        json_object_put(request);
    }
}

static void session_opened(Monitor *mon)
{
    json_object *greeting = qmp_greeting();
    json_frame_reset(mon->frame);
    mon->open = true;
    mon->negotiated = mon->oob = false;
    qmp_session_send(mon, greeting);
    json_object_put(greeting);
}

static void close_named_fds(Monitor *mon)
{
    for (unsigned i = 0; i < mon->named_fds->len; i++) {
        int fd = named_fd_take(mon->named_fds->pdata[i]);
        if (fd >= 0)
            close(fd);
    }
    g_ptr_array_set_size(mon->named_fds, 0);
}

static void session_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;
    if (event == CHAR_EVENT_OPENED) {
        session_opened(mon);
    } else if (event == CHAR_EVENT_CLOSED) {
        mon->open = mon->negotiated = false;
        close_named_fds(mon);
    }
}

static const CharFrontendOps session_ops = {
    .can_read = session_can_read, .read = session_read, .event = session_event, .writable = session_writable,
};

bool monitor_new(Machine *machine, Chardev *chr, bool control, bool pretty, GError **err)
{
    Monitor *mon = g_new0(Monitor, 1);
    mon->ctx = (QmpContext){ .machine = machine, .monitor = mon };
    mon->control = control;
    mon->pretty = pretty;
    mon->named_fds = g_ptr_array_new_with_free_func(g_free);
    if (control)
        mon->frame = json_frame_new();
    else
        hmp_session_start(mon);
    /* The greeting is sent from inside attach when the peer is there, so fe is set by the event's first writer otherwise. */
    static const CharFrontendOps quiet = { 0 };
    CharFrontend *fe = chardev_attach(chr, NULL, &quiet, mon, err);
    if (!fe) {
        json_frame_free(mon->frame);
        hmp_session_stop(mon);
        g_ptr_array_unref(mon->named_fds);
        g_free(mon);
        return false;
    }
    mon->fe = fe;
    fe->ops = control ? &session_ops : &hmp_session_ops;
    if (!monitor_list()->len)
        events_start(machine->domain);
    g_ptr_array_add(monitor_list(), mon);
    if (chardev_is_connected(fe))
        fe->ops->event(mon, CHAR_EVENT_OPENED);
    if (chr->mux)
        fe->ops->event(mon, CHAR_EVENT_MUX_IN);
    chardev_accept_input(fe);
    return true;
}

void monitors_ready(void)
{
    for (unsigned i = 0; i < monitor_list()->len; i++) {
        Monitor *mon = monitor_list()->pdata[i];
        if (!mon->control && chardev_of(mon->fe)->mux)
            hmp_session_ready(mon);
    }
}

void monitor_free_all(void)
{
    if (!monitors)
        return;
    events_flush();
    events_stop();
    for (unsigned i = 0; i < monitors->len; i++) {
        Monitor *mon = monitors->pdata[i];
        chardev_detach(mon->fe);
        json_frame_free(mon->frame);
        hmp_session_stop(mon);
        close_named_fds(mon);
        g_ptr_array_unref(mon->named_fds);
        g_free(mon);
    }
    g_clear_pointer(&monitors, g_ptr_array_unref);
}

int monitor_take_fd(Monitor *mon)
{
    return mon ? chardev_take_fd(mon->fe) : -1;
}

json_object *qmp_qmp_capabilities(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *enable;
    if (json_object_object_get_ex(args, "enable", &enable) && ctx->monitor)
        for (size_t i = 0; i < json_object_array_length(enable); i++)
            ctx->monitor->oob = true; /* the schema lets only "oob" through */
    return NULL;
}
