/*
 * MC146818 real-time clock and 128 bytes of battery-backed RAM.
 *
 * The divider chain is the machine's clock plus a phase; the date is whole seconds of the chain plus an offset. Flags are worked out
 * when somebody looks; a timer runs only for interrupts that are enabled and not asserted yet.
 *
 * Source: Motorola MC146818A data sheet; Intel 82371SB data sheet (ports 0x70, 0x71); ACPI 5.0 table 5-34 (century byte).
 * Limits: the daylight saving bit is stored and has no effect; square wave output goes nowhere.
 */
#include "hw/timer/mc146818rtc.h"

#include <hw/isa.h>
#include <json-c/json.h>
#include <time.h>

#include "monitor/events.h"
#include "system/machine.h"

enum {
    REG_SECONDS, REG_SECONDS_ALARM, REG_MINUTES, REG_MINUTES_ALARM, REG_HOURS, REG_HOURS_ALARM, REG_WEEKDAY, REG_DAY,
    REG_MONTH, REG_YEAR, REG_A, REG_B, REG_C, REG_D, REG_CENTURY = 0x32, CMOS_SIZE = 128
};

#define A_UIP 0x80
#define A_DIVIDER 0x70
#define A_RATE 0x0f
#define B_SET 0x80
#define B_PIE 0x40
#define B_AIE 0x20
#define B_UIE 0x10
#define B_SQWE 0x08
#define B_BINARY 0x04
#define B_24H 0x02
#define C_IRQF 0x80
#define C_PF 0x40
#define C_AF 0x20
#define C_UF 0x10
#define D_VRT 0x80
#define ALARM_ANY 0xc0 /* both top bits: don't care */
#define HOUR_PM 0x80

#define UIP_NS 244000   /* how long before an update UIP warns */
#define OSC_HZ 32768
#define SLEW_LIMIT (60 * 1024) /* lost ticks remembered: a minute at 1024 Hz */

typedef enum { LOST_DISCARD, LOST_DELAY, LOST_MERGE, LOST_SLEW } LostTickPolicy;
static const char *const lost_tick_names[] = { "discard", "delay", "merge", "slew", NULL };

typedef struct Rtc {
    IsaDevice isa;
    uint8_t cmos[CMOS_SIZE];
    uint8_t index;
    int64_t phase_ns;       /* divider chain minus clock */
    int64_t date_offset_s;  /* date (seconds since 1970) minus whole seconds of the chain */
    int64_t untouched_offset_s; /* date_offset_s of a guest that never sets the date: what RTC_CHANGE counts from */
    uint8_t weekday_shift;  /* weekday as the guest set it minus the date's own, modulo 7 */
    bool time_dirty;        /* time registers were written while the date stands */
    int64_t seen_second;    /* last second of the chain whose flags are in */
    int64_t seen_tick;      /* the same of periodic ticks */
    uint32_t lost_ticks;    /* to be made up for */
    int64_t slew_at_ns;     /* when the next one is, on the clock */
    int32_t base_year;
    uint16_t iobase;
    uint8_t isairq;
    int lost_tick_policy;
    ClockKind clock;
    Timer *timer;
    Irq *irq;
    MemoryRegion io;
} Rtc;

#define RTC(ptr) ((Rtc *)(ptr))

/* ---- chain ---- */

static int64_t clock_ns(const Rtc *rtc) { return domain_now(rtc->isa.dev.domain, rtc->clock); }
static int64_t chain_ns(const Rtc *rtc) { return clock_ns(rtc) + rtc->phase_ns; }

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Settings 110 and 111 hold the divider in reset (data sheet table 4). */
static bool divider_stopped(const Rtc *rtc) { return (rtc->cmos[REG_A] & 0x60) == 0x60; }
static bool date_runs(const Rtc *rtc) { return !(rtc->cmos[REG_B] & B_SET) && !divider_stopped(rtc); }

