/* The option table and its parser. See system/cli.h. */
#include "system/cli.h"

#include <stddef.h>
#include <string.h>

#include "chardev/internal.h"
#include "hw/core/device-class.h"
#include "system/cli-help.h"
#include "system/plugin.h"
#include "util/keyval.h"

typedef enum {
    OPT_FLAG,      /* bool at offset becomes true */
    OPT_TEXT,      /* char * at offset; the last one counts */
    OPT_TEXTS,     /* appended to a GPtrArray of char * */
    OPT_OPTIONS,   /* key=value or JSON, appended to a GPtrArray of json_object * */
    OPT_MERGED,    /* key=value, merged into a json_object * */
    OPT_CALL,      /* func */
    OPT_REFUSED,   /* known elsewhere, not supported: help says what is */
} OptKind;

typedef struct CliOption {
    const char *name, *alias;
    OptKind kind;
    bool has_arg;
    size_t offset;
    const char *implied;           /* key of a leading value without one */
    const char *const *keys;       /* keys that OPTIONS and MERGED take; NULL: checked where they are used */
    const char *params;            /* for help, "" if none */
    const char *help;
    bool (*func)(Config *config, const char *arg, GError **err);
    char *(*help_for)(const char *name); /* what "help" and "NAME,help" show; name NULL for the former (owned) */
} CliOption;

#define KEYS(...) ((const char *const[]){ __VA_ARGS__, NULL })

#define FLAG(n, f, h) { .name = n, .kind = OPT_FLAG, .offset = offsetof(Config, f), .params = "", .help = h }
#define TEXT(n, f, p, h) { .name = n, .kind = OPT_TEXT, .has_arg = true, .offset = offsetof(Config, f), .params = p, .help = h }
#define TEXTS(n, f, p, h) { .name = n, .kind = OPT_TEXTS, .has_arg = true, .offset = offsetof(Config, f), .params = p, .help = h }
#define REFUSED(n, arg, h) { .name = n, .kind = OPT_REFUSED, .has_arg = arg, .params = "", .help = h }

/* ---- options that are more than storing ---- */

static bool take_drive_file(Config *c, unsigned index, const char *media, const char *file)
{
    json_object *drive = json_object_new_object();
    g_autofree char *number = g_strdup_printf("%u", index);
    json_object_object_add(drive, "file", json_object_new_string(file));
    json_object_object_add(drive, "index", json_object_new_string(number));
    json_object_object_add(drive, "media", json_object_new_string(media));
    g_ptr_array_add(c->drives, drive);
    return true;
}

static bool take_hda(Config *c, const char *arg, GError **err)
{
    return take_drive_file(c, 0, "disk", arg);
}

static bool take_hdb(Config *c, const char *arg, GError **err)
{
    return take_drive_file(c, 1, "disk", arg);
}

static bool take_hdc(Config *c, const char *arg, GError **err)
{
    return take_drive_file(c, 2, "disk", arg);
}

static bool take_hdd(Config *c, const char *arg, GError **err)
{
    return take_drive_file(c, 3, "disk", arg);
}

static bool take_cdrom(Config *c, const char *arg, GError **err)
{
    return take_drive_file(c, 2, "cdrom", arg);
}

/* DRIVER.PROPERTY=VALUE or driver=DRIVER,property=PROPERTY,value=VALUE */
static bool take_global(Config *c, const char *arg, GError **err)
{
    json_object *global;
    const char *equals = strchr(arg, '='), *dot = strchr(arg, '.');
    if (dot && equals && dot < equals && dot > arg && dot + 1 < equals) {
        g_autofree char *driver = g_strndup(arg, dot - arg), *property = g_strndup(dot + 1, equals - dot - 1);
        global = json_object_new_object();
        json_object_object_add(global, "driver", json_object_new_string(driver));
        json_object_object_add(global, "property", json_object_new_string(property));
        json_object_object_add(global, "value", json_object_new_string(equals + 1));
        g_ptr_array_add(c->globals, global);
        return true;
    }
    global = keyval_parse(arg, NULL, KEYVAL_FLAT, NULL);
    static const char *const keys[] = { "driver", "property", "value", NULL };
    bool ok = global && keyval_check_known(global, "-global", keys, NULL);
    for (unsigned i = 0; ok && keys[i]; i++)
        ok = keyval_has(global, keys[i]);
    if (!ok) {
        json_object_put(global);
        error_set(err, "-global %s: DRIVER.PROPERTY=VALUE or driver=DRIVER,property=PROPERTY,value=VALUE is expected", arg);
        return false;
    }
    g_ptr_array_add(c->globals, global);
    return true;
}

