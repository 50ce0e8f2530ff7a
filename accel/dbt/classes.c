/*
 * Encoding classes. A Zydis decode costs most of a microsecond; a kernel boot sees a million instructions but only some thousand
 * encodings, so what Zydis says about one is kept under a key of everything that can change the answer.
 */
#include "accel/dbt/classes.h"

#include "accel/x86/features.h"
#include "accel/x86/isa.h"

#define CLASSES_BITS 13

void dbt_classes_init(DbtVcpu *v)
{
    v->classes_mask = (1u << CLASSES_BITS) - 1;
    v->classes = g_new(OpClass, v->classes_mask + 1);
    dbt_classes_reset(v);
}

void dbt_classes_reset(DbtVcpu *v)
{
    for (unsigned i = 0; i <= v->classes_mask; i++)
        v->classes[i].key = UINT32_MAX;
    v->n_classes = 0;
}

/* Register forms whose meaning depends on ModRM.rm too: x87, 0F 01, 0F AE, 0F C7, and NOP against XCHG R8 for 90. */
static unsigned key_rm(const Insn *insn)
{
    if (insn->map == 0 && insn->opcode == 0x90)
        return insn->rex & 1;
    if (insn->modrm < 0xc0)
        return 0;
    bool x87 = insn->map == 0 && (insn->opcode & 0xf8) == 0xd8;
    bool group = insn->map == 1 && (insn->opcode == 0x01 || insn->opcode == 0xae || insn->opcode == 0xc7 ||
                                    insn->opcode == 0x1e);
    return x87 || group ? insn->modrm & 7 : 0;
}

static uint32_t class_key(const Insn *insn, unsigned bits)
{
    unsigned pfx = insn->rep == 0xf3 ? 2 : insn->rep == 0xf2 ? 3 : insn->p66 && insn->map ? 1 : 0;
    uint32_t key = insn->opcode | insn->map << 8 | insn->vex << 10 | pfx << 11;
    key |= insn->has_modrm ? (insn->modrm >> 3 & 7) << 13 | (insn->modrm >= 0xc0) << 16 : 0;
    key |= (insn->rex >> 3 & 1) << 17 | (insn->p66) << 18 | insn->p67 << 19;
    key |= (bits == 64 ? 2 : bits == 32 ? 1 : 0) << 20 | insn->vex_l << 22 | key_rm(insn) << 23 | insn->lock << 26;
    /* without REX the byte registers 4..7 are AH..BH: same class, but Zydis answers 8 bits either way */
    return key;
}

static uint32_t key_hash(uint32_t key) { return (key * 0x9e3779b1u) >> (32 - CLASSES_BITS); }

const OpClass *dbt_class_find(DbtVcpu *v, const Insn *insn, unsigned bits)
{
    uint32_t key = class_key(insn, bits);
    for (uint32_t i = key_hash(key);; i = (i + 1) & v->classes_mask) {
        if (v->classes[i].key == key)
            return &v->classes[i];
        if (v->classes[i].key == UINT32_MAX)
            return NULL;
    }
}

static uint8_t flag_byte(uint32_t f)
{
    return (f & 0xd5) | (f & ZYDIS_CPUFLAG_OF ? FLB_OF : 0);
}

static bool is_gpr(ZydisRegister r)
{
    ZydisRegisterClass c = ZydisRegisterGetClass(r);
    return c == ZYDIS_REGCLASS_GPR8 || c == ZYDIS_REGCLASS_GPR16 || c == ZYDIS_REGCLASS_GPR32 || c == ZYDIS_REGCLASS_GPR64;
}

static unsigned access_bits(const ZydisDecodedOperand *op)
{
    return (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ ? ACC_R : 0) |
           (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE ? ACC_W : 0) |
           (op->actions & ZYDIS_OPERAND_ACTION_CONDWRITE ? ACC_R : 0);
}

