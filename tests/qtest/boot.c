/*
 * Direct kernel boot of each protocol, with kernels of a few instructions that print what they were handed on the debug console and
 * leave through isa-debug-exit; and the sentences for files that are no kernels.
 * Linux Documentation/arch/x86/boot.rst, Xen PVH start_info, Multiboot 0.6.96.
 */
#include <qtest-client.h>

#include <elf.h>
#include <stdio.h>
#include <string.h>

#define EXIT_STATUS (0x21 << 1 | 1)

/* Prints EAX, the command line, each module's command line and contents (text), and the memory map: base, length, type. */
static const uint8_t multiboot_code[] = {
    0xbc, 0x00, 0x00, 0x09, 0x00, 0x89, 0xc7, 0xe8, 0x6b, 0x00, 0x00, 0x00, 0x8b, 0x73, 0x10, 0xe8, 0x55, 0x00,
    0x00, 0x00, 0x8b, 0x4b, 0x14, 0x8b, 0x6b, 0x18, 0x85, 0xc9, 0x74, 0x16, 0x8b, 0x75, 0x08, 0xe8, 0x43, 0x00,
    0x00, 0x00, 0x8b, 0x75, 0x00, 0xe8, 0x3b, 0x00, 0x00, 0x00, 0x83, 0xc5, 0x10, 0x49, 0xeb, 0xe6, 0x8b, 0x4b,
    0x2c, 0x8b, 0x6b, 0x30, 0x01, 0xe9, 0x39, 0xcd, 0x73, 0x21, 0x8b, 0x7d, 0x04, 0xe8, 0x2f, 0x00, 0x00, 0x00,
    0x8b, 0x7d, 0x0c, 0xe8, 0x27, 0x00, 0x00, 0x00, 0x8b, 0x7d, 0x14, 0xe8, 0x1f, 0x00, 0x00, 0x00, 0x8b, 0x45,
    0x00, 0x8d, 0x6c, 0x05, 0x04, 0xeb, 0xdb, 0xb8, 0x21, 0x00, 0x00, 0x00, 0xe7, 0xf4, 0xf4, 0xac, 0x84, 0xc0,
    0x74, 0x04, 0xe6, 0xe9, 0xeb, 0xf7, 0xb0, 0x0a, 0xe6, 0xe9, 0xc3, 0xba, 0x08, 0x00, 0x00, 0x00, 0xc1, 0xc7,
    0x04, 0x89, 0xf8, 0x24, 0x0f, 0x04, 0x30, 0x3c, 0x3a, 0x72, 0x02, 0x04, 0x27, 0xe6, 0xe9, 0x4a, 0x75, 0xec,
    0xb0, 0x0a, 0xe6, 0xe9, 0xc3,
};

/* Prints the magic of start_info at EBX, the command line, the first module (text), 8 bytes of the RSDP, the number of map entries. */
static const uint8_t pvh_code[] = {
    0xbc, 0x00, 0x00, 0x09, 0x00, 0x8b, 0x3b, 0xe8, 0x42, 0x00, 0x00, 0x00, 0x8b, 0x73, 0x18, 0xe8, 0x2c, 0x00,
    0x00, 0x00, 0x8b, 0x6b, 0x10, 0x8b, 0x75, 0x00, 0xe8, 0x21, 0x00, 0x00, 0x00, 0x8b, 0x73, 0x20, 0xb9, 0x08,
    0x00, 0x00, 0x00, 0xac, 0xe6, 0xe9, 0xe2, 0xfb, 0xb0, 0x0a, 0xe6, 0xe9, 0x8b, 0x7b, 0x30, 0xe8, 0x16, 0x00,
    0x00, 0x00, 0xb8, 0x21, 0x00, 0x00, 0x00, 0xe7, 0xf4, 0xf4, 0xac, 0x84, 0xc0, 0x74, 0x04, 0xe6, 0xe9, 0xeb,
    0xf7, 0xb0, 0x0a, 0xe6, 0xe9, 0xc3, 0xba, 0x08, 0x00, 0x00, 0x00, 0xc1, 0xc7, 0x04, 0x89, 0xf8, 0x24, 0x0f,
    0x04, 0x30, 0x3c, 0x3a, 0x72, 0x02, 0x04, 0x27, 0xe6, 0xe9, 0x4a, 0x75, 0xec, 0xb0, 0x0a, 0xe6, 0xe9, 0xc3,
};

/*
 * Works in 32-bit and 64-bit mode: prints the command line, the initrd (text), 8 bytes of the RSDP; then 0 or 1 for the mode, and the CS and DS
 * selectors and the number of memory map entries as characters from '0'.
 */
