/*
 * What the files of hw/pci share.
 */
#pragma once

#include <hw/msix.h>
#include <hw/pci.h>

/* Maps and unmaps BARs as configuration space now says. */
void pci_update_mappings(PciDevice *pci);
/* Recomputes the level that the bus sees, after INTx disable or the device's level changed. */
void pci_update_intx(PciDevice *pci);
/* Loads the option ROM into a BAR or, with rombar=0, into fw_cfg's genroms/. */
bool pci_rom_load(PciDevice *pci, GError **err) WARN_UNUSED;
void pci_rom_unload(PciDevice *pci);

/* Consequences of a configuration write that touched the capability. */
void msi_config_written(PciDevice *pci, unsigned addr, unsigned size);
void msix_config_written(PciDevice *pci, unsigned addr, unsigned size);
void msi_reset(PciDevice *pci);
void msix_reset(PciDevice *pci);
/* Takes table and pending bits out of the memory map; the state stays until msix_free, as other threads may still notify. */
void msix_unmap(PciDevice *pci);
void msix_free(PciDevice *pci);
