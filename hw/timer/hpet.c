/*
 * High precision event timers: a 64-bit counter at 100 MHz and 3 to 32 comparators.
 *
 * Source: IA-PC HPET specification 1.0a.
 * Limits: a comparator that is written with a value up to half the counter's range behind is due at once, as a slow guest
 * expects, where a chip would wait for the counter to come round. Periods that nobody could see pass as one interrupt.
 *
 * The counter can be read without a lock; everything else takes the machine's.
 */
#include "hw/timer/hpet.h"

#include <hw/msix.h>

#include "system/machine.h"

#define HPET_SIZE 0x400
#define TICK_NS 10
#define MIN_PERIOD_TICKS 2000 /* 20 us: shorter periods would only busy the host */
#define MIN_TIMERS 3
#define MAX_TIMERS 32
#define GSI_COUNT 24

#define REG_CAPABILITIES 0x000
#define REG_CONFIG 0x010
#define REG_STATUS 0x020
#define REG_COUNTER 0x0f0
#define REG_TIMERS 0x100

#define CONFIG_ENABLE 0x1u
#define CONFIG_LEGACY 0x2u

#define TIMER_LEVEL 0x0002ull
#define TIMER_INT_ENABLE 0x0004ull
#define TIMER_PERIODIC 0x0008ull
#define TIMER_PERIODIC_CAP 0x0010ull
#define TIMER_64BIT_CAP 0x0020ull
#define TIMER_VALUE_SET 0x0040ull
#define TIMER_32BIT 0x0100ull
#define TIMER_ROUTE_SHIFT 9
#define TIMER_FSB 0x4000ull
#define TIMER_FSB_CAP 0x8000ull
#define TIMER_WRITABLE (TIMER_LEVEL | TIMER_INT_ENABLE | TIMER_PERIODIC | TIMER_VALUE_SET | TIMER_32BIT | 0x3e00ull | TIMER_FSB)

typedef struct HpetTimer {
    struct Hpet *hpet;
    unsigned n;
    uint64_t config, comparator, period, fsb;
    Timer *timer;
} HpetTimer;

typedef struct Hpet {
    Device dev;
    uint8_t timers;
    bool msi;
    uint32_t routes;         /* GSIs that a timer can be routed to, as a mask */
    uint64_t config, status;
    /* The counter is (CLOCK_GUEST + offset_ns) / 10 while it runs, `halted` else. */
    int64_t offset_ns;
    uint64_t halted;
    bool legacy_in[2];       /* levels of PIT and RTC */
    HpetTimer timer[MAX_TIMERS];
    Irq *irqs[GSI_COUNT], *legacy_mode;
    MemoryRegion mmio;
} Hpet;

#define HPET(ptr) ((Hpet *)(ptr))

static bool enabled(const Hpet *h) { return __atomic_load_n(&h->config, __ATOMIC_ACQUIRE) & CONFIG_ENABLE; }
static bool legacy(const Hpet *h) { return h->config & CONFIG_LEGACY; }
static int64_t guest_ns(const Hpet *h) { return domain_now(h->dev.domain, CLOCK_GUEST); }

static uint64_t counter(const Hpet *h)
{
    if (!enabled(h))
        return h->halted;
    return (uint64_t)(guest_ns(h) + __atomic_load_n(&h->offset_ns, __ATOMIC_RELAXED)) / TICK_NS;
}

/* The time at which the running counter has a value; values are near the present. */
static int64_t counter_to_ns(const Hpet *h, uint64_t ticks)
{
    __int128 ns = (__int128)ticks * TICK_NS - h->offset_ns;
    return ns > INT64_MAX / 2 ? -1 : (int64_t)ns;
}

/* ---- interrupts ---- */

/* The line of a timer, NULL if its route does not exist. */
static Irq *timer_line(const HpetTimer *t)
{
    Hpet *h = t->hpet;
    if (legacy(h) && t->n < 2)
        return h->irqs[t->n ? 8 : 0];
    unsigned route = t->config >> TIMER_ROUTE_SHIFT & 31;
    return route < GSI_COUNT && (h->routes >> route & 1) ? h->irqs[route] : NULL;
}

static void raise_timer(HpetTimer *t)
{
    Hpet *h = t->hpet;
    bool level = (t->config & TIMER_LEVEL) && !(t->config & TIMER_FSB);
    if (level)
        h->status |= 1ull << t->n;
    if (!(t->config & TIMER_INT_ENABLE) || !enabled(h))
        return;
    if (t->config & TIMER_FSB)
        msi_send(h->dev.machine, t->fsb >> 32, t->fsb);
    else if (level)
        irq_raise(timer_line(t));
    else
        irq_pulse(timer_line(t));
}

