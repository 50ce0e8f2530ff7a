/*
 * Saved state as const data: one row a field, in the order of the struct. Snapshots, migration and debugging walk it.
 */
#pragma once

#include <rhea/base.h>

typedef enum {
    STATE_BOOL, STATE_U8, STATE_U16, STATE_U32, STATE_U64, STATE_I64,
    STATE_BYTES,   /* count bytes */
    STATE_TIMER,   /* Timer *: deadline */
    STATE_STRUCT,  /* count elements of .stride bytes, described by .sub */
    STATE_HOOK,    /* no data: .post_load is called */
} StateKind;

typedef struct StateField {
    const char *name;
    StateKind kind;
    size_t offset;
    uint32_t count;    /* array length, 0 and 1 are scalars */
    uint32_t since;    /* first version that has it */
    size_t stride;
    const struct StateField *sub;
    bool (*post_load)(void *instance, uint32_t version, GError **err);
} StateField;

#define STATE_BOOL_(T, f)      { .name = #f, .kind = STATE_BOOL, .offset = offsetof(T, f) }
#define STATE_U8_(T, f)        { .name = #f, .kind = STATE_U8, .offset = offsetof(T, f) }
#define STATE_U16_(T, f)       { .name = #f, .kind = STATE_U16, .offset = offsetof(T, f) }
#define STATE_U32_(T, f)       { .name = #f, .kind = STATE_U32, .offset = offsetof(T, f) }
#define STATE_U64_(T, f)       { .name = #f, .kind = STATE_U64, .offset = offsetof(T, f) }
#define STATE_I64_(T, f)       { .name = #f, .kind = STATE_I64, .offset = offsetof(T, f) }
#define STATE_ARRAY_(T, f, k)  { .name = #f, .kind = k, .offset = offsetof(T, f), .count = G_N_ELEMENTS(((T *)0)->f) }
#define STATE_BYTES_(T, f)     { .name = #f, .kind = STATE_BYTES, .offset = offsetof(T, f), .count = sizeof(((T *)0)->f) }
#define STATE_TIMER_(T, f)     { .name = #f, .kind = STATE_TIMER, .offset = offsetof(T, f) }
#define STATE_STRUCTS_(T, f, s){ .name = #f, .kind = STATE_STRUCT, .offset = offsetof(T, f), .count = G_N_ELEMENTS(((T *)0)->f), .stride = sizeof(((T *)0)->f[0]), .sub = s }
#define STATE_POST_LOAD(func)  { .name = "post-load", .kind = STATE_HOOK, .post_load = func }
#define STATE_END              { .name = NULL }
