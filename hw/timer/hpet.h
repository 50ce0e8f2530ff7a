/*
 * High precision event timer (IA-PC HPET specification 1.0a) at 0xfed00000.
 *
 * Outputs 0-23 (unnamed) are global system interrupts. The board gives HPET the lines of the PIT and the RTC as the named
 * inputs "legacy" 0 and 1 and wires HPET's outputs 0 and 8 in their place: HPET passes them through unless it is in legacy
 * replacement mode. The named output "legacy-mode" is high in that mode (for the PIT's "quiet").
 */
#pragma once

#include <hw/device.h>

#define TYPE_HPET "hpet"
#define HPET_BASE 0xfed00000u
#define HPET_PERIOD_FS 10000000u /* 100 MHz */

Device *hpet_create(Machine *machine, GError **err) WARN_UNUSED; /* borrowed */
