/*
 * The CPU models and their object classes.
 *
 * qemu64, qemu32 and kvm64 are the virtual models whose names tools expect; x86-64-v1 to -v3 follow the
 * micro-architecture levels of
 * the x86-64 psABI. All of them present themselves as early AMD64 processors (family 15, model 107) unless stated:
 * kernels then
 * leave out work-arounds for faults that a translated CPU can't have.
 */
#include "accel/x86/models.h"

#include <cpuid.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/x86/exec.h"

#define BIT(feature) (1u << (X86_FEAT_##feature % 32))

#define BASE_1_EDX                                                                                                     \
    (BIT(FPU) | BIT(DE) | BIT(PSE) | BIT(TSC) | BIT(MSR) | BIT(PAE) | BIT(MCE) | BIT(CX8) | BIT(APIC) | BIT(SEP) | BIT(PGE) | \
     BIT(CMOV) | BIT(PAT) | BIT(FXSR) | BIT(MMX) | BIT(SSE) | BIT(SSE2))
#define CACHES_1_EDX (BIT(MTRR) | BIT(CLFLUSH) | BIT(MCA) | BIT(PSE36))
#define V1_1_EDX (BASE_1_EDX | CACHES_1_EDX)
#define V1_1_ECX BIT(HYPERVISOR)
#define V1_81_EDX (BIT(SYSCALL) | BIT(NX) | BIT(LM))
#define V2_1_ECX (V1_1_ECX | BIT(SSE3) | BIT(SSSE3) | BIT(CX16) | BIT(SSE41) | BIT(SSE42) | BIT(POPCNT) | BIT(X2APIC))
#define V3_1_ECX (V2_1_ECX | BIT(FMA) | BIT(MOVBE) | BIT(XSAVE) | BIT(AVX) | BIT(F16C))
#define V3_7_EBX (BIT(BMI1) | BIT(AVX2) | BIT(BMI2))

#define PARAVIRT [X86_WORD_KVM_EAX] = BIT(KVMCLOCK) | BIT(KVMCLOCK2) | BIT(KVMCLOCK_STABLE) | BIT(KVM_NOPIODELAY)

#define AMD "AuthenticAMD"
#define INTEL "GenuineIntel"
#define VIRTUAL_ID "Rhea virtual CPU"

const X86Model x86_models[] = {
    { .name = "qemu64", .desc = "virtual 64-bit processor, SSE3", .vendor = AMD, .model_id = VIRTUAL_ID, .family = 15,
      .model = 107, .stepping = 1, .level = 0xd, .xlevel = 0x8000000a,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = V1_1_EDX, [X86_WORD_1_ECX] = V1_1_ECX | BIT(SSE3) | BIT(CX16),
                    [X86_WORD_81_EDX] = V1_81_EDX, [X86_WORD_81_ECX] = BIT(LAHF_LM) } },
    { .name = "qemu32", .desc = "virtual 32-bit processor, SSE3", .vendor = INTEL, .model_id = VIRTUAL_ID, .family = 6,
      .model = 6, .stepping = 3, .level = 4, .xlevel = 0x80000004,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = BASE_1_EDX, [X86_WORD_1_ECX] = V1_1_ECX | BIT(SSE3) } },
    { .name = "kvm64", .desc = "common virtual 64-bit processor", .vendor = INTEL,
      .model_id = "Common virtual processor", .family = 15, .model = 6, .stepping = 1, .level = 0xd, .xlevel = 0x80000008,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = V1_1_EDX | BIT(VME), [X86_WORD_1_ECX] = V1_1_ECX | BIT(SSE3) | BIT(CX16),
                    [X86_WORD_81_EDX] = V1_81_EDX } },
    { .name = "x86-64-v1", .desc = "x86-64 baseline", .vendor = AMD, .model_id = VIRTUAL_ID, .family = 15, .model = 107,
      .stepping = 1, .level = 0xd, .xlevel = 0x8000000a,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = V1_1_EDX, [X86_WORD_1_ECX] = V1_1_ECX, [X86_WORD_81_EDX] = V1_81_EDX } },
    { .name = "x86-64-v2", .desc = "x86-64-v2: SSE4.2, POPCNT, CMPXCHG16B", .vendor = AMD, .model_id = VIRTUAL_ID,
      .family = 15, .model = 107, .stepping = 1, .level = 0xd, .xlevel = 0x8000000a,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = V1_1_EDX, [X86_WORD_1_ECX] = V2_1_ECX, [X86_WORD_81_EDX] = V1_81_EDX,
                    [X86_WORD_81_ECX] = BIT(LAHF_LM) } },
    { .name = "x86-64-v3", .desc = "x86-64-v3: AVX2, BMI, FMA, MOVBE", .vendor = AMD, .model_id = VIRTUAL_ID,
      .family = 15, .model = 107, .stepping = 1, .level = 0xd, .xlevel = 0x8000000a,
      .features = { PARAVIRT, [X86_WORD_1_EDX] = V1_1_EDX, [X86_WORD_1_ECX] = V3_1_ECX, [X86_WORD_7_EBX] = V3_7_EBX,
                    [X86_WORD_81_EDX] = V1_81_EDX, [X86_WORD_81_ECX] = BIT(LAHF_LM) | BIT(ABM),
                    [X86_WORD_D1_EAX] = BIT(XSAVEOPT) } },
    { .name = "max", .desc = "every feature that this host and accelerator offer", .vendor = AMD,
      .model_id = VIRTUAL_ID, .family = 15, .model = 107, .stepping = 1, .level = 0xd, .xlevel = 0x8000001f,
      .everything = true },
    { .name = "host", .desc = "like max, with the host processor's name and numbers", .everything = true, .level = 0xd,
      .xlevel = 0x8000001f },
    { .name = "base", .desc = "no features: the start of an explicit list", .vendor = AMD, .model_id = VIRTUAL_ID,
      .family = 15, .model = 107, .stepping = 1, .level = 0xd, .xlevel = 0x8000000a },
};
const unsigned x86_model_count = G_N_ELEMENTS(x86_models);

