/*
 * Keyboard and pointer input on its way from where it arises (QMP, VNC) to the devices that take it.
 *
 * Devices register a handler with what they take; an event goes to the active handler of the highest priority that
 * takes its kind. All functions: machine's domain locked. Names are those of QMP (QKeyCode, InputButton, InputAxis).
 */
#pragma once

#include <rhea/base.h>

typedef struct Machine Machine;

typedef enum {
#define KEY(constant, name, set1, set2, set3) constant,
#include <ui/keys.def>
#undef KEY
    KEY_COUNT
} KeyCode;

typedef struct KeyInfo {
    const char *name;
    uint16_t set1, set2, set3; /* PS/2 scan codes, 0xe0NN with prefix; 0: none */
} KeyInfo;

const KeyInfo *key_info(KeyCode key);           /* of KEY_UNMAPPED if out of range */
KeyCode key_by_name(const char *name);          /* KEY_COUNT if unknown */
/* "number" of QMP's KeyValue: set 1 code, plus 0x80 for prefix E0. KEY_UNMAPPED if no key has it. */
KeyCode key_by_number(unsigned number);
const char *const *key_names(void);             /* NULL-terminated, by KeyCode */

typedef enum {
    BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT, BUTTON_WHEEL_UP, BUTTON_WHEEL_DOWN, BUTTON_SIDE, BUTTON_EXTRA,
    BUTTON_WHEEL_LEFT, BUTTON_WHEEL_RIGHT, BUTTON_TOUCH, BUTTON_COUNT
} InputButton;
typedef enum { AXIS_X, AXIS_Y, AXIS_COUNT } InputAxis;
extern const char *const input_button_names[BUTTON_COUNT + 1];
extern const char *const input_axis_names[AXIS_COUNT + 1];

#define INPUT_ABS_MAX 0x7fff /* absolute positions: 0..INPUT_ABS_MAX over the screen */

typedef enum { INPUT_KEY = 1, INPUT_BUTTON = 2, INPUT_REL = 4, INPUT_ABS = 8 } InputKind;

typedef struct InputEvent {
    InputKind kind;
    union {
        struct { KeyCode key; bool down; } key;
        struct { InputButton button; bool down; } button;
        struct { InputAxis axis; int32_t value; } move; /* REL: counts, right and down positive. ABS: position */
    };
} InputEvent;

typedef struct InputHandlerOps {
    const char *name;                 /* as query-mice shows it */
    unsigned kinds;                   /* InputKind bits that it takes */
    void (*event)(void *opaque, const InputEvent *event);
    void (*sync)(void *opaque);       /* events up to here belong together; may be NULL */
} InputHandlerOps;

typedef struct InputHandler InputHandler;
typedef struct InputRouter InputRouter;

/* The newest handler has the highest priority unless `low`: then it comes after those already there. (owned) */
InputHandler *input_register(Machine *machine, const InputHandlerOps *ops, void *opaque, bool low);
void input_unregister(InputHandler *handler); /* NULL is allowed */
/* Highest priority from now on (mouse_set, or a guest driver that woke up). */
void input_activate(InputHandler *handler);
/* A handler that is switched off by its guest takes nothing. */
void input_set_enabled(InputHandler *handler, bool enabled);

/* Events; dropped while the machine does not run. input_sync() ends a group of them. */
void input_send(Machine *machine, const InputEvent *event);
void input_sync(Machine *machine);
void input_send_key(Machine *machine, KeyCode key, bool down);
void input_send_button(Machine *machine, InputButton button, bool down);
void input_send_rel(Machine *machine, InputAxis axis, int32_t value);
void input_send_abs(Machine *machine, InputAxis axis, int32_t value);
/* send-key: presses n keys in order, and releases them in reverse order hold_ms later. Such calls queue up. */
void input_type_keys(Machine *machine, const KeyCode *keys, unsigned n, unsigned hold_ms);
/* Does the pointer that has the priority take absolute positions? */
bool input_is_absolute(Machine *machine);

/* query-mice, mouse_set: pointers by priority; index is stable while registered. func returns false to stop. */
typedef bool InputMouseFunc(void *opaque, unsigned index, const char *name, bool current, bool absolute);
void input_foreach_mouse(Machine *machine, InputMouseFunc *func, void *opaque);
bool input_select_mouse(Machine *machine, unsigned index); /* false: no such pointer */

/* Keyboard lights, set by the keyboard that the guest talks to. */
#define INPUT_LED_SCROLL 1
#define INPUT_LED_NUM 2
#define INPUT_LED_CAPS 4
typedef void InputLedFunc(void *opaque, unsigned leds);
void input_set_leds(Machine *machine, unsigned leds);
unsigned input_leds(Machine *machine);
void input_watch_leds(Machine *machine, InputLedFunc *func, void *opaque);
void input_unwatch_leds(Machine *machine, InputLedFunc *func, void *opaque);

/* Called once when the machine goes. */
void input_cleanup(Machine *machine);
