/*
 * The PC's pair of 8237 DMA controllers with their page registers: channels 0-3 (8 bits) and 4-7 (16 bits).
 */
#pragma once

#include <hw/device.h>

#define TYPE_I8257 "i8257"

/* Both, realized and mapped at ports 0x00, 0xc0, 0x80 and 0x480. (borrowed: the first) */
Device *i8257_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED;
