/*
 * The CPU against the host's, one instruction at a time: the same registers, flags, vector and x87 state and memory
 * at the same
 * addresses, in user mode; every instruction that the decoder accepts and user code may run. Compared afterwards: all
 * of that, where
 * control went, and for faults vector, error code and address.
 *
 * Instructions are random bytes steered towards encodings (mnemonic, encoding and operand kinds) that were met least.
 *
 *   cpu-differential [-e step|dbt] [-s SEED] [-t SECONDS] [-v]   random, SEED is printed
 *   cpu-differential [-e step|dbt] -x SEED                       one case again, shown
 *
 * "step" is the one-instruction path in C, "dbt" runs the same code as translated blocks.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#include "accel/accel.h"
#include "accel/x86/isa.h"
#include "tests/cpu/x86_rig.h"

/* Linear addresses in host and guest, and the guest-physical ones behind. */
/* Above any heap; mapped before the engine takes room for its code, which it wants below 2 GiB as well. */
#define CODE 0x60200000ull
#define DATA 0x60400000ull /* two writable pages, one read-only, one absent */
#define CODE_GPA 0x200000ull
#define DATA_GPA 0x300000ull
#define DATA_SIZE 0x3000u
#define HANDLERS 0xb0000u /* ring 0, 16 bytes a vector, HLT */
#define HANDLER_STACK 0x5000u

typedef struct Regs {
    uint64_t gpr[16], flags, rip;
    _Alignas(64) uint8_t xsave[832];
    int vector;          /* -1: none */
    uint64_t error, cr2;
} Regs;

static Rig *rig;
static bool translated; /* -e dbt */
static uint64_t rng;
static bool verbose;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}
static unsigned below(unsigned n) { return rnd() % n; }

/* ---- the host ---- */

Regs native_in; /* by name from the assembly */
static Regs native_out;
static sigjmp_buf native_back;

void native_enter(void);
__asm__(
    ".text\n.globl native_enter\nnative_enter:\n"
    "  mov $7, %eax\n  xor %edx, %edx\n  xrstor64 native_in+192(%rip)\n"
    "  push native_in+128(%rip)\n  popfq\n"
    "  mov native_in+0(%rip), %rax\n  mov native_in+8(%rip), %rcx\n  mov native_in+16(%rip), %rdx\n"
    "  mov native_in+24(%rip), %rbx\n  mov native_in+32(%rip), %rsp\n  mov native_in+40(%rip), %rbp\n"
    "  mov native_in+48(%rip), %rsi\n  mov native_in+56(%rip), %rdi\n  mov native_in+64(%rip), %r8\n"
    "  mov native_in+72(%rip), %r9\n  mov native_in+80(%rip), %r10\n  mov native_in+88(%rip), %r11\n"
    "  mov native_in+96(%rip), %r12\n  mov native_in+104(%rip), %r13\n  mov native_in+112(%rip), %r14\n"
    "  mov native_in+120(%rip), %r15\n"
    "  jmp *native_in+136(%rip)\n");
G_STATIC_ASSERT(offsetof(Regs, xsave) == 192);

/* The code page is full of INT3: what comes after the instruction ends there, or at an address without code. */
static void classify(Regs *r)
{
    bool fetch = r->vector == EXC_PF && r->cr2 == r->rip && r->rip != CODE;
    bool far_off = (r->vector == EXC_GP || r->vector == EXC_PF) && r->rip - CODE >= 0x1000 && r->rip - CODE != (uint64_t)-1;
    if (r->vector == EXC_BP && r->rip - CODE - 1 < 0x1000) {
        r->vector = -1;
        r->rip--;
    } else if (fetch || far_off) {
        r->vector = -1;
    }
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
    static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9,
                                   REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    const ucontext_t *uc = context;
    const greg_t *g = uc->uc_mcontext.gregs;
    Regs *r = &native_out;
    for (unsigned i = 0; i < 16; i++)
        r->gpr[i] = g[order[i]];
    r->flags = g[REG_EFL];
    r->rip = g[REG_RIP];
    r->vector = g[REG_TRAPNO];
    r->error = g[REG_ERR];
    r->cr2 = r->vector == EXC_PF ? g[REG_CR2] : 0;
    const uint8_t *fp = (const uint8_t *)uc->uc_mcontext.fpregs;
    memcpy(r->xsave, fp, sizeof(r->xsave));
    if (!(ld64(fp + XSAVE_HEADER) & 4))
        memset(r->xsave + XSAVE_YMMH, 0, 256);
    classify(r);
    siglongjmp(native_back, 1);
}

static const int fault_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };

