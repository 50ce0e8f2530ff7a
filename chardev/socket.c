/*
 * Stream sockets: unix, tcp, or inherited descriptors; listening or connecting. One peer at a time; the next waits in the
 * listen queue. Descriptors that a unix peer passes along are kept for chardev_take_fd().
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

#include <rhea/timer.h>

#include "chardev/internal.h"
#include "chardev/sockaddr.h"
#include "chardev/telnet.h"
#include "util/exit-paths.h"
#include "util/named-fd.h"

#define READ_CHUNK 65536
#define MAX_FDS 16
/* A signal may come just before poll: look again after this. */
#define SIGNAL_LOOK_MS 100

typedef struct CharSocket {
    Chardev chr;
    /* options */
    char *path, *host, *port, *fd_text;
    bool server, wait, telnet, nodelay, abstract, tight;
    int ipv4, ipv6; /* OnOffAuto */
    uint32_t reconnect; /* s, 0: never */
    uint16_t to;
    /* state */
    int listeners[SOCK_MAX_LISTEN];
    FdWatch *listen_watches[SOCK_MAX_LISTEN];
    unsigned nr_listeners;
    int fd;              /* of the peer, -1 if none */
    FdWatch *watch;      /* input */
    FdWatch *out_watch;  /* room for output, or a connection under way */
    bool connecting;
    Timer *retry;
    BottomHalf *drop_bh; /* a write found the peer gone */
    int fds[MAX_FDS];    /* passed by the peer, not taken yet */
    unsigned nr_fds;
    Telnet telnet_state;
    char *address;       /* for messages and query-chardev */
} CharSocket;

static void start_accepting(CharSocket *s);
static void try_connect(void *opaque);

static SockOptions socket_options(const CharSocket *s)
{
    return (SockOptions){ .path = s->path, .abstract = s->abstract, .tight = s->tight, .host = s->host, .port = s->port,
        .to = s->to, .ipv4 = s->ipv4 == ON_OFF_AUTO_ON || s->ipv6 == ON_OFF_AUTO_OFF,
        .ipv6 = s->ipv6 == ON_OFF_AUTO_ON || s->ipv4 == ON_OFF_AUTO_OFF };
}

/* ---- a peer ---- */

static void drop_fds(CharSocket *s)
{
    for (unsigned i = 0; i < s->nr_fds; i++)
        close(s->fds[i]);
    s->nr_fds = 0;
}

static void close_peer(CharSocket *s)
{
    g_clear_pointer(&s->watch, fd_watch_free);
    g_clear_pointer(&s->out_watch, fd_watch_free);
    bh_cancel(s->drop_bh);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->connecting = false;
    drop_fds(s);
}

static void peer_gone(void *opaque)
{
    CharSocket *s = opaque;
    object_ref(OBJECT(s));
    close_peer(s);
    chardev_set_connected(&s->chr, false);
    if (s->server)
        start_accepting(s);
    else if (s->reconnect && s->retry)
        timer_mod(s->retry, domain_now(s->chr.domain, CLOCK_MONO) + s->reconnect * NS_PER_SEC);
    object_unref(OBJECT(s));
}

static void keep_fds(CharSocket *s, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            if (s->nr_fds < MAX_FDS)
                s->fds[s->nr_fds++] = fd;
            else
                close(fd);
        }
    }
}

static ssize_t receive(CharSocket *s, uint8_t *buf, size_t len)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = { buf, len };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
    ssize_t n = recvmsg(s->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n >= 0)
        keep_fds(s, &msg);
    return n;
}

static void peer_readable(int fd, GIOCondition events, void *opaque)
{
    CharSocket *s = opaque;
    size_t room = chardev_room(&s->chr);
    if (!room) {
        fd_watch_set_events(s->watch, 0);
        s->chr.reading = false;
        return;
    }
    static __thread uint8_t buf[READ_CHUNK];
    ssize_t n = receive(s, buf, MIN(room, sizeof(buf)));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        peer_gone(s);
        return;
    }
    if (s->telnet) {
        bool is_break = false;
        n = telnet_decode(&s->telnet_state, buf, n, &is_break);
        if (is_break)
            chardev_break(&s->chr);
    }
    if (n)
        chardev_input(&s->chr, buf, n);
}

