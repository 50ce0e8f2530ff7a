/*
 * Debug console: a port whose written bytes go to a character device. Firmware detects it by the value that it reads
 * there (SeaBIOS, Bochs: port 0xe9 reads 0xe9).
 */
#include <chardev/chardev.h>
#include <hw/isa.h>

#include "system/machine.h"

typedef struct Debugcon {
    IsaDevice isa;
    uint32_t iobase, readback;
    Chardev *chr;
    CharFrontend *fe;
    MemoryRegion io;
} Debugcon;

#define DEBUGCON(ptr) ((Debugcon *)(ptr))

static uint64_t debugcon_read(void *opaque, uint64_t offset, unsigned size)
{
    return DEBUGCON(opaque)->readback;
}

/* The port has no "busy": what the back end can't take now is kept for it. */
static void debugcon_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    uint8_t byte = value;
    chardev_write_all(DEBUGCON(opaque)->fe, &byte, 1);
}

static const MemoryRegionOps debugcon_ops = { .read = debugcon_read, .write = debugcon_write, .min_access = 1, .max_access = 1 };

static bool debugcon_realize(Device *dev, GError **err)
{
    Debugcon *d = DEBUGCON(dev);
    static const CharFrontendOps ops = { .can_read = NULL };
    if (!d->chr) {
        error_set(err, "isa-debugcon needs property chardev, the character device that the bytes go to");
        return false;
    }
    if (!isa_check_ports(&d->isa, d->iobase, 1, err))
        return false;
    d->fe = chardev_attach(d->chr, OBJECT(dev), &ops, d, err);
    if (!d->fe)
        return false;
    memory_region_init_io(&d->io, OBJECT(d), dev->domain, &debugcon_ops, d, "debugcon", 1);
    isa_register_ioport(&d->isa, &d->io, d->iobase);
    return true;
}

static void debugcon_unrealize(Device *dev)
{
    memory_region_clear(&DEBUGCON(dev)->io);
    g_clear_pointer(&DEBUGCON(dev)->fe, chardev_detach);
}

static const Property debugcon_props[] = {
    PROP_U32("iobase", Debugcon, iobase, 0xe9, 0, 0, "port"),
    PROP_U32("readback", Debugcon, readback, 0xe9, 0, 0, "what the port reads as"),
    PROP_CHARDEV("chardev", Debugcon, chr, 0, "id of the character device that the bytes go to"),
    PROP_END
};

static const IsaClass debugcon_class = {
    .name = "isa-debugcon", .parent = TYPE_ISA_DEVICE, .desc = "debug console port", .size = sizeof(Debugcon),
    .props = debugcon_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .no_hotplug = true,
    .realize = debugcon_realize, .unrealize = debugcon_unrealize,
};
REGISTER_ISA_DEVICE(debugcon_class)
