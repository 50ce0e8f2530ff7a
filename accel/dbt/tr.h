/* State of one block's translation and the parts that share it. */
#pragma once

#include "accel/dbt/emit.h"

typedef struct Tr Tr;
/* Code after an access check: S0 (plus S1 when indexed) addresses the operand. Emitted again in the slow path of a write. */
typedef void PostFunc(Tr *t, const Insn *insn, unsigned arg);

typedef struct Stub {
    enum { STUB_ACCESS, STUB_EXEC, STUB_POLL, STUB_LINK, STUB_GUARD, STUB_GROUP } kind;
    uint32_t site;           /* rel32 that leads here */
    uint32_t back;           /* after the check */
    uint32_t done;           /* after the access */
    uint32_t raw_addr;       /* nonzero: S0 holds the plain address */
    const Insn *insn;
    PostFunc *post;
    unsigned arg;
    uint16_t size;
    uint8_t acc;
    bool parked, park_of;
    uint64_t target;         /* STUB_POLL */
    uint32_t link;           /* STUB_LINK */
} Stub;

/* Stack access of one instruction: covered by the guard of its run; span != 0: the guard is in front of it. */
typedef struct StackPlan {
    bool grouped;
    int32_t lo;              /* lowest address of the run, from RSP here */
    uint16_t span;           /* bytes */
} StackPlan;

/* Accesses off one base that share a check: see group.c. lo: lowest displacement of the group. */
typedef struct GroupPlan {
    bool member, lead;
    uint8_t acc;             /* of all members */
    int32_t lo;
    uint16_t span;           /* lead: bytes */
} GroupPlan;

struct Tr {
    Emit e;
    DbtVcpu *v;
    Block *block;
    uint32_t key, mode;
    unsigned bits;
    uint64_t pc;             /* of the block */
    uint64_t page_end;       /* guest pc of the end of the page */
    Insn insn[MAX_INSNS];
    StackPlan plan[MAX_INSNS];
    GroupPlan group[MAX_INSNS];
    unsigned at;             /* instruction being emitted */
    int pend;                /* guest RSP is host R15 plus this */
    bool s0_delta;           /* S0 holds the stack page's host minus guest address */
    uint16_t host_off[MAX_INSNS + 1];
    unsigned n;
    Stub stubs[MAX_INSNS * 4];
    unsigned n_stubs;
    bool parked, park_of;    /* while emitting a post function */
    bool ended;              /* control has left: no fall through */
    const uint8_t *code;     /* guest bytes at pc */
    unsigned avail;          /* of them within reach */
    const uint8_t *page;     /* host address of the page that pc is in */
    uint64_t lines;          /* 64-byte lines of the page that the translation depends on */
};

static inline Emit *tr_e(Tr *t) { return &t->e; }
static inline uint64_t tr_mask_ip(const Tr *t, uint64_t pc)
{
    return t->bits == 64 ? pc : t->bits == 32 ? (uint32_t)pc : (uint16_t)pc;
}
static inline uint64_t tr_pc(const Tr *t, const Insn *i) { return tr_mask_ip(t, t->pc + i->off); }
static inline uint64_t tr_next(const Tr *t, const Insn *i) { return tr_mask_ip(t, t->pc + i->off + i->len); }

/* The host register of a guest one, or -1 when it lives in the context. */
static inline int host_reg(int guest)
{
    return guest == R_RSP ? HOST_RSP : guest == 10 || guest == 11 || guest == 15 ? -1 : guest;
}
static inline int32_t ctx_slot(int guest) { return guest == 10 ? CTX(g10) : guest == 11 ? CTX(g11) : CTX(g15); }
/* The guest's 64-bit register in some host register: its own, or `scratch` loaded with it. */
static inline unsigned use_reg(Tr *t, int guest, unsigned scratch)
{
    int h = host_reg(guest);
    if (h >= 0)
        return h;
    if (scratch == HOST_S0)
        t->s0_delta = false;
    e_ld_ctx(&t->e, scratch, ctx_slot(guest));
    return scratch;
}