/* The engine may have handlers of its own for what translated code raises. */
static void run_native(void)
{
    struct sigaction ours = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
    struct sigaction theirs[G_N_ELEMENTS(fault_signals)];
    for (unsigned i = 0; i < G_N_ELEMENTS(fault_signals); i++)
        sigaction(fault_signals[i], &ours, &theirs[i]);
    if (sigsetjmp(native_back, 0) == 0)
        native_enter();
    for (unsigned i = 0; i < G_N_ELEMENTS(fault_signals); i++)
        sigaction(fault_signals[i], &theirs[i], NULL);
}

static void *map_at(uint64_t addr, size_t size, int prot)
{
    void *p = mmap((void *)(uintptr_t)addr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_POPULATE, -1, 0);
    g_assert_true(p == (void *)(uintptr_t)addr);
    return p;
}

static void host_setup(void)
{
    static uint8_t altstack[65536];
    stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
    sigaltstack(&ss, NULL);
    memset(map_at(CODE, 0x1000, PROT_READ | PROT_WRITE | PROT_EXEC), 0xcc, 0x1000);
    map_at(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
}

/* ---- the guest ---- */

static void guest_setup(void)
{
    rig_long(rig, CODE);
    uint8_t *ram = rig->ram, *pd = ram + RIG_TABLES + 0x3000, *code = pd + 0x1000, *data = pd + 0x2000;
    st64(ram + RIG_TABLES + 0x1000 + 8, (RIG_TABLES + 0x3000) | 7);
    st64(pd + (CODE >> 21 & 511) * 8, (RIG_TABLES + 0x4000) | 7);
    st64(pd + (DATA >> 21 & 511) * 8, (RIG_TABLES + 0x5000) | 7);
    st64(code, CODE_GPA | 0x67);
    for (unsigned i = 0; i < 3; i++)
        st64(data + i * 8, (DATA_GPA + i * 0x1000) | (i < 2 ? 0x67 : 0x65) | 1ull << 63);
    for (unsigned i = 0; i < 32; i++)
        st64(ram + RIG_TABLES + 0x2000 + i * 8, (uint64_t)i << 21 | 0x83); /* the rest is the supervisor's */
    memset(ram + HANDLERS, 0xf4, 512);
    st64(ram + RIG_TSS + 36, HANDLER_STACK);
    for (unsigned v = 0; v < 32; v++)
        rig_gate(rig, v, RIG_CODE64, HANDLERS + v * 16, v == EXC_BP ? 0xee : 0x8e, 1);
    memset(ram + CODE_GPA, 0xcc, 0x1000);
}

static bool run_step(void)
{
    X86State *st = rig->st;
    uint64_t rip = st->rip;
    for (unsigned i = 0; i < 64; i++) { /* a REP string instruction may need several */
        X86StepResult result = x86_step(rig->cpu);
        if (result != X86_STEP_OK)
            return false;
        if (st->rip != rip)
            return true;
    }
    return true; /* a branch to itself */
}

/* As translated code, until a handler's HLT. */
static bool run_translated(void)
{
    Vcpu *v = &rig->cpu->vcpu;
    const AccelClass *klass = accel_class(v->accel);
    VcpuExit why;
    ram_watch_hit(rig->region.ram, CODE_GPA, 64);
    klass->state_changed(v);
    while ((why = klass->run(v)) == VCPU_EXIT_KICKED)
        v->exit_request = 0;
    return why == VCPU_EXIT_HALTED;
}

static bool run_guest(void)
{
    return translated ? run_translated() : run_step();
}

static void guest_load(const Regs *r)
{
    X86State *st = rig->st;
    rig_ring3(rig);
    memcpy(st->gpr, r->gpr, sizeof(st->gpr));
    st->rip = CODE;
    st->rflags = r->flags | FL_IF;
    memcpy(st->xsave, r->xsave, sizeof(r->xsave));
    st->shadow = 0;
    rig->cpu->vcpu.halted = false;
}

static void guest_store(Regs *r)
{
    X86State *st = rig->st;
    memcpy(r->gpr, st->gpr, sizeof(st->gpr));
    memcpy(r->xsave, st->xsave, sizeof(r->xsave));
    r->rip = st->rip;
    r->flags = st->rflags;
    r->vector = -1;
    if (st->rip - HANDLERS >= 512)
        return;
    r->vector = (st->rip - HANDLERS) / 16;
    bool has_error = 1u << r->vector & 0x27d00u;
    const uint8_t *top = rig->ram + HANDLER_STACK - 40;
    r->error = has_error ? ld64(top - 8) : 0;
    r->rip = ld64(top);
    r->flags = ld64(top + 16);
    r->gpr[R_RSP] = ld64(top + 24);
    r->cr2 = r->vector == EXC_PF ? st->cr2 : 0;
    if (translated)
        classify(r);
}

/* ---- choosing instructions ---- */

typedef struct Case {
    uint8_t code[16];
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
} Case;

static bool memory_has_fs_gs(const Case *c)
{
    for (unsigned i = 0; i < c->zi.operand_count; i++)
        if (c->ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (c->ops[i].mem.segment == ZYDIS_REGISTER_FS || c->ops[i].mem.segment == ZYDIS_REGISTER_GS))
            return true;
    return false;
}

static bool touches_special_register(const Case *c)
{
    for (unsigned i = 0; i < c->zi.operand_count_visible; i++)
        if (c->ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && ZydisRegisterGetClass(c->ops[i].reg.value) == ZYDIS_REGCLASS_SEGMENT)
            return true;
    return false;
}

/* What would leave this process, or answers with facts about the machine rather than with arithmetic. */
static bool host_amd;
static bool excluded(const Case *c)
{
    const ZydisDecodedInstruction *zi = &c->zi;
    switch (zi->meta.category) {
    case ZYDIS_CATEGORY_INTERRUPT: case ZYDIS_CATEGORY_SYSCALL: case ZYDIS_CATEGORY_SYSRET: case ZYDIS_CATEGORY_RDRAND:
    case ZYDIS_CATEGORY_RDSEED: case ZYDIS_CATEGORY_XSAVE: case ZYDIS_CATEGORY_XSAVEOPT: case ZYDIS_CATEGORY_RDWRFSGS:
    case ZYDIS_CATEGORY_SEGOP:
        return true;
    default:
        break;
    }
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_CPUID: case ZYDIS_MNEMONIC_RDTSC: case ZYDIS_MNEMONIC_RDTSCP: case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_RDPMC: case ZYDIS_MNEMONIC_LAR: case ZYDIS_MNEMONIC_LSL: case ZYDIS_MNEMONIC_VERR:
    case ZYDIS_MNEMONIC_VERW: case ZYDIS_MNEMONIC_SGDT: case ZYDIS_MNEMONIC_SIDT: case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_STR: case ZYDIS_MNEMONIC_SMSW: case ZYDIS_MNEMONIC_SYSENTER: case ZYDIS_MNEMONIC_SYSEXIT:
    case ZYDIS_MNEMONIC_IRETD: case ZYDIS_MNEMONIC_IRETQ: case ZYDIS_MNEMONIC_IRET: case ZYDIS_MNEMONIC_XGETBV:
    /* the last instruction's address, which AMD and Intel keep differently */
    case ZYDIS_MNEMONIC_FNSTENV: case ZYDIS_MNEMONIC_FNSAVE: case ZYDIS_MNEMONIC_FXSAVE: case ZYDIS_MNEMONIC_FXSAVE64:
    /* wait for a store: as long as they like */
    case ZYDIS_MNEMONIC_MONITORX: case ZYDIS_MNEMONIC_MWAITX: case ZYDIS_MNEMONIC_UMWAIT: case ZYDIS_MNEMONIC_TPAUSE:
        return true;
    default:
        break;
    }
    /*
     * not as documented: REP prefixes change the condition on AMD processors; the register form of PREFETCHW is #UD
     * there
     */
    bool rep = false;
    for (unsigned i = 0; i < zi->raw.prefix_count; i++)
        rep |= zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3;
    bool operand_prefix = false;
    for (unsigned i = 0; i < zi->raw.prefix_count; i++)
        operand_prefix |= zi->raw.prefixes[i].value == 0x66;
    if ((zi->mnemonic == ZYDIS_MNEMONIC_LOOPE || zi->mnemonic == ZYDIS_MNEMONIC_LOOPNE) && rep)
        return true;
    if (zi->mnemonic == ZYDIS_MNEMONIC_PAUSE && zi->raw.rex.B) /* an XCHG, which the decoder does not know */
        return true;
    if (zi->opcode_map == ZYDIS_OPCODE_MAP_0F && zi->opcode == 0x0d && zi->raw.modrm.mod == 3)
        return true;
    if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
        return true;
    if (zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE && operand_prefix && host_amd)
        return true;
    if (c->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && c->ops[0].imm.is_relative) {
        int64_t target = zi->length + c->ops[0].imm.value.s;
        if (target > -16 && target < 16) /* into itself: would run on */
            return true;
    }
    return memory_has_fs_gs(c) || touches_special_register(c);
}

