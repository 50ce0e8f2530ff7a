/* Options that become fields of the machine: names, processors, memory, boot, clock. */
#include <string.h>
#include <time.h>

#include "qom/property-parse.h"
#include "system/start.h"
#include "util/keyval.h"
#include "util/report.h"
#include "util/size.h"

static void replace(char **field, const char *text)
{
    g_free(*field);
    *field = g_strdup(text);
}

static bool apply_name(const Config *c, Machine *m, GError **err)
{
    const char *guest = NULL;
    bool timestamp = false, guest_name = false;
    if (c->name && (!keyval_get_str(c->name, "-name", "guest", &guest, err) ||
                    !keyval_get_bool(c->name, "-name", "debug-threads", &m->debug_threads, err)))
        return false;
    replace(&m->name, guest);
    if (c->msg && (!keyval_get_bool(c->msg, "-msg", "timestamp", &timestamp, err) ||
                   !keyval_get_bool(c->msg, "-msg", "guest-name", &guest_name, err)))
        return false;
    report_set_timestamp(timestamp);
    report_set_guest_name(guest_name ? guest : NULL);
    if (c->uuid) {
        if (!parse_uuid(c->uuid, m->uuid)) {
            error_set(err, "-uuid %s: a UUID like 550e8400-e29b-41d4-a716-446655440000 is expected", c->uuid);
            return false;
        }
        m->uuid_set = true;
    }
    return true;
}

static bool smp_value(const Config *c, const char *key, unsigned *out, bool *given, GError **err)
{
    uint64_t value = 0;
    *given = c->smp && keyval_has(c->smp, key);
    if (!*given)
        return true;
    if (!keyval_get_uint(c->smp, "-smp", key, 1, 65535, &value, err))
        return false;
    *out = value;
    return true;
}

/*
 * What was left out: cpus from the product of the rest or from maxcpus, then maxcpus, then cores before sockets before threads, so
 * that "-smp 4" is one socket of four cores.
 */
static bool apply_smp(const Config *c, Machine *m, GError **err)
{
    SmpConfig *s = &m->smp;
    bool cpus, maxcpus, sockets, dies, cores, threads;
    *s = (SmpConfig){ 1, 1, 1, 1, 1, 1 };
    if (!smp_value(c, "cpus", &s->cpus, &cpus, err) || !smp_value(c, "maxcpus", &s->maxcpus, &maxcpus, err) ||
        !smp_value(c, "sockets", &s->sockets, &sockets, err) || !smp_value(c, "dies", &s->dies, &dies, err) ||
        !smp_value(c, "cores", &s->cores, &cores, err) || !smp_value(c, "threads", &s->threads, &threads, err))
        return false;
    if (cpus || maxcpus) {
        unsigned total = maxcpus ? s->maxcpus : s->cpus;
        if (!cores)
            s->cores = MAX(1, total / (s->sockets * s->dies * s->threads));
        else if (!sockets)
            s->sockets = MAX(1, total / (s->dies * s->cores * s->threads));
        else if (!threads)
            s->threads = MAX(1, total / (s->sockets * s->dies * s->cores));
        s->maxcpus = total;
    } else {
        s->maxcpus = s->sockets * s->dies * s->cores * s->threads;
    }
    if (!cpus)
        s->cpus = s->maxcpus;
    uint64_t product = (uint64_t)s->sockets * s->dies * s->cores * s->threads;
    if (product != s->maxcpus) {
        error_set(err, "-smp: sockets (%u) * dies (%u) * cores (%u) * threads (%u) is not the number of CPUs, %u", s->sockets, s->dies,
                  s->cores, s->threads, s->maxcpus);
        return false;
    }
    if (s->cpus > s->maxcpus) {
        error_set(err, "-smp: cpus=%u is more than maxcpus=%u", s->cpus, s->maxcpus);
        return false;
    }
    const MachineClass *klass = machine_class(m);
    if (s->maxcpus > s->cpus && !klass->hotpluggable_cpus) {
        error_set(err, "-smp: machine '%s' can't add CPUs while it runs, so maxcpus=%u must be cpus=%u", klass->machine_name, s->maxcpus,
                  s->cpus);
        return false;
    }
    if (s->maxcpus > klass->max_cpus) {
        error_set(err, "-smp: machine '%s' has at most %u CPUs, %u were asked for", klass->machine_name, klass->max_cpus, s->maxcpus);
        return false;
    }
    return true;
}

