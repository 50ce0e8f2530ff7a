/*
 * The software TLB: fills, flushes, code fetch. Compiled without vector registers; nothing here calls the C library.
 */
#include "accel/dbt/dbt.h"

/* ---- physical ranges ------------------------------------------------------------------------------------------- */

void dbt_ranges_update(DbtVcpu *v)
{
    const MemView *view = v->cpu->vcpu.mem_view;
    dbt_fpu_out(v->cpu);
    v->ranges = g_renew(DbtRange, v->ranges, view->n + 1);
    v->n_ranges = 0;
    for (unsigned i = 0; i < view->n; i++) {
        const MemRange *r = &view->ranges[i];
        if (r->ram)
            v->ranges[v->n_ranges++] = (DbtRange){ .gpa = r->start, .size = r->size, .hva = r->ram->host + r->offset,
                                                   .ram = r->ram, .offset = r->offset, .readonly = r->readonly };
    }
    v->view_generation = view->generation;
    v->last_range = 0;
    dbt_tlb_flush(v->cpu, X86_TLB_ALL, 0, 0);
}

const DbtRange *dbt_range_find(DbtVcpu *v, uint64_t gpa)
{
    const DbtRange *r = &v->ranges[v->last_range];
    if (v->n_ranges && gpa - r->gpa < r->size)
        return r;
    for (unsigned lo = 0, hi = v->n_ranges; lo < hi;) {
        unsigned mid = (lo + hi) / 2;
        r = &v->ranges[mid];
        if (gpa - r->gpa < r->size) {
            v->last_range = mid;
            return r;
        }
        if (gpa < r->gpa)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

/* The range when it holds the whole page of gpa. */
static const DbtRange *page_range(DbtVcpu *v, uint64_t gpa)
{
    const DbtRange *r = dbt_range_find(v, gpa);
    uint64_t page = gpa & ~0xfffull;
    if (!r || page < r->gpa || page + 4096 > r->gpa + r->size || ((uintptr_t)r->hva + (page - r->gpa)) & 0xfff)
        return NULL;
    return r;
}

/* ---- flushes --------------------------------------------------------------------------------------------------- */

static void clear_entry(DbtCtx *ctx, unsigned mode, unsigned i)
{
    ctx->rtag[mode][i] = ctx->wtag[mode][i] = TLB_NONE;
}

static void flush_log(DbtVcpu *v, unsigned global)
{
    DbtCtx *ctx = v->ctx;
    for (unsigned m = 0; m < MODE_COUNT; m++) {
        unsigned n = v->n_tlb_log[global][m];
        if (n < TLB_LOG) {
            for (unsigned i = 0; i < n; i++)
                clear_entry(ctx, m, v->tlb_log[global][m][i]);
        } else {
            for (unsigned i = 0; i < TLB_SIZE; i++)
                clear_entry(ctx, m, i);
            v->n_tlb_log[!global][m] = 0;
        }
        v->n_tlb_log[global][m] = 0;
        ctx->sp[m].tag = TLB_NONE;
    }
}

static void flush_exec(DbtVcpu *v, bool global)
{
    for (unsigned i = 0; i < EXEC_TLB; i++)
        if (global || !v->exec[i].global)
            v->exec[i].vpage = UINT64_MAX;
}

static void flush_page(DbtVcpu *v, uint64_t lin)
{
    DbtCtx *ctx = v->ctx;
    unsigned i = (lin >> 12) & (TLB_SIZE - 1);
    for (unsigned m = 0; m < MODE_COUNT; m++) {
        if (ctx->rtag[m][i] == (lin & ~0xfffull) || ctx->wtag[m][i] == (lin & ~0xfffull))
            clear_entry(ctx, m, i);
        ctx->sp[m].tag = TLB_NONE;
    }
    for (unsigned user = 0; user < 2; user++) {
        ExecTlb *e = &v->exec[(lin >> 12) & (EXEC_TLB - 1)];
        if (e->vpage >> 1 == lin >> 12)
            e->vpage = UINT64_MAX;
    }
    if (v->jc_pages[(lin >> 18) & 63] >> ((lin >> 12) & 63) & 1)
        dbt_jc_flush(v);
}

void dbt_tlb_flush(X86Cpu *cpu, X86TlbFlush kind, uint64_t lin, unsigned pcid)
{
    DbtVcpu *v = dbt_of(cpu);
    switch (kind) {
    case X86_TLB_PAGE:
        flush_page(v, lin);
        return;
    case X86_TLB_ALL:
        flush_log(v, 1);
        flush_log(v, 0);
        flush_exec(v, true);
        dbt_jc_flush(v);
        return;
    case X86_TLB_NON_GLOBAL: case X86_TLB_PCID: case X86_TLB_SWITCH: case X86_TLB_SWITCH_FLUSH:
        flush_log(v, 0);
        flush_exec(v, false);
        dbt_jc_flush_local(v);
        return;
    }
}

void dbt_tlb_drop_write(DbtVcpu *v, uint64_t hva_page)
{
    DbtCtx *ctx = v->ctx;
    for (unsigned m = 0; m < MODE_COUNT; m++) {
        for (unsigned i = 0; i < TLB_SIZE; i++)
            if (ctx->addend[m][i] == hva_page)
                ctx->wtag[m][i] = TLB_NONE;
        ctx->sp[m].tag = TLB_NONE;
    }
}

/* ---- fills ----------------------------------------------------------------------------------------------------- */

static void fill(DbtVcpu *v, uint64_t lin, unsigned mode, uint8_t *page, bool write, bool global)
{
    DbtCtx *ctx = v->ctx;
    unsigned i = (lin >> 12) & (TLB_SIZE - 1);
    ctx->rtag[mode][i] = lin & ~0xfffull;
    ctx->wtag[mode][i] = write ? lin & ~0xfffull : TLB_NONE;
    ctx->addend[mode][i] = (uint64_t)(uintptr_t)page;
    if (v->n_tlb_log[global][mode] < TLB_LOG)
        v->tlb_log[global][mode][v->n_tlb_log[global][mode]++] = i;
}

void dbt_place(DbtVcpu *v, uint64_t lin, unsigned mode, bool write, DbtPlace *place)
{
    DbtCtx *ctx = v->ctx;
    unsigned i = (lin >> 12) & (TLB_SIZE - 1);
    place->fault = false;
    place->ram = NULL;
    if ((write ? ctx->wtag[mode][i] : ctx->rtag[mode][i]) == (lin & ~0xfffull)) {
        place->hva = (uint8_t *)(uintptr_t)ctx->addend[mode][i] + (lin & 0xfff);
        return;
    }
    unsigned access = (write ? X86_WRITE : X86_READ) | (mode != MODE_USER && v->cpu->st.cpl == 3 ? X86_SUPERVISOR : 0);
    place->hva = NULL;
    X86Translation *tr = &place->tr;
    if (!x86_mmu_translate(v->cpu, lin, access, tr)) {
        place->fault = true;
        return;
    }
    const DbtRange *r = page_range(v, tr->gpa);
    if (!r || (write && r->readonly))
        return;
    uint8_t *hva = r->hva + (tr->gpa - r->gpa);
    uint64_t offset = r->offset + (tr->gpa - r->gpa);
    bool may_write = (write || tr->perms & X86_PERM_W) && !r->readonly;
    bool watched = false;
    if (may_write) {
        dbt_smc_writer(v, r->ram, offset);
        watched = __atomic_load_n((uint8_t *)&r->ram->watch[offset >> 12], __ATOMIC_SEQ_CST);
    }
    fill(v, lin, mode, hva - (lin & 0xfff), may_write && !watched, tr->global);
    place->hva = hva;
    if (write && watched) {
        place->ram = r->ram;
        place->offset = offset;
    }
}

void *dbt_tlb_lookup(X86Cpu *cpu, uint64_t lin, unsigned access)
{
    DbtVcpu *v = dbt_of(cpu);
    bool write = (access & X86_KIND) == X86_WRITE;
    unsigned mode = access & X86_SUPERVISOR ? MODE_KERNEL : dbt_mode(&cpu->st);
    if ((access & X86_KIND) == X86_EXEC || access & X86_PROBE)
        return NULL;
    DbtPlace place;
    dbt_place(v, lin, mode, write, &place);
    return place.fault || place.ram ? NULL : place.hva;
}

uint8_t *dbt_fetch(DbtVcpu *v, uint64_t lin, ExecTlb *out)
{
    X86State *st = &v->cpu->st;
    uint64_t vpage = (lin >> 12) << 1 | (st->cpl == 3);
    ExecTlb *e = &v->exec[(lin >> 12) & (EXEC_TLB - 1)];
    if (e->vpage != vpage) {
        X86Translation tr;
        if (x86_code64(st) && !x86_canonical(lin))
            x86_fault(v->cpu, EXC_GP, 0);
        if (!x86_mmu_translate(v->cpu, lin, X86_EXEC, &tr))
            x86_fault_translation(v->cpu, &tr);
        const DbtRange *r = page_range(v, tr.gpa);
        if (!r)
            return NULL;
        uint64_t page = tr.gpa & ~0xfffull;
        *e = (ExecTlb){ vpage, (uint64_t)(uintptr_t)r->hva + (page - r->gpa), r->ram, r->offset + (page - r->gpa), tr.global };
    }
    *out = *e;
    return (uint8_t *)(uintptr_t)e->hva + (lin & 0xfff);
}