static void learn_register(OpClass *cls, const ZydisDecodedOperand *op)
{
    ZydisRegister reg = op->reg.value;
    ZydisRegisterClass rc = ZydisRegisterGetClass(reg);
    if (is_gpr(reg)) {
        unsigned acc = access_bits(op), byte = rc == ZYDIS_REGCLASS_GPR8;
        switch (op->encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG: cls->reg_acc |= acc; cls->byte_regs |= byte; break;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM: cls->rm_acc |= acc; cls->byte_regs |= byte << 1; break;
        case ZYDIS_OPERAND_ENCODING_NDSNDD: cls->vv_acc |= acc; break;
        case ZYDIS_OPERAND_ENCODING_OPCODE: cls->opc_acc |= acc; cls->byte_regs |= byte << 2; break;
        case ZYDIS_OPERAND_ENCODING_NONE: {
            unsigned id = ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg));
            if (id == 4 || id > 7)
                cls->kind = T_EXEC;
            else if (acc & ACC_W)
                cls->impl_write |= 1u << id;
            break;
        }
        default: cls->kind = T_EXEC;
        }
        return;
    }
    switch (rc) {
    case ZYDIS_REGCLASS_MMX: cls->ext = MAX(cls->ext, EXT_MMX); cls->vec = true; break;
    case ZYDIS_REGCLASS_XMM: case ZYDIS_REGCLASS_YMM: cls->ext = MAX(cls->ext, EXT_SSE); cls->vec = true; break;
    case ZYDIS_REGCLASS_X87: cls->ext = MAX(cls->ext, EXT_FPU); break;
    case ZYDIS_REGCLASS_FLAGS: case ZYDIS_REGCLASS_IP: break;
    default:
        if (reg == ZYDIS_REGISTER_MXCSR) {
            cls->ext = MAX(cls->ext, EXT_SSE);
            break;
        }
        if (reg == ZYDIS_REGISTER_X87CONTROL || reg == ZYDIS_REGISTER_X87STATUS || reg == ZYDIS_REGISTER_X87TAG) {
            cls->ext = MAX(cls->ext, EXT_FPU);
            break;
        }
        if (op->visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN || rc != ZYDIS_REGCLASS_SEGMENT)
            cls->kind = T_EXEC;
    }
}

static void learn_memory(OpClass *cls, const ZydisDecodedOperand *op)
{
    if (op->encoding != ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        cls->kind = T_EXEC;
        return;
    }
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB || op->mem.type == ZYDIS_MEMOP_TYPE_MIB) {
        cls->kind = T_EXEC;
        return;
    }
    if (op->mem.type == ZYDIS_MEMOP_TYPE_AGEN)
        return;
    cls->mem_size = op->size / 8;
    cls->mem_acc |= access_bits(op);
    if (!cls->mem_size)
        cls->mem_size = 1;
}

