/*
 * PCI hot-plug through ACPI: the guest learns of slots by a general purpose event and ejects them by a port write.
 *
 * Ports from the base: +0 slots that were added (read clears), +4 slots to be released (until ejected), +8 eject (write),
 * +0xc slots that can be ejected, +0x10 bus selector, each a dword with a bit for each slot; +0x14 device index for names.
 * Source: QEMU documentation "ACPI PCI hotplug interface".
 */
#pragma once

#include <hw/pci.h>

#define ACPI_PCIHP_BASE 0xae00
#define ACPI_PCIHP_SIZE 0x18
#define ACPI_PCIHP_GPE 1

typedef struct AcpiPciHotplug {
    Device *owner;
    PciBus *bus;
    void (*notify)(Device *owner);  /* raise the event */
    MemoryRegion ports;
    uint32_t up, down, selector, index_slot;
} AcpiPciHotplug;

void acpi_pcihp_init(AcpiPciHotplug *hp, Device *owner, PciBus *bus, void (*notify)(Device *owner));
void acpi_pcihp_clear(AcpiPciHotplug *hp);
/* Slots that the guest was asked to release are released now. */
void acpi_pcihp_reset(AcpiPciHotplug *hp);

extern const StateField acpi_pcihp_state[];
