/*
 * 82371SB (PIIX3) function 0: PCI to ISA bridge, PIRQ routing, reset control.
 */
#pragma once

#include <hw/isa.h>
#include <hw/pci.h>

#define TYPE_PIIX3 "PIIX3"

typedef struct Piix3 Piix3;

/* At function 0 of slot 1; its bus is "isa.0". pirq[16] are the interrupt controllers' inputs that PIRQA-D can be routed to. */
Piix3 *piix3_create(Machine *machine, PciBus *bus, MemoryRegion *isa_mem, Irq *const pirq[ISA_IRQS], GError **err) WARN_UNUSED;
/* The reset control register at port 0xcf9. */
uint8_t piix3_reset_control_read(void *piix3);
void piix3_reset_control_write(void *piix3, uint8_t value);
IsaBus *piix3_isa_bus(Piix3 *piix3);
/* Routes as firmware leaves them: PIRQA, B to IRQ 10; C, D to 11 (direct kernel boot). */
void piix3_route_defaults(Piix3 *piix3);
/* The interrupt line that INTA..INTD (pin 0..3) of a slot reaches with these routes. */
uint8_t piix3_default_irq(unsigned slot, unsigned pin);
