/*
 * Instructions that only compute on registers and memory, executed by the host: the instruction is encoded anew with
 * its memory
 * operand at a host address, the guest's registers are loaded, it runs alone, and the registers are stored back.
 *
 * What could fault is checked before: presence, unit, segment, page, alignment. RAM inside one page is operated on in
 * place, so that
 * LOCK keeps its meaning; anything else goes through a bounce buffer. Unmasked SIMD exceptions are found by running
 * with all of them
 * masked and looking at the flags.
 */
#include "accel/x86/internal.h"

#include <sys/mman.h>

#include "accel/x86/features.h"
#include "accel/x86/isa.h"

/* Fields at these offsets are used by the assembly below. */
typedef struct Frame {
    uint64_t gpr[16];        /* 0: as loaded into the host's, RSP slot unused */
    uint64_t flags;          /* 128 */
    void *code;              /* 136 */
    void *fpu;               /* 144: XSAVE area to load and store, NULL: leave the unit alone */
    uint64_t xmask;          /* 152 */
} Frame;

void x86_native_run(Frame *frame);
__asm__(
    ".text\n.p2align 4\n.globl x86_native_run\n.type x86_native_run, @function\n"
    "x86_native_run:\n"
    "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  sub $16, %rsp\n"
    "  stmxcsr (%rsp)\n  fnstcw 4(%rsp)\n"
    "  push %rdi\n"
    "  mov 144(%rdi), %rcx\n  test %rcx, %rcx\n  jz 1f\n"
    "  mov 152(%rdi), %eax\n  xor %edx, %edx\n  xrstor64 (%rcx)\n"
    "1: push 136(%rdi)\n"
    "  push 128(%rdi)\n  popfq\n"
    "  mov 0(%rdi), %rax\n  mov 8(%rdi), %rcx\n  mov 16(%rdi), %rdx\n  mov 24(%rdi), %rbx\n"
    "  mov 40(%rdi), %rbp\n  mov 48(%rdi), %rsi\n"
    "  mov 64(%rdi), %r8\n  mov 72(%rdi), %r9\n  mov 80(%rdi), %r10\n  mov 88(%rdi), %r11\n"
    "  mov 96(%rdi), %r12\n  mov 104(%rdi), %r13\n  mov 112(%rdi), %r14\n  mov 120(%rdi), %r15\n"
    "  mov 56(%rdi), %rdi\n"
    "  call *(%rsp)\n"
    "  push %rdi\n"
    "  mov 16(%rsp), %rdi\n"
    "  mov %rax, 0(%rdi)\n  mov %rcx, 8(%rdi)\n  mov %rdx, 16(%rdi)\n  mov %rbx, 24(%rdi)\n"
    "  mov %rbp, 40(%rdi)\n  mov %rsi, 48(%rdi)\n"
    "  mov %r8, 64(%rdi)\n  mov %r9, 72(%rdi)\n  mov %r10, 80(%rdi)\n  mov %r11, 88(%rdi)\n"
    "  mov %r12, 96(%rdi)\n  mov %r13, 104(%rdi)\n  mov %r14, 112(%rdi)\n  mov %r15, 120(%rdi)\n"
    "  pop 56(%rdi)\n"
    "  pushfq\n  pop 128(%rdi)\n"
    "  add $16, %rsp\n"
    "  mov 144(%rdi), %rcx\n  test %rcx, %rcx\n  jz 2f\n"
    "  mov 152(%rdi), %eax\n  xor %edx, %edx\n  xsave64 (%rcx)\n"
    "  fninit\n"
    "2: ldmxcsr (%rsp)\n  fldcw 4(%rsp)\n"
    "  add $16, %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
    "  ret\n"
    ".size x86_native_run, . - x86_native_run\n");

#define CODE_SIZE 4096

/* ---- registers ---- */

/* Number of a general register of any width, -1 for others; *sub: its kind as an offset to rebuild it. */
static int gpr_number(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_RAX && r <= ZYDIS_REGISTER_R15)
        return r - ZYDIS_REGISTER_RAX;
    if (r >= ZYDIS_REGISTER_EAX && r <= ZYDIS_REGISTER_R15D)
        return r - ZYDIS_REGISTER_EAX;
    if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15W)
        return r - ZYDIS_REGISTER_AX;
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_BL)
        return r - ZYDIS_REGISTER_AL;
    if (r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH)
        return r - ZYDIS_REGISTER_AH;
    if (r >= ZYDIS_REGISTER_SPL && r <= ZYDIS_REGISTER_DIL)
        return r - ZYDIS_REGISTER_SPL + R_RSP;
    if (r >= ZYDIS_REGISTER_R8B && r <= ZYDIS_REGISTER_R15B)
        return r - ZYDIS_REGISTER_R8B + R_R8;
    return -1;
}

