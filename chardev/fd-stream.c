/* A byte stream over host descriptors, for the back ends that are little more than that. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chardev/internal.h"

#define READ_CHUNK 4096
/* A poll()ed pipe takes PIPE_BUF bytes without blocking, a terminal at least its low-water mark. */
#define PIPE_CHUNK 4096
#define TTY_CHUNK 256

static void stream_ended(FdStream *s)
{
    if (s->in_watch)
        fd_watch_set_events(s->in_watch, 0);
    if (s->on_eof)
        s->on_eof(s->chr);
}

static void stream_readable(int fd, GIOCondition events, void *opaque)
{
    FdStream *s = opaque;
    uint8_t buf[READ_CHUNK];
    size_t room = chardev_room(s->chr);
    if (!room) {
        fd_watch_set_events(s->in_watch, 0);
        s->chr->reading = false;
        return;
    }
    ssize_t n = read(fd, buf, MIN(room, sizeof(buf)));
    if (n > 0)
        chardev_input(s->chr, buf, n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        stream_ended(s);
}

static void stream_writable(int fd, GIOCondition events, void *opaque)
{
    FdStream *s = opaque;
    fd_watch_set_events(s->out_watch, 0);
    chardev_writable(s->chr);
}

void fd_stream_open(FdStream *s, Chardev *chr, int in, int out, void (*on_eof)(Chardev *chr))
{
    s->chr = chr;
    s->in = in;
    s->out = out;
    s->on_eof = on_eof;
    if (in >= 0)
        s->in_watch = fd_watch_new(chr->domain, in, 0, stream_readable, s);
}

void fd_stream_close(FdStream *s)
{
    if (!s->chr)
        return;
    g_clear_pointer(&s->in_watch, fd_watch_free);
    g_clear_pointer(&s->out_watch, fd_watch_free);
    if (!s->stay_open) {
        if (s->in >= 0)
            close(s->in);
        if (s->out >= 0 && s->out != s->in)
            close(s->out);
    }
    s->in = s->out = -1;
    s->chr = NULL;
}

void fd_stream_set_reading(FdStream *s, bool on)
{
    if (s->in_watch)
        fd_watch_set_events(s->in_watch, on ? G_IO_IN : 0);
}

void fd_stream_want_writable(FdStream *s)
{
    if (s->out < 0)
        return;
    if (s->out_watch)
        fd_watch_set_events(s->out_watch, G_IO_OUT);
    else
        s->out_watch = fd_watch_new(s->chr->domain, s->out, G_IO_OUT, stream_writable, s);
}

static size_t chunk_size(int fd)
{
    struct stat st;
    if (fstat(fd, &st))
        return TTY_CHUNK;
    return S_ISREG(st.st_mode) ? SIZE_MAX : S_ISFIFO(st.st_mode) ? PIPE_CHUNK : TTY_CHUNK;
}

size_t fd_stream_write(FdStream *s, const uint8_t *buf, size_t len)
{
    if (s->out < 0)
        return len;
    size_t done = 0, chunk = s->wait_out ? chunk_size(s->out) : SIZE_MAX;
    while (done < len) {
        if (s->wait_out && chunk != SIZE_MAX) {
            struct pollfd pfd = { .fd = s->out, .events = POLLOUT };
            if (poll(&pfd, 1, 0) == 0)
                break;
        }
        ssize_t n = write(s->out, buf + done, MIN(len - done, chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0)
            return len; /* the reader is gone or the disk is full: the line has no way to stop the guest */
        done += n;
    }
    return done;
}
