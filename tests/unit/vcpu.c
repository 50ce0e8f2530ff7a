/*
 * vCPU threads and run state with an accelerator of the test's own: a "guest" that spins, halts and does register
 * accesses as told.
 */
#include <json-c/json.h>
#include <signal.h>
#include <string.h>

#include "accel/accel.h"
#include "monitor/events.h"
#include "system/loop_internal.h"
#include "system/machine.h"
#include "system/memory_internal.h"

/* ---- fake accelerator ---- */

typedef enum { GUEST_HALT, GUEST_SPIN, GUEST_MMIO, GUEST_TRIPLE_FAULT, GUEST_FAIL, GUEST_ASK } Guest;

static _Atomic Guest guest;
static _Atomic unsigned interrupts_taken, runs, asked, ran_on;

static VcpuExit fake_run(Vcpu *vcpu)
{
    runs++;
    for (;;) {
        if (vcpu_interrupts(vcpu) & VCPU_INT_HARD) {
            vcpu_clear_interrupt(vcpu, VCPU_INT_HARD);
            interrupts_taken++;
        }
        if (atomic_load(&vcpu->exit_request))
            return VCPU_EXIT_KICKED;
        switch (guest) {
        case GUEST_HALT: return VCPU_EXIT_HALTED;
        case GUEST_SPIN: g_thread_yield(); break;
        case GUEST_MMIO: vcpu_mmio_write(vcpu, 0x1000, vcpu->index, 4); g_thread_yield(); break;
        case GUEST_TRIPLE_FAULT: return VCPU_EXIT_SHUTDOWN;
        case GUEST_FAIL: return VCPU_EXIT_FAILED;
        case GUEST_ASK: /* a register write that asks for a reset or a panic is the last thing that happens */
            asked++;
            if (asked % 2)
                machine_request_reset(vcpu->dev.machine, CAUSE_GUEST_RESET);
            else
                machine_request_panic(vcpu->dev.machine);
            ran_on += !atomic_load(&vcpu->exit_request);
            break;
        }
    }
}

static const AccelClass fake_accel = {
    .name = "fake-accel", .parent = TYPE_ACCEL, .accel_name = "fake", .run = fake_run,
    .aliases = (const char *const[]){ "mock", NULL },
};
REGISTER_OBJECT(fake_accel)

static bool never(GError **err)
{
    error_set(err, "this host has no such thing");
    return false;
}
static const AccelClass never_accel = { .name = "never-accel", .parent = TYPE_ACCEL, .accel_name = "never", .available = never };
REGISTER_OBJECT(never_accel)

static unsigned cpu_resets;
static void cpu_reset(Device *dev) { cpu_resets++; }
static const DeviceClass fake_cpu = { .name = "fake-cpu", .parent = TYPE_VCPU, .reset = cpu_reset };
REGISTER_DEVICE(fake_cpu)

/* ---- events ---- */

static GString *events;

void __wrap_qmp_event_emit(const char *name, json_object *data);
void __wrap_qmp_event_emit(const char *name, json_object *data)
{
    g_string_append_printf(events, "%s%s", events->len ? " " : "", name);
    json_object *reason;
    if (data && (json_object_object_get_ex(data, "reason", &reason) || json_object_object_get_ex(data, "action", &reason)))
        g_string_append_printf(events, ":%s", json_object_get_string(reason));
    json_object_put(data);
}

static void expect_events(const char *want)
{
    g_assert_cmpstr(events->str, ==, want);
    g_string_truncate(events, 0);
}

/* ---- machine ---- */

typedef struct Setup {
    Machine *m;
    Vcpu *cpu[4];
    unsigned n;
    MemoryRegion io;
    _Atomic unsigned writes;
    _Atomic int inside;
} Setup;

static void io_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Setup *s = opaque;
    g_assert_cmpint(atomic_fetch_add(&s->inside, 1), ==, 0); /* under the lock: never two at once */
    g_assert_nonnull(vcpu_current());
    s->writes++;
    atomic_fetch_sub(&s->inside, 1);
}
static const MemoryRegionOps io_ops = { .write = io_write };

