/* Descriptors that a client named with getfd. */
#include "util/named-fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static GMutex lock;
static GHashTable *named; /* name -> fd + 1 */

void named_fd_put(const char *name, int fd)
{
    int old = named_fd_take(name);
    if (old >= 0)
        close(old);
    g_mutex_lock(&lock);
    if (!named)
        named = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_hash_table_insert(named, g_strdup(name), GINT_TO_POINTER(fd + 1));
    g_mutex_unlock(&lock);
}

int named_fd_take(const char *name)
{
    int fd = -1;
    g_mutex_lock(&lock);
    if (named) {
        fd = GPOINTER_TO_INT(g_hash_table_lookup(named, name)) - 1;
        g_hash_table_remove(named, name);
    }
    g_mutex_unlock(&lock);
    return fd;
}

int fd_from_text(const char *text, GError **err)
{
    if (!g_ascii_isdigit(text[0])) {
        int fd = named_fd_take(text);
        if (fd < 0)
            error_set(err, "File descriptor named '%s' has not been found", text);
        return fd;
    }
    char *end;
    errno = 0;
    gint64 number = g_ascii_strtoll(text, &end, 10);
    if (errno || *end || number > INT_MAX || fcntl((int)number, F_GETFD) < 0) {
        error_set(err, "fd=%s is not the number of an open descriptor", text);
        return -1;
    }
    fcntl((int)number, F_SETFD, FD_CLOEXEC);
    return (int)number;
}
