/*
 * Fixed ACPI tables: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, WAET.
 *
 * Source: ACPI specification 6.4 §5.2; IA-PC HPET specification 1.0a §3.2.4; Windows ACPI Emulated Devices Table.
 */
#include "hw/acpi/acpi-build.h"

#include "accel/x86/cpu.h"
#include "hw/acpi/acpi-regs.h"
#include "hw/intc/apic.h"
#include "hw/intc/ioapic.h"
#include "hw/timer/hpet.h"

#define OEM_ID "RHEA  "
#define OEM_TABLE_ID "RHEAPC  "
#define CREATOR_ID "RHEA"
#define HEADER_SIZE 36
#define HEADER_CHECKSUM 9
#define FADT_SIZE 244
#define FACS_SIZE 64
#define RTC_CENTURY 0x32

static void add_checksum(AcpiTables *t, bool in_rsdp, uint32_t result, uint32_t start, uint32_t len)
{
    AcpiChecksum sum = { in_rsdp, result, start, len };
    g_array_append_val(t->checksums, sum);
}

static void add_pointer(AcpiTables *t, bool in_rsdp, uint32_t offset, uint8_t size)
{
    AcpiPointer pointer = { in_rsdp, offset, size };
    g_array_append_val(t->pointers, pointer);
}

/* Starts a table on an 8-byte boundary; returns its offset. */
static uint32_t table_begin(AcpiTables *t, const char *signature, uint8_t revision)
{
    static const uint8_t zero[16];
    uint8_t header[HEADER_SIZE] = { 0 };

    g_byte_array_append(t->tables, zero, -t->tables->len & 15);
    uint32_t start = t->tables->len;
    memcpy(header, signature, 4);
    header[8] = revision;
    memcpy(header + 10, OEM_ID, 6);
    memcpy(header + 16, OEM_TABLE_ID, 8);
    st32(header + 24, 1);
    memcpy(header + 28, CREATOR_ID, 4);
    st32(header + 32, 1);
    g_byte_array_append(t->tables, header, sizeof(header));
    return start;
}

static void table_end(AcpiTables *t, uint32_t start)
{
    uint32_t len = t->tables->len - start;

    st32(t->tables->data + start + 4, len);
    add_checksum(t, false, start + HEADER_CHECKSUM, start, len);
}

static void put8(AcpiTables *t, uint8_t v)
{
    g_byte_array_append(t->tables, &v, 1);
}

static void put16(AcpiTables *t, uint16_t v)
{
    g_byte_array_append(t->tables, (uint8_t *)&v, 2);
}

static void put32(AcpiTables *t, uint32_t v)
{
    g_byte_array_append(t->tables, (uint8_t *)&v, 4);
}

/* Generic address structure. */
static void store_gas(uint8_t *p, uint8_t space, uint8_t bits, uint64_t addr)
{
    p[0] = space;
    p[1] = bits;
    p[2] = 0;
    p[3] = bits == 8 ? 1 : bits == 16 ? 2 : bits == 32 ? 3 : 0;
    st64(p + 4, addr);
}

static uint32_t build_facs(AcpiTables *t)
{
    uint8_t facs[FACS_SIZE] = { 'F', 'A', 'C', 'S' };

    g_assert(t->tables->len % 64 == 0);
    st32(facs + 4, sizeof(facs));
    facs[32] = 1; /* version */
    uint32_t start = t->tables->len;
    g_byte_array_append(t->tables, facs, sizeof(facs));
    return start;
}

static void fadt_blocks(uint8_t *f)
{
    uint32_t pm = PIIX4_PM_BASE;

    st32(f + 56, pm + ACPI_PM1_STS);
    st32(f + 64, pm + ACPI_PM1_CNT);
    st32(f + 76, pm + ACPI_PM_TMR);
    st32(f + 80, PIIX4_GPE_BASE);
    f[88] = 4;                    /* lengths: PM1 event, PM1 control, timer, GPE0 */
    f[89] = 2;
    f[91] = 4;
    f[92] = 2 * ACPI_GPE_BYTES;
    store_gas(f + 148, 1, 32, pm + ACPI_PM1_STS);
    store_gas(f + 172, 1, 16, pm + ACPI_PM1_CNT);
    store_gas(f + 208, 1, 32, pm + ACPI_PM_TMR);
    store_gas(f + 220, 1, 16 * ACPI_GPE_BYTES, PIIX4_GPE_BASE);
}

