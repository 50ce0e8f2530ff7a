/* What becomes of a guest's and a client's wishes to stop, reset, power off or die: events, states, exit statuses. */
#include <qtest-client.h>

#include <signal.h>
#include <string.h>

#define PM_BASE 0xb000      /* where the test puts the PIIX4's power management ports */

static void expect_status(QtEmu *q, const char *want, bool running)
{
    json_object *status = qt_qmp(q, "query-status", NULL);
    g_assert_cmpstr(qt_json_str(status, "status"), ==, want);
    g_assert_cmpint(qt_json_bool(status, "running"), ==, running);
    json_object_put(status);
}

static void expect_event(QtEmu *q, const char *name, const char *member, const char *value)
{
    json_object *event = qt_event_wait(q, name);
    if (member) {
        g_autofree char *path = g_strdup_printf("data.%s", member);
        g_assert_cmpstr(qt_json_str(event, path), ==, value);
    }
    g_assert_nonnull(qt_json_at(event, "timestamp.microseconds"));
    json_object_put(event);
}

static void execute(QtEmu *q, const char *command)
{
    json_object_put(qt_qmp(q, command, NULL));
}

/* As firmware does: the PIIX4's PM function, PMBASE and its enable bit. */
static void open_pm(QtEmu *q)
{
    uint8_t pm = qt_pci_find(q, 0x8086, 0x7113);
    qt_pci_write32(q, pm, 0x40, PM_BASE | 1);
    qt_pci_write8(q, pm, 0x80, 1);
    qt_pci_enable(q, pm);
}

/* PM1 control: sleep type 0 is soft-off on this chip set, bit 13 enters it. */
static void power_off(QtEmu *q)
{
    open_pm(q);
    qt_outw(q, PM_BASE + 4, 1 << 13);
}

static void test_stop_cont(void)
{
    QtEmu *q = qt_start("-machine pc");
    for (int i = 0; i < 3; i++) {
        execute(q, "stop");
        expect_event(q, "STOP", NULL, NULL);
        expect_status(q, "paused", false);
        execute(q, "stop"); /* again: nothing */
        execute(q, "cont");
        expect_event(q, "RESUME", NULL, NULL);
        expect_status(q, "running", true);
    }
    g_assert_false(qt_event_seen(q, "STOP"));
    qt_quit(q);
}

static void test_reset_kinds(void)
{
    QtEmu *q = qt_start("-machine pc");
    static const struct { uint16_t port; uint8_t value; } ways[] = { { 0x92, 0x01 }, { 0xcf9, 0x06 }, { 0x64, 0xfe } };
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        qt_outb(q, 0x70, 0x0f);
        qt_outb(q, 0x71, 0x77); /* the clock chip's memory has a battery */
        qt_outb(q, 0x21, 0x5a); /* an interrupt mask has none */
        if (ways[i].port == 0xcf9)
            qt_outb(q, 0xcf9, 0x02);
        qt_outb(q, ways[i].port, ways[i].value);
        expect_event(q, "RESET", "reason", "guest-reset");
        qt_outb(q, 0x70, 0x0f);
        g_assert_cmphex(qt_inb(q, 0x71), ==, 0x77);
        g_assert_cmphex(qt_inb(q, 0x21), !=, 0x5a);
        expect_status(q, "running", true);
    }
    /* a client's, while paused: ready to be launched again */
    execute(q, "stop");
    execute(q, "system_reset");
    expect_event(q, "RESET", "reason", "host-qmp-system-reset");
    expect_status(q, "prelaunch", false);
    execute(q, "cont");
    expect_status(q, "running", true);
    qt_quit(q);
}

static void test_memory_survives_reset(void)
{
    QtEmu *q = qt_start("-machine pc -m 32");
    uint64_t at = qt_alloc(q, 4096, 4096);
    qt_writeq(q, at, 0x1122334455667788);
    execute(q, "system_reset");
    expect_event(q, "RESET", NULL, NULL);
    g_assert_cmphex(qt_readq(q, at), ==, 0x1122334455667788);
    qt_quit(q);
}

static void test_no_reboot(void)
{
    QtEmu *q = qt_start("-machine pc -no-reboot");
    qt_outb(q, 0x64, 0xfe);
    expect_event(q, "SHUTDOWN", "reason", "guest-reset");
    g_assert_cmpint(qt_wait_exit(q), ==, 0);
    /* the client's way to say the same at run time */
    q = qt_start("-machine pc -no-shutdown");
    json_object_put(qt_qmp(q, "set-action", "{'reboot': 'shutdown'}"));
    execute(q, "system_reset");
    expect_event(q, "SHUTDOWN", "reason", "host-qmp-system-reset");
    expect_event(q, "STOP", NULL, NULL);
    expect_status(q, "shutdown", false);
    qt_quit(q);
}

