/*
 * Decoder: prefixes, opcode, ModRM, SIB and displacement are parsed here; what the opcode means (operands, accesses, flags)
 * comes from an OpClass that classes.c learns once per encoding from the Zydis tables.
 * Source: Intel SDM vol. 2A ch. 2, appendix A (opcode maps).
 */
#include "accel/dbt/classes.h"

/* Opcodes of map 0 and 1 that have a ModRM byte, a bit each. */
static const uint32_t modrm_map0[8] = {
    0x0f0f0f0f, 0x0f0f0f0f, 0x00000000, 0x00000a0c,
    0x0000ffff, 0x00000000, 0xff0f00f3, 0xc0c00000,
};
/* 00-0f .. : 06 and 0f.. have none; 20-23 always take the register form; 0f (3DNow!) is not supported */
static const uint32_t modrm_map1[8] = {
    0xffff200f, 0xff00ff0f, 0xffffffff, 0xff7fffff,
    0xffff0000, 0xfffff838, 0xffff00ff, 0xffffffff,
};

static bool has_modrm(unsigned map, unsigned opcode)
{
    const uint32_t *bits = map == 0 ? modrm_map0 : modrm_map1;
    return map >= 2 || (bits[opcode >> 5] >> (opcode & 31) & 1);
}

typedef struct Cursor { const uint8_t *p; unsigned pos, max; bool eof; } Cursor;

static inline uint8_t next_byte(Cursor *c)
{
    if (c->pos >= c->max) {
        c->eof = true;
        return 0;
    }
    return c->p[c->pos++];
}

static bool parse_prefixes(Insn *insn, Cursor *c, unsigned bits, uint8_t *first)
{
    for (;;) {
        uint8_t b = next_byte(c);
        switch (b) {
        case 0x66: insn->p66 = true; insn->rex = 0; continue;
        case 0x67: insn->p67 = true; insn->rex = 0; continue;
        case 0xf0: insn->lock = true; insn->rex = 0; continue;
        case 0xf2: case 0xf3: insn->rep = b; insn->rex = 0; continue;
        case 0x26: case 0x2e: case 0x36: case 0x3e:
            if (bits != 64)
                insn->seg = (b >> 3) & 3;
            insn->rex = 0;
            continue;
        case 0x64: case 0x65: insn->seg = b - 0x64 + SEG_FS; insn->rex = 0; continue;
        default:
            if (bits == 64 && (b & 0xf0) == 0x40) {
                insn->rex = b;
                continue;
            }
            *first = b;
            return !c->eof;
        }
        if (c->eof)
            return false;
    }
}

static void parse_vex(Insn *insn, Cursor *c, uint8_t first)
{
    uint8_t b = next_byte(c);
    insn->vex = true;
    insn->rex = 0x40 | (b & 0x80 ? 0 : 4);
    insn->map = 1;
    if (first == 0xc4) {
        insn->rex |= (b & 0x40 ? 0 : 2) | (b & 0x20 ? 0 : 1);
        insn->map = b & 0x1f;
        b = next_byte(c);
        insn->rex |= b & 0x80 ? 8 : 0;
    }
    insn->vvvv = (~b >> 3) & 15;
    insn->vex_l = (b >> 2) & 1;
    static const uint8_t pp[4] = { 0, 0x66, 0xf3, 0xf2 };
    insn->p66 = (b & 3) == 1;
    insn->rep = (b & 3) > 1 ? pp[b & 3] : 0;
}

static void parse_mem16(Insn *insn, Cursor *c)
{
    static const int8_t base[8] = { R_RBX, R_RBX, R_RBP, R_RBP, R_RSI, R_RDI, R_RBP, R_RBX };
    static const int8_t index[8] = { R_RSI, R_RDI, R_RSI, R_RDI, -1, -1, -1, -1 };
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    insn->base = base[rm];
    insn->index = index[rm];
    insn->disp_len = mod == 1 ? 1 : mod == 2 ? 2 : 0;
    if (mod == 0 && rm == 6) {
        insn->base = -1;
        insn->disp_len = 2;
    }
    insn->disp_off = c->pos;
    uint8_t lo = insn->disp_len ? next_byte(c) : 0;
    insn->disp = insn->disp_len == 2 ? (int16_t)(lo | next_byte(c) << 8) : (int8_t)lo;
}

