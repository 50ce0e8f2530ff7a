/*
 * Instructions that do not transfer control. Most are copied with registers and the memory operand substituted; stack, bit string
 * and flag instructions have their own sequences.
 */
#include "accel/dbt/tr.h"

#define RFLAGS_BYTE1 ((int32_t)offsetof(X86State, rflags) + 1)

/* ---- substitution ---------------------------------------------------------------------------------------------- */

/* Where the operands of an instruction are while its copy runs. */
typedef struct Subst {
    unsigned reg, rm, vv, opc;       /* host numbers */
    int load[4], store[4];           /* guest registers to load before and store after, by scratch register in host[] */
    unsigned host[4], n;
    unsigned borrowed;               /* host register saved around, 0: none */
    bool high_byte;                  /* AH..BH is used: no REX allowed */
    bool ok;
} Subst;

static bool plain_move(unsigned mnemonic)
{
    return mnemonic == ZYDIS_MNEMONIC_MOV || mnemonic == ZYDIS_MNEMONIC_MOVZX || mnemonic == ZYDIS_MNEMONIC_MOVSX ||
           mnemonic == ZYDIS_MNEMONIC_MOVSXD || mnemonic == ZYDIS_MNEMONIC_MOVD || mnemonic == ZYDIS_MNEMONIC_MOVQ;
}

static unsigned pick_scratch(Subst *s, const Insn *insn, bool mem)
{
    static const uint8_t lendable[] = { 12, 13, 14, 5 };
    if (s->n == 0)
        return HOST_S1;
    if (!mem && s->n == 1)
        return HOST_S0;
    if (s->borrowed) {
        s->ok = false;
        return HOST_S1;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(lendable); i++) {
        unsigned r = lendable[i];
        if (r != s->reg && r != s->rm && r != s->vv && r != ((insn->modrm >> 3 & 7) | (insn->rex & 4) << 1) &&
            r != ((insn->modrm & 7) | (insn->rex & 1) << 3) && r != insn->vvvv) {
            s->borrowed = r;
            return r;
        }
    }
    s->ok = false;
    return HOST_S1;
}

static unsigned subst_gpr(Subst *s, const Insn *insn, unsigned guest, unsigned acc, bool byte, bool mem)
{
    if (byte && !insn->rex && guest >= 4 && guest < 8 && !insn->vex) {
        s->high_byte = true;
        return guest;
    }
    int h = host_reg(guest);
    if (h >= 0)
        return h;
    for (unsigned i = 0; i < s->n; i++)
        if (s->load[i] == (int)guest || s->store[i] == (int)guest || s->load[i] == -2 - (int)guest) {
            if (acc & ACC_R)
                s->load[i] = guest;
            if (acc & ACC_W)
                s->store[i] = guest;
            return s->host[i];
        }
    unsigned scratch = pick_scratch(s, insn, mem);
    bool full = insn->opsz >= 4 && !byte && plain_move(insn->cls->mnemonic);
    s->load[s->n] = acc & ACC_R || !full ? (int)guest : -1;
    s->store[s->n] = acc & ACC_W ? (int)guest : -1;
    s->host[s->n++] = scratch;
    return scratch;
}

static void subst_setup(Subst *s, const Insn *insn, bool mem)
{
    const OpClass *c = insn->cls;
    *s = (Subst){ .ok = true };
    unsigned reg = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1, rm = (insn->modrm & 7) | (insn->rex & 1) << 3;
    s->reg = c->reg_acc ? subst_gpr(s, insn, reg, c->reg_acc, c->byte_regs & 1, mem) : reg;
    s->vv = c->vv_acc ? subst_gpr(s, insn, insn->vvvv, c->vv_acc, false, mem) : insn->vvvv;
    if (mem)
        s->rm = HOST_S0;
    else
        s->rm = c->rm_acc ? subst_gpr(s, insn, rm, c->rm_acc, c->byte_regs & 2, mem) : rm;
    s->opc = c->opc_acc ? subst_gpr(s, insn, (insn->opcode & 7) | (insn->rex & 1) << 3, c->opc_acc, c->byte_regs & 4, mem) : 0;
}

