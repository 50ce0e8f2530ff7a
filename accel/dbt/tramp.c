/*
 * Trampolines between C and translated code, emitted once at the start of the code cache.
 *
 * Calling into C spills the guest registers to X86State, so that it is exact there. C runs on the stack below the context: after
 * the call that led to a trampoline the stack pointer is 16-byte aligned minus 8.
 */
#include "accel/dbt/emit.h"

/* Guest registers that live in the host register of the same number. */
static const uint8_t resident[] = { 0, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 14 };
static const uint8_t displaced[] = { 10, 11, 15 };

static int32_t displaced_slot(unsigned reg) { return reg == 10 ? CTX(g10) : reg == 11 ? CTX(g11) : CTX(g15); }

/* R11 = X86State; everything but R10, R11 stored. bias: bytes pushed since the context. RAX is stored by the caller. */
static void emit_spill(Emit *e, int32_t bias)
{
    for (unsigned i = 1; i < G_N_ELEMENTS(resident); i++)
        e_rm(e, 1, 0x89, resident[i], HOST_S1, ST_GPR(resident[i]));
    e_rm(e, 1, 0x89, HOST_RSP, HOST_S1, ST_GPR(R_RSP));
    for (unsigned i = 0; i < G_N_ELEMENTS(displaced); i++) {
        e_ld_ctx(e, 0, displaced_slot(displaced[i]) + bias);
        e_rm(e, 1, 0x89, 0, HOST_S1, ST_GPR(displaced[i]));
    }
}

/* All guest registers from X86State in R11; flags from the context when asked for. */
static void emit_fill(Emit *e, int32_t bias, bool flags)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(displaced); i++) {
        e_rm(e, 1, 0x8b, 0, HOST_S1, ST_GPR(displaced[i]));
        e_st_ctx(e, 0, displaced_slot(displaced[i]) + bias);
    }
    if (flags) {
        e_ld_ctx(e, 0, CTX(flags) + bias);
        e_b(e, 0x04); e_b(e, 0x7f);
        e_b(e, 0x9e);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(resident); i++)
        e_rm(e, 1, 0x8b, resident[i], HOST_S1, ST_GPR(resident[i]));
    e_rm(e, 1, 0x8b, HOST_RSP, HOST_S1, ST_GPR(R_RSP));
}

/* Parked flags from the host's; RAX stored to X86State in R11. */
static void emit_flags_out(Emit *e, int32_t bias)
{
    e_rm(e, 1, 0x89, 0, HOST_S1, ST_GPR(R_RAX));
    e_b(e, 0x9f);
    e_b(e, 0x0f); e_b(e, 0x90); e_b(e, 0xc0);
    e_st_ctx(e, 0, CTX(flags) + bias);
}

static void emit_enter(Emit *e)
{
    static const uint8_t saved[] = { 3, 5, 12, 13, 14, 15 };
    for (unsigned i = 0; i < 6; i++) {
        e_rex(e, 0, 0, 0, saved[i]);
        e_b(e, 0x50 | (saved[i] & 7));
    }
    e_rm(e, 1, 0x89, 4, 7, CTX(host_rsp));       /* rdi = ctx, rsi = code */
    e_mov(e, 4, 7);
    e_st_ctx(e, 6, CTX(save_target));
    e_ld_ctx(e, HOST_S1, CTX(st));
    emit_fill(e, 0, true);
    e_rm(e, 0, 0xff, 4, 4, CTX(save_target));    /* jmp [rsp + save_target] */
}

static void emit_leave(Emit *e)
{
    static const uint8_t saved[] = { 15, 14, 13, 12, 5, 3 };
    e_ld_ctx(e, HOST_S1, CTX(st));
    emit_flags_out(e, 0);
    emit_spill(e, 0);
    e_ld_ctx(e, 4, CTX(host_rsp));
    for (unsigned i = 0; i < 6; i++) {
        e_rex(e, 0, 0, 0, saved[i]);
        e_b(e, 0x58 | (saved[i] & 7));
    }
    e_b(e, 0xc3);
}

static uint32_t emit_exit(Emit *e, uint32_t leave, unsigned reason, bool target)
{
    uint32_t at = e_pos(e);
    if (target)
        e_st_ctx(e, HOST_S0, CTX(save_target));
    e_st_ctx_imm32(e, CTX(exit_reason), reason);
    e_jmp(e, leave);
    return at;
}

