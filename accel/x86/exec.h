/*
 * The C side of the x86-64 architecture: page walks, memory access with all checks, system instructions, event
 * delivery.
 * Accelerators that execute guest instructions themselves (the translator, single step, the KVM emulation assist)
 * call it.
 *
 * Rules of the border:
 * - All functions run on the vCPU's thread. X86State is exact when they are entered and when they return or jump.
 * - Vector and x87 registers may live in the host's registers meanwhile: everything here is compiled to use general
 *   registers only, and calls engine->fpu_out() before it touches st.xsave or calls out (devices, APIC, memory
 *   watchers).
 * - A fault does not return: it is recorded in *cpu->fault and control goes to cpu->fault_jmp, which the caller set
 * with
 *   `if (__builtin_setjmp(buf))`. State is then as before the instruction, apart from finished iterations of a REP.
 *   The engine then calls x86_deliver(cpu, cpu->fault).
 *
 * Source: Intel SDM vol. 2 and 3A, AMD APM vol. 2.
 */
#pragma once

#include <Zydis/Zydis.h>

#include "accel/x86/cpu.h"

/* ---- faults ---------------------------------------------------------------------------------------------------- */

typedef enum {
    X86_EVENT_EXCEPTION, /* fault or trap raised by the CPU; rip is what is pushed */
    X86_EVENT_SOFT,      /* INT n, INT3, INTO: gate DPL is checked, rip is already behind the instruction */
    X86_EVENT_ICEBP,     /* INT1: like a #DB without DPL check; rip behind the instruction */
    X86_EVENT_EXTERNAL,  /* INTR, vector from the APIC */
    X86_EVENT_NMI,
} X86EventKind;

struct X86Event {
    X86EventKind kind;
    uint8_t vector;
    bool has_error;
    uint32_t error;
    uint64_t cr2;        /* EXC_PF only: loaded into CR2 on delivery */
    uint64_t dr6;        /* EXC_DB only: bits to set in DR6 on delivery */
};

/* Error code of the exceptions that have one (DF, TS, NP, SS, GP, PF, AC); ignored for the others. */
_Noreturn void x86_fault(X86Cpu *cpu, int vector, uint32_t error_code);
_Noreturn void x86_fault_page(X86Cpu *cpu, uint64_t lin, uint32_t error_code);
/* #DB as a trap or fault: rip is what is to be pushed, dr6 holds the cause bits (DR6_BS, DR6_B0...). */
_Noreturn void x86_fault_debug(X86Cpu *cpu, uint64_t dr6);
/* A fault that x86_mmu_translate reported. */
struct X86Translation;
_Noreturn void x86_fault_translation(X86Cpu *cpu, const struct X86Translation *tr);

#define DR6_B0 0x1u
#define DR6_BD 0x2000u
#define DR6_BS 0x4000u
#define DR6_BT 0x8000u

/* ---- paging ---------------------------------------------------------------------------------------------------- */

/* What an access is. User or supervisor follows from CPL unless X86_SUPERVISOR (descriptor tables, TSS: implicit). */
#define X86_READ       0u
#define X86_WRITE      1u    /* also the read half of a read-modify-write */
#define X86_EXEC       2u
#define X86_KIND       3u
#define X86_SUPERVISOR 4u    /* implicit supervisor access: SMAP ignores AC */
#define X86_PROBE      8u    /* translate only: neither A nor D is set (debugger) */

#define X86_PERM_R 1u
#define X86_PERM_W 2u        /* allowed and the D bits are set: a later write needs no walk */
#define X86_PERM_X 4u

typedef struct X86Translation {
    uint64_t gpa;            /* of lin, A20 applied */
    uint64_t page_size;      /* 4 KiB, 2 MiB, 4 MiB, 1 GiB; 4 KiB without paging */
    uint8_t perms;           /* X86_PERM_*, for the privilege of this access and the current EFLAGS.AC (0 if implicit) */
    bool user;               /* page is user-accessible: supervisor data access may depend on AC (SMAP) */
    bool global;             /* G, and CR4.PGE is set */
    /* when false was returned */
    uint8_t fault_vector;    /* EXC_PF */
    uint32_t fault_error;
    uint64_t fault_lin;
} X86Translation;

/*
 * Walks the guest's page tables for one byte at lin (canonical in 64-bit mode). Sets A, and D for X86_WRITE. false: a
 * fault,
 * nothing raised. No paging: identity.
 */
