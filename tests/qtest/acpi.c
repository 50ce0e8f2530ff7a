/*
 * Power management, ACPI tables (through the iasl disassembler and compiler), PCI hot-plug registers. ACPI 6.4 §4.8, §5.2; 82371AB §7.
 */
#include <qtest-client.h>

#include <stdlib.h>
#include <string.h>

#include "fw_cfg-client.h"

#define PM QT_DEVFN(1, 3)
#define PM_BASE 0x600
#define STS PM_BASE
#define EN (PM_BASE + 2)
#define CNT (PM_BASE + 4)
#define TMR (PM_BASE + 8)
#define GPE 0xafe0
#define HOTPLUG 0xae00
#define SCI 9

static QtEmu *start_pm(const char *args)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 %s", args);
    qt_irq_intercept_in(q, "ioapic");
    qt_pci_write32(q, PM, 0x40, PM_BASE);
    qt_pci_write8(q, PM, 0x80, 1);
    return q;
}

static void test_windows(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    g_assert_cmphex(qt_pci_read32(q, PM, 0x40), ==, 1);
    g_assert_cmphex(qt_inl(q, TMR), ==, 0xffffffff);
    qt_pci_write32(q, PM, 0x40, PM_BASE);
    qt_pci_write8(q, PM, 0x80, 1);
    g_assert_cmphex(qt_inl(q, TMR) >> 24, ==, 0);
    qt_pci_write32(q, PM, 0x40, 0x4000);
    g_assert_cmphex(qt_inl(q, TMR), ==, 0xffffffff);
    g_assert_cmphex(qt_inl(q, 0x4008) >> 24, ==, 0);
    /* SMBus: a transfer to nobody ends with a device error */
    qt_pci_write32(q, PM, 0x90, 0x700);
    qt_pci_write8(q, PM, 0xd2, 1);
    qt_outb(q, 0x704, 0xa1);
    qt_outb(q, 0x702, 0x48);
    g_assert_cmphex(qt_inb(q, 0x700), ==, 0x04);
    qt_outb(q, 0x700, 0x04);
    g_assert_cmphex(qt_inb(q, 0x700), ==, 0);
    qt_quit(q);
}

static void test_timer(void)
{
    QtEmu *q = start_pm("");
    uint32_t start = qt_inl(q, TMR);
    qt_clock_step(q, 1000000000);
    g_assert_cmpint(((qt_inl(q, TMR) - start) & 0xffffff) - 3579545, <=, 1);
    /* bit 23 changes every 2.34 s: status bit 0, and SCI if it is enabled */
    qt_outb(q, 0xb2, 0xf1);
    g_assert_cmphex(qt_inw(q, CNT) & 1, ==, 1);
    qt_outw(q, STS, 1);
    qt_outw(q, EN, 1);
    g_assert_false(qt_irq(q, SCI));
    qt_clock_step(q, 2350000000);
    g_assert_true(qt_irq(q, SCI));
    g_assert_cmphex(qt_inw(q, STS) & 1, ==, 1);
    qt_outw(q, STS, 1);
    g_assert_false(qt_irq(q, SCI));
    g_assert_cmphex(qt_inw(q, STS) & 1, ==, 0);
    /* without enable the bit comes silently */
    qt_outw(q, EN, 0);
    qt_clock_step(q, 2350000000);
    g_assert_cmphex(qt_inw(q, STS) & 1, ==, 1);
    g_assert_false(qt_irq(q, SCI));
    qt_quit(q);
}

static void test_power_button(void)
{
    QtEmu *q = start_pm("");
    qt_outb(q, 0xb2, 0xf1);
    qt_outw(q, EN, 0x100);
    json_object_put(qt_qmp(q, "system_powerdown", NULL));
    json_object_put(qt_event_wait(q, "POWERDOWN"));
    g_assert_true(qt_irq(q, SCI));
    g_assert_cmphex(qt_inw(q, STS), ==, 0x100);
    qt_outw(q, STS, 0x100);
    g_assert_false(qt_irq(q, SCI));
    /* SCI_EN off: nothing reaches the line */
    qt_outb(q, 0xb2, 0xf0);
    json_object_put(qt_qmp(q, "system_powerdown", NULL));
    json_object_put(qt_event_wait(q, "POWERDOWN"));
    g_assert_cmphex(qt_inw(q, STS), ==, 0x100);
    g_assert_false(qt_irq(q, SCI));
    qt_quit(q);
}

static void test_sleep(void)
{
    /* a type that the machine does not offer is ignored; S5 ends it */
    QtEmu *q = start_pm("");
    qt_outw(q, CNT, 0x2000 | 5 << 10);
    g_assert_cmphex(qt_inw(q, CNT) & 0x2000, ==, 0);
    qt_outw(q, CNT, 0x2000);
    json_object *event = qt_event_wait(q, "SHUTDOWN");
    g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "guest-shutdown");
    json_object_put(event);
    g_assert_cmpint(qt_wait_exit(q), ==, 0);
    q = start_pm("-no-shutdown -global PIIX4_PM.disable_s4=1");
    qt_outw(q, CNT, 0x2000 | 2 << 10);
    g_assert_false(qt_event_seen(q, "SHUTDOWN"));
    qt_outb(q, CNT + 1, 0x20);
    json_object_put(qt_event_wait(q, "SHUTDOWN"));
    qt_quit(q);
}

