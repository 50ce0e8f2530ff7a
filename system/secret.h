/* secret objects: passwords and keys for other options. */
#pragma once

#include <qom/object.h>

#define TYPE_SECRET "secret"

/*
 * The decoded bytes of the secret with this id: borrowed, valid while the object exists. A zero byte follows them, so that text can be
 * used as a string.
 */
const uint8_t *secret_find(const char *id, size_t *len, GError **err) WARN_UNUSED;
