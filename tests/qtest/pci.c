/* PCI core and the host bridge: configuration cycles, BARs, INTx routing, MSI-X, shadow RAM. PCI 3.0 §3.2.2.3, §6; 82441FX, 82371SB. */
#include <qtest-client.h>

#include <string.h>

#include "fw_cfg-client.h"

#define ADDRESS 0xcf8
#define DATA 0xcfc
#define HOST QT_DEVFN(0, 0)
#define ISA QT_DEVFN(1, 0)
#define SLOT4 QT_DEVFN(4, 0)

static void test_mechanism(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    /* the address register takes dwords and keeps what the specification gives it */
    qt_outl(q, ADDRESS, 0xffffffff);
    g_assert_cmphex(qt_inl(q, ADDRESS), ==, 0x80fffffc);
    qt_outw(q, ADDRESS, 0x1234);
    qt_outb(q, ADDRESS, 0x12);
    g_assert_cmphex(qt_inl(q, ADDRESS), ==, 0x80fffffc);
    /* bytes and words of the data port */
    qt_outl(q, ADDRESS, 0x80000000);
    g_assert_cmphex(qt_inl(q, DATA), ==, 0x12378086);
    g_assert_cmphex(qt_inw(q, DATA), ==, 0x8086);
    g_assert_cmphex(qt_inw(q, DATA + 2), ==, 0x1237);
    g_assert_cmphex(qt_inb(q, DATA + 3), ==, 0x12);
    /* no enable bit, no cycle; another bus has nobody */
    qt_outl(q, ADDRESS, 0);
    g_assert_cmphex(qt_inl(q, DATA), ==, 0xffffffff);
    qt_outl(q, ADDRESS, 0x80010000);
    g_assert_cmphex(qt_inl(q, DATA), ==, 0xffffffff);
    /* identification can't be written */
    qt_pci_write32(q, HOST, 0, 0);
    g_assert_cmphex(qt_pci_read32(q, HOST, 0), ==, 0x12378086);
    g_assert_cmphex(qt_pci_read8(q, ISA, 0x0e), ==, 0x80);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(1, 3), 2), ==, 0x7113);
    qt_quit(q);
}

static void test_bars(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 -chardev null,id=c -device pci-serial,chardev=c,addr=4");
    /* size of the I/O BAR: eight ports */
    qt_pci_write32(q, SLOT4, 0x10, 0xffffffff);
    g_assert_cmphex(qt_pci_read32(q, SLOT4, 0x10), ==, 0xfffffff9);
    qt_pci_write32(q, SLOT4, 0x10, 0xc000);
    g_assert_cmphex(qt_inb(q, 0xc005), ==, 0xff); /* decoding is off */
    qt_pci_write16(q, SLOT4, 0x04, 1);
    g_assert_cmphex(qt_inb(q, 0xc005), ==, 0x60); /* line status of an idle UART */
    /* moved while it decodes */
    qt_pci_write32(q, SLOT4, 0x10, 0xd000);
    g_assert_cmphex(qt_inb(q, 0xc005), ==, 0xff);
    g_assert_cmphex(qt_inb(q, 0xd005), ==, 0x60);
    /* sizing with decoding on maps nothing */
    qt_pci_write32(q, SLOT4, 0x10, 0xffffffff);
    g_assert_cmphex(qt_inb(q, 0xd005), ==, 0xff);
    qt_pci_write32(q, SLOT4, 0x10, 0xd000);
    /* a reset takes address and enables away */
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "RESET"));
    g_assert_cmphex(qt_pci_read32(q, SLOT4, 0x10), ==, 1);
    g_assert_cmphex(qt_pci_read16(q, SLOT4, 0x04), ==, 0);
    g_assert_cmphex(qt_inb(q, 0xd005), ==, 0xff);
    qt_quit(q);
}

/* The UART's transmitter interrupt stands for any INTx source. */
static void raise_intx(QtEmu *q, uint16_t base)
{
    qt_outb(q, base + 4, 0x08);
    qt_outb(q, base + 1, 0x02);
}

