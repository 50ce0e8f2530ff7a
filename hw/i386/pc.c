/*
 * The pc machines: i440FX, PIIX3, PIIX4 and the chips around them.
 */
#include "hw/i386/pc.h"

#include <hw/msix.h>

#include "accel/accel.h"
#include "accel/x86/cpu.h"
#include "hw/char/isa-serial.h"
#include "hw/i386/boot.h"
#include "hw/input/i8042.h"
#include "hw/intc/apic.h"
#include "hw/intc/i8259.h"
#include "hw/intc/ioapic.h"
#include "hw/misc/i8257.h"
#include "hw/misc/port92.h"
#include "hw/timer/hpet.h"
#include "hw/timer/i8254.h"
#include "hw/timer/mc146818rtc.h"

/* ---- interrupt lines --------------------------------------------------------------------------------------------- */

static void gsi_set(PcMachine *pc, unsigned source, unsigned n, bool level)
{
    PcGsi *gsi = &pc->gsi[n];

    gsi->sources = level ? gsi->sources | 1u << source : gsi->sources & ~(1u << source);
    bool high = gsi->sources != 0;
    if (n < ISA_IRQS)
        irq_set(device_irq_in(pc->pic, NULL, n), high);
    irq_set(device_irq_in(pc->ioapic, NULL, n), high);
}

static void gsi_from_isa(void *opaque, unsigned n, bool level) { gsi_set(opaque, PC_SOURCE_ISA, n, level); }
static void gsi_from_hpet(void *opaque, unsigned n, bool level) { gsi_set(opaque, PC_SOURCE_HPET, n, level); }
static void gsi_from_pci(void *opaque, unsigned n, bool level) { gsi_set(opaque, PC_SOURCE_PCI, n, level); }
static void gsi_from_sci(void *opaque, unsigned n, bool level) { gsi_set(opaque, PC_SOURCE_SCI, n, level); }

static void make_gsis(PcMachine *pc)
{
    static IrqFunc *const funcs[PC_SOURCES] = { gsi_from_isa, gsi_from_hpet, gsi_from_pci, gsi_from_sci };

    for (unsigned source = 0; source < PC_SOURCES; source++)
        for (unsigned n = 0; n < PC_GSIS; n++)
            pc->gsi_in[source][n] = irq_new(funcs[source], pc, n);
}

static void receive_msi(void *opaque, uint64_t addr, uint32_t data)
{
    apic_deliver_msi(opaque, addr, data);
}

/* ---- address line 20 --------------------------------------------------------------------------------------------- */

static void apply_a20(Vcpu *vcpu, void *opaque)
{
    X86Cpu *cpu = X86_CPU(vcpu);
    bool open = GPOINTER_TO_INT(opaque);

    if (cpu->st.a20 == open)
        return;
    cpu->st.a20 = open;
    if (accel_class(vcpu->accel)->state_changed)
        accel_class(vcpu->accel)->state_changed(vcpu);
}

/* Two gates, port 0x92 and the keyboard controller: the one that was written last decides. */
static void set_a20(void *opaque, unsigned n, bool level)
{
    PcMachine *pc = opaque;

    if (pc->a20_open == level)
        return;
    pc->a20_open = level;
    for (unsigned i = 0; i < pc->machine.nr_vcpus; i++)
        vcpu_run_on(pc->machine.vcpus[i], apply_a20, GINT_TO_POINTER(level), false);
}

/* ---- parts -------------------------------------------------------------------------------------------------------- */

static bool make_chipset(PcMachine *pc, GError **err)
{
    Machine *machine = &pc->machine;

    pc->host = i440fx_create(machine, &machine->ram, err);
    if (!pc->host)
        return false;
    PciBus *pci = i440fx_bus(pc->host);
    pc->piix3 = piix3_create(machine, pci, i440fx_pci_memory(pc->host), pc->gsi_in[PC_SOURCE_PCI], err);
    if (!pc->piix3)
        return false;
    i440fx_set_reset_port(pc->host, piix3_reset_control_read, piix3_reset_control_write, pc->piix3);
    isa_bus_set_irqs(piix3_isa_bus(pc->piix3), pc->gsi_in[PC_SOURCE_ISA]);
    if (machine->acpi) {
        pc->pm = piix4_pm_create(machine, pci, pc->gsi_in[PC_SOURCE_SCI][PIIX4_SCI_IRQ], err);
        if (!pc->pm)
            return false;
    }
    return true;
}

static int acknowledge_pic(Device *pic)
{
    return i8259_ack(pic);
}

static bool make_interrupt_controllers(PcMachine *pc, Bus *isa, GError **err)
{
    Machine *machine = &pc->machine;

    apic_bus_create(machine);
    pc->pic = i8259_create(machine, isa, err);
    pc->ioapic = pc->pic ? ioapic_create(machine, err) : NULL;
    if (!pc->ioapic)
        return false;
    apic_bus_set_pic(machine, acknowledge_pic, pc->pic);
    msi_set_receiver(machine, receive_msi, machine);
    return true;
}

static bool make_cpus(PcMachine *pc, GError **err)
{
    Machine *machine = &pc->machine;
    const char *model = machine->cpu_type ? machine->cpu_type : machine_class(machine)->default_cpu;

    for (unsigned i = 0; i < machine->smp.cpus; i++) {
        X86Cpu *cpu = x86_cpu_new(machine, model, i, err);
        Device *apic = cpu ? apic_create(machine, cpu, err) : NULL;
        if (!apic)
            return false;
        if (i == 0)
            device_connect_irq(pc->pic, NULL, 0, device_irq_in(apic, NULL, 0));
        if (!vcpu_start(&cpu->vcpu, err))
            return false;
    }
    return true;
}

