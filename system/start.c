/*
 * Makes what the command line describes, in an order of its own: secrets, character devices, monitors, other objects, block nodes, the
 * board, devices.
 */
#include "system/start.h"

#include <block/block.h>
#include <chardev/chardev.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <signal.h>
#include <unistd.h>

#include "accel/accel.h"
#include "accel/qtest/qtest.h"
#include "chardev/internal.h"
#include "chardev/stdio.h"
#include "hw/i386/firmware.h"
#include "hw/i386/smbios.h"
#include "hw/misc/fw_cfg.h"
#include "monitor/qmp.h"
#include "util/keyval.h"

static const char *member(json_object *o, const char *key)
{
    json_object *value;
    return o && json_object_object_get_ex(o, key, &value) ? json_object_get_string(value) : NULL;
}

/* ---- the machine object ---- */

static const MachineClass *match_machine(const GPtrArray *classes, const char *name)
{
    for (unsigned i = 0; i < classes->len; i++) {
        const MachineClass *klass = classes->pdata[i];
        if (name ? !strcmp(klass->machine_name, name) || (klass->alias && !strcmp(klass->alias, name)) : klass->is_default)
            return klass;
    }
    return NULL;
}

const MachineClass *start_find_machine(const char *name, GError **err)
{
    g_autoptr(GPtrArray) loaded = object_class_list_loaded(TYPE_MACHINE, false);
    const MachineClass *found = match_machine(loaded, name);
    if (found)
        return found;
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_MACHINE, false);
    found = match_machine(classes, name);
    if (found)
        return found;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (unsigned i = 0; i < classes->len; i++) {
        const MachineClass *klass = classes->pdata[i];
        g_ptr_array_add(names, (char *)klass->machine_name);
        if (klass->alias)
            g_ptr_array_add(names, (char *)klass->alias);
    }
    g_ptr_array_add(names, NULL);
    if (!name) {
        error_set(err, "No machine specified, and there is no default: -machine help lists them");
        return NULL;
    }
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    if (near)
        error_set(err, "-machine %s: unsupported machine type; did you mean '%s'?", name, near);
    else
        error_set(err, "-machine %s: unsupported machine type; -machine help lists them", name);
    return NULL;
}

bool start_create_machine(const Config *c, Machine **out, GError **err)
{
    for (unsigned i = 0; i < c->globals->len; i++) {
        json_object *g = c->globals->pdata[i];
        object_add_global(member(g, "driver"), member(g, "property"), member(g, "value"));
    }
    const MachineClass *klass = start_find_machine(member(c->machine, "type"), err);
    Object *obj = klass ? object_new(klass->name, err) : NULL;
    if (!obj)
        return false;
    *out = (Machine *)obj;
    object_add_child(object_get_root(), "machine", obj);
    /* clients list them before there is anything in them */
    static const char *const folders[] = { "/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached",
                                           "/objects", "/chardevs" };
    for (unsigned i = 0; i < G_N_ELEMENTS(folders); i++)
        object_get_container(folders[i]);
    return true;
}

/* ---- character devices and monitors ---- */

/* A short spelling; *chr stays NULL for "none". *mon: shared with the human monitor. */
static bool open_short(Machine *m, const char *option, const char *id, const char *text, Chardev **chr, bool *mon, GError **err)
{
    *mon = false;
    if (g_str_has_prefix(text, "chardev:")) {
        *chr = chardev_find(text + 8);
        if (!*chr)
            error_set(err, "-%s %s: there is no character device '%s'", option, text, text + 8);
        return *chr != NULL;
    }
    GError *error = NULL;
    g_autoptr(json_object) options = chardev_parse_short(id, text, mon, &error);
    if (!options && !error)
        return true;
    *chr = options ? chardev_add(m->domain, options, &error) : NULL;
    if (!*chr)
        g_propagate_prefixed_error(err, error, "-%s %s: ", option, text);
    return *chr != NULL;
}

static bool add_monitor(Machine *m, Chardev *chr, bool control, bool pretty, const char *what, GError **err)
{
    if (monitor_new(m, chr, control, pretty, err))
        return true;
    g_prefix_error(err, "%s: ", what);
    return false;
}

static bool add_short_monitors(Machine *m, const char *option, GPtrArray *texts, bool control, bool pretty, unsigned *next, GError **err)
{
    for (unsigned i = 0; i < texts->len; i++) {
        g_autofree char *id = g_strdup_printf("compat_monitor%u", (*next)++);
        Chardev *chr = NULL;
        bool mon;
        if (!open_short(m, option, id, texts->pdata[i], &chr, &mon, err))
            return false;
        if (chr && !add_monitor(m, chr, control, pretty, option, err))
            return false;
    }
    return true;
}

