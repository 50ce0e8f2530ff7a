/*
 * AML encoder, see the header.
 */
#include "hw/acpi/aml.h"

#define EXT_PREFIX 0x5b
#define MULTI_NAME 0x2f
#define DUAL_NAME 0x2e

void aml_init(Aml *a)
{
    a->code = g_byte_array_new();
    a->open = g_array_new(false, false, sizeof(guint));
}

void aml_free(Aml *a)
{
    g_assert(a->open->len == 0);
    g_byte_array_unref(a->code);
    g_array_unref(a->open);
}

static void put(Aml *a, const void *data, size_t len)
{
    g_byte_array_append(a->code, data, len);
}

void aml_op(Aml *a, uint8_t op)
{
    put(a, &op, 1);
}

static void ext_op(Aml *a, uint8_t op)
{
    aml_op(a, EXT_PREFIX);
    aml_op(a, op);
}

void aml_null_target(Aml *a)
{
    aml_op(a, 0);
}

/* One segment: up to four characters, padded with '_'. */
static void name_segment(Aml *a, const char *name, size_t len)
{
    char segment[4] = { '_', '_', '_', '_' };

    g_assert(len >= 1 && len <= 4);
    memcpy(segment, name, len);
    put(a, segment, 4);
}

void aml_path(Aml *a, const char *path)
{
    while (*path == '\\' || *path == '^')
        aml_op(a, *path++);
    g_auto(GStrv) segments = g_strsplit(path, ".", -1);
    unsigned n = g_strv_length(segments);

    if (n == 0) {
        aml_op(a, 0);
    } else if (n == 2) {
        aml_op(a, DUAL_NAME);
    } else if (n > 2) {
        aml_op(a, MULTI_NAME);
        aml_op(a, n);
    }
    for (unsigned i = 0; i < n; i++)
        name_segment(a, segments[i], strlen(segments[i]));
}

void aml_int(Aml *a, uint64_t value)
{
    static const struct { uint64_t max; uint8_t prefix, size; } forms[] = {
        { 0xff, 0x0a, 1 }, { 0xffff, 0x0b, 2 }, { 0xffffffff, 0x0c, 4 }, { UINT64_MAX, 0x0e, 8 },
    };

    if (value <= 1) {
        aml_op(a, value);
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(forms); i++) {
        if (value > forms[i].max)
            continue;
        uint8_t bytes[8];
        st64(bytes, value);
        aml_op(a, forms[i].prefix);
        put(a, bytes, forms[i].size);
        return;
    }
}

void aml_string(Aml *a, const char *text)
{
    aml_op(a, 0x0d);
    put(a, text, strlen(text) + 1);
}

/* Three letters of five bits, four hex digits, in big-endian order (ACPI 6.4 §19.6.37). */
void aml_eisa_id(Aml *a, const char *id)
{
    uint32_t number = strtoul(id + 3, NULL, 16);
    uint32_t value = (uint32_t)(id[0] - '@') << 26 | (uint32_t)(id[1] - '@') << 21 | (uint32_t)(id[2] - '@') << 16 | number;
    uint8_t bytes[4];

    st32(bytes, GUINT32_SWAP_LE_BE(value));
    aml_op(a, 0x0c);
    put(a, bytes, 4);
}

/* ---- packages with a length --------------------------------------------------------------------------------------- */

static void open_package(Aml *a)
{
    guint start = a->code->len;
    g_array_append_val(a->open, start);
}

/* PkgLength counts itself: 6 bits in one byte, or 4 bits and up to three more bytes. */
void aml_end(Aml *a)
{
    g_assert(a->open->len > 0);
    guint start = g_array_index(a->open, guint, a->open->len - 1);
    g_array_set_size(a->open, a->open->len - 1);
    guint content = a->code->len - start;
    unsigned bytes = 1;
    uint8_t encoded[4];

    while (bytes < 4 && content + bytes >= (bytes == 1 ? 1u << 6 : 1u << (8 * bytes - 4)))
        bytes++;
    guint total = content + bytes;
    if (bytes == 1) {
        encoded[0] = total;
    } else {
        encoded[0] = (bytes - 1) << 6 | (total & 15);
        for (unsigned i = 1; i < bytes; i++)
            encoded[i] = total >> (8 * i - 4);
    }
    put(a, encoded, bytes);
    memmove(a->code->data + start + bytes, a->code->data + start, content);
    memcpy(a->code->data + start, encoded, bytes);
}

void aml_scope_begin(Aml *a, const char *path)
{
    aml_op(a, 0x10);
    open_package(a);
    aml_path(a, path);
}

void aml_device_begin(Aml *a, const char *name)
{
    ext_op(a, 0x82);
    open_package(a);
    aml_path(a, name);
}

void aml_method_begin(Aml *a, const char *name, unsigned args, bool serialized)
{
    aml_op(a, 0x14);
    open_package(a);
    aml_path(a, name);
    aml_op(a, args | (serialized ? 0x08 : 0));
}

void aml_if_begin(Aml *a)
{
    aml_op(a, 0xa0);
    open_package(a);
}

void aml_else_begin(Aml *a)
{
    aml_op(a, 0xa1);
    open_package(a);
}

void aml_package_begin(Aml *a, uint8_t elements)
{
    aml_op(a, 0x12);
    open_package(a);
    aml_op(a, elements);
}