static bool make_timers(PcMachine *pc, Bus *isa, GError **err)
{
    Machine *machine = &pc->machine;
    Irq *irq0 = pc->gsi_in[PC_SOURCE_ISA][0], *irq8 = pc->gsi_in[PC_SOURCE_ISA][8];

    pc->pit = i8254_create(machine, isa, err);
    if (!pc->pit || !pcspk_create(machine, isa, pc->pit, err))
        return false;
    pc->rtc = mc146818rtc_create(machine, isa, err);
    if (!pc->rtc)
        return false;
    if (machine->hpet) {
        pc->hpet_dev = hpet_create(machine, err);
        if (!pc->hpet_dev)
            return false;
        for (unsigned n = 0; n < PC_GSIS; n++)
            device_connect_irq(pc->hpet_dev, NULL, n, pc->gsi_in[PC_SOURCE_HPET][n]);
        device_connect_irq(pc->hpet_dev, "legacy-mode", 0, device_irq_in(pc->pit, "quiet", 0));
        irq0 = device_irq_in(pc->hpet_dev, "legacy", 0);
        irq8 = device_irq_in(pc->hpet_dev, "legacy", 1);
    }
    device_connect_irq(pc->pit, NULL, 0, irq0);
    device_connect_irq(pc->rtc, NULL, 0, irq8);
    return true;
}

static bool make_gates(PcMachine *pc, Bus *isa, GError **err)
{
    Machine *machine = &pc->machine;

    pc->a20_open = true;
    pc->a20_in = irq_new(set_a20, pc, 0);
    Device *port92 = port92_create(machine, isa, err);
    if (!port92)
        return false;
    device_connect_irq(port92, "a20", 0, pc->a20_in);
    if (!i8257_create(machine, isa, err))
        return false;
    if (!pc->i8042)
        return true;
    Device *i8042 = i8042_create(machine, isa, err);
    if (!i8042)
        return false;
    device_connect_irq(i8042, NULL, 0, pc->gsi_in[PC_SOURCE_ISA][1]);
    device_connect_irq(i8042, NULL, 1, pc->gsi_in[PC_SOURCE_ISA][12]);
    device_connect_irq(i8042, "a20", 0, pc->a20_in);
    return true;
}

/* -serial: COM1 to COM4 in order; "none" leaves its port out. */
static bool make_serials(PcMachine *pc, Bus *isa, GError **err)
{
    Machine *machine = &pc->machine;

    if (machine->serials->len > PC_SERIALS) {
        error_set(err, "the machine has %d serial ports, %u were asked for", PC_SERIALS, machine->serials->len);
        return false;
    }
    for (unsigned i = 0; i < machine->serials->len; i++) {
        Chardev *chr = machine->serials->pdata[i];
        if (!chr)
            continue;
        if (!isa_serial_create(machine, isa, i, chr, err))
            return false;
    }
    return true;
}

/* After the devices' reset, before the CPUs': what firmware and kernels read about them. */
static void pc_reset_blobs(void *opaque)
{
    PcMachine *pc = opaque;

    pc_fw_cfg_refresh(pc);
    pc_cmos_fill(pc);
}

/* A kernel that was loaded directly starts anew. */
static void pc_reset_boot(void *opaque)
{
    PcMachine *pc = opaque;

    /* The gates may have closed the line while they were reset; the CPUs start with it open. */
    set_a20(pc, 0, true);
    if (pc->boot_image)
        boot_image_enter(pc->boot_image, pc);
}

bool pc_build(Machine *machine, GError **err)
{
    PcMachine *pc = pc_machine(machine);

    machine->board = pc;
    make_gsis(pc);
    if (!pc_memory_place_ram(pc, err) || !make_chipset(pc, err))
        return false;
    Bus *isa = &piix3_isa_bus(pc->piix3)->bus;
    if (!make_interrupt_controllers(pc, isa, err) || !make_cpus(pc, err) || !make_timers(pc, isa, err) ||
        !make_gates(pc, isa, err) || !make_serials(pc, isa, err))
        return false;
    if (!fw_cfg_create(machine, &machine->io_root, err))
        return false;
    if (machine->boot.kernel) {
        pc->boot_image = boot_image_load(pc, err);
        if (!pc->boot_image)
            return false;
    }
    if (!pc_memory_load_bios(pc, err) || !pc_fw_cfg_build(pc, err))
        return false;
    reset_register(machine, pc_reset_blobs, pc);
    reset_register_after_cpus(machine, pc_reset_boot, pc);
    return true;
}

void pc_finalize(Object *obj)
{
    PcMachine *pc = (PcMachine *)obj;

    boot_image_free(pc->boot_image);
    apic_bus_destroy(&pc->machine);
    memory_region_clear(&pc->low_alias);
    memory_region_clear(&pc->high_alias);
    memory_region_clear(&pc->bios_alias);
    memory_region_clear(&pc->bios);
    memory_region_clear(&pc->machine.ram);
    for (unsigned source = 0; source < PC_SOURCES; source++)
        for (unsigned n = 0; n < PC_GSIS; n++)
            if (pc->gsi_in[source][n])
                irq_free(pc->gsi_in[source][n]);
    if (pc->a20_in)
        irq_free(pc->a20_in);
}
