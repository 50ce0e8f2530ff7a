/*
 * Local APIC: what is pending, what is in service, and what the CPU is told.
 *
 * Source: Intel SDM vol. 3A chapter 10 (local APIC), 10.12 (x2APIC).
 * Limits: no thermal or performance-counter source exists, so those two table entries never fire; the APIC id is
 * read-only; APIC bus arbitration (version below 0x10) is not modelled.
 */
#include "hw/intc/apic-internal.h"

static const X86ApicOps apic_ops;

uint8_t apic_ppr_locked(const Apic *a)
{
    int in_service = bits_highest(a->isr);
    uint8_t class = in_service < 0 ? 0 : in_service & 0xf0;
    return (a->tpr & 0xf0) >= class ? a->tpr : class;
}

/* The vector in IRR that may interrupt now, or -1. */
static int deliverable(const Apic *a)
{
    int vector = bits_highest(a->irr);
    return vector >= 0 && apic_soft_enabled(a) && (vector & 0xf0) > (apic_ppr_locked(a) & 0xf0) ? vector : -1;
}

/* Does the 8259 reach the CPU: through LINT0 as ExtINT, or directly while the APIC is off (SDM 10.4.3, 10.5.1)? */
static bool extint_pending(const Apic *a)
{
    uint32_t lvt = a->lvt[LVT_LINT0];
    bool open = !apic_is_on(a) ||
                (!(lvt & LVT_MASKED) && (lvt & LVT_MODE) == (uint32_t)APIC_EXTINT << LVT_MODE_SHIFT);
    return (open && a->lint[0]) || (a->extint_message && apic_is_on(a));
}

void apic_update_locked(Apic *a)
{
    Vcpu *vcpu = &a->cpu->vcpu;
    if (deliverable(a) >= 0 || extint_pending(a))
        vcpu_interrupt(vcpu, VCPU_INT_HARD);
    else if (vcpu_interrupts(vcpu) & VCPU_INT_HARD)
        vcpu_clear_interrupt(vcpu, VCPU_INT_HARD);
}

bool apic_accept_locked(Apic *a, uint8_t vector, bool level)
{
    if (vector < 16) {
        apic_raise_error_locked(a, ESR_RECEIVE_ILLEGAL);
        return false;
    }
    if (!apic_soft_enabled(a))
        return false;
    bool fresh = !bits_test(a->irr, vector);
    bits_set(a->irr, vector);
    if (level)
        bits_set(a->tmr, vector);
    else
        bits_clear(a->tmr, vector);
    if (fresh)
        apic_update_locked(a);
    return fresh;
}

void apic_fire_lvt_locked(Apic *a, unsigned n)
{
    uint32_t lvt = a->lvt[n];
    if ((lvt & LVT_MASKED) || !apic_is_on(a))
        return;
    /* Timer and error entries have no mode field; it reads as 0, fixed. */
    switch ((lvt & LVT_MODE) >> LVT_MODE_SHIFT) {
    case APIC_FIXED:
        if (n >= LVT_LINT0 && n <= LVT_LINT1 && (lvt & LVT_LEVEL)) {
            if (lvt & LVT_REMOTE_IRR)
                return;
            a->lvt[n] |= LVT_REMOTE_IRR;
            apic_accept_locked(a, lvt & LVT_VECTOR, true);
        } else {
            apic_accept_locked(a, lvt & LVT_VECTOR, false);
        }
        break;
    case APIC_SMI:
        vcpu_interrupt(&a->cpu->vcpu, VCPU_INT_SMI);
        break;
    case APIC_NMI:
        vcpu_interrupt(&a->cpu->vcpu, VCPU_INT_NMI);
        break;
    case APIC_INIT:
        vcpu_interrupt(&a->cpu->vcpu, VCPU_INT_INIT);
        break;
    case APIC_EXTINT: /* a level; apic_update_locked() looks at it */
        break;
    }
}

/*
 * A latched error interrupts when it is new. An error entry with an illegal vector would report itself without end, so
 * that one is only latched.
 */
void apic_raise_error_locked(Apic *a, uint32_t bit)
{
    bool fresh = !(a->esr_pending & bit);
    a->esr_pending |= bit;
    if (!fresh)
        return;
    if ((a->lvt[LVT_ERROR] & LVT_VECTOR) >= 16)
        apic_fire_lvt_locked(a, LVT_ERROR);
    else if (!(a->lvt[LVT_ERROR] & LVT_MASKED))
        a->esr_pending |= ESR_RECEIVE_ILLEGAL;
}

static void apic_input(void *opaque, unsigned n, bool level)
{
    Apic *a = opaque;
    g_mutex_lock(&a->lock);
    bool rises = level && !a->lint[n];
    a->lint[n] = level;
    if (rises && apic_is_on(a))
        apic_fire_lvt_locked(a, LVT_LINT0 + n);
    else if (rises && n == 1) /* without an APIC the pin is NMI */
        vcpu_interrupt(&a->cpu->vcpu, VCPU_INT_NMI);
    if (n == 0)
        apic_update_locked(a);
    g_mutex_unlock(&a->lock);
}

