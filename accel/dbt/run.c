/*
 * The run loop of a vCPU and the accelerator class. Compiled without vector registers: the guest's stay in the host's across exits that
 * do not need them.
 */
#include "accel/dbt/run.h"

#include "accel/x86/isa.h"

static void copy_xsave(void *to, const void *from)
{
    uint64_t n = X86_XSAVE_SIZE / 8;
    __asm__ volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) :: "memory");
}

/* XSAVE wants 64-byte alignment, which an object can't promise: hence the copies. */
static void fpu_save(DbtVcpu *v)
{
    uint32_t lo = v->xmask, hi = v->xmask >> 32, mxcsr = 0x1f80;
    __asm__ volatile("xsave64 %0" : "+m"(v->ctx->xsave) : "a"(lo), "d"(hi) : "memory");
    __asm__ volatile("fninit\n\tldmxcsr %0" :: "m"(mxcsr));
    copy_xsave(v->cpu->st.xsave, v->ctx->xsave);
}

void dbt_fpu_out(X86Cpu *cpu)
{
    DbtVcpu *v = dbt_of(cpu);
    if (!v->vec_live)
        return;
    v->vec_live = false;
    fpu_save(v);
}

void dbt_fpu_in(DbtVcpu *v)
{
    uint32_t lo = v->xmask, hi = v->xmask >> 32;
    if (v->vec_live)
        return;
    v->vec_live = true;
    copy_xsave(v->ctx->xsave, v->cpu->st.xsave);
    __asm__ volatile("xrstor64 %0" :: "m"(v->ctx->xsave), "a"(lo), "d"(hi) : "memory");
}

/* ---- the key --------------------------------------------------------------------------------------------------- */

unsigned dbt_mode(const X86State *st)
{
    if (st->cpl == 3)
        return MODE_USER;
    return st->cr4 & CR4_SMAP && st->rflags & FL_AC ? MODE_KERNEL_AC : MODE_KERNEL;
}

static bool seg_flat(const X86State *st, unsigned seg)
{
    const X86Segment *s = &st->seg[seg];
    const unsigned want = SEG_ATTR_P | SEG_ATTR_S | SEG_ATTR_RW;
    return s->base == 0 && s->limit == UINT32_MAX && (s->attr & want) == want &&
           !(s->attr & (SEG_ATTR_CE | SEG_ATTR_CODE));
}

/* Soft segments: exclusive end of what may be read and written; 0 sends every access to C. */
static uint64_t seg_end(const X86State *st, unsigned seg)
{
    const X86Segment *s = &st->seg[seg];
    if (!(st->cr0 & CR0_PE) || st->rflags & FL_VM)
        return (uint64_t)s->limit + 1;
    if (!(s->attr & SEG_ATTR_P) || !(s->attr & SEG_ATTR_S))
        return 0;
    if (s->attr & SEG_ATTR_CODE)
        return s->attr & SEG_ATTR_RW ? (uint64_t)s->limit + 1 : 0; /* readable; never written, see tr_seg_usable() */
    return (s->attr & SEG_ATTR_RW) && !(s->attr & SEG_ATTR_CE) ? (uint64_t)s->limit + 1 : 0;
}

static void update_segments(DbtVcpu *v)
{
    X86State *st = &v->cpu->st;
    for (unsigned i = 0; i < 6; i++) {
        v->ctx->seg[i].base = st->seg[i].base;
        v->ctx->seg[i].limit = seg_end(st, i);
    }
    v->ctx->tsc_offset = st->tsc_offset;
}

static uint32_t fpu_key(const X86State *st)
{
    uint32_t key = 0;
    if (st->cr0 & (CR0_EM | CR0_TS))
        key |= KEY_FPU_EXC | KEY_SSE_EXC | KEY_AVX_EXC;
    if (!(st->cr4 & CR4_OSFXSR))
        key |= KEY_SSE_EXC;
    if (!(st->cr4 & CR4_OSXSAVE) || (st->xcr0 & 6) != 6 || !(st->cr0 & CR0_PE) || st->rflags & FL_VM)
        key |= KEY_AVX_EXC;
    return key;
}

