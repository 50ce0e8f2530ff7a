/* Local APICs, the I/O APIC and messages: destinations, priorities, EOI, timer modes, x2APIC's rules. */
#include "tests/unit/chips.h"

#include "hw/intc/apic.h"
#include "hw/intc/ioapic.h"

#define CPUS 4
static X86Cpu *cpu[CPUS];
static Device *apic[CPUS], *ioapic;

/* Register numbers of x2APIC MSRs */
enum { ID = 2, VERSION = 3, TPR = 8, PPR = 0xa, EOI = 0xb, LDR = 0xd, SVR = 0xf, ISR = 0x10, TMR = 0x18, IRR = 0x20, ESR = 0x28,
       ICR = 0x30, LVT_TIMER = 0x32, LVT_LINT0 = 0x35, LVT_LINT1 = 0x36, LVT_ERROR = 0x37, INITIAL = 0x38, CURRENT = 0x39,
       DIVIDE = 0x3e, SELF_IPI = 0x3f };

static uint64_t rd(unsigned n, unsigned reg)
{
    uint64_t value = 0;
    g_assert_true(cpu[n]->apic_ops->read_msr(apic[n], 0x800 + reg, &value));
    return value;
}

static bool wr(unsigned n, unsigned reg, uint64_t value)
{
    return cpu[n]->apic_ops->write_msr(apic[n], 0x800 + reg, value);
}

static bool pending(unsigned n, uint8_t vector) { return rd(n, IRR + vector / 32) >> (vector % 32) & 1; }
static bool in_service(unsigned n, uint8_t vector) { return rd(n, ISR + vector / 32) >> (vector % 32) & 1; }
static int ack(unsigned n) { return cpu[n]->apic_ops->ack(apic[n]); }
static bool intr(unsigned n) { return vcpu_interrupts(&cpu[n]->vcpu) & VCPU_INT_HARD; }

static void clear_cpu(unsigned n) { vcpu_clear_interrupt(&cpu[n]->vcpu, UINT32_MAX); }

/* All in x2APIC mode and enabled. */
static void fresh(void)
{
    reset(ioapic);
    for (unsigned n = 0; n < 24; n++)
        irq_set(device_irq_in(ioapic, NULL, n), false);
    for (unsigned n = 0; n < CPUS; n++) {
        reset(apic[n]);
        clear_cpu(n);
        uint64_t base = cpu[n]->apic_ops->get_base(apic[n]);
        g_assert_true(cpu[n]->apic_ops->set_base(apic[n], base | 0xc00));
        g_assert_true(wr(n, SVR, 0x1ff));
    }
}

static void test_identity(void)
{
    fresh();
    for (unsigned n = 0; n < CPUS; n++) {
        g_assert_cmpuint(rd(n, ID), ==, cpu[n]->apic_id);
        g_assert_cmphex(rd(n, VERSION), ==, 0x50014);
        g_assert_cmphex(rd(n, LDR), ==, (cpu[n]->apic_id >> 4) << 16 | 1u << (cpu[n]->apic_id & 15));
        g_assert_cmphex(cpu[n]->apic_ops->get_base(apic[n]), ==, 0xfee00c00u | (n ? 0 : 0x100));
    }
}

static void test_priorities(void)
{
    fresh();
    wr(0, ICR, 0x40000 | 0x31); /* self */
    wr(0, SELF_IPI, 0x52);
    g_assert_true(pending(0, 0x31) && pending(0, 0x52) && intr(0));
    g_assert_cmphex(ack(0), ==, 0x52);
    g_assert_true(in_service(0, 0x52) && !pending(0, 0x52));
    g_assert_false(intr(0)); /* 0x31 waits for the end of 0x52 */
    g_assert_cmphex(rd(0, PPR), ==, 0x50);
    wr(0, SELF_IPI, 0x58); /* the same class waits too */
    g_assert_false(intr(0));
    wr(0, SELF_IPI, 0x60);
    g_assert_cmphex(ack(0), ==, 0x60);
    wr(0, EOI, 0);
    g_assert_false(intr(0));
    wr(0, EOI, 0);
    g_assert_cmphex(ack(0), ==, 0x58);
    wr(0, EOI, 0);
    wr(0, TPR, 0x30);
    g_assert_false(intr(0));
    g_assert_cmphex(ack(0), ==, -1);
    g_assert_cmpuint(cpu[0]->apic_ops->get_cr8(apic[0]), ==, 3);
    cpu[0]->apic_ops->set_cr8(apic[0], 2);
    g_assert_true(intr(0));
    g_assert_cmphex(ack(0), ==, 0x31);
    wr(0, EOI, 0);
    wr(0, EOI, 0); /* one too many does nothing */
}