static bool add_mon(Machine *m, json_object *options, GError **err)
{
    static const char *const modes[] = { "readline", "control", NULL };
    const char *id = member(options, "chardev");
    int mode = 0;
    bool pretty = false;
    if (!id) {
        error_set(err, "-mon needs chardev=ID");
        return false;
    }
    if (!keyval_get_enum(options, "-mon", "mode", modes, &mode, err) || !keyval_get_bool(options, "-mon", "pretty", &pretty, err))
        return false;
    Chardev *chr = chardev_find(id);
    if (!chr) {
        error_set(err, "-mon: there is no character device '%s'", id);
        return false;
    }
    return add_monitor(m, chr, mode == 1, pretty, "-mon", err);
}

/* Whether the terminal gets console and monitor without having been asked for: nobody else has it and there is no window. */
static bool terminal_is_default(const Config *c)
{
    return c->nographic || (!c->display_given && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO));
}

static bool has_stdio(GPtrArray *texts)
{
    for (unsigned i = 0; i < texts->len; i++)
        if (strstr(texts->pdata[i], "stdio"))
            return true;
    return false;
}

static bool is_serial_device(const Config *c)
{
    for (unsigned i = 0; i < c->devices->len; i++) {
        const char *driver = member(c->devices->pdata[i], "driver");
        if (driver && (!strcmp(driver, "isa-serial") || !strcmp(driver, "pci-serial")))
            return true;
    }
    return false;
}

static bool add_serials(const Config *c, Machine *m, GError **err)
{
    bool cpus = machine_class(m)->default_cpu != NULL;
    bool by_default = !c->serials->len && !c->nodefaults && !is_serial_device(c) && cpus;
    bool stdio_taken = has_stdio(c->serials) || has_stdio(c->monitors) || has_stdio(c->qmps) || has_stdio(c->qmps_pretty) ||
                       has_stdio(c->debugcons) || c->daemonize;
    for (unsigned i = 0; i < c->chardevs->len; i++)
        stdio_taken |= !g_strcmp0(member(c->chardevs->pdata[i], "backend"), "stdio");
    g_autoptr(GPtrArray) texts = g_ptr_array_new();
    for (unsigned i = 0; i < c->serials->len; i++)
        g_ptr_array_add(texts, c->serials->pdata[i]);
    if (by_default && c->nographic && c->daemonize) {
        error_set(err, "-nographic puts the console on the terminal, which -daemonize leaves: choose the console with -serial");
        return false;
    }
    if (by_default)
        g_ptr_array_add(texts, (char *)(terminal_is_default(c) && !stdio_taken ? (c->monitors->len ? "stdio" : "mon:stdio") : "null"));
    for (unsigned i = 0; i < texts->len; i++) {
        g_autofree char *id = g_strdup_printf("serial%u", i);
        Chardev *chr = NULL;
        bool mon;
        if (!open_short(m, "serial", id, texts->pdata[i], &chr, &mon, err))
            return false;
        if (mon && !add_monitor(m, chr, false, false, "-serial", err))
            return false;
        g_ptr_array_add(m->serials, chr);
    }
    /* A machine without a serial port (-M none) still has a monitor on the terminal. */
    if (!cpus && !c->nodefaults && c->nographic && !c->monitors->len && !stdio_taken) {
        g_ptr_array_add(c->monitors, g_strdup("stdio"));
    }
    return true;
}

static bool add_chardevs(const Config *c, Machine *m, GError **err)
{
    for (unsigned i = 0; i < c->chardevs->len; i++) {
        if (!chardev_add(m->domain, c->chardevs->pdata[i], err)) {
            g_prefix_error(err, "-chardev: ");
            return false;
        }
    }
    return true;
}

static bool add_monitors(const Config *c, Machine *m, GError **err)
{
    unsigned next = 0;
    if (!add_short_monitors(m, "monitor", c->monitors, false, false, &next, err) ||
        !add_short_monitors(m, "qmp", c->qmps, true, false, &next, err) ||
        !add_short_monitors(m, "qmp-pretty", c->qmps_pretty, true, true, &next, err))
        return false;
    for (unsigned i = 0; i < c->mons->len; i++)
        if (!add_mon(m, c->mons->pdata[i], err))
            return false;
    return true;
}