/* Oscillator cycles between periodic ticks; 0: none. */
static unsigned tick_cycles(const Rtc *rtc)
{
    unsigned rate = rtc->cmos[REG_A] & A_RATE;
    if (!rate || divider_stopped(rtc))
        return 0;
    return 1u << (rate <= 2 ? rate + 6 : rate - 1);
}

/* The number of the last tick at a chain time, and the chain time at which a tick happens (rounded up). */
static int64_t tick_number(int64_t ns, unsigned cycles)
{
    int64_t seconds = floor_div(ns, NS_PER_SEC);
    return (seconds * OSC_HZ + (ns - seconds * NS_PER_SEC) * OSC_HZ / NS_PER_SEC) / cycles;
}

static int64_t tick_time(int64_t number, unsigned cycles)
{
    return (int64_t)(((__int128)number * cycles * NS_PER_SEC + OSC_HZ - 1) / OSC_HZ);
}

/* ---- registers and dates ---- */

static unsigned from_register(const Rtc *rtc, uint8_t value)
{
    return rtc->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t to_register(const Rtc *rtc, unsigned value)
{
    return rtc->cmos[REG_B] & B_BINARY ? value : (value / 10 % 10) << 4 | value % 10;
}

static unsigned hour_from_register(const Rtc *rtc, uint8_t value)
{
    if (rtc->cmos[REG_B] & B_24H)
        return from_register(rtc, value);
    unsigned hour = from_register(rtc, value & ~HOUR_PM) % 12;
    return value & HOUR_PM ? hour + 12 : hour;
}

static uint8_t hour_to_register(const Rtc *rtc, unsigned hour)
{
    if (rtc->cmos[REG_B] & B_24H)
        return to_register(rtc, hour);
    return to_register(rtc, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? HOUR_PM : 0);
}

static int64_t date_now(const Rtc *rtc)
{
    return floor_div(chain_ns(rtc), NS_PER_SEC) + rtc->date_offset_s;
}

/* The date into the time registers. */
static void store_date(Rtc *rtc)
{
    time_t seconds = date_now(rtc);
    struct tm tm;
    if (!gmtime_r(&seconds, &tm))
        return;
    int year = tm.tm_year + 1900;
    uint8_t *r = rtc->cmos;
    r[REG_SECONDS] = to_register(rtc, tm.tm_sec);
    r[REG_MINUTES] = to_register(rtc, tm.tm_min);
    r[REG_HOURS] = hour_to_register(rtc, tm.tm_hour);
    r[REG_WEEKDAY] = to_register(rtc, (tm.tm_wday + rtc->weekday_shift) % 7 + 1);
    r[REG_DAY] = to_register(rtc, tm.tm_mday);
    r[REG_MONTH] = to_register(rtc, tm.tm_mon + 1);
    r[REG_YEAR] = to_register(rtc, ((year - rtc->base_year) % 100 + 100) % 100);
    r[REG_CENTURY] = to_register(rtc, year / 100);
}

static void report_change(Rtc *rtc)
{
    int64_t base = floor_div(clock_ns(rtc), NS_PER_SEC) + rtc->untouched_offset_s;
    g_autofree char *path = object_path(OBJECT(rtc));
    json_object *data = json_object_new_object();
    json_object_object_add(data, "offset", json_object_new_int64(date_now(rtc) - base));
    json_object_object_add(data, "qom-path", json_object_new_string(path));
    qmp_event_emit("RTC_CHANGE", data);
}

/* The time registers become the date; impossible ones carry over (32 January is 1 February). */
static void load_date(Rtc *rtc)
{
    const uint8_t *r = rtc->cmos;
    struct tm tm = {
        .tm_sec = from_register(rtc, r[REG_SECONDS]), .tm_min = from_register(rtc, r[REG_MINUTES]),
        .tm_hour = hour_from_register(rtc, r[REG_HOURS]), .tm_mday = from_register(rtc, r[REG_DAY]),
        .tm_mon = (int)from_register(rtc, r[REG_MONTH]) - 1,
        .tm_year = (int)(from_register(rtc, r[REG_CENTURY]) * 100 +
                         (from_register(rtc, r[REG_YEAR]) + rtc->base_year) % 100) - 1900,
    };
    unsigned weekday = from_register(rtc, r[REG_WEEKDAY]);
    time_t date = timegm(&tm); /* fills in tm_wday */
    rtc->weekday_shift = weekday >= 1 && weekday <= 7 ? (weekday - 1 + 7 - tm.tm_wday) % 7 : 0;
    rtc->date_offset_s = date - floor_div(chain_ns(rtc), NS_PER_SEC);
    rtc->seen_second = floor_div(chain_ns(rtc), NS_PER_SEC);
    rtc->time_dirty = false;
    report_change(rtc);
}

/* ---- flags ---- */

static bool alarm_field_matches(uint8_t alarm, unsigned decoded, unsigned value)
{
    return (alarm & ALARM_ANY) == ALARM_ANY || decoded == value;
}

/* The first second after `after` (a date) at which the alarm goes off; INT64_MAX if the registers hold no time of day. */
static int64_t next_alarm(const Rtc *rtc, int64_t after)
{
    const uint8_t *r = rtc->cmos;
    int64_t end = after + 2 * 86400;
    for (int64_t t = after + 1; t <= end;) {
        unsigned of_day = t - floor_div(t, 86400) * 86400;
        unsigned hour = of_day / 3600, minute = of_day / 60 % 60, second = of_day % 60;
        if (!alarm_field_matches(r[REG_HOURS_ALARM], hour_from_register(rtc, r[REG_HOURS_ALARM]), hour))
            t += 3600 - of_day % 3600;
        else if (!alarm_field_matches(r[REG_MINUTES_ALARM], from_register(rtc, r[REG_MINUTES_ALARM]), minute))
            t += 60 - second;
        else if (!alarm_field_matches(r[REG_SECONDS_ALARM], from_register(rtc, r[REG_SECONDS_ALARM]), second))
            t++;
        else
            return t;
    }
    return INT64_MAX;
}

static void collect_ticks(Rtc *rtc, int64_t chain)
{
    unsigned cycles = tick_cycles(rtc);
    if (!cycles)
        return;
    int64_t tick = tick_number(chain, cycles);
    int64_t fresh = tick - rtc->seen_tick;
    rtc->seen_tick = tick;
    if (fresh <= 0) /* the host's clock may go backwards */
        return;
    if (rtc->lost_tick_policy == LOST_SLEW && (rtc->cmos[REG_B] & B_PIE)) {
        int64_t lost = rtc->cmos[REG_C] & C_PF ? fresh : fresh - 1;
        rtc->lost_ticks = MIN(rtc->lost_ticks + MIN(lost, SLEW_LIMIT), SLEW_LIMIT);
    }
    rtc->cmos[REG_C] |= C_PF;
}

static void collect_seconds(Rtc *rtc, int64_t chain)
{
    int64_t second = floor_div(chain, NS_PER_SEC);
    int64_t before = rtc->seen_second;
    rtc->seen_second = second;
    if (!date_runs(rtc) || second <= before)
        return;
    rtc->cmos[REG_C] |= C_UF;
    if (next_alarm(rtc, before + rtc->date_offset_s) <= second + rtc->date_offset_s)
        rtc->cmos[REG_C] |= C_AF;
}

/* Makes register C and the line what they should be by now. */
static void update_flags(Rtc *rtc)
{
    int64_t chain = chain_ns(rtc);
    collect_ticks(rtc, chain);
    collect_seconds(rtc, chain);
    if (rtc->lost_ticks && !(rtc->cmos[REG_C] & C_PF) && (rtc->cmos[REG_B] & B_PIE) && clock_ns(rtc) >= rtc->slew_at_ns) {
        rtc->lost_ticks--;
        rtc->cmos[REG_C] |= C_PF;
    }
    bool wanted = rtc->cmos[REG_B] & rtc->cmos[REG_C] & (C_PF | C_AF | C_UF);
    if (wanted == !!(rtc->cmos[REG_C] & C_IRQF))
        return;
    rtc->cmos[REG_C] = (rtc->cmos[REG_C] & ~C_IRQF) | (wanted ? C_IRQF : 0);
    irq_set(rtc->irq, wanted);
}

/* Arms the timer for the next interrupt. While the line is up there is nothing to wait for: register C must be read first. */
static void schedule(Rtc *rtc)
{
    int64_t next = INT64_MAX;
    uint8_t enabled = rtc->cmos[REG_B];
    unsigned cycles = tick_cycles(rtc);
    if (!(rtc->cmos[REG_C] & C_IRQF)) {
        if ((enabled & B_PIE) && cycles)
            next = tick_time(rtc->seen_tick + 1, cycles);
        if ((enabled & B_PIE) && rtc->lost_ticks)
            next = MIN(next, rtc->slew_at_ns + rtc->phase_ns);
        if ((enabled & B_UIE) && date_runs(rtc))
            next = MIN(next, (rtc->seen_second + 1) * NS_PER_SEC);
        if ((enabled & B_AIE) && date_runs(rtc)) {
            int64_t alarm = next_alarm(rtc, rtc->seen_second + rtc->date_offset_s);
            if (alarm != INT64_MAX)
                next = MIN(next, (alarm - rtc->date_offset_s) * NS_PER_SEC);
        }
    }
    if (next == INT64_MAX)
        timer_del(rtc->timer);
    else
        timer_mod(rtc->timer, next - rtc->phase_ns);
}

static void rtc_timer(void *opaque)
{
    update_flags(opaque);
    schedule(opaque);
}

static uint8_t read_c(Rtc *rtc)
{
    uint8_t value = rtc->cmos[REG_C];
    rtc->cmos[REG_C] = 0;
    if (value & C_IRQF)
        irq_set(rtc->irq, false);
    unsigned cycles = tick_cycles(rtc);
    if (rtc->lost_ticks && cycles) /* made up for at eight times the rate, not faster: the guest has to keep up */
        rtc->slew_at_ns = clock_ns(rtc) + MAX(tick_time(1, cycles) / 8, 50000);
    schedule(rtc);
    return value;
}

/* ---- access ---- */

static bool is_time_register(unsigned index)
{
    return index == REG_SECONDS || index == REG_MINUTES || index == REG_HOURS || (index >= REG_WEEKDAY && index <= REG_YEAR) ||
           index == REG_CENTURY;
}

static bool update_in_progress(const Rtc *rtc)
{
    int64_t chain = chain_ns(rtc);
    int64_t into = chain - floor_div(chain, NS_PER_SEC) * NS_PER_SEC;
    return date_runs(rtc) && into >= NS_PER_SEC - UIP_NS;
}

static void write_a(Rtc *rtc, uint8_t value)
{
    bool stood = divider_stopped(rtc);
    if (date_runs(rtc))
        store_date(rtc);
    int64_t date = date_now(rtc);
    rtc->cmos[REG_A] = value & ~A_UIP;
    if (stood && !divider_stopped(rtc)) {
        /* The first update comes half a second after the divider was let go. */
        int64_t into = chain_ns(rtc) - floor_div(chain_ns(rtc), NS_PER_SEC) * NS_PER_SEC;
        rtc->phase_ns += NS_PER_SEC / 2 - into;
        rtc->date_offset_s = date - floor_div(chain_ns(rtc), NS_PER_SEC);
        rtc->seen_second = floor_div(chain_ns(rtc), NS_PER_SEC);
    }
    if (tick_cycles(rtc))
        rtc->seen_tick = tick_number(chain_ns(rtc), tick_cycles(rtc));
    rtc->lost_ticks = 0;
}

static void write_b(Rtc *rtc, uint8_t value)
{
    if (date_runs(rtc))
        store_date(rtc); /* what SET freezes */
    if (value & B_SET)
        value &= ~B_UIE;
    rtc->cmos[REG_B] = value;
    if (!(value & B_PIE))
        rtc->lost_ticks = 0;
}

static void write_register(Rtc *rtc, unsigned index, uint8_t value)
{
    bool ran = date_runs(rtc);
    update_flags(rtc);
    switch (index) {
    case REG_A:
        write_a(rtc, value);
        break;
    case REG_B:
        write_b(rtc, value);
        break;
    case REG_C:
    case REG_D:
        return;
    default:
        if (is_time_register(index) && ran)
            store_date(rtc); /* the other fields stay as they are now */
        rtc->cmos[index] = value;
        rtc->time_dirty |= is_time_register(index);
    }
    /* What stood while it was written or frozen goes on from the registers. */
    if (date_runs(rtc) && rtc->time_dirty)
        load_date(rtc);
    else if (date_runs(rtc) && !ran)
        load_date(rtc);
    update_flags(rtc);
    schedule(rtc);
}

static uint8_t read_register(Rtc *rtc, unsigned index)
{
    update_flags(rtc);
    if (is_time_register(index) && date_runs(rtc))
        store_date(rtc);
    switch (index) {
    case REG_A:
        return rtc->cmos[REG_A] | (update_in_progress(rtc) ? A_UIP : 0);
    case REG_C:
        return read_c(rtc);
    case REG_D:
        return D_VRT;
    default:
        return rtc->cmos[index];
    }
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    Rtc *rtc = opaque;
    return offset & 1 ? read_register(rtc, rtc->index) : 0xff;
}

static void rtc_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Rtc *rtc = opaque;
    if (offset & 1)
        write_register(rtc, rtc->index, value);
    else
        rtc->index = value & 0x7f; /* bit 7 masks NMI, which the PC's chips here never raise */
}

