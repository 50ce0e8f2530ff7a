/*
 * The Linux/x86 boot protocol: bzImage by its 64-bit entry, or the 32-bit one where it has no other.
 *
 * Source: Linux Documentation/arch/x86/boot.rst and zero-page.rst (protocol 2.15).
 */
#include "hw/i386/boot.h"

#define PARAMS_GPA 0x1000
#define PARAMS_SIZE 4096
#define CMDLINE_GPA 0x20000
#define CMDLINE_ROOM 0xffff
#define TABLES_GPA 0x30000

/* Offsets in the boot parameters; the setup header has the same ones in the image. */
#define BP_ACPI_RSDP 0x070
#define BP_E820_ENTRIES 0x1e8
#define BP_SETUP_SECTS 0x1f1
#define BP_HEADER_END 0x201
#define BP_VERSION 0x206
#define BP_LOADER_TYPE 0x210
#define BP_LOADFLAGS 0x211
#define BP_CODE32_START 0x214
#define BP_RAMDISK_IMAGE 0x218
#define BP_RAMDISK_SIZE 0x21c
#define BP_CMD_LINE_PTR 0x228
#define BP_INITRD_ADDR_MAX 0x22c
#define BP_KERNEL_ALIGNMENT 0x230
#define BP_RELOCATABLE 0x234
#define BP_XLOADFLAGS 0x236
#define BP_CMDLINE_SIZE 0x238
#define BP_PREF_ADDRESS 0x258
#define BP_INIT_SIZE 0x260
#define BP_E820_TABLE 0x2d0

#define LOADED_HIGH 0x01
#define XLF_KERNEL_64 0x01
#define ENTRY64_OFFSET 0x200
#define DEFAULT_LOAD 0x100000

typedef struct LinuxPlan {
    uint64_t setup_size;   /* bytes of the file before the protected-mode part */
    uint64_t load, need;   /* where that part goes, and how much it needs there until it manages memory itself */
    uint64_t initrd;       /* gpa, page aligned */
    bool wide;
} LinuxPlan;

static uint16_t version(const BootImage *image)
{
    return ld16(image->kernel + BP_VERSION);
}

/* Usable RAM for kernel and initrd ends below the tables that stand in for firmware's. */
static uint64_t ram_end(const PcMachine *pc)
{
    return pc->low_ram - PC_TABLES_AREA;
}

static bool plan_kernel(const BootImage *image, const PcMachine *pc, LinuxPlan *plan, GError **err)
{
    const uint8_t *k = (const uint8_t *)image->kernel;
    uint64_t setup_sectors = k[BP_SETUP_SECTS] ? k[BP_SETUP_SECTS] : 4;

    plan->setup_size = (setup_sectors + 1) * 512;
    if (version(image) < 0x0202 || !(k[BP_LOADFLAGS] & LOADED_HIGH)) {
        error_set(err, "'%s' speaks Linux boot protocol %u.%02u: at least 2.02 and a kernel that is loaded high (bzImage) "
                  "are needed", image->kernel_name, version(image) >> 8, version(image) & 0xff);
        return false;
    }
    if (plan->setup_size >= image->kernel_size) {
        error_set(err, "'%s' is cut short: %zu bytes, of which the set-up code alone takes %" PRIu64, image->kernel_name,
                  image->kernel_size, plan->setup_size);
        return false;
    }
    uint64_t file_part = image->kernel_size - plan->setup_size;
    bool placed = version(image) >= 0x020a;
    plan->load = placed && k[BP_RELOCATABLE] ? ld64(k + BP_PREF_ADDRESS) : DEFAULT_LOAD;
    plan->need = MAX(placed ? ld32(k + BP_INIT_SIZE) : 0, file_part);
    plan->wide = version(image) >= 0x020c && (ld16(k + BP_XLOADFLAGS) & XLF_KERNEL_64);
    if (plan->load < DEFAULT_LOAD || plan->load >= 3 * GIB)
        plan->load = DEFAULT_LOAD;
    /* With little memory a relocatable kernel moves down as far as its alignment allows. */
    if (plan->load + plan->need > ram_end(pc) && placed && k[BP_RELOCATABLE]) {
        uint32_t align = ld32(k + BP_KERNEL_ALIGNMENT);
        if (align && !(align & (align - 1)))
            plan->load = ROUND_UP_TO((uint64_t)DEFAULT_LOAD, (uint64_t)align);
    }
    if (plan->load + plan->need > ram_end(pc)) {
        error_set(err, "'%s' needs %" PRIu64 " MiB of RAM, the machine has %" PRIu64 " (-m)", image->kernel_name,
                  (plan->load + plan->need + PC_TABLES_AREA + MIB - 1) / MIB, pc->machine.ram_size / MIB);
        return false;
    }
    return true;
}

