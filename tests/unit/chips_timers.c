/* The interval timer, port 0x61, the real-time clock and HPET against their data sheets, on a clock moved by hand. */
#include "tests/unit/chips.h"

#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818rtc.h"

static Device *pit, *rtc, *hpet;
#define IRQ0 20
#define IRQ8 21
#define QUIET 22

/* ns of n pulses, rounded up */
static int64_t pulses(int64_t n) { return (n * NS_PER_SEC + I8254_HZ - 1) / I8254_HZ; }

static uint16_t read_count(unsigned counter)
{
    outb(0x43, counter << 6);
    unsigned low = inb(0x40 + counter);
    return low | inb(0x40 + counter) << 8;
}

static uint8_t read_status(unsigned counter)
{
    outb(0x43, 0xe0 | 2u << counter);
    return inb(0x40 + counter);
}

static void program(unsigned counter, unsigned mode, uint16_t count)
{
    outb(0x43, counter << 6 | 0x30 | mode << 1);
    outb(0x40 + counter, count);
    outb(0x40 + counter, count >> 8);
}

static void test_pit_power_on(void)
{
    g_assert_cmpint(now(), ==, 0);
    g_assert_false(line_level[IRQ0]);
    g_assert_cmpint(step_next(), ==, 27462700);
    g_assert_true(line_level[IRQ0]);
    g_assert_cmpint(step_next(), ==, 54925401);
    g_assert_false(line_level[IRQ0]);
}

static void test_pit_rate(void)
{
    program(0, 2, 1193); /* about 1 kHz */
    g_assert_true(line_level[IRQ0]);
    unsigned before = line_rises[IRQ0];
    step(NS_PER_SEC);
    g_assert_cmpint(line_rises[IRQ0] - before, ==, I8254_HZ / 1193);
    uint16_t a = read_count(0);
    step(pulses(10));
    uint16_t b = read_count(0);
    g_assert_cmpint((a - b + 1193) % 1193, >=, 10);
    g_assert_cmpint((a - b + 1193) % 1193, <=, 11);
    /* A new count waits for the end of the period. */
    program(0, 2, 1000);
    step(pulses(100));
    outb(0x40, 0xd0);
    outb(0x40, 0x07); /* 2000 */
    g_assert_cmphex(read_status(0) & 0x40, ==, 0x40);
    step(pulses(899));
    g_assert_cmphex(read_status(0) & 0x40, ==, 0x40);
    step(pulses(2));
    g_assert_cmphex(read_status(0) & 0x40, ==, 0);
    g_assert_cmpint(read_count(0), >, 1990);
}

static void test_pit_square(void)
{
    program(2, 3, 10);
    outb(0x61, 1);
    /* The rising gate loads: 5 pulses high, 5 low; the count goes in twos. */
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    g_assert_cmpint(read_count(2), ==, 10);
    step(pulses(1));
    g_assert_cmpint(read_count(2), ==, 8);
    step(pulses(4));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0);
    step(pulses(5));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    outb(0x61, 0); /* gate low: OUT high, no counting */
    uint16_t count = read_count(2);
    step(pulses(7));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    g_assert_cmpint(read_count(2), ==, count);
}

static void test_pit_one_shot(void)
{
    program(0, 0, 100);
    g_assert_false(line_level[IRQ0]);
    step(pulses(99));
    g_assert_false(line_level[IRQ0]);
    step(pulses(2));
    g_assert_true(line_level[IRQ0]);
    g_assert_cmpint(read_count(0), >, 65000); /* goes on counting */
    outb(0x43, 0x30);
    g_assert_false(line_level[IRQ0]);
    /* Counter 2 in mode 0: the gate holds the count. Firmware measures time like this. */
    outb(0x61, 1);
    program(2, 0, 1000);
    step(pulses(400));
    outb(0x61, 0);
    uint16_t held = read_count(2);
    step(pulses(5000));
    g_assert_cmpint(read_count(2), ==, held);
    g_assert_cmpint(held, >=, 599);
    g_assert_cmpint(held, <=, 600);
    outb(0x61, 1);
    step(pulses(held - 2));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0);
    step(pulses(3));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
}