static const uint8_t linux_code[] = {
    0xbc, 0x00, 0x00, 0x09, 0x00, 0x89, 0xf3, 0x8b, 0xb3, 0x28, 0x02, 0x00, 0x00, 0xe8, 0x49, 0x00, 0x00, 0x00,
    0x8b, 0xb3, 0x18, 0x02, 0x00, 0x00, 0xe8, 0x3e, 0x00, 0x00, 0x00, 0x8b, 0x73, 0x70, 0xb9, 0x08, 0x00, 0x00,
    0x00, 0xac, 0xe6, 0xe9, 0xe2, 0xfb, 0xb0, 0x0a, 0xe6, 0xe9, 0xb8, 0x01, 0x00, 0x00, 0x00, 0x48, 0x90, 0x04,
    0x30, 0xe6, 0xe9, 0x8c, 0xc8, 0x04, 0x30, 0xe6, 0xe9, 0x8c, 0xd8, 0x04, 0x30, 0xe6, 0xe9, 0x8a, 0x83, 0xe8,
    0x01, 0x00, 0x00, 0x04, 0x30, 0xe6, 0xe9, 0xb0, 0x0a, 0xe6, 0xe9, 0xb8, 0x21, 0x00, 0x00, 0x00, 0xe7, 0xf4,
    0xf4, 0xac, 0x84, 0xc0, 0x74, 0x04, 0xe6, 0xe9, 0xeb, 0xf7, 0xb0, 0x0a, 0xe6, 0xe9, 0xc3,
};

#define MACHINE "-accel dbt -machine pc -nodefaults -display none -no-reboot -m 64 -device isa-debugcon,chardev=d -chardev file,id=d,path=%s " \
                "-device isa-debug-exit,iobase=0xf4,iosize=4 "

static char *write_file(const char *name, const void *data, size_t len)
{
    char *path = g_build_filename(qt_tmpdir(), name, NULL);
    g_assert_true(g_file_set_contents(path, data, len, NULL));
    return path;
}

/* Starts kernel with these arguments; what it printed, when it came to its end. (owned) */
static char *run_kernel(const void *kernel, size_t len, const char *args)
{
    g_autofree char *path = write_file("kernel", kernel, len), *log = g_build_filename(qt_tmpdir(), "log", NULL), *output = NULL;
    char *text;
    int status = qt_run(&output, MACHINE "-kernel %s %s", log, path, args);
    if (status != EXIT_STATUS)
        g_error("status %d: %s", status, output);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    return text;
}

static size_t multiboot_image(uint8_t *image, uint32_t flags)
{
    uint32_t header[8] = { 0x1badb002, flags, -(0x1badb002 + flags), 0x100010, 0x100000, 0, 0, 0x100040 };
    memset(image, 0, 0x40);
    memcpy(image + 0x10, header, sizeof(header));
    memcpy(image + 0x40, multiboot_code, sizeof(multiboot_code));
    return 0x40 + sizeof(multiboot_code);
}

static void test_multiboot(void)
{
    uint8_t image[1024];
    size_t len = multiboot_image(image, 0x10003);
    g_autofree char *one = write_file("one", "first", 6), *two = write_file("two", "second", 7);
    g_autofree char *args = g_strdup_printf("-append 'hello there' -initrd '%s a b,%s'", one, two);
    g_autofree char *text = run_kernel(image, len, args);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_assert_cmpuint(g_strv_length(lines), >=, 12);
    g_assert_cmpstr(lines[0], ==, "2badb002");
    g_assert_true(g_str_has_suffix(lines[1], "/kernel hello there"));
    g_assert_true(g_str_has_suffix(lines[2], "/one a b"));
    g_assert_cmpstr(lines[3], ==, "first");
    g_assert_true(g_str_has_suffix(lines[4], "/two"));
    g_assert_cmpstr(lines[5], ==, "second");
    g_assert_cmpstr(lines[6], ==, "00000000");
    g_assert_cmpstr(lines[7], ==, "0009fc00");
    g_assert_cmpstr(lines[8], ==, "00000001");
    g_assert_nonnull(strstr(text, "00100000\n03ec0000\n00000001")); /* 64 MiB less tables and the first MiB */
}