static void test_intx_routing(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -chardev null,id=c -device pci-serial,chardev=c,addr=4");
    qt_irq_intercept_in(q, "ioapic");
    qt_pci_write32(q, SLOT4, 0x10, 0xc000);
    qt_pci_write16(q, SLOT4, 0x04, 1);
    raise_intx(q, 0xc000);
    /* slot 4 INTA: (4 - 1 + 0) mod 4 = PIRQD, which is off after reset */
    g_assert_cmphex(qt_pci_read8(q, ISA, 0x63), ==, 0x80);
    g_assert_false(qt_irq(q, 10) || qt_irq(q, 11));
    g_assert_cmphex(qt_pci_read16(q, SLOT4, 0x06) & 8, ==, 8);
    qt_pci_write8(q, ISA, 0x63, 11);
    g_assert_true(qt_irq(q, 11));
    /* a new route takes the level along */
    qt_pci_write8(q, ISA, 0x63, 10);
    g_assert_true(qt_irq(q, 10));
    g_assert_false(qt_irq(q, 11));
    /* interrupt disable in the command register */
    qt_pci_write16(q, SLOT4, 0x04, 0x401);
    g_assert_false(qt_irq(q, 10));
    qt_pci_write16(q, SLOT4, 0x04, 0x001);
    g_assert_true(qt_irq(q, 10));
    /* reserved numbers route nowhere */
    qt_pci_write8(q, ISA, 0x63, 8);
    g_assert_false(qt_irq(q, 8) || qt_irq(q, 10));
    qt_pci_write8(q, ISA, 0x63, 10);
    qt_outb(q, 0xc001, 0);
    g_assert_false(qt_irq(q, 10));
    qt_quit(q);
}

/* Two functions on one line: it falls when the last one lets go. */
static void test_intx_shared(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -chardev null,id=a -chardev null,id=b -device pci-serial,chardev=a,addr=4 "
                        "-device pci-serial,chardev=b,addr=8");
    qt_irq_intercept_in(q, "ioapic");
    qt_pci_write8(q, ISA, 0x63, 11);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t devfn = i ? QT_DEVFN(8, 0) : SLOT4;
        qt_pci_write32(q, devfn, 0x10, 0xc000 + i * 0x100);
        qt_pci_write16(q, devfn, 0x04, 1);
        raise_intx(q, 0xc000 + i * 0x100);
    }
    g_assert_true(qt_irq(q, 11));
    qt_outb(q, 0xc001, 0);
    g_assert_true(qt_irq(q, 11));
    qt_outb(q, 0xc101, 0);
    g_assert_false(qt_irq(q, 11));
    g_assert_cmpuint(qt_irq_raises(q, 11), ==, 1);
    qt_quit(q);
}

static void test_msix_table(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 -device virtio-rng-pci,addr=4");
    uint8_t cap = qt_pci_find_cap(q, SLOT4, 0x11, 0);
    g_assert_cmphex(cap, !=, 0);
    uint32_t table = qt_pci_read32(q, SLOT4, cap + 4), vectors = (qt_pci_read16(q, SLOT4, cap + 2) & 0x7ff) + 1;
    g_assert_cmpuint(vectors, >=, 1);
    QtBar bar = qt_pci_map_bar(q, SLOT4, table & 7);
    g_assert_false(bar.io);
    qt_pci_enable(q, SLOT4);
    uint64_t at = table & ~7u;
    /* masked after reset; address bits 0-1 and the rest of the control word are reserved */
    g_assert_cmphex(qt_bar_read(q, bar, at + 12, 4), ==, 1);
    qt_bar_write(q, bar, at, 0xfee00003, 4);
    qt_bar_write(q, bar, at + 8, 0x12345678, 4);
    qt_bar_write(q, bar, at + 12, 0xfffffffe, 4);
    g_assert_cmphex(qt_bar_read(q, bar, at, 4), ==, 0xfee00000);
    g_assert_cmphex(qt_bar_read(q, bar, at + 8, 4), ==, 0x12345678);
    g_assert_cmphex(qt_bar_read(q, bar, at + 12, 4), ==, 0);
    g_assert_cmphex(qt_bar_read(q, bar, at, 8), ==, 0xfee00000);
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "RESET"));
    bar = qt_pci_map_bar(q, SLOT4, table & 7);
    qt_pci_enable(q, SLOT4);
    g_assert_cmphex(qt_bar_read(q, bar, at, 4), ==, 0);
    g_assert_cmphex(qt_bar_read(q, bar, at + 12, 4), ==, 1);
    qt_quit(q);
}

