/* Listening and connecting, over unix and internet stream sockets. */
#include "chardev/sockaddr.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 16

static bool unix_address(const SockOptions *o, struct sockaddr_un *sun, socklen_t *len, GError **err)
{
    size_t n = strlen(o->path), limit = sizeof(sun->sun_path) - (o->abstract ? 1 : 0);
    if (n > limit || !n) {
        error_set(err, "UNIX socket path '%s' is %s: 1 to %zu bytes are possible", o->path, n ? "too long" : "empty", limit);
        return false;
    }
    memset(sun, 0, sizeof(*sun));
    sun->sun_family = AF_UNIX;
    memcpy(sun->sun_path + (o->abstract ? 1 : 0), o->path, n);
    *len = sizeof(*sun);
    if (o->abstract && o->tight)
        *len = offsetof(struct sockaddr_un, sun_path) + 1 + n;
    return true;
}

static struct addrinfo *resolve(const SockOptions *o, bool passive, GError **err)
{
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_flags = passive ? AI_PASSIVE : AI_ADDRCONFIG,
        .ai_family = o->ipv4 && !o->ipv6 ? AF_INET : o->ipv6 && !o->ipv4 ? AF_INET6 : AF_UNSPEC,
    }, *list = NULL;
    const char *host = o->host && *o->host ? o->host : NULL;
    int rc = getaddrinfo(host, o->port, &hints, &list);
    if (rc == EAI_FAMILY || rc == EAI_NONAME || rc == EAI_ADDRFAMILY) {
        /* Without a network only loopback addresses exist, which AI_ADDRCONFIG hides. */
        hints.ai_flags &= ~AI_ADDRCONFIG;
        rc = getaddrinfo(host, o->port, &hints, &list);
    }
    if (rc) {
        error_set(err, "Can't find the address of '%s:%s': %s", host ? host : "", o->port, gai_strerror(rc));
        return NULL;
    }
    return list;
}

static int listen_at(int family, const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
    if (fd < 0)
        return -1;
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (bind(fd, sa, len) || listen(fd, BACKLOG)) {
        int saved = errno;
        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static unsigned listen_inet(const SockOptions *o, int fds[SOCK_MAX_LISTEN], GError **err)
{
    struct addrinfo *list = resolve(o, true, err);
    if (!list)
        return 0;
    unsigned n = 0;
    int last_error = 0;
    uint16_t first = 0;
    for (struct addrinfo *ai = list; ai && n < SOCK_MAX_LISTEN; ai = ai->ai_next) {
        in_port_t *port = ai->ai_family == AF_INET6 ? &((struct sockaddr_in6 *)ai->ai_addr)->sin6_port
                                                    : &((struct sockaddr_in *)ai->ai_addr)->sin_port;
        if (n && first)
            *port = htons(first); /* all families on the same port */
        unsigned base = ntohs(*port), end = n || !o->to ? base : o->to;
        int fd = -1;
        for (unsigned p = base; p <= end && fd < 0; p++) {
            *port = htons(p);
            fd = listen_at(ai->ai_family, ai->ai_addr, ai->ai_addrlen);
            last_error = fd < 0 ? errno : last_error;
        }
        if (fd < 0)
            continue;
        fds[n++] = fd;
        struct sockaddr_storage bound;
        socklen_t len = sizeof(bound);
        if (!getsockname(fd, (struct sockaddr *)&bound, &len))
            first = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                      : ((struct sockaddr_in *)&bound)->sin_port);
    }
    freeaddrinfo(list);
    if (!n) {
        g_autofree char *text = sock_options_text(o);
        error_set_errno(err, last_error, "Can't listen on '%s'", text);
    }
    return n;
}

unsigned sock_listen(const SockOptions *o, int fds[SOCK_MAX_LISTEN], GError **err)
{
    if (!o->path)
        return listen_inet(o, fds, err);
    struct sockaddr_un sun;
    socklen_t len;
    if (!unix_address(o, &sun, &len, err))
        return 0;
    if (!o->abstract)
        unlink(o->path); /* left by a process that is gone, as a restart needs */
    fds[0] = listen_at(AF_UNIX, (struct sockaddr *)&sun, len);
    if (fds[0] < 0) {
        error_set_errno(err, errno, "Can't listen on 'unix:%s'", o->path);
        return 0;
    }
    return 1;
}

/* A connection that returned EINPROGRESS, seen to its end. 0 or errno. */
static int await_connection(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLOUT };
    while (poll(&pfd, 1, -1) < 0)
        if (errno != EINTR)
            return errno;
    int error = 0;
    socklen_t len = sizeof(error);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
    return error;
}

static int connect_to(int family, const struct sockaddr *sa, socklen_t len, bool wait, bool *pending)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    *pending = false;
    if (!connect(fd, sa, len))
        return fd;
    int error = errno;
    if (error == EINPROGRESS && !wait) {
        *pending = true;
        return fd;
    }
    if (error == EINPROGRESS)
        error = await_connection(fd);
    if (!error)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

int sock_connect(const SockOptions *o, bool wait, bool *pending, GError **err)
{
    g_autofree char *text = sock_options_text(o);
    int fd = -1;
    if (o->path) {
        struct sockaddr_un sun;
        socklen_t len;
        if (!unix_address(o, &sun, &len, err))
            return -1;
        fd = connect_to(AF_UNIX, (struct sockaddr *)&sun, len, wait, pending);
    } else {
        struct addrinfo *list = resolve(o, false, err);
        if (!list)
            return -1;
        for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
            fd = connect_to(ai->ai_family, ai->ai_addr, ai->ai_addrlen, wait || ai->ai_next, pending);
        int saved = errno;
        freeaddrinfo(list);
        errno = saved;
    }
    if (fd < 0)
        error_set_errno(err, errno, "Can't connect to '%s'", text);
    return fd;
}

char *sock_options_text(const SockOptions *o)
{
    if (o->path)
        return g_strdup_printf("unix:%s%s", o->path, o->abstract ? ",abstract=on" : "");
    bool brackets = o->host && strchr(o->host, ':');
    return g_strdup_printf("tcp:%s%s%s:%s", brackets ? "[" : "", o->host ? o->host : "", brackets ? "]" : "", o->port);
}

static char *address_text(const struct sockaddr_storage *ss, socklen_t len)
{
    if (ss->ss_family == AF_UNIX) {
        const struct sockaddr_un *sun = (const struct sockaddr_un *)ss;
        if (len <= offsetof(struct sockaddr_un, sun_path))
            return g_strdup("unix:");
        if (!sun->sun_path[0])
            return g_strdup_printf("unix:%.*s,abstract=on", (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sun->sun_path + 1);
        return g_strdup_printf("unix:%.*s", (int)sizeof(sun->sun_path), sun->sun_path);
    }
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getnameinfo((const struct sockaddr *)ss, len, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
        return g_strdup("?");
    return g_strdup_printf(strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

char *sock_local_text(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    return getsockname(fd, (struct sockaddr *)&ss, &len) ? g_strdup("?") : address_text(&ss, len);
}

char *sock_peer_text(int fd)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    return getpeername(fd, (struct sockaddr *)&ss, &len) ? g_strdup("?") : address_text(&ss, len);
}
