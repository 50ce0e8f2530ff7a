/*
 * ISA devices: I/O ports at fixed addresses and interrupt lines 0..15.
 */
#pragma once

#include <hw/bus.h>

typedef struct IsaClass IsaClass;
typedef struct IsaDevice IsaDevice;
typedef struct IsaBus IsaBus;

#define ISA_CLASS_FIELDS DEVICE_CLASS_FIELDS

struct IsaClass {
    ISA_CLASS_FIELDS;
};

struct IsaDevice {
    Device dev;
};

/* A table's .parent leads to it, its .bus is ISA_BUS_KIND. */
#define TYPE_ISA_DEVICE "isa-device"
#define ISA_DEVICE(ptr) ((IsaDevice *)(ptr))
#define ISA_BUS_KIND "ISA"
#define ISA_IRQS 16
#define REGISTER_ISA_DEVICE(table) REGISTER_DEVICE(table)

#define TYPE_ISA_BUS "ISA"

struct IsaBus {
    Bus bus;
    MemoryRegion *mem, *io;  /* borrowed */
    Irq *irqs[ISA_IRQS];     /* borrowed; NULL: open */
};
#define ISA_BUS(ptr) ((IsaBus *)(ptr))
static inline IsaBus *isa_device_bus(const IsaDevice *isa) { return (IsaBus *)isa->dev.bus; }

/* From realize: the region appears at port `base`; unrealize takes it away with memory_region_clear(). */
void isa_register_ioport(IsaDevice *isa, MemoryRegion *mr, uint16_t base);
/* The same in memory, for devices with a window below 16 MiB or board-fixed. */
void isa_register_mem(IsaDevice *isa, MemoryRegion *mr, uint64_t base);
/* Line n, borrowed while the device is plugged; n must be below 16. NULL if the board left it open. */
Irq *isa_irq(IsaDevice *isa, unsigned n);
/* Refuses a user's irq= above 15 or iobase= whose window leaves the 64 KiB of ports, with a sentence. */
bool isa_check_irq(IsaDevice *isa, uint32_t irq, GError **err) WARN_UNUSED;
bool isa_check_ports(IsaDevice *isa, uint32_t base, uint32_t size, GError **err) WARN_UNUSED;

/* "isa.0" below its bridge (NULL on boards without). irqs[16] are copied. */
IsaBus *isa_bus_new(Machine *machine, Device *bridge, MemoryRegion *mem, MemoryRegion *io);
void isa_bus_set_irqs(IsaBus *bus, Irq *const irqs[ISA_IRQS]);
/* The machine's first ISA bus or NULL. */
IsaBus *isa_machine_bus(Machine *machine);
