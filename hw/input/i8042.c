/*
 * 8042 keyboard controller.
 *
 * The output buffer is a view: it shows an answer of the controller if there is one, else the oldest byte of the
 * keyboard or the mouse. So an answer never pushes a device's byte out.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference (keyboard and auxiliary device controller), Phoenix MultiKey/42
 * data sheet (commands 0xa4-0xff).
 */
#include "hw/input/i8042.h"

#include <hw/isa.h>
#include <string.h>

#include "hw/input/ps2.h"
#include "system/machine.h"

#define STATUS_OUT_FULL 0x01
#define STATUS_SYSTEM   0x04
#define STATUS_COMMAND  0x08 /* the last write was to the command port */
#define STATUS_UNLOCKED 0x10
#define STATUS_AUX      0x20

#define MODE_KBD_IRQ     0x01
#define MODE_AUX_IRQ     0x02
#define MODE_SYSTEM      0x04
#define MODE_KBD_OFF     0x10
#define MODE_AUX_OFF     0x20
#define MODE_TRANSLATE   0x40

#define OUT_NO_RESET 0x01
#define OUT_A20      0x02
#define OUT_KBD_FULL 0x10
#define OUT_AUX_FULL 0x20
#define OUT_ONES     0xcc

typedef enum { FROM_NOWHERE, FROM_CONTROLLER, FROM_CONTROLLER_AS_AUX, FROM_KBD, FROM_AUX } OutputSource;

typedef struct I8042 {
    IsaDevice isa;
    uint8_t mode, status, outport;
    uint8_t command;            /* whose argument comes next; 0: data for the keyboard */
    uint8_t source;             /* OutputSource */
    uint8_t answer, last;       /* controller's own byte; last byte read */
    bool answer_full, answer_aux;
    uint8_t ram[32];            /* byte 0 is the mode */
    Ps2Keyboard kbd;
    Ps2Mouse mouse;
    Irq *irqs[2], *a20;
    MemoryRegion data_io, command_io;
} I8042;

#define I8042(ptr) ((I8042 *)(ptr))

static void update_irqs(I8042 *c)
{
    bool aux = c->source == FROM_AUX || c->source == FROM_CONTROLLER_AS_AUX;
    bool kbd = c->source == FROM_KBD || c->source == FROM_CONTROLLER;
    irq_set(c->irqs[0], kbd && (c->mode & MODE_KBD_IRQ));
    irq_set(c->irqs[1], aux && (c->mode & MODE_AUX_IRQ));
}

/* Chooses what the output buffer shows. A device's byte stays until it was read, or an answer comes. */
static void fill_output(I8042 *c)
{
    if (c->answer_full)
        c->source = c->answer_aux ? FROM_CONTROLLER_AS_AUX : FROM_CONTROLLER;
    else if ((c->source == FROM_KBD && !ps2_queue_empty(&c->kbd.queue)) ||
             (c->source == FROM_AUX && !ps2_queue_empty(&c->mouse.queue)))
        ; /* shown already */
    else if (!(c->mode & MODE_KBD_OFF) && !ps2_queue_empty(&c->kbd.queue))
        c->source = FROM_KBD;
    else if (!(c->mode & MODE_AUX_OFF) && !ps2_queue_empty(&c->mouse.queue))
        c->source = FROM_AUX;
    else
        c->source = FROM_NOWHERE;
    update_irqs(c);
}

static void device_ready(void *opaque)
{
    I8042 *c = opaque;
    if (c->source == FROM_NOWHERE)
        fill_output(c);
}

static void give_answer(I8042 *c, uint8_t value, bool as_aux)
{
    c->answer = value;
    c->answer_full = true;
    c->answer_aux = as_aux;
    fill_output(c);
}

static uint8_t read_data(I8042 *c)
{
    OutputSource source = c->source;
    switch (source) {
    case FROM_CONTROLLER:
    case FROM_CONTROLLER_AS_AUX:
        c->last = c->answer;
        c->answer_full = false;
        break;
    case FROM_KBD:
        c->last = ps2_keyboard_read(&c->kbd);
        break;
    case FROM_AUX:
        c->last = ps2_mouse_read(&c->mouse);
        break;
    case FROM_NOWHERE:
        return c->last;
    }
    c->source = FROM_NOWHERE;
    update_irqs(c); /* each byte is an edge of its own */
    fill_output(c);
    return c->last;
}

