/* Sizes as users write them. */
#pragma once

#include <rhea/base.h>

/*
 * "512M", "1.5G", "262144k", "0x10000": a number, with a fraction where a suffix follows, and a suffix B k K M G T P E (1024-based).
 * unit is the suffix of a bare number ('B' bytes, 'M' for -m). *out is in bytes. False for anything else, for what does not
 * fit 64 bits.
 */
bool size_parse(const char *text, char unit, uint64_t *out);
/* "512 MiB", "1.5 GiB" (owned) */
char *size_format(uint64_t bytes);