static void test_shadow_ram(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64");
    uint32_t rom = qt_readl(q, 0xffff0), high = qt_readl(q, 0xfffffff0);
    g_assert_cmphex(rom, ==, high); /* the firmware's last 128 KiB appear below 1 MiB */
    qt_writel(q, 0xffff0, 0x11111111);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, rom);
    /* reads from ROM, writes to RAM: how firmware copies itself */
    qt_pci_write8(q, HOST, 0x59, 0x20);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, rom);
    qt_writel(q, 0xffff0, 0x22222222);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, rom);
    /* RAM for reads: write-protected shadow */
    qt_pci_write8(q, HOST, 0x59, 0x10);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, 0x22222222);
    qt_writel(q, 0xffff0, 0x33333333);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, 0x22222222);
    qt_pci_write8(q, HOST, 0x59, 0x30);
    qt_writel(q, 0xffff0, 0x44444444);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, 0x44444444);
    /* the low segments: 16 KiB each, two to a register */
    qt_writel(q, 0xc8000, 0x55555555);
    g_assert_cmphex(qt_readl(q, 0xc8000), ==, 0xffffffff);
    qt_pci_write8(q, HOST, 0x5b, 0x03);
    qt_writel(q, 0xc8000, 0x55555555);
    g_assert_cmphex(qt_readl(q, 0xc8000), ==, 0x55555555);
    qt_writel(q, 0xcc000, 0x66666666);
    g_assert_cmphex(qt_readl(q, 0xcc000), ==, 0xffffffff);
    /* a reset closes all of it */
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "RESET"));
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, rom);
    g_assert_cmphex(qt_readl(q, 0xc8000), !=, 0x55555555);
    qt_quit(q);
}

static void test_reset_port(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults");
    qt_pci_write8(q, ISA, 0x60, 5);
    qt_outb(q, 0xcf9, 0x02);
    g_assert_cmphex(qt_inb(q, 0xcf9), ==, 0x02);
    qt_outb(q, 0xcf9, 0x06);
    json_object *event = qt_event_wait(q, "RESET");
    g_assert_cmpstr(qt_json_str(event, "data.reason"), ==, "guest-reset");
    json_object_put(event);
    g_assert_cmphex(qt_pci_read8(q, ISA, 0x60), ==, 0x80);
    qt_quit(q);
}

static void test_addresses(void)
{
    static const struct { const char *args, *sentence; } cases[] = {
        { "-device virtio-rng-pci,addr=4 -device virtio-rng-pci,addr=4", "is taken by" },
        { "-device virtio-rng-pci,addr=4 -device virtio-rng-pci,addr=4.1", "without multifunction" },
        { "-device virtio-rng-pci,addr=4.1 -device virtio-rng-pci,addr=4", "needs multifunction=on" },
        { "-device virtio-rng-pci,addr=20", "slot 0 to 1f" },
        { "-device virtio-rng-pci,bus=pci.7", "pci.7" },
        { "-device virtio-rng-pci,romfile=/nonexistent/rom", "/nonexistent/rom" },
        { "-device virtio-rng-pci,acpi-index=3 -device virtio-rng-pci,acpi-index=3", "acpi-index 3 is taken" },
        { "-global PIIX4_PM.acpi-root-pci-hotplug=off -device virtio-rng-pci,acpi-index=3", "hot-plug" },
        { "-device PIIX3", "part of the machine" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *output;
        g_assert_cmpint(qt_run(&output, "-accel qtest -machine pc -nodefaults -display none %s", cases[i].args), ==, 1);
        if (!strstr(output, cases[i].sentence))
            g_error("'%s' does not say '%s' but '%s'", cases[i].args, cases[i].sentence, output);
        g_free(output);
    }
    QtEmu *q = qt_start("-machine pc -nodefaults -device virtio-rng-pci,addr=5.0,multifunction=on -device virtio-rng-pci,addr=05.7 "
                        "-device virtio-rng-pci");
    g_assert_cmphex(qt_pci_read8(q, QT_DEVFN(5, 0), 0x0e), ==, 0x80);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(5, 7), 0), ==, 0x1af4);
    g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(2, 0), 0), ==, 0x1af4); /* first free slot */
    qt_quit(q);
}