static void open_machine(Setup *s, unsigned cpus)
{
    g_autoptr(GError) err = NULL;
    memset(s, 0, sizeof(*s));
    if (!events)
        events = g_string_new(NULL);
    s->m = (Machine *)object_new("none-machine", &err);
    g_assert_no_error(err);
    domain_lock(s->m->domain);
    g_assert_true(accel_select(s->m, (const char *[]){ "never:nonsense,x=y", "mock", NULL }, &err));
    g_assert_cmpstr(accel_class(s->m->accel)->accel_name, ==, "fake");
    memory_region_init_io(&s->io, NULL, s->m->domain, &io_ops, s, "io", 0x10);
    memory_region_add(&s->m->mem_root, 0x1000, &s->io, 0);
    guest = GUEST_HALT;
    for (s->n = 0; s->n < cpus; s->n++) {
        Vcpu *cpu = VCPU(object_new("fake-cpu", &err));
        g_assert_no_error(err);
        cpu->dev.machine = s->m;
        cpu->index = s->n;
        s->cpu[s->n] = cpu;
        g_assert_true(vcpu_start(cpu, &err));
        g_assert_cmpint(cpu->thread_id, !=, 0);
    }
    g_assert_cmpuint(s->m->nr_vcpus, ==, cpus);
    domain_unlock(s->m->domain);
}

static void close_machine(Setup *s)
{
    domain_lock(s->m->domain);
    for (unsigned i = 0; i < s->n; i++) {
        vcpu_destroy(s->cpu[i]);
        object_unref(OBJECT(s->cpu[i]));
    }
    memory_region_clear(&s->io);
    domain_unlock(s->m->domain);
    g_string_truncate(events, 0);
    object_unref(OBJECT(s->m));
}

static void cont(Setup *s)
{
    g_autoptr(GError) err = NULL;
    DOMAIN_GUARD(s->m->domain);
    if (!machine_cont(s->m, &err))
        g_error("%s", err->message);
}

static void settle(Setup *s)
{
    for (int i = 0; i < 20; i++) {
        domain_iterate(s->m->domain, false);
        g_usleep(500);
    }
}

#define WAIT_FOR(cond) while (!(cond)) g_thread_yield()

/* ---- tests ---- */

static void test_park(void)
{
    Setup s;
    open_machine(&s, 2);
    runs = 0;
    settle(&s);
    g_assert_cmpuint(runs, ==, 0); /* not running yet */
    guest = GUEST_SPIN;
    cont(&s);
    expect_events("RESUME");
    WAIT_FOR(runs >= 2);
    for (int i = 0; i < 50; i++) {
        DOMAIN_GUARD(s.m->domain);
        machine_stop(s.m, RUN_PAUSED);
        g_assert_true(s.cpu[0]->parked && s.cpu[1]->parked);
        unsigned before = runs;
        g_thread_yield();
        g_assert_cmpuint(runs, ==, before);
        cont(&s);
    }
    close_machine(&s);
}

static void test_wake(void)
{
    /* every interrupt wakes a halted vCPU: none is lost, however the two threads interleave */
    Setup s;
    open_machine(&s, 1);
    cont(&s);
    interrupts_taken = 0;
    for (unsigned i = 1; i <= 3000; i++) {
        vcpu_interrupt(s.cpu[0], VCPU_INT_HARD);
        WAIT_FOR(interrupts_taken == i);
        for (int k = g_test_rand_int_range(0, 200); k--;)
            __builtin_ia32_pause();
    }
    /* asleep it stays asleep */
    settle(&s);
    unsigned before = runs;
    settle(&s);
    g_assert_cmpuint(runs, ==, before);
    g_assert_true(s.cpu[0]->sleeping);
    close_machine(&s);
}

