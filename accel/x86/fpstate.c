/*
 * Images of the x87, SSE and AVX state in guest memory: FXSAVE, XSAVE and their kin, the x87 environment. The guest's
 * registers are in
 * st.xsave, the host's standard format, while these run.
 *
 * Source: SDM vol. 1 ch. 8.1.10, 10.5, 13; vol. 2 of each instruction. FCS and FDS are stored as zero, as processors
 * do that report
 * CPUID.7.EBX[13].
 */
#include "accel/x86/internal.h"

#include "accel/x86/features.h"

#define XSTATE_X87 1u
#define XSTATE_SSE 2u
#define XSTATE_AVX 4u
#define XSTATE_BV 512
#define XCOMP_BV 520
#define XCOMP_COMPACT (1ull << 63)
#define MXCSR_MASK 0xffffu
#define MXCSR_INIT 0x1f80u
#define FCW_INIT 0x37fu
#define AVX_SIZE 256u

static uint8_t *fp(X86Cpu *cpu) { return cpu->st.xsave; }

static uint64_t get_bv(X86Cpu *cpu) { return ld64(fp(cpu) + XSTATE_BV); }
static void set_bv(X86Cpu *cpu, uint64_t bv) { st64(fp(cpu) + XSTATE_BV, bv); }

static void copy_bytes(void *to, const void *from, unsigned len)
{
    for (unsigned i = 0; i < len; i += 8)
        st64((uint8_t *)to + i, ld64((const uint8_t *)from + i));
}

static void clear_bytes(void *to, unsigned len)
{
    for (unsigned i = 0; i < len; i += 8)
        st64((uint8_t *)to + i, 0);
}

/* ---- availability ---- */

static void check_x87(X86Cpu *cpu)
{
    if (cpu->st.cr0 & (CR0_EM | CR0_TS))
        x86_fault(cpu, EXC_NM, 0);
}

/*
 * Pending unmasked x87 exception: #MF with CR0.NE. Without NE the interrupt goes through FERR#, which PCs since the
 * 486 replace.
 */
static void check_x87_pending(X86Cpu *cpu)
{
    if (ld16(fp(cpu) + XSAVE_FSW) & 0x80)
        x86_fault(cpu, EXC_MF, 0);
}

static void check_sse(X86Cpu *cpu)
{
    if ((cpu->st.cr0 & CR0_EM) || !(cpu->st.cr4 & CR4_OSFXSR))
        x86_fault(cpu, EXC_UD, 0);
    if (cpu->st.cr0 & CR0_TS)
        x86_fault(cpu, EXC_NM, 0);
}

static void check_xsave(X86Cpu *cpu)
{
    if (!(cpu->st.cr4 & CR4_OSXSAVE))
        x86_fault(cpu, EXC_UD, 0);
    if (cpu->st.cr0 & CR0_TS)
        x86_fault(cpu, EXC_NM, 0);
}

static uint64_t aligned_operand(X86Cpu *cpu, const Insn *in, unsigned size, unsigned align, unsigned access)
{
    uint64_t lin = x86_op_lin(cpu, in, 0, size, access);
    if (lin & (align - 1))
        x86_fault(cpu, EXC_GP, 0);
    return lin;
}

/* ---- FXSAVE ---- */

/* The 24 bytes of x87 control data; without REX.W the pointers are 32 bits with (zero) selectors. */
static void put_control(X86Cpu *cpu, const Insn *in, uint8_t *image)
{
    copy_bytes(image, fp(cpu), 24);
    if (in->osz != 8) {
        st32(image + 12, 0);
        st32(image + 20, 0);
    }
    image[5] = 0;
}

