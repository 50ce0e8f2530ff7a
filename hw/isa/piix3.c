/*
 * 82371SB (PIIX3) PCI to ISA bridge.
 *
 * Modelled: PIRQ route control with the PC's pin swizzle, the reset control register. Registers without effect here
 * (timings, decode enables) keep what is written where firmware relies on reading it back.
 * Source: Intel 82371FB/82371SB datasheet (290550-002) §2.2, §2.5.
 */
#include "hw/isa/piix3.h"

#include "system/machine.h"

#define PIRQ_ROUTE 0x60
#define PIRQS 4
#define PIRQ_DISABLED 0x80
#define RESET_CPU 0x04
#define RESET_SYSTEM 0x02

struct Piix3 {
    PciDevice pci;
    IsaBus *isa;
    MemoryRegion *isa_mem;
    Irq *pirq[ISA_IRQS];
    uint8_t routed[PIRQS];   /* irq that each line drives now, PIRQ_DISABLED if none */
    uint8_t reset_control;
};

static unsigned map_irq(PciDevice *pci, unsigned pin)
{
    return (PCI_SLOT(pci->devfn) - 1 + pin) % PIRQS;
}

/* An input is high while any line that is routed to it is. */
static void drive_irq(Piix3 *piix3, unsigned irq)
{
    bool level = false;

    for (unsigned line = 0; line < PIRQS; line++)
        if (piix3->routed[line] == irq)
            level |= pci_bus_line_level(pci_device_bus(&piix3->pci), line);
    irq_set(piix3->pirq[irq], level);
}

static void set_line(void *opaque, unsigned line, bool level)
{
    Piix3 *piix3 = opaque;

    if (piix3->routed[line] != PIRQ_DISABLED)
        drive_irq(piix3, piix3->routed[line]);
}

static void update_routes(Piix3 *piix3)
{
    for (unsigned line = 0; line < PIRQS; line++) {
        uint8_t reg = piix3->pci.config[PIRQ_ROUTE + line], old = piix3->routed[line];
        /* 0, 1, 2, 8 and 13 are reserved: they belong to the board. */
        bool usable = !(reg & PIRQ_DISABLED) && !(1u << (reg & 15) & 0x2107);
        uint8_t now = usable ? reg & 15 : PIRQ_DISABLED;
        if (now == old)
            continue;
        piix3->routed[line] = now;
        if (old != PIRQ_DISABLED)
            drive_irq(piix3, old);
        if (now != PIRQ_DISABLED)
            drive_irq(piix3, now);
    }
}

static void piix3_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)
{
    pci_default_config_write(pci, addr, value, size);
    if (pci_config_touches(addr, size, PIRQ_ROUTE, PIRQS))
        update_routes((Piix3 *)pci);
}

uint8_t piix3_reset_control_read(void *opaque)
{
    return ((Piix3 *)opaque)->reset_control;
}

void piix3_reset_control_write(void *opaque, uint8_t value)
{
    Piix3 *piix3 = opaque;

    if ((value & RESET_CPU) && !(piix3->reset_control & RESET_CPU))
        machine_request_reset(piix3->pci.dev.machine, CAUSE_GUEST_RESET);
    piix3->reset_control = value & RESET_SYSTEM;
}

static void piix3_reset(Device *dev)
{
    Piix3 *piix3 = (Piix3 *)dev;
    uint8_t *config = piix3->pci.config;

    /* Power-on values of the datasheet. */
    memset(config + 0x40, 0, PCI_CONFIG_SIZE - 0x40);
    config[0x4c] = 0x4d;
    config[0x4e] = 0x03;
    memset(config + PIRQ_ROUTE, PIRQ_DISABLED, PIRQS);
    config[0x69] = 0x02;
    config[0x70] = 0x80;
    config[0x76] = config[0x77] = 0x0c;
    config[0xa0] = 0x08;
    config[0xa8] = 0x0f;
    piix3->reset_control = 0;
    update_routes(piix3);
}

static bool piix3_realize(Device *dev, GError **err)
{
    Piix3 *piix3 = (Piix3 *)dev;
    PciDevice *pci = &piix3->pci;

    st16(pci->config + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    st16(pci->wmask + PCI_COMMAND, PCI_COMMAND_SERR);
    st16(pci->config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM);
    memset(pci->wmask + 0x40, 0xff, PCI_CONFIG_SIZE - 0x40);
    memset(pci->wmask + PIRQ_ROUTE, 0x8f, PIRQS);
    memset(piix3->routed, PIRQ_DISABLED, PIRQS);

    piix3->isa = isa_bus_new(dev->machine, dev, piix3->isa_mem, &dev->machine->io_root);
    pci_bus_set_irqs(pci_device_bus(pci), map_irq, set_line, piix3);
    return true;
}

static void piix3_unrealize(Device *dev)
{
    Piix3 *piix3 = (Piix3 *)dev;

    pci_bus_set_irqs(pci_device_bus(&piix3->pci), NULL, NULL, NULL);
}

static bool piix3_loaded(void *instance, uint32_t version, GError **err)
{
    update_routes(instance);
    return true;
}

static const StateField piix3_state[] = {
    STATE_U8_(Piix3, reset_control), STATE_POST_LOAD(piix3_loaded), STATE_END
};

static const PciClass piix3_class = {
    .name = TYPE_PIIX3, .parent = TYPE_PCI_DEVICE, .desc = "PIIX3 PCI to ISA bridge", .size = sizeof(Piix3),
    .category = DEV_BRIDGE, .bus = PCI_BUS_KIND, .internal = true, .no_hotplug = true,
    .state = piix3_state, .state_version = 1,
    .realize = piix3_realize, .unrealize = piix3_unrealize, .reset = piix3_reset,
    .vendor_id = 0x8086, .device_id = 0x7000, .class_id = 0x0601, .config_write = piix3_config_write,
};
REGISTER_PCI_DEVICE(piix3_class)

IsaBus *piix3_isa_bus(Piix3 *piix3)
{
    return piix3->isa;
}

static const uint8_t default_routes[PIRQS] = { 10, 10, 11, 11 };

void piix3_route_defaults(Piix3 *piix3)
{
    memcpy(piix3->pci.config + PIRQ_ROUTE, default_routes, PIRQS);
    update_routes(piix3);
}

uint8_t piix3_default_irq(unsigned slot, unsigned pin)
{
    return default_routes[(slot - 1 + pin) % PIRQS];
}

Piix3 *piix3_create(Machine *machine, PciBus *bus, MemoryRegion *isa_mem, Irq *const pirq[ISA_IRQS], GError **err)
{
    Device *dev = device_new(machine, TYPE_PIIX3, err);
    Piix3 *piix3 = (Piix3 *)dev;

    if (!dev)
        return NULL;
    piix3->isa_mem = isa_mem;
    memcpy(piix3->pirq, pirq, sizeof(piix3->pirq));
    piix3->pci.devfn = PCI_DEVFN(1, 0);
    piix3->pci.multifunction = true;
    return device_realize(dev, &bus->bus, err) ? piix3 : NULL;
}
