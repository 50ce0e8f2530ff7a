/*
 * Host side of the PIIX4's SMBus controller. No slave is attached: every transfer ends with a device error, as on a board without
 * SPD ROMs.
 */
#pragma once

#include <hw/device.h>

#define SMBUS_PORTS 16

typedef struct SmbusHost {
    MemoryRegion ports;
    uint8_t regs[SMBUS_PORTS];
} SmbusHost;

void smbus_host_init(SmbusHost *smbus, Device *owner);
void smbus_host_reset(SmbusHost *smbus);