static void parse_mem(Insn *insn, Cursor *c, unsigned bits)
{
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    insn->base = rm | (insn->rex & 1 ? 8 : 0);
    bool no_base = rm == 5;
    if (rm == 4) {
        uint8_t sib = next_byte(c);
        insn->base = (sib & 7) | (insn->rex & 1 ? 8 : 0);
        insn->index = ((sib >> 3) & 7) | (insn->rex & 2 ? 8 : 0);
        insn->scale = sib >> 6;
        if (insn->index == 4)
            insn->index = -1;
        no_base = (sib & 7) == 5;
    }
    insn->disp_len = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    if (mod == 0 && no_base) {
        insn->base = rm == 5 && bits == 64 ? 16 : -1;
        insn->disp_len = 4;
    }
    insn->disp_off = c->pos;
    if (insn->disp_len == 1) {
        insn->disp = (int8_t)next_byte(c);
    } else if (insn->disp_len == 4) {
        if (c->pos + 4 > c->max) {
            c->eof = true;
            return;
        }
        insn->disp = (int32_t)ld32(c->p + c->pos);
        c->pos += 4;
    }
}

static bool parse_opcode(Insn *insn, Cursor *c, unsigned bits)
{
    uint8_t b;
    if (!parse_prefixes(insn, c, bits, &b))
        return false;
    if (b == 0xc4 || b == 0xc5) {
        if (c->pos >= c->max) {
            c->eof = true;
            return false;
        }
        if (bits == 64 || (c->p[c->pos] & 0xc0) == 0xc0) {
            parse_vex(insn, c, b);
            if (bits != 64)
                insn->rex &= 0x48;
            b = next_byte(c);
            if (insn->map == 0 || insn->map > 3)
                insn->map = 4;
            insn->opc_off = c->pos - 1;
            insn->opcode = b;
            return true;
        }
    }
    if (b == 0x0f) {
        b = next_byte(c);
        insn->map = 1;
        if (b == 0x38 || b == 0x3a) {
            insn->map = b == 0x38 ? 2 : 3;
            b = next_byte(c);
        }
    }
    insn->opc_off = c->pos - 1;
    insn->opcode = b;
    return true;
}

static void parse_moffs(Insn *insn, Cursor *c)
{
    insn->disp_off = insn->imm_off = c->pos;
    insn->disp_len = insn->adsz;
    c->pos += insn->adsz;
    if (c->pos > c->max)
        c->eof = true;
}

int dbt_decode(DbtVcpu *v, Insn *insn, const uint8_t *p, unsigned max, unsigned bits)
{
    Cursor c = { p, 0, max > 15 ? 15 : max, false };
    *insn = (Insn){ .seg = -1, .base = -1, .index = -1 };
    if (!parse_opcode(insn, &c, bits) || c.eof)
        return c.pos >= 15 ? -1 : 0;
    insn->adsz = bits == 64 ? (insn->p67 ? 4 : 8) : (bits == 32) != insn->p67 ? 4 : 2;
    insn->opsz = bits == 64 ? (insn->rex & 8 ? 8 : insn->p66 ? 2 : 4) : (bits == 32) != insn->p66 ? 4 : 2;
    if (insn->map == 4)
        return -1;
    insn->has_modrm = has_modrm(insn->map, insn->opcode) && !(insn->vex && insn->map == 1 && insn->opcode == 0x77);
    if (insn->map == 0 && insn->opcode == 0x62 && bits == 64)
        return -1;
    if (insn->has_modrm) {
        insn->modrm_off = c.pos;
        insn->modrm = next_byte(&c);
        bool reg_only = insn->map == 1 && !insn->vex && insn->opcode >= 0x20 && insn->opcode <= 0x23;
        if (insn->modrm < 0xc0 && !reg_only) {
            if (insn->adsz == 2)
                parse_mem16(insn, &c);
            else
                parse_mem(insn, &c, bits);
        }
    } else if (insn->map == 0 && insn->opcode >= 0xa0 && insn->opcode <= 0xa3) {
        parse_moffs(insn, &c);
    }
    if (c.eof)
        return c.pos >= 15 || max >= 15 ? -1 : 0;
    insn->imm_off = insn->imm_off ? insn->imm_off : c.pos;
    const OpClass *cls = dbt_class_find(v, insn, bits);
    if (!cls) {
        int learned = dbt_class_learn(v, insn, p, max, bits, c.pos, &cls);
        if (learned <= 0)
            return learned;
    }
    insn->cls = cls;
    insn->kind = cls->kind;
    unsigned len = c.pos + cls->imm_len;
    if (len > 15)
        return -1;
    if (len > max)
        return 0;
    insn->len = len;
    __builtin_memcpy(insn->bytes, p, len);
    return len;
}
