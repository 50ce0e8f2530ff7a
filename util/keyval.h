/*
 * Option text: "driver,id=a,opts.sub=b,flag" or JSON, to a json object; and typed access to such objects.
 *
 *   option  = JSON object text | member { "," member }
 *   member  = key "=" value | flag | value          (the last form only first, when there is an implied key)
 *   key     = name { "." name }                     name: [A-Za-z0-9_-] and for implied ones anything
 *
 * ",," in a value is a comma. A bare flag means flag=on, "noflag" flag=off. Dotted keys nest: "a.b=1" is {"a": {"b": "1"}}; an
 * object whose names are 0..n-1 is a list. Text values are JSON strings: what they mean is the reader's business, so
 * that "on" and true, "5" and 5 are the same to the functions below.
 */
#pragma once

#include <json-c/json.h>
#include <rhea/base.h>

#define KEYVAL_FLAT 0x01 /* dots don't nest (properties whose names have dots) */

/* implied: name of a leading value without key ("driver", "qom-type"), NULL: none. (owned) NULL with a sentence. */
json_object *keyval_parse(const char *text, const char *implied, unsigned flags, GError **err) WARN_UNUSED;
/* Whether the text asks for help: "help", "?", or "NAME,help"; then *name is NAME or NULL. (owned) Not for JSON. */
bool keyval_wants_help(const char *text, char **name);

/*
 * Members of an options object. Each leaves *out at what the caller put there when the member is absent, and fails with a
 * sentence when it is there but not of the kind. `what` names the option for messages: "-m", "chardev 'c0'".
 */
bool keyval_get_str(json_object *options, const char *what, const char *key, const char **out, GError **err) WARN_UNUSED; /* borrowed */
bool keyval_get_bool(json_object *options, const char *what, const char *key, bool *out, GError **err) WARN_UNUSED;
bool keyval_get_uint(json_object *options, const char *what, const char *key, uint64_t min, uint64_t max, uint64_t *out,
                     GError **err) WARN_UNUSED;
/* unit: of a bare number in text, see size_parse(); bytes out. */
bool keyval_get_size(json_object *options, const char *what, const char *key, char unit, uint64_t *out, GError **err) WARN_UNUSED;
/* names is NULL-terminated; *out is the index. */
bool keyval_get_enum(json_object *options, const char *what, const char *key, const char *const *names, int *out,
                     GError **err) WARN_UNUSED;
bool keyval_has(json_object *options, const char *key);
/* Refuses the first member that is not in known (NULL-terminated), with the nearest name. */
bool keyval_check_known(json_object *options, const char *what, const char *const *known, GError **err) WARN_UNUSED;
/* The same for one enum-like word that is not an options member. Returns the index or -1. */
int keyval_name_index(const char *what, const char *given, const char *const *names, GError **err);

/*
 * -readconfig: the groups of an ini file, in order: [{"group": "device", "id": "x" (if given), "options": {...}}, ...].
 *   [group]  or  [group "id"], then lines  key = "value", comments with #. (owned)
 */
json_object *keyval_read_config(const char *path, GError **err) WARN_UNUSED;
json_object *keyval_parse_config(const char *text, const char *name, GError **err) WARN_UNUSED;
