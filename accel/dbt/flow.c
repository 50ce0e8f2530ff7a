/*
 * Control flow. Direct jumps within the page are linked straight to their target block; jumps to other pages and indirect ones go
 * through the jump cache, whose entries check themselves against the target in S0; calls leave the address of a landing on a ring,
 * and returns jump to the newest landing, which checks itself the same way.
 */
#include "accel/dbt/tr.h"

bool tr_is_flow(const Insn *insn)
{
    switch ((InsnKind)insn->kind) {
    case T_CALL: case T_CALL_IND: case T_RET: case T_JMP: case T_JMP_IND: case T_JCC: case T_LOOP: case T_CLD: case T_STD:
    case T_EXEC: case T_STAC: case T_CLAC: case T_PUSHF: case T_POPF:
        return true;
    default:
        return false;
    }
}

bool tr_same_page(const Tr *t, uint64_t pc)
{
    return (t->block->cs_base + pc) >> 12 == (t->block->cs_base + t->pc) >> 12;
}

uint64_t tr_target(const Tr *t, const Insn *insn)
{
    uint64_t to = tr_next(t, insn) + insn_imm(insn, insn->len - insn->imm_off);
    return t->bits == 64 ? to : insn->opsz == 2 ? (uint16_t)to : (uint32_t)to;
}

void tr_exec_exit(Tr *t, const Insn *insn)
{
    e_mov_imm(&t->e, HOST_S0, tr_pc(t, insn));
    e_jmp(&t->e, t->v->tr_exec);
    t->ended = true;
}

static void emit_jc_jump(Tr *t, uint64_t target)
{
    Emit *e = &t->e;
    e_mov_imm(e, HOST_S0, target);
    e_rm(e, 0, 0xff, 4, 4, CTX(jc) + (int)(t->mode * JC_SIZE + (target & 0xffff)) * 8);
}

void tr_goto(Tr *t, uint64_t pc)
{
    Emit *e = &t->e;
    if (!tr_same_page(t, pc) || t->block->page[1]) {
        emit_jc_jump(t, pc);
        return;
    }
    e_b(e, 0xe9);
    e_d(e, 0);
    tr_link_stub(t, e_pos(e) - 4, pc, t->key & ~KEY_CAREFUL);
}

void tr_checked_entry(Tr *t, uint64_t pc)
{
    Emit *e = &t->e;
    int64_t neg = -(int64_t)pc;
    bool near = neg == (int32_t)neg;
    if (near) { /* rcx = S0 - pc + exit flag */
        e_mov(e, HOST_S1, R_RCX);
        e_rm(e, 0, 0x8b, R_RCX, 4, CTX(exit_flag));
        e_rmx(e, 1, 0x8d, R_RCX, HOST_S0, R_RCX, 0, (int32_t)neg);
    } else {
        e_st_ctx(e, R_RCX, CTX(save_tmp));
        e_mov_imm(e, R_RCX, neg);
        e_rm(e, 0, 0x8b, HOST_S1, 4, CTX(exit_flag));
        e_rmx(e, 1, 0x8d, R_RCX, HOST_S0, R_RCX, 0, 0);
        e_rmx(e, 1, 0x8d, R_RCX, HOST_S1, R_RCX, 0, 0);
    }
    uint8_t *hit = e_short(e, 0xe3);
    for (unsigned miss = 0; miss < 2; miss++) {
        if (near)
            e_mov(e, R_RCX, HOST_S1);
        else
            e_ld_ctx(e, R_RCX, CTX(save_tmp));
        if (!miss) {
            e_jmp(e, t->v->tr_miss);
            e_here8(e, hit);
        }
    }
}

/* Leaves for C when an exit is asked for; the guest goes on at target then. */
static void emit_poll(Tr *t, uint64_t target, bool flags_dead)
{
    Emit *e = &t->e;
    if (flags_dead) {
        e_rm(e, 0, 0x83, 7, 4, CTX(exit_flag));
        e_b(e, 0);
        tr_poll_stub(t, e_jcc(e, CC_NE, e_pos(e)), target);
        return;
    }
    e_mov(e, HOST_S1, R_RCX);
    e_rm(e, 0, 0x8b, R_RCX, 4, CTX(exit_flag));
    uint8_t *ok = e_short(e, 0xe3);
    e_mov(e, R_RCX, HOST_S1);
    e_b(e, 0xe9);
    e_d(e, 0);
    tr_poll_stub(t, e_pos(e) - 4, target);
    e_here8(e, ok);
    e_mov(e, R_RCX, HOST_S1);
}

static bool needs_poll(const Tr *t, const Insn *insn, uint64_t target)
{
    return target <= tr_pc(t, insn) && tr_same_page(t, target); /* the jump cache polls by itself */
}

