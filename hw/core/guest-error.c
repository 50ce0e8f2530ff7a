/*
 * Guest misbehaviour. Counting costs nothing worth mentioning; lines are written only when asked for, and at most a few a
 * second, because a guest can cause millions.
 */
#include <hw/device.h>

#include "hw/core/device-class.h"

enum { LINES_PER_SECOND = 5 };

static bool log_lines;

void guest_error_set_log(bool on)
{
    log_lines = on;
}

static bool line_allowed(void)
{
    static GMutex lock;
    static gint64 second;
    static unsigned lines;
    gint64 now = g_get_monotonic_time() / G_USEC_PER_SEC;
    g_mutex_lock(&lock);
    if (now != second) {
        second = now;
        lines = 0;
    }
    bool allowed = lines++ < LINES_PER_SECOND;
    g_mutex_unlock(&lock);
    return allowed;
}

void guest_error(Device *dev, const char *fmt, ...)
{
    __atomic_fetch_add(&dev->guest_errors, 1, __ATOMIC_RELAXED);
    if (!log_lines || !line_allowed())
        return;
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    report_info("guest error: %s%s%s: %s", dev->obj.klass->name, dev->id_str ? " " : "", dev->id_str ? dev->id_str : "",
                text);
}
