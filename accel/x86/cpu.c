/*
 * Making and resetting x86 CPUs.
 */
#include "accel/x86/cpu.h"

#include <string.h>
#include <x86intrin.h>

#include "accel/x86/exec.h"
#include "accel/x86/models.h"

/* ---- clock ---- */

/*
 * The host's TSC at an event that meets all CPUs, one after the other: the first CPU looks, the rest use what it saw,
 * so that
 * their TSCs stay in step to the cycle.
 */
static uint64_t common_tsc(X86Cpu *cpu)
{
    const Machine *machine = cpu->vcpu.dev.machine;
    if (cpu->vcpu.index == 0 || !machine->nr_vcpus || !machine->vcpus[0])
        return cpu->tsc_mark = __rdtsc();
    return X86_CPU(machine->vcpus[0])->tsc_mark;
}

/* The TSC must not run while the machine stands: the offset takes back what passed. Main loop, vCPUs parked. */
static void run_changed(void *opaque, bool running, RunStateKind state)
{
    X86Cpu *cpu = opaque;
    uint64_t now = common_tsc(cpu);
    if (!running && !cpu->tsc_stopped) {
        cpu->tsc_stop = now;
        cpu->tsc_stopped = true;
    } else if (running && cpu->tsc_stopped) {
        cpu->st.tsc_offset -= now - cpu->tsc_stop;
        cpu->tsc_stopped = false;
    }
}

/* ---- reset ---- */

static X86Segment reset_segment(uint16_t sel, uint64_t base, uint16_t attr)
{
    return (X86Segment) { .base = base, .limit = 0xffff, .selector = sel, .attr = attr };
}

static void reset_fpu(X86State *st)
{
    memset(st->xsave, 0, sizeof(st->xsave));
    st16(st->xsave + XSAVE_FCW, 0x40); /* FNINIT makes it 0x37f */
    st32(st->xsave + XSAVE_MXCSR, 0x1f80);
    st->xsave[XSAVE_FTW] = 0xff;       /* power-on: tags say zero, SDM 3A table 9-1 */
    st64(st->xsave + XSAVE_HEADER, 7);
    st->xcr0 = 1;
}

static void reset_power_on(X86Cpu *cpu)
{
    X86State *st = &cpu->st;
    reset_fpu(st);
    st->star = st->lstar = st->cstar = st->sfmask = st->kernel_gs_base = st->tsc_aux = 0;
    st->sysenter_cs = st->sysenter_esp = st->sysenter_eip = 0;
    st->pat = 0x0007040600070406ull;
    st->misc_enable = 1; /* fast strings */
    st->debugctl = st->feature_control = st->xss = 0;
    st->mtrr_def_type = 0;
    memset(st->mtrr_fixed, 0, sizeof(st->mtrr_fixed));
    memset(st->mtrr_base, 0, sizeof(st->mtrr_base));
    memset(st->mtrr_mask, 0, sizeof(st->mtrr_mask));
    memset(st->mc, 0, sizeof(st->mc));
    for (unsigned i = 0; i < G_N_ELEMENTS(st->mc); i++)
        st->mc[i][0] = UINT64_MAX;
    st->mcg_status = 0;
    st->mcg_ctl = UINT64_MAX;
    st->tsc_offset = -(int64_t)(cpu->tsc_stopped ? cpu->tsc_stop : common_tsc(cpu));
    st->tsc_adjust = 0;
    st->kvmclock_system = st->kvmclock_wall = st->kvm_async_pf = st->kvm_steal = st->kvm_eoi = 0;
    st->a20 = true;
}

