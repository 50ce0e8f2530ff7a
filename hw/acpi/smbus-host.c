/*
 * SMBus host controller registers. Source: Intel 82371AB (PIIX4) datasheet (290562-001) §7.3.
 */
#include "hw/acpi/smbus-host.h"

#define HOST_STATUS 0
#define STATUS_DEVICE_ERROR 0x04
#define STATUS_FAILED 0x10
#define STATUS_W1C 0x1e
#define SLAVE_STATUS 1
#define SLAVE_STATUS_W1C 0x3c
#define HOST_CONTROL 2
#define CONTROL_START 0x40
#define CONTROL_KILL 0x02

static uint64_t smbus_read(void *opaque, uint64_t offset, unsigned size)
{
    return ((SmbusHost *)opaque)->regs[offset];
}

static void smbus_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    SmbusHost *smbus = opaque;

    switch (offset) {
    case HOST_STATUS:
        smbus->regs[offset] &= ~(value & STATUS_W1C);
        break;
    case SLAVE_STATUS:
        smbus->regs[offset] &= ~(value & SLAVE_STATUS_W1C);
        break;
    case HOST_CONTROL:
        smbus->regs[offset] = value & ~CONTROL_START;
        if (value & CONTROL_KILL)
            smbus->regs[HOST_STATUS] |= STATUS_FAILED;
        else if (value & CONTROL_START)
            smbus->regs[HOST_STATUS] |= STATUS_DEVICE_ERROR;
        break;
    default:
        smbus->regs[offset] = value;
        break;
    }
}

static const MemoryRegionOps smbus_ops = {
    .read = smbus_read, .write = smbus_write, .min_access = 1, .max_access = 1, .valid_max = 4,
};

void smbus_host_init(SmbusHost *smbus, Device *owner)
{
    memory_region_init_io(&smbus->ports, OBJECT(owner), owner->domain, &smbus_ops, smbus, "smbus", SMBUS_PORTS);
}

void smbus_host_reset(SmbusHost *smbus)
{
    memset(smbus->regs, 0, sizeof(smbus->regs));
}
