/* Serial ports COM1 to COM4 of a PC. */
#pragma once

#include <chardev/chardev.h>
#include <hw/device.h>

#define TYPE_ISA_SERIAL "isa-serial"
#define ISA_SERIAL_MAX 4

/* Board code: -serial number `index`, at the PC's usual port and line. chr may be NULL: nothing is connected. (borrowed) */
Device *isa_serial_create(Machine *machine, Bus *isa, unsigned index, Chardev *chr, GError **err) WARN_UNUSED;