/* Instructions that the guest's CPU lacks must raise #UD there, whatever the host has. */
static bool guest_lacks(const Case *c)
{
    int feature = x86_isa_feature(&c->zi);
    return feature == X86_ISA_NEVER || (feature >= 0 && !x86_has(rig->cpu, feature));
}

static uint32_t signature(const Case *c)
{
    uint32_t h = c->zi.mnemonic * 31 + c->zi.encoding;
    h = h * 31 + (c->zi.attributes & ZYDIS_ATTRIB_HAS_LOCK ? 1 : 0) + (c->zi.attributes & ZYDIS_ATTRIB_HAS_REP ? 2 : 0) +
        (c->zi.attributes & ZYDIS_ATTRIB_HAS_REPNE ? 4 : 0);
    for (unsigned i = 0; i < c->zi.operand_count_visible; i++)
        h = h * 131 + c->ops[i].type * 1024 + c->ops[i].size;
    return h;
}

typedef struct Coverage { unsigned count, bad; char name[40]; } Coverage;
static GHashTable *coverage; /* signature -> Coverage */

static Coverage *covered(const Case *c)
{
    gpointer key = GUINT_TO_POINTER(signature(c));
    Coverage *v = g_hash_table_lookup(coverage, key);
    if (!v) {
        v = g_new0(Coverage, 1);
        g_strlcpy(v->name, ZydisMnemonicGetString(c->zi.mnemonic), sizeof(v->name));
        g_hash_table_insert(coverage, key, v);
    }
    return v;
}