/* ELF of either class with one segment at 1 MiB and, if asked for, a PVH note. */
static size_t elf_image(uint8_t *image, bool note)
{
    static const uint32_t note_data[] = { 4, 4, 18, 0x006e6558, 0x100000 };
    Elf64_Ehdr eh = {
        .e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT }, .e_type = ET_EXEC, .e_machine = EM_X86_64,
        .e_version = 1, .e_entry = 0xffffffff81000000ull, .e_phoff = sizeof(eh), .e_ehsize = sizeof(eh),
        .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = note ? 2 : 1,
    };
    Elf64_Phdr ph[2] = {
        { .p_type = PT_LOAD, .p_offset = 512, .p_paddr = 0x100000, .p_filesz = sizeof(pvh_code), .p_memsz = 4096 },
        { .p_type = PT_NOTE, .p_offset = 256, .p_filesz = sizeof(note_data), .p_memsz = sizeof(note_data) },
    };
    memset(image, 0, 512);
    memcpy(image, &eh, sizeof(eh));
    memcpy(image + sizeof(eh), ph, sizeof(ph));
    memcpy(image + 256, note_data, sizeof(note_data));
    memcpy(image + 512, pvh_code, sizeof(pvh_code));
    return 512 + sizeof(pvh_code);
}

static void test_pvh(void)
{
    uint8_t image[1024];
    size_t len = elf_image(image, true);
    g_autofree char *initrd = write_file("one", "first", 6);
    g_autofree char *args = g_strdup_printf("-append 'root=x' -initrd %s", initrd);
    g_autofree char *text = run_kernel(image, len, args);
    g_assert_cmpstr(text, ==, "336ec578\nroot=x\nfirst\nRSD PTR \n00000006\n");
}

/* A bzImage with one set-up sector; the protected-mode part has the code at both entries. */
static size_t linux_image(uint8_t *image, uint16_t version, uint16_t xloadflags)
{
    memset(image, 0, 4096);
    image[0x1f1] = 1;
    image[0x1fe] = 0x55;
    image[0x1ff] = 0xaa;
    image[0x200] = 0xeb;
    image[0x201] = 0x66;
    memcpy(image + 0x202, "HdrS", 4);
    memcpy(image + 0x206, &version, 2);
    image[0x211] = 1;
    memcpy(image + 0x22c, "\xff\xff\xff\x37", 4);
    memcpy(image + 0x236, &xloadflags, 2);
    memcpy(image + 0x238, "\xff\x07\0\0", 4);
    memcpy(image + 0x260, "\0\x20\0\0", 4);
    memcpy(image + 0x400, linux_code, sizeof(linux_code));
    memcpy(image + 0x600, linux_code, sizeof(linux_code));
    return 2048;
}

static void test_linux(const void *wide)
{
    uint8_t image[4096];
    size_t len = linux_image(image, 0x020f, wide ? 1 : 0);
    g_autofree char *initrd = write_file("one", "first", 6);
    g_autofree char *args = g_strdup_printf("-append 'quiet x=1' -initrd %s", initrd);
    g_autofree char *text = run_kernel(image, len, args);
    /* CS is 0x10, DS 0x18, six entries in the memory map */
    g_assert_cmpstr(text, ==, wide ? "quiet x=1\nfirst\nRSD PTR \n1@H6\n" : "quiet x=1\nfirst\nRSD PTR \n0@H6\n");
}

/* The second start finds everything as the first did. */
static void test_again(void)
{
    uint8_t image[4096];
    size_t len = linux_image(image, 0x020f, 1);
    /* in place of the exit: a reset through port 0xcf9 the first time, told apart by CMOS byte 0x7f, which a reset leaves alone */
    static const uint8_t tail[] = {
        0xb0, 0x7f, 0xe6, 0x70, 0xe4, 0x71, 0x3c, 0xa5, 0x74, 0x0d, 0xb0, 0xa5, 0xe6, 0x71, 0xba, 0xf9, 0x0c, 0x00, 0x00, 0xb0, 0x06,
        0xee, 0xf4, 0xb8, 0x21, 0x00, 0x00, 0x00, 0xe7, 0xf4, 0xf4,
    };
    uint8_t *code = image + 0x600;
    size_t end = 0;
    while (memcmp(code + end, "\xb8\x21\0\0\0\xe7\xf4", 7))
        end++;
    /* puts lies behind the exit: the new end goes behind it, reached by a jump */
    size_t at = sizeof(linux_code) + 16;
    code[end] = 0xe9;
    int32_t distance = at - (end + 5);
    memcpy(code + end + 1, &distance, 4);
    memcpy(code + at, tail, sizeof(tail));
    g_autofree char *path = write_file("kernel", image, len), *log = g_build_filename(qt_tmpdir(), "log", NULL), *output = NULL;
    g_autofree char *text = NULL;
    int status = qt_run(&output, "-accel dbt -machine pc -nodefaults -display none -m 64 -device isa-debugcon,chardev=d -chardev "
                        "file,id=d,path=%s -device isa-debug-exit,iobase=0xf4,iosize=4 -kernel %s -append again", log, path);
    g_assert_cmpint(status, ==, EXIT_STATUS);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    unsigned times = 0;
    for (unsigned i = 0; lines[i]; i++)
        times += !strcmp(lines[i], "again");
    g_assert_cmpuint(times, ==, 2);
}

