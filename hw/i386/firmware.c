/*
 * Firmware files come from the distribution; nothing is copied into the tree.
 */
#include "hw/i386/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const firmware_dirs[] = {
    "/usr/share/rhea/firmware", "/usr/share/seabios", "/usr/share/qemu", "/usr/share/seavgabios", "/usr/share/vgabios",
    "/usr/lib/ipxe/qemu", "/usr/share/ipxe", "/usr/share/OVMF",
};

/* -L: looked at first, in the order given. The command line is the process's. */
static GPtrArray *user_dirs;

void firmware_add_dir(const char *dir)
{
    if (!user_dirs)
        user_dirs = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(user_dirs, g_strdup(dir));
}

static unsigned dir_count(void)
{
    return (user_dirs ? user_dirs->len : 0) + G_N_ELEMENTS(firmware_dirs);
}

static const char *dir_at(unsigned i)
{
    unsigned own = user_dirs ? user_dirs->len : 0;
    return i < own ? user_dirs->pdata[i] : firmware_dirs[i - own];
}

char *firmware_dirs_text(void)
{
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < dir_count(); i++)
        g_string_append_printf(text, "%s%s", i ? ", " : "", dir_at(i));
    return g_string_free(text, FALSE);
}

char *firmware_find(const char *name)
{
    if (access(name, F_OK) == 0)
        return g_strdup(name);
    if (strchr(name, '/'))
        return NULL;
    for (unsigned i = 0; i < dir_count(); i++) {
        g_autofree char *path = g_build_filename(dir_at(i), name, NULL);
        if (access(path, F_OK) == 0)
            return g_steal_pointer(&path);
    }
    return NULL;
}

static bool read_all(int fd, char *buf, gsize len, const char *path, GError **err)
{
    for (gsize done = 0; done < len;) {
        ssize_t n = read(fd, buf + done, len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            error_set_errno(err, n < 0 ? errno : EIO, "can't read '%s'", path);
            return false;
        }
        done += n;
    }
    return true;
}

bool firmware_read(const char *path, uint64_t max, char **data, gsize *len, GError **err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool ok = false;

    if (fd < 0 || fstat(fd, &st) < 0) {
        error_set_errno(err, errno, "can't open '%s'", path);
    } else if (!S_ISREG(st.st_mode)) {
        error_set(err, "'%s' is not a regular file", path);
    } else if (st.st_size == 0) {
        error_set(err, "'%s' is empty", path);
    } else if ((uint64_t)st.st_size > max) {
        error_set(err, "'%s' has %" PRIu64 " bytes, more than the %" PRIu64 " that fit", path, (uint64_t)st.st_size, max);
    } else {
        g_autofree char *buf = g_try_malloc(st.st_size);
        if (!buf) {
            error_set(err, "no memory for the %" PRIu64 " bytes of '%s'", (uint64_t)st.st_size, path);
        } else if (read_all(fd, buf, st.st_size, path, err)) {
            *data = g_steal_pointer(&buf);
            *len = st.st_size;
            ok = true;
        }
    }
    if (fd >= 0)
        close(fd);
    return ok;
}
