/* The test channel's commands, over a socket pair, on a machine with a little of everything. */
#include <chardev/chardev.h>
#include <hw/device.h>
#include <json-c/json.h>

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "accel/accel.h"
#include "accel/qtest/qtest.h"

/* A device with a register window, a timer, and lines. */
typedef struct Dev {
    Device dev;
    MemoryRegion mmio, port;
    Timer *timer;
    Irq *out[2];
    uint32_t reg;
    bool in_level[4];
} Dev;

static uint64_t dev_read(void *opaque, uint64_t offset, unsigned size)
{
    Dev *d = opaque;
    return d->reg >> (offset * 8);
}

static void dev_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Dev *d = opaque;
    d->reg = value;
    irq_set(d->out[0], value & 1);
}
static const MemoryRegionOps dev_ops = { dev_read, dev_write };

static void dev_tick(void *opaque)
{
    Dev *d = opaque;
    d->reg++;
    irq_set(d->out[1], d->reg & 1);
    timer_mod(d->timer, domain_now(d->dev.domain, CLOCK_GUEST) + 1000);
}

static void dev_in(void *opaque, unsigned n, bool level) { ((Dev *)opaque)->in_level[n] = level; }

static bool dev_realize(Device *dev, GError **err)
{
    Dev *d = (Dev *)dev;
    memory_region_init_io(&d->mmio, OBJECT(dev), dev->domain, &dev_ops, d, "mmio", 4);
    memory_region_init_io(&d->port, OBJECT(dev), dev->domain, &dev_ops, d, "port", 4);
    memory_region_add(&dev->machine->mem_root, 0x10000, &d->mmio, 0);
    memory_region_add(&dev->machine->io_root, 0x80, &d->port, 0);
    d->timer = timer_new(dev->domain, CLOCK_GUEST, dev_tick, d);
    device_init_irq_out(dev, NULL, d->out, 2);
    device_init_irq_in(dev, NULL, dev_in, 4);
    device_init_irq_in(dev, "named", dev_in, 1);
    return true;
}
static const DeviceClass dev_class = { .name = "lines", .parent = TYPE_DEVICE, .size = sizeof(Dev), .realize = dev_realize };
REGISTER_DEVICE(dev_class)

static Machine *machine;
static Dev *dev;
static int client;

/* (borrowed until the next call) */
static json_object *options(const char *fmt, ...)
{
    static json_object *o;
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_object_put(o);
    o = json_tokener_parse(text);
    g_assert_nonnull(o);
    return o;
}

static void setup(void)
{
    g_autoptr(GError) err = NULL;
    int pair[2];
    machine = (Machine *)object_new("none-machine", &err);
    object_add_child(object_get_root(), "machine", OBJECT(machine));
    domain_lock(machine->domain);
    g_assert_true(accel_select(machine, (const char *[]){ "qtest", NULL }, &err));
    g_assert_true(memory_region_init_ram(&machine->ram, NULL, "ram", 0x4000, &err));
    memory_region_add(&machine->mem_root, 0, &machine->ram, 0);
    dev = (Dev *)device_new(machine, "lines", &err);
    g_assert_no_error(err);
    object_add_child(OBJECT(machine), "chip", OBJECT(dev));
    g_assert_true(device_realize(DEVICE(dev), NULL, &err));
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
    client = pair[0];
    Chardev *chr = chardev_add(machine->domain, options("{'id': 'q', 'backend': 'socket', 'fd': '%d'}", pair[1]), &err);
    g_assert_no_error(err);
    /* the -object form */
    g_assert_true(user_object_add(options("{'qom-type': 'qtest', 'id': 'q0', 'chardev': 'q'}"), &err));
    g_assert_no_error(err);
    g_assert_false(qtest_start(machine, chr, NULL, &err)); /* in use */
    g_clear_error(&err);
    g_assert_true(machine_cont(machine, &err));
    domain_unlock(machine->domain);
}