static bool take_chardev(Config *c, const char *arg, GError **err)
{
    json_object *options = chardev_parse_option(arg, err);
    if (options)
        g_ptr_array_add(c->chardevs, options);
    return options != NULL;
}

static bool take_none(const char *option, const char *arg, const char *why, GError **err)
{
    if (!strcmp(arg, "none"))
        return true;
    error_set(err, "-%s %s is not supported; -%s none is (%s)", option, arg, option, why);
    return false;
}

static bool take_display(Config *c, const char *arg, GError **err)
{
    c->display_given = true;
    return take_none("display", arg, "there is no graphical output yet", err);
}

static bool take_vga(Config *c, const char *arg, GError **err)
{
    c->vga_given = true;
    return take_none("vga", arg, "there is no graphics card yet", err);
}

static bool take_net(Config *c, const char *arg, GError **err)
{
    return take_none("net", arg, "there is no network card yet", err);
}

static bool take_nic(Config *c, const char *arg, GError **err)
{
    return take_none("nic", arg, "there is no network card yet", err);
}

static bool take_parallel(Config *c, const char *arg, GError **err)
{
    return take_none("parallel", arg, "there is no parallel port", err);
}

static bool take_audio(Config *c, const char *arg, GError **err)
{
    return take_none("audio", arg, "there is no sound card", err);
}

static bool take_sandbox(Config *c, const char *arg, GError **err)
{
    g_autoptr(json_object) options = keyval_parse(arg, "enable", KEYVAL_FLAT, err);
    bool on = false;
    if (!options || !keyval_get_bool(options, "-sandbox", "enable", &on, err))
        return false;
    if (on)
        error_set(err, "-sandbox on is not supported; -sandbox off is");
    return !on;
}

static bool take_run_with(Config *c, const char *arg, GError **err)
{
    g_autoptr(json_object) options = keyval_parse(arg, NULL, KEYVAL_FLAT, err);
    return options && keyval_check_known(options, "-run-with", KEYS("exit-with-parent"), err) &&
           keyval_get_bool(options, "-run-with", "exit-with-parent", &c->exit_with_parent, err);
}

static bool take_group(Config *c, const char *group, json_object *options, const char *id, GError **err);

static bool take_readconfig(Config *c, const char *arg, GError **err)
{
    g_autoptr(json_object) groups = keyval_read_config(arg, err);
    if (!groups)
        return false;
    for (size_t i = 0; i < json_object_array_length(groups); i++) {
        json_object *entry = json_object_array_get_idx(groups, i), *group, *options, *id = NULL;
        json_object_object_get_ex(entry, "group", &group);
        json_object_object_get_ex(entry, "options", &options);
        json_object_object_get_ex(entry, "id", &id);
        if (!take_group(c, json_object_get_string(group), json_object_get(options), id ? json_object_get_string(id) : NULL, err)) {
            g_prefix_error(err, "%s: ", arg);
            return false;
        }
    }
    return true;
}

static bool take_debug(Config *c, const char *arg, GError **err)
{
    g_auto(GStrv) items = g_strsplit(arg, ",", -1);
    for (char **item = items; *item; item++)
        if (keyval_name_index("-d", *item, KEYS("guest_errors"), err) < 0)
            return false;
    guest_error_set_log(true);
    return true;
}

/* At once: the options that follow, and their help, know its models. */
static bool take_plugin(Config *c, const char *arg, GError **err)
{
    return plugin_load(arg, err);
}

static bool take_help(Config *c, const char *arg, GError **err)
{
    g_free(c->help);
    c->help = cli_help_text();
    return true;
}

static bool take_version(Config *c, const char *arg, GError **err)
{
    g_free(c->help);
    c->help = g_strdup("Rhea emulator version " RHEA_VERSION "\nA machine emulator for x86-64 PCs, free software under the GNU GPL version 2 or later\n");
    return true;
}

/* ---- the table ---- */

