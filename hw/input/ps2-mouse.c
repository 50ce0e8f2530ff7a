/*
 * PS/2 mouse, with the wheel (IntelliMouse, id 3) and five-button (Explorer, id 4) extensions.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference (mouse); Microsoft, "IntelliMouse PS/2 protocol" for the two
 * sequences of sample rates.
 * Limits: the sample rate is kept and reported; movement is sent when the guest has taken what was sent before, which
 * paces it better than a rate would. Resolution has no effect on counts.
 */
#include "hw/input/ps2.h"

#include "system/machine.h"

#define ACK 0xfa
#define NACK 0xfe
#define BAT_OK 0xaa
#define BTN_LEFT 0x01
#define BTN_RIGHT 0x02
#define BTN_MIDDLE 0x04
#define BTN_SIDE 0x08
#define BTN_EXTRA 0x10
#define ACCUMULATE_MAX 8192 /* counts remembered while the guest does not listen */

static void answer(Ps2Mouse *mouse, uint8_t value)
{
    bool was_empty = ps2_queue_empty(&mouse->queue);
    if (ps2_queue_put(&mouse->queue, &value, 1, PS2_QUEUE) && was_empty)
        mouse->ready(mouse->dev);
}

/* 2:1 scaling of stream mode, IBM's table. */
static int scaled(int counts)
{
    static const uint8_t small[6] = { 0, 1, 1, 3, 6, 9 };
    int n = ABS(counts), s = n < 6 ? small[n] : 2 * n;
    return counts < 0 ? -s : s;
}

static int take(int32_t *from, int limit)
{
    int part = CLAMP(*from, -limit, limit);
    *from -= part;
    return part;
}

/* One packet of what has gathered: 3 bytes, 4 with a wheel. */
static unsigned make_packet(Ps2Mouse *mouse, bool stream, uint8_t out[4])
{
    bool scale = stream && mouse->scale2;
    int limit = scale ? 127 / 2 : 127;
    int dx = take(&mouse->dx, limit), dy = take(&mouse->dy, limit);
    if (scale) {
        dx = scaled(dx);
        dy = scaled(dy);
    }
    dy = -dy; /* the wire counts up */
    out[0] = 0x08 | (mouse->buttons & 7) | (dx < 0 ? 0x10 : 0) | (dy < 0 ? 0x20 : 0);
    out[1] = dx;
    out[2] = dy;
    mouse->sent_buttons = mouse->buttons;
    if (!mouse->id) {
        mouse->dz = 0;
        return 3;
    }
    int dz = take(&mouse->dz, 7);
    out[3] = mouse->id == 4 ? (dz & 0x0f) | (mouse->buttons & BTN_SIDE ? 0x10 : 0) | (mouse->buttons & BTN_EXTRA ? 0x20 : 0)
                            : dz;
    return 4;
}

static bool has_news(const Ps2Mouse *mouse)
{
    return mouse->dx || mouse->dy || (mouse->dz && mouse->id) || mouse->buttons != mouse->sent_buttons;
}

static void stream(Ps2Mouse *mouse)
{
    uint8_t packet[4];
    if (!mouse->enabled || mouse->remote || mouse->wrap || !ps2_queue_empty(&mouse->queue) || !has_news(mouse))
        return;
    unsigned n = make_packet(mouse, true, packet);
    if (ps2_queue_put(&mouse->queue, packet, n, PS2_EVENT_LIMIT))
        mouse->ready(mouse->dev);
}

/* ---- events ---- */

static void set_button(Ps2Mouse *mouse, InputButton button, bool down)
{
    static const uint8_t bits[BUTTON_COUNT] = {
        [BUTTON_LEFT] = BTN_LEFT, [BUTTON_RIGHT] = BTN_RIGHT, [BUTTON_MIDDLE] = BTN_MIDDLE,
        [BUTTON_SIDE] = BTN_SIDE, [BUTTON_EXTRA] = BTN_EXTRA,
    };
    if (button == BUTTON_WHEEL_UP || button == BUTTON_WHEEL_DOWN) {
        if (down)
            mouse->dz = CLAMP(mouse->dz + (button == BUTTON_WHEEL_UP ? -1 : 1), -127, 127);
        return;
    }
    uint8_t bit = button < BUTTON_COUNT ? bits[button] : 0;
    mouse->buttons = down ? mouse->buttons | bit : mouse->buttons & ~bit;
}

static void mouse_event(void *opaque, const InputEvent *event)
{
    Ps2Mouse *mouse = opaque;
    if (event->kind == INPUT_BUTTON) {
        set_button(mouse, event->button.button, event->button.down);
    } else if (event->kind == INPUT_REL && mouse->enabled) {
        int32_t *sum = event->move.axis == AXIS_X ? &mouse->dx : &mouse->dy;
        *sum = CLAMP((int64_t)*sum + event->move.value, -ACCUMULATE_MAX, ACCUMULATE_MAX);
    }
}

static void mouse_sync(void *opaque)
{
    stream(opaque);
}