static unsigned random_bytes(uint8_t *b)
{
    unsigned n = 0, kind = below(100);
    for (unsigned i = 0; i < 16; i++)
        b[i] = rnd();
    if (kind < 70) {
        if (below(4) == 0)
            b[n++] = 0x66;
        if (below(5) == 0)
            b[n++] = below(2) ? 0xf2 : 0xf3;
        if (below(12) == 0)
            b[n++] = 0xf0;
        if (below(20) == 0)
            b[n++] = 0x67;
        if (below(2))
            b[n++] = 0x40 | below(16);
        if (kind < 30)
            return n; /* one-byte opcodes */
        b[n++] = 0x0f;
        if (kind >= 55)
            b[n++] = below(2) ? 0x38 : 0x3a;
    } else if (kind < 80) {
        b[n++] = 0xc5;
    } else {
        b[n++] = 0xc4;
        b[n] = (b[n] & 0xe0) | (1 + below(3));
        b[n + 1] &= below(4) ? 0xff : 0x87;
    }
    return n;
}

static void start_random(uint64_t seed)
{
    rng = seed * 0x9e3779b97f4a7c15ull | 1;
    for (unsigned i = 0; i < 4; i++)
        rnd();
}

/* Returns the seed from which this very case is made again; forced: seed is one. */
static uint64_t choose(Case *c, const ZydisDecoder *decoder, uint64_t seed, bool forced)
{
    for (unsigned tries = 0;; tries++, seed += 1000000007) {
        start_random(seed);
        random_bytes(c->code);
        if (!ZYAN_SUCCESS(x86_decode(decoder, c->code, 15, &c->zi, c->ops)) || excluded(c)) {
            g_assert_false(forced);
            continue;
        }
        if (guest_lacks(c) && below(50) && !forced)
            continue;
        const Coverage *v = covered(c);
        /* the more often met, the less wanted */
        bool wanted = v->count < 4 || tries > 40 || below(v->count) < 4;
        start_random(seed + 1);
        if (wanted || forced)
            return seed;
    }
}

/* ---- operands ---- */

static uint64_t random_value(void)
{
    static const uint64_t edges[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
                                      0x7fffffffffffffff, 0x8000000000000000, 0xffffffffffffffff, 0xfffffffe };
    switch (below(4)) {
    case 0: return edges[below(G_N_ELEMENTS(edges))];
    case 1: return below(100);
    default: return rnd();
    }
}

static uint64_t random_double(void)
{
    static const uint64_t edges[] = { 0, 1ull << 63, 0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000,
                                      0x7ff0000000000001, 1, 0x000fffffffffffff, 0x7fefffffffffffff, 0x3f8000003f800000,
                                      0x7f8000007fc00000, 0x000000017f800001, 0x4008000000000000 };
    return below(3) ? rnd() : edges[below(G_N_ELEMENTS(edges))] ^ (uint64_t)below(2) << 63;
}

