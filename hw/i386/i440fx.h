/*
 * 82441FX host bridge: PCI configuration mechanism 1, the root bus, and the memory map between 640 KiB and 1 MiB.
 */
#pragma once

#include <hw/pci.h>

#define TYPE_I440FX_HOST "i440FX-pcihost"
#define TYPE_I440FX "i440FX"

typedef struct I440fxHost I440fxHost;

/*
 * Made at ports 0xcf8-0xcff; its bus is "pci.0". ram is the region of guest RAM at address 0. What no RAM covers decodes to
 * i440fx_pci_memory(). (borrowed) NULL with err.
 */
I440fxHost *i440fx_create(Machine *machine, MemoryRegion *ram, GError **err) WARN_UNUSED;
/*
 * Port 0xcf9 lies inside the configuration address register, which takes dwords only: byte accesses belong to the ISA bridge's
 * reset control register.
 */
void i440fx_set_reset_port(I440fxHost *host, uint8_t (*read)(void *opaque), void (*write)(void *opaque, uint8_t value),
                           void *opaque);
PciBus *i440fx_bus(I440fxHost *host);
/* The PCI memory space, system addresses: boards put ROMs and low windows there. */
MemoryRegion *i440fx_pci_memory(I440fxHost *host);
/* Opens or closes RAM at 0xc0000-0xfffff as the bridge's PAM registers would after firmware (direct kernel boot). */
void i440fx_open_shadow_ram(I440fxHost *host);
