/*
 * The "dbt" accelerator class (alias "tcg"): availability, vCPU set-up and tear-down.
 */
#include "accel/dbt/run.h"

#include <json-c/json.h>
#include <cpuid.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/dbt/classes.h"
#include "accel/dbt/tr.h"

#define STACK_SIZE (256 * KIB)   /* of C functions that translated code calls; below the context */

static bool cpu_has_fast_pext(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 8)))
        return false;
    __cpuid(0, a, b, c, d);
    bool amd = b == 0x68747541; /* "Auth": PEXT is microcoded before family 19h */
    __cpuid(1, a, b, c, d);
    unsigned family = (a >> 8 & 15) + ((a >> 8 & 15) == 15 ? a >> 20 & 0xff : 0);
    return !amd || family >= 0x19;
}

static uint64_t host_xcr0(void)
{
    unsigned a, b, c, d;
    __cpuid(1, a, b, c, d);
    if (!(c & (1u << 27)))
        return 0;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    return (uint64_t)d << 32 | a;
}

static bool dbt_available(GError **err)
{
    if (host_xcr0() & 2)
        return true;
    error_set(err, "the dbt accelerator needs a host CPU and kernel with XSAVE");
    return false;
}

static bool dbt_start(Accel *accel, Machine *machine, GError **err)
{
    Dbt *dbt = g_new0(Dbt, 1);
    dbt->accel = accel;
    accel->data = dbt;
    dbt_signal_init();
    return dbt_smc_init(dbt);
}

static bool make_context(DbtVcpu *v, GError **err)
{
    size_t size = ROUND_UP_TO(STACK_SIZE + sizeof(DbtCtx), 2 * MIB);
    uint8_t *p = mmap(NULL, size + 2 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        error_set(err, "no memory for the translation tables of a CPU");
        return false;
    }
    v->ctx_map = p;
    v->ctx_map_size = size + 2 * MIB;
    p = (uint8_t *)ROUND_UP_TO((uintptr_t)p, 2 * MIB);
    madvise(p, size, MADV_HUGEPAGE);
    v->ctx = (DbtCtx *)(p + STACK_SIZE);
    v->ctx->cpu = v->cpu;
    v->ctx->st = &v->cpu->st;
    v->ctx->pext_mask = (uint64_t)(TLB_SIZE - 1) << 12;
    for (unsigned m = 0; m < MODE_COUNT; m++)
        for (unsigned i = 0; i < TLB_SIZE; i++)
            v->ctx->rtag[m][i] = v->ctx->wtag[m][i] = TLB_NONE;
    for (unsigned i = 0; i < EXEC_TLB; i++)
        v->exec[i].vpage = UINT64_MAX;
    return true;
}

static void vcpu_free(DbtVcpu *v)
{
    if (v->ctx_map)
        munmap(v->ctx_map, v->ctx_map_size);
    dbt_cache_free(v);
    g_free(v->tr);
    g_free(v->classes);
    g_free(v->exec_cache);
    g_free(v->ranges);
    g_free(v->altstack);
    g_free(v);
}

static bool dbt_vcpu_init(Accel *accel, Vcpu *vcpu, GError **err)
{
    Dbt *dbt = accel->data;
    DbtVcpu *v = g_new0(DbtVcpu, 1);
    v->cpu = X86_CPU(vcpu);
    v->dbt = dbt;
    v->xmask = host_xcr0() & 7;
    v->fast_pext = cpu_has_fast_pext();
    v->tr = g_new0(Tr, 1);
    v->exec_cache = g_new0(ExecInsn, 256);
    v->view_generation = UINT64_MAX;
    dbt_classes_init(v);
    if (!make_context(v, err) || !dbt_cache_init(v, accel->machine->smp.maxcpus, err)) {
        vcpu_free(v);
        return false;
    }
    g_mutex_lock(&dbt->lock);
    v->index = dbt->n_vcpus;
    for (unsigned i = 0; i < dbt->n_vcpus; i++)
        if (!dbt->vcpus[i])
            v->index = i;
    if (v->index == dbt->n_vcpus)
        dbt->n_vcpus++;
    dbt->vcpus[v->index] = v;
    g_mutex_unlock(&dbt->lock);
    v->key_stale = true;
    v->ctx->exit_flag = EXIT_FLAG;
    vcpu->accel_data = v;
    v->cpu->engine = dbt_engine_ops();
    return true;
}

static void dbt_vcpu_destroy(Vcpu *vcpu)
{
    DbtVcpu *v = vcpu->accel_data;
    g_mutex_lock(&v->dbt->lock);
    v->dbt->vcpus[v->index] = NULL;
    g_mutex_unlock(&v->dbt->lock);
    v->cpu->engine = NULL;
    vcpu->accel_data = NULL;
    vcpu_free(v);
}

static void dbt_kick(Vcpu *vcpu)
{
    DbtVcpu *v = vcpu->accel_data;
    if (v)
        atomic_store(&v->ctx->exit_flag, EXIT_FLAG);
}

static void dbt_state_changed(Vcpu *vcpu)
{
    DbtVcpu *v = vcpu->accel_data;
    dbt_tlb_flush(v->cpu, X86_TLB_ALL, 0, 0);
    v->vec_live = false;
    v->key_stale = true;
    v->ctx->exit_flag = EXIT_FLAG;
}

VcpuExit dbt_report_failure(DbtVcpu *v)
{
    const X86State *st = &v->cpu->st;
    report_error("CPU %u can't go on at %#" PRIx64 ": host exception %u in translated code", v->cpu->vcpu.index, st->rip,
                 v->ctx->sig_no);
    for (unsigned i = 0; i < 16; i += 4)
        report_error("R%-2u %016" PRIx64 " %016" PRIx64 " %016" PRIx64 " %016" PRIx64, i, st->gpr[i], st->gpr[i + 1],
                     st->gpr[i + 2], st->gpr[i + 3]);
    return VCPU_EXIT_FAILED;
}

static const char *const aliases[] = { "tcg", NULL };

static json_object *thread_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string("multi");
}

static bool thread_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    const char *text = json_object_get_string(value);
    if (!g_strcmp0(text, "multi"))
        return true;
    error_set(err, "thread=%s is not possible: every CPU has a thread of its own, thread=multi", text ? text : "");
    return false;
}

static const Property dbt_props[] = {
    { .name = "thread", .kind = PROP_KIND_CUSTOM, .type = "string", .get = thread_get, .set = thread_set,
      .help = "multi: a thread for each CPU" },
    PROP_END
};

static const AccelClass dbt_accel_class = {
    .name = "dbt-accel",
    .parent = TYPE_ACCEL,
    .desc = "x86-64 binary translation, for hosts without usable virtualization",
    .size = sizeof(Accel),
    .props = dbt_props,
    .accel_name = "dbt",
    .aliases = aliases,
    .available = dbt_available,
    .start = dbt_start,
    .vcpu_init = dbt_vcpu_init,
    .vcpu_destroy = dbt_vcpu_destroy,
    .run = dbt_run,
    .kick = dbt_kick,
    .state_changed = dbt_state_changed,
    .step = dbt_step,
};
REGISTER_OBJECT(dbt_accel_class)

/* Clients ask for this type's name to learn whether there is an accelerator that needs no hardware. */
static void __attribute__((constructor)) register_tcg_name(void)
{
    object_class_add_alias("tcg-accel", "dbt-accel");
}
