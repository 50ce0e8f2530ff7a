/*
 * example-countdown: a PCI device that counts down and interrupts at zero. An example of a complete device model: one
 * register window (BAR 0), an interrupt (MSI where the guest enables it, else INTx), properties, a timer, saved state.
 *
 * Registers, 32 bits each:
 *   0x00  ID       read-only 0x00434431
 *   0x04  VALUE    the counter; a write sets it
 *   0x08  CONTROL  bit 0: counting; cleared by itself when the counter reaches 0
 *   0x0c  STATUS   bit 0: reached 0, and the interrupt is raised; write 1 to clear
 *   0x10  TICK     read-only: ns for each step (the property tick-ns)
 */
#include <hw/msix.h>
#include <hw/pci.h>

enum { REG_ID = 0x00, REG_VALUE = 0x04, REG_CONTROL = 0x08, REG_STATUS = 0x0c, REG_TICK = 0x10, WINDOW_SIZE = 0x1000 };
enum { ID_VALUE = 0x00434431, CONTROL_RUN = 1, STATUS_DONE = 1 };

typedef struct {
    PciDevice pci;          /* first: a Countdown is a PciDevice */
    MemoryRegion window;
    Timer *timer;
    uint32_t tick_ns;       /* property */
    bool msi;               /* property */
    uint32_t value, control, status;
} Countdown;

#define COUNTDOWN(ptr) ((Countdown *)(ptr))

/* ---- the model ---- */

static void update_irq(Countdown *c)
{
    if (msi_enabled(&c->pci)) {
        if (c->status & STATUS_DONE)
            msi_notify(&c->pci, 0);
        return;
    }
    pci_set_irq(&c->pci, c->status & STATUS_DONE);
}

static void arm(Countdown *c)
{
    if (c->control & CONTROL_RUN)
        timer_mod(c->timer, domain_now(c->pci.dev.domain, CLOCK_GUEST) + c->tick_ns);
    else
        timer_del(c->timer);
}

static void tick(void *opaque)
{
    Countdown *c = opaque;
    if (c->value)
        c->value--;
    if (!c->value) {
        c->control &= ~CONTROL_RUN;
        c->status |= STATUS_DONE;
        update_irq(c);
    }
    arm(c);
}

/* ---- register window ---- */

static uint64_t window_read(void *opaque, uint64_t offset, unsigned size)
{
    Countdown *c = opaque;
    switch (offset) {
    case REG_ID: return ID_VALUE;
    case REG_VALUE: return c->value;
    case REG_CONTROL: return c->control;
    case REG_STATUS: return c->status;
    case REG_TICK: return c->tick_ns;
    }
    guest_error(&c->pci.dev, "read of register 0x%" PRIx64 ", which does not exist", offset);
    return 0;
}

static void window_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Countdown *c = opaque;
    switch (offset) {
    case REG_VALUE:
        c->value = (uint32_t)value;
        break;
    case REG_CONTROL:
        c->control = value & CONTROL_RUN;
        arm(c);
        break;
    case REG_STATUS:
        c->status &= ~(uint32_t)value;
        update_irq(c);
        break;
    default:
        guest_error(&c->pci.dev, "write to register 0x%" PRIx64 ", which can't be written", offset);
    }
}

/* Other access sizes never arrive here: the core splits or refuses them. */
static const MemoryRegionOps window_ops = { .read = window_read, .write = window_write, .min_access = 4, .max_access = 4 };

/* ---- life ---- */

static bool countdown_realize(Device *dev, GError **err)
{
    Countdown *c = COUNTDOWN(dev);
    /* what can fail comes first: then there is nothing to undo */
    if (c->msi && !msi_init(&c->pci, 0, 1, false, err))
        return false;
    c->timer = timer_new(dev->domain, CLOCK_GUEST, tick, c);
    memory_region_init_io(&c->window, &dev->obj, dev->domain, &window_ops, c, "example-countdown", WINDOW_SIZE);
    pci_register_bar(&c->pci, 0, PCI_BAR_MEM32, &c->window);
    pci_set_interrupt_pin(&c->pci, 1);
    return true;
}

static void countdown_unrealize(Device *dev)
{
    Countdown *c = COUNTDOWN(dev);
    timer_free(c->timer);
    memory_region_clear(&c->window);
}

static void countdown_reset(Device *dev)
{
    Countdown *c = COUNTDOWN(dev);
    c->value = c->control = c->status = 0;
    timer_del(c->timer);
    pci_set_irq(&c->pci, false);
}

/* ---- what the rest of the program knows of it: three tables ---- */

static const Property countdown_props[] = {
    PROP_U32("tick-ns", Countdown, tick_ns, 1000000, 1000, 1000000000, "time for each step, ns"),
    PROP_BOOL("msi", Countdown, msi, true, "has the MSI capability"),
    PROP_END
};

static const StateField countdown_state[] = {
    STATE_U32_(Countdown, value), STATE_U32_(Countdown, control), STATE_U32_(Countdown, status),
    STATE_TIMER_(Countdown, timer), STATE_END
};

static const PciClass countdown_class = {
    .name = "example-countdown", .parent = TYPE_PCI_DEVICE, .bus = PCI_BUS_KIND, .desc = "example: counts down, then interrupts",
    .size = sizeof(Countdown), .category = DEV_MISC, .props = countdown_props, .state = countdown_state, .state_version = 1,
    .realize = countdown_realize, .unrealize = countdown_unrealize, .reset = countdown_reset,
    .vendor_id = 0x1234, .device_id = 0xcd01, .class_id = 0x0880,
};
REGISTER_PCI_DEVICE(countdown_class)
