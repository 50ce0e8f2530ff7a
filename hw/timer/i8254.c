/*
 * 8254 programmable interval timer: three counters at 1.193182 MHz.
 *
 * Nothing counts here: each counter remembers the clock pulse at which its counting element was loaded, and everything
 * else (count, OUT, next edge) is a function of the pulse number. Pulse n happens at floor(n * 1e9 / 1193182) ns of CLOCK_GUEST.
 *
 * Source: Intel 8254 data sheet (231164-005).
 * Limits: a count takes effect at the write, not one pulse later. Edges of counter 0 that the host could not deliver in
 * time are one interrupt; with the policy `delay` the counter falls behind by what was missed, so that no tick is lost.
 */
#include "hw/timer/i8254.h"

#include <hw/isa.h>

#include "system/machine.h"

enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };

typedef struct PitCounter {
    uint8_t mode;            /* 0..5 */
    uint8_t access;          /* ACCESS_* */
    bool bcd, gate;
    bool high_next_write, high_next_read;
    uint8_t low_byte;        /* first byte of a two-byte count */
    uint16_t count_register; /* as written, 0 is 65536 (10000 in BCD) */
    bool null_count;         /* written, but not in the counting element yet */
    bool loaded;             /* the counting element holds a count */
    bool counting;           /* else frozen at `elapsed` */
    uint32_t n;              /* count in the element, 1..65536 */
    int64_t start;           /* pulse of the load; valid while counting */
    int64_t elapsed;         /* pulses since the load; valid while not counting */
    bool next_pending;       /* modes 2, 3: next_n takes over at pulse next_at */
    uint32_t next_n;
    int64_t next_at;
    uint8_t latched;         /* bytes of latch left to read */
    uint16_t latch;
    bool status_latched;
    uint8_t status;
} PitCounter;

#define MIN_PERIOD_NS 20000 /* ticks that follow closer are one interrupt: no guest takes 50000 a second from this chip */

typedef enum { LOST_DISCARD, LOST_DELAY } LostTickPolicy;
static const char *const lost_tick_names[] = { "discard", "delay", NULL };

typedef struct I8254 {
    IsaDevice isa;
    PitCounter counter[3];
    uint32_t iobase;
    int lost_tick_policy;
    bool quiet;              /* IRQ 0 belongs to somebody else */
    bool irq_level;
    int64_t edge_pulse;      /* what the timer is set for */
    Timer *timer;
    Irq *irq;
    MemoryRegion io;
} I8254;

#define I8254(ptr) ((I8254 *)(ptr))

static int64_t pulse_to_ns(int64_t pulse)
{
    return (int64_t)((__int128)pulse * NS_PER_SEC / I8254_HZ);
}

/* The last pulse that has happened at ns: the inverse of pulse_to_ns(). */
static int64_t ns_to_pulse(int64_t ns)
{
    return (int64_t)((((__int128)ns + 1) * I8254_HZ - 1) / NS_PER_SEC);
}

static int64_t pulse_now(const I8254 *pit)
{
    return ns_to_pulse(domain_now(pit->isa.dev.domain, CLOCK_GUEST));
}

static bool is_periodic(const PitCounter *c) { return c->mode == 2 || c->mode == 3; }

static uint32_t bcd_to_binary(uint16_t bcd)
{
    return (bcd & 15) + (bcd >> 4 & 15) * 10 + (bcd >> 8 & 15) * 100 + (bcd >> 12) * 1000;
}

static uint32_t register_count(const PitCounter *c)
{
    uint32_t n = c->bcd ? bcd_to_binary(c->count_register) : c->count_register;
    return n ? n : c->bcd ? 10000 : 65536;
}

static int64_t elapsed_at(const PitCounter *c, int64_t pulse)
{
    return c->counting ? pulse - c->start : c->elapsed;
}

