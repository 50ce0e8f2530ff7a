/* fw_cfg: ports, DMA, keys, files, and what the user gives with -fw_cfg and -smbios. QEMU documentation "fw_cfg device". */
#include "fw_cfg-client.h"

static void test_ports(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 96 -smp 4");
    char signature[5] = { 0 };
    uint64_t ram;
    uint32_t id;
    uint16_t cpus, max;
    fw_cfg_read_port(q, 0, signature, 4);
    g_assert_cmpstr(signature, ==, "QEMU");
    g_assert_cmphex(qt_inb(q, FW_DATA), ==, 0); /* behind the end */
    fw_cfg_read_port(q, 1, &id, 4);
    g_assert_cmphex(id, ==, 3);
    fw_cfg_read_port(q, 3, &ram, 8);
    g_assert_cmpuint(ram, ==, 96 << 20);
    fw_cfg_read_port(q, 5, &cpus, 2);
    fw_cfg_read_port(q, 0x0f, &max, 2);
    g_assert_cmpuint(cpus, ==, 4);
    g_assert_cmpuint(max, ==, 4);
    /* selecting again starts again; a key that does not exist reads as zeroes; writes to the data port are ignored */
    qt_outw(q, FW_SELECT, 0);
    g_assert_cmphex(qt_inb(q, FW_DATA), ==, 'Q');
    qt_outb(q, FW_DATA, 'x');
    g_assert_cmphex(qt_inb(q, FW_DATA), ==, 'E');
    qt_outw(q, FW_SELECT, 0x7777);
    g_assert_cmphex(qt_inb(q, FW_DATA), ==, 0);
    qt_quit(q);
}

static void test_dma(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 -fw_cfg name=opt/test/text,string=0123456789");
    uint16_t key;
    uint32_t size;
    char text[16];
    uint64_t at = qt_alloc(q, 4096, 16);
    g_assert_cmphex(qt_inl(q, FW_DMA), ==, 0x554d4551); /* "QEMU CFG" */
    g_assert_cmphex(qt_inl(q, FW_DMA + 4), ==, 0x47464320);
    g_assert_true(fw_cfg_find(q, "opt/test/text", &key, &size));
    g_assert_cmpuint(size, ==, 10);
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_SKIP, 2, 0), ==, 0);
    g_assert_cmphex(fw_cfg_dma(q, FW_DMA_READ, 3, at), ==, 0);
    qt_memread(q, at, text, 3);
    g_assert_cmpmem(text, 3, "234", 3);
    /* what follows the end are zeroes, also for lengths without reason */
    qt_memset(q, at, 0xaa, 64);
    g_assert_cmphex(fw_cfg_dma(q, FW_DMA_READ, 16, at), ==, 0);
    qt_memread(q, at, text, 16);
    g_assert_cmpmem(text, 16, "56789\0\0\0\0\0\0\0\0\0\0\0", 16);
    g_assert_cmphex(fw_cfg_dma(q, FW_DMA_SKIP, 0xffffffff, 0), ==, 0);
    /* nothing is writable; addresses outside memory are errors; a descriptor outside memory is ignored */
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_WRITE, 4, at), ==, FW_DMA_ERROR);
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_READ, 4, 0xfffffffffffffffeull), ==, FW_DMA_ERROR);
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_READ, 0xffffffff, at), ==, FW_DMA_ERROR);
    qt_outl(q, FW_DMA, 0xffffffff);
    qt_outl(q, FW_DMA + 4, 0xf0ffffff);
    g_assert_cmphex(fw_cfg_dma(q, (uint32_t)key << 16 | FW_DMA_SELECT | FW_DMA_READ, 10, at), ==, 0);
    qt_quit(q);
}

static void test_user_files(void)
{
    g_autofree char *path = g_build_filename(qt_tmpdir(), "data", NULL);
    size_t len;
    g_assert_true(g_file_set_contents(path, "a\0b", 3, NULL));
    QtEmu *q = qt_start("-machine pc -nodefaults -fw_cfg name=opt/a,file=%s -fw_cfg opt/b,string=x,,y", path);
    g_autofree uint8_t *a = fw_cfg_read_file(q, "opt/a", &len);
    g_assert_cmpmem(a, len, "a\0b", 3);
    g_autofree uint8_t *b = fw_cfg_read_file(q, "opt/b", &len);
    g_assert_cmpmem(b, len, "x,y", 3);
    qt_quit(q);

    static const struct { const char *args, *sentence; } cases[] = {
        { "name=opt/a,file=/nonexistent", "/nonexistent" },
        { "name=opt/a", "needs one of" },
        { "string=x", "name=" },
        { "name=opt/0123456789012345678901234567890123456789012345678901234567890,string=x", "longer than 55" },
        { "name=etc/acpi/rsdp,string=x", "etc/acpi/rsdp" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases) - 1; i++) {
        char *output;
        g_assert_cmpint(qt_run(&output, "-accel qtest -machine pc -nodefaults -display none -fw_cfg %s", cases[i].args), ==, 1);
        if (!strstr(output, cases[i].sentence))
            g_error("'%s' does not say '%s' but '%s'", cases[i].args, cases[i].sentence, output);
        g_free(output);
    }
}

