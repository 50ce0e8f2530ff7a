/* Random number back ends: the request queue that all share, and the two that need no partner. */
#include <rhea/rng.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REQUEST_MAX = 65536 };

struct RngRequest {
    Object *backend;   /* a reference */
    size_t max;
    RngDoneFunc *done;
    void *opaque;
    BottomHalf *bh;    /* for sources that are always ready */
    FdWatch *watch;
};

static const RngClass *rng_class(const Object *backend)
{
    return (const RngClass *)backend->klass;
}

static void request_serve(RngRequest *request)
{
    g_autofree uint8_t *bytes = g_malloc(request->max);
    ssize_t got = rng_class(request->backend)->read(request->backend, bytes, request->max);
    if (got == -EAGAIN && request->watch)
        return;
    RngDoneFunc *done = request->done;
    void *opaque = request->opaque;
    rng_cancel(request);
    if (got > 0)
        done(opaque, bytes, (size_t)got, 0);
    else
        done(opaque, NULL, 0, got ? (int)-got : ENODATA);
}

static void request_bh(void *opaque)
{
    request_serve(opaque);
}

static void request_readable(int fd, GIOCondition events, void *opaque)
{
    request_serve(opaque);
}

RngRequest *rng_request(Object *backend, Domain *domain, size_t max, RngDoneFunc *done, void *opaque)
{
    g_assert(object_is_a(backend, TYPE_RNG_BACKEND) && max);
    RngRequest *request = g_new0(RngRequest, 1);
    *request = (RngRequest){ .backend = object_ref(backend), .max = MIN(max, REQUEST_MAX), .done = done, .opaque = opaque };
    int fd = rng_class(backend)->poll_fd ? rng_class(backend)->poll_fd(backend) : -1;
    if (fd >= 0) {
        request->watch = fd_watch_new(domain, fd, G_IO_IN, request_readable, request);
    } else {
        request->bh = bh_new(domain, request_bh, request);
        bh_schedule(request->bh);
    }
    return request;
}

void rng_cancel(RngRequest *request)
{
    if (request->watch)
        fd_watch_free(request->watch);
    if (request->bh)
        bh_free(request->bh);
    object_unref(request->backend);
    g_free(request);
}

static const ObjectClass rng_backend_class = {
    .name = TYPE_RNG_BACKEND, .desc = "base of the sources of random bytes", .abstract = true,
};
REGISTER_OBJECT(rng_backend_class)

/* ---- rng-builtin: the kernel's generator by system call ---- */

static ssize_t builtin_read(Object *backend, void *buf, size_t len)
{
    ssize_t got = getrandom(buf, len, 0);
    return got < 0 ? -errno : got;
}

static bool builtin_complete(Object *obj, GError **err)
{
    uint8_t byte;
    /* an unseeded generator would block the loop later */
    if (getrandom(&byte, 1, GRND_NONBLOCK) == 1)
        return true;
    error_set_errno(err, errno, "rng-builtin '%s': the host has no random bytes yet", obj->id);
    return false;
}

static const RngClass builtin_class = {
    .name = "rng-builtin", .parent = TYPE_RNG_BACKEND, .desc = "random bytes from the host kernel",
    .complete = builtin_complete, .read = builtin_read,
};
REGISTER_OBJECT(builtin_class)

/* ---- rng-random: a device file, or any other that has bytes ---- */

typedef struct {
    Object obj;
    char *filename;
    int fd;
} RngRandom;

static void random_init(Object *obj)
{
    ((RngRandom *)obj)->fd = -1;
}

static void random_finalize(Object *obj)
{
    if (((RngRandom *)obj)->fd >= 0)
        close(((RngRandom *)obj)->fd);
}

static bool random_complete(Object *obj, GError **err)
{
    RngRandom *rng = (RngRandom *)obj;
    struct stat st;
    rng->fd = open(rng->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (rng->fd < 0 || fstat(rng->fd, &st) < 0) {
        error_set_errno(err, errno, "rng-random '%s': can't open '%s'", obj->id, rng->filename);
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        error_set(err, "rng-random '%s': '%s' is a directory", obj->id, rng->filename);
        return false;
    }
    return true;
}

static int random_poll_fd(Object *backend)
{
    return ((RngRandom *)backend)->fd;
}

static ssize_t random_read(Object *backend, void *buf, size_t len)
{
    ssize_t got = read(((RngRandom *)backend)->fd, buf, len);
    return got < 0 ? -errno : got;
}

static const Property random_props[] = {
    PROP_STR("filename", RngRandom, filename, "/dev/urandom", "where the bytes are read from"),
    PROP_END
};

static const RngClass random_class = {
    .name = "rng-random", .parent = TYPE_RNG_BACKEND, .desc = "random bytes from a file", .size = sizeof(RngRandom),
    .props = random_props, .init = random_init, .finalize = random_finalize, .complete = random_complete,
    .poll_fd = random_poll_fd, .read = random_read,
};
REGISTER_OBJECT(random_class)
