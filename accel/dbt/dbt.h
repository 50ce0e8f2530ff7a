/*
 * Internal interfaces of the translator. docs/translator.md explains the design; in short:
 *
 * Translated code runs with the host stack pointer at a DbtCtx, so every field of it is one [rsp + constant] away and C
 * helpers can be called from anywhere (their frames grow below the context). Guest registers live in the host registers
 * of the same number except RSP (host R15) and R10, R11, R15 (in the context): host R10 and R11 are scratch. Arithmetic flags,
 * vector and x87 registers are the host's.
 */
#pragma once

#include "accel/accel.h"
#include "accel/x86/exec.h"

#define HOST_S0 10             /* scratch: address, then host address of a memory operand */
#define HOST_S1 11             /* scratch: TLB index, displaced register */
#define HOST_RSP 15            /* holds guest RSP */

#define TLB_BITS 12
#define TLB_SIZE (1u << TLB_BITS)
#define TLB_NONE 0x8000000000000000ull  /* not canonical: never equal to a page that is looked up */
#define TLB_LOG 2048           /* fills remembered since the last flush */
#define JC_SIZE 65536u         /* jump cache: indexed by the low 16 bits of the guest pc */
#define JC_LOG 8192
#define RAS_SIZE 256u
#define MAX_INSNS 48           /* a block */
#define EXEC_TLB 256
#define EXIT_FLAG 0x40000001u  /* value of exit_flag; its low half keeps it from cancelling in checked entries */

/* Which TLB and jump cache translated code uses. Part of the block key. */
enum { MODE_USER, MODE_KERNEL, MODE_KERNEL_AC, MODE_COUNT };

/* Block key: everything outside the code bytes that its translation depends on. */
#define KEY_MODE      0x00000003u  /* MODE_* */
#define KEY_BITS_SHIFT 2           /* 0: 16, 1: 32, 2: 64 */
#define KEY_BITS      0x0000000cu
#define KEY_SS32      0x00000010u  /* SS.B: stack pointer is ESP (64-bit code: RSP, clear) */
#define KEY_FLAT_DS   0x00000020u  /* base 0, limit 4 GiB, read/write */
#define KEY_FLAT_ES   0x00000040u
#define KEY_FLAT_SS   0x00000080u
#define KEY_DF        0x00000100u
#define KEY_FPU_EXC   0x00000200u  /* x87 and MMX raise #NM (or #UD): leave it to x86_exec_insn */
#define KEY_SSE_EXC   0x00000400u
#define KEY_AVX_EXC   0x00000800u
#define KEY_CPL3      0x00001000u
#define KEY_REAL      0x00002000u  /* real or v8086 mode */
#define KEY_VM86      0x00004000u
#define KEY_TSD       0x00008000u  /* RDTSC may fault */
#define KEY_STEP      0x00010000u  /* TF or breakpoints: one instruction a block, through C */
#define KEY_CAREFUL   0x00020000u  /* each memory access is checked by itself */
#define KEY_CS_LIMIT  0x00040000u  /* code is not within a flat CS */

typedef struct DbtCtx DbtCtx;
typedef struct Block Block;

/* Soft-segment used by blocks whose key says that a segment is not flat. limit is the last valid offset, 0-length: no access. */
typedef struct DbtSeg { uint64_t base; uint64_t limit; } DbtSeg;

/*
 * Hot per-vCPU context; host RSP points to it. The first 128 bytes are reached by 8-bit displacements.
 */
struct DbtCtx {
    uint64_t g10, g11, g15;      /* guest R10, R11, R15 */
    uint64_t save_rax;           /* guest RAX while AL/AH hold parked flags */
    uint64_t save_tmp;           /* a borrowed guest register */
    _Atomic uint32_t exit_flag;  /* leave at the next check */
    uint32_t meta;               /* slow path: which access, META_* */
    uint64_t pext_mask;          /* selects the TLB index bits of an address */
    struct { uint64_t tag, delta; } sp[MODE_COUNT];  /* stack page: its address, host minus guest address */
    uint64_t flags;              /* parked flags: AH as LAHF, AL = OF */
    uint8_t ras_top[MODE_COUNT];
    uint8_t iflag;               /* unused by translated code so far */
    uint32_t exit_info;
    /* beyond disp8 */
    uint64_t save_target;
    uint64_t slow_addr;          /* linear address of the access that missed */
    uint64_t slow_ret;
    X86State *st;
    X86Cpu *cpu;
    DbtSeg seg[6];               /* soft segments, SEG_ES.. */
    int64_t tsc_offset;
    uint64_t host_rsp;           /* C stack of dbt_enter */
    uint64_t sig_pc;             /* host pc of a signal in translated code */
    uint32_t sig_no;
    uint32_t exit_reason;
    uint64_t jc_miss;
    void *helper[16];            /* C functions called by trampolines, HELPER_* */

