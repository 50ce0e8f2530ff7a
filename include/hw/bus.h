/*
 * Buses: where devices plug in. A bus is a child object of the device that provides it ("pci.0", "isa.0").
 */
#pragma once

#include <hw/device.h>

#define BUS_CLASS_FIELDS                                                                                   \
    OBJECT_CLASS_FIELDS;                                                                                   \
    const char *kind;            /* what DeviceClass.bus names: "PCI", "ISA", ... */                       \
    unsigned max_devices;        /* 0: no limit */                                                         \
    /* Checks the address and reserves it before realize; undone by unplug. */                             \
    bool (*plug)(Bus *bus, Device *dev, GError **err);                                                     \
    void (*unplug)(Bus *bus, Device *dev);                                                                 \
    /* After a realize while the machine runs: tell the guest. */                                          \
    void (*announce)(Bus *bus, Device *dev);                                                               \
    /* device_del on a running machine: true if it was handed to the guest or done; false with err if refused. */ \
    bool (*unplug_request)(Bus *bus, Device *dev, GError **err);                                           \
    /* Address of a device on this bus for firmware boot order and info qtree, e.g. "/pci@i0cf8/scsi@4". (owned) */ \
    char *(*firmware_path)(Bus *bus, Device *dev);                                                         \
    void (*reset)(Bus *bus)

struct BusClass {
    BUS_CLASS_FIELDS;
};

struct Bus {
    Object obj;
    Device *provider;     /* NULL for the root bus */
    Machine *machine;
    GPtrArray *devices;   /* Device *, in plug order; references held */
    bool hotpluggable;
};

#define TYPE_BUS "bus"
#define BUS(ptr) ((Bus *)(ptr))
static inline const BusClass *bus_class(const Bus *bus) { return (const BusClass *)bus->obj.klass; }

/*
 * Makes a bus of class type named `name` (NULL: "<provider's id or kind, lower case>.<n>", first free n) as a child of provider.
 */
Bus *bus_new(Machine *machine, const char *type, Device *provider, const char *name);
/* By user's bus= (name, id of a provider, or path), checked against the kind; NULL name: first bus of the kind with room. */
Bus *bus_find(Machine *machine, const char *name, const char *kind, GError **err) WARN_UNUSED; /* borrowed */
/* Unrealizes what is plugged in and removes the bus. */
void bus_free(Bus *bus);
