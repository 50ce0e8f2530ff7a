/*
 * Memory operands: address computation, segment bases and limits, the inline TLB check and its slow path stubs.
 *
 * The hit path is: index = bits 12.. of the address; address ^= tag[index], which leaves the page offset on a hit and something
 * huge on a miss; one unsigned compare with 4096 - size catches a miss and a page crossing alike; add the host page.
 */
#include "accel/dbt/tr.h"

unsigned tr_seg(const Insn *insn)
{
    if (insn->seg >= 0)
        return insn->seg;
    return insn->base == R_RSP || insn->base == R_RBP ? SEG_SS : SEG_DS;
}

bool tr_seg_flat(const Tr *t, unsigned seg)
{
    if (t->bits == 64)
        return seg < SEG_FS;
    return (seg == SEG_DS && t->key & KEY_FLAT_DS) || (seg == SEG_ES && t->key & KEY_FLAT_ES) ||
           (seg == SEG_SS && t->key & KEY_FLAT_SS);
}

bool tr_seg_usable(const Tr *t, unsigned seg, unsigned acc)
{
    return t->bits == 64 || !(acc & ACC_W) || seg != SEG_CS || (t->key & KEY_REAL);
}

unsigned tr_stack_width(const Tr *t) { return t->bits == 64 ? 8 : t->key & KEY_SS32 ? 4 : 2; }

void tr_stack_ea(Tr *t, int32_t delta)
{
    unsigned width = tr_stack_width(t);
    e_lea(&t->e, width == 8, HOST_S0, HOST_RSP, delta);
    if (width == 2)
        e_rr(&t->e, 0, 0x1b7, HOST_S0, HOST_S0);
}

void tr_stack_adjust(Tr *t, int32_t delta)
{
    unsigned width = tr_stack_width(t);
    if (width != 2) {
        e_lea(&t->e, width == 8, HOST_RSP, HOST_RSP, delta);
        return;
    }
    e_lea(&t->e, 0, HOST_S1, HOST_RSP, delta);
    e_b(&t->e, 0x66);
    e_rr(&t->e, 0, 0x8b, HOST_RSP, HOST_S1);
}

void tr_ea_to(Tr *t, const Insn *insn, unsigned dst, unsigned w, int32_t disp_add)
{
    Emit *e = &t->e;
    int32_t disp = (int32_t)((uint32_t)insn->disp + (uint32_t)disp_add);
    if (insn->base == 16) {
        uint64_t at = tr_pc(t, insn) + insn->len + (int64_t)disp;
        e_mov_imm(e, dst, w ? at : (uint32_t)at);
    } else if (insn->base < 0 && insn->index < 0) {
        int64_t at = disp;
        e_mov_imm(e, dst, insn->adsz == 2 ? (uint16_t)at : w ? (uint64_t)at : (uint32_t)at);
    } else if (insn->index < 0) {
        unsigned base = use_reg(t, insn->base, HOST_S0);
        e_lea(e, w, dst, base, disp);
    } else if (insn->base < 0) {
        unsigned index = use_reg(t, insn->index, HOST_S1);
        e_rex(e, w, dst, index, 0);
        e_b(e, 0x8d);
        e_b(e, 0x04 | (dst & 7) << 3);
        e_b(e, insn->scale << 6 | (index & 7) << 3 | 5);
        e_d(e, disp);
    } else {
        unsigned base = use_reg(t, insn->base, HOST_S0), index = use_reg(t, insn->index, HOST_S1);
        e_rmx(e, w, 0x8d, dst, base, index, insn->scale, disp);
    }
}

void tr_ea(Tr *t, const Insn *insn, int32_t disp_add)
{
    tr_ea_to(t, insn, HOST_S0, insn->adsz == 8, disp_add);
    if (insn->adsz == 2)
        e_rr(&t->e, 0, 0x1b7, HOST_S0, HOST_S0);
}

static Stub *new_stub(Tr *t, int kind, const Insn *insn, uint32_t site)
{
    Stub *s = &t->stubs[t->n_stubs++];
    *s = (Stub){ .kind = kind, .insn = insn, .site = site, .parked = t->parked, .park_of = t->park_of };
    return s;
}

