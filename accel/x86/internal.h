/*
 * Private to accel/x86: the instruction context and the helpers that its files share.
 *
 * Everything that can run in the middle of guest code is compiled with general registers only, see exec.h.
 */
#pragma once

#include "accel/x86/exec.h"

/* One instruction being executed. */
typedef struct Insn {
    const ZydisDecodedInstruction *zi;
    const ZydisDecodedOperand *op;
    unsigned osz;    /* effective operand size in bytes by prefixes and mode: 2, 4, 8 (byte forms have it too) */
    unsigned asz;    /* effective address size in bytes */
    unsigned bits;   /* of the code segment: 16, 32, 64 */
    uint64_t next;   /* rip of the next instruction */
} Insn;
typedef unsigned ExecFunc(X86Cpu *cpu, const Insn *in); /* X86_EXEC_*; may jump to the fault handler */

/* Tables of each theme; NULL entries are somebody else's. Indexed by ZydisMnemonic. */
void x86_register_far(ExecFunc **table);
void x86_register_flow(ExecFunc **table);
void x86_register_system(ExecFunc **table);
void x86_register_msr(ExecFunc **table);
void x86_register_segment(ExecFunc **table);
void x86_register_flags(ExecFunc **table);
void x86_register_string(ExecFunc **table);
void x86_register_io(ExecFunc **table);
void x86_register_fpstate(ExecFunc **table);
void x86_register_control(ExecFunc **table);

/* ---- operands (operand.c) ---- */
/* Not ZydisRegisterGetClass(): library code may use vector registers. */
static inline bool x86_is_sreg(ZydisRegister r) { return r >= ZYDIS_REGISTER_ES && r <= ZYDIS_REGISTER_GS; }
static inline bool x86_is_creg(ZydisRegister r) { return r >= ZYDIS_REGISTER_CR0 && r <= ZYDIS_REGISTER_CR15; }
static inline bool x86_is_dreg(ZydisRegister r) { return r >= ZYDIS_REGISTER_DR0 && r <= ZYDIS_REGISTER_DR15; }
static inline bool x86_is_treg(ZydisRegister r) { return r >= ZYDIS_REGISTER_TR0 && r <= ZYDIS_REGISTER_TR7; }
uint64_t x86_reg_read(X86Cpu *cpu, ZydisRegister reg);
/* Writes the register by its own width; 32-bit writes clear the upper half in the way of 64-bit mode. */
void x86_reg_write(X86Cpu *cpu, ZydisRegister reg, uint64_t value);
/* Value of operand n: register, memory, immediate (sign-extended to 64 bits). Width op->size. */
uint64_t x86_op_read(X86Cpu *cpu, const Insn *in, unsigned n);
/* The same, for an operand that is written afterwards (a fault says write). */
uint64_t x86_op_read_rmw(X86Cpu *cpu, const Insn *in, unsigned n);
void x86_op_write(X86Cpu *cpu, const Insn *in, unsigned n, uint64_t value);
/* Linear address of memory operand n after all checks for size bytes. */
uint64_t x86_op_lin(X86Cpu *cpu, const Insn *in, unsigned n, unsigned size, unsigned access);
static inline bool x86_op_is_mem(const Insn *in, unsigned n) { return in->op[n].type == ZYDIS_OPERAND_TYPE_MEMORY; }
static inline uint64_t x86_trunc(uint64_t v, unsigned bytes) { return v & mask_bytes(bytes); }
/* Writes a general register by size in bytes (8-bit: low byte only). */
void x86_gpr_write(X86Cpu *cpu, unsigned reg, uint64_t value, unsigned size);

/* Instructions on registers and memory that the host executes itself (native.c). */
unsigned x86_exec_native(X86Cpu *cpu, const Insn *in);
/* Masked moves, gathers (masked.c): true if it was one and is done. */
bool x86_exec_masked(X86Cpu *cpu, const Insn *in);

/* ---- memory (mem.c) ---- */
/* Host address for an atomic access, or NULL when it isn't RAM inside one page. Checked for writing. */
void *x86_atomic_ptr(X86Cpu *cpu, uint64_t lin, unsigned size, X86RamRef *ref);
void x86_ram_written(X86Cpu *cpu, const X86RamRef *ref, unsigned size);

/* ---- segments (segment.c) ---- */
typedef struct X86Desc {
    uint32_t lo, hi;
    uint64_t addr;     /* linear, of the descriptor */
} X86Desc;
#define DESC_TYPE(d) (((d)->hi >> 8) & 0xf)
#define DESC_S(d)    (((d)->hi >> 12) & 1)
#define DESC_DPL(d)  (((d)->hi >> 13) & 3)
#define DESC_P(d)    (((d)->hi >> 15) & 1)
#define DESC_L(d)    (((d)->hi >> 21) & 1)
#define DESC_DB(d)   (((d)->hi >> 22) & 1)
#define DESC_IS_CODE(d) (DESC_S(d) && (DESC_TYPE(d) & 8))
#define DESC_CONFORMING(d) (DESC_TYPE(d) & 4)
#define SEL_NULL(sel) (((sel) & 0xfffc) == 0)
#define SEL_ERR(sel)  ((sel) & 0xfffcu)

