/*
 * SMBIOS 2.8 structures of types 0, 1, 2, 3, 4, 11, 16, 17, 19, 32 and 127.
 *
 * Source: DMTF DSP0134 (SMBIOS reference specification 3.6) §5.2.1, §7.
 */
#include "hw/i386/smbios.h"

#include <json-c/json.h>
#include <stdio.h>

#include "accel/x86/cpu.h"

#define OPTIONS_KEY "rhea-smbios-options"

/* ---- -smbios --------------------------------------------------------------------------------------------------------- */

typedef struct FieldName {
    uint8_t type;
    const char *name;
    const char *def; /* text when not given; NULL: no text */
} FieldName;

static const FieldName fields[] = {
    { 0, "vendor", "Rhea" }, { 0, "version", "0.1.0" }, { 0, "date", "01/01/2026" }, { 0, "release", NULL }, { 0, "uefi", NULL },
    { 1, "manufacturer", "Rhea" }, { 1, "product", NULL }, { 1, "version", NULL }, { 1, "serial", NULL },
    { 1, "uuid", NULL }, { 1, "sku", NULL }, { 1, "family", NULL },
    { 2, "manufacturer", NULL }, { 2, "product", NULL }, { 2, "version", NULL }, { 2, "serial", NULL }, { 2, "asset", NULL },
    { 2, "location", NULL },
    { 3, "manufacturer", "Rhea" }, { 3, "version", NULL }, { 3, "serial", NULL }, { 3, "asset", NULL }, { 3, "sku", NULL },
    { 4, "sock_pfx", "CPU" }, { 4, "manufacturer", "Rhea" }, { 4, "version", NULL }, { 4, "serial", NULL }, { 4, "asset", NULL },
    { 4, "part", NULL }, { 4, "max-speed", NULL }, { 4, "current-speed", NULL },
    { 11, "value", NULL },
    { 17, "loc_pfx", "DIMM" }, { 17, "bank", NULL }, { 17, "manufacturer", "Rhea" }, { 17, "serial", NULL },
    { 17, "asset", NULL }, { 17, "part", NULL }, { 17, "speed", NULL },
};

static GHashTable *given_options(Machine *machine)
{
    GHashTable *table = g_object_get_data(G_OBJECT(machine), OPTIONS_KEY);

    if (!table) {
        table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
        g_object_set_data_full(G_OBJECT(machine), OPTIONS_KEY, table, (GDestroyNotify)g_hash_table_unref);
    }
    return table;
}

static const char *given(Machine *machine, unsigned type, const char *name)
{
    g_autofree char *key = g_strdup_printf("%u.%s", type, name);
    return g_hash_table_lookup(given_options(machine), key);
}

static const FieldName *find_field(unsigned type, const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++)
        if (fields[i].type == type && !strcmp(fields[i].name, name))
            return &fields[i];
    return NULL;
}

static bool check_value(unsigned type, const char *name, const char *value, GError **err)
{
    unsigned major, minor;
    char rest;

    if (strlen(value) > 64 * KIB / 16) {
        error_set(err, "-smbios type=%u,%s: the value has more than 4096 bytes", type, name);
        return false;
    }
    if (type == 0 && !strcmp(name, "release") && (sscanf(value, "%3u.%3u%c", &major, &minor, &rest) != 2 || major > 255 || minor > 255)) {
        error_set(err, "-smbios type=0,release=%s is not of the form major.minor with numbers below 256", value);
        return false;
    }
    if (type == 0 && !strcmp(name, "uefi") && strcmp(value, "on") && strcmp(value, "off")) {
        error_set(err, "-smbios type=0,uefi takes on or off, not '%s'", value);
        return false;
    }
    if (type == 1 && !strcmp(name, "uuid") && !g_uuid_string_is_valid(value)) {
        error_set(err, "-smbios type=1,uuid=%s is not a UUID", value);
        return false;
    }
    bool number = g_str_has_suffix(name, "speed");
    if (number && (!*value || strspn(value, "0123456789") != strlen(value) || strlen(value) > 5 || atoi(value) > 65535)) {
        error_set(err, "-smbios type=%u,%s=%s is not a number up to 65535", type, name, value);
        return false;
    }
    return true;
}