static void test_power_off(void)
{
    QtEmu *q = qt_start("-machine pc");
    power_off(q);
    json_object *event = qt_event_wait(q, "SHUTDOWN");
    g_assert_true(qt_json_bool(event, "data.guest"));
    g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "guest-shutdown");
    json_object_put(event);
    g_assert_cmpint(qt_wait_exit(q), ==, 0);

    q = qt_start("-machine pc -no-shutdown");
    power_off(q);
    expect_event(q, "SHUTDOWN", "reason", "guest-shutdown");
    expect_event(q, "STOP", NULL, NULL);
    expect_status(q, "shutdown", false);
    g_autofree char *desc = qt_qmp_error(q, "GenericError", "cont", NULL);
    g_assert_nonnull(strstr(desc, "reset"));
    execute(q, "system_reset");
    execute(q, "cont");
    expect_event(q, "RESUME", NULL, NULL);
    expect_status(q, "running", true);
    qt_quit(q);
}

static void test_power_button(void)
{
    QtEmu *q = qt_start("-machine pc");
    open_pm(q);
    qt_outw(q, PM_BASE + 2, 1 << 8);           /* PM1 enable: power button */
    g_assert_cmphex(qt_inw(q, PM_BASE) & (1 << 8), ==, 0);
    execute(q, "system_powerdown");
    expect_event(q, "POWERDOWN", NULL, NULL);
    g_assert_cmphex(qt_inw(q, PM_BASE) & (1 << 8), !=, 0);
    expect_status(q, "running", true);
    qt_quit(q);
}

static void test_exit_status(void)
{
    QtEmu *q = qt_start("-machine pc -device isa-debug-exit,iobase=0xf4,iosize=0x4");
    qt_outb(q, 0xf4, 0x10);
    g_assert_cmpint(qt_wait_exit(q), ==, 0x21);
}

static void test_panic(void)
{
    static const struct {
        const char *options, *action, *state;
        int status;
    } ways[] = {
        { "", "poweroff", NULL, 0 },
        { "-action panic=exit-failure", "poweroff", NULL, 1 },
        { "-action panic=pause", "pause", "guest-panicked", 0 },
        { "-action panic=none", "run", "running", 0 },
        { "-no-shutdown", "pause", "guest-panicked", 0 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        QtEmu *q = qt_start("-machine pc -device pvpanic %s", ways[i].options);
        qt_outb(q, 0x505, 1);
        expect_event(q, "GUEST_PANICKED", "action", ways[i].action);
        if (ways[i].state) {
            expect_status(q, ways[i].state, !strcmp(ways[i].state, "running"));
            qt_quit(q);
        } else {
            expect_event(q, "SHUTDOWN", "reason", "guest-panic");
            g_assert_cmpint(qt_wait_exit(q), ==, ways[i].status);
        }
    }
}

static void test_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++) {
        QtEmu *q = qt_start("-machine pc -no-shutdown %s", i ? "-S" : "");
        kill(qt_pid(q), signals[i]);
        json_object *event = qt_event_wait(q, "SHUTDOWN");
        g_assert_false(qt_json_bool(event, "data.guest"));
        g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "host-signal");
        json_object_put(event);
        g_assert_cmpint(qt_wait_exit(q), ==, 0);
    }
}

static void test_time_stands(void)
{
    /* a stopped machine's clock stands, and its timers with it */
    QtEmu *q = qt_start("-machine pc");
    qt_irq_intercept_in(q, "ioapic");
    qt_clock_step(q, 1000);
    execute(q, "stop");
    g_assert_cmpint(qt_clock_step_next(q), ==, -1);
    qt_clock_step(q, 100 * 1000 * 1000);
    g_assert_cmpuint(qt_irq_raises(q, 0), ==, 0);
    execute(q, "cont");
    qt_irq_wait(q, 0, true);
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/runstate/stop-cont", test_stop_cont);
    g_test_add_func("/runstate/reset", test_reset_kinds);
    g_test_add_func("/runstate/reset-memory", test_memory_survives_reset);
    g_test_add_func("/runstate/no-reboot", test_no_reboot);
    g_test_add_func("/runstate/power-off", test_power_off);
    g_test_add_func("/runstate/power-button", test_power_button);
    g_test_add_func("/runstate/exit-status", test_exit_status);
    g_test_add_func("/runstate/panic", test_panic);
    g_test_add_func("/runstate/signals", test_signals);
    g_test_add_func("/runstate/time-stands", test_time_stands);
    return g_test_run();
}
