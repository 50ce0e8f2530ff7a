/*
 * System control port A (0x92): fast A20 gate and fast reset. Named output "a20".
 */
#pragma once

#include <hw/device.h>

#define TYPE_PORT92 "port92"

Device *port92_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED; /* borrowed */