bool smbios_add_option(Machine *machine, json_object *options, GError **err)
{
    json_object *type_value;
    unsigned type;

    if (json_object_object_get_ex(options, "file", NULL)) {
        error_set(err, "-smbios file= is not supported: give the fields with type=N,field=value");
        return false;
    }
    if (!json_object_object_get_ex(options, "type", &type_value)) {
        error_set(err, "-smbios needs type= (0, 1, 2, 3, 4, 11 or 17)");
        return false;
    }
    char *end;
    type = strtoul(json_object_get_string(type_value), &end, 10);
    if (*end || !(type <= 4 || type == 11 || type == 17)) {
        error_set(err, "-smbios type=%s: the types 0, 1, 2, 3, 4, 11 and 17 have fields", json_object_get_string(type_value));
        return false;
    }
    json_object_object_foreach(options, name, value) {
        const char *text = json_object_get_string(value);
        if (!strcmp(name, "type"))
            continue;
        if (!find_field(type, name)) {
            error_set(err, "-smbios type=%s has no field '%s'", json_object_get_string(type_value), name);
            return false;
        }
        if (!check_value(type, name, text, err))
            return false;
        g_autofree char *key = g_strdup_printf("%u.%s", type, name);
        const char *before = type == 11 ? given(machine, type, name) : NULL;
        /* OEM strings add up. */
        char *stored = before ? g_strdup_printf("%s\n%s", before, text) : g_strdup(text);
        g_hash_table_insert(given_options(machine), g_steal_pointer(&key), stored);
    }
    return true;
}

/* ---- structures -------------------------------------------------------------------------------------------------------- */

typedef struct Builder {
    Machine *machine;
    GByteArray *out;
    GByteArray *strings;
    uint8_t body[128];
    unsigned len, nr_strings, type;
} Builder;

static void begin(Builder *b, uint8_t type, uint8_t len, uint16_t handle)
{
    memset(b->body, 0, sizeof(b->body));
    b->body[0] = b->type = type;
    b->body[1] = b->len = len;
    st16(b->body + 2, handle);
    g_byte_array_set_size(b->strings, 0);
    b->nr_strings = 0;
}

/* Number of a text in the structure's string set; 0 for none. */
static uint8_t add_text(Builder *b, const char *text)
{
    if (!text || !*text)
        return 0;
    g_byte_array_append(b->strings, (const uint8_t *)text, strlen(text) + 1);
    return ++b->nr_strings;
}

/* The user's text, else fallback, else the table's default. */
static void field(Builder *b, unsigned offset, const char *name, const char *fallback)
{
    const char *text = given(b->machine, b->type, name);

    if (!text)
        text = fallback ? fallback : find_field(b->type, name)->def;
    b->body[offset] = add_text(b, text);
}

static uint16_t number_field(Builder *b, const char *name, uint16_t def)
{
    const char *text = given(b->machine, b->type, name);
    return text ? atoi(text) : def;
}

static void end(Builder *b)
{
    static const uint8_t zero[2];

    g_byte_array_append(b->out, b->body, b->len);
    g_byte_array_append(b->out, b->strings->data, b->strings->len);
    g_byte_array_append(b->out, zero, b->nr_strings ? 1 : 2);
}

static void bios_information(Builder *b)
{
    const char *release = given(b->machine, 0, "release"), *uefi = given(b->machine, 0, "uefi");
    unsigned major = 0, minor = 1;

    begin(b, 0, 24, 0x0000);
    field(b, 4, "vendor", NULL);
    field(b, 5, "version", NULL);
    field(b, 8, "date", NULL);
    st16(b->body + 6, 0xe800);
    st64(b->body + 10, 0x08);        /* no further characteristics */
    b->body[19] = 0x04 | 0x10 | (uefi && !strcmp(uefi, "on") ? 0x08 : 0);
    if (release)
        sscanf(release, "%u.%u", &major, &minor);
    b->body[20] = major;
    b->body[21] = minor;
    b->body[22] = b->body[23] = 0xff; /* no embedded controller */
    end(b);
}

/* The first three parts of a UUID are little-endian here (DSP0134 §7.2.1). */
static void store_uuid(uint8_t *out, const uint8_t uuid[16])
{
    static const uint8_t order[16] = { 3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15 };

    for (unsigned i = 0; i < 16; i++)
        out[i] = uuid[order[i]];
}

static void parse_uuid(const char *text, uint8_t uuid[16])
{
    unsigned n = 0;

    for (const char *p = text; *p && n < 32; p++) {
        if (!g_ascii_isxdigit(*p))
            continue;
        uuid[n / 2] = uuid[n / 2] << 4 | g_ascii_xdigit_value(*p);
        n++;
    }
}