/* ---- the host's identity ---- */

typedef struct HostIdentity {
    char vendor[13], model_id[49];
    unsigned family, model, stepping, phys_bits;
} HostIdentity;

static HostIdentity host_identity(void)
{
    HostIdentity h = { 0 };
    uint32_t a, b, c, d;
    __cpuid(0, a, b, c, d);
    memcpy(h.vendor, &b, 4);
    memcpy(h.vendor + 4, &d, 4);
    memcpy(h.vendor + 8, &c, 4);
    __cpuid(1, a, b, c, d);
    h.family = (a >> 8) & 15;
    h.model = (a >> 4) & 15;
    if (h.family == 15 || h.family == 6)
        h.model |= (a >> 12) & 0xf0;
    if (h.family == 15)
        h.family += (a >> 20) & 0xff;
    h.stepping = a & 15;
    for (uint32_t i = 0; i < 3; i++) {
        __cpuid(0x80000002 + i, a, b, c, d);
        uint32_t words[4] = { a, b, c, d };
        memcpy(h.model_id + i * 16, words, 16);
    }
    __cpuid(0x80000008, a, b, c, d);
    h.phys_bits = a & 0xff;
    return h;
}

/* ---- objects ---- */

/* Model values where the user (or -global, applied before) gave none. */
static void init_from_model(X86Cpu *cpu, const X86Model *m)
{
    Object *obj = OBJECT(cpu);
    HostIdentity h = { 0 };
    bool host = !m->vendor;
    if (host)
        h = host_identity();
    if (!object_was_given(obj, "vendor")) {
        g_free(cpu->vendor);
        cpu->vendor = g_strdup(host ? h.vendor : m->vendor);
    }
    if (!object_was_given(obj, "model-id")) {
        g_free(cpu->model_id);
        cpu->model_id = g_strdup(host ? h.model_id : m->model_id);
    }
    if (!object_was_given(obj, "family"))
        cpu->family = host ? h.family : m->family;
    if (!object_was_given(obj, "model"))
        cpu->model = host ? h.model : m->model;
    if (!object_was_given(obj, "stepping"))
        cpu->stepping = host ? h.stepping : m->stepping;
    if (!object_was_given(obj, "level"))
        cpu->level = m->level;
    if (!object_was_given(obj, "xlevel"))
        cpu->xlevel = m->xlevel;
}

