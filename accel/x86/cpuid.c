/*
 * CPUID: the table of leaves made from model, features and topology, and its lookup. SDM vol. 2A CPUID, AMD APM vol.
 * 3 app. E.
 */
#include "accel/x86/models.h"

#include <string.h>

#define LINE 64u

/* Caches as reported: sizes in bytes; level 3 is shared by the package. */
typedef struct Cache { unsigned level, type, ways; uint32_t size; } Cache; /* type: 1 data, 2 instruction, 3 unified */
static const Cache caches[] = {
    { 1, 1, 8, 32 * 1024 }, { 1, 2, 8, 32 * 1024 }, { 2, 3, 16, 512 * 1024 }, { 3, 3, 16, 16 * 1024 * 1024 },
};

static unsigned bits_for(unsigned count)
{
    unsigned bits = 0;
    while ((1u << bits) < count)
        bits++;
    return bits;
}

typedef struct Topology { unsigned thread_bits, core_bits, die_bits; } Topology;

static Topology topology(const SmpConfig *smp)
{
    return (Topology) { bits_for(smp->threads), bits_for(smp->cores), bits_for(smp->dies) };
}

uint32_t x86_apic_id(const SmpConfig *smp, unsigned index)
{
    Topology t = topology(smp);
    unsigned thread = index % smp->threads, core = index / smp->threads % smp->cores;
    unsigned die = index / (smp->threads * smp->cores) % smp->dies;
    unsigned socket = index / (smp->threads * smp->cores * smp->dies);
    uint32_t id = socket;
    id = id << t.die_bits | die;
    id = id << t.core_bits | core;
    return id << t.thread_bits | thread;
}

/* Not by strcmp: the lookup runs while the guest's vector registers are live. */
static bool is_amd(const X86Cpu *cpu) { return ld32(cpu->vendor) == 0x68747541u; } /* "Auth" */

static void add(X86Cpu *cpu, uint32_t leaf, uint32_t eax, uint32_t ebx, uint32_t ecx, uint32_t edx)
{
    X86CpuidEntry e = { leaf, 0, false, eax, ebx, ecx, edx };
    g_array_append_val(cpu->cpuid, e);
}

static void add_sub(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, const uint32_t r[4])
{
    X86CpuidEntry e = { leaf, subleaf, true, r[0], r[1], r[2], r[3] };
    g_array_append_val(cpu->cpuid, e);
}

static uint32_t text_word(const char *text, unsigned at)
{
    char buf[4] = { 0 };
    for (unsigned i = 0; i < 4 && at < 48 && strlen(text) > at + i; i++)
        buf[i] = text[at + i];
    return ld32(buf);
}

static uint32_t signature(const X86Cpu *cpu)
{
    uint32_t family = cpu->family > 15 ? 0xf00 | (cpu->family - 15) << 20 : cpu->family << 8;
    return family | (cpu->model & 0xf) << 4 | (cpu->model & 0xf0) << 12 | cpu->stepping;
}

static unsigned package_threads(const SmpConfig *smp) { return smp->dies * smp->cores * smp->threads; }

static void leaf_1(X86Cpu *cpu, const SmpConfig *smp)
{
    Topology t = topology(smp);
    uint32_t ebx = (cpu->apic_id & 0xff) << 24 | LINE / 8 << 8;
    uint32_t edx = cpu->features[X86_WORD_1_EDX];
    if (package_threads(smp) > 1) {
        ebx |= MIN(1u << (t.thread_bits + t.core_bits + t.die_bits), 255u) << 16;
        edx |= 1u << (X86_FEAT_HT % 32);
    }
    add(cpu, 1, signature(cpu), ebx, cpu->features[X86_WORD_1_ECX], edx);
}

/* Threads that share a cache. */
static unsigned sharing(const SmpConfig *smp, const Cache *c)
{
    return c->level == 3 ? package_threads(smp) : smp->threads;
}