static const MemoryRegionOps rtc_ops = { .read = rtc_read, .write = rtc_write, .min_access = 1, .max_access = 1 };

void mc146818rtc_set_cmos(Device *dev, unsigned index, uint8_t value)
{
    g_assert(index > REG_D && index < CMOS_SIZE);
    RTC(dev)->cmos[index] = value;
}

uint8_t mc146818rtc_get_cmos(Device *dev, unsigned index)
{
    g_assert(index > REG_D && index < CMOS_SIZE);
    return RTC(dev)->cmos[index];
}

/* ---- life ---- */

/* The battery keeps everything; RESET clears enables and flags (data sheet, "RESET"). */
static void rtc_reset(Device *dev)
{
    Rtc *rtc = RTC(dev);
    update_flags(rtc);
    rtc->index = 0;
    rtc->cmos[REG_B] &= ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[REG_C] = 0;
    rtc->lost_ticks = 0;
    irq_set(rtc->irq, false);
    schedule(rtc);
}

static bool check_policy(Rtc *rtc, GError **err)
{
    if (rtc->isa.dev.machine->rtc_slew && !object_was_given(OBJECT(rtc), "lost_tick_policy"))
        rtc->lost_tick_policy = LOST_SLEW;
    if (rtc->lost_tick_policy == LOST_DISCARD || rtc->lost_tick_policy == LOST_SLEW)
        return true;
    error_set(err, "mc146818rtc: lost_tick_policy '%s' is not supported, discard and slew are",
              lost_tick_names[rtc->lost_tick_policy]);
    return false;
}

