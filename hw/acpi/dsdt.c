/*
 * The pc machines' DSDT: PCI root with interrupt routing and hot-plug, ISA devices, HPET, processors, sleep states.
 *
 * Devices are described as they are plugged at the reset at which the table is made.
 * Source: ACPI specification 6.4 §6 (device configuration), §7.4 (sleep states), PCI Firmware Specification 3.0 §4.
 */
#include "hw/acpi/acpi-build.h"
#include "hw/acpi/aml.h"
#include "hw/acpi/pcihp.h"
#include "hw/timer/hpet.h"

#include <json-c/json.h>

#define PCI_SLOTS 32
#define PIRQS 4
#define SCI_SLOT 1 /* the PM function's pin A is wired to SCI, not to a PIRQ */

static const char *const link_names[PIRQS] = { "LNKA", "LNKB", "LNKC", "LNKD" };

/* ---- PCI root ------------------------------------------------------------------------------------------------------ */

static void root_resources(Aml *a, const PcMachine *pc)
{
    GByteArray *r = g_byte_array_new();
    uint64_t above = ROUND_UP_TO(4 * GIB + pc->high_ram, GIB);

    res_bus_numbers(r, 0, 0xff);
    res_io(r, 0xcf8, 0xcf8, 1, 8);
    res_word_io(r, 0, 0xcf7);
    res_word_io(r, 0xd00, 0xffff);
    res_dword_memory(r, 0xa0000, 0xbffff, false);
    res_dword_memory(r, pc->low_ram, PC_PCI_HOLE_END - 1, false);
    res_qword_memory(r, above, above + 32 * GIB - 1, true);
    aml_name(a, "_CRS");
    aml_resources(a, r);
    g_byte_array_unref(r);
}

/* Every pin of every slot, as the bridge's wiring has it: link (slot - 1 + pin) mod 4. */
static void routing_table(Aml *a)
{
    aml_name(a, "_PRT");
    aml_package_begin(a, (PCI_SLOTS - 1) * PIRQS);
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
        for (unsigned pin = 0; pin < PIRQS; pin++) {
            aml_package_begin(a, 4);
            aml_int(a, slot << 16 | 0xffff);
            aml_int(a, pin);
            aml_path(a, slot == SCI_SLOT && pin == 0 ? "\\_SB.LNKS" : link_names[(slot - 1 + pin) % PIRQS]);
            aml_int(a, 0);
            aml_end(a);
        }
    }
    aml_end(a);
}

