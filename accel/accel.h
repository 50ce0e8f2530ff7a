/*
 * What an accelerator is. Nothing outside accel/ asks which one is running: differences are the capability fields.
 */
#pragma once

#include <qom/object.h>

#include "system/machine.h"
#include "system/vcpu.h"

typedef struct AccelClass AccelClass;

#define ACCEL_CLASS_FIELDS                                                                                               \
    OBJECT_CLASS_FIELDS;          /* .name is "dbt-accel" */                                                             \
    const char *accel_name;       /* "dbt" */                                                                            \
    const char *const *aliases;   /* NULL-terminated: "tcg" */                                                           \
    /* Can it be used on this host, with a sentence why not. Called before start; no side effects. */                     \
    bool (*available)(GError **err);                                                                                     \
    /* Once, before CPUs are made; machine->mem and io exist. */                                                         \
    bool (*start)(Accel *accel, Machine *machine, GError **err);                                                         \
    /* Once per vCPU, before its thread runs, main domain locked. Allocates vcpu->accel_data. */                         \
    bool (*vcpu_init)(Accel *accel, Vcpu *vcpu, GError **err);                                                           \
    void (*vcpu_destroy)(Vcpu *vcpu);                                                                                    \
    /*                                                                                                                   \
     * Runs guest code on the vCPU's thread, without any lock held, until one of VcpuExit. Interrupts, exceptions, PIO and  \
     * MMIO are handled inside. Must notice exit_request within microseconds. NULL: the accelerator has no vCPU threads.  \
     */                                                                                                                  \
    VcpuExit (*run)(Vcpu *vcpu);                                                                                         \
    /* Makes run return soon; exit_request is set already. NULL: polling exit_request is enough. Any thread. */          \
    void (*kick)(Vcpu *vcpu);                                                                                            \
    /* vCPU registers were replaced from outside (reset, debugger, switch): drop what was derived from them. vCPU out of run. */ \
    void (*state_changed)(Vcpu *vcpu);                                                                                   \
    /* The registers in the shared CPU state are made current. NULL: they always are outside run. */                     \
    void (*state_fetch)(Vcpu *vcpu);                                                                                     \
    bool manual_clock;            /* CLOCK_GUEST moves by request only */                                                \
    bool kernel_doorbells;        /* MemNotifiers with an eventfd wake their loop without a vCPU's thread leaving the kernel */ \
    /* Executes exactly one guest instruction (debugger, emulation assist). NULL if it can't. */                         \
    VcpuExit (*step)(Vcpu *vcpu)

struct AccelClass {
    ACCEL_CLASS_FIELDS;
};

struct Accel {
    Object obj;
    Machine *machine;
    void *data;   /* the accelerator's own */
};

#define TYPE_ACCEL "accel"
static inline const AccelClass *accel_class(const Accel *accel) { return (const AccelClass *)accel->obj.klass; }

/*
 * From -accel and -machine accel=: each entry is "name[,prop=value...]"; ':' separates alternatives in -machine form. First
 * usable one wins. entries NULL or empty: the default.
 */
bool accel_select(Machine *machine, const char *const *entries, GError **err) WARN_UNUSED;

/* By name or alias; NULL if unknown. */
const AccelClass *accel_find(const char *name);
/* "dbt, qtest" for messages. (owned) */
char *accel_names(void);
