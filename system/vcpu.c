/*
 * vCPU threads: what they do around the accelerator's run function. See system/vcpu.h.
 *
 * One flag, exit_request, carries every wish to a running or sleeping vCPU. It is cleared at the top of the loop, before
 * stop, work and interrupts are looked at, and set after each of them changed: so nothing is missed, whichever way the two
 * threads interleave. A vCPU sleeps only while the flag is clear.
 */
#include "system/vcpu.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "accel/accel.h"
#include "system/loop_internal.h"
#include "system/machine.h"

typedef struct VcpuWork {
    void (*func)(Vcpu *vcpu, void *opaque);
    void *opaque;
    bool *done;        /* of a waiting caller, under vcpu->lock; NULL: nobody waits */
} VcpuWork;

static __thread Vcpu *current;

Vcpu *vcpu_current(void)
{
    return current;
}

/* ---- wishes ---- */

void vcpu_kick(Vcpu *vcpu)
{
    atomic_store(&vcpu->exit_request, 1);
    /* On its own thread too: an accelerator may look at a flag of its own, which its kick sets. */
    if (vcpu != current && atomic_load(&vcpu->sleeping)) {
        g_mutex_lock(&vcpu->lock);
        g_cond_broadcast(&vcpu->wake);
        g_mutex_unlock(&vcpu->lock);
    } else if (vcpu->accel && accel_class(vcpu->accel)->kick) {
        accel_class(vcpu->accel)->kick(vcpu);
    }
}

void vcpu_interrupt(Vcpu *vcpu, uint32_t bits)
{
    if ((atomic_fetch_or(&vcpu->interrupts, bits) & bits) != bits)
        vcpu_kick(vcpu);
}

void vcpu_clear_interrupt(Vcpu *vcpu, uint32_t bits)
{
    atomic_fetch_and(&vcpu->interrupts, ~bits);
}

void vcpu_run_on(Vcpu *vcpu, void (*func)(Vcpu *vcpu, void *opaque), void *opaque, bool wait)
{
    if (!vcpu->thread || vcpu == current) {
        func(vcpu, opaque);
        return;
    }
    bool done = false;
    VcpuWork *work = g_new(VcpuWork, 1);
    *work = (VcpuWork){ func, opaque, wait ? &done : NULL };
    Domain *domain = vcpu->dev.machine->domain;
    unsigned depth = wait ? domain_release_all(domain) : 0;
    g_mutex_lock(&vcpu->lock);
    g_queue_push_tail(&vcpu->work, work);
    g_mutex_unlock(&vcpu->lock);
    vcpu_kick(vcpu);
    g_mutex_lock(&vcpu->lock);
    while (wait && !done)
        g_cond_wait(&vcpu->parked_cond, &vcpu->lock);
    g_mutex_unlock(&vcpu->lock);
    domain_reacquire(domain, depth);
}

/* ---- the thread ---- */

/* Lock held; dropped around each piece of work. */
static void do_work_locked(Vcpu *vcpu)
{
    VcpuWork *work;
    while ((work = g_queue_pop_head(&vcpu->work))) {
        g_mutex_unlock(&vcpu->lock);
        work->func(vcpu, work->opaque);
        g_mutex_lock(&vcpu->lock);
        if (work->done) {
            *work->done = true;
            g_cond_broadcast(&vcpu->parked_cond);
        }
        g_free(work);
    }
}

/* Until exit_request is set. Whoever sets it looks at `sleeping` afterwards; we set `sleeping` and look at it afterwards. */
static void sleep_locked(Vcpu *vcpu)
{
    atomic_store(&vcpu->sleeping, true);
    while (!atomic_load(&vcpu->exit_request))
        g_cond_wait(&vcpu->wake, &vcpu->lock);
    atomic_store(&vcpu->sleeping, false);
}

/* What is to be done before guest code runs (again); false when the thread is to end. */
static bool prepare(Vcpu *vcpu)
{
    bool go_on = true;
    g_mutex_lock(&vcpu->lock);
    for (;;) {
        atomic_store(&vcpu->exit_request, 0);
        do_work_locked(vcpu);
        if (vcpu->quit || !vcpu->stop)
            break;
        if (!vcpu->parked) {
            vcpu->parked = true;
            g_cond_broadcast(&vcpu->parked_cond);
        }
        sleep_locked(vcpu);
    }
    vcpu->parked = false;
    go_on = !vcpu->quit;
    g_mutex_unlock(&vcpu->lock);
    return go_on;
}

