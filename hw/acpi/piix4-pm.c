/*
 * PIIX4 power management function.
 *
 * Modelled: ACPI fixed hardware, the SMI command port's ACPI enable and disable (no SMI is ever raised: the machine has no
 * SMM, and APMC_EN reads as set so that firmware does not try to set it up), sleep S4 and S5 as power off, SMBus without
 * slaves. Not modelled: S3, throttling, device monitors.
 * Source: Intel 82371AB (PIIX4) datasheet (290562-001) §7; ACPI 6.4 §4.8.
 */
#include "hw/acpi/piix4-pm.h"

#include <json-c/json.h>

#include "hw/acpi/acpi-regs.h"
#include "hw/acpi/pcihp.h"
#include "hw/acpi/smbus-host.h"
#include "monitor/events.h"
#include "system/machine.h"

#define CFG_PMBA 0x40
#define CFG_DEVACTB 0x58
#define CFG_DEVACTB_APMC_EN 0x02000000u
#define CFG_PMREGMISC 0x80
#define CFG_SMBBA 0x90
#define CFG_SMBHSTCFG 0xd2

struct Piix4Pm {
    PciDevice pci;
    AcpiRegs acpi;
    AcpiPciHotplug hotplug;
    SmbusHost smbus;
    MemoryRegion apm;
    uint8_t apm_regs[2];   /* command, status */
    uint8_t disable_s3, disable_s4, s4_val;
    bool root_hotplug;
    Irq *sci;
};

static void map_window(MemoryRegion *io, MemoryRegion *mr, bool enabled, uint16_t base)
{
    memory_region_remove(mr);
    if (enabled && base)
        memory_region_add(io, base, mr, 1);
}

static void update_windows(Piix4Pm *pm)
{
    const uint8_t *config = pm->pci.config;
    MemoryRegion *io = pci_device_bus(&pm->pci)->io;

    memory_transaction_begin();
    map_window(io, &pm->acpi.pm, config[CFG_PMREGMISC] & 1, ld16(config + CFG_PMBA) & 0xffc0);
    map_window(io, &pm->smbus.ports, config[CFG_SMBHSTCFG] & 1, ld16(config + CFG_SMBBA) & 0xfff0);
    memory_transaction_commit();
}

static void pm_config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)
{
    pci_default_config_write(pci, addr, value, size);
    if (pci_config_touches(addr, size, CFG_PMBA, 4) || pci_config_touches(addr, size, CFG_PMREGMISC, 1) ||
        pci_config_touches(addr, size, CFG_SMBBA, 4) || pci_config_touches(addr, size, CFG_SMBHSTCFG, 1))
        update_windows((Piix4Pm *)pci);
}

static void pm_sleep(Device *owner, unsigned sleep_type)
{
    Piix4Pm *pm = (Piix4Pm *)owner;

    if (sleep_type == PIIX4_S5_TYPE) {
        machine_request_shutdown(owner->machine, CAUSE_GUEST_SHUTDOWN);
    } else if (sleep_type == pm->s4_val && !pm->disable_s4) {
        qmp_event_emit("SUSPEND_DISK", NULL);
        machine_request_shutdown(owner->machine, CAUSE_GUEST_SHUTDOWN);
    } else {
        guest_error(owner, "sleep type %u is not one that the machine offers", sleep_type);
    }
}

static void power_button(void *opaque)
{
    acpi_raise_pm1(&((Piix4Pm *)opaque)->acpi, ACPI_PM1_POWER_BUTTON);
}

static void hotplug_event(Device *owner)
{
    acpi_raise_gpe(&((Piix4Pm *)owner)->acpi, ACPI_PCIHP_GPE);
}

static uint64_t apm_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((Piix4Pm *)opaque)->apm_regs[offset];
}

static void apm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Piix4Pm *pm = opaque;

    pm->apm_regs[offset] = value;
    if (offset == 0 && value == PIIX4_ACPI_ENABLE)
        acpi_set_sci_enable(&pm->acpi, true);
    else if (offset == 0 && value == PIIX4_ACPI_DISABLE)
        acpi_set_sci_enable(&pm->acpi, false);
}

static const MemoryRegionOps apm_ops = {
    .read = apm_read, .write = apm_write, .min_access = 1, .max_access = 1, .valid_max = 2,
};

static void pm_reset(Device *dev)
{
    Piix4Pm *pm = (Piix4Pm *)dev;
    uint8_t *config = pm->pci.config;

    memset(config + 0x40, 0, PCI_CONFIG_SIZE - 0x40);
    config[CFG_PMBA] = 1;
    config[CFG_SMBBA] = 1;
    st32(config + CFG_DEVACTB, CFG_DEVACTB_APMC_EN);
    memset(pm->apm_regs, 0, sizeof(pm->apm_regs));
    acpi_regs_reset(&pm->acpi);
    smbus_host_reset(&pm->smbus);
    if (pm->root_hotplug)
        acpi_pcihp_reset(&pm->hotplug);
    update_windows(pm);
}

static void init_config(PciDevice *pci)
{
    /* The function decodes at fixed places, whatever the command register says. */
    st16(pci->wmask + PCI_COMMAND, PCI_COMMAND_IO | PCI_COMMAND_MASTER | PCI_COMMAND_SERR);
    st16(pci->config + PCI_STATUS, PCI_STATUS_DEVSEL_MEDIUM | PCI_STATUS_FAST_BACK);
    pci_set_interrupt_pin(pci, 1);
    memset(pci->wmask + 0x40, 0xff, PCI_CONFIG_SIZE - 0x40);
    st32(pci->wmask + CFG_PMBA, 0xffc0);
    st32(pci->wmask + CFG_SMBBA, 0xfff0);
    st32(pci->wmask + CFG_DEVACTB, ~CFG_DEVACTB_APMC_EN);
}

