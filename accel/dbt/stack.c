/*
 * Stack accesses. Within a run of instructions that change RSP by known amounts, all accesses at RSP + constant are checked at
 * once against the current stack page (DbtCtx.sp); after that each is a plain host access at guest RSP + (host minus guest). Changes of
 * RSP are collected and applied before anything that could observe it. A run that straddles pages, or a stack page that can't be
 * written freely, goes to a careful copy of the block, in which each access is checked by itself.
 */
#include "accel/dbt/tr.h"

#define MAX_SPAN 1000

static bool writes_rsp(const Insn *insn)
{
    const OpClass *c = insn->cls;
    unsigned reg = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1, rm = (insn->modrm & 7) | (insn->rex & 1) << 3;
    if (insn->kind == T_LEA)
        return reg == R_RSP;
    return (c->reg_acc & ACC_W && reg == R_RSP) || (c->rm_acc & ACC_W && rm == R_RSP) || (c->vv_acc & ACC_W && insn->vvvv == R_RSP) ||
           (c->opc_acc & ACC_W && ((insn->opcode & 7) | (insn->rex & 1) << 3) == R_RSP);
}

static bool uses_rsp(const Insn *insn)
{
    const OpClass *c = insn->cls;
    unsigned reg = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1, rm = (insn->modrm & 7) | (insn->rex & 1) << 3;
    return (c->reg_acc && reg == R_RSP) || (c->rm_acc && rm == R_RSP) || (c->vv_acc && insn->vvvv == R_RSP) ||
           (c->opc_acc && ((insn->opcode & 7) | (insn->rex & 1) << 3) == R_RSP) || insn->base == R_RSP;
}

/* ADD/SUB RSP, imm or LEA RSP, [RSP + disp] at the stack's width: the change goes to *delta. */
static bool rsp_adjust(const Tr *t, const Insn *insn, int *delta)
{
    unsigned width = tr_stack_width(t);
    if (insn->kind == T_LEA) {
        unsigned reg = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1;
        *delta = insn->disp;
        return reg == R_RSP && insn->base == R_RSP && insn->index < 0 && insn->opsz == width && insn->adsz == width &&
               insn->disp > -4096 && insn->disp < 4096;
    }
    if (insn->kind != T_GEN || insn->map || (insn->opcode != 0x83 && insn->opcode != 0x81) || insn->modrm < 0xc0 || insn->lock ||
        insn->opsz != width || ((insn->modrm & 7) | (insn->rex & 1) << 3) != R_RSP)
        return false;
    unsigned op = insn->modrm >> 3 & 7;
    int64_t imm = insn_imm(insn, insn->len - insn->imm_off);
    *delta = op == 0 ? imm : -imm;
    return (op == 0 || op == 5) && imm > -4096 && imm < 4096;
}

unsigned tr_stack_size(const Tr *t, const Insn *insn)
{
    return t->bits == 64 ? (insn->p66 && !(insn->rex & 8) ? 2 : 8) : insn->opsz;
}

/* The stack access that a plan may take over: offset from RSP before the instruction and size. */
static bool stack_access(const Tr *t, const Insn *insn, int *off, unsigned *size)
{
    *size = insn->kind == T_CALL || insn->kind == T_CALL_IND || insn->kind == T_RET ? (t->bits == 64 ? 8 : insn->opsz) :
            tr_stack_size(t, insn);
    switch ((InsnKind)insn->kind) {
    case T_PUSH_R: case T_PUSH_I: case T_CALL: case T_CALL_IND:
        *off = -(int)*size;
        return true;
    case T_POP_R: case T_RET:
        *off = 0;
        return true;
    case T_GEN:
        *off = insn->disp;
        *size = insn->cls->mem_size;
        return insn->has_modrm && insn->modrm < 0xc0 && insn->base == R_RSP && insn->index < 0 && insn->cls->mem_acc &&
               insn->disp > -(1 << 20) && insn->disp < 1 << 20 &&
               insn->adsz == tr_stack_width(t) && (insn->seg < 0 || (t->bits == 64 && insn->seg < SEG_FS));
    default:
        return false;
    }
}