/* Interrupt link that is programmed through the ISA bridge's PIRQ route register `reg` (PRQ0..PRQ3). */
static void link_device(Aml *a, unsigned n)
{
    static const uint32_t possible[] = { 5, 10, 11 };
    const uint32_t none[] = { 0 };
    g_autofree char *reg = g_strdup_printf("\\_SB.PCI0.ISA.PRQ%u", n);
    GByteArray *r = g_byte_array_new();

    aml_device_begin(a, link_names[n]);
    aml_name_eisa_id(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", n);
    aml_name(a, "_PRS");
    res_interrupt(r, possible, G_N_ELEMENTS(possible));
    aml_resources(a, r);

    aml_method_begin(a, "_STA", 0, false);
    aml_if_begin(a);
    aml_op(a, AML_AND);
    aml_path(a, reg);
    aml_int(a, 0x80);
    aml_null_target(a);
    aml_op(a, AML_RETURN);
    aml_int(a, 0x09);
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_int(a, 0x0b);
    aml_end(a);

    aml_method_begin(a, "_DIS", 0, false);
    aml_op(a, AML_OR);
    aml_path(a, reg);
    aml_int(a, 0x80);
    aml_path(a, reg);
    aml_end(a);

    aml_method_begin(a, "_CRS", 0, true);
    aml_name(a, "BUF0");
    res_interrupt(r, none, 1);
    aml_resources(a, r);
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_path(a, "BUF0");
    aml_int(a, 5);
    aml_path(a, "IRQ0");
    aml_if_begin(a);
    aml_op(a, AML_LEQUAL);
    aml_op(a, AML_AND);
    aml_path(a, reg);
    aml_int(a, 0x80);
    aml_null_target(a);
    aml_int(a, 0);
    aml_op(a, AML_AND);
    aml_path(a, reg);
    aml_int(a, 0x0f);
    aml_path(a, "IRQ0");
    aml_end(a);
    aml_op(a, AML_RETURN);
    aml_path(a, "BUF0");
    aml_end(a);

    aml_method_begin(a, "_SRS", 1, true);
    aml_op(a, AML_CREATE_DWORD_FIELD);
    aml_op(a, AML_ARG0);
    aml_int(a, 5);
    aml_path(a, "IRQ1");
    aml_op(a, AML_STORE);
    aml_path(a, "IRQ1");
    aml_path(a, reg);
    aml_end(a);
    aml_end(a);
    g_byte_array_unref(r);
}

static void sci_link(Aml *a)
{
    static const uint32_t irq[] = { PIIX4_SCI_IRQ };
    GByteArray *r = g_byte_array_new();

    aml_device_begin(a, "LNKS");
    aml_name_eisa_id(a, "_HID", "PNP0C0F");
    aml_name_int(a, "_UID", PIRQS);
    aml_name(a, "_PRS");
    res_interrupt(r, irq, 1);
    aml_resources(a, r);
    aml_name(a, "_CRS");
    res_interrupt(r, irq, 1);
    aml_resources(a, r);
    aml_method_begin(a, "_STA", 0, false);
    aml_op(a, AML_RETURN);
    aml_int(a, 0x0b);
    aml_end(a);
    aml_method_begin(a, "_DIS", 0, false);
    aml_end(a);
    aml_method_begin(a, "_SRS", 1, false);
    aml_end(a);
    aml_end(a);
    g_byte_array_unref(r);
}

/* ---- PCI hot-plug -------------------------------------------------------------------------------------------------- */

static char *slot_name(unsigned slot)
{
    return g_strdup_printf("S%02X", PCI_DEVFN(slot, 0));
}

/* PCI Firmware Specification 3.1 §4.6: device names. E5C937D0-3553-4D7A-9117-EA4D19C3434D */
static const uint8_t pci_dsm_uuid[16] = {
    0xd0, 0x37, 0xc9, 0xe5, 0x53, 0x35, 0x7a, 0x4d, 0x91, 0x17, 0xea, 0x4d, 0x19, 0xc3, 0x43, 0x4d,
};
#define DSM_QUERY 0
#define DSM_DEVICE_NAME 7

/* If (term == value), opened. */
static void if_equal_begin(Aml *a, uint8_t term, unsigned value)
{
    aml_if_begin(a);
    aml_op(a, AML_LEQUAL);
    aml_op(a, term);
    aml_int(a, value);
}

static void return_byte_buffer(Aml *a, uint8_t value)
{
    aml_op(a, AML_RETURN);
    aml_buffer(a, &value, 1);
}

/* PIDX (slot): the acpi-index= of its function 0, 0 without. PDSM (uuid, revision, function, slot): _DSM of a slot. */
static void device_names(Aml *a)
{
    aml_method_begin(a, "PIDX", 1, false);
    aml_acquire(a, "BLCK");
    aml_op(a, AML_STORE);
    aml_int(a, 0);
    aml_path(a, "BNUM");
    aml_op(a, AML_STORE);
    aml_op(a, AML_SHIFT_LEFT);
    aml_int(a, 1);
    aml_op(a, AML_ARG0);
    aml_null_target(a);
    aml_path(a, "PIDR");
    aml_op(a, AML_STORE);
    aml_path(a, "PIDR");
    aml_op(a, AML_LOCAL0);
    aml_release(a, "BLCK");
    aml_op(a, AML_RETURN);
    aml_op(a, AML_LOCAL0);
    aml_end(a);

    aml_method_begin(a, "PDSM", 4, true);
    aml_op(a, AML_STORE);
    aml_path(a, "PIDX");
    aml_op(a, AML_ARG3);
    aml_op(a, AML_LOCAL0);
    aml_if_begin(a);
    aml_op(a, AML_LAND);
    aml_op(a, AML_LEQUAL);
    aml_op(a, AML_ARG0);
    aml_buffer(a, pci_dsm_uuid, sizeof(pci_dsm_uuid));
    aml_op(a, AML_LOCAL0);
    if_equal_begin(a, AML_ARG2, DSM_QUERY);
    return_byte_buffer(a, 1u << DSM_QUERY | 1u << DSM_DEVICE_NAME);
    aml_end(a);
    if_equal_begin(a, AML_ARG2, DSM_DEVICE_NAME);
    aml_op(a, AML_STORE);
    aml_package_begin(a, 2);
    aml_int(a, 0);
    aml_string(a, "");
    aml_end(a);
    aml_op(a, AML_LOCAL1);
    aml_op(a, AML_STORE);
    aml_op(a, AML_LOCAL0);
    aml_op(a, AML_INDEX);
    aml_op(a, AML_LOCAL1);
    aml_int(a, 0);
    aml_null_target(a);
    aml_op(a, AML_RETURN);
    aml_op(a, AML_LOCAL1);
    aml_end(a);
    aml_end(a);
    return_byte_buffer(a, 0);
    aml_end(a);
}

static void hotplug_slot(Aml *a, unsigned slot)
{
    g_autofree char *name = slot_name(slot);

    aml_device_begin(a, name);
    aml_name_int(a, "_ADR", slot << 16);
    aml_name_int(a, "_SUN", slot);
    aml_method_begin(a, "_EJ0", 1, false);
    aml_path(a, "PCEJ");
    aml_path(a, "_SUN");
    aml_end(a);
    aml_method_begin(a, "_DSM", 4, true);
    aml_op(a, AML_RETURN);
    aml_path(a, "PDSM");
    aml_op(a, AML_ARG0);
    aml_op(a, AML_ARG1);
    aml_op(a, AML_ARG2);
    aml_path(a, "_SUN");
    aml_end(a);
    aml_end(a);
}

/* DVNT (slots, event): notifies each slot whose bit is set. */
static void notify_method(Aml *a)
{
    aml_method_begin(a, "DVNT", 2, false);
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++) {
        if (slot == SCI_SLOT)
            continue;
        g_autofree char *name = slot_name(slot);
        aml_if_begin(a);
        aml_op(a, AML_AND);
        aml_op(a, AML_ARG0);
        aml_int(a, 1u << slot);
        aml_null_target(a);
        aml_op(a, AML_NOTIFY);
        aml_path(a, name);
        aml_op(a, AML_ARG1);
        aml_end(a);
    }
    aml_end(a);
}

