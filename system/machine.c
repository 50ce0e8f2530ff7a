/*
 * The abstract machine class: what every board has, and `-machine none`. See system/machine.h.
 */
#include "system/machine.h"

#include <ui/input.h>

#include <errno.h>
#include <sys/mman.h>

#include "system/loop_internal.h"
#include "system/memory_internal.h"

static void machine_init(Object *obj)
{
    Machine *m = (Machine *)obj;
    m->domain = domain_new("main", g_main_context_default());
    m->clocks = clocks_new();
    domain_set_clocks(m->domain, m->clocks);
    memory_set_main_domain(m->domain);
    m->run = runstate_new(m);
    memory_region_init(&m->mem_root, NULL, "system", UINT64_MAX);
    memory_region_init(&m->io_root, NULL, "io", 0x10000);
    m->mem = address_space_new(&m->mem_root, "memory");
    m->io = address_space_new(&m->io_root, "I/O");
    m->smp = (SmpConfig){ 1, 1, 1, 1, 1, 1 };
    m->boot.splash_time_ms = -1;
    m->boot.reboot_timeout_ms = -1;
    m->defaults = true;
    m->rtc_clock = CLOCK_HOST;
    m->resets = g_ptr_array_new_with_free_func(g_free);
    m->serials = g_ptr_array_new();
}

static void machine_finalize(Object *obj)
{
    Machine *m = (Machine *)obj;
    domain_lock(m->domain);
    bh_run(m->domain); /* views that other threads let go of */
    input_cleanup(m);
    BootConfig *b = &m->boot;
    char *strings[] = { b->kernel, b->initrd, b->append, b->bios, b->order, b->once, m->ram_id, m->cpu_type, m->name };
    for (unsigned i = 0; i < G_N_ELEMENTS(strings); i++)
        g_free(strings[i]);
    g_free(m->vcpus);
    g_ptr_array_unref(m->resets);
    g_ptr_array_unref(m->serials);
    address_space_free(m->mem);
    address_space_free(m->io);
    memory_region_clear(&m->mem_root);
    memory_region_clear(&m->io_root);
    runstate_free(m->run);
    memory_set_main_domain(NULL);
    domain_unlock(m->domain);
    domain_free(m->domain);
    clocks_free(m->clocks);
}

void machine_advise_ram(const Machine *machine, const RamBlock *ram)
{
    /* Advice only: kernels without the feature refuse, and nothing is lost. */
    if (!machine->dump_guest_core && madvise(ram->host, ram->size, MADV_DONTDUMP) < 0)
        report_warning("guest memory '%s' will be part of core dumps: %s", ram->name, g_strerror(errno));
    if (machine->mem_merge && madvise(ram->host, ram->size, MADV_MERGEABLE) < 0)
        g_debug("no page merging for '%s'", ram->name);
}

static const Property machine_props[] = {
    PROP_LINK("memory-backend", Machine, memory_backend, "memory-backend", "the object that provides all of guest RAM"),
    PROP_BOOL("dump-guest-core", Machine, dump_guest_core, true, "guest RAM is part of a core dump of this process"),
    PROP_BOOL("mem-merge", Machine, mem_merge, true, "let the host share equal pages (KSM)"),
    PROP_END
};

static const MachineClass machine_class_table = {
    .name = TYPE_MACHINE,
    .parent = TYPE_OBJECT,
    .desc = "a machine",
    .size = sizeof(Machine),
    .abstract = true,
    .props = machine_props,
    .init = machine_init,
    .finalize = machine_finalize,
};
REGISTER_OBJECT(machine_class_table)

static bool none_build(Machine *machine, GError **err)
{
    return true;
}

static const MachineClass none_machine = {
    .name = "none-machine",
    .parent = TYPE_MACHINE,
    .desc = "empty machine",
    .machine_name = "none",
    .max_cpus = 1,
    .build = none_build,
};
REGISTER_OBJECT(none_machine)
