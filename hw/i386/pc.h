/*
 * The pc machines (i440FX and PIIX): what their parts share.
 */
#pragma once

#include <hw/isa.h>
#include <hw/pci.h>

#include "hw/acpi/piix4-pm.h"
#include "hw/i386/i440fx.h"
#include "hw/isa/piix3.h"
#include "hw/misc/fw_cfg.h"
#include "system/machine.h"

#define PC_GSIS 24
#define PC_PCI_HOLE_END 0xfec00000u
#define PC_SERIALS 4

typedef struct PcMachine PcMachine;

/* One global system interrupt: sources that share it are or-ed. */
typedef struct PcGsi {
    PcMachine *pc;
    uint32_t sources;   /* PC_SOURCE_* that hold it high */
} PcGsi;

enum { PC_SOURCE_ISA, PC_SOURCE_HPET, PC_SOURCE_PCI, PC_SOURCE_SCI, PC_SOURCES };

typedef struct E820Entry {
    uint64_t addr, size;
    uint32_t type;
} E820Entry;
#define E820_RAM 1
#define E820_RESERVED 2
#define E820_ACPI 3
#define E820_NVS 4

struct PcMachine {
    Machine machine;
    bool graphics, i8042;
    uint64_t max_low_ram;             /* -machine max-ram-below-4g=, 0: the chipset's rule */
    uint64_t low_ram, high_ram;       /* bytes below and above 4 GiB */
    MemoryRegion low_alias, high_alias;
    MemoryRegion bios, bios_alias;
    PcGsi gsi[PC_GSIS];
    Irq *gsi_in[PC_SOURCES][PC_GSIS];
    Irq *a20_in;
    bool a20_open;                    /* address line 20, as the gates last said */
    Device *pic, *ioapic, *pit, *hpet_dev, *rtc;
    I440fxHost *host;
    Piix3 *piix3;
    Piix4Pm *pm;                      /* NULL with acpi=off */
    struct BootImage *boot_image;     /* direct kernel boot, NULL without -kernel */
};

#define TYPE_PC_MACHINE "pc-machine"
static inline PcMachine *pc_machine(Machine *machine) { return (PcMachine *)machine; }

/* ---- pc.c ---- */
bool pc_build(Machine *machine, GError **err) WARN_UNUSED;
void pc_finalize(Object *obj);

/* ---- pc-memory.c ---- */
/* Places guest RAM and the firmware image; refuses a RAM size or a firmware that does not fit with a sentence. */
bool pc_memory_place_ram(PcMachine *pc, GError **err) WARN_UNUSED;
bool pc_memory_load_bios(PcMachine *pc, GError **err) WARN_UNUSED;
/* The map as firmware and kernels are told it, ascending; at most PC_E820_MAX entries. Returns their number. */
#define PC_E820_MAX 16
/* The top of low RAM that a direct boot keeps for ACPI and SMBIOS tables. */
#define PC_TABLES_AREA (256 * KIB)
/* direct: with what firmware would keep for itself, for a kernel that is started without. */
unsigned pc_memory_e820(const PcMachine *pc, E820Entry entries[PC_E820_MAX], bool direct);

/* ---- pc-fw-cfg.c ---- */
/* What is known when the board is built; and what depends on devices, at each reset. */
bool pc_fw_cfg_build(PcMachine *pc, GError **err) WARN_UNUSED;
void pc_fw_cfg_refresh(PcMachine *pc);
/* CMOS bytes that firmware reads. */
void pc_cmos_fill(PcMachine *pc);