/* Kinds that need more than a substitution; map 0 and 1 opcodes are listed by their SDM numbers. */
static void learn_kind(OpClass *cls, const Insn *insn, const ZydisDecodedInstruction *zi)
{
    bool mem = insn->has_modrm && insn->modrm < 0xc0;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_LEA: cls->kind = T_LEA; return;
    case ZYDIS_MNEMONIC_NOP: case ZYDIS_MNEMONIC_ENDBR32: case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_PREFETCH: case ZYDIS_MNEMONIC_PREFETCHNTA: case ZYDIS_MNEMONIC_PREFETCHT0:
    case ZYDIS_MNEMONIC_PREFETCHT1: case ZYDIS_MNEMONIC_PREFETCHT2: case ZYDIS_MNEMONIC_PREFETCHW:
    case ZYDIS_MNEMONIC_CLDEMOTE: case ZYDIS_MNEMONIC_PREFETCHWT1:
        cls->kind = T_NOP;
        return;
    case ZYDIS_MNEMONIC_CALL:
        cls->kind = zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? T_EXEC : insn->opcode == 0xe8 ? T_CALL : T_CALL_IND;
        return;
    case ZYDIS_MNEMONIC_JMP:
        cls->kind = zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? T_EXEC : insn->opcode == 0xff ? T_JMP_IND : T_JMP;
        return;
    case ZYDIS_MNEMONIC_RET: cls->kind = insn->opcode == 0xc2 || insn->opcode == 0xc3 ? T_RET : T_EXEC; return;
    case ZYDIS_MNEMONIC_LOOP: case ZYDIS_MNEMONIC_LOOPE: case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_JCXZ: case ZYDIS_MNEMONIC_JECXZ: case ZYDIS_MNEMONIC_JRCXZ:
        cls->kind = T_LOOP;
        return;
    case ZYDIS_MNEMONIC_PUSH:
        cls->kind = insn->map != 0 || insn->opcode < 0x20 ? T_EXEC : insn->opcode == 0x68 || insn->opcode == 0x6a ? T_PUSH_I :
                    insn->opcode == 0xff ? T_PUSH_M : T_PUSH_R;
        return;
    case ZYDIS_MNEMONIC_POP:
        cls->kind = insn->map != 0 || insn->opcode < 0x20 ? T_EXEC : insn->opcode == 0x8f ? T_POP_M : T_POP_R;
        return;
    case ZYDIS_MNEMONIC_PUSHF: case ZYDIS_MNEMONIC_PUSHFD: case ZYDIS_MNEMONIC_PUSHFQ: cls->kind = T_PUSHF; return;
    case ZYDIS_MNEMONIC_POPF: case ZYDIS_MNEMONIC_POPFD: case ZYDIS_MNEMONIC_POPFQ: cls->kind = T_POPF; return;
    case ZYDIS_MNEMONIC_LEAVE: cls->kind = T_LEAVE; return;
    case ZYDIS_MNEMONIC_RDTSC: cls->kind = T_RDTSC; return;
    case ZYDIS_MNEMONIC_CLD: cls->kind = T_CLD; return;
    case ZYDIS_MNEMONIC_STD: cls->kind = T_STD; return;
    case ZYDIS_MNEMONIC_CLI: cls->kind = T_CLI; return;
    case ZYDIS_MNEMONIC_STI: cls->kind = T_STI; return;
    case ZYDIS_MNEMONIC_STAC: cls->kind = T_STAC; return;
    case ZYDIS_MNEMONIC_CLAC: cls->kind = T_CLAC; return;
    case ZYDIS_MNEMONIC_BT: case ZYDIS_MNEMONIC_BTS: case ZYDIS_MNEMONIC_BTR: case ZYDIS_MNEMONIC_BTC:
        if (mem && insn->opcode != 0xba)
            cls->kind = T_BT;
        return;
    case ZYDIS_MNEMONIC_MOV:
        if (insn->map == 0 && insn->opcode == 0x8c)
            cls->kind = T_MOV_FROM_SEG;
        else if (insn->map == 0 && insn->opcode >= 0xa0 && insn->opcode <= 0xa3)
            cls->kind = T_MOFFS;
        return;
    case ZYDIS_MNEMONIC_INC: case ZYDIS_MNEMONIC_DEC:
        if (insn->map == 0 && (insn->opcode & 0xf0) == 0x40)
            cls->kind = T_INC;
        return;
    case ZYDIS_MNEMONIC_CPUID: case ZYDIS_MNEMONIC_RDTSCP: case ZYDIS_MNEMONIC_RDPID: case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDMSR: case ZYDIS_MNEMONIC_WRMSR: case ZYDIS_MNEMONIC_XGETBV: case ZYDIS_MNEMONIC_XSETBV:
    case ZYDIS_MNEMONIC_IN: case ZYDIS_MNEMONIC_OUT: case ZYDIS_MNEMONIC_HLT: case ZYDIS_MNEMONIC_INT:
    case ZYDIS_MNEMONIC_INT1: case ZYDIS_MNEMONIC_INT3: case ZYDIS_MNEMONIC_INTO: case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD: case ZYDIS_MNEMONIC_IRETQ: case ZYDIS_MNEMONIC_SYSCALL: case ZYDIS_MNEMONIC_SYSRET:
    case ZYDIS_MNEMONIC_SYSENTER: case ZYDIS_MNEMONIC_SYSEXIT: case ZYDIS_MNEMONIC_SWAPGS: case ZYDIS_MNEMONIC_CLTS:
    case ZYDIS_MNEMONIC_INVD: case ZYDIS_MNEMONIC_WBINVD: case ZYDIS_MNEMONIC_INVLPG: case ZYDIS_MNEMONIC_INVPCID:
    case ZYDIS_MNEMONIC_RDFSBASE: case ZYDIS_MNEMONIC_RDGSBASE: case ZYDIS_MNEMONIC_WRFSBASE:
    case ZYDIS_MNEMONIC_WRGSBASE: case ZYDIS_MNEMONIC_MONITOR: case ZYDIS_MNEMONIC_MWAIT: case ZYDIS_MNEMONIC_ENTER:
    case ZYDIS_MNEMONIC_XLAT: case ZYDIS_MNEMONIC_BOUND: case ZYDIS_MNEMONIC_ARPL: case ZYDIS_MNEMONIC_LAR:
    case ZYDIS_MNEMONIC_LSL: case ZYDIS_MNEMONIC_VERR: case ZYDIS_MNEMONIC_VERW: case ZYDIS_MNEMONIC_AAA:
    case ZYDIS_MNEMONIC_AAS: case ZYDIS_MNEMONIC_AAM: case ZYDIS_MNEMONIC_AAD: case ZYDIS_MNEMONIC_DAA:
    case ZYDIS_MNEMONIC_DAS: case ZYDIS_MNEMONIC_SALC: case ZYDIS_MNEMONIC_PUSHA: case ZYDIS_MNEMONIC_PUSHAD:
    case ZYDIS_MNEMONIC_POPA: case ZYDIS_MNEMONIC_POPAD: case ZYDIS_MNEMONIC_LDS: case ZYDIS_MNEMONIC_LES:
    case ZYDIS_MNEMONIC_LSS: case ZYDIS_MNEMONIC_LFS: case ZYDIS_MNEMONIC_LGS: case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64: case ZYDIS_MNEMONIC_XSAVEOPT: case ZYDIS_MNEMONIC_XSAVEOPT64: case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64: case ZYDIS_MNEMONIC_XSAVES: case ZYDIS_MNEMONIC_XSAVES64: case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64: case ZYDIS_MNEMONIC_XRSTORS: case ZYDIS_MNEMONIC_XRSTORS64: case ZYDIS_MNEMONIC_SGDT:
    case ZYDIS_MNEMONIC_SIDT: case ZYDIS_MNEMONIC_SLDT: case ZYDIS_MNEMONIC_STR: case ZYDIS_MNEMONIC_SMSW:
    case ZYDIS_MNEMONIC_LGDT: case ZYDIS_MNEMONIC_LIDT: case ZYDIS_MNEMONIC_LLDT: case ZYDIS_MNEMONIC_LTR:
    case ZYDIS_MNEMONIC_LMSW: case ZYDIS_MNEMONIC_RSM: case ZYDIS_MNEMONIC_UD0: case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2: case ZYDIS_MNEMONIC_VMCALL: case ZYDIS_MNEMONIC_VMMCALL: case ZYDIS_MNEMONIC_RDPKRU:
    case ZYDIS_MNEMONIC_WRPKRU: case ZYDIS_MNEMONIC_MASKMOVQ: case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU: case ZYDIS_MNEMONIC_XBEGIN: case ZYDIS_MNEMONIC_XEND: case ZYDIS_MNEMONIC_XABORT:
    case ZYDIS_MNEMONIC_XTEST: case ZYDIS_MNEMONIC_CLZERO: case ZYDIS_MNEMONIC_GETSEC: case ZYDIS_MNEMONIC_ENCLU:
    case ZYDIS_MNEMONIC_ENCLS:
        cls->kind = T_EXEC;
        return;
    default:
        break;
    }
    if (zi->meta.branch_type != ZYDIS_BRANCH_TYPE_NONE)
        cls->kind = T_JCC;
    else if (zi->meta.category == ZYDIS_CATEGORY_STRINGOP && zi->meta.isa_ext != ZYDIS_ISA_EXT_SSE2)
        cls->kind = T_STRING;
    else if (zi->meta.category == ZYDIS_CATEGORY_WIDENOP || zi->meta.category == ZYDIS_CATEGORY_PREFETCH)
        cls->kind = T_NOP;
    else if (zi->meta.category == ZYDIS_CATEGORY_SYSTEM || zi->meta.category == ZYDIS_CATEGORY_VTX ||
             zi->meta.isa_ext == ZYDIS_ISA_EXT_CET || zi->meta.isa_ext == ZYDIS_ISA_EXT_SVM)
        cls->kind = T_EXEC;
}

