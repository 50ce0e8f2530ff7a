/*
 * A PCI bus: addresses, plugging, configuration cycles, INTx routing, hot-plug hand-over.
 *
 * Source: PCI Local Bus Specification 3.0 §3.2.2.3, §6.
 */
#include "hw/pci/pci-internal.h"

#include "system/machine.h"

static bool address_is_free(PciBus *bus, PciDevice *pci, GError **err)
{
    PciDevice *first = bus->devices[pci->devfn & ~7];
    unsigned slot = PCI_SLOT(pci->devfn), fn = PCI_FUNC(pci->devfn);
    PciDevice *there = bus->devices[pci->devfn];

    if (there) {
        error_set(err, "address %02x.%x of bus %s is taken by %s (%s)", slot, fn, bus->bus.obj.id,
                  object_type_name(OBJECT(there)), there->dev.id_str ? there->dev.id_str : "no id");
        return false;
    }
    if (fn && first && !first->multifunction) {
        error_set(err, "%s can't be function %02x.%x: function 0 of that slot is %s without multifunction=on",
                  object_type_name(OBJECT(pci)), slot, fn, object_type_name(OBJECT(first)));
        return false;
    }
    for (unsigned i = 1; fn == 0 && !pci->multifunction && i < 8; i++) {
        if (bus->devices[pci->devfn + i]) {
            error_set(err, "%s at %02x.0 needs multifunction=on because %02x.%x is in use",
                      object_type_name(OBJECT(pci)), slot, slot, i);
            return false;
        }
    }
    return true;
}

/* The guest learns it from the hot-plug controller, and each device needs its own. */
static bool acpi_index_is_free(const PciBus *bus, const PciDevice *pci, GError **err)
{
    if (!pci->acpi_index)
        return true;
    if (!bus->hotplug_announce || PCI_FUNC(pci->devfn)) {
        error_set(err, "%s: acpi-index is for function 0 of slots with ACPI PCI hot-plug", object_type_name(OBJECT(pci)));
        return false;
    }
    for (unsigned devfn = 0; devfn < 256; devfn++) {
        if (bus->devices[devfn] && bus->devices[devfn]->acpi_index == pci->acpi_index) {
            error_set(err, "%s: acpi-index %u is taken by the device at %02x.%x", object_type_name(OBJECT(pci)), pci->acpi_index,
                      PCI_SLOT(devfn), PCI_FUNC(devfn));
            return false;
        }
    }
    return true;
}

static bool choose_address(PciBus *bus, PciDevice *pci, GError **err)
{
    if (pci->devfn >= 0)
        return address_is_free(bus, pci, err);
    for (unsigned devfn = bus->first_free; devfn < 256; devfn += 8) {
        bool empty = true;
        for (unsigned fn = 0; fn < 8; fn++)
            empty &= bus->devices[devfn + fn] == NULL;
        if (empty) {
            pci->devfn = devfn;
            return true;
        }
    }
    error_set(err, "bus %s has no free slot for %s", bus->bus.obj.id, object_type_name(OBJECT(pci)));
    return false;
}

