/* iothread objects, the side of QMP. */
#pragma once

#include <json-c/json.h>
#include <rhea/iothread.h>

/* query-iothreads: [{"id","thread-id","poll-max-ns","poll-grow","poll-shrink"}] (owned) */
json_object *iothreads_query(void);
