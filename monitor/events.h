/*
 * Events to every QMP client that finished its negotiation.
 */
#pragma once

#include <rhea/base.h>

typedef struct json_object json_object;

/*
 * Sends {"event": name, "data": data, "timestamp": …}. data is taken and may be NULL. Any thread, any locks: the
 * event is queued and written by the main loop in order. Events that QEMU limits (one a second: RTC_CHANGE, WATCHDOG, BALLOON_CHANGE,
 * VSERPORT_CHANGE per id, ...) are merged here: the first goes out at once, the last of a burst when the second is over.
 * name is kept by pointer: a string constant.
 */
void qmp_event_emit(const char *name, json_object *data);