static void get_control(X86Cpu *cpu, const Insn *in, const uint8_t *image)
{
    uint8_t *to = fp(cpu);
    copy_bytes(to, image, 24);
    to[5] = 0;
    if (in->osz != 8) {
        st32(to + 12, 0);
        st32(to + 20, 0);
    }
    /* ES and B follow from the flags and masks */
    uint16_t fsw = ld16(to + XSAVE_FSW) & 0x7f7f, fcw = ld16(to + XSAVE_FCW) & 0x1f7f;
    if (fsw & ~fcw & 0x3f)
        fsw |= 0x8080;
    st16(to + XSAVE_FSW, fsw);
    st16(to + XSAVE_FCW, fcw | 0x40);
}

/* Sixteen XMM registers exist in 64-bit mode, eight elsewhere. */
static unsigned xmm_bytes(const Insn *in) { return in->bits == 64 ? 256 : 128; }

static unsigned exec_fxsave(X86Cpu *cpu, const Insn *in)
{
    if (!x86_has(cpu, X86_FEAT_FXSR))
        x86_fault(cpu, EXC_UD, 0);
    check_x87(cpu);
    uint64_t lin = aligned_operand(cpu, in, 512, 16, X86_WRITE);
    x86_fpu_out(cpu);
    uint8_t image[416];
    put_control(cpu, in, image);
    st32(image + XSAVE_MXCSR, ld32(fp(cpu) + XSAVE_MXCSR));
    st32(image + XSAVE_MXCSR + 4, MXCSR_MASK);
    copy_bytes(image + XSAVE_ST0, fp(cpu) + XSAVE_ST0, 128);
    copy_bytes(image + XSAVE_XMM0, fp(cpu) + XSAVE_XMM0, xmm_bytes(in));
    x86_st_bytes(cpu, lin, image, XSAVE_XMM0 + xmm_bytes(in), 0);
    return 0;
}

static unsigned exec_fxrstor(X86Cpu *cpu, const Insn *in)
{
    if (!x86_has(cpu, X86_FEAT_FXSR))
        x86_fault(cpu, EXC_UD, 0);
    check_x87(cpu);
    uint64_t lin = aligned_operand(cpu, in, 512, 16, X86_READ);
    x86_fpu_out(cpu);
    uint8_t image[416];
    x86_ld_bytes(cpu, lin, image, XSAVE_XMM0 + xmm_bytes(in), X86_READ);
    uint32_t mxcsr = ld32(image + XSAVE_MXCSR);
    if (mxcsr & ~MXCSR_MASK)
        x86_fault(cpu, EXC_GP, 0);
    get_control(cpu, in, image);
    st32(fp(cpu) + XSAVE_MXCSR, mxcsr);
    copy_bytes(fp(cpu) + XSAVE_ST0, image + XSAVE_ST0, 128);
    copy_bytes(fp(cpu) + XSAVE_XMM0, image + XSAVE_XMM0, xmm_bytes(in));
    set_bv(cpu, get_bv(cpu) | XSTATE_X87 | XSTATE_SSE);
    return 0;
}

/* ---- XSAVE ---- */

static uint64_t requested(X86Cpu *cpu)
{
    const uint64_t *gpr = cpu->st.gpr;
    return ((gpr[R_RDX] << 32) | (uint32_t)gpr[R_RAX]) & cpu->st.xcr0;
}

static bool all_zero(const uint8_t *p, unsigned len)
{
    for (unsigned i = 0; i < len; i += 8)
        if (ld64(p + i))
            return false;
    return true;
}

/* Components that are not in their initial state; those outside XCR0 can't be seen. */
static uint64_t in_use(X86Cpu *cpu)
{
    const uint8_t *x = fp(cpu);
    uint64_t used = 0;
    if (ld16(x + XSAVE_FCW) != FCW_INIT || ld16(x + XSAVE_FSW) || x[XSAVE_FTW] || !all_zero(x + XSAVE_FIP, 16) ||
        !all_zero(x + XSAVE_ST0, 128))
        used |= XSTATE_X87;
    if (!all_zero(x + XSAVE_XMM0, 256))
        used |= XSTATE_SSE;
    if (!all_zero(x + XSAVE_YMMH, AVX_SIZE))
        used |= XSTATE_AVX;
    return used & cpu->st.xcr0;
}