/* ---- hot-plug ---------------------------------------------------------------------------------------------------------- */

static void test_hotplug(void)
{
    QtEmu *q = start_pm("");
    qt_outb(q, 0xb2, 0xf1);
    qt_outb(q, GPE + 2, 0x02);
    g_assert_cmphex(qt_inl(q, HOTPLUG), ==, 0);
    json_object_put(qt_qmp(q, "device_add", "{'driver': 'virtio-rng-pci', 'id': 'r', 'addr': '0x6'}"));
    g_assert_true(qt_irq(q, SCI));
    g_assert_cmphex(qt_inb(q, GPE), ==, 0x02);
    qt_outb(q, GPE, 0x02);
    g_assert_false(qt_irq(q, SCI));
    g_assert_cmphex(qt_inl(q, HOTPLUG), ==, 1u << 6);
    g_assert_cmphex(qt_inl(q, HOTPLUG), ==, 0); /* reading clears */
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(6, 0), 0), ==, 0x1af4);
    /* removal: requested, pending until the guest ejects */
    json_object_put(qt_qmp(q, "device_del", "{'id': 'r'}"));
    g_assert_true(qt_irq(q, SCI));
    g_assert_cmphex(qt_inl(q, HOTPLUG + 4), ==, 1u << 6);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 4), ==, 1u << 6);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 0xc) >> 6 & 1, ==, 1);
    g_assert_false(qt_event_seen(q, "DEVICE_DELETED"));
    g_free(qt_qmp_error(q, "GenericError", "device_del", "{'id': 'r'}"));
    qt_outl(q, HOTPLUG + 8, 1u << 6);
    json_object *event = qt_event_wait(q, "DEVICE_DELETED");
    while (!qt_json_at(event, "data.device")) { /* parts of the device have only a path */
        json_object_put(event);
        event = qt_event_wait(q, "DEVICE_DELETED");
    }
    g_assert_cmpstr(qt_json_str(event, "data.device"), ==, "r");
    json_object_put(event);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(6, 0), 0), ==, 0xffff);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 4), ==, 0);
    qt_quit(q);
}

static void test_hotplug_limits(void)
{
    /* the board's own functions stay; a reset carries a pending request out */
    QtEmu *q = start_pm("-device virtio-rng-pci,id=cold,addr=3");
    json_object_put(qt_qmp(q, "device_add", "{'driver': 'virtio-rng-pci', 'id': 'r', 'addr': '0x6', 'acpi-index': 7}"));
    qt_outl(q, HOTPLUG + 0x14, 1u << 6);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 0x14), ==, 7);
    qt_outl(q, HOTPLUG + 0x14, 1u << 3);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 0x14), ==, 0);
    qt_outl(q, HOTPLUG + 8, 0x3);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(1, 0), 2), ==, 0x7000);
    g_assert_cmphex(qt_inl(q, HOTPLUG + 0xc) & 0x3, ==, 0);
    json_object_put(qt_qmp(q, "device_del", "{'id': 'cold'}"));
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "DEVICE_DELETED"));
    json_object_put(qt_event_wait(q, "RESET"));
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(3, 0), 0), ==, 0xffff);
    qt_quit(q);
    q = start_pm("-global PIIX4_PM.acpi-root-pci-hotplug=off");
    char *text = qt_qmp_error(q, "GenericError", "device_add", "{'driver': 'virtio-rng-pci'}");
    g_assert_nonnull(strstr(text, "pci.0"));
    g_free(text);
    qt_quit(q);
}

/* ---- tables -------------------------------------------------------------------------------------------------------------- */

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t total = 0;
    while (len--)
        total += *p++;
    return total;
}

/* Disassembles and compiles again; iasl must find no error in either. */
static void check_with_iasl(const uint8_t *table, uint32_t len, const char *name)
{
    g_autofree char *base = g_build_filename(qt_tmpdir(), name, NULL);
    g_autofree char *dat = g_strconcat(base, ".dat", NULL), *output = NULL;
    g_autofree char *command = NULL;
    int status;

    g_assert_true(g_file_set_contents(dat, (const char *)table, len, NULL));
    command = g_strdup_printf("sh -c 'iasl -d %s.dat && iasl -ve %s.dsl' 2>&1", base, base);
    g_assert_true(g_spawn_command_line_sync(command, &output, NULL, &status, NULL));
    if (status || strstr(output, "Error  ") || !(strstr(output, "0 Errors") || strcmp(name, "DSDT")))
        g_error("iasl on %s: %s", name, output);
}

