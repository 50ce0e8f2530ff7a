/*
 * Differential test of the translator: random instruction sequences run natively and in the engine, on the same linear addresses
 * with the same registers, flags and memory; everything is compared afterwards, faults included.
 *
 *   dbt_diff [SEED [COUNT]]
 */
#include "tests/cpu/dbt_guest.h"

#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include "accel/dbt/emit.h"

#define CODE (TEST_BASE + 0x1000)
#define DATA (TEST_BASE + 0x20000)
#define DATA_SIZE 0x3000u
#define FRAME 0x0f000000u                 /* native context, not mapped in the guest */

typedef struct Regs {
    uint64_t gpr[16], flags, rip;
    _Alignas(64) uint8_t xsave[832];
    uint64_t host_rsp, target;
} Regs;

static Regs *frame;
static uint8_t *native_code, *native_data, *stubs;
static uint64_t rng;
static sigjmp_buf native_jmp;
static int native_vector;
static Regs native_fault;

static uint64_t rnd(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng * 0x2545f4914f6cdd1dull;
}

/* ---- native side ---- */

static void abs_op(Emit *e, unsigned w, unsigned opc, unsigned reg, uint32_t addr)
{
    e_rex(e, w, reg, 0, 0);
    e_opc(e, opc);
    e_b(e, (reg & 7) << 3 | 4);
    e_b(e, 0x25);
    e_d(e, addr);
}

#define F(field) (FRAME + (uint32_t)offsetof(Regs, field))

static uint32_t exit_stub;

static void build_stubs(void)
{
    Emit e = { stubs };
    for (unsigned i = 0; i < 6; i++) { /* enter */
        static const uint8_t saved[] = { 3, 5, 12, 13, 14, 15 };
        e_rex(&e, 0, 0, 0, saved[i]);
        e_b(&e, 0x50 | (saved[i] & 7));
    }
    abs_op(&e, 1, 0x89, 4, F(host_rsp));
    e_b(&e, 0xb8); e_d(&e, 7);
    e_rr(&e, 0, 0x31, 2, 2);
    abs_op(&e, 1, 0x1ae, 5, F(xsave));
    abs_op(&e, 0, 0xff, 6, F(flags));
    e_b(&e, 0x9d);
    for (unsigned i = 0; i < 16; i++)
        abs_op(&e, 1, 0x8b, i, F(gpr[0]) + i * 8);
    abs_op(&e, 0, 0xff, 4, F(target));
    exit_stub = e_pos(&e);
    for (unsigned i = 0; i < 16; i++)
        abs_op(&e, 1, 0x89, i, F(gpr[0]) + i * 8);
    abs_op(&e, 1, 0x8b, 4, F(host_rsp));
    e_b(&e, 0x9c);
    abs_op(&e, 0, 0x8f, 0, F(flags));
    e_b(&e, 0xb8); e_d(&e, 7);
    e_rr(&e, 0, 0x31, 2, 2);
    abs_op(&e, 1, 0x1ae, 4, F(xsave));
    for (unsigned i = 0; i < 6; i++) {
        static const uint8_t saved[] = { 15, 14, 13, 12, 5, 3 };
        e_rex(&e, 0, 0, 0, saved[i]);
        e_b(&e, 0x58 | (saved[i] & 7));
    }
    e_b(&e, 0xfc);
    e_b(&e, 0xc3);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
                                   REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
    greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
    if ((uint64_t)r[REG_RIP] - CODE > 4096) {
        signal(sig, SIG_DFL);
        return;
    }
    for (unsigned i = 0; i < 16; i++)
        native_fault.gpr[i] = r[order[i]];
    native_fault.flags = r[REG_EFL];
    native_fault.rip = r[REG_RIP];
    native_vector = r[REG_TRAPNO];
    siglongjmp(native_jmp, 1);
}

/* ---- generator ---- */