static void cache_leaf(X86Cpu *cpu, uint32_t leaf, const SmpConfig *smp)
{
    bool amd_leaf = leaf == 0x8000001d;
    Topology t = topology(smp);
    for (unsigned i = 0; i < G_N_ELEMENTS(caches); i++) {
        const Cache *c = &caches[i];
        uint32_t sets = c->size / (c->ways * LINE);
        uint32_t shared = amd_leaf ? sharing(smp, c) - 1 : (1u << bits_for(sharing(smp, c))) - 1;
        uint32_t eax = c->type | c->level << 5 | 1u << 8 | shared << 14;
        if (!amd_leaf)
            eax |= ((1u << (t.core_bits + t.die_bits)) - 1) << 26;
        add_sub(cpu, leaf, i, (uint32_t[]) { eax, (c->ways - 1) << 22 | (LINE - 1), sets - 1, 0 });
    }
    add_sub(cpu, leaf, G_N_ELEMENTS(caches), (uint32_t[4]) { 0 });
}

static void leaf_b(X86Cpu *cpu, const SmpConfig *smp)
{
    Topology t = topology(smp);
    unsigned package_bits = t.thread_bits + t.core_bits + t.die_bits;
    add_sub(cpu, 0xb, 0, (uint32_t[]) { t.thread_bits, smp->threads, 1 << 8, cpu->apic_id });
    add_sub(cpu, 0xb, 1, (uint32_t[]) { package_bits, package_threads(smp), 1 | 2 << 8, cpu->apic_id });
    add_sub(cpu, 0xb, 2, (uint32_t[]) { 0, 0, 2, cpu->apic_id });
}

static uint32_t xcr0_supported(const X86Cpu *cpu) { return 3 | (x86_has(cpu, X86_FEAT_AVX) ? 4 : 0); }
static uint32_t xsave_size(uint64_t xcr0) { return xcr0 & 4 ? XSAVE_YMMH + 256 : XSAVE_YMMH; }

static void leaf_d(X86Cpu *cpu)
{
    if (!x86_has(cpu, X86_FEAT_XSAVE)) {
        add_sub(cpu, 0xd, 0, (uint32_t[4]) { 0 });
        return;
    }
    uint32_t xcr0 = xcr0_supported(cpu);
    add_sub(cpu, 0xd, 0, (uint32_t[]) { xcr0, 0, xsave_size(xcr0), 0 });
    add_sub(cpu, 0xd, 1, (uint32_t[]) { cpu->features[X86_WORD_D1_EAX], 0, 0, 0 });
    if (xcr0 & 4)
        add_sub(cpu, 0xd, 2, (uint32_t[]) { 256, XSAVE_YMMH, 0, 0 });
}

static void basic_leaves(X86Cpu *cpu, const SmpConfig *smp)
{
    const char *v = cpu->vendor;
    add(cpu, 0, cpu->level, text_word(v, 0), text_word(v, 8), text_word(v, 4));
    leaf_1(cpu, smp);
    if (!is_amd(cpu)) {
        add(cpu, 2, 0x00000001, 0, 0x4d, 0x2c307d); /* descriptors of the caches above */
        cache_leaf(cpu, 4, smp);
    }
    add(cpu, 6, cpu->features[X86_WORD_6_EAX], 0, 0, 0);
    const uint32_t *f = cpu->features;
    add_sub(cpu, 7, 0, (uint32_t[]) { f[X86_WORD_7_1_EAX] != 0, f[X86_WORD_7_EBX], f[X86_WORD_7_ECX], f[X86_WORD_7_EDX] });
    add_sub(cpu, 7, 1, (uint32_t[]) { f[X86_WORD_7_1_EAX], 0, 0, 0 });
    leaf_b(cpu, smp);
    leaf_d(cpu);
}

static uint32_t amd_associativity(unsigned ways)
{
    return ways == 16 ? 8 : ways == 8 ? 6 : ways == 4 ? 4 : ways;
}