/* How the instruction moves RSP; false: by an unknown amount. */
static bool stack_effect(const Tr *t, const Insn *insn, int *delta)
{
    int size = tr_stack_size(t, insn);
    *delta = 0;
    switch ((InsnKind)insn->kind) {
    case T_PUSH_R: case T_PUSH_I: case T_PUSH_M:
        *delta = -size;
        return true;
    case T_POP_R:
        *delta = size;
        return ((insn->opcode & 7) | (insn->rex & 1) << 3) != R_RSP;
    case T_POP_M:
        *delta = size;
        return insn->modrm < 0xc0;
    case T_LEAVE: case T_EXEC: case T_STRING:
        return insn->kind == T_STRING;
    case T_MOV_FROM_SEG:
        return insn->modrm < 0xc0 || ((insn->modrm & 7) | (insn->rex & 1) << 3) != R_RSP;
    case T_INC:
        return (insn->opcode & 7) != R_RSP;
    default:
        if (rsp_adjust(t, insn, delta))
            return true;
        *delta = 0;
        return !writes_rsp(insn);
    }
}

static void close_run(Tr *t, int first, int first_off, int lo, int hi)
{
    if (first >= 0)
        t->plan[first].lo = lo - first_off, t->plan[first].span = hi - lo;
}

void tr_stack_plan(Tr *t)
{
    bool flat = t->bits == 64 || (t->bits == 32 && (t->key & (KEY_FLAT_SS | KEY_SS32)) == (KEY_FLAT_SS | KEY_SS32));
    int first = -1, first_off = 0, lo = 0, hi = 0, at = 0;
    for (unsigned i = 0; i < t->n; i++)
        t->plan[i] = (StackPlan){ 0 };
    if (!flat || t->key & KEY_CAREFUL)
        return;
    for (unsigned i = 0; i < t->n; i++) {
        int off, delta;
        unsigned size;
        if (stack_access(t, &t->insn[i], &off, &size)) {
            int from = at + off, to = from + (int)size;
            int new_lo = first < 0 ? from : MIN(lo, from), new_hi = first < 0 ? to : MAX(hi, to);
            if (new_hi - new_lo <= MAX_SPAN) {
                if (first < 0) {
                    first = i;
                    first_off = at;
                }
                lo = new_lo;
                hi = new_hi;
                t->plan[i].grouped = true;
            }
        }
        if (stack_effect(t, &t->insn[i], &delta)) {
            at += delta;
        } else {
            close_run(t, first, first_off, lo, hi);
            first = -1;
            at = 0;
        }
    }
    close_run(t, first, first_off, lo, hi);
}

void tr_stack_guard(Tr *t, const Insn *insn, const StackPlan *plan)
{
    Emit *e = &t->e;
    uint8_t live = tr_live_in(insn);
    tr_flush_rsp(t);
    t->parked = live;
    t->park_of = live & FLB_OF;
    if (live)
        e_park(e, t->park_of);
    e_lea(e, 1, HOST_S0, HOST_RSP, plan->lo);
    e_rm(e, 1, 0x33, HOST_S0, 4, CTX(sp[0].tag) + (int)(t->mode * sizeof(t->v->ctx->sp[0])));
    e_rr(e, 1, 0x81, 7, HOST_S0);
    e_d(e, 4096 - plan->span);
    tr_guard_stub(t, insn, e_jcc(e, CC_A, e_pos(e)), plan->span);
    if (live)
        e_unpark(e, t->park_of);
    t->parked = false;
    t->s0_delta = false;
}

void tr_flush_rsp(Tr *t)
{
    if (t->pend)
        e_lea(&t->e, tr_stack_width(t) == 8, HOST_RSP, HOST_RSP, t->pend);
    t->pend = 0;
}