static void set_peer(CharSocket *s, int fd)
{
    int one = 1;
    s->fd = fd;
    s->connecting = false;
    if (s->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    g_clear_pointer(&s->out_watch, fd_watch_free);
    s->watch = fd_watch_new(s->chr.domain, fd, 0, peer_readable, s);
    s->chr.reading = false;
    if (s->telnet) {
        size_t len;
        const uint8_t *hello = telnet_hello(&s->telnet_state, &len);
        if (send(fd, hello, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            bh_schedule(s->drop_bh);
    }
    chardev_set_connected(&s->chr, true);
    if (s->watch && !s->chr.reading)
        fd_watch_set_events(s->watch, G_IO_HUP);
}

static void peer_writable(int fd, GIOCondition events, void *opaque)
{
    CharSocket *s = opaque;
    if (!s->connecting) {
        fd_watch_set_events(s->out_watch, 0);
        chardev_writable(&s->chr);
        return;
    }
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error) {
        peer_gone(s);
        return;
    }
    set_peer(s, fd);
}

static size_t socket_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    CharSocket *s = (CharSocket *)chr;
    size_t done = 0;
    while (done < len && s->fd >= 0) {
        size_t part = len - done;
        bool iac = s->telnet && telnet_part(buf + done, &part);
        /* A telnet 0xff goes out doubled, both bytes or none. */
        ssize_t n = iac ? send(s->fd, "\xff\xff", 2, MSG_DONTWAIT | MSG_NOSIGNAL)
                        : send(s->fd, buf + done, part, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return done;
        if (n <= 0) {
            bh_schedule(s->drop_bh); /* not now: the writer is in the middle of something */
            return len;
        }
        done += iac ? 1 : (size_t)n;
    }
    return len;
}

static void socket_want_writable(Chardev *chr)
{
    CharSocket *s = (CharSocket *)chr;
    if (s->fd < 0)
        return;
    if (s->out_watch)
        fd_watch_set_events(s->out_watch, G_IO_OUT);
    else
        s->out_watch = fd_watch_new(chr->domain, s->fd, G_IO_OUT, peer_writable, s);
}

static void socket_set_reading(Chardev *chr, bool on)
{
    CharSocket *s = (CharSocket *)chr;
    if (s->watch)
        fd_watch_set_events(s->watch, on ? G_IO_IN : 0);
}

static int socket_take_fd(Chardev *chr)
{
    CharSocket *s = (CharSocket *)chr;
    if (!s->nr_fds)
        return -1;
    int fd = s->fds[0];
    memmove(s->fds, s->fds + 1, --s->nr_fds * sizeof(int));
    return fd;
}

/* ---- getting one ---- */

static void listener_readable(int listener, GIOCondition events, void *opaque)
{
    CharSocket *s = opaque;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    for (unsigned i = 0; i < s->nr_listeners; i++)
        if (s->listen_watches[i])
            fd_watch_set_events(s->listen_watches[i], 0);
    set_peer(s, fd);
}

static void start_accepting(CharSocket *s)
{
    for (unsigned i = 0; i < s->nr_listeners; i++)
        if (s->listen_watches[i])
            fd_watch_set_events(s->listen_watches[i], G_IO_IN);
        else
            s->listen_watches[i] = fd_watch_new(s->chr.domain, s->listeners[i], G_IO_IN, listener_readable, s);
}

/* Start-up with wait=on: nothing else happens until somebody connects. */
static bool accept_first(CharSocket *s, GError **err)
{
    report_info("waiting for a connection on %s", s->address);
    struct pollfd pfds[SOCK_MAX_LISTEN];
    for (unsigned i = 0; i < s->nr_listeners; i++)
        pfds[i] = (struct pollfd){ .fd = s->listeners[i], .events = POLLIN };
    while (s->fd < 0) {
        if (chardev_hooks()->interrupted && chardev_hooks()->interrupted()) {
            error_set(err, "ended by a signal while waiting for a connection");
            return false;
        }
        if (poll(pfds, s->nr_listeners, SIGNAL_LOOK_MS) <= 0)
            continue;
        for (unsigned i = 0; i < s->nr_listeners && s->fd < 0; i++)
            if (pfds[i].revents)
                listener_readable(pfds[i].fd, G_IO_IN, s);
    }
    return true;
}

static void try_connect(void *opaque)
{
    CharSocket *s = opaque;
    SockOptions o = socket_options(s);
    bool pending = false;
    g_autoptr(GError) error = NULL;
    int fd = sock_connect(&o, false, &pending, &error);
    if (fd < 0) {
        timer_mod(s->retry, domain_now(s->chr.domain, CLOCK_MONO) + s->reconnect * NS_PER_SEC);
    } else if (pending) {
        s->fd = fd;
        s->connecting = true;
        s->out_watch = fd_watch_new(s->chr.domain, fd, G_IO_OUT, peer_writable, s);
    } else {
        set_peer(s, fd);
    }
}

static bool check_options(CharSocket *s, GError **err)
{
    unsigned ways = !!s->path + !!(s->host || s->port) + !!s->fd_text;
    if (ways != 1) {
        error_set(err, ways ? "path=, host=/port= and fd= exclude each other" : "one of path=, host= with port=, fd= is missing");
        return false;
    }
    if ((s->host || s->port) && !s->port) {
        error_set(err, "port= is missing");
        return false;
    }
    if (s->server && s->reconnect) {
        error_set(err, "reconnect= is for clients, server=on waits for the next one anyway");
        return false;
    }
    Object *obj = OBJECT(s);
    if (!s->server && s->wait && object_was_given(obj, "wait")) {
        error_set(err, "wait= is for server=on");
        return false;
    }
    if (s->abstract && !s->path) {
        error_set(err, "abstract= is for path=");
        return false;
    }
    if (s->wait && s->server && chardev_hooks()->running && object_was_given(obj, "wait")) {
        error_set(err, "wait=true would stop the running machine; only wait=false is possible now");
        return false;
    }
    return true;
}

static bool adopt_fd(CharSocket *s, GError **err)
{
    int fd = fd_from_text(s->fd_text, err);
    if (fd < 0)
        return false;
    int listening = 0, type = 0;
    socklen_t len = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || type != SOCK_STREAM) {
        error_set(err, "fd=%s is not a stream socket", s->fd_text);
        return false;
    }
    len = sizeof(int);
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len);
    if (s->server != !!listening) {
        error_set(err, s->server ? "fd=%s is not a listening socket, as server=on needs"
                                 : "fd=%s is a listening socket, which needs server=on", s->fd_text);
        return false;
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    g_autofree char *local = sock_local_text(fd);
    s->address = g_strconcat(g_str_has_prefix(local, "unix:") ? "" : "tcp:", local, NULL);
    if (s->server)
        s->listeners[s->nr_listeners++] = fd;
    else
        set_peer(s, fd);
    return true;
}

static bool open_server(CharSocket *s, GError **err)
{
    if (!s->fd_text) {
        SockOptions o = socket_options(s);
        s->nr_listeners = sock_listen(&o, s->listeners, err);
        if (!s->nr_listeners)
            return false;
        g_autofree char *local = sock_local_text(s->listeners[0]);
        s->address = s->path ? sock_options_text(&o) : g_strconcat("tcp:", local, NULL);
        if (s->path && !s->abstract)
            exit_paths_add(s->path);
    }
    if (s->wait && !chardev_hooks()->running)
        return accept_first(s, err);
    start_accepting(s);
    return true;
}

static bool open_client(CharSocket *s, GError **err)
{
    SockOptions o = socket_options(s);
    s->address = sock_options_text(&o);
    if (s->reconnect) {
        s->retry = timer_new(s->chr.domain, CLOCK_MONO, try_connect, s);
        try_connect(s);
        return true;
    }
    bool pending;
    int fd = sock_connect(&o, true, &pending, err);
    if (fd < 0)
        return false;
    set_peer(s, fd);
    return true;
}

static bool socket_open(Chardev *chr, GError **err)
{
    CharSocket *s = (CharSocket *)chr;
    s->drop_bh = bh_new(chr->domain, peer_gone, s);
    if (!check_options(s, err) || (s->fd_text && !adopt_fd(s, err)))
        return false;
    if (s->server)
        return open_server(s, err);
    return s->fd_text ? true : open_client(s, err);
}

static void socket_close(Chardev *chr)
{
    CharSocket *s = (CharSocket *)chr;
    close_peer(s);
    for (unsigned i = 0; i < s->nr_listeners; i++) {
        g_clear_pointer(&s->listen_watches[i], fd_watch_free);
        close(s->listeners[i]);
    }
    if (s->nr_listeners && s->path && !s->abstract)
        exit_paths_unlink(s->path);
    s->nr_listeners = 0;
    g_clear_pointer(&s->retry, timer_free);
    g_clear_pointer(&s->drop_bh, bh_free);
    g_clear_pointer(&s->address, g_free);
}

static char *socket_filename(Chardev *chr)
{
    CharSocket *s = (CharSocket *)chr;
    g_autofree char *peer = s->fd >= 0 && !g_str_has_prefix(s->address, "unix:") ? sock_peer_text(s->fd) : NULL;
    return g_strdup_printf("%s%s%s%s%s", chr->connected ? "" : "disconnected:", s->address, s->server ? ",server=on" : "",
                           peer && chr->connected ? " <-> " : "", peer && chr->connected ? peer : "");
}

static void socket_init(Object *obj)
{
    ((CharSocket *)obj)->fd = -1;
}

static const Property socket_props[] = {
    PROP_STR("path", CharSocket, path, NULL, "UNIX socket"),
    PROP_STR("host", CharSocket, host, NULL, "address or name; empty: any"),
    PROP_STR("port", CharSocket, port, NULL, "TCP port or service"),
    PROP_STR("fd", CharSocket, fd_text, NULL, "inherited socket's number, or a name given to getfd"),
    PROP_BOOL("server", CharSocket, server, false, "listens instead of connecting"),
    PROP_BOOL("wait", CharSocket, wait, true, "with server=on: start-up waits for the first client"),
    PROP_U32("reconnect", CharSocket, reconnect, 0, 0, 86400, "seconds between attempts to connect, 0: none"),
    PROP_BOOL("nodelay", CharSocket, nodelay, false, "TCP_NODELAY"),
    PROP_BOOL("telnet", CharSocket, telnet, false, "telnet protocol"),
    PROP_BOOL("abstract", CharSocket, abstract, false, "path is a name in the abstract namespace"),
    PROP_BOOL("tight", CharSocket, tight, true, "an abstract name is not padded with zero bytes"),
    PROP_ONOFF("ipv4", CharSocket, ipv4, ON_OFF_AUTO_AUTO, "IPv4 addresses"),
    PROP_ONOFF("ipv6", CharSocket, ipv6, ON_OFF_AUTO_AUTO, "IPv6 addresses"),
    PROP_U16("to", CharSocket, to, 0, 0, 65535, "with server=on: last port to try"),
    PROP_END
};

static const CharClass socket_class = {
    .name = "chardev-socket", .parent = TYPE_CHARDEV, .desc = "UNIX or TCP socket", .size = sizeof(CharSocket),
    .props = socket_props, .init = socket_init, .backend_name = "socket", .open = socket_open, .close = socket_close,
    .write = socket_write, .set_reading = socket_set_reading, .want_writable = socket_want_writable,
    .take_fd = socket_take_fd, .filename = socket_filename,
};
REGISTER_OBJECT(socket_class)