static uint32_t used_registers(const Insn *in)
{
    uint32_t used = 1u << R_RSP;
    for (unsigned i = 0; i < in->zi->operand_count; i++) {
        int n = in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER ? gpr_number(in->op[i].reg.value) : -1;
        if (n >= 0)
            used |= 1u << n;
    }
    return used;
}

/* A register that the instruction does not touch; low ones first, they need no REX (AH..BH must still be encodable). */
static unsigned take_free(uint32_t *used)
{
    for (unsigned n = 0; n < 16; n++)
        if (!(*used >> n & 1)) {
            *used |= 1u << n;
            return n;
        }
    g_assert_not_reached(); /* no instruction has more than a handful */
}

/* SP, ESP, RSP and SPL stand for another host register. */
static ZydisRegister replace_sp(ZydisRegister r, unsigned sub)
{
    switch (r) {
    case ZYDIS_REGISTER_RSP: return ZYDIS_REGISTER_RAX + sub;
    case ZYDIS_REGISTER_ESP: return ZYDIS_REGISTER_EAX + sub;
    case ZYDIS_REGISTER_SP: return ZYDIS_REGISTER_AX + sub;
    case ZYDIS_REGISTER_SPL:
        return sub < 4 ? ZYDIS_REGISTER_AL + sub : sub < 8 ? ZYDIS_REGISTER_SPL + sub - 4 : ZYDIS_REGISTER_R8B + sub - 8;
    default: return r;
    }
}

/* ---- encoding ---- */

typedef struct Plan {
    unsigned base, sp;       /* host registers for the memory operand and the guest's stack pointer */
    int mem;                 /* index of the memory operand, -1 if none */
    void *address;
} Plan;

static bool encode(X86Cpu *cpu, const Insn *in, const Plan *plan)
{
    ZydisEncoderRequest req;
    if (!ZYAN_SUCCESS(ZydisEncoderDecodedInstructionToEncoderRequest(in->zi, in->op, in->zi->operand_count_visible, &req)))
        return false;
    req.machine_mode = ZYDIS_MACHINE_MODE_LONG_64;
    req.address_size_hint = ZYDIS_ADDRESS_SIZE_HINT_NONE;
    req.prefixes &= ZYDIS_ATTRIB_HAS_LOCK;
    for (unsigned i = 0; i < req.operand_count; i++) {
        ZydisEncoderOperand *op = &req.operands[i];
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            op->reg.value = replace_sp(op->reg.value, plan->sp);
        } else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            ZyanU16 size = op->mem.size;
            op->mem = (__typeof__(op->mem)) { .base = ZYDIS_REGISTER_RAX + plan->base, .size = size };
        }
    }
    ZyanUSize length = CODE_SIZE - 1;
    if (!ZYAN_SUCCESS(ZydisEncoderEncodeInstruction(&req, cpu->native_code, &length)))
        return false;
    cpu->native_code[length] = 0xc3;
    return true;
}

/* ---- memory operand ---- */

typedef struct Operand {
    int index;
    unsigned size;
    uint64_t lin;
    bool read, write;
    void *direct;            /* RAM in place */
    X86RamRef ref;
    _Alignas(64) uint8_t bounce[128];
} Operand;

static bool is_bit_test(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_BT || m == ZYDIS_MNEMONIC_BTS || m == ZYDIS_MNEMONIC_BTR || m == ZYDIS_MNEMONIC_BTC;
}

/* BT and kin with a register offset reach beyond the operand: bytes to add to its address. */
static int64_t bit_displacement(X86Cpu *cpu, const Insn *in, unsigned size)
{
    if (!is_bit_test(in->zi->mnemonic) || in->op[1].type != ZYDIS_OPERAND_TYPE_REGISTER)
        return 0;
    unsigned shift = 64 - size * 8;
    int64_t bit = (int64_t)(x86_reg_read(cpu, in->op[1].reg.value) << shift) >> shift;
    return (bit >> (size == 8 ? 6 : size == 4 ? 5 : 4)) * (int64_t)size;
}

