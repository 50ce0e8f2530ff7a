/* The 16550A, debugcon, and the exit port, on a character device that can be made to take nothing. */
#include "tests/unit/chips.h"

#include <json-c/json.h>
#include <string.h>

#include "hw/char/isa-serial.h"

/* A back end whose other end is this test. */
typedef struct TestChr {
    Chardev chr;
    GString *out;
    size_t room;      /* bytes it will take now */
    bool reading, wants_writable;
    unsigned breaks;
} TestChr;

static bool test_open(Chardev *chr, GError **err)
{
    ((TestChr *)chr)->out = g_string_new(NULL);
    ((TestChr *)chr)->room = SIZE_MAX;
    chardev_set_connected(chr, true);
    return true;
}
static void test_close(Chardev *chr) { g_string_free(((TestChr *)chr)->out, TRUE); }
static size_t test_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    TestChr *t = (TestChr *)chr;
    size_t n = MIN(len, t->room);
    g_string_append_len(t->out, (const char *)buf, n);
    t->room -= t->room == SIZE_MAX ? 0 : n;
    return n;
}
static void test_set_reading(Chardev *chr, bool on) { ((TestChr *)chr)->reading = on; }
static void test_want_writable(Chardev *chr) { ((TestChr *)chr)->wants_writable = true; }
static void test_send_break(Chardev *chr) { ((TestChr *)chr)->breaks++; }
static const CharClass test_class = {
    .name = "chardev-test", .parent = TYPE_CHARDEV, .size = sizeof(TestChr), .backend_name = "test",
    .open = test_open, .close = test_close, .write = test_write, .set_reading = test_set_reading,
    .want_writable = test_want_writable, .send_break = test_send_break,
};
REGISTER_OBJECT(test_class)

static TestChr *chr_new(const char *id)
{
    g_autoptr(GError) err = NULL;
    json_object *options = json_object_new_object();
    json_object_object_add(options, "id", json_object_new_string(id));
    json_object_object_add(options, "backend", json_object_new_string("test"));
    Chardev *chr = chardev_add(machine->domain, options, &err);
    g_assert_no_error(err);
    json_object_put(options);
    return (TestChr *)chr;
}

#define COM1 0x3f8
#define IRQ 4
static TestChr *com;
static Device *uart;

/* What the other end sends, as far as the chip takes it. */
static size_t send(const char *text, size_t len)
{
    size_t n = MIN(len, chardev_room(&com->chr));
    if (n)
        chardev_input(&com->chr, (const uint8_t *)text, n);
    return n;
}

static uint8_t iir(void) { return inb(COM1 + 2); }
static uint8_t lsr(void) { return inb(COM1 + 5); }

static void fresh(void)
{
    com->room = SIZE_MAX;
    reset(uart);
    g_string_truncate(com->out, 0);
    outb(COM1 + 3, 0x80);
    outb(COM1, 1); /* 115200 */
    outb(COM1 + 1, 0);
    outb(COM1 + 3, 0x03);
    outb(COM1 + 4, 0x0b);
}

static void test_registers(void)
{
    fresh();
    g_assert_cmphex(lsr(), ==, 0x60);
    g_assert_cmphex(iir(), ==, 0x01);
    g_assert_cmphex(inb(COM1 + 6) & 0xf0, ==, 0xb0);
    outb(COM1 + 7, 0xa5);
    g_assert_cmphex(inb(COM1 + 7), ==, 0xa5);
    outb(COM1 + 3, 0x83);
    outb(COM1, 0x34);
    outb(COM1 + 1, 0x12);
    g_assert_cmphex(inb(COM1), ==, 0x34);
    g_assert_cmphex(inb(COM1 + 1), ==, 0x12);
    outb(COM1 + 3, 0x03);
    outb(COM1 + 1, 0xff);
    g_assert_cmphex(inb(COM1 + 1), ==, 0x0f);
    outb(COM1 + 4, 0xff);
    g_assert_cmphex(inb(COM1 + 4), ==, 0x1f);
    outb(COM1 + 2, 0x01);
    g_assert_cmphex(iir() & 0xc0, ==, 0xc0); /* FIFOs on: a 16550A */
    outb(COM1 + 2, 0x00);
    g_assert_cmphex(iir() & 0xc0, ==, 0);
}

