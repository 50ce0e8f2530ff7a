/*
 * The ISA bus: a place for ports, low memory windows and sixteen interrupt lines.
 */
#include <hw/isa.h>

#include "system/machine.h"

void isa_register_ioport(IsaDevice *isa, MemoryRegion *mr, uint16_t base)
{
    memory_region_add(isa_device_bus(isa)->io, base, mr, 0);
}

void isa_register_mem(IsaDevice *isa, MemoryRegion *mr, uint64_t base)
{
    memory_region_add(isa_device_bus(isa)->mem, base, mr, 0);
}

Irq *isa_irq(IsaDevice *isa, unsigned n)
{
    g_assert(n < ISA_IRQS);
    return isa_device_bus(isa)->irqs[n];
}

bool isa_check_irq(IsaDevice *isa, uint32_t irq, GError **err)
{
    if (irq < ISA_IRQS)
        return true;
    error_set(err, "%s: irq %u is not an ISA interrupt line (0..15)", object_type_name(OBJECT(isa)), irq);
    return false;
}

bool isa_check_ports(IsaDevice *isa, uint32_t base, uint32_t size, GError **err)
{
    if (size && base < 0x10000 && size <= 0x10000 - base)
        return true;
    error_set(err, "%s: %u ports from 0x%x are outside the ports 0..0xffff", object_type_name(OBJECT(isa)), size, base);
    return false;
}

IsaBus *isa_bus_new(Machine *machine, Device *bridge, MemoryRegion *mem, MemoryRegion *io)
{
    IsaBus *bus = ISA_BUS(bus_new(machine, TYPE_ISA_BUS, bridge, "isa.0"));

    bus->mem = mem;
    bus->io = io;
    return bus;
}

void isa_bus_set_irqs(IsaBus *bus, Irq *const irqs[ISA_IRQS])
{
    memcpy(bus->irqs, irqs, sizeof(bus->irqs));
}

static bool find_isa_bus(Object *obj, void *opaque)
{
    if (!object_is_a(obj, TYPE_ISA_BUS))
        return true;
    *(IsaBus **)opaque = ISA_BUS(obj);
    return false;
}

IsaBus *isa_machine_bus(Machine *machine)
{
    IsaBus *bus = NULL;

    object_foreach(&machine->obj, find_isa_bus, &bus);
    return bus;
}

static const BusClass isa_bus_class = {
    .name = TYPE_ISA_BUS, .parent = TYPE_BUS, .desc = "ISA bus", .size = sizeof(IsaBus), .kind = ISA_BUS_KIND,
};
REGISTER_OBJECT(isa_bus_class)

static const IsaClass isa_device_class = {
    .name = TYPE_ISA_DEVICE, .parent = TYPE_DEVICE, .desc = "ISA device", .size = sizeof(IsaDevice), .abstract = true,
    .bus = ISA_BUS_KIND,
};
REGISTER_OBJECT(isa_device_class)