static bool acceptable(const uint8_t *p, unsigned *len, bool last)
{
    ZydisDecoder d;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, p, 15, &zi, ops)))
        return false;
    *len = zi.length;
    if (!last && zi.cpu_flags && zi.cpu_flags->undefined)
        return false;
    if (zi.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE || zi.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED ||
        zi.encoding == ZYDIS_INSTRUCTION_ENCODING_EVEX || zi.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP ||
        zi.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW)
        return false;
    switch (zi.meta.category) {
    case ZYDIS_CATEGORY_SYSTEM: case ZYDIS_CATEGORY_INTERRUPT: case ZYDIS_CATEGORY_SYSCALL: case ZYDIS_CATEGORY_SYSRET:
    case ZYDIS_CATEGORY_IO: case ZYDIS_CATEGORY_IOSTRINGOP: case ZYDIS_CATEGORY_RDRAND: case ZYDIS_CATEGORY_RDSEED:
    case ZYDIS_CATEGORY_XSAVE: case ZYDIS_CATEGORY_XSAVEOPT: case ZYDIS_CATEGORY_RDWRFSGS: case ZYDIS_CATEGORY_VTX:
    case ZYDIS_CATEGORY_AVX2GATHER: case ZYDIS_CATEGORY_CET: case ZYDIS_CATEGORY_SEGOP: 
    case ZYDIS_CATEGORY_PKU: case ZYDIS_CATEGORY_MPX: case ZYDIS_CATEGORY_UINTR: case ZYDIS_CATEGORY_PADLOCK:
        return false;
    default:
        break;
    }
    switch (zi.mnemonic) {
    case ZYDIS_MNEMONIC_CLI: case ZYDIS_MNEMONIC_STI: case ZYDIS_MNEMONIC_RDTSC: case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_CPUID: case ZYDIS_MNEMONIC_RDPID: case ZYDIS_MNEMONIC_POPF: case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_PUSHF: case ZYDIS_MNEMONIC_PUSHFQ: case ZYDIS_MNEMONIC_LAR: case ZYDIS_MNEMONIC_LSL:
    case ZYDIS_MNEMONIC_VERR: case ZYDIS_MNEMONIC_VERW: case ZYDIS_MNEMONIC_STR: case ZYDIS_MNEMONIC_SLDT:
    case ZYDIS_MNEMONIC_SMSW: case ZYDIS_MNEMONIC_SGDT: case ZYDIS_MNEMONIC_SIDT: case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_CLZERO: case ZYDIS_MNEMONIC_MASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU: case ZYDIS_MNEMONIC_FXRSTOR: case ZYDIS_MNEMONIC_FXRSTOR64:
    case ZYDIS_MNEMONIC_MONITORX: case ZYDIS_MNEMONIC_MWAITX: case ZYDIS_MNEMONIC_RDPRU: case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_STD: case ZYDIS_MNEMONIC_UD2: case ZYDIS_MNEMONIC_LZCNT: case ZYDIS_MNEMONIC_CLAC: case ZYDIS_MNEMONIC_STAC:
    case ZYDIS_MNEMONIC_VZEROALL: case ZYDIS_MNEMONIC_INVLPGB: case ZYDIS_MNEMONIC_TLBSYNC: case ZYDIS_MNEMONIC_PSMASH:
        return false;
    default:
        break;
    }
    for (unsigned i = 0; i < zi.operand_count; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER &&
            (ZydisRegisterGetClass(ops[i].reg.value) == ZYDIS_REGCLASS_SEGMENT ||
             ZydisRegisterGetClass(ops[i].reg.value) == ZYDIS_REGCLASS_CONTROL ||
             ZydisRegisterGetClass(ops[i].reg.value) == ZYDIS_REGCLASS_DEBUG) &&
            ops[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
            return false;
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY && ops[i].mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            return false;
        if (zi.opcode_map == ZYDIS_OPCODE_MAP_0F && (zi.opcode & 0xf6) == 0xa0) /* PUSH, POP FS, GS */
            return false;
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            (ops[i].mem.segment == ZYDIS_REGISTER_FS || ops[i].mem.segment == ZYDIS_REGISTER_GS))
            return false;
    }
    return true;
}

static uint8_t favour;

