/*
 * The PC's pair of 8259A interrupt controllers and the edge/level control registers at 0x4d0 and 0x4d1.
 *
 * Source: Intel 8259A data sheet (231468-003); edge/level registers: 82371SB (PIIX3) data sheet 2.5.8.
 * Limits: MCS-80 mode is not modelled (bit 0 of ICW4 is taken as 1); an edge stays latched when the line falls before
 * it is acknowledged, as chipsets of the PCI age do.
 *
 * One mutex guards both chips. It is taken before a local APIC's, never after it.
 */
#include "hw/intc/i8259.h"

#include <hw/isa.h>

#include "system/machine.h"

#define CASCADE 2      /* input of the master that the slave's INT drives */
#define CASCADE_BIT (1u << CASCADE)
#define SPURIOUS 7

/* What the next write to the data port means. */
typedef enum { PIC_READY, PIC_WANT_ICW2, PIC_WANT_ICW3, PIC_WANT_ICW4 } PicInit;

typedef struct PicChip {
    uint8_t irr;          /* requests; of edge inputs latched, of level inputs the level */
    uint8_t isr, imr;
    uint8_t lines;        /* levels of the inputs */
    uint8_t elcr;         /* 1: level-triggered */
    uint8_t base;         /* ICW2 */
    uint8_t lowest;       /* input that has the lowest priority */
    uint8_t init;         /* PicInit */
    bool want_icw4, single, level_mode;
    bool auto_eoi, rotate_on_auto_eoi, fully_nested; /* the last: special fully nested mode */
    bool special_mask, poll, read_isr;
} PicChip;

typedef struct I8259 {
    IsaDevice isa;
    GMutex lock;
    PicChip chip[2];      /* master, slave */
    Irq *intr;
    MemoryRegion io[2], elcr_io;
} I8259;

#define I8259(ptr) ((I8259 *)(ptr))

static const uint8_t elcr_writable[2] = { 0xf8, 0xde };

static uint8_t level_inputs(const PicChip *chip)
{
    return chip->level_mode ? 0xff : chip->elcr;
}

/* The input with a priority; 0 is the highest. */
static unsigned input_at(const PicChip *chip, unsigned priority)
{
    return (priority + chip->lowest + 1) & 7;
}

/* Best priority among the inputs in mask; 8 if there is none. */
static unsigned best_priority(const PicChip *chip, uint8_t mask)
{
    for (unsigned p = 0; p < 8; p++)
        if (mask & (1u << input_at(chip, p)))
            return p;
    return 8;
}

/* The input that this chip would interrupt for now, or -1. */
static int pending_input(const PicChip *chip, bool master)
{
    unsigned wanted = best_priority(chip, chip->irr & ~chip->imr);
    if (wanted == 8)
        return -1;
    uint8_t blocking = chip->special_mask ? chip->isr & ~chip->imr : chip->isr;
    if (master && chip->fully_nested)
        blocking &= ~CASCADE_BIT; /* the slave may interrupt its own service */
    return wanted < best_priority(chip, blocking) ? (int)input_at(chip, wanted) : -1;
}

static void update_locked(I8259 *pic)
{
    PicChip *master = &pic->chip[0];
    if (pending_input(&pic->chip[1], false) >= 0)
        master->irr |= CASCADE_BIT;
    else
        master->irr &= ~CASCADE_BIT;
    irq_set(pic->intr, pending_input(master, true) >= 0);
}

static void set_line(PicChip *chip, unsigned input, bool level)
{
    uint8_t bit = 1u << input;
    if (level_inputs(chip) & bit)
        chip->irr = level ? chip->irr | bit : chip->irr & ~bit;
    else if (level && !(chip->lines & bit))
        chip->irr |= bit;
    chip->lines = level ? chip->lines | bit : chip->lines & ~bit;
}

static void i8259_input(void *opaque, unsigned n, bool level)
{
    I8259 *pic = opaque;
    if (n == CASCADE)
        return;
    g_mutex_lock(&pic->lock);
    set_line(&pic->chip[n >> 3], n & 7, level);
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
}

/* The INTA cycle as one chip sees it. */
static void acknowledge(PicChip *chip, unsigned input)
{
    uint8_t bit = 1u << input;
    if (!(level_inputs(chip) & bit))
        chip->irr &= ~bit;
    if (!chip->auto_eoi)
        chip->isr |= bit;
    else if (chip->rotate_on_auto_eoi)
        chip->lowest = input;
}