uint64_t x86_xinuse(X86Cpu *cpu);
uint64_t x86_xinuse(X86Cpu *cpu)
{
    x86_fpu_out(cpu);
    return in_use(cpu);
}

/* Writes the components in `save`; mxcsr says whether MXCSR is written. */
static void store_components(X86Cpu *cpu, const Insn *in, uint64_t lin, uint64_t save, bool mxcsr)
{
    const uint8_t *x = fp(cpu);
    uint8_t image[24];
    if (save & XSTATE_X87) {
        put_control(cpu, in, image);
        x86_st_bytes(cpu, lin, image, 24, 0);
        x86_st_bytes(cpu, lin + XSAVE_ST0, x + XSAVE_ST0, 128, 0);
    }
    if (mxcsr) {
        st32(image, ld32(x + XSAVE_MXCSR));
        st32(image + 4, MXCSR_MASK);
        x86_st_bytes(cpu, lin + XSAVE_MXCSR, image, 8, 0);
    }
    if (save & XSTATE_SSE)
        x86_st_bytes(cpu, lin + XSAVE_XMM0, x + XSAVE_XMM0, xmm_bytes(in), 0);
    if (save & XSTATE_AVX)
        x86_st_bytes(cpu, lin + XSAVE_YMMH, x + XSAVE_YMMH, in->bits == 64 ? AVX_SIZE : AVX_SIZE / 2, 0);
}

typedef enum { SAVE_PLAIN, SAVE_OPT, SAVE_COMPACT } SaveKind;

/* Standard and compacted format agree on offsets: AVX is the only extended component. */
static unsigned save(X86Cpu *cpu, const Insn *in, SaveKind kind)
{
    check_xsave(cpu);
    uint64_t rfbm = requested(cpu);
    unsigned size = rfbm & XSTATE_AVX ? XSAVE_YMMH + AVX_SIZE : XSAVE_YMMH;
    uint64_t lin = aligned_operand(cpu, in, size, 64, X86_WRITE);
    x86_probe(cpu, lin, size, X86_WRITE);
    x86_fpu_out(cpu);
    uint64_t used = in_use(cpu);
    if (kind == SAVE_COMPACT && ld32(fp(cpu) + XSAVE_MXCSR) != MXCSR_INIT)
        used |= XSTATE_SSE & cpu->st.xcr0;
    uint64_t components = kind == SAVE_PLAIN ? rfbm : rfbm & used;
    bool mxcsr = kind == SAVE_COMPACT ? components & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_AVX);
    store_components(cpu, in, lin, components, mxcsr);
    if (kind == SAVE_COMPACT) {
        x86_st(cpu, lin + XSTATE_BV, rfbm & used, 8, 0);
        x86_st(cpu, lin + XCOMP_BV, rfbm | XCOMP_COMPACT, 8, 0);
    } else {
        uint64_t old = x86_ld(cpu, lin + XSTATE_BV, 8, X86_WRITE);
        x86_st(cpu, lin + XSTATE_BV, (old & ~rfbm) | (rfbm & used), 8, 0);
    }
    return 0;
}

static unsigned exec_xsave(X86Cpu *cpu, const Insn *in) { return save(cpu, in, SAVE_PLAIN); }

static unsigned exec_xsaveopt(X86Cpu *cpu, const Insn *in)
{
    if (!x86_has(cpu, X86_FEAT_XSAVEOPT))
        x86_fault(cpu, EXC_UD, 0);
    return save(cpu, in, SAVE_OPT);
}

static unsigned exec_xsavec(X86Cpu *cpu, const Insn *in)
{
    if (!x86_has(cpu, X86_FEAT_XSAVEC))
        x86_fault(cpu, EXC_UD, 0);
    return save(cpu, in, SAVE_COMPACT);
}