/* ---- commands ---- */

static void set_defaults(Ps2Mouse *mouse)
{
    mouse->rate = 100;
    mouse->resolution = 2;
    mouse->scale2 = mouse->remote = mouse->wrap = mouse->enabled = false;
    mouse->dx = mouse->dy = mouse->dz = 0;
}

/* Rates 200, 100, 80 turn on the wheel; 200, 200, 80 after that the extra buttons. */
static void watch_rates(Ps2Mouse *mouse, uint8_t rate)
{
    if (rate == 80 && mouse->magic == 2)
        mouse->id = 3;
    else if (rate == 80 && mouse->magic == 3)
        mouse->id = 4;
    if (rate == 200)
        mouse->magic = mouse->magic == 1 ? 3 : 1;
    else
        mouse->magic = rate == 100 && mouse->magic == 1 ? 2 : 0;
}

static void write_argument(Ps2Mouse *mouse, uint8_t command, uint8_t value)
{
    if (command == 0xe8) {
        if (value > 3) {
            answer(mouse, NACK);
            return;
        }
        mouse->resolution = value;
    } else {
        mouse->rate = value;
        watch_rates(mouse, value);
    }
    answer(mouse, ACK);
}

static void send_status(Ps2Mouse *mouse)
{
    answer(mouse, ACK);
    answer(mouse, (mouse->remote ? 0x40 : 0) | (mouse->enabled ? 0x20 : 0) | (mouse->scale2 ? 0x10 : 0) |
                      (mouse->buttons & BTN_LEFT ? 4 : 0) | (mouse->buttons & BTN_MIDDLE ? 2 : 0) |
                      (mouse->buttons & BTN_RIGHT ? 1 : 0));
    answer(mouse, mouse->resolution);
    answer(mouse, mouse->rate);
}

static void send_data(Ps2Mouse *mouse)
{
    uint8_t packet[4];
    answer(mouse, ACK);
    unsigned n = make_packet(mouse, false, packet);
    for (unsigned i = 0; i < n; i++)
        answer(mouse, packet[i]);
}

static void write_command(Ps2Mouse *mouse, uint8_t value)
{
    switch (value) {
    case 0xe6: mouse->scale2 = false; answer(mouse, ACK); break;
    case 0xe7: mouse->scale2 = true; answer(mouse, ACK); break;
    case 0xe8: case 0xf3: mouse->command = value; answer(mouse, ACK); break;
    case 0xe9: send_status(mouse); break;
    case 0xea: mouse->remote = false; answer(mouse, ACK); break;
    case 0xeb: send_data(mouse); break;
    case 0xec: mouse->wrap = false; answer(mouse, ACK); break;
    case 0xee: mouse->wrap = true; answer(mouse, ACK); break;
    case 0xf0: mouse->remote = true; answer(mouse, ACK); break;
    case 0xf2:
        answer(mouse, ACK);
        answer(mouse, mouse->id);
        break;
    case 0xf4: mouse->enabled = true; answer(mouse, ACK); break;
    case 0xf5: mouse->enabled = false; answer(mouse, ACK); break;
    case 0xf6: set_defaults(mouse); answer(mouse, ACK); break;
    case 0xfe: answer(mouse, mouse->queue.last); break;
    case 0xff:
        ps2_mouse_reset(mouse);
        answer(mouse, ACK);
        answer(mouse, BAT_OK);
        answer(mouse, mouse->id);
        break;
    default:
        answer(mouse, NACK);
    }
}

void ps2_mouse_write(Ps2Mouse *mouse, uint8_t value)
{
    uint8_t command = mouse->command;
    if (mouse->wrap && value != 0xec && value != 0xff) {
        answer(mouse, value);
        return;
    }
    mouse->command = 0;
    /* Whatever was on its way is dropped when the host talks. */
    mouse->queue.count = 0;
    if (command)
        write_argument(mouse, command, value);
    else
        write_command(mouse, value);
}

uint8_t ps2_mouse_read(Ps2Mouse *mouse)
{
    uint8_t value = ps2_queue_take(&mouse->queue);
    stream(mouse);
    return value;
}

/* ---- life ---- */

void ps2_mouse_reset(Ps2Mouse *mouse)
{
    mouse->queue = (Ps2Queue){ 0 };
    mouse->command = mouse->magic = mouse->id = 0;
    mouse->sent_buttons = mouse->buttons;
    set_defaults(mouse);
}

void ps2_mouse_init(Ps2Mouse *mouse, Device *dev, Ps2Ready *ready)
{
    static const InputHandlerOps ops = {
        .name = "QEMU PS/2 Mouse", .kinds = INPUT_REL | INPUT_BUTTON, .event = mouse_event, .sync = mouse_sync
    };
    mouse->dev = dev;
    mouse->ready = ready;
    mouse->input = input_register(dev->machine, &ops, mouse, false);
}

void ps2_mouse_cleanup(Ps2Mouse *mouse)
{
    g_clear_pointer(&mouse->input, input_unregister);
}
