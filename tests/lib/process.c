/* Starting and ending the emulator. See qtest-client.h. */
#include "internal.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char *tmpdir;

static void remove_tmpdir(void)
{
    GDir *dir = g_dir_open(tmpdir, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));) {
        g_autofree char *path = g_build_filename(tmpdir, name, NULL);
        unlink(path);
    }
    if (dir)
        g_dir_close(dir);
    rmdir(tmpdir);
}

const char *qt_tmpdir(void)
{
    g_autoptr(GError) err = NULL;
    if (!tmpdir) {
        tmpdir = g_dir_make_tmp("qtest-XXXXXX", &err);
        if (!tmpdir)
            g_error("%s", err->message);
        atexit(remove_tmpdir);
    }
    return tmpdir;
}

static const char *binary(void)
{
    const char *path = g_getenv("RHEA_BINARY");
    if (!path)
        g_error("RHEA_BINARY must name the emulator to be tested");
    return path;
}

/* ---- lines ---- */

void qt_lines_send(QtLines *l, const char *text, size_t len)
{
    while (len) {
        ssize_t n = send(l->fd, text, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            g_error("the emulator is gone: %s", g_strerror(errno));
        text += n;
        len -= n;
    }
}

static bool readable(int fd, int timeout_ms)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    int n;
    while ((n = poll(&pfd, 1, timeout_ms)) < 0 && errno == EINTR)
        ;
    return n > 0;
}

bool qt_lines_ready(QtLines *l)
{
    return memchr(l->in->str, '\n', l->in->len) || readable(l->fd, 0);
}

char *qt_lines_read(QtLines *l)
{
    size_t scanned = 0;
    for (;;) {
        char *nl = memchr(l->in->str + scanned, '\n', l->in->len - scanned);
        if (nl) {
            size_t len = nl - l->in->str;
            char *line = g_strndup(l->in->str, len);
            g_string_erase(l->in, 0, len + 1);
            return g_strchomp(line);
        }
        scanned = l->in->len;
        if (!readable(l->fd, QT_TIMEOUT_MS))
            g_error("the emulator has been silent for %d s", QT_TIMEOUT_MS / 1000);
        g_string_set_size(l->in, scanned + 65536);
        ssize_t n = read(l->fd, l->in->str + scanned, 65536);
        g_string_set_size(l->in, scanned + MAX(n, 0));
        if (n == 0 || (n < 0 && errno != EINTR))
            return NULL;
    }
}

/* ---- start ---- */