static void init_features(X86Cpu *cpu, const X86Model *m)
{
    uint32_t words[X86_WORDS];
    memcpy(words, m->features, sizeof(words));
    if (m->everything) {
        x86_features_supported(words);
        /* not migratable, or a matter of topology and of taste */
        x86_word_set(words, X86_FEAT_INVTSC, false);
        x86_word_set(words, X86_FEAT_HT, false);
        x86_word_set(words, X86_FEAT_CMP_LEGACY, false);
        x86_word_set(words, X86_FEAT_TOPOEXT, false);
    }
    bool any_given = OBJECT(cpu)->given && g_hash_table_size(OBJECT(cpu)->given);
    for (unsigned i = 0; i < x86_feature_count; i++) {
        X86Feature f = x86_feature_table[i].id;
        g_autofree char *name = any_given ? x86_feature_name(f) : NULL;
        if (!name || !object_was_given(OBJECT(cpu), name))
            x86_word_set(cpu->features, f, x86_word_has(words, f));
    }
}

static void cpu_init(Object *obj)
{
    X86Cpu *cpu = X86_CPU(obj);
    cpu->fault = g_new0(X86Event, 1);
    cpu->cpuid = g_array_new(FALSE, TRUE, sizeof(X86CpuidEntry));
    cpu->st.delivering = -1;
    const X86Model *m = obj->klass->data;
    if (!m)
        return;
    cpu->model_def = m;
    init_from_model(cpu, m);
    init_features(cpu, m);
}

static void cpu_finalize(Object *obj)
{
    X86Cpu *cpu = X86_CPU(obj);
    g_clear_pointer(&cpu->vendor, g_free); /* a property of its own kind: the core does not free it */
    g_free(cpu->fault);
    g_array_unref(cpu->cpuid);
    if (cpu->native_code)
        munmap(cpu->native_code, 4096);
}

static json_object *get_unavailable(Object *obj, const Property *prop, GError **err)
{
    json_object *array = json_object_new_array();
    g_autoptr(GPtrArray) names = x86_feature_names(X86_CPU(obj)->missing);
    for (unsigned i = 0; i < names->len; i++)
        json_object_array_add(array, json_object_new_string(names->pdata[i]));
    return array;
}

static bool set_vendor(Object *obj, const Property *prop, json_object *value, GError **err)
{
    const char *text = json_object_get_string(value);
    if (strlen(text) != 12) {
        error_set(err, "CPU vendor '%s' is not 12 characters long", text);
        return false;
    }
    g_free(X86_CPU(obj)->vendor);
    X86_CPU(obj)->vendor = g_strdup(text);
    return true;
}

static json_object *get_vendor(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string(X86_CPU(obj)->vendor ? X86_CPU(obj)->vendor : "");
}

static const Property plain_props[] = {
    PROP_CUSTOM("vendor", get_vendor, set_vendor, "12 characters of CPUID leaf 0"),
    PROP_STR("model-id", X86Cpu, model_id, NULL, "processor name, up to 48 characters"),
    PROP_U32("family", X86Cpu, family, 0, 0, 0xff + 0xf, "CPUID family"),
    PROP_U32("model", X86Cpu, model, 0, 0, 0xff, "CPUID model"),
    PROP_U32("stepping", X86Cpu, stepping, 0, 0, 0xf, "CPUID stepping"),
    PROP_U32("level", X86Cpu, level, 0xd, 0, 0x1f, "highest basic CPUID leaf"),
    PROP_U32("xlevel", X86Cpu, xlevel, 0x80000008, 0x80000000, 0x8000001f, "highest extended CPUID leaf"),
    PROP_U32("phys-bits", X86Cpu, phys_bits, 0, 0, 52, "width of physical addresses, 0: by model"),
    PROP_BOOL("host-phys-bits", X86Cpu, host_phys_bits, false, "physical address width of the host"),
    PROP_U32("host-phys-bits-limit", X86Cpu, host_phys_bits_limit, 0, 0, 52, "upper bound for host-phys-bits, 0: none"),
    PROP_BOOL("check", X86Cpu, check, true, "warn of features that are not possible here"),
    PROP_BOOL("enforce", X86Cpu, enforce, false, "fail for features that are not possible here"),
    PROP_BOOL("migratable", X86Cpu, migratable, true, "leave out features that bind the guest to this host"),
    PROP_BOOL("kvm", X86Cpu, expose_kvm, true, "show the hypervisor's CPUID leaves"),
    PROP_BOOL("pmu", X86Cpu, pmu, false, "performance counters"),
    { .name = "socket-id", .kind = PROP_KIND_I32, .offset = offsetof(X86Cpu, topo_ids[0]), .def = (uint64_t)-1, .help = "place" },
    { .name = "die-id", .kind = PROP_KIND_I32, .offset = offsetof(X86Cpu, topo_ids[1]), .def = (uint64_t)-1, .help = "place" },
    { .name = "core-id", .kind = PROP_KIND_I32, .offset = offsetof(X86Cpu, topo_ids[2]), .def = (uint64_t)-1, .help = "place" },
    { .name = "thread-id", .kind = PROP_KIND_I32, .offset = offsetof(X86Cpu, topo_ids[3]), .def = (uint64_t)-1,
      .help = "place" },
    { .name = "unavailable-features", .kind = PROP_KIND_CUSTOM, .flags = PROP_READONLY, .type = "strList",
      .get = get_unavailable, .help = "features asked for that this host can't give" },
};

