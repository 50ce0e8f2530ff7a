/*
 * The test channel on its character device, and the accelerator that goes with it. See qtest.h.
 *
 * Input is read and answered on the main loop. Reports of line changes may come from any thread: they are queued here
 * and go out before the next answer.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "accel/accel.h"
#include "accel/qtest/internal.h"
#include "system/loop_internal.h"

#define READ_CHUNK 65536
#define LINE_MAX_BYTES (512 * MIB)
#define START_RETRY_NS 1000000

/* ---- output ---- */

static void log_line(Qtest *q, char direction, const char *line)
{
    double at = (mono_now() - q->log_start) / 1e9;
    if (!q->log)
        return;
    fprintf(q->log, "[%c +%.6f] %s\n", direction, at, line);
    fflush(q->log);
}

static void flush_out(void *opaque)
{
    Qtest *q = opaque;
    g_mutex_lock(&q->lock);
    g_autoptr(GByteArray) out = q->out->len ? g_steal_pointer(&q->out) : NULL;
    if (out)
        q->out = g_byte_array_new();
    g_mutex_unlock(&q->lock);
    if (out)
        chardev_write_all(q->fe, out->data, out->len);
}

static void send_locked(Qtest *q, const char *line)
{
    log_line(q, 'S', line);
    g_byte_array_append(q->out, (const uint8_t *)line, strlen(line));
    g_byte_array_append(q->out, (const uint8_t *)"\n", 1);
    bh_schedule(q->flush);
}

void qtest_send(Qtest *q, const char *line)
{
    g_mutex_lock(&q->lock);
    send_locked(q, line);
    g_mutex_unlock(&q->lock);
}

void qtest_report_locked(Qtest *q, unsigned n, bool level)
{
    char line[32];
    g_snprintf(line, sizeof(line), "IRQ %s %u", level ? "raise" : "lower", n);
    send_locked(q, line);
}

void qtest_sendf(Qtest *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qtest_send(q, line);
}

/* ---- input ---- */

static void handle_input(Qtest *q)
{
    for (;;) {
        uint8_t *nl = q->in->len ? memchr(q->in->data + q->scanned, '\n', q->in->len - q->scanned) : NULL;
        if (!nl) {
            q->scanned = q->in->len;
            break;
        }
        size_t len = nl - q->in->data;
        g_autofree char *line = g_strndup((char *)q->in->data, len);
        g_byte_array_remove_range(q->in, 0, len + 1);
        q->scanned = 0;
        if (len && line[len - 1] == '\r')
            line[len - 1] = '\0';
        log_line(q, 'R', line);
        qtest_command(q, line);
    }
    flush_out(q);
}

static size_t can_read(void *opaque)
{
    Qtest *q = opaque;
    /* Start-up code may turn the loop: what comes then waits until the machine is complete. */
    return q->machine->started && q->in->len < LINE_MAX_BYTES ? READ_CHUNK : 0;
}

static void take_input(void *opaque, const uint8_t *buf, size_t len)
{
    Qtest *q = opaque;
    g_byte_array_append(q->in, buf, len);
    handle_input(q);
}

static void start_reading(void *opaque)
{
    Qtest *q = opaque;
    if (q->machine->started)
        chardev_accept_input(q->fe);
    else
        timer_mod(q->start, mono_now() + START_RETRY_NS);
}

/* A client comes or goes: nothing of the last one is left, and its successor takes all lines for low. */
static void on_event(void *opaque, CharEvent event)
{
    Qtest *q = opaque;
    if (event != CHAR_EVENT_OPENED && event != CHAR_EVENT_CLOSED)
        return;
    g_byte_array_set_size(q->in, 0);
    q->scanned = 0;
    g_mutex_lock(&q->lock);
    g_byte_array_set_size(q->out, 0);
    memset(q->levels, 0, sizeof(q->levels));
    g_mutex_unlock(&q->lock);
}

/* ---- life ---- */

static bool open_log(Qtest *q, const char *log, GError **err)
{
    if (!log || g_str_equal(log, "none") || g_str_equal(log, "/dev/null"))
        return true;
    q->log = fopen(log, "we");
    if (!q->log)
        error_set_errno(err, errno, "can't write the log '%s'", log);
    return q->log != NULL;
}

Qtest *qtest_new(Machine *machine, Chardev *chr, Object *owner, const char *log, GError **err)
{
    static const CharFrontendOps ops = { .can_read = can_read, .read = take_input, .event = on_event };
    DOMAIN_GUARD(machine->domain);
    Qtest *q = g_new0(Qtest, 1);
    q->machine = machine;
    q->in = g_byte_array_new();
    q->out = g_byte_array_new();
    g_mutex_init(&q->lock);
    q->flush = bh_new(machine->domain, flush_out, q);
    q->start = timer_new(machine->domain, CLOCK_MONO, start_reading, q);
    q->log_start = mono_now();
    if (!open_log(q, log, err) || !(q->fe = chardev_attach(chr, owner, &ops, q, err))) {
        qtest_free(q);
        return NULL;
    }
    if (!machine->started)
        timer_mod(q->start, 0);
    return q;
}

void qtest_free(Qtest *q)
{
    if (!q)
        return;
    if (q->intercepted) /* its lines may still change */
        device_observe_irqs(q->intercepted, q->list, q->inputs, NULL, NULL);
    if (q->fe)
        flush_out(q);
    chardev_detach(q->fe);
    timer_free(q->start);
    bh_free(q->flush);
    if (q->log)
        fclose(q->log);
    object_unref(OBJECT(q->intercepted));
    g_free(q->list);
    g_byte_array_unref(q->in);
    g_byte_array_unref(q->out);
    g_mutex_clear(&q->lock);
    g_free(q);
}

static void at_exit(void *opaque)
{
    qtest_free(opaque);
}

bool qtest_start(Machine *machine, Chardev *chr, const char *log, GError **err)
{
    Qtest *q = qtest_new(machine, chr, NULL, log, err);
    if (q)
        runstate_on_exit(machine->run, at_exit, q);
    return q != NULL;
}

/* ---- -object qtest ---- */

typedef struct QtestObject {
    Object obj;
    Chardev *chr;
    char *log;
    Qtest *q;
} QtestObject;

static bool object_complete(Object *obj, GError **err)
{
    QtestObject *self = (QtestObject *)obj;
    Object *machine = object_child(object_get_root(), "machine");
    if (!self->chr) {
        error_set(err, "object 'qtest' needs chardev=ID");
        return false;
    }
    self->q = qtest_new((Machine *)machine, self->chr, obj, self->log, err);
    return self->q != NULL;
}

static void object_finalize(Object *obj)
{
    qtest_free(((QtestObject *)obj)->q);
}

static const Property object_props[] = {
    PROP_CHARDEV("chardev", QtestObject, chr, 0, "where the test program is"),
    PROP_STR("log", QtestObject, log, NULL, "file that gets a copy of the traffic"),
    PROP_END
};

static const ObjectClass qtest_object = {
    .name = "qtest",
    .parent = TYPE_OBJECT,
    .desc = "the test channel on a character device",
    .size = sizeof(QtestObject),
    .props = object_props,
    .complete = object_complete,
    .finalize = object_finalize,
};
REGISTER_OBJECT(qtest_object)

/* ---- the accelerator ---- */

static const AccelClass qtest_accel = {
    .name = "qtest-accel",
    .parent = TYPE_ACCEL,
    .desc = "executes nothing: a test program drives the machine",
    .accel_name = "qtest",
    .manual_clock = true,
};
REGISTER_OBJECT(qtest_accel)
