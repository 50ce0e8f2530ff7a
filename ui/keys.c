/* The table of keys. See ui/input.h. */
#include <ui/input.h>

#include <string.h>

static const KeyInfo keys[KEY_COUNT] = {
#define KEY(constant, name, set1, set2, set3) [constant] = { name, set1, set2, set3 },
#include <ui/keys.def>
#undef KEY
};

static const char *const names[KEY_COUNT + 1] = {
#define KEY(constant, name, set1, set2, set3) [constant] = name,
#include <ui/keys.def>
#undef KEY
};

const char *const input_button_names[BUTTON_COUNT + 1] = {
    "left", "middle", "right", "wheel-up", "wheel-down", "side", "extra", "wheel-left", "wheel-right", "touch", NULL
};
const char *const input_axis_names[AXIS_COUNT + 1] = { "x", "y", NULL };

const KeyInfo *key_info(KeyCode key)
{
    return &keys[(unsigned)key < KEY_COUNT ? key : KEY_UNMAPPED];
}

const char *const *key_names(void)
{
    return names;
}

KeyCode key_by_name(const char *name)
{
    KeyCode key = 0;
    while (key < KEY_COUNT && strcmp(names[key], name))
        key++;
    return key;
}

KeyCode key_by_number(unsigned number)
{
    unsigned code = (number & 0x7f) | (number & 0x80 ? 0xe000 : 0);
    for (KeyCode key = 1; code && number <= 0xff && key < KEY_COUNT; key++)
        if (keys[key].set1 == code)
            return key;
    return KEY_UNMAPPED;
}
