/*
 * 82371AB (PIIX4) function 3: power management, SMBus; and the machine's PCI hot-plug controller.
 */
#pragma once

#include <hw/pci.h>

#define TYPE_PIIX4_PM "PIIX4_PM"
#define PIIX4_PM_BASE 0x0600      /* where firmware puts the PM registers */
#define PIIX4_SMBUS_BASE 0x0700
#define PIIX4_GPE_BASE 0xafe0
#define PIIX4_SCI_IRQ 9
#define PIIX4_SMI_CMD 0xb2
#define PIIX4_ACPI_ENABLE 0xf1
#define PIIX4_ACPI_DISABLE 0xf0
#define PIIX4_S5_TYPE 0
#define PIIX4_S3_TYPE 1
#define PIIX4_S4_TYPE 2

typedef struct Piix4Pm Piix4Pm;

/* At function 3 of slot 1. sci: the interrupt line. (borrowed) NULL with err. */
Piix4Pm *piix4_pm_create(Machine *machine, PciBus *bus, Irq *sci, GError **err) WARN_UNUSED;
/* Maps the PM registers and SMBus where firmware would (direct kernel boot). */
void piix4_pm_enable_defaults(Piix4Pm *pm);
bool piix4_pm_root_hotplug(const Piix4Pm *pm);
/* fw_cfg "etc/system-states": for S0-S5 the sleep type, with bit 7 set for the ones that work. */
void piix4_pm_system_states(const Piix4Pm *pm, uint8_t states[6]);
