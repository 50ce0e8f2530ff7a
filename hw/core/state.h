/*
 * A device's saved state as JSON, by the STATE_* tables of its class and the ancestors: for tests and debugging, and the form in which
 * snapshots carry it.
 *
 *   {"class": {"version": 1, "field": 5, "array": [1, 2], "bytes": "00ff", "timer": 1000 (ns, -1: not armed), "struct": {...}}, ...}
 *
 * Main domain and the device's domain locked, machine stopped.
 */
#pragma once

#include <hw/device.h>
#include <json-c/json.h>

json_object *device_state_save(Device *dev); /* (owned) */
/*
 * Fields that the saved version did not have keep their values; those that are missing or of another shape are refused with a
 * sentence, as are versions newer than the class's. After a failure the device must be reset or thrown away.
 */
bool device_state_load(Device *dev, json_object *state, GError **err) WARN_UNUSED;