int i8259_ack(Device *dev)
{
    I8259 *pic = I8259(dev);
    PicChip *master = &pic->chip[0], *slave = &pic->chip[1];
    g_mutex_lock(&pic->lock);
    int input = pending_input(master, true);
    int vector;
    if (input == CASCADE && !master->single) {
        int second = pending_input(slave, false);
        if (second >= 0)
            acknowledge(slave, second);
        vector = slave->base + (second >= 0 ? second : SPURIOUS);
        acknowledge(master, CASCADE);
    } else {
        if (input >= 0)
            acknowledge(master, input);
        vector = master->base + (input >= 0 ? input : SPURIOUS);
    }
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
    return vector;
}

static void end_of_interrupt(PicChip *chip, uint8_t command)
{
    unsigned input = command & 7;
    if (!(command & 0x40)) { /* not specific: the one in service with the highest priority */
        uint8_t candidates = chip->special_mask ? chip->isr & ~chip->imr : chip->isr;
        unsigned best = best_priority(chip, candidates);
        if (best == 8)
            return;
        input = input_at(chip, best);
    }
    chip->isr &= ~(1u << input);
    if (command & 0x80)
        chip->lowest = input;
}

static void write_ocw2(PicChip *chip, uint8_t value)
{
    switch (value >> 5) {
    case 0:
    case 4:
        chip->rotate_on_auto_eoi = value & 0x80;
        break;
    case 1: /* EOI, with rotation, for a given input */
    case 3:
    case 5:
    case 7:
        end_of_interrupt(chip, value);
        break;
    case 6:
        chip->lowest = value & 7;
        break;
    }
}

static void write_ocw3(PicChip *chip, uint8_t value)
{
    if (value & 0x04)
        chip->poll = true;
    if (value & 0x02)
        chip->read_isr = value & 0x01;
    if (value & 0x40)
        chip->special_mask = value & 0x20;
}

static void write_icw1(PicChip *chip, uint8_t value)
{
    chip->level_mode = value & 0x08;
    chip->single = value & 0x02;
    chip->want_icw4 = value & 0x01;
    chip->irr = chip->lines & level_inputs(chip); /* edge sense is reset */
    chip->isr = chip->imr = 0;
    chip->lowest = 7;
    chip->special_mask = chip->poll = chip->read_isr = false;
    if (!chip->want_icw4)
        chip->auto_eoi = chip->rotate_on_auto_eoi = chip->fully_nested = false;
    chip->init = PIC_WANT_ICW2;
}

static void write_data(PicChip *chip, uint8_t value)
{
    switch (chip->init) {
    case PIC_READY:
        chip->imr = value;
        break;
    case PIC_WANT_ICW2:
        chip->base = value & 0xf8;
        chip->init = !chip->single ? PIC_WANT_ICW3 : chip->want_icw4 ? PIC_WANT_ICW4 : PIC_READY;
        break;
    case PIC_WANT_ICW3: /* which input cascades is wired on this board */
        chip->init = chip->want_icw4 ? PIC_WANT_ICW4 : PIC_READY;
        break;
    case PIC_WANT_ICW4:
        chip->auto_eoi = value & 0x02;
        chip->fully_nested = value & 0x10;
        if (!chip->auto_eoi)
            chip->rotate_on_auto_eoi = false;
        chip->init = PIC_READY;
        break;
    }
}

static void i8259_write(I8259 *pic, unsigned n, uint64_t offset, uint8_t value)
{
    PicChip *chip = &pic->chip[n];
    g_mutex_lock(&pic->lock);
    if (offset)
        write_data(chip, value);
    else if (value & 0x10)
        write_icw1(chip, value);
    else if (value & 0x08)
        write_ocw3(chip, value);
    else
        write_ocw2(chip, value);
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
}

/* The read that follows a poll command acknowledges in place of INTA. */
static uint8_t read_poll(I8259 *pic, unsigned n)
{
    PicChip *chip = &pic->chip[n];
    int input = pending_input(chip, n == 0);
    chip->poll = false;
    if (input < 0)
        return 0;
    acknowledge(chip, input);
    update_locked(pic);
    return 0x80 | input;
}

static uint8_t i8259_read(I8259 *pic, unsigned n, uint64_t offset)
{
    PicChip *chip = &pic->chip[n];
    g_mutex_lock(&pic->lock);
    uint8_t value = chip->poll ? read_poll(pic, n) : offset ? chip->imr : chip->read_isr ? chip->isr : chip->irr;
    g_mutex_unlock(&pic->lock);
    return value;
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size) { return i8259_read(opaque, 0, offset); }
static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size) { return i8259_read(opaque, 1, offset); }
static void master_write(void *opaque, uint64_t offset, uint64_t v, unsigned size) { i8259_write(opaque, 0, offset, v); }
static void slave_write(void *opaque, uint64_t offset, uint64_t v, unsigned size) { i8259_write(opaque, 1, offset, v); }

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    return I8259(opaque)->chip[offset & 1].elcr;
}

