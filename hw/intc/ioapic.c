/*
 * 82093AA I/O APIC with 24 pins.
 *
 * Source: Intel 82093AA data sheet (290566-001); EOI register: Intel ICH documentation of I/O APIC version 0x20
 * (register at offset 0x40). The polarity bit is stored and has no effect: inputs carry "asserted", not volts.
 *
 * Own mutex, taken before a local APIC's.
 */
#include "hw/intc/ioapic.h"

#include "hw/intc/apic.h"
#include "system/machine.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10
#define REG_EOI    0x40

#define REDIR_VECTOR     0xffull
#define REDIR_MODE_SHIFT 8
#define REDIR_LOGICAL    (1ull << 11)
#define REDIR_STATUS     (1ull << 12)
#define REDIR_REMOTE_IRR (1ull << 14)
#define REDIR_LEVEL      (1ull << 15)
#define REDIR_MASKED     (1ull << 16)
#define REDIR_READONLY   (REDIR_STATUS | REDIR_REMOTE_IRR)
#define REDIR_WRITABLE   0xff0000000001afffull

typedef struct Ioapic {
    Device dev;
    GMutex lock;
    uint8_t id, select;
    uint32_t lines;                 /* levels of the pins */
    uint64_t redir[IOAPIC_PINS];
    uint8_t version;                /* 0x11 or 0x20; the latter has the EOI register */
    MemoryRegion mmio;
} Ioapic;

#define IOAPIC(ptr) ((Ioapic *)(ptr))

/* Sends what pin n has to say, if anything. */
static void service_pin_locked(Ioapic *io, unsigned n)
{
    uint64_t entry = io->redir[n];
    bool level = entry & REDIR_LEVEL;
    if ((entry & REDIR_MASKED) || (level && ((entry & REDIR_REMOTE_IRR) || !(io->lines & (1u << n)))))
        return;
    ApicMessage msg = {
        .dest = entry >> 56, .vector = entry & REDIR_VECTOR, .mode = (entry >> REDIR_MODE_SHIFT) & 7,
        .logical = entry & REDIR_LOGICAL, .level = level,
    };
    if (msg.dest == 0xff && !msg.logical)
        msg.dest = APIC_BROADCAST;
    /* Remote IRR belongs to fixed and lowest-priority interrupts: only those are ended by an EOI. */
    if (level && msg.mode <= APIC_LOWEST)
        io->redir[n] |= REDIR_REMOTE_IRR;
    apic_deliver(io->dev.machine, &msg);
}

static void ioapic_input(void *opaque, unsigned n, bool level)
{
    Ioapic *io = opaque;
    unsigned pin = n == 0 ? 2 : n;
    uint32_t bit = 1u << pin;
    g_mutex_lock(&io->lock);
    bool rises = level && !(io->lines & bit);
    io->lines = level ? io->lines | bit : io->lines & ~bit;
    if (rises) /* an edge on a masked pin is lost, a level is looked at again when the mask goes */
        service_pin_locked(io, pin);
    g_mutex_unlock(&io->lock);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    Ioapic *io = opaque;
    g_mutex_lock(&io->lock);
    for (unsigned n = 0; n < IOAPIC_PINS; n++) {
        uint64_t entry = io->redir[n];
        if ((entry & REDIR_VECTOR) != vector || !(entry & REDIR_REMOTE_IRR))
            continue;
        io->redir[n] &= ~REDIR_REMOTE_IRR;
        service_pin_locked(io, n);
    }
    g_mutex_unlock(&io->lock);
}

static uint32_t read_window(Ioapic *io)
{
    switch (io->select) {
    case 0x00: /* id */
    case 0x02: /* arbitration id */
        return (uint32_t)io->id << 24;
    case 0x01:
        return io->version | (IOAPIC_PINS - 1) << 16;
    default: {
        unsigned index = io->select - 0x10u;
        if (index >= 2 * IOAPIC_PINS)
            return 0;
        return io->redir[index / 2] >> (index & 1 ? 32 : 0);
    }
    }
}

static void write_redirection(Ioapic *io, unsigned index, uint32_t value)
{
    unsigned n = index / 2;
    uint64_t old = io->redir[n];
    uint64_t entry = index & 1 ? (old & UINT32_MAX) | (uint64_t)value << 32 : (old & ~(uint64_t)UINT32_MAX) | value;
    entry = (entry & REDIR_WRITABLE & ~REDIR_READONLY) | (old & REDIR_READONLY);
    if (!(entry & REDIR_LEVEL))
        entry &= ~REDIR_REMOTE_IRR; /* how software without an EOI register clears a stuck one */
    io->redir[n] = entry;
    if (entry & REDIR_LEVEL)
        service_pin_locked(io, n);
}

