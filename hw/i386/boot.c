/*
 * Direct kernel boot: reading and telling apart kernels, flat CPU modes.
 *
 * Low memory while a kernel is entered (all of it is free RAM to the kernel afterwards):
 * 0x500 GDT, 0x1000 boot parameters, 0x20000 command line (64 KiB), 0x30000 page tables.
 */
#include "hw/i386/boot.h"

#include <mem/dma.h>

#include "hw/i386/firmware.h"

#define KERNEL_MAX (1 * GIB)
#define INITRD_MAX (3 * GIB)
#define GDT_GPA 0x500
#define DIRECT_RAM_MIN (2 * MIB)

void boot_write(PcMachine *pc, uint64_t gpa, const void *data, uint64_t size)
{
    if (dma_write(pc->machine.mem, gpa, data, size) != MEMTX_OK)
        report_warning("direct boot: 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not RAM", size, gpa);
}

void boot_zero(PcMachine *pc, uint64_t gpa, uint64_t size)
{
    if (dma_set(pc->machine.mem, gpa, 0, size) != MEMTX_OK)
        report_warning("direct boot: 0x%" PRIx64 " bytes at 0x%" PRIx64 " are not RAM", size, gpa);
}

/* ---- CPU state ------------------------------------------------------------------------------------------------------ */

/* Selectors 0x10 and 0x18, as the Linux boot protocol wants them; the others are content with them. */
static void load_segments(PcMachine *pc, X86Cpu *cpu, bool wide)
{
    uint64_t gdt[4] = { 0, 0, wide ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull, 0x00cf93000000ffffull };
    X86Segment code = { .limit = 0xffffffff, .selector = 0x10, .attr = 0xc09b };
    X86Segment data = { .limit = 0xffffffff, .selector = 0x18, .attr = 0xc093 };

    if (wide)
        code.attr = (code.attr & ~SEG_ATTR_DB) | SEG_ATTR_L;
    boot_write(pc, GDT_GPA, gdt, sizeof(gdt));
    cpu->st.gdt = (X86Table) { .base = GDT_GPA, .limit = sizeof(gdt) - 1 };
    cpu->st.idt = (X86Table) { .base = 0, .limit = 0 };
    for (unsigned i = 0; i <= SEG_GS; i++)
        cpu->st.seg[i] = i == SEG_CS ? code : data;
    cpu->st.rflags = 2;
    cpu->st.cr0 = CR0_PE | CR0_ET;
}

void boot_set_flat_mode(PcMachine *pc, X86Cpu *cpu, uint64_t entry)
{
    load_segments(pc, cpu, false);
    cpu->st.rip = entry;
}

void boot_set_long_mode(PcMachine *pc, X86Cpu *cpu, uint64_t entry, uint64_t tables)
{
    uint64_t page[512];

    /* One top-level entry, four page directories of 2 MiB pages. */
    memset(page, 0, sizeof(page));
    page[0] = (tables + 0x1000) | 3;
    boot_write(pc, tables, page, sizeof(page));
    page[0] = 0;
    for (unsigned i = 0; i < 4; i++)
        page[i] = (tables + 0x2000 + i * 0x1000) | 3;
    boot_write(pc, tables + 0x1000, page, sizeof(page));
    for (unsigned directory = 0; directory < 4; directory++) {
        for (unsigned i = 0; i < 512; i++)
            page[i] = directory * GIB + i * 2 * MIB + 0x83;
        boot_write(pc, tables + 0x2000 + directory * 0x1000, page, sizeof(page));
    }
    load_segments(pc, cpu, true);
    cpu->st.cr4 = CR4_PAE;
    cpu->st.cr3 = tables;
    cpu->st.efer = EFER_LME | EFER_LMA;
    cpu->st.cr0 |= CR0_PG;
    cpu->st.rip = entry;
}

/* ---- loading --------------------------------------------------------------------------------------------------------- */

static void module_free(gpointer opaque)
{
    BootModule *module = opaque;

    g_free(module->data);
    g_free(module->command);
    g_free(module);
}

void boot_image_free(BootImage *image)
{
    if (!image)
        return;
    g_free(image->kernel);
    g_free(image->initrd);
    g_free(image->cmdline);
    g_free(image->kernel_name);
    g_array_unref(image->segments);
    g_ptr_array_unref(image->modules);
    g_free(image);
}