static void in_child(gpointer parent)
{
    /* Not even a killed test program leaves an emulator behind. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != GPOINTER_TO_INT(parent))
        _exit(1);
}

static GPid spawn(char **argv, int *stdout_fd)
{
    g_autoptr(GError) err = NULL;
    GPid pid;
    GSpawnFlags flags = G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_SEARCH_PATH;
    bool ok = g_spawn_async_with_pipes(NULL, argv, NULL, flags, in_child, GINT_TO_POINTER(getpid()), &pid, NULL, stdout_fd,
                                       NULL, &err);
    if (!ok)
        g_error("%s", err->message);
    return pid;
}

static void add_words(GPtrArray *argv, const char *text)
{
    g_autoptr(GError) err = NULL;
    g_auto(GStrv) words = NULL;
    if (!*text)
        return;
    if (!g_shell_parse_argv(text, NULL, &words, &err)) {
        if (g_error_matches(err, G_SHELL_ERROR, G_SHELL_ERROR_EMPTY_STRING))
            return;
        g_error("%s: %s", text, err->message);
    }
    for (char **w = words; *w; w++)
        g_ptr_array_add(argv, g_strdup(*w));
}

static int listen_on(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    g_assert_cmpuint(strlen(path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
        g_error("%s: %s", path, g_strerror(errno));
    return fd;
}

/* The emulator's connection; ends the test when it dies instead. */
static int accept_from(QtEmu *q, int listen_fd)
{
    for (int waited = 0; waited < QT_TIMEOUT_MS; waited += 50) {
        int status;
        if (readable(listen_fd, 50)) {
            int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
            if (fd >= 0)
                return fd;
        }
        if (waitpid(q->pid, &status, WNOHANG) == q->pid)
            g_error("the emulator ended at its start, wait status 0x%x", status);
    }
    g_error("the emulator didn't connect within %d s", QT_TIMEOUT_MS / 1000);
}

static QtEmu *start(const char *args, bool qtest_accel)
{
    static unsigned serial;
    QtEmu *q = g_new0(QtEmu, 1);
    g_autofree char *qtest_path = g_strdup_printf("%s/t%u", qt_tmpdir(), ++serial);
    g_autofree char *qmp_path = g_strdup_printf("%s/q%u", qt_tmpdir(), serial);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    int qtest_listen = listen_on(qtest_path), qmp_listen = listen_on(qmp_path);

    g_ptr_array_add(argv, g_strdup(binary()));
    g_ptr_array_add(argv, g_strdup("-qtest"));
    g_ptr_array_add(argv, g_strdup_printf("unix:%s", qtest_path));
    g_ptr_array_add(argv, g_strdup("-qtest-log"));
    g_ptr_array_add(argv, g_strdup(g_getenv("QTEST_LOG") ? "/dev/fd/2" : "/dev/null"));
    g_ptr_array_add(argv, g_strdup("-chardev"));
    g_ptr_array_add(argv, g_strdup_printf("socket,path=%s,id=qtest-qmp", qmp_path));
    add_words(argv, "-mon chardev=qtest-qmp,mode=control -display none");
    add_words(argv, args);
    if (qtest_accel)
        add_words(argv, "-accel qtest");
    g_ptr_array_add(argv, NULL);

    q->pid = spawn((char **)argv->pdata, NULL);
    q->qtest = (QtLines){ accept_from(q, qtest_listen), g_string_new(NULL) };
    q->qmp = (QtLines){ accept_from(q, qmp_listen), g_string_new(NULL) };
    close(qtest_listen);
    close(qmp_listen);
    unlink(qtest_path);
    unlink(qmp_path);
    g_queue_init(&q->events);
    q->next_ram = 1 << 20;
    q->next_io = 0xc000;
    q->next_mem = 0xe0000000;
    g_autofree char *answer = qt_command(q, "endianness");
    g_assert_cmpstr(answer, ==, "OK little");
    qt_qmp_greet(q);
    return q;
}

QtEmu *qt_start(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return start(args, true);
}

QtEmu *qt_start_accel(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return start(args, false);
}

GPid qt_pid(const QtEmu *q)
{
    return q->pid;
}

/* ---- end ---- */

/* Exit status, 128 + n for a signal; kills it after the time-out. */
static int reap(GPid pid)
{
    int status;
    for (int waited = 0; waitpid(pid, &status, WNOHANG) == 0; waited++) {
        if (waited == QT_TIMEOUT_MS) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            g_error("the emulator didn't end within %d s", QT_TIMEOUT_MS / 1000);
        }
        g_usleep(1000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int qt_wait_exit(QtEmu *q)
{
    int status = reap(q->pid);
    close(q->qtest.fd);
    close(q->qmp.fd);
    g_string_free(q->qtest.in, TRUE);
    g_string_free(q->qmp.in, TRUE);
    for (json_object *event; (event = g_queue_pop_head(&q->events));)
        json_object_put(event);
    g_spawn_close_pid(q->pid);
    g_free(q);
    return status;
}

void qt_quit(QtEmu *q)
{
    kill(q->pid, SIGTERM);
    int status = qt_wait_exit(q);
    if (status)
        g_error("the emulator's exit status after SIGTERM is %d, not 0", status);
}

int qt_run(char **output, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    /* one stream for both, in order */
    add_words(argv, "/bin/sh -c 'exec \"$0\" \"$@\" 2>&1 </dev/null'");
    g_ptr_array_add(argv, g_strdup(binary()));
    add_words(argv, args);
    g_ptr_array_add(argv, NULL);
    int fd;
    GPid pid = spawn((char **)argv->pdata, &fd);
    GString *text = g_string_new(NULL);
    char buf[4096];
    while (readable(fd, QT_TIMEOUT_MS)) {
        ssize_t n = read(fd, buf, sizeof(buf));
        if (n <= 0)
            break;
        g_string_append_len(text, buf, n);
    }
    close(fd);
    int status = reap(pid);
    if (output)
        *output = g_string_free(text, FALSE);
    else
        g_string_free(text, TRUE);
    return status;
}

/* ---- what there is ---- */

static bool list_has(const char *command, const char *args, const char *name)
{
    QtEmu *q = qt_start("-machine none");
    json_object *list = args ? qt_qmp(q, command, "%s", args) : qt_qmp(q, command, NULL);
    bool found = false;
    for (size_t i = 0; i < json_object_array_length(list) && !found; i++) {
        json_object *entry = json_object_array_get_idx(list, i);
        json_object *alias = qt_json_at(entry, "alias");
        found = !strcmp(qt_json_str(entry, "name"), name) || (alias && !strcmp(json_object_get_string(alias), name));
    }
    json_object_put(list);
    qt_quit(q);
    return found;
}

static bool cached(const char *kind, const char *name, const char *command, const char *args)
{
    static GHashTable *known;
    g_autofree char *key = g_strdup_printf("%s %s", kind, name);
    gpointer value;
    if (!known)
        known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!g_hash_table_lookup_extended(known, key, NULL, &value)) {
        value = GINT_TO_POINTER(list_has(command, args, name));
        g_hash_table_insert(known, g_strdup(key), value);
    }
    return GPOINTER_TO_INT(value);
}

bool qt_has_machine(const char *name)
{
    return cached("machine", name, "query-machines", NULL);
}

bool qt_has_device(const char *name)
{
    return cached("device", name, "qom-list-types", "{'implements': 'device', 'abstract': false}");
}
