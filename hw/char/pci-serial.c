/* A 16550A as a PCI function, registers in BAR 0. Source for the ids: the assignments of vendor 1b36. */
#include <hw/pci.h>

#include "hw/char/uart16550.h"
#include "system/machine.h"

#define PCI_CLASS_SERIAL 0x0700

typedef struct PciSerial {
    PciDevice pci;
    Uart uart;
    uint8_t prog_if;
    MemoryRegion io;
} PciSerial;

#define PCI_SERIAL(ptr) ((PciSerial *)(ptr))

static void drive_pin(Uart *uart, bool level)
{
    pci_set_irq(&CONTAINER_OF(uart, PciSerial, uart)->pci, level);
}

static bool pci_serial_realize(Device *dev, GError **err)
{
    PciSerial *s = PCI_SERIAL(dev);
    s->uart.dev = dev;
    s->uart.set_irq = drive_pin;
    if (!uart_realize(&s->uart, err))
        return false;
    s->pci.config[PCI_PROG_IF] = s->prog_if;
    pci_set_interrupt_pin(&s->pci, 1);
    memory_region_init_io(&s->io, OBJECT(s), dev->domain, &uart_ops, &s->uart, "serial", UART_PORTS);
    pci_register_bar(&s->pci, 0, PCI_BAR_IO, &s->io);
    return true;
}

static void pci_serial_unrealize(Device *dev)
{
    memory_region_clear(&PCI_SERIAL(dev)->io);
    uart_unrealize(&PCI_SERIAL(dev)->uart);
}

static void pci_serial_reset(Device *dev) { uart_reset(&PCI_SERIAL(dev)->uart); }

static bool pci_serial_post_load(void *instance, uint32_t version, GError **err)
{
    return uart_post_load(&PCI_SERIAL(instance)->uart, err);
}

static const Property pci_serial_props[] = {
    UART_PROPS(PciSerial),
    PROP_U8("prog_if", PciSerial, prog_if, 2, 0, 0, "programming interface register; 2 is a 16550"),
    PROP_END
};

static const StateField pci_serial_state[] = {
    { .name = "uart", .kind = STATE_STRUCT, .offset = offsetof(PciSerial, uart), .count = 1, .stride = sizeof(Uart), .sub = uart_state },
    STATE_POST_LOAD(pci_serial_post_load),
    STATE_END
};

static const PciClass pci_serial_class = {
    .name = "pci-serial", .parent = TYPE_PCI_DEVICE, .desc = "16550A serial port", .size = sizeof(PciSerial),
    .props = pci_serial_props, .category = DEV_INPUT, .bus = PCI_BUS_KIND,
    .vendor_id = 0x1b36, .device_id = 0x0002, .class_id = PCI_CLASS_SERIAL, .prog_if = 2, .revision = 1,
    .realize = pci_serial_realize, .unrealize = pci_serial_unrealize, .reset = pci_serial_reset,
    .state = pci_serial_state, .state_version = 1,
};
REGISTER_PCI_DEVICE(pci_serial_class)