static void work(Vcpu *vcpu, void *opaque)
{
    g_assert_true(vcpu == vcpu_current());
    ++*(int *)opaque;
}

static void test_work(void)
{
    Setup s;
    int done = 0;
    open_machine(&s, 2);
    vcpu_run_on(s.cpu[0], work, &done, true); /* parked */
    g_assert_cmpint(done, ==, 1);
    cont(&s);
    vcpu_run_on(s.cpu[1], work, &done, true); /* halted */
    guest = GUEST_MMIO;
    vcpu_interrupt(s.cpu[1], VCPU_INT_HARD);
    WAIT_FOR(s.writes > 10);
    domain_lock(s.m->domain);
    for (int i = 0; i < 100; i++) /* waits with the lock given up: the vCPU may be waiting for it */
        vcpu_run_on(s.cpu[1], work, &done, true);
    g_assert_cmpint(done, ==, 102);
    domain_unlock(s.m->domain);
    close_machine(&s);
}

static void test_mmio(void)
{
    Setup s;
    open_machine(&s, 4);
    guest = GUEST_MMIO;
    cont(&s);
    WAIT_FOR(s.writes > 1000);
    for (int i = 0; i < 20; i++) {
        DOMAIN_GUARD(s.m->domain);
        machine_stop(s.m, RUN_PAUSED);
        unsigned before = s.writes;
        g_thread_yield();
        g_assert_cmpuint(s.writes, ==, before);
        /* taken off the map: no callback any more, although the vCPUs hold views of it */
        if (i == 10)
            memory_region_remove(&s.io);
        cont(&s);
        if (i > 10)
            g_assert_cmpuint(s.writes, ==, before);
    }
    close_machine(&s);
}

static void test_reset(void)
{
    Setup s;
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    open_machine(&s, 2);
    cont(&s);
    settle(&s);
    expect_events("RESUME");
    cpu_resets = 0;
    machine_request_reset(s.m, CAUSE_HOST_QMP_SYSTEM_RESET);
    settle(&s);
    expect_events("RESET:host-qmp-system-reset");
    g_assert_cmpuint(cpu_resets, ==, 2);
    g_assert_true(runstate_is_running(s.m->run));
    guest = GUEST_TRIPLE_FAULT;
    vcpu_interrupt(s.cpu[0], VCPU_INT_HARD);
    g_usleep(20000);
    guest = GUEST_HALT;
    settle(&s);
    expect_events("RESET:guest-reset");
    machine_request_powerdown(s.m);
    settle(&s);
    expect_events("POWERDOWN");
    guest = GUEST_FAIL;
    vcpu_interrupt(s.cpu[0], VCPU_INT_HARD);
    g_usleep(20000);
    settle(&s);
    expect_events("STOP");
    g_assert_cmpint(runstate_get(s.m->run), ==, RUN_INTERNAL_ERROR);
    g_autoptr(GError) err = NULL;
    g_assert_false(machine_cont(s.m, &err));
    g_assert_nonnull(strstr(err->message, "reset"));
    machine_request_reset(s.m, CAUSE_HOST_QMP_SYSTEM_RESET);
    settle(&s);
    expect_events("RESET:host-qmp-system-reset");
    g_assert_cmpint(runstate_get(s.m->run), ==, RUN_PRELAUNCH);
    guest = GUEST_HALT;
    cont(&s);
    expect_events("RESUME");
    /* -no-shutdown, -no-reboot */
    runstate_get_actions(s.m->run, &reboot, &shutdown, &panic);
    runstate_set_actions(s.m->run, REBOOT_SHUTDOWN, SHUTDOWN_PAUSE, panic);
    machine_request_reset(s.m, CAUSE_GUEST_RESET);
    settle(&s);
    expect_events("SHUTDOWN:guest-reset STOP");
    g_assert_cmpint(runstate_get(s.m->run), ==, RUN_SHUTDOWN);
    close_machine(&s);
}