/* Header of an area to restore; #GP when it breaks a rule of SDM vol. 1 13.8. */
static void check_header(X86Cpu *cpu, const uint8_t *header, bool *compact)
{
    uint64_t bv = ld64(header), comp = ld64(header + 8);
    *compact = comp & XCOMP_COMPACT;
    bool bad;
    if (*compact)
        bad = !x86_has(cpu, X86_FEAT_XSAVEC) || (comp & ~XCOMP_COMPACT & ~cpu->st.xcr0) || (bv & ~comp) ||
              !all_zero(header + 16, 48);
    else
        bad = (bv & ~cpu->st.xcr0) || !all_zero(header + 8, 16);
    if (bad)
        x86_fault(cpu, EXC_GP, 0);
}

static void init_component(X86Cpu *cpu, uint64_t component)
{
    uint8_t *x = fp(cpu);
    if (component == XSTATE_X87) {
        clear_bytes(x, 24);
        st16(x + XSAVE_FCW, FCW_INIT);
        clear_bytes(x + XSAVE_ST0, 128);
    } else if (component == XSTATE_SSE) {
        clear_bytes(x + XSAVE_XMM0, 256);
    } else {
        clear_bytes(x + XSAVE_YMMH, AVX_SIZE);
    }
}

static unsigned exec_xrstor(X86Cpu *cpu, const Insn *in)
{
    check_xsave(cpu);
    uint64_t rfbm = requested(cpu);
    unsigned size = rfbm & XSTATE_AVX ? XSAVE_YMMH + AVX_SIZE : XSAVE_YMMH;
    uint64_t lin = aligned_operand(cpu, in, size, 64, X86_READ);
    uint8_t image[XSAVE_YMMH + AVX_SIZE];
    bool compact;
    x86_ld_bytes(cpu, lin, image, size, X86_READ);
    check_header(cpu, image + XSTATE_BV, &compact);
    uint64_t bv = ld64(image + XSTATE_BV), load = rfbm & bv;
    uint32_t mxcsr = ld32(image + XSAVE_MXCSR);
    bool load_mxcsr = compact ? load & XSTATE_SSE : rfbm & (XSTATE_SSE | XSTATE_AVX);
    if (load_mxcsr && (mxcsr & ~MXCSR_MASK))
        x86_fault(cpu, EXC_GP, 0);
    x86_fpu_out(cpu);
    uint8_t *x = fp(cpu);
    for (unsigned bit = XSTATE_X87; bit <= XSTATE_AVX; bit <<= 1)
        if (rfbm & ~load & bit)
            init_component(cpu, bit);
    if (load & XSTATE_X87) {
        get_control(cpu, in, image);
        copy_bytes(x + XSAVE_ST0, image + XSAVE_ST0, 128);
    }
    if (load & XSTATE_SSE)
        copy_bytes(x + XSAVE_XMM0, image + XSAVE_XMM0, xmm_bytes(in));
    if (load & XSTATE_AVX)
        copy_bytes(x + XSAVE_YMMH, image + XSAVE_YMMH, in->bits == 64 ? AVX_SIZE : AVX_SIZE / 2);
    if (load_mxcsr)
        st32(x + XSAVE_MXCSR, mxcsr);
    else if (compact && (rfbm & XSTATE_SSE))
        st32(x + XSAVE_MXCSR, MXCSR_INIT);
    set_bv(cpu, XSTATE_X87 | XSTATE_SSE | XSTATE_AVX);
    return 0;
}

static unsigned exec_xgetbv(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->cr4 & CR4_OSXSAVE))
        x86_fault(cpu, EXC_UD, 0);
    uint32_t index = st->gpr[R_RCX];
    if (index > 1 || (index == 1 && !x86_has(cpu, X86_FEAT_XGETBV1)))
        x86_fault(cpu, EXC_GP, 0);
    uint64_t value = index ? x86_xinuse(cpu) : st->xcr0;
    st->gpr[R_RAX] = (uint32_t)value;
    st->gpr[R_RDX] = value >> 32;
    return 0;
}