void aml_buffer(Aml *a, const void *data, size_t len)
{
    aml_op(a, 0x11);
    open_package(a);
    aml_int(a, len);
    put(a, data, len);
    aml_end(a);
}

void aml_field_begin(Aml *a, const char *region, uint8_t flags)
{
    ext_op(a, 0x81);
    open_package(a);
    aml_path(a, region);
    aml_op(a, flags);
}

void aml_field_unit(Aml *a, const char *name, unsigned bits)
{
    g_assert(bits < 1u << 6);
    name_segment(a, name, strlen(name));
    aml_op(a, bits);
}

void aml_op_region(Aml *a, const char *name, uint8_t space, uint32_t offset, uint32_t len)
{
    ext_op(a, 0x80);
    aml_path(a, name);
    aml_op(a, space);
    aml_int(a, offset);
    aml_int(a, len);
}

void aml_mutex(Aml *a, const char *name)
{
    ext_op(a, 0x01);
    aml_path(a, name);
    aml_op(a, 0);
}

void aml_acquire(Aml *a, const char *name)
{
    uint8_t forever[2] = { 0xff, 0xff };

    ext_op(a, 0x23);
    aml_path(a, name);
    put(a, forever, 2);
}

void aml_release(Aml *a, const char *name)
{
    ext_op(a, 0x27);
    aml_path(a, name);
}

void aml_name(Aml *a, const char *name)
{
    aml_op(a, 0x08);
    aml_path(a, name);
}

void aml_name_int(Aml *a, const char *name, uint64_t value)
{
    aml_name(a, name);
    aml_int(a, value);
}

void aml_name_string(Aml *a, const char *name, const char *text)
{
    aml_name(a, name);
    aml_string(a, text);
}

void aml_name_eisa_id(Aml *a, const char *name, const char *id)
{
    aml_name(a, name);
    aml_eisa_id(a, id);
}

/* ---- resource descriptors ------------------------------------------------------------------------------------------ */

void res_io(GByteArray *r, uint16_t min, uint16_t max, uint8_t align, uint8_t len)
{
    uint8_t d[8] = { 0x47, 1, min, min >> 8, max, max >> 8, align, len };
    g_byte_array_append(r, d, sizeof(d));
}

void res_irq(GByteArray *r, unsigned irq)
{
    uint8_t d[3] = { 0x22, 1u << irq & 0xff, 1u << irq >> 8 };
    g_byte_array_append(r, d, sizeof(d));
}

void res_interrupt(GByteArray *r, const uint32_t *irqs, unsigned n)
{
    /* consumer, level, active high, shared */
    uint8_t d[5] = { 0x89, 2 + 4 * n, 0, 0x09, n };
    g_byte_array_append(r, d, sizeof(d));
    for (unsigned i = 0; i < n; i++) {
        uint8_t bytes[4];
        st32(bytes, irqs[i]);
        g_byte_array_append(r, bytes, 4);
    }
}

void res_fixed_memory(GByteArray *r, uint32_t base, uint32_t len)
{
    uint8_t d[12] = { 0x86, 9, 0, 1 };
    st32(d + 4, base);
    st32(d + 8, len);
    g_byte_array_append(r, d, sizeof(d));
}

/* Address space descriptors: producer, minimum and maximum fixed, positive decode. */
#define SPACE_MEMORY 0
#define SPACE_IO 1
#define SPACE_BUS 2
#define SPACE_FIXED 0x0c

static void res_word_space(GByteArray *r, uint8_t type, uint8_t flags, uint16_t min, uint16_t max)
{
    uint8_t d[16] = { 0x88, 13, 0, type, SPACE_FIXED, flags };
    st16(d + 8, min);
    st16(d + 10, max);
    st16(d + 14, max - min + 1);
    g_byte_array_append(r, d, sizeof(d));
}

void res_bus_numbers(GByteArray *r, uint16_t min, uint16_t max)
{
    res_word_space(r, SPACE_BUS, 0, min, max);
}

void res_word_io(GByteArray *r, uint16_t min, uint16_t max)
{
    res_word_space(r, SPACE_IO, 3, min, max); /* entire range: ISA and non-ISA */
}

void res_dword_memory(GByteArray *r, uint32_t min, uint32_t max, bool prefetch)
{
    uint8_t d[26] = { 0x87, 23, 0, SPACE_MEMORY, SPACE_FIXED, prefetch ? 3 : 1 };
    st32(d + 10, min);
    st32(d + 14, max);
    st32(d + 22, max - min + 1);
    g_byte_array_append(r, d, sizeof(d));
}

void res_qword_memory(GByteArray *r, uint64_t min, uint64_t max, bool prefetch)
{
    uint8_t d[46] = { 0x8a, 43, 0, SPACE_MEMORY, SPACE_FIXED, prefetch ? 3 : 1 };
    st64(d + 14, min);
    st64(d + 22, max);
    st64(d + 38, max - min + 1);
    g_byte_array_append(r, d, sizeof(d));
}

void aml_resources(Aml *a, GByteArray *r)
{
    /* A checksum of 0 stands for "not computed". */
    static const uint8_t end_tag[2] = { 0x79, 0 };

    g_byte_array_append(r, end_tag, sizeof(end_tag));
    aml_buffer(a, r->data, r->len);
    g_byte_array_set_size(r, 0);
}
