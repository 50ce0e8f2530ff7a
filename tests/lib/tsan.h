/*
 * For runs under the thread sanitizer: it does not see GLib's own locks, because GLib is not built with it. Use with
 *   meson setup build-tsan -Db_sanitize=thread -Db_lundef=false \
 *       -Dc_args="-include $PWD/tests/lib/tsan.h $(pkg-config --cflags glib-2.0)"
 */
#pragma once

#ifdef __SANITIZE_THREAD__

#include <glib.h>
#include <sanitizer/tsan_interface.h>

static inline void tsan_mutex_lock(GMutex *m) { (g_mutex_lock)(m); __tsan_acquire(m); }
static inline void tsan_mutex_unlock(GMutex *m) { __tsan_release(m); (g_mutex_unlock)(m); }
static inline void tsan_cond_wait(GCond *c, GMutex *m) { __tsan_release(m); (g_cond_wait)(c, m); __tsan_acquire(m); }
#undef g_mutex_lock
#undef g_mutex_unlock
#undef g_cond_wait
#define g_mutex_lock(m) tsan_mutex_lock(m)
#define g_mutex_unlock(m) tsan_mutex_unlock(m)
#define g_cond_wait(c, m) tsan_cond_wait(c, m)
#endif
