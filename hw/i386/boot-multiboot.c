/*
 * Multiboot 0.6.96 kernels with modules.
 *
 * Source: Multiboot Specification version 0.6.96.
 */
#include "hw/i386/boot.h"

#define HEADER_MAGIC 0x1badb002
#define LOADER_MAGIC 0x2badb002
#define SEARCH_SIZE 8192
#define FLAG_ALIGN_MODULES 0x00000001
#define FLAG_MEMORY_INFO 0x00000002
#define FLAG_ADDRESSES 0x00010000

#define INFO_GPA 0x1000
#define INFO_SIZE 116
#define MMAP_GPA 0x1100
#define NAME_GPA 0x1400
#define MODLIST_GPA 0x1800
#define MODULES_MAX 64
#define STRINGS_GPA 0x2000
#define STRINGS_ROOM 0x5000

/* Offset of the header; there is one with this magic, whether it is whole is found out here. */
static bool find_header(const BootImage *image, gsize *offset)
{
    for (gsize i = 0; i + 12 <= MIN(image->kernel_size, SEARCH_SIZE); i += 4) {
        const char *h = image->kernel + i;
        if (ld32(h) == HEADER_MAGIC && ld32(h) + ld32(h + 4) + ld32(h + 8) == 0) {
            *offset = i;
            return true;
        }
    }
    return false;
}

/* Load addresses in the header, for images that are not ELF. */
static bool segments_from_header(BootImage *image, PcMachine *pc, gsize header, GError **err)
{
    const char *h = image->kernel + header;
    uint64_t header_addr = 0, load = 0, load_end = 0, bss_end = 0;
    bool whole = header + 32 <= image->kernel_size;

    if (whole) {
        header_addr = ld32(h + 12);
        load = ld32(h + 16);
        load_end = ld32(h + 20);
        bss_end = ld32(h + 24);
        image->entry = ld32(h + 28);
    }
    if (!whole || load > header_addr || header_addr - load > header) {
        error_set(err, "'%s' has load addresses in its multiboot header that don't fit the file", image->kernel_name);
        return false;
    }
    uint64_t offset = header - (header_addr - load), size = image->kernel_size - offset;
    if (load_end) {
        if (load_end < load || load_end - load > size) {
            error_set(err, "'%s' is shorter than its multiboot header says", image->kernel_name);
            return false;
        }
        size = load_end - load;
    }
    BootSegment s = { .gpa = load, .data = (const uint8_t *)image->kernel + offset, .file_size = size, .size = size };
    if (bss_end > load + size)
        s.size = bss_end - load;
    if (load < 0x7000 || (load < MIB && load + s.size > 0x9f000) || load + s.size > pc->low_ram - PC_TABLES_AREA) {
        error_set(err, "'%s' wants to be loaded at 0x%" PRIx64 "-0x%" PRIx64 ", which is not free RAM (-m)", image->kernel_name,
                  load, load + s.size);
        return false;
    }
    g_array_append_val(image->segments, s);
    image->low_end = load + s.size;
    return true;
}

static bool place_modules(BootImage *image, const PcMachine *pc, GError **err)
{
    uint64_t at = MAX(image->low_end, MIB), strings = strlen(image->kernel_name) + strlen(image->cmdline) + 2;

    for (unsigned i = 0; i < image->modules->len; i++) {
        BootModule *module = image->modules->pdata[i];
        module->gpa = ROUND_UP_TO(at, 4096ull);
        at = module->gpa + module->size;
        strings += strlen(module->command) + 1;
        if (at > pc->low_ram - PC_TABLES_AREA) {
            error_set(err, "multiboot module '%s' with %zu bytes does not fit behind the kernel (-m)", module->command,
                      module->size);
            return false;
        }
    }
    if (image->modules->len > MODULES_MAX || strings > STRINGS_ROOM) {
        error_set(err, "%u multiboot modules with %" PRIu64 " bytes of command lines: at most %d and %d are possible",
                  image->modules->len, strings, MODULES_MAX, STRINGS_ROOM);
        return false;
    }
    return true;
}

