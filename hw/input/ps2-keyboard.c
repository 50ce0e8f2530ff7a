/*
 * PS/2 keyboard: scan code sets 1 to 3, lights, typematic repeat.
 *
 * With the controller's translation on, keys of set 2 are queued as the set 1 codes that translation would make of
 * them, so that keys which only set 1 has reach the guest too. Answers go through the translation table as on the wire.
 *
 * Source: IBM PS/2 Hardware Interface Technical Reference (keyboard), "Keyboard scan code specification" (Microsoft, 1.3a).
 * Limits: set 3's per-key types (0xfb-0xfd) are acknowledged by the rules but hold for no key; the all-keys forms work.
 */
#include "hw/input/ps2.h"

#include <string.h>

#include "system/machine.h"

#define ACK 0xfa
#define RESEND 0xfe
#define BAT_OK 0xaa
#define TYPEMATIC_DEFAULT 0x2b /* 500 ms, then 10.9 a second */

/* ---- queue, shared with the mouse ---- */

bool ps2_queue_empty(const Ps2Queue *queue) { return !queue->count; }
uint8_t ps2_queue_peek(const Ps2Queue *queue) { return queue->data[queue->head]; }

bool ps2_queue_put(Ps2Queue *queue, const uint8_t *bytes, unsigned n, unsigned limit)
{
    if (queue->count + n > limit)
        return false;
    for (unsigned i = 0; i < n; i++)
        queue->data[(queue->head + queue->count++) % PS2_QUEUE] = bytes[i];
    return true;
}

uint8_t ps2_queue_take(Ps2Queue *queue)
{
    if (!queue->count)
        return queue->last;
    queue->last = queue->data[queue->head];
    queue->head = (queue->head + 1) % PS2_QUEUE;
    queue->count--;
    return queue->last;
}

bool ps2_queue_valid(const Ps2Queue *queue)
{
    return queue->head < PS2_QUEUE && queue->count <= PS2_QUEUE;
}

/* ---- codes ---- */

/* Set 2 to set 1 as the 8042 does it; codes from 0x80 on stay, but for 0x83 and 0x84. */
static const uint8_t translation[128] = {
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};

static uint8_t translate_byte(uint8_t code)
{
    return code < 128 ? translation[code] : code == 0x83 ? 0x41 : code == 0x84 ? 0x54 : code;
}

/* In place; "F0 code" becomes code | 0x80. Returns the new length. */
static unsigned translate_codes(uint8_t *bytes, unsigned n)
{
    unsigned out = 0;
    for (unsigned i = 0; i < n; i++) {
        bool released = bytes[i] == 0xf0 && i + 1 < n;
        if (released)
            i++;
        bytes[out++] = translate_byte(bytes[i]) | (released ? 0x80 : 0);
    }
    return out;
}

static bool is_held(const Ps2Keyboard *kbd, KeyCode key)
{
    return kbd->held[key / 8] >> (key % 8) & 1;
}

static unsigned put_code(uint8_t *out, unsigned set, uint16_t code, bool down)
{
    unsigned n = 0;
    if (code >> 8)
        out[n++] = code >> 8;
    if (set == 1) {
        out[n++] = (code & 0xff) | (down ? 0 : 0x80);
    } else {
        if (!down)
            out[n++] = 0xf0;
        out[n++] = code;
    }
    return n;
}

/* Print: with Alt it is SysRq; alone it comes in the shift that its place on the 84-key keyboard needed. */
static unsigned encode_print(const Ps2Keyboard *kbd, unsigned set, bool down, uint8_t *out)
{
    if (is_held(kbd, KEY_ALT) || is_held(kbd, KEY_ALT_R))
        return put_code(out, set, set == 1 ? 0x54 : 0x84, down);
    uint16_t code = set == 1 ? 0xe037 : 0xe07c, shift = set == 1 ? 0xe02a : 0xe012;
    if (is_held(kbd, KEY_SHIFT) || is_held(kbd, KEY_SHIFT_R) || is_held(kbd, KEY_CTRL) || is_held(kbd, KEY_CTRL_R))
        return put_code(out, set, code, down);
    unsigned n = put_code(out, set, down ? shift : code, down);
    return n + put_code(out + n, set, down ? code : shift, down);
}

/* Pause has no break code: make and break come at once. With Ctrl it is Break. */
static unsigned encode_pause(const Ps2Keyboard *kbd, unsigned set, bool down, uint8_t *out)
{
    static const uint8_t set1[] = { 0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5 };
    static const uint8_t set2[] = { 0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77 };
    if (!down)
        return 0;
    if (is_held(kbd, KEY_CTRL) || is_held(kbd, KEY_CTRL_R)) {
        unsigned n = put_code(out, set, set == 1 ? 0xe046 : 0xe07e, true);
        return n + put_code(out + n, set, set == 1 ? 0xe046 : 0xe07e, false);
    }
    memcpy(out, set == 1 ? set1 : set2, set == 1 ? sizeof set1 : sizeof set2);
    return set == 1 ? sizeof set1 : sizeof set2;
}

