/*
 * AML encoding: ACPI machine language, written from front to back.
 *
 * AML is prefix notation, so terms are emitted in order: aml_op(a, AML_STORE) then source then target. Constructs with a package
 * length are opened by a _begin function and closed by aml_end(); they nest.
 * Source: ACPI specification 6.4 §20 (encoding), §6.4 (resource descriptors).
 */
#pragma once

#include <rhea/base.h>

typedef struct Aml {
    GByteArray *code;
    GArray *open;      /* guint: where each open package's length belongs */
} Aml;

enum {
    AML_ZERO = 0x00, AML_ONE = 0x01, AML_LOCAL0 = 0x60, AML_LOCAL1 = 0x61, AML_ARG0 = 0x68, AML_ARG1 = 0x69, AML_ARG2 = 0x6a,
    AML_ARG3 = 0x6b, AML_STORE = 0x70, AML_ADD = 0x72, AML_SHIFT_LEFT = 0x79, AML_AND = 0x7b, AML_OR = 0x7d, AML_NOTIFY = 0x86,
    AML_SIZEOF = 0x87, AML_CREATE_DWORD_FIELD = 0x8a, AML_LAND = 0x90, AML_LEQUAL = 0x93, AML_RETURN = 0xa4,
    AML_DEREF_OF = 0x83, AML_INDEX = 0x88,
};
enum { AML_SPACE_MEMORY = 0, AML_SPACE_IO = 1, AML_SPACE_PCI_CONFIG = 2 };
enum { AML_FIELD_BYTE = 0x01, AML_FIELD_DWORD = 0x03, AML_FIELD_WRITE_ZEROS = 0x40 };

void aml_init(Aml *a);
void aml_free(Aml *a);

void aml_op(Aml *a, uint8_t op);
void aml_path(Aml *a, const char *path);           /* "\\_SB.PCI0.LNKA", "^X", "_HID" */
void aml_int(Aml *a, uint64_t value);              /* shortest encoding */
void aml_string(Aml *a, const char *text);
void aml_eisa_id(Aml *a, const char *id);          /* "PNP0A03" */
void aml_buffer(Aml *a, const void *data, size_t len);
void aml_null_target(Aml *a);

void aml_scope_begin(Aml *a, const char *path);
void aml_device_begin(Aml *a, const char *name);
void aml_method_begin(Aml *a, const char *name, unsigned args, bool serialized);
void aml_if_begin(Aml *a);
void aml_else_begin(Aml *a);
void aml_package_begin(Aml *a, uint8_t elements);
void aml_field_begin(Aml *a, const char *region, uint8_t flags);
void aml_end(Aml *a);

void aml_field_unit(Aml *a, const char *name, unsigned bits);
void aml_op_region(Aml *a, const char *name, uint8_t space, uint32_t offset, uint32_t len);
void aml_mutex(Aml *a, const char *name);
void aml_acquire(Aml *a, const char *name);        /* without a time limit */
void aml_release(Aml *a, const char *name);

/* Name (NAME, value) */
void aml_name(Aml *a, const char *name);           /* the value follows */
void aml_name_int(Aml *a, const char *name, uint64_t value);
void aml_name_string(Aml *a, const char *name, const char *text);
void aml_name_eisa_id(Aml *a, const char *name, const char *id);

/* Resource templates: collected in a byte array, then emitted as a buffer. */
void res_io(GByteArray *r, uint16_t min, uint16_t max, uint8_t align, uint8_t len);
void res_irq(GByteArray *r, unsigned irq);         /* edge, active high, exclusive */
void res_interrupt(GByteArray *r, const uint32_t *irqs, unsigned n); /* level, active high, shared */
void res_fixed_memory(GByteArray *r, uint32_t base, uint32_t len);
void res_bus_numbers(GByteArray *r, uint16_t min, uint16_t max);
void res_word_io(GByteArray *r, uint16_t min, uint16_t max);
void res_dword_memory(GByteArray *r, uint32_t min, uint32_t max, bool prefetch);
void res_qword_memory(GByteArray *r, uint64_t min, uint64_t max, bool prefetch);
/* Appends the end tag and emits the buffer; r is emptied. */
void aml_resources(Aml *a, GByteArray *r);