bool boot_multiboot_check(BootImage *image, PcMachine *pc, GError **err)
{
    gsize header;

    if (!find_header(image, &header)) {
        error_set(err, "'%s' has a multiboot header with a wrong checksum", image->kernel_name);
        return false;
    }
    image->multiboot_flags = ld32(image->kernel + header + 4);
    uint32_t unknown = image->multiboot_flags & 0xffff & ~(FLAG_ALIGN_MODULES | FLAG_MEMORY_INFO);
    if (unknown) {
        error_set(err, "'%s' requires multiboot features 0x%x, which are not supported", image->kernel_name, unknown);
        return false;
    }
    bool ok;
    if (image->multiboot_flags & FLAG_ADDRESSES) {
        ok = segments_from_header(image, pc, header, err);
    } else if (image->kernel_size > 5 && image->kernel[4] == 2) {
        error_set(err, "'%s' is a 64-bit ELF file: multiboot takes 32-bit ones (objcopy -O elf32-i386)", image->kernel_name);
        return false;
    } else {
        ok = boot_elf_segments(image, pc, err);
    }
    return ok && place_modules(image, pc, err);
}

static unsigned write_mmap(PcMachine *pc)
{
    E820Entry entries[PC_E820_MAX];
    unsigned n = pc_memory_e820(pc, entries, true);
    uint8_t table[PC_E820_MAX * 24] = { 0 };

    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = table + i * 24;
        st32(e, 20);
        st64(e + 4, entries[i].addr);
        st64(e + 12, entries[i].size);
        st32(e + 20, entries[i].type);
    }
    boot_write(pc, MMAP_GPA, table, n * 24);
    return n * 24;
}

static uint32_t write_string(PcMachine *pc, uint32_t *at, const char *text)
{
    uint32_t gpa = *at;

    boot_write(pc, gpa, text, strlen(text) + 1);
    *at += strlen(text) + 1;
    return gpa;
}

static void write_image(const BootImage *image, PcMachine *pc)
{
    for (unsigned i = 0; i < image->segments->len; i++) {
        const BootSegment *s = &g_array_index(image->segments, BootSegment, i);
        boot_write(pc, s->gpa, s->data, s->file_size);
        boot_zero(pc, s->gpa + s->file_size, s->size - s->file_size);
    }
    for (unsigned i = 0; i < image->modules->len; i++) {
        const BootModule *module = image->modules->pdata[i];
        boot_write(pc, module->gpa, module->data, module->size);
    }
}

void boot_multiboot_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu)
{
    static const char loader_name[] = "rhea";
    uint8_t info[INFO_SIZE] = { 0 };
    uint32_t strings = STRINGS_GPA;
    uint64_t rsdp;

    boot_platform_prepare(pc, &rsdp);
    write_image(image, pc);
    /* memory, boot device, command line, modules, memory map, loader name */
    st32(info, 1u << 0 | 1u << 1 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 9);
    st32(info + 4, 640);
    st32(info + 8, (pc->low_ram - PC_TABLES_AREA - MIB) / KIB);
    st32(info + 12, 0x8000ffff); /* first hard disk, first partition */
    g_autofree char *line = g_strdup_printf("%s %s", image->kernel_name, image->cmdline);
    if (!*image->cmdline)
        line[strlen(line) - 1] = 0;
    st32(info + 16, write_string(pc, &strings, line));
    st32(info + 20, image->modules->len);
    st32(info + 24, MODLIST_GPA);
    for (unsigned i = 0; i < image->modules->len; i++) {
        const BootModule *module = image->modules->pdata[i];
        uint8_t entry[16] = { 0 };
        st32(entry, module->gpa);
        st32(entry + 4, module->gpa + module->size);
        st32(entry + 8, write_string(pc, &strings, module->command));
        boot_write(pc, MODLIST_GPA + i * 16, entry, sizeof(entry));
    }
    st32(info + 44, write_mmap(pc));
    st32(info + 48, MMAP_GPA);
    boot_write(pc, NAME_GPA, loader_name, sizeof(loader_name));
    st32(info + 64, NAME_GPA);
    boot_write(pc, INFO_GPA, info, sizeof(info));

    boot_set_flat_mode(pc, cpu, image->entry);
    cpu->st.gpr[R_RAX] = LOADER_MAGIC;
    cpu->st.gpr[R_RBX] = INFO_GPA;
}
