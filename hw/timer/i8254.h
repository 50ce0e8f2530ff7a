/*
 * 8254 programmable interval timer. Unnamed output 0 is OUT of counter 0 (IRQ 0). The named input "quiet" silences that
 * output and its host timers while something else drives IRQ 0 (HPET legacy replacement).
 */
#pragma once

#include <hw/device.h>

#define TYPE_I8254 "isa-pit"
#define TYPE_KVM_PIT "kvm-pit"
#define TYPE_PCSPK "isa-pcspk"
#define I8254_HZ 1193182u
#define I8254_DEFAULT_BASE 0x40

/* Made and mapped at 0x40-0x43. (borrowed) */
Device *i8254_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED;
/* Port 0x61: gate and output of counter 2, speaker, refresh toggle. (borrowed) */
Device *pcspk_create(Machine *machine, Bus *isa, Device *pit, GError **err) WARN_UNUSED;

/* Counter 2's gate and output, for port 0x61. Main domain locked. */
void i8254_set_gate(Device *pit, unsigned counter, bool gate);
bool i8254_get_gate(Device *pit, unsigned counter);
bool i8254_get_out(Device *pit, unsigned counter);
