/*
 * Port 0x61, system control port B: gate and output of the interval timer's counter 2, speaker data, refresh toggle.
 *
 * Source: 82371SB (PIIX3) data sheet 2.5.5 (NMISC register). The speaker has no audio back end: it is silent. No parity or
 * channel check ever happens, so bits 6 and 7 read as 0.
 */
#include "hw/timer/i8254.h"

#include <hw/isa.h>

#include "system/machine.h"

#define PORT 0x61
#define COUNTER 2
#define REFRESH_NS 15085 /* half a period of the DRAM refresh request: 18 pulses of 1.193182 MHz */

typedef struct Pcspk {
    IsaDevice isa;
    Object *pit;
    uint8_t control;  /* bits 0-3 as written */
    MemoryRegion io;
} Pcspk;

#define PCSPK(ptr) ((Pcspk *)(ptr))

static uint64_t pcspk_read(void *opaque, uint64_t offset, unsigned size)
{
    Pcspk *spk = opaque;
    Device *pit = DEVICE(spk->pit);
    bool refresh = domain_now(spk->isa.dev.domain, CLOCK_GUEST) / REFRESH_NS & 1;
    return spk->control | (refresh ? 0x10 : 0) | (i8254_get_out(pit, COUNTER) ? 0x20 : 0);
}

static void pcspk_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Pcspk *spk = opaque;
    spk->control = value & 0x0f;
    i8254_set_gate(DEVICE(spk->pit), COUNTER, value & 1);
}

static const MemoryRegionOps pcspk_ops = { .read = pcspk_read, .write = pcspk_write, .min_access = 1, .max_access = 1 };

static void pcspk_reset(Device *dev)
{
    Pcspk *spk = PCSPK(dev);
    spk->control = 0;
    i8254_set_gate(DEVICE(spk->pit), COUNTER, false);
}

static bool pcspk_realize(Device *dev, GError **err)
{
    Pcspk *spk = PCSPK(dev);
    if (!spk->pit) {
        error_set(err, "isa-pcspk needs property pit, the interval timer that it listens to");
        return false;
    }
    memory_region_init_io(&spk->io, OBJECT(spk), dev->domain, &pcspk_ops, spk, "pcspk", 1);
    isa_register_ioport(&spk->isa, &spk->io, PORT);
    return true;
}

static void pcspk_unrealize(Device *dev) { memory_region_clear(&PCSPK(dev)->io); }

static const Property pcspk_props[] = {
    PROP_LINK("pit", Pcspk, pit, TYPE_I8254, "interval timer whose counter 2 makes the tone"),
    PROP_END
};

static const StateField pcspk_state[] = { STATE_U8_(Pcspk, control), STATE_END };

static const IsaClass pcspk_class = {
    .name = TYPE_PCSPK, .parent = TYPE_ISA_DEVICE, .desc = "PC speaker and system control port B", .size = sizeof(Pcspk),
    .props = pcspk_props, .category = DEV_SOUND, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = pcspk_realize, .unrealize = pcspk_unrealize, .reset = pcspk_reset,
    .state = pcspk_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(pcspk_class)

Device *pcspk_create(Machine *machine, Bus *isa, Device *pit, GError **err)
{
    Device *dev = device_new(machine, TYPE_PCSPK, err);
    if (!dev)
        return NULL;
    if (!object_set_link(OBJECT(dev), "pit", OBJECT(pit), err)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    return device_realize(dev, isa, err) ? dev : NULL;
}
