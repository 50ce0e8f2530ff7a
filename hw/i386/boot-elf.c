/*
 * ELF kernels: program headers, and the PVH entry.
 *
 * Source: System V ABI (gABI 4.1) ch. 4-5; Xen "x86/HVM direct boot ABI" (docs/misc/pvh), start_info version 1.
 */
#include "hw/i386/boot.h"

#include <elf.h>

#define NOTE_PHYS32_ENTRY 18
#define START_INFO_GPA 0x6000
#define START_INFO_MAGIC 0x336ec578
#define START_INFO_SIZE 56
#define MODLIST_GPA 0x6040
#define MEMMAP_GPA 0x6100
#define CMDLINE_GPA 0x20000
#define CMDLINE_ROOM 0xffff

/* One program header of either class. */
typedef struct Segment {
    uint32_t type;
    uint64_t offset, paddr, file_size, size;
} Segment;

static bool in_file(const BootImage *image, uint64_t offset, uint64_t size)
{
    return offset <= image->kernel_size && size <= image->kernel_size - offset;
}

static bool read_segment(const BootImage *image, unsigned n, Segment *s)
{
    const uint8_t *k = (const uint8_t *)image->kernel;

    if (k[EI_CLASS] == ELFCLASS64) {
        Elf64_Ehdr eh;
        Elf64_Phdr ph;
        memcpy(&eh, k, sizeof(eh));
        if (n >= eh.e_phnum || !in_file(image, eh.e_phoff, (n + 1) * (uint64_t)sizeof(ph)))
            return false;
        memcpy(&ph, k + eh.e_phoff + n * sizeof(ph), sizeof(ph));
        *s = (Segment) { ph.p_type, ph.p_offset, ph.p_paddr, ph.p_filesz, ph.p_memsz };
    } else {
        Elf32_Ehdr eh;
        Elf32_Phdr ph;
        memcpy(&eh, k, sizeof(eh));
        if (n >= eh.e_phnum || !in_file(image, eh.e_phoff, (n + 1) * (uint64_t)sizeof(ph)))
            return false;
        memcpy(&ph, k + eh.e_phoff + n * sizeof(ph), sizeof(ph));
        *s = (Segment) { ph.p_type, ph.p_offset, ph.p_paddr, ph.p_filesz, ph.p_memsz };
    }
    return true;
}

static bool add_load(BootImage *image, const PcMachine *pc, const Segment *s, GError **err)
{
    uint64_t end = pc->low_ram - PC_TABLES_AREA;

    if (s->file_size > s->size || !in_file(image, s->offset, s->file_size)) {
        error_set(err, "'%s' is damaged: a segment lies outside the file", image->kernel_name);
        return false;
    }
    /* Below 0x7000 are the structures that the kernel is handed. */
    bool low = s->paddr >= 0x7000 && s->paddr + s->size <= 0x9f000;
    bool high = s->paddr >= MIB && s->paddr <= end && s->size <= end - s->paddr;
    if (!low && !high) {
        error_set(err, "'%s' has a segment of 0x%" PRIx64 " bytes at 0x%" PRIx64 ", which is not free RAM (-m)",
                  image->kernel_name, s->size, s->paddr);
        return false;
    }
    BootSegment segment = {
        .gpa = s->paddr, .data = (const uint8_t *)image->kernel + s->offset, .file_size = s->file_size, .size = s->size,
    };
    g_array_append_val(image->segments, segment);
    if (high)
        image->low_end = MAX(image->low_end, s->paddr + s->size);
    return true;
}

static bool check_header(const BootImage *image, GError **err)
{
    const uint8_t *k = (const uint8_t *)image->kernel;

    if (image->kernel_size < sizeof(Elf64_Ehdr) || memcmp(k, ELFMAG, SELFMAG) || k[EI_DATA] != ELFDATA2LSB ||
        (k[EI_CLASS] != ELFCLASS32 && k[EI_CLASS] != ELFCLASS64)) {
        error_set(err, "'%s' is not a little-endian ELF file", image->kernel_name);
        return false;
    }
    uint16_t arch = ld16(k + 18);
    if (arch != EM_386 && arch != EM_X86_64) {
        error_set(err, "'%s' is an ELF file for another processor (machine %u)", image->kernel_name, arch);
        return false;
    }
    return true;
}

bool boot_elf_segments(BootImage *image, PcMachine *pc, GError **err)
{
    const uint8_t *k = (const uint8_t *)image->kernel;
    Segment s;

    if (!check_header(image, err))
        return false;
    image->entry = k[EI_CLASS] == ELFCLASS64 ? ld64(k + 24) : ld32(k + 24);
    for (unsigned n = 0; read_segment(image, n, &s); n++)
        if (s.type == PT_LOAD && s.size && !add_load(image, pc, &s, err))
            return false;
    if (image->segments->len == 0) {
        error_set(err, "'%s' has nothing to load", image->kernel_name);
        return false;
    }
    return true;
}

