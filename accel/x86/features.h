/*
 * CPUID feature bits: one table of name, leaf, register and bit, from which enumeration, names, masks and CPUID are
 * made.
 *
 * Sources: Intel SDM vol. 2A CPUID, AMD APM vol. 3 appendix E. Names are those that users of -cpu know.
 */
#pragma once

#include "accel/x86/cpu.h"

/* Words of X86Cpu.features. */
typedef enum {
    X86_WORD_1_EDX, X86_WORD_1_ECX, X86_WORD_7_EBX, X86_WORD_7_ECX, X86_WORD_7_EDX, X86_WORD_7_1_EAX, X86_WORD_81_EDX,
    X86_WORD_81_ECX, X86_WORD_87_EDX, X86_WORD_88_EBX, X86_WORD_D1_EAX, X86_WORD_6_EAX, X86_WORD_KVM_EAX, X86_WORDS
} X86FeatureWord;

/* F(identifier, word, bit, "name,alias,...") */
#define X86_FEATURES(F)                                                                                                \
    F(FPU, 1_EDX, 0, "fpu") F(VME, 1_EDX, 1, "vme") F(DE, 1_EDX, 2, "de") F(PSE, 1_EDX, 3, "pse")                      \
    F(TSC, 1_EDX, 4, "tsc") F(MSR, 1_EDX, 5, "msr") F(PAE, 1_EDX, 6, "pae") F(MCE, 1_EDX, 7, "mce")                    \
    F(CX8, 1_EDX, 8, "cx8") F(APIC, 1_EDX, 9, "apic") F(SEP, 1_EDX, 11, "sep") F(MTRR, 1_EDX, 12, "mtrr")              \
    F(PGE, 1_EDX, 13, "pge") F(MCA, 1_EDX, 14, "mca") F(CMOV, 1_EDX, 15, "cmov") F(PAT, 1_EDX, 16, "pat")              \
    F(PSE36, 1_EDX, 17, "pse36") F(PN, 1_EDX, 18, "pn") F(CLFLUSH, 1_EDX, 19, "clflush") F(DS, 1_EDX, 21, "ds")        \
    F(ACPI, 1_EDX, 22, "acpi") F(MMX, 1_EDX, 23, "mmx") F(FXSR, 1_EDX, 24, "fxsr") F(SSE, 1_EDX, 25, "sse")            \
    F(SSE2, 1_EDX, 26, "sse2") F(SS, 1_EDX, 27, "ss") F(HT, 1_EDX, 28, "ht") F(TM, 1_EDX, 29, "tm")                    \
    F(IA64, 1_EDX, 30, "ia64") F(PBE, 1_EDX, 31, "pbe")                                                                \
    F(SSE3, 1_ECX, 0, "pni,sse3") F(PCLMULQDQ, 1_ECX, 1, "pclmulqdq,pclmuldq") F(DTES64, 1_ECX, 2, "dtes64")           \
    F(MONITOR, 1_ECX, 3, "monitor") F(DS_CPL, 1_ECX, 4, "ds-cpl,ds_cpl") F(VMX, 1_ECX, 5, "vmx")                       \
    F(SMX, 1_ECX, 6, "smx") F(EST, 1_ECX, 7, "est") F(TM2, 1_ECX, 8, "tm2") F(SSSE3, 1_ECX, 9, "ssse3")                \
    F(CID, 1_ECX, 10, "cid") F(FMA, 1_ECX, 12, "fma") F(CX16, 1_ECX, 13, "cx16") F(XTPR, 1_ECX, 14, "xtpr")            \
    F(PDCM, 1_ECX, 15, "pdcm") F(PCID, 1_ECX, 17, "pcid") F(DCA, 1_ECX, 18, "dca")                                     \
    F(SSE41, 1_ECX, 19, "sse4.1,sse4-1,sse4_1") F(SSE42, 1_ECX, 20, "sse4.2,sse4-2,sse4_2")                            \
    F(X2APIC, 1_ECX, 21, "x2apic") F(MOVBE, 1_ECX, 22, "movbe") F(POPCNT, 1_ECX, 23, "popcnt")                         \
    F(TSC_DEADLINE, 1_ECX, 24, "tsc-deadline,tsc_deadline") F(AES, 1_ECX, 25, "aes") F(XSAVE, 1_ECX, 26, "xsave")      \
    F(AVX, 1_ECX, 28, "avx") F(F16C, 1_ECX, 29, "f16c") F(RDRAND, 1_ECX, 30, "rdrand")                                 \
    F(HYPERVISOR, 1_ECX, 31, "hypervisor")                                                                             \
    F(FSGSBASE, 7_EBX, 0, "fsgsbase") F(TSC_ADJUST, 7_EBX, 1, "tsc-adjust,tsc_adjust") F(SGX, 7_EBX, 2, "sgx")         \
    F(BMI1, 7_EBX, 3, "bmi1") F(HLE, 7_EBX, 4, "hle") F(AVX2, 7_EBX, 5, "avx2") F(SMEP, 7_EBX, 7, "smep")              \
    F(BMI2, 7_EBX, 8, "bmi2") F(ERMS, 7_EBX, 9, "erms") F(INVPCID, 7_EBX, 10, "invpcid") F(RTM, 7_EBX, 11, "rtm")      \
    F(MPX, 7_EBX, 14, "mpx") F(AVX512F, 7_EBX, 16, "avx512f") F(AVX512DQ, 7_EBX, 17, "avx512dq")                       \
    F(RDSEED, 7_EBX, 18, "rdseed") F(ADX, 7_EBX, 19, "adx") F(SMAP, 7_EBX, 20, "smap")                                 \
    F(AVX512IFMA, 7_EBX, 21, "avx512ifma") F(PCOMMIT, 7_EBX, 22, "pcommit") F(CLFLUSHOPT, 7_EBX, 23, "clflushopt")     \
    F(CLWB, 7_EBX, 24, "clwb") F(INTEL_PT, 7_EBX, 25, "intel-pt") F(AVX512PF, 7_EBX, 26, "avx512pf")                   \
    F(AVX512ER, 7_EBX, 27, "avx512er") F(AVX512CD, 7_EBX, 28, "avx512cd") F(SHA_NI, 7_EBX, 29, "sha-ni,sha_ni")        \
    F(AVX512BW, 7_EBX, 30, "avx512bw") F(AVX512VL, 7_EBX, 31, "avx512vl")                                              \
    F(AVX512VBMI, 7_ECX, 1, "avx512vbmi,avx512-vbmi") F(UMIP, 7_ECX, 2, "umip") F(PKU, 7_ECX, 3, "pku")                \
    F(OSPKE, 7_ECX, 4, "ospke") F(WAITPKG, 7_ECX, 5, "waitpkg") F(AVX512VBMI2, 7_ECX, 6, "avx512vbmi2")                \
    F(GFNI, 7_ECX, 8, "gfni") F(VAES, 7_ECX, 9, "vaes") F(VPCLMULQDQ, 7_ECX, 10, "vpclmulqdq")                         \
    F(AVX512VNNI, 7_ECX, 11, "avx512vnni") F(AVX512BITALG, 7_ECX, 12, "avx512bitalg")                                  \
    F(AVX512VPOPCNTDQ, 7_ECX, 14, "avx512-vpopcntdq") F(LA57, 7_ECX, 16, "la57") F(RDPID, 7_ECX, 22, "rdpid")          \
    F(BUS_LOCK_DETECT, 7_ECX, 24, "bus-lock-detect") F(CLDEMOTE, 7_ECX, 25, "cldemote") F(MOVDIRI, 7_ECX, 27, "movdiri")      \
    F(MOVDIR64B, 7_ECX, 28, "movdir64b") F(PKS, 7_ECX, 31, "pks")                                                      \
    F(FSRM, 7_EDX, 4, "fsrm") F(AVX512VP2INTERSECT, 7_EDX, 8, "avx512-vp2intersect") F(MD_CLEAR, 7_EDX, 10, "md-clear")       \
    F(SERIALIZE, 7_EDX, 14, "serialize") F(SPEC_CTRL, 7_EDX, 26, "spec-ctrl") F(STIBP, 7_EDX, 27, "stibp")             \
    F(ARCH_CAPABILITIES, 7_EDX, 29, "arch-capabilities") F(CORE_CAPABILITY, 7_EDX, 30, "core-capability")              \
    F(SSBD, 7_EDX, 31, "ssbd")                                                                                         \
    F(AVX_VNNI, 7_1_EAX, 4, "avx-vnni") F(AVX512_BF16, 7_1_EAX, 5, "avx512-bf16") F(FZRM, 7_1_EAX, 10, "fzrm")         \
    F(FSRS, 7_1_EAX, 11, "fsrs") F(FSRC, 7_1_EAX, 12, "fsrc")                                                          \
    F(SYSCALL, 81_EDX, 11, "syscall") F(NX, 81_EDX, 20, "nx,xd") F(MMXEXT, 81_EDX, 22, "mmxext")                       \
    F(FXSR_OPT, 81_EDX, 25, "fxsr-opt,fxsr_opt,ffxsr") F(PDPE1GB, 81_EDX, 26, "pdpe1gb") F(RDTSCP, 81_EDX, 27, "rdtscp")      \
    F(LM, 81_EDX, 29, "lm,i64") F(NOW3DEXT, 81_EDX, 30, "3dnowext") F(NOW3D, 81_EDX, 31, "3dnow")                      \
    F(LAHF_LM, 81_ECX, 0, "lahf-lm,lahf_lm") F(CMP_LEGACY, 81_ECX, 1, "cmp-legacy,cmp_legacy") F(SVM, 81_ECX, 2, "svm")       \
    F(EXTAPIC, 81_ECX, 3, "extapic") F(CR8LEGACY, 81_ECX, 4, "cr8legacy") F(ABM, 81_ECX, 5, "abm,lzcnt")               \
    F(SSE4A, 81_ECX, 6, "sse4a") F(MISALIGNSSE, 81_ECX, 7, "misalignsse")                                              \
    F(PREFETCHW, 81_ECX, 8, "3dnowprefetch") F(OSVW, 81_ECX, 9, "osvw") F(IBS, 81_ECX, 10, "ibs")                      \
    F(XOP, 81_ECX, 11, "xop") F(SKINIT, 81_ECX, 12, "skinit") F(WDT, 81_ECX, 13, "wdt") F(LWP, 81_ECX, 15, "lwp")      \
    F(FMA4, 81_ECX, 16, "fma4") F(TCE, 81_ECX, 17, "tce") F(NODEID_MSR, 81_ECX, 19, "nodeid-msr,nodeid_msr")           \
    F(TBM, 81_ECX, 21, "tbm") F(TOPOEXT, 81_ECX, 22, "topoext") F(PERFCTR_CORE, 81_ECX, 23, "perfctr-core,perfctr_core")      \
    F(PERFCTR_NB, 81_ECX, 24, "perfctr-nb,perfctr_nb")                                                                 \
    F(INVTSC, 87_EDX, 8, "invtsc")                                                                                     \
    F(CLZERO, 88_EBX, 0, "clzero") F(XSAVEERPTR, 88_EBX, 2, "xsaveerptr") F(WBNOINVD, 88_EBX, 9, "wbnoinvd")           \
    F(IBPB, 88_EBX, 12, "ibpb") F(AMD_STIBP, 88_EBX, 15, "amd-stibp") F(AMD_SSBD, 88_EBX, 24, "amd-ssbd")              \
    F(VIRT_SSBD, 88_EBX, 25, "virt-ssbd")                                                                              \
    F(XSAVEOPT, D1_EAX, 0, "xsaveopt") F(XSAVEC, D1_EAX, 1, "xsavec") F(XGETBV1, D1_EAX, 2, "xgetbv1")                 \
    F(XSAVES, D1_EAX, 3, "xsaves")                                                                                     \
    F(ARAT, 6_EAX, 2, "arat")                                                                                          \
    F(KVMCLOCK, KVM_EAX, 0, "kvmclock,kvm-clock") F(KVM_NOPIODELAY, KVM_EAX, 1, "kvm-nopiodelay,kvm_nopiodelay")       \
    F(KVMCLOCK2, KVM_EAX, 3, "kvmclock2") F(KVM_ASYNCPF, KVM_EAX, 4, "kvm-asyncpf,kvm_asyncpf")                        \
    F(KVM_STEAL_TIME, KVM_EAX, 5, "kvm-steal-time,kvm_steal_time") F(KVM_PV_EOI, KVM_EAX, 6, "kvm-pv-eoi,kvm_pv_eoi")  \
    F(KVM_PV_UNHALT, KVM_EAX, 7, "kvm-pv-unhalt,kvm_pv_unhalt")                                                        \
    F(KVMCLOCK_STABLE, KVM_EAX, 24, "kvmclock-stable-bit")

