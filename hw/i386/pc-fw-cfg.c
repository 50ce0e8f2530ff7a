/*
 * What firmware is told through fw_cfg and CMOS.
 *
 * Source: SeaBIOS documentation "Runtime config"; QEMU documentation "fw_cfg"; IBM PC AT technical reference (CMOS map).
 */
#include "hw/acpi/acpi-build.h"
#include "hw/core/device-class.h"
#include "hw/i386/boot.h"
#include "hw/i386/pc.h"
#include "hw/i386/smbios.h"
#include "hw/timer/mc146818rtc.h"

static void put_u16(FwCfg *fw, const char *name, uint16_t value)
{
    uint8_t bytes[2];
    st16(bytes, value);
    fw_cfg_set_file(fw, name, bytes, sizeof(bytes));
}

static void put_u32(FwCfg *fw, const char *name, uint32_t value)
{
    uint8_t bytes[4];
    st32(bytes, value);
    fw_cfg_set_file(fw, name, bytes, sizeof(bytes));
}

static void put_e820(const PcMachine *pc)
{
    E820Entry entries[PC_E820_MAX];
    unsigned n = pc_memory_e820(pc, entries, false);
    uint8_t packed[PC_E820_MAX * 20];

    for (unsigned i = 0; i < n; i++) {
        st64(packed + i * 20, entries[i].addr);
        st64(packed + i * 20 + 8, entries[i].size);
        st32(packed + i * 20 + 16, entries[i].type);
    }
    fw_cfg_set_file(pc->machine.fw_cfg, "etc/e820", packed, n * 20);
}

static void put_kernel(const PcMachine *pc)
{
    const BootImage *image = pc->boot_image;
    FwCfg *fw = pc->machine.fw_cfg;

    fw_cfg_set_u32(fw, FW_CFG_KERNEL_SIZE, image->kernel_size);
    fw_cfg_set_borrowed(fw, FW_CFG_KERNEL_DATA, image->kernel, image->kernel_size);
    fw_cfg_set_u32(fw, FW_CFG_CMDLINE_SIZE, strlen(image->cmdline) + 1);
    fw_cfg_set_string(fw, FW_CFG_CMDLINE_DATA, image->cmdline);
    if (image->initrd) {
        fw_cfg_set_u32(fw, FW_CFG_INITRD_SIZE, image->initrd_size);
        fw_cfg_set_borrowed(fw, FW_CFG_INITRD_DATA, image->initrd, image->initrd_size);
    }
}

bool pc_fw_cfg_build(PcMachine *pc, GError **err)
{
    Machine *machine = &pc->machine;
    FwCfg *fw = machine->fw_cfg;
    const BootConfig *boot = &machine->boot;
    /* Node 0 only, and no affinity table: the count of nodes, then the (absent) lists. */
    uint8_t numa[8] = { 0 };

    fw_cfg_set_bytes(fw, FW_CFG_UUID, machine->uuid, 16);
    fw_cfg_set_u64(fw, FW_CFG_RAM_SIZE, machine->ram_size);
    fw_cfg_set_u16(fw, FW_CFG_NOGRAPHIC, !pc->graphics);
    fw_cfg_set_u16(fw, FW_CFG_NB_CPUS, machine->smp.cpus);
    fw_cfg_set_u16(fw, FW_CFG_MAX_CPUS, machine->smp.maxcpus);
    fw_cfg_set_u16(fw, FW_CFG_BOOT_MENU, boot->menu);
    fw_cfg_set_bytes(fw, FW_CFG_NUMA, numa, sizeof(numa));
    fw_cfg_set_u32(fw, FW_CFG_IRQ0_OVERRIDE, 1);
    put_e820(pc);
    if (pc->boot_image)
        put_kernel(pc);
    if (pc->pm) {
        uint8_t states[6];
        piix4_pm_system_states(pc->pm, states);
        fw_cfg_set_file(fw, "etc/system-states", states, sizeof(states));
    }
    if (boot->menu || boot->splash_time_ms >= 0)
        put_u16(fw, "etc/boot-menu-wait", boot->splash_time_ms >= 0 ? MIN(boot->splash_time_ms, 0xffff) : 2500);
    if (boot->reboot_timeout_ms >= 0)
        put_u32(fw, "etc/boot-fail-wait", MIN(boot->reboot_timeout_ms, 0xffff));
    return true;
}

