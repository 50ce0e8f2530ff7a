/* The small back ends: null, ringbuf, file, pipe. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <block/block.h>

#include "chardev/internal.h"
#include "chardev/ringbuf.h"

int chardev_open_path(const char *path, int flags, GError **err)
{
    int fd = fdset_open(path, flags | O_CLOEXEC, 0666);
    if (fd < 0)
        error_set_errno(err, -fd, "Can't open '%s'", path);
    return fd;
}

/* ---- null ---- */

static bool null_open(Chardev *chr, GError **err)
{
    chardev_set_connected(chr, true);
    return true;
}

static const CharClass null_class = {
    .name = "chardev-null", .parent = TYPE_CHARDEV, .desc = "drops output, gives no input", .size = sizeof(Chardev),
    .backend_name = "null", .open = null_open,
};
REGISTER_OBJECT(null_class)

/* ---- ringbuf: keeps the last size bytes of output for ringbuf-read ---- */

#define RINGBUF_MAX (64 * MIB)

typedef struct CharRing {
    Chardev chr;
    uint64_t size;      /* bytes, a power of two */
    uint8_t *bytes;
    uint64_t head, tail; /* total bytes in and out */
} CharRing;

static bool ring_open(Chardev *chr, GError **err)
{
    CharRing *ring = (CharRing *)chr;
    if (!ring->size || (ring->size & (ring->size - 1)) || ring->size > RINGBUF_MAX) {
        error_set(err, "size=%" PRIu64 " is not a power of two up to 64M", ring->size);
        return false;
    }
    ring->bytes = g_malloc(ring->size);
    chardev_set_connected(chr, true);
    return true;
}

static void ring_close(Chardev *chr)
{
    g_clear_pointer(&((CharRing *)chr)->bytes, g_free);
}

static size_t ring_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharRing *ring = (CharRing *)chr;
    for (size_t i = 0; i < len; i++) {
        ring->bytes[ring->head++ & (ring->size - 1)] = buf[i];
        if (ring->head - ring->tail > ring->size)
            ring->tail = ring->head - ring->size;
    }
    return len;
}

static CharRing *ring_find(const char *id, GError **err)
{
    Chardev *chr = chardev_find(id);
    if (!chr)
        error_set(err, "Character device '%s' does not exist", id);
    else if (!object_is_a(OBJECT(chr), "chardev-ringbuf"))
        error_set(err, "Character device '%s' is not a ringbuf", id);
    else
        return (CharRing *)chr;
    return NULL;
}

bool ringbuf_write(const char *id, const uint8_t *buf, size_t len, GError **err)
{
    CharRing *ring = ring_find(id, err);
    if (ring)
        ring_write(&ring->chr, buf, len);
    return ring != NULL;
}

GByteArray *ringbuf_read(const char *id, size_t max, GError **err)
{
    CharRing *ring = ring_find(id, err);
    if (!ring)
        return NULL;
    GByteArray *out = g_byte_array_new();
    while (ring->tail < ring->head && out->len < max)
        g_byte_array_append(out, &ring->bytes[ring->tail++ & (ring->size - 1)], 1);
    return out;
}

static const Property ring_props[] = {
    PROP_SIZE("size", CharRing, size, 64 * KIB, "bytes kept, a power of two"),
    PROP_END
};

static const CharClass ring_class = {
    .name = "chardev-ringbuf", .parent = TYPE_CHARDEV, .desc = "keeps the last bytes of output in memory",
    .size = sizeof(CharRing), .props = ring_props, .backend_name = "ringbuf", .aliases = (const char *const[]){ "memory", NULL },
    .open = ring_open, .close = ring_close, .write = ring_write,
};
REGISTER_OBJECT(ring_class)

/* ---- file and pipe ---- */

typedef struct CharFile {
    Chardev chr;
    char *path, *input_path;
    bool append;
    FdStream stream;
} CharFile;

static void file_set_reading(Chardev *chr, bool on)
{
    fd_stream_set_reading(&((CharFile *)chr)->stream, on);
}

static size_t file_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fd_stream_write(&((CharFile *)chr)->stream, buf, len);
}

static void file_want_writable(Chardev *chr)
{
    fd_stream_want_writable(&((CharFile *)chr)->stream);
}

static void file_close(Chardev *chr)
{
    fd_stream_close(&((CharFile *)chr)->stream);
}

static bool file_open(Chardev *chr, GError **err)
{
    CharFile *file = (CharFile *)chr;
    if (!file->path) {
        error_set(err, "path=FILE is missing");
        return false;
    }
    int out = chardev_open_path(file->path, O_WRONLY | O_CREAT | (file->append ? O_APPEND : O_TRUNC), err);
    if (out < 0)
        return false;
    int in = -1;
    if (file->input_path && (in = chardev_open_path(file->input_path, O_RDONLY | O_NONBLOCK, err)) < 0) {
        close(out);
        return false;
    }
    fd_stream_open(&file->stream, chr, in, out, NULL);
    chardev_set_connected(chr, true);
    return true;
}

static const Property file_props[] = {
    PROP_STR("path", CharFile, path, NULL, "file for the output, or /dev/fdset/N"),
    PROP_STR("input-path", CharFile, input_path, NULL, "file that the input is read from"),
    PROP_BOOL("append", CharFile, append, false, "the file is appended to, not emptied"),
    PROP_END
};

static const CharClass file_class = {
    .name = "chardev-file", .parent = TYPE_CHARDEV, .desc = "output to a file", .size = sizeof(CharFile), .props = file_props,
    .backend_name = "file", .open = file_open, .close = file_close, .write = file_write, .set_reading = file_set_reading,
    .want_writable = file_want_writable,
};
REGISTER_OBJECT(file_class)

/* PATH.in and PATH.out, two fifos; or one PATH for both ways. */
static bool pipe_open(Chardev *chr, GError **err)
{
    CharFile *file = (CharFile *)chr;
    if (!file->path) {
        error_set(err, "path=FIFO is missing");
        return false;
    }
    g_autofree char *in_path = g_strconcat(file->path, ".in", NULL), *out_path = g_strconcat(file->path, ".out", NULL);
    /* O_RDWR on a fifo never waits for the other side, and never sees it leave. */
    int in = open(in_path, O_RDWR | O_NONBLOCK | O_CLOEXEC), out = open(out_path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || out < 0) {
        if (in >= 0)
            close(in);
        if (out >= 0)
            close(out);
        in = out = open(file->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (in < 0) {
            error_set_errno(err, errno, "Can't open '%s' and '%s', nor '%s' alone", in_path, out_path, file->path);
            return false;
        }
    }
    fd_stream_open(&file->stream, chr, in, out, NULL);
    chardev_set_connected(chr, true);
    return true;
}

static const Property pipe_props[] = {
    PROP_STR("path", CharFile, path, NULL, "fifo; or PATH.in and PATH.out"),
    PROP_END
};

static const CharClass pipe_class = {
    .name = "chardev-pipe", .parent = TYPE_CHARDEV, .desc = "a pair of fifos", .size = sizeof(CharFile), .props = pipe_props,
    .backend_name = "pipe", .open = pipe_open, .close = file_close, .write = file_write, .set_reading = file_set_reading,
    .want_writable = file_want_writable,
};
REGISTER_OBJECT(pipe_class)
