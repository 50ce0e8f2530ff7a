/*
 * Runs a fuzz target without a fuzzer: files given as arguments, else a short run over inputs made from a fixed seed. The same target
 * links with libFuzzer (-Dfuzzer): then this file is left out.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#define INPUT_MAX_BYTES 4096

/* Mostly structure, some noise: pieces that parsers care about, and repeats of what came before. */
static size_t make_input(GRand *rand, uint8_t *buf)
{
    static const uint64_t interesting[] = {0, 1, 2, 3, 4, 8, 11, 13, 15, 16, 17, 512, 4096, 0x7fffffff, 0xffffffff, 0x10000,
                                           UINT64_MAX, 1ull << 63, 0x80, 0x81, 0x8080};
    size_t size = (size_t)g_rand_int_range(rand, 0, g_rand_boolean(rand) ? 200 : INPUT_MAX_BYTES), at = 0;
    while (at < size) {
        uint64_t value = g_rand_int_range(rand, 0, 3) ? interesting[g_rand_int_range(rand, 0, G_N_ELEMENTS(interesting))]
                                                      : (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand);
        size_t part = 1u << g_rand_int_range(rand, 0, 4);
        part = MIN(part, size - at);
        if (at >= 64 && g_rand_int_range(rand, 0, 6) == 0) {
            part = MIN(size - at, 16);
            memcpy(buf + at, buf + g_rand_int_range(rand, 0, (gint32)(at - 16)), part);
        } else {
            memcpy(buf + at, &value, MIN(part, sizeof(value)));
        }
        at += part;
    }
    return size;
}

static void run_file(const char *path)
{
    g_autofree char *data = NULL;
    gsize size;
    g_autoptr(GError) err = NULL;
    if (!g_file_get_contents(path, &data, &size, &err))
        g_error("%s", err->message);
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        run_file(argv[i]);
    if (argc > 1)
        return 0;
    const char *rounds = g_getenv("RHEA_FUZZ_ROUNDS"), *seed = g_getenv("RHEA_FUZZ_SEED");
    GRand *rand = g_rand_new_with_seed(seed ? (guint32)atoi(seed) : 1);
    int n = rounds ? atoi(rounds) : 20000;
    for (int i = 0; i < n; i++) {
        uint8_t buf[INPUT_MAX_BYTES] = {0};
        size_t size = make_input(rand, buf);
        /* a copy of exact size, so that reads beyond it are seen by the sanitizer */
        uint8_t *copy = g_malloc(MAX(size, 1));
        memcpy(copy, buf, size);
        LLVMFuzzerTestOneInput(copy, size);
        g_free(copy);
    }
    g_rand_free(rand);
    return 0;
}
