/*
 * query-pci: what configuration space says, in the shape QMP clients know.
 */
#include "hw/pci/pci-internal.h"

#include <json-c/json.h>

#include "system/machine.h"

static const struct { uint16_t class_id; const char *desc; } class_names[] = {
    { 0x0100, "SCSI controller" }, { 0x0101, "IDE controller" }, { 0x0180, "Storage controller" },
    { 0x0200, "Ethernet controller" }, { 0x0300, "VGA controller" }, { 0x0380, "Display controller" },
    { 0x0403, "Audio controller" }, { 0x0500, "RAM controller" }, { 0x0600, "Host bridge" }, { 0x0601, "ISA bridge" },
    { 0x0604, "PCI bridge" }, { 0x0680, "Bridge" }, { 0x0c03, "USB controller" }, { 0x0c05, "SMBus" },
};

static void put_int(json_object *obj, const char *name, int64_t value)
{
    json_object_object_add(obj, name, json_object_new_int64(value));
}

static json_object *describe_class(const PciDevice *pci)
{
    json_object *info = json_object_new_object();
    uint16_t class_id = ld16(pci->config + PCI_CLASS_DEVICE);

    for (unsigned i = 0; i < G_N_ELEMENTS(class_names); i++)
        if (class_names[i].class_id == class_id)
            json_object_object_add(info, "desc", json_object_new_string(class_names[i].desc));
    put_int(info, "class", class_id);
    return info;
}

static json_object *describe_ids(const PciDevice *pci)
{
    json_object *id = json_object_new_object();

    put_int(id, "device", ld16(pci->config + PCI_DEVICE_ID));
    put_int(id, "vendor", ld16(pci->config + PCI_VENDOR_ID));
    if (!pci_class(pci)->is_bridge) {
        put_int(id, "subsystem", ld16(pci->config + PCI_SUBSYSTEM_ID));
        put_int(id, "subsystem-vendor", ld16(pci->config + PCI_SUBSYSTEM_VENDOR_ID));
    }
    return id;
}

static json_object *describe_regions(const PciDevice *pci)
{
    json_object *regions = json_object_new_array();

    for (unsigned n = 0; n < G_N_ELEMENTS(pci->bars); n++) {
        const PciBar *bar = &pci->bars[n];
        if (!bar->mr)
            continue;
        bool io = bar->type & PCI_BAR_IO;
        json_object *region = json_object_new_object();
        put_int(region, "bar", n);
        json_object_object_add(region, "type", json_object_new_string(io ? "io" : "memory"));
        put_int(region, "address", (int64_t)bar->mapped);
        put_int(region, "size", bar->size);
        if (!io) {
            json_object_object_add(region, "prefetch", json_object_new_boolean(bar->type & PCI_BAR_PREFETCH));
            json_object_object_add(region, "mem_type_64", json_object_new_boolean(bar->type & PCI_BAR_MEM64));
        }
        json_object_array_add(regions, region);
    }
    return regions;
}

static json_object *describe_device(const PciBus *bus, const PciDevice *pci)
{
    json_object *info = json_object_new_object();

    put_int(info, "bus", bus->number);
    put_int(info, "slot", PCI_SLOT(pci->devfn));
    put_int(info, "function", PCI_FUNC(pci->devfn));
    json_object_object_add(info, "class_info", describe_class(pci));
    json_object_object_add(info, "id", describe_ids(pci));
    if (pci->config[PCI_INTERRUPT_PIN])
        put_int(info, "irq", pci->config[PCI_INTERRUPT_LINE]);
    put_int(info, "irq_pin", pci->config[PCI_INTERRUPT_PIN]);
    json_object_object_add(info, "qdev_id", json_object_new_string(pci->dev.id_str ? pci->dev.id_str : ""));
    json_object_object_add(info, "regions", describe_regions(pci));
    return info;
}

json_object *pci_query(Machine *machine)
{
    json_object *buses = json_object_new_array();
    PciBus *bus = pci_machine_bus(machine);

    if (!bus)
        return buses;
    json_object *devices = json_object_new_array();
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (bus->devices[devfn])
            json_object_array_add(devices, describe_device(bus, bus->devices[devfn]));
    json_object *info = json_object_new_object();
    put_int(info, "bus", bus->number);
    json_object_object_add(info, "devices", devices);
    json_object_array_add(buses, info);
    return buses;
}