static void system_information(Builder *b)
{
    const MachineClass *klass = machine_class(b->machine);
    const char *text = given(b->machine, 1, "uuid");
    uint8_t uuid[16] = { 0 };

    begin(b, 1, 27, 0x0100);
    field(b, 4, "manufacturer", NULL);
    field(b, 5, "product", klass->desc);
    field(b, 6, "version", klass->machine_name);
    field(b, 7, "serial", NULL);
    if (text)
        parse_uuid(text, uuid);
    else if (b->machine->uuid_set)
        memcpy(uuid, b->machine->uuid, 16);
    store_uuid(b->body + 8, uuid);
    b->body[24] = 6;                 /* woken by the power switch */
    field(b, 25, "sku", NULL);
    field(b, 26, "family", NULL);
    end(b);
}

static bool any_given(Machine *machine, unsigned type)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(fields); i++)
        if (fields[i].type == type && given(machine, type, fields[i].name))
            return true;
    return false;
}

static void baseboard(Builder *b)
{
    if (!any_given(b->machine, 2))
        return;
    begin(b, 2, 15, 0x0200);
    field(b, 4, "manufacturer", "Rhea");
    field(b, 5, "product", NULL);
    field(b, 6, "version", NULL);
    field(b, 7, "serial", NULL);
    field(b, 8, "asset", NULL);
    b->body[9] = 0x01;               /* hosting board */
    field(b, 10, "location", NULL);
    st16(b->body + 11, 0x0300);
    b->body[13] = 0x0a;              /* motherboard */
    end(b);
}

static void chassis(Builder *b)
{
    begin(b, 3, 22, 0x0300);
    field(b, 4, "manufacturer", NULL);
    b->body[5] = 0x01;               /* other */
    field(b, 6, "version", machine_class(b->machine)->machine_name);
    field(b, 7, "serial", NULL);
    field(b, 8, "asset", NULL);
    b->body[9] = b->body[10] = b->body[11] = 0x03; /* safe */
    b->body[12] = 0x02;
    field(b, 21, "sku", NULL);
    end(b);
}

static void processor(Builder *b, unsigned socket)
{
    Machine *machine = b->machine;
    X86Cpu *cpu = X86_CPU(machine->vcpus[0]);
    const char *prefix = given(machine, 4, "sock_pfx");
    g_autofree char *name = g_strdup_printf("%s %u", prefix ? prefix : find_field(4, "sock_pfx")->def, socket);
    unsigned cores = machine->smp.dies * machine->smp.cores, threads = cores * machine->smp.threads;
    uint32_t regs[4];

    begin(b, 4, 48, 0x0400 + socket);
    b->body[4] = add_text(b, name);
    b->body[5] = 0x03;               /* central processor */
    b->body[6] = 0x01;               /* family: other */
    field(b, 7, "manufacturer", NULL);
    x86_cpuid(cpu, 1, 0, regs);
    st32(b->body + 8, regs[0]);
    st32(b->body + 12, regs[3]);
    field(b, 16, "version", machine_class(machine)->machine_name);
    st16(b->body + 20, number_field(b, "max-speed", 2000));
    st16(b->body + 22, number_field(b, "current-speed", 2000));
    b->body[24] = 0x41;              /* populated, enabled */
    b->body[25] = 0x01;
    st16(b->body + 26, 0xffff);      /* no cache structures */
    st16(b->body + 28, 0xffff);
    st16(b->body + 30, 0xffff);
    field(b, 32, "serial", NULL);
    field(b, 33, "asset", NULL);
    field(b, 34, "part", NULL);
    b->body[35] = b->body[36] = MIN(cores, 255);
    b->body[37] = MIN(threads, 255);
    st16(b->body + 38, 0x02);
    st16(b->body + 40, 0x01);
    st16(b->body + 42, cores);
    st16(b->body + 44, cores);
    st16(b->body + 46, threads);
    end(b);
}

static void oem_strings(Builder *b)
{
    const char *text = given(b->machine, 11, "value");

    if (!text)
        return;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    begin(b, 11, 5, 0x0e00);
    for (unsigned i = 0; lines[i] && i < 255; i++)
        b->body[4] = add_text(b, lines[i]);
    end(b);
}

/* Memory is told as modules of at most 16 GiB. */
#define MODULE_MAX (16 * GIB)

static void memory_array(Builder *b, unsigned modules)
{
    uint64_t kib = b->machine->ram_size / KIB;

    begin(b, 16, 23, 0x1000);
    b->body[4] = 0x01;
    b->body[5] = 0x03;               /* system memory */
    b->body[6] = 0x06;               /* multi-bit ECC */
    st32(b->body + 7, kib < 0x80000000u ? kib : 0x80000000u);
    st16(b->body + 11, 0xfffe);
    st16(b->body + 13, modules);
    if (kib >= 0x80000000u)
        st64(b->body + 15, b->machine->ram_size);
    end(b);
}