static void random_fpu(uint8_t *x)
{
    memset(x, 0, 832);
    st16(x + XSAVE_FCW, (below(4) ? 0x37f : 0x340 | below(64)) ^ below(16) << 8);
    st16(x + XSAVE_FSW, below(8) << 11 | (rnd() & 0x4700));
    x[XSAVE_FTW] = rnd();
    for (unsigned i = 0; i < 8; i++) {
        uint64_t mantissa = below(8) ? rnd() | 1ull << 63 : random_double();
        unsigned exponent = below(4) ? 0x3ff0 + below(0x20) : below(4) == 0 ? 0x7fff : below(0x7fff);
        st64(x + XSAVE_ST0 + i * 16, mantissa);
        st16(x + XSAVE_ST0 + i * 16 + 8, exponent | below(2) << 15);
    }
    uint32_t mxcsr = 0x1f80 | below(4) << 13 | (below(8) ? 0 : 0x8000) | (below(8) ? 0 : 0x40);
    if (below(8) == 0)
        mxcsr &= ~(below(64) << 7);
    st32(x + XSAVE_MXCSR, mxcsr);
    for (unsigned i = 0; i < 256; i += 8) {
        st64(x + XSAVE_XMM0 + i, random_double());
        st64(x + XSAVE_YMMH + i, random_double());
    }
    st64(x + XSAVE_HEADER, 7);
}

/* An address in or at the edge of the window. */
static uint64_t random_target(unsigned size)
{
    unsigned align = below(3) ? MAX(size, 16) : 1;
    uint64_t at = below(10) ? 0x100 + below(0x1e00) : below(0x3100);
    if (below(40) == 0)
        return 0x8000000000000000ull ^ (rnd() >> 8); /* not canonical */
    return DATA + (at & ~(uint64_t)(MIN(align, 64) - 1));
}

static uint64_t *gpr_of(Regs *r, ZydisRegister reg)
{
    if (reg >= ZYDIS_REGISTER_RAX && reg <= ZYDIS_REGISTER_R15)
        return &r->gpr[reg - ZYDIS_REGISTER_RAX];
    if (reg >= ZYDIS_REGISTER_EAX && reg <= ZYDIS_REGISTER_R15D)
        return &r->gpr[reg - ZYDIS_REGISTER_EAX];
    return NULL;
}

/* Gives the registers of a memory operand values that lead into the window. */
static void aim(Case *c, Regs *r, const ZydisDecodedOperand *op)
{
    uint64_t target = random_target(op->size / 8);
    if (c->zi.address_width == 32 && target >> 32) /* would be cut down to an address where the host may have something */
        target = DATA + 0x400;
    uint64_t *base = gpr_of(r, op->mem.base), *index = gpr_of(r, op->mem.index);
    bool rip = op->mem.base == ZYDIS_REGISTER_RIP || op->mem.base == ZYDIS_REGISTER_EIP;
    if (rip || (!base && !index)) {
        if (target >> 31 && op->mem.disp.has_displacement)
            target = DATA + 0x400;
        uint64_t disp = rip ? target - (CODE + c->zi.length) : target;
        unsigned bytes = c->zi.raw.disp.size / 8;
        if (bytes >= 4)
            memcpy(c->code + c->zi.raw.disp.offset, &disp, bytes);
        return;
    }
    uint64_t displacement = op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0;
    if (index && index != base) {
        *index = below(2) ? below(64) : rnd();
        if (c->zi.address_width == 32)
            *index = (uint32_t)*index;
    }
    if (base && base != index)
        *base = target - displacement - (index ? *index * op->mem.scale : 0);
    else if (!base && index)
        *index = (target - displacement) / op->mem.scale;
    else
        *base = (target - displacement) / (1 + op->mem.scale);
}

static void aim_vsib(Case *c, Regs *r, const ZydisDecodedOperand *op)
{
    uint64_t *base = gpr_of(r, op->mem.base);
    unsigned n = (op->mem.index - (op->mem.index >= ZYDIS_REGISTER_YMM0 ? ZYDIS_REGISTER_YMM0 : ZYDIS_REGISTER_XMM0)) & 15;
    bool wide = strchr(ZydisMnemonicGetString(c->zi.mnemonic) + 2, 'q') != NULL;
    for (unsigned i = 0; i < 16; i += wide ? 8 : 4) {
        uint64_t value = below(0x100);
        memcpy(r->xsave + XSAVE_XMM0 + n * 16 + i, &value, wide ? 8 : 4);
        memcpy(r->xsave + XSAVE_YMMH + n * 16 + i, &value, wide ? 8 : 4);
    }
    if (base)
        *base = DATA + 0x400 + below(0x800) - (op->mem.disp.has_displacement ? (uint64_t)op->mem.disp.value : 0);
}

