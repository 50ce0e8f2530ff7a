/*
 * 82441FX host bridge (PMC).
 *
 * Modelled: configuration mechanism 1, PAM (13 segments, each for reads and writes), the VGA hole at 0xa0000. SMRAM stays
 * closed: the machine has no system management mode, D_LCK reads as set after firmware locked it. Not modelled: DRAM timing.
 * Source: Intel 440FX PCIset 82441FX datasheet (290549-001) §3.2; PCI Local Bus Specification 3.0 §3.2.2.3.2.
 */
#include "hw/i386/i440fx.h"

#include "system/machine.h"

#define PAM0 0x59
#define SMRAM 0x72
#define PAM_SEGMENTS 13
#define PAM_READ 1
#define PAM_WRITE 2
#define VGA_HOLE 0xa0000
#define VGA_HOLE_SIZE 0x20000
#define CONFIG_ENABLE 0x80000000u

/* One of the PAM segments. What lies below all of these is RAM. */
typedef struct PamSegment {
    uint32_t base, size;
    MemoryRegion pci;      /* reads and writes go to PCI */
    MemoryRegion protect;  /* reads RAM, writes go nowhere */
    MemoryRegion shadow;   /* reads PCI, writes RAM */
    struct I440fx *bridge;
} PamSegment;

typedef struct I440fx {
    PciDevice pci;
    I440fxHost *host;
    PamSegment pam[PAM_SEGMENTS];
    MemoryRegion vga_hole;
    AddressSpace *pci_space; /* what reads of a write-only shadow see */
    MemoryRegion *ram;
} I440fx;

struct I440fxHost {
    Device dev;
    uint32_t config_addr;
    uint8_t (*reset_read)(void *opaque);
    void (*reset_write)(void *opaque, uint8_t value);
    void *reset_opaque;
    MemoryRegion addr_port, data_port;
    MemoryRegion pci_memory;
    MemoryRegion low_hole;   /* what no PCI device claims between 640 KiB and 1 MiB: not the RAM below */
    PciBus *bus;
    I440fx *bridge;
};

/* ---- configuration mechanism 1 --------------------------------------------------------------------------------- */

static uint64_t addr_read(void *opaque, uint64_t offset, unsigned size)
{
    I440fxHost *host = opaque;

    if (size == 1 && offset == 1 && host->reset_read)
        return host->reset_read(host->reset_opaque);
    return size == 4 ? host->config_addr : mask_bytes(size);
}

static void addr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I440fxHost *host = opaque;

    if (size == 1 && offset == 1 && host->reset_write)
        host->reset_write(host->reset_opaque, value);
    else if (offset == 0 && size == 4)
        host->config_addr = value & (CONFIG_ENABLE | 0x00fffffc);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    I440fxHost *host = opaque;

    if (!(host->config_addr & CONFIG_ENABLE))
        return mask_bytes(size);
    return pci_config_read(host->bus, host->config_addr >> 8 & 0xffff, (host->config_addr & 0xfc) + offset, size);
}

static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I440fxHost *host = opaque;

    if (host->config_addr & CONFIG_ENABLE)
        pci_config_write(host->bus, host->config_addr >> 8 & 0xffff, (host->config_addr & 0xfc) + offset, value, size);
}

static const MemoryRegionOps addr_ops = {
    .read = addr_read, .write = addr_write, .min_access = 1, .max_access = 4, .valid_min = 1, .valid_max = 4,
};
static const MemoryRegionOps data_ops = {
    .read = data_read, .write = data_write, .min_access = 1, .max_access = 4, .valid_min = 1, .valid_max = 4,
};

static uint64_t hole_read(void *opaque, uint64_t offset, unsigned size)
{
    return mask_bytes(size);
}

static void hole_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    /* Nobody claims the cycle. */
}

static const MemoryRegionOps hole_ops = {
    .read = hole_read, .write = hole_write, .min_access = 1, .max_access = 8, .valid_max = 8, .unaligned = true,
};

static void host_reset(Device *dev)
{
    ((I440fxHost *)dev)->config_addr = 0;
}

