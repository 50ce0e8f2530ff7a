/*
 * What the command line (and -readconfig) asks for, parsed but not acted on. system/cli.c fills it, system/start.c makes it real, in an
 * order that does not depend on the order of the options.
 */
#pragma once

#include <json-c/json.h>
#include <rhea/base.h>

#include "util/json-auto.h"

typedef struct Config {
    /* json_object *, merged over repetitions; NULL when not given */
    json_object *machine, *smp, *memory, *rtc, *boot, *name, *action, *msg, *overcommit;
    /* char *: the last one given */
    char *cpu, *kernel, *initrd, *append, *bios, *uuid, *pidfile, *qtest, *qtest_log;
    /* json_object *, in order */
    GPtrArray *objects, *drives, *blockdevs, *devices, *chardevs, *mons, *fw_cfgs, *smbios, *add_fds, *globals;
    /* char *, in order */
    GPtrArray *accels, *serials, *monitors, *qmps, *qmps_pretty, *debugcons, *firmware_dirs;
    bool nographic, nodefaults, no_user_config, stopped, daemonize, enable_kvm, no_acpi, no_hpet, no_reboot, no_shutdown;
    bool display_given, vga_given, exit_with_parent;
    /* A help or version text was asked for: it is printed and nothing else happens. (owned) */
    char *help;
} Config;

Config *config_new(void);
void config_free(Config *config);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Config, config_free)

/* Members of from replace those of *to. from is taken. */
void config_merge(json_object **to, json_object *from);