static bool apply_boot(const Config *c, Machine *m, GError **err)
{
    BootConfig *b = &m->boot;
    const char *order = NULL, *once = NULL;
    uint64_t splash_time = 0, reboot_timeout = 0;
    replace(&b->kernel, c->kernel);
    replace(&b->initrd, c->initrd);
    replace(&b->append, c->append);
    replace(&b->bios, c->bios);
    if (!c->kernel && (c->initrd || c->append)) {
        error_set(err, "-%s needs -kernel", c->initrd ? "initrd" : "append");
        return false;
    }
    if (!c->boot)
        return true;
    if (keyval_has(c->boot, "splash")) {
        error_set(err, "-boot splash= is not supported: there is no picture to show");
        return false;
    }
    if (!keyval_get_str(c->boot, "-boot", "order", &order, err) || !keyval_get_str(c->boot, "-boot", "once", &once, err) ||
        !keyval_get_bool(c->boot, "-boot", "menu", &b->menu, err) || !keyval_get_bool(c->boot, "-boot", "strict", &b->strict, err) ||
        !keyval_get_uint(c->boot, "-boot", "splash-time", 0, 65535, &splash_time, err))
        return false;
    /* -1 and 65535 both mean: no reboot. */
    const char *timeout = NULL;
    if (keyval_has(c->boot, "reboot-timeout") && keyval_get_str(c->boot, "-boot", "reboot-timeout", &timeout, NULL) && timeout &&
        !strcmp(timeout, "-1"))
        reboot_timeout = 65535;
    else if (!keyval_get_uint(c->boot, "-boot", "reboot-timeout", 0, 65535, &reboot_timeout, err))
        return false;
    for (const char *const *letters = (const char *const[]){ order ? order : "", once ? once : "", NULL }; *letters; letters++) {
        for (const char *p = *letters; *p; p++) {
            if (*p < 'a' || *p > 'p' || strchr(p + 1, *p)) {
                error_set(err, "-boot: '%s' is not a boot order: letters a (floppy), c (disk), d (CD), n (network), each once", *letters);
                return false;
            }
        }
    }
    replace(&b->order, order);
    replace(&b->once, once);
    b->splash_time_ms = keyval_has(c->boot, "splash-time") ? (int64_t)splash_time : -1;
    b->reboot_timeout_ms = keyval_has(c->boot, "reboot-timeout") ? (int64_t)reboot_timeout : -1;
    return true;
}