static uint32_t build_fadt(AcpiTables *t, const PcMachine *pc, uint32_t facs, uint32_t dsdt)
{
    uint8_t f[FADT_SIZE] = { 0 };
    uint32_t start = table_begin(t, "FACP", 3);

    st32(f + 36, facs);
    st32(f + 40, dsdt);
    st64(f + 140, dsdt);
    f[45] = 1;                    /* desktop */
    st16(f + 46, PIIX4_SCI_IRQ);
    st32(f + 48, PIIX4_SMI_CMD);
    f[52] = PIIX4_ACPI_ENABLE;
    f[53] = PIIX4_ACPI_DISABLE;
    fadt_blocks(f);
    st16(f + 96, 0xfff);          /* C2 and C3 are not offered */
    st16(f + 98, 0xfff);
    f[108] = RTC_CENTURY;
    /* Legacy devices; keyboard controller; no VGA to probe for without graphics is said by the PCI bus itself. */
    st16(f + 109, 0x0001 | (pc->i8042 ? 0x0002 : 0));
    /* WBINVD, C1 on all CPUs, no sleep button, RTC wake not fixed, reset register, timer for power management. */
    st32(f + 112, 1u << 0 | 1u << 2 | 1u << 5 | 1u << 6 | 1u << 10 | 1u << 15);
    store_gas(f + 116, 1, 8, 0xcf9);
    f[128] = 0x0f;
    g_byte_array_append(t->tables, f + HEADER_SIZE, FADT_SIZE - HEADER_SIZE);
    add_pointer(t, false, start + 36, 4);
    add_pointer(t, false, start + 40, 4);
    add_pointer(t, false, start + 140, 8);
    table_end(t, start);
    return start;
}

static uint32_t build_dsdt(AcpiTables *t, PcMachine *pc)
{
    uint32_t start = table_begin(t, "DSDT", 2); /* 2: integers have 64 bits */

    acpi_build_dsdt(pc, t->tables);
    table_end(t, start);
    return start;
}

static void madt_override(AcpiTables *t, uint8_t irq, uint32_t gsi, uint16_t flags)
{
    put8(t, 2);
    put8(t, 10);
    put8(t, 0);
    put8(t, irq);
    put32(t, gsi);
    put16(t, flags);
}

static void madt_cpu(AcpiTables *t, uint32_t uid, uint32_t apic_id)
{
    bool wide = apic_id >= 255;

    put8(t, wide ? 9 : 0);
    put8(t, wide ? 16 : 8);
    if (wide) {
        put16(t, 0);
        put32(t, apic_id);
        put32(t, 1);
        put32(t, uid);
    } else {
        put8(t, uid);
        put8(t, apic_id);
        put32(t, 1);
    }
}

static uint32_t build_madt(AcpiTables *t, const PcMachine *pc)
{
    static const uint8_t pci_irqs[] = { 5, 9, 10, 11 };
    const Machine *machine = &pc->machine;
    uint32_t start = table_begin(t, "APIC", 3);

    put32(t, APIC_DEFAULT_BASE);
    put32(t, 1); /* 8259s are there too */
    for (unsigned i = 0; i < machine->nr_vcpus; i++)
        madt_cpu(t, i, X86_CPU(machine->vcpus[i])->apic_id);
    put8(t, 1);  /* I/O APIC */
    put8(t, 12);
    put8(t, 0);
    put8(t, 0);
    put32(t, IOAPIC_DEFAULT_BASE);
    put32(t, 0);
    madt_override(t, 0, 2, 0);
    for (unsigned i = 0; i < G_N_ELEMENTS(pci_irqs); i++)
        madt_override(t, pci_irqs[i], pci_irqs[i], 0x0d); /* active high, level */
    put8(t, 4);  /* NMI on LINT1 of every CPU */
    put8(t, 6);
    put8(t, 0xff);
    put16(t, 0);
    put8(t, 1);
    table_end(t, start);
    return start;
}

static uint32_t build_hpet(AcpiTables *t)
{
    uint32_t start = table_begin(t, "HPET", 1);
    uint8_t gas[12];

    put32(t, 0x8086a201); /* low half of the capabilities register */
    store_gas(gas, 0, 0, HPET_BASE);
    g_byte_array_append(t->tables, gas, sizeof(gas));
    put8(t, 0);
    put16(t, 0);
    put8(t, 0);
    table_end(t, start);
    return start;
}

static uint32_t build_waet(AcpiTables *t)
{
    uint32_t start = table_begin(t, "WAET", 1);

    put32(t, 2); /* one read of the PM timer is enough */
    table_end(t, start);
    return start;
}

static uint32_t build_root(AcpiTables *t, const char *signature, const uint32_t *tables, unsigned n, uint8_t width)
{
    uint32_t start = table_begin(t, signature, 1);

    for (unsigned i = 0; i < n; i++) {
        uint64_t value = tables[i];
        add_pointer(t, false, t->tables->len, width);
        g_byte_array_append(t->tables, (uint8_t *)&value, width);
    }
    table_end(t, start);
    return start;
}

static void build_rsdp(AcpiTables *t, uint32_t rsdt, uint32_t xsdt)
{
    memcpy(t->rsdp, "RSD PTR ", 8);
    memcpy(t->rsdp + 9, OEM_ID, 6);
    t->rsdp[15] = 2;
    st32(t->rsdp + 16, rsdt);
    st32(t->rsdp + 20, ACPI_RSDP_SIZE);
    st64(t->rsdp + 24, xsdt);
    add_pointer(t, true, 16, 4);
    add_pointer(t, true, 24, 8);
    add_checksum(t, true, 8, 0, 20);
    add_checksum(t, true, 32, 0, ACPI_RSDP_SIZE);
}