static void emit_opcode_map(Emit *e, const Insn *insn)
{
    if (insn->map)
        e_b(e, 0x0f);
    if (insn->map >= 2)
        e_b(e, insn->map == 2 ? 0x38 : 0x3a);
}

/* Prefixes, REX or VEX, opcode. rm is the host register of ModRM.rm or of the base. */
static void emit_head(Emit *e, const Insn *insn, const Subst *s, unsigned rm, bool has_rm, unsigned index)
{
    const OpClass *c = insn->cls;
    unsigned opcode = insn->opcode == 0x82 && insn->map == 0 ? 0x80 : insn->opcode;
    unsigned b = has_rm ? rm : c->opc_acc ? s->opc : 0;
    if (insn->vex) {
        unsigned pp = insn->p66 ? 1 : insn->rep == 0xf3 ? 2 : insn->rep == 0xf2 ? 3 : 0;
        e_b(e, 0xc4);
        e_b(e, (s->reg & 8 ? 0 : 0x80) | (index & 8 ? 0 : 0x40) | (b & 8 ? 0 : 0x20) | insn->map);
        e_b(e, (insn->rex & 8 ? 0x80 : 0) | (~s->vv & 15) << 3 | insn->vex_l << 2 | pp);
        e_b(e, opcode);
        return;
    }
    if (insn->lock)
        e_b(e, 0xf0);
    if (c->vec ? insn->p66 : insn->opsz == 2)
        e_b(e, 0x66);
    if (insn->rep && (insn->map || opcode == 0x90))
        e_b(e, insn->rep);
    unsigned rex = (insn->rex & 8) | (insn->has_modrm && s->reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0) | (b & 8 ? 1 : 0);
    if (rex || insn->rex)
        e_b(e, 0x40 | rex);
    emit_opcode_map(e, insn);
    e_b(e, c->opc_acc ? (opcode & ~7u) | (s->opc & 7) : opcode);
}

static void emit_imm(Emit *e, const Insn *insn)
{
    for (unsigned i = insn->imm_off; i < insn->len; i++)
        e_b(e, insn->bytes[i]);
}

static void subst_before(Tr *t, const Subst *s)
{
    if (s->borrowed)
        e_st_ctx(&t->e, s->borrowed, CTX(save_tmp));
    for (unsigned i = 0; i < s->n; i++)
        if (s->host[i] == HOST_S0)
            t->s0_delta = false;
    for (unsigned i = 0; i < s->n; i++)
        if (s->load[i] >= 0)
            e_ld_ctx(&t->e, s->host[i], ctx_slot(s->load[i]));
}

static void subst_after(Tr *t, const Subst *s)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->store[i] >= 0)
            e_st_ctx(&t->e, s->host[i], ctx_slot(s->store[i]));
    if (s->borrowed)
        e_ld_ctx(&t->e, s->borrowed, CTX(save_tmp));
}

static bool emit_register_form(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    Subst s;
    subst_setup(&s, insn, false);
    if (!s.ok || (s.high_byte && ((s.reg | s.rm | s.opc) & 8)))
        return false;
    subst_before(t, &s);
    emit_head(e, insn, &s, s.rm, insn->has_modrm, 0);
    if (insn->has_modrm)
        e_b(e, 0xc0 | (s.reg & 7) << 3 | (s.rm & 7));
    emit_imm(e, insn);
    subst_after(t, &s);
    return true;
}

/* Where emit_memory_form() finds the operand: [S0], [guest RSP + S0 + displacement], [S0 + displacement - lowest of the group]. */
enum { AT_S0, AT_STACK, AT_GROUP };