static void test_destinations(void)
{
    fresh();
    wr(0, ICR, (uint64_t)cpu[2]->apic_id << 32 | 0x40); /* physical */
    g_assert_true(!pending(0, 0x40) && !pending(1, 0x40) && pending(2, 0x40) && !pending(3, 0x40));
    wr(0, ICR, 0xffffffffull << 32 | 0x41); /* broadcast */
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(pending(n, 0x41));
    wr(1, ICR, 0xc0000 | 0x42); /* all but self */
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(pending(n, 0x42) == (n != 1));
    wr(0, ICR, (uint64_t)(rd(1, LDR) | rd(3, LDR)) << 32 | 0x800 | 0x43); /* logical, one cluster */
    g_assert_true(!pending(0, 0x43) && pending(1, 0x43) && !pending(2, 0x43) && pending(3, 0x43));
    wr(3, TPR, 0x20);
    wr(1, TPR, 0x80);
    wr(0, ICR, (uint64_t)(rd(1, LDR) | rd(3, LDR)) << 32 | 0x900 | 0x44); /* lowest priority of the two */
    g_assert_true(!pending(1, 0x44) && pending(3, 0x44));
    wr(0, ICR, (uint64_t)cpu[1]->apic_id << 32 | 0x400); /* NMI */
    g_assert_true(vcpu_interrupts(&cpu[1]->vcpu) & VCPU_INT_NMI);
    wr(0, ICR, (uint64_t)cpu[1]->apic_id << 32 | 0x4500); /* INIT */
    g_assert_true(vcpu_interrupts(&cpu[1]->vcpu) & VCPU_INT_INIT);
    clear_cpu(1);
    wr(0, ICR, (uint64_t)cpu[1]->apic_id << 32 | 0x8500); /* INIT level de-assert: nothing */
    g_assert_false(vcpu_interrupts(&cpu[1]->vcpu) & VCPU_INT_INIT);
    wr(0, ICR, (uint64_t)cpu[1]->apic_id << 32 | 0x4600 | 0x9a); /* start-up */
    g_assert_true(vcpu_interrupts(&cpu[1]->vcpu) & VCPU_INT_SIPI);
    g_assert_cmphex(cpu[1]->vcpu.sipi_vector, ==, 0x9a);
}

static void test_logical_xapic(void)
{
    fresh();
    ApicMessage msg = { .dest = 0x05, .logical = true, .vector = 0x70 };
    for (unsigned n = 0; n < CPUS; n++) { /* back to xAPIC by way of "off" */
        reset(apic[n]);
        /* Registers of the page belong to the CPU that accesses them; a message is all the others need. */
        g_assert_cmphex(cpu[n]->apic_ops->get_base(apic[n]) & 0xc00, ==, 0x800);
    }
    /* Software-disabled APICs take no fixed interrupts, and all do take NMI. */
    g_assert_false(apic_deliver(machine, &msg));
    msg = (ApicMessage){ .dest = APIC_BROADCAST, .mode = APIC_NMI };
    g_assert_true(apic_deliver(machine, &msg));
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(vcpu_interrupts(&cpu[n]->vcpu) & VCPU_INT_NMI);
}