/* Bytes for a key in the set that the guest sees; up to 8. */
static unsigned encode_key(const Ps2Keyboard *kbd, KeyCode key, bool down, uint8_t *out)
{
    bool as_set1 = kbd->translate && kbd->set == 2;
    unsigned set = as_set1 ? 1 : kbd->set, n = 0;
    const KeyInfo *info = key_info(key);
    uint16_t code = set == 1 ? info->set1 : set == 2 ? info->set2 : info->set3;
    if (set < 3 && (key == KEY_PRINT || key == KEY_SYSRQ))
        n = encode_print(kbd, set, down, out);
    else if (set < 3 && key == KEY_PAUSE)
        n = encode_pause(kbd, set, down, out);
    else if (code && (set < 3 || down || kbd->breaks))
        n = put_code(out, set, code, down);
    return kbd->translate && !as_set1 ? translate_codes(out, n) : n;
}

/* ---- events ---- */

static void send_event(Ps2Keyboard *kbd, KeyCode key, bool down)
{
    uint8_t bytes[8];
    unsigned n = encode_key(kbd, key, down, bytes);
    bool was_empty = ps2_queue_empty(&kbd->queue);
    if (n && ps2_queue_put(&kbd->queue, bytes, n, PS2_EVENT_LIMIT) && was_empty)
        kbd->ready(kbd->dev);
}

static int64_t typematic_delay_ns(const Ps2Keyboard *kbd)
{
    return ((kbd->typematic >> 5 & 3) + 1) * 250000000ll;
}

static int64_t typematic_period_ns(const Ps2Keyboard *kbd)
{
    return (int64_t)(8 + (kbd->typematic & 7)) * (1 << (kbd->typematic >> 3 & 3)) * 4170000;
}

static void repeat_after(Ps2Keyboard *kbd, int64_t ns)
{
    timer_mod(kbd->timer, domain_now(kbd->dev->domain, CLOCK_GUEST) + ns);
}

static void repeat_key(void *opaque)
{
    Ps2Keyboard *kbd = opaque;
    if (!kbd->repeating || !kbd->scanning)
        return;
    send_event(kbd, kbd->repeating, true);
    repeat_after(kbd, typematic_period_ns(kbd));
}

static void stop_repeat(Ps2Keyboard *kbd)
{
    kbd->repeating = 0;
    timer_del(kbd->timer);
}

static void keyboard_event(void *opaque, const InputEvent *event)
{
    Ps2Keyboard *kbd = opaque;
    KeyCode key = event->key.key;
    bool down = event->key.down;
    if ((unsigned)key >= KEY_COUNT || down == is_held(kbd, key))
        return; /* a client's own repeat: the keyboard repeats by itself */
    if (down)
        kbd->held[key / 8] |= 1u << (key % 8);
    else
        kbd->held[key / 8] &= ~(1u << (key % 8));
    if (!kbd->scanning)
        return;
    send_event(kbd, key, down);
    if (!down && kbd->repeating == key)
        stop_repeat(kbd);
    if (down && key != KEY_PAUSE && (kbd->set < 3 || kbd->repeats)) {
        kbd->repeating = key;
        repeat_after(kbd, typematic_delay_ns(kbd));
    }
}

/* ---- commands ---- */

static void answer(Ps2Keyboard *kbd, uint8_t value)
{
    bool was_empty = ps2_queue_empty(&kbd->queue);
    uint8_t byte = kbd->translate ? translate_byte(value) : value;
    if (ps2_queue_put(&kbd->queue, &byte, 1, PS2_QUEUE) && was_empty)
        kbd->ready(kbd->dev);
}

static void set_defaults(Ps2Keyboard *kbd)
{
    kbd->set = 2;
    kbd->typematic = TYPEMATIC_DEFAULT;
    kbd->repeats = kbd->breaks = true;
    stop_repeat(kbd);
}

static void write_argument(Ps2Keyboard *kbd, uint8_t command, uint8_t value)
{
    switch (command) {
    case 0xed:
        answer(kbd, ACK);
        input_set_leds(kbd->dev->machine, value & 7);
        break;
    case 0xf0:
        if (value > 3) {
            answer(kbd, RESEND);
            break;
        }
        answer(kbd, ACK);
        if (value)
            kbd->set = value;
        else
            answer(kbd, kbd->set);
        break;
    case 0xf3:
        answer(kbd, ACK);
        kbd->typematic = value & 0x7f;
        break;
    default: /* fb, fc, fd: types of single keys, a list that the next command ends */
        answer(kbd, ACK);
        kbd->command = command;
    }
}

