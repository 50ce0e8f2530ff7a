/*
 * One 8237A DMA controller with the page registers of its channels. The PC has two: the second moves words, its registers are
 * two ports apart.
 *
 * Source: Intel 8237A data sheet (231466-005); 82371SB (PIIX3) data sheet 2.5.1 (page registers).
 * Limits: no device on this machine requests transfers, so the register file is all there is to see: memory to memory
 * transfers, which PCs do not wire, do not run.
 */
#include "hw/misc/i8257.h"

#include <hw/isa.h>
#include <string.h>

#include "system/machine.h"

#define CHANNELS 4
#define REG_COMMAND_STATUS 8
#define REG_REQUEST 9
#define REG_SINGLE_MASK 10
#define REG_MODE 11
#define REG_CLEAR_FLIPFLOP 12
#define REG_MASTER_CLEAR 13
#define REG_CLEAR_MASK 14
#define REG_MASK 15

typedef struct DmaChannel {
    uint16_t base[2], current[2]; /* address, count */
    uint8_t mode;
} DmaChannel;

typedef struct I8257 {
    IsaDevice isa;
    int32_t base, page_base, pageh_base, dshift;
    DmaChannel channel[CHANNELS];
    uint8_t command, status, mask, request;
    bool high_byte;               /* the flip-flop */
    uint8_t page[8], page_high[8];
    MemoryRegion channel_io, control_io, page_io, pageh_io;
} I8257;

#define I8257(ptr) ((I8257 *)(ptr))

static uint64_t channel_read(void *opaque, uint64_t offset, unsigned size)
{
    I8257 *d = opaque;
    unsigned reg = offset >> d->dshift;
    uint16_t value = d->channel[reg >> 1 & 3].current[reg & 1];
    bool high = d->high_byte;
    d->high_byte = !high;
    return high ? value >> 8 : value & 0xff;
}

static void channel_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8257 *d = opaque;
    unsigned reg = offset >> d->dshift;
    DmaChannel *c = &d->channel[reg >> 1 & 3];
    uint16_t *base = &c->base[reg & 1];
    *base = d->high_byte ? (*base & 0x00ff) | (value & 0xff) << 8 : (*base & 0xff00) | (value & 0xff);
    c->current[reg & 1] = *base;
    d->high_byte = !d->high_byte;
}

static void master_clear(I8257 *d)
{
    d->command = d->status = d->request = 0;
    d->mask = 0x0f;
    d->high_byte = false;
}

static uint64_t control_read(void *opaque, uint64_t offset, unsigned size)
{
    I8257 *d = opaque;
    switch (8 + (offset >> d->dshift)) {
    case REG_COMMAND_STATUS: {
        uint8_t value = d->status | d->request << 4;
        d->status = 0; /* terminal counts, cleared by reading */
        return value;
    }
    case REG_MASK: return d->mask | 0xf0;
    default: return 0;
    }
}

static void control_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8257 *d = opaque;
    uint8_t bit = 1u << (value & 3);
    switch (8 + (offset >> d->dshift)) {
    case REG_COMMAND_STATUS: d->command = value; break;
    case REG_REQUEST: d->request = value & 4 ? d->request | bit : d->request & ~bit; break;
    case REG_SINGLE_MASK: d->mask = value & 4 ? d->mask | bit : d->mask & ~bit; break;
    case REG_MODE: d->channel[value & 3].mode = value & 0xfc; break;
    case REG_CLEAR_FLIPFLOP: d->high_byte = false; break;
    case REG_MASTER_CLEAR: master_clear(d); break;
    case REG_CLEAR_MASK: d->mask = 0; break;
    case REG_MASK: d->mask = value & 0x0f; break;
    }
}

/* All eight are latches; which belongs to which channel matters to transfers only. Port 0x80 takes POST codes. */
static uint64_t page_read(void *opaque, uint64_t offset, unsigned size) { return I8257(opaque)->page[offset & 7]; }
static void page_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) { I8257(opaque)->page[offset & 7] = value; }
static uint64_t pageh_read(void *opaque, uint64_t offset, unsigned size) { return I8257(opaque)->page_high[offset & 7]; }
static void pageh_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8257(opaque)->page_high[offset & 7] = value;
}

