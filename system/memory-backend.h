/*
 * memory-backend-ram, -memfd and -file: objects that provide guest RAM (-object, -machine memory-backend=).
 */
#pragma once

#include <json-c/json.h>
#include <mem/memory.h>

#define TYPE_MEMORY_BACKEND "memory-backend"

/* The object's memory: borrowed, valid while a reference to the object is held. */
RamBlock *memory_backend_ram(const Object *backend);
uint64_t memory_backend_size(const Object *backend); /* bytes */
/*
 * The backend's memory for its one user. size is what the user needs: a backend of another size, or one in use, is refused with
 * a sentence. (owned: a reference)
 */
RamBlock *memory_backend_take(Object *backend, Object *user, uint64_t size, GError **err) WARN_UNUSED;
/* The user is done with it, apart from the reference to the memory, which is its own to drop. */
void memory_backend_release(Object *backend, Object *user);
/* query-memdev: [{"id","size","merge","dump","prealloc","share","host-nodes","policy"}] (owned) */
json_object *memory_backends_query(void);