static void test_pit_triggered(void)
{
    outb(0x61, 0);
    program(2, 1, 50); /* hardware one-shot: nothing until the gate rises */
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    step(pulses(100));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    outb(0x61, 1);
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0);
    step(pulses(30));
    outb(0x61, 0);
    outb(0x61, 1); /* retriggered */
    step(pulses(30));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0);
    step(pulses(21));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
    program(2, 4, 20); /* software strobe: low for one pulse */
    step(pulses(20));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0);
    step(pulses(1));
    g_assert_cmphex(inb(0x61) & 0x20, ==, 0x20);
}

static void test_pit_bytes(void)
{
    outb(0x61, 1);
    outb(0x43, 0xb1 | 4); /* counter 2, mode 2, BCD */
    outb(0x42, 0x00);
    outb(0x42, 0x10); /* 1000 */
    step(pulses(1));
    g_assert_cmphex(read_count(2), ==, 0x0999);
    outb(0x43, 0x94); /* low byte only */
    outb(0x42, 200);
    step(pulses(50));
    outb(0x43, 0x80);
    uint8_t latched = inb(0x42);
    g_assert_cmpint(latched, ==, 150);
    outb(0x43, 0x80);
    step(pulses(10));
    outb(0x43, 0x80); /* a second latch does not replace an unread one */
    g_assert_cmpint(inb(0x42), ==, 150);
    outb(0x43, 0xc8); /* read back: status and count of counter 2; status comes first */
    g_assert_cmphex(inb(0x42) & 0x3f, ==, 0x14);
    g_assert_cmpint(inb(0x42), ==, 140);
    uint8_t toggle = inb(0x61) & 0x10;
    step(15085);
    g_assert_cmphex(inb(0x61) & 0x10, !=, toggle);
}

static void test_pit_quiet(void)
{
    irq_set(device_irq_in(pit, "quiet", 0), true);
    program(0, 2, 100);
    unsigned before = line_rises[IRQ0];
    step(10000000);
    g_assert_cmpint(line_rises[IRQ0], ==, before);
    irq_set(device_irq_in(pit, "quiet", 0), false);
    step(10000000);
    g_assert_cmpint(line_rises[IRQ0], >, before + 100);
    outb(0x43, 0x30);
}

/* ---- real-time clock ---- */

static uint8_t cmos(uint8_t reg) { outb(0x70, reg); return inb(0x71); }
static void set_cmos(uint8_t reg, uint8_t value) { outb(0x70, reg); outb(0x71, value); }

static void set_date(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute, uint8_t second)
{
    uint8_t b = cmos(0xb) & 0x7f;
    set_cmos(0xb, b | 0x80);
    set_cmos(0x32, century); set_cmos(9, year); set_cmos(8, month); set_cmos(7, day);
    set_cmos(4, hour); set_cmos(2, minute); set_cmos(0, second);
    set_cmos(0xb, b);
}

static void check_date(uint8_t century, uint8_t year, uint8_t month, uint8_t day, uint8_t hour, uint8_t minute, uint8_t second)
{
    g_assert_cmphex(cmos(0x32), ==, century);
    g_assert_cmphex(cmos(9), ==, year);
    g_assert_cmphex(cmos(8), ==, month);
    g_assert_cmphex(cmos(7), ==, day);
    g_assert_cmphex(cmos(4), ==, hour);
    g_assert_cmphex(cmos(2), ==, minute);
    g_assert_cmphex(cmos(0), ==, second);
}

