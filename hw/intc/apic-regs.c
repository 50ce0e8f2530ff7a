/*
 * The local APIC's registers as the guest reaches them: the xAPIC page and the x2APIC MSRs.
 *
 * Source: Intel SDM vol. 3A table 10-1 (xAPIC), 10.12.1.2 and table 10-6 (x2APIC, reserved bits).
 */
#include "hw/intc/apic-internal.h"

#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800

/* Bits of each local vector table entry that software may set. */
static const uint32_t lvt_writable[LVT_COUNT] = {
    [LVT_TIMER] = LVT_VECTOR | LVT_MASKED | LVT_TIMER_MODE,
    [LVT_THERMAL] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
    [LVT_PERF] = LVT_VECTOR | LVT_MODE | LVT_MASKED,
    [LVT_LINT0] = LVT_VECTOR | LVT_MODE | LVT_LOW_ACTIVE | LVT_LEVEL | LVT_MASKED,
    [LVT_LINT1] = LVT_VECTOR | LVT_MODE | LVT_LOW_ACTIVE | LVT_LEVEL | LVT_MASKED,
    [LVT_ERROR] = LVT_VECTOR | LVT_MASKED,
};

static uint32_t read_bits(const uint64_t *bits, unsigned word)
{
    return bits[word >> 1] >> (word & 1 ? 32 : 0);
}

static uint32_t read_register_locked(Apic *a, unsigned reg)
{
    switch (reg) {
    case APIC_REG_ID: return apic_is_x2(a) ? a->id : a->id << 24;
    case APIC_REG_VERSION: return APIC_VERSION;
    case APIC_REG_TPR: return a->tpr;
    case APIC_REG_APR: return 0; /* no arbitration bus since version 0x10 */
    case APIC_REG_PPR: return apic_ppr_locked(a);
    case APIC_REG_LDR: return a->ldr;
    case APIC_REG_DFR: return a->dfr;
    case APIC_REG_SVR: return a->svr;
    case APIC_REG_ISR ... APIC_REG_ISR + 7: return read_bits(a->isr, reg - APIC_REG_ISR);
    case APIC_REG_TMR ... APIC_REG_TMR + 7: return read_bits(a->tmr, reg - APIC_REG_TMR);
    case APIC_REG_IRR ... APIC_REG_IRR + 7: return read_bits(a->irr, reg - APIC_REG_IRR);
    case APIC_REG_ESR: return a->esr;
    case APIC_REG_ICR: return a->icr;
    case APIC_REG_ICR_HIGH: return a->icr >> 32;
    case APIC_REG_LVT ... APIC_REG_LVT + LVT_COUNT - 1: return a->lvt[reg - APIC_REG_LVT];
    case APIC_REG_TIMER_INITIAL: return a->timer_initial;
    case APIC_REG_TIMER_CURRENT: return apic_timer_current_locked(a);
    case APIC_REG_TIMER_DIVIDE: return a->timer_divide;
    case APIC_REG_EOI: return 0;
    default:
        apic_raise_error_locked(a, ESR_REGISTER);
        return 0;
    }
}

static void write_svr_locked(Apic *a, uint32_t value)
{
    a->svr = value & SVR_WRITABLE;
    if (!(a->svr & SVR_ENABLED))
        for (unsigned n = 0; n < LVT_COUNT; n++)
            a->lvt[n] |= LVT_MASKED; /* SDM 10.4.7.2 */
}

static void write_lvt_locked(Apic *a, unsigned n, uint32_t value)
{
    uint32_t old = a->lvt[n];
    value &= lvt_writable[n];
    if (!(a->svr & SVR_ENABLED))
        value |= LVT_MASKED;
    a->lvt[n] = value | (value & LVT_LEVEL ? old & LVT_REMOTE_IRR : 0);
    if (n == LVT_TIMER)
        apic_timer_lvt_changed_locked(a, old);
    else if ((n == LVT_LINT0 || n == LVT_LINT1) && (value & LVT_LEVEL) && a->lint[n - LVT_LINT0])
        apic_fire_lvt_locked(a, n);
}