static void prepare(Case *c, Regs *r, const ZydisDecoder *decoder)
{
    for (unsigned i = 0; i < 16; i++)
        r->gpr[i] = random_value();
    r->gpr[R_RSP] = DATA + 0x400 + (below(0x1400) & ~7u);
    r->flags = 2 | FL_IF | (rnd() & FL_ARITH) | (below(8) ? 0 : FL_DF);
    random_fpu(r->xsave);
    r->rip = CODE;
    bool rep = c->zi.attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE);
    for (unsigned i = 0; i < c->zi.operand_count; i++) {
        const ZydisDecodedOperand *op = &c->ops[i];
        bool stack = op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN && op->mem.base == ZYDIS_REGISTER_RSP;
        if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || stack)
            continue;
        if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            aim_vsib(c, r, op);
        else
            aim(c, r, op);
    }
    if (rep && c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP)
        r->gpr[R_RCX] = below(40);
    bool bit_test = c->zi.mnemonic == ZYDIS_MNEMONIC_BT || c->zi.mnemonic == ZYDIS_MNEMONIC_BTS ||
                    c->zi.mnemonic == ZYDIS_MNEMONIC_BTR || c->zi.mnemonic == ZYDIS_MNEMONIC_BTC;
    if (bit_test && c->ops[0].type == ZYDIS_OPERAND_TYPE_MEMORY && c->ops[1].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        /* a bit string of a few hundred bytes; where the offset is part of the address too, that moves along */
        uint64_t *reg = &r->gpr[ZydisRegisterGetId(c->ops[1].reg.value)], *base = gpr_of(r, c->ops[0].mem.base);
        uint64_t old = *reg;
        *reg = below(0x1000) - 0x800u;
        if (reg == base || reg == gpr_of(r, c->ops[0].mem.index))
            *reg = old & 0x7f; /* low memory, mapped in neither */
    }
    if (c->zi.mnemonic == ZYDIS_MNEMONIC_LEAVE || c->zi.mnemonic == ZYDIS_MNEMONIC_ENTER)
        r->gpr[R_RBP] = random_target(8);
    /* direct branches stay on the code page: who knows what is mapped elsewhere */
    if (c->ops[0].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && c->ops[0].imm.is_relative && c->zi.raw.imm[0].size == 32)
        st32(c->code + c->zi.raw.imm[0].offset, 32 + below(0x800));
    /* indirect branches: to the code page, mostly */
    if (c->zi.meta.branch_type == ZYDIS_BRANCH_TYPE_NEAR && c->ops[0].type == ZYDIS_OPERAND_TYPE_REGISTER) {
        uint64_t *reg = gpr_of(r, c->ops[0].reg.value);
        if (reg && reg != &r->gpr[R_RSP])
            *reg = CODE + 64 + below(64);
    }
    if (!ZYAN_SUCCESS(x86_decode(decoder, c->code, 15, &c->zi, c->ops)))
        abort(); /* only displacements were changed */
}

static void fill_memory(const Case *c)
{
    uint8_t *data = (uint8_t *)(uintptr_t)DATA;
    mprotect(data + 0x2000, 0x1000, PROT_READ | PROT_WRITE);
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        st64(data + i, i & 8 ? rnd() : random_double());
    /* what POPF takes at any alignment: neither trace, nested task nor alignment checks, which would hit the harness */
    if (c->zi.mnemonic == ZYDIS_MNEMONIC_POPFQ || c->zi.mnemonic == ZYDIS_MNEMONIC_POPF)
        for (unsigned i = 0; i < DATA_SIZE; i++)
            data[i] &= ~(FL_TF >> 8 | FL_NT >> 8 | FL_AC >> 16);
    mprotect(data + 0x2000, 0x1000, PROT_READ);
    memcpy(rig->ram + DATA_GPA, data, DATA_SIZE);
}

/* ---- comparing ---- */

static GString *report;
static void differ(const char *what, uint64_t host, uint64_t guest)
{
    g_string_append_printf(report, "#   %-10s host %#" PRIx64 "  guest %#" PRIx64 "\n", what, host, guest);
}

static void compare_fpu(const Regs *h, const Regs *g)
{
    char name[16];
    static const struct { const char *name; unsigned offset, size; } fields[] = {
        { "fcw", XSAVE_FCW, 2 }, { "fsw", XSAVE_FSW, 2 }, { "ftw", XSAVE_FTW, 1 }, { "mxcsr", XSAVE_MXCSR, 4 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++) {
        uint64_t mask = mask_bytes(fields[i].size);
        if (h->vector == EXC_XM && fields[i].offset == XSAVE_MXCSR)
            mask &= ~0x3full; /* which flags come along with the unmasked one is the implementation's */
        uint64_t a = ld64(h->xsave + fields[i].offset) & mask, b = ld64(g->xsave + fields[i].offset) & mask;
        if (a != b)
            differ(fields[i].name, a, b);
    }
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *a = h->xsave + XSAVE_ST0 + i * 16, *b = g->xsave + XSAVE_ST0 + i * 16;
        snprintf(name, sizeof(name), "st%u", i);
        if (ld64(a) != ld64(b) || ld16(a + 8) != ld16(b + 8))
            differ(name, ld64(a), ld64(b));
    }
    for (unsigned i = 0; i < 512; i += 8) {
        unsigned at = i < 256 ? XSAVE_XMM0 + i : XSAVE_YMMH + i - 256;
        snprintf(name, sizeof(name), "%s%u.%u", i < 256 ? "xmm" : "ymmh", i % 256 / 16, i / 8 % 2);
        if (ld64(h->xsave + at) != ld64(g->xsave + at))
            differ(name, ld64(h->xsave + at), ld64(g->xsave + at));
    }
}