static void test_boot_files(void)
{
    g_autofree char *disk = g_build_filename(qt_tmpdir(), "disk", NULL), *zeroes = g_malloc0(65536);
    g_assert_true(g_file_set_contents(disk, zeroes, 65536, NULL));
    QtEmu *q = qt_start("-machine pc -nodefaults -m 4G -boot menu=on,splash-time=1234,strict=on "
                        "-drive if=none,id=d,format=raw,file=%s -device virtio-blk-pci,drive=d,bootindex=1,addr=5", disk);
    size_t len;
    g_autofree uint8_t *e820 = fw_cfg_read_file(q, "etc/e820", &len);
    uint64_t entry[2];
    g_assert_cmpuint(len, ==, 40);
    memcpy(entry, e820, 16);
    g_assert_cmphex(entry[0] + entry[1], ==, 0xc0000000);
    memcpy(entry, e820 + 20, 16);
    g_assert_cmphex(entry[0], ==, 0x100000000ull);
    g_assert_cmphex(entry[1], ==, 0x40000000);
    g_autofree uint8_t *wait = fw_cfg_read_file(q, "etc/boot-menu-wait", &len);
    g_assert_cmpmem(wait, len, "\xd2\x04", 2);
    g_autofree uint8_t *order = fw_cfg_read_file(q, "bootorder", &len);
    g_assert_true(g_str_has_prefix((char *)order, "/pci@i0cf8/scsi@5"));
    g_assert_true(g_str_has_suffix((char *)order, "\nHALT"));
    g_assert_cmphex(order[len - 1], ==, 0);
    qt_quit(q);
}

/* ---- SMBIOS ---------------------------------------------------------------------------------------------------------------- */

/* String n of the structure at p. */
static const char *string_of(const uint8_t *p, unsigned n)
{
    const char *s = (const char *)p + p[1];
    while (n > 1 && *s) {
        s += strlen(s) + 1;
        n--;
    }
    return n ? s : "";
}

/* First structure of the type, NULL if there is none; counts all structures. */
static const uint8_t *find_structure(const uint8_t *p, size_t len, uint8_t type, unsigned *count)
{
    const uint8_t *end = p + len, *found = NULL;
    *count = 0;
    while (p + 4 <= end) {
        if (p[0] == type && !found)
            found = p;
        ++*count;
        const uint8_t *s = p + p[1];
        while (s + 1 < end && (s[0] || s[1]))
            s++;
        p = s + 2;
    }
    g_assert_true(p == end);
    return found;
}

static void test_smbios(void)
{
    QtEmu *q = qt_start("-machine pc -nodefaults -m 20G -smp 4,sockets=2,cores=2,threads=1 -uuid 00112233-4455-6677-8899-aabbccddeeff "
                        "-smbios type=1,manufacturer=Acme,serial=S-1 -smbios type=11,value=one -smbios type=11,value=two");
    size_t len, anchor_len;
    unsigned count;
    g_autofree uint8_t *anchor = fw_cfg_read_file(q, "etc/smbios/smbios-anchor", &anchor_len);
    g_autofree uint8_t *tables = fw_cfg_read_file(q, "etc/smbios/smbios-tables", &len);
    g_assert_cmpuint(anchor_len, ==, 31);
    g_assert_cmpint(memcmp(anchor, "_SM_", 4), ==, 0);
    uint8_t sum = 0;
    for (unsigned i = 0; i < 31; i++)
        sum += anchor[i];
    g_assert_cmphex(sum, ==, 0);
    const uint8_t *system = find_structure(tables, len, 1, &count);
    g_assert_cmpuint(count, ==, anchor[28] | anchor[29] << 8);
    g_assert_cmpuint(len, ==, anchor[22] | anchor[23] << 8);
    g_assert_cmpstr(string_of(system, system[4]), ==, "Acme");
    g_assert_cmpstr(string_of(system, system[7]), ==, "S-1");
    g_assert_cmpmem(system + 8, 16, "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
    const uint8_t *oem = find_structure(tables, len, 11, &count);
    g_assert_cmpuint(oem[4], ==, 2);
    g_assert_cmpstr(string_of(oem, 2), ==, "two");
    const uint8_t *cpu = find_structure(tables, len, 4, &count);
    g_assert_cmpuint(cpu[35], ==, 2);
    const uint8_t *memory = find_structure(tables, len, 17, &count);
    g_assert_cmpuint(memory[12] | memory[13] << 8, ==, 16384);
    g_assert_null(find_structure(tables, len, 2, &count));
    g_assert_nonnull(find_structure(tables, len, 127, &count));
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/fw_cfg/ports", test_ports);
    g_test_add_func("/fw_cfg/dma", test_dma);
    g_test_add_func("/fw_cfg/user-files", test_user_files);
    g_test_add_func("/fw_cfg/boot-files", test_boot_files);
    g_test_add_func("/fw_cfg/smbios", test_smbios);
    return g_test_run();
}
