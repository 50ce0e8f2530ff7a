/*
 * The versioned pc machines and what -machine accepts for them.
 *
 * Versions differ in names only so far: each is the machine that its name meant to guests and management tools.
 */
#include <json-c/json.h>

#include "hw/i386/pc.h"

/* ---- properties that live outside the plain kinds ----------------------------------------------------------------- */

static char **string_field(Object *obj, const Property *prop)
{
    return (char **)((char *)obj + prop->offset);
}

static json_object *string_get(Object *obj, const Property *prop, GError **err)
{
    const char *text = *string_field(obj, prop);
    return json_object_new_string(text ? text : "");
}

static bool string_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    char **field = string_field(obj, prop);

    if (!json_object_is_type(value, json_type_string)) {
        error_set(err, "machine property '%s' takes text", prop->name);
        return false;
    }
    g_free(*field);
    *field = g_strdup(json_object_get_string(value));
    return true;
}

/* on/off/auto in text or JSON; -1 if it is something else. */
static int parse_switch(json_object *value)
{
    static const struct { const char *text; int value; } words[] = {
        { "on", ON_OFF_AUTO_ON }, { "yes", ON_OFF_AUTO_ON }, { "true", ON_OFF_AUTO_ON }, { "y", ON_OFF_AUTO_ON },
        { "off", ON_OFF_AUTO_OFF }, { "no", ON_OFF_AUTO_OFF }, { "false", ON_OFF_AUTO_OFF }, { "n", ON_OFF_AUTO_OFF },
        { "auto", ON_OFF_AUTO_AUTO },
    };

    if (json_object_is_type(value, json_type_boolean))
        return json_object_get_boolean(value) ? ON_OFF_AUTO_ON : ON_OFF_AUTO_OFF;
    for (unsigned i = 0; i < G_N_ELEMENTS(words) && json_object_is_type(value, json_type_string); i++)
        if (!g_ascii_strcasecmp(json_object_get_string(value), words[i].text))
            return words[i].value;
    return -1;
}

static bool switch_value(const Property *prop, json_object *value, int *result, GError **err)
{
    *result = parse_switch(value);
    if (*result < 0)
        error_set(err, "machine property '%s' takes on, off or auto, not '%s'", prop->name, json_object_get_string(value));
    return *result >= 0;
}

static json_object *acpi_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string(((Machine *)obj)->acpi ? "on" : "off");
}

static bool acpi_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    int choice;

    if (!switch_value(prop, value, &choice, err))
        return false;
    ((Machine *)obj)->acpi = choice != ON_OFF_AUTO_OFF;
    return true;
}

static json_object *off_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string("off");
}

/* Parts that the machine does not have: off and auto are what it is, on is refused. */
static bool off_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    int choice;

    if (!switch_value(prop, value, &choice, err))
        return false;
    if (choice != ON_OFF_AUTO_ON)
        return true;
    error_set(err, "machine property '%s' can't be on: %s is not supported", prop->name, (const char *)prop->def_str);
    return false;
}

static json_object *usb_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_boolean(false);
}

static json_object *irqchip_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_string("off");
}

/* Interrupt controllers in the kernel exist under KVM only, and not in this version. */
static bool irqchip_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    int choice = parse_switch(value);

    if (choice == ON_OFF_AUTO_OFF)
        return true;
    error_set(err, "kernel-irqchip=%s is not supported: the interrupt controllers are always the emulator's own (off)",
              json_object_get_string(value));
    return false;
}

#define PROP_MACHINE_STR(n, f, h) \
    { .name = n, .kind = PROP_KIND_CUSTOM, .type = "string", .offset = offsetof(PcMachine, f), .get = string_get, \
      .set = string_set, .help = h }
#define PROP_ABSENT(n, t, g, what) \
    { .name = n, .kind = PROP_KIND_CUSTOM, .type = t, .def_str = what, .get = g, .set = off_set, .help = "off: " what " is not supported" }

static const Property pc_props[] = {
    PROP_MACHINE_STR("kernel", machine.boot.kernel, "kernel that is started without firmware"),
    PROP_MACHINE_STR("initrd", machine.boot.initrd, "initial RAM disk, or multiboot modules"),
    PROP_MACHINE_STR("append", machine.boot.append, "kernel command line"),
    PROP_MACHINE_STR("firmware", machine.boot.bios, "firmware image, as -bios"),
    { .name = "acpi", .kind = PROP_KIND_CUSTOM, .type = "OnOffAuto", .get = acpi_get, .set = acpi_set,
      .help = "ACPI tables and power management" },
    PROP_BOOL("hpet", PcMachine, machine.hpet, true, "high precision event timer"),
    PROP_BOOL("graphics", PcMachine, graphics, true, "firmware may use a display"),
    PROP_BOOL("i8042", PcMachine, i8042, true, "keyboard controller with PS/2 keyboard and mouse"),
    PROP_SIZE("max-ram-below-4g", PcMachine, max_low_ram, 0, "most guest RAM below 4 GiB (0: the chipset's rule)"),
    PROP_ABSENT("usb", "bool", usb_get, "a USB controller"),
    PROP_ABSENT("vmport", "OnOffAuto", off_get, "the VMware port"),
    PROP_ABSENT("smm", "OnOffAuto", off_get, "system management mode"),
    { .name = "kernel-irqchip", .kind = PROP_KIND_CUSTOM, .type = "on|off|split", .get = irqchip_get, .set = irqchip_set,
      .help = "off: the emulator's own interrupt controllers" },
    PROP_END
};

static void pc_init(Object *obj)
{
    ((Machine *)obj)->acpi = true;
}

#define PC_FIELDS(version_)                                                                                            \
    .name = "pc-i440fx-" version_ "-machine", .parent = TYPE_PC_MACHINE, .machine_name = "pc-i440fx-" version_,         \
    .desc = "PC (i440FX + PIIX, 1996)", .size = sizeof(PcMachine), .max_cpus = 255, .default_cpu = "qemu64",  \
    .default_ram_id = "pc.ram", .default_ram = 128 * MIB, .max_ram = 1024 * GIB, .build = pc_build

static const MachineClass pc_machine_base = {
    .name = TYPE_PC_MACHINE, .parent = TYPE_MACHINE, .desc = "PC machines", .size = sizeof(PcMachine), .abstract = true,
    .props = pc_props, .init = pc_init, .finalize = pc_finalize,
};
REGISTER_OBJECT(pc_machine_base)

#define PC_VERSION(id_, version_)                                             \
    static const MachineClass pc_machine_##id_ = { PC_FIELDS(version_) }; \
    REGISTER_OBJECT(pc_machine_##id_)

PC_VERSION(6_0, "6.0")
PC_VERSION(6_1, "6.1")
PC_VERSION(6_2, "6.2")
PC_VERSION(7_0, "7.0")
PC_VERSION(7_1, "7.1")
PC_VERSION(7_2, "7.2")
PC_VERSION(8_0, "8.0")
PC_VERSION(8_1, "8.1")

static const MachineClass pc_machine_8_2 = { PC_FIELDS("8.2"), .alias = "pc", .is_default = true };
REGISTER_OBJECT(pc_machine_8_2)