static void lower_timer(HpetTimer *t)
{
    if ((t->config & TIMER_LEVEL) && (t->hpet->status >> t->n & 1))
        irq_lower(timer_line(t));
}

/* ---- comparators ---- */

/* How many ticks until the comparator matches; 0: it is due. fresh: it was written just now, and may have been missed. */
static uint64_t ticks_left(const HpetTimer *t, uint64_t now, bool fresh)
{
    if (t->config & TIMER_32BIT) {
        uint32_t left = (uint32_t)t->comparator - (uint32_t)now;
        return fresh && (int32_t)left < 0 ? 0 : left;
    }
    uint64_t left = t->comparator - now;
    return fresh && (int64_t)left < 0 ? 0 : left;
}

static void arm_timer(HpetTimer *t, bool fresh)
{
    Hpet *h = t->hpet;
    if (!enabled(h) || (!(t->config & TIMER_INT_ENABLE) && !(t->config & TIMER_LEVEL))) {
        timer_del(t->timer);
        return;
    }
    uint64_t now = counter(h);
    uint64_t left = ticks_left(t, now, fresh);
    int64_t deadline = left > INT64_MAX / TICK_NS ? -1 : counter_to_ns(h, now + left);
    if (deadline < 0)
        timer_del(t->timer); /* years away */
    else
        timer_mod(t->timer, deadline);
}

/* Next match after one: the next period, or a whole turn of a 32-bit counter. False if there is none. */
static bool next_match(HpetTimer *t)
{
    uint64_t now = counter(t->hpet);
    if (!(t->config & TIMER_PERIODIC)) {
        if (!(t->config & TIMER_32BIT))
            return false;
        int64_t deadline = counter_to_ns(t->hpet, now + (uint32_t)((uint32_t)t->comparator - (uint32_t)now - 1) + 1);
        if (deadline >= 0)
            timer_mod(t->timer, deadline);
        return false;
    }
    uint64_t period = t->config & TIMER_32BIT ? (uint32_t)t->period : t->period;
    if (!period)
        return false;
    uint64_t late = t->config & TIMER_32BIT ? (uint32_t)((uint32_t)now - (uint32_t)t->comparator) : now - t->comparator;
    uint64_t skip = late + (period < MIN_PERIOD_TICKS ? MIN_PERIOD_TICKS - period : 0);
    t->comparator += (skip / period + 1) * period;
    if (t->config & TIMER_32BIT)
        t->comparator = (uint32_t)t->comparator;
    return true;
}

static void timer_due(void *opaque)
{
    HpetTimer *t = opaque;
    if (!enabled(t->hpet))
        return;
    raise_timer(t);
    if (next_match(t))
        arm_timer(t, true);
}

/* A match that the loop has not come to yet happened under the old settings. */
static void settle_timer(HpetTimer *t)
{
    if (!timer_pending(t->timer) || timer_deadline(t->timer) > guest_ns(t->hpet))
        return;
    timer_del(t->timer);
    timer_due(t);
}

/* ---- registers ---- */

static uint64_t read_register(Hpet *h, unsigned reg)
{
    if (reg >= REG_TIMERS) {
        unsigned n = (reg - REG_TIMERS) / 0x20;
        const HpetTimer *t = &h->timer[n];
        if (n >= h->timers)
            return 0;
        switch (reg & 0x18) {
        case 0x00: return t->config | TIMER_PERIODIC_CAP | TIMER_64BIT_CAP | (h->msi ? TIMER_FSB_CAP : 0) |
                          (uint64_t)h->routes << 32;
        case 0x08: return t->comparator;
        case 0x10: return t->fsb;
        default: return 0;
        }
    }
    switch (reg) {
    case REG_CAPABILITIES:
        return (uint64_t)HPET_PERIOD_FS << 32 | 0x8086a001u | (h->timers - 1) << 8; /* legacy capable, 64 bits, revision 1 */
    case REG_CONFIG: return h->config;
    case REG_STATUS: return h->status;
    case REG_COUNTER: return counter(h);
    default: return 0;
    }
}