static unsigned exec_xsetbv(X86Cpu *cpu, const Insn *in)
{
    X86State *st = &cpu->st;
    if (!(st->cr4 & CR4_OSXSAVE))
        x86_fault(cpu, EXC_UD, 0);
    uint64_t value = (st->gpr[R_RDX] << 32) | (uint32_t)st->gpr[R_RAX];
    uint64_t allowed = XSTATE_X87 | XSTATE_SSE | (x86_has(cpu, X86_FEAT_AVX) ? XSTATE_AVX : 0);
    bool avx_alone = (value & (XSTATE_AVX | XSTATE_SSE)) == XSTATE_AVX;
    if (st->cpl != 0 || (uint32_t)st->gpr[R_RCX] != 0 || !(value & XSTATE_X87) || (value & ~allowed) || avx_alone)
        x86_fault(cpu, EXC_GP, 0);
    st->xcr0 = value;
    x86_mode_changed(cpu);
    return X86_EXEC_MODE | X86_EXEC_END;
}

/* ---- MXCSR ---- */

static unsigned exec_ldmxcsr(X86Cpu *cpu, const Insn *in)
{
    check_sse(cpu);
    uint32_t value = x86_op_read(cpu, in, 0);
    if (value & ~MXCSR_MASK)
        x86_fault(cpu, EXC_GP, 0);
    x86_fpu_out(cpu);
    st32(fp(cpu) + XSAVE_MXCSR, value);
    set_bv(cpu, get_bv(cpu) | XSTATE_SSE);
    return 0;
}

static unsigned exec_stmxcsr(X86Cpu *cpu, const Insn *in)
{
    check_sse(cpu);
    x86_fpu_out(cpu);
    x86_op_write(cpu, in, 0, ld32(fp(cpu) + XSAVE_MXCSR));
    return 0;
}

/* ---- x87 environment ---- */

/* Two-bit tags from the one-bit ones and the register contents; SDM vol. 1 8.1.7. */
static uint16_t full_tags(X86Cpu *cpu)
{
    const uint8_t *x = fp(cpu);
    unsigned top = (ld16(x + XSAVE_FSW) >> 11) & 7;
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        unsigned tag = 3;
        if (x[XSAVE_FTW] >> i & 1) {
            const uint8_t *st = x + XSAVE_ST0 + ((i - top) & 7) * 16;
            uint64_t mantissa = ld64(st);
            unsigned exponent = ld16(st + 8) & 0x7fff;
            if (exponent == 0x7fff)
                tag = 2;
            else if (exponent == 0)
                tag = mantissa ? 2 : 1;
            else
                tag = mantissa >> 63 ? 0 : 2;
        }
        tags |= tag << (i * 2);
    }
    return tags;
}

static void set_full_tags(X86Cpu *cpu, uint16_t tags)
{
    uint8_t abridged = 0;
    for (unsigned i = 0; i < 8; i++)
        if ((tags >> (i * 2) & 3) != 3)
            abridged |= 1u << i;
    fp(cpu)[XSAVE_FTW] = abridged;
}

/* Real-address and v8086 images pack 20-bit (or 32-bit) linear pointers. */
static bool real_format(const X86Cpu *cpu) { return !x86_protected(&cpu->st); }

static unsigned put_environment(X86Cpu *cpu, const Insn *in, uint8_t *image)
{
    const uint8_t *x = fp(cpu);
    uint32_t fip = ld32(x + XSAVE_FIP), fdp = ld32(x + XSAVE_FDP), fop = ld16(x + XSAVE_FOP) & 0x7ff;
    bool real = real_format(cpu);
    uint16_t words[3] = { ld16(x + XSAVE_FCW), ld16(x + XSAVE_FSW), full_tags(cpu) };
    if (in->osz == 2) {
        for (unsigned i = 0; i < 3; i++)
            st16(image + i * 2, words[i]);
        st16(image + 6, fip);
        st16(image + 8, real ? (fip >> 16 & 0xf) << 12 | fop : 0);
        st16(image + 10, fdp);
        st16(image + 12, real ? (fdp >> 16 & 0xf) << 12 : 0);
        return 14;
    }
    for (unsigned i = 0; i < 3; i++)
        st32(image + i * 4, 0xffff0000u | words[i]);
    st32(image + 12, real ? 0xffff0000u | (fip & 0xffff) : fip);
    st32(image + 16, real ? (fip >> 16) << 12 | fop : fop << 16);
    st32(image + 20, real ? 0xffff0000u | (fdp & 0xffff) : fdp);
    st32(image + 24, real ? (fdp >> 16) << 12 : 0xffff0000u);
    return 28;
}