/* -rtc base=: the date now, less the clock's whole seconds. */
static int64_t first_offset(const Rtc *rtc)
{
    const Machine *machine = rtc->isa.dev.machine;
    time_t utc = floor_div(domain_now(rtc->isa.dev.domain, CLOCK_HOST), NS_PER_SEC);
    int64_t date = utc + machine->rtc_base_offset_s;
    struct tm local;
    if (machine->rtc_localtime && localtime_r(&utc, &local))
        date += local.tm_gmtoff;
    return date - floor_div(clock_ns(rtc), NS_PER_SEC);
}

static bool rtc_realize(Device *dev, GError **err)
{
    Rtc *rtc = RTC(dev);
    if (!check_policy(rtc, err) || !isa_check_ports(&rtc->isa, rtc->iobase, 2, err))
        return false;
    rtc->clock = dev->machine->rtc_clock;
    rtc->date_offset_s = rtc->untouched_offset_s = first_offset(rtc);
    rtc->cmos[REG_A] = 0x26; /* 32768 Hz oscillator, 1024 Hz ticks */
    rtc->cmos[REG_B] = B_24H;
    rtc->seen_second = floor_div(chain_ns(rtc), NS_PER_SEC);
    rtc->seen_tick = tick_number(chain_ns(rtc), tick_cycles(rtc));
    store_date(rtc);
    device_init_irq_out(dev, NULL, &rtc->irq, 1);
    rtc->timer = timer_new(dev->domain, rtc->clock, rtc_timer, rtc);
    memory_region_init_io(&rtc->io, OBJECT(rtc), dev->domain, &rtc_ops, rtc, "rtc", 2);
    isa_register_ioport(&rtc->isa, &rtc->io, rtc->iobase);
    return true;
}