static void find_memory(X86Cpu *cpu, const Insn *in, X86Unit unit, Operand *m)
{
    m->index = -1;
    m->direct = NULL;
    for (unsigned i = 0; i < in->zi->operand_count; i++)
        if (in->op[i].type == ZYDIS_OPERAND_TYPE_MEMORY && in->op[i].mem.type != ZYDIS_MEMOP_TYPE_AGEN)
            m->index = i;
    if (m->index < 0)
        return;
    const ZydisDecodedOperand *op = &in->op[m->index];
    m->size = op->size / 8;
    m->read = op->actions & ZYDIS_OPERAND_ACTION_MASK_READ;
    m->write = op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE;
    unsigned access = m->write ? X86_WRITE : X86_READ;
    uint64_t offset = x86_operand_offset(cpu, in->zi, op) + bit_displacement(cpu, in, m->size);
    m->lin = x86_seg_lin(cpu, x86_operand_seg(op), x86_trunc(offset, in->asz), m->size, access);
    unsigned align = x86_isa_alignment(in->zi, m->size);
    if (align && (m->lin & (align - 1)))
        x86_fault(cpu, EXC_GP, 0);
    if (m->write) {
        /* vector stores can't be locked, and some must not happen after all: VCVTPS2PH with an unmasked exception */
        if (unit == X86_UNIT_NONE)
            m->direct = x86_atomic_ptr(cpu, m->lin, m->size, &m->ref);
        if (!m->direct)
            x86_probe(cpu, m->lin, m->size, X86_WRITE);
    }
    if (!m->direct && m->size <= sizeof(m->bounce) && (m->read || m->write))
        x86_ld_bytes(cpu, m->lin, m->bounce, m->size, access);
}

static void write_memory(X86Cpu *cpu, const Operand *m)
{
    if (m->index < 0 || !m->write)
        return;
    if (m->direct)
        x86_ram_written(cpu, &m->ref, m->size);
    else
        x86_st_bytes(cpu, m->lin, m->bounce, m->size, 0);
}

/* ---- floating point ---- */

#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_UM 0x800u
#define MXCSR_FTZ 0x8000u

static void copy_area(uint8_t *to, const uint8_t *from)
{
    for (unsigned i = 0; i < X86_XSAVE_SIZE; i += 8)
        st64(to + i, ld64(from + i));
}

static uint64_t host_xmask(X86Cpu *cpu)
{
    return x86_has(cpu, X86_FEAT_AVX) ? 7 : 3;
}

static void check_unit(X86Cpu *cpu, const Insn *in, X86Unit unit)
{
    int vector = x86_unit_fault(cpu, unit);
    if (vector >= 0)
        x86_fault(cpu, vector, 0);
    if (unit == X86_UNIT_NONE)
        return;
    x86_fpu_out(cpu);
    if (x86_isa_waits(in->zi, in->op) && (ld16(cpu->st.xsave + XSAVE_FSW) & 0x80))
        x86_fault(cpu, EXC_MF, 0);
}

/* Where an x87 instruction was, as FNSTENV tells; control instructions leave it alone. */
static void note_x87(X86Cpu *cpu, const Insn *in, const Operand *m)
{
    uint8_t *x = cpu->st.xsave;
    switch (in->zi->mnemonic) {
    case ZYDIS_MNEMONIC_FNCLEX: case ZYDIS_MNEMONIC_FNSTSW: case ZYDIS_MNEMONIC_FNSTCW: case ZYDIS_MNEMONIC_FLDCW:
    case ZYDIS_MNEMONIC_FNOP: case ZYDIS_MNEMONIC_FENI8087_NOP: case ZYDIS_MNEMONIC_FDISI8087_NOP:
    case ZYDIS_MNEMONIC_FSETPM287_NOP: case ZYDIS_MNEMONIC_FNINIT:
        return;
    default:
        break;
    }
    st16(x + XSAVE_FOP, (in->zi->opcode & 7) << 8 | in->zi->raw.modrm.mod << 6 | in->zi->raw.modrm.reg << 3 |
                            in->zi->raw.modrm.rm);
    st64(x + XSAVE_FIP, cpu->st.rip);
    if (m->index >= 0)
        st64(x + XSAVE_FDP, m->lin);
}