static void update_key(DbtVcpu *v)
{
    X86State *st = &v->cpu->st;
    unsigned bits = x86_code_bits(st);
    uint32_t key = dbt_mode(st) | (bits == 64 ? 2u : bits == 32 ? 1u : 0u) << KEY_BITS_SHIFT | fpu_key(st);
    if (bits != 64) {
        key |= st->seg[SEG_SS].attr & SEG_ATTR_DB ? KEY_SS32 : 0;
        key |= (seg_flat(st, SEG_DS) ? KEY_FLAT_DS : 0) | (seg_flat(st, SEG_ES) ? KEY_FLAT_ES : 0) |
               (seg_flat(st, SEG_SS) ? KEY_FLAT_SS : 0);
    }
    key |= (st->rflags & FL_DF ? KEY_DF : 0) | (st->cpl == 3 ? KEY_CPL3 : 0);
    key |= !(st->cr0 & CR0_PE) || st->rflags & FL_VM ? KEY_REAL : 0;
    key |= st->rflags & FL_VM ? KEY_VM86 : 0;
    key |= st->cr4 & CR4_TSD && st->cpl == 3 ? KEY_TSD : 0;
    key |= st->rflags & FL_TF || x86_breakpoints_on(st) ? KEY_STEP : 0;
    v->key = key;
    v->cs_base = bits == 64 ? 0 : st->seg[SEG_CS].base;
    v->key_stale = false;
    update_segments(v);
    dbt_jc_enter_mode(v, key, v->cs_base);
}

static void mode_changed(X86Cpu *cpu) { dbt_of(cpu)->key_stale = true; }

static const X86EngineOps engine_ops = {
    .tlb_flush = dbt_tlb_flush,
    .mode_changed = mode_changed,
    .tlb_lookup = dbt_tlb_lookup,
    .fpu_out = dbt_fpu_out,
};

/* ---- one instruction by C -------------------------------------------------------------------------------------- */

/* Decodes at rip through a cache of what was decoded before. */
static ExecInsn *decode_exec(DbtVcpu *v)
{
    X86Cpu *cpu = v->cpu;
    X86State *st = &cpu->st;
    unsigned bits = x86_code_bits(st);
    uint8_t buf[16] = { 0 };
    unsigned have = 15;
    uint64_t lin = bits == 64 ? st->rip : (uint32_t)(st->seg[SEG_CS].base + st->rip);
    ExecTlb where;
    const uint8_t *p = (lin & 0xfff) <= 4096 - 15 && (bits == 64 || st->rip + 15 <= st->seg[SEG_CS].limit) ?
                       dbt_fetch(v, lin, &where) : NULL;
    if (p) {
        st64(buf, ld64(p));
        st64(buf + 7, ld64(p + 7));
    } else {
        have = x86_fetch(cpu, buf);
    }
    uint32_t mode = bits | (x86_protected(st) ? 0 : 1);
    uint64_t a = ld64(buf), b = ld64(buf + 7);
    ExecInsn *e = &v->exec_cache[((a ^ (b << 5)) * 0x9e3779b97f4a7c15ull ^ mode) >> 56];
    uint64_t mask_a = e->insn.length >= 8 ? UINT64_MAX : mask_bytes(e->insn.length ? e->insn.length : 1);
    if (e->mode == mode && e->insn.length && !((e->a ^ a) & mask_a) &&
        (e->insn.length <= 8 || !((e->b ^ b) & (mask_bytes(e->insn.length - 7)))))
        return e;
    e = &v->exec_cache[((a ^ (b << 5)) * 0x9e3779b97f4a7c15ull ^ mode) >> 56];
    e->insn.length = 0;
    dbt_fpu_out(cpu);
    ZydisDecoder decoder;
    x86_decoder_init(cpu, bits, &decoder);
    ZyanStatus status = x86_decode(&decoder, buf, have, &e->insn, e->ops);
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        x86_fetch_more_fault(cpu, have);
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        x86_fault(cpu, EXC_GP, 0);
    if (!ZYAN_SUCCESS(status)) {
        e->insn.length = 0;
        x86_fault(cpu, EXC_UD, 0);
    }
    e->a = a;
    e->b = b;
    st64(e->bytes, a);
    st64(e->bytes + 7, b);
    e->mode = mode;
    return e;
}