static void memory_device(Builder *b, unsigned n, uint64_t size)
{
    const char *prefix = given(b->machine, 17, "loc_pfx");
    g_autofree char *name = g_strdup_printf("%s %u", prefix ? prefix : find_field(17, "loc_pfx")->def, n);
    uint64_t mib = size / MIB;

    begin(b, 17, 40, 0x1100 + n);
    st16(b->body + 4, 0x1000);
    st16(b->body + 6, 0xfffe);
    st16(b->body + 8, 0xffff);
    st16(b->body + 10, 0xffff);
    st16(b->body + 12, mib < 0x7fff ? mib : 0x7fff);
    if (mib >= 0x7fff)
        st32(b->body + 28, mib);
    b->body[14] = 0x09;              /* DIMM */
    b->body[16] = add_text(b, name);
    field(b, 17, "bank", NULL);
    b->body[18] = 0x07;              /* RAM */
    st16(b->body + 19, 0x02);
    st16(b->body + 21, number_field(b, "speed", 0));
    field(b, 23, "manufacturer", NULL);
    field(b, 24, "serial", NULL);
    field(b, 25, "asset", NULL);
    field(b, 26, "part", NULL);
    st16(b->body + 32, number_field(b, "speed", 0));
    end(b);
}

static void mapped_address(Builder *b, unsigned n, uint64_t start, uint64_t size)
{
    uint64_t first = start / KIB, last = (start + size) / KIB - 1;

    if (!size)
        return;
    begin(b, 19, 31, 0x1300 + n);
    if (last < UINT32_MAX) {
        st32(b->body + 4, first);
        st32(b->body + 8, last);
    } else {
        st32(b->body + 4, UINT32_MAX);
        st32(b->body + 8, UINT32_MAX);
        st64(b->body + 15, start);
        st64(b->body + 23, start + size - 1);
    }
    st16(b->body + 12, 0x1000);
    b->body[14] = 1;
    end(b);
}

GByteArray *smbios_build(PcMachine *pc)
{
    Machine *machine = &pc->machine;
    Builder b = { .machine = machine, .out = g_byte_array_new(), .strings = g_byte_array_new() };
    unsigned modules = (machine->ram_size + MODULE_MAX - 1) / MODULE_MAX;

    bios_information(&b);
    system_information(&b);
    baseboard(&b);
    chassis(&b);
    for (unsigned socket = 0; socket < machine->smp.sockets; socket++)
        processor(&b, socket);
    oem_strings(&b);
    memory_array(&b, modules);
    for (unsigned n = 0; n < modules; n++)
        memory_device(&b, n, MIN(MODULE_MAX, machine->ram_size - n * MODULE_MAX));
    mapped_address(&b, 0, 0, pc->low_ram);
    mapped_address(&b, 1, 4 * GIB, pc->high_ram);
    begin(&b, 32, 11, 0x2000);       /* boot: no error */
    end(&b);
    begin(&b, 127, 4, 0x7f00);
    end(&b);
    g_byte_array_unref(b.strings);
    return b.out;
}

static uint8_t sum_to_zero(const uint8_t *p, unsigned len)
{
    uint8_t sum = 0;

    for (unsigned i = 0; i < len; i++)
        sum += p[i];
    return -sum;
}

/* Number of structures and size of the largest one, by walking them. */
static unsigned measure(const GByteArray *tables, unsigned *largest)
{
    unsigned count = 0, pos = 0;

    *largest = 0;
    while (pos + 4 <= tables->len) {
        unsigned start = pos;
        pos += tables->data[pos + 1];
        while (pos + 1 < tables->len && (tables->data[pos] || tables->data[pos + 1]))
            pos++;
        pos += 2;
        *largest = MAX(*largest, pos - start);
        count++;
    }
    return count;
}

void smbios_anchor(const GByteArray *tables, uint32_t tables_gpa, uint8_t anchor[SMBIOS_ANCHOR_SIZE])
{
    unsigned largest, count = measure(tables, &largest);

    memset(anchor, 0, SMBIOS_ANCHOR_SIZE);
    memcpy(anchor, "_SM_", 4);
    anchor[5] = SMBIOS_ANCHOR_SIZE;
    anchor[6] = 2;                   /* version 2.8 */
    anchor[7] = 8;
    st16(anchor + 8, largest);
    memcpy(anchor + 16, "_DMI_", 5);
    st16(anchor + 22, tables->len);
    st32(anchor + 24, tables_gpa);
    st16(anchor + 28, count);
    anchor[30] = 0x28;
    anchor[21] = sum_to_zero(anchor + 16, 15);
    anchor[4] = sum_to_zero(anchor, SMBIOS_ANCHOR_SIZE);
}