static void fill_header(PciDevice *pci)
{
    const PciClass *klass = pci_class(pci);

    st16(pci->config + PCI_VENDOR_ID, klass->vendor_id);
    st16(pci->config + PCI_DEVICE_ID, klass->device_id);
    pci->config[PCI_REVISION_ID] = klass->revision;
    pci->config[PCI_PROG_IF] = klass->prog_if;
    st16(pci->config + PCI_CLASS_DEVICE, klass->class_id);
    pci->config[PCI_HEADER_TYPE] = (klass->is_bridge ? 1 : 0) | (pci->multifunction ? PCI_HEADER_MULTIFUNCTION : 0);
    if (!klass->is_bridge) {
        bool own = klass->subsystem_vendor_id || klass->subsystem_id;
        st16(pci->config + PCI_SUBSYSTEM_VENDOR_ID, own ? klass->subsystem_vendor_id : PCI_SUBVENDOR_DEFAULT);
        st16(pci->config + PCI_SUBSYSTEM_ID, own ? klass->subsystem_id : PCI_SUBDEVICE_DEFAULT);
    }
    st16(pci->wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
         PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    pci->wmask[PCI_CACHE_LINE_SIZE] = 0xff;
    pci->wmask[PCI_LATENCY_TIMER] = klass->is_bridge ? 0xf8 : 0;
    pci->wmask[PCI_INTERRUPT_LINE] = 0xff;
    /* Error bits of the status register: nothing sets them, a write of 1 is accepted. */
    st16(pci->w1cmask + PCI_STATUS, 0xf900);
}

static void pci_bus_unplug(Bus *base, Device *dev)
{
    PciBus *bus = PCI_BUS(base);
    PciDevice *pci = PCI_DEVICE(dev);

    pci_set_irq(pci, false);
    memory_transaction_begin();
    for (unsigned n = 0; n < G_N_ELEMENTS(pci->bars); n++)
        if (pci->bars[n].mr)
            memory_region_remove(pci->bars[n].mr);
    pci_rom_unload(pci);
    msix_unmap(pci);
    memset(pci->bars, 0, sizeof(pci->bars));
    memory_transaction_commit();
    address_space_free(g_steal_pointer(&pci->dma_space));
    memory_region_clear(&pci->dma_alias);
    memory_region_clear(&pci->dma_root);
    bus->devices[pci->devfn] = NULL;
}

static bool pci_bus_plug(Bus *base, Device *dev, GError **err)
{
    PciBus *bus = PCI_BUS(base);
    PciDevice *pci = PCI_DEVICE(dev);

    if (!choose_address(bus, pci, err) || !acpi_index_is_free(bus, pci, err))
        return false;
    pci->config_size = PCI_CONFIG_SIZE;
    pci->config = g_malloc0(pci->config_size);
    pci->wmask = g_malloc0(pci->config_size);
    pci->w1cmask = g_malloc0(pci->config_size);
    fill_header(pci);

    memory_region_init(&pci->dma_root, OBJECT(pci), "bus-master", UINT64_MAX);
    memory_region_init_alias(&pci->dma_alias, OBJECT(pci), "bus-master-memory", &dev->machine->mem_root, 0, UINT64_MAX);
    memory_region_set_enabled(&pci->dma_alias, false);
    memory_region_add(&pci->dma_root, 0, &pci->dma_alias, 0);
    pci->dma_space = address_space_new(&pci->dma_root, object_type_name(OBJECT(pci)));
    bus->devices[pci->devfn] = pci;

    if (!pci_rom_load(pci, err)) {
        pci_bus_unplug(base, dev);
        return false;
    }
    return true;
}

static void pci_bus_announce(Bus *base, Device *dev)
{
    PciBus *bus = PCI_BUS(base);

    if (bus->hotplug_announce)
        bus->hotplug_announce(bus->hotplug_opaque, PCI_DEVICE(dev));
}

static bool pci_bus_unplug_request(Bus *base, Device *dev, GError **err)
{
    PciBus *bus = PCI_BUS(base);

    if (!bus->hotplug_request) {
        error_set(err, "bus %s does not support hot-unplug", base->obj.id);
        return false;
    }
    return bus->hotplug_request(bus->hotplug_opaque, PCI_DEVICE(dev), err);
}

static void pci_bus_reset(Bus *base)
{
    PciBus *bus = PCI_BUS(base);

    memory_transaction_begin();
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (bus->devices[devfn])
            pci_device_reset_common(bus->devices[devfn]);
    memory_transaction_commit();
}

/* IEEE 1275 names that firmware matches boot entries against. */
static char *pci_bus_firmware_path(Bus *base, Device *dev)
{
    static const struct { uint16_t class_id; const char *name; } names[] = {
        { 0x0100, "scsi" }, { 0x0101, "ide" }, { 0x0102, "fdc" }, { 0x0180, "scsi" }, { 0x0200, "ethernet" },
        { 0x0300, "display" }, { 0x0601, "isa" }, { 0x0604, "pci-bridge" }, { 0x0c03, "usb" },
    };
    PciDevice *pci = PCI_DEVICE(dev);
    uint16_t class_id = ld16(pci->config + PCI_CLASS_DEVICE);
    g_autofree char *name = NULL;

    for (unsigned i = 0; !name && i < G_N_ELEMENTS(names); i++)
        if (names[i].class_id == class_id)
            name = g_strdup(names[i].name);
    if (!name)
        name = g_strdup_printf("pci%x,%x", ld16(pci->config + PCI_VENDOR_ID), ld16(pci->config + PCI_DEVICE_ID));
    if (PCI_FUNC(pci->devfn))
        return g_strdup_printf("/pci@i0cf8/%s@%x,%x", name, PCI_SLOT(pci->devfn), PCI_FUNC(pci->devfn));
    return g_strdup_printf("/pci@i0cf8/%s@%x", name, PCI_SLOT(pci->devfn));
}

PciBus *pci_root_bus_new(Machine *machine, Device *host, const char *name, MemoryRegion *mem, MemoryRegion *io)
{
    PciBus *bus = PCI_BUS(bus_new(machine, TYPE_PCI_BUS, host, name));

    bus->mem = mem;
    bus->io = io;
    bus->first_free = PCI_DEVFN(1, 0);
    return bus;
}

void pci_bus_set_irqs(PciBus *bus, unsigned (*map_irq)(PciDevice *, unsigned pin),
                      void (*set_irq)(void *opaque, unsigned line, bool level), void *opaque)
{
    bus->map_irq = map_irq;
    bus->set_irq = set_irq;
    bus->irq_opaque = opaque;
}

bool pci_bus_line_level(const PciBus *bus, unsigned line)
{
    return line < G_N_ELEMENTS(bus->irq_count) && bus->irq_count[line] != 0;
}

PciDevice *pci_find_device(PciBus *root, unsigned bdf)
{
    return (bdf >> 8) == root->number ? root->devices[bdf & 0xff] : NULL;
}

uint32_t pci_config_read(PciBus *root, unsigned bdf, unsigned addr, unsigned size)
{
    PciDevice *pci = pci_find_device(root, bdf);

    if (!pci || addr + size > pci->config_size)
        return mask_bytes(size);
    const PciClass *klass = pci_class(pci);
    return klass->config_read ? klass->config_read(pci, addr, size) : pci_default_config_read(pci, addr, size);
}

void pci_config_write(PciBus *root, unsigned bdf, unsigned addr, uint32_t value, unsigned size)
{
    PciDevice *pci = pci_find_device(root, bdf);

    if (!pci || addr + size > pci->config_size)
        return;
    const PciClass *klass = pci_class(pci);
    if (klass->config_write)
        klass->config_write(pci, addr, value, size);
    else
        pci_default_config_write(pci, addr, value, size);
}

static bool find_root_bus(Object *obj, void *opaque)
{
    if (!object_is_a(obj, TYPE_PCI_BUS))
        return true;
    *(PciBus **)opaque = PCI_BUS(obj);
    return false;
}

PciBus *pci_machine_bus(Machine *machine)
{
    PciBus *bus = NULL;

    object_foreach(&machine->obj, find_root_bus, &bus);
    return bus;
}

static const BusClass pci_bus_class = {
    .name = TYPE_PCI_BUS, .parent = TYPE_BUS, .desc = "PCI bus", .size = sizeof(PciBus), .kind = PCI_BUS_KIND,
    .max_devices = 256, .plug = pci_bus_plug, .unplug = pci_bus_unplug, .announce = pci_bus_announce,
    .unplug_request = pci_bus_unplug_request, .firmware_path = pci_bus_firmware_path, .reset = pci_bus_reset,
};
REGISTER_OBJECT(pci_bus_class)