/* Executes the instruction at st.rip in C. */
static void exec_one(DbtVcpu *v)
{
    X86Cpu *cpu = v->cpu;
    X86State *st = &cpu->st;
    bool tf = st->rflags & FL_TF;
    uint64_t before = st->rflags;
    if (x86_breakpoints_on(st)) {
        uint64_t hit = x86_exec_breakpoint(cpu, st->seg[SEG_CS].base * (x86_code_bits(st) != 64) + st->rip);
        if (hit)
            x86_fault_debug(cpu, hit);
    }
    ExecInsn *e = decode_exec(v);
    unsigned done = x86_exec_insn(cpu, &e->insn, e->ops);
    if (done & X86_EXEC_UNKNOWN) {
        /* one that is only ever translated comes here for a segment limit */
        Insn insn;
        dbt_fpu_out(cpu);
        bool known = dbt_decode(v, &insn, e->bytes, e->insn.length, x86_code_bits(st)) > 0 && insn.kind == T_GEN;
        x86_fault(cpu, known && !dbt_excluded(&insn, v->key) ? dbt_segment_fault(v) : EXC_UD, 0);
    }
    if (done & X86_EXEC_MODE || (st->rflags ^ before) & (FL_TF | FL_DF | FL_AC | FL_VM))
        v->key_stale = true;
    if (done & X86_EXEC_REP)
        return;
    if (tf)
        x86_fault_debug(cpu, DR6_BS);
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

/* The block at st.rip; NULL: its code is not in RAM. Faults jump. */
static Block *find_block(DbtVcpu *v, uint32_t key)
{
    uint64_t pc = v->cpu->st.rip, lin = v->cs_base + pc;
    ExecTlb where;
    if (key_bits(key) != 64) {
        lin = (uint32_t)lin;
        if (pc > v->cpu->st.seg[SEG_CS].limit)
            x86_fault(v->cpu, EXC_GP, 0);
    }
    if (!dbt_fetch(v, lin, &where))
        return NULL;
    Block *b = dbt_block_find(v, pc, key, where.hva);
    if (!b)
        b = dbt_translate(v, pc, key);
    if (b)
        dbt_jc_note(v, key & KEY_MODE, lin, where.global);
    return b;
}

static void enter(DbtVcpu *v, Block *b)
{
    DbtCtx *ctx = v->ctx;
    flags_from_state(ctx);
    dbt_fpu_in(v);
    atomic_store_explicit(&v->in_code, true, memory_order_relaxed);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (atomic_load_explicit(&v->post_seq, memory_order_relaxed) == atomic_load_explicit(&v->done_seq, memory_order_relaxed))
        ((void (*)(DbtCtx *, uint64_t))(uintptr_t)v->tr_enter)(ctx, b->host);
    else
        ctx->exit_reason = EXIT_KICKED;
    atomic_store_explicit(&v->in_code, false, memory_order_release);
    if (ctx->exit_reason != EXIT_KICKED)
        flags_to_state(ctx);
}

/* A host fault in translated code becomes the guest's. */
static void raise_signal(DbtVcpu *v)
{
    X86Cpu *cpu = v->cpu;
    Block *b = dbt_block_at_host(v, v->ctx->sig_pc);
    if (!b) {
        v->failed = true;
        return;
    }
    cpu->st.rip = dbt_guest_pc(v, b, v->ctx->sig_pc);
    unsigned vector = v->ctx->sig_no;
    if (vector == EXC_XM && !(cpu->st.cr4 & CR4_OSXMMEXCPT))
        vector = EXC_UD;
    if (vector == EXC_PF || vector > EXC_XM) {
        v->failed = true;
        return;
    }
    x86_fault(cpu, vector, 0);
}

/* What came after leaving translated code: true when the instruction at rip is for C. */
static bool handle_exit(DbtVcpu *v)
{
    DbtCtx *ctx = v->ctx;
    X86State *st = &v->cpu->st;
    v->n_exits[ctx->exit_reason]++;
    switch (ctx->exit_reason) {
    case EXIT_LINK: {
        uint32_t id = ctx->exit_info;
        uint64_t flushes = v->n_flushes;
        st->rip = v->links[id].target;
        if (ctx->exit_flag)
            return false;
        Block *to = find_block(v, v->links[id].key);
        if (to && v->n_flushes == flushes)
            dbt_link(v, id, to);
        return false;
    }
    case EXIT_MISS: {
        st->rip = ctx->save_target;
        if (ctx->exit_flag)
            return false;
        Block *to = find_block(v, v->key);
        if (to)
            dbt_jc_set(v, v->key & KEY_MODE, to->pc, to->checked);
        return false;
    }
    case EXIT_EXEC:
        st->rip = ctx->save_target;
        return true;
    case EXIT_POLL:
        st->rip = ctx->save_target;
        return false;
    case EXIT_SIGNAL:
        raise_signal(v);
        return false;
    default:
        return false;
    }
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

/* Requests and events at an instruction boundary. false: leave with *why. */
static bool attend(DbtVcpu *v, VcpuExit *why)
{
    Vcpu *vcpu = &v->cpu->vcpu;
    X86State *st = &v->cpu->st;
    v->ctx->exit_flag = 0;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    dbt_smc_process(v);
    if (atomic_load(&vcpu->exit_request)) {
        *why = VCPU_EXIT_KICKED;
        return false;
    }
    if (v->view_generation != vcpu->mem_view->generation)
        dbt_ranges_update(v);
    if (vcpu_interrupts(vcpu)) {
        if (st->shadow && !vcpu->halted) {
            v->exec_next = true; /* one instruction first */
            return true;
        }
        switch (x86_poll_events(v->cpu)) {
        case X86_POLL_TAKEN: v->key_stale = true; break;
        case X86_POLL_HALTED: *why = VCPU_EXIT_HALTED; return false;
        case X86_POLL_SHUTDOWN: *why = VCPU_EXIT_SHUTDOWN; return false;
        case X86_POLL_NONE: break;
        }
    }
    if (vcpu->halted) {
        *why = VCPU_EXIT_HALTED;
        return false;
    }
    return true;
}

static bool wants_attention(const DbtVcpu *v)
{
    const Vcpu *vcpu = &v->cpu->vcpu;
    uint32_t pending = vcpu_interrupts(vcpu);
    if (!(v->cpu->st.rflags & FL_IF))
        pending &= ~VCPU_INT_HARD;
    return v->ctx->exit_flag || pending || atomic_load_explicit(&vcpu->exit_request, memory_order_relaxed) || vcpu->halted;
}

/* One round: C executes an instruction, or translated code runs until it leaves. */
static void turn(DbtVcpu *v)
{
    X86Cpu *cpu = v->cpu;
    if (v->key_stale)
        update_key(v);
    if (v->exec_next || v->key & KEY_STEP) {
        v->exec_next = false;
        exec_one(v);
        update_segments(v);
        return;
    }
    Block *b = v->next;
    v->next = NULL;
    if (!b)
        b = find_block(v, v->key);
    if (!b) { /* code in device memory */
        exec_one(v);
        return;
    }
    cpu->st.shadow = 0;
    enter(v, b);
    if (handle_exit(v)) {
        exec_one(v);
        update_segments(v);
    }
}

VcpuExit dbt_run(Vcpu *vcpu)
{
    X86Cpu *cpu = X86_CPU(vcpu);
    DbtVcpu *v = vcpu->accel_data;
    VcpuExit why = VCPU_EXIT_KICKED;
    void *fault_buf[5];
    dbt_signal_thread(v);
    v->key_stale = true;
    v->ctx->exit_flag = EXIT_FLAG; /* the memory map may have changed since */
    cpu->fault_jmp = fault_buf;
    if (__builtin_setjmp(v->exit_jmp))
        atomic_store(&v->in_code, false);
    if (__builtin_setjmp(fault_buf)) {
        v->key_stale = true;
        v->exec_next = false;
        atomic_store(&v->in_code, false);
        if (!x86_deliver(cpu, cpu->fault)) {
            dbt_fpu_out(cpu);
            return VCPU_EXIT_SHUTDOWN;
        }
    }
    while (!v->failed) {
        if (wants_attention(v) && !attend(v, &why))
            break;
        turn(v);
    }
    dbt_fpu_out(cpu);
    if (!v->failed)
        return why;
    v->failed = false;
    return dbt_report_failure(v);
}

VcpuExit dbt_step(Vcpu *vcpu)
{
    X86Cpu *cpu = X86_CPU(vcpu);
    DbtVcpu *v = vcpu->accel_data;
    void *fault_buf[5];
    v->key_stale = true;
    cpu->fault_jmp = fault_buf;
    if (__builtin_setjmp(fault_buf)) {
        if (!x86_deliver(cpu, cpu->fault))
            return VCPU_EXIT_SHUTDOWN;
        return VCPU_EXIT_DEBUG;
    }
    exec_one(v);
    return cpu->vcpu.halted ? VCPU_EXIT_HALTED : VCPU_EXIT_DEBUG;
}

const X86EngineOps *dbt_engine_ops(void) { return &engine_ops; }
