/*
 * Both ring formats on memory of any content: what virtq_pop() yields lies in RAM and within the bounds, nothing loops, nothing leaks.
 * The input places rings, writes descriptors that are mostly plausible, and says what the device does.
 */
#include <hw/virtio.h>

#include "tests/fuzz/fuzz.h"

#define RAM_SIZE (1u << 20)
#define RINGS 0x10000u
#define HOLE 0x80000u /* a page that is not there */

static unsigned errors;

static void ignore_notify(VirtioDevice *vdev, Virtq *vq) {}
static void ignore_config(VirtioDevice *vdev) {}
static const VirtioTransport transport = {.notify_queue = ignore_notify, .notify_config = ignore_config};
static const VirtioClass klass = {.name = "fuzz-device"};

typedef struct Bench {
    VirtioDevice vdev;
    MemoryRegion root, low, high;
    RamBlock *ram;
} Bench;

static Bench *bench_get(void)
{
    static Bench *b;
    if (b)
        return b;
    b = g_new0(Bench, 1);
    b->vdev.dev.obj.klass = (const ObjectClass *)&klass;
    b->vdev.transport = &transport;
    b->vdev.dev.domain = domain_new("main", g_main_context_default());
    domain_lock(b->vdev.dev.domain);
    b->ram = ram_block_new("ram", RAM_SIZE, NULL);
    memory_region_init(&b->root, NULL, "root", UINT64_MAX);
    static MemoryRegion ram;
    memory_region_init_ram_block(&ram, NULL, "ram", b->ram);
    memory_region_init_alias(&b->low, NULL, "low", &ram, 0, HOLE);
    memory_region_init_alias(&b->high, NULL, "high", &ram, HOLE + 4096, RAM_SIZE - HOLE - 4096);
    memory_region_add(&b->root, 0, &b->low, 0);
    memory_region_add(&b->root, HOLE + 4096, &b->high, 0);
    b->vdev.as = address_space_new(&b->root, "fuzz");
    virtio_add_queue(&b->vdev, 64);
    return b;
}

static uint64_t pick_address(FuzzInput *in)
{
    switch (fuzz_u8(in) % 6) {
    case 0: return RINGS + fuzz_u16(in);
    case 1: return HOLE - fuzz_u8(in);
    case 2: return fuzz_u64(in);
    case 3: return RAM_SIZE - fuzz_u8(in);
    default: return 0x20000 + fuzz_u16(in);
    }
}

static uint32_t pick_length(FuzzInput *in)
{
    static const uint32_t lengths[] = {0, 1, 16, 32, 48, 512, 4096, 65536, UINT32_MAX, 16 * 65};
    uint8_t pick = fuzz_u8(in);
    return pick & 0x80 ? fuzz_u32(in) : lengths[pick % G_N_ELEMENTS(lengths)];
}

static void write_descs(Bench *b, FuzzInput *in, uint32_t at, unsigned n, bool packed)
{
    for (unsigned i = 0; i < n; i++) {
        uint8_t *d = b->ram->host + at + 16 * i, how = fuzz_u8(in);
        uint16_t flags = how & 0x40 ? fuzz_u16(in) : how & 7;
        st64(d, pick_address(in));
        st32(d + 8, pick_length(in));
        st16(d + 12, packed ? fuzz_u16(in) : flags);
        st16(d + 14, packed ? (uint16_t)(flags | 0x80) : how & 0x80 ? fuzz_u16(in) : i + 1);
    }
}

static void check_elem(const Bench *b, const VirtqElem *elem)
{
    g_assert_cmpuint(elem->n_out + elem->n_in, <=, VIRTQ_MAX_SEGMENTS);
    uint64_t sums[2] = {0, 0};
    for (unsigned i = 0; i < (unsigned)elem->n_out + elem->n_in; i++) {
        const uint8_t *p = elem->segs[i].iov_base;
        uint64_t len = elem->segs[i].iov_len;
        g_assert_true(len && p >= b->ram->host && p + len <= b->ram->host + RAM_SIZE);
        sums[i >= elem->n_out] += len;
    }
    g_assert_cmpuint(sums[0], ==, elem->out_bytes);
    g_assert_cmpuint(sums[1], ==, elem->in_bytes);
}

static void play(Bench *b, FuzzInput *in, Virtq *vq)
{
    VirtqElem elems[8];
    unsigned held = 0;
    for (unsigned step = 0; step < 100; step++) {
        uint8_t what = fuzz_u8(in);
        if (what % 4 < 2 && held < G_N_ELEMENTS(elems)) {
            if (virtq_pop(vq, &elems[held]))
                check_elem(b, &elems[held++]);
        } else if (held && what % 4 == 2) {
            unsigned i = what / 4 % held;
            if (what & 0x80 && i + 1 == held)
                virtq_unpop(vq, &elems[i]);
            else
                virtq_push(vq, &elems[i], fuzz_u32(in));
            held--;
            /* elements are not to be moved: swap by value only those without inline segments in use */
            if (i != held) {
                bool was_inline = elems[held].segs == elems[held].inline_segs;
                elems[i] = elems[held];
                if (was_inline)
                    elems[i].segs = elems[i].inline_segs;
                elems[i].out = elems[i].segs;
                elems[i].in = elems[i].segs + elems[i].n_out;
            }
        } else {
            virtq_set_doorbell(vq, what & 0x10);
            virtq_has_work(vq);
            virtq_notify(vq);
            /* the driver goes on */
            if (!vq->packed && vq->avail < RAM_SIZE - 4)
                st16(b->ram->host + vq->avail + 2, (uint16_t)(vq->last_avail + fuzz_u8(in) % 80));
        }
    }
    while (held)
        virtq_drop(vq, &elems[--held]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = {data, size};
    Bench *b = bench_get();
    VirtioDevice *vdev = &b->vdev;
    Virtq *vq = &vdev->vqs[0];
    uint8_t mode = fuzz_u8(&in);
    bool packed = mode & 1;
    virtq_reset(vq);
    memset(b->ram->host + RINGS, 0, 0x4000);
    vdev->status = VIRTIO_STATUS_DRIVER_OK;
    vdev->started = true;
    vdev->guest_features = VIRTIO_BIT(VIRTIO_F_VERSION_1) | (packed ? VIRTIO_BIT(VIRTIO_F_RING_PACKED) : 0) |
                           (mode & 2 ? VIRTIO_BIT(VIRTIO_F_EVENT_IDX) : 0) | (mode & 4 ? VIRTIO_BIT(VIRTIO_F_INDIRECT_DESC) : 0);
    vq->num = mode & 8 ? fuzz_u16(&in) : 16;
    vq->desc = mode & 16 ? pick_address(&in) : RINGS;
    vq->avail = mode & 32 ? pick_address(&in) : RINGS + 0x1000;
    vq->used = mode & 64 ? pick_address(&in) : RINGS + 0x2000;
    vq->enabled = true;
    write_descs(b, &in, RINGS, 16, packed);
    write_descs(b, &in, 0x20000, 8, packed);
    for (unsigned i = 0; i < 16; i++)
        st16(b->ram->host + RINGS + 0x1004 + 2 * i, fuzz_u8(&in) % 18);
    st16(b->ram->host + RINGS + 0x1002, fuzz_u8(&in) % 20);
    if (virtq_start(vq))
        play(b, &in, vq);
    else
        errors++;
    return 0;
}