static void test_errors(void)
{
    fresh();
    wr(0, LVT_ERROR, 0xfe);
    wr(0, ICR, 0x40000 | 5); /* illegal vector */
    g_assert_cmphex(rd(0, ESR), ==, 0); /* shown after a write */
    wr(0, ESR, 0);
    g_assert_cmphex(rd(0, ESR), ==, 0x20);
    g_assert_true(pending(0, 0xfe));
    wr(0, ESR, 0);
    g_assert_cmphex(rd(0, ESR), ==, 0);
    ApicMessage msg = { .dest = cpu[1]->apic_id, .vector = 3 };
    apic_deliver(machine, &msg);
    wr(1, ESR, 0);
    g_assert_cmphex(rd(1, ESR), ==, 0x40);
    wr(1, LVT_ERROR, 3); /* an error entry that is illegal itself must not recurse */
    apic_deliver(machine, &msg);
    wr(1, ESR, 0);
}

static void test_faults(void)
{
    uint64_t value;
    fresh();
    g_assert_false(wr(0, EOI, 1));
    g_assert_false(wr(0, ID, 1));
    g_assert_false(wr(0, TPR, 0x100));
    g_assert_false(wr(0, SVR, 0x10000));
    g_assert_false(wr(0, 0x0e, 0)); /* no DFR in x2APIC */
    g_assert_false(wr(0, LVT_TIMER, 1u << 19));
    g_assert_false(wr(0, INITIAL, 1ull << 32));
    g_assert_false(cpu[0]->apic_ops->read_msr(apic[0], 0x80b, &value));
    g_assert_false(cpu[0]->apic_ops->read_msr(apic[0], 0x83f, &value));
    g_assert_false(cpu[0]->apic_ops->read_msr(apic[0], 0x8ff, &value));
    /* Mode changes: SDM figure 10-26 */
    uint64_t base = cpu[0]->apic_ops->get_base(apic[0]);
    g_assert_false(cpu[0]->apic_ops->set_base(apic[0], base & ~0x400ull)); /* x2APIC to xAPIC */
    g_assert_false(cpu[0]->apic_ops->set_base(apic[0], base & ~0x800ull)); /* EXTD without EN */
    g_assert_false(cpu[0]->apic_ops->set_base(apic[0], base | 1));
    g_assert_false(cpu[0]->apic_ops->set_base(apic[0], base | 1ull << 60));
    g_assert_true(cpu[0]->apic_ops->set_base(apic[0], base & ~0xc00ull)); /* off */
    g_assert_false(cpu[0]->apic_ops->set_base(apic[0], base));           /* off to x2APIC */
    g_assert_false(cpu[0]->apic_ops->read_msr(apic[0], 0x802, &value));
    g_assert_true(cpu[0]->apic_ops->set_base(apic[0], base & ~0x400ull));
    g_assert_false(cpu[0]->apic_ops->read_msr(apic[0], 0x802, &value)); /* xAPIC: no MSRs */
}

static void test_timer(void)
{
    fresh();
    wr(0, DIVIDE, 0x0b); /* by 1 */
    wr(0, LVT_TIMER, 0x50);
    wr(0, INITIAL, 1000);
    step(400);
    g_assert_cmpuint(rd(0, CURRENT), ==, 600);
    step(599);
    g_assert_false(pending(0, 0x50));
    step(1);
    g_assert_true(pending(0, 0x50));
    g_assert_cmpuint(rd(0, CURRENT), ==, 0);
    g_assert_cmphex(ack(0), ==, 0x50);
    wr(0, EOI, 0);
    /* Later and cancelled deadlines: the host timer may be early, the interrupt not. */
    wr(0, INITIAL, 1000);
    step(500);
    wr(0, INITIAL, 5000);
    step(4999);
    g_assert_false(pending(0, 0x50));
    step(1);
    g_assert_true(pending(0, 0x50));
    ack(0);
    wr(0, EOI, 0);
    wr(0, INITIAL, 1000);
    wr(0, INITIAL, 0);
    step(100000);
    g_assert_false(pending(0, 0x50));
    /* Periodic, by 16 */
    wr(0, DIVIDE, 0x03);
    wr(0, LVT_TIMER, 0x20000 | 0x51);
    wr(0, INITIAL, 10000);
    unsigned count = 0;
    for (unsigned i = 0; i < 1600000; i += 16000) {
        step(16000);
        if (ack(0) == 0x51)
            count++;
        wr(0, EOI, 0);
    }
    g_assert_cmpuint(count, ==, 10);
    g_assert_cmpuint(rd(0, INITIAL), ==, 10000);
    /* A masked entry keeps counting and stays silent */
    wr(0, LVT_TIMER, 0x30000 | 0x51);
    step(1600000);
    g_assert_false(pending(0, 0x51));
    g_assert_cmpuint(rd(0, CURRENT), >, 0);
    wr(0, LVT_TIMER, 0x20000 | 0x51);
    step(160000);
    g_assert_true(pending(0, 0x51));
    wr(0, INITIAL, 1); /* 16 ns: the host does not run after it */
    step(NS_PER_SEC);
    wr(0, INITIAL, 0);
    ack(0);
    wr(0, EOI, 0);
}