static void test_rtc_date(void)
{
    g_assert_cmphex(cmos(0xd), ==, 0x80);
    g_assert_cmphex(cmos(0xb), ==, 0x02);
    g_assert_cmphex(cmos(0x32), ==, 0x20); /* from -rtc base= */
    g_assert_cmphex(cmos(9), ==, 0x24);
    set_date(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58);
    step(2 * NS_PER_SEC);
    check_date(0x20, 0x24, 0x02, 0x29, 0, 0, 0);
    step(86400 * NS_PER_SEC);
    check_date(0x20, 0x24, 0x03, 0x01, 0, 0, 0);
    set_date(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59);
    step(NS_PER_SEC);
    check_date(0x20, 0, 1, 1, 0, 0, 0);
    /* 12-hour, binary */
    set_cmos(0xb, 0x04);
    set_date(20, 30, 6, 15, 0x80 | 12, 30, 0);
    g_assert_cmphex(cmos(4), ==, 0x8c); /* noon */
    step(3600 * NS_PER_SEC);
    g_assert_cmphex(cmos(4), ==, 0x81);
    set_cmos(0xb, 0x06);
    g_assert_cmpint(cmos(4), ==, 13);
    set_cmos(0xb, 0x02);
    g_assert_cmphex(cmos(4), ==, 0x13);
    /* The weekday is a counter of its own. */
    set_cmos(6, 3);
    step(86400 * NS_PER_SEC);
    g_assert_cmpint(cmos(6), ==, 4);
    /* SET freezes. */
    set_cmos(0xb, 0x82);
    uint8_t second = cmos(0);
    step(5 * NS_PER_SEC);
    g_assert_cmphex(cmos(0), ==, second);
    set_cmos(0xb, 0x02);
    step(NS_PER_SEC);
    g_assert_cmphex(cmos(0), !=, second);
}

static void test_rtc_update(void)
{
    /* A divider reset starts the second anew: the first update is half a second after it ends. */
    set_cmos(0xa, 0x76);
    set_cmos(0xa, 0x26);
    uint8_t second = cmos(0);
    step(NS_PER_SEC / 2 - 300000);
    g_assert_cmphex(cmos(0xa) & 0x80, ==, 0);
    step(100000);
    g_assert_cmphex(cmos(0xa) & 0x80, ==, 0x80); /* 200 us to go: UIP */
    g_assert_cmphex(cmos(0), ==, second);
    step(200000);
    g_assert_cmphex(cmos(0xa) & 0x80, ==, 0);
    g_assert_cmphex(cmos(0), !=, second);
    /* Update-ended flag and interrupt. */
    cmos(0xc);
    g_assert_cmphex(cmos(0xc) & 0x10, ==, 0);
    set_cmos(0xb, 0x12);
    step(NS_PER_SEC);
    g_assert_true(line_level[IRQ8]);
    g_assert_cmphex(cmos(0xc) & 0x90, ==, 0x90);
    g_assert_false(line_level[IRQ8]);
    set_cmos(0xb, 0x82); /* SET clears the enable */
    g_assert_cmphex(cmos(0xb) & 0x10, ==, 0);
    set_cmos(0xb, 0x02);
}

static void test_rtc_alarm(void)
{
    set_date(0x20, 0x30, 1, 1, 0x10, 0x20, 0x30);
    set_cmos(5, 0x10); set_cmos(3, 0x21); set_cmos(1, 0x05);
    cmos(0xc);
    set_cmos(0xb, 0x22);
    step(34 * NS_PER_SEC);
    g_assert_false(line_level[IRQ8]);
    step(NS_PER_SEC);
    g_assert_true(line_level[IRQ8]);
    g_assert_cmphex(cmos(0xc) & 0xa0, ==, 0xa0);
    /* Don't care in all three: each second. */
    set_cmos(5, 0xff); set_cmos(3, 0xc0); set_cmos(1, 0xff);
    unsigned before = line_rises[IRQ8];
    for (unsigned i = 0; i < 5; i++) {
        step(NS_PER_SEC);
        cmos(0xc);
    }
    g_assert_cmpint(line_rises[IRQ8] - before, ==, 5);
    /* An alarm that is no time of day never comes, and costs nothing. */
    set_cmos(5, 0x99);
    step(3 * 86400 * NS_PER_SEC);
    cmos(0xc);
    g_assert_cmphex(cmos(0xc) & 0x20, ==, 0);
    set_cmos(0xb, 0x02);
}

static void test_rtc_periodic(void)
{
    static const struct { uint8_t rate; unsigned hz; } rates[] = { { 6, 1024 }, { 1, 256 }, { 2, 128 }, { 3, 8192 }, { 15, 2 } };
    for (unsigned i = 0; i < G_N_ELEMENTS(rates); i++) {
        set_cmos(0xa, 0x20 | rates[i].rate);
        cmos(0xc);
        set_cmos(0xb, 0x42);
        unsigned ticks = 0;
        for (int64_t end = now() + NS_PER_SEC; now() < end;) {
            int64_t next = clocks_next_deadline(machine->clocks);
            step(next < 0 ? end - now() : MIN(next, end) - now());
            ticks += cmos(0xc) >> 6 & 1;
        }
        g_assert_cmpint(ticks, >=, rates[i].hz - 1);
        g_assert_cmpint(ticks, <=, rates[i].hz + 1);
    }
    /* Unread, it interrupts once: no timers run. */
    unsigned before = line_rises[IRQ8];
    step(5 * NS_PER_SEC);
    g_assert_cmpint(line_rises[IRQ8] - before, ==, 1);
    set_cmos(0xb, 0x02);
    cmos(0xc);
    set_cmos(0xa, 0x26);
}