static void write_window(Ioapic *io, uint32_t value)
{
    if (io->select == 0)
        io->id = (value >> 24) & 0x0f;
    else if (io->select >= 0x10 && io->select < 0x10 + 2 * IOAPIC_PINS)
        write_redirection(io, io->select - 0x10, value);
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    Ioapic *io = opaque;
    uint64_t value = 0;
    g_mutex_lock(&io->lock);
    if ((offset & 0xff) == REG_SELECT)
        value = io->select;
    else if ((offset & 0xff) == REG_WINDOW)
        value = read_window(io);
    g_mutex_unlock(&io->lock);
    return value;
}

static void ioapic_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Ioapic *io = opaque;
    switch (offset & 0xff) {
    case REG_SELECT:
    case REG_WINDOW:
        g_mutex_lock(&io->lock);
        if ((offset & 0xff) == REG_SELECT)
            io->select = value;
        else
            write_window(io, value);
        g_mutex_unlock(&io->lock);
        break;
    case REG_EOI:
        if (io->version >= 0x20)
            end_of_interrupt(io, value);
        break;
    }
}

static const MemoryRegionOps ioapic_ops = { .read = ioapic_read, .write = ioapic_write, .min_access = 4, .max_access = 4 };

static void ioapic_reset(Device *dev)
{
    Ioapic *io = IOAPIC(dev);
    g_mutex_lock(&io->lock);
    io->id = io->select = 0;
    for (unsigned n = 0; n < IOAPIC_PINS; n++)
        io->redir[n] = REDIR_MASKED;
    g_mutex_unlock(&io->lock);
}

static bool ioapic_realize(Device *dev, GError **err)
{
    Ioapic *io = IOAPIC(dev);
    if (io->version != 0x11 && io->version != 0x20) {
        error_set(err, "ioapic version 0x%x does not exist, 0x11 and 0x20 do", io->version);
        return false;
    }
    device_init_irq_in(dev, NULL, ioapic_input, IOAPIC_PINS);
    memory_region_init_io(&io->mmio, OBJECT(io), NULL, &ioapic_ops, io, "ioapic", 0x1000);
    memory_region_add(&dev->machine->mem_root, IOAPIC_DEFAULT_BASE, &io->mmio, 1);
    apic_bus_add_ioapic(dev->machine, end_of_interrupt, io);
    return true;
}

static void ioapic_unrealize(Device *dev)
{
    memory_region_clear(&IOAPIC(dev)->mmio);
}

static void ioapic_init(Object *obj) { g_mutex_init(&IOAPIC(obj)->lock); }
static void ioapic_finalize(Object *obj) { g_mutex_clear(&IOAPIC(obj)->lock); }

static const Property ioapic_props[] = {
    PROP_U8("version", Ioapic, version, 0x20, 0, 0, "version register: 0x11, or 0x20 with an EOI register"),
    PROP_END
};

static const StateField ioapic_state[] = {
    STATE_U8_(Ioapic, id), STATE_U8_(Ioapic, select), STATE_U32_(Ioapic, lines), STATE_ARRAY_(Ioapic, redir, STATE_U64),
    STATE_END
};

static const DeviceClass ioapic_class = {
    .name = TYPE_IOAPIC, .parent = TYPE_DEVICE, .desc = "82093AA I/O APIC", .size = sizeof(Ioapic), .props = ioapic_props,
    .category = DEV_MISC, .internal = true, .no_hotplug = true,
    .init = ioapic_init, .finalize = ioapic_finalize,
    .realize = ioapic_realize, .unrealize = ioapic_unrealize, .reset = ioapic_reset,
    .state = ioapic_state, .state_version = 1,
};
REGISTER_DEVICE(ioapic_class)

Device *ioapic_create(Machine *machine, GError **err)
{
    Device *dev = device_new(machine, TYPE_IOAPIC, err);
    if (!dev)
        return NULL;
    object_add_child(object_get_container("/machine"), "ioapic", OBJECT(dev));
    return device_realize(dev, NULL, err) ? dev : NULL;
}