static void emit_memory_form(Tr *t, const Insn *insn, unsigned where)
{
    bool grouped = where == AT_STACK;
    Emit *e = &t->e;
    Subst s;
    subst_setup(&s, insn, true);
    unsigned base = HOST_S0;
    if (grouped && !s.high_byte) {
        subst_before(t, &s);
        emit_head(e, insn, &s, HOST_RSP, true, HOST_S0);
        e_mem_idx(e, s.reg, HOST_RSP, HOST_S0, 0, insn->disp + t->pend);
        emit_imm(e, insn);
        subst_after(t, &s);
        return;
    }
    if (grouped) {
        e_rmx(e, 1, 0x8d, HOST_S0, HOST_RSP, HOST_S0, 0, insn->disp + t->pend);
        t->s0_delta = false;
    }
    if (s.high_byte) { /* AH..BH exclude REX, so the address has to be in a low register; RSI is none of them */
        e_st_ctx(e, R_RSI, CTX(save_tmp));
        e_mov(e, R_RSI, HOST_S0);
        base = R_RSI;
    }
    subst_before(t, &s);
    emit_head(e, insn, &s, base, true, 0);
    e_mem(e, s.reg, base, where == AT_GROUP ? insn->disp - t->group[t->at].lo : 0);
    emit_imm(e, insn);
    subst_after(t, &s);
    if (s.high_byte)
        e_ld_ctx(e, R_RSI, CTX(save_tmp));
}

static bool op_generic(Tr *t, const Insn *insn)
{
    const OpClass *c = insn->cls;
    if (!insn->has_modrm || insn->modrm >= 0xc0)
        return emit_register_form(t, insn);
    Subst s;
    subst_setup(&s, insn, true);
    if (!s.ok || (s.high_byte && s.reg & 8) || !tr_seg_usable(t, tr_seg(insn), c->mem_acc))
        return false;
    if (t->plan[t->at].grouped) {
        tr_load_delta(t);
        emit_memory_form(t, insn, AT_STACK);
        return true;
    }
    const GroupPlan *group = &t->group[t->at];
    if (group->member) {
        if (group->lead) {
            tr_ea(t, insn, group->lo - insn->disp);
            tr_group_check(t, insn, group);
        }
        emit_memory_form(t, insn, AT_GROUP);
        return true;
    }
    tr_ea(t, insn, 0);
    tr_access(t, insn, tr_seg(insn), c->mem_size, c->mem_acc, emit_memory_form, AT_S0);
    return true;
}

/* ---- moves that need help -------------------------------------------------------------------------------------- */

static bool op_lea(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    if (insn->modrm >= 0xc0)
        return false;
    unsigned guest = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1;
    int host = host_reg(guest);
    if (insn->opsz >= 4 && insn->adsz >= 4) {
        unsigned dst = host < 0 ? HOST_S0 : (unsigned)host;
        tr_ea_to(t, insn, dst, insn->opsz == 8 && insn->adsz == 8, 0);
        if (host < 0) {
            e_st_ctx(e, HOST_S0, ctx_slot(guest));
            t->s0_delta = false;
        }
        return true;
    }
    tr_ea(t, insn, 0);
    if (insn->opsz == 2)
        e_b(e, 0x66);
    if (host >= 0)
        e_rr(e, 0, 0x89, HOST_S0, host);
    else if (insn->opsz == 2)
        e_rm(e, 0, 0x89, HOST_S0, 4, ctx_slot(guest));
    else
        e_st_ctx(e, HOST_S0, ctx_slot(guest));
    return true;
}

static void post_moffs(Tr *t, const Insn *insn, unsigned arg)
{
    if (insn->opcode & 1 && insn->opsz == 2)
        e_b(&t->e, 0x66);
    unsigned opc = (insn->opcode & 2 ? 0x88 : 0x8a) | (insn->opcode & 1);
    e_rm(&t->e, insn->opsz == 8 && insn->opcode & 1, opc, R_RAX, HOST_S0, 0);
}