static void extended_leaves(X86Cpu *cpu, const SmpConfig *smp)
{
    const char *v = cpu->vendor, *id = cpu->model_id ? cpu->model_id : "";
    const uint32_t *f = cpu->features;
    uint32_t edx = f[X86_WORD_81_EDX], ecx = f[X86_WORD_81_ECX];
    if (is_amd(cpu)) {
        edx |= f[X86_WORD_1_EDX] & 0x0183f3ff; /* AMD repeats these bits */
        if (package_threads(smp) > 1)
            ecx |= 1u << (X86_FEAT_CMP_LEGACY % 32);
    }
    add(cpu, 0x80000000, cpu->xlevel, text_word(v, 0), text_word(v, 8), text_word(v, 4));
    add(cpu, 0x80000001, signature(cpu), 0, ecx, edx);
    for (unsigned i = 0; i < 3; i++)
        add(cpu, 0x80000002 + i, text_word(id, i * 16), text_word(id, i * 16 + 4), text_word(id, i * 16 + 8),
            text_word(id, i * 16 + 12));
    uint32_t l1 = 32u << 24 | 8u << 16 | 1u << 8 | LINE;
    add(cpu, 0x80000005, 0x01ff01ff, 0x01ff01ff, l1, l1);
    add(cpu, 0x80000006, 0, 0x42004200, 512u << 16 | amd_associativity(16) << 12 | 1u << 8 | LINE,
        32u << 18 | amd_associativity(16) << 12 | 1u << 8 | LINE);
    add(cpu, 0x80000007, 0, 0, 0, f[X86_WORD_87_EDX]);
    uint32_t threads = package_threads(smp);
    uint32_t cores = threads > 1 ? (threads - 1) | bits_for(threads) << 12 : 0;
    add(cpu, 0x80000008, cpu->phys_bits | (x86_has(cpu, X86_FEAT_LM) ? 48u << 8 : 32u << 8), f[X86_WORD_88_EBX], cores, 0);
    if (x86_has(cpu, X86_FEAT_TOPOEXT)) {
        Topology t = topology(smp);
        cache_leaf(cpu, 0x8000001d, smp);
        add(cpu, 0x8000001e, cpu->apic_id, (cpu->apic_id >> t.thread_bits & 0xff) | (smp->threads - 1) << 8, 0, 0);
    }
}

/* KVM's leaves when its paravirtual features are there, else only a name. */
static void hypervisor_leaves(X86Cpu *cpu)
{
    if (!cpu->expose_kvm || !x86_has(cpu, X86_FEAT_HYPERVISOR))
        return;
    uint32_t features = cpu->features[X86_WORD_KVM_EAX];
    const char *name = features ? "KVMKVMKVM" : "RheaRheaRhea";
    add(cpu, 0x40000000, features ? 0x40000001 : 0x40000000, text_word(name, 0), text_word(name, 4), text_word(name, 8));
    if (features)
        add(cpu, 0x40000001, features, 0, 0, 0);
}

void x86_cpuid_build(X86Cpu *cpu)
{
    const SmpConfig *smp = &cpu->vcpu.dev.machine->smp;
    g_array_set_size(cpu->cpuid, 0);
    basic_leaves(cpu, smp);
    hypervisor_leaves(cpu);
    extended_leaves(cpu, smp);
}

/* The highest leaf is what an Intel processor answers beyond its range; AMD processors answer zero. */
static bool clamp_leaf(const X86Cpu *cpu, uint32_t *leaf)
{
    if (*leaf >= 0x80000000 ? *leaf <= cpu->xlevel : *leaf >= 0x40000000 && *leaf <= 0x400000ff)
        return true;
    if (*leaf <= cpu->level)
        return true;
    *leaf = cpu->level;
    return !is_amd(cpu);
}

void x86_cpuid(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const X86State *st = &cpu->st;
    out[0] = out[1] = out[2] = out[3] = 0;
    if (!clamp_leaf(cpu, &leaf))
        return;
    for (unsigned i = 0; i < cpu->cpuid->len; i++) {
        const X86CpuidEntry *e = &g_array_index(cpu->cpuid, X86CpuidEntry, i);
        if (e->leaf != leaf || (e->has_subleaf && e->subleaf != subleaf))
            continue;
        out[0] = e->eax;
        out[1] = e->ebx;
        out[2] = e->ecx;
        out[3] = e->edx;
        break;
    }
    if (leaf == 1 && (st->cr4 & CR4_OSXSAVE))
        out[2] |= 1u << 27;
    if (leaf == 0xd && x86_has(cpu, X86_FEAT_XSAVE) && subleaf <= 1)
        out[1] = subleaf == 0 || x86_has(cpu, X86_FEAT_XSAVEC) ? xsave_size(st->xcr0) : 0;
    if (leaf == 0xb && subleaf > 2) {
        out[2] = subleaf & 0xff;
        out[3] = cpu->apic_id;
    }
}