    /* a memory operand that can't be accessed in place, or whose write has to be reported */
    struct {
        uint64_t lin;
        uint32_t size;
        RamBlock *ram;           /* the write went to RAM at offset and only has to be reported */
        uint64_t offset;
        _Alignas(64) uint8_t data[1024];
    } bounce;

    _Alignas(64) uint8_t xsave[X86_XSAVE_SIZE];
    _Alignas(64) uint64_t rtag[MODE_COUNT][TLB_SIZE];
    uint64_t wtag[MODE_COUNT][TLB_SIZE];
    uint64_t addend[MODE_COUNT][TLB_SIZE];   /* host address of the page */
    uint64_t jc[MODE_COUNT][JC_SIZE];        /* host code to try for a guest pc; it checks itself */
    uint64_t ras[MODE_COUNT][RAS_SIZE];
};

/* Slow path description of one access, given by the stub. */
#define META_PC_MASK  0x00001fffu  /* guest offset of the instruction in its block */
#define META_SIZE_SHIFT 13
#define META_SIZE_MASK 0x3ffu      /* bytes */
#define META_R        0x00800000u
#define META_W        0x01000000u
#define META_FLAGS    0x02000000u  /* flags are parked */
#define META_MODE_SHIFT 26
#define META_LEN_SHIFT 28          /* instruction length */

enum {
    HELPER_SLOW, HELPER_COMMIT, HELPER_STRING, HELPER_GUARD, HELPER_GROUP, HELPER_COUNT
};

/* Why dbt_enter() came back. */
enum {
    EXIT_LINK,     /* direct jump not yet linked: exit_info is the link */
    EXIT_MISS,     /* jump cache miss: target pc in save_target */
    EXIT_EXEC,     /* C executes the instruction at save_target */
    EXIT_POLL,     /* exit flag seen: pc in save_target */
    EXIT_SIGNAL,   /* host signal in translated code: sig_no, sig_pc */
    EXIT_KICKED,   /* not entered */
};

typedef struct Link {
    uint32_t site;        /* host address of the rel32; 0: none */
    uint32_t stub;        /* where it points when unlinked */
    Block *from, *to;
    uint64_t target;      /* guest pc */
    uint32_t key;         /* of the target */
    uint32_t next, prev;  /* other links to the same block; index, 0 ends */
    bool xpage;           /* target is on another page */
} Link;

struct Block {
    uint64_t pc;             /* guest (E)IP */
    uint64_t cs_base;
    uint64_t page[2];        /* hva of the code pages; second 0 when it lies in one */
    uint32_t key;
    uint32_t host, checked;  /* entries: plain, and with the target in S0 to be compared */
    uint32_t host_end;       /* first byte after code and stubs */
    uint32_t side;           /* index in side table */
    uint16_t len;            /* guest bytes */
    uint8_t n_insns;
    bool valid;
    uint32_t links_in;       /* first link that jumps here */
    uint32_t first_link, n_links;
    uint64_t lines[2];       /* 64-byte lines of the pages that the code depends on */
    Block *hash_next, *page_next[2];
};

/* The blocks of this vCPU on one page of code. */
typedef struct CodePage {
    uint64_t hva;            /* 0: free slot */
    Block *blocks;
} CodePage;

typedef struct DbtRange { uint64_t gpa, size; uint8_t *hva; RamBlock *ram; uint64_t offset; bool readonly; } DbtRange;

typedef struct ExecTlb { uint64_t vpage; uint64_t hva; RamBlock *ram; uint64_t offset; bool global; } ExecTlb;

typedef struct Dbt Dbt;      /* the accelerator, shared by its vCPUs */
typedef struct DbtVcpu DbtVcpu;
typedef struct OpClass OpClass;