/* Puts a count that waited for the end of a (half) period into force, once `pulse` has reached it. */
static void settle(PitCounter *c, int64_t pulse)
{
    if (!c->next_pending || pulse < c->next_at)
        return;
    bool was_high = c->mode == 3 && (c->next_at - c->start) % c->n >= (c->n + 1) / 2;
    c->n = c->next_n;
    c->start = c->next_at;
    if (was_high) /* the new count begins with its low half */
        c->start -= (c->n + 1) / 2;
    c->next_pending = c->null_count = false;
}

static bool out_at(const PitCounter *c, int64_t pulse)
{
    if (!c->loaded)
        return c->mode != 0;
    int64_t e = elapsed_at(c, pulse);
    switch (c->mode) {
    case 0:
    case 1:
        return e >= c->n;
    case 2:
        return !c->gate || e % c->n != c->n - 1 || c->n == 1;
    case 3:
        return !c->gate || e % c->n < (c->n + 1) / 2;
    default:
        return e != c->n;
    }
}

static uint16_t count_at(const PitCounter *c, int64_t pulse)
{
    if (!c->loaded)
        return 0;
    int64_t e = elapsed_at(c, pulse);
    uint32_t modulus = c->bcd ? 10000 : 65536, value;
    if (c->mode == 2) {
        value = c->n - e % c->n;
    } else if (c->mode == 3) { /* counts by two, twice a period */
        uint32_t phase = e % c->n, half = (c->n + 1) / 2;
        value = (c->n & ~1u) - 2 * (phase < half ? phase : phase - half);
    } else {
        value = (c->n + modulus - (uint32_t)(e % modulus)) % modulus;
    }
    value %= modulus;
    if (c->bcd)
        value = value % 10 | value / 10 % 10 << 4 | value / 100 % 10 << 8 | value / 1000 << 12;
    return value;
}

/* The first pulse after `pulse` at which OUT rises, or in mode 3 changes; INT64_MAX for never. */
static int64_t next_edge(const PitCounter *c, int64_t pulse)
{
    if (!c->loaded || !c->counting)
        return INT64_MAX;
    int64_t e = pulse - c->start, edge;
    switch (c->mode) {
    case 0:
    case 1:
        edge = c->n;
        return e < edge ? c->start + edge : INT64_MAX;
    case 2:
        edge = c->start + (e / c->n + 1) * c->n;
        break;
    case 3: {
        int64_t period = e / c->n * c->n, half = (c->n + 1) / 2;
        edge = c->start + period + (e - period < half ? half : c->n);
        break;
    }
    default:
        edge = c->n + 1; /* the strobe's end */
        return e < edge ? c->start + edge : INT64_MAX;
    }
    return c->next_pending ? MIN(edge, MAX(c->next_at, pulse + 1)) : edge;
}

/* ---- interrupt ---- */

static void set_irq(I8254 *pit, bool level)
{
    if (level == pit->irq_level || pit->quiet)
        return;
    pit->irq_level = level;
    irq_set(pit->irq, level);
}

static void schedule_edge(I8254 *pit, int64_t pulse)
{
    pit->edge_pulse = pit->quiet ? INT64_MAX : next_edge(&pit->counter[0], pulse);
    if (pit->edge_pulse == INT64_MAX)
        timer_del(pit->timer);
    else if (is_periodic(&pit->counter[0]))
        timer_mod(pit->timer, MAX(pulse_to_ns(pit->edge_pulse), pulse_to_ns(pulse) + MIN_PERIOD_NS));
    else
        timer_mod(pit->timer, pulse_to_ns(pit->edge_pulse));
}

/* OUT of counter 0 may have changed by something other than the passing of time. */
static void update_irq(I8254 *pit, int64_t pulse)
{
    set_irq(pit, out_at(&pit->counter[0], pulse));
    schedule_edge(pit, pulse);
}

