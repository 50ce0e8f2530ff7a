/*
 * PCI devices and buses.
 *
 * A PCI device's table starts with PCI_CLASS_FIELDS. Before its realize runs, the bus has chosen its address and filled the
 * identification registers of its configuration space from the table; realize adds BARs and capabilities and sets the
 * interrupt pin. unrealize frees what realize made, the bus takes BARs, capabilities and irq state away after it.
 * Unless noted otherwise the machine's domain is locked.
 *
 * Source: PCI Local Bus Specification 3.0 ch. 6, PCI-to-PCI Bridge Architecture 1.2.
 */
#pragma once

#include <hw/bus.h>
#include <mem/dma.h>

typedef struct PciClass PciClass;
typedef struct PciDevice PciDevice;
typedef struct PciBus PciBus;

#define PCI_CONFIG_SIZE 256

/* Configuration space, type 0 header */
#define PCI_VENDOR_ID 0x00
#define PCI_DEVICE_ID 0x02
#define PCI_COMMAND 0x04
#define PCI_COMMAND_IO 0x0001
#define PCI_COMMAND_MEMORY 0x0002
#define PCI_COMMAND_MASTER 0x0004
#define PCI_COMMAND_PARITY 0x0040
#define PCI_COMMAND_SERR 0x0100
#define PCI_COMMAND_INTX_DISABLE 0x0400
#define PCI_STATUS 0x06
#define PCI_STATUS_INTERRUPT 0x0008
#define PCI_STATUS_CAP_LIST 0x0010
#define PCI_STATUS_FAST_BACK 0x0080
#define PCI_STATUS_DEVSEL_MEDIUM 0x0200
#define PCI_REVISION_ID 0x08
#define PCI_PROG_IF 0x09
#define PCI_CLASS_DEVICE 0x0a
#define PCI_CACHE_LINE_SIZE 0x0c
#define PCI_LATENCY_TIMER 0x0d
#define PCI_HEADER_TYPE 0x0e
#define PCI_HEADER_MULTIFUNCTION 0x80
#define PCI_BAR0 0x10
#define PCI_SUBSYSTEM_VENDOR_ID 0x2c
#define PCI_SUBSYSTEM_ID 0x2e
#define PCI_ROM_ADDRESS 0x30
#define PCI_CAPABILITY_LIST 0x34
#define PCI_INTERRUPT_LINE 0x3c
#define PCI_INTERRUPT_PIN 0x3d

/* Type flags of pci_register_bar, as in the low bits of the register. */
#define PCI_BAR_IO 0x01
#define PCI_BAR_MEM32 0x00
#define PCI_BAR_MEM64 0x04
#define PCI_BAR_PREFETCH 0x08

#define PCI_BARS 6
#define PCI_ROM_BAR 6

#define PCI_CAP_MSI 0x05
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_EXPRESS 0x10
#define PCI_CAP_MSIX 0x11

/* Where a device gets its subsystem ids from when its table leaves them 0. */
#define PCI_SUBVENDOR_DEFAULT 0x1af4
#define PCI_SUBDEVICE_DEFAULT 0x1100

#define PCI_DEVFN(slot, fn) (((slot) << 3) | (fn))
#define PCI_SLOT(devfn) ((unsigned)(devfn) >> 3)
#define PCI_FUNC(devfn) ((unsigned)(devfn) & 7)

#define PCI_CLASS_FIELDS                                                                                                   \
    DEVICE_CLASS_FIELDS;                                                                                                   \
    uint16_t vendor_id, device_id;                                                                                         \
    uint16_t class_id;            /* base class << 8 | sub-class */                                                        \
    uint8_t prog_if, revision;                                                                                             \
    uint16_t subsystem_vendor_id, subsystem_id; /* 0: PCI_SUBVENDOR_DEFAULT, PCI_SUBDEVICE_DEFAULT */                      \
    bool is_bridge;               /* type 1 header, no subsystem ids */                                                    \
    const char *default_romfile;  /* option ROM when romfile= is not given; NULL: none */                                  \
    /* Configuration access of 1, 2 or 4 bytes inside the space. NULL: pci_default_config_read/_write. */                  \
    uint32_t (*config_read)(PciDevice *pci, unsigned addr, unsigned size);                                                 \
    void (*config_write)(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)

struct PciClass {
    PCI_CLASS_FIELDS;
};

typedef struct PciBar {
    MemoryRegion *mr;   /* borrowed from the device; NULL: not implemented */
    uint64_t size;      /* bytes, power of two */
    uint8_t type;       /* PCI_BAR_* */
    uint64_t mapped;    /* where it is mapped, PCI_BAR_UNMAPPED if not */
} PciBar;
#define PCI_BAR_UNMAPPED UINT64_MAX

typedef struct MsixState MsixState;

struct PciDevice {
    Device dev;
    uint8_t *config;    /* [config_size], little-endian as the guest reads it */
    uint8_t *wmask;     /* bits that a guest can write */
    uint8_t *w1cmask;   /* bits that a guest clears by writing 1 */
    uint16_t config_size;
    int32_t devfn;      /* addr=; -1 until the bus chose one */
    bool multifunction;
    uint32_t rombar;    /* 0: the option ROM is not a BAR */
    char *romfile;      /* "" turns the class's default off */
    uint32_t acpi_index;/* 0: none */
    PciBar bars[PCI_BARS + 1];
    MemoryRegion rom;
    bool intx_level;    /* what the device drives */
    bool intx_driven;   /* what the bus was told, INTx disable applied */
    uint8_t msi_cap, msix_cap; /* 0: none */
    MsixState *msix;
    MemoryRegion dma_root, dma_alias;
    AddressSpace *dma_space;
    uint8_t cap_used[PCI_CONFIG_SIZE / 4]; /* capability id that owns each dword */
};

