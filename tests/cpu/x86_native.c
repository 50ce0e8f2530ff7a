/*
 * Computing instructions through the single-step path: registers, RAM, register windows, page boundaries, exceptions.
 */
#include <string.h>

#include "tests/cpu/x86_rig.h"

static Rig *rig;
#define GPR(r) (rig->st->gpr[R_##r])

static void run(const uint8_t *code, size_t len)
{
    rig_put(rig, 0x1000, code, len);
    rig->st->rip = 0x1000;
    rig_step(rig, 1);
}
#define RUN(...) run((const uint8_t[]) { __VA_ARGS__ }, sizeof((const uint8_t[]) { __VA_ARGS__ }))

static void test_integer(void)
{
    rig_long(rig, 0x1000);
    GPR(RAX) = 0x7fffffff;
    GPR(RSP) = 1;
    RUN(0x01, 0xe0); /* add eax, esp */
    g_assert_cmphex(GPR(RAX), ==, 0x80000000);
    g_assert_cmphex(rig->st->rflags & FL_ARITH, ==, FL_OF | FL_SF | FL_AF | FL_PF);
    GPR(RSP) = 0x7000;
    RUN(0x48, 0x83, 0xec, 0x28); /* sub rsp, 28h */
    g_assert_cmphex(GPR(RSP), ==, 0x6fd8);
    GPR(RAX) = 0x1234;
    RUN(0x00, 0xe0); /* add al, ah */
    g_assert_cmphex(GPR(RAX), ==, 0x1246);
    GPR(RBX) = 0x20000;
    GPR(RCX) = 5;
    st64(rig->ram + 0x20010, 10);
    RUN(0xf0, 0x48, 0x0f, 0xc1, 0x4b, 0x10); /* lock xadd [rbx+16], rcx */
    g_assert_cmpuint(GPR(RCX), ==, 10);
    g_assert_cmpuint(ld64(rig->ram + 0x20010), ==, 15);
    GPR(RAX) = 0x123456789ull;
    GPR(RDX) = 0;
    GPR(RSI) = 0x1000;
    RUN(0x48, 0xf7, 0xf6); /* div rsi */
    g_assert_cmphex(GPR(RAX), ==, 0x123456);
    g_assert_cmphex(GPR(RDX), ==, 0x789);
    /* bit string: bit 70 of [rbx] is in the next quadword */
    GPR(RCX) = 70;
    RUN(0x48, 0x0f, 0xab, 0x0b); /* bts [rbx], rcx */
    g_assert_cmphex(ld64(rig->ram + 0x20008), ==, 0x40);
    g_assert_cmpuint(GPR(RCX), ==, 70);
    GPR(RCX) = (uint64_t)-1;
    RUN(0x48, 0x0f, 0xab, 0x0b);
    g_assert_cmphex(ld64(rig->ram + 0x1fff8), ==, 1ull << 63);
}

static void test_window(void)
{
    rig_long(rig, 0x1000);
    GPR(RBX) = RIG_MMIO;
    rig->mmio_value = 0x0f;
    RUN(0x80, 0x0b, 0xf0); /* or byte [rbx], f0 */
    g_assert_cmphex(rig->mmio_last, ==, 0xff);
    g_assert_cmpuint(rig->mmio_writes, ==, 1);
    rig->mmio_value = 0x11223344;
    RUN(0x8b, 0x03); /* mov eax, [rbx] */
    g_assert_cmphex(GPR(RAX), ==, 0x11223344);
    RUN(0xf3, 0x0f, 0x10, 0x0b); /* movss xmm1, [rbx] */
    g_assert_cmphex(ld32(rig->st->xsave + XSAVE_XMM0 + 16), ==, 0x11223344);
    GPR(RSI) = 0x20000;
    GPR(RDI) = RIG_MMIO;
    GPR(RCX) = 3;
    st32(rig->ram + 0x20008, 0x55);
    rig->mmio_writes = 0;
    RUN(0xf3, 0xa5); /* rep movsd */
    g_assert_cmpuint(rig->mmio_writes, ==, 3);
    g_assert_cmphex(rig->mmio_last, ==, 0x55);
    g_assert_cmpuint(GPR(RCX), ==, 0);
}

