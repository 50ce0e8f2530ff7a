/*
 * The ACPI tables of a pc machine.
 *
 * Tables are made as one blob in which pointers are offsets; the list of fixes says where addresses and checksums go. Firmware applies it through
 * fw_cfg's table loader, a direct boot applies it here.
 */
#pragma once

#include "hw/i386/pc.h"

#define ACPI_TABLES_FILE "etc/acpi/tables"
#define ACPI_RSDP_FILE "etc/acpi/rsdp"
#define ACPI_LOADER_FILE "etc/table-loader"
#define ACPI_RSDP_SIZE 36

/* A pointer of `size` bytes at `offset` of the tables (or of the RSDP) that holds an offset into the tables. */
typedef struct AcpiPointer {
    bool in_rsdp;
    uint32_t offset;
    uint8_t size;
} AcpiPointer;

/* A byte at `result` that makes [start, start+len) sum to 0. */
typedef struct AcpiChecksum {
    bool in_rsdp;
    uint32_t result, start, len;
} AcpiChecksum;

typedef struct AcpiTables {
    GByteArray *tables;
    uint8_t rsdp[ACPI_RSDP_SIZE];
    GArray *pointers;   /* AcpiPointer */
    GArray *checksums;  /* AcpiChecksum, in the order in which they have to be computed */
} AcpiTables;

AcpiTables *acpi_build(PcMachine *pc); /* (owned) */
void acpi_tables_free(AcpiTables *t);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AcpiTables, acpi_tables_free)

/* The fw_cfg table-loader script. (owned) */
GByteArray *acpi_loader_script(const AcpiTables *t);
/* Resolves everything for tables at this guest address. */
void acpi_tables_relocate(AcpiTables *t, uint64_t tables_gpa);

/* The DSDT's AML, appended to code. */
void acpi_build_dsdt(PcMachine *pc, GByteArray *code);
