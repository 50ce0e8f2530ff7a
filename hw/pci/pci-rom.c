/*
 * Option ROMs of PCI devices: a read-only BAR, or with rombar=0 a file that firmware finds under genroms/.
 *
 * Source: PCI Firmware Specification 3.0 §5.1 (0xaa55 header); SeaBIOS Runtime_config "genroms/".
 */
#include "hw/pci/pci-internal.h"

#include "hw/i386/firmware.h"
#include "hw/misc/fw_cfg.h"
#include "system/machine.h"

/* The expansion ROM BAR can't be larger than its address bits allow; option ROMs are below 1 MiB in practice. */
#define ROM_SIZE_MAX (16 * MIB)

bool pci_rom_load(PciDevice *pci, GError **err)
{
    const char *name = pci->romfile ? pci->romfile : pci_class(pci)->default_romfile;
    g_autofree char *path = NULL;
    g_autofree char *data = NULL;
    gsize len = 0;

    if (!name || !*name)
        return true;
    path = firmware_find(name);
    if (!path) {
        error_set(err, "option ROM '%s' of %s was not found", name, object_type_name(OBJECT(pci)));
        return false;
    }
    if (!firmware_read(path, ROM_SIZE_MAX, &data, &len, err)) {
        g_prefix_error(err, "option ROM of %s: ", object_type_name(OBJECT(pci)));
        return false;
    }
    if (!pci->rombar) {
        if (pci->dev.machine->fw_cfg && !pci->dev.machine->started) {
            g_autofree char *base = g_path_get_basename(path);
            g_autofree char *file = g_strdup_printf("genroms/%s", base);
            return fw_cfg_add_file(pci->dev.machine->fw_cfg, file, data, len, err);
        }
        return true;
    }

    uint64_t size = 2048;
    while (size < len)
        size *= 2;
    if (!memory_region_init_rom(&pci->rom, OBJECT(pci), "rom", size, err))
        return false;
    memset(pci->rom.ram->host, 0xff, size);
    memcpy(pci->rom.ram->host, data, len);
    pci_register_bar(pci, PCI_ROM_BAR, PCI_BAR_MEM32, &pci->rom);
    return true;
}

void pci_rom_unload(PciDevice *pci)
{
    if (pci->bars[PCI_ROM_BAR].mr)
        memory_region_clear(&pci->rom);
}