static void set_enabled(Hpet *h, bool on)
{
    for (unsigned n = 0; !on && n < h->timers; n++)
        settle_timer(&h->timer[n]);
    uint64_t now = counter(h);
    if (on)
        h->offset_ns = (int64_t)(now * TICK_NS) - guest_ns(h);
    else
        h->halted = now;
    __atomic_store_n(&h->config, on ? h->config | CONFIG_ENABLE : h->config & ~(uint64_t)CONFIG_ENABLE, __ATOMIC_RELEASE);
    for (unsigned n = 0; n < h->timers; n++) {
        HpetTimer *t = &h->timer[n];
        if ((t->config & TIMER_LEVEL) && (h->status >> n & 1) && (t->config & TIMER_INT_ENABLE) && !(t->config & TIMER_FSB))
            irq_set(timer_line(t), on);
        arm_timer(t, false);
    }
}

/* In legacy mode lines 0 and 8 are HPET's own; out of it they follow the PIT and the RTC. */
static void set_legacy(Hpet *h, bool on)
{
    h->config = on ? h->config | CONFIG_LEGACY : h->config & ~(uint64_t)CONFIG_LEGACY;
    irq_set(h->irqs[0], !on && h->legacy_in[0]);
    irq_set(h->irqs[8], !on && h->legacy_in[1]);
    irq_set(h->legacy_mode, on);
}

static void write_config(Hpet *h, uint64_t value)
{
    if ((value ^ h->config) & CONFIG_LEGACY)
        set_legacy(h, value & CONFIG_LEGACY);
    if ((value ^ h->config) & CONFIG_ENABLE)
        set_enabled(h, value & CONFIG_ENABLE);
}

static void write_status(Hpet *h, uint64_t value)
{
    for (unsigned n = 0; n < h->timers; n++) {
        if (!(value >> n & 1) || !(h->status >> n & 1))
            continue;
        lower_timer(&h->timer[n]);
        h->status &= ~(1ull << n);
    }
}

static void write_timer_config(HpetTimer *t, uint64_t value)
{
    Hpet *h = t->hpet;
    uint64_t writable = TIMER_WRITABLE & ~(h->msi ? 0 : TIMER_FSB);
    settle_timer(t);
    lower_timer(t);
    t->config = value & writable;
    if (!(t->config & TIMER_LEVEL))
        h->status &= ~(1ull << t->n);
    if (t->config & TIMER_32BIT) {
        t->comparator = (uint32_t)t->comparator;
        t->period = (uint32_t)t->period;
    }
    if ((t->config & TIMER_LEVEL) && (h->status >> t->n & 1) && (t->config & TIMER_INT_ENABLE) && enabled(h))
        irq_raise(timer_line(t));
    arm_timer(t, false);
}

/* mask: the bits that the access covers. */
static void write_comparator(HpetTimer *t, uint64_t value, uint64_t mask)
{
    if (t->config & TIMER_32BIT)
        mask &= UINT32_MAX;
    if (!(t->config & TIMER_PERIODIC) || (t->config & TIMER_VALUE_SET))
        t->comparator = (t->comparator & ~mask) | (value & mask);
    if (t->config & TIMER_PERIODIC)
        t->period = (t->period & ~mask) | (value & mask);
    t->config &= ~TIMER_VALUE_SET;
    arm_timer(t, true);
}

static void write_register(Hpet *h, unsigned reg, uint64_t value, uint64_t mask)
{
    if (reg >= REG_TIMERS) {
        HpetTimer *t = &h->timer[(reg - REG_TIMERS) / 0x20];
        if (t->n >= h->timers)
            return;
        switch (reg & 0x18) {
        case 0x00:
            if (mask & UINT32_MAX)
                write_timer_config(t, value & mask);
            break;
        case 0x08: write_comparator(t, value, mask); break;
        case 0x10: t->fsb = (t->fsb & ~mask) | (value & mask); break;
        }
        return;
    }
    switch (reg) {
    case REG_CONFIG:
        if (mask & UINT32_MAX)
            write_config(h, value);
        break;
    case REG_STATUS:
        write_status(h, value & mask);
        break;
    case REG_COUNTER: /* only a halted counter can be set */
        if (!enabled(h))
            h->halted = (h->halted & ~mask) | (value & mask);
        break;
    }
}

static uint64_t hpet_read(void *opaque, uint64_t offset, unsigned size)
{
    Hpet *h = opaque;
    unsigned shift = (offset & 7) * 8;
    if ((offset & ~7ull) == REG_COUNTER && enabled(h))
        return counter(h) >> shift;
    DOMAIN_GUARD(h->dev.domain);
    return read_register(h, offset & ~7u) >> shift;
}

