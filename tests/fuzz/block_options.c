/* Options of nodes from any JSON: nesting and checking never fail in another way than with a sentence. */
#include "block/block-int.h"
#include "tests/fuzz/fuzz.h"

static const char *const words[] = {
    "driver", "file", "raw", "node-name", "file.driver", "file.filename", "cache.direct", "cache", "read-only", "a", ".", "a.b.c", "on",
    "off", "64k", "1.5G", "0x10", "-1", "99999999999999999999", "#x", "", "..", "file.file.file", "size", "offset", "true",
};

static json_object *make_value(FuzzInput *in, unsigned depth)
{
    uint8_t kind = fuzz_u8(in) % 7;
    if (kind < 2 && depth < 5) {
        json_object *object = json_object_new_object();
        for (unsigned n = fuzz_u8(in) % 4; n; n--)
            json_object_object_add(object, words[fuzz_u8(in) % G_N_ELEMENTS(words)], make_value(in, depth + 1));
        return object;
    }
    switch (kind) {
    case 2: return json_object_new_boolean(fuzz_u8(in) & 1);
    case 3: return json_object_new_int64((int64_t)fuzz_u64(in));
    case 4: return json_object_new_array();
    case 5: return NULL;
    default: return json_object_new_string(words[fuzz_u8(in) % G_N_ELEMENTS(words)]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    json_object *options = json_object_new_object();
    for (unsigned n = fuzz_u8(&in) % 6; n; n--)
        json_object_object_add(options, words[fuzz_u8(&in) % G_N_ELEMENTS(words)], make_value(&in, 0));
    json_object_object_add(options, "filename", json_object_new_string("/nonexistent/image"));
    GError *err = NULL;
    BlockNode *node = blockdev_add(options, &err);
    g_assert_true(!node && err && err->message[0]);
    g_clear_error(&err);
    g_assert_false(drive_add(options, &err));
    g_assert_true(err && err->message[0]);
    g_clear_error(&err);
    g_assert_true(!block_graph.nodes || !block_graph.nodes->len);
    json_object_put(options);
    return 0;
}
