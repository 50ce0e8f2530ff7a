/* The test channel against a real machine: what every other test relies on. */
#include <qtest-client.h>

#include <string.h>

static void test_none(void)
{
    QtEmu *q = qt_start("-machine none");
    json_object *status = qt_qmp(q, "query-status", NULL);
    g_assert_true(qt_json_bool(status, "running"));
    g_assert_cmpstr(qt_json_str(status, "status"), ==, "running");
    json_object_put(status);
    g_assert_cmphex(qt_readl(q, 0x1000), ==, 0);
    g_assert_cmphex(qt_inb(q, 0x80), ==, 0xff);
    g_assert_cmpint(qt_clock_step_next(q), ==, -1);
    g_assert_cmpint(qt_clock_step(q, 1000), ==, 1000);
    qt_quit(q);
}

static void test_paused(void)
{
    /* -S: complete, answering, and a signal ends it cleanly */
    QtEmu *q = qt_start("-machine none -S");
    json_object *status = qt_qmp(q, "query-status", NULL);
    g_assert_cmpstr(qt_json_str(status, "status"), ==, "prelaunch");
    json_object_put(status);
    json_object_put(qt_qmp(q, "cont", NULL));
    json_object_put(qt_event_wait(q, "RESUME"));
    json_object_put(qt_qmp(q, "stop", NULL));
    json_object_put(qt_event_wait(q, "STOP"));
    g_assert_cmpint(qt_clock_step(q, 500), ==, 500);
    qt_quit(q);
}

static void test_pc(void)
{
    QtEmu *q = qt_start("-machine pc -m 64");
    uint8_t data[5000], back[5000];
    for (unsigned i = 0; i < sizeof(data); i++)
        data[i] = i * 13;
    uint64_t at = qt_alloc(q, sizeof(data), 4096);
    qt_memwrite(q, at, data, sizeof(data));
    qt_memread(q, at, back, sizeof(back));
    g_assert_cmpmem(data, sizeof(data), back, sizeof(back));
    g_assert_cmphex(qt_readw(q, at + 1), ==, 0x1a0d);
    /* the chip set */
    g_assert_cmphex(qt_pci_read32(q, QT_DEVFN(0, 0), 0), ==, 0x12378086);
    g_assert_cmphex(qt_pci_find(q, 0x8086, 0x7000), ==, QT_DEVFN(1, 0));
    g_assert_cmphex(qt_pci_read32(q, QT_DEVFN(31, 0), 0), ==, UINT32_MAX);
    /* the first edge of the timer chip, as its power-on count gives it: 32768 ticks of 838 ns */
    qt_irq_intercept_in(q, "ioapic");
    g_assert_cmpint(qt_clock_step_next(q), ==, 27462700);
    g_assert_true(qt_irq(q, 0));
    g_assert_cmpuint(qt_irq_raises(q, 0), ==, 1);
    /* reset over QMP */
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object *event = qt_event_wait(q, "RESET");
    g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "host-qmp-system-reset");
    json_object_put(event);
    qt_quit(q);
}

static void test_quit(void)
{
    QtEmu *q = qt_start("-machine none");
    json_object_put(qt_qmp(q, "quit", NULL));
    json_object *event = qt_event_wait(q, "SHUTDOWN");
    g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "host-qmp-quit");
    json_object_put(event);
    g_assert_cmpint(qt_wait_exit(q), ==, 0);
}

static void test_bad_start(void)
{
    g_autofree char *out = NULL;
    g_assert_cmpint(qt_run(&out, "-machine none -qtest unix:/nowhere/at/all -accel qtest"), ==, 1);
    g_assert_nonnull(strstr(out, "/nowhere/at/all"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel/none", test_none);
    g_test_add_func("/channel/paused", test_paused);
    g_test_add_func("/channel/pc", test_pc);
    g_test_add_func("/channel/quit", test_quit);
    g_test_add_func("/channel/bad-start", test_bad_start);
    return g_test_run();
}