static void test_transmit(void)
{
    fresh();
    outb(COM1, 'a');
    g_assert_cmpstr(com->out->str, ==, "a");
    g_assert_cmphex(lsr(), ==, 0x60);
    /* "Empty" interrupts once, when enabled and after each character; reading IIR takes it back. */
    outb(COM1 + 1, 0x02);
    g_assert_true(line_level[IRQ]);
    g_assert_cmphex(iir(), ==, 0x02);
    g_assert_false(line_level[IRQ]);
    g_assert_cmphex(iir(), ==, 0x01);
    outb(COM1, 'b');
    g_assert_true(line_level[IRQ]);
    g_assert_cmphex(iir(), ==, 0x02);
    /* A back end without room: LSR tells, nothing is lost or repeated. */
    outb(COM1 + 2, 0x01);
    com->room = 3;
    for (unsigned i = 0; i < 10; i++)
        outb(COM1, '0' + i);
    g_assert_cmpstr(com->out->str, ==, "ab012");
    g_assert_cmphex(lsr(), ==, 0x00);
    g_assert_true(com->wants_writable);
    iir();
    g_assert_false(line_level[IRQ]);
    com->room = SIZE_MAX;
    chardev_writable(&com->chr);
    g_assert_cmpstr(com->out->str, ==, "ab0123456789");
    g_assert_cmphex(lsr(), ==, 0x60);
    g_assert_true(line_level[IRQ]);
    /* OUT2 connects the line. */
    outb(COM1 + 4, 0x03);
    g_assert_false(line_level[IRQ]);
    outb(COM1 + 4, 0x0b);
    g_assert_true(line_level[IRQ]);
    /* Clearing the sender's FIFO drops what waits. */
    com->room = 0;
    outb(COM1, 'x');
    g_assert_cmphex(lsr() & 0x60, ==, 0);
    outb(COM1 + 2, 0x05);
    g_assert_cmphex(lsr() & 0x60, ==, 0x60);
    com->room = SIZE_MAX;
    chardev_writable(&com->chr);
    g_assert_cmpstr(com->out->str, ==, "ab0123456789");
}

static void test_receive(void)
{
    fresh();
    g_assert_cmpuint(send("xyz", 3), ==, 1); /* no FIFO: one */
    g_assert_cmphex(lsr(), ==, 0x61);
    g_assert_cmphex(inb(COM1), ==, 'x');
    g_assert_cmphex(lsr(), ==, 0x60);
    outb(COM1 + 2, 0x81); /* trigger at 8 */
    outb(COM1 + 1, 0x01);
    g_assert_cmpuint(send("0123456789abcdefXYZ", 19), ==, 16);
    g_assert_true(line_level[IRQ]);
    g_assert_cmphex(iir(), ==, 0xc4);
    for (unsigned i = 0; i < 9; i++)
        g_assert_cmphex(inb(COM1), ==, "0123456789abcdef"[i]);
    g_assert_false(line_level[IRQ]); /* 7 left, below the trigger */
    /* Four character times (347 us) without traffic: time-out */
    step(346000);
    g_assert_false(line_level[IRQ]);
    step(2000);
    g_assert_true(line_level[IRQ]);
    g_assert_cmphex(iir(), ==, 0xcc);
    g_assert_cmphex(inb(COM1), ==, '9');
    g_assert_false(line_level[IRQ]);
    outb(COM1 + 2, 0x83); /* clear */
    g_assert_cmphex(lsr(), ==, 0x60);
    /* The mute back end is let go on when the FIFO has run empty. */
    g_assert_cmpuint(send("0123456789abcdef", 16), ==, 16);
    g_assert_cmpuint(chardev_room(&com->chr), ==, 0);
    for (unsigned i = 0; i < 16; i++)
        inb(COM1);
    g_assert_true(com->reading);
    g_assert_cmpuint(chardev_room(&com->chr), ==, 16);
}