/* Firmware runs a device's option ROM from its BAR, and one from genroms/: each prints its letter. */
static void test_option_roms(void)
{
    g_autofree char *log = g_build_filename(qt_tmpdir(), "log", NULL), *text = NULL;
    static const uint8_t code[] = { 0xb0, 'R', 0xe6, 0xe9, 0xcb }; /* mov al, 'R'; out 0xe9, al; retf */
    static const uint8_t data[] = { 'P', 'C', 'I', 'R', 0xf4, 0x1a, 0x05, 0x10, 0, 0, 0x18, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0x80 };
    char *paths[2];
    for (unsigned i = 0; i < 2; i++) {
        uint8_t rom[512] = { 0x55, 0xaa, 1 }, sum = 0;
        memcpy(rom + 3, code, sizeof(code));
        rom[4] = 'R' + i;
        rom[0x18] = 0x1c;
        memcpy(rom + 0x1c, data, sizeof(data));
        for (unsigned j = 0; j < sizeof(rom); j++)
            sum += rom[j];
        rom[511] = -sum;
        paths[i] = write_file(i ? "b.rom" : "a.rom", rom, sizeof(rom));
    }
    QtEmu *q = qt_start_accel("-accel dbt -machine pc -nodefaults -m 64 -device isa-debugcon,chardev=d -chardev file,id=d,path=%s "
                              "-device virtio-rng-pci,romfile=%s -device virtio-rng-pci,romfile=%s,rombar=0", log, paths[0], paths[1]);
    for (unsigned i = 0; i < 300; i++) {
        g_clear_pointer(&text, g_free);
        g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
        if (strchr(text, 'R') && strchr(text, 'S'))
            break;
        g_usleep(100000);
    }
    g_assert_cmpstr(text, ==, "RS");
    qt_quit(q);
    g_free(paths[0]);
    g_free(paths[1]);
}

static void refused(const void *kernel, size_t len, const char *args, const char *sentence)
{
    g_autofree char *path = write_file("kernel", kernel, len), *output = NULL;
    int status = qt_run(&output, "-accel qtest -machine pc -nodefaults -display none -kernel %s %s", path, args);
    if (status != 1 || !strstr(output, sentence))
        g_error("status %d, not '%s' but '%s'", status, sentence, output);
}

static void test_refused(void)
{
    uint8_t image[4096];
    g_autofree char *big = g_build_filename(qt_tmpdir(), "big", NULL);
    FILE *f = fopen(big, "w");
    g_assert_true(f && fseek(f, 60 << 20, SEEK_SET) == 0 && fputc(1, f) == 1 && fclose(f) == 0);
    g_autofree char *with_big = g_strdup_printf("-m 32 -initrd %s", big);

    refused("text", 4, "", "is not a kernel");
    refused("", 0, "", "is empty");
    refused(image, elf_image(image, false), "", "without a PVH entry");
    size_t len = elf_image(image, true);
    refused(image, 600, "", "outside the file");
    image[18] = EM_ARM;
    refused(image, len, "", "another processor");
    refused(image, multiboot_image(image, 0x10007), "", "features 0x4");
    len = multiboot_image(image, 0x10003);
    image[0x18]++;
    refused(image, len, "", "checksum");
    refused(image, linux_image(image, 0x0201, 0), "", "protocol 2.01");
    len = linux_image(image, 0x020f, 1);
    refused(image, len, with_big, "does not fit");
    refused(image, len, "-initrd /nonexistent", "/nonexistent");
    refused(image, len, "-m 1", "too little");
    image[0x1f1] = 64;
    refused(image, len, "", "cut short");
    image[0x1f1] = 1;
    g_autofree char *longest = g_strnfill(3000, 'x'), *line = g_strdup_printf("-append %s", longest);
    refused(image, len, line, "at most 2047");
    memcpy(image + 0x260, "\0\0\0\x10", 4);
    refused(image, len, "-m 128", "MiB of RAM");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/boot/multiboot", test_multiboot);
    g_test_add_func("/boot/pvh", test_pvh);
    g_test_add_data_func("/boot/linux-32", NULL, test_linux);
    g_test_add_data_func("/boot/linux-64", "wide", test_linux);
    g_test_add_func("/boot/again", test_again);
    g_test_add_func("/boot/option-roms", test_option_roms);
    g_test_add_func("/boot/refused", test_refused);
    return g_test_run();
}
