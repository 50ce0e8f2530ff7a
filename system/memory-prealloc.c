/*
 * Touching memory ahead of use. MADV_POPULATE_WRITE (Linux 5.14) reports a lack of memory as an error; touching the pages,
 * which older kernels need, would be answered by a fatal signal, so these are refused.
 */
#include "system/memory-prealloc.h"

#include <errno.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

typedef struct {
    uint8_t *host;
    uint64_t size;
    int errnum;
} Part;

static gpointer populate(gpointer opaque)
{
    Part *part = opaque;
    int result;
    do {
        result = madvise(part->host, part->size, MADV_POPULATE_WRITE);
    } while (result && errno == EINTR);
    part->errnum = result ? errno : 0;
    return NULL;
}

bool memory_prealloc(uint8_t *host, uint64_t size, unsigned threads, GError **err)
{
    uint64_t step = ROUND_UP_TO(size / threads + 1, 2 * MIB);
    g_autofree Part *parts = g_new0(Part, threads);
    g_autofree GThread **running = g_new0(GThread *, threads);
    unsigned n = 0;
    for (uint64_t at = 0; at < size; at += step, n++)
        parts[n] = (Part){ .host = host + at, .size = MIN(step, size - at) };
    for (unsigned i = 1; i < n; i++)
        running[i] = g_thread_try_new("prealloc", populate, &parts[i], NULL);
    for (unsigned i = 0; i < n; i++)
        if (!running[i])
            populate(&parts[i]);
    int errnum = 0;
    for (unsigned i = 0; i < n; i++) {
        if (running[i])
            g_thread_join(running[i]);
        if (parts[i].errnum)
            errnum = parts[i].errnum;
    }
    if (!errnum)
        return true;
    if (errnum == EINVAL)
        error_set(err, "prealloc=on needs a host kernel of version 5.14 or newer");
    else
        error_set_errno(err, errnum, "can't get all of its %" PRIu64 " MiB now (prealloc=on)", (uint64_t)(size / MIB));
    return false;
}
