/*
 * Instructions that move between modes and rings, and delivery of events in each mode, one step at a time.
 */
#include <string.h>

#include "tests/cpu/x86_rig.h"

static Rig *rig;
#define GPR(r) (rig->st->gpr[R_##r])

static uint16_t mem16(uint64_t a) { return ld16(rig->ram + a); }
static uint32_t mem32(uint64_t a) { return ld32(rig->ram + a); }
static uint64_t mem64(uint64_t a) { return ld64(rig->ram + a); }

/* ---- real mode ---- */

static void test_real_int(void)
{
    rig_real(rig, 0x100, 0x20);
    RIG_CODE(rig, 0x1020, 0xcd, 0x10);          /* int 10h */
    st16(rig->ram + 0x40, 0x1234);
    st16(rig->ram + 0x42, 0x200);
    RIG_CODE(rig, 0x2000 + 0x1234, 0xcf);       /* iret */
    rig->st->rflags = 2 | FL_IF | FL_CF | FL_TF * 0;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->seg[SEG_CS].selector, ==, 0x200);
    g_assert_cmphex(rig->st->rip, ==, 0x1234);
    g_assert_cmphex(rig->st->rflags, ==, 2 | FL_CF);
    g_assert_cmphex(GPR(RSP), ==, 0x6ffa);
    g_assert_cmphex(mem16(0x6ffa), ==, 0x22);
    g_assert_cmphex(mem16(0x6ffc), ==, 0x100);
    g_assert_cmphex(mem16(0x6ffe), ==, 2 | FL_IF | FL_CF);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x22);
    g_assert_cmphex(rig->st->seg[SEG_CS].base, ==, 0x1000);
    g_assert_cmphex(rig->st->rflags, ==, 2 | FL_IF | FL_CF);
    g_assert_cmphex(GPR(RSP), ==, 0x7000);
}

static void test_real_div(void)
{
    rig_real(rig, 0, 0x1000);
    RIG_CODE(rig, 0x1000, 0xf6, 0xf3);          /* div bl, by zero */
    st16(rig->ram, 0x300);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x300);
    g_assert_cmphex(mem16(0x6ffa), ==, 0x1000); /* at the instruction */
}

static void test_to_protected(void)
{
    rig_real(rig, 0, 0x1000);
    RIG_CODE(rig, 0x1000, 0x0f, 0x01, 0x16, 0x00, 0x20,    /* lgdt [2000] */
             0x0f, 0x20, 0xc0, 0x0c, 0x01, 0x0f, 0x22, 0xc0, /* mov eax,cr0; or al,1; mov cr0,eax */
             0x66, 0xea, 0x00, 0x30, 0x00, 0x00, 0x08, 0x00); /* jmp far 8:3000 */
    RIG_CODE(rig, 0x3000, 0xb8, 0x10, 0, 0, 0, 0x8e, 0xd8, 0xa1, 0, 0, 0x20, 0); /* mov eax,10; mov ds,ax; mov eax,[200000] */
    st16(rig->ram + 0x2000, 0x17);
    st32(rig->ram + 0x2002, 0x2010);
    st64(rig->ram + 0x2018, rig_desc(0, 0xfffff, 0x9a, 0xc));
    st64(rig->ram + 0x2020, rig_desc(0, 0xfffff, 0x92, 0xc));
    st32(rig->ram + 0x200000, 0xcafef00d);
    rig_step(rig, 8);
    g_assert_cmphex(GPR(RAX), ==, 0xcafef00d);
    g_assert_cmphex(rig->st->seg[SEG_CS].attr, ==, 0xc09b); /* accessed bit set here and in the table */
    g_assert_cmphex(mem64(0x2018) >> 40 & 0xff, ==, 0x9b);
    g_assert_cmphex(rig->st->seg[SEG_DS].limit, ==, 0xffffffff);
}

/* ---- protected mode ---- */