static void test_deadline(void)
{
    uint64_t value;
    fresh();
    wr(0, LVT_TIMER, 0x40000 | 0x53);
    wr(0, INITIAL, 1000); /* ignored in this mode */
    g_assert_cmpuint(rd(0, CURRENT), ==, 0);
    uint64_t tsc = x86_rdtsc(cpu[0]);
    g_assert_true(cpu[0]->apic_ops->write_msr(apic[0], 0x6e0, tsc + x86_tsc_hz())); /* a second */
    g_assert_true(cpu[0]->apic_ops->read_msr(apic[0], 0x6e0, &value));
    g_assert_cmphex(value, ==, tsc + x86_tsc_hz());
    step(NS_PER_SEC * 9 / 10);
    g_assert_false(pending(0, 0x53));
    step(NS_PER_SEC / 10 + 1000);
    g_assert_true(pending(0, 0x53));
    g_assert_true(cpu[0]->apic_ops->read_msr(apic[0], 0x6e0, &value));
    g_assert_cmpuint(value, ==, 0);
    ack(0);
    wr(0, EOI, 0);
    g_assert_true(cpu[0]->apic_ops->write_msr(apic[0], 0x6e0, 1)); /* long past: at once */
    g_assert_true(pending(0, 0x53));
    ack(0);
    wr(0, EOI, 0);
    g_assert_true(cpu[0]->apic_ops->write_msr(apic[0], 0x6e0, x86_rdtsc(cpu[0]) + x86_tsc_hz()));
    wr(0, LVT_TIMER, 0x53); /* leaving the mode disarms */
    step(2 * NS_PER_SEC);
    g_assert_false(pending(0, 0x53));
    g_assert_true(cpu[0]->apic_ops->write_msr(apic[0], 0x6e0, 5)); /* ignored out of the mode */
    g_assert_false(pending(0, 0x53));
}

static int pic_vector(Device *pic) { return 0x77; }

static void test_lint(void)
{
    fresh();
    apic_bus_set_pic(machine, pic_vector, NULL);
    reset(apic[0]);
    clear_cpu(0);
    Irq *lint0 = device_irq_in(apic[0], NULL, 0), *lint1 = device_irq_in(apic[0], NULL, 1);
    irq_set(lint0, true); /* virtual wire after reset */
    g_assert_true(intr(0));
    g_assert_cmphex(ack(0), ==, 0x77);
    irq_set(lint0, false);
    g_assert_false(intr(0));
    fresh();
    irq_set(lint0, true);
    wr(0, LVT_LINT0, 0x10700);
    g_assert_false(intr(0));
    wr(0, LVT_LINT0, 0x00700);
    g_assert_true(intr(0));
    irq_set(lint0, false);
    wr(0, LVT_LINT0, 0x45); /* fixed, edge */
    irq_set(lint0, true);
    g_assert_cmphex(ack(0), ==, 0x45);
    irq_set(lint0, false);
    wr(0, EOI, 0);
    wr(0, LVT_LINT1, 0x400);
    irq_set(lint1, true);
    g_assert_true(vcpu_interrupts(&cpu[0]->vcpu) & VCPU_INT_NMI);
    irq_set(lint1, false);
    /* Other CPUs do not hear the 8259. */
    irq_set(device_irq_in(apic[1], NULL, 0), true);
    g_assert_false(intr(1));
    irq_set(device_irq_in(apic[1], NULL, 0), false);
}

