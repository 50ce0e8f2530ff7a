/* The board's chips as wired: interrupt lines, clocks, serial ports, test devices, through the test channel. */
#include "qtest-client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HPET 0xfed00000u
#define IOAPIC 0xfec00000u
#define PIT_HALF_NS 27462700

static uint8_t cmos(QtEmu *q, uint8_t reg)
{
    qt_outb(q, 0x70, reg);
    return qt_inb(q, 0x71);
}

static void set_cmos(QtEmu *q, uint8_t reg, uint8_t value)
{
    qt_outb(q, 0x70, reg);
    qt_outb(q, 0x71, value);
}

static void test_pit(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    qt_irq_intercept_in(q, "ioapic");
    g_assert_cmpint(qt_clock_step_next(q), ==, PIT_HALF_NS);
    g_assert_true(qt_irq(q, 0));
    g_assert_cmpint(qt_clock_step_next(q), ==, 2 * PIT_HALF_NS + 1);
    g_assert_false(qt_irq(q, 0));
    qt_outb(q, 0x43, 0x34);
    qt_outb(q, 0x40, 0xa9);
    qt_outb(q, 0x40, 0x04); /* 1193: 1000.15 Hz */
    unsigned before = qt_irq_raises(q, 0);
    qt_clock_step(q, 1000000000);
    g_assert_cmpuint(qt_irq_raises(q, 0) - before, ==, 1000);
    /* Management software looks for the policy of lost ticks. */
    json_object *props = qt_qmp(q, "device-list-properties", "{'typename': 'kvm-pit'}");
    g_assert_nonnull(strstr(json_object_to_json_string(props), "lost_tick_policy"));
    json_object_put(props);
    /* A reset takes the line and the programming back. */
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "RESET"));
    before = qt_irq_raises(q, 0);
    qt_clock_step(q, 100000000);
    g_assert_cmpuint(qt_irq_raises(q, 0) - before, <=, 2);
    qt_quit(q);
}

static void test_pic(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -device pc-testdev");
    for (unsigned base = 0x20; base <= 0xa0; base += 0x80) {
        qt_outb(q, base, 0x11);
        qt_outb(q, base + 1, base == 0x20 ? 8 : 0x70);
        qt_outb(q, base + 1, base == 0x20 ? 4 : 2);
        qt_outb(q, base + 1, 1);
        qt_outb(q, base + 1, 0);
    }
    qt_irq_intercept_in(q, "ioapic");
    for (unsigned n = 3; n < 24; n++) {
        qt_outb(q, 0x2000 + n, 1);
        g_assert_true(qt_irq(q, n));
        if (n < 16) {
            qt_outb(q, n < 8 ? 0x20 : 0xa0, 0x0a);
            g_assert_cmphex(qt_inb(q, n < 8 ? 0x20 : 0xa0) >> (n & 7) & 1, ==, 1);
        }
        qt_outb(q, 0x2000 + n, 0);
        g_assert_false(qt_irq(q, n));
    }
    /* The latch and its byte-wide view */
    qt_outl(q, 0xe0, 0x44332211);
    g_assert_cmphex(qt_inw(q, 0xe1), ==, 0x3322);
    g_assert_cmphex(qt_inl(q, 0xe8), ==, 0x44332211);
    qt_outw(q, 0xe2, 0xbeef);
    g_assert_cmphex(qt_inb(q, 0xeb), ==, 0xbe);
    qt_writeq(q, 0xff000000u, 0x1122334455667788ull);
    g_assert_cmphex(qt_readl(q, 0xff000002u), ==, 0x33445566);
    qt_writeb(q, 0xff00ffffu, 0x5a);
    g_assert_cmphex(qt_readb(q, 0xff00ffffu), ==, 0x5a);
    qt_outl(q, 0xe4, 0x100000);
    qt_quit(q);
}

static void test_rtc(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -rtc clock=vm,base=2024-02-29T23:59:59");
    g_assert_cmphex(cmos(q, 0x32), ==, 0x20);
    g_assert_cmphex(cmos(q, 0x09), ==, 0x24);
    qt_clock_step(q, 1000000000);
    g_assert_cmphex(cmos(q, 0x08), ==, 0x03);
    g_assert_cmphex(cmos(q, 0x07), ==, 0x01);
    qt_irq_intercept_in(q, "ioapic");
    set_cmos(q, 0x0b, 0x12); /* update ended */
    cmos(q, 0x0c);
    qt_clock_step(q, 1000000000);
    g_assert_true(qt_irq(q, 8));
    g_assert_cmphex(cmos(q, 0x0c) & 0x90, ==, 0x90);
    g_assert_false(qt_irq(q, 8));
    /* The guest sets its clock an hour ahead. */
    uint8_t hour = cmos(q, 4);
    set_cmos(q, 0x0b, 0x82);
    set_cmos(q, 4, hour + 1);
    set_cmos(q, 0x0b, 0x02);
    json_object *event = qt_event_wait(q, "RTC_CHANGE");
    g_assert_cmpint(qt_json_int(event, "data.offset"), ==, 3600);
    g_assert_nonnull(qt_json_str(event, "data.qom-path"));
    json_object_put(event);
    qt_quit(q);
}