/* Ends the interrupt in service with the highest priority. */
void apic_end_of_interrupt(Apic *a)
{
    g_mutex_lock(&a->lock);
    int vector = bits_highest(a->isr);
    bool level = vector >= 0 && bits_test(a->tmr, vector);
    if (vector >= 0) {
        bits_clear(a->isr, vector);
        for (unsigned n = LVT_LINT0; level && n <= LVT_LINT1; n++) {
            if (!(a->lvt[n] & LVT_REMOTE_IRR) || (a->lvt[n] & LVT_VECTOR) != (unsigned)vector)
                continue;
            a->lvt[n] &= ~LVT_REMOTE_IRR;
            if (a->lint[n - LVT_LINT0])
                apic_fire_lvt_locked(a, n);
        }
        apic_update_locked(a);
    }
    g_mutex_unlock(&a->lock);
    if (level)
        apic_bus_broadcast_eoi(a->bus, vector);
}

/* ---- what the CPU asks ---- */

static int apic_ack(Device *dev)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    int vector = deliverable(a);
    bool extint = false;
    if (vector >= 0) {
        bits_clear(a->irr, vector);
        bits_set(a->isr, vector);
    } else {
        extint = extint_pending(a);
        a->extint_message = false;
    }
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
    if (extint && a->bus->pic_ack)
        vector = a->bus->pic_ack(a->bus->pic);
    return vector;
}

static uint64_t apic_get_base(Device *dev)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    uint64_t base = a->base;
    g_mutex_unlock(&a->lock);
    return base;
}

/* Maps the register page where the guest wants it. The default place is covered by the bus's window. */
static void place_page(Apic *a, uint64_t base)
{
    uint64_t page = base & ~0xfffull;
    bool elsewhere = (base & BASE_ENABLE) && !(base & BASE_X2APIC) && page != APIC_DEFAULT_BASE;
    if (!elsewhere && !a->is_relocated)
        return;
    Machine *machine = a->dev.machine;
    DOMAIN_GUARD(machine->domain);
    if (a->is_relocated)
        memory_region_remove(&a->relocated);
    if (elsewhere)
        memory_region_add(&machine->mem_root, page, &a->relocated, 0x1000);
    a->is_relocated = elsewhere;
}

/* Which writes fault: SDM vol. 3A 10.12.5 and figure 10-26; also reserved bits. */
static bool base_change_allowed(const Apic *a, uint64_t value)
{
    uint32_t leaf1[4];
    x86_cpuid(a->cpu, 1, 0, leaf1);
    bool has_x2apic = leaf1[2] & (1u << 21);
    uint64_t address = a->cpu->phys_bits ? (1ull << a->cpu->phys_bits) - 1 : (1ull << 36) - 1;
    uint64_t allowed = (address & ~0xfffull) | BASE_BSP | BASE_ENABLE | (has_x2apic ? BASE_X2APIC : 0);
    if (value & ~allowed)
        return false;
    uint32_t from = a->base & (BASE_ENABLE | BASE_X2APIC), to = value & (BASE_ENABLE | BASE_X2APIC);
    if (to == BASE_X2APIC)
        return false;
    return !(to & BASE_X2APIC) ? !(from & BASE_X2APIC) || !to : (from & BASE_ENABLE) != 0;
}

static bool apic_set_base(Device *dev, uint64_t value)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    if (!base_change_allowed(a, value)) {
        g_mutex_unlock(&a->lock);
        return false;
    }
    uint64_t old = a->base;
    a->base = value;
    if ((old & BASE_ENABLE) && !(value & BASE_ENABLE))
        apic_power_up_locked(a);
    if (!(old & BASE_X2APIC) && (value & BASE_X2APIC)) {
        a->ldr = (a->id >> 4) << 16 | 1u << (a->id & 15); /* SDM 10.12.10.2 */
        a->icr &= UINT32_MAX;
    }
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
    place_page(a, value);
    return true;
}

static uint8_t apic_get_cr8(Device *dev)
{
    return __atomic_load_n(&APIC(dev)->tpr, __ATOMIC_RELAXED) >> 4;
}

static void apic_set_cr8(Device *dev, uint8_t cr8)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    a->tpr = (cr8 & 15) << 4;
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
}

/* ---- life ---- */

void apic_power_up_locked(Apic *a)
{
    memset(a->irr, 0, sizeof a->irr);
    memset(a->isr, 0, sizeof a->isr);
    memset(a->tmr, 0, sizeof a->tmr);
    for (unsigned n = 0; n < LVT_COUNT; n++)
        a->lvt[n] = LVT_MASKED;
    a->tpr = a->ldr = a->esr = a->esr_pending = 0;
    a->svr = 0xff;
    a->dfr = UINT32_MAX;
    a->icr = 0;
    a->extint_message = false;
    a->timer_divide = 0;
    apic_timer_stop_locked(a);
    if (apic_is_x2(a))
        a->ldr = (a->id >> 4) << 16 | 1u << (a->id & 15);
    /* The first CPU starts in virtual wire mode, as firmware would leave it (MP specification 1.4, 3.6.2.2). */
    if (a->base & BASE_BSP)
        a->lvt[LVT_LINT0] = (uint32_t)APIC_EXTINT << LVT_MODE_SHIFT;
}

