/* Touching memory ahead of use. */
#pragma once

#include <rhea/base.h>

/* All pages of [host, host+size) exist afterwards, contents unchanged; shared among threads (1..64). */
bool memory_prealloc(uint8_t *host, uint64_t size, unsigned threads, GError **err) WARN_UNUSED;
