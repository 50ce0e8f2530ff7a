/*
 * Self- and cross-modifying code. Pages with translated code carry RAM_WATCH_CODE, so that no TLB entry allows writing them
 * unseen; a shared map of 64-byte lines tells writes to code from writes to data beside it.
 *
 * A vCPU that is about to read code first announces its lines and the watch bit, then makes sure that no other vCPU can still
 * write the page unseen: those that might are kicked and waited for.
 */
#include "accel/dbt/dbt.h"

#include <string.h>
#include <sys/mman.h>

#define LINES_ALL UINT64_MAX

/* The record of a RAM block; made on first use. NULL: out of slots or memory. */
static DbtRam *ram_record(Dbt *dbt, RamBlock *ram)
{
    for (unsigned i = 0, n = atomic_load(&dbt->n_rams); i < n; i++)
        if (dbt->rams[i].ram == ram)
            return &dbt->rams[i];
    return NULL;
}

static DbtRam *ram_record_make(DbtVcpu *v, RamBlock *ram)
{
    Dbt *dbt = v->dbt;
    DbtRam *r = ram_record(dbt, ram);
    if (r)
        return r;
    dbt_fpu_out(v->cpu);
    g_mutex_lock(&dbt->lock);
    r = ram_record(dbt, ram);
    unsigned n = atomic_load(&dbt->n_rams);
    if (!r && n < DBT_MAX_RAMS) {
        size_t pages = ram->size >> 12, size = pages * 12;
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p != MAP_FAILED) {
            r = &dbt->rams[n];
            *r = (DbtRam){ ram, p, (void *)((char *)p + pages * 8) };
            atomic_store(&dbt->n_rams, n + 1);
        }
    }
    g_mutex_unlock(&dbt->lock);
    g_assert(r); /* as many RAM blocks as a PC never has */
    return r;
}

static uint64_t line_mask(uint64_t off, uint64_t len)
{
    uint64_t first = (off & 0xfff) >> 6, last = MIN((off & 0xfff) + len - 1, 4095u) >> 6;
    return (LINES_ALL >> (63 - (last - first))) << first;
}

static uint32_t vcpu_bit(const DbtVcpu *v) { return 1u << (v->index & 15); }

/* ---- requests between vCPUs ------------------------------------------------------------------------------------ */

static void post_locked(DbtVcpu *to, uint64_t hva, uint64_t lines)
{
    if (to->n_post < G_N_ELEMENTS(to->post))
        to->post[to->n_post++] = (__typeof__(to->post[0])){ hva, lines };
    else
        to->post_all = true;
    atomic_fetch_add(&to->post_seq, 1);
    to->ctx->exit_flag = EXIT_FLAG;
    vcpu_kick(&to->cpu->vcpu);
}

static void kill_lines(DbtVcpu *v, uint64_t hva, uint64_t lines)
{
    CodePage *page = dbt_page_find(v, hva);
    if (!page)
        return;
    for (Block *b = page->blocks, *next; b; b = next) {
        unsigned which = b->page[0] != hva;
        next = b->page_next[which];
        if (b->lines[which] & lines)
            dbt_block_kill(v, b);
    }
}

void dbt_smc_process(DbtVcpu *v)
{
    if (atomic_load(&v->post_seq) == atomic_load(&v->done_seq))
        return;
    dbt_fpu_out(v->cpu);
    g_mutex_lock(&v->dbt->lock);
    for (unsigned i = 0; i < v->n_post; i++) {
        if (v->post[i].lines)
            kill_lines(v, v->post[i].hva, v->post[i].lines);
        else
            dbt_tlb_drop_write(v, v->post[i].hva);
    }
    if (v->post_all) {
        dbt_cache_flush(v);
        dbt_tlb_flush(v->cpu, X86_TLB_ALL, 0, 0);
    }
    v->n_post = 0;
    v->post_all = false;
    atomic_store(&v->done_seq, atomic_load(&v->post_seq));
    g_mutex_unlock(&v->dbt->lock);
}

/* No other vCPU keeps a TLB entry that allows writing the page. Lock not held. */
static void stop_writers(DbtVcpu *v, DbtRam *r, uint64_t page, uint64_t hva)
{
    Dbt *dbt = v->dbt;
    uint32_t seq[G_N_ELEMENTS(dbt->vcpus)];
    bool waiting = false;
    uint32_t writers = atomic_fetch_and(&r->writers[page], ~0xffffu) & 0xffff;
    if (writers & vcpu_bit(v))
        dbt_tlb_drop_write(v, hva);
    if (dbt->n_vcpus == 1 || !(writers & ~(dbt->n_vcpus <= 16 ? vcpu_bit(v) : 0)))
        return;
    g_mutex_lock(&dbt->lock);
    unsigned n = dbt->n_vcpus;
    for (unsigned i = 0; i < n; i++) {
        DbtVcpu *o = dbt->vcpus[i];
        seq[i] = 0;
        if (!o || o == v || !(writers & vcpu_bit(o)))
            continue;
        post_locked(o, hva, 0);
        seq[i] = atomic_load(&o->post_seq);
        waiting = true;
    }
    g_mutex_unlock(&dbt->lock);
    while (waiting) { /* they leave guest code within microseconds, or wait for us in the same way */
        waiting = false;
        dbt_smc_process(v);
        for (unsigned i = 0; i < n; i++) {
            DbtVcpu *o = dbt->vcpus[i];
            if (o && seq[i] && atomic_load(&o->in_code) && (int32_t)(atomic_load(&o->done_seq) - seq[i]) < 0)
                waiting = true;
        }
        if (waiting)
            g_thread_yield();
    }
}