/* The area keeps registers in stack order: a new TOP that leaves the registers where they are turns the order. */
static void turn_stack(X86Cpu *cpu, unsigned old_top, unsigned new_top)
{
    uint8_t *x = fp(cpu);
    uint64_t image[16];
    copy_bytes(image, x + XSAVE_ST0, 128);
    for (unsigned i = 0; i < 8; i++)
        copy_bytes(x + XSAVE_ST0 + i * 16, &image[((i + new_top - old_top) & 7) * 2], 16);
}

static void get_environment(X86Cpu *cpu, const Insn *in, const uint8_t *image)
{
    uint8_t *x = fp(cpu);
    bool real = real_format(cpu);
    unsigned step = in->osz == 2 ? 2 : 4;
    uint16_t fcw = ld16(image), fsw = ld16(image + step), tags = ld16(image + 2 * step);
    uint32_t fip, fdp, fop = 0;
    if (step == 2) {
        fip = ld16(image + 6);
        fdp = ld16(image + 10);
        if (real) {
            fip |= (uint32_t)(ld16(image + 8) >> 12) << 16;
            fdp |= (uint32_t)(ld16(image + 12) >> 12) << 16;
            fop = ld16(image + 8) & 0x7ff;
        }
    } else if (real) {
        fip = ld16(image + 12) | (ld32(image + 16) >> 12 & 0xffff) << 16;
        fop = ld32(image + 16) & 0x7ff;
        fdp = ld16(image + 20) | (ld32(image + 24) >> 12 & 0xffff) << 16;
    } else {
        fip = ld32(image + 12);
        fop = ld32(image + 16) >> 16 & 0x7ff;
        fdp = ld32(image + 20);
    }
    fcw = (fcw & 0x1f7f) | 0x40;
    fsw &= 0x7f7f;
    if (fsw & ~fcw & 0x3f)
        fsw |= 0x8080;
    turn_stack(cpu, ld16(x + XSAVE_FSW) >> 11 & 7, fsw >> 11 & 7);
    st16(x + XSAVE_FCW, fcw);
    st16(x + XSAVE_FSW, fsw);
    st16(x + XSAVE_FOP, fop);
    st64(x + XSAVE_FIP, fip);
    st64(x + XSAVE_FDP, fdp);
    set_full_tags(cpu, tags);
    set_bv(cpu, get_bv(cpu) | XSTATE_X87);
}

static unsigned exec_fnstenv(X86Cpu *cpu, const Insn *in)
{
    uint8_t image[28];
    check_x87(cpu);
    x86_fpu_out(cpu);
    unsigned size = put_environment(cpu, in, image);
    x86_st_bytes(cpu, x86_op_lin(cpu, in, 0, size, X86_WRITE), image, size, 0);
    /* all exceptions are masked afterwards */
    st16(fp(cpu) + XSAVE_FCW, ld16(fp(cpu) + XSAVE_FCW) | 0x3f);
    st16(fp(cpu) + XSAVE_FSW, ld16(fp(cpu) + XSAVE_FSW) & 0x7f7f);
    return 0;
}

static unsigned exec_fldenv(X86Cpu *cpu, const Insn *in)
{
    uint8_t image[28];
    unsigned size = in->osz == 2 ? 14 : 28;
    check_x87(cpu);
    x86_fpu_out(cpu);
    check_x87_pending(cpu);
    x86_ld_bytes(cpu, x86_op_lin(cpu, in, 0, size, X86_READ), image, size, X86_READ);
    get_environment(cpu, in, image);
    return 0;
}

