/*
 * memory-backend-ram, -memfd and -file: objects that provide guest RAM (-object, -machine memory-backend=).
 */
#pragma once

#include <mem/memory.h>

#define TYPE_MEMORY_BACKEND "memory-backend"

/*
 * The backend's memory for its one user. size is what the user needs: a backend of another size, or one in use, is refused with
 * a sentence. (owned: a reference)
 */
RamBlock *memory_backend_take(Object *backend, Object *user, uint64_t size, GError **err) WARN_UNUSED;
uint64_t memory_backend_size(const Object *backend); /* bytes */
