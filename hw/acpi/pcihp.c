/*
 * ACPI PCI hot-plug controller of the root bus, see the header.
 */
#include "hw/acpi/pcihp.h"

#include "system/machine.h"

#define REG_UP 0x00
#define REG_DOWN 0x04
#define REG_EJECT 0x08
#define REG_REMOVABLE 0x0c
#define REG_SELECT 0x10
#define REG_INDEX 0x14

/* A slot can be ejected if everything in it was plugged by the user and is of a kind that can go. */
static bool slot_removable(const PciBus *bus, unsigned slot)
{
    for (unsigned fn = 0; fn < 8; fn++) {
        const PciDevice *pci = bus->devices[PCI_DEVFN(slot, fn)];
        if (pci && (!pci->dev.user_created || device_class(&pci->dev)->no_hotplug))
            return false;
    }
    return true;
}

static uint32_t removable_slots(const AcpiPciHotplug *hp)
{
    uint32_t mask = 0;

    for (unsigned slot = 0; slot < 32; slot++)
        if (slot_removable(hp->bus, slot))
            mask |= 1u << slot;
    return mask;
}

static void eject_slot(AcpiPciHotplug *hp, unsigned slot)
{
    hp->down &= ~(1u << slot);
    hp->up &= ~(1u << slot);
    if (!slot_removable(hp->bus, slot))
        return;
    for (unsigned fn = 8; fn-- > 0;) {
        PciDevice *pci = hp->bus->devices[PCI_DEVFN(slot, fn)];
        if (pci)
            device_unplug_complete(&pci->dev);
    }
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiPciHotplug *hp = opaque;
    uint32_t value;

    /* Bus 0 is the only one with hot-plug. */
    if (offset != REG_SELECT && hp->selector != 0)
        return 0;
    switch (offset) {
    case REG_UP:
        value = hp->up;
        hp->up = 0;
        return value;
    case REG_DOWN:
        return hp->down;
    case REG_REMOVABLE:
        return removable_slots(hp);
    case REG_SELECT:
        return hp->selector;
    case REG_INDEX: {
        const PciDevice *pci = hp->index_slot < 32 ? hp->bus->devices[PCI_DEVFN(hp->index_slot, 0)] : NULL;
        return pci ? pci->acpi_index : 0;
    }
    default:
        return 0;
    }
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiPciHotplug *hp = opaque;

    switch (offset) {
    case REG_EJECT:
        for (unsigned slot = 0; slot < 32 && hp->selector == 0; slot++)
            if (value >> slot & 1)
                eject_slot(hp, slot);
        break;
    case REG_SELECT:
        hp->selector = value;
        break;
    case REG_INDEX:
        hp->index_slot = value ? __builtin_ctz((uint32_t)value) : 32;
        break;
    default:
        break;
    }
}

static const MemoryRegionOps ports_ops = {
    .read = ports_read, .write = ports_write, .min_access = 4, .max_access = 4, .valid_min = 1, .valid_max = 4,
};

static void announce(void *opaque, PciDevice *pci)
{
    AcpiPciHotplug *hp = opaque;

    /* A guest looks at all functions of a slot when function 0 appears. */
    if (PCI_FUNC(pci->devfn) != 0)
        return;
    hp->up |= 1u << PCI_SLOT(pci->devfn);
    hp->notify(hp->owner);
}

static bool request(void *opaque, PciDevice *pci, GError **err)
{
    AcpiPciHotplug *hp = opaque;
    unsigned slot = PCI_SLOT(pci->devfn);

    if (!slot_removable(hp->bus, slot)) {
        error_set(err, "slot %u of bus %s has functions that can't be removed", slot, hp->bus->bus.obj.id);
        return false;
    }
    hp->down |= 1u << slot;
    hp->notify(hp->owner);
    return true;
}

void acpi_pcihp_init(AcpiPciHotplug *hp, Device *owner, PciBus *bus, void (*notify)(Device *owner))
{
    hp->owner = owner;
    hp->bus = bus;
    hp->notify = notify;
    memory_region_init_io(&hp->ports, OBJECT(owner), owner->domain, &ports_ops, hp, "acpi-pci-hotplug", ACPI_PCIHP_SIZE);
    bus->bus.hotpluggable = true;
    bus->hotplug_announce = announce;
    bus->hotplug_request = request;
    bus->hotplug_opaque = hp;
}

void acpi_pcihp_clear(AcpiPciHotplug *hp)
{
    hp->bus->bus.hotpluggable = false;
    hp->bus->hotplug_announce = NULL;
    hp->bus->hotplug_request = NULL;
    memory_region_clear(&hp->ports);
}

void acpi_pcihp_reset(AcpiPciHotplug *hp)
{
    for (unsigned slot = 0; slot < 32; slot++)
        if (hp->down >> slot & 1)
            eject_slot(hp, slot);
    hp->up = hp->down = hp->selector = hp->index_slot = 0;
}

const StateField acpi_pcihp_state[] = {
    STATE_U32_(AcpiPciHotplug, up), STATE_U32_(AcpiPciHotplug, down), STATE_U32_(AcpiPciHotplug, selector),
    STATE_U32_(AcpiPciHotplug, index_slot), STATE_END
};