/* ---- registration ---------------------------------------------------------------------------------------------- */

/*
 * The first vCPU on a page waits for the page's writers under announce_lock, so that a second one can't read code meanwhile. Lines and
 * the watch bit change together under lock: a writer that takes the last line off a page takes the bit with it.
 */
static void announce(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t hva, uint64_t lines)
{
    Dbt *dbt = v->dbt;
    DbtRam *r = ram_record_make(v, ram);
    uint64_t page = offset >> 12;
    uint32_t code_bit = vcpu_bit(v) << 16;
    hva &= ~0xfffull;
    dbt_page_get(v, hva);
    if (atomic_load(&r->writers[page]) & code_bit && (atomic_load(&r->lines[page]) & lines) == lines)
        return;
    dbt_fpu_out(v->cpu);
    g_mutex_lock(&dbt->announce_lock);
    g_mutex_lock(&dbt->lock);
    atomic_fetch_or(&r->writers[page], code_bit);
    atomic_fetch_or(&r->lines[page], lines);
    bool first = !(atomic_fetch_or(&ram->watch[page], RAM_WATCH_CODE) & RAM_WATCH_CODE);
    g_mutex_unlock(&dbt->lock);
    if (first)
        stop_writers(v, r, page, hva);
    g_mutex_unlock(&dbt->announce_lock);
}

void dbt_smc_watch(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t hva, unsigned len)
{
    announce(v, ram, offset, hva, line_mask(hva, len));
}

void dbt_smc_lines(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t hva, uint64_t lines)
{
    announce(v, ram, offset, hva, lines);
}

bool dbt_smc_hits(Dbt *dbt, RamBlock *ram, uint64_t offset, uint64_t len)
{
    DbtRam *r = ram_record(dbt, ram);
    return r && atomic_load(&r->lines[offset >> 12]) & line_mask(offset, len);
}

void dbt_smc_writer(DbtVcpu *v, RamBlock *ram, uint64_t offset)
{
    DbtRam *r = ram_record_make(v, ram);
    if (!(atomic_load(&r->writers[offset >> 12]) & vcpu_bit(v)))
        atomic_fetch_or(&r->writers[offset >> 12], vcpu_bit(v));
}

/* ---- writes ---------------------------------------------------------------------------------------------------- */

static void page_written(Dbt *dbt, DbtRam *r, RamBlock *ram, uint64_t page, uint64_t lines)
{
    if (!(atomic_load(&r->lines[page]) & lines))
        return;
    Vcpu *me = vcpu_current();
    uint64_t hva = (uint64_t)(uintptr_t)ram->host + (page << 12);
    g_mutex_lock(&dbt->lock);
    uint64_t left = atomic_fetch_and(&r->lines[page], ~lines) & ~lines;
    uint32_t holders = atomic_load(&r->writers[page]) >> 16;
    for (unsigned i = 0; i < dbt->n_vcpus; i++) {
        DbtVcpu *o = dbt->vcpus[i];
        if (!o || !(holders & vcpu_bit(o)))
            continue;
        if (&o->cpu->vcpu == me)
            kill_lines(o, hva, lines);
        else
            post_locked(o, hva, lines);
    }
    if (!left) {
        atomic_fetch_and(&r->writers[page], 0xffffu);
        atomic_fetch_and(&ram->watch[page], (uint8_t)~RAM_WATCH_CODE);
    }
    g_mutex_unlock(&dbt->lock);
}

static void ram_written(void *opaque, RamBlock *ram, uint64_t offset, uint64_t len)
{
    Dbt *dbt = opaque;
    DbtRam *r = ram_record(dbt, ram);
    if (!r || !len)
        return;
    for (uint64_t at = offset, end = offset + len; at < end;) {
        uint64_t n = MIN(end - at, 4096 - (at & 0xfff));
        page_written(dbt, r, ram, at >> 12, line_mask(at, n));
        at += n;
    }
}

bool dbt_smc_init(Dbt *dbt)
{
    g_mutex_init(&dbt->lock);
    g_mutex_init(&dbt->announce_lock);
    ram_set_watch_func(RAM_WATCH_CODE, ram_written, dbt);
    return true;
}
