/* JSON text as QMP clients are used to it: one line, ": " and ", " between things, ASCII only. */
#pragma once

#include <rhea/base.h>

typedef struct json_object json_object;

/* Appends; pretty: over several lines, four spaces a level. */
void json_out(GString *out, json_object *value, bool pretty);
