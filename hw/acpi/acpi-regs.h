/*
 * ACPI fixed hardware: PM1 event and control registers, the 24-bit PM timer, one general purpose event block, and SCI.
 * A chipset's power management function owns one and decides where its windows are.
 *
 * Source: ACPI specification 6.4 §4.8.
 */
#pragma once

#include <hw/device.h>

#define ACPI_PM_TIMER_HZ 3579545
#define ACPI_PM_SIZE 64
#define ACPI_GPE_BYTES 2 /* status; as many for enable */

#define ACPI_PM1_STS 0
#define ACPI_PM1_EN 2
#define ACPI_PM1_CNT 4
#define ACPI_PM_TMR 8

#define ACPI_PM1_TIMER 0x0001
#define ACPI_PM1_GLOBAL 0x0020
#define ACPI_PM1_POWER_BUTTON 0x0100
#define ACPI_PM1_WAKE 0x8000
#define ACPI_CNT_SCI_EN 0x0001
#define ACPI_CNT_SLP_TYP_SHIFT 10
#define ACPI_CNT_SLP_EN 0x2000

typedef struct AcpiRegs {
    Device *owner;
    Irq *sci;                                          /* level, high while an enabled event is pending */
    void (*sleep)(Device *owner, unsigned sleep_type); /* SLP_EN was written */
    MemoryRegion pm, gpe;                              /* ACPI_PM_SIZE and 2 * ACPI_GPE_BYTES bytes of ports */
    Timer *timer;
    int64_t next_toggle;                               /* PM timer ticks, unbounded, at which bit 23 changes next */
    uint16_t sts, en, cnt;
    uint8_t gpe_sts[ACPI_GPE_BYTES], gpe_en[ACPI_GPE_BYTES];
} AcpiRegs;

void acpi_regs_init(AcpiRegs *regs, Device *owner, void (*sleep)(Device *owner, unsigned sleep_type));
void acpi_regs_clear(AcpiRegs *regs);
void acpi_regs_reset(AcpiRegs *regs);
/* After a load: SCI and the timer follow the registers. */
void acpi_regs_update(AcpiRegs *regs);
void acpi_raise_pm1(AcpiRegs *regs, uint16_t bits);
void acpi_raise_gpe(AcpiRegs *regs, unsigned bit);
/* What the OS asks for through the SMI command port. */
void acpi_set_sci_enable(AcpiRegs *regs, bool enable);

extern const StateField acpi_regs_state[];
