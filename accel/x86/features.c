/*
 * The feature table, and what this host can do.
 */
#include "accel/x86/models.h"

#include <cpuid.h>
#include <string.h>

const X86FeatureInfo x86_feature_table[] = {
#define F(id, word, bit, names) { X86_FEAT_##id, names },
    X86_FEATURES(F)
#undef F
};
const unsigned x86_feature_count = G_N_ELEMENTS(x86_feature_table);

static bool same_name(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        char x = a[i] == '_' ? '-' : a[i], y = b[i] == '_' ? '-' : b[i];
        if (x != y)
            return false;
    }
    return true;
}

int x86_feature_find(const char *name)
{
    size_t len = strlen(name);
    for (unsigned i = 0; i < x86_feature_count; i++)
        for (const char *p = x86_feature_table[i].names; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
            if (strcspn(p, ",") == len && same_name(p, name, len))
                return x86_feature_table[i].id;
    return -1;
}

char *x86_feature_name(unsigned feature)
{
    for (unsigned i = 0; i < x86_feature_count; i++)
        if (x86_feature_table[i].id == (X86Feature)feature)
            return g_strndup(x86_feature_table[i].names, strcspn(x86_feature_table[i].names, ","));
    return NULL;
}

/* Done in C by this CPU: there on any host. */
static const X86Feature emulated[] = {
    X86_FEAT_VME, X86_FEAT_DE, X86_FEAT_PSE, X86_FEAT_TSC, X86_FEAT_MSR, X86_FEAT_PAE, X86_FEAT_MCE, X86_FEAT_CX8,
    X86_FEAT_APIC, X86_FEAT_SEP, X86_FEAT_MTRR, X86_FEAT_PGE, X86_FEAT_MCA, X86_FEAT_PAT, X86_FEAT_PSE36, X86_FEAT_CLFLUSH,
    X86_FEAT_SS, X86_FEAT_HT, X86_FEAT_PCID, X86_FEAT_X2APIC, X86_FEAT_TSC_DEADLINE, X86_FEAT_HYPERVISOR, X86_FEAT_FSGSBASE,
    X86_FEAT_TSC_ADJUST, X86_FEAT_SMEP, X86_FEAT_SMAP, X86_FEAT_INVPCID, X86_FEAT_CLFLUSHOPT, X86_FEAT_CLWB, X86_FEAT_UMIP,
    X86_FEAT_RDPID, X86_FEAT_SYSCALL, X86_FEAT_NX, X86_FEAT_PDPE1GB, X86_FEAT_RDTSCP, X86_FEAT_LM, X86_FEAT_LAHF_LM,
    X86_FEAT_CMP_LEGACY, X86_FEAT_TOPOEXT, X86_FEAT_ARAT, X86_FEAT_XSAVEOPT, X86_FEAT_XSAVEC, X86_FEAT_XGETBV1,
    X86_FEAT_PREFETCHW, X86_FEAT_KVMCLOCK, X86_FEAT_KVMCLOCK2, X86_FEAT_KVMCLOCK_STABLE, X86_FEAT_KVM_NOPIODELAY,
};

/* Executed by the host: there when the host has them. */
static const X86Feature passed_through[] = {
    X86_FEAT_FPU, X86_FEAT_CMOV, X86_FEAT_MMX, X86_FEAT_FXSR, X86_FEAT_SSE, X86_FEAT_SSE2, X86_FEAT_SSE3, X86_FEAT_PCLMULQDQ,
    X86_FEAT_SSSE3, X86_FEAT_FMA, X86_FEAT_CX16, X86_FEAT_SSE41, X86_FEAT_SSE42, X86_FEAT_MOVBE, X86_FEAT_POPCNT,
    X86_FEAT_AES, X86_FEAT_XSAVE, X86_FEAT_AVX, X86_FEAT_F16C, X86_FEAT_RDRAND, X86_FEAT_BMI1, X86_FEAT_AVX2, X86_FEAT_BMI2,
    X86_FEAT_ERMS, X86_FEAT_RDSEED, X86_FEAT_ADX, X86_FEAT_SHA_NI, X86_FEAT_GFNI, X86_FEAT_VAES, X86_FEAT_VPCLMULQDQ,
    X86_FEAT_FSRM, X86_FEAT_AVX_VNNI, X86_FEAT_MMXEXT, X86_FEAT_ABM, X86_FEAT_SSE4A, X86_FEAT_MISALIGNSSE,
    X86_FEAT_INVTSC,
};

typedef struct HostLeaf { X86FeatureWord word; uint32_t leaf, subleaf; unsigned reg; } HostLeaf;
static const HostLeaf host_leaves[] = {
    { X86_WORD_1_EDX, 1, 0, 3 }, { X86_WORD_1_ECX, 1, 0, 2 }, { X86_WORD_7_EBX, 7, 0, 1 }, { X86_WORD_7_ECX, 7, 0, 2 },
    { X86_WORD_7_EDX, 7, 0, 3 }, { X86_WORD_7_1_EAX, 7, 1, 0 }, { X86_WORD_81_EDX, 0x80000001, 0, 3 },
    { X86_WORD_81_ECX, 0x80000001, 0, 2 }, { X86_WORD_87_EDX, 0x80000007, 0, 3 }, { X86_WORD_88_EBX, 0x80000008, 0, 1 },
};

static void host_features(uint32_t words[X86_WORDS])
{
    memset(words, 0, X86_WORDS * sizeof(words[0]));
    for (unsigned i = 0; i < G_N_ELEMENTS(host_leaves); i++) {
        const HostLeaf *l = &host_leaves[i];
        uint32_t r[4] = { 0 };
        if (__get_cpuid_count(l->leaf, l->subleaf, &r[0], &r[1], &r[2], &r[3]))
            words[l->word] = r[l->reg];
    }
    /* the host's system must have turned on the AVX state, else the instructions fault */
    uint32_t xcr0 = 0;
    if (words[X86_WORD_1_ECX] & (1u << 27))
        __asm__("xgetbv" : "=a"(xcr0) : "c"(0) : "edx");
    if ((xcr0 & 6) != 6)
        x86_word_set(words, X86_FEAT_AVX, false);
}

typedef struct Dependency { X86Feature feature, needs; } Dependency;
static const Dependency dependencies[] = {
    { X86_FEAT_AVX, X86_FEAT_XSAVE }, { X86_FEAT_XSAVEOPT, X86_FEAT_XSAVE }, { X86_FEAT_XSAVEC, X86_FEAT_XSAVE },
    { X86_FEAT_XGETBV1, X86_FEAT_XSAVE }, { X86_FEAT_FMA, X86_FEAT_AVX }, { X86_FEAT_F16C, X86_FEAT_AVX },
    { X86_FEAT_AVX2, X86_FEAT_AVX }, { X86_FEAT_VAES, X86_FEAT_AVX2 }, { X86_FEAT_VPCLMULQDQ, X86_FEAT_AVX2 },
    { X86_FEAT_AVX_VNNI, X86_FEAT_AVX2 }, { X86_FEAT_SSE2, X86_FEAT_SSE }, { X86_FEAT_SSE, X86_FEAT_FXSR },
    { X86_FEAT_SSE3, X86_FEAT_SSE2 }, { X86_FEAT_SSSE3, X86_FEAT_SSE2 }, { X86_FEAT_SSE41, X86_FEAT_SSE2 },
    { X86_FEAT_SSE42, X86_FEAT_SSE2 }, { X86_FEAT_AES, X86_FEAT_SSE2 }, { X86_FEAT_PCLMULQDQ, X86_FEAT_SSE2 },
    { X86_FEAT_SHA_NI, X86_FEAT_SSE2 }, { X86_FEAT_GFNI, X86_FEAT_SSE2 }, { X86_FEAT_PDPE1GB, X86_FEAT_LM },
    { X86_FEAT_PCID, X86_FEAT_LM }, { X86_FEAT_FSGSBASE, X86_FEAT_LM }, { X86_FEAT_LAHF_LM, X86_FEAT_LM },
    { X86_FEAT_CX16, X86_FEAT_LM }, { X86_FEAT_X2APIC, X86_FEAT_APIC }, { X86_FEAT_TSC_DEADLINE, X86_FEAT_APIC },
    { X86_FEAT_TSC_ADJUST, X86_FEAT_TSC }, { X86_FEAT_RDTSCP, X86_FEAT_TSC },
};

void x86_features_close(uint32_t words[X86_WORDS])
{
    bool changed = true;
    while (changed) { /* ends: every round clears at least one bit */
        changed = false;
        for (unsigned i = 0; i < G_N_ELEMENTS(dependencies); i++) {
            const Dependency *d = &dependencies[i];
            if (x86_word_has(words, d->feature) && !x86_word_has(words, d->needs)) {
                x86_word_set(words, d->feature, false);
                changed = true;
            }
        }
    }
}

void x86_features_supported(uint32_t words[X86_WORDS])
{
    uint32_t host[X86_WORDS];
    host_features(host);
    memset(words, 0, X86_WORDS * sizeof(words[0]));
    for (unsigned i = 0; i < G_N_ELEMENTS(emulated); i++)
        x86_word_set(words, emulated[i], true);
    for (unsigned i = 0; i < G_N_ELEMENTS(passed_through); i++)
        if (x86_word_has(host, passed_through[i]))
            x86_word_set(words, passed_through[i], true);
    x86_features_close(words);
}

GPtrArray *x86_feature_names(const uint32_t words[X86_WORDS])
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    for (unsigned i = 0; i < x86_feature_count; i++)
        if (x86_word_has(words, x86_feature_table[i].id))
            g_ptr_array_add(names, x86_feature_name(x86_feature_table[i].id));
    return names;
}