static bool plan_initrd(const BootImage *image, const PcMachine *pc, LinuxPlan *plan, GError **err)
{
    uint32_t max = version(image) >= 0x0203 ? ld32(image->kernel + BP_INITRD_ADDR_MAX) : 0x37ffffff;
    uint64_t end = MIN(ram_end(pc), (uint64_t)max + 1), floor = plan->load + plan->need;

    if (!image->initrd)
        return true;
    if (image->initrd_size > end || ROUND_DOWN_TO(end - image->initrd_size, 4096ull) < floor) {
        error_set(err, "initrd '%s' with %zu MiB does not fit above the kernel, which ends at %" PRIu64 " MiB, in the %" PRIu64
                  " MiB that it may use (-m)", pc->machine.boot.initrd, (image->initrd_size + MIB - 1) / MIB, floor / MIB, end / MIB);
        return false;
    }
    plan->initrd = ROUND_DOWN_TO(end - image->initrd_size, 4096ull);
    return true;
}

static bool plan_boot(const BootImage *image, const PcMachine *pc, LinuxPlan *plan, GError **err)
{
    memset(plan, 0, sizeof(*plan));
    return plan_kernel(image, pc, plan, err) && plan_initrd(image, pc, plan, err);
}

bool boot_linux_check(BootImage *image, PcMachine *pc, GError **err)
{
    uint32_t room = version(image) >= 0x0206 ? ld32(image->kernel + BP_CMDLINE_SIZE) : 255;
    LinuxPlan plan;

    if (strlen(image->cmdline) > MIN(room, CMDLINE_ROOM)) {
        error_set(err, "kernel command line has %zu bytes, '%s' takes at most %u", strlen(image->cmdline), image->kernel_name,
                  MIN(room, CMDLINE_ROOM));
        return false;
    }
    return plan_boot(image, pc, &plan, err);
}

static void fill_e820(PcMachine *pc, uint8_t *params)
{
    E820Entry entries[PC_E820_MAX];
    unsigned n = pc_memory_e820(pc, entries, true);

    for (unsigned i = 0; i < n; i++) {
        uint8_t *e = params + BP_E820_TABLE + i * 20;
        st64(e, entries[i].addr);
        st64(e + 8, entries[i].size);
        st32(e + 16, entries[i].type);
    }
    params[BP_E820_ENTRIES] = n;
}

static void fill_params(const BootImage *image, PcMachine *pc, const LinuxPlan *plan, uint64_t rsdp, uint8_t *params)
{
    const uint8_t *k = (const uint8_t *)image->kernel;
    /* The header ends where its jump instruction leads to. */
    unsigned header_end = MIN(0x202u + k[BP_HEADER_END], 0x290u);

    memcpy(params + BP_SETUP_SECTS, k + BP_SETUP_SECTS, header_end - BP_SETUP_SECTS);
    params[BP_LOADER_TYPE] = 0xff; /* a loader without an assigned number */
    st32(params + BP_CODE32_START, plan->load);
    st32(params + BP_CMD_LINE_PTR, CMDLINE_GPA);
    if (image->initrd) {
        st32(params + BP_RAMDISK_IMAGE, plan->initrd);
        st32(params + BP_RAMDISK_SIZE, image->initrd_size);
    }
    st64(params + BP_ACPI_RSDP, rsdp);
    fill_e820(pc, params);
}

void boot_linux_enter(BootImage *image, PcMachine *pc, X86Cpu *cpu)
{
    uint8_t params[PARAMS_SIZE] = { 0 };
    uint64_t rsdp;
    LinuxPlan plan;

    if (!plan_boot(image, pc, &plan, NULL))
        g_assert_not_reached(); /* checked when it was loaded; RAM does not change */
    boot_platform_prepare(pc, &rsdp);
    fill_params(image, pc, &plan, rsdp, params);
    boot_write(pc, PARAMS_GPA, params, sizeof(params));
    boot_write(pc, CMDLINE_GPA, image->cmdline, strlen(image->cmdline) + 1);
    boot_write(pc, plan.load, image->kernel + plan.setup_size, image->kernel_size - plan.setup_size);
    if (image->initrd)
        boot_write(pc, plan.initrd, image->initrd, image->initrd_size);
    if (plan.wide)
        boot_set_long_mode(pc, cpu, plan.load + ENTRY64_OFFSET, TABLES_GPA);
    else
        boot_set_flat_mode(pc, cpu, plan.load);
    cpu->st.gpr[R_RSI] = PARAMS_GPA;
    cpu->st.gpr[R_RSP] = CMDLINE_GPA - 16;
}