static void handler(unsigned vector, uint64_t at, uint8_t type)
{
    bool wide = rig->st->efer & EFER_LMA;
    rig_gate(rig, vector, wide ? RIG_CODE64 : RIG_CODE0, at, type, 0);
}

static void test_protected_fault(void)
{
    rig_protected(rig, 0x1000);
    handler(EXC_GP, 0x9000, 0x8e);
    RIG_CODE(rig, 0x1000, 0x8e, 0xd8);          /* mov ds,eax */
    GPR(RAX) = 0x800 * 8 + 3;                   /* beyond the GDT */
    rig->st->rflags |= FL_IF;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(GPR(RSP), ==, 0x6ff0);
    g_assert_cmphex(mem32(0x6ff0), ==, 0x4000);
    g_assert_cmphex(mem32(0x6ff4), ==, 0x1000);
    g_assert_cmphex(mem32(0x6ff8), ==, RIG_CODE0);
    g_assert_cmphex(mem32(0x6ffc), ==, 2 | FL_IF | FL_RF);
    g_assert_cmphex(rig->st->rflags & FL_IF, ==, 0);
}

static void test_rings(void)
{
    rig_protected(rig, 0x1000);
    rig_gate(rig, 0x80, RIG_CODE0, 0x9000, 0xef, 0); /* trap gate, DPL 3 */
    rig_ring3(rig);
    rig->st->rflags |= FL_IF;
    RIG_CODE(rig, 0x1000, 0xcd, 0x80);
    RIG_CODE(rig, 0x9000, 0x6a, RIG_DATA0, 0x1f, 0xcf); /* push 10; pop ds; iret */
    rig_step(rig, 1);
    g_assert_cmpuint(rig->st->cpl, ==, 0);
    g_assert_cmphex(GPR(RSP), ==, 0x6000 - 20);
    g_assert_cmphex(mem32(0x6000 - 4), ==, RIG_DATA3);
    g_assert_cmphex(mem32(0x6000 - 8), ==, 0x7000);
    g_assert_cmphex(mem32(0x6000 - 20), ==, 0x1002);
    g_assert_cmphex(rig->st->rflags & FL_IF, ==, FL_IF);
    rig_step(rig, 3);
    g_assert_cmpuint(rig->st->cpl, ==, 3);
    g_assert_cmphex(GPR(RSP), ==, 0x7000);
    g_assert_cmphex(rig->st->rip, ==, 0x1002);
    g_assert_cmphex(rig->st->seg[SEG_DS].selector, ==, 0); /* ring 0 segment dropped */
    g_assert_cmphex(rig->st->seg[SEG_ES].selector, ==, RIG_DATA3);
    /* INT to a DPL 0 gate is a #GP with the gate's index */
    rig_gate(rig, 0x81, RIG_CODE0, 0x9000, 0x8e, 0);
    rig_gate(rig, EXC_GP, RIG_CODE0, 0xa000, 0x8e, 0);
    RIG_CODE(rig, 0x1002, 0xcd, 0x81);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0xa000);
    g_assert_cmphex(mem32(0x6000 - 24), ==, 0x81 * 8 + 2);
}

static void test_call_gate(void)
{
    rig_protected(rig, 0x1000);
    rig_gdt(rig, RIG_FREE, 0x9000ull << 0 | (uint64_t)RIG_CODE0 << 16 | 2ull << 32 | 0xecull << 40); /* 2 words, DPL 3 */
    rig_ring3(rig);
    RIG_CODE(rig, 0x1000, 0x6a, 0x11, 0x6a, 0x22, 0x9a, 0, 0, 0, 0, RIG_FREE | 3, 0); /* push; push; call far */
    RIG_CODE(rig, 0x9000, 0xca, 0x08, 0x00);    /* retf 8 */
    rig_step(rig, 3);
    g_assert_cmpuint(rig->st->cpl, ==, 0);
    g_assert_cmphex(GPR(RSP), ==, 0x6000 - 24);
    g_assert_cmphex(mem32(0x6000 - 24), ==, 0x100b);
    g_assert_cmphex(mem32(0x6000 - 20), ==, RIG_CODE3);
    g_assert_cmphex(mem32(0x6000 - 16), ==, 0x22);
    g_assert_cmphex(mem32(0x6000 - 12), ==, 0x11);
    g_assert_cmphex(mem32(0x6000 - 8), ==, 0x7000 - 8);
    rig_step(rig, 1);
    g_assert_cmpuint(rig->st->cpl, ==, 3);
    g_assert_cmphex(GPR(RSP), ==, 0x7000);
    g_assert_cmphex(rig->st->rip, ==, 0x100b);
}

