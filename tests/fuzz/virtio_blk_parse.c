/* virtio_blk_parse() on chains of any shape and content: what it accepts is inside the disk and inside the chain. */
#include "hw/block/virtio-blk.h"
#include "tests/fuzz/fuzz.h"

static uint64_t total(const struct iovec *iov, unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += iov[i].iov_len;
    return sum;
}

static bool is_inside(const struct iovec *part, const struct iovec *whole, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const char *base = whole[i].iov_base, *at = part->iov_base;
        if (at >= base && at + part->iov_len <= base + whole[i].iov_len)
            return true;
    }
    return false;
}

static void check(const VirtioBlkCmd *cmd, const VirtioBlkLimits *limits, const struct iovec *segs, unsigned n)
{
    if (cmd->type == VIRTIO_BLK_T_GET_ID)
        return;
    g_assert_cmpuint(cmd->offset, <=, limits->capacity);
    g_assert_cmpuint(cmd->bytes, <=, limits->capacity - cmd->offset);
    if (cmd->op != BLOCK_READ && cmd->op != BLOCK_WRITE)
        return;
    g_assert_cmpuint(total(cmd->data, cmd->n_data), ==, cmd->bytes);
    g_assert_cmpuint(cmd->bytes % limits->block_size, ==, 0);
    for (unsigned i = 0; i < cmd->n_data; i++)
        g_assert_true(is_inside(&cmd->data[i], segs, n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    VirtioBlkLimits limits = {
        .capacity = (fuzz_u64(&in) % (1ull << 40)) & ~511ull, .block_size = 512u << fuzz_u8(&in) % 4,
        .max_discard_sectors = 4194303, .max_write_zeroes_sectors = 1000, .discard = fuzz_u8(&in) & 1, .write_zeroes = true,
    };
    static uint8_t memory[1 << 16];
    struct iovec segs[32], before[32];
    VirtqElem elem = {.segs = segs};
    unsigned n_out = fuzz_u8(&in) % 12, n_in = fuzz_u8(&in) % 12;
    uint8_t *at = memory;
    for (unsigned i = 0; i < n_out + n_in; i++) {
        static const uint16_t sizes[] = {1, 15, 16, 17, 512, 511, 1024, 1};
        uint8_t pick = fuzz_u8(&in);
        uint16_t len = pick & 0x80 ? (uint16_t)(pick & 0x7f) + 1 : sizes[pick % 8];
        segs[i] = (struct iovec){at, len};
        fuzz_take(&in, at, MIN(len, 40));
        at += len;
        if (i < n_out)
            elem.out_bytes += len;
        else
            elem.in_bytes += len;
    }
    elem.n_out = (uint16_t)n_out;
    elem.n_in = (uint16_t)n_in;
    elem.out = segs;
    elem.in = segs + n_out;
    memcpy(before, segs, sizeof(segs));
    VirtioBlkCmd cmd;
    VirtioBlkVerdict verdict = virtio_blk_parse(&elem, &limits, &cmd);
    if (verdict != VIRTIO_BLK_MALFORMED) {
        g_assert_nonnull(cmd.status);
        g_assert_true(is_inside(&(struct iovec){cmd.status, 1}, before + n_out, n_in));
    }
    if (verdict == VIRTIO_BLK_PARSED)
        check(&cmd, &limits, before, n_out + n_in);
    return 0;
}