typedef enum {
#define F(id, word, bit, names) X86_FEAT_##id = X86_WORD_##word * 32 + bit,
    X86_FEATURES(F)
#undef F
} X86Feature;

static inline bool x86_has(const X86Cpu *cpu, X86Feature f) { return cpu->features[f / 32] >> (f % 32) & 1; }

/* One feature as users see it: names[0] is the canonical spelling. */
typedef struct X86FeatureInfo {
    X86Feature id;
    const char *names;   /* "canonical,alias,..." */
} X86FeatureInfo;
extern const X86FeatureInfo x86_feature_table[];
extern const unsigned x86_feature_count;

/* -1 if unknown. '-' and '_' are the same. */
int x86_feature_find(const char *name);
/* First spelling of a feature. (owned) NULL for a bit without name. */
char *x86_feature_name(unsigned feature);
/* What this host and the translator can do together, by word. */
void x86_features_supported(uint32_t words[X86_WORDS]);
/* Drops features whose prerequisite is missing (AVX without XSAVE); returns nothing: callers compare. */
void x86_features_close(uint32_t words[X86_WORDS]);
static inline bool x86_word_has(const uint32_t *words, X86Feature f) { return words[f / 32] >> (f % 32) & 1; }
static inline void x86_word_set(uint32_t *words, X86Feature f, bool on)
{
    words[f / 32] = (words[f / 32] & ~(1u << f % 32)) | (on ? 1u << f % 32 : 0);
}