static void test_task_switch(void)
{
    rig_protected(rig, 0x1000);
    uint32_t tss = 0x113000 + 0x2000;
    rig_gdt(rig, RIG_FREE, rig_desc(tss, 0x67, 0x89, 0));
    st32(rig->ram + tss + 32, 0x9000);          /* eip */
    st32(rig->ram + tss + 36, 2);
    st32(rig->ram + tss + 40, 0x1111);          /* eax */
    st32(rig->ram + tss + 56, 0x5000);          /* esp */
    static const uint8_t sel[6] = { RIG_DATA0, RIG_CODE0, RIG_DATA0, RIG_DATA0, 0, 0 };
    for (unsigned i = 0; i < 6; i++)
        st32(rig->ram + tss + 72 + i * 4, sel[i]);
    RIG_CODE(rig, 0x1000, 0x9a, 0, 0, 0, 0, RIG_FREE, 0); /* call far tss */
    RIG_CODE(rig, 0x9000, 0xcf);                /* iret back */
    GPR(RAX) = 0x2222;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(GPR(RAX), ==, 0x1111);
    g_assert_cmphex(GPR(RSP), ==, 0x5000);
    g_assert_cmphex(rig->st->rflags & FL_NT, ==, FL_NT);
    g_assert_cmphex(rig->st->seg[SEG_TR].selector, ==, RIG_FREE);
    g_assert_cmphex(mem16(tss), ==, RIG_TSS_SEL);
    g_assert_cmphex(mem32(RIG_TSS + 32), ==, 0x1007);
    g_assert_cmphex(mem64(RIG_GDT + RIG_FREE) >> 40 & 0xf, ==, 0xb);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x1007);
    g_assert_cmphex(GPR(RAX), ==, 0x2222);
    g_assert_cmphex(mem64(RIG_GDT + RIG_FREE) >> 40 & 0xf, ==, 0x9);
    g_assert_cmphex(rig->st->rflags & FL_NT, ==, 0);
}

static void test_v8086(void)
{
    rig_protected(rig, 0x1000);
    handler(EXC_GP, 0x9000, 0x8e);
    GPR(RSP) = 0x7000 - 36;
    uint32_t frame[9] = { 0x20, 0x100, 2 | FL_VM | FL_IF, 0x3000, 0x400, 1, 2, 3, 4 };
    memcpy(rig->ram + 0x7000 - 36, frame, sizeof(frame));
    RIG_CODE(rig, 0x1000, 0xcf);
    RIG_CODE(rig, 0x1020, 0x8c, 0xd8, 0xfa);    /* mov ax,ds; cli */
    rig_step(rig, 2);
    g_assert_cmpuint(rig->st->cpl, ==, 3);
    g_assert_cmphex(rig->st->rflags & FL_VM, ==, FL_VM);
    g_assert_cmphex(rig->st->seg[SEG_SS].base, ==, 0x4000);
    g_assert_cmphex(GPR(RAX), ==, 2);
    rig_step(rig, 1);                           /* CLI at IOPL 0: #GP through ring 0 */
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(rig->st->rflags & FL_VM, ==, 0);
    g_assert_cmphex(rig->st->seg[SEG_DS].selector, ==, 0);
    g_assert_cmphex(mem32(0x6000 - 4), ==, 4);  /* gs */
    g_assert_cmphex(mem32(0x6000 - 16), ==, 1); /* es */
    g_assert_cmphex(mem32(0x6000 - 20), ==, 0x400);
    g_assert_cmphex(mem32(0x6000 - 28), ==, 2 | FL_VM | FL_IF | FL_RF);
    g_assert_cmphex(mem32(0x6000 - 36), ==, 0x22);
    g_assert_cmphex(GPR(RSP), ==, 0x6000 - 40);
}

