/*
 * The test channel's connection, and the accelerator that goes with it. See qtest.h.
 *
 * Input is read and answered on the main loop. Output is buffered, so that a client that is slow to read never stops the machine.
 */
#include <glib-unix.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "accel/accel.h"
#include "accel/qtest/internal.h"
#include "system/loop_internal.h"

#define READ_CHUNK 65536
#define LINE_MAX_BYTES (512 * MIB)

static void drop_client(Qtest *q);

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
    bool broken = false;
    g_mutex_lock(&q->lock);
    while (q->out->len && q->out_fd >= 0 && !broken) {
        ssize_t n = write(q->out_fd, q->out->data, q->out->len);
        if (n > 0)
            g_byte_array_remove_range(q->out, 0, n);
        else if (n < 0 && errno == EAGAIN)
            break;
        else if (n < 0 && errno != EINTR)
            broken = true;
    }
    bool more = q->out->len && q->out_fd >= 0;
    g_mutex_unlock(&q->lock);
    if (broken)
        drop_client(q);
    else if (q->out_watch)
        fd_watch_set_events(q->out_watch, more ? G_IO_OUT : 0);
}

static void out_ready(int fd, GIOCondition events, void *opaque)
{
    flush_out(opaque);
}

static void send_locked(Qtest *q, const char *line)
{
    log_line(q, 'S', line);
    if (q->out_fd < 0)
        return;
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
        uint8_t *nl = memchr(q->in->data + q->scanned, '\n', q->in->len - q->scanned);
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
        if (q->log)
            log_line(q, 'R', line);
        qtest_command(q, line);
    }
    flush_out(q);
    if (q->in->len > LINE_MAX_BYTES)
        drop_client(q);
}

static void in_ready(int fd, GIOCondition events, void *opaque)
{
    Qtest *q = opaque;
    size_t old = q->in->len;
    if (!q->machine->started)
        return; /* start-up code turns the loop: the machine is not complete */
    g_byte_array_set_size(q->in, old + READ_CHUNK);
    ssize_t n = read(fd, q->in->data + old, READ_CHUNK);
    int why = errno;
    g_byte_array_set_size(q->in, old + MAX(n, 0));
    if (n > 0)
        handle_input(q);
    else if (n == 0 || (why != EAGAIN && why != EINTR))
        drop_client(q);
}

/* ---- connection ---- */

static void take_client(Qtest *q, int in_fd, int out_fd)
{
    g_unix_set_fd_nonblocking(in_fd, TRUE, NULL);
    g_unix_set_fd_nonblocking(out_fd, TRUE, NULL);
    g_mutex_lock(&q->lock);
    q->in_fd = in_fd;
    q->out_fd = out_fd;
    memset(q->levels, 0, sizeof(q->levels));
    g_mutex_unlock(&q->lock);
    q->in_watch = fd_watch_new(q->machine->domain, in_fd, G_IO_IN, in_ready, q);
    q->out_watch = fd_watch_new(q->machine->domain, out_fd, 0, out_ready, q);
}

static void drop_client(Qtest *q)
{
    if (q->in_fd < 0)
        return;
    g_clear_pointer(&q->in_watch, fd_watch_free);
    g_clear_pointer(&q->out_watch, fd_watch_free);
    g_mutex_lock(&q->lock);
    close(q->in_fd);
    if (q->out_fd != q->in_fd)
        close(q->out_fd);
    q->in_fd = q->out_fd = -1;
    g_byte_array_set_size(q->out, 0);
    g_mutex_unlock(&q->lock);
    g_byte_array_set_size(q->in, 0);
    q->scanned = 0;
    if (q->listen_watch)
        fd_watch_set_events(q->listen_watch, G_IO_IN);
}

static void accept_client(int fd, GIOCondition events, void *opaque)
{
    Qtest *q = opaque;
    int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (client < 0)
        return;
    fd_watch_set_events(q->listen_watch, 0); /* one at a time */
    take_client(q, client, client);
}

static bool wait_for_client(Qtest *q, GError **err)
{
    struct pollfd pfd = { .fd = q->listen_fd, .events = POLLIN };
    while (poll(&pfd, 1, -1) < 0) {
        if (errno != EINTR || machine_signal_seen()) {
            error_set_errno(err, errno, "waiting for a test program on the -qtest socket");
            return false;
        }
    }
    accept_client(q->listen_fd, G_IO_IN, q);
    return true;
}