static void test_rtc_base(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -rtc base=utc");
    g_autoptr(GDateTime) now = g_date_time_new_now_utc();
    unsigned hour = cmos(q, 4);
    int drift = (int)((hour >> 4) * 10 + (hour & 15)) - g_date_time_get_hour(now);
    g_assert_true(drift == 0 || drift == -1 || drift == 23);
    qt_quit(q);
    g_autofree char *output = NULL;
    g_assert_cmpint(qt_run(&output, "-machine pc -global mc146818rtc.lost_tick_policy=merge -accel qtest"), ==, 1);
    g_assert_nonnull(strstr(output, "merge"));
}

static void test_hpet(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    g_assert_cmphex(qt_readq(q, HPET), ==, 0x009896808086a201ull);
    qt_irq_intercept_in(q, "ioapic");
    qt_clock_step(q, PIT_HALF_NS);
    qt_writel(q, HPET + 0x10, 3); /* legacy replacement: IRQ 0 is HPET's */
    g_assert_false(qt_irq(q, 0));
    unsigned before = qt_irq_raises(q, 0);
    qt_clock_step(q, 1000000000);
    g_assert_cmpuint(qt_irq_raises(q, 0), ==, before);
    qt_writel(q, HPET + 0x100, 0x4 | 0x8 | 0x40 | 0x100);
    uint32_t count = qt_readl(q, HPET + 0xf0);
    qt_writel(q, HPET + 0x108, count + 100000);
    qt_writel(q, HPET + 0x108, 100000);
    qt_clock_step(q, 1000000000);
    g_assert_cmpuint(qt_irq_raises(q, 0) - before, ==, 1000);
    qt_writel(q, HPET + 0x10, 0);
    before = qt_irq_raises(q, 0);
    qt_clock_step(q, 4 * PIT_HALF_NS + 4);
    g_assert_cmpuint(qt_irq_raises(q, 0) - before, >=, 1); /* the PIT is back */
    qt_quit(q);
    q = qt_start("-machine pc,hpet=off -nodefaults");
    g_assert_cmphex(qt_readl(q, HPET), !=, 0x8086a201u);
    qt_quit(q);
}

static void test_ioapic(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -smp 2");
    qt_writel(q, IOAPIC, 1);
    g_assert_cmphex(qt_readl(q, IOAPIC + 0x10), ==, 0x00170020);
    for (unsigned pin = 0; pin < 24; pin++) {
        qt_writel(q, IOAPIC, 0x10 + 2 * pin);
        g_assert_cmphex(qt_readl(q, IOAPIC + 0x10), ==, 0x10000);
    }
    g_assert_cmphex(qt_readl(q, 0xfee00030), ==, 0); /* belongs to no CPU */
    json_object_put(qt_qmp(q, "qom-list", "{'path': '/machine/ioapic'}"));
    qt_quit(q);
}

/* ---- serial ports ---- */

static int accept_on(const char *path, int listener)
{
    int fd = accept(listener, NULL, NULL);
    if (fd < 0)
        g_error("nobody connects to %s: %s", path, g_strerror(errno));
    return fd;
}

static int listen_on(const char *path)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_strlcpy(addr.sun_path, path, sizeof addr.sun_path);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&addr, sizeof addr), ==, 0);
    g_assert_cmpint(listen(fd, 1), ==, 0);
    return fd;
}

static void read_some(int fd, GByteArray *into)
{
    uint8_t buf[4096];
    ssize_t n = read(fd, buf, sizeof buf);
    g_assert_cmpint(n, >, 0);
    g_byte_array_append(into, buf, n);
}