static unsigned random_insn(uint8_t *out, bool last)
{
    static const uint8_t common[] = { 0x01, 0x03, 0x09, 0x0b, 0x11, 0x13, 0x19, 0x1b, 0x21, 0x23, 0x29, 0x2b, 0x31, 0x33, 0x39, 0x3b,
                                      0x85, 0x87, 0x89, 0x8b, 0x8d, 0x00, 0x02, 0x88, 0x8a, 0x81, 0x83, 0x80, 0xc0, 0xc1, 0xd1,
                                      0xd3, 0xf6, 0xf7, 0xfe, 0xff, 0x50, 0x53, 0x58, 0x5b, 0x68, 0x6a, 0xb8, 0xc7, 0xa4, 0xa5,
                                      0xaa, 0xab, 0xc9, 0x8f, 0x9f, 0x9e };
    for (;;) {
        uint8_t b[16];
        unsigned n = 0, kind = rnd() % 100, len;
        for (unsigned i = 0; i < 16; i++)
            b[i] = rnd();
        bool vex = kind >= 85;
        if (!vex && rnd() % 5 == 0)
            b[n++] = 0x66;
        if (!vex && rnd() % 6 == 0)
            b[n++] = rnd() & 1 ? 0xf2 : 0xf3;
        if (!vex && rnd() % 12 == 0)
            b[n++] = 0xf0;
        if (!vex && rnd() & 1)
            b[n++] = 0x40 | (rnd() & 15);
        if (kind < 45) {
            b[n++] = common[rnd() % sizeof(common)];
        } else if (kind < 52) {
            b[n++] = rnd();
        } else if (kind < 75) {
            b[n++] = 0x0f;
            b[n++] = rnd();
        } else if (kind < 85) {
            b[n++] = 0x0f;
            b[n++] = rnd() & 1 ? 0x38 : 0x3a;
            b[n++] = rnd();
        } else if (kind < 92) {
            b[n++] = 0xc5;
            b[n++] = rnd();
            b[n++] = rnd();
        } else {
            b[n++] = 0xc4;
            b[n++] = (rnd() & 0xe0) | (1 + rnd() % 3);
            b[n++] = rnd();
            b[n++] = rnd();
        }
        if (rnd() & 1) { /* small displacement or none, base without SIB mostly */
            b[n] = (b[n] & 0x3f) | (rnd() & 1 ? 0x40 : rnd() & 1 ? 0xc0 : 0);
            if ((b[n] & 0xc7) == 5)
                b[n] ^= 1;
            if (favour && rnd() & 1) /* several accesses off one base */
                b[n] = (b[n] & 0xf8) | favour;
        }
        if (acceptable(b, &len, last)) {
            memcpy(out, b, len);
            return len;
        }
    }
}

/* ---- comparison ---- */

static void randomise(Regs *r)
{
    for (unsigned i = 0; i < 16; i++)
        r->gpr[i] = rnd() % 3 ? DATA + 0x400 + (rnd() % 0x1f00 & (rnd() & 1 ? ~0xfull : ~0ull)) : rnd() & 1 ? rnd() % 256 : rnd();
    r->gpr[4] = DATA + 0x800 + (rnd() % 0x1000 & ~7ull);
    r->flags = 2 | (rnd() & FL_ARITH);
    memset(r->xsave, 0, sizeof(r->xsave));
    st16(r->xsave + XSAVE_FCW, 0x37f);
    st32(r->xsave + XSAVE_MXCSR, 0x1f80);
    st64(r->xsave + XSAVE_HEADER, 7);
    for (unsigned i = 0; i < 256; i += 8) {
        st64(r->xsave + XSAVE_XMM0 + i, rnd());
        st64(r->xsave + XSAVE_YMMH + i, rnd());
    }
    for (unsigned i = 0; i < 8; i++)
        st64(r->xsave + XSAVE_ST0 + i * 16, rnd());
}

static void dump(const char *title, const uint8_t *code, unsigned len)
{
    ZydisDisassembledInstruction di;
    printf("# %s\n", title);
    for (unsigned off = 0; off < len;) {
        if (!ZYAN_SUCCESS(ZydisDisassembleIntel(ZYDIS_MACHINE_MODE_LONG_64, CODE + off, code + off, len - off, &di)))
            break;
        printf("#   %#x: %s  [", (unsigned)(CODE + off), di.text);
        for (unsigned i = 0; i < di.info.length; i++)
            printf("%02x", code[off + i]);
        printf("]\n");
        off += di.info.length;
    }
}