static uint8_t read_status(const I8042 *c)
{
    bool aux = c->source == FROM_AUX || c->source == FROM_CONTROLLER_AS_AUX;
    return c->status | STATUS_UNLOCKED | (c->mode & MODE_SYSTEM) | (c->source != FROM_NOWHERE ? STATUS_OUT_FULL : 0) |
           (aux ? STATUS_AUX : 0);
}

static void write_mode(I8042 *c, uint8_t value)
{
    c->mode = c->ram[0] = value;
    ps2_keyboard_set_translate(&c->kbd, value & MODE_TRANSLATE);
    fill_output(c);
}

static void write_outport(I8042 *c, uint8_t value)
{
    c->outport = (value & (OUT_NO_RESET | OUT_A20)) | OUT_ONES;
    irq_set(c->a20, value & OUT_A20);
    if (!(value & OUT_NO_RESET))
        machine_request_reset(c->isa.dev.machine, CAUSE_GUEST_RESET);
}

static uint8_t read_outport(const I8042 *c)
{
    bool aux = c->source == FROM_AUX || c->source == FROM_CONTROLLER_AS_AUX;
    return c->outport | (c->source == FROM_NOWHERE ? 0 : aux ? OUT_AUX_FULL : OUT_KBD_FULL);
}

static void write_command(I8042 *c, uint8_t value)
{
    c->status |= STATUS_COMMAND;
    c->command = 0;
    switch (value) {
    case 0x20: give_answer(c, c->mode, false); break;
    case 0x21 ... 0x3f: give_answer(c, c->ram[value & 31], false); break;
    case 0x60 ... 0x7f: case 0xd1: case 0xd2: case 0xd3: case 0xd4:
        c->command = value;
        break;
    case 0xa4: give_answer(c, 0xf1, false); break; /* no password */
    case 0xa7: write_mode(c, c->mode | MODE_AUX_OFF); break;
    case 0xa8: write_mode(c, c->mode & ~MODE_AUX_OFF); break;
    case 0xa9: case 0xab: give_answer(c, 0x00, false); break; /* the lines are in order */
    case 0xaa:
        c->mode |= MODE_SYSTEM;
        give_answer(c, 0x55, false);
        break;
    case 0xad: write_mode(c, c->mode | MODE_KBD_OFF); break;
    case 0xae: write_mode(c, c->mode & ~MODE_KBD_OFF); break;
    case 0xc0: give_answer(c, 0x80, false); break; /* not locked */
    case 0xd0: give_answer(c, read_outport(c), false); break;
    case 0xdd: write_outport(c, c->outport & ~OUT_A20); break;
    case 0xdf: write_outport(c, c->outport | OUT_A20); break;
    case 0xe0: give_answer(c, 0x00, false); break;
    case 0xf0 ... 0xff: /* pulses the zero bits low */
        if (!(value & OUT_NO_RESET))
            machine_request_reset(c->isa.dev.machine, CAUSE_GUEST_RESET);
        break;
    default:
        guest_error(&c->isa.dev, "unknown keyboard controller command 0x%02x", value);
    }
}

static void write_data(I8042 *c, uint8_t value)
{
    uint8_t command = c->command;
    c->command = 0;
    c->status &= ~STATUS_COMMAND;
    switch (command) {
    case 0:
        if (c->mode & MODE_KBD_OFF)
            write_mode(c, c->mode & ~MODE_KBD_OFF); /* talking to the keyboard turns it on */
        ps2_keyboard_write(&c->kbd, value);
        break;
    case 0x60: write_mode(c, value); break;
    case 0xd1: write_outport(c, value); break;
    case 0xd2: give_answer(c, value, false); break;
    case 0xd3: give_answer(c, value, true); break;
    case 0xd4:
        if (c->mode & MODE_AUX_OFF)
            write_mode(c, c->mode & ~MODE_AUX_OFF);
        ps2_mouse_write(&c->mouse, value);
        break;
    default:
        c->ram[command & 31] = value;
    }
    fill_output(c);
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size) { return read_data(opaque); }
static uint64_t command_read(void *opaque, uint64_t offset, unsigned size) { return read_status(opaque); }
static void data_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) { write_data(opaque, value); }
static void command_write(void *opaque, uint64_t offset, uint64_t value, unsigned size) { write_command(opaque, value); }

