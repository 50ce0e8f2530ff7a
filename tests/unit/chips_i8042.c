/* The keyboard controller with keyboard and mouse, port 0x92, and the input router in front of them. */
#include "tests/unit/chips.h"

#include <string.h>
#include <ui/input.h>

#include "hw/input/i8042.h"
#include "hw/misc/port92.h"

static Device *i8042, *port92;
#define IRQ1 20
#define IRQ12 21
#define A20 22

static uint8_t status(void) { return inb(0x64); }

static void drain(void)
{
    while (status() & 1)
        inb(0x60);
}

/* Bytes that wait, as hex. (owned) aux: all of them must have come from the mouse, or none. */
static char *take(bool aux)
{
    GString *got = g_string_new(NULL);
    while (status() & 1) {
        g_assert_true(!!(status() & 0x20) == aux);
        g_string_append_printf(got, "%02x", inb(0x60));
    }
    return g_string_free(got, FALSE);
}

static void expect(const char *want)
{
    g_autofree char *got = take(false);
    g_assert_cmpstr(got, ==, want);
}

static void expect_aux(const char *want)
{
    g_autofree char *got = take(true);
    g_assert_cmpstr(got, ==, want);
}

static void command(uint8_t value) { outb(0x64, value); }
static void kbd(uint8_t value) { outb(0x60, value); }
static void aux(uint8_t value) { command(0xd4); outb(0x60, value); }
static void mode(uint8_t value) { command(0x60); outb(0x60, value); }
static void key(KeyCode code, bool down) { input_send_key(machine, code, down); }

static void fresh(void)
{
    reset(i8042);
    reset(port92);
    drain();
    mode(0x47); /* interrupts, system flag, translation: as firmware leaves it */
    kbd(0xf4);
    expect("fa");
}

static void test_controller(void)
{
    reset(i8042);
    command(0xaa);
    g_assert_cmphex(status() & 0x05, ==, 0x05);
    expect("55");
    command(0xab);
    expect("00");
    command(0xa9);
    expect("00");
    mode(0x65);
    command(0x20);
    expect("65");
    command(0xa8);
    command(0xae);
    command(0x20);
    expect("45");
    command(0x65);
    outb(0x60, 0x5a);
    command(0x25);
    expect("5a");
    command(0xd2);
    outb(0x60, 0x33);
    expect("33");
    command(0xd3);
    outb(0x60, 0x44);
    expect_aux("44");
    g_assert_cmphex(inb(0x60), ==, 0x44); /* an empty buffer gives the last byte */
    /* A20 */
    g_assert_true(line_level[A20]);
    command(0xd1);
    outb(0x60, 0xdd);
    g_assert_false(line_level[A20]);
    command(0xd0);
    g_assert_cmphex(inb(0x60) & 0x03, ==, 0x01);
    command(0xdf);
    g_assert_true(line_level[A20]);
    outb(0x92, 0x00);
    g_assert_false(line_level[A20]);
    outb(0x92, 0x02);
    g_assert_true(line_level[A20]);
    g_assert_cmphex(inb(0x92), ==, 0x02);
}

static void test_keys(void)
{
    fresh();
    unsigned before = line_rises[IRQ1];
    key(KEY_A, true);
    g_assert_true(line_level[IRQ1]);
    key(KEY_A, true); /* a client's repeat */
    key(KEY_A, false);
    expect("1e9e");
    g_assert_cmpuint(line_rises[IRQ1] - before, ==, 2);
    g_assert_false(line_level[IRQ1]);
    key(KEY_UP, true);
    key(KEY_UP, false);
    expect("e048e0c8");
    key(KEY_PRINT, true);
    key(KEY_PRINT, false);
    expect("e02ae037e0b7e0aa");
    key(KEY_PAUSE, true);
    key(KEY_PAUSE, false);
    expect("e11d45e19dc5");
    key(KEY_CTRL, true);
    key(KEY_PAUSE, true);
    key(KEY_PAUSE, false);
    key(KEY_CTRL, false);
    expect("1de046e0c69d");
    key(KEY_ALT, true);
    key(KEY_SYSRQ, true);
    key(KEY_SYSRQ, false);
    key(KEY_ALT, false);
    expect("3854d4b8");
    mode(0x07); /* untranslated set 2 */
    key(KEY_A, true);
    key(KEY_A, false);
    key(KEY_F7, true);
    key(KEY_F7, false);
    expect("1cf01c83f083");
    kbd(0xf0);
    kbd(3);
    expect("fafa");
    key(KEY_UP, true);
    key(KEY_UP, false);
    expect("63f063");
    kbd(0xf9); /* make only */
    expect("fa");
    key(KEY_UP, true);
    key(KEY_UP, false);
    expect("63");
    kbd(0xf0);
    kbd(0);
    expect("fafa03");
    kbd(0xf0);
    kbd(1);
    expect("fafa");
    key(KEY_UP, true);
    key(KEY_UP, false);
    expect("e048e0c8");
}