static bool host_realize(Device *dev, GError **err)
{
    I440fxHost *host = (I440fxHost *)dev;

    memory_region_init(&host->pci_memory, OBJECT(dev), "pci", UINT64_MAX);
    memory_region_init_io(&host->low_hole, OBJECT(dev), NULL, &hole_ops, host, "pci-low-hole", MIB - VGA_HOLE);
    memory_region_add(&host->pci_memory, VGA_HOLE, &host->low_hole, -1);
    memory_region_init_io(&host->addr_port, OBJECT(dev), dev->domain, &addr_ops, host, "pci-conf-idx", 4);
    memory_region_init_io(&host->data_port, OBJECT(dev), dev->domain, &data_ops, host, "pci-conf-data", 4);
    memory_region_add(&dev->machine->io_root, 0xcf8, &host->addr_port, 0);
    memory_region_add(&dev->machine->io_root, 0xcfc, &host->data_port, 0);
    host->bus = pci_root_bus_new(dev->machine, dev, "pci.0", &host->pci_memory, &dev->machine->io_root);
    host->bus->first_free = PCI_DEVFN(1, 0);
    return true;
}

static void host_unrealize(Device *dev)
{
    I440fxHost *host = (I440fxHost *)dev;

    memory_region_clear(&host->addr_port);
    memory_region_clear(&host->data_port);
    memory_region_clear(&host->low_hole);
    memory_region_clear(&host->pci_memory);
}

static const StateField host_state[] = { STATE_U32_(I440fxHost, config_addr), STATE_END };

static const DeviceClass host_class = {
    .name = TYPE_I440FX_HOST, .parent = TYPE_DEVICE, .desc = "i440FX host bridge", .size = sizeof(I440fxHost),
    .category = DEV_BRIDGE, .internal = true, .state = host_state, .state_version = 1, .realize = host_realize,
    .unrealize = host_unrealize, .reset = host_reset,
};
REGISTER_DEVICE(host_class)

/* ---- PAM --------------------------------------------------------------------------------------------------------- */

static uint64_t shadow_read(void *opaque, uint64_t offset, unsigned size)
{
    PamSegment *seg = opaque;
    uint64_t value = 0;

    if (dma_read(seg->bridge->pci_space, seg->base + offset, &value, size) != MEMTX_OK)
        value = mask_bytes(size);
    return value;
}

static void shadow_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PamSegment *seg = opaque;
    RamBlock *ram = seg->bridge->ram->ram;

    memcpy(ram->host + seg->base + offset, &value, size);
    if (ram_watched(ram, seg->base + offset, size))
        ram_watch_hit(ram, seg->base + offset, size);
}

static const MemoryRegionOps shadow_ops = {
    .read = shadow_read, .write = shadow_write, .min_access = 1, .max_access = 8, .valid_max = 8,
};

static unsigned pam_mode(const I440fx *bridge, unsigned n)
{
    /* Segment 0 is the high nibble of the first register; then low and high nibbles in turn. */
    const uint8_t *config = bridge->pci.config;
    uint8_t nibble = n == 0 ? config[PAM0] >> 4 : config[PAM0 + (n + 1) / 2] >> (n % 2 ? 0 : 4);
    return nibble & 3;
}

static void update_pam(I440fx *bridge)
{
    memory_transaction_begin();
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        PamSegment *seg = &bridge->pam[n];
        unsigned mode = pam_mode(bridge, n);
        memory_region_set_enabled(&seg->pci, mode == 0);
        memory_region_set_enabled(&seg->protect, mode == PAM_READ);
        memory_region_set_enabled(&seg->shadow, mode == PAM_WRITE);
    }
    memory_transaction_commit();
}

static void bridge_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)
{
    pci_default_config_write(pci, addr, value, size);
    if (pci_config_touches(addr, size, PAM0, 7))
        update_pam((I440fx *)pci);
}

static void add_segment(I440fx *bridge, PamSegment *seg, uint32_t base, uint32_t size)
{
    MemoryRegion *root = &bridge->pci.dev.machine->mem_root;
    Object *owner = OBJECT(bridge);

    seg->bridge = bridge;
    seg->base = base;
    seg->size = size;
    memory_region_init_alias(&seg->pci, owner, "pam-pci", &bridge->host->pci_memory, base, size);
    memory_region_init_alias(&seg->protect, owner, "pam-rom", bridge->ram, base, size);
    memory_region_set_readonly(&seg->protect, true);
    memory_region_init_io(&seg->shadow, owner, bridge->pci.dev.domain, &shadow_ops, seg, "pam-shadow", size);
    memory_region_set_enabled(&seg->protect, false);
    memory_region_set_enabled(&seg->shadow, false);
    memory_region_add(root, base, &seg->pci, 1);
    memory_region_add(root, base, &seg->protect, 1);
    memory_region_add(root, base, &seg->shadow, 1);
}