void tr_load_delta(Tr *t)
{
    if (!t->s0_delta)
        e_ld_ctx(&t->e, HOST_S0, CTX(sp[0].delta) + (int)(t->mode * sizeof(t->v->ctx->sp[0])));
    t->s0_delta = true;
}

/* May RSP be behind and S0 keep the stack's delta while it runs? Such an instruction can't fault. */
bool tr_stack_transparent(const Tr *t, unsigned i)
{
    const Insn *insn = &t->insn[i];
    if (insn->kind == T_NOP)
        return true;
    if (insn->kind == T_CALL_IND)
        return false;
    if (t->plan[i].grouped)
        return insn->kind != T_GEN || (insn->cls->ext == EXT_INT && !insn->map && (insn->opcode & 0xfe) != 0xf6 && !insn->lock &&
                                       !((insn->cls->reg_acc) && ((insn->modrm >> 3 & 7) | (insn->rex & 4) << 1) == R_RSP));
    if (insn->kind == T_LEA)
        return insn->base != R_RSP && !writes_rsp(insn) && insn->adsz >= 4 && insn->opsz >= 4;
    if (insn->kind != T_GEN || uses_rsp(insn) || insn->map || (insn->has_modrm && insn->modrm < 0xc0))
        return false;
    return insn->cls->ext == EXT_INT && (insn->opcode & 0xfe) != 0xf6 && insn->opcode != 0x9b;
}

/* ADD, SUB, LEA that only move RSP, with dead flags: collected. */
bool tr_stack_fold(Tr *t, unsigned i)
{
    int delta;
    const Insn *insn = &t->insn[i];
    if (t->key & KEY_CAREFUL || tr_stack_width(t) == 2 || !rsp_adjust(t, insn, &delta) || insn->live & insn->cls->fl_mod)
        return false;
    t->pend += delta;
    return true;
}

/* ---- grouped forms --------------------------------------------------------------------------------------------- */

static void sized(Emit *e, unsigned size, unsigned opc, unsigned reg, int32_t disp)
{
    if (size == 2)
        e_b(e, 0x66);
    e_rmx(e, size == 8, opc, reg, HOST_RSP, HOST_S0, 0, disp);
}

void tr_push_grouped(Tr *t, unsigned size, int guest)
{
    tr_load_delta(t);
    unsigned reg;
    if (guest == R_RSP && t->pend) { /* the value is RSP as the guest sees it */
        e_lea(&t->e, tr_stack_width(t) == 8, HOST_S1, HOST_RSP, t->pend);
        reg = HOST_S1;
    } else {
        reg = use_reg(t, guest, HOST_S1);
    }
    t->pend -= size;
    sized(&t->e, size, 0x89, reg, t->pend);
}

void tr_push_imm_grouped(Tr *t, unsigned size, uint64_t imm)
{
    Emit *e = &t->e;
    tr_load_delta(t);
    t->pend -= size;
    if (size == 8 && (int64_t)imm != (int32_t)imm) {
        e_mov_imm(e, HOST_S1, imm);
        sized(e, size, 0x89, HOST_S1, t->pend);
        return;
    }
    sized(e, size, 0xc7, 0, t->pend);
    if (size == 2)
        e_w(e, imm);
    else
        e_d(e, imm);
}

/* The popped value in host register reg. */
void tr_pop_grouped(Tr *t, unsigned size, unsigned reg)
{
    tr_load_delta(t);
    if (size == 2)
        e_rmx(&t->e, 0, 0x1b7, reg, HOST_RSP, HOST_S0, 0, t->pend);
    else
        e_rmx(&t->e, size == 8, 0x8b, reg, HOST_RSP, HOST_S0, 0, t->pend);
    t->pend += size;
    if (reg == HOST_S0)
        t->s0_delta = false;
}
