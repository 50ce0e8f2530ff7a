/*
 * What a CPU takes between instructions: INTR with IF and shadow, NMI and its mask, INIT, SIPI, HLT; and the
 * paravirtual clock.
 */
#include "accel/x86/kvmclock.h"
#include "tests/cpu/x86_rig.h"

static Rig *rig;
#define GPR(r) (rig->st->gpr[R_##r])

/* A local APIC that has one vector to give. */
static int next_vector;
static uint64_t base = 0xfee00900;
static unsigned inits;

static int fake_ack(Device *apic)
{
    int vector = next_vector;
    next_vector = -1;
    vcpu_clear_interrupt(&rig->cpu->vcpu, VCPU_INT_HARD);
    return vector;
}
static uint64_t fake_get_base(Device *apic) { return base; }
static bool fake_set_base(Device *apic, uint64_t value) { base = value; return true; }
static uint8_t cr8;
static uint8_t fake_get_cr8(Device *apic) { return cr8; }
static void fake_set_cr8(Device *apic, uint8_t value) { cr8 = value; }
static bool fake_read(Device *apic, uint32_t msr, uint64_t *value) { *value = msr; return msr == 0x802; }
static bool fake_write(Device *apic, uint32_t msr, uint64_t value) { return msr == 0x80b; }
static void fake_init(Device *apic) { inits++; }
static const X86ApicOps fake_apic = { fake_ack, fake_get_base, fake_set_base, fake_get_cr8, fake_set_cr8, fake_read, fake_write,
                                      fake_init };

static void fresh(void)
{
    rig_long(rig, 0x1000);
    x86_cpu_attach_apic(rig->cpu, NULL, &fake_apic);
    atomic_store(&rig->cpu->vcpu.interrupts, 0);
    rig_gate(rig, 0x40, RIG_CODE64, 0x9000, 0x8e, 0);
    rig_gate(rig, EXC_NMI, RIG_CODE64, 0xa000, 0x8e, 0);
}

static X86PollResult poll(void) { return x86_poll_events(rig->cpu); }

static void test_intr(void)
{
    fresh();
    RIG_CODE(rig, 0x1000, 0xfb, 0x90, 0x90); /* sti; nop */
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_HARD);
    next_vector = 0x40;
    g_assert_cmpint(poll(), ==, X86_POLL_NONE); /* IF clear */
    rig_step(rig, 1);
    g_assert_cmpint(poll(), ==, X86_POLL_NONE); /* the instruction after STI comes first */
    rig_step(rig, 1);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    g_assert_cmphex(ld64(rig->ram + GPR(RSP)), ==, 0x1002);
    g_assert_cmphex(rig->st->rflags & FL_IF, ==, 0);
}

static void test_stack_shadow(void)
{
    fresh();
    RIG_CODE(rig, 0x1000, 0x8e, 0xd0, 0x90); /* mov ss, eax; nop */
    GPR(RAX) = RIG_DATA0;
    rig->st->rflags |= FL_IF;
    rig_step(rig, 1);
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_HARD | VCPU_INT_NMI);
    next_vector = 0x40;
    g_assert_cmpint(poll(), ==, X86_POLL_NONE);
    rig_step(rig, 1);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_cmphex(rig->st->rip, ==, 0xa000); /* NMI before INTR */
}

static void test_nmi_mask(void)
{
    fresh();
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_NMI);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_cmphex(rig->st->rip, ==, 0xa000);
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_NMI);
    g_assert_cmpint(poll(), ==, X86_POLL_NONE);
    RIG_CODE(rig, 0xa000, 0x48, 0xcf); /* iretq */
    rig_step(rig, 1);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
}

static void test_halt(void)
{
    fresh();
    RIG_CODE(rig, 0x1000, 0xf4);
    rig->st->rflags |= FL_IF;
    g_assert_cmpint(x86_step(rig->cpu), ==, X86_STEP_HALTED);
    g_assert_true(rig->cpu->vcpu.halted);
    g_assert_false(x86_has_work(rig->cpu));
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_HARD);
    next_vector = 0x40;
    g_assert_true(x86_has_work(rig->cpu));
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_false(rig->cpu->vcpu.halted);
    g_assert_cmphex(ld64(rig->ram + GPR(RSP)), ==, 0x1001);
}