static void bridge_reset(Device *dev)
{
    I440fx *bridge = (I440fx *)dev;

    memset(bridge->pci.config + PAM0, 0, 7);
    bridge->pci.config[SMRAM] = 0x02;
    update_pam(bridge);
}

static bool bridge_realize(Device *dev, GError **err)
{
    I440fx *bridge = (I440fx *)dev;
    PciDevice *pci = &bridge->pci;
    MemoryRegion *root = &dev->machine->mem_root;

    st16(pci->config + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    st16(pci->wmask + PCI_COMMAND, PCI_COMMAND_PARITY | PCI_COMMAND_SERR);
    st16(pci->config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    memset(pci->wmask + PAM0, 0x33, 7);
    pci->wmask[PAM0] = 0x30;
    /* DRAM row boundaries and the SMRAM control without its open bit: kept for firmware that reads back. */
    memset(pci->wmask + 0x60, 0xff, 8);
    pci->wmask[SMRAM] = 0x18;

    memory_transaction_begin();
    memory_region_add(root, 0, &bridge->host->pci_memory, -1);
    memory_region_init_alias(&bridge->vga_hole, OBJECT(dev), "vga-hole", &bridge->host->pci_memory, VGA_HOLE, VGA_HOLE_SIZE);
    memory_region_add(root, VGA_HOLE, &bridge->vga_hole, 1);
    add_segment(bridge, &bridge->pam[0], 0xf0000, 0x10000);
    for (unsigned n = 1; n < PAM_SEGMENTS; n++)
        add_segment(bridge, &bridge->pam[n], 0xc0000 + (n - 1) * 0x4000, 0x4000);
    memory_transaction_commit();
    bridge->pci_space = address_space_new(&bridge->host->pci_memory, "pci-memory");
    return true;
}

static void bridge_unrealize(Device *dev)
{
    I440fx *bridge = (I440fx *)dev;

    memory_transaction_begin();
    for (unsigned n = 0; n < PAM_SEGMENTS; n++) {
        memory_region_clear(&bridge->pam[n].pci);
        memory_region_clear(&bridge->pam[n].protect);
        memory_region_clear(&bridge->pam[n].shadow);
    }
    memory_region_clear(&bridge->vga_hole);
    memory_region_remove(&bridge->host->pci_memory);
    memory_transaction_commit();
    address_space_free(bridge->pci_space);
}

static const PciClass bridge_class = {
    .name = TYPE_I440FX, .parent = TYPE_PCI_DEVICE, .desc = "i440FX host bridge function", .size = sizeof(I440fx),
    .category = DEV_BRIDGE, .bus = PCI_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = bridge_realize, .unrealize = bridge_unrealize, .reset = bridge_reset,
    .vendor_id = 0x8086, .device_id = 0x1237, .revision = 2, .class_id = 0x0600, .config_write = bridge_config_write,
};
REGISTER_PCI_DEVICE(bridge_class)

/* ---- for the board ------------------------------------------------------------------------------------------------- */

void i440fx_set_reset_port(I440fxHost *host, uint8_t (*read)(void *opaque), void (*write)(void *opaque, uint8_t value),
                           void *opaque)
{
    host->reset_read = read;
    host->reset_write = write;
    host->reset_opaque = opaque;
}

PciBus *i440fx_bus(I440fxHost *host)
{
    return host->bus;
}

MemoryRegion *i440fx_pci_memory(I440fxHost *host)
{
    return &host->pci_memory;
}

void i440fx_open_shadow_ram(I440fxHost *host)
{
    memset(host->bridge->pci.config + PAM0, 0x33, 7);
    host->bridge->pci.config[PAM0] = 0x30;
    update_pam(host->bridge);
}

I440fxHost *i440fx_create(Machine *machine, MemoryRegion *ram, GError **err)
{
    Device *dev = device_new(machine, TYPE_I440FX_HOST, err);
    I440fxHost *host = (I440fxHost *)dev;

    if (!dev)
        return NULL;
    object_add_child(&machine->obj, "i440fx", OBJECT(dev));
    if (!device_realize(dev, NULL, err))
        return NULL;
    Device *fn = device_new(machine, TYPE_I440FX, err);
    if (!fn)
        return NULL;
    I440fx *bridge = (I440fx *)fn;
    bridge->host = host;
    bridge->ram = ram;
    bridge->pci.devfn = PCI_DEVFN(0, 0);
    host->bridge = bridge;
    return device_realize(fn, &host->bus->bus, err) ? host : NULL;
}