static void edge_reached(void *opaque)
{
    I8254 *pit = opaque;
    PitCounter *c = &pit->counter[0];
    int64_t pulse = pulse_now(pit);
    if (pit->edge_pulse == INT64_MAX)
        return;
    pulse = MAX(pulse, pit->edge_pulse);
    if (pit->lost_tick_policy == LOST_DELAY && is_periodic(c) && !c->next_pending && pulse - pit->edge_pulse >= c->n)
        c->start += pulse - pit->edge_pulse;
    /* The low pulses of modes 2, 4 and 5 have no timers of their own: they show here. */
    if (c->mode != 3 || pulse - pit->edge_pulse >= c->n / 2)
        set_irq(pit, false);
    settle(c, pulse);
    update_irq(pit, pulse);
}

static void quiet_input(void *opaque, unsigned n, bool level)
{
    I8254 *pit = opaque;
    if (level == pit->quiet)
        return;
    if (level)
        set_irq(pit, false);
    pit->quiet = level;
    update_irq(pit, pulse_now(pit));
}

/* ---- counters ---- */

static void load(PitCounter *c, int64_t pulse)
{
    c->n = register_count(c);
    c->loaded = true;
    c->null_count = c->next_pending = false;
    c->counting = c->gate || c->mode == 1 || c->mode == 5;
    c->start = pulse;
    c->elapsed = 0;
}

/* A complete count was written. */
static void count_written(PitCounter *c, uint16_t value, int64_t pulse)
{
    c->count_register = value;
    c->null_count = true;
    if (c->mode == 1 || c->mode == 5)
        return; /* for the next trigger */
    if (!is_periodic(c) || !c->loaded || !c->counting) {
        load(c, pulse);
        return;
    }
    settle(c, pulse);
    int64_t e = pulse - c->start, period = e / c->n * c->n, half = (c->n + 1) / 2;
    c->next_n = register_count(c);
    c->next_at = c->start + period + (c->mode == 3 && e - period < half ? half : c->n);
    c->next_pending = true;
    c->null_count = true;
}

static void set_gate(PitCounter *c, bool gate, int64_t pulse)
{
    if (gate == c->gate)
        return;
    settle(c, pulse);
    c->gate = gate;
    if (c->mode == 1 || c->mode == 5) {
        if (gate && (c->loaded || c->null_count))
            load(c, pulse);
    } else if (!gate) {
        c->elapsed = elapsed_at(c, pulse);
        c->counting = false;
    } else if (!c->loaded) {
        return;
    } else if (is_periodic(c)) {
        load(c, pulse);
    } else {
        c->start = pulse - c->elapsed;
        c->counting = true;
    }
}

static void write_counter(PitCounter *c, uint8_t value, int64_t pulse)
{
    switch (c->access) {
    case ACCESS_LOW:
        count_written(c, value, pulse);
        break;
    case ACCESS_HIGH:
        count_written(c, value << 8, pulse);
        break;
    case ACCESS_BOTH:
        if (c->high_next_write)
            count_written(c, c->low_byte | value << 8, pulse);
        else if (c->mode == 0)
            c->loaded = false; /* the first byte stops the count and lowers OUT */
        c->low_byte = value;
        c->high_next_write = !c->high_next_write;
        break;
    }
}

static void latch_count(PitCounter *c, int64_t pulse)
{
    if (c->latched)
        return; /* until it has been read */
    c->latch = count_at(c, pulse);
    c->latched = c->access == ACCESS_BOTH ? 2 : 1;
}

static void latch_status(PitCounter *c, int64_t pulse)
{
    if (c->status_latched)
        return;
    c->status = (out_at(c, pulse) ? 0x80 : 0) | (c->null_count ? 0x40 : 0) | c->access << 4 | c->mode << 1 | c->bcd;
    c->status_latched = true;
}

static uint8_t read_counter(PitCounter *c, int64_t pulse)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    uint16_t value = c->latched ? c->latch : count_at(c, pulse);
    bool high = c->access == ACCESS_HIGH || (c->access == ACCESS_BOTH && c->high_next_read);
    if (c->access == ACCESS_BOTH)
        c->high_next_read = !c->high_next_read;
    if (c->latched)
        c->latched--;
    return high ? value >> 8 : value;
}