static uint64_t undefined_flags(const Case *c, const Regs *in)
{
    return c->zi.cpu_flags ? c->zi.cpu_flags->undefined : 0;
}

static void compare(const Case *c, const Regs *in, const Regs *h, const Regs *g)
{
    static const char *const names[16] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                           "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15" };
    g_string_truncate(report, 0);
    if (c->zi.meta.isa_set == ZYDIS_ISA_SET_SHA && h->vector != g->vector && g->vector == EXC_GP)
        return; /* alignment, which AMD processors do not ask for here */
    /* translated code checks the page before the alignment, and a wild target when it is there */
    if (translated && h->vector == EXC_GP && (g->vector == EXC_PF || c->zi.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE))
        return;
    /* two bad operands: either may be looked at first */
    if (c->zi.meta.category == ZYDIS_CATEGORY_STRINGOP && h->vector >= EXC_SS && g->vector >= EXC_SS)
        return;
    /* a wild and misaligned address off the stack pointer: either check may come first */
    bool stack_or_alignment = MIN(h->vector, g->vector) == EXC_SS && MAX(h->vector, g->vector) == EXC_GP;
    if (h->vector != g->vector && !stack_or_alignment)
        differ("vector", h->vector, g->vector);
    /* a host that is a guest itself with shadow page tables does not always see P on a read-only page */
    /* and what else it maps nobody knows */
    uint64_t error_mask = h->cr2 - DATA < 0x2000 ? ~0ull : ~(uint64_t)PF_P;
    if (h->vector == g->vector && h->vector >= 0 && ((h->error ^ g->error) & error_mask))
        differ("error", h->error, g->error);
    bool image = c->zi.mnemonic == ZYDIS_MNEMONIC_FRSTOR || c->zi.mnemonic == ZYDIS_MNEMONIC_FLDENV ||
                 c->zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR || c->zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64 ||
                 c->zi.mnemonic == ZYDIS_MNEMONIC_MASKMOVQ || c->zi.mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
                 c->zi.mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU || c->zi.meta.category == ZYDIS_CATEGORY_AVX2GATHER ||
                 strstr(ZydisMnemonicGetString(c->zi.mnemonic), "maskmov"); /* accessed in any order */
    if (h->vector == EXC_PF && g->vector == EXC_PF && h->cr2 != g->cr2 && !image)
        differ("cr2", h->cr2, g->cr2);
    if (h->rip != g->rip)
        differ("rip", h->rip, g->rip);
    for (unsigned i = 0; i < 16; i++)
        if (h->gpr[i] != g->gpr[i])
            differ(names[i], h->gpr[i], g->gpr[i]);
    uint64_t mask = (FL_ARITH | FL_DF | FL_ID | FL_AC) & ~undefined_flags(c, in);
    /* an instruction that faults will set its flags when it is run again: translated code may have lost them before */
    if (translated && h->vector >= 0 && c->zi.cpu_flags)
        mask &= ~(uint64_t)(c->zi.cpu_flags->modified | c->zi.cpu_flags->set_0 | c->zi.cpu_flags->set_1);
    if ((h->flags ^ g->flags) & mask)
        differ("flags", h->flags & mask, g->flags & mask);
    /* AMD processors enter MMX state before they see a fault */
    /* and how far a gather got before one is anybody's choice */
    bool gather = c->zi.meta.category == ZYDIS_CATEGORY_AVX2GATHER;
    if (h->vector < 0 || !(gather || x86_isa_waits(&c->zi, c->ops)))
        compare_fpu(h, g);
    const uint8_t *data = (const uint8_t *)(uintptr_t)DATA;
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        if (ld64(data + i) != ld64(rig->ram + DATA_GPA + i)) {
            char name[16];
            snprintf(name, sizeof(name), "data+%x", i);
            differ(name, ld64(data + i), ld64(rig->ram + DATA_GPA + i));
        }
}

