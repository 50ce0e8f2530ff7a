/* From a parsed command line to a machine that can run. */
#pragma once

#include "system/config.h"
#include "system/machine.h"

/* The class that -M names (NULL: the default), by name or alias. NULL with the nearest name. */
const MachineClass *start_find_machine(const char *name, GError **err);

/* The machine object with its domain, before anything is built; *out is to be unref'ed at the end of the process. */
bool start_create_machine(const Config *config, Machine **out, GError **err) WARN_UNUSED;
/* Everything else, in order; afterwards the machine is reset and can go. */
bool start_build(const Config *config, Machine *machine, GError **err) WARN_UNUSED;
/* The reverse. */
void start_teardown(Machine *machine);

/* start-options.c: options that become fields of the machine. */
bool start_apply_options(const Config *config, Machine *machine, GError **err) WARN_UNUSED;
/* -m and memory-backend=, after the objects exist. */
bool start_apply_memory(const Config *config, Machine *machine, GError **err) WARN_UNUSED;
/* -machine's properties; before= true: those that objects don't matter to. */
bool start_apply_machine_props(const Config *config, Machine *machine, GError **err) WARN_UNUSED;
