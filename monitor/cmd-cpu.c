/* QMP commands about processor models and iothreads. */
#include "accel/x86/cpu.h"
#include "accel/x86/models.h"
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"
#include "system/iothread.h"

json_object *qmp_query_cpu_definitions(QmpContext *ctx, json_object *args, GError **err)
{
    return x86_cpu_definitions(ctx->machine);
}

json_object *qmp_query_cpu_model_expansion(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *model;
    json_object_object_get_ex(args, "model", &model);
    return x86_cpu_expand_model(ctx->machine, arg_str(args, "type"), model, err);
}

json_object *qmp_query_iothreads(QmpContext *ctx, json_object *args, GError **err)
{
    return iothreads_query();
}
