/* One request to one reply: shape of the request, look-up, argument check, call. */
#include <string.h>

#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"

/* What query-version and the greeting say: the QMP level that clients adapt to, and who we are. */
#define QMP_MAJOR 8
#define QMP_MINOR 2
#define QMP_MICRO 0

json_object *qmp_query_version(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *version = json_object_new_object(), *qemu = json_object_new_object();
    put_int(qemu, "micro", QMP_MICRO);
    put_int(qemu, "minor", QMP_MINOR);
    put_int(qemu, "major", QMP_MAJOR);
    put(version, "qemu", qemu);
    put_str(version, "package", "Rhea " RHEA_VERSION);
    return version;
}

json_object *qmp_greeting(void)
{
    json_object *greeting = json_object_new_object(), *body = json_object_new_object(), *caps = json_object_new_array();
    json_object_array_add(caps, json_object_new_string("oob"));
    put(body, "version", qmp_query_version(NULL, NULL, NULL));
    put(body, "capabilities", caps);
    put(greeting, "QMP", body);
    return greeting;
}

json_object *qmp_error_object(const GError *error)
{
    static const char *const classes[] = {
        [RHEA_ERROR_GENERIC] = "GenericError", [RHEA_ERROR_COMMAND_NOT_FOUND] = "CommandNotFound",
        [RHEA_ERROR_DEVICE_NOT_FOUND] = "DeviceNotFound", [RHEA_ERROR_DEVICE_NOT_ACTIVE] = "DeviceNotActive",
        [RHEA_ERROR_KVM_MISSING_CAP] = "KVMMissingCap",
    };
    json_object *reply = json_object_new_object(), *body = json_object_new_object();
    bool ours = error->domain == RHEA_ERROR && (unsigned)error->code < G_N_ELEMENTS(classes);
    put_str(body, "class", classes[ours ? error->code : RHEA_ERROR_GENERIC]);
    put_str(body, "desc", error->message);
    put(reply, "error", body);
    return reply;
}

typedef struct Request {
    const char *name;
    json_object *args; /* owned */
    bool oob;
} Request;

static bool parse_request(json_object *request, Request *r, GError **err)
{
    json_object *execute = NULL, *exec_oob = NULL;
    if (!json_object_is_type(request, json_type_object)) {
        error_set(err, "QMP input must be a JSON object");
        return false;
    }
    json_object_object_foreach(request, key, value) {
        if (!strcmp(key, "execute")) {
            execute = value;
        } else if (!strcmp(key, "exec-oob")) {
            exec_oob = value;
        } else if (!strcmp(key, "arguments")) {
            if (!json_object_is_type(value, json_type_object)) {
                error_set(err, "QMP input member 'arguments' must be an object");
                return false;
            }
            r->args = value;
            continue;
        } else if (!strcmp(key, "id")) {
            continue;
        } else {
            error_set(err, "QMP input member '%s' is unexpected", key);
            return false;
        }
        if (!json_object_is_type(value, json_type_string)) {
            error_set(err, "QMP input member '%s' must be a string", key);
            return false;
        }
    }
    if (!execute == !exec_oob) {
        error_set(err, execute ? "QMP input members 'execute' and 'exec-oob' exclude each other"
                               : "QMP input lacks member 'execute'");
        return false;
    }
    r->oob = exec_oob;
    r->name = json_object_get_string(execute ? execute : exec_oob);
    r->args = r->args ? json_object_get(r->args) : json_object_new_object();
    return true;
}

static const SchemaCommand *look_up(const Request *r, bool negotiated, bool oob_enabled, GError **err)
{
    bool handshake = !strcmp(r->name, "qmp_capabilities");
    if (!negotiated && !handshake) {
        error_set_class(err, RHEA_ERROR_COMMAND_NOT_FOUND, "Expecting capabilities negotiation with 'qmp_capabilities'");
        return NULL;
    }
    if (negotiated && handshake) {
        error_set_class(err, RHEA_ERROR_COMMAND_NOT_FOUND, "Capabilities negotiation is complete already");
        return NULL;
    }
    const SchemaCommand *command = schema_find_command(r->name);
    if (!command) {
        error_set_class(err, RHEA_ERROR_COMMAND_NOT_FOUND, "The command %s has not been found", r->name);
        return NULL;
    }
    if (r->oob && !oob_enabled) {
        error_set(err, "exec-oob needs the capability 'oob', enabled by qmp_capabilities");
        return NULL;
    }
    if (r->oob && !command->oob) {
        error_set(err, "The command %s can't be executed out of band", r->name);
        return NULL;
    }
    return command;
}

static json_object *execute(QmpContext *ctx, const Request *r, bool negotiated, bool oob_enabled, GError **err)
{
    const SchemaCommand *command = look_up(r, negotiated, oob_enabled, err);
    if (!command || !schema_check(command->args, r->args, err))
        return NULL;
    GError *error = NULL;
    json_object *result = command->func(ctx, r->args, &error);
    if (error) {
        json_object_put(result);
        g_propagate_error(err, error);
        return NULL;
    }
    return result ? result : json_object_new_object();
}

json_object *qmp_dispatch(QmpContext *ctx, json_object *request, bool negotiated, bool *now_negotiated, bool oob_enabled)
{
    Request r = { 0 };
    GError *error = NULL;
    json_object *reply, *result = NULL, *id;
    if (parse_request(request, &r, &error))
        result = execute(ctx, &r, negotiated, oob_enabled, &error);
    else
        r.args = NULL;
    if (error) {
        reply = qmp_error_object(error);
        g_error_free(error);
    } else {
        reply = json_object_new_object();
        put(reply, "return", result);
        if (now_negotiated && !strcmp(r.name, "qmp_capabilities"))
            *now_negotiated = true;
    }
    if (json_object_is_type(request, json_type_object) && json_object_object_get_ex(request, "id", &id))
        put(reply, "id", json_object_get(id));
    json_object_put(r.args);
    return reply;
}

/* ---- arguments ---- */

const char *arg_str(json_object *args, const char *name)
{
    json_object *value;
    return json_object_object_get_ex(args, name, &value) && value ? json_object_get_string(value) : NULL;
}

bool arg_bool(json_object *args, const char *name, bool fallback)
{
    json_object *value;
    return json_object_object_get_ex(args, name, &value) ? json_object_get_boolean(value) : fallback;
}

int64_t arg_int(json_object *args, const char *name, int64_t fallback)
{
    json_object *value;
    return json_object_object_get_ex(args, name, &value) ? json_object_get_int64(value) : fallback;
}

uint64_t arg_uint(json_object *args, const char *name, uint64_t fallback)
{
    json_object *value;
    return json_object_object_get_ex(args, name, &value) ? json_object_get_uint64(value) : fallback;
}

bool arg_has(json_object *args, const char *name)
{
    return json_object_object_get_ex(args, name, NULL);
}
