/* QMP commands that take descriptors from the client (SCM_RIGHTS). */
#include <string.h>
#include <unistd.h>

#include <block/block.h>

#include "monitor/monitor.h"
#include "monitor/qmp-commands.h"
#include "util/named-fd.h"

static int passed_fd(QmpContext *ctx, GError **err)
{
    int fd = monitor_take_fd(ctx->monitor);
    if (fd < 0)
        error_set(err, "No file descriptor supplied via SCM_RIGHTS");
    return fd;
}

json_object *qmp_getfd(QmpContext *ctx, json_object *args, GError **err)
{
    const char *name = arg_str(args, "fdname");
    int fd = passed_fd(ctx, err);
    if (fd < 0)
        return NULL;
    if (!*name || g_ascii_isdigit(name[0])) {
        close(fd);
        error_set(err, "Parameter 'fdname' expects a name not starting with a digit");
        return NULL;
    }
    named_fd_put(name, fd);
    g_ptr_array_add(ctx->monitor->named_fds, g_strdup(name));
    return NULL;
}

json_object *qmp_closefd(QmpContext *ctx, json_object *args, GError **err)
{
    int fd = named_fd_take(arg_str(args, "fdname"));
    if (fd < 0)
        error_set(err, "File descriptor named '%s' not found", arg_str(args, "fdname"));
    else
        close(fd);
    return NULL;
}

json_object *qmp_add_fd(QmpContext *ctx, json_object *args, GError **err)
{
    int fd = passed_fd(ctx, err);
    if (fd < 0)
        return NULL;
    int64_t set;
    if (!fdset_add(fd, arg_has(args, "fdset-id"), arg_int(args, "fdset-id", 0), arg_str(args, "opaque"), &set, err)) {
        close(fd);
        return NULL;
    }
    json_object *info = json_object_new_object();
    put_int(info, "fdset-id", set);
    put_int(info, "fd", fd);
    return info;
}

json_object *qmp_remove_fd(QmpContext *ctx, json_object *args, GError **err)
{
    bool ok = fdset_remove(arg_int(args, "fdset-id", 0), arg_has(args, "fd"), arg_int(args, "fd", 0), err);
    return ok ? json_object_new_object() : NULL;
}

json_object *qmp_query_fdsets(QmpContext *ctx, json_object *args, GError **err)
{
    return fdset_query();
}
