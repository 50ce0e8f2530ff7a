/* How report_error() and its siblings (rhea/base.h) write. */
#pragma once

#include <rhea/base.h>

/* -msg timestamp=on, guest-name=on (NULL: no name in front). The name is copied. */
void report_set_timestamp(bool on);
void report_set_guest_name(const char *name);