/*
 * A halted vCPU is often wanted again at once (a disk's completion, a short timer), and waking a sleeper costs tens of
 * microseconds. So it looks for a while first, longer when that pays and not at all after long sleeps, and only when the
 * host has a CPU left for those who will wake it.
 */
#define POLL_MAX_NS 60000
#define POLL_START_NS 10000

static bool poll_for_wish(Vcpu *vcpu)
{
    if (!vcpu->poll_ns)
        return false;
    for (int64_t end = mono_now() + vcpu->poll_ns; mono_now() < end;)
        for (int i = 0; i < 20; i++) {
            if (atomic_load_explicit(&vcpu->exit_request, memory_order_acquire))
                return true;
            __builtin_ia32_pause();
        }
    return false;
}

static void adapt_poll(Vcpu *vcpu, int64_t slept)
{
    if (vcpu->dev.machine->nr_vcpus >= vcpu->host_cpus || slept > 10 * POLL_MAX_NS)
        vcpu->poll_ns = 0;
    else if (slept < 2 * POLL_MAX_NS)
        vcpu->poll_ns = CLAMP(vcpu->poll_ns * 2, POLL_START_NS, POLL_MAX_NS);
    else
        vcpu->poll_ns /= 2;
}

static void wait_for_wish(Vcpu *vcpu)
{
    if (poll_for_wish(vcpu))
        return;
    int64_t start = mono_now();
    g_mutex_lock(&vcpu->lock);
    sleep_locked(vcpu);
    g_mutex_unlock(&vcpu->lock);
    adapt_poll(vcpu, mono_now() - start);
}

static void handle_exit(Vcpu *vcpu, VcpuExit why)
{
    Machine *machine = vcpu->dev.machine;
    switch (why) {
    case VCPU_EXIT_KICKED:
        return;
    case VCPU_EXIT_HALTED:
        break;
    case VCPU_EXIT_SHUTDOWN: /* a PC's chip set answers the shutdown cycle of a triple fault with a reset */
    case VCPU_EXIT_RESET:
        machine_request_reset(machine, CAUSE_GUEST_RESET);
        break;
    case VCPU_EXIT_DEBUG:
        machine_request_stop(machine, RUN_DEBUG);
        break;
    case VCPU_EXIT_FAILED:
        machine_request_stop(machine, RUN_INTERNAL_ERROR);
        break;
    }
    wait_for_wish(vcpu);
}

static void name_thread(const Vcpu *vcpu)
{
    char name[16];
    const char *accel = accel_class(vcpu->accel)->accel_name;
    g_autofree char *upper = g_ascii_strup(accel, -1);
    if (!vcpu->dev.machine->debug_threads)
        return;
    snprintf(name, sizeof(name), "CPU %u/%s", vcpu->index, upper);
    pthread_setname_np(pthread_self(), name);
}

/* Signals that end the process belong to the main thread: there they interrupt the poll and nothing else. */
static void block_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static gpointer vcpu_thread(gpointer data)
{
    Vcpu *vcpu = data;
    VcpuExit (*run)(Vcpu *) = accel_class(vcpu->accel)->run;
    current = vcpu;
    block_signals();
    name_thread(vcpu);
    g_mutex_lock(&vcpu->lock);
    vcpu->thread_id = gettid();
    g_cond_broadcast(&vcpu->parked_cond);
    g_mutex_unlock(&vcpu->lock);
    while (prepare(vcpu)) {
        vcpu_refresh_views(vcpu);
        handle_exit(vcpu, run(vcpu));
    }
    return NULL;
}

/* ---- life ---- */

static void map_changed(MemListener *listener, AddressSpace *as, const MemView *old_view, const MemView *new_view)
{
    vcpu_kick(listener->opaque);
}

static void enter_in_machine(Vcpu *vcpu)
{
    Machine *machine = vcpu->dev.machine;
    if (vcpu->index >= machine->nr_vcpus) {
        machine->vcpus = g_renew(Vcpu *, machine->vcpus, vcpu->index + 1);
        memset(machine->vcpus + machine->nr_vcpus, 0, (vcpu->index + 1 - machine->nr_vcpus) * sizeof(Vcpu *));
        machine->nr_vcpus = vcpu->index + 1;
    }
    machine->vcpus[vcpu->index] = vcpu;
}

