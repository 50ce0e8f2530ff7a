/* memory-backend-* objects: host memory that a machine or a memory device shows to the guest. */
#pragma once

#include <mem/memory.h>
#include <qom/object.h>

#define TYPE_MEMORY_BACKEND "memory-backend"

/* The object's memory: borrowed, valid while a reference to the object is held. */
RamBlock *memory_backend_ram(Object *backend);
/* A back end serves one user: refused with a sentence when it has one already. Given back by memory_backend_release(). */
bool memory_backend_claim(Object *backend, GError **err) WARN_UNUSED;
void memory_backend_release(Object *backend);
/* query-memdev: [{"id","size","merge","dump","prealloc","share","host-nodes","policy"}] (owned) */
json_object *memory_backends_query(void);
