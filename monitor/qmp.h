/*
 * Monitors: a QMP session or a human's command line, each on a character device.
 */
#pragma once

#include <chardev/chardev.h>
#include <json-c/json.h>

#include "system/machine.h"
#include "util/json-auto.h"

typedef struct Monitor Monitor;

/* What a command handler gets. */
typedef struct QmpContext {
    Machine *machine;
    Monitor *monitor;   /* NULL when called by nobody in particular (tests) */
    unsigned cpu_index; /* HMP: whose registers and addresses */
} QmpContext;

/* -mon: control is QMP, else human. (owned by the machine's list of monitors: monitor_free_all) */
bool monitor_new(Machine *machine, Chardev *chr, bool control, bool pretty, GError **err) WARN_UNUSED;
/* Start-up is over. */
void monitors_ready(void);
/* Last events go out, sessions end. */
void monitor_free_all(void);
/* A descriptor that came with the current command, -1 if none. (owned) */
int monitor_take_fd(Monitor *monitor);

/*
 * One QMP request, already parsed, to its reply object. (owned) Used by sessions; negotiated false allows qmp_capabilities only.
 */
json_object *qmp_dispatch(QmpContext *ctx, json_object *request, bool negotiated, bool *now_negotiated, bool oob_enabled);
json_object *qmp_greeting(void);
/* {"error": {"class", "desc"}} (owned) */
json_object *qmp_error_object(const GError *error);

/* ---- human monitor ---- */

/* Runs one line; its output. (owned) Never fails: errors are text. */
char *hmp_run(QmpContext *ctx, const char *line);

/* ---- helpers for handlers ---- */

const char *arg_str(json_object *args, const char *name);             /* NULL if absent (borrowed) */
bool arg_bool(json_object *args, const char *name, bool fallback);
int64_t arg_int(json_object *args, const char *name, int64_t fallback);
uint64_t arg_uint(json_object *args, const char *name, uint64_t fallback);
bool arg_has(json_object *args, const char *name);
static inline void put_str(json_object *o, const char *k, const char *v) { json_object_object_add(o, k, json_object_new_string(v)); }
static inline void put_int(json_object *o, const char *k, int64_t v) { json_object_object_add(o, k, json_object_new_int64(v)); }
static inline void put_uint(json_object *o, const char *k, uint64_t v) { json_object_object_add(o, k, json_object_new_uint64(v)); }
static inline void put_bool(json_object *o, const char *k, bool v) { json_object_object_add(o, k, json_object_new_boolean(v)); }
static inline void put(json_object *o, const char *k, json_object *v) { json_object_object_add(o, k, v); }