static void emit_call_c(Emit *e, unsigned helper)
{
    e_rm(e, 1, 0x8d, 7, 4, 8);                   /* lea rdi, [rsp+8]: context */
    e_rm(e, 1, 0x8b, 6, 4, 0);                   /* mov rsi, [rsp]: where the call came from */
    e_rr(e, 1, 0x83, 5, 4); e_b(e, 8);           /* sub rsp, 8 */
    e_rm(e, 0, 0xff, 2, 4, 16 + CTX(helper) + 8 * (int)helper);
    e_rr(e, 1, 0x83, 0, 4); e_b(e, 8);           /* add rsp, 8 */
}

/*
 * TLB miss. S0 = linear address; the helper's value is the host address to use instead, in S0, with S1 = 0. parked: AX holds the
 * guest's flags now and after; otherwise the guest's flags are dead.
 */
static uint32_t emit_slow(Emit *e, bool parked, unsigned helper)
{
    static const uint8_t reload[] = { 1, 2, 6, 7, 8, 9 };
    uint32_t at = e_pos(e);
    e_st_ctx(e, HOST_S0, CTX(slow_addr) + 8);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    if (parked) {
        e_st_ctx(e, 0, CTX(flags) + 8);
        e_ld_ctx(e, 0, CTX(save_rax) + 8);
    }
    e_rm(e, 1, 0x89, 0, HOST_S1, ST_GPR(R_RAX));
    emit_spill(e, 8);
    emit_call_c(e, helper);
    e_mov(e, HOST_S0, 0);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    for (unsigned i = 0; i < G_N_ELEMENTS(reload); i++)
        e_rm(e, 1, 0x8b, reload[i], HOST_S1, ST_GPR(reload[i]));
    if (parked)
        e_ld_ctx(e, 0, CTX(flags) + 8);
    else
        e_rm(e, 1, 0x8b, 0, HOST_S1, ST_GPR(R_RAX));
    e_rr(e, 0, 0x31, HOST_S1, HOST_S1);
    e_b(e, 0xc3);
    return at;
}

/*
 * Stack guard miss: S0 = lowest address of the run ^ tag. When the TLB allows writing the whole run, that page becomes the stack page.
 * Returns 5 bytes further when the run has to go to the careful block.
 */
static uint32_t emit_guard(Emit *e, const DbtVcpu *v, unsigned mode, bool parked)
{
    static const uint8_t reload[] = { 1, 2, 6, 7, 8, 9 };
    uint32_t at = e_pos(e);
    int32_t tag = CTX(sp) + 8 + (int)(mode * sizeof(v->ctx->sp[0]));
    e_rm(e, 1, 0x33, HOST_S0, 4, tag);
    e_st_ctx(e, HOST_S0, CTX(slow_addr) + 8);
    e_tlb_index(e, v->fast_pext, 8);
    e_rmx(e, 1, 0x33, HOST_S0, 4, HOST_S1, 3, 8 + CTX(wtag) + (int)(mode * TLB_SIZE * 8));
    e_rr(e, 1, 0x81, 7, HOST_S0); e_d(e, 0xfff);
    uint8_t *miss = e_short(e, 0x77);
    e_st_ctx(e, R_RCX, CTX(save_tmp) + 8);
    e_rm(e, 0, 0x8b, R_RCX, 4, CTX(meta) + 8);
    e_rr(e, 0, 0xc1, 5, R_RCX); e_b(e, META_SIZE_SHIFT);
    e_rr(e, 0, 0x81, 4, R_RCX); e_d(e, META_SIZE_MASK);
    e_rr(e, 1, 0x03, R_RCX, HOST_S0);
    e_rr(e, 1, 0x81, 7, R_RCX); e_d(e, 0x1000);
    e_ld_ctx(e, R_RCX, CTX(save_tmp) + 8);
    uint8_t *cross = e_short(e, 0x77);
    e_ld_ctx(e, HOST_S0, CTX(slow_addr) + 8);
    e_rr(e, 1, 0x81, 4, HOST_S0); e_d(e, 0xfffff000);
    e_st_ctx(e, HOST_S0, tag);
    e_rmx(e, 1, 0x8b, HOST_S1, 4, HOST_S1, 3, 8 + CTX(addend) + (int)(mode * TLB_SIZE * 8));
    e_rr(e, 1, 0x2b, HOST_S1, HOST_S0);
    e_st_ctx(e, HOST_S1, tag + 8);
    e_b(e, 0xc3);
    e_here8(e, cross);
    e_rm(e, 1, 0x83, 0, 4, 0); e_b(e, 5);        /* add qword [rsp], 5 */
    e_b(e, 0xc3);
    e_here8(e, miss);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    if (parked) {
        e_st_ctx(e, 0, CTX(flags) + 8);
        e_ld_ctx(e, 0, CTX(save_rax) + 8);
    }
    e_rm(e, 1, 0x89, 0, HOST_S1, ST_GPR(R_RAX));
    emit_spill(e, 8);
    emit_call_c(e, HELPER_GUARD);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    for (unsigned i = 0; i < G_N_ELEMENTS(reload); i++)
        e_rm(e, 1, 0x8b, reload[i], HOST_S1, ST_GPR(reload[i]));
    if (parked)
        e_ld_ctx(e, 0, CTX(flags) + 8);
    else
        e_rm(e, 1, 0x8b, 0, HOST_S1, ST_GPR(R_RAX));
    e_b(e, 0xc3);
    return at;
}

