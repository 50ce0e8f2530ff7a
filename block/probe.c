/* Guessing an image's format by the signature at its start, for -drive without format=. */
#include "block/block-int.h"

#include <errno.h>
#include <string.h>

#define PROBE_BYTES 2048

/* Signatures of formats, from their own documents. */
static const struct {
    const char *format;
    unsigned offset, len;
    const char *bytes;
} signatures[] = {
    {"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
    {"qcow2", 0, 4, "QFI\xfb"},
    {"qed", 0, 4, "QED\0"},
    {"vmdk", 0, 4, "KDMV"},
    {"vmdk", 0, 4, "COWD"},
    {"vmdk", 0, 21, "# Disk DescriptorFile"},
    {"vhdx", 0, 8, "vhdxfile"},
    {"vpc", 0, 8, "conectix"},
    {"vdi", 64, 4, "\x7f\x10\xda\xbe"},
    {"luks", 0, 6, "LUKS\xba\xbe"},
    {"parallels", 0, 16, "WithoutFreeSpace"},
    {"parallels", 0, 16, "WithouFreSpacExt"},
    {"bochs", 0, 22, "Bochs Virtual HD Image"},
};

const char *block_foreign_format(const uint8_t *buf, size_t len)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(signatures); i++)
        if (signatures[i].offset + signatures[i].len <= len &&
            memcmp(buf + signatures[i].offset, signatures[i].bytes, signatures[i].len) == 0)
            return signatures[i].format;
    return NULL;
}

const BlockDriver *block_probe(BlockNode *protocol, GError **err)
{
    uint8_t buf[PROBE_BYTES];
    size_t len = MIN(protocol->length, sizeof(buf));
    int ret = len ? block_read_sync(protocol, 0, buf, len) : 0;
    if (ret < 0) {
        error_set_errno(err, -ret, "\"%s\" can't be read to find its format", protocol->filename);
        return NULL;
    }
    const BlockDriver *best = NULL;
    int best_score = 0;
    for (guint i = 0; i < block_graph.drivers->len; i++) {
        const BlockDriver *driver = (const BlockDriver *)block_graph.drivers->pdata[i];
        int score = driver->probe ? driver->probe(buf, len, protocol->filename) : 0;
        if (score > best_score) {
            best = driver;
            best_score = score;
        }
    }
    if (best)
        return best;
    const char *foreign = block_foreign_format(buf, len);
    if (foreign) {
        error_set(err, "\"%s\" is an image in the format \"%s\", which this version can't open; format=raw uses its bytes as they are",
                  protocol->filename, foreign);
        return NULL;
    }
    return block_find_driver("raw");
}