static const CliOption options[] = {
    { .name = "machine", .alias = "M", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, machine), .implied = "type",
      .params = "TYPE[,property=value...]", .help = "machine, 'help' lists them", .help_for = cli_help_machine },
    { .name = "accel", .kind = OPT_TEXTS, .has_arg = true, .offset = offsetof(Config, accels), .params = "NAME[,property=value...]",
      .help = "accelerator, 'help' lists them; repeated: the first that works", .help_for = cli_help_accel },
    { .name = "cpu", .kind = OPT_TEXT, .has_arg = true, .offset = offsetof(Config, cpu), .params = "MODEL[,+FEATURE][,-FEATURE]",
      .help = "processor model, 'help' lists them", .help_for = cli_help_cpu },
    { .name = "smp", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, smp), .implied = "cpus",
      .keys = KEYS("cpus", "maxcpus", "sockets", "dies", "cores", "threads"),
      .params = "[cpus=]N[,maxcpus=N][,sockets=N][,dies=N][,cores=N][,threads=N]", .help = "processors and their topology" },
    { .name = "m", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, memory), .implied = "size",
      .keys = KEYS("size", "slots", "maxmem"), .params = "[size=]SIZE", .help = "guest memory, in MiB unless a suffix says otherwise" },
    TEXT("kernel", kernel, "FILE", "Linux bzImage, PVH or multiboot kernel to start without firmware"),
    TEXT("initrd", initrd, "FILE", "initial RAM disk; for multiboot: modules, separated by commas"),
    TEXT("append", append, "TEXT", "command line of the kernel"),
    TEXT("bios", bios, "FILE", "firmware image"),
    TEXTS("L", firmware_dirs, "DIR", "directory to look for firmware in, before the system's"),
    { .name = "boot", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, boot), .implied = "order",
      .keys = KEYS("order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict"),
      .params = "[order=]LETTERS[,once=LETTERS][,menu=on|off][,splash-time=MS][,reboot-timeout=MS][,strict=on|off]",
      .help = "what the firmware starts from" },
    { .name = "drive", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, drives), .params = "file=FILE[,if=TYPE][,format=F][,id=ID]...",
      .help = "a disk: image and device" },
    { .name = "blockdev", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, blockdevs), .implied = "driver",
      .params = "DRIVER,node-name=NAME[,option=value...]", .help = "a block node, for -device ...,drive=NAME" },
    { .name = "hda", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "first disk (a bare FILE argument is the same)", .func = take_hda },
    { .name = "hdb", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "second disk", .func = take_hdb },
    { .name = "hdc", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "third disk", .func = take_hdc },
    { .name = "hdd", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "fourth disk", .func = take_hdd },
    { .name = "cdrom", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "CD image", .func = take_cdrom },
    { .name = "device", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, devices), .implied = "driver",
      .params = "MODEL[,id=ID][,bus=BUS][,addr=A][,property=value...]", .help = "a device, 'help' lists them", .help_for = cli_help_device },
    { .name = "global", .kind = OPT_CALL, .has_arg = true, .params = "MODEL.PROPERTY=VALUE", .help = "default of a property for all devices of a model",
      .func = take_global },
    { .name = "object", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, objects), .implied = "qom-type",
      .params = "TYPE,id=ID[,property=value...]", .help = "a helper object, 'help' lists them", .help_for = cli_help_object },
    { .name = "plugin", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "load device models from a shared object",
      .func = take_plugin },
    { .name = "chardev", .kind = OPT_CALL, .has_arg = true, .params = "BACKEND,id=ID[,option=value...]",
      .help = "a character device, 'help' lists the back ends", .func = take_chardev, .help_for = cli_help_chardev },
    TEXTS("serial", serials, "DEVICE", "what a serial port is connected to: stdio, mon:stdio, pty, file:PATH, unix:PATH,server=on, chardev:ID, none, ..."),
    TEXTS("debugcon", debugcons, "DEVICE", "what the debug console at port 0xe9 is connected to"),
    TEXTS("monitor", monitors, "DEVICE", "human monitor on DEVICE"),
    TEXTS("qmp", qmps, "DEVICE", "QMP monitor on DEVICE"),
    TEXTS("qmp-pretty", qmps_pretty, "DEVICE", "QMP monitor with indented output"),
    { .name = "mon", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, mons), .implied = "chardev",
      .keys = KEYS("chardev", "id", "mode", "pretty"), .params = "[chardev=]ID[,mode=readline|control][,pretty=on|off]",
      .help = "monitor on a character device" },
    FLAG("nographic", nographic, "no display; first serial port and monitor share the terminal (C-a h shows its keys)"),
    { .name = "display", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "graphical output", .func = take_display },
    { .name = "vga", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "graphics card", .func = take_vga },
    { .name = "net", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "network card", .func = take_net },
    { .name = "nic", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "network card", .func = take_nic },
    { .name = "parallel", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "parallel port", .func = take_parallel },
    { .name = "audio", .kind = OPT_CALL, .has_arg = true, .params = "none", .help = "sound", .func = take_audio },
    { .name = "name", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, name), .implied = "guest",
      .keys = KEYS("guest", "debug-threads"), .params = "[guest=]NAME[,debug-threads=on|off]", .help = "name of the guest" },
    TEXT("uuid", uuid, "UUID", "the machine's UUID"),
    { .name = "smbios", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, smbios), .params = "type=N[,field=value...]|file=FILE",
      .help = "fields of SMBIOS tables" },
    { .name = "fw_cfg", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, fw_cfgs), .implied = "name",
      .keys = KEYS("name", "file", "string"), .params = "[name=]NAME,file=FILE|string=TEXT", .help = "a file for the guest in fw_cfg" },
    { .name = "rtc", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, rtc), .keys = KEYS("base", "clock", "driftfix"),
      .params = "[base=utc|localtime|DATE][,clock=host|rt|vm][,driftfix=none|slew]", .help = "real-time clock" },
    FLAG("S", stopped, "the guest does not start before 'cont'"),
    FLAG("no-reboot", no_reboot, "a guest's reboot ends the emulator"),
    FLAG("no-shutdown", no_shutdown, "a guest's power-off only stops it"),
    { .name = "action", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, action), .keys = KEYS("reboot", "shutdown", "panic"),
      .params = "[reboot=reset|shutdown][,shutdown=poweroff|pause][,panic=none|pause|shutdown|exit-failure]",
      .help = "what a guest's reboot, power-off, panic leads to" },
    FLAG("nodefaults", nodefaults, "no devices that were not asked for"),
    FLAG("no-user-config", no_user_config, "no configuration files (there are none by default)"),
    FLAG("no-acpi", no_acpi, "-machine acpi=off"),
    FLAG("no-hpet", no_hpet, "-machine hpet=off"),
    FLAG("enable-kvm", enable_kvm, "-accel kvm"),
    TEXT("pidfile", pidfile, "FILE", "file that gets the process id"),
    FLAG("daemonize", daemonize, "go to the background once everything is set up"),
    { .name = "run-with", .kind = OPT_CALL, .has_arg = true, .params = "exit-with-parent=on|off", .help = "life of the process", .func = take_run_with },
    { .name = "readconfig", .kind = OPT_CALL, .has_arg = true, .params = "FILE", .help = "read options from an ini file", .func = take_readconfig },
    { .name = "add-fd", .kind = OPT_OPTIONS, .has_arg = true, .offset = offsetof(Config, add_fds), .keys = KEYS("fd", "set", "opaque"),
      .params = "fd=FD,set=N[,opaque=TEXT]", .help = "put an inherited descriptor into the set behind /dev/fdset/N" },
    { .name = "msg", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, msg), .keys = KEYS("timestamp", "guest-name"),
      .params = "[timestamp=on|off][,guest-name=on|off]", .help = "what stands in front of messages" },
    { .name = "overcommit", .kind = OPT_MERGED, .has_arg = true, .offset = offsetof(Config, overcommit), .keys = KEYS("mem-lock", "cpu-pm"),
      .params = "[mem-lock=on|off]", .help = "keep memory from being swapped out" },
    { .name = "sandbox", .kind = OPT_CALL, .has_arg = true, .params = "off", .help = "system call filter", .func = take_sandbox },
    TEXT("qtest", qtest, "DEVICE", "test protocol on DEVICE"),
    TEXT("qtest-log", qtest_log, "FILE|none", "copy of the test protocol's traffic"),
    { .name = "d", .kind = OPT_CALL, .has_arg = true, .params = "guest_errors", .help = "lines about what the guest does wrong, at most 5 a second",
      .func = take_debug },
    { .name = "version", .kind = OPT_CALL, .params = "", .help = "show the version", .func = take_version },
    { .name = "help", .alias = "h", .kind = OPT_CALL, .params = "", .help = "show this", .func = take_help },

    /* Options that others of this kind have: what to say instead of "unknown". */
    REFUSED("netdev", true, "there is no network card yet; -nic none is accepted"),
    REFUSED("vnc", true, "there is no graphical output yet; use -nographic or -display none with -serial"),
    REFUSED("spice", true, "there is no graphical output yet; use -nographic or -display none with -serial"),
    REFUSED("audiodev", true, "there is no sound card; -audio none is accepted"),
    REFUSED("usb", false, "there is no USB controller yet"),
    REFUSED("usbdevice", true, "there is no USB controller yet"),
    REFUSED("snapshot", false, "use -drive ...,snapshot=on"),
    REFUSED("fda", true, "there is no floppy controller yet"),
    REFUSED("fdb", true, "there is no floppy controller yet"),
    REFUSED("sd", true, "there is no SD card"),
    REFUSED("mtdblock", true, "this machine has no flash of that kind"),
    REFUSED("pflash", true, "there is no flash device yet; use -bios"),
    REFUSED("numa", true, "guest memory is one node"),
    REFUSED("mem-path", true, "use -object memory-backend-file,id=ram,mem-path=...,size=... with -machine memory-backend=ram"),
    REFUSED("mem-prealloc", false, "use -object memory-backend-ram,id=ram,prealloc=on,size=... with -machine memory-backend=ram"),
    REFUSED("k", true, "key maps belong to graphical output, which does not exist yet"),
    REFUSED("gdb", true, "there is no debugger stub yet"),
    REFUSED("s", false, "there is no debugger stub yet"),
    REFUSED("D", true, "there is no log of guest execution"),
    REFUSED("trace", true, "trace points are not built in"),
    REFUSED("incoming", true, "migration does not exist yet"),
    REFUSED("loadvm", true, "snapshots of a running machine do not exist yet"),
    REFUSED("watchdog", true, "there is no watchdog device"),
    REFUSED("watchdog-action", true, "there is no watchdog device"),
    REFUSED("icount", true, "instruction counting does not exist"),
    REFUSED("runas", true, "start the emulator as the user that it should be"),
    REFUSED("chroot", true, "start the emulator under chroot(8)"),
    REFUSED("writeconfig", true, "a configuration file is written by hand, see -readconfig"),
    REFUSED("set", true, "write the value into the option itself"),
    REFUSED("fsdev", true, "there is no shared file system yet"),
    REFUSED("virtfs", true, "there is no shared file system yet"),
    REFUSED("tpmdev", true, "there is no TPM"),
    REFUSED("acpitable", true, "tables can't be added to the machine's own"),
    REFUSED("option-rom", true, "use a PCI device's romfile= property"),
    REFUSED("full-screen", false, "there is no graphical output yet"),
    REFUSED("preconfig", false, "the machine is described on the command line"),
    REFUSED("only-migratable", false, "migration does not exist yet"),
    REFUSED("tb-size", true, "use -accel dbt,tb-size=MIB"),
    REFUSED("accel-props", true, "use -accel NAME,property=value"),
    REFUSED("vmcoreinfo", false, "use -device vmcoreinfo"),
    { NULL },
};