bool x86_mmu_translate(X86Cpu *cpu, uint64_t lin, unsigned access, X86Translation *out) WARN_UNUSED;

static inline bool x86_canonical(uint64_t lin) { return (uint64_t)((int64_t)(lin << 16) >> 16) == lin; }
static inline bool x86_long_mode(const X86State *st) { return st->efer & EFER_LMA; }
static inline bool x86_code64(const X86State *st) { return (st->efer & EFER_LMA) && (st->seg[SEG_CS].attr & SEG_ATTR_L); }
static inline bool x86_protected(const X86State *st) { return (st->cr0 & CR0_PE) && !(st->rflags & FL_VM); }
static inline bool x86_v8086(const X86State *st) { return st->rflags & FL_VM; }
/* 16, 32 or 64: the default operand and address size of code at CS. */
static inline unsigned x86_code_bits(const X86State *st)
{
    return x86_code64(st) ? 64 : (st->seg[SEG_CS].attr & SEG_ATTR_DB) ? 32 : 16;
}
static inline unsigned x86_iopl(const X86State *st) { return (st->rflags >> 12) & 3; }

/* RAM, ROM or ROMD behind a guest-physical page for reading (write: RAM only), or NULL for MMIO and holes. */
typedef struct X86RamRef { uint8_t *hva; RamBlock *ram; uint64_t offset; bool writable; } X86RamRef;
bool x86_ram_ref(X86Cpu *cpu, uint64_t gpa, bool write, X86RamRef *ref) WARN_UNUSED;

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/*
 * Linear accesses of 1, 2, 4 or 8 bytes; page crossing, MMIO and watched pages handled. access: X86_READ/X86_WRITE +
 * flags.
 */
uint64_t x86_ld(X86Cpu *cpu, uint64_t lin, unsigned size, unsigned access);
void x86_st(X86Cpu *cpu, uint64_t lin, uint64_t value, unsigned size, unsigned access);
/* Any length up to 4096. x86_st_bytes writes all or faults before the first byte. */
void x86_ld_bytes(X86Cpu *cpu, uint64_t lin, void *buf, unsigned len, unsigned access);
void x86_st_bytes(X86Cpu *cpu, uint64_t lin, const void *buf, unsigned len, unsigned access);
/* Faults if any byte of the range can't be accessed. */
void x86_probe(X86Cpu *cpu, uint64_t lin, unsigned len, unsigned access);

/*
 * Segmentation: the linear address of offset in seg for an access of size bytes, limit, type and canonical checks done
 * (#GP(0), #SS(0) for SS). seg is SEG_*; offset is already truncated to the address size.
 */
uint64_t x86_seg_lin(X86Cpu *cpu, unsigned seg, uint64_t offset, unsigned size, unsigned access);
/* Address of a decoded memory operand without segment, truncated to the address size. */
uint64_t x86_operand_offset(X86Cpu *cpu, const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *op);
unsigned x86_operand_seg(const ZydisDecodedOperand *op);

/* ---- the engine's part ------------------------------------------------------------------------------------------ */

typedef enum {
    X86_TLB_ALL,          /* everything of every PCID, global too (CR0.PG, CR4, EFER.NXE, MTRR.., A20) */
    X86_TLB_NON_GLOBAL,   /* every PCID, global entries may stay (INVPCID 3) */
    X86_TLB_PCID,         /* non-global entries of pcid */
    X86_TLB_PAGE,         /* lin in pcid, and global entries for lin (INVLPG, INVPCID 0) */
    X86_TLB_SWITCH,       /* CR3 was loaded, st.cr3 is new, nothing needs flushing (bit 63 with PCIDE) */
    X86_TLB_SWITCH_FLUSH, /* CR3 was loaded: non-global entries of pcid go */
} X86TlbFlush;

/* Any may be NULL. */
struct X86EngineOps {
    /* lin: X86_TLB_PAGE only. Own vCPU. */
    void (*tlb_flush)(X86Cpu *cpu, X86TlbFlush kind, uint64_t lin, unsigned pcid);
    /* CR0, CR4, EFER, CPL, segments, VM, DR7 or TF changed: derived keys are stale. */
    void (*mode_changed)(X86Cpu *cpu);
    /*
     * hva of lin when it is plain RAM that the current privilege may access that way without further work (present in
     * the TLB, for
     * writes neither watched nor code), else NULL. Valid up to the end of the 4 KiB page. access as above.
     */
    void *(*tlb_lookup)(X86Cpu *cpu, uint64_t lin, unsigned access);
    /* Guest vector and x87 registers are in st.xsave from now on, until guest code runs again. Idempotent. */
    void (*fpu_out)(X86Cpu *cpu);
};

