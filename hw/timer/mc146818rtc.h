/*
 * MC146818 real-time clock with 128 bytes of battery-backed RAM, at ports 0x70-0x71. Unnamed output 0 is IRQ 8.
 */
#pragma once

#include <hw/device.h>

#define TYPE_MC146818RTC "mc146818rtc"

Device *mc146818rtc_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED; /* borrowed */

/* A byte of the battery-backed RAM, as the board's firmware expects to find it. index 0x0e..0x7f. Survives resets. */
void mc146818rtc_set_cmos(Device *rtc, unsigned index, uint8_t value);
uint8_t mc146818rtc_get_cmos(Device *rtc, unsigned index);