static void goto_polled(Tr *t, const Insn *insn, uint64_t target)
{
    if (needs_poll(t, insn, target))
        emit_poll(t, target, !tr_peek_flags(t, target));
    tr_goto(t, target);
}

static void flow_jcc(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    uint64_t target = tr_target(t, insn), next = tr_next(t, insn);
    unsigned cc = insn->opcode & 15;
    bool near = tr_same_page(t, target) && !t->block->page[1];
    if (near && !needs_poll(t, insn, target)) {
        tr_link_stub(t, e_jcc(e, cc, e_pos(e)), target, t->key & ~KEY_CAREFUL);
        tr_goto(t, next);
        return;
    }
    if (near && !tr_peek_flags(t, target)) { /* the loop: jncc out; cmp exit_flag, 0; je loop */
        uint32_t out = e_jcc(e, cc ^ 1, e_pos(e));
        e_rm(e, 0, 0x83, 7, 4, CTX(exit_flag));
        e_b(e, 0);
        tr_link_stub(t, e_jcc(e, CC_E, e_pos(e)), target, t->key & ~KEY_CAREFUL);
        e_b(e, 0xe9);
        e_d(e, 0);
        tr_poll_stub(t, e_pos(e) - 4, target);
        e_patch32(out, e_pos(e));
        tr_goto(t, next);
        return;
    }
    uint32_t out = e_jcc(e, cc ^ 1, e_pos(e));
    goto_polled(t, insn, target);
    e_patch32(out, e_pos(e));
    tr_goto(t, next);
}

/* LOOP, LOOPE, LOOPNE, JCXZ with a 16-bit count, which 64-bit code can't encode. */
static void loop16(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    uint32_t out_zf = 0;
    if (insn->opcode != 0xe3) {
        e_lea(e, 0, HOST_S0, R_RCX, -1);
        e_b(e, 0x66);
        e_rr(e, 0, 0x8b, R_RCX, HOST_S0);
        if (insn->opcode != 0xe2)
            out_zf = e_jcc(e, insn->opcode == 0xe1 ? CC_NE : CC_E, e_pos(e));
    }
    e_mov(e, HOST_S1, R_RCX);
    e_rr(e, 0, 0x1b7, R_RCX, R_RCX);
    uint8_t *zero = e_short(e, 0xe3);
    e_mov(e, R_RCX, HOST_S1);
    if (insn->opcode == 0xe3)
        tr_goto(t, tr_next(t, insn));
    else
        goto_polled(t, insn, tr_target(t, insn));
    e_here8(e, zero);
    e_mov(e, R_RCX, HOST_S1);
    if (out_zf)
        e_patch32(out_zf, e_pos(e));
    if (insn->opcode == 0xe3)
        goto_polled(t, insn, tr_target(t, insn));
    else
        tr_goto(t, tr_next(t, insn));
}

static void flow_loop(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    if (insn->adsz == 2) {
        loop16(t, insn);
        return;
    }
    if (insn->adsz == 4)
        e_b(e, 0x67);
    uint8_t *taken = e_short(e, insn->opcode);
    e_b(e, 0xe9);
    e_d(e, 0);
    uint32_t out = e_pos(e) - 4;
    e_here8(e, taken);
    goto_polled(t, insn, tr_target(t, insn));
    e_patch32(out, e_pos(e));
    tr_goto(t, tr_next(t, insn));
}

/* ---- calls ----------------------------------------------------------------------------------------------------- */

static void post_push_next(Tr *t, const Insn *insn, unsigned size)
{
    Emit *e = &t->e;
    uint64_t next = tr_next(t, insn);
    if (size == 8 && (int64_t)next != (int32_t)next) {
        e_mov_imm(e, HOST_S1, next);
        e_rm(e, 1, 0x89, HOST_S1, HOST_S0, 0);
        return;
    }
    if (size == 2)
        e_b(e, 0x66);
    e_rm(e, size == 8, 0xc7, 0, HOST_S0, 0);
    if (size == 2)
        e_w(e, next);
    else
        e_d(e, next);
}

static unsigned call_size(const Tr *t, const Insn *insn) { return t->bits == 64 ? 8 : insn->opsz; }

