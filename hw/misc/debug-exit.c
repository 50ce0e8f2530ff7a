/* A write of `value` ends the process with status (value << 1) | 1: how bare-metal tests report. */
#include <hw/isa.h>

#include "system/machine.h"

typedef struct DebugExit {
    IsaDevice isa;
    uint32_t iobase, iosize;
    MemoryRegion io;
} DebugExit;

#define DEBUG_EXIT(ptr) ((DebugExit *)(ptr))

static uint64_t debug_exit_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

static void debug_exit_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    machine_request_exit(DEBUG_EXIT(opaque)->isa.dev.machine, (int)(((uint32_t)value << 1 | 1) & 0xff));
}

static const MemoryRegionOps debug_exit_ops = {
    .read = debug_exit_read, .write = debug_exit_write, .min_access = 1, .max_access = 4, .valid_min = 1, .valid_max = 4,
};

static bool debug_exit_realize(Device *dev, GError **err)
{
    DebugExit *d = DEBUG_EXIT(dev);
    if (!isa_check_ports(&d->isa, d->iobase, d->iosize, err))
        return false;
    memory_region_init_io(&d->io, OBJECT(d), dev->domain, &debug_exit_ops, d, "isa-debug-exit", d->iosize);
    isa_register_ioport(&d->isa, &d->io, d->iobase);
    return true;
}

static void debug_exit_unrealize(Device *dev) { memory_region_clear(&DEBUG_EXIT(dev)->io); }

static const Property debug_exit_props[] = {
    PROP_U32("iobase", DebugExit, iobase, 0x501, 0, 0, "first port"),
    PROP_U32("iosize", DebugExit, iosize, 2, 1, 0x10000, "number of ports"),
    PROP_END
};

static const IsaClass debug_exit_class = {
    .name = "isa-debug-exit", .parent = TYPE_ISA_DEVICE, .desc = "ends the emulator with a status", .size = sizeof(DebugExit),
    .props = debug_exit_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .no_hotplug = true,
    .realize = debug_exit_realize, .unrealize = debug_exit_unrealize,
};
REGISTER_ISA_DEVICE(debug_exit_class)
