/* Sets of descriptors that a manager hands over: -add-fd, add-fd. An open of /dev/fdset/N takes the member with fitting access. */
#include "block/block-int.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct FdSetMember {
    int fd;
    char *opaque;
} FdSetMember;

typedef struct FdSet {
    int64_t id;
    GPtrArray *members; /* FdSetMember * */
} FdSet;

static GPtrArray *sets; /* FdSet *, by id */

static FdSet *find_set(int64_t id)
{
    for (guint i = 0; sets && i < sets->len; i++)
        if (((FdSet *)sets->pdata[i])->id == id)
            return (FdSet *)sets->pdata[i];
    return NULL;
}

static FdSet *new_set(bool has_id, int64_t id)
{
    if (!sets)
        sets = g_ptr_array_new();
    guint at = 0;
    if (!has_id)
        for (id = 0; at < sets->len && ((FdSet *)sets->pdata[at])->id == id; at++)
            id++;
    else
        while (at < sets->len && ((FdSet *)sets->pdata[at])->id < id)
            at++;
    FdSet *set = g_new0(FdSet, 1);
    set->id = id;
    set->members = g_ptr_array_new();
    g_ptr_array_insert(sets, (gint)at, set);
    return set;
}

bool fdset_add(int fd, bool has_set, int64_t id, const char *opaque, int64_t *set_out, GError **err)
{
    if (fcntl(fd, F_GETFD) < 0) {
        error_set_errno(err, errno, "file descriptor %d is not open", fd);
        return false;
    }
    if (has_set && id < 0) {
        error_set(err, "fd set %" PRId64 " is not a number from 0", id);
        return false;
    }
    FdSet *set = has_set ? find_set(id) : NULL;
    if (!set)
        set = new_set(has_set, id);
    FdSetMember *member = g_new0(FdSetMember, 1);
    member->fd = fd;
    member->opaque = g_strdup(opaque);
    g_ptr_array_add(set->members, member);
    if (set_out)
        *set_out = set->id;
    return true;
}

bool fdset_remove(int64_t id, bool has_fd, int64_t fd, GError **err)
{
    FdSet *set = find_set(id);
    bool removed = false;
    for (guint i = set ? set->members->len : 0; i-- > 0;) {
        FdSetMember *member = (FdSetMember *)set->members->pdata[i];
        if (has_fd && member->fd != fd)
            continue;
        close(member->fd);
        g_free(member->opaque);
        g_free(member);
        g_ptr_array_remove_index(set->members, i);
        removed = true;
    }
    if (set && !set->members->len) {
        g_ptr_array_remove(sets, set);
        g_ptr_array_unref(set->members);
        g_free(set);
    }
    if (!removed) {
        if (has_fd)
            error_set(err, "there is no file descriptor %" PRId64 " in fd set %" PRId64, fd, id);
        else
            error_set(err, "there is no fd set %" PRId64, id);
    }
    return removed;
}

json_object *fdset_query(void)
{
    json_object *list = json_object_new_array();
    for (guint i = 0; sets && i < sets->len; i++) {
        const FdSet *set = (const FdSet *)sets->pdata[i];
        json_object *entry = json_object_new_object(), *fds = json_object_new_array();
        for (guint n = 0; n < set->members->len; n++) {
            const FdSetMember *member = (const FdSetMember *)set->members->pdata[n];
            json_object *fd = json_object_new_object();
            json_object_object_add(fd, "fd", json_object_new_int(member->fd));
            if (member->opaque)
                json_object_object_add(fd, "opaque", json_object_new_string(member->opaque));
            json_object_array_add(fds, fd);
        }
        json_object_object_add(entry, "fdset-id", json_object_new_int64(set->id));
        json_object_object_add(entry, "fds", fds);
        json_object_array_add(list, entry);
    }
    return list;
}

static int open_member(const char *number, int flags)
{
    char *end;
    int64_t id = g_ascii_strtoll(number, &end, 10);
    FdSet *set = *number && !*end ? find_set(id) : NULL;
    if (!set)
        return -ENOENT;
    for (guint i = 0; i < set->members->len; i++) {
        int fd = ((FdSetMember *)set->members->pdata[i])->fd;
        int have = fcntl(fd, F_GETFL);
        if (have < 0 || (have & O_ACCMODE) != (flags & O_ACCMODE))
            continue;
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0)
            return -errno;
        if (flags & O_DIRECT && !(have & O_DIRECT) && fcntl(copy, F_SETFL, have | O_DIRECT) < 0) {
            int ret = -errno;
            close(copy);
            return ret;
        }
        return copy;
    }
    return -EACCES;
}

int fdset_open(const char *path, int flags, mode_t mode)
{
    if (g_str_has_prefix(path, "/dev/fdset/"))
        return open_member(path + strlen("/dev/fdset/"), flags);
    int fd;
    do {
        fd = open(path, flags, mode);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}