#define TYPE_PCI_DEVICE "pci-device"
#define PCI_DEVICE(ptr) ((PciDevice *)(ptr))
static inline const PciClass *pci_class(const PciDevice *pci) { return (const PciClass *)pci->dev.obj.klass; }

#define REGISTER_PCI_DEVICE(table) REGISTER_DEVICE(table)

/* Properties of TYPE_PCI_DEVICE: addr, multifunction, rombar, romfile, acpi-index. A table's .parent leads to it, its .bus is "PCI". */
#define PCI_BUS_KIND "PCI"

#define TYPE_PCI_BUS "PCI"

struct PciBus {
    Bus bus;
    MemoryRegion *mem, *io;       /* where BARs are mapped: the bus's address spaces (borrowed) */
    PciDevice *devices[256];      /* by devfn, borrowed */
    uint8_t number;               /* of a root bus; bridges have theirs in configuration space */
    uint8_t first_free;           /* lowest devfn given out without addr= */
    /* INTx: pin 0..3 (INTA..INTD) of a device to a line of the router. */
    unsigned (*map_irq)(PciDevice *pci, unsigned pin);
    void (*set_irq)(void *opaque, unsigned line, bool level);
    void *irq_opaque;
    uint16_t irq_count[32];       /* devices that assert each line */
    /* Hot-plug controller: both NULL on a bus without. */
    bool (*hotplug_request)(void *opaque, PciDevice *pci, GError **err);   /* ask the guest to let go */
    void (*hotplug_announce)(void *opaque, PciDevice *pci);                /* tell the guest it is there */
    void *hotplug_opaque;
};
#define PCI_BUS(ptr) ((PciBus *)(ptr))
static inline PciBus *pci_device_bus(const PciDevice *pci) { return (PciBus *)pci->dev.bus; }

/*
 * From realize. mr must have a power-of-two size (I/O: 4..256 bytes kept by PCs, memory: >= 16); it is mapped as
 * the guest programs the register, with the command register's enables. type: PCI_BAR_*. A 64-bit one takes n and n+1.
 */
void pci_register_bar(PciDevice *pci, unsigned n, uint8_t type, MemoryRegion *mr);
/*
 * Reserves size bytes for capability `id` at offset (0: the first free place from 0x40) and links it. Returns its offset,
 * 0 with err when there is no room or it overlaps. The two header bytes are set, the rest is zero and read-only.
 */
uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size, GError **err) WARN_UNUSED;
/* Offset of a capability, 0 if absent. */
uint8_t pci_find_capability(const PciDevice *pci, uint8_t id);
/* INTA..INTD; from realize. pin is 1..4 as in the register. */
void pci_set_interrupt_pin(PciDevice *pci, uint8_t pin);

/* Drives the device's INTx pin. Machine's domain locked. */
void pci_set_irq(PciDevice *pci, bool level);

/* Memory as the device sees it as a bus master: everything decodes to errors while bus mastering is off. Any thread. */
AddressSpace *pci_dma_space(PciDevice *pci);
static inline bool pci_bus_master_enabled(const PciDevice *pci)
{
    return ld16(pci->config + PCI_COMMAND) & PCI_COMMAND_MASTER;
}

/* What a device's own config_read/config_write hooks fall back to. */
uint32_t pci_default_config_read(PciDevice *pci, unsigned addr, unsigned size);
void pci_default_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size);
/* True if the access [addr, addr+size) touches register [reg, reg+len). */
static inline bool pci_config_touches(unsigned addr, unsigned size, unsigned reg, unsigned len)
{
    return addr < reg + len && reg < addr + size;
}

/* Registers every PCI function has, to their values after RST#. The bus calls it on its reset; a device may on its own. */
void pci_device_reset_common(PciDevice *pci);

/* ---- buses and host bridges ------------------------------------------------------------------------------------- */

/* Root bus "pci.0" below a host bridge device. mem and io are the address spaces of its BARs. */
PciBus *pci_root_bus_new(Machine *machine, Device *host, const char *name, MemoryRegion *mem, MemoryRegion *io);
void pci_bus_set_irqs(PciBus *bus, unsigned (*map_irq)(PciDevice *, unsigned pin),
                      void (*set_irq)(void *opaque, unsigned line, bool level), void *opaque);
/* Sets every device's INTx of this bus up again after the router or a mapping changed. */
bool pci_bus_line_level(const PciBus *bus, unsigned line);
/* Configuration cycle on a root bus; a missing function reads as all ones. bdf: bus << 8 | devfn. size 1, 2 or 4. */
uint32_t pci_config_read(PciBus *root, unsigned bdf, unsigned addr, unsigned size);
void pci_config_write(PciBus *root, unsigned bdf, unsigned addr, uint32_t value, unsigned size);
PciDevice *pci_find_device(PciBus *root, unsigned bdf); /* borrowed, NULL if absent */
/* The machine's first root bus, NULL on machines without PCI. */
PciBus *pci_machine_bus(Machine *machine);

/* query-pci: the array of PciInfo as QMP shows it (owned). An empty array on machines without PCI. */
json_object *pci_query(Machine *machine);
