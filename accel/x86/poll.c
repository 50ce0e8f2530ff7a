/*
 * Taking what waits at an instruction boundary: INIT, SIPI, NMI, machine check, external interrupts. SDM 3A 6.9, 9.1,
 * 10.4.7.
 */
#include "accel/x86/internal.h"

#define APIC_BASE_BSP 0x100u

static bool can_take_intr(const X86State *st)
{
    return (st->rflags & FL_IF) && !st->shadow;
}

static X86PollResult deliver(X86Cpu *cpu, const X86Event *event)
{
    cpu->vcpu.halted = false;
    return x86_deliver(cpu, event) ? X86_POLL_TAKEN : X86_POLL_SHUTDOWN;
}

static X86PollResult take_init(X86Cpu *cpu)
{
    bool bsp = !cpu->apic_ops || (cpu->apic_ops->get_base(cpu->apic) & APIC_BASE_BSP);
    vcpu_clear_interrupt(&cpu->vcpu, VCPU_INT_INIT | VCPU_INT_NMI); /* a SIPI that waits too came after it */
    if (cpu->apic_ops)
        cpu->apic_ops->init_received(cpu->apic);
    x86_cpu_reset(cpu, true);
    cpu->vcpu.wait_sipi = cpu->vcpu.halted = !bsp;
    return bsp ? X86_POLL_TAKEN : X86_POLL_HALTED;
}

static X86PollResult take_sipi(X86Cpu *cpu)
{
    uint8_t vector = cpu->vcpu.sipi_vector;
    vcpu_clear_interrupt(&cpu->vcpu, VCPU_INT_SIPI);
    if (!cpu->vcpu.wait_sipi)
        return X86_POLL_NONE;
    X86Segment *cs = &cpu->st.seg[SEG_CS];
    cs->selector = vector << 8;
    cs->base = (uint64_t)vector << 12;
    cpu->st.rip = 0;
    cpu->vcpu.wait_sipi = cpu->vcpu.halted = false;
    x86_mode_changed(cpu);
    return X86_POLL_TAKEN;
}

X86PollResult x86_poll_events(X86Cpu *cpu)
{
    X86State *st = &cpu->st;
    uint32_t pending = vcpu_interrupts(&cpu->vcpu);
    if (!pending)
        return X86_POLL_NONE;
    x86_fpu_out(cpu);
    if (pending & VCPU_INT_INIT) {
        X86PollResult result = take_init(cpu);
        if (result != X86_POLL_HALTED || !(pending & VCPU_INT_SIPI))
            return result;
    }
    if (pending & VCPU_INT_SIPI) {
        X86PollResult result = take_sipi(cpu);
        if (result != X86_POLL_NONE)
            return result;
    }
    if (cpu->vcpu.wait_sipi)
        return X86_POLL_NONE;
    if (pending & VCPU_INT_SMI) /* there is no SMM: nothing raises it but a debugger */
        vcpu_clear_interrupt(&cpu->vcpu, VCPU_INT_SMI);
    if (pending & VCPU_INT_MCE) {
        vcpu_clear_interrupt(&cpu->vcpu, VCPU_INT_MCE);
        if (!(st->cr4 & CR4_MCE))
            return X86_POLL_SHUTDOWN;
        return deliver(cpu, &(X86Event) { .kind = X86_EVENT_EXCEPTION, .vector = EXC_MC });
    }
    if ((pending & VCPU_INT_NMI) && !st->nmi_masked && !st->shadow) {
        vcpu_clear_interrupt(&cpu->vcpu, VCPU_INT_NMI);
        return deliver(cpu, &(X86Event) { .kind = X86_EVENT_NMI, .vector = EXC_NMI });
    }
    if ((pending & VCPU_INT_HARD) && can_take_intr(st) && cpu->apic_ops) {
        int vector = cpu->apic_ops->ack(cpu->apic);
        if (vector >= 0)
            return deliver(cpu, &(X86Event) { .kind = X86_EVENT_EXTERNAL, .vector = vector });
    }
    return X86_POLL_NONE;
}

bool x86_has_work(X86Cpu *cpu)
{
    uint32_t pending = vcpu_interrupts(&cpu->vcpu);
    if (pending & (VCPU_INT_INIT | VCPU_INT_SIPI))
        return true;
    if (cpu->vcpu.wait_sipi)
        return false;
    if (pending & VCPU_INT_MCE)
        return true;
    if ((pending & VCPU_INT_NMI) && !cpu->st.nmi_masked)
        return true;
    return (pending & VCPU_INT_HARD) && (cpu->st.rflags & FL_IF);
}
