/*
 * 82093AA I/O APIC with 24 pins, in the variant with an EOI register (version 0x20).
 *
 * Unnamed inputs are global system interrupts: input 0 (ISA IRQ 0) reaches pin 2, as the interrupt source override in
 * the MADT says; the others reach the pin of their number.
 */
#pragma once

#include <hw/device.h>

#define TYPE_IOAPIC "ioapic"
#define IOAPIC_PINS 24
#define IOAPIC_DEFAULT_BASE 0xfec00000u

/* Made, realized, mapped at IOAPIC_DEFAULT_BASE and joined to the machine's APIC bus. (borrowed) NULL with err. */
Device *ioapic_create(Machine *machine, GError **err) WARN_UNUSED;
