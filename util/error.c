/* The error domain. See rhea/base.h. */
#include <rhea/base.h>

#include <string.h>

G_DEFINE_QUARK(rhea-error-quark, rhea_error)

void error_set_class(GError **err, RheaErrorCode code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error_literal(err, RHEA_ERROR, code, text);
}

void error_set(GError **err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error_literal(err, RHEA_ERROR, RHEA_ERROR_GENERIC, text);
}

void error_set_errno(GError **err, int errnum, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    g_set_error(err, RHEA_ERROR, RHEA_ERROR_GENERIC, "%s: %s", text, g_strerror(errnum));
}
