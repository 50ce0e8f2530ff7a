/* QMP commands about the process and the run state. */
#include <string.h>

#include "accel/accel.h"
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"
#include "qom/property-parse.h"
#include "system/cli.h"

json_object *qmp_query_status(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    put_str(info, "status", runstate_name(runstate_get(ctx->machine->run)));
    put_bool(info, "running", runstate_is_running(ctx->machine->run));
    return info;
}

json_object *qmp_query_name(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    if (ctx->machine->name)
        put_str(info, "name", ctx->machine->name);
    return info;
}

json_object *qmp_query_uuid(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    char text[37];
    format_uuid(ctx->machine->uuid, text);
    put_str(info, "UUID", text);
    return info;
}

json_object *qmp_query_kvm(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    Accel *accel = ctx->machine->accel;
    put_bool(info, "enabled", accel && !strcmp(accel_class(accel)->accel_name, "kvm"));
    put_bool(info, "present", accel_find("kvm") != NULL);
    return info;
}

json_object *qmp_query_target(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    put_str(info, "arch", "x86_64");
    return info;
}

static void add_named(json_object *list, const char *name)
{
    json_object *info = json_object_new_object();
    put_str(info, "name", name);
    json_object_array_add(list, info);
}

json_object *qmp_query_commands(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    for (unsigned i = 0; i < schema_nr_commands; i++)
        add_named(list, schema_commands[i].name);
    return list;
}

json_object *qmp_query_events(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    for (unsigned i = 0; i < schema_nr_events; i++)
        add_named(list, schema_events[i].name);
    return list;
}

json_object *qmp_query_qmp_schema(QmpContext *ctx, json_object *args, GError **err)
{
    return schema_introspect();
}

json_object *qmp_query_command_line_options(QmpContext *ctx, json_object *args, GError **err)
{
    const char *option = arg_str(args, "option");
    json_object *list = cli_describe_options(option);
    if (option && !json_object_array_length(list)) {
        json_object_put(list);
        error_set(err, "There is no option '%s' with parameters", option);
        return NULL;
    }
    return list;
}

json_object *qmp_stop(QmpContext *ctx, json_object *args, GError **err)
{
    machine_stop(ctx->machine, RUN_PAUSED);
    return NULL;
}

json_object *qmp_cont(QmpContext *ctx, json_object *args, GError **err)
{
    return machine_cont(ctx->machine, err) ? json_object_new_object() : NULL;
}

json_object *qmp_quit(QmpContext *ctx, json_object *args, GError **err)
{
    machine_request_shutdown(ctx->machine, CAUSE_HOST_QMP_QUIT);
    return NULL;
}

json_object *qmp_system_reset(QmpContext *ctx, json_object *args, GError **err)
{
    machine_request_reset(ctx->machine, CAUSE_HOST_QMP_SYSTEM_RESET);
    return NULL;
}

json_object *qmp_system_powerdown(QmpContext *ctx, json_object *args, GError **err)
{
    machine_request_powerdown(ctx->machine);
    return NULL;
}

json_object *qmp_inject_nmi(QmpContext *ctx, json_object *args, GError **err)
{
    Machine *machine = ctx->machine;
    if (!machine->nr_vcpus) {
        error_set(err, "This machine has no processor to interrupt");
        return NULL;
    }
    for (unsigned i = 0; i < machine->nr_vcpus; i++)
        vcpu_interrupt(machine->vcpus[i], VCPU_INT_NMI);
    return NULL;
}

/* Names in the order of the enums of system/runstate.h. */
static const char *const reboot_names[] = { "reset", "shutdown", NULL };
static const char *const shutdown_names[] = { "poweroff", "pause", NULL };
static const char *const panic_names[] = { "none", "pause", "shutdown", "exit-failure", NULL };

static int index_of(json_object *args, const char *key, const char *const *names, int now)
{
    const char *text = arg_str(args, key);
    for (int i = 0; text && names[i]; i++)
        if (!strcmp(names[i], text))
            return i;
    return now;
}

json_object *qmp_set_action(QmpContext *ctx, json_object *args, GError **err)
{
    RebootAction reboot;
    ShutdownAction shutdown;
    PanicAction panic;
    runstate_get_actions(ctx->machine->run, &reboot, &shutdown, &panic);
    reboot = index_of(args, "reboot", reboot_names, reboot);
    shutdown = index_of(args, "shutdown", shutdown_names, shutdown);
    panic = index_of(args, "panic", panic_names, panic);
    runstate_set_actions(ctx->machine->run, reboot, shutdown, panic);
    return NULL;
}

json_object *qmp_human_monitor_command(QmpContext *ctx, json_object *args, GError **err)
{
    QmpContext hmp = *ctx;
    if (arg_has(args, "cpu-index")) {
        int64_t index = arg_int(args, "cpu-index", 0);
        if (index >= ctx->machine->nr_vcpus) {
            error_set(err, "There is no CPU %" PRId64 ": this machine has %u", index, ctx->machine->nr_vcpus);
            return NULL;
        }
        hmp.cpu_index = index;
    }
    g_autofree char *text = hmp_run(&hmp, arg_str(args, "command-line"));
    return json_object_new_string(text);
}