static void put_boot_order(PcMachine *pc)
{
    g_autoptr(GPtrArray) paths = boot_order(&pc->machine);
    g_autoptr(GString) text = g_string_new(NULL);

    for (unsigned i = 0; i < paths->len; i++)
        g_string_append_printf(text, "%s%s", i ? "\n" : "", (const char *)paths->pdata[i]);
    /* Nothing else may be tried with strict=on. */
    if (pc->machine.boot.strict && paths->len)
        g_string_append(text, "\nHALT");
    if (text->len)
        fw_cfg_set_file(pc->machine.fw_cfg, "bootorder", text->str, text->len + 1);
}

void pc_fw_cfg_refresh(PcMachine *pc)
{
    FwCfg *fw = pc->machine.fw_cfg;
    g_autoptr(GByteArray) smbios = smbios_build(pc);
    uint8_t anchor[SMBIOS_ANCHOR_SIZE];

    put_boot_order(pc);
    smbios_anchor(smbios, 0, anchor);
    fw_cfg_set_file(fw, SMBIOS_TABLES_FILE, smbios->data, smbios->len);
    fw_cfg_set_file(fw, SMBIOS_ANCHOR_FILE, anchor, sizeof(anchor));
    if (!pc->machine.acpi)
        return;
    g_autoptr(AcpiTables) tables = acpi_build(pc);
    g_autoptr(GByteArray) script = acpi_loader_script(tables);
    fw_cfg_set_file(fw, ACPI_TABLES_FILE, tables->tables->data, tables->tables->len);
    fw_cfg_set_file(fw, ACPI_RSDP_FILE, tables->rsdp, sizeof(tables->rsdp));
    fw_cfg_set_file(fw, ACPI_LOADER_FILE, script->data, script->len);
}

/* ---- CMOS ------------------------------------------------------------------------------------------------------------- */

/* Nibble that stands for a boot device letter. */
static uint8_t boot_code(char letter)
{
    switch (letter) {
    case 'a':
    case 'b':
        return 1;
    case 'c':
        return 2;
    case 'd':
        return 3;
    case 'n':
    case 'o':
    case 'p':
        return 4;
    default:
        return 0;
    }
}

static void cmos_boot_order(PcMachine *pc)
{
    BootConfig *boot = &pc->machine.boot;
    const char *order = boot->once ? boot->once : boot->order ? boot->order : "cad";
    uint8_t codes[3] = { 0 };

    for (unsigned i = 0; i < 3 && order[i]; i++)
        codes[i] = boot_code(order[i]);
    mc146818rtc_set_cmos(pc->rtc, 0x3d, codes[1] << 4 | codes[0]);
    mc146818rtc_set_cmos(pc->rtc, 0x38, codes[2] << 4 | 1); /* floppies without a signature boot too */
    /* once= is for the first boot. */
    g_clear_pointer(&boot->once, g_free);
}

static void cmos_u16(PcMachine *pc, unsigned index, uint64_t value)
{
    value = MIN(value, 0xffff);
    mc146818rtc_set_cmos(pc->rtc, index, value);
    mc146818rtc_set_cmos(pc->rtc, index + 1, value >> 8);
}

void pc_cmos_fill(PcMachine *pc)
{
    uint64_t low = pc->low_ram, high = pc->high_ram / (64 * KIB);

    cmos_u16(pc, 0x15, 640);                                           /* KiB below 640 KiB */
    cmos_u16(pc, 0x17, low > MIB ? (low - MIB) / KIB : 0);             /* KiB above 1 MiB */
    cmos_u16(pc, 0x30, low > MIB ? (low - MIB) / KIB : 0);
    cmos_u16(pc, 0x34, low > 16 * MIB ? (low - 16 * MIB) / (64 * KIB) : 0);
    mc146818rtc_set_cmos(pc->rtc, 0x5b, high);                         /* 64 KiB units above 4 GiB */
    mc146818rtc_set_cmos(pc->rtc, 0x5c, high >> 8);
    mc146818rtc_set_cmos(pc->rtc, 0x5d, high >> 16);
    mc146818rtc_set_cmos(pc->rtc, 0x5f, pc->machine.smp.cpus - 1);
    mc146818rtc_set_cmos(pc->rtc, 0x14, 0x02 | (pc->i8042 ? 0x04 : 0)); /* equipment: FPU, PS/2 mouse */
    cmos_boot_order(pc);
}