static void test_double_fault(void)
{
    rig_protected(rig, 0x1000);
    RIG_CODE(rig, 0x1000, 0x8e, 0xd8);
    GPR(RAX) = 0xfff8;
    handler(EXC_DF, 0x9000, 0x8e);              /* no #GP gate: #GP, then #NP... a contributory pair */
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(mem32(0x6ff0), ==, 0);
    rig_protected(rig, 0x1000);
    RIG_CODE(rig, 0x1000, 0x0f, 0x0b);
    g_assert_cmpint(x86_step(rig->cpu), ==, X86_STEP_SHUTDOWN);
}

static void test_expand_down(void)
{
    rig_protected(rig, 0x1000);
    handler(EXC_GP, 0x9000, 0x8e);
    rig_gdt(rig, RIG_FREE, rig_desc(0, 0x4ffff >> 12, 0x97, 0xc)); /* expand down: above 0x4fff */
    RIG_CODE(rig, 0x1000, 0x8e, 0xd8, 0xa1, 0x00, 0x00, 0x05, 0x00, 0xa1, 0xfc, 0x4f, 0x00, 0x00);
    GPR(RAX) = RIG_FREE;
    st32(rig->ram + 0x50000, 77);
    rig_step(rig, 2);
    g_assert_cmpuint(GPR(RAX), ==, 77);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

/* ---- long mode ---- */

static void test_syscall(void)
{
    rig_long(rig, 0x1000);
    rig_ring3(rig);
    rig->st->lstar = 0x9000;
    rig->st->star = (uint64_t)(RIG_CODE3 - 3 - 0x0) << 48 | (uint64_t)RIG_CODE0 << 32;
    rig->st->sfmask = FL_IF | FL_DF;
    rig->st->rflags = 2 | FL_IF | FL_DF | FL_ZF;
    RIG_CODE(rig, 0x1000, 0x0f, 0x05);
    RIG_CODE(rig, 0x9000, 0x48, 0x0f, 0x07);    /* sysretq */
    rig_step(rig, 1);
    g_assert_cmpuint(rig->st->cpl, ==, 0);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(GPR(RCX), ==, 0x1002);
    g_assert_cmphex(GPR(R11), ==, 2 | FL_IF | FL_DF | FL_ZF);
    g_assert_cmphex(rig->st->rflags, ==, 2 | FL_ZF);
    g_assert_cmphex(rig->st->seg[SEG_CS].selector, ==, RIG_CODE0);
    rig_step(rig, 1);
    g_assert_cmpuint(rig->st->cpl, ==, 3);
    g_assert_cmphex(rig->st->rip, ==, 0x1002);
    g_assert_cmphex(rig->st->rflags, ==, 2 | FL_IF | FL_DF | FL_ZF);
    g_assert_cmphex(rig->st->seg[SEG_CS].selector, ==, RIG_CODE3 + 16);
    g_assert_cmphex(rig->st->seg[SEG_CS].attr & SEG_ATTR_L, ==, SEG_ATTR_L);
}

static void test_long_interrupt(void)
{
    rig_long(rig, 0x1000);
    handler(0x40, 0x9000, 0x8e);
    rig_gate(rig, EXC_DF, RIG_CODE64, 0xb000, 0x8e, 1);
    rig_ring3(rig);
    rig->st->rflags |= FL_IF;
    GPR(RSP) = 0x7003;
    X86Event irq = { .kind = X86_EVENT_EXTERNAL, .vector = 0x40 };
    g_assert_true(x86_deliver(rig->cpu, &irq));
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(GPR(RSP), ==, 0x6000 - 40);
    g_assert_cmphex(mem64(0x6000 - 40), ==, 0x1000);
    g_assert_cmphex(mem64(0x6000 - 16), ==, 0x7003);
    g_assert_cmphex(mem64(0x6000 - 8), ==, RIG_DATA3);
    g_assert_cmphex(rig->st->seg[SEG_SS].selector, ==, 0);
    RIG_CODE(rig, 0x9000, 0x48, 0xcf);
    rig_step(rig, 1);
    g_assert_cmpuint(rig->st->cpl, ==, 3);
    g_assert_cmphex(GPR(RSP), ==, 0x7003);
    /* no gate for 0x41: #GP has none either: #DF on IST 1 */
    irq.vector = 0x41;
    g_assert_true(x86_deliver(rig->cpu, &irq));
    g_assert_cmphex(rig->st->rip, ==, 0xb000);
    g_assert_cmphex(GPR(RSP), ==, 0x5000 - 48);
    g_assert_cmphex(mem64(0x5000 - 48), ==, 0);
}

static void test_page_fault(void)
{
    rig_long(rig, 0x1000);
    handler(EXC_PF, 0x9000, 0x8e);
    RIG_CODE(rig, 0x1000, 0x48, 0xa3, 0, 0, 0, 0, 1, 0, 0, 0); /* mov [0x100000000], rax */
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->cr2, ==, 0x100000000ull);
    g_assert_cmphex(mem64(GPR(RSP)), ==, PF_W);
    g_assert_cmphex(mem64(GPR(RSP) + 8), ==, 0x1000);
}

