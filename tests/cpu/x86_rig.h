/*
 * A CPU on a table: 16 MiB of RAM, an x86 CPU of any model, no board, no thread. Tests put code and tables into RAM
 * and step.
 */
#pragma once

#include "accel/x86/exec.h"
#include "accel/x86/features.h"
#include "accel/x86/models.h"

#define RIG_RAM (16 * MIB)
/* Where the set-up functions put things; below is free. */
#define RIG_TABLES 0x100000 /* page tables */
#define RIG_GDT 0x110000
#define RIG_IDT 0x111000
#define RIG_TSS 0x112000
#define RIG_MMIO 0x2000000  /* a register window of 4 KiB behind RAM */
/* Selectors of rig_protected() and rig_long() */
enum {
    RIG_CODE0 = 0x08, RIG_DATA0 = 0x10, RIG_CODE3 = 0x1b, RIG_DATA3 = 0x23, RIG_CODE64 = 0x28, RIG_CODE64_3 = 0x33,
    RIG_TSS_SEL = 0x38, /* 16 bytes */
    RIG_FREE = 0x50,    /* tests' own from here */
};

typedef struct Rig {
    Machine *machine;
    X86Cpu *cpu;
    X86State *st;
    uint8_t *ram;
    MemoryRegion region, window;
    uint64_t mmio_last, mmio_value;
    unsigned mmio_writes, mmio_reads;
} Rig;

Rig *rig_new(const char *cpu_type);
/* The same under another accelerator, whose run function the test calls itself. */
Rig *rig_new_accel(const char *cpu_type, const char *accel);
void rig_free(Rig *rig);
/* Power-on state, RAM cleared. */
void rig_reset(Rig *rig);
void rig_put(Rig *rig, uint64_t gpa, const void *bytes, size_t len);
#define RIG_CODE(rig, gpa, ...) rig_put(rig, gpa, (const uint8_t[]) { __VA_ARGS__ }, sizeof((const uint8_t[]) { __VA_ARGS__ }))
/* Descriptor for the GDT: type as in the second byte (P, DPL, S, type), flags: G D L AVL in the top nibble. */
uint64_t rig_desc(uint32_t base, uint32_t limit, uint8_t type, uint8_t flags);
void rig_gdt(Rig *rig, unsigned selector, uint64_t value);
/* Real mode at cs:ip, stack at 0:0x7000. */
void rig_real(Rig *rig, uint16_t cs, uint16_t ip);
/* Flat 32-bit ring 0, GDT, IDT (empty), 32-bit TSS loaded; stack at 0x7000. */
void rig_protected(Rig *rig, uint32_t eip);
/* 64-bit ring 0, first 16 MiB and the window identity-mapped with 2 MiB pages, user-accessible. */
void rig_long(Rig *rig, uint64_t rip);
void rig_ring3(Rig *rig);
/* Gate in the IDT: type with P and DPL; 8 or 16 bytes by mode. */
void rig_gate(Rig *rig, unsigned vector, uint16_t sel, uint64_t offset, uint8_t type, unsigned ist);
/* Steps n instructions; fails the test on shutdown or unknown instructions. */
void rig_step(Rig *rig, unsigned n);
/* Runs f with a fault handler: the event that it raised, or vector 255 if none. */
X86Event rig_catch(Rig *rig, void (*f)(Rig *rig));