/* ---- parsing ---- */

static const CliOption *find_option(const char *name)
{
    for (const CliOption *o = options; o->name; o++)
        if (!strcmp(o->name, name) || (o->alias && !strcmp(o->alias, name)))
            return o;
    return NULL;
}

static bool unknown_option(const char *given, GError **err)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (const CliOption *o = options; o->name; o++)
        if (o->kind != OPT_REFUSED)
            g_ptr_array_add(names, (char *)o->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(given, (const char *const *)names->pdata);
    if (near)
        error_set(err, "-%s: invalid option; did you mean -%s?", given, near);
    else
        error_set(err, "-%s: invalid option; -help lists what there is", given);
    return false;
}

static bool check_keys(const CliOption *o, json_object *json, GError **err)
{
    g_autofree char *what = g_strconcat("-", o->name, NULL);
    return !o->keys || keyval_check_known(json, what, o->keys, err);
}

static bool store(Config *c, const CliOption *o, const char *arg, GError **err)
{
    void *field = (char *)c + o->offset;
    json_object *json;
    switch (o->kind) {
    case OPT_FLAG:
        *(bool *)field = true;
        return true;
    case OPT_TEXT:
        g_free(*(char **)field);
        *(char **)field = g_strdup(arg);
        return true;
    case OPT_TEXTS:
        g_ptr_array_add(*(GPtrArray **)field, g_strdup(arg));
        return true;
    case OPT_OPTIONS:
    case OPT_MERGED:
        json = keyval_parse(arg, o->implied, 0, err);
        if (!json || !check_keys(o, json, err)) {
            json_object_put(json);
            g_prefix_error(err, "-%s %s: ", o->name, arg);
            return false;
        }
        if (o->kind == OPT_OPTIONS)
            g_ptr_array_add(*(GPtrArray **)field, json);
        else
            config_merge(field, json);
        return true;
    case OPT_CALL:
        if (o->func(c, arg, err))
            return true;
        g_prefix_error(err, "-%s %s: ", o->name, arg ? arg : "");
        return false;
    case OPT_REFUSED:
        error_set(err, "-%s is not supported: %s", o->name, o->help);
        return false;
    }
    g_assert_not_reached();
}

