/*
 * Run state: whether the guest runs, why not, and what a guest's shutdown, reset or panic leads to.
 *
 * Requests may come from any thread (a vCPU's register write, a signal, QMP); they are carried out on the main loop.
 */
#pragma once

#include <rhea/base.h>

typedef struct Machine Machine;
typedef struct RunState RunState;

/* Names as in query-status. */
typedef enum {
    RUN_PRELAUNCH, RUN_RUNNING, RUN_PAUSED, RUN_SHUTDOWN, RUN_GUEST_PANICKED, RUN_IO_ERROR, RUN_INTERNAL_ERROR, RUN_DEBUG,
    RUN_SUSPENDED, RUN_STATES
} RunStateKind;

/* Names as in the SHUTDOWN and RESET events' "reason". */
typedef enum {
    CAUSE_NONE, CAUSE_HOST_ERROR, CAUSE_HOST_QMP_QUIT, CAUSE_HOST_QMP_SYSTEM_RESET, CAUSE_HOST_SIGNAL, CAUSE_HOST_UI,
    CAUSE_GUEST_SHUTDOWN, CAUSE_GUEST_RESET, CAUSE_GUEST_PANIC, CAUSE_SUBSYSTEM_RESET, CAUSES
} ShutdownCause;

/* -action / set-action / -no-reboot / -no-shutdown. */
typedef enum { REBOOT_RESET, REBOOT_SHUTDOWN } RebootAction;
typedef enum { SHUTDOWN_POWEROFF, SHUTDOWN_PAUSE } ShutdownAction;
typedef enum { PANIC_NONE, PANIC_PAUSE, PANIC_SHUTDOWN, PANIC_EXIT_FAILURE } PanicAction;

RunState *runstate_new(Machine *machine);
void runstate_free(RunState *run);
RunStateKind runstate_get(const RunState *run);
bool runstate_is_running(const RunState *run);
const char *runstate_name(RunStateKind kind);
void runstate_set_actions(RunState *run, RebootAction reboot, ShutdownAction shutdown, PanicAction panic);
void runstate_get_actions(const RunState *run, RebootAction *reboot, ShutdownAction *shutdown, PanicAction *panic);

/* stop: all vCPUs are out of guest code, clocks stand, in-flight block requests are drained, STOP was emitted. Main loop. */
void machine_stop(Machine *machine, RunStateKind why);
/* cont: the reverse, RESUME emitted. Refused in states that need a reset first. Main loop. */
bool machine_cont(Machine *machine, GError **err) WARN_UNUSED;

/* Requests; any thread, at once. */
void machine_request_shutdown(Machine *machine, ShutdownCause cause);
void machine_request_reset(Machine *machine, ShutdownCause cause);
void machine_request_powerdown(Machine *machine);              /* power button */
void machine_request_stop(Machine *machine, RunStateKind why);
void machine_request_panic(Machine *machine);                  /* GUEST_PANICKED and the panic action */
/* The process ends with this status as soon as the main loop turns (isa-debug-exit). */
void machine_request_exit(Machine *machine, int status);

/* Who acts on the power button (PIIX4 PM), and who wants to know of stop and cont. Called on the main loop. */
typedef void RunNotifyFunc(void *opaque);
void runstate_on_powerdown(RunState *run, RunNotifyFunc *func, void *opaque);
typedef void RunChangeFunc(void *opaque, bool running, RunStateKind state);
void runstate_on_change(RunState *run, RunChangeFunc *func, void *opaque);
void runstate_off_change(RunState *run, RunChangeFunc *func, void *opaque);

/* Called once when the process is about to end, newest first, on the main loop: terminals, sockets, pid files. */
void runstate_on_exit(RunState *run, RunNotifyFunc *func, void *opaque);

/*
 * SIGINT, SIGTERM and SIGHUP end the process cleanly from now on; SIGPIPE is ignored. Before machine_main_loop() runs they are only
 * noted: code that waits for a peer at start-up looks at machine_signal_seen() after EINTR.
 */
void machine_signals_init(Machine *machine);
bool machine_signal_seen(void);

/* Runs the main loop until the process should end; the value is the exit status. */
int machine_main_loop(Machine *machine);
