/* QMP commands about things that this emulator has none of, which clients ask for nevertheless. */
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"

json_object *qmp_query_migrate_capabilities(QmpContext *ctx, json_object *args, GError **err)
{
    return json_object_new_array();
}

json_object *qmp_query_tpm_models(QmpContext *ctx, json_object *args, GError **err)
{
    return json_object_new_array();
}

json_object *qmp_query_tpm_types(QmpContext *ctx, json_object *args, GError **err)
{
    return json_object_new_array();
}

json_object *qmp_query_jobs(QmpContext *ctx, json_object *args, GError **err)
{
    return json_object_new_array();
}

static void no_balloon(GError **err)
{
    error_set_class(err, RHEA_ERROR_DEVICE_NOT_ACTIVE, "No balloon device has been activated");
}

json_object *qmp_query_balloon(QmpContext *ctx, json_object *args, GError **err)
{
    no_balloon(err);
    return NULL;
}

json_object *qmp_balloon(QmpContext *ctx, json_object *args, GError **err)
{
    no_balloon(err);
    return NULL;
}