static bool op_moffs(Tr *t, const Insn *insn)
{
    unsigned seg = insn->seg >= 0 ? insn->seg : SEG_DS, acc = insn->opcode & 2 ? ACC_W : ACC_R;
    if (!tr_seg_usable(t, seg, acc))
        return false;
    const uint8_t *p = insn->bytes + insn->disp_off;
    e_mov_imm(&t->e, HOST_S0, insn->adsz == 8 ? ld64(p) : insn->adsz == 4 ? ld32(p) : ld16(p));
    tr_access(t, insn, seg, insn->opcode & 1 ? insn->opsz : 1, acc, post_moffs, 0);
    return true;
}

static void load_selector(Tr *t, const Insn *insn)
{
    unsigned seg = insn->modrm >> 3 & 7;
    e_ld_ctx(&t->e, HOST_S1, CTX(st));
    e_rm(&t->e, 0, 0x1b7, HOST_S1, HOST_S1, offsetof(X86State, seg) + seg * sizeof(X86Segment) +
         offsetof(X86Segment, selector));
}

static void post_store_selector(Tr *t, const Insn *insn, unsigned arg)
{
    load_selector(t, insn);
    e_b(&t->e, 0x66);
    e_rm(&t->e, 0, 0x89, HOST_S1, HOST_S0, 0);
}

static bool op_mov_from_seg(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    if ((insn->modrm >> 3 & 7) > SEG_GS)
        return false;
    if (insn->modrm < 0xc0) {
        if (!tr_seg_usable(t, tr_seg(insn), ACC_W))
            return false;
        tr_ea(t, insn, 0);
        tr_access(t, insn, tr_seg(insn), 2, ACC_W, post_store_selector, 0);
        return true;
    }
    unsigned guest = (insn->modrm & 7) | (insn->rex & 1) << 3;
    int host = host_reg(guest);
    load_selector(t, insn);
    if (insn->opsz == 2)
        e_b(e, 0x66);
    if (host >= 0)
        e_rr(e, 0, 0x89, HOST_S1, host);
    else
        e_rm(e, insn->opsz != 2, 0x89, HOST_S1, 4, ctx_slot(guest));
    return true;
}

static bool op_inc(Tr *t, const Insn *insn)
{
    if (insn->opsz == 2)
        e_b(&t->e, 0x66);
    e_rr(&t->e, 0, 0xff, insn->opcode >> 3 & 1, host_reg(insn->opcode & 7));
    return true;
}

static bool op_rdtsc(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    if (t->key & KEY_TSD)
        return false;
    uint8_t live = tr_live_in(insn);
    if (live)
        e_park(e, true);
    if (live)
        e_st_ctx(e, R_RAX, CTX(save_rax)); /* RAX is overwritten anyway: its slot holds the flags */
    e_b(e, 0x0f); e_b(e, 0x31);
    e_rr(e, 1, 0xc1, 4, R_RDX); e_b(e, 32);
    e_rr(e, 1, 0x09, R_RDX, R_RAX);
    e_rm(e, 1, 0x03, R_RAX, 4, CTX(tsc_offset));
    e_mov(e, R_RDX, R_RAX);
    e_rr(e, 1, 0xc1, 5, R_RDX); e_b(e, 32);
    e_rr(e, 0, 0x8b, HOST_S0, R_RAX);
    if (live) {
        e_ld_ctx(e, R_RAX, CTX(save_rax));
        e_b(e, 0x04); e_b(e, 0x7f);
        e_b(e, 0x9e);
    }
    e_rr(e, 0, 0x8b, R_RAX, HOST_S0);
    return true;
}

/* ---- bit strings ----------------------------------------------------------------------------------------------- */

static unsigned bit_shift(const Insn *insn) { return insn->opsz == 8 ? 6 : insn->opsz == 4 ? 5 : 4; }