static void learn_flags(OpClass *cls, const ZydisDecodedInstruction *zi)
{
    if (!zi->cpu_flags)
        return;
    const ZydisAccessedFlags *f = zi->cpu_flags;
    cls->fl_read = flag_byte(f->tested);
    cls->fl_mod = flag_byte(f->modified | f->set_0 | f->set_1 | f->undefined);
    cls->fl_kill = cls->fl_mod;
    switch (zi->mnemonic) {
    case ZYDIS_MNEMONIC_SHL: case ZYDIS_MNEMONIC_SHR: case ZYDIS_MNEMONIC_SAR: case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR: case ZYDIS_MNEMONIC_RCL: case ZYDIS_MNEMONIC_RCR: case ZYDIS_MNEMONIC_SHLD:
    case ZYDIS_MNEMONIC_SHRD:
        cls->fl_kill = 0; /* a count of 0 changes nothing; insn_kills() looks at immediate counts */
        break;
    default:
        break;
    }
}

/* The guest's CPU has it: else it is an undefined opcode, whatever the host makes of it. */
static bool guest_has(DbtVcpu *v, const ZydisDecodedInstruction *zi)
{
    int feature = x86_isa_feature(zi);
    return feature != X86_ISA_NEVER && (feature < 0 || x86_has(v->cpu, feature));
}