static void hpet_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Hpet *h = opaque;
    unsigned shift = (offset & 7) * 8;
    DOMAIN_GUARD(h->dev.domain);
    write_register(h, offset & ~7u, value << shift, mask_bytes(size) << shift);
}

static const MemoryRegionOps hpet_ops = { .read = hpet_read, .write = hpet_write, .min_access = 4, .max_access = 8, .valid_min = 4 };

static void legacy_input(void *opaque, unsigned n, bool level)
{
    Hpet *h = opaque;
    h->legacy_in[n] = level;
    if (!legacy(h))
        irq_set(h->irqs[n ? 8 : 0], level);
}

/* ---- life ---- */

static void hpet_reset(Device *dev)
{
    Hpet *h = HPET(dev);
    for (unsigned n = 0; n < h->timers; n++) {
        HpetTimer *t = &h->timer[n];
        lower_timer(t);
        timer_del(t->timer);
        t->config = t->period = t->fsb = 0;
        t->comparator = UINT64_MAX;
    }
    h->config = h->status = h->halted = 0;
    h->offset_ns = 0;
    set_legacy(h, false);
}

static bool hpet_realize(Device *dev, GError **err)
{
    Hpet *h = HPET(dev);
    if (!h->routes)
        h->routes = 1u << 2;
    if (h->routes >> GSI_COUNT) {
        error_set(err, "hpet: hpet-intcap 0x%x names lines above %d", h->routes, GSI_COUNT - 1);
        return false;
    }
    device_init_irq_in(dev, "legacy", legacy_input, 2);
    device_init_irq_out(dev, NULL, h->irqs, GSI_COUNT);
    device_init_irq_out(dev, "legacy-mode", &h->legacy_mode, 1);
    for (unsigned n = 0; n < MAX_TIMERS; n++) {
        h->timer[n].hpet = h;
        h->timer[n].n = n;
        if (n < h->timers)
            h->timer[n].timer = timer_new(dev->domain, CLOCK_GUEST, timer_due, &h->timer[n]);
    }
    memory_region_init_io(&h->mmio, OBJECT(h), NULL, &hpet_ops, h, "hpet", HPET_SIZE);
    memory_region_add(&dev->machine->mem_root, HPET_BASE, &h->mmio, 1);
    return true;
}

static void hpet_unrealize(Device *dev)
{
    Hpet *h = HPET(dev);
    memory_region_clear(&h->mmio);
    for (unsigned n = 0; n < MAX_TIMERS; n++)
        g_clear_pointer(&h->timer[n].timer, timer_free);
}

static bool hpet_post_load(void *instance, uint32_t version, GError **err)
{
    Hpet *h = instance;
    for (unsigned n = 0; n < h->timers; n++)
        arm_timer(&h->timer[n], true);
    return true;
}

static const Property hpet_props[] = {
    PROP_U8("timers", Hpet, timers, MIN_TIMERS, MIN_TIMERS, MAX_TIMERS, "number of comparators"),
    PROP_BOOL("msi", Hpet, msi, false, "comparators can interrupt by messages"),
    PROP_U32("hpet-intcap", Hpet, routes, 0, 0, 0, "mask of the lines that a comparator can be routed to; 0: line 2"),
    PROP_END
};

static const StateField timer_state[] = {
    STATE_U64_(HpetTimer, config), STATE_U64_(HpetTimer, comparator), STATE_U64_(HpetTimer, period),
    STATE_U64_(HpetTimer, fsb), STATE_END
};

static const StateField hpet_state[] = {
    STATE_U64_(Hpet, config), STATE_U64_(Hpet, status), STATE_I64_(Hpet, offset_ns), STATE_U64_(Hpet, halted),
    STATE_ARRAY_(Hpet, legacy_in, STATE_BOOL), STATE_STRUCTS_(Hpet, timer, timer_state),
    STATE_POST_LOAD(hpet_post_load),
    STATE_END
};

static const DeviceClass hpet_class = {
    .name = TYPE_HPET, .parent = TYPE_DEVICE, .desc = "high precision event timer", .size = sizeof(Hpet), .props = hpet_props,
    .category = DEV_MISC, .internal = true, .no_hotplug = true,
    .realize = hpet_realize, .unrealize = hpet_unrealize, .reset = hpet_reset,
    .state = hpet_state, .state_version = 1,
};
REGISTER_DEVICE(hpet_class)

Device *hpet_create(Machine *machine, GError **err)
{
    Device *dev = device_new(machine, TYPE_HPET, err);
    return dev && device_realize(dev, NULL, err) ? dev : NULL;
}
