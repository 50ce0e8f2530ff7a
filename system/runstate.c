/*
 * Run state: stop, cont, and what becomes of requests to shut down, reset, power down or panic. See system/runstate.h.
 *
 * Requests are bits that any thread sets; one bottom half on the main loop carries them out, in a fixed order.
 */
#include "system/runstate.h"

#include <block/block.h>
#include <json-c/json.h>

#include "monitor/events.h"
#include "system/machine.h"
#include "system/vcpu.h"

enum { REQ_EXIT = 1, REQ_PANIC = 2, REQ_SHUTDOWN = 4, REQ_RESET = 8, REQ_POWERDOWN = 16, REQ_STOP = 32 };

typedef struct Hook {
    GCallback func;
    void *opaque;
} Hook;

struct RunState {
    Machine *machine;
    _Atomic int state;               /* RunStateKind; written on the main loop */
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    BottomHalf *bh;
    _Atomic unsigned requests;       /* REQ_* */
    _Atomic int shutdown_cause, reset_cause, stop_why, exit_status;
    GArray *powerdown_hooks, *change_hooks, *exit_hooks; /* Hook */
    bool ending;                     /* the loop is to return */
    int status;                      /* of the process */
};

static const char *const state_names[RUN_STATES] = {
    [RUN_PRELAUNCH] = "prelaunch", [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused", [RUN_SHUTDOWN] = "shutdown",
    [RUN_GUEST_PANICKED] = "guest-panicked", [RUN_IO_ERROR] = "io-error", [RUN_INTERNAL_ERROR] = "internal-error",
    [RUN_DEBUG] = "debug", [RUN_SUSPENDED] = "suspended",
};

static const char *const cause_names[CAUSES] = {
    [CAUSE_NONE] = "none", [CAUSE_HOST_ERROR] = "host-error", [CAUSE_HOST_QMP_QUIT] = "host-qmp-quit",
    [CAUSE_HOST_QMP_SYSTEM_RESET] = "host-qmp-system-reset", [CAUSE_HOST_SIGNAL] = "host-signal",
    [CAUSE_HOST_UI] = "host-ui", [CAUSE_GUEST_SHUTDOWN] = "guest-shutdown", [CAUSE_GUEST_RESET] = "guest-reset",
    [CAUSE_GUEST_PANIC] = "guest-panic", [CAUSE_SUBSYSTEM_RESET] = "subsystem-reset",
};

static void requests_run(void *opaque);

RunState *runstate_new(Machine *machine)
{
    RunState *run = g_new0(RunState, 1);
    run->machine = machine;
    run->state = RUN_PRELAUNCH;
    run->reboot = REBOOT_RESET;
    run->shutdown = SHUTDOWN_POWEROFF;
    run->panic = PANIC_SHUTDOWN;
    run->bh = bh_new(machine->domain, requests_run, run);
    run->powerdown_hooks = g_array_new(FALSE, FALSE, sizeof(Hook));
    run->change_hooks = g_array_new(FALSE, FALSE, sizeof(Hook));
    run->exit_hooks = g_array_new(FALSE, FALSE, sizeof(Hook));
    return run;
}

void runstate_free(RunState *run)
{
    if (!run)
        return;
    bh_free(run->bh);
    g_array_unref(run->powerdown_hooks);
    g_array_unref(run->change_hooks);
    g_array_unref(run->exit_hooks);
    g_free(run);
}

RunStateKind runstate_get(const RunState *run)
{
    return atomic_load(&((RunState *)run)->state);
}

bool runstate_is_running(const RunState *run)
{
    return runstate_get(run) == RUN_RUNNING;
}

const char *runstate_name(RunStateKind kind)
{
    return state_names[kind];
}

void runstate_set_actions(RunState *run, RebootAction reboot, ShutdownAction shutdown, PanicAction panic)
{
    run->reboot = reboot;
    run->shutdown = shutdown;
    run->panic = panic;
}

void runstate_get_actions(const RunState *run, RebootAction *reboot, ShutdownAction *shutdown, PanicAction *panic)
{
    *reboot = run->reboot;
    *shutdown = run->shutdown;
    *panic = run->panic;
}

/* ---- hooks ---- */

static void hook_add(GArray *hooks, GCallback func, void *opaque)
{
    Hook hook = { func, opaque };
    g_array_append_val(hooks, hook);
}

void runstate_on_powerdown(RunState *run, RunNotifyFunc *func, void *opaque)
{
    hook_add(run->powerdown_hooks, G_CALLBACK(func), opaque);
}

void runstate_on_exit(RunState *run, RunNotifyFunc *func, void *opaque)
{
    hook_add(run->exit_hooks, G_CALLBACK(func), opaque);
}

void runstate_on_change(RunState *run, RunChangeFunc *func, void *opaque)
{
    hook_add(run->change_hooks, G_CALLBACK(func), opaque);
}

void runstate_off_change(RunState *run, RunChangeFunc *func, void *opaque)
{
    for (unsigned i = 0; i < run->change_hooks->len; i++) {
        const Hook *hook = &g_array_index(run->change_hooks, Hook, i);
        if (hook->func == G_CALLBACK(func) && hook->opaque == opaque) {
            g_array_remove_index(run->change_hooks, i);
            return;
        }
    }
}

/* A copy: a hook may take itself off. */
static GArray *hooks_now(GArray *hooks)
{
    return g_array_copy(hooks);
}

static void notify_change(RunState *run, bool running)
{
    g_autoptr(GArray) hooks = hooks_now(run->change_hooks);
    for (unsigned i = 0; i < hooks->len; i++) {
        const Hook *hook = &g_array_index(hooks, Hook, i);
        ((RunChangeFunc *)hook->func)(hook->opaque, running, runstate_get(run));
    }
}

static void notify_powerdown(RunState *run)
{
    g_autoptr(GArray) hooks = hooks_now(run->powerdown_hooks);
    for (unsigned i = 0; i < hooks->len; i++) {
        const Hook *hook = &g_array_index(hooks, Hook, i);
        ((RunNotifyFunc *)hook->func)(hook->opaque);
    }
}

/* ---- stop and cont ---- */

void machine_stop(Machine *machine, RunStateKind why)
{
    RunState *run = machine->run;
    if (!runstate_is_running(run))
        return;
    atomic_store(&run->state, why);
    clocks_set_running(machine->clocks, false);
    vcpus_pause_all(machine);
    notify_change(run, false);
    block_drain_all();
    qmp_event_emit("STOP", NULL);
}

bool machine_cont(Machine *machine, GError **err)
{
    RunState *run = machine->run;
    RunStateKind state = runstate_get(run);
    if (state == RUN_RUNNING)
        return true;
    if (state == RUN_SHUTDOWN || state == RUN_INTERNAL_ERROR) {
        error_set(err, "the machine is in state '%s': it must be reset before it can go on", runstate_name(state));
        return false;
    }
    atomic_store(&run->state, RUN_RUNNING);
    machine->started = true;
    notify_change(run, true);
    clocks_set_running(machine->clocks, true);
    qmp_event_emit("RESUME", NULL);
    vcpus_resume_all(machine);
    return true;
}

/* ---- requests ---- */

static void request(Machine *machine, unsigned bits)
{
    RunState *run = machine->run;
    /* Before the request is seen: whoever carries it out lets the vCPU go on afterwards. */
    if (bits & (REQ_EXIT | REQ_PANIC | REQ_SHUTDOWN | REQ_RESET | REQ_STOP))
        vcpu_stop_current();
    atomic_fetch_or(&run->requests, bits);
    bh_schedule(run->bh);
}

void machine_request_shutdown(Machine *machine, ShutdownCause cause)
{
    atomic_store(&machine->run->shutdown_cause, cause);
    request(machine, REQ_SHUTDOWN);
}

void machine_request_reset(Machine *machine, ShutdownCause cause)
{
    atomic_store(&machine->run->reset_cause, cause);
    request(machine, REQ_RESET);
}

void machine_request_powerdown(Machine *machine)
{
    request(machine, REQ_POWERDOWN);
}

void machine_request_stop(Machine *machine, RunStateKind why)
{
    atomic_store(&machine->run->stop_why, why);
    request(machine, REQ_STOP);
}

void machine_request_panic(Machine *machine)
{
    request(machine, REQ_PANIC);
}

void machine_request_exit(Machine *machine, int status)
{
    atomic_store(&machine->run->exit_status, status);
    request(machine, REQ_EXIT);
}

/* ---- carrying them out, on the main loop ---- */

static bool cause_is_guest(ShutdownCause cause)
{
    return cause >= CAUSE_GUEST_SHUTDOWN;
}

static void emit_with_cause(const char *event, ShutdownCause cause)
{
    json_object *data = json_object_new_object();
    json_object_object_add(data, "guest", json_object_new_boolean(cause_is_guest(cause)));
    json_object_object_add(data, "reason", json_object_new_string(cause_names[cause]));
    qmp_event_emit(event, data);
}

static void end_process(RunState *run, int status)
{
    if (!run->ending) {
        run->ending = true;
        run->status = status;
    }
    domain_quit(run->machine->domain);
}

static void do_shutdown(RunState *run, ShutdownCause cause)
{
    /* Whoever runs the process asked for its end: -no-shutdown is about the guest's wishes. */
    bool host_asked = cause < CAUSE_GUEST_SHUTDOWN && cause != CAUSE_HOST_QMP_SYSTEM_RESET;
    emit_with_cause("SHUTDOWN", cause);
    if (run->shutdown == SHUTDOWN_PAUSE && !host_asked) {
        machine_stop(run->machine, RUN_SHUTDOWN);
        return;
    }
    end_process(run, cause == CAUSE_GUEST_PANIC && run->panic == PANIC_EXIT_FAILURE ? 1 : 0);
}

static void do_reset(RunState *run, ShutdownCause cause)
{
    Machine *machine = run->machine;
    bool running = runstate_is_running(run);
    if (run->reboot == REBOOT_SHUTDOWN && cause != CAUSE_SUBSYSTEM_RESET) {
        do_shutdown(run, cause);
        return;
    }
    vcpus_pause_all(machine);
    machine_reset(machine);
    if (cause != CAUSE_NONE && cause != CAUSE_SUBSYSTEM_RESET)
        emit_with_cause("RESET", cause);
    if (running)
        vcpus_resume_all(machine);
    else
        atomic_store(&run->state, RUN_PRELAUNCH);
}

static void emit_panic(const char *action)
{
    json_object *data = json_object_new_object();
    json_object_object_add(data, "action", json_object_new_string(action));
    qmp_event_emit("GUEST_PANICKED", data);
}

static void do_panic(RunState *run)
{
    if (run->panic == PANIC_NONE) {
        emit_panic("run");
        return;
    }
    if (run->panic == PANIC_PAUSE || (run->panic == PANIC_SHUTDOWN && run->shutdown == SHUTDOWN_PAUSE)) {
        emit_panic("pause");
        machine_stop(run->machine, RUN_GUEST_PANICKED);
        return;
    }
    emit_panic("poweroff");
    machine_stop(run->machine, RUN_GUEST_PANICKED);
    if (run->panic == PANIC_EXIT_FAILURE) {
        emit_with_cause("SHUTDOWN", CAUSE_GUEST_PANIC);
        end_process(run, 1);
    } else {
        do_shutdown(run, CAUSE_GUEST_PANIC);
    }
}

static void requests_run(void *opaque)
{
    RunState *run = opaque;
    unsigned requests = atomic_exchange(&run->requests, 0);
    if (requests & REQ_EXIT) {
        emit_with_cause("SHUTDOWN", CAUSE_GUEST_SHUTDOWN);
        end_process(run, atomic_load(&run->exit_status));
    }
    if (requests & REQ_PANIC)
        do_panic(run);
    if (requests & REQ_SHUTDOWN)
        do_shutdown(run, atomic_load(&run->shutdown_cause));
    if (run->ending)
        return;
    if (requests & REQ_RESET)
        do_reset(run, atomic_load(&run->reset_cause));
    if (requests & REQ_POWERDOWN) {
        qmp_event_emit("POWERDOWN", NULL);
        notify_powerdown(run);
    }
    if (requests & REQ_STOP)
        machine_stop(run->machine, atomic_load(&run->stop_why));
    if (runstate_is_running(run))
        vcpus_resume_all(run->machine);
}

int machine_main_loop(Machine *machine)
{
    RunState *run = machine->run;
    machine->started = true;
    if (!run->ending)
        domain_run(machine->domain);
    DOMAIN_GUARD(machine->domain);
    clocks_set_running(machine->clocks, false);
    vcpus_pause_all(machine);
    for (unsigned i = run->exit_hooks->len; i-- > 0;) {
        const Hook *hook = &g_array_index(run->exit_hooks, Hook, i);
        ((RunNotifyFunc *)hook->func)(hook->opaque);
    }
    return run->status;
}