AcpiTables *acpi_build(PcMachine *pc)
{
    AcpiTables *t = g_new0(AcpiTables, 1);
    uint32_t list[8];
    unsigned n = 0;

    t->tables = g_byte_array_new();
    t->pointers = g_array_new(false, false, sizeof(AcpiPointer));
    t->checksums = g_array_new(false, false, sizeof(AcpiChecksum));
    uint32_t facs = build_facs(t), dsdt = build_dsdt(t, pc);
    list[n++] = build_fadt(t, pc, facs, dsdt);
    list[n++] = build_madt(t, pc);
    if (pc->hpet_dev)
        list[n++] = build_hpet(t);
    list[n++] = build_waet(t);
    uint32_t rsdt = build_root(t, "RSDT", list, n, 4), xsdt = build_root(t, "XSDT", list, n, 8);
    build_rsdp(t, rsdt, xsdt);
    return t;
}

void acpi_tables_free(AcpiTables *t)
{
    if (!t)
        return;
    g_byte_array_unref(t->tables);
    g_array_unref(t->pointers);
    g_array_unref(t->checksums);
    g_free(t);
}

void acpi_tables_relocate(AcpiTables *t, uint64_t tables_gpa)
{
    for (unsigned i = 0; i < t->pointers->len; i++) {
        const AcpiPointer *pointer = &g_array_index(t->pointers, AcpiPointer, i);
        uint8_t *p = (pointer->in_rsdp ? t->rsdp : t->tables->data) + pointer->offset;
        uint64_t value = 0;
        memcpy(&value, p, pointer->size);
        value += tables_gpa;
        memcpy(p, &value, pointer->size);
    }
    for (unsigned i = 0; i < t->checksums->len; i++) {
        const AcpiChecksum *sum = &g_array_index(t->checksums, AcpiChecksum, i);
        uint8_t *base = sum->in_rsdp ? t->rsdp : t->tables->data, total = 0;
        base[sum->result] = 0;
        for (uint32_t j = 0; j < sum->len; j++)
            total += base[sum->start + j];
        base[sum->result] = -total;
    }
}

/* ---- fw_cfg table loader: 128-byte commands ------------------------------------------------------------------------ */

enum { LOADER_ALLOCATE = 1, LOADER_ADD_POINTER = 2, LOADER_ADD_CHECKSUM = 3 };
enum { ZONE_HIGH = 1, ZONE_FSEG = 2 };
#define LOADER_NAME 56

static void loader_add(GByteArray *script, uint32_t command, const uint8_t *body, size_t len)
{
    uint8_t entry[128] = { 0 };

    st32(entry, command);
    memcpy(entry + 4, body, len);
    g_byte_array_append(script, entry, sizeof(entry));
}

static void loader_allocate(GByteArray *script, const char *file, uint32_t align, uint8_t zone)
{
    uint8_t body[LOADER_NAME + 5] = { 0 };

    g_strlcpy((char *)body, file, LOADER_NAME);
    st32(body + LOADER_NAME, align);
    body[LOADER_NAME + 4] = zone;
    loader_add(script, LOADER_ALLOCATE, body, sizeof(body));
}

GByteArray *acpi_loader_script(const AcpiTables *t)
{
    GByteArray *script = g_byte_array_new();

    loader_allocate(script, ACPI_RSDP_FILE, 16, ZONE_FSEG);
    loader_allocate(script, ACPI_TABLES_FILE, 64, ZONE_HIGH);
    for (unsigned i = 0; i < t->pointers->len; i++) {
        const AcpiPointer *pointer = &g_array_index(t->pointers, AcpiPointer, i);
        uint8_t body[2 * LOADER_NAME + 5] = { 0 };
        g_strlcpy((char *)body, pointer->in_rsdp ? ACPI_RSDP_FILE : ACPI_TABLES_FILE, LOADER_NAME);
        g_strlcpy((char *)body + LOADER_NAME, ACPI_TABLES_FILE, LOADER_NAME);
        st32(body + 2 * LOADER_NAME, pointer->offset);
        body[2 * LOADER_NAME + 4] = pointer->size;
        loader_add(script, LOADER_ADD_POINTER, body, sizeof(body));
    }
    for (unsigned i = 0; i < t->checksums->len; i++) {
        const AcpiChecksum *sum = &g_array_index(t->checksums, AcpiChecksum, i);
        uint8_t body[LOADER_NAME + 12] = { 0 };
        g_strlcpy((char *)body, sum->in_rsdp ? ACPI_RSDP_FILE : ACPI_TABLES_FILE, LOADER_NAME);
        st32(body + LOADER_NAME, sum->result);
        st32(body + LOADER_NAME + 4, sum->start);
        st32(body + LOADER_NAME + 8, sum->len);
        loader_add(script, LOADER_ADD_CHECKSUM, body, sizeof(body));
    }
    return script;
}