/* S0 holds the host address of the word; the bit number within it goes to S1. */
static void post_bt(Tr *t, const Insn *insn, unsigned live)
{
    Emit *e = &t->e;
    unsigned guest = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1;
    if (live)
        e_park(e, true);
    if (live && guest == R_RAX)
        e_ld_ctx(e, HOST_S1, CTX(save_rax));
    else
        e_mov(e, HOST_S1, use_reg(t, guest, HOST_S1));
    e_rr(e, 0, 0x83, 4, HOST_S1); e_b(e, (1u << bit_shift(insn)) - 1);
    if (live)
        e_unpark(e, true);
    if (insn->lock)
        e_b(e, 0xf0);
    if (insn->opsz == 2)
        e_b(e, 0x66);
    e_rm(e, insn->opsz == 8, 0x100 | insn->opcode, HOST_S1, HOST_S0, 0);
}

static bool op_bt(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    unsigned guest = (insn->modrm >> 3 & 7) | (insn->rex & 4) << 1, live = tr_live_in(insn);
    if (!tr_seg_usable(t, tr_seg(insn), insn->cls->mem_acc))
        return false;
    tr_ea(t, insn, 0);
    if (live)
        e_park(e, true);
    /* the bit number is signed: word = number >> shift */
    if (live && guest == R_RAX)
        e_ld_ctx(e, HOST_S1, CTX(save_rax));
    else
        e_mov(e, HOST_S1, use_reg(t, guest, HOST_S1));
    if (insn->opsz == 4)
        e_rr(e, 1, 0x63, HOST_S1, HOST_S1);
    else if (insn->opsz == 2)
        e_rr(e, 1, 0x1bf, HOST_S1, HOST_S1);
    e_rr(e, 1, 0xc1, 7, HOST_S1); e_b(e, bit_shift(insn));
    if (live)
        e_unpark(e, true);
    unsigned scale = insn->opsz == 8 ? 3 : insn->opsz == 4 ? 2 : 1;
    e_rmx(e, insn->adsz == 8, 0x8d, HOST_S0, HOST_S0, HOST_S1, scale, 0);
    if (insn->adsz == 2)
        e_rr(e, 0, 0x1b7, HOST_S0, HOST_S0);
    tr_access(t, insn, tr_seg(insn), insn->opsz, insn->cls->mem_acc, post_bt, live);
    return true;
}

/* ---- stack ----------------------------------------------------------------------------------------------------- */

static void store_sized(Emit *e, unsigned reg, unsigned base, unsigned size)
{
    if (size == 2)
        e_b(e, 0x66);
    e_rm(e, size == 8, 0x89, reg, base, 0);
}

static void post_push_reg(Tr *t, const Insn *insn, unsigned guest)
{
    store_sized(&t->e, use_reg(t, guest, HOST_S1), HOST_S0, tr_stack_size(t, insn));
}

static void post_push_imm(Tr *t, const Insn *insn, unsigned size)
{
    int32_t imm = insn_imm(insn, insn->len - insn->imm_off);
    if (size == 2)
        e_b(&t->e, 0x66);
    e_rm(&t->e, size == 8, 0xc7, 0, HOST_S0, 0);
    if (size == 2)
        e_w(&t->e, imm);
    else
        e_d(&t->e, imm);
}

static void post_load_s1(Tr *t, const Insn *insn, unsigned size)
{
    if (size == 2)
        e_rm(&t->e, 0, 0x1b7, HOST_S1, HOST_S0, 0);
    else
        e_rm(&t->e, size == 8, 0x8b, HOST_S1, HOST_S0, 0);
}

static void post_store_saved(Tr *t, const Insn *insn, unsigned size)
{
    e_ld_ctx(&t->e, HOST_S1, CTX(save_target));
    store_sized(&t->e, HOST_S1, HOST_S0, size);
}

static void push_with(Tr *t, const Insn *insn, PostFunc *post, unsigned arg)
{
    int size = tr_stack_size(t, insn);
    tr_stack_ea(t, -size);
    tr_access(t, insn, SEG_SS, size, ACC_W, post, arg);
    tr_stack_adjust(t, -size);
}