static bool take_option(Config *c, const CliOption *o, const char *arg, GError **err)
{
    g_autofree char *name = NULL;
    if (arg && o->help_for && arg[0] != '{' && keyval_wants_help(arg, &name)) {
        char *text = o->help_for(name);
        if (!text) {
            error_set(err, "-%s %s: there is no '%s'; -%s help lists what there is", o->name, arg, name, o->name);
            return false;
        }
        g_free(c->help);
        c->help = text;
        return true;
    }
    return store(c, o, arg, err);
}

/* A group of a configuration file has the name of its option. */
static bool take_group(Config *c, const char *group, json_object *values, const char *id, GError **err)
{
    const CliOption *o = find_option(!strcmp(group, "memory") ? "m" : !strcmp(group, "smp-opts") ? "smp" : !strcmp(group, "boot-opts") ? "boot" : group);
    void *field = o ? (char *)c + o->offset : NULL;
    if (id)
        json_object_object_add(values, "id", json_object_new_string(id));
    if (o && !strcmp(o->name, "chardev")) {
        g_ptr_array_add(c->chardevs, values);
    } else if (o && !strcmp(o->name, "global")) {
        g_ptr_array_add(c->globals, values);
    } else if (o && o->kind == OPT_OPTIONS && check_keys(o, values, err)) {
        g_ptr_array_add(*(GPtrArray **)field, values);
    } else if (o && o->kind == OPT_MERGED && check_keys(o, values, err)) {
        config_merge(field, values);
    } else {
        json_object_put(values);
        if (err && !*err)
            error_set(err, "group [%s] is not one that a configuration file can have", group);
        return false;
    }
    return true;
}

