/*
 * PS/2 keyboard and mouse as a keyboard controller sees them: bytes in, bytes out.
 *
 * Both are parts of their controller. `ready` is called when a byte can be taken and there was none before.
 * Machine's domain locked.
 */
#pragma once

#include <hw/device.h>
#include <ui/input.h>

#define PS2_QUEUE 64
#define PS2_EVENT_LIMIT 16 /* bytes of events that a device buffers; the rest of the queue is for answers */

typedef struct Ps2Queue {
    uint8_t data[PS2_QUEUE];
    uint8_t head, count;
    uint8_t last;  /* last byte taken, for "resend" */
} Ps2Queue;

typedef void Ps2Ready(void *opaque);

typedef struct Ps2Keyboard {
    Ps2Queue queue;
    Device *dev;               /* controller */
    Ps2Ready *ready;
    InputHandler *input;
    uint8_t set;               /* 1..3 */
    uint8_t command;           /* whose argument comes next; 0: none */
    uint8_t typematic;
    bool scanning;
    bool translate;            /* the controller wants set 1 */
    bool repeats, breaks;      /* set 3: typematic, break codes */
    uint8_t held[(KEY_COUNT + 7) / 8];
    uint32_t repeating;        /* KeyCode, 0: none */
    Timer *timer;
} Ps2Keyboard;

typedef struct Ps2Mouse {
    Ps2Queue queue;
    Device *dev;
    Ps2Ready *ready;
    InputHandler *input;
    uint8_t command;           /* whose argument comes next; 0: none */
    uint8_t id;                /* 0, 3: wheel, 4: wheel and five buttons */
    uint8_t resolution, rate;
    uint8_t magic;             /* how far the sequence of sample rates that selects an id has come */
    bool enabled, remote, wrap, scale2;
    uint8_t buttons, sent_buttons; /* bit 0 left, 1 right, 2 middle, 3 side, 4 extra */
    int32_t dx, dy, dz;        /* not reported yet; dy counts down, dz towards the user */
} Ps2Mouse;

bool ps2_queue_empty(const Ps2Queue *queue);
uint8_t ps2_queue_peek(const Ps2Queue *queue);

void ps2_keyboard_init(Ps2Keyboard *kbd, Device *dev, Ps2Ready *ready);
void ps2_keyboard_cleanup(Ps2Keyboard *kbd);
void ps2_keyboard_reset(Ps2Keyboard *kbd);
void ps2_keyboard_write(Ps2Keyboard *kbd, uint8_t value);
uint8_t ps2_keyboard_read(Ps2Keyboard *kbd); /* takes the oldest byte, 0 if there is none */
void ps2_keyboard_set_translate(Ps2Keyboard *kbd, bool translate);

void ps2_mouse_init(Ps2Mouse *mouse, Device *dev, Ps2Ready *ready);
void ps2_mouse_cleanup(Ps2Mouse *mouse);
void ps2_mouse_reset(Ps2Mouse *mouse);
void ps2_mouse_write(Ps2Mouse *mouse, uint8_t value);
uint8_t ps2_mouse_read(Ps2Mouse *mouse);

bool ps2_queue_put(Ps2Queue *queue, const uint8_t *bytes, unsigned n, unsigned limit); /* all or none */
uint8_t ps2_queue_take(Ps2Queue *queue);
bool ps2_queue_valid(const Ps2Queue *queue);
extern const StateField ps2_keyboard_state[], ps2_mouse_state[];