/* INIT keeps IA32_APIC_BASE and the id (SDM 10.4.7.3, 10.12.5.1). */
static void apic_init_received(Device *dev)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    apic_power_up_locked(a);
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
}

static void apic_reset(Device *dev)
{
    Apic *a = APIC(dev);
    g_mutex_lock(&a->lock);
    a->base = APIC_DEFAULT_BASE | BASE_ENABLE | (a->cpu->vcpu.index == 0 ? BASE_BSP : 0);
    apic_power_up_locked(a);
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
    place_page(a, a->base);
}

static bool apic_realize(Device *dev, GError **err)
{
    Apic *a = APIC(dev);
    device_init_irq_in(dev, NULL, apic_input, 2);
    a->timer = timer_new(dev->domain, CLOCK_GUEST, apic_timer_fired, a);
    memory_region_init_io(&a->relocated, OBJECT(a), NULL, &apic_relocated_ops, a->bus, "apic-page", 0x1000);
    apic_bus_add(a->bus, a);
    x86_cpu_attach_apic(a->cpu, dev, &apic_ops);
    return true;
}

static void apic_unrealize(Device *dev)
{
    Apic *a = APIC(dev);
    apic_bus_remove(a->bus, a);
    x86_cpu_attach_apic(a->cpu, NULL, NULL);
    memory_region_clear(&a->relocated);
    timer_free(a->timer);
    a->timer = NULL;
}

static void apic_init(Object *obj)
{
    Apic *a = APIC(obj);
    g_mutex_init(&a->lock);
    a->timer_deadline = INT64_MAX;
}

static void apic_finalize(Object *obj) { g_mutex_clear(&APIC(obj)->lock); }

static bool apic_post_load(void *instance, uint32_t version, GError **err)
{
    Apic *a = instance;
    a->timer_divide &= 0xb;
    a->svr &= SVR_WRITABLE;
    g_mutex_lock(&a->lock);
    apic_timer_rearm_locked(a);
    apic_update_locked(a);
    g_mutex_unlock(&a->lock);
    place_page(a, a->base);
    return true;
}

static const X86ApicOps apic_ops = {
    .ack = apic_ack, .get_base = apic_get_base, .set_base = apic_set_base, .get_cr8 = apic_get_cr8, .set_cr8 = apic_set_cr8,
    .read_msr = apic_read_msr, .write_msr = apic_write_msr, .init_received = apic_init_received,
};

static const Property apic_props[] = {
    { .name = "id", .kind = PROP_KIND_U32, .flags = PROP_READONLY, .offset = offsetof(Apic, id), .help = "APIC id" },
    PROP_END
};

static const StateField apic_state[] = {
    STATE_U64_(Apic, base), STATE_ARRAY_(Apic, irr, STATE_U64), STATE_ARRAY_(Apic, isr, STATE_U64),
    STATE_ARRAY_(Apic, tmr, STATE_U64), STATE_ARRAY_(Apic, lvt, STATE_U32), STATE_U32_(Apic, tpr), STATE_U32_(Apic, svr),
    STATE_U32_(Apic, ldr), STATE_U32_(Apic, dfr), STATE_U32_(Apic, esr), STATE_U32_(Apic, esr_pending),
    STATE_U64_(Apic, icr), STATE_ARRAY_(Apic, lint, STATE_BOOL), STATE_BOOL_(Apic, extint_message),
    STATE_U32_(Apic, timer_initial), STATE_U32_(Apic, timer_divide), STATE_I64_(Apic, timer_deadline),
    STATE_U64_(Apic, tsc_deadline),
    STATE_POST_LOAD(apic_post_load),
    STATE_END
};

static const DeviceClass apic_class = {
    .name = TYPE_APIC, .parent = TYPE_DEVICE, .desc = "local APIC of a CPU", .size = sizeof(Apic), .props = apic_props,
    .category = DEV_MISC, .internal = true, .init = apic_init, .finalize = apic_finalize,
    .realize = apic_realize, .unrealize = apic_unrealize, .reset = apic_reset,
    .state = apic_state, .state_version = 1,
};
REGISTER_DEVICE(apic_class)

Device *apic_create(Machine *machine, X86Cpu *cpu, GError **err)
{
    Device *dev = device_new(machine, TYPE_APIC, err);
    if (!dev)
        return NULL;
    Apic *a = APIC(dev);
    a->cpu = cpu;
    a->bus = machine->apic_bus;
    a->id = cpu->apic_id;
    object_add_child(OBJECT(cpu), "lapic", OBJECT(dev));
    return device_realize(dev, NULL, err) ? dev : NULL;
}