static int unix_socket(const char *path, bool server, GError **err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(addr.sun_path)) {
        error_set(err, "-qtest: the socket path '%s' is too long, %zu bytes are possible", path, sizeof(addr.sun_path) - 1);
        return -1;
    }
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server)
        unlink(path); /* left over by an earlier process */
    bool ok = fd >= 0 && (server ? bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 && listen(fd, 1) == 0
                                 : connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
    if (ok)
        return fd;
    error_set_errno(err, errno, "-qtest: can't %s '%s'", server ? "listen on" : "connect to", path);
    if (fd >= 0)
        close(fd);
    return -1;
}

static bool parse_switch(const char *option, const char *name, bool *value)
{
    size_t len = strlen(name);
    if (strncmp(option, name, len))
        return false;
    const char *rest = option + len;
    if (!*rest || g_str_equal(rest, "=on"))
        *value = true;
    else if (g_str_equal(rest, "=off"))
        *value = false;
    else
        return false;
    return true;
}

static bool open_unix(Qtest *q, const char *spec, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(spec, ",", -1);
    bool server = false, wait = true, nowait = false;
    for (char **p = parts + 1; *parts && *p; p++) {
        if (!parse_switch(*p, "server", &server) && !parse_switch(*p, "wait", &wait) && !parse_switch(*p, "nowait", &nowait)) {
            error_set(err, "-qtest unix: there is no option '%s': server=on|off and wait=on|off are accepted", *p);
            return false;
        }
    }
    int fd = unix_socket(*parts ? *parts : "", server, err);
    if (fd < 0)
        return false;
    if (!server) {
        take_client(q, fd, fd);
        return true;
    }
    q->listen_fd = fd;
    q->listen_watch = fd_watch_new(q->machine->domain, fd, G_IO_IN, accept_client, q);
    return nowait || !wait || wait_for_client(q, err);
}

static bool open_fd(Qtest *q, const char *number, GError **err)
{
    char *end;
    errno = 0;
    long fd = strtol(number, &end, 10);
    if (errno || *end || end == number || fd < 0 || fcntl(fd, F_GETFD) < 0) {
        error_set(err, "-qtest fd:%s: not the number of an open file descriptor", number);
        return false;
    }
    take_client(q, fd, fd);
    return true;
}

static bool open_spec(Qtest *q, const char *spec, GError **err)
{
    if (g_str_has_prefix(spec, "unix:"))
        return open_unix(q, spec + 5, err);
    if (g_str_has_prefix(spec, "fd:"))
        return open_fd(q, spec + 3, err);
    if (g_str_equal(spec, "stdio")) {
        take_client(q, 0, 1);
        return true;
    }
    error_set(err, "-qtest '%s': unix:PATH[,server=on][,wait=off], fd:NUMBER and stdio are accepted", spec);
    return false;
}

static void qtest_free(Qtest *q)
{
    drop_client(q);
    fd_watch_free(q->listen_watch);
    if (q->listen_fd >= 0)
        close(q->listen_fd);
    if (q->log)
        fclose(q->log);
    bh_free(q->flush);
    object_unref(OBJECT(q->intercepted));
    g_free(q->list);
    g_byte_array_unref(q->in);
    g_byte_array_unref(q->out);
    g_mutex_clear(&q->lock);
    g_free(q);
}

static void at_exit(void *opaque)
{
    Qtest *q = opaque;
    flush_out(q);
    if (q->intercepted) /* lines may still change while devices go */
        device_observe_irqs(q->intercepted, q->list, q->inputs, NULL, NULL);
    qtest_free(q);
}

static bool open_log(Qtest *q, const char *log, GError **err)
{
    if (!log || g_str_equal(log, "none") || g_str_equal(log, "/dev/null"))
        return true;
    q->log = fopen(log, "we");
    if (!q->log)
        error_set_errno(err, errno, "-qtest-log: can't write '%s'", log);
    return q->log != NULL;
}

bool qtest_start(Machine *machine, const char *spec, const char *log, GError **err)
{
    DOMAIN_GUARD(machine->domain);
    Qtest *q = g_new0(Qtest, 1);
    q->machine = machine;
    q->listen_fd = q->in_fd = q->out_fd = -1;
    q->in = g_byte_array_new();
    q->out = g_byte_array_new();
    g_mutex_init(&q->lock);
    q->flush = bh_new(machine->domain, flush_out, q);
    q->log_start = mono_now();
    if (!open_log(q, log, err) || !open_spec(q, spec, err)) {
        qtest_free(q);
        return false;
    }
    runstate_on_exit(machine->run, at_exit, q);
    return true;
}

/* ---- the accelerator ---- */

static const AccelClass qtest_accel = {
    .name = "qtest-accel",
    .parent = TYPE_ACCEL,
    .desc = "executes nothing: a test program drives the machine",
    .accel_name = "qtest",
    .manual_clock = true,
};
REGISTER_OBJECT(qtest_accel)
