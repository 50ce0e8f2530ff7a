/*
 * A PCI function: configuration space, BARs, capabilities, INTx, bus mastering.
 *
 * Source: PCI Local Bus Specification 3.0 ch. 6. Not modelled: parity and system errors, BIST, VPD.
 */
#include "hw/pci/pci-internal.h"

static unsigned bar_register(unsigned n)
{
    return n == PCI_ROM_BAR ? PCI_ROM_ADDRESS : PCI_BAR0 + n * 4;
}

/* Where the guest wants the BAR, or PCI_BAR_UNMAPPED: decoding off, not programmed, or wrapping around. */
static uint64_t bar_address(const PciDevice *pci, unsigned n)
{
    const PciBar *bar = &pci->bars[n];
    const uint8_t *reg = pci->config + bar_register(n);
    uint16_t command = ld16(pci->config + PCI_COMMAND);

    if (bar->type & PCI_BAR_IO) {
        uint64_t addr = ld32(reg) & ~(bar->size - 1) & ~3ull;
        bool usable = (command & PCI_COMMAND_IO) && addr && addr + bar->size <= 0x10000;
        return usable ? addr : PCI_BAR_UNMAPPED;
    }
    if (!(command & PCI_COMMAND_MEMORY) || (n == PCI_ROM_BAR && !(ld32(reg) & 1)))
        return PCI_BAR_UNMAPPED;

    bool wide = bar->type & PCI_BAR_MEM64;
    uint64_t addr = (wide ? ld64(reg) : ld32(reg)) & ~(bar->size - 1) & ~0xfull;
    uint64_t last = addr + bar->size - 1;
    /* All ones is what sizing writes: such a BAR is not yet placed, whatever the decode bit says. */
    if (!addr || last <= addr || last == UINT64_MAX || (!wide && last >= UINT32_MAX))
        return PCI_BAR_UNMAPPED;
    return addr;
}

void pci_update_mappings(PciDevice *pci)
{
    PciBus *bus = pci_device_bus(pci);

    memory_transaction_begin();
    for (unsigned n = 0; n < G_N_ELEMENTS(pci->bars); n++) {
        PciBar *bar = &pci->bars[n];
        if (!bar->mr)
            continue;
        uint64_t addr = bar_address(pci, n);
        if (addr == bar->mapped)
            continue;
        if (bar->mapped != PCI_BAR_UNMAPPED)
            memory_region_remove(bar->mr);
        bar->mapped = addr;
        if (addr != PCI_BAR_UNMAPPED)
            memory_region_add(bar->type & PCI_BAR_IO ? bus->io : bus->mem, addr, bar->mr, 1);
    }
    memory_transaction_commit();
}

void pci_register_bar(PciDevice *pci, unsigned n, uint8_t type, MemoryRegion *mr)
{
    uint64_t size = mr->size;
    uint8_t *config = pci->config + bar_register(n), *wmask = pci->wmask + bar_register(n);

    g_assert(n <= PCI_ROM_BAR && !pci->bars[n].mr);
    g_assert(size >= (type & PCI_BAR_IO ? 4 : 16) && (size & (size - 1)) == 0);
    pci->bars[n] = (PciBar) { .mr = mr, .size = size, .type = type, .mapped = PCI_BAR_UNMAPPED };

    if (n == PCI_ROM_BAR) {
        st32(wmask, ((uint32_t)~(size - 1) & 0xfffff800u) | 1);
    } else if (type & PCI_BAR_IO) {
        st32(config, PCI_BAR_IO);
        st32(wmask, (uint32_t)~(size - 1) & ~3u);
    } else if (type & PCI_BAR_MEM64) {
        g_assert(n + 1 < PCI_BARS);
        st64(config, type);
        st64(wmask, ~(size - 1) & ~0xfull);
    } else {
        g_assert(size <= 0x80000000u);
        st32(config, type);
        st32(wmask, (uint32_t)~(size - 1) & ~0xfu);
    }
    pci_update_mappings(pci);
}

uint8_t pci_find_capability(const PciDevice *pci, uint8_t id)
{
    if (!(ld16(pci->config + PCI_STATUS) & PCI_STATUS_CAP_LIST))
        return 0;
    uint8_t pos = pci->config[PCI_CAPABILITY_LIST] & ~3u;
    for (unsigned i = 0; pos >= 0x40 && i < PCI_CONFIG_SIZE / 4; i++) {
        if (pci->config[pos] == id)
            return pos;
        pos = pci->config[pos + 1] & ~3u;
    }
    return 0;
}

static bool capability_space_is_free(const PciDevice *pci, unsigned offset, unsigned size)
{
    if (offset < 0x40 || offset + size > PCI_CONFIG_SIZE)
        return false;
    for (unsigned i = offset / 4; i < (offset + size + 3) / 4; i++)
        if (pci->cap_used[i])
            return false;
    return true;
}

uint8_t pci_add_capability(PciDevice *pci, uint8_t id, uint8_t offset, uint8_t size, GError **err)
{
    unsigned pos = offset ? offset : 0x40;

    while (!offset && pos < PCI_CONFIG_SIZE && !capability_space_is_free(pci, pos, size))
        pos += 4;
    if (!capability_space_is_free(pci, pos, size)) {
        error_set(err, "%s has no room in configuration space for capability 0x%02x of %u bytes",
                  object_type_name(OBJECT(pci)), id, size);
        return 0;
    }
    memset(pci->config + pos, 0, size);
    memset(pci->wmask + pos, 0, size);
    memset(pci->w1cmask + pos, 0, size);
    for (unsigned i = pos / 4; i < (pos + size + 3) / 4; i++)
        pci->cap_used[i] = id;
    pci->config[pos] = id;
    pci->config[pos + 1] = pci->config[PCI_CAPABILITY_LIST];
    pci->config[PCI_CAPABILITY_LIST] = pos;
    st16(pci->config + PCI_STATUS, ld16(pci->config + PCI_STATUS) | PCI_STATUS_CAP_LIST);
    return pos;
}

