/*
 * The state in which firmware leaves a pc, for kernels that are started without it.
 *
 * PCI functions get addresses and interrupt lines, RAM is open below 1 MiB, the power management registers are where the
 * FADT says, ACPI and SMBIOS tables are in memory, MTRRs describe the map.
 */
#include "hw/acpi/acpi-build.h"
#include "hw/i386/boot.h"
#include "hw/i386/smbios.h"
#include "hw/intc/apic.h"

#define IO_BASE 0xc000
#define RSDP_GPA 0xf5a00
#define SMBIOS_ANCHOR_GPA 0xf5b00
#define EBDA_GPA 0x9fc00

/* ---- PCI ----------------------------------------------------------------------------------------------------------------- */

typedef struct PciPlacer {
    PciBus *bus;
    uint64_t io;             /* next free port */
    uint64_t mem_top;        /* below it, memory is taken from the top down */
    uint64_t mem_bottom;
    uint64_t mem64;          /* next free address above 4 GiB */
} PciPlacer;

static uint64_t place_bar(PciPlacer *p, const PciBar *bar)
{
    if (bar->type & PCI_BAR_IO) {
        uint64_t at = ROUND_UP_TO(p->io, bar->size);
        if (at + bar->size > 0x10000)
            return 0;
        p->io = at + bar->size;
        return at;
    }
    uint64_t at = p->mem_top >= bar->size ? ROUND_DOWN_TO(p->mem_top - bar->size, bar->size) : 0;
    if (at >= p->mem_bottom) {
        p->mem_top = at;
        return at;
    }
    if (!(bar->type & PCI_BAR_MEM64))
        return 0;
    at = ROUND_UP_TO(p->mem64, bar->size);
    p->mem64 = at + bar->size;
    return at;
}

static void place_function(PciPlacer *p, PciDevice *pci)
{
    uint16_t command = ld16(pci->config + PCI_COMMAND);
    unsigned bdf = pci->devfn;

    for (unsigned n = 0; n < PCI_BARS; n++) {
        const PciBar *bar = &pci->bars[n];
        uint64_t at = bar->mr ? place_bar(p, bar) : 0;
        if (!at)
            continue;
        pci_config_write(p->bus, bdf, PCI_BAR0 + n * 4, at, 4);
        if (bar->type & PCI_BAR_MEM64)
            pci_config_write(p->bus, bdf, PCI_BAR0 + n * 4 + 4, at >> 32, 4);
        command |= bar->type & PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
    }
    uint8_t pin = pci->config[PCI_INTERRUPT_PIN];
    if (pin && PCI_SLOT(pci->devfn) > 1)
        pci_config_write(p->bus, bdf, PCI_INTERRUPT_LINE, piix3_default_irq(PCI_SLOT(pci->devfn), pin - 1), 1);
    pci_config_write(p->bus, bdf, PCI_COMMAND, command, 2);
}

static void place_pci(PcMachine *pc)
{
    PciBus *bus = i440fx_bus(pc->host);
    PciPlacer p = {
        .bus = bus, .io = IO_BASE, .mem_top = PC_PCI_HOLE_END, .mem_bottom = pc->low_ram,
        .mem64 = ROUND_UP_TO(4 * GIB + pc->high_ram, GIB),
    };

    memory_transaction_begin();
    for (unsigned devfn = 0; devfn < G_N_ELEMENTS(bus->devices); devfn++)
        if (bus->devices[devfn])
            place_function(&p, bus->devices[devfn]);
    memory_transaction_commit();
}

/* ---- tables --------------------------------------------------------------------------------------------------------------- */

/* Both kinds in the area at the top of low RAM, their entry points where a search below 1 MiB finds them. */
static uint64_t write_tables(PcMachine *pc)
{
    uint64_t at = pc->low_ram - PC_TABLES_AREA, rsdp = 0;

    if (pc->machine.acpi) {
        g_autoptr(AcpiTables) acpi = acpi_build(pc);
        g_assert(acpi->tables->len <= PC_TABLES_AREA / 2);
        acpi_tables_relocate(acpi, at);
        boot_write(pc, at, acpi->tables->data, acpi->tables->len);
        boot_write(pc, RSDP_GPA, acpi->rsdp, sizeof(acpi->rsdp));
        rsdp = RSDP_GPA;
    }
    at += PC_TABLES_AREA / 2;
    g_autoptr(GByteArray) smbios = smbios_build(pc);
    uint8_t anchor[SMBIOS_ANCHOR_SIZE];
    g_assert(smbios->len <= PC_TABLES_AREA / 2);
    smbios_anchor(smbios, at, anchor);
    boot_write(pc, at, smbios->data, smbios->len);
    boot_write(pc, SMBIOS_ANCHOR_GPA, anchor, sizeof(anchor));
    return rsdp;
}

/* The few words of the BIOS data area that kernels look at. */
static void write_bios_data(PcMachine *pc)
{
    static const uint16_t com_ports[4] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    uint8_t word[2];

    boot_zero(pc, 0, 0xa0000);
    for (unsigned i = 0; i < pc->machine.serials->len && i < 4; i++) {
        st16(word, pc->machine.serials->pdata[i] ? com_ports[i] : 0);
        boot_write(pc, 0x400 + 2 * i, word, 2);
    }
    st16(word, EBDA_GPA >> 4);
    boot_write(pc, 0x40e, word, 2);
    st16(word, EBDA_GPA / KIB);
    boot_write(pc, 0x413, word, 2);
    st16(word, 1); /* the EBDA's first byte is its size in KiB */
    boot_write(pc, EBDA_GPA, word, 2);
}

/* ---- CPUs ------------------------------------------------------------------------------------------------------------------ */

/* Write-back by default; the PCI hole, up to 4 GiB, uncached in as few power-of-two pieces as it takes (SDM 3A 12.11). */
static void set_mtrrs(const PcMachine *pc, X86Cpu *cpu)
{
    X86State *st = &cpu->st;
    uint64_t phys_mask = cpu->phys_bits >= 52 ? (1ull << 52) - 1 : (1ull << cpu->phys_bits) - 1;
    uint64_t start = MAX(pc->low_ram, 0xc0000000ull);
    unsigned n = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(st->mtrr_fixed); i++)
        st->mtrr_fixed[i] = 0x0606060606060606ull;
    st->mtrr_fixed[2] = 0; /* 0xa0000-0xbffff */
    start = ROUND_UP_TO(start, 512 * MIB);
    while (start < 4 * GIB && n < 4) {
        uint64_t size = start & -start;
        while (start + size > 4 * GIB)
            size /= 2;
        st->mtrr_base[n] = start;
        st->mtrr_mask[n] = (~(size - 1) & phys_mask) | 0x800;
        start += size;
        n++;
    }
    st->mtrr_def_type = 0xc06;
}

static void write_port(PcMachine *pc, uint16_t port, uint8_t value)
{
    MemView *view = address_space_view_ref(pc->machine.io);

    mem_view_write(view, port, value, 1);
    mem_view_unref(view);
}

void boot_platform_prepare(PcMachine *pc, uint64_t *rsdp_gpa)
{
    i440fx_open_shadow_ram(pc->host);
    piix3_route_defaults(pc->piix3);
    write_port(pc, 0x4d1, 0x0c); /* IRQ 10 and 11 are level triggered */
    if (pc->pm)
        piix4_pm_enable_defaults(pc->pm);
    place_pci(pc);
    write_bios_data(pc);
    *rsdp_gpa = write_tables(pc);
    for (unsigned i = 0; i < pc->machine.nr_vcpus; i++)
        set_mtrrs(pc, X86_CPU(pc->machine.vcpus[i]));
}