/* Runs with the unit's state; false: an unmasked SIMD exception, nothing of the guest changed but MXCSR. */
static bool run_with_unit(X86Cpu *cpu, Frame *f)
{
    _Alignas(64) uint8_t area[X86_XSAVE_SIZE];
    uint32_t mxcsr = ld32(cpu->st.xsave + XSAVE_MXCSR);
    copy_area(area, cpu->st.xsave);
    f->fpu = area;
    f->xmask = host_xmask(cpu);
    /* the whole area is meant, whatever the components' use bits say */
    st64(area + XSAVE_HEADER, f->xmask);
    st64(area + XSAVE_HEADER + 8, 0);
    uint32_t run_mxcsr = (mxcsr & ~MXCSR_FLAGS) | MXCSR_MASKS;
    if (!(mxcsr & MXCSR_UM)) /* underflow unmasked: an exact tiny result counts too, which a masked run tells only when it flushes */
        run_mxcsr |= MXCSR_FTZ;
    st32(area + XSAVE_MXCSR, run_mxcsr);
    x86_native_run(f);
    uint32_t raised = ld32(area + XSAVE_MXCSR) & MXCSR_FLAGS;
    uint32_t unmasked = raised & ~(mxcsr >> 7);
    if (unmasked & 7) /* found before computing: the later ones were not reached */
        raised &= 7;
    st32(area + XSAVE_MXCSR, mxcsr | raised);
    if (!unmasked)
        copy_area(cpu->st.xsave, area);
    else
        st32(cpu->st.xsave + XSAVE_MXCSR, mxcsr | raised);
    return !unmasked;
}

/* ---- the instruction ---- */

static bool code_page(X86Cpu *cpu)
{
    if (cpu->native_code)
        return true;
    void *page = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cpu->native_code = page == MAP_FAILED ? NULL : page;
    return cpu->native_code;
}

static void load_frame(X86Cpu *cpu, const Insn *in, const Plan *plan, Frame *f)
{
    for (unsigned i = 0; i < 16; i++)
        f->gpr[i] = cpu->st.gpr[i];
    f->gpr[plan->sp] = cpu->st.gpr[R_RSP];
    if (plan->mem >= 0)
        f->gpr[plan->base] = (uintptr_t)plan->address;
    f->flags = (cpu->st.rflags & FL_ARITH) | 2;
    f->code = cpu->native_code;
    f->fpu = NULL;
}

static void store_frame(X86Cpu *cpu, const Plan *plan, const Frame *f)
{
    for (unsigned i = 0; i < 16; i++)
        if (i != plan->base && i != plan->sp && i != R_RSP)
            cpu->st.gpr[i] = f->gpr[i];
    cpu->st.gpr[R_RSP] = f->gpr[plan->sp];
    cpu->st.rflags = (cpu->st.rflags & ~(uint64_t)FL_ARITH) | (f->flags & FL_ARITH);
}

unsigned x86_exec_native(X86Cpu *cpu, const Insn *in)
{
    if (x86_exec_masked(cpu, in))
        return 0;
    X86Unit unit = x86_isa_unit(in->zi, in->op);
    check_unit(cpu, in, unit);
    Operand m;
    find_memory(cpu, in, unit, &m);
    uint32_t used = used_registers(in);
    Plan plan = { .mem = m.index, .address = m.direct ? m.direct : m.bounce };
    plan.base = take_free(&used);
    plan.sp = take_free(&used);
    x86_fpu_out(cpu); /* the encoder and mmap are library code */
    if (!code_page(cpu) || !encode(cpu, in, &plan))
        return X86_EXEC_UNKNOWN;
    Frame f;
    load_frame(cpu, in, &plan, &f);
    bool bit_offset = is_bit_test(in->zi->mnemonic) && m.index >= 0 && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER;
    int bit_reg = bit_offset ? gpr_number(replace_sp(in->op[1].reg.value, plan.sp)) : 0;
    uint64_t bit_value = f.gpr[bit_reg];
    if (bit_offset)
        f.gpr[bit_reg] &= m.size * 8 - 1;
    if (unit == X86_UNIT_NONE)
        x86_native_run(&f);
    else if (!run_with_unit(cpu, &f))
        x86_fault(cpu, cpu->st.cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD, 0);
    if (bit_offset)
        f.gpr[bit_reg] = bit_value;
    write_memory(cpu, &m);
    store_frame(cpu, &plan, &f);
    if (unit == X86_UNIT_X87)
        note_x87(cpu, in, &m);
    return 0;
}