/* Everything up to and including the answer, joined by '|'. (owned) */
static char *ask(const char *line)
{
    g_autoptr(GString) got = g_string_new(NULL);
    g_autofree char *out = g_strconcat(line, "\n", NULL);
    for (size_t sent = 0; sent < strlen(out);) {
        ssize_t n = send(client, out + sent, strlen(out) - sent, MSG_DONTWAIT);
        if (n > 0)
            sent += n;
        domain_iterate(machine->domain, false);
    }
    for (;;) {
        char buf[4096];
        ssize_t n = recv(client, buf, sizeof(buf), MSG_DONTWAIT);
        if (n > 0)
            g_string_append_len(got, buf, n);
        if (got->len && got->str[got->len - 1] == '\n') {
            g_auto(GStrv) lines = g_strsplit(got->str, "\n", -1);
            char *last = lines[g_strv_length(lines) - 2];
            if (!g_str_has_prefix(last, "IRQ")) {
                g_string_truncate(got, got->len - 1);
                return g_strdelimit(g_string_free(g_steal_pointer(&got), FALSE), "\n", '|');
            }
        }
        domain_iterate(machine->domain, false);
    }
}

static void expect(const char *line, const char *want)
{
    g_autofree char *got = ask(line);
    g_assert_cmpstr(got, ==, want);
}

static void fails(const char *line)
{
    g_autofree char *got = ask(line);
    g_test_message("%s: %s", line, got);
    g_assert_true(g_str_has_prefix(got, "FAIL"));
}

static void test_basic(void)
{
    expect("endianness", "OK little");
    fails("bogus 1 2");
    fails("readx 0");
    fails("inq 0x80");
    fails("read");
    fails("read 0");
    fails("read 0 0");
    fails("read 0 0xffffffffffffffff");
    fails("read zero 4");
    fails("outb 0x10000 1");
    fails("writeb 0x");
    fails("memset 0 1");
    fails("module_load block- no-such-thing");
    expect("  endianness  ", "OK little");
}

static void test_memory(void)
{
    expect("writel 0x100 0x12345678", "OK");
    expect("readl 256", "OK 0x0000000012345678");
    expect("readw 0400", "OK 0x0000000000005678");
    expect("readq 0x100", "OK 0x0000000012345678");
    expect("writeq 0x108 0xffeeddccbbaa9988", "OK");
    expect("readb 0x10f", "OK 0x00000000000000ff");
    expect("read 0x100 4", "OK 0x78563412");
    expect("write 0x200 4 0xaabbcc", "OK");
    expect("read 0x200 4", "OK 0xaabbcc00");
    expect("write 0x200 4 0x", "ERR invalid argument size");
    expect("write 0x200 2 0xDEADbeef", "OK");
    expect("read 0x200 3", "OK 0xdeadcc");
    expect("b64write 0x300 5 aGVsbG8=", "OK");
    expect("b64read 0x300 5", "OK aGVsbG8=");
    expect("b64write 0x300 2 eHl6", "OK");
    expect("b64read 0x300 5", "OK eHlsbG8=");
    expect("b64write 0x300 2 !", "ERR invalid base64 data");
    expect("memset 0x400 3 0x5a", "OK");
    expect("read 0x3ff 5", "OK 0x005a5a5a00");
    expect("memset 0x400 0 1", "OK");
    /* holes are zero; the end of RAM */
    expect("readl 0x8000", "OK 0x0000000000000000");
    expect("write 0x3ffe 4 0x01020304", "OK");
    expect("read 0x3ffe 4", "OK 0x01020000");
    /* a long line */
    g_autoptr(GString) hex = g_string_new("write 0 0x4000 0x");
    for (int i = 0; i < 0x4000; i++)
        g_string_append_printf(hex, "%02x", i & 0xff);
    expect(hex->str, "OK");
    expect("read 0x3ffd 3", "OK 0xfdfeff");
    g_autofree char *all = ask("read 0 0x4000");
    g_assert_cmpstr(all + 5, ==, hex->str + strlen("write 0 0x4000 0x"));
}

