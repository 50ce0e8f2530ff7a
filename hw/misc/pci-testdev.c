/*
 * pci-testdev: counts writes to a register in a memory or I/O BAR, with and without a doorbell, for measuring exits.
 *
 * Each of BAR 0 and BAR 1 opens with a header; writing its first byte selects a test, whose other fields then say what to write
 * where. Source: QEMU's documentation, "QEMU pci test device".
 */
#include <hw/pci.h>
#include <string.h>

#include "system/machine.h"

#define MEM_SIZE 4096
#define IO_SIZE 256
#define HIT_OFFSET 0x80 /* of the register to be written, in both BARs */
#define HIT_DATA 0xfa
#define HIT_WIDTH 1

typedef enum { TEST_PLAIN, TEST_DOORBELL, TEST_DOORBELL_MATCH, TESTS } TestKind;
static const char *const test_names[2][TESTS] = {
    { "mmio-no-eventfd", "mmio-wildcard-eventfd", "mmio-datamatch-eventfd" },
    { "portio-no-eventfd", "portio-wildcard-eventfd", "portio-datamatch-eventfd" },
};

/* As it lies in the BAR. */
typedef struct TestHeader {
    uint8_t test, width, pad[2];
    uint32_t offset, data, count;
    char name[32];
} TestHeader;

typedef struct TestBar {
    MemoryRegion mr;
    TestHeader header;
    BottomHalf *bh;
    int current;       /* TestKind, -1: none */
    const char *const *names;
} TestBar;

typedef struct PciTestdev {
    PciDevice pci;
    TestBar bar[2];
    uint64_t membar;
    MemoryRegion extra;
} PciTestdev;

#define PCI_TESTDEV(ptr) ((PciTestdev *)(ptr))

static void doorbell_rang(void *opaque)
{
    ((TestBar *)opaque)->header.count++;
}

static void select_test(TestBar *bar, int test)
{
    bool match = bar->current == TEST_DOORBELL_MATCH;
    if (bar->current > TEST_PLAIN)
        memory_region_remove_notifier(&bar->mr, HIT_OFFSET, HIT_WIDTH, match, match ? HIT_DATA : 0);
    bar->header = (TestHeader){ .test = test };
    bar->current = test < TESTS ? test : -1;
    if (bar->current < 0)
        return; /* width 0: no such test */
    bar->header.width = HIT_WIDTH;
    bar->header.offset = HIT_OFFSET;
    bar->header.data = HIT_DATA;
    g_strlcpy(bar->header.name, bar->names[test], sizeof bar->header.name);
    if (test == TEST_PLAIN)
        return;
    match = test == TEST_DOORBELL_MATCH;
    MemNotifier notifier = {
        .offset = HIT_OFFSET, .size = HIT_WIDTH, .match = match, .data = match ? HIT_DATA : 0, .bh = bar->bh, .eventfd = -1,
    };
    memory_region_add_notifier(&bar->mr, &notifier);
}

static uint64_t testdev_read(void *opaque, uint64_t offset, unsigned size)
{
    TestBar *bar = opaque;
    uint64_t value = 0;
    if (offset < sizeof bar->header)
        memcpy(&value, (const uint8_t *)&bar->header + offset, MIN(size, sizeof bar->header - offset));
    return value;
}

static void testdev_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    TestBar *bar = opaque;
    if (offset == 0)
        select_test(bar, value & 0xff);
    else if (bar->current >= 0 && offset == HIT_OFFSET && size == HIT_WIDTH && value == HIT_DATA)
        bar->header.count++;
}

static const MemoryRegionOps testdev_ops = { .read = testdev_read, .write = testdev_write, .min_access = 1, .max_access = 4 };

static uint64_t extra_read(void *opaque, uint64_t offset, unsigned size) { return 0; }
static void extra_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) {}
static const MemoryRegionOps extra_ops = { .read = extra_read, .write = extra_write, .max_access = 8 };

static void testdev_reset(Device *dev)
{
    select_test(&PCI_TESTDEV(dev)->bar[0], TESTS);
    select_test(&PCI_TESTDEV(dev)->bar[1], TESTS);
}

static bool testdev_realize(Device *dev, GError **err)
{
    PciTestdev *t = PCI_TESTDEV(dev);
    if (t->membar & (t->membar - 1) || (t->membar && t->membar < 4096)) {
        error_set(err, "pci-testdev: membar size %" PRIu64 " is not a power of two of at least 4096", t->membar);
        return false;
    }
    for (unsigned i = 0; i < 2; i++) {
        TestBar *bar = &t->bar[i];
        bar->names = test_names[i];
        bar->current = -1;
        bar->bh = bh_new(dev->domain, doorbell_rang, bar);
        memory_region_init_io(&bar->mr, OBJECT(t), dev->domain, &testdev_ops, bar, i ? "pci-testdev-portio" : "pci-testdev-mmio",
                              i ? IO_SIZE : MEM_SIZE);
        pci_register_bar(&t->pci, i, i ? PCI_BAR_IO : PCI_BAR_MEM32, &bar->mr);
    }
    if (t->membar) {
        memory_region_init_io(&t->extra, OBJECT(t), dev->domain, &extra_ops, t, "pci-testdev-membar", t->membar);
        pci_register_bar(&t->pci, 2, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &t->extra);
    }
    return true;
}

static void testdev_unrealize(Device *dev)
{
    PciTestdev *t = PCI_TESTDEV(dev);
    testdev_reset(dev);
    for (unsigned i = 0; i < 2; i++) {
        memory_region_clear(&t->bar[i].mr);
        g_clear_pointer(&t->bar[i].bh, bh_free);
    }
    if (t->membar)
        memory_region_clear(&t->extra);
}

static const Property testdev_props[] = {
    PROP_SIZE("membar", PciTestdev, membar, 0, "size of a 64-bit memory BAR 2; 0: none"),
    PROP_END
};

static const PciClass testdev_class = {
    .name = "pci-testdev", .parent = TYPE_PCI_DEVICE, .desc = "test device that counts register writes", .size = sizeof(PciTestdev),
    .props = testdev_props, .category = DEV_MISC, .bus = PCI_BUS_KIND,
    .vendor_id = 0x1b36, .device_id = 0x0005, .class_id = 0x00ff,
    .realize = testdev_realize, .unrealize = testdev_unrealize, .reset = testdev_reset,
};
REGISTER_PCI_DEVICE(testdev_class)