/* ---- I/O APIC ---- */

static uint32_t io_rd(uint8_t reg)
{
    mem_write(IOAPIC_DEFAULT_BASE, reg, 4);
    return mem_read(IOAPIC_DEFAULT_BASE + 0x10, 4);
}

static void io_wr(uint8_t reg, uint32_t value)
{
    mem_write(IOAPIC_DEFAULT_BASE, reg, 4);
    mem_write(IOAPIC_DEFAULT_BASE + 0x10, value, 4);
}

static void redirect(unsigned pin, uint32_t low, uint8_t dest)
{
    io_wr(0x11 + 2 * pin, (uint32_t)dest << 24);
    io_wr(0x10 + 2 * pin, low);
}

static void gsi(unsigned n, bool level) { irq_set(device_irq_in(ioapic, NULL, n), level); }

static void test_ioapic_registers(void)
{
    fresh();
    g_assert_cmphex(io_rd(1), ==, 0x00170020);
    g_assert_cmphex(io_rd(0x10), ==, 0x10000);
    io_wr(0, 0x5000000);
    g_assert_cmphex(io_rd(0), ==, 0x5000000);
    g_assert_cmphex(io_rd(2), ==, 0x5000000);
    io_wr(0x10 + 2 * 5, 0xffffffff);
    g_assert_cmphex(io_rd(0x10 + 2 * 5), ==, 0x1afff); /* status and remote IRR are read-only */
    g_assert_cmphex(io_rd(0xff), ==, 0);
    io_wr(0xff, 1);
}

static void test_ioapic_edge(void)
{
    fresh();
    redirect(4, 0x44, cpu[1]->apic_id);
    gsi(4, true);
    g_assert_true(pending(1, 0x44) && !pending(0, 0x44));
    ack(1);
    wr(1, EOI, 0);
    gsi(4, true);
    g_assert_false(pending(1, 0x44));
    gsi(4, false);
    gsi(4, true);
    g_assert_true(pending(1, 0x44));
    gsi(4, false);
    ack(1);
    wr(1, EOI, 0);
    redirect(4, 0x10044, cpu[1]->apic_id); /* masked: the edge is lost */
    gsi(4, true);
    redirect(4, 0x44, cpu[1]->apic_id);
    g_assert_false(pending(1, 0x44));
    gsi(4, false);
    /* ISA interrupt 0 arrives at pin 2. */
    redirect(2, 0x30, 0xff);
    gsi(0, true);
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(pending(n, 0x30));
    gsi(0, false);
}

static void test_ioapic_level(void)
{
    fresh();
    redirect(10, 0x8000 | 0x10000 | 0x60, cpu[2]->apic_id);
    gsi(10, true);
    g_assert_false(pending(2, 0x60));
    redirect(10, 0x8000 | 0x60, cpu[2]->apic_id); /* unmasked while asserted */
    g_assert_true(pending(2, 0x60));
    g_assert_cmphex(io_rd(0x10 + 20) & 0x4000, ==, 0x4000);
    g_assert_cmphex(ack(2), ==, 0x60);
    gsi(10, false);
    gsi(10, true); /* remote IRR holds it back */
    g_assert_false(pending(2, 0x60));
    wr(2, EOI, 0);
    g_assert_true(pending(2, 0x60)); /* still asserted: again */
    ack(2);
    gsi(10, false);
    wr(2, EOI, 0);
    g_assert_false(pending(2, 0x60));
    g_assert_cmphex(io_rd(0x10 + 20) & 0x4000, ==, 0);
    /* The EOI register ends it without the local APIC. */
    gsi(10, true);
    ack(2);
    gsi(10, false);
    mem_write(IOAPIC_DEFAULT_BASE + 0x40, 0x60, 4);
    g_assert_cmphex(io_rd(0x10 + 20) & 0x4000, ==, 0);
    wr(2, EOI, 0);
}