struct DbtVcpu {
    DbtCtx *ctx;
    X86Cpu *cpu;
    Dbt *dbt;
    bool vec_live;           /* guest vector state is in host registers */
    uint64_t xmask;          /* XSAVE components */
    uint32_t key;            /* of the current state, without KEY_CAREFUL */
    uint64_t cs_base;
    bool key_stale;
    _Atomic bool in_code;    /* inside dbt_enter */
    bool fast_pext;
    /* code cache */
    uint8_t *code;           /* mapping; addresses fit 31 bits */
    uint32_t code_size, code_used, code_start;
    Block *blocks;           /* arena, ascending host addresses */
    uint32_t n_blocks, max_blocks;
    Link *links;
    uint32_t n_links, max_links;
    uint8_t *side;           /* side table arena */
    uint32_t n_side, max_side;
    Block **hash;
    uint32_t hash_mask;
    CodePage *pages;
    uint32_t pages_mask, n_pages;
    uint32_t *xlinks;        /* cross-page links in force */
    uint32_t n_xlinks;
    ExecTlb exec[EXEC_TLB];
    OpClass *classes;
    uint32_t classes_mask, n_classes;
    /* trampolines, host addresses */
    uint32_t tr_enter, tr_link, tr_miss, tr_exec, tr_poll, tr_signal, tr_commit, tr_string, tr_guard[MODE_COUNT][2];
    uint32_t tr_slow[MODE_COUNT][2][2], tr_slow_raw[2];   /* mode, write, flags parked */
    uint32_t tr_group[MODE_COUNT][2][2];
    uint32_t tr_jc[MODE_COUNT];
    /* soft TLB fills since the last flush */
    uint16_t tlb_log[2][MODE_COUNT][TLB_LOG];  /* [1]: global pages */
    uint32_t n_tlb_log[2][MODE_COUNT];
    uint64_t jc_pages[64];   /* Bloom filter: pages that jump cache entries and landings belong to */
    bool jc_local[MODE_COUNT];     /* there are entries for pages that are not global */
    uint32_t jc_key[MODE_COUNT];   /* what the entries were made for */
    uint64_t jc_cs[MODE_COUNT];
    uint16_t jc_log[MODE_COUNT][JC_LOG];
    uint32_t n_jc_log[MODE_COUNT];
    DbtRange *ranges;
    unsigned n_ranges;
    unsigned last_range;
    uint64_t view_generation;
    bool failed;             /* the run loop can't go on */
    Block *next;             /* known block at st.rip */
    struct ExecInsn *exec_cache;
    void *ctx_map;
    size_t ctx_map_size;
    bool exec_next;          /* C has to execute the instruction at rip */
    void *exit_jmp[5];       /* of the run loop, for dbt_leave() */
    void *altstack;
    struct Tr *tr;           /* scratch of the translation at hand */
    unsigned index;          /* in Dbt.vcpus */
    /* requests of other threads: pages written (lines != 0) or to be watched; under Dbt.lock */
    struct { uint64_t hva, lines; } post[64];
    unsigned n_post;
    bool post_all;
    _Atomic uint32_t post_seq;   /* counts requests */
    _Atomic uint32_t done_seq;   /* requests that were acted on */
    uint64_t n_translated, n_insns, n_flushes, n_slow, n_exits[8];
};

/* ---- decode.c, classes.c */

/* What the translator does with an instruction. */
typedef enum {
    T_GEN,      /* copy with registers and memory operand substituted */
    T_EXEC,     /* x86_exec_insn */
    T_NOP, T_LEA, T_PUSH_R, T_PUSH_I, T_PUSH_M, T_POP_R, T_POP_M, T_PUSHF, T_POPF, T_LEAVE,
    T_CALL, T_CALL_IND, T_RET, T_JMP, T_JMP_IND, T_JCC, T_LOOP,
    T_STRING, T_MOFFS, T_BT, T_INC, T_MOV_FROM_SEG, T_RDTSC, T_CLD, T_STD, T_CLI, T_STI, T_STAC, T_CLAC,
} InsnKind;

/* Arithmetic flags in a byte: as in EFLAGS, OF in bit 1. */
#define FLB_CF 0x01u
#define FLB_OF 0x02u
#define FLB_PF 0x04u
#define FLB_AF 0x10u
#define FLB_ZF 0x40u
#define FLB_SF 0x80u
#define FLB_ALL 0xd7u

#define ACC_R 1u
#define ACC_W 2u

/* Learned once per encoding class from the Zydis tables. */
struct OpClass {
    uint32_t key;            /* ~0: free */
    uint8_t kind;
    uint8_t imm_len;         /* bytes after the displacement */
    uint16_t mem_size;       /* bytes of the memory operand; 0: none or not accessed */
    uint8_t mem_acc;         /* ACC_* */
    uint8_t reg_acc, rm_acc, vv_acc, opc_acc;  /* general registers in ModRM.reg, ModRM.rm, VEX.vvvv, opcode */
    uint8_t byte_regs;       /* 1: reg is 8 bits wide, 2: rm, 4: opcode */
    uint8_t fl_read, fl_kill;/* flags it depends on; flags it surely overwrites (defined or not) */
    uint8_t fl_mod;          /* flags it may change */
    uint8_t ext;             /* EXT_* */
    bool vec;                /* 66/F2/F3 belong to the opcode */
    bool vsib;
    uint16_t impl_write;     /* guest registers written without being named */
    uint16_t mnemonic;
};
enum { EXT_INT, EXT_FPU, EXT_MMX, EXT_SSE, EXT_AVX };