/* Seconds from `base` (a UTC date) to now. */
static bool parse_date(const char *text, int64_t *offset, GError **err)
{
    struct tm tm = { .tm_mday = 1 };
    const char *end = strptime(text, strchr(text, 'T') ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d", &tm);
    if (!end || *end) {
        error_set(err, "-rtc base=%s: utc, localtime, or a date like 2006-06-17 or 2006-06-17T16:01:21 is expected", text);
        return false;
    }
    *offset = (int64_t)timegm(&tm) - time(NULL);
    return true;
}

static bool apply_rtc(const Config *c, Machine *m, GError **err)
{
    static const char *const clocks[] = { "host", "rt", "vm", NULL }, *const drifts[] = { "none", "slew", NULL };
    static const ClockKind kinds[] = { CLOCK_HOST, CLOCK_MONO, CLOCK_GUEST };
    const char *base = "utc";
    int clock = 0, drift = 0;
    if (!c->rtc)
        return true;
    if (!keyval_get_str(c->rtc, "-rtc", "base", &base, err) || !keyval_get_enum(c->rtc, "-rtc", "clock", clocks, &clock, err) ||
        !keyval_get_enum(c->rtc, "-rtc", "driftfix", drifts, &drift, err))
        return false;
    m->rtc_clock = kinds[clock];
    m->rtc_slew = drift == 1;
    m->rtc_localtime = !strcmp(base, "localtime");
    if (!m->rtc_localtime && strcmp(base, "utc"))
        return parse_date(base, &m->rtc_base_offset_s, err);
    return true;
}

static bool apply_action(const Config *c, Machine *m, GError **err)
{
    static const char *const reboots[] = { "reset", "shutdown", NULL }, *const shutdowns[] = { "poweroff", "pause", NULL },
                      *const panics[] = { "none", "pause", "shutdown", "exit-failure", NULL };
    int reboot = c->no_reboot ? REBOOT_SHUTDOWN : REBOOT_RESET, shutdown = c->no_shutdown ? SHUTDOWN_PAUSE : SHUTDOWN_POWEROFF;
    int panic = PANIC_SHUTDOWN;
    if (c->action && (!keyval_get_enum(c->action, "-action", "reboot", reboots, &reboot, err) ||
                      !keyval_get_enum(c->action, "-action", "shutdown", shutdowns, &shutdown, err) ||
                      !keyval_get_enum(c->action, "-action", "panic", panics, &panic, err)))
        return false;
    runstate_set_actions(m->run, reboot, shutdown, panic);
    return true;
}

bool start_apply_options(const Config *c, Machine *m, GError **err)
{
    m->defaults = !c->nodefaults;
    replace(&m->cpu_type, c->cpu);
    if (c->cpu && !machine_class(m)->default_cpu) {
        error_set(err, "-cpu: machine '%s' has no processor", machine_class(m)->machine_name);
        return false;
    }
    return apply_name(c, m, err) && apply_smp(c, m, err) && apply_boot(c, m, err) && apply_rtc(c, m, err) && apply_action(c, m, err);
}

bool start_apply_memory(const Config *c, Machine *m, GError **err)
{
    const MachineClass *klass = machine_class(m);
    uint64_t size = klass->default_ram, maxmem = 0, slots = 0;
    if (c->memory) {
        if (!keyval_get_size(c->memory, "-m", "size", 'M', &size, err) || !keyval_get_size(c->memory, "-m", "maxmem", 'M', &maxmem, err) ||
            !keyval_get_uint(c->memory, "-m", "slots", 0, 256, &slots, err))
            return false;
        if (slots || (maxmem && maxmem != size)) {
            error_set(err, "-m: memory can't be added to a running machine, so slots= and a maxmem= other than size= are not supported");
            return false;
        }
        if (!klass->default_ram && size) {
            error_set(err, "-m: machine '%s' has no memory", klass->machine_name);
            return false;
        }
    }
    if (m->memory_backend) {
        g_autoptr(json_object) value = object_get_json(m->memory_backend, "size", err);
        if (!value)
            return false;
        uint64_t backend_size = json_object_get_uint64(value);
        if (c->memory && keyval_has(c->memory, "size") && size != backend_size) {
            g_autofree char *ours = size_format(size), *theirs = size_format(backend_size);
            error_set(err, "-m: size %s is not that of the memory backend, %s", ours, theirs);
            return false;
        }
        size = backend_size;
    }
    if (klass->max_ram && size > klass->max_ram) {
        g_autofree char *given = size_format(size), *most = size_format(klass->max_ram);
        error_set(err, "-m: %s is more than machine '%s' has room for, %s", given, klass->machine_name, most);
        return false;
    }
    m->ram_size = ROUND_UP_TO(size, 8192);
    return true;
}

/* ---- -machine's members ---- */

static bool set_bool_field(json_object *options, const char *key, bool *field, GError **err)
{
    return keyval_get_bool(options, "-machine", key, field, err);
}

bool start_apply_machine_props(const Config *c, Machine *m, GError **err)
{
    static const char *const taken[] = { "type", "accel", "kernel", "initrd", "append", "firmware", NULL };
    const char *text = NULL;
    m->hpet = m->acpi = true;
    /* Firmware shows its messages on the first serial port then. */
    if (c->nographic && object_property_find(m->obj.klass, "graphics") && !object_set_bool(&m->obj, "graphics", false, err))
        return false;
    if (c->machine) {
        static const struct { const char *key; size_t offset; } texts[] = {
            { "kernel", offsetof(BootConfig, kernel) }, { "initrd", offsetof(BootConfig, initrd) },
            { "append", offsetof(BootConfig, append) }, { "firmware", offsetof(BootConfig, bios) },
        };
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++) {
            if (!keyval_get_str(c->machine, "-machine", texts[i].key, &text, err))
                return false;
            if (keyval_has(c->machine, texts[i].key))
                replace((char **)((char *)&m->boot + texts[i].offset), text);
        }
        /* What the class has as a property is the class's; the rest of the fields every machine has. */
        static const struct { const char *key; size_t offset; } fields[] = {
            { "hpet", offsetof(Machine, hpet) }, { "acpi", offsetof(Machine, acpi) }, { "usb", offsetof(Machine, usb) },
            { "vmport", offsetof(Machine, vmport) },
        };
        g_autoptr(GPtrArray) skip = g_ptr_array_new();
        for (size_t i = 0; taken[i]; i++)
            g_ptr_array_add(skip, (char *)taken[i]);
        for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
            if (object_property_find(m->obj.klass, fields[i].key))
                continue;
            g_ptr_array_add(skip, (char *)fields[i].key);
            if (!set_bool_field(c->machine, fields[i].key, (bool *)((char *)m + fields[i].offset), err))
                return false;
        }
        g_ptr_array_add(skip, NULL);
        if (!object_set_all_json(OBJECT(m), c->machine, (const char *const *)skip->pdata, err))
            return false;
    }
    if (m->usb || m->vmport) {
        error_set(err, "-machine %s=on is not supported: %s", m->usb ? "usb" : "vmport", m->usb ? "there is no USB controller yet"
                  : "there is no such port");
        return false;
    }
    m->hpet &= !c->no_hpet;
    m->acpi &= !c->no_acpi;
    return true;
}