bool cli_parse(Config *c, int argc, char **argv, GError **err)
{
    for (int i = 0; i < argc; i++) {
        const char *text = argv[i];
        if (text[0] != '-' || !text[1]) {
            take_drive_file(c, 0, "disk", text);
            continue;
        }
        const char *name = text + (text[1] == '-' ? 2 : 1);
        const CliOption *o = find_option(name);
        if (!o)
            return unknown_option(name, err);
        const char *arg = NULL;
        if (o->has_arg && o->kind != OPT_REFUSED) {
            if (i + 1 == argc) {
                error_set(err, "-%s requires an argument: -%s %s", o->name, o->name, o->params);
                return false;
            }
            arg = argv[++i];
        }
        if (!take_option(c, o, arg, err))
            return false;
        if (c->help)
            return true;
    }
    return true;
}

/* ---- describing ---- */

char *cli_help_text(void)
{
    GString *text = g_string_new("Rhea emulator version " RHEA_VERSION "\nusage: rhea-system-x86_64 [options] [disk image]\n\n");
    for (const CliOption *o = options; o->name; o++) {
        if (o->kind == OPT_REFUSED)
            continue;
        g_string_append_printf(text, "-%s%s%s%s%s\n                %s\n", o->name, o->alias ? " or -" : "", o->alias ? o->alias : "",
                               o->params[0] ? " " : "", o->params, o->help);
    }
    return g_string_free(text, FALSE);
}

json_object *cli_describe_options(const char *name)
{
    json_object *list = json_object_new_array();
    for (const CliOption *o = options; o->name; o++) {
        if (o->kind == OPT_REFUSED || !o->has_arg || (name && strcmp(name, o->name)))
            continue;
        json_object *entry = json_object_new_object(), *parameters = json_object_new_array();
        for (const char *const *key = o->keys; key && *key; key++) {
            json_object *parameter = json_object_new_object();
            json_object_object_add(parameter, "name", json_object_new_string(*key));
            json_object_object_add(parameter, "type", json_object_new_string("string"));
            json_object_array_add(parameters, parameter);
        }
        /* The groups' names in this query are older than some of the options'. */
        const char *group = !strcmp(o->name, "smp") ? "smp-opts" : !strcmp(o->name, "boot") ? "boot-opts"
                          : !strcmp(o->name, "m") ? "memory" : o->name;
        json_object_object_add(entry, "parameters", parameters);
        json_object_object_add(entry, "option", json_object_new_string(group));
        json_object_array_add(list, entry);
    }
    return list;
}