static void set_mode(PitCounter *c, uint8_t control)
{
    unsigned mode = control >> 1 & 7;
    c->mode = mode > 5 ? mode - 4 : mode; /* 6 and 7 are 2 and 3 */
    c->access = control >> 4 & 3;
    c->bcd = control & 1;
    c->high_next_write = c->high_next_read = false;
    c->latched = 0;
    c->status_latched = c->loaded = c->counting = c->next_pending = false;
    c->null_count = true;
    c->elapsed = 0;
}

static void read_back(I8254 *pit, uint8_t command, int64_t pulse)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!(command & (2u << i)))
            continue;
        if (!(command & 0x20))
            latch_count(&pit->counter[i], pulse);
        if (!(command & 0x10))
            latch_status(&pit->counter[i], pulse);
    }
}

static void write_control(I8254 *pit, uint8_t value, int64_t pulse)
{
    unsigned select = value >> 6;
    if (select == 3) {
        read_back(pit, value, pulse);
    } else if ((value >> 4 & 3) == ACCESS_LATCH) {
        latch_count(&pit->counter[select], pulse);
    } else {
        set_mode(&pit->counter[select], value);
        if (select == 0)
            update_irq(pit, pulse);
    }
}

static int64_t settle_all(I8254 *pit)
{
    int64_t pulse = pulse_now(pit);
    for (unsigned i = 0; i < 3; i++)
        settle(&pit->counter[i], pulse);
    return pulse;
}

static uint64_t i8254_read(void *opaque, uint64_t offset, unsigned size)
{
    I8254 *pit = opaque;
    int64_t pulse = settle_all(pit);
    return (offset & 3) == 3 ? 0 : read_counter(&pit->counter[offset & 3], pulse);
}

static void i8254_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8254 *pit = opaque;
    int64_t pulse = settle_all(pit);
    if ((offset & 3) == 3) {
        write_control(pit, value, pulse);
        return;
    }
    write_counter(&pit->counter[offset & 3], value, pulse);
    if ((offset & 3) == 0)
        update_irq(pit, pulse);
}

static const MemoryRegionOps i8254_ops = { .read = i8254_read, .write = i8254_write, .min_access = 1, .max_access = 1 };

void i8254_set_gate(Device *dev, unsigned counter, bool gate)
{
    I8254 *pit = I8254(dev);
    set_gate(&pit->counter[counter], gate, settle_all(pit));
}

bool i8254_get_gate(Device *dev, unsigned counter)
{
    return I8254(dev)->counter[counter].gate;
}

bool i8254_get_out(Device *dev, unsigned counter)
{
    I8254 *pit = I8254(dev);
    return out_at(&pit->counter[counter], settle_all(pit));
}

/* ---- life ---- */

/*
 * Power-on leaves the counters undefined. Here they divide by 65536 as a square wave, the first half of which is over: the first
 * edge of IRQ 0 comes after 32768 pulses and rises.
 */
static void i8254_reset(Device *dev)
{
    I8254 *pit = I8254(dev);
    int64_t pulse = pulse_now(pit);
    for (unsigned i = 0; i < 3; i++) {
        PitCounter *c = &pit->counter[i];
        *c = (PitCounter){ .mode = 3, .access = ACCESS_BOTH, .gate = i != 2 };
        load(c, pulse - 32768);
    }
    pit->quiet = false;
    update_irq(pit, pulse);
}

static bool i8254_realize(Device *dev, GError **err)
{
    I8254 *pit = I8254(dev);
    if (!isa_check_ports(&pit->isa, pit->iobase, 4, err))
        return false;
    device_init_irq_out(dev, NULL, &pit->irq, 1);
    device_init_irq_in(dev, "quiet", quiet_input, 1);
    pit->timer = timer_new(dev->domain, CLOCK_GUEST, edge_reached, pit);
    pit->edge_pulse = INT64_MAX;
    memory_region_init_io(&pit->io, OBJECT(pit), dev->domain, &i8254_ops, pit, "pit", 4);
    isa_register_ioport(&pit->isa, &pit->io, pit->iobase);
    return true;
}