static const MemoryRegionOps channel_ops = { .read = channel_read, .write = channel_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps control_ops = { .read = control_read, .write = control_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps page_ops = { .read = page_read, .write = page_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps pageh_ops = { .read = pageh_read, .write = pageh_write, .min_access = 1, .max_access = 1 };

static void i8257_reset(Device *dev)
{
    I8257 *d = I8257(dev);
    memset(d->channel, 0, sizeof d->channel);
    memset(d->page, 0, sizeof d->page);
    memset(d->page_high, 0, sizeof d->page_high);
    master_clear(d);
}

static bool i8257_realize(Device *dev, GError **err)
{
    I8257 *d = I8257(dev);
    const struct { MemoryRegion *mr; const MemoryRegionOps *ops; const char *name; int32_t port; unsigned size; } windows[] = {
        { &d->channel_io, &channel_ops, "dma-chan", d->base, 8u << d->dshift },
        { &d->control_io, &control_ops, "dma-cont", d->base + (8 << d->dshift), 8u << d->dshift },
        { &d->page_io, &page_ops, "dma-page", d->page_base, 8 },
        { &d->pageh_io, &pageh_ops, "dma-pageh", d->pageh_base, 8 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++)
        if (!isa_check_ports(&d->isa, windows[i].port, windows[i].size, err))
            return false;
    for (unsigned i = 0; i < G_N_ELEMENTS(windows); i++) {
        memory_region_init_io(windows[i].mr, OBJECT(d), dev->domain, windows[i].ops, d, windows[i].name, windows[i].size);
        isa_register_ioport(&d->isa, windows[i].mr, windows[i].port);
    }
    return true;
}

static void i8257_unrealize(Device *dev)
{
    I8257 *d = I8257(dev);
    MemoryRegion *all[] = { &d->channel_io, &d->control_io, &d->page_io, &d->pageh_io };
    for (unsigned i = 0; i < G_N_ELEMENTS(all); i++)
        memory_region_clear(all[i]);
}

static const Property i8257_props[] = {
    PROP_I32("base", I8257, base, 0x00, 0, 0xffff, "first port of the registers"),
    PROP_I32("page-base", I8257, page_base, 0x80, 0, 0xffff, "first port of the page registers"),
    PROP_I32("pageh-base", I8257, pageh_base, 0x480, 0, 0xffff, "first port of the high page registers"),
    PROP_I32("dshift", I8257, dshift, 0, 0, 1, "1: registers are two ports apart, transfers are of words"),
    PROP_END
};

static const StateField channel_state[] = {
    STATE_ARRAY_(DmaChannel, base, STATE_U16), STATE_ARRAY_(DmaChannel, current, STATE_U16), STATE_U8_(DmaChannel, mode),
    STATE_END
};

static const StateField i8257_state[] = {
    STATE_STRUCTS_(I8257, channel, channel_state), STATE_U8_(I8257, command), STATE_U8_(I8257, status),
    STATE_U8_(I8257, mask), STATE_U8_(I8257, request), STATE_BOOL_(I8257, high_byte), STATE_BYTES_(I8257, page),
    STATE_BYTES_(I8257, page_high),
    STATE_END
};

static const IsaClass i8257_class = {
    .name = TYPE_I8257, .parent = TYPE_ISA_DEVICE, .desc = "8237A DMA controller", .size = sizeof(I8257),
    .props = i8257_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = i8257_realize, .unrealize = i8257_unrealize, .reset = i8257_reset,
    .state = i8257_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(i8257_class)

Device *i8257_create(Machine *machine, Bus *isa, GError **err)
{
    Device *first = device_new(machine, TYPE_I8257, err);
    if (!first || !device_realize(first, isa, err))
        return NULL;
    Device *second = device_new(machine, TYPE_I8257, err);
    if (!second)
        return NULL;
    if (!object_set_uint(OBJECT(second), "base", 0xc0, err) || !object_set_uint(OBJECT(second), "page-base", 0x88, err) ||
        !object_set_uint(OBJECT(second), "pageh-base", 0x488, err) || !object_set_uint(OBJECT(second), "dshift", 1, err)) {
        object_unref(OBJECT(second));
        return NULL;
    }
    return device_realize(second, isa, err) ? first : NULL;
}
