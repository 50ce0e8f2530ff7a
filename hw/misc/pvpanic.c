/*
 * pvpanic: a guest kernel that panics, or starts its crash kernel, says so. On ISA at port 0x505, on PCI in BAR 0.
 *
 * Source: "pvpanic device" in the specifications of the Linux driver and QEMU's documentation: reading gives the events
 * that are supported, writing a bit reports one.
 */
#include <hw/isa.h>
#include <hw/pci.h>
#include <json-c/json.h>

#include "monitor/events.h"
#include "system/machine.h"

#define PVPANIC_PANICKED 0x01
#define PVPANIC_CRASH_LOADED 0x02
#define PVPANIC_ALL (PVPANIC_PANICKED | PVPANIC_CRASH_LOADED)

/* The register, wherever it is mapped. */
typedef struct Pvpanic {
    Machine *machine;
    uint8_t events;
    MemoryRegion mr;
} Pvpanic;

typedef struct PvpanicIsa {
    IsaDevice isa;
    Pvpanic reg;
    uint16_t ioport;
} PvpanicIsa;

typedef struct PvpanicPci {
    PciDevice pci;
    Pvpanic reg;
} PvpanicPci;

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Pvpanic *)opaque)->events;
}

static void pvpanic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Pvpanic *reg = opaque;
    uint8_t reported = value & reg->events;
    if (reported & PVPANIC_PANICKED) {
        machine_request_panic(reg->machine);
    } else if (reported & PVPANIC_CRASH_LOADED) {
        json_object *data = json_object_new_object();
        json_object_object_add(data, "action", json_object_new_string("run"));
        qmp_event_emit("GUEST_CRASHLOADED", data);
    }
}

static const MemoryRegionOps pvpanic_ops = { .read = pvpanic_read, .write = pvpanic_write, .min_access = 1, .max_access = 1 };

static void init_register(Pvpanic *reg, Device *dev, uint64_t size)
{
    reg->machine = dev->machine;
    memory_region_init_io(&reg->mr, OBJECT(dev), dev->domain, &pvpanic_ops, reg, "pvpanic", size);
}

static bool pvpanic_isa_realize(Device *dev, GError **err)
{
    PvpanicIsa *p = (PvpanicIsa *)dev;
    if (!isa_check_ports(&p->isa, p->ioport, 1, err))
        return false;
    init_register(&p->reg, dev, 1);
    isa_register_ioport(&p->isa, &p->reg.mr, p->ioport);
    return true;
}

static void pvpanic_isa_unrealize(Device *dev) { memory_region_clear(&((PvpanicIsa *)dev)->reg.mr); }

static bool pvpanic_pci_realize(Device *dev, GError **err)
{
    PvpanicPci *p = (PvpanicPci *)dev;
    init_register(&p->reg, dev, 16);
    pci_register_bar(&p->pci, 0, PCI_BAR_MEM32, &p->reg.mr);
    return true;
}

static void pvpanic_pci_unrealize(Device *dev) { memory_region_clear(&((PvpanicPci *)dev)->reg.mr); }

static const Property pvpanic_isa_props[] = {
    PROP_U16("ioport", PvpanicIsa, ioport, 0x505, 0, 0, "port"),
    PROP_U8("events", PvpanicIsa, reg.events, PVPANIC_ALL, 0, PVPANIC_ALL, "events that a guest may report: 1 panic, 2 crash kernel"),
    PROP_END
};

static const Property pvpanic_pci_props[] = {
    PROP_U8("events", PvpanicPci, reg.events, PVPANIC_ALL, 0, PVPANIC_ALL, "events that a guest may report: 1 panic, 2 crash kernel"),
    PROP_END
};

static const IsaClass pvpanic_isa_class = {
    .name = "pvpanic", .parent = TYPE_ISA_DEVICE, .desc = "guest panic notification", .size = sizeof(PvpanicIsa),
    .props = pvpanic_isa_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .no_hotplug = true,
    .realize = pvpanic_isa_realize, .unrealize = pvpanic_isa_unrealize,
};
REGISTER_ISA_DEVICE(pvpanic_isa_class)

static const PciClass pvpanic_pci_class = {
    .name = "pvpanic-pci", .parent = TYPE_PCI_DEVICE, .desc = "guest panic notification", .size = sizeof(PvpanicPci),
    .props = pvpanic_pci_props, .category = DEV_MISC, .bus = PCI_BUS_KIND,
    .vendor_id = 0x1b36, .device_id = 0x0011, .class_id = 0x0880, .revision = 1,
    .realize = pvpanic_pci_realize, .unrealize = pvpanic_pci_unrealize,
};
REGISTER_PCI_DEVICE(pvpanic_pci_class)