static void elcr_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    I8259 *pic = opaque;
    PicChip *chip = &pic->chip[offset & 1];
    g_mutex_lock(&pic->lock);
    chip->elcr = value & elcr_writable[offset & 1];
    uint8_t level = level_inputs(chip);
    chip->irr = (chip->irr & ~level) | (chip->lines & level);
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
}

static const MemoryRegionOps chip_ops[2] = {
    { .read = master_read, .write = master_write, .min_access = 1, .max_access = 1 },
    { .read = slave_read, .write = slave_write, .min_access = 1, .max_access = 1 },
};
static const MemoryRegionOps elcr_ops = { .read = elcr_read, .write = elcr_write, .min_access = 1, .max_access = 1 };

static void i8259_reset(Device *dev)
{
    I8259 *pic = I8259(dev);
    g_mutex_lock(&pic->lock);
    for (unsigned n = 0; n < 2; n++) {
        uint8_t lines = pic->chip[n].lines;
        /* The data sheet leaves the power-on state open. All masked: nothing reaches a guest that has not set up vectors. */
        pic->chip[n] = (PicChip){ .lines = lines, .lowest = 7, .imr = 0xff };
    }
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
}

static bool i8259_realize(Device *dev, GError **err)
{
    I8259 *pic = I8259(dev);
    static const uint16_t ports[2] = { 0x20, 0xa0 };
    device_init_irq_in(dev, NULL, i8259_input, 16);
    device_init_irq_out(dev, NULL, &pic->intr, 1);
    for (unsigned n = 0; n < 2; n++) {
        memory_region_init_io(&pic->io[n], OBJECT(pic), NULL, &chip_ops[n], pic, n ? "pic-slave" : "pic-master", 2);
        isa_register_ioport(&pic->isa, &pic->io[n], ports[n]);
    }
    memory_region_init_io(&pic->elcr_io, OBJECT(pic), NULL, &elcr_ops, pic, "elcr", 2);
    isa_register_ioport(&pic->isa, &pic->elcr_io, 0x4d0);
    return true;
}

static void i8259_unrealize(Device *dev)
{
    I8259 *pic = I8259(dev);
    memory_region_clear(&pic->io[0]);
    memory_region_clear(&pic->io[1]);
    memory_region_clear(&pic->elcr_io);
}

static void i8259_init(Object *obj) { g_mutex_init(&I8259(obj)->lock); }
static void i8259_finalize(Object *obj) { g_mutex_clear(&I8259(obj)->lock); }

static bool i8259_post_load(void *instance, uint32_t version, GError **err)
{
    I8259 *pic = instance;
    for (unsigned n = 0; n < 2; n++) {
        pic->chip[n].lowest &= 7;
        if (pic->chip[n].init > PIC_WANT_ICW4) {
            error_set(err, "interrupt controller state has initialization step %u, the last is %d", pic->chip[n].init,
                      PIC_WANT_ICW4);
            return false;
        }
    }
    g_mutex_lock(&pic->lock);
    update_locked(pic);
    g_mutex_unlock(&pic->lock);
    return true;
}

static const StateField chip_state[] = {
    STATE_U8_(PicChip, irr), STATE_U8_(PicChip, isr), STATE_U8_(PicChip, imr), STATE_U8_(PicChip, lines),
    STATE_U8_(PicChip, elcr), STATE_U8_(PicChip, base), STATE_U8_(PicChip, lowest), STATE_U8_(PicChip, init),
    STATE_BOOL_(PicChip, want_icw4), STATE_BOOL_(PicChip, single), STATE_BOOL_(PicChip, level_mode),
    STATE_BOOL_(PicChip, auto_eoi), STATE_BOOL_(PicChip, rotate_on_auto_eoi), STATE_BOOL_(PicChip, fully_nested),
    STATE_BOOL_(PicChip, special_mask), STATE_BOOL_(PicChip, poll), STATE_BOOL_(PicChip, read_isr),
    STATE_END
};

static const StateField i8259_state[] = {
    STATE_STRUCTS_(I8259, chip, chip_state),
    STATE_POST_LOAD(i8259_post_load),
    STATE_END
};

static const IsaClass i8259_class = {
    .name = TYPE_I8259, .parent = TYPE_ISA_DEVICE, .desc = "pair of 8259A interrupt controllers", .size = sizeof(I8259),
    .category = DEV_MISC, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .init = i8259_init, .finalize = i8259_finalize,
    .realize = i8259_realize, .unrealize = i8259_unrealize, .reset = i8259_reset,
    .state = i8259_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(i8259_class)

Device *i8259_create(Machine *machine, Bus *isa, GError **err)
{
    Device *dev = device_new(machine, TYPE_I8259, err);
    return dev && device_realize(dev, isa, err) ? dev : NULL;
}