static void test_vector(void)
{
    rig_long(rig, 0x1000);
    GPR(RBX) = 0x20ff8; /* crosses a page */
    for (unsigned i = 0; i < 32; i++)
        rig->ram[0x20ff8 + i] = i;
    RUN(0xc5, 0xfe, 0x6f, 0x13); /* vmovdqu ymm2, [rbx] */
    g_assert_cmpmem(rig->st->xsave + XSAVE_XMM0 + 32, 16, rig->ram + 0x20ff8, 16);
    g_assert_cmpmem(rig->st->xsave + XSAVE_YMMH + 32, 16, rig->ram + 0x20ff8 + 16, 16);
    RUN(0xc5, 0xed, 0xfe, 0xda); /* vpaddd ymm3, ymm2, ymm2 */
    g_assert_cmphex(ld32(rig->st->xsave + XSAVE_YMMH + 48), ==, 0x13121110 * 2);
    rig_gate(rig, EXC_GP, RIG_CODE64, 0x9000, 0x8e, 0);
    GPR(RBX) = 0x20008;
    RUN(0x66, 0x0f, 0x6f, 0x03); /* movdqa, unaligned */
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

static void test_simd_exception(void)
{
    rig_long(rig, 0x1000);
    rig_gate(rig, EXC_XM, RIG_CODE64, 0x9000, 0x8e, 0);
    uint8_t *x = rig->st->xsave;
    st32(x + XSAVE_XMM0, 0x3f800000);
    RUN(0xf3, 0x0f, 0x5e, 0xc1); /* divss xmm0, xmm1: 1/0 masked */
    g_assert_cmphex(ld32(x + XSAVE_XMM0), ==, 0x7f800000);
    g_assert_cmphex(ld32(x + XSAVE_MXCSR), ==, 0x1f84);
    st32(x + XSAVE_XMM0, 0x3f800000);
    st32(x + XSAVE_MXCSR, 0x1d80); /* ZM clear */
    RUN(0xf3, 0x0f, 0x5e, 0xc1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(ld32(x + XSAVE_XMM0), ==, 0x3f800000);
    g_assert_cmphex(ld32(x + XSAVE_MXCSR), ==, 0x1d84);
    rig_long(rig, 0x1000);
    rig_gate(rig, EXC_NM, RIG_CODE64, 0x9000, 0x8e, 0);
    rig->st->cr0 |= CR0_TS;
    RUN(0xf3, 0x0f, 0x5e, 0xc1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

static void test_x87(void)
{
    rig_long(rig, 0x1000);
    RUN(0xdb, 0xe3); /* fninit */
    g_assert_cmphex(ld16(rig->st->xsave), ==, 0x37f);
    RUN(0xd9, 0xe8); /* fld1 */
    RUN(0xd9, 0xeb); /* fldpi */
    GPR(RBX) = 0x20000;
    RUN(0xd9, 0x33); /* fnstenv [rbx] */
    g_assert_cmphex(ld16(rig->ram + 0x20000), ==, 0x37f);
    g_assert_cmphex(ld16(rig->ram + 0x20004), ==, 0x3000); /* top 6 */
    g_assert_cmphex(ld16(rig->ram + 0x20008), ==, 0x0fff); /* two valid */
    RUN(0xdb, 0x3b); /* fstp m80 */
    g_assert_cmphex(ld64(rig->ram + 0x20000), ==, 0xc90fdaa22168c235ull);
    g_assert_cmphex(ld16(rig->ram + 0x20008), ==, 0x4000);
    /* unmasked: pending until the next waiting instruction */
    rig_gate(rig, EXC_MF, RIG_CODE64, 0x9000, 0x8e, 0);
    st16(rig->ram + 0x20100, 0x340);
    GPR(RBX) = 0x20100;
    RUN(0xd9, 0x2b); /* fldcw */
    RUN(0xd9, 0xee); /* fldz */
    RUN(0xde, 0xf9); /* fdivp: 1/0 */
    g_assert_cmphex(rig->st->rip, ==, 0x1002);
    RUN(0xd9, 0xe8);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

static void test_xsave(void)
{
    rig_long(rig, 0x1000);
    for (unsigned i = 0; i < 256; i++)
        rig->st->xsave[XSAVE_XMM0 + i] = i;
    GPR(RAX) = 7;
    GPR(RBX) = 0x20000;
    RUN(0x0f, 0xae, 0x23); /* xsave [rbx] */
    g_assert_cmpmem(rig->ram + 0x20000 + 160, 256, rig->st->xsave + XSAVE_XMM0, 256);
    g_assert_cmphex(ld64(rig->ram + 0x20200) & 2, ==, 2);
    memset(rig->st->xsave + XSAVE_XMM0, 0, 256);
    RUN(0x0f, 0xae, 0x2b); /* xrstor */
    g_assert_cmphex(rig->st->xsave[XSAVE_XMM0 + 77], ==, 77);
    rig_gate(rig, EXC_GP, RIG_CODE64, 0x9000, 0x8e, 0);
    st64(rig->ram + 0x20200, 8);
    RUN(0x0f, 0xae, 0x2b);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    st64(rig->ram + 0x20200, 0);
    st32(rig->ram + 0x20018, 0x1f80);
    RUN(0x0f, 0xae, 0x2b);
    g_assert_cmphex(rig->st->xsave[XSAVE_XMM0 + 77], ==, 0);
}

static void test_gather(void)
{
    rig_long(rig, 0x1000);
    uint8_t *x = rig->st->xsave;
    for (unsigned i = 0; i < 4; i++) {
        st32(x + XSAVE_XMM0 + 16 + i * 4, i * 3);           /* xmm1: indices */
        st32(x + XSAVE_XMM0 + 32 + i * 4, i == 2 ? 0 : ~0u); /* xmm2: mask */
        st32(rig->ram + 0x20000 + i * 12, 100 + i);
    }
    st32(x + XSAVE_XMM0 + 8, 0x77);
    GPR(RBX) = 0x20000;
    RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b); /* vpgatherdd xmm0, [rbx+xmm1*4], xmm2 */
    g_assert_cmpuint(ld32(x + XSAVE_XMM0), ==, 100);
    g_assert_cmpuint(ld32(x + XSAVE_XMM0 + 4), ==, 101);
    g_assert_cmphex(ld32(x + XSAVE_XMM0 + 8), ==, 0x77);
    g_assert_cmpuint(ld32(x + XSAVE_XMM0 + 12), ==, 103);
    g_assert_cmphex(ld64(x + XSAVE_XMM0 + 32), ==, 0);
}

static void test_32bit(void)
{
    rig_protected(rig, 0x1000);
    GPR(RAX) = 0x15;
    RUN(0x27); /* daa: 0x15 stays */
    g_assert_cmphex(GPR(RAX), ==, 0x15);
    GPR(RCX) = 0xffffffff;
    RUN(0x41); /* inc ecx */
    g_assert_cmphex(GPR(RCX), ==, 0);
    GPR(RBX) = 0x20000;
    RUN(0x66, 0x67, 0xff, 0x07); /* inc word [bx] with 16-bit addressing */
    g_assert_cmpuint(ld16(rig->ram), ==, 1);
    rig_gate(rig, EXC_UD, RIG_CODE0, 0x9000, 0x8e, 0);
    RUN(0xf0, 0x01, 0xc8); /* lock add eax, ecx */
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig = rig_new("max");
    g_test_add_func("/native/integer", test_integer);
    g_test_add_func("/native/window", test_window);
    if (x86_has(rig->cpu, X86_FEAT_AVX2)) {
        g_test_add_func("/native/vector", test_vector);
        g_test_add_func("/native/gather", test_gather);
    }
    g_test_add_func("/native/simd-exception", test_simd_exception);
    g_test_add_func("/native/x87", test_x87);
    g_test_add_func("/native/xsave", test_xsave);
    g_test_add_func("/native/32-bit", test_32bit);
    int result = g_test_run();
    rig_free(rig);
    return result;
}
