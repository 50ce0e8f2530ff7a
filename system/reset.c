/*
 * Machine reset and those outside the device tree who take part in it. See system/machine.h.
 */
#include "system/machine.h"

#include "accel/accel.h"
#include "system/vcpu.h"

typedef struct ResetEntry {
    bool after_cpus;
    void (*func)(void *opaque);
    void *opaque;
} ResetEntry;

static void add_entry(Machine *machine, void (*func)(void *opaque), void *opaque, bool after_cpus)
{
    ResetEntry *entry = g_new(ResetEntry, 1);
    entry->after_cpus = after_cpus;
    entry->func = func;
    entry->opaque = opaque;
    g_ptr_array_add(machine->resets, entry);
}

void reset_register(Machine *machine, void (*func)(void *opaque), void *opaque)
{
    add_entry(machine, func, opaque, false);
}

void reset_register_after_cpus(Machine *machine, void (*func)(void *opaque), void *opaque)
{
    add_entry(machine, func, opaque, true);
}

static void call_entries(Machine *machine, bool after_cpus)
{
    for (unsigned i = 0; i < machine->resets->len; i++) {
        const ResetEntry *entry = g_ptr_array_index(machine->resets, i);
        if (entry->after_cpus == after_cpus)
            entry->func(entry->opaque);
    }
}

void reset_unregister(Machine *machine, void (*func)(void *opaque), void *opaque)
{
    for (unsigned i = 0; i < machine->resets->len; i++) {
        const ResetEntry *entry = g_ptr_array_index(machine->resets, i);
        if (entry->func == func && entry->opaque == opaque) {
            g_ptr_array_remove_index(machine->resets, i);
            return;
        }
    }
}

/* Devices that no other device resets: those without a bus, and those on a bus that nobody provides. */
static bool collect_roots(Object *obj, void *opaque)
{
    if (object_is_a(obj, TYPE_DEVICE) && !object_is_a(obj, TYPE_VCPU)) {
        Device *dev = DEVICE(obj);
        if (dev->realized && (!dev->bus || !dev->bus->provider))
            g_ptr_array_add(opaque, object_ref(obj));
    }
    return true;
}

static void reset_vcpu(Vcpu *vcpu)
{
    const DeviceClass *klass = device_class(&vcpu->dev);
    if (klass->reset)
        klass->reset(&vcpu->dev);
}

static void tell_accel(Vcpu *vcpu)
{
    if (vcpu->accel && accel_class(vcpu->accel)->state_changed)
        accel_class(vcpu->accel)->state_changed(vcpu);
}

void machine_reset(Machine *machine)
{
    g_autoptr(GPtrArray) roots = g_ptr_array_new_with_free_func((GDestroyNotify)object_unref);
    vcpus_pause_all(machine);
    object_foreach(&machine->obj, collect_roots, roots);
    memory_transaction_begin();
    for (unsigned i = 0; i < roots->len; i++)
        device_reset_tree(g_ptr_array_index(roots, i));
    memory_transaction_commit();
    call_entries(machine, false);
    for (unsigned i = 0; i < machine->nr_vcpus; i++)
        if (machine->vcpus[i])
            reset_vcpu(machine->vcpus[i]);
    call_entries(machine, true);
    for (unsigned i = 0; i < machine->nr_vcpus; i++)
        if (machine->vcpus[i])
            tell_accel(machine->vcpus[i]);
    if (runstate_is_running(machine->run))
        vcpus_resume_all(machine);
}