/*
 * Plain properties, then one switch per spelling of a feature, the canonical one visible. Lives as long as the
 * process.
 */
static const Property *make_props(void)
{
    GArray *props = g_array_new(TRUE, TRUE, sizeof(Property));
    g_array_append_vals(props, plain_props, G_N_ELEMENTS(plain_props));
    for (unsigned i = 0; i < x86_feature_count; i++) {
        X86Feature f = x86_feature_table[i].id;
        g_auto(GStrv) names = g_strsplit(x86_feature_table[i].names, ",", -1);
        for (unsigned n = 0; names[n]; n++) {
            Property p = { .name = g_intern_string(names[n]), .kind = PROP_KIND_BIT, .flags = n ? PROP_HIDDEN : 0,
                           .offset = offsetof(X86Cpu, features) + f / 64 * 8, .bit = f % 64, .help = "CPUID feature" };
            g_array_append_val(props, p);
        }
    }
    return (const Property *)g_array_free(props, FALSE);
}

static void cpu_reset_device(Device *dev)
{
    X86Cpu *cpu = X86_CPU(dev);
    x86_cpu_reset(cpu, false);
    atomic_store(&cpu->vcpu.interrupts, 0);
    cpu->vcpu.wait_sipi = cpu->vcpu.halted = cpu->vcpu.index != 0;
}

static void __attribute__((constructor)) register_models(void)
{
    static DeviceClass parent, classes[G_N_ELEMENTS(x86_models)];
    parent = (DeviceClass) {
        .name = TYPE_X86_CPU, .parent = TYPE_VCPU, .desc = "an x86-64 processor", .size = sizeof(X86Cpu), .abstract = true,
        .internal = true, .category = DEV_CPU, .props = make_props(), .finalize = cpu_finalize,
    };
    object_register_class((const ObjectClass *)&parent);
    for (unsigned i = 0; i < x86_model_count; i++) {
        classes[i] = (DeviceClass) {
            .name = g_strdup_printf("%s-" TYPE_X86_CPU, x86_models[i].name), .parent = TYPE_X86_CPU,
            .desc = x86_models[i].desc, .internal = true, .category = DEV_CPU, .init = cpu_init,
            .reset = cpu_reset_device, .data = &x86_models[i],
        };
        object_register_class((const ObjectClass *)&classes[i]);
    }
}

/* ---- options of -cpu ---- */

static bool unknown_option(const char *name, GError **err)
{
    g_autoptr(GPtrArray) known = g_ptr_array_new();
    g_autoptr(GPtrArray) owned = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < x86_feature_count; i++) {
        char *feature = x86_feature_name(x86_feature_table[i].id);
        g_ptr_array_add(owned, feature);
        g_ptr_array_add(known, feature);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(plain_props); i++)
        g_ptr_array_add(known, (char *)plain_props[i].name);
    g_ptr_array_add(known, NULL);
    const char *near = nearest_name(name, (const char *const *)known->pdata);
    if (near)
        error_set(err, "CPU feature '%s' is not known; the nearest name is '%s'", name, near);
    else
        error_set(err, "CPU feature '%s' is not known; '-cpu help' lists them", name);
    return false;
}

