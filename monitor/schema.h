/*
 * What the generator makes of monitor/schema/ *.json: const tables of commands, events and their types. Arguments are checked and
 * query-qmp-schema is answered by walking them.
 */
#pragma once

#include <rhea/base.h>

typedef struct json_object json_object;
typedef struct QmpContext QmpContext;
typedef struct SchemaType SchemaType;

typedef enum {
    SCHEMA_STR, SCHEMA_INT, SCHEMA_UINT, SCHEMA_NUMBER, SCHEMA_BOOL, SCHEMA_NULL, SCHEMA_ANY,
    SCHEMA_ENUM, SCHEMA_STRUCT, SCHEMA_ARRAY, SCHEMA_ALTERNATE,
} SchemaKind;

typedef struct SchemaMember {
    const char *name;        /* NULL ends the table */
    const SchemaType *type;
    bool optional;
} SchemaMember;

typedef struct SchemaVariant {
    const char *value;       /* NULL ends the table */
    const SchemaType *type;  /* a struct */
} SchemaVariant;

struct SchemaType {
    const char *name;
    SchemaKind kind;
    const char *const *values;        /* ENUM, NULL-terminated */
    const SchemaMember *members;      /* STRUCT; ALTERNATE: names unused */
    bool open;                        /* STRUCT: other members are allowed, their meaning is the command's business */
    const char *tag;                  /* STRUCT: member that chooses the variant, or NULL */
    const SchemaVariant *variants;
    const SchemaType *element;        /* ARRAY */
    /* Adds what is known only at run time (registered classes) to the type's query-qmp-schema entry. */
    void (*introspect)(json_object *entity, json_object *entities);
};

/* A handler: args is an object, checked against the schema; the result is owned, NULL without err stands for {}. */
typedef json_object *QmpFunc(QmpContext *ctx, json_object *args, GError **err);

typedef struct SchemaCommand {
    const char *name;
    const SchemaType *args;
    const SchemaType *ret;
    QmpFunc *func;
    bool oob;
    const char *const *features;      /* NULL-terminated or NULL */
} SchemaCommand;

typedef struct SchemaEvent {
    const char *name;
    const SchemaType *data;
} SchemaEvent;

/* Sorted by name. */
extern const SchemaCommand schema_commands[];
extern const unsigned schema_nr_commands;
extern const SchemaEvent schema_events[];
extern const unsigned schema_nr_events;

const SchemaCommand *schema_find_command(const char *name); /* NULL if unknown */

/* Checks value (an object of a STRUCT type) member by member. */
bool schema_check(const SchemaType *type, json_object *value, GError **err) WARN_UNUSED;

/* The answer of query-qmp-schema. (owned) */
json_object *schema_introspect(void);
