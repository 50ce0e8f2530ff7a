/* Reset of a part of the device tree. */
#include "hw/core/internal.h"

/* Devices on the bus first, then the bus itself: a controller's reset finds its targets in their power-on state. */
static void bus_reset_tree(Bus *bus)
{
    for (guint i = 0; i < bus->devices->len; i++)
        device_reset_tree(bus->devices->pdata[i]);
    if (bus_class(bus)->reset)
        bus_class(bus)->reset(bus);
}

void device_reset_tree(Device *dev)
{
    for (guint i = 0; i < dev->buses->len; i++)
        bus_reset_tree(dev->buses->pdata[i]);
    if (!dev->realized)
        return;
    DOMAIN_GUARD(dev->domain);
    const DeviceClass *levels[CLASS_DEPTH_MAX];
    unsigned n = device_class_levels(dev->obj.klass, levels);
    for (unsigned i = 0; i < n; i++)
        if (levels[i]->reset)
            levels[i]->reset(dev);
}