static void test_compat(void)
{
    rig_long(rig, 0x1000);
    RIG_CODE(rig, 0x1000, 0xff, 0x2c, 0x25, 0, 0x20, 0, 0); /* jmp far [0x2000] */
    st32(rig->ram + 0x2000, 0x3000);
    st16(rig->ram + 0x2004, RIG_CODE0);
    RIG_CODE(rig, 0x3000, 0x40, 0xea, 0, 0x40, 0, 0, RIG_CODE64, 0); /* inc eax; jmp far to 64-bit */
    GPR(RAX) = 0xffffffff;
    rig_step(rig, 1);
    g_assert_cmpuint(x86_code_bits(rig->st), ==, 32);
    rig_step(rig, 2);
    g_assert_cmpuint(x86_code_bits(rig->st), ==, 64);
    g_assert_cmphex(rig->st->rip, ==, 0x4000);
    g_assert_cmphex(GPR(RAX), ==, 0);
}

/* Long mode is left the way kernels do when they hand over to a 32-bit one. */
static void test_leave_long(void)
{
    rig_long(rig, 0x1000);
    rig->st->seg[SEG_CS] = (X86Segment) { .limit = 0xffffffff, .selector = RIG_CODE0, .attr = 0xc09b };
    RIG_CODE(rig, 0x1000, 0x0f, 0x20, 0xc0, 0x0f, 0xba, 0xf0, 31, 0x0f, 0x22, 0xc0, /* clear CR0.PG */
             0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x0f, 0xba, 0xf0, 8, 0x0f, 0x30);   /* clear EFER.LME */
    rig_step(rig, 7);
    g_assert_cmphex(rig->st->cr0 & CR0_PG, ==, 0);
    g_assert_cmphex(rig->st->efer & (EFER_LMA | EFER_LME), ==, 0);
}