static void i8254_unrealize(Device *dev)
{
    I8254 *pit = I8254(dev);
    memory_region_clear(&pit->io);
    g_clear_pointer(&pit->timer, timer_free);
}

static bool i8254_post_load(void *instance, uint32_t version, GError **err)
{
    I8254 *pit = instance;
    for (unsigned i = 0; i < 3; i++) {
        PitCounter *c = &pit->counter[i];
        if (c->mode > 5 || c->access > 3 || (c->loaded && (c->n < 1 || c->n > 65536)) ||
            (c->next_pending && (c->next_n < 1 || c->next_n > 65536))) {
            error_set(err, "interval timer state has mode %u and count %u in counter %u", c->mode, c->n, i);
            return false;
        }
    }
    schedule_edge(pit, pulse_now(pit));
    return true;
}

static const StateField counter_state[] = {
    STATE_U8_(PitCounter, mode), STATE_U8_(PitCounter, access), STATE_BOOL_(PitCounter, bcd), STATE_BOOL_(PitCounter, gate),
    STATE_BOOL_(PitCounter, high_next_write), STATE_BOOL_(PitCounter, high_next_read), STATE_U8_(PitCounter, low_byte),
    STATE_U16_(PitCounter, count_register), STATE_BOOL_(PitCounter, null_count), STATE_BOOL_(PitCounter, loaded),
    STATE_BOOL_(PitCounter, counting), STATE_U32_(PitCounter, n), STATE_I64_(PitCounter, start),
    STATE_I64_(PitCounter, elapsed), STATE_BOOL_(PitCounter, next_pending), STATE_U32_(PitCounter, next_n),
    STATE_I64_(PitCounter, next_at), STATE_U8_(PitCounter, latched), STATE_U16_(PitCounter, latch),
    STATE_BOOL_(PitCounter, status_latched), STATE_U8_(PitCounter, status),
    STATE_END
};

static const StateField i8254_state[] = {
    STATE_STRUCTS_(I8254, counter, counter_state), STATE_BOOL_(I8254, quiet), STATE_BOOL_(I8254, irq_level),
    STATE_POST_LOAD(i8254_post_load),
    STATE_END
};

static const Property i8254_props[] = {
    PROP_U32("iobase", I8254, iobase, I8254_DEFAULT_BASE, 0, 0, "first of four ports"),
    PROP_END
};

static const IsaClass i8254_class = {
    .name = TYPE_I8254, .parent = TYPE_ISA_DEVICE, .desc = "8254 interval timer", .size = sizeof(I8254),
    .props = i8254_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = i8254_realize, .unrealize = i8254_unrealize, .reset = i8254_reset,
    .state = i8254_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(i8254_class)

/*
 * The timer of machines whose guests count every tick of it: by default it delivers late what the host kept it from
 * delivering in time. The name is the one by which management software sets the policy.
 */
static const Property kvm_pit_props[] = {
    PROP_ENUM("lost_tick_policy", I8254, lost_tick_policy, LOST_DELAY, lost_tick_names,
              "ticks that the host could not deliver in time: discard, delay"),
    PROP_END
};

static const IsaClass kvm_pit_class = {
    .name = TYPE_KVM_PIT, .parent = TYPE_I8254, .desc = "8254 interval timer with a policy for lost ticks", .size = sizeof(I8254),
    .props = kvm_pit_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
};
REGISTER_ISA_DEVICE(kvm_pit_class)

Device *i8254_create(Machine *machine, Bus *isa, GError **err)
{
    Device *dev = device_new(machine, TYPE_I8254, err);
    return dev && device_realize(dev, isa, err) ? dev : NULL;
}
