/*
 * Dispatch of single instructions, fetching, and the one-instruction step.
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"
#include "accel/x86/isa.h"

static ExecFunc *exec_table[ZYDIS_MNEMONIC_MAX_VALUE + 1];

static void __attribute__((constructor)) fill_table(void)
{
    x86_register_flow(exec_table);
    x86_register_far(exec_table);
    x86_register_segment(exec_table);
    x86_register_flags(exec_table);
    x86_register_string(exec_table);
    x86_register_io(exec_table);
    x86_register_system(exec_table);
    x86_register_control(exec_table);
    x86_register_msr(exec_table);
    x86_register_fpstate(exec_table);
}

/*
 * By prefixes and mode, also for instructions whose Zydis operand width says something else (byte forms, far
 * pointers).
 */
static unsigned operand_size(const ZydisDecodedInstruction *zi, unsigned bits)
{
    bool prefix = zi->attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE;
    if (bits == 64 && zi->raw.rex.W)
        return 8;
    if (bits == 16)
        return prefix ? 4 : 2;
    return prefix ? 2 : 4;
}

static ExecFunc *find(const ZydisDecodedInstruction *zi)
{
    ExecFunc *func = exec_table[zi->mnemonic];
    bool scalar_double = zi->mnemonic == ZYDIS_MNEMONIC_MOVSD || zi->mnemonic == ZYDIS_MNEMONIC_CMPSD;
    if (scalar_double && zi->meta.category != ZYDIS_CATEGORY_STRINGOP)
        return x86_exec_native;
    return func ? func : x86_exec_native;
}

static void check_present(X86Cpu *cpu, const ZydisDecodedInstruction *zi)
{
    int feature = x86_isa_feature(zi);
    if (feature == X86_ISA_NEVER || (feature >= 0 && !x86_has(cpu, feature)) || x86_isa_vex_refused(&cpu->st, zi))
        x86_fault(cpu, EXC_UD, 0);
}

unsigned x86_exec_insn(X86Cpu *cpu, const ZydisDecodedInstruction *zi, const ZydisDecodedOperand *ops)
{
    X86State *st = &cpu->st;
    unsigned bits = x86_code_bits(st);
    Insn in = {
        .zi = zi, .op = ops, .osz = operand_size(zi, bits), .asz = zi->address_width / 8, .bits = bits,
        .next = st->rip + zi->length,
    };
    if (bits != 64)
        in.next &= 0xffffffffu;
    check_present(cpu, zi);
    uint8_t shadow = st->shadow;
    st->shadow = 0;
    unsigned result = find(zi)(cpu, &in);
    if (result & X86_EXEC_UNKNOWN) {
        st->shadow = shadow;
        return result;
    }
    if (!(result & (X86_EXEC_JUMP | X86_EXEC_REP)))
        st->rip = in.next;
    /* IRET and POPF have loaded RF as it shall be; a JUMP|MODE result is theirs or another far transfer's */
    if (!(result & X86_EXEC_MODE))
        st->rflags &= ~(uint64_t)FL_RF;
    return result;
}

/* ---- fetch ---- */

/* Linear address of the byte at rip + ahead; false: outside CS or not canonical. */
static bool fetch_lin(const X86Cpu *cpu, unsigned ahead, uint64_t *lin)
{
    const X86State *st = &cpu->st;
    if (x86_code64(st)) {
        *lin = st->rip + ahead;
        return x86_canonical(*lin);
    }
    uint64_t offset = st->rip + ahead;
    *lin = (st->seg[SEG_CS].base + offset) & 0xffffffffu;
    return offset <= st->seg[SEG_CS].limit;
}