/* Registers without effects beyond this APIC. */
static void write_register_locked(Apic *a, unsigned reg, uint32_t value)
{
    switch (reg) {
    case APIC_REG_TPR:
        a->tpr = value & 0xff;
        break;
    case APIC_REG_LDR:
        a->ldr = value & 0xff000000u;
        break;
    case APIC_REG_DFR:
        a->dfr = value | 0x0fffffffu;
        break;
    case APIC_REG_SVR:
        write_svr_locked(a, value);
        break;
    case APIC_REG_ESR: /* a write shows what was gathered since the last one */
        a->esr = a->esr_pending;
        a->esr_pending = 0;
        return;
    case APIC_REG_ICR_HIGH:
        a->icr = (a->icr & UINT32_MAX) | (uint64_t)(value & 0xff000000u) << 32;
        return;
    case APIC_REG_LVT ... APIC_REG_LVT + LVT_COUNT - 1:
        write_lvt_locked(a, reg - APIC_REG_LVT, value);
        break;
    case APIC_REG_TIMER_INITIAL:
        apic_timer_set_initial_locked(a, value);
        return;
    case APIC_REG_TIMER_DIVIDE:
        apic_timer_set_divide_locked(a, value);
        return;
    case APIC_REG_ID: case APIC_REG_VERSION: case APIC_REG_APR: case APIC_REG_PPR: case APIC_REG_TIMER_CURRENT:
    case APIC_REG_ISR ... APIC_REG_ISR + 7: case APIC_REG_TMR ... APIC_REG_TMR + 7: case APIC_REG_IRR ... APIC_REG_IRR + 7:
        return;
    default:
        apic_raise_error_locked(a, ESR_REGISTER);
    }
    apic_update_locked(a);
}

static uint64_t page_read(Apic *a, uint64_t offset)
{
    if (offset & 15)
        return 0;
    g_mutex_lock(&a->lock);
    uint32_t value = read_register_locked(a, offset >> 4);
    g_mutex_unlock(&a->lock);
    return value;
}

static void page_write(Apic *a, uint64_t offset, uint32_t value)
{
    if (offset & 15)
        return;
    unsigned reg = offset >> 4;
    if (reg == APIC_REG_EOI) {
        apic_end_of_interrupt(a);
        return;
    }
    g_mutex_lock(&a->lock);
    if (reg == APIC_REG_ICR)
        a->icr = (a->icr & ~(uint64_t)UINT32_MAX) | (value & 0xccfffu);
    else
        write_register_locked(a, reg, value);
    uint64_t icr = a->icr;
    g_mutex_unlock(&a->lock);
    if (reg == APIC_REG_ICR)
        apic_send_icr(a, icr);
}

/* The calling CPU's APIC if its register page is at gpa's page now. */
static Apic *current_apic_at(uint64_t gpa)
{
    Vcpu *vcpu = vcpu_current();
    if (!vcpu || !object_is_a(OBJECT(vcpu), TYPE_X86_CPU))
        return NULL;
    Apic *a = APIC(X86_CPU(vcpu)->apic);
    uint64_t base = a ? a->base : 0; /* only this CPU changes it */
    return (base & BASE_ENABLE) && !(base & BASE_X2APIC) && (base ^ gpa) >> 12 == 0 ? a : NULL;
}

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    Apic *a = current_apic_at(APIC_DEFAULT_BASE + offset);
    return a && offset < 0x1000 ? page_read(a, offset) : 0;
}

/*
 * A store to the window is a register write for the CPU whose page is there, a message for everybody else. Devices use
 * msi_send() and do not come here, so a store by a CPU to another place is the guest's own way of making a message.
 */
static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    ApicBus *bus = opaque;
    Apic *a = current_apic_at(APIC_DEFAULT_BASE + offset);
    if (a && offset < 0x1000)
        page_write(a, offset, value);
    else
        apic_deliver_msi(bus->machine, APIC_DEFAULT_BASE + offset, value);
}

static uint64_t relocated_read(void *opaque, uint64_t offset, unsigned size)
{
    Vcpu *vcpu = vcpu_current();
    Apic *a = vcpu ? APIC(X86_CPU(vcpu)->apic) : NULL;
    return a && !apic_is_x2(a) ? page_read(a, offset) : UINT32_MAX;
}