static void test_registers(void)
{
    dev->reg = 0;
    expect("writel 0x10000 0x11223344", "OK");
    expect("readl 0x10000", "OK 0x0000000011223344");
    expect("readw 0x10002", "OK 0x0000000000001122");
    expect("read 0x10000 4", "OK 0x44332211");
    expect("outl 0x80 0xcafe0000", "OK");
    expect("inl 0x80", "OK 0xcafe0000");
    expect("inw 0x82", "OK 0xcafe");
    expect("inb 0x83", "OK 0x00ca");
    expect("inb 0x10", "OK 0x00ff");
    expect("inl 0x10", "OK 0xffffffff");
}

static void test_clock(void)
{
    fails("clock_step");
    fails("clock_step 0");
    expect("clock_step 500", "OK 500");
    dev->reg = 0;
    timer_mod(dev->timer, 1500);
    expect("clock_step", "OK 1500");
    g_assert_cmpuint(dev->reg, ==, 1);
    expect("clock_step 2999", "OK 4499");
    g_assert_cmpuint(dev->reg, ==, 3);
    expect("clock_set 4500", "OK 4500");
    g_assert_cmpuint(dev->reg, ==, 4);
    expect("clock_set 4500", "OK 4500");
    expect("clock_set 100", "FAIL 4500");
    expect("clock_step 10000000", "OK 10004500");
    g_assert_cmpuint(dev->reg, ==, 10004);
    DOMAIN_GUARD(machine->domain);
    machine_stop(machine, RUN_PAUSED);
    fails("clock_step");
    expect("clock_step 5000", "OK 10009500");
    g_assert_cmpuint(dev->reg, ==, 10004);
    g_autoptr(GError) err = NULL;
    g_assert_true(machine_cont(machine, &err));
    timer_del(dev->timer);
}

static void test_irq(void)
{
    fails("irq_intercept_out /nowhere");
    fails("irq_intercept_out chip nolist");
    expect("irq_intercept_out chip", "OK");
    expect("irq_intercept_out /machine/chip", "OK");
    fails("irq_intercept_in /machine/chip");
    expect("writel 0x10000 1", "IRQ raise 0|OK");
    expect("writel 0x10000 3", "OK");
    expect("writel 0x10000 2", "IRQ lower 0|OK");
    dev->reg = 0;
    timer_mod(dev->timer, domain_now(machine->domain, CLOCK_GUEST) + 10);
    g_autofree char *got = ask("clock_step 1500");
    g_assert_true(g_str_has_prefix(got, "IRQ raise 1|IRQ lower 1|OK "));
    timer_del(dev->timer);
    expect("set_irq_in chip unnamed-gpio-in 2 1", "OK");
    g_assert_true(dev->in_level[2]);
    expect("set_irq_in chip named 0 1", "OK");
    g_assert_true(dev->in_level[0]);
    fails("set_irq_in chip named 1 1");
    fails("set_irq_in chip other 0 1");
    fails("set_irq_in chip");
}

static void test_object(void)
{
    static const char *const bad[] = {
        "{'qom-type': 'qtest', 'id': 'q1'}", "{'qom-type': 'qtest', 'id': 'q1', 'chardev': 'nobody'}",
        "{'qom-type': 'qtest', 'id': 'q1', 'chardev': 'q'}",
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;
        g_assert_false(user_object_add(options("%s", bad[i]), &err));
        g_test_message("%s", err->message);
    }
    g_autoptr(GError) err = NULL;
    g_assert_true(user_object_del("q0", &err));
    g_assert_no_error(err);
    /* its lines are let go: nobody is told */
    irq_set(dev->out[0], true);
    g_assert_true(chardev_remove("q", &err));
    g_assert_no_error(err);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    setup();
    g_test_add_func("/qtest/basic", test_basic);
    g_test_add_func("/qtest/memory", test_memory);
    g_test_add_func("/qtest/registers", test_registers);
    g_test_add_func("/qtest/clock", test_clock);
    g_test_add_func("/qtest/irq", test_irq);
    g_test_add_func("/qtest/object", test_object);
    return g_test_run();
}