void x86_cpu_reset(X86Cpu *cpu, bool init)
{
    X86State *st = &cpu->st;
    uint64_t cr0_kept = init ? st->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW;
    memset(st->gpr, 0, sizeof(st->gpr));
    uint32_t leaf1[4];
    x86_cpuid(cpu, 1, 0, leaf1);
    st->gpr[R_RDX] = leaf1[0];
    st->rip = 0xfff0;
    st->rflags = 2;
    for (unsigned i = 0; i < SEG_LDTR; i++)
        st->seg[i] = reset_segment(0, 0, 0x93);
    st->seg[SEG_CS] = reset_segment(0xf000, 0xffff0000u, 0x9b);
    st->seg[SEG_LDTR] = reset_segment(0, 0, 0x82);
    st->seg[SEG_TR] = reset_segment(0, 0, 0x8b);
    st->gdt = st->idt = (X86Table) { 0, 0xffff };
    st->cr0 = cr0_kept | CR0_ET;
    st->cr2 = st->cr3 = st->cr4 = st->efer = 0;
    st->cpl = 0;
    st->shadow = 0;
    st->nmi_masked = false;
    st->cr8 = 0;
    memset(st->dr, 0, sizeof(st->dr));
    st->dr[6] = 0xffff0ff0u;
    st->dr[7] = 0x400;
    st->delivering = -1;
    if (!init)
        reset_power_on(cpu);
    if (cpu->engine && cpu->engine->tlb_flush)
        cpu->engine->tlb_flush(cpu, X86_TLB_ALL, 0, 0);
    if (cpu->engine && cpu->engine->mode_changed)
        cpu->engine->mode_changed(cpu);
}

/* ---- making ---- */

static void place(X86Cpu *cpu, const SmpConfig *smp, unsigned index)
{
    cpu->vcpu.index = index;
    cpu->thread_id = index % smp->threads;
    cpu->core_id = index / smp->threads % smp->cores;
    cpu->die_id = index / (smp->threads * smp->cores) % smp->dies;
    cpu->socket_id = index / (smp->threads * smp->cores * smp->dies);
    cpu->apic_id = x86_apic_id(smp, index);
    int32_t ids[4] = { cpu->socket_id, cpu->die_id, cpu->core_id, cpu->thread_id };
    memcpy(cpu->topo_ids, ids, sizeof(ids));
}

/* Type name of what -cpu calls a model; the type name itself is accepted as well. (owned) */
static char *type_of_model(const char *name, GError **err)
{
    g_autofree char *type = g_str_has_suffix(name, "-" TYPE_X86_CPU) ? g_strdup(name)
                                                                     : g_strconcat(name, "-" TYPE_X86_CPU, NULL);
    const ObjectClass *klass = object_class_find(type);
    if (klass && object_class_is_a(klass, TYPE_X86_CPU) && !klass->abstract)
        return g_steal_pointer(&type);
    const char *known[32] = { NULL };
    for (unsigned i = 0; i < x86_model_count && i < G_N_ELEMENTS(known) - 1; i++)
        known[i] = x86_models[i].name;
    const char *near = nearest_name(name, known);
    if (near)
        error_set(err, "CPU model '%s' is not known; the nearest name is '%s'", name, near);
    else
        error_set(err, "CPU model '%s' is not known; '-cpu help' lists them", name);
    return NULL;
}

static bool configure(X86Cpu *cpu, Machine *machine, const char *options, unsigned index, GError **err)
{
    if (options && !x86_cpu_set_options(cpu, options, err))
        return false;
    place(cpu, &machine->smp, index);
    if (!x86_cpu_settle(cpu, index != 0, err))
        return false;
    x86_cpuid_build(cpu);
    return true;
}

X86Cpu *x86_cpu_new(Machine *machine, const char *cpu_type, unsigned index, GError **err)
{
    const char *comma = strchr(cpu_type, ',');
    g_autofree char *name = comma ? g_strndup(cpu_type, comma - cpu_type) : g_strdup(cpu_type);
    g_autofree char *type = type_of_model(name, err);
    if (!type)
        return NULL;
    Device *dev = device_new(machine, type, err);
    if (!dev)
        return NULL;
    X86Cpu *cpu = X86_CPU(dev);
    if (!configure(cpu, machine, comma ? comma + 1 : NULL, index, err)) {
        object_unref(OBJECT(dev));
        return NULL;
    }
    if (!device_realize(dev, NULL, err))
        return NULL;
    cpu->tsc_stopped = !runstate_is_running(machine->run);
    cpu->tsc_stop = common_tsc(cpu);
    x86_cpu_reset(cpu, false);
    cpu->vcpu.wait_sipi = cpu->vcpu.halted = index != 0;
    runstate_on_change(machine->run, run_changed, cpu);
    return cpu;
}

void x86_cpu_attach_apic(X86Cpu *cpu, Device *apic, const X86ApicOps *ops)
{
    cpu->apic = apic;
    cpu->apic_ops = ops;
}
