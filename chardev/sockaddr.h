/* Addresses of stream sockets as options write them. */
#pragma once

#include <rhea/base.h>

typedef struct SockOptions {
    const char *path;            /* unix */
    bool abstract, tight;
    const char *host, *port;     /* inet; host NULL: any */
    unsigned to;                 /* last port to try when listening, 0: port only */
    bool ipv4, ipv6;             /* both false: either */
} SockOptions;

#define SOCK_MAX_LISTEN 4

/* Listening descriptors, non-blocking. Returns their number, 0 on error. */
unsigned sock_listen(const SockOptions *o, int fds[SOCK_MAX_LISTEN], GError **err) WARN_UNUSED;
/*
 * A connected descriptor; with `wait` false a connection may still be under way (*pending): the descriptor becomes writable when it is
 * decided, SO_ERROR tells how.
 */
int sock_connect(const SockOptions *o, bool wait, bool *pending, GError **err) WARN_UNUSED;
/* "unix:PATH" or "tcp:HOST:PORT" of the options. (owned) */
char *sock_options_text(const SockOptions *o);
/* "unix:PATH" or "HOST:PORT" of one side of a descriptor. (owned) */
char *sock_local_text(int fd);
char *sock_peer_text(int fd);
