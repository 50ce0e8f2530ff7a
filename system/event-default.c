/* Programs without a monitor (unit tests, tools) drop events. */
#include <json-c/json.h>

#include "monitor/events.h"

__attribute__((weak)) void qmp_event_emit(const char *name, json_object *data)
{
    json_object_put(data);
}