static void test_single_step(void)
{
    rig_long(rig, 0x1000);
    handler(EXC_DB, 0x9000, 0x8e);
    RIG_CODE(rig, 0x1000, 0x90, 0x90);
    rig->st->rflags |= FL_TF;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(rig->st->dr[6] & DR6_BS, ==, DR6_BS);
    g_assert_cmphex(mem64(GPR(RSP)), ==, 0x1001);
    g_assert_cmphex(mem64(GPR(RSP) + 16), ==, 2 | FL_TF);
    g_assert_cmphex(rig->st->rflags & FL_TF, ==, 0);
    /* instruction breakpoint: a fault before the instruction */
    rig_long(rig, 0x1000);
    handler(EXC_DB, 0x9000, 0x8e);
    rig->st->dr[2] = 0x1000;
    rig->st->dr[7] |= 1 << 4;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->dr[6] & 15, ==, 4);
    g_assert_cmphex(mem64(GPR(RSP)), ==, 0x1000);
}

static void test_io_permission(void)
{
    rig_protected(rig, 0x1000);
    handler(EXC_GP, 0x9000, 0x8e);
    rig_ring3(rig);
    rig->ram[RIG_TSS + 104 + 0x80 / 8] = 0xfe;  /* port 80 only */
    RIG_CODE(rig, 0x1000, 0xe4, 0x80, 0xe4, 0x81);
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x1002);
    g_assert_cmphex(GPR(RAX), ==, 0xff);        /* nobody there */
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
}

static void test_privileged(void)
{
    static const struct { uint8_t code[4]; unsigned vector; } rows[] = {
        { { 0xf4 }, EXC_GP }, { { 0x0f, 0x20, 0xc0 }, EXC_GP }, { { 0x0f, 0x22, 0xd8 }, EXC_GP }, { { 0x0f, 0x30 }, EXC_GP },
        { { 0x0f, 0x01, 0x38 }, EXC_GP }, { { 0x0f, 0x06 }, EXC_GP }, { { 0x0f, 0x01, 0xf8 }, EXC_GP },
        { { 0xfa }, EXC_GP }, { { 0xfb }, EXC_GP }, { { 0xec }, EXC_GP }, { { 0x0f, 0x09 }, EXC_GP },
        { { 0x0f, 0x01, 0xca }, EXC_UD }, { { 0x0f, 0x0b }, EXC_UD }, { { 0x0f, 0x00, 0xd8 }, EXC_GP },
        { { 0x0f, 0x01, 0xc1 }, EXC_UD }, { { 0x0f, 0xaa }, EXC_UD }, { { 0x0f, 0x07 }, EXC_GP },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        rig_long(rig, 0x1000);
        handler(EXC_GP, 0x9000 + EXC_GP, 0x8e);
        handler(EXC_UD, 0x9000 + EXC_UD, 0x8e);
        rig_ring3(rig);
        rig_put(rig, 0x1000, rows[i].code, 4);
        g_test_message("row %u", i);
        rig_step(rig, 1);
        g_assert_cmphex(rig->st->rip, ==, 0x9000 + rows[i].vector);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig = rig_new("max");
    g_test_add_func("/real/int", test_real_int);
    g_test_add_func("/real/divide-error", test_real_div);
    g_test_add_func("/real/to-protected", test_to_protected);
    g_test_add_func("/protected/fault", test_protected_fault);
    g_test_add_func("/protected/rings", test_rings);
    g_test_add_func("/protected/call-gate", test_call_gate);
    g_test_add_func("/protected/task-switch", test_task_switch);
    g_test_add_func("/protected/v8086", test_v8086);
    g_test_add_func("/protected/double-fault", test_double_fault);
    g_test_add_func("/protected/expand-down", test_expand_down);
    g_test_add_func("/protected/io-permission", test_io_permission);
    g_test_add_func("/long/syscall", test_syscall);
    g_test_add_func("/long/interrupt", test_long_interrupt);
    g_test_add_func("/long/page-fault", test_page_fault);
    g_test_add_func("/long/compat", test_compat);
    g_test_add_func("/long/leave", test_leave_long);
    g_test_add_func("/long/privileged", test_privileged);
    g_test_add_func("/debug/single-step", test_single_step);
    int result = g_test_run();
    rig_free(rig);
    return result;
}
