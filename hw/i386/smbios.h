/*
 * SMBIOS tables: what the machine says it is, from -smbios, -uuid and the configuration.
 */
#pragma once

#include "hw/i386/pc.h"

#define SMBIOS_TABLES_FILE "etc/smbios/smbios-tables"
#define SMBIOS_ANCHOR_FILE "etc/smbios/smbios-anchor"
#define SMBIOS_ANCHOR_SIZE 31

/*
 * -smbios type=N,field=value,... : checked and kept on the machine until its tables are built. "file" (a whole table) is refused.
 */
bool smbios_add_option(Machine *machine, json_object *options, GError **err) WARN_UNUSED;

/* The structures (owned) and the SMBIOS 2.8 entry point for them; the entry point's address field and checksums are those for tables_gpa. */
GByteArray *smbios_build(PcMachine *pc);
void smbios_anchor(const GByteArray *tables, uint32_t tables_gpa, uint8_t anchor[SMBIOS_ANCHOR_SIZE]);
