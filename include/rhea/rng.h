/*
 * Random number back ends (-object rng-builtin, rng-random): a device asks for bytes and is called back when there are some.
 */
#pragma once

#include <qom/object.h>
#include <rhea/loop.h>

#define TYPE_RNG_BACKEND "rng-backend"

typedef struct RngRequest RngRequest;

/*
 * bytes[len]: 1 <= len <= what was asked for; or len 0 with errnum, when the source failed. Called once, on the requester's
 * domain with its lock held, never from inside rng_request(). The request is gone when it is called.
 */
typedef void RngDoneFunc(void *opaque, const uint8_t *bytes, size_t len, int errnum);

/* Asks for up to max bytes (1 .. 64 KiB; more is cut). Domain locked. (owned by the back end; drop with rng_cancel) */
RngRequest *rng_request(Object *backend, Domain *domain, size_t max, RngDoneFunc *done, void *opaque);
/* done will not be called. Domain locked. */
void rng_cancel(RngRequest *request);

/* For new back ends: the table of a class derived from TYPE_RNG_BACKEND. */
typedef struct RngClass {
    OBJECT_CLASS_FIELDS;
    int (*poll_fd)(Object *backend);  /* to wait for G_IO_IN on, -1: always ready */
    /* Up to len bytes without blocking: their number, or -errno; -EAGAIN waits. Any thread, one at a time for each request. */
    ssize_t (*read)(Object *backend, void *buf, size_t len);
} RngClass;