static void test_serial(void)
{
    g_autofree char *path = g_build_filename(qt_tmpdir(), "com1", NULL);
    int listener = listen_on(path);
    QtEmu *q = qt_start("-machine pc -nodefaults -chardev socket,id=s0,path=%s -serial chardev:s0", path);
    int fd = accept_on(path, listener);
    qt_irq_intercept_in(q, "ioapic");
    qt_outb(q, 0x3fa, 0x07);
    qt_outb(q, 0x3fc, 0x0b);
    qt_outb(q, 0x3f9, 0x01);
    /* Out, with the reader late: LSR says when there is room, everything arrives in order. */
    GByteArray *got = g_byte_array_new();
    uint8_t buf[4096];
    unsigned waits = 0;
    for (unsigned sent = 0; sent < 4096; sent++) {
        for (; !(qt_inb(q, 0x3fd) & 0x20); waits++)
            read_some(fd, got);
        qt_outb(q, 0x3f8, sent * 7);
    }
    g_assert_cmpuint(waits, >, 0); /* a socket takes a few hundred single bytes */
    while (got->len < 4096)
        read_some(fd, got);
    for (unsigned i = 0; i < 4096; i++)
        g_assert_cmphex(got->data[i], ==, (uint8_t)(i * 7));
    g_byte_array_unref(got);
    /* In: more than the FIFO holds, taken as the interrupts come. */
    for (unsigned i = 0; i < sizeof buf; i++)
        buf[i] = i * 13;
    g_assert_cmpint(write(fd, buf, 1000), ==, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        while (!(qt_inb(q, 0x3fd) & 1))
            g_usleep(100);
        g_assert_cmphex(qt_inb(q, 0x3f8), ==, buf[i]);
    }
    qt_irq_wait(q, 4, false);
    g_assert_cmpint(write(fd, "x", 1), ==, 1);
    qt_irq_wait(q, 4, true);
    g_assert_cmphex(qt_inb(q, 0x3f8), ==, 'x');
    g_assert_false(qt_irq(q, 4));
    close(fd);
    qt_quit(q);
    close(listener);
}

static void test_serial_ports(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -serial null -serial null -device isa-serial -device isa-serial,index=3");
    static const uint16_t ports[] = { 0x3f8, 0x2f8, 0x3e8, 0x2e8 };
    for (unsigned i = 0; i < 4; i++)
        g_assert_cmphex(qt_inb(q, ports[i] + 5), ==, 0x60);
    qt_quit(q);
    g_autofree char *output = NULL;
    g_assert_cmpint(qt_run(&output, "-machine pc -nodefaults -accel qtest -serial null -serial null -serial null -serial null "
                                    "-device isa-serial"), ==, 1);
    g_assert_nonnull(strstr(output, "isa-serial"));
    q = qt_start("-machine pc -nodefaults -device pci-serial,addr=5");
    QtBar bar = qt_pci_map_bar(q, QT_DEVFN(5, 0), 0);
    qt_pci_enable(q, QT_DEVFN(5, 0));
    g_assert_true(bar.io);
    g_assert_cmpuint(bar.size, ==, 8);
    g_assert_cmphex(qt_bar_read(q, bar, 5, 1), ==, 0x60);
    qt_bar_write(q, bar, 1, 2, 1);
    qt_bar_write(q, bar, 4, 0x0b, 1);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(5, 0), 6) & 0x08, ==, 0x08); /* INTx is asserted */
    g_assert_cmphex(qt_bar_read(q, bar, 2, 1) & 0x0f, ==, 0x02);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(5, 0), 6) & 0x08, ==, 0);
    qt_quit(q);
}

/* ---- ends and panics ---- */

static void test_debug_exit(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -device isa-debug-exit,iobase=0xf4,iosize=4");
    g_assert_cmphex(qt_inl(q, 0xf4), ==, 0);
    g_free(qt_command(q, "outl 0xf4 0x26"));
    g_assert_cmpint(qt_wait_exit(q), ==, 77);
    q = qt_start("-machine pc -nodefaults -device isa-debug-exit");
    g_free(qt_command(q, "outb 0x501 0"));
    g_assert_cmpint(qt_wait_exit(q), ==, 1);
}

static void test_pvpanic(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -device pvpanic -action panic=pause");
    g_assert_cmphex(qt_inb(q, 0x505), ==, 3);
    qt_outb(q, 0x505, 2);
    json_object_put(qt_event_wait(q, "GUEST_CRASHLOADED"));
    g_assert_false(qt_event_seen(q, "GUEST_PANICKED"));
    qt_outb(q, 0x505, 1);
    json_object *event = qt_event_wait(q, "GUEST_PANICKED");
    g_assert_cmpstr(qt_json_str(event, "data.action"), ==, "pause");
    json_object_put(event);
    json_object *status = qt_qmp(q, "query-status", NULL);
    g_assert_cmpstr(qt_json_str(status, "status"), ==, "guest-panicked");
    json_object_put(status);
    qt_quit(q);
    q = qt_start("-machine pc -nodefaults -device pvpanic-pci,addr=3,events=1");
    QtBar bar = qt_pci_map_bar(q, QT_DEVFN(3, 0), 0);
    qt_pci_enable(q, QT_DEVFN(3, 0));
    g_assert_cmphex(qt_bar_read(q, bar, 0, 1), ==, 1);
    qt_bar_write(q, bar, 0, 2, 1); /* not offered: nothing */
    g_assert_false(qt_event_seen(q, "GUEST_CRASHLOADED"));
    qt_quit(q);
}

