/* Reading and writing a ringbuf's bytes from QMP. Main domain locked. */
#pragma once

#include <rhea/base.h>

bool ringbuf_write(const char *id, const uint8_t *buf, size_t len, GError **err) WARN_UNUSED;
/* At most max bytes, removed from the buffer. (owned) */
GByteArray *ringbuf_read(const char *id, size_t max, GError **err) WARN_UNUSED;
