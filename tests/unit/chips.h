/*
 * A machine without a board for tests of single chips: an ISA bus whose lines are recorded, memory and port accesses, a
 * clock that moves when told to.
 */
#pragma once

#include <hw/isa.h>

#include "system/machine.h"

static Machine *machine;
static IsaBus *isa;
static bool line_level[32];      /* ISA lines, and what a test connects */
static unsigned line_rises[32];

static inline void line_changed(void *opaque, unsigned n, bool level)
{
    line_rises[n] += level && !line_level[n];
    line_level[n] = level;
}

static inline Irq *line(unsigned n) { return irq_new(line_changed, NULL, n); }

static inline void chips_start(void)
{
    g_autoptr(GError) err = NULL;
    Irq *irqs[ISA_IRQS];
    machine = (Machine *)object_new("none-machine", &err);
    g_assert_no_error(err);
    object_add_child(object_get_root(), "machine", OBJECT(machine));
    domain_lock(machine->domain);
    clocks_set_manual(machine->clocks);
    machine->rtc_clock = CLOCK_GUEST;
    for (unsigned i = 0; i < ISA_IRQS; i++)
        irqs[i] = line(i);
    isa = isa_bus_new(machine, NULL, &machine->mem_root, &machine->io_root);
    isa_bus_set_irqs(isa, irqs);
    g_assert_true(machine_cont(machine, &err));
}

static inline uint32_t in_n(uint16_t port, unsigned size)
{
    uint64_t value = 0;
    MemView *view = address_space_view_ref(machine->io);
    mem_view_read(view, port, &value, size);
    mem_view_unref(view);
    return value;
}

static inline void out_n(uint16_t port, uint32_t value, unsigned size)
{
    MemView *view = address_space_view_ref(machine->io);
    mem_view_write(view, port, value, size);
    mem_view_unref(view);
}

static inline uint8_t inb(uint16_t port) { return in_n(port, 1); }
static inline void outb(uint16_t port, uint8_t value) { out_n(port, value, 1); }

static inline uint64_t mem_read(uint64_t addr, unsigned size)
{
    uint64_t value = 0;
    MemView *view = address_space_view_ref(machine->mem);
    mem_view_read(view, addr, &value, size);
    mem_view_unref(view);
    return value;
}

static inline void mem_write(uint64_t addr, uint64_t value, unsigned size)
{
    MemView *view = address_space_view_ref(machine->mem);
    mem_view_write(view, addr, value, size);
    mem_view_unref(view);
}

static inline int64_t now(void) { return clock_now(machine->clocks, CLOCK_GUEST); }
static inline void step(int64_t ns) { clocks_step_to(machine->clocks, now() + ns); }
/* To the next deadline; -1 when there is none. */
static inline int64_t step_next(void)
{
    int64_t next = clocks_next_deadline(machine->clocks);
    if (next >= 0)
        clocks_step_to(machine->clocks, next);
    return next;
}

static inline void reset(Device *dev) { device_class(dev)->reset(dev); }

static inline uint32_t rnd(void) { return g_test_rand_int(); }