static void op_push_reg(Tr *t, const Insn *insn)
{
    unsigned guest = (insn->opcode & 7) | (insn->rex & 1) << 3;
    if (t->plan[t->at].grouped)
        tr_push_grouped(t, tr_stack_size(t, insn), guest);
    else
        push_with(t, insn, post_push_reg, guest);
}

static void op_push_imm(Tr *t, const Insn *insn)
{
    unsigned size = tr_stack_size(t, insn);
    if (t->plan[t->at].grouped)
        tr_push_imm_grouped(t, size, insn_imm(insn, insn->len - insn->imm_off));
    else
        push_with(t, insn, post_push_imm, size);
}

static bool op_push_mem(Tr *t, const Insn *insn)
{
    unsigned size = tr_stack_size(t, insn);
    if (insn->modrm >= 0xc0) {
        push_with(t, insn, post_push_reg, (insn->modrm & 7) | (insn->rex & 1) << 3);
        return true;
    }
    tr_ea(t, insn, 0);
    tr_access(t, insn, tr_seg(insn), size, ACC_R, post_load_s1, size);
    e_st_ctx(&t->e, HOST_S1, CTX(save_target));
    push_with(t, insn, post_store_saved, size);
    return true;
}

static void write_reg_sized(Tr *t, unsigned guest, unsigned src, unsigned size)
{
    Emit *e = &t->e;
    int host = host_reg(guest);
    if (size == 2)
        e_b(e, 0x66);
    if (host >= 0)
        e_rr(e, size == 8, 0x89, src, host);
    else
        e_rm(e, size != 2, 0x89, src, 4, ctx_slot(guest));
}

static bool op_pop_reg(Tr *t, const Insn *insn, unsigned guest)
{
    unsigned size = tr_stack_size(t, insn);
    int host = host_reg(guest);
    if (t->plan[t->at].grouped && guest != R_RSP) {
        bool direct = host >= 0 && size != 2;
        tr_pop_grouped(t, size, direct ? (unsigned)host : HOST_S1);
        if (!direct)
            write_reg_sized(t, guest, HOST_S1, size);
        return true;
    }
    if (t->plan[t->at].grouped) {
        tr_pop_grouped(t, size, HOST_S1);
        tr_flush_rsp(t);
        write_reg_sized(t, guest, HOST_S1, size);
        return true;
    }
    tr_stack_ea(t, 0);
    tr_access(t, insn, SEG_SS, size, ACC_R, post_load_s1, size);
    if (guest == R_RSP && size == tr_stack_width(t)) {
        write_reg_sized(t, guest, HOST_S1, size);
        return true;
    }
    if (tr_stack_width(t) == 2) { /* the adjustment needs S1 */
        e_mov(&t->e, HOST_S0, HOST_S1);
        tr_stack_adjust(t, size);
        write_reg_sized(t, guest, HOST_S0, size);
        return true;
    }
    tr_stack_adjust(t, size);
    write_reg_sized(t, guest, HOST_S1, size);
    return true;
}

static bool op_pop_mem(Tr *t, const Insn *insn)
{
    unsigned size = tr_stack_size(t, insn);
    if (insn->modrm >= 0xc0)
        return op_pop_reg(t, insn, (insn->modrm & 7) | (insn->rex & 1) << 3);
    if (!tr_seg_usable(t, tr_seg(insn), ACC_W))
        return false;
    tr_stack_ea(t, 0);
    tr_access(t, insn, SEG_SS, size, ACC_R, post_load_s1, size);
    e_st_ctx(&t->e, HOST_S1, CTX(save_target));
    tr_ea(t, insn, insn->base == R_RSP ? (int)size : 0); /* an RSP base counts after the increment */
    tr_access(t, insn, tr_seg(insn), size, ACC_W, post_store_saved, size);
    tr_stack_adjust(t, size);
    return true;
}

