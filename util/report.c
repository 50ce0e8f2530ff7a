/* Lines for the user on stderr. */
#include "util/report.h"

#include <stdio.h>

static bool timestamp;
static char *guest_name;

void report_set_timestamp(bool on)
{
    timestamp = on;
}

void report_set_guest_name(const char *name)
{
    g_free(guest_name);
    guest_name = g_strdup(name);
}

/* One write for the whole line, so that lines of several threads don't mix. */
static void report(const char *kind, const char *fmt, va_list ap)
{
    GString *line = g_string_new(NULL);
    if (timestamp) {
        g_autoptr(GDateTime) now = g_date_time_new_now_utc();
        g_autofree char *text = g_date_time_format(now, "%Y-%m-%dT%H:%M:%S");
        g_string_append_printf(line, "%s.%06dZ ", text, g_date_time_get_microsecond(now));
    }
    if (guest_name)
        g_string_append_printf(line, "%s ", guest_name);
    g_string_append_printf(line, "%s: %s", g_get_prgname() ? g_get_prgname() : "rhea-system-x86_64", kind);
    g_string_append_vprintf(line, fmt, ap);
    g_string_append_c(line, '\n');
    fputs(line->str, stderr);
    fflush(stderr);
    g_string_free(line, TRUE);
}

void report_error(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report("", fmt, ap);
    va_end(ap);
}

void report_warning(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report("warning: ", fmt, ap);
    va_end(ap);
}

void report_info(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    report("info: ", fmt, ap);
    va_end(ap);
}
