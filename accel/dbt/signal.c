/*
 * Host faults in translated code are guest exceptions: divide errors, SIMD and x87 floating point, misaligned SSE operands, undefined
 * opcodes. The handler only redirects the thread to a trampoline; the run loop maps the host pc to the guest instruction.
 */
#include "accel/dbt/dbt.h"

#include <signal.h>
#include <ucontext.h>

#define ALTSTACK_SIZE (64 * 1024)

static __thread DbtVcpu *self; /* a handler has no other way to find out */

static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
static struct sigaction before[NSIG];

static void on_fault(int sig, siginfo_t *info, void *context)
{
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    DbtVcpu *v = self;
    uint64_t pc = r[REG_RIP];
    if (!v || !v->in_code || pc - (uintptr_t)v->code >= v->code_size || r[REG_RSP] != (greg_t)(uintptr_t)v->ctx ||
        info->si_code <= 0) {
        /* Ours: whoever handled it before (who gives the terminal its modes back) gets it as the instruction faults again. */
        sigaction(sig, &before[sig], NULL);
        if (info->si_code <= 0)
            raise(sig);
        return;
    }
    v->ctx->sig_no = r[REG_TRAPNO];
    v->ctx->sig_pc = pc;
    r[REG_RIP] = v->tr_signal;
}

void dbt_signal_init(void)
{
    struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
    sigemptyset(&sa.sa_mask);
    for (unsigned i = 0; i < G_N_ELEMENTS(signals); i++)
        sigaction(signals[i], &sa, &before[signals[i]]);
}

void dbt_signal_thread(DbtVcpu *v)
{
    if (self == v)
        return;
    self = v;
    /* A sanitizer has given the thread one already, and takes it away in the end. */
    stack_t old;
    if (!sigaltstack(NULL, &old) && !(old.ss_flags & SS_DISABLE))
        return;
    if (!v->altstack)
        v->altstack = g_malloc(ALTSTACK_SIZE);
    stack_t ss = { .ss_sp = v->altstack, .ss_size = ALTSTACK_SIZE };
    sigaltstack(&ss, NULL);
}
