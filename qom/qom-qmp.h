/*
 * The QMP commands about objects and their classes, as plain functions from values to json. Main domain locked.
 * Every json_object returned is owned by the caller; NULL with err on failure.
 */
#pragma once

#include <json-c/json.h>
#include <qom/object.h>

/* qom-list: [{"name", "type"}]; children are child<TYPE>, links link<TYPE>. DeviceNotFound for an unknown path. */
json_object *qom_qmp_list(const char *path, GError **err) WARN_UNUSED;
json_object *qom_qmp_get(const char *path, const char *property, GError **err) WARN_UNUSED;
bool qom_qmp_set(const char *path, const char *property, json_object *value, GError **err) WARN_UNUSED;
/* qom-list-types: [{"name", "abstract"?, "parent"?}], sorted; implements NULL: all; aliases are listed like classes. */
json_object *qom_qmp_list_types(const char *implements, bool abstract);
/*
 * qom-list-properties: [{"name", "type", "description"?, "default-value"?}]. GenericError for an unknown type, because
 * libvirt 9.0 does not survive DeviceNotFound here.
 */
json_object *qom_qmp_list_properties(const char *type, GError **err) WARN_UNUSED;
/* device-list-properties: the same for a device that can be made; DeviceNotFound for an unknown type, which is how libvirt probes. */
json_object *qom_qmp_device_list_properties(const char *type, GError **err) WARN_UNUSED;
