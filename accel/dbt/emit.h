/*
 * Host code emission: raw bytes, [base + disp] and [base + index] forms, context fields, jumps.
 * Register numbers are host encodings. Opcodes above 0xff stand for 0f xx.
 */
#pragma once

#include "accel/dbt/dbt.h"

#define CTX(field) ((int32_t)offsetof(DbtCtx, field))
#define ST_GPR(i) ((int32_t)(offsetof(X86State, gpr) + 8 * (i)))

typedef struct Emit { uint8_t *p; } Emit;

static inline void e_b(Emit *e, unsigned v) { *e->p++ = v; }
static inline void e_w(Emit *e, unsigned v) { st16(e->p, v); e->p += 2; }
static inline void e_d(Emit *e, uint32_t v) { st32(e->p, v); e->p += 4; }
static inline void e_q(Emit *e, uint64_t v) { st64(e->p, v); e->p += 8; }
static inline uint32_t e_pos(const Emit *e) { return (uint32_t)(uintptr_t)e->p; }

static inline void e_opc(Emit *e, unsigned opc)
{
    if (opc > 0xff)
        e_b(e, 0x0f);
    e_b(e, opc & 0xff);
}
static inline void e_rex(Emit *e, unsigned w, unsigned reg, unsigned index, unsigned base)
{
    unsigned rex = (w ? 8 : 0) | (reg & 8 ? 4 : 0) | (index & 8 ? 2 : 0) | (base & 8 ? 1 : 0);
    if (rex)
        e_b(e, 0x40 | rex);
}
/* ModRM (and SIB, displacement) for [base + disp]. */
static inline void e_mem(Emit *e, unsigned reg, unsigned base, int32_t disp)
{
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    e_b(e, mod << 6 | (reg & 7) << 3 | (base & 7));
    if ((base & 7) == 4)
        e_b(e, 0x24);
    if (mod == 1)
        e_b(e, disp & 0xff);
    else if (mod == 2)
        e_d(e, disp);
}
static inline void e_mem_idx(Emit *e, unsigned reg, unsigned base, unsigned index, unsigned scale, int32_t disp)
{
    unsigned mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
    e_b(e, mod << 6 | (reg & 7) << 3 | 4);
    e_b(e, scale << 6 | (index & 7) << 3 | (base & 7));
    if (mod == 1)
        e_b(e, disp & 0xff);
    else if (mod == 2)
        e_d(e, disp);
}
/* op reg, [base + disp] in either direction, as the opcode says. */
static inline void e_rm(Emit *e, unsigned w, unsigned opc, unsigned reg, unsigned base, int32_t disp)
{
    e_rex(e, w, reg, 0, base);
    e_opc(e, opc);
    e_mem(e, reg, base, disp);
}
static inline void e_rmx(Emit *e, unsigned w, unsigned opc, unsigned reg, unsigned base, unsigned index, unsigned scale,
                         int32_t disp)
{
    e_rex(e, w, reg, index, base);
    e_opc(e, opc);
    e_mem_idx(e, reg, base, index, scale, disp);
}
static inline void e_rr(Emit *e, unsigned w, unsigned opc, unsigned reg, unsigned rm)
{
    e_rex(e, w, reg, 0, rm);
    e_opc(e, opc);
    e_b(e, 0xc0 | (reg & 7) << 3 | (rm & 7));
}
/* 64-bit moves between a register and the context. */
static inline void e_ld_ctx(Emit *e, unsigned reg, int32_t disp) { e_rm(e, 1, 0x8b, reg, 4, disp); }
static inline void e_st_ctx(Emit *e, unsigned reg, int32_t disp) { e_rm(e, 1, 0x89, reg, 4, disp); }
static inline void e_mov(Emit *e, unsigned dst, unsigned src) { e_rr(e, 1, 0x8b, dst, src); }
static inline void e_lea(Emit *e, unsigned w, unsigned dst, unsigned base, int32_t disp)
{
    e_rm(e, w, 0x8d, dst, base, disp);
}
static inline void e_st_ctx_imm32(Emit *e, int32_t disp, uint32_t imm)
{
    e_rm(e, 0, 0xc7, 0, 4, disp);
    e_d(e, imm);
}
/* Shortest load of a constant; flags survive. */
static inline void e_mov_imm(Emit *e, unsigned reg, uint64_t v)
{
    if (v <= UINT32_MAX) {
        e_rex(e, 0, 0, 0, reg);
        e_b(e, 0xb8 | (reg & 7));
        e_d(e, v);
    } else if ((int64_t)v == (int32_t)v) {
        e_rr(e, 1, 0xc7, 0, reg);
        e_d(e, v);
    } else {
        e_rex(e, 1, 0, 0, reg);
        e_b(e, 0xb8 | (reg & 7));
        e_q(e, v);
    }
}
static inline void e_jmp(Emit *e, uint32_t target)
{
    e_b(e, 0xe9);
    e_d(e, target - (e_pos(e) + 4));
}
static inline void e_call(Emit *e, uint32_t target)
{
    e_b(e, 0xe8);
    e_d(e, target - (e_pos(e) + 4));
}
/* jcc rel32; returns the site of the displacement. */
static inline uint32_t e_jcc(Emit *e, unsigned cc, uint32_t target)
{
    e_b(e, 0x0f);
    e_b(e, 0x80 | cc);
    e_d(e, target - (e_pos(e) + 4));
    return e_pos(e) - 4;
}
static inline void e_patch32(uint32_t site, uint32_t target)
{
    __atomic_store_n((uint32_t *)(uintptr_t)site, target - (site + 4), __ATOMIC_RELAXED);
}
/* jcc/jmp/jrcxz rel8, to be closed by e_here8. */
static inline uint8_t *e_short(Emit *e, unsigned opc)
{
    e_b(e, opc);
    e_b(e, 0);
    return e->p;
}
static inline void e_here8(Emit *e, uint8_t *from) { from[-1] = e->p - from; }

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

/* Flags into AX (AH as LAHF, AL = OF), guest RAX in the context; and back. */
static inline void e_park(Emit *e, bool of)
{
    e_st_ctx(e, 0, CTX(save_rax));
    e_b(e, 0x9f);                               /* lahf */
    if (of) {
        e_b(e, 0x0f); e_b(e, 0x90); e_b(e, 0xc0); /* seto al */
    }
}
static inline void e_unpark(Emit *e, bool of)
{
    if (of) {
        e_b(e, 0x04); e_b(e, 0x7f);             /* add al, 127: OF again when al was 1 */
    }
    e_b(e, 0x9e);                               /* sahf */
    e_ld_ctx(e, 0, CTX(save_rax));
}

/* S1 = TLB index of the address in S0. Flags are free. bias: bytes pushed since the context. */
static inline void e_tlb_index(Emit *e, bool fast_pext, int bias)
{
    if (fast_pext) { /* pext r11, r10, [rsp + pext_mask] */
        e_b(e, 0xc4); e_b(e, 0x62); e_b(e, 0xaa); e_b(e, 0xf5);
        e_mem(e, HOST_S1, 4, CTX(pext_mask) + bias);
        return;
    }
    e_rr(e, 0, 0x8b, HOST_S1, HOST_S0);
    e_rr(e, 0, 0xc1, 5, HOST_S1); e_b(e, 12);
    e_rr(e, 0, 0x81, 4, HOST_S1); e_d(e, TLB_SIZE - 1);
}