static bool op_leave(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    unsigned size = tr_stack_size(t, insn), width = tr_stack_width(t);
    if (width == 2)
        e_rr(e, 0, 0x1b7, HOST_S0, R_RBP);
    else
        e_rr(e, width == 8, 0x8b, HOST_S0, R_RBP);
    tr_access(t, insn, SEG_SS, size, ACC_R, post_load_s1, size);
    if (width == 2) {
        e_lea(e, 0, HOST_S0, R_RBP, size);
        e_b(e, 0x66);
        e_rr(e, 0, 0x8b, HOST_RSP, HOST_S0);
    } else {
        e_lea(e, width == 8, HOST_RSP, R_RBP, size);
    }
    write_reg_sized(t, R_RBP, HOST_S1, size);
    return true;
}

/* ---- interrupt flag -------------------------------------------------------------------------------------------- */

static bool op_cli_sti(Tr *t, const Insn *insn, bool set)
{
    Emit *e = &t->e;
    if (t->key & (KEY_CPL3 | KEY_VM86))
        return false;
    uint8_t live = tr_live_in(insn);
    t->parked = live;
    t->park_of = true;
    if (live)
        e_park(e, true);
    if (set) { /* something pending: C takes it after the next instruction */
        e_ld_ctx(e, HOST_S1, CTX(cpu));
        e_rm(e, 0, 0x83, 7, HOST_S1, offsetof(X86Cpu, vcpu) + offsetof(Vcpu, interrupts));
        e_b(e, 0);
        tr_exec_if(t, insn, CC_NE);
    }
    e_ld_ctx(e, HOST_S1, CTX(st));
    e_rm(e, 0, 0x80, set ? 1 : 4, HOST_S1, RFLAGS_BYTE1);
    e_b(e, set ? FL_IF >> 8 : ~(FL_IF >> 8) & 0xff);
    if (live)
        e_unpark(e, true);
    t->parked = false;
    return true;
}

static bool op_string(Tr *t, const Insn *insn)
{
    Emit *e = &t->e;
    unsigned rep = insn->rep ? insn->rep : 0, seg = insn->seg >= 0 ? insn->seg : SEG_DS;
    unsigned size = insn->opcode & 1 ? insn->opsz : 1;
    if (!tr_seg_usable(t, seg, ACC_R) || (insn->opcode >= 0x6c && insn->opcode <= 0x6f))
        return false;
    e_st_ctx_imm32(e, CTX(meta), insn->off | t->mode << META_MODE_SHIFT | (uint32_t)insn->len << META_LEN_SHIFT);
    e_st_ctx_imm32(e, CTX(exit_info), insn->opcode | size << 8 | seg << 16 | (uint32_t)(rep == 0xf2 ? 2 : rep ? 1 : 0) << 20 |
                   (uint32_t)insn->adsz << 24);
    e_call(e, t->v->tr_string);
    return true;
}

bool tr_op(Tr *t, const Insn *insn)
{
    switch ((InsnKind)insn->kind) {
    case T_NOP: return true;
    case T_GEN: return op_generic(t, insn);
    case T_LEA: return op_lea(t, insn);
    case T_PUSH_R: op_push_reg(t, insn); return true;
    case T_PUSH_I: op_push_imm(t, insn); return true;
    case T_PUSH_M: return op_push_mem(t, insn);
    case T_POP_R: return op_pop_reg(t, insn, (insn->opcode & 7) | (insn->rex & 1) << 3);
    case T_POP_M: return op_pop_mem(t, insn);
    case T_LEAVE: return op_leave(t, insn);
    case T_MOFFS: return op_moffs(t, insn);
    case T_BT: return op_bt(t, insn);
    case T_INC: return op_inc(t, insn);
    case T_MOV_FROM_SEG: return op_mov_from_seg(t, insn);
    case T_RDTSC: return op_rdtsc(t, insn);
    case T_CLI: return op_cli_sti(t, insn, false);
    case T_STI: return op_cli_sti(t, insn, true);
    case T_STRING: return op_string(t, insn);
    default: return false;
    }
}
