/*
 * One block: decode up to the first control transfer or the page end, find where flags are live, emit.
 */
#include "accel/dbt/classes.h"
#include "accel/dbt/tr.h"

#define PEEK_INSNS 6
/* Room that a block may need at most: code and stubs. */
#define BLOCK_ROOM 32768

uint8_t tr_kills(const Insn *insn)
{
    const OpClass *c = insn->cls;
    if (insn->kind == T_STRING)
        return 0;
    if (c->fl_kill || !c->fl_mod || insn->imm_off == insn->len)
        return c->mnemonic >= ZYDIS_MNEMONIC_RCL && !c->fl_kill && c->fl_mod && (insn->opcode & 0xfe) == 0xd0 &&
               insn->map == 0 ? c->fl_mod : c->fl_kill;
    return insn->bytes[insn->imm_off] & 0x1f ? c->fl_mod : 0; /* shift by an immediate */
}

uint8_t tr_live_in(const Insn *insn)
{
    if (insn->kind == T_EXEC)
        return FLB_ALL;
    return (insn->live & ~tr_kills(insn)) | insn->cls->fl_read;
}

static void mark_lines(Tr *t, uint64_t from, uint64_t len)
{
    unsigned off = (t->block->cs_base + from) & 0xfff;
    for (unsigned line = off >> 6; line <= (off + len - 1) >> 6 && line < 64; line++)
        t->lines |= 1ull << line;
}

uint8_t tr_peek_flags(Tr *t, uint64_t pc)
{
    if (!tr_same_page(t, pc) || t->block->page[1])
        return FLB_ALL;
    for (unsigned i = 0; i < t->n; i++)
        if (tr_pc(t, &t->insn[i]) == pc)
            return tr_live_in(&t->insn[i]);
    uint8_t live = 0, open = FLB_ALL;
    unsigned off = (t->block->cs_base + pc) & 0xfff, start = off;
    for (unsigned i = 0; i < PEEK_INSNS && open; i++) {
        Insn insn;
        int len = dbt_decode(t->v, &insn, t->page + off, 4096 - off, t->bits);
        if (len <= 0 || insn.kind == T_EXEC)
            break;
        live |= insn.cls->fl_read & open;
        open &= ~tr_kills(&insn);
        off += len;
        if (tr_is_flow(&insn) && insn.kind != T_CLD && insn.kind != T_STD)
            break;
    }
    mark_lines(t, pc, off - start ? off - start : 1);
    return live | open;
}

bool dbt_excluded(const Insn *insn, uint32_t key)
{
    switch (insn->cls->ext) {
    case EXT_FPU: case EXT_MMX: return key & KEY_FPU_EXC;
    case EXT_SSE: return key & KEY_SSE_EXC;
    case EXT_AVX: return key & KEY_AVX_EXC;
    default: return false;
    }
}

static const OpClass exec_class = { .kind = T_EXEC, .fl_read = FLB_ALL };

/* Decodes the instruction at offset off of the block. false: the block ends before it. */
static bool decode_one(Tr *t, unsigned off)
{
    Insn *insn = &t->insn[t->n];
    unsigned page_off = (t->block->cs_base + t->pc + off) & 0xfff;
    if (off && (page_off == 0 || page_off != (((t->block->cs_base + t->pc) & 0xfff) + off)))
        return false;
    const uint8_t *p = t->page + page_off;
    unsigned avail = 4096 - page_off;
    uint8_t joined[30];
    int len = dbt_decode(t->v, insn, p, avail, t->bits);
    if (len == 0) {
        if (t->n)
            return false;
        ExecTlb second;
        uint8_t *more = dbt_fetch(t->v, (t->block->cs_base + t->pc + avail) & (t->bits == 64 ? UINT64_MAX : UINT32_MAX), &second);
        memcpy(joined, p, avail);
        if (more) {
            memcpy(joined + avail, more, 15);
            len = dbt_decode(t->v, insn, joined, avail + 15, t->bits);
            t->block->page[1] = second.hva;
            dbt_smc_watch(t->v, second.ram, second.offset, second.hva, 15);
            t->block->lines[1] = 1;
        }
        if (len == 0)
            len = -1;
    }
    if (len < 0) {
        if (t->n)
            return false;
        *insn = (Insn){ .cls = &exec_class, .kind = T_EXEC, .len = 1, .seg = -1, .base = -1, .index = -1 };
    }
    insn->off = off;
    if (dbt_excluded(insn, t->key))
        insn->kind = T_EXEC;
    if ((insn->kind == T_CLD && !(t->key & KEY_DF)) || (insn->kind == T_STD && t->key & KEY_DF))
        insn->kind = T_NOP;
    t->n++;
    return true;
}

static unsigned decode_block(Tr *t)
{
    unsigned off = 0;
    while (t->n < MAX_INSNS && decode_one(t, off)) {
        const Insn *last = &t->insn[t->n - 1];
        off += last->len;
        if (tr_is_flow(last) || t->block->page[1])
            break;
    }
    return off;
}