static unsigned differences;
static void differ(const char *what, unsigned i, uint64_t native, uint64_t guest)
{
    if (differences < 8)
        printf("#   %s%u: native %#" PRIx64 " guest %#" PRIx64 "\n", what, i, native, guest);
    differences++;
}

/* Flags that the sequence leaves undefined: later instructions are not looked at, so none are after an odd one. */
static uint64_t undefined_flags(const uint8_t *code, unsigned len)
{
    ZydisDecoder d;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    uint64_t undef = 0;
    ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned off = 0; off < len; off += zi.length) {
        if (!ZYAN_SUCCESS(ZydisDecoderDecodeFull(&d, code + off, len - off, &zi, ops)))
            break;
        if (zi.cpu_flags)
            undef |= zi.cpu_flags->undefined;
    }
    return undef;
}

static void compare(const Regs *n, int vector, Guest *g, const Regs *start, const uint8_t *code, unsigned len)
{
    X86State *st = &g->cpu->st;
    uint64_t handlers = SYS_BASE + SYS_HANDLERS, rip = st->rip, flags = st->rflags, rsp = st->gpr[4];
    int guest_vector = -1;
    differences = 0;
    if (rip - handlers < 512) {
        guest_vector = (rip - handlers) / 16;
        bool has_error = 1u << guest_vector & (1u << EXC_GP | 1u << EXC_PF | 1u << EXC_SS | 1u << EXC_AC | 1u << EXC_DF);
        const uint8_t *top = g->mem + SYS_IST - 40 - (has_error ? 8 : 0) + (has_error ? 8 : 0);
        rip = ld64(top);
        flags = ld64(top + 16);
        rsp = ld64(top + 24);
    }
    if (vector == EXC_SS)
        vector = EXC_GP;
    if (guest_vector == EXC_SS)
        guest_vector = EXC_GP;
    if (guest_vector == EXC_PF && vector != EXC_PF && (st->cr2 - TEST_BASE > 2 * MIB || vector == EXC_GP))
        return;
    if (guest_vector == EXC_PF && st->cr2 - TEST_BASE > 2 * MIB && n->rip != rip)
        return; /* the host has its own things mapped there; alignment is checked before presence */
    if (vector == EXC_PF && guest_vector == EXC_GP)
        return; /* two bad operands: the order is the implementation's */
    if (vector != guest_vector)
        differ("vector ", 0, vector, guest_vector);
    for (unsigned i = 0; i < 16; i++)
        if (n->gpr[i] != (i == 4 ? rsp : st->gpr[i]))
            differ("r", i, n->gpr[i], i == 4 ? rsp : st->gpr[i]);
    uint64_t mask = vector >= 0 ? 0 : FL_ARITH & ~undefined_flags(code, len);
    if ((n->flags ^ flags) & mask)
        differ("flags ", 0, n->flags & mask, flags & mask);
    if (vector >= 0 && n->rip != rip)
        differ("rip ", 0, n->rip, rip);
    if (vector < 0) {
        bool live = ld64(n->xsave + XSAVE_HEADER) & 4, glive = ld64(st->xsave + XSAVE_HEADER) & 4;
        for (unsigned i = 0; i < 256; i += 8) {
            if (ld64(n->xsave + XSAVE_XMM0 + i) != ld64(st->xsave + XSAVE_XMM0 + i))
                differ("xmm ", i, ld64(n->xsave + XSAVE_XMM0 + i), ld64(st->xsave + XSAVE_XMM0 + i));
            uint64_t a = live ? ld64(n->xsave + XSAVE_YMMH + i) : 0, b = glive ? ld64(st->xsave + XSAVE_YMMH + i) : 0;
            if (a != b)
                differ("ymmh ", i, a, b);
        }
        for (unsigned i = 0; i < 128; i += 8)
            if (ld64(n->xsave + XSAVE_ST0 + i) != ld64(st->xsave + XSAVE_ST0 + i))
                differ("st ", i, ld64(n->xsave + XSAVE_ST0 + i), ld64(st->xsave + XSAVE_ST0 + i));
        if (ld32(n->xsave + XSAVE_MXCSR) != ld32(st->xsave + XSAVE_MXCSR))
            differ("mxcsr ", 0, ld32(n->xsave + XSAVE_MXCSR), ld32(st->xsave + XSAVE_MXCSR));
    }
    for (unsigned i = 0; i < DATA_SIZE; i += 8)
        if (ld64(native_data + i) != ld64(g->mem + DATA + i))
            differ("data ", i, ld64(native_data + i), ld64(g->mem + DATA + i));
    if (differences)
        dump("code", code, len);
}