/* Looks through the notes of one PT_NOTE segment. */
static bool find_entry_note(const BootImage *image, const Segment *s, uint64_t *entry)
{
    if (!in_file(image, s->offset, s->file_size))
        return false;
    const uint8_t *p = (const uint8_t *)image->kernel + s->offset;
    uint64_t left = s->file_size;

    while (left >= 12) {
        uint64_t name = ROUND_UP_TO((uint64_t)ld32(p), 4ull), desc = ROUND_UP_TO((uint64_t)ld32(p + 4), 4ull);
        if (name > left - 12 || desc > left - 12 - name)
            return false;
        if (ld32(p + 8) == NOTE_PHYS32_ENTRY && ld32(p) == 4 && !memcmp(p + 12, "Xen", 4) && ld32(p + 4) >= 4) {
            *entry = ld32(p + 12 + name);
            return true;
        }
        p += 12 + name + desc;
        left -= 12 + name + desc;
    }
    return false;
}

bool boot_elf_check(BootImage *image, PcMachine *pc, GError **err)
{
    Segment s;
    uint64_t entry = 0;
    bool found = false;

    if (!check_header(image, err))
        return false;
    for (unsigned n = 0; !found && read_segment(image, n, &s); n++)
        found = s.type == PT_NOTE && find_entry_note(image, &s, &entry);
    if (!found) {
        error_set(err, "'%s' is an ELF file without a PVH entry (Xen note 18) or multiboot header: it can't be started directly",
                  image->kernel_name);
        return false;
    }
    if (!boot_elf_segments(image, pc, err))
        return false;
    image->entry = entry;
    uint64_t initrd = ROUND_UP_TO(image->low_end, 4096ull);
    if (initrd + image->initrd_size > pc->low_ram - PC_TABLES_AREA) {
        error_set(err, "initrd '%s' with %zu bytes does not fit behind the kernel (-m)", pc->machine.boot.initrd,
                  image->initrd_size);
        return false;
    }
    if (strlen(image->cmdline) > CMDLINE_ROOM) {
        error_set(err, "kernel command line has %zu bytes, at most %d are possible", strlen(image->cmdline), CMDLINE_ROOM);
        return false;
    }
    return true;
}

static void write_segments(const BootImage *image, PcMachine *pc)
{
    for (unsigned i = 0; i < image->segments->len; i++) {
        const BootSegment *s = &g_array_index(image->segments, BootSegment, i);
        boot_write(pc, s->gpa, s->data, s->file_size);
        boot_zero(pc, s->gpa + s->file_size, s->size - s->file_size);
    }
}

static unsigned write_memmap(PcMachine *pc)
{
    E820Entry entries[PC_E820_MAX];
    unsigned n = pc_memory_e820(pc, entries, true);
    uint8_t table[PC_E820_MAX * 24] = { 0 };

    for (unsigned i = 0; i < n; i++) {
        st64(table + i * 24, entries[i].addr);
        st64(table + i * 24 + 8, entries[i].size);
        st32(table + i * 24 + 16, entries[i].type);
    }
    boot_write(pc, MEMMAP_GPA, table, n * 24);
    return n;
}

void boot_pvh_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu)
{
    uint8_t info[START_INFO_SIZE] = { 0 }, module[32] = { 0 };
    uint64_t rsdp, initrd = ROUND_UP_TO(image->low_end, 4096ull);

    boot_platform_prepare(pc, &rsdp);
    write_segments(image, pc);
    boot_write(pc, CMDLINE_GPA, image->cmdline, strlen(image->cmdline) + 1);
    if (image->initrd) {
        boot_write(pc, initrd, image->initrd, image->initrd_size);
        st64(module, initrd);
        st64(module + 8, image->initrd_size);
        boot_write(pc, MODLIST_GPA, module, sizeof(module));
        st32(info + 12, 1);
        st64(info + 16, MODLIST_GPA);
    }
    st32(info, START_INFO_MAGIC);
    st32(info + 4, 1); /* version */
    st64(info + 24, CMDLINE_GPA);
    st64(info + 32, rsdp);
    st64(info + 40, MEMMAP_GPA);
    st32(info + 48, write_memmap(pc));
    boot_write(pc, START_INFO_GPA, info, sizeof(info));
    boot_set_flat_mode(pc, cpu, image->entry);
    cpu->st.gpr[R_RBX] = START_INFO_GPA;
}