static void test_errors_and_modem(void)
{
    fresh();
    outb(COM1 + 2, 0x01);
    outb(COM1 + 1, 0x0d);
    send("a", 1);
    chardev_break(&com->chr);
    g_assert_cmphex(lsr(), ==, 0xe1); /* an error somewhere in the FIFO, not of the first character */
    g_assert_cmphex(inb(COM1), ==, 'a');
    g_assert_cmphex(iir(), ==, 0xc6); /* line status is first */
    g_assert_cmphex(lsr() & 0x91, ==, 0x91);
    g_assert_cmphex(lsr() & 0x90, ==, 0);
    g_assert_cmphex(inb(COM1), ==, 0);
    /* Break out */
    outb(COM1 + 3, 0x43);
    outb(COM1 + 3, 0x03);
    g_assert_cmpuint(com->breaks, ==, 1);
    /* Loopback: what is sent comes back, outputs drive inputs */
    outb(COM1 + 1, 0x08);
    outb(COM1 + 4, 0x18);
    inb(COM1 + 6);
    outb(COM1 + 4, 0x1a); /* RTS: CTS */
    g_assert_cmphex(inb(COM1 + 6), ==, 0x91);
    outb(COM1 + 4, 0x1e); /* RI goes up: no delta */
    g_assert_cmphex(inb(COM1 + 6), ==, 0xd0);
    g_assert_cmphex(iir() & 0x0f, ==, 0x01);
    outb(COM1 + 4, 0x1a); /* and down: TERI */
    g_assert_true(line_level[IRQ]);
    g_assert_cmphex(iir() & 0x0f, ==, 0x00);
    g_assert_cmphex(inb(COM1 + 6), ==, 0x94);
    g_assert_false(line_level[IRQ]);
    g_string_truncate(com->out, 0);
    for (unsigned i = 0; i < 17; i++)
        outb(COM1, i);
    g_assert_cmpstr(com->out->str, ==, "");
    g_assert_cmphex(lsr() & 0x03, ==, 0x03); /* 17 into 16: overrun */
    for (unsigned i = 0; i < 16; i++)
        g_assert_cmphex(inb(COM1), ==, i);
    g_assert_cmpuint(chardev_room(&com->chr), ==, 0); /* the wire is cut */
    outb(COM1 + 4, 0x0b);
    g_assert_cmpuint(chardev_room(&com->chr), ==, 16);
}

static void test_nonsense(void)
{
    fresh();
    for (unsigned i = 0; i < 50000; i++) {
        switch (rnd() % 5) {
        case 0: case 1: outb(COM1 + rnd() % 8, rnd()); break;
        case 2: inb(COM1 + rnd() % 8); break;
        case 3: send("some text that comes in", rnd() % 20); break;
        case 4:
            com->room = rnd() % 3 ? rnd() % 20 : SIZE_MAX;
            if (com->wants_writable && com->room) {
                com->wants_writable = false;
                chardev_writable(&com->chr);
            }
            if (rnd() % 8 == 0)
                chardev_break(&com->chr);
            step(rnd() % 100000);
        }
    }
    fresh();
    outb(COM1, 'k');
    g_assert_cmpstr(com->out->str, ==, "k");
}

static void test_choice(void)
{
    g_autoptr(GError) err = NULL;
    /* The next free port */
    Device *dev = device_new(machine, TYPE_ISA_SERIAL, &err);
    g_assert_true(device_realize(dev, BUS(isa), &err));
    g_assert_cmphex(inb(0x2f8 + 5), ==, 0x60);
    dev = device_new(machine, TYPE_ISA_SERIAL, &err);
    g_assert_true(object_set_uint(OBJECT(dev), "irq", 77, &err));
    g_assert_false(device_realize(dev, BUS(isa), &err));
    g_assert_nonnull(err);
    g_clear_error(&err);
    dev = device_new(machine, TYPE_ISA_SERIAL, &err);
    g_assert_true(object_set_uint(OBJECT(dev), "index", 4, &err));
    g_assert_false(device_realize(dev, BUS(isa), &err));
    g_assert_nonnull(strstr(err->message, "4"));
    g_clear_error(&err);
    /* One chardev, one front end */
    g_assert_null(isa_serial_create(machine, BUS(isa), 2, &com->chr, &err));
    g_assert_nonnull(err);
}

static void test_debugcon(void)
{
    g_autoptr(GError) err = NULL;
    TestChr *out = chr_new("dbg");
    Device *dev = device_new(machine, "isa-debugcon", &err);
    g_assert_true(object_set_text(OBJECT(dev), "chardev", "dbg", &err));
    g_assert_true(device_realize(dev, BUS(isa), &err));
    g_assert_cmphex(inb(0xe9), ==, 0xe9);
    out->room = 2;
    for (const char *p = "hello"; *p; p++)
        outb(0xe9, *p);
    out->room = SIZE_MAX;
    chardev_writable(&out->chr);
    g_assert_cmpstr(out->out->str, ==, "hello");
    dev = device_new(machine, "isa-debugcon", &err);
    g_assert_false(device_realize(dev, BUS(isa), &err));
    g_assert_nonnull(strstr(err->message, "chardev"));
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_test_init(&argc, &argv, NULL);
    chips_start();
    com = chr_new("com");
    uart = isa_serial_create(machine, BUS(isa), 0, &com->chr, &err);
    g_assert_no_error(err);
    g_test_add_func("/uart/registers", test_registers);
    g_test_add_func("/uart/transmit", test_transmit);
    g_test_add_func("/uart/receive", test_receive);
    g_test_add_func("/uart/errors-and-modem", test_errors_and_modem);
    g_test_add_func("/uart/nonsense", test_nonsense);
    g_test_add_func("/uart/choice", test_choice);
    g_test_add_func("/debugcon", test_debugcon);
    return g_test_run();
}