static void test_pci_testdev(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -device pci-testdev,addr=6");
    qt_pci_enable(q, QT_DEVFN(6, 0));
    for (unsigned n = 0; n < 2; n++) {
        QtBar bar = qt_pci_map_bar(q, QT_DEVFN(6, 0), n);
        g_assert_true(bar.io == (n == 1));
        unsigned tests = 0;
        for (unsigned t = 0; t < 16; t++) {
            qt_bar_write(q, bar, 0, t, 1);
            unsigned width = qt_bar_read(q, bar, 1, 1);
            if (!width)
                break;
            tests++;
            uint32_t offset = qt_bar_read(q, bar, 4, 4), data = qt_bar_read(q, bar, 8, 4);
            g_assert_cmpuint(qt_bar_read(q, bar, 12, 4), ==, 0);
            qt_bar_write(q, bar, offset, data, width);
            /* A doorbell counts on the loop, a moment later. */
            for (unsigned i = 0; i < 1000 && !qt_bar_read(q, bar, 12, 4); i++)
                g_usleep(1000);
            g_assert_cmpuint(qt_bar_read(q, bar, 12, 4), ==, 1);
        }
        g_assert_cmpuint(tests, ==, 3);
    }
    qt_quit(q);
}

static void test_keyboard(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    qt_irq_intercept_in(q, "ioapic");
    qt_outb(q, 0x64, 0x60);
    qt_outb(q, 0x60, 0x47);
    qt_outb(q, 0x60, 0xf4);
    g_assert_cmphex(qt_inb(q, 0x60), ==, 0xfa);
    g_assert_false(qt_irq(q, 1));
    qt_outb(q, 0x60, 0xee);
    g_assert_true(qt_irq(q, 1));
    g_assert_cmphex(qt_inb(q, 0x60), ==, 0xee);
    qt_outb(q, 0x64, 0xd4);
    qt_outb(q, 0x60, 0xf4);
    g_assert_true(qt_irq(q, 12));
    g_assert_cmphex(qt_inb(q, 0x64) & 0x21, ==, 0x21);
    g_assert_cmphex(qt_inb(q, 0x60), ==, 0xfa);
    /* The reset line */
    qt_outb(q, 0x64, 0xfe);
    json_object *event = qt_event_wait(q, "RESET");
    g_assert_true(qt_json_bool(event, "data.guest"));
    json_object_put(event);
    qt_outb(q, 0x92, 1);
    json_object_put(qt_event_wait(q, "RESET"));
    qt_quit(q);
}

static void test_dma(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    qt_outb(q, 0x0c, 0);
    qt_outb(q, 0x00, 0x34);
    qt_outb(q, 0x00, 0x12);
    g_assert_cmphex(qt_inb(q, 0x00), ==, 0x34);
    g_assert_cmphex(qt_inb(q, 0x00), ==, 0x12);
    qt_outb(q, 0xd8, 0);
    qt_outb(q, 0xc2, 0x78);
    qt_outb(q, 0xc2, 0x56);
    g_assert_cmphex(qt_inb(q, 0xc2), ==, 0x78);
    qt_outb(q, 0x0d, 0);
    g_assert_cmphex(qt_inb(q, 0x0f) & 0x0f, ==, 0x0f);
    qt_outb(q, 0x87, 0xaa);
    qt_outb(q, 0x8b, 0xbb);
    g_assert_cmphex(qt_inb(q, 0x87), ==, 0xaa);
    g_assert_cmphex(qt_inb(q, 0x8b), ==, 0xbb);
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chips/pit", test_pit);
    g_test_add_func("/chips/pic", test_pic);
    g_test_add_func("/chips/rtc", test_rtc);
    g_test_add_func("/chips/rtc-base", test_rtc_base);
    g_test_add_func("/chips/hpet", test_hpet);
    g_test_add_func("/chips/ioapic", test_ioapic);
    g_test_add_func("/chips/serial", test_serial);
    g_test_add_func("/chips/serial-ports", test_serial_ports);
    g_test_add_func("/chips/debug-exit", test_debug_exit);
    g_test_add_func("/chips/pvpanic", test_pvpanic);
    g_test_add_func("/chips/pci-testdev", test_pci_testdev);
    g_test_add_func("/chips/keyboard", test_keyboard);
    g_test_add_func("/chips/dma", test_dma);
    return g_test_run();
}