/* The translation table and the three columns of the key table agree. */
static void test_translation(void)
{
    fresh();
    for (KeyCode k = 1; k < KEY_COUNT; k++) {
        const KeyInfo *info = key_info(k);
        if (!info->set2 || k == KEY_PRINT || k == KEY_SYSRQ || k == KEY_PAUSE)
            continue;
        mode(0x07);
        key(k, true);
        g_autofree char *raw = take(false);
        key(k, false);
        drain();
        mode(0x47);
        key(k, true);
        g_autofree char *translated = take(false);
        key(k, false);
        drain();
        g_autofree char *set1 = g_strdup_printf(info->set1 >> 8 ? "%04x" : "%02x", info->set1);
        g_autofree char *set2 = g_strdup_printf(info->set2 >> 8 ? "%04x" : "%02x", info->set2);
        g_assert_cmpstr(raw, ==, set2);
        g_assert_cmpstr(translated, ==, set1);
        g_assert_cmpint(key_by_name(info->name), ==, k);
    }
    g_assert_cmpint(key_by_name("no-such-key"), ==, KEY_COUNT);
    g_assert_cmpint(key_by_number(0x1e), ==, KEY_A);
    g_assert_cmpint(key_by_number(0xc8), ==, KEY_UP);
    g_assert_cmpint(key_by_number(0x1000), ==, KEY_UNMAPPED);
}

static void leds_changed(void *opaque, unsigned leds) { *(unsigned *)opaque = leds; }

static void test_keyboard_commands(void)
{
    fresh();
    mode(0x07);
    kbd(0xee);
    expect("ee");
    kbd(0xf2);
    expect("faab83");
    kbd(0xff);
    expect("faaa");
    kbd(0xfe);
    expect("aa");
    kbd(0x12);
    expect("fe");
    unsigned leds = 0;
    input_watch_leds(machine, leds_changed, &leds);
    kbd(0xed);
    kbd(0x06);
    expect("fafa");
    g_assert_cmpuint(leds, ==, 6);
    kbd(0xed);
    kbd(0xf4); /* a command in place of the argument */
    expect("fa"); /* it emptied the queue, then acknowledged */
    g_assert_cmpuint(leds, ==, 6);
    input_unwatch_leds(machine, leds_changed, &leds);
    kbd(0xf5); /* off */
    expect("fa");
    key(KEY_A, true);
    key(KEY_A, false);
    expect("");
    kbd(0xf4);
    expect("fa");
    /* Interface off: bytes wait in the keyboard */
    command(0xad);
    key(KEY_B, true);
    g_assert_cmphex(status() & 1, ==, 0);
    command(0xae);
    expect("32");
    key(KEY_B, false);
    expect("f032");
    /* Overflow drops whole keys */
    for (unsigned i = 0; i < 40; i++)
        key(KEY_UP, i % 2 == 0);
    g_autofree char *got = take(false);
    g_assert_cmpuint(strlen(got) / 2, <=, 16);
    g_assert_cmpuint(strlen(got) / 2, >=, 14);
    /* The controller's answer goes first, the key is not lost */
    key(KEY_C, true);
    command(0x20);
    expect("0721");
    key(KEY_C, false);
    drain();
}

static void test_typematic(void)
{
    fresh();
    kbd(0xf3);
    kbd(0x00); /* 250 ms, 30 a second */
    expect("fafa");
    key(KEY_Z, true);
    expect("2c");
    step(249000000);
    expect("");
    step(2000000);
    expect("2c");
    step(33400000);
    expect("2c");
    key(KEY_Z, false);
    expect("ac");
    step(NS_PER_SEC);
    expect("");
}