typedef struct Insn {
    const OpClass *cls;
    uint8_t bytes[15];
    uint8_t len;
    uint8_t opc_off;         /* of the opcode byte proper */
    uint8_t opcode, map;     /* map 0..3 */
    uint8_t modrm_off, disp_off, disp_len, imm_off;
    uint8_t modrm;
    bool has_modrm, vex, lock, p66, p67;
    uint8_t rep;             /* 0, 0xf3, 0xf2: last one */
    uint8_t rex;             /* 0x40.. or 0; from VEX: W R X B bits */
    uint8_t vvvv, vex_l;
    int8_t seg;              /* override or -1 */
    uint8_t opsz, adsz;      /* bytes: 2, 4, 8 */
    int8_t base, index;      /* guest registers of the memory operand or -1; base 16: RIP */
    uint8_t scale;           /* shift */
    int32_t disp;
    uint16_t off;            /* guest offset in block */
    uint8_t live;            /* flags live after it */
    uint8_t kind;            /* InsnKind: the class's, or T_EXEC where the mode forbids it */
} Insn;

/* Decodes at most max bytes at p. 0: needs more bytes; -1: undefined. */
int dbt_decode(DbtVcpu *v, Insn *insn, const uint8_t *p, unsigned max, unsigned bits);
static inline int64_t insn_imm(const Insn *i, unsigned len)
{
    const uint8_t *p = i->bytes + i->imm_off;
    return len == 1 ? (int8_t)p[0] : len == 2 ? (int16_t)ld16(p) : len == 4 ? (int32_t)ld32(p) : (int64_t)ld64(p);
}

/* ---- tramp.c */
void dbt_emit_trampolines(DbtVcpu *v);
/* Runs translated code from host until an exit; exit_reason says why. */
void dbt_enter(DbtCtx *ctx, uint64_t host);

/* ---- translate.c */
/* The block at rip in the current mode, translated now. Faults of the fetch jump. */
Block *dbt_translate(DbtVcpu *v, uint64_t pc, uint32_t key);
/* CR0, CR4 or XCR0 make the instruction fault. */
bool dbt_excluded(const Insn *insn, uint32_t key);

/* ---- cache.c */
bool dbt_cache_init(DbtVcpu *v, unsigned n_vcpus, GError **err) WARN_UNUSED;
void dbt_cache_free(DbtVcpu *v);
void dbt_cache_flush(DbtVcpu *v);
Block *dbt_block_find(DbtVcpu *v, uint64_t pc, uint32_t key, uint64_t page);
void dbt_block_insert(DbtVcpu *v, Block *block);
void dbt_block_kill(DbtVcpu *v, Block *block);
Block *dbt_block_at_host(DbtVcpu *v, uint64_t host);
/* Guest pc of the instruction that host code belongs to. */
uint64_t dbt_guest_pc(DbtVcpu *v, const Block *block, uint64_t host);
void dbt_link(DbtVcpu *v, uint32_t link, Block *to);
void dbt_unlink(DbtVcpu *v, uint32_t link);
void dbt_jc_set(DbtVcpu *v, unsigned mode, uint64_t pc, uint64_t host);
void dbt_jc_flush(DbtVcpu *v);
/* Drops what belongs to pages that are not global. */
void dbt_jc_flush_local(DbtVcpu *v);
/* The mode's entries and return landings are for this key from now on. */
void dbt_jc_enter_mode(DbtVcpu *v, uint32_t key, uint64_t cs_base);
/* Code at lin may get jump cache entries or landings. */
void dbt_jc_note(DbtVcpu *v, unsigned mode, uint64_t lin, bool global);
/* The block is dead but still running the instruction at guest_off: it exits behind it. */
void dbt_block_cut(DbtVcpu *v, Block *block, unsigned guest_off);
CodePage *dbt_page_find(DbtVcpu *v, uint64_t hva);
CodePage *dbt_page_get(DbtVcpu *v, uint64_t hva);

/* ---- tlb.c */
void dbt_tlb_flush(X86Cpu *cpu, X86TlbFlush kind, uint64_t lin, unsigned pcid);
void *dbt_tlb_lookup(X86Cpu *cpu, uint64_t lin, unsigned access);
/* Takes write permission from all entries that lead to the page. */
void dbt_tlb_drop_write(DbtVcpu *v, uint64_t hva_page);
void dbt_ranges_update(DbtVcpu *v);
const DbtRange *dbt_range_find(DbtVcpu *v, uint64_t gpa);
/* hva of one byte of code, and where it lies. Faults jump. NULL: not in RAM. */
uint8_t *dbt_fetch(DbtVcpu *v, uint64_t lin, ExecTlb *out);

