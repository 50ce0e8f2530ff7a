/* The 8259 pair: priorities, modes, EOI forms, cascade, spurious interrupts, edge/level control. */
#include "tests/unit/chips.h"

#include "hw/intc/i8259.h"

static Device *pic;
#define INTR 20

static void in(unsigned n, bool level) { irq_set(device_irq_in(pic, NULL, n), level); }

/* ICW1..4 of both with vector bases 0x20 and 0x28; nothing masked. */
static void program(uint8_t icw4)
{
    for (unsigned n = 0; n < 16; n++)
        in(n, false);
    for (unsigned base = 0x20; base <= 0xa0; base += 0x80) {
        outb(base, 0x11);
        outb(base + 1, base == 0x20 ? 0x20 : 0x28);
        outb(base + 1, base == 0x20 ? 4 : 2);
        outb(base + 1, icw4);
        outb(base + 1, 0);
        outb(base, 0x0a);
    }
    outb(0x4d0, 0);
    outb(0x4d1, 0);
}

static uint8_t isr(uint16_t base) { outb(base, 0x0b); return inb(base); }
static uint8_t irr(uint16_t base) { outb(base, 0x0a); return inb(base); }

static void test_power_on(void)
{
    reset(pic);
    in(0, true);
    g_assert_false(line_level[INTR]); /* all masked */
    g_assert_cmphex(inb(0x21), ==, 0xff);
    in(0, false);
}

static void test_priority(void)
{
    program(1);
    in(3, true);
    g_assert_true(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x23);
    g_assert_false(line_level[INTR]);
    in(5, true); /* lower: waits */
    g_assert_false(line_level[INTR]);
    in(1, true); /* higher: nests */
    g_assert_true(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x21);
    g_assert_cmphex(isr(0x20), ==, 0x0a);
    g_assert_cmphex(irr(0x20), ==, 0x20);
    outb(0x20, 0x20);
    g_assert_cmphex(isr(0x20), ==, 0x08);
    outb(0x20, 0x63); /* specific */
    g_assert_cmphex(isr(0x20), ==, 0);
    g_assert_cmphex(i8259_ack(pic), ==, 0x25);
    outb(0x20, 0x20);
    in(3, true); /* was never low: no edge */
    g_assert_false(line_level[INTR]);
}

static void test_cascade(void)
{
    program(1);
    in(12, true);
    g_assert_cmphex(i8259_ack(pic), ==, 0x2c);
    g_assert_cmphex(isr(0x20), ==, 0x04);
    g_assert_cmphex(isr(0xa0), ==, 0x10);
    in(9, true); /* higher on the slave, but the master is busy with the cascade */
    g_assert_false(line_level[INTR]);
    outb(0x20, 0x20);
    g_assert_true(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x29);
    outb(0xa0, 0x20);
    g_assert_cmphex(isr(0xa0), ==, 0x10);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    program(0x11); /* special fully nested: the slave may interrupt itself */
    in(12, true);
    i8259_ack(pic);
    in(9, true);
    g_assert_true(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x29);
}

static void test_spurious(void)
{
    program(1);
    outb(0x4d1, 0x02);
    in(9, true);
    g_assert_true(line_level[INTR]);
    in(9, false); /* a level that went away */
    g_assert_false(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x27);
    g_assert_cmphex(isr(0x20), ==, 0);
    /* The slave's: its request goes between the two acknowledges of master and slave. */
    in(9, true);
    outb(0xa1, 0xff);
    g_assert_false(line_level[INTR]);
}

static void test_level(void)
{
    program(1);
    outb(0x4d0, 0xff);
    g_assert_cmphex(inb(0x4d0), ==, 0xf8); /* 0, 1, 2 are edges always */
    outb(0x4d1, 0xff);
    g_assert_cmphex(inb(0x4d1), ==, 0xde);
    in(10, true);
    g_assert_cmphex(i8259_ack(pic), ==, 0x2a);
    outb(0xa0, 0x20);
    outb(0x20, 0x20);
    g_assert_true(line_level[INTR]); /* still asserted */
    in(10, false);
    g_assert_false(line_level[INTR]);
}

static void test_rotation(void)
{
    program(1);
    in(3, true);
    i8259_ack(pic);
    outb(0x20, 0xa0); /* rotate on non-specific EOI: 3 is lowest now */
    in(3, false);
    in(3, true);
    in(4, true);
    g_assert_cmphex(i8259_ack(pic), ==, 0x24);
    outb(0x20, 0x20);
    outb(0x20, 0xc6); /* set priority: 7 is highest */
    in(7, true);
    g_assert_cmphex(i8259_ack(pic), ==, 0x27);
    outb(0x20, 0xe7); /* rotate on specific */
    g_assert_cmphex(i8259_ack(pic), ==, 0x23);
}

static void test_masks(void)
{
    program(1);
    in(1, true);
    i8259_ack(pic);
    in(4, true);
    g_assert_false(line_level[INTR]);
    outb(0x20, 0x68); /* special mask mode */
    outb(0x21, 0x02); /* the one in service is masked: others may come */
    g_assert_true(line_level[INTR]);
    g_assert_cmphex(i8259_ack(pic), ==, 0x24);
    outb(0x20, 0x20); /* leaves the masked one alone */
    g_assert_cmphex(isr(0x20), ==, 0x02);
    outb(0x20, 0x48);
    outb(0x20, 0x20);
    g_assert_cmphex(isr(0x20), ==, 0);
}

static void test_auto_eoi_and_poll(void)
{
    program(3);
    in(6, true);
    g_assert_cmphex(i8259_ack(pic), ==, 0x26);
    g_assert_cmphex(isr(0x20), ==, 0);
    program(1);
    outb(0x20, 0x0c);
    g_assert_cmphex(inb(0x20), ==, 0);
    in(5, true);
    outb(0x20, 0x0c);
    g_assert_cmphex(inb(0x20), ==, 0x85);
    g_assert_false(line_level[INTR]);
    g_assert_cmphex(isr(0x20), ==, 0x20);
}

/* Any order of any writes: state stays within the chip, acknowledges give vectors of its two bases. */
static void test_nonsense(void)
{
    static const uint16_t ports[] = { 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 };
    for (unsigned i = 0; i < 20000; i++) {
        outb(ports[rnd() % G_N_ELEMENTS(ports)], rnd());
        in(rnd() & 15, rnd() & 1);
        inb(ports[rnd() % G_N_ELEMENTS(ports)]);
        if (line_level[INTR]) {
            int vector = i8259_ack(pic);
            g_assert_cmpint(vector, >=, 0);
            g_assert_cmpint(vector, <, 256);
        }
    }
    g_assert_cmphex(inb(0x4d0) & 7, ==, 0);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_test_init(&argc, &argv, NULL);
    chips_start();
    pic = i8259_create(machine, BUS(isa), &err);
    g_assert_no_error(err);
    device_connect_irq(pic, NULL, 0, line(INTR));
    g_test_add_func("/i8259/power-on", test_power_on);
    g_test_add_func("/i8259/priority", test_priority);
    g_test_add_func("/i8259/cascade", test_cascade);
    g_test_add_func("/i8259/spurious", test_spurious);
    g_test_add_func("/i8259/level", test_level);
    g_test_add_func("/i8259/rotation", test_rotation);
    g_test_add_func("/i8259/masks", test_masks);
    g_test_add_func("/i8259/auto-eoi-and-poll", test_auto_eoi_and_poll);
    g_test_add_func("/i8259/nonsense", test_nonsense);
    return g_test_run();
}
