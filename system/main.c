/* Entry point: reads the command line, builds the machine, runs it, takes it down. */
#include <block/block.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "chardev/internal.h"
#include "chardev/stdio.h"
#include "monitor/qmp.h"
#include "system/cli.h"
#include "system/daemonize.h"
#include "system/plugin.h"
#include "system/start.h"
#include "util/exit-paths.h"

static void quit_from_terminal(void *opaque)
{
    machine_request_shutdown(opaque, CAUSE_HOST_UI);
}

/* C-a s */
static void sync_disks(void *opaque)
{
    int ret = block_flush_all();
    if (ret < 0)
        report_error("writing disk data back failed: %s", g_strerror(-ret));
}

static int fail(GError *error)
{
    /* The terminal's own modes first: the sentence must be readable. */
    stdio_restore_terminal();
    bool signaled = machine_signal_seen();
    if (!signaled)
        report_error("%s", error->message);
    g_error_free(error);
    return signaled ? 0 : 1;
}

static int run(const Config *config, Machine *machine)
{
    GError *error = NULL;
    CharHooks hooks = { .quit = quit_from_terminal, .sync = sync_disks, .interrupted = machine_signal_seen, .opaque = machine };
    machine_signals_init(machine);
    chardev_set_hooks(&hooks);
    if ((config->pidfile && !pidfile_create(config->pidfile, &error)) || !start_build(config, machine, &error) ||
        (config->daemonize && !daemonize_finish(&error)))
        return fail(error);
    hooks.running = true;
    chardev_set_hooks(&hooks);
    monitors_ready();
    if (!config->stopped) {
        DOMAIN_GUARD(machine->domain);
        if (!machine_cont(machine, &error))
            return fail(error);
    }
    int status = machine_main_loop(machine);
    stdio_restore_terminal();
    return status;
}

/* Until there is a machine to tell: start-up has nothing to save. */
static void end_early(int signal)
{
    stdio_restore_terminal();
    exit_paths_remove();
    _exit(0);
}

int main(int argc, char **argv)
{
    signal(SIGTERM, end_early);
    signal(SIGINT, end_early);
    signal(SIGHUP, end_early);
    g_autoptr(Config) config = config_new();
    GError *error = NULL;
    Machine *machine = NULL;
    plugin_enable_directory();
    if (!cli_parse(config, argc - 1, argv + 1, &error))
        return fail(error);
    if (config->help) {
        fputs(config->help, stdout);
        return fflush(stdout) || ferror(stdout) ? 1 : 0;
    }
    if ((config->daemonize && !daemonize_start(&error)) || !start_create_machine(config, &machine, &error))
        return fail(error);
    int status = run(config, machine);
    start_teardown(machine);
    exit_paths_clear();
    return status;
}