static void test_rtc_nonsense(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned reg = rnd() % 3 ? rnd() & 15 : rnd() & 0xff;
        if (rnd() & 1)
            set_cmos(reg, rnd());
        else
            cmos(reg);
        if (i % 16 == 0)
            step(rnd() % 2000000);
    }
    set_cmos(0xa, 0x26);
    set_cmos(0xb, 0x02);
    set_date(0x20, 0x24, 1, 1, 0, 0, 0);
    check_date(0x20, 0x24, 1, 1, 0, 0, 0);
    reset(rtc);
    g_assert_false(line_level[IRQ8]);
}

/* ---- HPET ---- */

#define TIMER(n) (HPET_BASE + 0x100 + 0x20 * (n))

static void test_hpet(void)
{
    uint64_t caps = mem_read(HPET_BASE, 8);
    g_assert_cmphex(caps, ==, 0x009896808086a201ull); /* 10 ns, Intel, legacy, 3 timers, 64 bits, revision 1 */
    g_assert_cmphex(mem_read(HPET_BASE + 4, 4), ==, 0x00989680);
    mem_write(HPET_BASE + 0xf0, 0x1234, 8);
    step(1000);
    g_assert_cmphex(mem_read(HPET_BASE + 0xf0, 8), ==, 0x1234); /* halted */
    mem_write(HPET_BASE + 0x10, 1, 4);
    step(1000);
    g_assert_cmphex(mem_read(HPET_BASE + 0xf0, 8), ==, 0x1234 + 100);
    mem_write(HPET_BASE + 0xf0, 0, 8); /* not while it runs */
    g_assert_cmphex(mem_read(HPET_BASE + 0xf0, 8), ==, 0x1234 + 100);
    /* One shot on line 2, edge */
    unsigned before = line_rises[2];
    mem_write(TIMER(0), 2 << 9 | 4, 8);
    mem_write(TIMER(0) + 8, 0x1234 + 200, 8);
    step(990);
    g_assert_cmpint(line_rises[2], ==, before);
    step(10);
    g_assert_cmpint(line_rises[2], ==, before + 1);
    step(NS_PER_SEC);
    g_assert_cmpint(line_rises[2], ==, before + 1);
    /* Periodic, as Linux sets it up */
    uint32_t count = mem_read(HPET_BASE + 0xf0, 4);
    mem_write(TIMER(0), 2 << 9 | 4 | 8 | 0x40 | 0x100, 4);
    mem_write(TIMER(0) + 8, count + 10000, 4);
    mem_write(TIMER(0) + 8, 10000, 4);
    before = line_rises[2];
    step(100000 * 100);
    g_assert_cmpint(line_rises[2] - before, ==, 100);
    /* A period that no guest can keep up with does not keep the host busy. */
    mem_write(TIMER(0) + 8, 1, 4);
    before = line_rises[2];
    step(NS_PER_SEC);
    g_assert_cmpint(line_rises[2] - before, <=, 50001);
    g_assert_cmpint(line_rises[2] - before, >=, 49000);
    mem_write(TIMER(0), 0, 4);
    /* Level: up until the status bit is cleared */
    mem_write(TIMER(1), 2 << 9 | 4 | 2, 8);
    mem_write(TIMER(1) + 8, mem_read(HPET_BASE + 0xf0, 8) + 10, 8);
    step(100);
    g_assert_true(line_level[2]);
    g_assert_cmphex(mem_read(HPET_BASE + 0x20, 4), ==, 2);
    mem_write(HPET_BASE + 0x20, 2, 4);
    g_assert_false(line_level[2]);
    mem_write(TIMER(1), 0, 4);
}