static void pci_hotplug(Aml *a)
{
    aml_op_region(a, "PCST", AML_SPACE_IO, ACPI_PCIHP_BASE, 8);
    aml_field_begin(a, "PCST", AML_FIELD_DWORD | AML_FIELD_WRITE_ZEROS);
    aml_field_unit(a, "PCIU", 32);
    aml_field_unit(a, "PCID", 32);
    aml_end(a);
    aml_op_region(a, "SEJ", AML_SPACE_IO, ACPI_PCIHP_BASE + 8, 4);
    aml_field_begin(a, "SEJ", AML_FIELD_DWORD | AML_FIELD_WRITE_ZEROS);
    aml_field_unit(a, "B0EJ", 32);
    aml_end(a);
    aml_op_region(a, "BNMR", AML_SPACE_IO, ACPI_PCIHP_BASE + 0x10, 8);
    aml_field_begin(a, "BNMR", AML_FIELD_DWORD | AML_FIELD_WRITE_ZEROS);
    aml_field_unit(a, "BNUM", 32);
    aml_field_unit(a, "PIDR", 32);
    aml_end(a);
    aml_mutex(a, "BLCK");

    aml_method_begin(a, "PCEJ", 1, false);
    aml_acquire(a, "BLCK");
    aml_op(a, AML_STORE);
    aml_int(a, 0);
    aml_path(a, "BNUM");
    aml_op(a, AML_STORE);
    aml_op(a, AML_SHIFT_LEFT);
    aml_int(a, 1);
    aml_op(a, AML_ARG0);
    aml_null_target(a);
    aml_path(a, "B0EJ");
    aml_release(a, "BLCK");
    aml_end(a);

    device_names(a);
    for (unsigned slot = 1; slot < PCI_SLOTS; slot++)
        if (slot != SCI_SLOT)
            hotplug_slot(a, slot);
    notify_method(a);

    /* Insertions are device checks, removals eject requests. */
    aml_method_begin(a, "PCNT", 0, false);
    aml_acquire(a, "BLCK");
    aml_op(a, AML_STORE);
    aml_int(a, 0);
    aml_path(a, "BNUM");
    aml_path(a, "DVNT");
    aml_path(a, "PCIU");
    aml_int(a, 1);
    aml_path(a, "DVNT");
    aml_path(a, "PCID");
    aml_int(a, 3);
    aml_release(a, "BLCK");
    aml_end(a);
}