void pci_set_interrupt_pin(PciDevice *pci, uint8_t pin)
{
    g_assert(pin <= 4);
    pci->config[PCI_INTERRUPT_PIN] = pin;
}

void pci_update_intx(PciDevice *pci)
{
    PciBus *bus = pci_device_bus(pci);
    uint8_t pin = pci->config[PCI_INTERRUPT_PIN];
    bool level = pci->intx_level && !(ld16(pci->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE);

    if (level == pci->intx_driven || pin == 0 || !bus->map_irq)
        return;
    pci->intx_driven = level;
    unsigned line = bus->map_irq(pci, pin - 1);
    g_assert(line < G_N_ELEMENTS(bus->irq_count));
    bus->irq_count[line] += level ? 1 : -1;
    bus->set_irq(bus->irq_opaque, line, bus->irq_count[line] != 0);
}

void pci_set_irq(PciDevice *pci, bool level)
{
    uint16_t status = ld16(pci->config + PCI_STATUS);

    pci->intx_level = level;
    st16(pci->config + PCI_STATUS, level ? status | PCI_STATUS_INTERRUPT : status & ~PCI_STATUS_INTERRUPT);
    pci_update_intx(pci);
}

AddressSpace *pci_dma_space(PciDevice *pci)
{
    return pci->dma_space;
}

uint32_t pci_default_config_read(PciDevice *pci, unsigned addr, unsigned size)
{
    uint32_t value = 0;

    if (addr + size > pci->config_size)
        return mask_bytes(size);
    memcpy(&value, pci->config + addr, size);
    return value;
}

void pci_default_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)
{
    if (addr + size > pci->config_size)
        return;
    for (unsigned i = 0; i < size; i++, value >>= 8) {
        uint8_t byte = value, *reg = pci->config + addr + i;
        uint8_t wmask = pci->wmask[addr + i];
        *reg = (*reg & ~wmask) | (byte & wmask);
        *reg &= ~(byte & pci->w1cmask[addr + i]);
    }
    if (pci_config_touches(addr, size, PCI_COMMAND, 2)) {
        memory_region_set_enabled(&pci->dma_alias, pci_bus_master_enabled(pci));
        pci_update_intx(pci);
    }
    if (pci_config_touches(addr, size, PCI_COMMAND, 2) || pci_config_touches(addr, size, PCI_BAR0, 24) ||
        pci_config_touches(addr, size, PCI_ROM_ADDRESS, 4))
        pci_update_mappings(pci);
    msi_config_written(pci, addr, size);
    msix_config_written(pci, addr, size);
}

void pci_device_reset_common(PciDevice *pci)
{
    static const struct { uint8_t reg, size; } cleared[] = {
        { PCI_COMMAND, 2 }, { PCI_CACHE_LINE_SIZE, 1 }, { PCI_LATENCY_TIMER, 1 }, { PCI_INTERRUPT_LINE, 1 },
    };

    pci_set_irq(pci, false);
    for (unsigned i = 0; i < G_N_ELEMENTS(cleared); i++)
        for (unsigned reg = cleared[i].reg; reg < cleared[i].reg + cleared[i].size; reg++)
            pci->config[reg] &= ~pci->wmask[reg];
    for (unsigned n = 0; n < G_N_ELEMENTS(pci->bars); n++) {
        if (!pci->bars[n].mr)
            continue;
        unsigned reg = bar_register(n), len = pci->bars[n].type & PCI_BAR_MEM64 ? 8 : 4;
        for (unsigned i = reg; i < reg + len; i++)
            pci->config[i] &= ~pci->wmask[i];
    }
    memory_region_set_enabled(&pci->dma_alias, false);
    msi_reset(pci);
    msix_reset(pci);
    pci_update_mappings(pci);
}

static void pci_device_finalize(Object *obj)
{
    PciDevice *pci = PCI_DEVICE(obj);

    msix_free(pci);
    g_free(pci->config);
    g_free(pci->wmask);
    g_free(pci->w1cmask);
}

static const Property pci_device_props[] = {
    { .name = "addr", .kind = PROP_KIND_PCI_ADDR, .offset = offsetof(PciDevice, devfn), .def = (uint64_t)-1,
      .help = "slot and function on the bus, as 06.0 or 0x6; chosen by the bus when not given" },
    PROP_BOOL("multifunction", PciDevice, multifunction, false, "function 0 announces that there are others in the slot"),
    PROP_U32("rombar", PciDevice, rombar, 1, 0, 1, "0: the option ROM goes through fw_cfg, not into a BAR"),
    PROP_STR("romfile", PciDevice, romfile, NULL, "option ROM image; empty: none"),
    PROP_U32("acpi-index", PciDevice, acpi_index, 0, 0, 16383, "index for the guest's persistent device names"),
    PROP_END
};

static const PciClass pci_device_class = {
    .name = TYPE_PCI_DEVICE, .parent = TYPE_DEVICE, .desc = "PCI function", .size = sizeof(PciDevice), .abstract = true,
    .props = pci_device_props, .finalize = pci_device_finalize, .bus = PCI_BUS_KIND,
};
REGISTER_OBJECT(pci_device_class)