static const MemoryRegionOps data_ops = { .read = data_read, .write = data_write, .min_access = 1, .max_access = 1 };
static const MemoryRegionOps command_ops = { .read = command_read, .write = command_write, .min_access = 1, .max_access = 1 };

static void i8042_reset(Device *dev)
{
    I8042 *c = I8042(dev);
    ps2_keyboard_reset(&c->kbd);
    ps2_mouse_reset(&c->mouse);
    c->status = STATUS_COMMAND;
    c->command = c->last = 0;
    c->answer_full = false;
    c->source = FROM_NOWHERE;
    memset(c->ram, 0, sizeof c->ram);
    write_mode(c, MODE_KBD_IRQ | MODE_AUX_IRQ);
    c->outport = OUT_NO_RESET | OUT_A20 | OUT_ONES;
    irq_set(c->a20, true);
}

static bool i8042_realize(Device *dev, GError **err)
{
    I8042 *c = I8042(dev);
    device_init_irq_out(dev, NULL, c->irqs, 2);
    device_init_irq_out(dev, "a20", &c->a20, 1);
    ps2_keyboard_init(&c->kbd, dev, device_ready);
    ps2_mouse_init(&c->mouse, dev, device_ready);
    memory_region_init_io(&c->data_io, OBJECT(c), dev->domain, &data_ops, c, "i8042-data", 1);
    memory_region_init_io(&c->command_io, OBJECT(c), dev->domain, &command_ops, c, "i8042-cmd", 1);
    isa_register_ioport(&c->isa, &c->data_io, 0x60);
    isa_register_ioport(&c->isa, &c->command_io, 0x64);
    return true;
}

static void i8042_unrealize(Device *dev)
{
    I8042 *c = I8042(dev);
    memory_region_clear(&c->data_io);
    memory_region_clear(&c->command_io);
    ps2_keyboard_cleanup(&c->kbd);
    ps2_mouse_cleanup(&c->mouse);
}

static bool i8042_post_load(void *instance, uint32_t version, GError **err)
{
    I8042 *c = instance;
    if (!ps2_queue_valid(&c->kbd.queue) || !ps2_queue_valid(&c->mouse.queue) || c->source > FROM_AUX || c->kbd.set < 1 ||
        c->kbd.set > 3) {
        error_set(err, "keyboard controller state has queues of %u and %u bytes and scan code set %u", c->kbd.queue.count,
                  c->mouse.queue.count, c->kbd.set);
        return false;
    }
    return true;
}

static const StateField i8042_state[] = {
    STATE_U8_(I8042, mode), STATE_U8_(I8042, status), STATE_U8_(I8042, outport), STATE_U8_(I8042, command),
    STATE_U8_(I8042, source), STATE_U8_(I8042, answer), STATE_U8_(I8042, last), STATE_BOOL_(I8042, answer_full),
    STATE_BOOL_(I8042, answer_aux), STATE_BYTES_(I8042, ram),
    { .name = "kbd", .kind = STATE_STRUCT, .offset = offsetof(I8042, kbd), .count = 1, .stride = sizeof(Ps2Keyboard), .sub = ps2_keyboard_state },
    { .name = "mouse", .kind = STATE_STRUCT, .offset = offsetof(I8042, mouse), .count = 1, .stride = sizeof(Ps2Mouse), .sub = ps2_mouse_state },
    STATE_POST_LOAD(i8042_post_load),
    STATE_END
};

static const IsaClass i8042_class = {
    .name = TYPE_I8042, .parent = TYPE_ISA_DEVICE, .desc = "keyboard controller with PS/2 keyboard and mouse",
    .size = sizeof(I8042), .category = DEV_INPUT, .bus = ISA_BUS_KIND, .internal = true, .no_hotplug = true,
    .realize = i8042_realize, .unrealize = i8042_unrealize, .reset = i8042_reset,
    .state = i8042_state, .state_version = 1,
};
REGISTER_ISA_DEVICE(i8042_class)

Device *i8042_create(Machine *machine, Bus *isa, GError **err)
{
    Device *dev = device_new(machine, TYPE_I8042, err);
    return dev && device_realize(dev, isa, err) ? dev : NULL;
}