static void test_init_sipi(void)
{
    fresh();
    base = 0xfee00800; /* not the bootstrap processor */
    inits = 0;
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_INIT);
    g_assert_cmpint(poll(), ==, X86_POLL_HALTED);
    g_assert_cmpuint(inits, ==, 1);
    g_assert_true(rig->cpu->vcpu.wait_sipi);
    g_assert_cmphex(rig->st->cr0 & CR0_PE, ==, 0);
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_NMI);
    g_assert_cmpint(poll(), ==, X86_POLL_NONE);
    rig->cpu->vcpu.sipi_vector = 0x9a;
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_SIPI);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_cmphex(rig->st->seg[SEG_CS].base, ==, 0x9a000);
    g_assert_cmphex(rig->st->seg[SEG_CS].selector, ==, 0x9a00);
    g_assert_cmphex(rig->st->rip, ==, 0);
    g_assert_false(rig->cpu->vcpu.halted);
    base = 0xfee00900;
    vcpu_interrupt(&rig->cpu->vcpu, VCPU_INT_INIT);
    g_assert_cmpint(poll(), ==, X86_POLL_TAKEN);
    g_assert_cmphex(rig->st->seg[SEG_CS].base + rig->st->rip, ==, 0xfffffff0);
}

static void test_apic_registers(void)
{
    fresh();
    rig_gate(rig, EXC_GP, RIG_CODE64, 0xb000, 0x8e, 0);
    RIG_CODE(rig, 0x1000, 0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0x0f, 0x32, 0x0f, 0x30); /* cr8=rax; rbx=cr8; rdmsr.. */
    GPR(RAX) = 9;
    GPR(RCX) = 0x802;
    rig_step(rig, 3);
    g_assert_cmpuint(cr8, ==, 9);
    g_assert_cmpuint(GPR(RBX), ==, 9);
    g_assert_cmphex(GPR(RAX), ==, 0x802);
    rig_step(rig, 1); /* not writable */
    g_assert_cmphex(rig->st->rip, ==, 0xb000);
}

static void test_clock(void)
{
    fresh();
    RIG_CODE(rig, 0x1000, 0x0f, 0x30);
    GPR(RCX) = MSR_KVM_SYSTEM_TIME_NEW;
    GPR(RAX) = 0x20001;
    GPR(RDX) = 0;
    rig_step(rig, 1);
    const uint8_t *page = rig->ram + 0x20000;
    g_assert_cmpuint(ld32(page), ==, 2);
    uint32_t mul = ld32(page + 24);
    int8_t shift = page[28];
    double hz = 1e9 / ((double)mul / 4294967296.0 * (shift >= 0 ? 1 << shift : 1.0 / (1 << -shift)));
    g_assert_cmpfloat(hz / x86_tsc_hz(), >, 0.999);
    g_assert_cmpfloat(hz / x86_tsc_hz(), <, 1.001);
    g_assert_cmpuint(page[29], ==, 1);
    /* a TSC that the guest sets leaves the clock alone */
    rig->st->rip = 0x1000;
    GPR(RCX) = 0x10;
    GPR(RAX) = 0;
    GPR(RDX) = 0x100;
    rig_step(rig, 1);
    g_assert_cmphex(ld64(page + 8) >> 32, >=, 0xff);
    GPR(RCX) = MSR_KVM_WALL_CLOCK_NEW;
    GPR(RAX) = 0x20100;
    GPR(RDX) = 0;
    rig->st->rip = 0x1000;
    rig_step(rig, 1);
    g_assert_cmpuint(ld32(rig->ram + 0x20104), >, 1700000000);
    /* behind RAM: refused */
    rig_gate(rig, EXC_GP, RIG_CODE64, 0xb000, 0x8e, 0);
    GPR(RAX) = 0xf0000000;
    rig->st->rip = 0x1000;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0xb000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    rig = rig_new("max");
    g_test_add_func("/events/intr", test_intr);
    g_test_add_func("/events/stack-shadow", test_stack_shadow);
    g_test_add_func("/events/nmi-mask", test_nmi_mask);
    g_test_add_func("/events/halt", test_halt);
    g_test_add_func("/events/init-sipi", test_init_sipi);
    g_test_add_func("/events/apic-registers", test_apic_registers);
    g_test_add_func("/events/clock", test_clock);
    int result = g_test_run();
    rig_free(rig);
    return result;
}