static void general_events(Aml *a, const PcMachine *pc)
{
    aml_scope_begin(a, "\\_GPE");
    aml_name_string(a, "_HID", "ACPI0006");
    if (pc->pm && piix4_pm_root_hotplug(pc->pm)) {
        aml_method_begin(a, "_E01", 0, false);
        aml_path(a, "\\_SB.PCI0.PCNT");
        aml_end(a);
    }
    aml_end(a);
}

/* ---- ISA ------------------------------------------------------------------------------------------------------------ */

static void isa_device(Aml *a, const char *name, const char *hid, int uid, GByteArray *resources)
{
    aml_device_begin(a, name);
    aml_name_eisa_id(a, "_HID", hid);
    if (uid >= 0)
        aml_name_int(a, "_UID", uid);
    aml_name_int(a, "_STA", 0x0f);
    aml_name(a, "_CRS");
    aml_resources(a, resources);
    aml_end(a);
}

static bool read_number(Device *dev, const char *property, uint32_t *value)
{
    json_object *json = object_get_json(OBJECT(dev), property, NULL);

    if (!json)
        return false;
    *value = json_object_get_int64(json);
    json_object_put(json);
    return true;
}

static void serial_port(Aml *a, Device *dev, unsigned n)
{
    g_autofree char *name = g_strdup_printf("COM%u", n);
    GByteArray *r = g_byte_array_new();
    uint32_t base, irq;

    if (read_number(dev, "iobase", &base) && read_number(dev, "irq", &irq) && irq < ISA_IRQS) {
        res_io(r, base, base, 0, 8);
        res_irq(r, irq);
        isa_device(a, name, "PNP0501", n, r);
    }
    g_byte_array_unref(r);
}

static void panic_device(Aml *a, Device *dev)
{
    GByteArray *r = g_byte_array_new();
    uint32_t base = 0x505;

    read_number(dev, "ioport", &base);
    aml_device_begin(a, "PEVT");
    aml_name_string(a, "_HID", "QEMU0001");
    aml_name(a, "_CRS");
    res_io(r, base, base, 1, 1);
    aml_resources(a, r);
    aml_op_region(a, "PEOR", AML_SPACE_IO, base, 1);
    aml_field_begin(a, "PEOR", AML_FIELD_BYTE);
    aml_field_unit(a, "PEPT", 8);
    aml_end(a);
    aml_name_int(a, "_STA", 0x0f);
    aml_method_begin(a, "RDPT", 0, false);
    aml_op(a, AML_STORE);
    aml_path(a, "PEPT");
    aml_op(a, AML_LOCAL0);
    aml_op(a, AML_RETURN);
    aml_op(a, AML_LOCAL0);
    aml_end(a);
    aml_method_begin(a, "WRPT", 1, false);
    aml_op(a, AML_STORE);
    aml_op(a, AML_ARG0);
    aml_path(a, "PEPT");
    aml_end(a);
    aml_end(a);
    g_byte_array_unref(r);
}

