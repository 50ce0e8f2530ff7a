/* What every fuzz target has, and a reader for its input. */
#pragma once

#include <rhea/base.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct FuzzInput {
    const uint8_t *data;
    size_t left;
} FuzzInput;

/* The next bytes, zeroes when there are no more. */
static inline void fuzz_take(FuzzInput *in, void *buf, size_t len)
{
    size_t part = MIN(len, in->left);
    memset(buf, 0, len);
    if (part)
        memcpy(buf, in->data, part);
    in->data += part;
    in->left -= part;
}

static inline uint8_t fuzz_u8(FuzzInput *in) { uint8_t v; fuzz_take(in, &v, 1); return v; }
static inline uint16_t fuzz_u16(FuzzInput *in) { uint16_t v; fuzz_take(in, &v, 2); return v; }
static inline uint32_t fuzz_u32(FuzzInput *in) { uint32_t v; fuzz_take(in, &v, 4); return v; }
static inline uint64_t fuzz_u64(FuzzInput *in) { uint64_t v; fuzz_take(in, &v, 8); return v; }
