/*
 * The x86 CPU object: a Vcpu with architectural state, CPUID tables and its local APIC. Types are "<model>-x86_64-cpu".
 */
#pragma once

#include "accel/x86/state.h"
#include "system/machine.h"
#include "system/vcpu.h"

typedef struct X86Cpu X86Cpu;
typedef struct X86Event X86Event;          /* accel/x86/exec.h */
typedef struct X86EngineOps X86EngineOps;

/*
 * What the CPU asks of its local APIC device. apic is the device; functions lock for themselves. vCPU thread of that
 * CPU.
 */
typedef struct X86ApicOps {
    /*
     * Vector to deliver now and marks it in service; -1 if none (spurious INTR). Falls back to the PIC through LINT0
     * ExtINT.
     */
    int (*ack)(Device *apic);
    uint64_t (*get_base)(Device *apic);                     /* IA32_APIC_BASE */
    bool (*set_base)(Device *apic, uint64_t value);         /* false: #GP */
    uint8_t (*get_cr8)(Device *apic);
    void (*set_cr8)(Device *apic, uint8_t cr8);
    bool (*read_msr)(Device *apic, uint32_t msr, uint64_t *value);  /* 0x800-0x8ff and TSC_DEADLINE (0x6e0); false: #GP */
    bool (*write_msr)(Device *apic, uint32_t msr, uint64_t value);
    void (*init_received)(Device *apic);                    /* INIT reset of the APIC */
} X86ApicOps;

/* One CPUID leaf as the guest sees it. */
typedef struct X86CpuidEntry {
    uint32_t leaf, subleaf;
    bool has_subleaf;
    uint32_t eax, ebx, ecx, edx;
} X86CpuidEntry;

typedef struct X86Model X86Model; /* accel/x86/models.h */

struct X86Cpu {
    Vcpu vcpu;
    X86State st;
    const X86Model *model_def;
    uint32_t apic_id;
    unsigned socket_id, die_id, core_id, thread_id;
    GArray *cpuid;              /* X86CpuidEntry, sorted; dynamic bits (OSXSAVE, APIC id, XSAVE size) are patched on reading */
    _Alignas(8) uint32_t features[24]; /* words by accel/x86/features.h: what the guest may use */
    uint32_t missing[24];       /* asked for, and not possible here */
    uint32_t phys_bits;         /* MAXPHYADDR */
    uint32_t family, model, stepping;
    uint32_t level, xlevel;     /* highest CPUID leaves */
    char *vendor;               /* 12 characters */
    char *model_id;             /* up to 48 characters */
    bool check, enforce;        /* missing features: warn, fail */
    bool migratable, host_phys_bits, expose_kvm, pmu;
    uint32_t host_phys_bits_limit;
    int32_t topo_ids[4];        /* socket-id, die-id, core-id, thread-id as given, -1 if not */
    Device *apic;               /* NULL without */
    unsigned pauses;            /* PAUSE instructions executed; vCPU thread only */
    const X86ApicOps *apic_ops;
    const X86EngineOps *engine; /* hooks of whoever executes, set by AccelClass.vcpu_init; NULL without */
    void **fault_jmp;           /* where faults go: a void *[5] for __builtin_setjmp, on the stack of the run loop */
    uint8_t *native_code;       /* page for the instruction that native.c runs, NULL until needed */
    uint64_t tsc_mark;          /* first CPU: host TSC at the last event that met all CPUs */
    uint64_t tsc_stop;          /* host TSC when the machine was stopped */
    bool tsc_stopped;
    unsigned ram_hint;          /* last range hit by x86_ram_ref */
    X86Event *fault;            /* what was raised; storage lives as long as the CPU */
};

#define TYPE_X86_CPU "x86_64-cpu"
#define X86_CPU(ptr) ((X86Cpu *)(ptr))

/*
 * Makes the vCPU with this index from `-cpu` text ("max,-avx2"): features checked, CPUID tables built. Not started.
 * (owned by the
 * machine's tree) The board calls it, attaches an APIC, then vcpu_start().
 */
X86Cpu *x86_cpu_new(Machine *machine, const char *cpu_type, unsigned index, GError **err) WARN_UNUSED;
void x86_cpu_attach_apic(X86Cpu *cpu, Device *apic, const X86ApicOps *ops);

/* APIC ID of the CPU with this index, and its place in the sockets, by -smp (SDM 3A 9.9, leaf 0xb). */
uint32_t x86_apic_id(const SmpConfig *smp, unsigned index);
/* Power-on reset (SDM 3A 9.1.1) or, with init, what an INIT leaves as it was. */
void x86_cpu_reset(X86Cpu *cpu, bool init);
/* CPUID as the guest would get it now. */
void x86_cpuid(X86Cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4]);
/* Guest TSC in Hz, and now. */
uint64_t x86_tsc_hz(void);
uint64_t x86_rdtsc(X86Cpu *cpu);