static unsigned exec_fnsave(X86Cpu *cpu, const Insn *in)
{
    uint8_t image[28 + 80 + 8];
    check_x87(cpu);
    x86_fpu_out(cpu);
    unsigned size = put_environment(cpu, in, image);
    for (unsigned i = 0; i < 8; i++, size += 10) {
        const uint8_t *st = fp(cpu) + XSAVE_ST0 + i * 16;
        st64(image + size, ld64(st));
        st16(image + size + 8, ld16(st + 8));
    }
    x86_st_bytes(cpu, x86_op_lin(cpu, in, 0, size, X86_WRITE), image, size, 0);
    init_component(cpu, XSTATE_X87);
    set_bv(cpu, get_bv(cpu) | XSTATE_X87);
    return 0;
}

static unsigned exec_frstor(X86Cpu *cpu, const Insn *in)
{
    uint8_t image[28 + 80 + 8];
    unsigned env = in->osz == 2 ? 14 : 28, size = env + 80;
    check_x87(cpu);
    x86_fpu_out(cpu);
    check_x87_pending(cpu);
    x86_ld_bytes(cpu, x86_op_lin(cpu, in, 0, size, X86_READ), image, size, X86_READ);
    get_environment(cpu, in, image);
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *st = fp(cpu) + XSAVE_ST0 + i * 16;
        st64(st, ld64(image + env + i * 10));
        st64(st + 8, ld16(image + env + i * 10 + 8));
    }
    return 0;
}

static unsigned exec_fwait(X86Cpu *cpu, const Insn *in)
{
    if ((cpu->st.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
        x86_fault(cpu, EXC_NM, 0);
    x86_fpu_out(cpu);
    check_x87_pending(cpu);
    return 0;
}

void x86_register_fpstate(ExecFunc **t)
{
    static const struct { ZydisMnemonic mnemonic; ExecFunc *func; } rows[] = {
        { ZYDIS_MNEMONIC_FXSAVE, exec_fxsave }, { ZYDIS_MNEMONIC_FXSAVE64, exec_fxsave },
        { ZYDIS_MNEMONIC_FXRSTOR, exec_fxrstor }, { ZYDIS_MNEMONIC_FXRSTOR64, exec_fxrstor },
        { ZYDIS_MNEMONIC_XSAVE, exec_xsave }, { ZYDIS_MNEMONIC_XSAVE64, exec_xsave },
        { ZYDIS_MNEMONIC_XSAVEOPT, exec_xsaveopt }, { ZYDIS_MNEMONIC_XSAVEOPT64, exec_xsaveopt },
        { ZYDIS_MNEMONIC_XSAVEC, exec_xsavec }, { ZYDIS_MNEMONIC_XSAVEC64, exec_xsavec },
        { ZYDIS_MNEMONIC_XRSTOR, exec_xrstor }, { ZYDIS_MNEMONIC_XRSTOR64, exec_xrstor },
        { ZYDIS_MNEMONIC_XGETBV, exec_xgetbv }, { ZYDIS_MNEMONIC_XSETBV, exec_xsetbv },
        { ZYDIS_MNEMONIC_LDMXCSR, exec_ldmxcsr }, { ZYDIS_MNEMONIC_STMXCSR, exec_stmxcsr },
        { ZYDIS_MNEMONIC_VLDMXCSR, exec_ldmxcsr }, { ZYDIS_MNEMONIC_VSTMXCSR, exec_stmxcsr },
        { ZYDIS_MNEMONIC_FNSTENV, exec_fnstenv }, { ZYDIS_MNEMONIC_FLDENV, exec_fldenv },
        { ZYDIS_MNEMONIC_FNSAVE, exec_fnsave }, { ZYDIS_MNEMONIC_FRSTOR, exec_frstor },
        { ZYDIS_MNEMONIC_FWAIT, exec_fwait },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        t[rows[i].mnemonic] = rows[i].func;
}