void tr_exec_if(Tr *t, const Insn *insn, unsigned cc)
{
    new_stub(t, STUB_EXEC, insn, e_jcc(&t->e, cc, e_pos(&t->e)));
}

void tr_poll_stub(Tr *t, uint32_t site, uint64_t target)
{
    new_stub(t, STUB_POLL, NULL, site)->target = target;
}

void tr_link_stub(Tr *t, uint32_t site, uint64_t target, uint32_t key)
{
    DbtVcpu *v = t->v;
    uint32_t id = v->n_links++;
    v->links[id] = (Link){ .site = site, .from = t->block, .target = target, .key = key };
    if (!t->block->n_links++)
        t->block->first_link = id;
    new_stub(t, STUB_LINK, NULL, site)->link = id;
}

static Stub *careful_stub(Tr *t, int kind, const Insn *insn, uint32_t site, unsigned span)
{
    DbtVcpu *v = t->v;
    Stub *s = new_stub(t, kind, insn, site);
    s->size = span;
    s->back = e_pos(&t->e);
    s->link = v->n_links++;
    v->links[s->link] = (Link){ .from = t->block, .target = tr_pc(t, insn), .key = t->key | KEY_CAREFUL };
    if (!t->block->n_links++)
        t->block->first_link = s->link;
    return s;
}

void tr_guard_stub(Tr *t, const Insn *insn, uint32_t site, unsigned span)
{
    careful_stub(t, STUB_GUARD, insn, site, span);
}

/* Limit and base of a segment that is not flat. Flags are free. */
static void emit_segment(Tr *t, const Insn *insn, unsigned seg, unsigned size)
{
    Emit *e = &t->e;
    if (t->bits == 64) {
        if (seg >= SEG_FS)
            e_rm(e, 1, 0x03, HOST_S0, 4, CTX(seg[0]) + seg * (int)sizeof(DbtSeg));
        return;
    }
    e_lea(e, 1, HOST_S1, HOST_S0, size - 1);
    e_rm(e, 1, 0x3b, HOST_S1, 4, CTX(seg[0]) + seg * (int)sizeof(DbtSeg) + (int)offsetof(DbtSeg, limit));
    new_stub(t, STUB_EXEC, insn, e_jcc(e, CC_AE, e_pos(e)));
    e_rm(e, 0, 0x03, HOST_S0, 4, CTX(seg[0]) + seg * (int)sizeof(DbtSeg));
}

void tr_access(Tr *t, const Insn *insn, unsigned seg, unsigned size, unsigned acc, PostFunc *post, unsigned arg)
{
    Emit *e = &t->e;
    uint8_t live = tr_live_in(insn);
    bool write = acc & ACC_W;
    if (live) {
        t->parked = true;
        t->park_of = live & FLB_OF;
        e_park(e, t->park_of);
    }
    if (!tr_seg_flat(t, seg))
        emit_segment(t, insn, seg, size);
    e_tlb_index(e, t->v->fast_pext, 0);
    e_rmx(e, 1, 0x33, HOST_S0, 4, HOST_S1, 3, write ? CTX(wtag) + (int)t->mode * 8 * (int)TLB_SIZE :
          CTX(rtag) + (int)t->mode * 8 * (int)TLB_SIZE);
    e_rr(e, 1, 0x81, 7, HOST_S0);
    e_d(e, 4096 - size);
    Stub *s = new_stub(t, STUB_ACCESS, insn, e_jcc(e, CC_A, e_pos(e)));
    e_rmx(e, 1, 0x03, HOST_S0, 4, HOST_S1, 3, CTX(addend) + (int)t->mode * 8 * (int)TLB_SIZE);
    s->back = e_pos(e);
    s->post = post;
    s->arg = arg;
    s->size = size;
    s->acc = acc;
    bool parked = t->parked;
    if (parked)
        e_unpark(e, t->park_of);
    t->parked = false;
    post(t, insn, arg);
    s->done = e_pos(e);
}