static bool pm_realize(Device *dev, GError **err)
{
    Piix4Pm *pm = (Piix4Pm *)dev;
    PciBus *bus = pci_device_bus(&pm->pci);

    if (!pm->disable_s3) {
        error_set(err, "%s: sleep state S3 is not supported, disable_s3 must be 1", TYPE_PIIX4_PM);
        return false;
    }
    init_config(&pm->pci);
    acpi_regs_init(&pm->acpi, dev, pm_sleep);
    pm->acpi.sci = pm->sci;
    smbus_host_init(&pm->smbus, dev);
    memory_region_init_io(&pm->apm, OBJECT(dev), dev->domain, &apm_ops, pm, "apm", 2);
    memory_region_add(bus->io, PIIX4_SMI_CMD, &pm->apm, 0);
    memory_region_add(bus->io, PIIX4_GPE_BASE, &pm->acpi.gpe, 0);
    if (pm->root_hotplug) {
        acpi_pcihp_init(&pm->hotplug, dev, bus, hotplug_event);
        memory_region_add(bus->io, ACPI_PCIHP_BASE, &pm->hotplug.ports, 0);
    }
    runstate_on_powerdown(dev->machine->run, power_button, pm);
    return true;
}

static void pm_unrealize(Device *dev)
{
    Piix4Pm *pm = (Piix4Pm *)dev;

    if (pm->root_hotplug)
        acpi_pcihp_clear(&pm->hotplug);
    memory_region_clear(&pm->apm);
    memory_region_clear(&pm->smbus.ports);
    acpi_regs_clear(&pm->acpi);
}

static bool pm_loaded(void *instance, uint32_t version, GError **err)
{
    Piix4Pm *pm = instance;

    update_windows(pm);
    acpi_regs_update(&pm->acpi);
    return true;
}

static const Property pm_props[] = {
    PROP_U8("disable_s3", Piix4Pm, disable_s3, 1, 0, 1, "1: sleep state S3 is not offered (0 is not supported)"),
    PROP_U8("disable_s4", Piix4Pm, disable_s4, 0, 0, 1, "1: sleep state S4 (suspend to disk) is not offered"),
    PROP_U8("s4_val", Piix4Pm, s4_val, PIIX4_S4_TYPE, 2, 7, "sleep type that stands for S4"),
    PROP_BOOL("acpi-root-pci-hotplug", Piix4Pm, root_hotplug, true, "slots of the root bus can be hot-plugged"),
    PROP_END
};

static const StateField pm_state[] = {
    { .name = "acpi", .kind = STATE_STRUCT, .offset = offsetof(Piix4Pm, acpi), .count = 1, .stride = sizeof(AcpiRegs),
      .sub = acpi_regs_state },
    { .name = "hotplug", .kind = STATE_STRUCT, .offset = offsetof(Piix4Pm, hotplug), .count = 1,
      .stride = sizeof(AcpiPciHotplug), .sub = acpi_pcihp_state },
    { .name = "smbus", .kind = STATE_BYTES, .offset = offsetof(Piix4Pm, smbus.regs), .count = SMBUS_PORTS },
    STATE_BYTES_(Piix4Pm, apm_regs), STATE_POST_LOAD(pm_loaded), STATE_END
};

static const PciClass pm_class = {
    .name = TYPE_PIIX4_PM, .parent = TYPE_PCI_DEVICE, .desc = "PIIX4 power management", .size = sizeof(Piix4Pm),
    .category = DEV_BRIDGE, .bus = PCI_BUS_KIND, .internal = true, .no_hotplug = true, .props = pm_props,
    .state = pm_state, .state_version = 1, .realize = pm_realize, .unrealize = pm_unrealize, .reset = pm_reset,
    .vendor_id = 0x8086, .device_id = 0x7113, .class_id = 0x0680, .revision = 3, .config_write = pm_config_write,
};
REGISTER_PCI_DEVICE(pm_class)

Piix4Pm *piix4_pm_create(Machine *machine, PciBus *bus, Irq *sci, GError **err)
{
    Device *dev = device_new(machine, TYPE_PIIX4_PM, err);
    Piix4Pm *pm = (Piix4Pm *)dev;

    if (!dev)
        return NULL;
    pm->sci = sci;
    pm->pci.devfn = PCI_DEVFN(1, 3);
    return device_realize(dev, &bus->bus, err) ? pm : NULL;
}

void piix4_pm_enable_defaults(Piix4Pm *pm)
{
    uint8_t *config = pm->pci.config;

    st16(config + CFG_PMBA, PIIX4_PM_BASE | 1);
    config[CFG_PMREGMISC] = 1;
    st16(config + CFG_SMBBA, PIIX4_SMBUS_BASE | 1);
    config[CFG_SMBHSTCFG] = 0x09;
    config[PCI_INTERRUPT_LINE] = PIIX4_SCI_IRQ;
    update_windows(pm);
}

bool piix4_pm_root_hotplug(const Piix4Pm *pm)
{
    return pm->root_hotplug;
}

void piix4_pm_system_states(const Piix4Pm *pm, uint8_t states[6])
{
    static const uint8_t base[6] = { 0x80, 0, 0, PIIX4_S3_TYPE, PIIX4_S4_TYPE, 0x80 | PIIX4_S5_TYPE };

    memcpy(states, base, sizeof(base));
    states[4] = pm->s4_val | (pm->disable_s4 ? 0 : 0x80);
}