static bool fetch_byte_page(X86Cpu *cpu, uint64_t lin, uint8_t *buf, unsigned len, X86Translation *tr)
{
    if (!x86_mmu_translate(cpu, lin, X86_EXEC, tr))
        return false;
    X86RamRef ref;
    if (x86_ram_ref(cpu, tr->gpa, false, &ref)) {
        for (unsigned i = 0; i < len; i++)
            buf[i] = ref.hva[i];
        return true;
    }
    x86_fpu_out(cpu);
    for (unsigned i = 0; i < len; i++)
        buf[i] = vcpu_mmio_read(&cpu->vcpu, tr->gpa + i, 1);
    return true;
}

unsigned x86_fetch(X86Cpu *cpu, uint8_t buf[15])
{
    unsigned have = 0;
    X86Translation tr;
    while (have < 15) {
        uint64_t lin, last;
        if (!fetch_lin(cpu, have, &lin)) {
            if (have == 0)
                x86_fault(cpu, EXC_GP, 0);
            break;
        }
        unsigned len = MIN(15 - have, 4096 - (unsigned)(lin & 4095));
        while (len > 1 && !fetch_lin(cpu, have + len - 1, &last))
            len--;
        if (!fetch_byte_page(cpu, lin, buf + have, len, &tr)) {
            if (have == 0)
                x86_fault_translation(cpu, &tr);
            break;
        }
        have += len;
    }
    return have;
}

void x86_fetch_more_fault(X86Cpu *cpu, unsigned have)
{
    uint64_t lin;
    X86Translation tr;
    if (have < 15 && fetch_lin(cpu, have, &lin) && !x86_mmu_translate(cpu, lin, X86_EXEC, &tr))
        x86_fault_translation(cpu, &tr);
    x86_fault(cpu, EXC_GP, 0);
}

/* ---- step ---- */

static void decode(X86Cpu *cpu, ZydisDecodedInstruction *zi, ZydisDecodedOperand *ops)
{
    ZydisDecoder decoder;
    uint8_t buf[15];
    unsigned have = x86_fetch(cpu, buf);
    x86_fpu_out(cpu);
    x86_decoder_init(cpu, x86_code_bits(&cpu->st), &decoder);
    ZyanStatus status = x86_decode(&decoder, buf, have, zi, ops);
    if (status == ZYDIS_STATUS_NO_MORE_DATA || status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        x86_fetch_more_fault(cpu, status == ZYDIS_STATUS_NO_MORE_DATA ? have : 15);
    if (!ZYAN_SUCCESS(status))
        x86_fault(cpu, EXC_UD, 0);
}

static unsigned step_body(X86Cpu *cpu)
{
    X86State *st = &cpu->st;
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    if (x86_breakpoints_on(st)) {
        uint64_t lin;
        uint64_t hit = fetch_lin(cpu, 0, &lin) ? x86_exec_breakpoint(cpu, lin) : 0;
        if (hit)
            x86_fault_debug(cpu, hit);
    }
    bool trap = st->rflags & FL_TF;
    decode(cpu, &zi, ops);
    unsigned result = x86_exec_insn(cpu, &zi, ops);
    if (trap && !(result & (X86_EXEC_UNKNOWN | X86_EXEC_REP)) && st->shadow != SHADOW_SS)
        x86_fault_debug(cpu, DR6_BS);
    return result;
}

static __attribute__((noinline)) bool try_step(X86Cpu *cpu, unsigned *result)
{
    void *jmp[5];
    void **volatile outer = cpu->fault_jmp;
    bool done = true;
    if (__builtin_setjmp(jmp) == 0) {
        cpu->fault_jmp = jmp;
        *result = step_body(cpu);
    } else {
        done = false;
    }
    cpu->fault_jmp = outer;
    return done;
}

X86StepResult x86_step(X86Cpu *cpu)
{
    unsigned result = 0;
    if (!try_step(cpu, &result)) {
        X86Event event = *cpu->fault;
        return x86_deliver(cpu, &event) ? X86_STEP_OK : X86_STEP_SHUTDOWN;
    }
    if (result & X86_EXEC_UNKNOWN)
        return X86_STEP_UNKNOWN;
    return result & X86_EXEC_HALTED ? X86_STEP_HALTED : X86_STEP_OK;
}