static void test_msi(void)
{
    fresh();
    g_assert_true(apic_deliver_msi(machine, 0xfee00000u | cpu[3]->apic_id << 12, 0x81));
    g_assert_true(pending(3, 0x81));
    g_assert_false(apic_deliver_msi(machine, 0xfee00000u | cpu[3]->apic_id << 12, 0x81)); /* coalesced */
    mem_write(0xfee00000u | cpu[1]->apic_id << 12, 0x82, 4); /* a store from no CPU is a message too */
    g_assert_true(pending(1, 0x82));
    g_assert_cmphex(mem_read(0xfee00030, 4), ==, 0);
    g_assert_true(apic_deliver_msi(machine, 0xfeeff000u, 0x83));
    for (unsigned n = 0; n < CPUS; n++)
        g_assert_true(pending(n, 0x83));
    g_assert_false(apic_deliver_msi(machine, 0xfee77000u, 0x84)); /* nobody */
}

static void test_nonsense(void)
{
    fresh();
    for (unsigned i = 0; i < 40000; i++) {
        unsigned n = rnd() % CPUS;
        uint64_t value = (uint64_t)rnd() << 32 | (uint32_t)rnd(), got;
        if (rnd() & 1)
            value &= 0x000400000004ffffull;
        switch (rnd() % 8) {
        case 0: case 1: wr(n, rnd() & 0x3f, value); break;
        case 2: cpu[n]->apic_ops->read_msr(apic[n], 0x800 + (rnd() & 0x7f), &got); break;
        case 3: mem_write(IOAPIC_DEFAULT_BASE + (rnd() & 0x7c), value & 0x7f, 4); break;
        case 4: mem_write(0xfee00000u + (rnd() & 0xffffc), value, 4); break;
        case 5: gsi(rnd() % 24, value & 1); break;
        case 6: cpu[n]->apic_ops->set_base(apic[n], (value & 0xd00) | 0xfee00000u | (value & 0x3000)); break;
        case 7: ack(n); step(rnd() % 5000); break;
        }
    }
    fresh();
    test_priorities();
}

int main(int argc, char **argv)
{
    g_autoptr(GError) err = NULL;
    g_test_init(&argc, &argv, NULL);
    chips_start();
    machine->vcpus = g_new0(Vcpu *, CPUS);
    machine->smp = (SmpConfig){ CPUS, CPUS, 1, 1, CPUS, 1 };
    apic_bus_create(machine);
    ioapic = ioapic_create(machine, &err);
    g_assert_no_error(err);
    for (unsigned n = 0; n < CPUS; n++) {
        cpu[n] = x86_cpu_new(machine, "max", n, &err);
        g_assert_no_error(err);
        apic[n] = apic_create(machine, cpu[n], &err);
        g_assert_no_error(err);
    }
    g_test_add_func("/apic/identity", test_identity);
    g_test_add_func("/apic/priorities", test_priorities);
    g_test_add_func("/apic/destinations", test_destinations);
    g_test_add_func("/apic/xapic", test_logical_xapic);
    g_test_add_func("/apic/errors", test_errors);
    g_test_add_func("/apic/faults", test_faults);
    g_test_add_func("/apic/timer", test_timer);
    g_test_add_func("/apic/deadline", test_deadline);
    g_test_add_func("/apic/lint", test_lint);
    g_test_add_func("/ioapic/registers", test_ioapic_registers);
    g_test_add_func("/ioapic/edge", test_ioapic_edge);
    g_test_add_func("/ioapic/level", test_ioapic_level);
    g_test_add_func("/ioapic/msi", test_msi);
    g_test_add_func("/apic/nonsense", test_nonsense);
    return g_test_run();
}