/* Encodings that mean another instruction where a feature is missing: F3 BSF is TZCNT to a host that has it. */
static bool host_reads_it_otherwise(const Insn *insn, const ZydisDecodedInstruction *zi)
{
    return insn->rep == 0xf3 && (zi->mnemonic == ZYDIS_MNEMONIC_BSF || zi->mnemonic == ZYDIS_MNEMONIC_BSR);
}

static bool needs_c(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_CLWB: case ZYDIS_MNEMONIC_CLFLUSHOPT: /* 66 is part of the opcode, which emitting anew would drop */
    /* masked-out elements must not fault */
    case ZYDIS_MNEMONIC_VMASKMOVPS: case ZYDIS_MNEMONIC_VMASKMOVPD: case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
        return true;
    default:
        return false;
    }
}

static OpClass *class_slot(DbtVcpu *v, uint32_t key)
{
    uint32_t i = key_hash(key);
    while (v->classes[i].key != UINT32_MAX)
        i = (i + 1) & v->classes_mask;
    v->n_classes++;
    return &v->classes[i];
}

int dbt_class_learn(DbtVcpu *v, const Insn *insn, const uint8_t *p, unsigned max, unsigned bits, unsigned imm_pos,
                    const OpClass **out)
{
    ZydisDecoder decoder;
    x86_decoder_init(v->cpu, bits, &decoder);
    ZydisDecodedInstruction zi;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    ZyanStatus status = x86_decode(&decoder, p, max > 15 ? 15 : max, &zi, ops);
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return max >= 15 ? -1 : 0;
    if (!ZYAN_SUCCESS(status) || zi.length < imm_pos || zi.length - imm_pos > 8 || !guest_has(v, &zi))
        return -1;
    OpClass cls = { .key = class_key(insn, bits), .kind = T_GEN, .imm_len = zi.length - imm_pos, .mnemonic = zi.mnemonic };
    for (unsigned i = 0; i < zi.operand_count; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
            learn_register(&cls, &ops[i]);
        else if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
            learn_memory(&cls, &ops[i]);
        else if (ops[i].type == ZYDIS_OPERAND_TYPE_POINTER)
            cls.kind = T_EXEC;
    }
    if (insn->vex && (cls.vec || zi.mnemonic == ZYDIS_MNEMONIC_VZEROUPPER || zi.mnemonic == ZYDIS_MNEMONIC_VZEROALL))
        cls.ext = EXT_AVX;
    cls.vec |= insn->vex || zi.mnemonic == ZYDIS_MNEMONIC_ADCX; /* 66 is part of the opcode */
    if (insn->map == 0 && ((insn->opcode & 0xf8) == 0xd8 || insn->opcode == 0x9b))
        cls.ext = EXT_FPU;
    if (zi.mnemonic == ZYDIS_MNEMONIC_EMMS)
        cls.ext = EXT_MMX;
    if (zi.mnemonic == ZYDIS_MNEMONIC_FXSAVE || zi.mnemonic == ZYDIS_MNEMONIC_FXSAVE64 ||
        zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR || zi.mnemonic == ZYDIS_MNEMONIC_FXRSTOR64) {
        cls.ext = EXT_FPU;
        cls.mem_size = 512;
    }
    learn_kind(&cls, insn, &zi);
    if (host_reads_it_otherwise(insn, &zi) || needs_c(zi.mnemonic))
        cls.kind = T_EXEC;
    learn_flags(&cls, &zi);
    OpClass *slot = class_slot(v, cls.key);
    *slot = cls;
    *out = slot;
    return 1;
}
