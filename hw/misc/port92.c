/*
 * System control port A, port 0x92: bit 0 pulses CPU reset, bit 1 is the fast A20 gate. Source: 82371SB data sheet 2.5.11.
 */
#include "hw/misc/port92.h"

#include <hw/isa.h>

#include "system/machine.h"

#define PORT92_RESET 0x01
#define PORT92_A20   0x02

typedef struct Port92 {
    IsaDevice isa;
    uint8_t value;
    Irq *a20;
    MemoryRegion io;
} Port92;

#define PORT92(ptr) ((Port92 *)(ptr))

static uint64_t port92_read(void *opaque, uint64_t offset, unsigned size)
{
    return PORT92(opaque)->value;
}

static void port92_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Port92 *port = opaque;
    uint8_t old = port->value;
    port->value = value;
    if ((old ^ value) & PORT92_A20)
        irq_set(port->a20, value & PORT92_A20);
    if (~old & value & PORT92_RESET)
        machine_request_reset(port->isa.dev.machine, CAUSE_GUEST_RESET);
}

static const MemoryRegionOps port92_ops = { .read = port92_read, .write = port92_write, .min_access = 1, .max_access = 1 };

/* A20 comes up open: firmware expects all of memory at power-on, and an Intel chipset masks nothing before it is told to. */
static void port92_reset(Device *dev)
{
    Port92 *port = PORT92(dev);
    port->value = PORT92_A20;
    irq_set(port->a20, true);
}

static bool port92_realize(Device *dev, GError **err)
{
    Port92 *port = PORT92(dev);
    device_init_irq_out(dev, "a20", &port->a20, 1);
    memory_region_init_io(&port->io, OBJECT(port), dev->domain, &port92_ops, port, "port92", 1);
    isa_register_ioport(&port->isa, &port->io, 0x92);
    return true;
}

static void port92_unrealize(Device *dev) { memory_region_clear(&PORT92(dev)->io); }

static const StateField port92_state[] = { STATE_U8_(Port92, value), STATE_END };

static const IsaClass port92_class = {
    .name = TYPE_PORT92, .parent = TYPE_ISA_DEVICE, .desc = "system control port A", .size = sizeof(Port92),
    .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = port92_realize, .unrealize = port92_unrealize, .reset = port92_reset,
    .state = port92_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(port92_class)

Device *port92_create(Machine *machine, Bus *isa, GError **err)
{
    Device *dev = device_new(machine, TYPE_PORT92, err);
    return dev && device_realize(dev, isa, err) ? dev : NULL;
}