/* Pushes the return address and a landing on the ring; returns where the landing's address goes. */
static uint8_t *emit_call_push(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    int size = call_size(t, insn);
    if (t->plan[t->at].grouped) {
        tr_push_imm_grouped(t, size, tr_next(t, insn));
        tr_flush_rsp(t);
    } else {
        tr_stack_ea(t, -size);
        tr_access(t, insn, SEG_SS, size, ACC_W, post_push_next, size);
        tr_stack_adjust(t, -size);
    }
    e_rm(e, 0, 0x1b6, HOST_S1, 4, CTX(ras_top) + t->mode);
    e_rmx(e, 1, 0xc7, 0, 4, HOST_S1, 3, CTX(ras) + t->mode * RAS_SIZE * 8);
    uint8_t *imm = e->p;
    e_d(e, 0);
    e_lea(e, 0, HOST_S1, HOST_S1, 1);
    e_rm(e, 0, 0x88, HOST_S1, 4, CTX(ras_top) + t->mode);
    return imm;
}

static void emit_landing(Tr *t, const Insn *insn, uint8_t *imm)
{
    uint32_t here = e_pos(&t->e);
    st32(imm, here);
    tr_checked_entry(t, tr_next(t, insn));
    tr_goto(t, tr_next(t, insn));
}

static void flow_call(Tr *t, const Insn *insn)
{
    uint8_t *imm = emit_call_push(t, insn);
    uint64_t target = tr_target(t, insn);
    goto_polled(t, insn, target);
    emit_landing(t, insn, imm);
}

/* Jump to the guest address in S0. */
static void emit_indirect(Tr *t, unsigned size)
{
    Emit *e = &t->e;
    if (size == 2)
        e_rr(e, 0, 0x1b7, HOST_S0, HOST_S0);
    e_rr(e, 0, 0x1b7, HOST_S1, HOST_S0);
    e_rmx(e, 0, 0xff, 4, 4, HOST_S1, 3, CTX(jc) + (int)(t->mode * JC_SIZE) * 8);
}

static void post_load_s0(Tr *t, const Insn *insn, unsigned size)
{
    if (size == 2)
        e_rm(&t->e, 0, 0x1b7, HOST_S0, HOST_S0, 0);
    else
        e_rm(&t->e, size == 8, 0x8b, HOST_S0, HOST_S0, 0);
}

static void load_indirect_target(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    unsigned size = call_size(t, insn);
    if (insn->modrm < 0xc0) {
        tr_ea(t, insn, 0);
        tr_access(t, insn, tr_seg(insn), size, ACC_R, post_load_s0, size);
        return;
    }
    unsigned reg = use_reg(t, (insn->modrm & 7) | (insn->rex & 1) << 3, HOST_S0);
    if (size == 2)
        e_rr(e, 0, 0x1b7, HOST_S0, reg);
    else if (reg != HOST_S0 || size == 4)
        e_rr(e, size == 8, 0x8b, HOST_S0, reg);
}

static void flow_call_indirect(Tr *t, const Insn *insn)
{
    load_indirect_target(t, insn);
    e_st_ctx(&t->e, HOST_S0, CTX(save_target));
    t->s0_delta = false;
    uint8_t *imm = emit_call_push(t, insn);
    e_ld_ctx(&t->e, HOST_S0, CTX(save_target));
    emit_indirect(t, call_size(t, insn));
    emit_landing(t, insn, imm);
}

static void flow_ret(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    unsigned size = call_size(t, insn), extra = insn->opcode == 0xc2 ? ld16(insn->bytes + insn->imm_off) : 0;
    if (t->plan[t->at].grouped) {
        tr_pop_grouped(t, size, HOST_S0);
        t->pend += extra;
        tr_flush_rsp(t);
    } else {
        tr_stack_ea(t, 0);
        tr_access(t, insn, SEG_SS, size, ACC_R, post_load_s0, size);
        tr_stack_adjust(t, size + extra);
    }
    e_rm(e, 0, 0x1b6, HOST_S1, 4, CTX(ras_top) + t->mode);
    e_lea(e, 0, HOST_S1, HOST_S1, -1);
    e_rr(e, 0, 0x1b6, HOST_S1, HOST_S1);
    e_rm(e, 0, 0x88, HOST_S1, 4, CTX(ras_top) + t->mode);
    e_rmx(e, 0, 0xff, 4, 4, HOST_S1, 3, CTX(ras) + (int)(t->mode * RAS_SIZE) * 8);
}

bool tr_flow(Tr *t, const Insn *insn)
{
    switch ((InsnKind)insn->kind) {
    case T_CALL: flow_call(t, insn); break;
    case T_CALL_IND: flow_call_indirect(t, insn); break;
    case T_RET: flow_ret(t, insn); break;
    case T_JMP: goto_polled(t, insn, tr_target(t, insn)); break;
    case T_JMP_IND: load_indirect_target(t, insn); emit_indirect(t, call_size(t, insn)); break;
    case T_JCC: flow_jcc(t, insn); break;
    case T_LOOP: flow_loop(t, insn); break;
    default: return false;
    }
    t->ended = true;
    return true;
}
