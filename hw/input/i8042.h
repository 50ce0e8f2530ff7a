/*
 * 8042 keyboard controller at ports 0x60 and 0x64 with a PS/2 keyboard and mouse.
 * Unnamed outputs: 0 is IRQ 1, 1 is IRQ 12. Named output "a20": the A20 gate's level. A pulsed reset line asks for a reset.
 */
#pragma once

#include <hw/device.h>

#define TYPE_I8042 "i8042"

Device *i8042_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED; /* borrowed */