static bool add_qtest(const Config *c, Machine *m, GError **err)
{
    Chardev *chr = NULL;
    bool mon;
    if (!c->qtest && c->qtest_log)
        error_set(err, "-qtest-log needs -qtest");
    if (!c->qtest)
        return !c->qtest_log;
    if (!open_short(m, "qtest", "qtest", c->qtest, &chr, &mon, err))
        return false;
    if (!chr || qtest_start(m, chr, c->qtest_log, err))
        return true;
    g_prefix_error(err, "-qtest: ");
    return false;
}

static bool add_debugcons(const Config *c, Machine *m, GError **err)
{
    for (unsigned i = 0; i < c->debugcons->len; i++) {
        g_autofree char *id = i ? g_strdup_printf("debugcon%u", i) : g_strdup("debugcon");
        Chardev *chr = NULL;
        bool mon;
        if (!open_short(m, "debugcon", id, c->debugcons->pdata[i], &chr, &mon, err))
            return false;
        if (!chr)
            continue;
        g_autoptr(json_object) options = json_object_new_object();
        put_str(options, "driver", "isa-debugcon");
        put_str(options, "chardev", chardev_id(chr));
        if (!device_add(m, options, err)) {
            g_prefix_error(err, "-debugcon: ");
            return false;
        }
    }
    return true;
}

/* ---- objects, block nodes, devices ---- */

/* Character devices and block nodes may need them. */
static bool is_early(const char *type)
{
    return type && (!strcmp(type, "secret") || !strcmp(type, "secret_keyring") || !strcmp(type, "iothread"));
}

static bool add_objects(const Config *c, bool early, GError **err)
{
    for (unsigned i = 0; i < c->objects->len; i++) {
        json_object *options = c->objects->pdata[i];
        if (is_early(member(options, "qom-type")) == early && !user_object_add(options, err)) {
            g_prefix_error(err, "-object: ");
            return false;
        }
    }
    return true;
}

static bool add_blocks(const Config *c, Machine *m, GError **err)
{
    block_set_machine(m);
    for (unsigned i = 0; i < c->blockdevs->len; i++) {
        if (!blockdev_add(c->blockdevs->pdata[i], err)) {
            g_prefix_error(err, "-blockdev: ");
            return false;
        }
    }
    for (unsigned i = 0; i < c->drives->len; i++) {
        if (!drive_add(c->drives->pdata[i], err))
            return false;
    }
    return true;
}

static bool add_devices(const Config *c, Machine *m, GError **err)
{
    for (unsigned i = 0; i < c->devices->len; i++) {
        if (!device_add(m, c->devices->pdata[i], err)) {
            g_prefix_error(err, "-device %s: ", member(c->devices->pdata[i], "driver") ? member(c->devices->pdata[i], "driver") : "");
            return false;
        }
    }
    return true;
}

static bool add_fd_sets(const Config *c, GError **err)
{
    for (unsigned i = 0; i < c->add_fds->len; i++) {
        json_object *o = c->add_fds->pdata[i];
        uint64_t fd = UINT64_MAX, set = 0;
        const char *opaque = NULL;
        int64_t number;
        if (!keyval_get_uint(o, "-add-fd", "fd", 0, INT_MAX, &fd, err) || !keyval_get_uint(o, "-add-fd", "set", 0, INT64_MAX, &set, err) ||
            !keyval_get_str(o, "-add-fd", "opaque", &opaque, err))
            return false;
        if (fd == UINT64_MAX || !keyval_has(o, "set")) {
            error_set(err, "-add-fd needs fd= and set=");
            return false;
        }
        if (fd < 3) {
            error_set(err, "-add-fd: fd=%" PRIu64 " is a standard stream", fd);
            return false;
        }
        /* A private copy, so that the number in the parent's hands may be given twice. */
        int copy = fcntl((int)fd, F_DUPFD_CLOEXEC, 0);
        if (copy < 0) {
            error_set_errno(err, errno, "-add-fd: descriptor %" PRIu64, fd);
            return false;
        }
        if (!fdset_add(copy, true, set, opaque, &number, err))
            return false;
    }
    return true;
}

static bool add_fw_cfgs(const Config *c, Machine *m, GError **err)
{
    for (unsigned i = 0; i < c->fw_cfgs->len; i++) {
        if (!fw_cfg_add_option(m, c->fw_cfgs->pdata[i], err)) {
            g_prefix_error(err, "-fw_cfg: ");
            return false;
        }
    }
    return true;
}

static bool add_smbios(const Config *c, Machine *m, GError **err)
{
    for (unsigned i = 0; i < c->smbios->len; i++)
        if (!smbios_add_option(m, c->smbios->pdata[i], err))
            return false;
    return true;
}