/* A C function that may change any guest register and the flags. */
static uint32_t emit_helper(Emit *e, unsigned helper)
{
    uint32_t at = e_pos(e);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    emit_flags_out(e, 8);
    emit_spill(e, 8);
    emit_call_c(e, helper);
    e_ld_ctx(e, HOST_S1, CTX(st) + 8);
    emit_fill(e, 8, true);
    e_b(e, 0xc3);
    return at;
}

void dbt_emit_trampolines(DbtVcpu *v)
{
    Emit em = { v->code }, *e = &em;
    v->tr_enter = e_pos(e);
    emit_enter(e);
    uint32_t leave = e_pos(e);
    emit_leave(e);
    v->tr_link = emit_exit(e, leave, EXIT_LINK, false);
    v->tr_miss = emit_exit(e, leave, EXIT_MISS, true);
    v->tr_exec = emit_exit(e, leave, EXIT_EXEC, true);
    v->tr_poll = emit_exit(e, leave, EXIT_POLL, true);
    v->tr_signal = emit_exit(e, leave, EXIT_SIGNAL, false);
    for (unsigned parked = 0; parked < 2; parked++) {
        v->tr_slow_raw[parked] = emit_slow(e, parked, HELPER_SLOW);
        uint32_t group = emit_slow(e, parked, HELPER_GROUP);
        for (unsigned mode = 0; mode < MODE_COUNT; mode++)
            for (unsigned write = 0; write < 2; write++) {
                v->tr_slow[mode][write][parked] = e_pos(e);
                /* S0 was xor-ed with the tag: undo */
                e_rmx(e, 1, 0x33, HOST_S0, 4, HOST_S1, 3, 8 + (write ? CTX(wtag[mode]) : CTX(rtag[mode])));
                e_jmp(e, v->tr_slow_raw[parked]);
                v->tr_group[mode][write][parked] = e_pos(e);
                e_rmx(e, 1, 0x33, HOST_S0, 4, HOST_S1, 3, 8 + (write ? CTX(wtag[mode]) : CTX(rtag[mode])));
                e_jmp(e, group);
            }
    }
    for (unsigned mode = 0; mode < MODE_COUNT; mode++)
        for (unsigned parked = 0; parked < 2; parked++)
            v->tr_guard[mode][parked] = emit_guard(e, v, mode, parked);
    v->tr_commit = emit_helper(e, HELPER_COMMIT);
    v->tr_string = emit_helper(e, HELPER_STRING);
    for (unsigned mode = 0; mode < MODE_COUNT; mode++) {
        v->tr_jc[mode] = e_pos(e);
        e_rr(e, 0, 0x1b7, HOST_S1, HOST_S0);     /* movzx r11d, r10w */
        e_rmx(e, 0, 0xff, 4, 4, HOST_S1, 3, CTX(jc[mode]));
    }
    v->code_start = ROUND_UP_TO(e->p - v->code, 64);
    v->ctx->helper[HELPER_SLOW] = dbt_slow;
    v->ctx->helper[HELPER_GROUP] = dbt_group;
    v->ctx->helper[HELPER_GUARD] = dbt_guard;
    v->ctx->helper[HELPER_COMMIT] = dbt_commit;
    v->ctx->helper[HELPER_STRING] = dbt_string;
}