static void relocated_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Vcpu *vcpu = vcpu_current();
    Apic *a = vcpu ? APIC(X86_CPU(vcpu)->apic) : NULL;
    if (a && !apic_is_x2(a))
        page_write(a, offset, value);
}

const MemoryRegionOps apic_window_ops = { .read = window_read, .write = window_write, .min_access = 4, .max_access = 4 };
const MemoryRegionOps apic_relocated_ops = { .read = relocated_read, .write = relocated_write, .min_access = 4, .max_access = 4 };

/* ---- MSRs ---- */

/* 0: no such register, 1: read only, 2: write only, 3: both. */
static unsigned msr_access(unsigned reg)
{
    switch (reg) {
    case APIC_REG_ID: case APIC_REG_VERSION: case APIC_REG_PPR: case APIC_REG_LDR: case APIC_REG_TIMER_CURRENT:
    case APIC_REG_ISR ... APIC_REG_ISR + 7: case APIC_REG_TMR ... APIC_REG_TMR + 7: case APIC_REG_IRR ... APIC_REG_IRR + 7:
        return 1;
    case APIC_REG_EOI: case APIC_REG_SELF_IPI:
        return 2;
    case APIC_REG_TPR: case APIC_REG_SVR: case APIC_REG_ESR: case APIC_REG_ICR: case APIC_REG_TIMER_INITIAL:
    case APIC_REG_TIMER_DIVIDE: case APIC_REG_LVT ... APIC_REG_LVT + LVT_COUNT - 1:
        return 3;
    default:
        return 0;
    }
}

/* Bits whose setting faults. */
static uint64_t msr_writable(unsigned reg)
{
    switch (reg) {
    case APIC_REG_TPR: case APIC_REG_SELF_IPI: return 0xff;
    case APIC_REG_SVR: return SVR_WRITABLE;
    case APIC_REG_EOI: case APIC_REG_ESR: return 0;
    case APIC_REG_ICR: return 0xffffffff000ccfffull;
    case APIC_REG_TIMER_INITIAL: return UINT32_MAX;
    case APIC_REG_TIMER_DIVIDE: return 0xb;
    default: return lvt_writable[reg - APIC_REG_LVT] | LVT_REMOTE_IRR | LVT_STATUS;
    }
}

bool apic_read_msr(Device *dev, uint32_t msr, uint64_t *value)
{
    Apic *a = APIC(dev);
    unsigned reg = msr - MSR_X2APIC;
    if (msr != MSR_TSC_DEADLINE && (!apic_is_x2(a) || reg >= APIC_REGS || !(msr_access(reg) & 1)))
        return false;
    g_mutex_lock(&a->lock);
    if (msr == MSR_TSC_DEADLINE)
        *value = a->timer_deadline == INT64_MAX ? 0 : a->tsc_deadline;
    else
        *value = reg == APIC_REG_ICR ? a->icr : read_register_locked(a, reg);
    g_mutex_unlock(&a->lock);
    return true;
}

static void write_tsc_deadline(Apic *a, uint64_t value)
{
    g_mutex_lock(&a->lock);
    apic_timer_set_deadline_locked(a, value);
    g_mutex_unlock(&a->lock);
}

bool apic_write_msr(Device *dev, uint32_t msr, uint64_t value)
{
    Apic *a = APIC(dev);
    unsigned reg = msr - MSR_X2APIC;
    if (msr == MSR_TSC_DEADLINE) {
        write_tsc_deadline(a, value);
        return true;
    }
    if (!apic_is_x2(a) || reg >= APIC_REGS || !(msr_access(reg) & 2) || (value & ~msr_writable(reg)))
        return false;
    switch (reg) {
    case APIC_REG_EOI:
        apic_end_of_interrupt(a);
        break;
    case APIC_REG_ICR:
        a->icr = value;
        apic_send_icr(a, value);
        break;
    case APIC_REG_SELF_IPI:
        apic_send_icr(a, (value & 0xff) | 0x40000);
        break;
    default:
        g_mutex_lock(&a->lock);
        write_register_locked(a, reg, value);
        g_mutex_unlock(&a->lock);
    }
    return true;
}
