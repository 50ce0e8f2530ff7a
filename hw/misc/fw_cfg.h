/*
 * fw_cfg: how the machine tells firmware and guests what it is made of. Keys, and files with names.
 *
 * Files may be added until the machine starts and replaced at any time; their keys never change. Machine's domain locked.
 * Source: QEMU documentation "fw_cfg device"; Linux Documentation/ABI sysfs-firmware-qemu_fw_cfg.
 */
#pragma once

#include <hw/device.h>

typedef struct FwCfg FwCfg;

#define FW_CFG_SIGNATURE 0x00
#define FW_CFG_ID 0x01
#define FW_CFG_UUID 0x02
#define FW_CFG_RAM_SIZE 0x03
#define FW_CFG_NOGRAPHIC 0x04
#define FW_CFG_NB_CPUS 0x05
#define FW_CFG_MACHINE_ID 0x06
#define FW_CFG_KERNEL_ADDR 0x07
#define FW_CFG_KERNEL_SIZE 0x08
#define FW_CFG_KERNEL_CMDLINE 0x09
#define FW_CFG_INITRD_ADDR 0x0a
#define FW_CFG_INITRD_SIZE 0x0b
#define FW_CFG_BOOT_DEVICE 0x0c
#define FW_CFG_NUMA 0x0d
#define FW_CFG_BOOT_MENU 0x0e
#define FW_CFG_MAX_CPUS 0x0f
#define FW_CFG_KERNEL_ENTRY 0x10
#define FW_CFG_KERNEL_DATA 0x11
#define FW_CFG_INITRD_DATA 0x12
#define FW_CFG_CMDLINE_ADDR 0x13
#define FW_CFG_CMDLINE_SIZE 0x14
#define FW_CFG_CMDLINE_DATA 0x15
#define FW_CFG_SETUP_ADDR 0x16
#define FW_CFG_SETUP_SIZE 0x17
#define FW_CFG_SETUP_DATA 0x18
#define FW_CFG_FILE_DIR 0x19
#define FW_CFG_FILE_FIRST 0x20
#define FW_CFG_ARCH 0x8000
#define FW_CFG_IRQ0_OVERRIDE (FW_CFG_ARCH + 2)

#define FW_CFG_NAME_MAX 55 /* bytes without the NUL */

/* Made at ports 0x510-0x51b of io, machine->fw_cfg is set. (borrowed) NULL with err. */
FwCfg *fw_cfg_create(Machine *machine, MemoryRegion *io, GError **err) WARN_UNUSED;

/* Values of numbered keys; a key that has one is replaced. data is copied. */
void fw_cfg_set_bytes(FwCfg *fw, uint16_t key, const void *data, size_t len);
void fw_cfg_set_u16(FwCfg *fw, uint16_t key, uint16_t value);
void fw_cfg_set_u32(FwCfg *fw, uint16_t key, uint32_t value);
void fw_cfg_set_u64(FwCfg *fw, uint16_t key, uint64_t value);
void fw_cfg_set_string(FwCfg *fw, uint16_t key, const char *text); /* NUL included */
/* The same without copying: data lives as long as the machine. */
void fw_cfg_set_borrowed(FwCfg *fw, uint16_t key, const void *data, size_t len);

/* A new file; refused if the name is too long, taken, or there are too many. data is copied. */
bool fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err) WARN_UNUSED;
/* The machine's own files, known to fit: added or replaced. */
void fw_cfg_set_file(FwCfg *fw, const char *name, const void *data, size_t len);
/* What a file holds (borrowed until it is replaced), NULL if there is none. */
const void *fw_cfg_file(FwCfg *fw, const char *name, size_t *len);

/*
 * -fw_cfg name=...,file=...|string=... : kept until fw_cfg_create(), which adds them, or added at once. Options: "name" and one of "file",
 * "string".
 */
bool fw_cfg_add_option(Machine *machine, json_object *options, GError **err) WARN_UNUSED;