static void isa_bridge(Aml *a, const PcMachine *pc)
{
    const Bus *isa = &piix3_isa_bus(pc->piix3)->bus;
    GByteArray *r = g_byte_array_new();
    unsigned serials = 0;

    aml_device_begin(a, "ISA");
    aml_name_int(a, "_ADR", 0x00010000);
    aml_op_region(a, "P40C", AML_SPACE_PCI_CONFIG, 0x60, PIRQS);
    aml_field_begin(a, "P40C", AML_FIELD_BYTE);
    for (unsigned n = 0; n < PIRQS; n++) {
        g_autofree char *name = g_strdup_printf("PRQ%u", n);
        aml_field_unit(a, name, 8);
    }
    aml_end(a);

    res_io(r, 0x70, 0x70, 1, 8);
    res_irq(r, 8);
    isa_device(a, "RTC", "PNP0B00", -1, r);
    if (pc->i8042) {
        res_io(r, 0x60, 0x60, 1, 1);
        res_io(r, 0x64, 0x64, 1, 1);
        res_irq(r, 1);
        isa_device(a, "KBD", "PNP0303", -1, r);
        res_irq(r, 12);
        isa_device(a, "MOU", "PNP0F13", -1, r);
    }
    for (unsigned i = 0; i < isa->devices->len; i++) {
        Device *dev = isa->devices->pdata[i];
        if (object_is_a(OBJECT(dev), "isa-serial"))
            serial_port(a, dev, ++serials);
        else if (object_is_a(OBJECT(dev), "pvpanic"))
            panic_device(a, dev);
    }
    aml_end(a);
    g_byte_array_unref(r);
}

/* ---- the rest -------------------------------------------------------------------------------------------------------- */

static void system_devices(Aml *a, const PcMachine *pc)
{
    GByteArray *r = g_byte_array_new();

    if (pc->hpet_dev) {
        res_fixed_memory(r, HPET_BASE, 0x400);
        isa_device(a, "HPET", "PNP0103", 0, r);
    }
    aml_device_begin(a, "FWCF");
    aml_name_string(a, "_HID", "QEMU0002");
    aml_name_int(a, "_STA", 0x0b);
    aml_name(a, "_CRS");
    res_io(r, 0x510, 0x510, 1, 0x0c);
    aml_resources(a, r);
    aml_end(a);
    for (unsigned i = 0; i < pc->machine.nr_vcpus; i++) {
        g_autofree char *name = g_strdup_printf("C%03X", i);
        aml_device_begin(a, name);
        aml_name_string(a, "_HID", "ACPI0007");
        aml_name_int(a, "_UID", i);
        aml_name_int(a, "_STA", 0x0f);
        aml_end(a);
    }
    g_byte_array_unref(r);
}

static void sleep_state(Aml *a, const char *name, unsigned type)
{
    aml_name(a, name);
    aml_package_begin(a, 4);
    for (unsigned i = 0; i < 4; i++)
        aml_int(a, i < 2 ? type : 0);
    aml_end(a);
}

static void sleep_states(Aml *a, const PcMachine *pc)
{
    uint8_t states[6];

    if (!pc->pm)
        return;
    piix4_pm_system_states(pc->pm, states);
    if (states[4] & 0x80)
        sleep_state(a, "\\_S4", states[4] & 7);
    sleep_state(a, "\\_S5", states[5] & 7);
}

void acpi_build_dsdt(PcMachine *pc, GByteArray *code)
{
    Aml a;

    aml_init(&a);
    aml_scope_begin(&a, "\\_SB");
    aml_device_begin(&a, "PCI0");
    aml_name_eisa_id(&a, "_HID", "PNP0A03");
    aml_name_int(&a, "_ADR", 0);
    aml_name_int(&a, "_UID", 0);
    root_resources(&a, pc);
    isa_bridge(&a, pc);
    if (pc->pm && piix4_pm_root_hotplug(pc->pm))
        pci_hotplug(&a);
    aml_end(&a);
    for (unsigned n = 0; n < PIRQS; n++)
        link_device(&a, n);
    sci_link(&a);
    aml_scope_begin(&a, "PCI0");
    routing_table(&a);
    aml_end(&a);
    system_devices(&a, pc);
    aml_end(&a);
    general_events(&a, pc);
    sleep_states(&a, pc);
    g_byte_array_append(code, a.code->data, a.code->len);
    aml_free(&a);
}