static void drop_views(Vcpu *vcpu)
{
    if (!vcpu->mem_view)
        return;
    address_space_remove_listener(vcpu->mem, &vcpu->map_listener);
    address_space_remove_listener(vcpu->io, &vcpu->map_listener);
    g_clear_pointer(&vcpu->mem_view, mem_view_unref);
    g_clear_pointer(&vcpu->io_view, mem_view_unref);
}

static bool start_thread(Vcpu *vcpu, GError **err)
{
    g_autoptr(GError) local = NULL;
    g_autofree char *name = g_strdup_printf("CPU %u", vcpu->index);
    vcpu->quit = false;
    vcpu->host_cpus = g_get_num_processors();
    vcpu->stop = !runstate_is_running(vcpu->dev.machine->run);
    vcpu->thread = g_thread_try_new(name, vcpu_thread, vcpu, &local);
    if (!vcpu->thread) {
        error_set(err, "can't start the thread of CPU %u: %s", vcpu->index, local->message);
        return false;
    }
    g_mutex_lock(&vcpu->lock);
    while (!vcpu->thread_id)
        g_cond_wait(&vcpu->parked_cond, &vcpu->lock);
    g_mutex_unlock(&vcpu->lock);
    return true;
}

bool vcpu_start(Vcpu *vcpu, GError **err)
{
    Machine *machine = vcpu->dev.machine;
    if (!vcpu->accel)
        vcpu->accel = machine->accel;
    g_assert(vcpu->accel && !vcpu->thread);
    if (!vcpu->mem)
        vcpu->mem = machine->mem;
    if (!vcpu->io)
        vcpu->io = machine->io;
    vcpu->map_listener = (MemListener){ map_changed, vcpu };
    address_space_add_listener(vcpu->mem, &vcpu->map_listener);
    address_space_add_listener(vcpu->io, &vcpu->map_listener);
    vcpu->mem_view = address_space_view_ref(vcpu->mem);
    vcpu->io_view = address_space_view_ref(vcpu->io);
    const AccelClass *klass = accel_class(vcpu->accel);
    if (klass->vcpu_init && !klass->vcpu_init(vcpu->accel, vcpu, err)) {
        drop_views(vcpu);
        return false;
    }
    if (klass->run && !start_thread(vcpu, err)) {
        if (klass->vcpu_destroy)
            klass->vcpu_destroy(vcpu);
        drop_views(vcpu);
        return false;
    }
    enter_in_machine(vcpu);
    return true;
}

void vcpu_destroy(Vcpu *vcpu)
{
    if (!vcpu || !vcpu->mem_view)
        return;
    Machine *machine = vcpu->dev.machine;
    if (vcpu->thread) {
        /* Its thread may be waiting for the domain's lock in a register access. */
        unsigned depth = domain_release_all(machine->domain);
        g_mutex_lock(&vcpu->lock);
        vcpu->quit = true;
        g_mutex_unlock(&vcpu->lock);
        vcpu_kick(vcpu);
        g_thread_join(vcpu->thread);
        domain_reacquire(machine->domain, depth);
        vcpu->thread = NULL;
        vcpu->thread_id = 0;
    }
    const AccelClass *klass = accel_class(vcpu->accel);
    if (klass->vcpu_destroy)
        klass->vcpu_destroy(vcpu);
    drop_views(vcpu);
    if (vcpu->index < machine->nr_vcpus && machine->vcpus[vcpu->index] == vcpu)
        machine->vcpus[vcpu->index] = NULL;
}

/* Whether that changed anything. */
static bool set_stop(Vcpu *vcpu, bool stop)
{
    g_mutex_lock(&vcpu->lock);
    bool changed = vcpu->stop != stop;
    vcpu->stop = stop;
    g_mutex_unlock(&vcpu->lock);
    if (changed)
        vcpu_kick(vcpu);
    return changed;
}

static bool is_parked(Vcpu *vcpu)
{
    g_mutex_lock(&vcpu->lock);
    bool parked = vcpu->parked;
    g_mutex_unlock(&vcpu->lock);
    return parked;
}

void vcpu_stop_current(void)
{
    if (current)
        set_stop(current, true);
}