static inline void x86_fpu_out(X86Cpu *cpu) { if (cpu->engine && cpu->engine->fpu_out) cpu->engine->fpu_out(cpu); }

/* ---- execution -------------------------------------------------------------------------------------------------- */

/* What x86_exec_insn did; 0: fell through to the next instruction, nothing to note. */
#define X86_EXEC_JUMP   0x01u /* rip is not the next instruction */
#define X86_EXEC_MODE   0x02u /* the meaning of code may have changed: CS, SS, DS.., CPL, CR0/CR4/EFER, paging, VM */
#define X86_EXEC_HALTED 0x04u /* vcpu.halted was set (HLT, MWAIT) */
#define X86_EXEC_END    0x08u /* end the block: interrupts may be deliverable (IF, TPR), shadow, TF, flushed TLB, code written */
#define X86_EXEC_REP    0x10u /* a REP instruction was left with iterations to go: rip is still at it; poll, then call again */
#define X86_EXEC_UNKNOWN 0x20u/* nothing was done: not an instruction known here (the guest may have it in CPUID) */

/*
 * Executes one instruction at st.rip, decoded in the mode of CS (x86_code_bits), operands with the hidden ones
 * (ZydisDecoderDecodeFull). Leaves rip at the next one; faults jump. Clears st.shadow unless the instruction sets it.
 * RF is
 * cleared on completion. TF is the caller's business: after an instruction that began with TF set, raise
 * x86_fault_debug(DR6_BS).
 */
unsigned x86_exec_insn(X86Cpu *cpu, const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *ops);

/*
 * Fetches up to 15 bytes at CS:rip, as many as are accessible; faults if the first isn't. Returns the count. If a
 * decoder needs
 * more than that, call x86_fetch_more_fault().
 */
unsigned x86_fetch(X86Cpu *cpu, uint8_t buf[15]);
/*
 * The instruction needs the byte at rip + have, which could not be fetched: raises #PF or #GP; #GP(0) when have is 15.
 */
_Noreturn void x86_fetch_more_fault(X86Cpu *cpu, unsigned have);
/* Fetch, decode, execute one instruction, faults delivered. For MMIO operands, debuggers and the KVM assist. */
typedef enum { X86_STEP_OK, X86_STEP_HALTED, X86_STEP_SHUTDOWN, X86_STEP_UNKNOWN } X86StepResult;
X86StepResult x86_step(X86Cpu *cpu);

/*
 * Delivers an exception or interrupt: rip, flags, stack, CS as the mode demands; faults on the way lead to other
 * vectors, #DF
 * and at last shutdown by SDM 3A table 6-5. false: triple fault.
 */
bool x86_deliver(X86Cpu *cpu, const X86Event *event) WARN_UNUSED;

/* Instruction breakpoint at linear address lin (DR0-3 with DR7 type 0, RF clear): DR6 bits that match, 0 for none. */
uint64_t x86_exec_breakpoint(X86Cpu *cpu, uint64_t lin);
static inline bool x86_breakpoints_on(const X86State *st) { return st->dr[7] & 0xff; }

/*
 * Takes what is pending in vcpu.interrupts, as IF, shadow and NMI masking allow: INIT, SIPI, NMI, INTR. Called at
 * block boundaries
 * when the bits are nonzero, and while halted.
 */
typedef enum {
    X86_POLL_NONE,     /* nothing was taken; run on (or stay asleep when vcpu.halted) */
    X86_POLL_TAKEN,    /* state was replaced: rip, mode; vcpu.halted is clear */
    X86_POLL_HALTED,   /* INIT put it to wait for SIPI: leave with VCPU_EXIT_HALTED */
    X86_POLL_SHUTDOWN, /* triple fault on delivery */
} X86PollResult;
X86PollResult x86_poll_events(X86Cpu *cpu);
/* Would x86_poll_events() take something now? For sleeping CPUs. */
bool x86_has_work(X86Cpu *cpu);