static void show(const Case *c, uint64_t seed)
{
    ZydisDisassembledInstruction di;
    printf("# seed %" PRIu64 ": ", seed);
    for (unsigned i = 0; i < c->zi.length; i++)
        printf("%02x", c->code[i]);
    if (ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, CODE, c->code, 15, &di)))
        printf("  %s", di.text);
    printf("\n%s", report->str);
}

/* ---- one case ---- */

/* Feature-gated: only the guest runs it, and must refuse. */
static bool check_refused(const Case *c, const Regs *in, Regs *g)
{
    guest_load(in);
    run_guest();
    guest_store(g);
    g_string_truncate(report, 0);
    if (g->vector != EXC_UD)
        differ("vector", EXC_UD, g->vector);
    return !report->len;
}

static bool one_case(uint64_t seed, const ZydisDecoder *decoder, bool chosen)
{
    Case c;
    Regs guest;
    seed = choose(&c, decoder, seed, chosen);
    Coverage *v = covered(&c);
    v->count++;
    prepare(&c, &native_in, decoder);
    fill_memory(&c);
    memcpy(rig->ram + CODE_GPA, c.code, 15);
    memset(rig->ram + CODE_GPA + c.zi.length, 0xcc, 16);
    if (chosen) {
        show(&c, seed);
        for (unsigned i = 0; i < 16; i++)
            printf("# r%u=%#" PRIx64 "\n", i, native_in.gpr[i]);
        printf("# flags=%#" PRIx64 " mxcsr=%#x\n", native_in.flags, ld32(native_in.xsave + XSAVE_MXCSR));
    }
    if (guest_lacks(&c)) {
        if (check_refused(&c, &native_in, &guest))
            return true;
    } else {
        memcpy((void *)(uintptr_t)CODE, rig->ram + CODE_GPA, 32);
        run_native();
        guest_load(&native_in);
        if (run_guest()) {
            guest_store(&guest);
            compare(&c, &native_in, &native_out, &guest);
        } else {
            g_string_assign(report, "#   not executed by the engine\n");
        }
        if (!report->len)
            return true;
    }
    if (v->bad++ < 2 || chosen)
        show(&c, seed);
    return false;
}

/* ---- main ---- */

static double seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static void summarize(uint64_t cases)
{
    GHashTableIter iter;
    gpointer value;
    unsigned once = 0;
    g_autoptr(GHashTable) mnemonics = g_hash_table_new(g_str_hash, g_str_equal);
    g_hash_table_iter_init(&iter, coverage);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Coverage *v = value;
        once += v->count > 0;
        g_hash_table_add(mnemonics, v->name);
        if (verbose && v->bad)
            printf("# %s: %u of %u\n", v->name, v->bad, v->count);
    }
    printf("# %" PRIu64 " cases, %u encodings of %u mnemonics\n", cases, once, g_hash_table_size(mnemonics));
}

int main(int argc, char **argv)
{
    uint64_t seed = 1, single = 0;
    double limit = 30;
    for (int i = 1; i < argc; i++) {
        if (g_str_equal(argv[i], "-v"))
            verbose = true;
        else if (g_str_equal(argv[i], "-s") && i + 1 < argc)
            seed = strtoull(argv[++i], NULL, 0);
        else if (g_str_equal(argv[i], "-t") && i + 1 < argc)
            limit = strtod(argv[++i], NULL);
        else if (g_str_equal(argv[i], "-x") && i + 1 < argc)
            single = strtoull(argv[++i], NULL, 0);
        else if (g_str_equal(argv[i], "-e") && i + 1 < argc)
            translated = g_str_equal(argv[++i], "dbt");
    }
    coverage = g_hash_table_new(NULL, NULL);
    report = g_string_new(NULL);
    host_setup();
    rig = rig_new_accel("max", translated ? "dbt" : "table");
    guest_setup();
    uint32_t vendor[4];
    __cpuid(0, vendor[0], vendor[1], vendor[2], vendor[3]);
    host_amd = vendor[1] == 0x68747541;
    ZydisDecoder decoder;
    x86_decoder_init(rig->cpu, 64, &decoder);
    printf("1..1\n# seed %" PRIu64 "\n", single ? single : seed);
    uint64_t cases = 0, bad = 0;
    if (single) {
        bad = !one_case(single, &decoder, true);
        cases = 1;
    } else {
        for (double end = seconds() + limit; seconds() < end && bad < 1000; cases++)
            bad += !one_case(seed + cases, &decoder, false);
        summarize(cases);
    }
    printf("%s 1 host and guest agree (%" PRIu64 " differences)\n", bad ? "not ok" : "ok", bad);
    return bad != 0;
}