static void test_ask(void)
{
    Setup s;
    open_machine(&s, 2);
    runstate_set_actions(s.m->run, REBOOT_RESET, SHUTDOWN_POWEROFF, PANIC_NONE);
    asked = ran_on = 0;
    guest = GUEST_ASK;
    cont(&s);
    while (asked < 200)
        domain_iterate(s.m->domain, true);
    g_assert_cmpuint(ran_on, ==, 0);
    g_assert_true(runstate_is_running(s.m->run));
    guest = GUEST_HALT;
    settle(&s);
    g_assert_false(s.cpu[0]->stop || s.cpu[1]->stop);
    close_machine(&s);
}

static gboolean shut_down(gpointer data)
{
    machine_request_shutdown(data, CAUSE_GUEST_SHUTDOWN);
    return G_SOURCE_REMOVE;
}

static gboolean panic_now(gpointer data)
{
    machine_request_panic(data);
    return G_SOURCE_REMOVE;
}

static gboolean exit_now(gpointer data)
{
    machine_request_exit(data, 33);
    return G_SOURCE_REMOVE;
}

static gboolean sigterm(gpointer data)
{
    raise(SIGTERM);
    return G_SOURCE_REMOVE;
}

static int run_main(Setup *s, GSourceFunc func)
{
    g_timeout_add(5, func, s->m);
    return machine_main_loop(s->m);
}

static void test_exit(void)
{
    Setup s;
    int hooks = 0;
    open_machine(&s, 1);
    runstate_on_exit(s.m->run, (RunNotifyFunc *)g_atomic_int_inc, &hooks);
    cont(&s);
    expect_events("RESUME");
    g_assert_cmpint(run_main(&s, shut_down), ==, 0);
    g_assert_cmpint(hooks, ==, 1);
    expect_events("SHUTDOWN:guest-shutdown");
    close_machine(&s);

    open_machine(&s, 1);
    cont(&s);
    g_assert_cmpint(run_main(&s, exit_now), ==, 33);
    close_machine(&s);

    open_machine(&s, 1);
    runstate_set_actions(s.m->run, REBOOT_RESET, SHUTDOWN_PAUSE, PANIC_EXIT_FAILURE);
    cont(&s);
    g_assert_cmpint(run_main(&s, panic_now), ==, 1);
    expect_events("RESUME GUEST_PANICKED:poweroff STOP SHUTDOWN:guest-panic");
    close_machine(&s);

    open_machine(&s, 1); /* paused, -no-shutdown: a signal ends it all the same */
    machine_signals_init(s.m);
    runstate_set_actions(s.m->run, REBOOT_RESET, SHUTDOWN_PAUSE, PANIC_PAUSE);
    g_assert_cmpint(run_main(&s, sigterm), ==, 0);
    expect_events("SHUTDOWN:host-signal");
    close_machine(&s);
}

static void test_select(void)
{
    g_autoptr(GError) err = NULL;
    Machine *m = (Machine *)object_new("none-machine", &err);
    const char *const bad[][2] = { { "never", NULL }, { "kvm:never", NULL }, { "fake,speed=9", NULL }, { "fake,=1", NULL } };
    const char *const say[] = { "this host has no such thing", "'kvm' is not an accelerator", "speed", "name is missing" };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_false(accel_select(m, bad[i], &err));
        g_test_message("%s", err->message);
        g_assert_nonnull(strstr(err->message, say[i]));
        g_clear_error(&err);
        g_assert_null(m->accel);
    }
    object_unref(OBJECT(m));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vcpu/park", test_park);
    g_test_add_func("/vcpu/wake", test_wake);
    g_test_add_func("/vcpu/work", test_work);
    g_test_add_func("/vcpu/mmio", test_mmio);
    g_test_add_func("/runstate/reset", test_reset);
    g_test_add_func("/runstate/ask", test_ask);
    g_test_add_func("/runstate/exit", test_exit);
    g_test_add_func("/accel/select", test_select);
    return g_test_run();
}