static bool set_option(X86Cpu *cpu, const char *name, const char *value, GError **err)
{
    int feature = x86_feature_find(name);
    g_autofree char *canonical = feature >= 0 ? x86_feature_name(feature) : g_strdelimit(g_strdup(name), "_", '-');
    const Property *prop = object_property_find(OBJECT(cpu)->klass, canonical);
    if (!prop || (prop->flags & PROP_READONLY))
        return unknown_option(name, err);
    return object_set_text(OBJECT(cpu), canonical, value, err);
}

/* QEMU's rule: name=value options count in order, +name and -name after all of them. */
bool x86_cpu_set_options(X86Cpu *cpu, const char *options, GError **err)
{
    g_auto(GStrv) parts = g_strsplit(options, ",", -1);
    for (unsigned i = 0; parts[i]; i++) {
        if (parts[i][0] == '+' || parts[i][0] == '-' || !parts[i][0])
            continue;
        char *equals = strchr(parts[i], '=');
        if (equals)
            *equals = '\0';
        if (!set_option(cpu, parts[i], equals ? equals + 1 : "on", err))
            return false;
    }
    for (unsigned i = 0; parts[i]; i++)
        if (parts[i][0] == '+' || parts[i][0] == '-')
            if (!set_option(cpu, parts[i] + 1, parts[i][0] == '+' ? "on" : "off", err))
                return false;
    return true;
}

/* ---- what is really offered ---- */

static bool settle_phys_bits(X86Cpu *cpu, GError **err)
{
    unsigned host = host_identity().phys_bits;
    if (cpu->host_phys_bits) {
        cpu->phys_bits = host;
        if (cpu->host_phys_bits_limit && cpu->phys_bits > cpu->host_phys_bits_limit)
            cpu->phys_bits = cpu->host_phys_bits_limit;
    }
    if (!x86_has(cpu, X86_FEAT_LM) && !cpu->phys_bits)
        cpu->phys_bits = x86_has(cpu, X86_FEAT_PSE36) ? 36 : 32;
    if (!cpu->phys_bits)
        cpu->phys_bits = 40;
    if (cpu->phys_bits < 32 || cpu->phys_bits > 52) {
        error_set(err, "CPU phys-bits=%u is outside 32 to 52", cpu->phys_bits);
        return false;
    }
    return true;
}

bool x86_cpu_settle(X86Cpu *cpu, bool quiet, GError **err)
{
    uint32_t supported[X86_WORDS], wanted[X86_WORDS];
    x86_features_supported(supported);
    if (cpu->model_def->everything && !cpu->migratable && x86_word_has(supported, X86_FEAT_INVTSC) &&
        !object_was_given(OBJECT(cpu), "invtsc"))
        x86_word_set(cpu->features, X86_FEAT_INVTSC, true);
    memcpy(wanted, cpu->features, sizeof(wanted));
    for (unsigned i = 0; i < X86_WORDS; i++)
        cpu->features[i] &= supported[i];
    x86_features_close(cpu->features);
    bool any = false;
    for (unsigned i = 0; i < X86_WORDS; i++) {
        cpu->missing[i] = wanted[i] & ~cpu->features[i];
        /* what falls because the user turned its basis off is not missing */
        if (cpu->model_def->everything)
            cpu->missing[i] &= ~supported[i];
        any |= cpu->missing[i] != 0;
    }
    if (cpu->pmu) {
        error_set(err, "CPU option pmu=on: this CPU has no performance counters");
        return false;
    }
    if (any && (cpu->enforce || (cpu->check && !quiet))) {
        g_autoptr(GPtrArray) names = x86_feature_names(cpu->missing);
        g_ptr_array_add(names, NULL);
        g_autofree char *list = g_strjoinv(", ", (char **)names->pdata);
        if (cpu->enforce) {
            error_set(err, "CPU model '%s': not available on this host: %s", cpu->model_def->name, list);
            return false;
        }
        report_warning("CPU model '%s': not available on this host, left out: %s", cpu->model_def->name, list);
    }
    return settle_phys_bits(cpu, err);
}