/* Reads the descriptor of sel; false when the table does not have it (or no LDT). */
bool x86_desc_read(X86Cpu *cpu, uint16_t sel, X86Desc *desc) WARN_UNUSED;
uint64_t x86_desc_base(const X86Desc *desc);
uint32_t x86_desc_limit(const X86Desc *desc);
X86Segment x86_desc_segment(const X86Desc *desc, uint16_t sel);
/* Sets the accessed bit in the table and in *desc. */
void x86_desc_accessed(X86Cpu *cpu, X86Desc *desc);
/* Segment as real mode and v8086 make it. */
void x86_seg_load_real(X86Cpu *cpu, unsigned seg, uint16_t sel);
/* MOV/POP/Lxx to ES, SS, DS, FS, GS in any mode with all checks. */
void x86_seg_load(X86Cpu *cpu, unsigned seg, uint16_t sel);
/* After a return to an outer ring: data segments that are too privileged become null. */
void x86_seg_drop_privileged(X86Cpu *cpu);
/* Linear address in a segment that need not be a current one. error: selector for #SS/#GP. ss: raise #SS. */
uint64_t x86_seg_check(X86Cpu *cpu, const X86Segment *seg, bool ss, uint64_t offset, unsigned size, unsigned access,
                       uint32_t error);

/* ---- stack (stack.c) ---- */
/* A stack being pushed to or popped from; the register is changed by x86_stack_commit only. */
typedef struct Stack {
    X86Segment ss;
    uint64_t sp, mask;  /* mask: SS.B or 64-bit */
    unsigned access;    /* flags for memory accesses */
    uint32_t error;     /* selector in #SS */
    bool flat;          /* 64-bit: no limit */
} Stack;
Stack x86_stack(X86Cpu *cpu);
void x86_stack_push(X86Cpu *cpu, Stack *s, uint64_t value, unsigned size);
uint64_t x86_stack_pop(X86Cpu *cpu, Stack *s, unsigned size);
void x86_stack_commit(X86Cpu *cpu, const Stack *s);
/* Operand size of PUSH, POP, CALL, RET and friends: 64-bit mode has no 32-bit form. */
static inline unsigned x86_stack_osz(const Insn *in) { return in->bits == 64 && in->osz == 4 ? 8 : in->osz; }

/* ---- control (deliver.c, task.c, far.c, system.c) ---- */
void x86_set_cpl(X86Cpu *cpu, unsigned cpl);
void x86_mode_changed(X86Cpu *cpu);
void x86_tlb_flush(X86Cpu *cpu, X86TlbFlush kind, uint64_t lin);
/* Near target of a jump with checks: limit or canonical. Faults before anything is changed. */
void x86_check_rip(X86Cpu *cpu, const X86Segment *cs, uint64_t rip);

typedef enum { TASK_JMP, TASK_CALL, TASK_IRET, TASK_GATE } TaskCause;
/* ext: EXT bit for errors; error: pushed on the new stack when has_error. next_rip: saved in the old TSS. */
typedef struct TaskSwitch {
    TaskCause cause;
    uint16_t selector;
    uint64_t rip;
    uint32_t flags;      /* to save in the old TSS */
    bool has_error;
    uint32_t error;
    unsigned ext;
} TaskSwitch;
void x86_task_switch(X86Cpu *cpu, const TaskSwitch *ts);
/* SS:SP for ring dpl from the current TSS; faults with #TS(ext). 16/32-bit. */
void x86_tss_stack(X86Cpu *cpu, unsigned dpl, unsigned ext, uint16_t *ss, uint32_t *sp);
uint64_t x86_tss_rsp(X86Cpu *cpu, unsigned index, unsigned ext); /* 0-2: RSPn, 3+n: ISTn; 64-bit TSS */
/* Checks and makes the stack segment of an inner ring. vector for errors is #TS; ext added. */
X86Segment x86_inner_ss(X86Cpu *cpu, uint16_t sel, unsigned dpl, unsigned ext);

void x86_set_cr0(X86Cpu *cpu, uint64_t value);
void x86_set_cr3(X86Cpu *cpu, uint64_t value);
void x86_set_cr4(X86Cpu *cpu, uint64_t value);
void x86_set_efer(X86Cpu *cpu, uint64_t value);
/* Loads flags: bits of mask from value; reserved bits stay right. Returns X86_EXEC_* to add. */
unsigned x86_set_flags(X86Cpu *cpu, uint64_t value, uint64_t mask);

/* ---- MSRs (msr.c) ---- */
bool x86_msr_read(X86Cpu *cpu, uint32_t msr, uint64_t *value) WARN_UNUSED;  /* false: #GP */
bool x86_msr_write(X86Cpu *cpu, uint32_t msr, uint64_t value) WARN_UNUSED;

/* I/O permission of a port access by IOPL and the TSS bitmap; #GP(0) when refused. */
void x86_io_check(X86Cpu *cpu, uint16_t port, unsigned size);
