/*
 * The small vocabulary that every Rhea file shares: GLib, the error domain and
 * a few helpers for sizes and bit fields that come from a guest.
 */
#pragma once

#include <glib.h>
#include <glib-object.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WARN_UNUSED __attribute__((warn_unused_result))

/* Error domain of everything a user can cause. The codes are QMP's error classes and nothing else. */
#define RHEA_ERROR (rhea_error_quark())
GQuark rhea_error_quark(void);

typedef enum {
    RHEA_ERROR_GENERIC,           /* GenericError */
    RHEA_ERROR_COMMAND_NOT_FOUND, /* CommandNotFound */
    RHEA_ERROR_DEVICE_NOT_FOUND,  /* DeviceNotFound */
    RHEA_ERROR_DEVICE_NOT_ACTIVE, /* DeviceNotActive */
    RHEA_ERROR_KVM_MISSING_CAP,   /* KVMMissingCap */
} RheaErrorCode;

/* Sets a GenericError; the message is one phrase that names the object and the value, without newline. */
void error_set(GError **err, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* The same with another QMP error class. */
void error_set_class(GError **err, RheaErrorCode code, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/* "…: <strerror(errnum)>" appended to the phrase; errnum is positive. */
void error_set_errno(GError **err, int errnum, const char *fmt, ...) G_GNUC_PRINTF(3, 4);

/*
 * The registered name nearest to `given` (edit distance), for "did you mean" sentences.
 * candidates is NULL-terminated; NULL is returned when nothing is close. (borrowed from candidates)
 */
const char *nearest_name(const char *given, const char *const *candidates);

/* A line for the user on stderr, "rhea-system-x86_64: " in front; with `-msg timestamp=on` a time stamp too. */
void report_error(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void report_warning(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void report_info(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

#define ROUND_UP_TO(x, pow2) (((x) + ((pow2) - 1)) & ~((__typeof__(x))(pow2) - 1))
#define ROUND_DOWN_TO(x, pow2) ((x) & ~((__typeof__(x))(pow2) - 1))
#define IS_ALIGNED(x, pow2) (((x) & ((__typeof__(x))(pow2) - 1)) == 0)
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

#define NS_PER_SEC 1000000000ll

/* Little-endian loads and stores at any alignment. */
static inline uint16_t ld16(const void *p) { uint16_t v; __builtin_memcpy(&v, p, 2); return v; }
static inline uint32_t ld32(const void *p) { uint32_t v; __builtin_memcpy(&v, p, 4); return v; }
static inline uint64_t ld64(const void *p) { uint64_t v; __builtin_memcpy(&v, p, 8); return v; }
static inline void st16(void *p, uint16_t v) { __builtin_memcpy(p, &v, 2); }
static inline void st32(void *p, uint32_t v) { __builtin_memcpy(p, &v, 4); }
static inline void st64(void *p, uint64_t v) { __builtin_memcpy(p, &v, 8); }

/* All ones in the low `bytes` bytes (1..8). */
static inline uint64_t mask_bytes(unsigned bytes) { return bytes >= 8 ? UINT64_MAX : (1ull << (bytes * 8)) - 1; }