/* Applies the loader script as firmware would, with the tables at base. */
static void run_loader(uint8_t *tables, uint8_t *rsdp, const uint8_t *script, size_t len, uint64_t base)
{
    for (size_t at = 0; at + 128 <= len; at += 128) {
        const uint8_t *body = script + at + 4;
        uint8_t *file = !strcmp((const char *)body, "etc/acpi/rsdp") ? rsdp : tables;
        uint32_t command, offset, start, size;
        memcpy(&command, script + at, 4);
        if (command == 2) {
            uint64_t value = 0;
            memcpy(&offset, body + 112, 4);
            memcpy(&value, file + offset, body[116]);
            value += base;
            memcpy(file + offset, &value, body[116]);
        } else if (command == 3) {
            memcpy(&offset, body + 56, 4);
            memcpy(&start, body + 60, 4);
            memcpy(&size, body + 64, 4);
            file[offset] = 0;
            file[offset] = -sum(file + start, size);
        } else {
            g_assert_cmpuint(command, ==, 1);
        }
    }
}

static void test_tables(const void *args)
{
    QtEmu *q = qt_start("-machine pc -nodefaults %s", (const char *)args);
    size_t len, rsdp_len, script_len;
    const uint64_t base = 0x3ff0000;
    g_autofree uint8_t *tables = fw_cfg_read_file(q, "etc/acpi/tables", &len);
    g_autofree uint8_t *rsdp = fw_cfg_read_file(q, "etc/acpi/rsdp", &rsdp_len);
    g_autofree uint8_t *script = fw_cfg_read_file(q, "etc/table-loader", &script_len);
    g_assert_cmpuint(rsdp_len, ==, 36);
    run_loader(tables, rsdp, script, script_len, base);
    g_assert_cmpint(memcmp(rsdp, "RSD PTR ", 8), ==, 0);
    g_assert_cmphex(sum(rsdp, 20), ==, 0);
    g_assert_cmphex(sum(rsdp, 36), ==, 0);
    uint64_t xsdt;
    memcpy(&xsdt, rsdp + 24, 8);
    uint32_t xsdt_len, seen = 0;
    uint8_t *x = tables + (xsdt - base);
    g_assert_cmpint(memcmp(x, "XSDT", 4), ==, 0);
    memcpy(&xsdt_len, x + 4, 4);
    for (uint32_t i = 36; i < xsdt_len; i += 8) {
        uint64_t addr;
        uint32_t size;
        memcpy(&addr, x + i, 8);
        g_assert_cmphex(addr - base, <, len);
        uint8_t *table = tables + (addr - base);
        memcpy(&size, table + 4, 4);
        g_assert_cmphex(sum(table, size), ==, 0);
        g_autofree char *name = g_strndup((char *)table, 4);
        check_with_iasl(table, size, name);
        if (!strcmp(name, "FACP")) {
            uint64_t dsdt;
            memcpy(&dsdt, table + 140, 8);
            uint8_t *d = tables + (dsdt - base);
            memcpy(&size, d + 4, 4);
            g_assert_cmpint(memcmp(d, "DSDT", 4), ==, 0);
            g_assert_cmphex(sum(d, size), ==, 0);
            check_with_iasl(d, size, "DSDT");
            uint32_t facs;
            memcpy(&facs, table + 36, 4);
            g_assert_cmphex(facs % 64, ==, 0);
            g_assert_cmpint(memcmp(tables + (facs - base), "FACS", 4), ==, 0);
        }
        seen |= (strcmp(name, "FACP") ? 0 : 1) | (strcmp(name, "APIC") ? 0 : 2) | (strcmp(name, "HPET") ? 0 : 4);
    }
    bool hpet = !strstr(args, "hpet=off");
    g_assert_cmphex(seen, ==, hpet ? 7 : 3);
    qt_quit(q);
}

static void test_without_acpi(void)
{
    QtEmu *q = qt_start("-machine pc,acpi=off -nodefaults");
    size_t len;
    g_assert_null(fw_cfg_read_file(q, "etc/acpi/tables", &len));
    g_assert_cmphex(qt_pci_read16(q, PM, 0), ==, 0xffff);
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/acpi/windows", test_windows);
    g_test_add_func("/acpi/timer", test_timer);
    g_test_add_func("/acpi/power-button", test_power_button);
    g_test_add_func("/acpi/sleep", test_sleep);
    g_test_add_func("/acpi/hotplug", test_hotplug);
    g_test_add_func("/acpi/hotplug-limits", test_hotplug_limits);
    g_autofree char *iasl = g_find_program_in_path("iasl");
    if (iasl) {
        g_test_add_data_func("/acpi/tables/default", "-m 64", test_tables);
        g_test_add_data_func("/acpi/tables/big", "-m 6G -smp 6,sockets=2,cores=3 -serial null -serial null -device pvpanic",
                             test_tables);
        g_test_add_data_func("/acpi/tables/small", "-machine hpet=off,i8042=off -global PIIX4_PM.acpi-root-pci-hotplug=off "
                             "-global PIIX4_PM.disable_s4=1", test_tables);
    } else {
        g_test_message("iasl is not installed: tables are not checked");
    }
    g_test_add_func("/acpi/off", test_without_acpi);
    return g_test_run();
}
