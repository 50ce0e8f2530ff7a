/*
 * Groups of accesses off one base: as long as base and index keep their values and nothing in between needs S0, the first access
 * checks the whole range and leaves its host address in S0 for the others. When the range does not fit one ordinary page, the careful
 * copy of the block takes over.
 */
#include "accel/dbt/tr.h"

#define MAX_SPAN 1000

static unsigned reg_field(const Insn *i) { return (i->modrm >> 3 & 7) | (i->rex & 4) << 1; }
static unsigned rm_field(const Insn *i) { return (i->modrm & 7) | (i->rex & 1) << 3; }

static bool is_memory(const Insn *insn) { return insn->has_modrm && insn->modrm < 0xc0; }

static bool writes(const Insn *insn, int guest)
{
    const OpClass *c = insn->cls;
    if (guest < 0)
        return false;
    if (c->impl_write >> guest & 1)
        return true;
    /* byte registers 4..7 without REX are parts of 0..3 */
    if (c->byte_regs && !insn->rex && guest < 4 &&
        (((c->byte_regs & 1) && (c->reg_acc & ACC_W) && reg_field(insn) == (unsigned)guest + 4) ||
         ((c->byte_regs & 2) && (c->rm_acc & ACC_W) && !is_memory(insn) && rm_field(insn) == (unsigned)guest + 4) ||
         ((c->byte_regs & 4) && (c->opc_acc & ACC_W) && (insn->opcode & 7) == guest + 4)))
        return true;
    return (c->reg_acc & ACC_W && reg_field(insn) == (unsigned)guest) ||
           (c->rm_acc & ACC_W && !is_memory(insn) && rm_field(insn) == (unsigned)guest) ||
           (c->vv_acc & ACC_W && insn->vvvv == guest) ||
           (c->opc_acc & ACC_W && ((insn->opcode & 7) | (insn->rex & 1) << 3) == guest);
}

static bool candidate(const Tr *t, unsigned i)
{
    const Insn *insn = &t->insn[i];
    const OpClass *c = insn->cls;
    bool high_byte = c->byte_regs & 1 && !insn->rex && reg_field(insn) >= 4;
    return insn->kind == T_GEN && is_memory(insn) && c->mem_acc && !t->plan[i].grouped && insn->base >= 0 && insn->base != 16 &&
           insn->adsz == t->bits / 8 && tr_seg_flat(t, tr_seg(insn)) && !insn->lock && !high_byte && c->mem_size <= 64 &&
           insn->disp > -(1 << 20) && insn->disp < 1 << 20;
}

static bool displaced(unsigned guest) { return host_reg(guest) < 0; }

/* Neither uses S0 nor leaves the block. */
static bool keeps_s0(const Insn *insn)
{
    const OpClass *c = insn->cls;
    if (insn->kind == T_NOP)
        return true;
    if (insn->kind == T_LEA)
        return insn->opsz >= 4 && insn->adsz >= 4 && insn->base >= 0 && insn->base != 16 && !displaced(insn->base) &&
               !(insn->index >= 0 && displaced(insn->index)) && !displaced(reg_field(insn));
    if (insn->kind != T_GEN || is_memory(insn))
        return false;
    unsigned n = (c->reg_acc && displaced(reg_field(insn))) + (c->rm_acc && displaced(rm_field(insn))) +
                 (c->vv_acc && displaced(insn->vvvv)) +
                 (c->opc_acc && displaced((insn->opcode & 7) | (insn->rex & 1) << 3));
    return n <= 1;
}

static bool same_address(const Insn *a, const Insn *b)
{
    return a->base == b->base && a->index == b->index && (a->index < 0 || a->scale == b->scale);
}

static void grow(Tr *t, unsigned lead)
{
    const Insn *first = &t->insn[lead];
    int lo = first->disp, hi = lo + first->cls->mem_size;
    unsigned acc = first->cls->mem_acc, last = lead;
    for (unsigned j = lead;;) {
        if (writes(&t->insn[j], first->base) || writes(&t->insn[j], first->index) || ++j >= t->n)
            break;
        const Insn *insn = &t->insn[j];
        if (candidate(t, j) && same_address(first, insn)) {
            int new_lo = MIN(lo, insn->disp), new_hi = MAX(hi, insn->disp + insn->cls->mem_size);
            if (new_hi - new_lo > MAX_SPAN)
                break;
            lo = new_lo;
            hi = new_hi;
            acc |= insn->cls->mem_acc;
            t->group[j].member = true;
            last = j;
        } else if (!keeps_s0(insn)) {
            break;
        }
    }
    if (last == lead)
        return;
    for (unsigned j = lead; j <= last; j++)
        t->group[j].lo = lo;
    t->group[lead] = (GroupPlan){ .member = true, .lead = true, .lo = lo, .span = hi - lo, .acc = acc };
}

void tr_group_plan(Tr *t)
{
    for (unsigned i = 0; i < t->n; i++)
        t->group[i] = (GroupPlan){ 0 };
    if (t->bits == 16 || t->key & KEY_CAREFUL)
        return;
    for (unsigned i = 0; i < t->n; i++)
        if (!t->group[i].member && candidate(t, i))
            grow(t, i);
}