static void rtc_unrealize(Device *dev)
{
    memory_region_clear(&RTC(dev)->io);
    g_clear_pointer(&RTC(dev)->timer, timer_free);
}

static bool rtc_post_load(void *instance, uint32_t version, GError **err)
{
    RTC(instance)->index &= 0x7f;
    RTC(instance)->weekday_shift %= 7;
    schedule(instance);
    return true;
}

static json_object *rtc_get_date(Object *obj, const Property *prop, GError **err)
{
    static const char *const names[] = { "tm_year", "tm_mon", "tm_mday", "tm_hour", "tm_min", "tm_sec" };
    time_t seconds = date_now(RTC(obj));
    struct tm tm = { 0 };
    gmtime_r(&seconds, &tm);
    const int values[] = { tm.tm_year, tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec };
    json_object *date = json_object_new_object();
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++)
        json_object_object_add(date, names[i], json_object_new_int(values[i]));
    return date;
}

static const Property rtc_props[] = {
    PROP_U16("iobase", Rtc, iobase, 0x70, 0, 0, "first of two ports"),
    PROP_U8("irq", Rtc, isairq, 8, 0, 15, "ISA interrupt that its output is meant for, as firmware tables say"),
    PROP_I32("base_year", Rtc, base_year, 2000, 0, 9999, "year that the year register counts from"),
    PROP_ENUM("lost_tick_policy", Rtc, lost_tick_policy, LOST_DISCARD, lost_tick_names,
              "what becomes of periodic interrupts that the guest had no time for: discard, slew"),
    { .name = "date", .kind = PROP_KIND_CUSTOM, .flags = PROP_READONLY, .type = "struct tm", .get = rtc_get_date,
      .help = "the guest's date" },
    PROP_END
};

static const StateField rtc_state[] = {
    STATE_BYTES_(Rtc, cmos), STATE_U8_(Rtc, index), STATE_I64_(Rtc, phase_ns), STATE_I64_(Rtc, date_offset_s),
    STATE_U8_(Rtc, weekday_shift), STATE_BOOL_(Rtc, time_dirty), STATE_I64_(Rtc, seen_second), STATE_I64_(Rtc, seen_tick),
    STATE_U32_(Rtc, lost_ticks), STATE_I64_(Rtc, slew_at_ns),
    STATE_POST_LOAD(rtc_post_load),
    STATE_END
};

static const IsaClass rtc_class = {
    .name = TYPE_MC146818RTC, .parent = TYPE_ISA_DEVICE, .desc = "MC146818 real-time clock", .size = sizeof(Rtc),
    .props = rtc_props, .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = rtc_realize, .unrealize = rtc_unrealize, .reset = rtc_reset,
    .state = rtc_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(rtc_class)

Device *mc146818rtc_create(Machine *machine, Bus *isa, GError **err)
{
    Device *dev = device_new(machine, TYPE_MC146818RTC, err);
    return dev && device_realize(dev, isa, err) ? dev : NULL;
}
