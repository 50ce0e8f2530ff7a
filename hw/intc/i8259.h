/*
 * The PC's pair of 8259A interrupt controllers with their edge/level registers, as one device.
 *
 * Unnamed inputs 0-15 are the ISA interrupt lines (2 is the cascade and does nothing). Unnamed output 0 is INTR of the
 * master; the board wires it to LINT0 of the first local APIC.
 */
#pragma once

#include <hw/device.h>

#define TYPE_I8259 "isa-i8259"

/* Made, realized and mapped at ports 0x20, 0xa0 and 0x4d0. (borrowed) NULL with err. */
Device *i8259_create(Machine *machine, Bus *isa, GError **err) WARN_UNUSED;

/*
 * The interrupt acknowledge cycle: the vector to deliver; IR7's vector of master or slave when the request has gone.
 * Any thread; locks for itself.
 */
int i8259_ack(Device *pic);