static void test_mouse(void)
{
    fresh();
    aux(0xf2);
    expect_aux("fa00");
    aux(0xf4);
    expect_aux("fa");
    unsigned before = line_rises[IRQ12];
    input_send_rel(machine, AXIS_X, 5);
    input_send_rel(machine, AXIS_Y, 3); /* down */
    input_send_button(machine, BUTTON_LEFT, true);
    input_sync(machine);
    expect_aux("2905fd");
    g_assert_cmpuint(line_rises[IRQ12] - before, ==, 3);
    input_send_button(machine, BUTTON_LEFT, false);
    input_sync(machine);
    expect_aux("080000");
    /* More than a packet holds comes in several */
    input_send_rel(machine, AXIS_X, -300);
    input_sync(machine);
    expect_aux("188100188100" "18d200");
    aux(0xe9);
    expect_aux("fa200264");
    static const uint8_t wheel[] = { 200, 100, 80 }, five[] = { 200, 200, 80 };
    for (unsigned i = 0; i < 3; i++) {
        aux(0xf3);
        aux(wheel[i]);
    }
    drain();
    aux(0xf2);
    expect_aux("fa03");
    input_send_button(machine, BUTTON_WHEEL_UP, true);
    input_send_button(machine, BUTTON_WHEEL_UP, false);
    input_sync(machine);
    expect_aux("080000ff");
    for (unsigned i = 0; i < 3; i++) {
        aux(0xf3);
        aux(five[i]);
    }
    drain();
    aux(0xf2);
    expect_aux("fa04");
    input_send_button(machine, BUTTON_SIDE, true);
    input_sync(machine);
    expect_aux("08000010");
    input_send_button(machine, BUTTON_SIDE, false);
    input_sync(machine);
    drain();
    aux(0xf0); /* remote: only when asked */
    expect_aux("fa");
    input_send_rel(machine, AXIS_X, 1);
    input_sync(machine);
    expect_aux("");
    aux(0xeb);
    expect_aux("fa08010000");
    aux(0xee);
    expect_aux("fa");
    aux(0x55); /* wrap: echo */
    expect_aux("55");
    aux(0xec);
    expect_aux("fa");
    aux(0xff);
    expect_aux("faaa00");
    aux(0xe8);
    aux(9);
    expect_aux("fe");
}

static void test_typing(void)
{
    fresh();
    KeyCode keys[] = { KEY_CTRL, KEY_ALT, KEY_DELETE };
    input_type_keys(machine, keys, 3, 100);
    expect("1d38e053");
    step(99000000);
    expect("");
    step(2000000);
    expect("e0d3b89d");
}

static void test_nonsense(void)
{
    fresh();
    for (unsigned i = 0; i < 50000; i++) {
        switch (rnd() % 6) {
        case 0: outb(0x64, (rnd() & 1) ? 0xd4 : (rnd() % 0xf0)); break;
        case 1: outb(0x60, rnd()); break;
        case 2: inb(0x60 + (rnd() & 4)); break;
        case 3: key(rnd() % KEY_COUNT, rnd() & 1); break;
        case 4:
            input_send_rel(machine, rnd() & 1, (int32_t)rnd());
            input_send_button(machine, rnd() % BUTTON_COUNT, rnd() & 1);
            input_sync(machine);
            break;
        case 5: step(rnd() % 50000000); break;
        }
    }
    for (KeyCode k = 0; k < KEY_COUNT; k++)
        key(k, false);
    test_controller();
    test_keys();
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_test_init(&argc, &argv, NULL);
    chips_start();
    i8042 = i8042_create(machine, BUS(isa), &err);
    g_assert_no_error(err);
    port92 = port92_create(machine, BUS(isa), &err);
    g_assert_no_error(err);
    Irq *a20 = line(A20);
    device_connect_irq(i8042, NULL, 0, line(IRQ1));
    device_connect_irq(i8042, NULL, 1, line(IRQ12));
    device_connect_irq(i8042, "a20", 0, a20);
    device_connect_irq(port92, "a20", 0, a20);
    g_test_add_func("/i8042/controller", test_controller);
    g_test_add_func("/i8042/keys", test_keys);
    g_test_add_func("/i8042/translation", test_translation);
    g_test_add_func("/i8042/keyboard-commands", test_keyboard_commands);
    g_test_add_func("/i8042/typematic", test_typematic);
    g_test_add_func("/i8042/mouse", test_mouse);
    g_test_add_func("/i8042/typing", test_typing);
    g_test_add_func("/i8042/nonsense", test_nonsense);
    return g_test_run();
}