static void test_option_rom(void)
{
    uint8_t rom[3000], back[8];
    for (unsigned i = 0; i < sizeof(rom); i++)
        rom[i] = i * 7;
    g_autofree char *path = g_build_filename(qt_tmpdir(), "rom", NULL);
    g_assert_true(g_file_set_contents(path, (const char *)rom, sizeof(rom), NULL));
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 -device virtio-rng-pci,addr=4,romfile=%s -device "
                        "virtio-rng-pci,addr=5,romfile=%s,rombar=0", path, path);
    qt_pci_write32(q, SLOT4, 0x30, 0xfffff800);
    g_assert_cmphex(qt_pci_read32(q, SLOT4, 0x30), ==, 0xfffff000); /* 4 KiB: the next power of two */
    qt_pci_write32(q, SLOT4, 0x30, 0xe0000000);
    qt_pci_write16(q, SLOT4, 0x04, 2);
    g_assert_cmphex(qt_readl(q, 0xe0000000), !=, 0x150e0700); /* its own enable bit is off */
    qt_pci_write32(q, SLOT4, 0x30, 0xe0000001);
    qt_memread(q, 0xe0000000 + 2992, back, 8);
    g_assert_cmpmem(back, 8, rom + 2992, 8);
    g_assert_cmphex(qt_readl(q, 0xe0000000 + 3000), ==, 0xffffffff);
    qt_writel(q, 0xe0000000, 0);
    g_assert_cmphex(qt_readl(q, 0xe0000000), ==, 0x150e0700);
    /* without a BAR it is a file for the firmware */
    qt_pci_write32(q, QT_DEVFN(5, 0), 0x30, 0xffffffff);
    g_assert_cmphex(qt_pci_read32(q, QT_DEVFN(5, 0), 0x30), ==, 0);
    size_t len = 0;
    g_autofree uint8_t *file = fw_cfg_read_file(q, "genroms/rom", &len);
    g_assert_cmpmem(file, len, rom, sizeof(rom));
    qt_quit(q);
}

static void test_query(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -chardev null,id=c -device pci-serial,chardev=c,addr=4,id=com");
    qt_pci_write32(q, SLOT4, 0x10, 0xc000);
    qt_pci_write16(q, SLOT4, 0x04, 1);
    json_object *buses = qt_qmp(q, "query-pci", NULL);
    json_object *devices = qt_json_at(json_object_array_get_idx(buses, 0), "devices");
    bool seen = false;
    for (size_t i = 0; i < json_object_array_length(devices); i++) {
        json_object *dev = json_object_array_get_idx(devices, i);
        if (strcmp(qt_json_str(dev, "qdev_id"), "com"))
            continue;
        seen = true;
        json_object *region = json_object_array_get_idx(qt_json_at(dev, "regions"), 0);
        g_assert_cmpint(qt_json_int(dev, "slot"), ==, 4);
        g_assert_cmphex(qt_json_int(region, "address"), ==, 0xc000);
        g_assert_cmpint(qt_json_int(region, "size"), ==, 8);
        g_assert_cmpstr(qt_json_str(region, "type"), ==, "io");
    }
    g_assert_true(seen);
    json_object_put(buses);
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pci/mechanism", test_mechanism);
    g_test_add_func("/pci/bars", test_bars);
    g_test_add_func("/pci/intx-routing", test_intx_routing);
    g_test_add_func("/pci/intx-shared", test_intx_shared);
    g_test_add_func("/pci/msix-table", test_msix_table);
    g_test_add_func("/pci/shadow-ram", test_shadow_ram);
    g_test_add_func("/pci/reset-port", test_reset_port);
    g_test_add_func("/pci/addresses", test_addresses);
    g_test_add_func("/pci/option-rom", test_option_rom);
    g_test_add_func("/pci/query", test_query);
    return g_test_run();
}