void vcpus_pause_all(Machine *machine)
{
    bool wait = false;
    g_assert(!current);
    for (unsigned i = 0; i < machine->nr_vcpus; i++) {
        Vcpu *vcpu = machine->vcpus[i];
        if (vcpu && vcpu->thread)
            wait |= set_stop(vcpu, true) || !is_parked(vcpu);
    }
    if (!wait)
        return;
    unsigned depth = domain_release_all(machine->domain);
    for (unsigned i = 0; i < machine->nr_vcpus; i++) {
        Vcpu *vcpu = machine->vcpus[i];
        if (!vcpu || !vcpu->thread)
            continue;
        g_mutex_lock(&vcpu->lock);
        while (!vcpu->parked)
            g_cond_wait(&vcpu->parked_cond, &vcpu->lock);
        g_mutex_unlock(&vcpu->lock);
    }
    domain_reacquire(machine->domain, depth);
}

void vcpus_resume_all(Machine *machine)
{
    for (unsigned i = 0; i < machine->nr_vcpus; i++)
        if (machine->vcpus[i] && machine->vcpus[i]->thread)
            set_stop(machine->vcpus[i], false);
}

/* ---- I/O ---- */

static bool refresh(AddressSpace *as, MemView **view, unsigned *hint)
{
    if (G_LIKELY(address_space_generation(as) == (*view)->generation))
        return false;
    mem_view_unref(*view);
    *view = address_space_view_ref(as);
    *hint = 0;
    return true;
}

bool vcpu_refresh_views(Vcpu *vcpu)
{
    refresh(vcpu->io, &vcpu->io_view, &vcpu->io_hint);
    return refresh(vcpu->mem, &vcpu->mem_view, &vcpu->mem_hint);
}

static uint64_t view_read(const MemView *view, unsigned *hint, uint64_t addr, unsigned size)
{
    uint64_t value;
    const MemRange *r = mem_view_find(view, addr, hint);
    if (G_LIKELY(r && r->size - (addr - r->start) >= size))
        mem_range_read(r, addr, &value, size);
    else
        mem_view_read(view, addr, &value, size);
    return value;
}

static void view_write(const MemView *view, unsigned *hint, uint64_t addr, uint64_t value, unsigned size)
{
    const MemRange *r = mem_view_find(view, addr, hint);
    if (G_LIKELY(r && r->size - (addr - r->start) >= size))
        mem_range_write(r, addr, value, size);
    else
        mem_view_write(view, addr, value, size);
}

uint64_t vcpu_mmio_read(Vcpu *vcpu, uint64_t gpa, unsigned size)
{
    return view_read(vcpu->mem_view, &vcpu->mem_hint, gpa, size);
}

void vcpu_mmio_write(Vcpu *vcpu, uint64_t gpa, uint64_t value, unsigned size)
{
    view_write(vcpu->mem_view, &vcpu->mem_hint, gpa, value, size);
}

uint32_t vcpu_pio_read(Vcpu *vcpu, uint16_t port, unsigned size)
{
    return view_read(vcpu->io_view, &vcpu->io_hint, port, size);
}

void vcpu_pio_write(Vcpu *vcpu, uint16_t port, uint32_t value, unsigned size)
{
    view_write(vcpu->io_view, &vcpu->io_hint, port, value, size);
}

/* ---- class ---- */

static void vcpu_init(Object *obj)
{
    Vcpu *vcpu = VCPU(obj);
    g_mutex_init(&vcpu->lock);
    g_cond_init(&vcpu->wake);
    g_cond_init(&vcpu->parked_cond);
    g_queue_init(&vcpu->work);
}

static void vcpu_finalize(Object *obj)
{
    Vcpu *vcpu = VCPU(obj);
    g_queue_clear_full(&vcpu->work, g_free);
    g_mutex_clear(&vcpu->lock);
    g_cond_clear(&vcpu->wake);
    g_cond_clear(&vcpu->parked_cond);
}

static const DeviceClass vcpu_class = {
    .name = TYPE_VCPU,
    .parent = TYPE_DEVICE,
    .desc = "a virtual CPU",
    .size = sizeof(Vcpu),
    .abstract = true,
    .internal = true,
    .category = DEV_CPU,
    .init = vcpu_init,
    .finalize = vcpu_finalize,
};
REGISTER_OBJECT(vcpu_class)
