/*
 * Direct kernel boot: -kernel, -initrd, -append without firmware.
 *
 * A kernel is read and checked once; at every reset its image is placed in guest memory again and the first CPU is put
 * into the state that its boot protocol asks for, the chipset into the state that firmware would leave.
 */
#pragma once

#include "accel/x86/cpu.h"
#include "hw/i386/pc.h"

typedef struct BootImage BootImage;

/* How a kernel is entered. */
typedef enum { BOOT_LINUX, BOOT_PVH, BOOT_MULTIBOOT } BootProtocol;

/* A piece of the kernel: size bytes at gpa, the first file_size of them from data, the rest zero. */
typedef struct BootSegment {
    uint64_t gpa;
    const uint8_t *data;      /* borrowed from BootImage.kernel */
    uint64_t file_size, size; /* bytes */
} BootSegment;

typedef struct BootModule {
    char *data;      /* owned */
    gsize size;      /* bytes */
    char *command;   /* owned: file name and arguments */
    uint64_t gpa;    /* chosen at entry */
} BootModule;

struct BootImage {
    BootProtocol protocol;
    char *kernel;            /* the file (owned) */
    gsize kernel_size;
    char *initrd;            /* first or only module (owned); NULL if none */
    gsize initrd_size;
    char *cmdline;           /* -append, "" if none (owned) */
    char *kernel_name;       /* path as given */
    GArray *segments;        /* BootSegment (ELF) */
    uint64_t entry;          /* gpa */
    uint32_t multiboot_flags;
    GPtrArray *modules;      /* BootModule *, multiboot */
    uint64_t low_end;        /* first gpa behind everything placed so far */
};

/* Reads and checks the files that the command line names. NULL with a sentence that names the file and what is accepted. */
BootImage *boot_image_load(PcMachine *pc, GError **err) WARN_UNUSED;
void boot_image_free(BootImage *image); /* NULL is allowed */
/* Places everything in guest memory and puts the CPU at its entry. After the CPUs' reset. */
void boot_image_enter(BootImage *image, PcMachine *pc);

/* ---- the protocols: recognise (err: it is one, but a broken one), enter ---- */
bool boot_linux_check(BootImage *image, PcMachine *pc, GError **err) WARN_UNUSED;
void boot_linux_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu);
bool boot_elf_check(BootImage *image, PcMachine *pc, GError **err) WARN_UNUSED;
void boot_pvh_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu);
bool boot_multiboot_check(BootImage *image, PcMachine *pc, GError **err) WARN_UNUSED;
void boot_multiboot_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu);
/* Program headers of an ELF into segments and entry. */
bool boot_elf_segments(BootImage *image, PcMachine *pc, GError **err) WARN_UNUSED;

/* ---- shared ---- */
/* Copies into guest RAM that the caller knows to be there. */
void boot_write(PcMachine *pc, uint64_t gpa, const void *data, uint64_t size);
void boot_zero(PcMachine *pc, uint64_t gpa, uint64_t size);
/* Flat 32-bit protected mode, paging off, interrupts off; with long: 64-bit mode on identity page tables for the first 4 GiB at gpa tables. */
void boot_set_flat_mode(PcMachine *pc, X86Cpu *cpu, uint64_t entry);
void boot_set_long_mode(PcMachine *pc, X86Cpu *cpu, uint64_t entry, uint64_t tables);
#define BOOT_PAGE_TABLES_SIZE (6 * 4096)

/* ---- boot-platform.c: what firmware would have done ---- */
/* Assigns BARs and interrupt lines, opens shadow RAM, enables PM registers, leaves ACPI and SMBIOS tables in memory. */
void boot_platform_prepare(PcMachine *pc, uint64_t *rsdp_gpa);
