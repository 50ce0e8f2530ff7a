/* The local APIC's parts among themselves. See apic.h. */
#pragma once

#include "hw/intc/apic.h"
#include "system/machine.h"

/* Register numbers: the xAPIC page's offset / 16, the x2APIC MSR minus 0x800. SDM vol. 3A table 10-1. */
enum {
    APIC_REG_ID = 0x02, APIC_REG_VERSION = 0x03, APIC_REG_TPR = 0x08, APIC_REG_APR = 0x09, APIC_REG_PPR = 0x0a,
    APIC_REG_EOI = 0x0b, APIC_REG_LDR = 0x0d, APIC_REG_DFR = 0x0e, APIC_REG_SVR = 0x0f,
    APIC_REG_ISR = 0x10, APIC_REG_TMR = 0x18, APIC_REG_IRR = 0x20, /* eight registers each */
    APIC_REG_ESR = 0x28, APIC_REG_ICR = 0x30, APIC_REG_ICR_HIGH = 0x31,
    APIC_REG_LVT = 0x32, /* six: see below */
    APIC_REG_TIMER_INITIAL = 0x38, APIC_REG_TIMER_CURRENT = 0x39, APIC_REG_TIMER_DIVIDE = 0x3e, APIC_REG_SELF_IPI = 0x3f,
    APIC_REGS = 0x40,
};

/* Local vector table, in register order. */
enum { LVT_TIMER, LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, LVT_COUNT };

#define LVT_VECTOR     0x000ffu
#define LVT_MODE_SHIFT 8
#define LVT_MODE       0x00700u
#define LVT_STATUS     0x01000u /* read-only, always idle here */
#define LVT_LOW_ACTIVE 0x02000u
#define LVT_REMOTE_IRR 0x04000u
#define LVT_LEVEL      0x08000u
#define LVT_MASKED     0x10000u
#define LVT_TIMER_MODE 0x60000u
#define TIMER_ONE_SHOT 0x00000u
#define TIMER_PERIODIC 0x20000u
#define TIMER_DEADLINE 0x40000u

#define ESR_SEND_ILLEGAL    0x20u
#define ESR_RECEIVE_ILLEGAL 0x40u
#define ESR_REGISTER        0x80u

#define SVR_ENABLED 0x100u
#define SVR_WRITABLE 0x1ffu

#define BASE_BSP    (1u << 8)
#define BASE_X2APIC (1u << 10)
#define BASE_ENABLE (1u << 11)

#define APIC_VERSION (0x14u | (LVT_COUNT - 1) << 16)

typedef struct Apic {
    Device dev;
    GMutex lock;               /* guards everything below but cpu, bus, relocated */
    X86Cpu *cpu;               /* borrowed: the CPU owns nothing of ours, the board keeps both */
    ApicBus *bus;
    uint32_t id;
    uint64_t base;             /* IA32_APIC_BASE */
    uint64_t irr[4], isr[4], tmr[4];
    uint32_t lvt[LVT_COUNT];
    uint32_t tpr, svr, ldr, dfr, esr, esr_pending;
    uint64_t icr;
    bool lint[2];              /* input levels */
    bool extint_message;       /* an I/O APIC pin or MSI in ExtINT mode asked for an INTA cycle */
    /* Timer. deadline: CLOCK_GUEST ns at which the count reaches 0, INT64_MAX when it does not run. */
    uint32_t timer_initial, timer_divide;
    int64_t timer_deadline;
    uint64_t tsc_deadline;
    Timer *timer;
    MemoryRegion relocated;    /* the register page while the guest has it elsewhere */
    bool is_relocated;
} Apic;

#define APIC(ptr) ((Apic *)(ptr))

#define APIC_BUS_MAX 256

struct ApicBus {
    Machine *machine;
    MemoryRegion window;
    Apic *_Atomic apics[APIC_BUS_MAX]; /* by order of creation; NULL after removal */
    _Atomic unsigned nr_apics;
    _Atomic unsigned next_lowest;      /* rotates lowest-priority delivery among equals */
    int (*pic_ack)(Device *pic);
    Device *pic;
    struct { void (*eoi)(void *opaque, uint8_t vector); void *opaque; } ioapics[8];
    unsigned nr_ioapics;
};

static inline bool apic_is_x2(const Apic *a) { return a->base & BASE_X2APIC; }
static inline bool apic_is_on(const Apic *a) { return a->base & BASE_ENABLE; }
static inline bool apic_soft_enabled(const Apic *a) { return apic_is_on(a) && (a->svr & SVR_ENABLED); }

static inline bool bits_test(const uint64_t *bits, uint8_t n) { return bits[n >> 6] >> (n & 63) & 1; }
static inline void bits_set(uint64_t *bits, uint8_t n) { bits[n >> 6] |= 1ull << (n & 63); }
static inline void bits_clear(uint64_t *bits, uint8_t n) { bits[n >> 6] &= ~(1ull << (n & 63)); }
static inline int bits_highest(const uint64_t *bits)
{
    for (int i = 3; i >= 0; i--)
        if (bits[i])
            return i * 64 + 63 - __builtin_clzll(bits[i]);
    return -1;
}

/* apic.c; the lock is held */
void apic_update_locked(Apic *a);                              /* tells the CPU whether there is work */
bool apic_accept_locked(Apic *a, uint8_t vector, bool level);  /* into IRR; false if it was there */
void apic_raise_error_locked(Apic *a, uint32_t bit);
void apic_fire_lvt_locked(Apic *a, unsigned lvt);
uint8_t apic_ppr_locked(const Apic *a);
void apic_power_up_locked(Apic *a);                            /* registers as after reset; base and id stay */
/* Without the lock. */
void apic_end_of_interrupt(Apic *a);

/* apic-regs.c */
extern const MemoryRegionOps apic_window_ops, apic_relocated_ops;
bool apic_read_msr(Device *dev, uint32_t msr, uint64_t *value);
bool apic_write_msr(Device *dev, uint32_t msr, uint64_t value);

/* apic-timer.c; the lock is held except in fired */
void apic_timer_fired(void *opaque);
void apic_timer_set_initial_locked(Apic *a, uint32_t count);
uint32_t apic_timer_current_locked(Apic *a);
void apic_timer_set_divide_locked(Apic *a, uint32_t value);
void apic_timer_set_deadline_locked(Apic *a, uint64_t tsc);
void apic_timer_lvt_changed_locked(Apic *a, uint32_t old);
void apic_timer_stop_locked(Apic *a);
void apic_timer_rearm_locked(Apic *a);

/* apic-bus.c; no lock is held */
void apic_send_icr(Apic *a, uint64_t icr);
void apic_bus_add(ApicBus *bus, Apic *a);
void apic_bus_remove(ApicBus *bus, Apic *a);
void apic_bus_broadcast_eoi(ApicBus *bus, uint8_t vector);