void tr_group_check(Tr *t, const Insn *insn, const GroupPlan *group)
{
    Emit *e = &t->e;
    uint8_t live = tr_live_in(insn);
    int32_t mode = (int)(t->mode * TLB_SIZE * 8);
    t->parked = live;
    t->park_of = live & FLB_OF;
    if (live)
        e_park(e, t->park_of);
    e_tlb_index(e, t->v->fast_pext, 0);
    e_rmx(e, 1, 0x33, HOST_S0, 4, HOST_S1, 3, (group->acc & ACC_W ? CTX(wtag) : CTX(rtag)) + mode);
    e_rr(e, 1, 0x81, 7, HOST_S0);
    e_d(e, 4096 - group->span);
    uint32_t site = e_jcc(e, CC_A, e_pos(e));
    e_rmx(e, 1, 0x03, HOST_S0, 4, HOST_S1, 3, CTX(addend) + mode);
    careful_stub(t, STUB_GROUP, insn, site, group->span)->acc = group->acc;
    if (live)
        e_unpark(e, t->park_of);
    t->parked = false;
}

static void emit_access_stub(Tr *t, Stub *s)
{
    Emit *e = &t->e;
    uint32_t meta = s->insn->off | (uint32_t)s->size << META_SIZE_SHIFT | (s->acc & ACC_R ? META_R : 0) |
                    (s->acc & ACC_W ? META_W : 0) | (s->parked ? META_FLAGS : 0) | t->mode << META_MODE_SHIFT |
                    (uint32_t)s->insn->len << META_LEN_SHIFT;
    e_st_ctx_imm32(e, CTX(meta), meta);
    e_call(e, t->v->tr_slow[t->mode][s->acc & ACC_W ? 1 : 0][s->parked]);
    e_jmp(e, s->back);
    if (!(s->acc & ACC_W))
        return;
    /* the helper returns here, 5 bytes further, when the operand is in the bounce buffer */
    if (s->parked)
        e_unpark(e, s->park_of);
    s->post(t, s->insn, s->arg);
    e_call(e, t->v->tr_commit);
    e_jmp(e, s->done);
}

void tr_emit_stubs(Tr *t)
{
    Emit *e = &t->e;
    for (unsigned i = 0; i < t->n_stubs; i++) {
        Stub *s = &t->stubs[i];
        e_patch32(s->site, e_pos(e));
        switch (s->kind) {
        case STUB_ACCESS:
            emit_access_stub(t, s);
            break;
        case STUB_EXEC:
            if (s->parked)
                e_unpark(e, s->park_of);
            e_mov_imm(e, HOST_S0, tr_pc(t, s->insn));
            e_jmp(e, t->v->tr_exec);
            break;
        case STUB_POLL:
            e_mov_imm(e, HOST_S0, s->target);
            e_jmp(e, t->v->tr_poll);
            break;
        case STUB_GUARD: case STUB_GROUP:
            e_st_ctx_imm32(e, CTX(meta), s->insn->off | (uint32_t)s->size << META_SIZE_SHIFT | t->mode << META_MODE_SHIFT |
                           (s->kind == STUB_GUARD || s->acc & ACC_W ? META_W : 0));
            e_call(e, s->kind == STUB_GUARD ? t->v->tr_guard[t->mode][s->parked] :
                   t->v->tr_group[t->mode][s->acc & ACC_W ? 1 : 0][s->parked]);
            e_jmp(e, s->back);
            if (s->parked) /* here when the access needs the careful block */
                e_unpark(e, s->park_of);
            e_b(e, 0xe9);
            e_d(e, 5);
            t->v->links[s->link].site = e_pos(e) - 4;
            e_patch32(e_pos(e) - 4, e_pos(e));
            /* fall through */
        case STUB_LINK:
            t->v->links[s->link].stub = e_pos(e);
            e_st_ctx_imm32(e, CTX(exit_info), s->link);
            e_jmp(e, t->v->tr_link);
            break;
        }
    }
}