static void write_command(Ps2Keyboard *kbd, uint8_t value)
{
    switch (value) {
    case 0xed: case 0xf0: case 0xf3: case 0xfb: case 0xfc: case 0xfd:
        answer(kbd, ACK);
        kbd->command = value;
        break;
    case 0xee:
        answer(kbd, 0xee);
        break;
    case 0xf2:
        answer(kbd, ACK);
        answer(kbd, 0xab);
        answer(kbd, 0x83);
        break;
    case 0xf4:
        kbd->queue.count = 0;
        kbd->scanning = true;
        answer(kbd, ACK);
        break;
    case 0xf5:
    case 0xf6:
        set_defaults(kbd);
        kbd->scanning = value == 0xf6;
        answer(kbd, ACK);
        break;
    case 0xf7: case 0xf8: case 0xf9: case 0xfa: /* all keys of set 3 */
        kbd->repeats = value == 0xf7 || value == 0xfa;
        kbd->breaks = value == 0xf8 || value == 0xfa;
        answer(kbd, ACK);
        break;
    case 0xfe: {
        uint8_t last = kbd->queue.last;
        bool was_empty = ps2_queue_empty(&kbd->queue);
        if (ps2_queue_put(&kbd->queue, &last, 1, PS2_QUEUE) && was_empty)
            kbd->ready(kbd->dev);
        break;
    }
    case 0xff:
        ps2_keyboard_reset(kbd);
        answer(kbd, ACK);
        answer(kbd, BAT_OK);
        break;
    default:
        answer(kbd, RESEND);
    }
}

void ps2_keyboard_write(Ps2Keyboard *kbd, uint8_t value)
{
    uint8_t command = kbd->command;
    kbd->command = 0;
    if (command && value < 0xed) /* a command in place of an argument ends the old one */
        write_argument(kbd, command, value);
    else
        write_command(kbd, value);
}

uint8_t ps2_keyboard_read(Ps2Keyboard *kbd)
{
    return ps2_queue_take(&kbd->queue);
}

void ps2_keyboard_set_translate(Ps2Keyboard *kbd, bool translate)
{
    kbd->translate = translate;
}

/* ---- life ---- */

void ps2_keyboard_reset(Ps2Keyboard *kbd)
{
    kbd->queue = (Ps2Queue){ 0 };
    kbd->command = 0;
    kbd->scanning = true;
    set_defaults(kbd);
    input_set_leds(kbd->dev->machine, 0);
}

void ps2_keyboard_init(Ps2Keyboard *kbd, Device *dev, Ps2Ready *ready)
{
    static const InputHandlerOps ops = { .name = "PS/2 keyboard", .kinds = INPUT_KEY, .event = keyboard_event };
    kbd->dev = dev;
    kbd->ready = ready;
    kbd->timer = timer_new(dev->domain, CLOCK_GUEST, repeat_key, kbd);
    kbd->input = input_register(dev->machine, &ops, kbd, false);
}

void ps2_keyboard_cleanup(Ps2Keyboard *kbd)
{
    g_clear_pointer(&kbd->input, input_unregister);
    g_clear_pointer(&kbd->timer, timer_free);
}

static const StateField queue_state[] = {
    STATE_BYTES_(Ps2Queue, data), STATE_U8_(Ps2Queue, head), STATE_U8_(Ps2Queue, count), STATE_U8_(Ps2Queue, last), STATE_END
};

const StateField ps2_keyboard_state[] = {
    { .name = "queue", .kind = STATE_STRUCT, .offset = offsetof(Ps2Keyboard, queue), .count = 1, .stride = sizeof(Ps2Queue), .sub = queue_state },
    STATE_U8_(Ps2Keyboard, set), STATE_U8_(Ps2Keyboard, command), STATE_U8_(Ps2Keyboard, typematic),
    STATE_BOOL_(Ps2Keyboard, scanning), STATE_BOOL_(Ps2Keyboard, translate), STATE_BOOL_(Ps2Keyboard, repeats),
    STATE_BOOL_(Ps2Keyboard, breaks),
    STATE_END
};

const StateField ps2_mouse_state[] = {
    { .name = "queue", .kind = STATE_STRUCT, .offset = offsetof(Ps2Mouse, queue), .count = 1, .stride = sizeof(Ps2Queue), .sub = queue_state },
    STATE_U8_(Ps2Mouse, command), STATE_U8_(Ps2Mouse, id), STATE_U8_(Ps2Mouse, resolution), STATE_U8_(Ps2Mouse, rate),
    STATE_U8_(Ps2Mouse, magic), STATE_BOOL_(Ps2Mouse, enabled), STATE_BOOL_(Ps2Mouse, remote), STATE_BOOL_(Ps2Mouse, wrap),
    STATE_BOOL_(Ps2Mouse, scale2), STATE_U8_(Ps2Mouse, buttons), STATE_U8_(Ps2Mouse, sent_buttons),
    STATE_END
};