/* initrd= of a multiboot kernel: modules "file arguments" separated by commas; a double comma stands for one. */
static bool load_modules(BootImage *image, const char *text, GError **err)
{
    while (*text) {
        g_autoptr(GString) item = g_string_new(NULL);
        for (; *text && (text[0] != ',' || text[1] == ','); text++) {
            if (*text == ',')
                text++;
            g_string_append_c(item, *text);
        }
        if (*text == ',')
            text++;
        BootModule *module = g_new0(BootModule, 1);
        module->command = g_strdup(g_strstrip(item->str));
        g_ptr_array_add(image->modules, module);
        g_autofree char *path = g_strndup(module->command, strcspn(module->command, " "));
        if (!firmware_read(path, INITRD_MAX, &module->data, &module->size, err)) {
            g_prefix_error(err, "multiboot module: ");
            return false;
        }
    }
    return true;
}

static bool load_initrd(BootImage *image, const BootConfig *boot, GError **err)
{
    if (!boot->initrd || !*boot->initrd)
        return true;
    if (image->protocol == BOOT_MULTIBOOT)
        return load_modules(image, boot->initrd, err);
    if (firmware_read(boot->initrd, INITRD_MAX, &image->initrd, &image->initrd_size, err))
        return true;
    g_prefix_error(err, "initrd: ");
    return false;
}

static bool find_u32(const BootImage *image, uint32_t magic, gsize limit)
{
    for (gsize i = 0; i + 4 <= MIN(image->kernel_size, limit); i += 4)
        if (ld32(image->kernel + i) == magic)
            return true;
    return false;
}

static bool recognise(BootImage *image, GError **err)
{
    const char *k = image->kernel;

    if (image->kernel_size > 0x260 && ld16(k + 0x1fe) == 0xaa55 && !memcmp(k + 0x202, "HdrS", 4)) {
        image->protocol = BOOT_LINUX;
    } else if (find_u32(image, 0x1badb002, 8192)) {
        image->protocol = BOOT_MULTIBOOT;
    } else if (image->kernel_size > 4 && !memcmp(k, "\177ELF", 4)) {
        image->protocol = BOOT_PVH;
    } else {
        error_set(err, "'%s' is not a kernel: a Linux bzImage, an ELF with a PVH entry or a multiboot image is accepted",
                  image->kernel_name);
        return false;
    }
    return true;
}

static bool check(BootImage *image, PcMachine *pc, GError **err)
{
    if (pc->low_ram < DIRECT_RAM_MIN) {
        error_set(err, "%" PRIu64 " KiB of RAM are too little to start a kernel directly", pc->machine.ram_size / KIB);
        return false;
    }
    switch (image->protocol) {
    case BOOT_LINUX:
        return boot_linux_check(image, pc, err);
    case BOOT_PVH:
        return boot_elf_check(image, pc, err);
    default:
        return boot_multiboot_check(image, pc, err);
    }
}

BootImage *boot_image_load(PcMachine *pc, GError **err)
{
    const BootConfig *boot = &pc->machine.boot;
    BootImage *image = g_new0(BootImage, 1);

    image->segments = g_array_new(false, false, sizeof(BootSegment));
    image->modules = g_ptr_array_new_with_free_func(module_free);
    image->kernel_name = g_strdup(boot->kernel);
    image->cmdline = g_strdup(boot->append ? boot->append : "");
    if (!firmware_read(boot->kernel, KERNEL_MAX, &image->kernel, &image->kernel_size, err))
        g_prefix_error(err, "kernel: ");
    else if (recognise(image, err) && load_initrd(image, boot, err) && check(image, pc, err))
        return image;
    boot_image_free(image);
    return NULL;
}

void boot_image_enter(BootImage *image, PcMachine *pc)
{
    X86Cpu *cpu = X86_CPU(pc->machine.vcpus[0]);

    switch (image->protocol) {
    case BOOT_LINUX:
        boot_linux_enter(image, pc, cpu);
        break;
    case BOOT_PVH:
        boot_pvh_enter(image, pc, cpu);
        break;
    case BOOT_MULTIBOOT:
        boot_multiboot_enter(image, pc, cpu);
        break;
    }
}
