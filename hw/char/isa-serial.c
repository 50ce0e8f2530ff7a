/* A 16550A on the ISA bus. */
#include "hw/char/isa-serial.h"

#include <hw/isa.h>

#include "hw/char/uart16550.h"
#include "system/machine.h"

#define AUTO UINT32_MAX

typedef struct IsaSerial {
    IsaDevice isa;
    Uart uart;
    uint32_t index, iobase, irq;
    MemoryRegion io;
} IsaSerial;

#define ISA_SERIAL(ptr) ((IsaSerial *)(ptr))

static const struct { uint16_t iobase; uint8_t irq; } usual[ISA_SERIAL_MAX] = {
    { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
};

static bool index_is_used(IsaSerial *s, uint32_t index)
{
    GPtrArray *devices = s->isa.dev.bus->devices;
    for (unsigned i = 0; i < devices->len; i++) {
        IsaSerial *other = g_ptr_array_index(devices, i);
        if (other != s && object_is_a(OBJECT(other), TYPE_ISA_SERIAL) && other->isa.dev.realized && other->index == index)
            return true;
    }
    return false;
}

static bool choose_place(IsaSerial *s, GError **err)
{
    if (s->index == AUTO)
        for (s->index = 0; index_is_used(s, s->index); s->index++)
            ;
    if (s->index >= ISA_SERIAL_MAX && (s->iobase == AUTO || s->irq == AUTO)) {
        error_set(err, "isa-serial: index %u has no usual port, %d ports are supported; iobase= and irq= would give it one",
                  s->index, ISA_SERIAL_MAX);
        return false;
    }
    if (s->iobase == AUTO)
        s->iobase = usual[s->index].iobase;
    if (s->irq == AUTO)
        s->irq = usual[s->index].irq;
    return isa_check_irq(&s->isa, s->irq, err) && isa_check_ports(&s->isa, s->iobase, UART_PORTS, err);
}

static bool isa_serial_realize(Device *dev, GError **err)
{
    IsaSerial *s = ISA_SERIAL(dev);
    if (!choose_place(s, err))
        return false;
    s->uart.dev = dev;
    s->uart.irq = isa_irq(&s->isa, s->irq);
    if (!uart_realize(&s->uart, err))
        return false;
    memory_region_init_io(&s->io, OBJECT(s), dev->domain, &uart_ops, &s->uart, "serial", UART_PORTS);
    isa_register_ioport(&s->isa, &s->io, s->iobase);
    return true;
}

static void isa_serial_unrealize(Device *dev)
{
    memory_region_clear(&ISA_SERIAL(dev)->io);
    uart_unrealize(&ISA_SERIAL(dev)->uart);
}

static void isa_serial_reset(Device *dev) { uart_reset(&ISA_SERIAL(dev)->uart); }

static bool isa_serial_post_load(void *instance, uint32_t version, GError **err)
{
    return uart_post_load(&ISA_SERIAL(instance)->uart, err);
}

static const Property isa_serial_props[] = {
    PROP_U32("index", IsaSerial, index, AUTO, 0, 0, "0 is COM1; the first free one if not given"),
    PROP_U32("iobase", IsaSerial, iobase, AUTO, 0, 0, "first of eight ports; by index if not given"),
    PROP_U32("irq", IsaSerial, irq, AUTO, 0, 0, "ISA interrupt; by index if not given"),
    UART_PROPS(IsaSerial),
    PROP_END
};

static const StateField isa_serial_state[] = {
    { .name = "uart", .kind = STATE_STRUCT, .offset = offsetof(IsaSerial, uart), .count = 1, .stride = sizeof(Uart), .sub = uart_state },
    STATE_POST_LOAD(isa_serial_post_load),
    STATE_END
};

static const IsaClass isa_serial_class = {
    .name = TYPE_ISA_SERIAL, .parent = TYPE_ISA_DEVICE, .desc = "16550A serial port", .size = sizeof(IsaSerial),
    .props = isa_serial_props, .category = DEV_INPUT, .bus = ISA_BUS_KIND, .no_hotplug = true,
    .realize = isa_serial_realize, .unrealize = isa_serial_unrealize, .reset = isa_serial_reset,
    .state = isa_serial_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(isa_serial_class)

Device *isa_serial_create(Machine *machine, Bus *isa, unsigned index, Chardev *chr, GError **err)
{
    Device *dev = device_new(machine, TYPE_ISA_SERIAL, err);
    if (!dev)
        return NULL;
    if (!object_set_uint(OBJECT(dev), "index", index, err) ||
        (chr && !object_set_text(OBJECT(dev), "chardev", chardev_id(chr), err))) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    return device_realize(dev, isa, err) ? dev : NULL;
}