/* Flags that must survive code emitted in front of insn. */
uint8_t tr_live_in(const Insn *insn);
uint8_t tr_kills(const Insn *insn);

/* ---- access.c */
/*
 * Checks an access of size bytes and emits post with the host address in S0. The address must be in S0 before, as an offset in seg
 * (segment base not yet added).
 */
void tr_access(Tr *t, const Insn *insn, unsigned seg, unsigned size, unsigned acc, PostFunc *post, unsigned arg);
/* S0 = effective address of the instruction's memory operand, truncated; disp_add is added. */
void tr_ea(Tr *t, const Insn *insn, int32_t disp_add);
/* The same into any register, without the truncation of 16-bit addresses. */
void tr_ea_to(Tr *t, const Insn *insn, unsigned dst, unsigned w, int32_t disp_add);
unsigned tr_seg(const Insn *insn);
/* A way out to C before the instruction, when flags have been parked by the caller; returns after emitting the jcc. */
void tr_exec_if(Tr *t, const Insn *insn, unsigned cc);
/* S0 = stack pointer + delta, truncated to the stack's width. */
void tr_stack_ea(Tr *t, int32_t delta);
void tr_stack_adjust(Tr *t, int32_t delta);
unsigned tr_stack_width(const Tr *t);
bool tr_seg_usable(const Tr *t, unsigned seg, unsigned acc);
/* The rel32 at site leads to an exit for the interrupt poll, to go on at target. */
void tr_poll_stub(Tr *t, uint32_t site, uint64_t target);
/* The rel32 at site is an exit to be linked to the block at target. */
void tr_link_stub(Tr *t, uint32_t site, uint64_t target, uint32_t key);
void tr_emit_stubs(Tr *t);

/* Before an instruction: the stack guard's way out. site is the rel32 of its jcc. */
void tr_guard_stub(Tr *t, const Insn *insn, uint32_t site, unsigned span);

/* The check of a group's whole range, S0 = host address of its lowest byte; S0 must be the linear address. */
void tr_group_check(Tr *t, const Insn *insn, const GroupPlan *group);
bool tr_seg_flat(const Tr *t, unsigned seg);

/* ---- group.c */
void tr_group_plan(Tr *t);

/* ---- stack.c */
void tr_stack_plan(Tr *t);
void tr_stack_guard(Tr *t, const Insn *insn, const StackPlan *plan);
bool tr_stack_transparent(const Tr *t, unsigned i);
bool tr_stack_fold(Tr *t, unsigned i);
/* Applies collected changes of RSP. */
void tr_flush_rsp(Tr *t);
/* S0 = host minus guest address of the stack page. */
void tr_load_delta(Tr *t);
void tr_push_grouped(Tr *t, unsigned size, int guest);
void tr_push_imm_grouped(Tr *t, unsigned size, uint64_t imm);
void tr_pop_grouped(Tr *t, unsigned size, unsigned reg);
/* Operand size of PUSH, POP. */
unsigned tr_stack_size(const Tr *t, const Insn *insn);

/* ---- ops.c */
/* Emits one instruction that is not a control transfer. false: it has to be executed by C. */
bool tr_op(Tr *t, const Insn *insn);

/* ---- flow.c */
/* Emits a control transfer, which ends the block. false: C has to execute it. */
bool tr_flow(Tr *t, const Insn *insn);
bool tr_is_flow(const Insn *insn);
/* Continue at pc with the same key. */
void tr_goto(Tr *t, uint64_t pc);
void tr_exec_exit(Tr *t, const Insn *insn);
/* Entry for indirect jumps: S0 must be pc and no exit be asked for, or control goes to the jump cache's miss. Flags survive. */
void tr_checked_entry(Tr *t, uint64_t pc);
/* Target of a direct jump or call. */
uint64_t tr_target(const Tr *t, const Insn *insn);
bool tr_same_page(const Tr *t, uint64_t pc);

/* ---- translate.c */
/* Flags live on entry to pc, as far as a look at the code there tells. */
uint8_t tr_peek_flags(Tr *t, uint64_t pc);