/* What only a machine with firmware or a processor can honour. */
static bool check_board(const Config *c, Machine *m, GError **err)
{
    const char *option = c->fw_cfgs->len ? "fw_cfg" : c->smbios->len ? "smbios" : m->boot.kernel ? "kernel" : m->boot.bios ? "bios" : NULL;
    if (m->fw_cfg || !option)
        return true;
    error_set(err, "-%s: machine '%s' has nothing that could use it", option, machine_class(m)->machine_name);
    return false;
}

static bool lock_memory(const Config *c, GError **err)
{
    bool lock = false, cpu_pm = false;
    if (!c->overcommit)
        return true;
    if (!keyval_get_bool(c->overcommit, "-overcommit", "mem-lock", &lock, err) ||
        !keyval_get_bool(c->overcommit, "-overcommit", "cpu-pm", &cpu_pm, err))
        return false;
    if (cpu_pm) {
        error_set(err, "-overcommit cpu-pm=on is not supported");
        return false;
    }
    if (lock && mlockall(MCL_CURRENT | MCL_FUTURE)) {
        error_set_errno(err, errno, "-overcommit mem-lock=on: the memory can't be locked");
        return false;
    }
    return true;
}

static bool select_accel(const Config *c, Machine *m, GError **err)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(g_free);
    const char *machine_accel = member(c->machine, "accel");
    if (machine_accel && c->accels->len) {
        error_set(err, "-accel and -machine accel= exclude each other");
        return false;
    }
    for (unsigned i = 0; i < c->accels->len; i++)
        g_ptr_array_add(entries, g_strdup(c->accels->pdata[i]));
    if (machine_accel)
        g_ptr_array_add(entries, g_strdup(machine_accel));
    else if (c->enable_kvm && !c->accels->len)
        g_ptr_array_add(entries, g_strdup("kvm"));
    if (!entries->len && !machine_class(m)->default_cpu)
        return true; /* nothing to execute */
    g_ptr_array_add(entries, NULL);
    return accel_select(m, (const char *const *)entries->pdata, err);
}

static bool check_leftovers(const Config *c, Machine *m, GError **err)
{
    if (c->daemonize && stdio_in_use()) {
        error_set(err, "a character device is on standard input and output, which -daemonize leaves");
        return false;
    }
    g_autofree char *globals = object_check_globals(), *drives = drive_check_unused();
    if (drives) {
        error_set(err, "%s", drives);
        return false;
    }
    /* Users keep defaults for devices of other machines in their options: a warning is enough. */
    if (globals)
        report_warning("%s", globals);
    return true;
}

bool start_build(const Config *c, Machine *m, GError **err)
{
    DOMAIN_GUARD(m->domain);
    for (unsigned i = 0; i < c->firmware_dirs->len; i++)
        firmware_add_dir(c->firmware_dirs->pdata[i]);
    if (c->exit_with_parent)
        prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (!start_apply_options(c, m, err) || !add_fd_sets(c, err) || !add_objects(c, true, err) || !add_chardevs(c, m, err) ||
        !add_serials(c, m, err) || !add_monitors(c, m, err) || !add_objects(c, false, err) || !start_apply_machine_props(c, m, err) ||
        !start_apply_memory(c, m, err) || !lock_memory(c, err) || !add_blocks(c, m, err) || !add_fw_cfgs(c, m, err) || !add_smbios(c, m, err) ||
        !select_accel(c, m, err) || !machine_class(m)->build(m, err) || !check_board(c, m, err) || !add_debugcons(c, m, err) ||
        !drive_create_devices(m, err) ||
        !add_devices(c, m, err) || !check_leftovers(c, m, err) || !add_qtest(c, m, err))
        return false;
    machine_reset(m);
    return true;
}

static bool first_device(Object *obj, void *opaque)
{
    Device **out = opaque;
    if (!object_is_a(obj, TYPE_DEVICE) || !((Device *)obj)->realized)
        return true;
    *out = (Device *)obj;
    return false;
}

void start_teardown(Machine *m)
{
    domain_lock(m->domain);
    monitor_free_all();
    if (m->nr_vcpus)
        vcpus_pause_all(m);
    for (unsigned i = m->nr_vcpus; i-- > 0;)
        vcpu_destroy(m->vcpus[i]);
    for (Device *dev = NULL; (dev = NULL, object_foreach(object_get_root(), first_device, &dev), dev);)
        device_unrealize(dev);
    chardev_close_all();
    block_shutdown();
    domain_unlock(m->domain);
    object_remove_from_parent(OBJECT(m));
    object_unref(OBJECT(m));
    user_objects_free_all();
}
