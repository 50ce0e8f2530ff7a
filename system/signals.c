/*
 * Signals that end the process: noted by the handler, acted on by the main loop. See system/runstate.h.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "system/machine.h"

/* A signal has no context of its own: what its handler may touch is one per process. */
static struct {
    _Atomic int signal;
    _Atomic int pid;
    int eventfd;
    FdWatch *watch;
} caught = { .eventfd = -1 };

static void on_signal(int signal, siginfo_t *info, void *context)
{
    int saved = errno;
    uint64_t one = 1;
    atomic_store(&caught.pid, info->si_code == SI_USER ? info->si_pid : 0);
    atomic_store(&caught.signal, signal);
    if (write(caught.eventfd, &one, sizeof(one)) < 0) {
        /* Full: the loop has been told already. */
    }
    errno = saved;
}

bool machine_signal_seen(void)
{
    return atomic_load(&caught.signal) != 0;
}

static void signal_arrived(int fd, GIOCondition events, void *opaque)
{
    Machine *machine = opaque;
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0 || !machine_signal_seen())
        return;
    if (caught.pid)
        report_error("terminating on signal %d from pid %d", caught.signal, caught.pid);
    else
        report_error("terminating on signal %d", caught.signal);
    machine_request_shutdown(machine, CAUSE_HOST_SIGNAL);
}

void machine_signals_init(Machine *machine)
{
    static const int ending[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    g_assert(caught.eventfd < 0);
    caught.eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (caught.eventfd < 0)
        g_error("eventfd: %s", g_strerror(errno));
    caught.watch = fd_watch_new(machine->domain, caught.eventfd, G_IO_IN, signal_arrived, machine);
    for (unsigned i = 0; i < G_N_ELEMENTS(ending); i++)
        sigaction(ending[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}