static void test_hpet_legacy(void)
{
    Irq *pit_in = device_irq_in(hpet, "legacy", 0);
    irq_set(pit_in, true);
    g_assert_true(line_level[0]);
    mem_write(HPET_BASE + 0x10, 3, 4);
    g_assert_false(line_level[0]); /* the PIT has lost the line */
    g_assert_true(line_level[QUIET]);
    unsigned before = line_rises[0];
    mem_write(TIMER(0), 4, 8);
    mem_write(TIMER(0) + 8, mem_read(HPET_BASE + 0xf0, 8) + 10, 8);
    step(100);
    g_assert_cmpint(line_rises[0], ==, before + 1);
    mem_write(HPET_BASE + 0x10, 0, 4);
    g_assert_true(line_level[0]);
    g_assert_false(line_level[QUIET]);
    irq_set(pit_in, false);
    reset(hpet);
}

static void test_hpet_nonsense(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        unsigned size = rnd() & 1 ? 4 : 8;
        uint64_t addr = HPET_BASE + (rnd() % 0x400 & ~(size - 1));
        uint64_t value = (uint64_t)rnd() << 32 | (uint32_t)rnd();
        if (rnd() % 4 == 0)
            value &= 0xffff;
        if (rnd() & 1)
            mem_write(addr, value, size);
        else
            mem_read(addr, size);
        if (i % 64 == 0)
            step(rnd() % 1000);
    }
    reset(hpet);
    g_assert_cmphex(mem_read(HPET_BASE + 0x10, 8), ==, 0);
}

static void test_pit_nonsense(void)
{
    for (unsigned i = 0; i < 20000; i++) {
        uint16_t port = rnd() % 8 ? 0x40 + (rnd() & 3) : 0x61;
        if (rnd() & 1)
            outb(port, rnd());
        else
            inb(port);
        step(rnd() % 3000);
    }
    program(0, 2, 1000);
    unsigned before = line_rises[IRQ0];
    step(pulses(10000));
    g_assert_cmpint(line_rises[IRQ0] - before, >=, 9);
    outb(0x43, 0x30); /* quiet for the tests that let days pass */
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_test_init(&argc, &argv, NULL);
    chips_start();
    machine->rtc_base_offset_s = 1709164798 - g_get_real_time() / 1000000; /* 2024-02-28 23:59:58 */
    pit = i8254_create(machine, BUS(isa), &err);
    g_assert_no_error(err);
    g_assert_nonnull(pcspk_create(machine, BUS(isa), pit, &err));
    rtc = mc146818rtc_create(machine, BUS(isa), &err);
    g_assert_no_error(err);
    hpet = hpet_create(machine, &err);
    g_assert_no_error(err);
    device_connect_irq(pit, NULL, 0, line(IRQ0));
    device_connect_irq(rtc, NULL, 0, line(IRQ8));
    device_connect_irq(hpet, "legacy-mode", 0, line(QUIET));
    for (unsigned n = 0; n < 16; n++)
        device_connect_irq(hpet, NULL, n, line(n));
    reset(pit);
    reset(rtc);
    reset(hpet);
    g_test_add_func("/pit/power-on", test_pit_power_on);
    g_test_add_func("/rtc/date", test_rtc_date);
    g_test_add_func("/pit/rate", test_pit_rate);
    g_test_add_func("/pit/square", test_pit_square);
    g_test_add_func("/pit/one-shot", test_pit_one_shot);
    g_test_add_func("/pit/triggered", test_pit_triggered);
    g_test_add_func("/pit/bytes", test_pit_bytes);
    g_test_add_func("/pit/quiet", test_pit_quiet);
    g_test_add_func("/rtc/update", test_rtc_update);
    g_test_add_func("/rtc/alarm", test_rtc_alarm);
    g_test_add_func("/rtc/periodic", test_rtc_periodic);
    g_test_add_func("/rtc/nonsense", test_rtc_nonsense);
    g_test_add_func("/hpet/registers", test_hpet);
    g_test_add_func("/hpet/legacy", test_hpet_legacy);
    g_test_add_func("/hpet/nonsense", test_hpet_nonsense);
    g_test_add_func("/pit/nonsense", test_pit_nonsense);
    return g_test_run();
}
