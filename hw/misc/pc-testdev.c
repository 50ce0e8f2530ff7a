/*
 * pc-testdev: ports and memory that bare-metal CPU tests use: a latch, a byte-wide view of it, a page flush, interrupt lines, and
 * a buffer that is always reached through the register path.
 *
 * Limits: the page flush asks the host to page the guest page out, which it may decline; contents never change.
 */
#include <hw/isa.h>
#include <string.h>
#include <sys/mman.h>

#include "system/machine.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

#define GSI_COUNT 24
#define BUFFER_BASE 0xff000000u
#define BUFFER_SIZE 0x10000u

typedef struct PcTestdev {
    IsaDevice isa;
    uint8_t latch[4];
    uint8_t *buffer;
    MemoryRegion latch_io, flush_io, bytes_io, irq_io, buffer_mmio;
} PcTestdev;

#define PC_TESTDEV(ptr) ((PcTestdev *)(ptr))

/* Little-endian bytes of a small array; what would lie behind its end reads as 0. */
static uint64_t read_bytes(const uint8_t *from, uint64_t offset, unsigned size, uint64_t limit)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size && offset + i < limit; i++)
        value |= (uint64_t)from[offset + i] << (8 * i);
    return value;
}

static void write_bytes(uint8_t *to, uint64_t offset, uint64_t value, unsigned size, uint64_t limit)
{
    for (unsigned i = 0; i < size && offset + i < limit; i++)
        to[offset + i] = value >> (8 * i);
}

static uint64_t latch_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_bytes(PC_TESTDEV(opaque)->latch, offset, size, 4);
}

static void latch_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_bytes(PC_TESTDEV(opaque)->latch, offset, value, size, 4);
}

static uint64_t zero_read(void *opaque, uint64_t offset, unsigned size) { return 0; }

static void flush_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;
    uint64_t page = value & ~0xfffull;
    MemView *view = address_space_view_ref(t->isa.dev.machine->mem);
    unsigned hint = 0;
    const MemRange *range = mem_view_find(view, page, &hint);
    if (range && range->mr->kind == MR_RAM) {
        uint64_t at = range->offset + (page - range->start);
        if (at + 4096 <= range->mr->ram->size) /* advice only: a host that declines changes nothing for the guest */
            (void)madvise(range->mr->ram->host + at, 4096, MADV_PAGEOUT);
    }
    mem_view_unref(view);
}

/* The line of a global system interrupt: ISA lines reach both controllers, the others the I/O APIC only. */
static void irq_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PcTestdev *t = opaque;
    bool ambiguous = false;
    if (offset < ISA_IRQS) {
        irq_set(isa_irq(&t->isa, offset), value & 1);
        return;
    }
    Object *ioapic = object_resolve("ioapic", &ambiguous);
    if (ioapic && !ambiguous)
        irq_set(device_irq_in(DEVICE(ioapic), NULL, offset), value & 1);
}

static uint64_t buffer_read(void *opaque, uint64_t offset, unsigned size)
{
    return read_bytes(PC_TESTDEV(opaque)->buffer, offset, size, BUFFER_SIZE);
}

static void buffer_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    write_bytes(PC_TESTDEV(opaque)->buffer, offset, value, size, BUFFER_SIZE);
}

static const MemoryRegionOps latch_ops = { .read = latch_read, .write = latch_write, .max_access = 4, .unaligned = true };
static const MemoryRegionOps bytes_ops = { .read = latch_read, .write = latch_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps flush_ops = { .read = zero_read, .write = flush_write, .min_access = 4, .max_access = 4, .valid_min = 4 };
static const MemoryRegionOps irq_ops = { .read = zero_read, .write = irq_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps buffer_ops = { .read = buffer_read, .write = buffer_write, .max_access = 8, .unaligned = true };

static void pc_testdev_reset(Device *dev)
{
    memset(PC_TESTDEV(dev)->latch, 0, 4);
}

static bool pc_testdev_realize(Device *dev, GError **err)
{
    PcTestdev *t = PC_TESTDEV(dev);
    const struct { MemoryRegion *mr; const MemoryRegionOps *ops; const char *name; uint16_t port; uint8_t size; } ports[] = {
        { &t->latch_io, &latch_ops, "pc-testdev-ioport", 0xe0, 4 },
        { &t->flush_io, &flush_ops, "pc-testdev-flush", 0xe4, 4 },
        { &t->bytes_io, &bytes_ops, "pc-testdev-ioport-byte", 0xe8, 4 },
        { &t->irq_io, &irq_ops, "pc-testdev-irq-line", 0x2000, GSI_COUNT },
    };
    t->buffer = g_malloc0(BUFFER_SIZE);
    for (unsigned i = 0; i < G_N_ELEMENTS(ports); i++) {
        memory_region_init_io(ports[i].mr, OBJECT(t), dev->domain, ports[i].ops, t, ports[i].name, ports[i].size);
        isa_register_ioport(&t->isa, ports[i].mr, ports[i].port);
    }
    memory_region_init_io(&t->buffer_mmio, OBJECT(t), dev->domain, &buffer_ops, t, "pc-testdev-iomem", BUFFER_SIZE);
    memory_region_add(&dev->machine->mem_root, BUFFER_BASE, &t->buffer_mmio, 1);
    return true;
}

static void pc_testdev_unrealize(Device *dev)
{
    PcTestdev *t = PC_TESTDEV(dev);
    MemoryRegion *all[] = { &t->latch_io, &t->flush_io, &t->bytes_io, &t->irq_io, &t->buffer_mmio };
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        memory_region_clear(all[i]);
}

/* Views of the memory map may use the buffer until the device goes. */
static void pc_testdev_finalize(Object *obj) { g_free(PC_TESTDEV(obj)->buffer); }

static const StateField pc_testdev_state[] = { STATE_BYTES_(PcTestdev, latch), STATE_END };

static const IsaClass pc_testdev_class = {
    .name = "pc-testdev", .parent = TYPE_ISA_DEVICE, .desc = "ports and memory for CPU tests", .size = sizeof(PcTestdev),
    .category = DEV_MISC, .bus = ISA_BUS_KIND, .no_hotplug = true, .finalize = pc_testdev_finalize,
    .realize = pc_testdev_realize, .unrealize = pc_testdev_unrealize, .reset = pc_testdev_reset,
    .state = pc_testdev_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(pc_testdev_class)
