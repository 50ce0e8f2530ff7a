/*
 * Local APICs (xAPIC and x2APIC) and the bus on which interrupt messages travel between them, the I/O APIC and MSI
 * capable devices.
 *
 * Board code: apic_bus_create() once, apic_bus_set_pic(), then apic_create() for each CPU. Each APIC has two unnamed irq
 * inputs: 0 is LINT0 (the 8259's INTR on the first CPU), 1 is LINT1 (NMI).
 *
 * Locks: each APIC has its own mutex, a leaf but for the vCPU's lock. An I/O APIC or the 8259 may deliver with its own lock
 * held; an APIC never calls them with its lock held.
 */
#pragma once

#include <hw/device.h>

#include "accel/x86/cpu.h"

#define TYPE_APIC "apic"
#define APIC_DEFAULT_BASE 0xfee00000u
#define APIC_WINDOW_SIZE 0x100000u   /* the range that MSI messages are written to */
#define APIC_BUS_HZ 1000000000u      /* the timer's input clock, before the divider */

/* Delivery modes, SDM vol. 3A 10.6.1. */
typedef enum {
    APIC_FIXED, APIC_LOWEST, APIC_SMI, APIC_RESERVED3, APIC_NMI, APIC_INIT, APIC_SIPI, APIC_EXTINT
} ApicMode;

/* One message on the bus. */
typedef struct ApicMessage {
    uint32_t dest;       /* APIC id, or logical destination; APIC_BROADCAST */
    uint8_t vector;
    uint8_t mode;        /* ApicMode */
    bool logical;
    bool level;          /* trigger mode: an EOI is broadcast to the I/O APICs */
    bool deassert;       /* level 0: only INIT looks at it */
} ApicMessage;

#define APIC_BROADCAST UINT32_MAX

typedef struct ApicBus ApicBus;

/* Makes machine->apic_bus and maps its window at APIC_DEFAULT_BASE. */
void apic_bus_create(Machine *machine);
/* After the last APIC has gone. Nothing if there is no bus. */
void apic_bus_destroy(Machine *machine);
/* Who gives the vector of an ExtINT. ack runs on a vCPU thread without locks. */
void apic_bus_set_pic(Machine *machine, int (*ack)(Device *pic), Device *pic);
/* eoi hears of each end of a level-triggered interrupt; vCPU thread, no locks held. */
void apic_bus_add_ioapic(Machine *machine, void (*eoi)(void *opaque, uint8_t vector), void *opaque);

/* Makes and attaches the APIC of a CPU that has not been started. (borrowed) NULL with err. */
Device *apic_create(Machine *machine, X86Cpu *cpu, GError **err) WARN_UNUSED;

/* False if no APIC took it as new (unknown destination, or the vector was pending already everywhere). Any thread. */
bool apic_deliver(Machine *machine, const ApicMessage *msg);

/*
 * A message-signalled interrupt: addr in the window at APIC_DEFAULT_BASE, data as in SDM vol. 3A 10.11. What a PCI
 * function's MSI or MSI-X write becomes. Any thread. False as apic_deliver().
 */
bool apic_deliver_msi(Machine *machine, uint64_t addr, uint32_t data);
/* The message that such a write stands for. */
void apic_decode_msi(uint64_t addr, uint32_t data, ApicMessage *msg);
