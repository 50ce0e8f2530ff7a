/*
 * Properties as const data. A class lists them in a table; the core makes each a GObject property, a command-line option
 * (`-device NAME,prop=value`, `-global`), a line of `-device NAME,help`, and an entry of qom-list and device-list-properties.
 *
 * The offset is of the field inside the instance struct. Values come from text (command line), JSON (QMP) or GValue; all three
 * are checked against the same range. Properties of a device can be set before realize only, unless PROP_LIVE.
 */
#pragma once

#include <rhea/base.h>

typedef struct Object Object;
typedef struct json_object json_object;

typedef enum {
    PROP_KIND_BOOL,    /* bool; on/off/yes/no/true/false */
    PROP_KIND_ONOFF,   /* OnOffAuto: on, off, auto */
    PROP_KIND_U8, PROP_KIND_U16, PROP_KIND_U32, PROP_KIND_U64, /* decimal, 0x hex */
    PROP_KIND_I32, PROP_KIND_I64,
    PROP_KIND_SIZE,    /* uint64_t bytes; suffix k M G T P E, 1024-based */
    PROP_KIND_STR,     /* char *, owned by the object */
    PROP_KIND_ENUM,    /* int; names in .names, NULL-terminated */
    PROP_KIND_LINK,    /* Object *: id or path of an object of type .type; a reference is held */
    PROP_KIND_DISK,    /* Disk *: node name or drive id */
    PROP_KIND_CHARDEV, /* Chardev *: id */
    PROP_KIND_NETDEV,  /* NetPort *: id */
    PROP_KIND_PCI_ADDR,/* int32_t devfn: "slot", "slot.fn", hex */
    PROP_KIND_MAC,     /* uint8_t[6]: aa:bb:cc:dd:ee:ff */
    PROP_KIND_UUID,    /* uint8_t[16] in RFC 4122 order */
    PROP_KIND_BIT,     /* bit .bit of a uint64_t field; on/off */
    PROP_KIND_CUSTOM,  /* get/set functions below */
} PropKind;

typedef enum { ON_OFF_AUTO_AUTO, ON_OFF_AUTO_ON, ON_OFF_AUTO_OFF } OnOffAuto;

#define PROP_REQUIRED 0x01  /* realize fails with a sentence when it was not given */
#define PROP_LIVE     0x02  /* may be set after realize */
#define PROP_READONLY 0x04  /* qom-get only */
#define PROP_HIDDEN   0x08  /* not in help (compatibility spellings) */

typedef struct Property {
    const char *name;
    PropKind kind;
    uint32_t flags;
    size_t offset;
    uint64_t def;              /* default of bools, numbers, sizes, enums (enum value), bits */
    const char *def_str;       /* default of strings */
    uint64_t min, max;         /* inclusive; both 0: whole range of the kind (signed kinds: as int64_t) */
    unsigned bit;
    const char *const *names;  /* ENUM */
    const char *type;          /* LINK: required type; else the type name shown in qom-list, NULL for the kind's own */
    const char *help;
    /*
     * CUSTOM, and optional refinement of other kinds: get yields a new json value (owned); set is given the value as JSON
     * (strings from the command line arrive as JSON strings) and stores it.
     */
    json_object *(*get)(Object *obj, const struct Property *prop, GError **err);
    bool (*set)(Object *obj, const struct Property *prop, json_object *value, GError **err);
} Property;

#define PROP_FIELD_(type_, field_, ctype_) \
    (offsetof(type_, field_) + 0 * sizeof((ctype_ *)0 == &((type_ *)0)->field_))

#define PROP_BOOL(n, T, f, d, h)       { .name = n, .kind = PROP_KIND_BOOL, .offset = PROP_FIELD_(T, f, bool), .def = d, .help = h }
#define PROP_ONOFF(n, T, f, d, h)      { .name = n, .kind = PROP_KIND_ONOFF, .offset = offsetof(T, f), .def = d, .help = h }
#define PROP_U8(n, T, f, d, lo, hi, h) { .name = n, .kind = PROP_KIND_U8, .offset = PROP_FIELD_(T, f, uint8_t), .def = d, .min = lo, .max = hi, .help = h }
#define PROP_U16(n, T, f, d, lo, hi, h){ .name = n, .kind = PROP_KIND_U16, .offset = PROP_FIELD_(T, f, uint16_t), .def = d, .min = lo, .max = hi, .help = h }
#define PROP_U32(n, T, f, d, lo, hi, h){ .name = n, .kind = PROP_KIND_U32, .offset = PROP_FIELD_(T, f, uint32_t), .def = d, .min = lo, .max = hi, .help = h }
#define PROP_U64(n, T, f, d, lo, hi, h){ .name = n, .kind = PROP_KIND_U64, .offset = PROP_FIELD_(T, f, uint64_t), .def = d, .min = lo, .max = hi, .help = h }
#define PROP_I32(n, T, f, d, lo, hi, h){ .name = n, .kind = PROP_KIND_I32, .offset = PROP_FIELD_(T, f, int32_t), .def = (uint64_t)(int64_t)(d), .min = (uint64_t)(int64_t)(lo), .max = (uint64_t)(int64_t)(hi), .help = h }
#define PROP_SIZE(n, T, f, d, h)       { .name = n, .kind = PROP_KIND_SIZE, .offset = PROP_FIELD_(T, f, uint64_t), .def = d, .help = h }
#define PROP_STR(n, T, f, d, h)        { .name = n, .kind = PROP_KIND_STR, .offset = PROP_FIELD_(T, f, char *), .def_str = d, .help = h }
#define PROP_ENUM(n, T, f, d, tbl, h)  { .name = n, .kind = PROP_KIND_ENUM, .offset = offsetof(T, f), .def = d, .names = tbl, .help = h }
#define PROP_LINK(n, T, f, ty, h)      { .name = n, .kind = PROP_KIND_LINK, .offset = offsetof(T, f), .type = ty, .help = h }
#define PROP_DISK(n, T, f, fl, h)      { .name = n, .kind = PROP_KIND_DISK, .offset = offsetof(T, f), .flags = fl, .help = h }
#define PROP_CHARDEV(n, T, f, fl, h)   { .name = n, .kind = PROP_KIND_CHARDEV, .offset = offsetof(T, f), .flags = fl, .help = h }
#define PROP_BIT(n, T, f, b, d, h)     { .name = n, .kind = PROP_KIND_BIT, .offset = PROP_FIELD_(T, f, uint64_t), .bit = b, .def = d, .help = h }
#define PROP_CUSTOM(n, g, s, h)        { .name = n, .kind = PROP_KIND_CUSTOM, .get = g, .set = s, .help = h }
#define PROP_END                       { .name = NULL }

/*
 * How a kind that names a back end (DISK, CHARDEV, NETDEV) finds it. The back end's folder installs these once, so that
 * qom/ names no back end. attach takes exclusive or shared use for the owner and may refuse; name gives the text for qom-get.
 */
typedef struct PropBackendOps {
    void *(*find)(const char *id);                                  /* borrowed, NULL if unknown */
    const char *(*name)(void *backend);                             /* borrowed */
    bool (*attach)(void *backend, Object *owner, GError **err);
    void (*detach)(void *backend, Object *owner);
    char *(*known_ids)(void);                                       /* (owned) "a, b, c" for messages; may be NULL */
} PropBackendOps;
void property_set_backend_ops(PropKind kind, const PropBackendOps *ops);
