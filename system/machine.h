/*
 * The machine: what the command line describes and everything else hangs from. One per process, made by
 * system/main.c and passed on; `-machine none` is one without CPUs, RAM and buses.
 */
#pragma once

#include <hw/bus.h>
#include <hw/device.h>
#include <mem/memory.h>
#include <rhea/timer.h>

#include "system/runstate.h"

typedef struct Accel Accel;
typedef struct Vcpu Vcpu;
typedef struct MachineClass MachineClass;

/* -smp. All at least 1; cpus <= maxcpus == sockets * dies * cores * threads. */
typedef struct SmpConfig {
    unsigned cpus, maxcpus, sockets, dies, cores, threads;
} SmpConfig;

/* What direct kernel boot and firmware need; strings are owned, NULL when not given. */
typedef struct BootConfig {
    char *kernel, *initrd, *append, *bios;
    char *order, *once;          /* -boot order=, once= */
    bool menu, strict;
    int64_t splash_time_ms, reboot_timeout_ms; /* -1: not given */
} BootConfig;

#define MACHINE_CLASS_FIELDS                                                                                      \
    OBJECT_CLASS_FIELDS;       /* .name is "pc-i440fx-8.2-machine" */                                             \
    const char *machine_name;  /* what -M takes: "pc-i440fx-8.2" */                                               \
    const char *alias;         /* "pc" or NULL */                                                                 \
    bool is_default;                                                                                              \
    bool deprecated;                                                                                              \
    unsigned max_cpus;                                                                                            \
    const char *default_cpu;   /* model name, NULL: the machine has no CPUs */                                    \
    const char *default_ram_id;/* "pc.ram" */                                                                     \
    uint64_t default_ram;      /* bytes */                                                                        \
    uint64_t max_ram;          /* bytes */                                                                        \
    bool hotpluggable_cpus;                                                                                       \
    /* default devices that -nodefaults leaves out are the board's business: it reads machine->defaults */        \
    bool (*build)(Machine *machine, GError **err)

struct MachineClass {
    MACHINE_CLASS_FIELDS;
};

struct Machine {
    Object obj;
    Domain *domain;              /* the main loop */
    Clocks *clocks;
    RunState *run;
    Accel *accel;
    AddressSpace *mem, *io;      /* CPU physical memory, I/O ports */
    MemoryRegion mem_root, io_root;
    MemoryRegion ram;            /* all of guest RAM, mapped through aliases by the board */
    char *ram_id;
    Object *memory_backend;      /* -machine memory-backend=, or NULL */
    bool dump_guest_core, mem_merge; /* see machine_advise_ram() */
    uint64_t ram_size;           /* bytes */
    SmpConfig smp;
    BootConfig boot;
    char *cpu_type;              /* model with features as given to -cpu: "qemu64,+avx" */
    Vcpu **vcpus;                /* [nr_vcpus], by cpu-index */
    unsigned nr_vcpus;
    uint8_t uuid[16];            /* RFC 4122 order */
    bool uuid_set;
    char *name;                  /* -name guest= */
    bool debug_threads;
    bool defaults;               /* false with -nodefaults */
    bool started;                /* devices added from now on are hot-plugged */
    GPtrArray *resets;           /* ResetEntry, system/reset.c */
    /* -rtc */
    ClockKind rtc_clock;
    bool rtc_localtime;
    int64_t rtc_base_offset_s;   /* guest date at start minus UTC then (before rtc_localtime), seconds */
    bool rtc_slew;               /* driftfix=slew */
    bool hpet, usb, vmport, acpi; /* -machine hpet= ...; -no-hpet clears hpet */
    struct FwCfg *fw_cfg;        /* NULL on machines without */
    struct ApicBus *apic_bus;    /* hw/intc/apic.h; NULL on machines without */
    struct InputRouter *input;   /* ui/input.h */
    /* Where messages to 0xfeexxxxx go, see msi_set_receiver(); any thread */
    void (*msi_receive)(void *opaque, uint64_t addr, uint32_t data);
    void *msi_receive_opaque;
    GPtrArray *serials;          /* -serial, in order: Chardev * or NULL for "none" */
    void *board;                 /* the board's own struct */
};

#define TYPE_MACHINE "machine"
static inline const MachineClass *machine_class(const Machine *m) { return (const MachineClass *)m->obj.klass; }

/* Full reset of all devices and vCPUs, in the order: vCPUs stopped, devices, firmware blobs, vCPUs. Main domain locked. */
void machine_reset(Machine *machine);

/* Applies -machine dump-guest-core= and mem-merge= to a block of guest RAM; boards call it for each. */
void machine_advise_ram(const Machine *machine, const RamBlock *ram);

/* Something outside the device tree that wants to know of resets (boot loaders). func may be called on any reset. */
void reset_register(Machine *machine, void (*func)(void *opaque), void *opaque);
/* The same after the vCPUs' reset: a direct kernel boot puts them into its protocol's state. */
void reset_register_after_cpus(Machine *machine, void (*func)(void *opaque), void *opaque);
void reset_unregister(Machine *machine, void (*func)(void *opaque), void *opaque);