static void run_native(const Regs *start, Regs *out, int *vector)
{
    static const int sigs[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP };
    struct sigaction sa = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK }, engine[G_N_ELEMENTS(sigs)];
    for (unsigned k = 0; k < G_N_ELEMENTS(sigs); k++)
        sigaction(sigs[k], &sa, &engine[k]);
    *frame = *start;
    frame->target = CODE;
    native_vector = -1;
    if (!sigsetjmp(native_jmp, 1)) {
        ((void (*)(void))stubs)();
        *out = *frame;
    } else {
        __asm__ volatile("cld\n\tfninit");
        *out = native_fault;
    }
    *vector = native_vector;
    for (unsigned k = 0; k < G_N_ELEMENTS(sigs); k++)
        sigaction(sigs[k], &engine[k], NULL);
}

static unsigned one(Guest *g, uint64_t seed)
{
    uint8_t code[256];
    unsigned len = 0, n = 1 + seed % 7;
    rng = seed * 0x9e3779b97f4a7c15ull + 1;
    for (unsigned i = 0; i < 4; i++)
        rnd();
    static const uint8_t bases[] = { 0, 1, 2, 3, 6, 7, 0, 0 };
    favour = bases[rnd() & 7];
    for (unsigned i = 0; i < n; i++)
        len += random_insn(code + len, i + 1 == n);
    if (getenv("DBT_DIFF_SHOW"))
        dump("next", code, len);
    Regs start, native;
    randomise(&start);
    for (unsigned i = 0; i < DATA_SIZE; i += 8) {
        st64(native_data + i, rnd());
        st64(g->mem + DATA + i, ld64(native_data + i));
    }
    memcpy(native_code, code, len);
    native_code[len] = 0xe9;
    st32(native_code + len + 1, exit_stub - ((uint32_t)CODE + len + 5));
    int vector;
    run_native(&start, &native, &vector);
    if (vector == EXC_UD) /* not on this host */
        return 0;
    reset_state(g);
    X86State *st = &g->cpu->st;
    memcpy(st->gpr, start.gpr, sizeof(st->gpr));
    st->rflags = start.flags;
    st->rip = CODE;
    memcpy(st->xsave, start.xsave, sizeof(start.xsave));
    memcpy(g->mem + CODE, code, len);
    g->mem[CODE + len] = 0xf4;
    accel_class(g->m->accel)->state_changed(&g->cpu->vcpu);
    ram_watch_hit(g->ram.ram, CODE, 128);
    guest_run(g);
    compare(&native, vector, g, &start, code, len);
    if (differences)
        printf("# seed %" PRIu64 "\n", seed);
    return differences != 0;
}

static void *map_at(uint64_t addr, size_t size, int prot)
{
    void *p = mmap((void *)(uintptr_t)addr, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    g_assert_true(p == (void *)(uintptr_t)addr);
    return p;
}

int main(int argc, char **argv)
{
    static uint8_t altstack[65536];
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : argc > 1 ? 1 : 20000;
    static Guest g; /* static, so that what hangs off it is not taken for a leak */
    guest_open(&g, "max");
    frame = map_at(FRAME, 8192, PROT_READ | PROT_WRITE);
    stubs = map_at(FRAME + 0x10000, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    native_code = map_at(CODE, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    native_data = map_at(DATA, DATA_SIZE, PROT_READ | PROT_WRITE);
    map_page(&g, CODE, true);
    for (unsigned i = 0; i < DATA_SIZE; i += 4096)
        map_page(&g, DATA + i, true);
    build_stubs();
    stack_t ss = { .ss_sp = altstack, .ss_size = sizeof(altstack) };
    sigaltstack(&ss, NULL);
    printf("1..1\n");
    unsigned bad = 0;
    for (uint64_t i = 0; i < count && bad < 12; i++)
        bad += one(&g, seed + i);
    printf("%s 1 %" PRIu64 " sequences\n", bad ? "not ok" : "ok", count);
    return bad != 0;
}