static uint8_t live_at_end(Tr *t)
{
    const Insn *last = &t->insn[t->n - 1];
    switch ((InsnKind)last->kind) {
    case T_JCC: return tr_peek_flags(t, tr_target(t, last)) | tr_peek_flags(t, tr_next(t, last));
    case T_JMP: case T_CALL: return tr_peek_flags(t, tr_target(t, last));
    default: return tr_is_flow(last) ? FLB_ALL : tr_peek_flags(t, tr_next(t, last));
    }
}

static void analyse(Tr *t)
{
    for (unsigned i = 0; i < t->n; i++)
        t->insn[i].live = 0;
    for (unsigned round = 0; round < 2; round++) { /* twice: a jump back into the block makes flags live at its end */
        uint8_t live = live_at_end(t);
        for (unsigned i = t->n; i-- > 0;) {
            t->insn[i].live = live;
            live = tr_live_in(&t->insn[i]);
        }
    }
}

static void emit_insn(Tr *t, const Insn *insn)
{
    bool done = insn->kind != T_EXEC && (tr_is_flow(insn) ? tr_flow(t, insn) : tr_op(t, insn));
    if (!done) {
        tr_flush_rsp(t);
        tr_exec_exit(t, insn);
    }
}

static void emit_block(Tr *t)
{
    t->pend = 0;
    t->s0_delta = false;
    for (unsigned i = 0; i < t->n && !t->ended; i++) {
        const Insn *insn = &t->insn[i];
        t->at = i;
        t->host_off[i] = t->e.p - (uint8_t *)(uintptr_t)t->block->host;
        bool transparent = tr_stack_transparent(t, i);
        if (t->plan[i].span)
            tr_stack_guard(t, insn, &t->plan[i]);
        if (!tr_stack_fold(t, i)) {
            if (!transparent) {
                tr_flush_rsp(t);
                t->s0_delta = t->s0_delta && t->plan[i].grouped;
            }
            emit_insn(t, insn);
        }
        t->host_off[i + 1] = t->e.p - (uint8_t *)(uintptr_t)t->block->host;
        t->block->n_insns = i + 1;
    }
    tr_flush_rsp(t);
    if (!t->ended)
        tr_goto(t, tr_next(t, &t->insn[t->n - 1]));
}

/* Host and guest length of each instruction, one byte each; 255 announces two more bytes. */
static void write_side(Tr *t)
{
    DbtVcpu *v = t->v;
    t->block->side = v->n_side;
    for (unsigned i = 0; i < t->block->n_insns; i++) {
        unsigned host = t->host_off[i + 1] - t->host_off[i];
        if (host >= 255) {
            v->side[v->n_side++] = 255;
            v->side[v->n_side++] = host & 255;
            v->side[v->n_side++] = host >> 8;
        } else {
            v->side[v->n_side++] = host;
        }
        v->side[v->n_side++] = t->insn[i].len;
    }
}

static void make_room(DbtVcpu *v)
{
    if (v->code_used + BLOCK_ROOM > v->code_size || v->n_blocks + 2 > v->max_blocks ||
        v->n_links + MAX_INSNS * 4 > v->max_links || v->n_side + MAX_INSNS * 4 > v->max_side ||
        v->n_pages > v->pages_mask * 3 / 4)
        dbt_cache_flush(v);
    if (v->n_classes > v->classes_mask / 2)
        dbt_classes_reset(v);
}

Block *dbt_translate(DbtVcpu *v, uint64_t pc, uint32_t key)
{
    ExecTlb where;
    uint64_t lin = v->cs_base + pc;
    if (key_bits(key) != 64)
        lin = (uint32_t)lin;
    dbt_fpu_out(v->cpu);
    const uint8_t *code = dbt_fetch(v, lin, &where);
    if (!code)
        return NULL;
    make_room(v);
    dbt_smc_watch(v, where.ram, where.offset, where.hva + (lin & 0xfff), MIN(256u, 4096 - (lin & 0xfff)));
    Block *b = &v->blocks[v->n_blocks];
    *b = (Block){ .pc = pc, .cs_base = v->cs_base, .key = key, .page = { where.hva, 0 } };
    Tr *t = v->tr;
    t->v = v;
    t->block = b;
    t->key = key;
    t->mode = key & KEY_MODE;
    t->bits = key_bits(key);
    t->pc = pc;
    t->page = (const uint8_t *)(uintptr_t)where.hva;
    t->n = t->n_stubs = 0;
    t->parked = t->park_of = t->ended = false;
    t->lines = 0;
    b->len = decode_block(t);
    mark_lines(t, pc, b->len);
    analyse(t);
    tr_stack_plan(t);
    tr_group_plan(t);
    t->e.p = v->code + v->code_used;
    b->checked = e_pos(&t->e);
    tr_checked_entry(t, pc);
    b->host = e_pos(&t->e);
    emit_block(t);
    tr_emit_stubs(t);
    b->host_end = e_pos(&t->e);
    b->lines[0] = t->lines;
    write_side(t);
    v->code_used = ROUND_UP_TO(t->e.p - v->code, 16);
    v->n_blocks++;
    v->n_translated++;
    v->n_insns += b->n_insns;
    dbt_smc_lines(v, where.ram, where.offset, where.hva, b->lines[0]);
    dbt_block_insert(v, b);
    return b;
}