/* What an access to part of a page comes to. */
typedef struct DbtPlace {
    uint8_t *hva;            /* of lin; NULL: registers, or a write that RAM does not take */
    RamBlock *ram;           /* set when a write must be reported: dbt_report_write() */
    uint64_t offset;
    bool fault;              /* not allowed; nothing was raised */
    X86Translation tr;       /* of a fault */
} DbtPlace;
void dbt_place(DbtVcpu *v, uint64_t lin, unsigned mode, bool write, DbtPlace *place);

/* ---- slow.c: C that translated code calls */
uint64_t dbt_slow(DbtCtx *ctx, uint64_t ret);
void dbt_commit(DbtCtx *ctx, uint64_t ret);
void dbt_guard(DbtCtx *ctx, uint64_t ret);
uint64_t dbt_group(DbtCtx *ctx, uint64_t ret);
void dbt_report_write(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t len);
/* Sets rip and flags in X86State for a fault or exit at the instruction that ctx->meta describes. */
Block *dbt_sync_at(DbtVcpu *v, uint64_t ret);
int dbt_segment_fault(DbtVcpu *v);
/* Leaves translated code; the run loop goes on at st.rip. */
_Noreturn void dbt_leave(DbtVcpu *v);
/* The instruction is done and may have changed the block it is in: leaves when that is gone. */
void dbt_after_write(DbtVcpu *v, uint64_t ret);

/* ---- string.c */
void dbt_string(DbtCtx *ctx, uint64_t ret);

/* ---- smc.c */
bool dbt_smc_init(Dbt *dbt);
/* Before code at hva is read: writes to its lines are noticed from now on. hva is of the first byte, offset of its page. */
void dbt_smc_watch(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t hva, unsigned len);
/* The same for a set of lines of a page. */
void dbt_smc_lines(DbtVcpu *v, RamBlock *ram, uint64_t offset, uint64_t hva, uint64_t lines);
/* Does a write of len bytes touch lines with translated code of any vCPU? */
bool dbt_smc_hits(Dbt *dbt, RamBlock *ram, uint64_t offset, uint64_t len);
/* The vCPU may write to the page without asking from now on. */
void dbt_smc_writer(DbtVcpu *v, RamBlock *ram, uint64_t offset);
/* Acts on what others posted. */
void dbt_smc_process(DbtVcpu *v);

/* ---- signal.c */
void dbt_signal_init(void);
void dbt_signal_thread(DbtVcpu *v);

/* ---- run.c */
/* Code lines of a RAM block's pages. */
typedef struct DbtRam {
    RamBlock *ram;
    _Atomic uint64_t *lines;    /* by page: 64-byte lines that hold translated code of any vCPU */
    _Atomic uint32_t *writers;  /* by page: vCPUs (index modulo 16) that may write it unseen, and << 16: that have code there */
} DbtRam;

#define DBT_MAX_RAMS 64

struct Dbt {
    Accel *accel;
    GMutex lock;             /* guards registration of code pages and the list of vCPUs */
    GMutex announce_lock;    /* held while a new code page's writers are stopped; outside lock */
    DbtVcpu *vcpus[256];
    unsigned n_vcpus;
    DbtRam rams[DBT_MAX_RAMS];
    _Atomic unsigned n_rams;
};
void dbt_fpu_in(DbtVcpu *v);
unsigned dbt_mode(const X86State *st);
void dbt_fpu_out(X86Cpu *cpu);
static inline DbtVcpu *dbt_of(X86Cpu *cpu) { return cpu->vcpu.accel_data; }
static inline unsigned key_bits(uint32_t key) { return 16u << ((key & KEY_BITS) >> KEY_BITS_SHIFT); }
/* Brings the arithmetic flags of st.rflags in line with ctx->flags, and back. */
static inline void flags_to_state(DbtCtx *ctx)
{
    uint32_t f = ctx->flags;
    ctx->st->rflags = (ctx->st->rflags & ~(uint64_t)FL_ARITH) | ((f >> 8) & (FL_ARITH & 0xff)) | ((f & 1) << 11);
}
static inline void flags_from_state(DbtCtx *ctx)
{
    uint64_t f = ctx->st->rflags;
    ctx->flags = ((f & (FL_ARITH & 0xff)) << 8) | ((f >> 11) & 1);
}
