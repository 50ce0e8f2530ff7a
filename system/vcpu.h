/*
 * A vCPU: its thread, what may interrupt it, and the way up for its I/O. What it executes is the accelerator's business.
 */
#pragma once

#include <hw/device.h>
#include <mem/memory.h>
#include <sys/types.h>

typedef struct Vcpu Vcpu;
typedef struct Accel Accel;

/* Why AccelOps.run returned. */
typedef enum {
    VCPU_EXIT_HALTED,   /* HLT with nothing pending: sleep until vcpu_interrupt() */
    VCPU_EXIT_KICKED,   /* exit_request was seen */
    VCPU_EXIT_SHUTDOWN, /* triple fault */
    VCPU_EXIT_RESET,
    VCPU_EXIT_DEBUG,    /* breakpoint or single step for a debugger */
    VCPU_EXIT_FAILED,   /* can't go on; a register dump was logged: the machine stops with internal-error */
} VcpuExit;

/* Bits of Vcpu.interrupts. Level ones stay until their source clears them. */
#define VCPU_INT_HARD 0x01  /* INTR: ask apic for a vector when IF allows (level) */
#define VCPU_INT_NMI  0x02  /* edge: cleared on delivery */
#define VCPU_INT_SMI  0x04
#define VCPU_INT_INIT 0x08
#define VCPU_INT_SIPI 0x10  /* vector in Vcpu.sipi_vector */
#define VCPU_INT_MCE  0x20

struct Vcpu {
    Device dev;
    unsigned index;
    Accel *accel;
    AddressSpace *mem, *io;       /* as this vCPU sees them */
    MemView *mem_view, *io_view;  /* held by the vCPU thread, refreshed by vcpu_refresh_views() */
    unsigned mem_hint, io_hint;
    GThread *thread;              /* NULL under accelerators without vCPU threads */
    pid_t thread_id;              /* host tid for query-cpus-fast, 0 before start */
    _Atomic uint32_t interrupts;  /* VCPU_INT_* */
    _Atomic uint32_t exit_request;/* nonzero: leave guest code at the next chance. Translated code polls it */
    _Atomic uint8_t sipi_vector;
    bool halted;                  /* in HLT; or waiting for SIPI with wait_sipi. vCPU thread only */
    bool wait_sipi;
    bool parked;                  /* vCPU thread is out of guest code and stays out. Under lock */
    bool stop;                    /* asked to park */
    bool quit;
    GMutex lock;                  /* guards parked, stop, quit, work, sleeping; leaf lock */
    GCond wake, parked_cond;
    _Atomic bool sleeping;
    unsigned host_cpus;           /* that this process may use */
    int64_t poll_ns;              /* how long it looks for a wish before it sleeps; vCPU thread only */
    GQueue work;                  /* VcpuWork, see vcpu_run_on */
    MemListener map_listener;     /* kicks it when its view is out of date */
    void *accel_data;             /* the accelerator's own */
};

#define TYPE_VCPU "cpu"
#define VCPU(ptr) ((Vcpu *)(ptr))

/* The vCPU whose thread is calling, or NULL. */
Vcpu *vcpu_current(void);

/* Sets interrupt bits and gets the vCPU out of guest code or out of its sleep. Any thread. Cheap when the bits are set already. */
void vcpu_interrupt(Vcpu *vcpu, uint32_t bits);
void vcpu_clear_interrupt(Vcpu *vcpu, uint32_t bits);
static inline uint32_t vcpu_interrupts(const Vcpu *vcpu)
{
    return __atomic_load_n((const uint32_t *)&vcpu->interrupts, __ATOMIC_ACQUIRE);
}

/* Gets it out of guest code for a turn of its loop. Any thread. */
void vcpu_kick(Vcpu *vcpu);

/*
 * func(vcpu, opaque) on the vCPU's thread, outside guest code and without locks; waits for it when `wait`, giving up the main
 * domain's lock meanwhile. Without thread, or on it: called directly. Parked vCPUs do it too.
 */
void vcpu_run_on(Vcpu *vcpu, void (*func)(Vcpu *vcpu, void *opaque), void *opaque, bool wait);

/*
 * Thread life, called by the board or the run state. Main domain locked; pause drops it while it waits. start enters the vCPU in
 * machine->vcpus at its index; its thread is parked until the machine runs.
 */
bool vcpu_start(Vcpu *vcpu, GError **err) WARN_UNUSED;
void vcpu_destroy(Vcpu *vcpu); /* NULL is allowed */
void vcpus_pause_all(Machine *machine);
/*
 * On a vCPU's thread: it runs no further instruction until vcpus_resume_all(). For requests whose register write is meant to be the
 * last thing that happens (reset, power-off). Elsewhere: nothing.
 */
void vcpu_stop_current(void);
void vcpus_resume_all(Machine *machine);

/*
 * One access of 1, 2, 4 or 8 bytes that is not plain RAM, from any accelerator; takes the owner's domain lock. Splits accesses that
 * straddle ranges. Values are little-endian in the low bytes. Holes read as all ones. vCPU thread.
 */
uint64_t vcpu_mmio_read(Vcpu *vcpu, uint64_t gpa, unsigned size);
void vcpu_mmio_write(Vcpu *vcpu, uint64_t gpa, uint64_t value, unsigned size);
uint32_t vcpu_pio_read(Vcpu *vcpu, uint16_t port, unsigned size);
void vcpu_pio_write(Vcpu *vcpu, uint16_t port, uint32_t value, unsigned size);
/* Takes the newest views; true if the memory one changed. Called at the top of the run loop. */
bool vcpu_refresh_views(Vcpu *vcpu);
