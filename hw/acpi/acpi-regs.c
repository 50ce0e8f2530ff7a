/*
 * ACPI fixed hardware registers, see the header.
 */
#include "hw/acpi/acpi-regs.h"

#include "system/machine.h"

#define PM1_EN_MASK 0x0721
#define PM1_STS_MASK 0x8731
#define CNT_MASK 0x1c07
#define HALF_PERIOD 0x800000

static int64_t ticks_now(const AcpiRegs *regs)
{
    return (int64_t)((__int128)domain_now(regs->owner->domain, CLOCK_GUEST) * ACPI_PM_TIMER_HZ / NS_PER_SEC);
}

/* The first ns at which the timer shows `ticks`. */
static int64_t ticks_to_ns(int64_t ticks)
{
    return (int64_t)(((__int128)ticks * NS_PER_SEC + ACPI_PM_TIMER_HZ - 1) / ACPI_PM_TIMER_HZ);
}

/* Status bit 0 follows bit 23 of the timer; it is worked out when somebody looks. */
static void catch_up_timer(AcpiRegs *regs)
{
    if (ticks_now(regs) >= regs->next_toggle)
        regs->sts |= ACPI_PM1_TIMER;
}

void acpi_regs_update(AcpiRegs *regs)
{
    catch_up_timer(regs);
    bool pending = regs->sts & regs->en & PM1_EN_MASK;
    for (unsigned i = 0; i < ACPI_GPE_BYTES; i++)
        pending |= regs->gpe_sts[i] & regs->gpe_en[i];
    irq_set(regs->sci, pending && (regs->cnt & ACPI_CNT_SCI_EN));

    if ((regs->en & ACPI_PM1_TIMER) && !(regs->sts & ACPI_PM1_TIMER))
        timer_mod(regs->timer, ticks_to_ns(regs->next_toggle));
    else
        timer_del(regs->timer);
}

static void timer_due(void *opaque)
{
    acpi_regs_update(opaque);
}

void acpi_raise_pm1(AcpiRegs *regs, uint16_t bits)
{
    regs->sts |= bits;
    acpi_regs_update(regs);
}

void acpi_raise_gpe(AcpiRegs *regs, unsigned bit)
{
    g_assert(bit < ACPI_GPE_BYTES * 8);
    regs->gpe_sts[bit / 8] |= 1u << (bit % 8);
    acpi_regs_update(regs);
}

void acpi_set_sci_enable(AcpiRegs *regs, bool enable)
{
    regs->cnt = enable ? regs->cnt | ACPI_CNT_SCI_EN : regs->cnt & ~ACPI_CNT_SCI_EN;
    acpi_regs_update(regs);
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiRegs *regs = opaque;
    uint8_t image[ACPI_PM_SIZE] = { 0 };
    uint64_t value = 0;

    catch_up_timer(regs);
    st16(image + ACPI_PM1_STS, regs->sts);
    st16(image + ACPI_PM1_EN, regs->en);
    st16(image + ACPI_PM1_CNT, regs->cnt);
    st32(image + ACPI_PM_TMR, ticks_now(regs) & 0xffffff);
    memcpy(&value, image + offset, size);
    return value;
}

/* Each byte that was written, as (value, mask) of the 16-bit register at reg. */
static uint16_t written(uint64_t offset, uint64_t value, unsigned size, unsigned reg, uint16_t *mask)
{
    uint16_t result = 0;

    *mask = 0;
    for (unsigned i = 0; i < size; i++) {
        if (offset + i != reg && offset + i != reg + 1)
            continue;
        unsigned shift = (offset + i - reg) * 8;
        result |= (value >> (i * 8) & 0xff) << shift;
        *mask |= 0xff << shift;
    }
    return result;
}

static void pm_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiRegs *regs = opaque;
    uint16_t mask, bits;

    bits = written(offset, value, size, ACPI_PM1_STS, &mask);
    if (bits & PM1_STS_MASK) {
        catch_up_timer(regs);
        if (bits & ACPI_PM1_TIMER)
            regs->next_toggle = (ticks_now(regs) + HALF_PERIOD) & ~(int64_t)(HALF_PERIOD - 1);
        regs->sts &= ~(bits & PM1_STS_MASK);
    }
    bits = written(offset, value, size, ACPI_PM1_EN, &mask);
    regs->en = (regs->en & ~mask) | (bits & mask & PM1_EN_MASK);
    bits = written(offset, value, size, ACPI_PM1_CNT, &mask);
    /* SCI_EN is changed through the SMI command port; SLP_EN reads as 0. */
    mask &= CNT_MASK & ~ACPI_CNT_SCI_EN;
    regs->cnt = (regs->cnt & ~mask) | (bits & mask);
    acpi_regs_update(regs);
    if (bits & ACPI_CNT_SLP_EN)
        regs->sleep(regs->owner, regs->cnt >> ACPI_CNT_SLP_TYP_SHIFT & 7);
}

static uint64_t gpe_read(void *opaque, uint64_t offset, unsigned size)
{
    AcpiRegs *regs = opaque;

    return offset < ACPI_GPE_BYTES ? regs->gpe_sts[offset] : regs->gpe_en[offset - ACPI_GPE_BYTES];
}

static void gpe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    AcpiRegs *regs = opaque;

    if (offset < ACPI_GPE_BYTES)
        regs->gpe_sts[offset] &= ~value;
    else
        regs->gpe_en[offset - ACPI_GPE_BYTES] = value;
    acpi_regs_update(regs);
}

static const MemoryRegionOps pm_ops = {
    .read = pm_read, .write = pm_write, .min_access = 1, .max_access = 4, .valid_max = 4,
};
static const MemoryRegionOps gpe_ops = {
    .read = gpe_read, .write = gpe_write, .min_access = 1, .max_access = 1, .valid_max = 4,
};

void acpi_regs_init(AcpiRegs *regs, Device *owner, void (*sleep)(Device *owner, unsigned sleep_type))
{
    regs->owner = owner;
    regs->sleep = sleep;
    regs->timer = timer_new(owner->domain, CLOCK_GUEST, timer_due, regs);
    memory_region_init_io(&regs->pm, OBJECT(owner), owner->domain, &pm_ops, regs, "acpi-pm", ACPI_PM_SIZE);
    memory_region_init_io(&regs->gpe, OBJECT(owner), owner->domain, &gpe_ops, regs, "acpi-gpe0", 2 * ACPI_GPE_BYTES);
}

void acpi_regs_clear(AcpiRegs *regs)
{
    memory_region_clear(&regs->pm);
    memory_region_clear(&regs->gpe);
    g_clear_pointer(&regs->timer, timer_free);
}

void acpi_regs_reset(AcpiRegs *regs)
{
    regs->sts = regs->en = regs->cnt = 0;
    memset(regs->gpe_sts, 0, sizeof(regs->gpe_sts));
    memset(regs->gpe_en, 0, sizeof(regs->gpe_en));
    regs->next_toggle = (ticks_now(regs) + HALF_PERIOD) & ~(int64_t)(HALF_PERIOD - 1);
    acpi_regs_update(regs);
}

const StateField acpi_regs_state[] = {
    STATE_I64_(AcpiRegs, next_toggle), STATE_U16_(AcpiRegs, sts), STATE_U16_(AcpiRegs, en), STATE_U16_(AcpiRegs, cnt),
    STATE_BYTES_(AcpiRegs, gpe_sts), STATE_BYTES_(AcpiRegs, gpe_en), STATE_END
};
