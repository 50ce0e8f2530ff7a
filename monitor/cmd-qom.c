/* QMP commands about objects, devices and their classes. */
#include <string.h>

#include <hw/device.h>

#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"
#include "qom/help.h"
#include "qom/qom-qmp.h"

json_object *qmp_qom_list(QmpContext *ctx, json_object *args, GError **err)
{
    return qom_qmp_list(arg_str(args, "path"), err);
}

json_object *qmp_qom_get(QmpContext *ctx, json_object *args, GError **err)
{
    return qom_qmp_get(arg_str(args, "path"), arg_str(args, "property"), err);
}

json_object *qmp_qom_set(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *value = NULL;
    json_object_object_get_ex(args, "value", &value);
    return qom_qmp_set(arg_str(args, "path"), arg_str(args, "property"), value, err) ? json_object_new_object() : NULL;
}

json_object *qmp_qom_list_types(QmpContext *ctx, json_object *args, GError **err)
{
    return qom_qmp_list_types(arg_str(args, "implements"), arg_bool(args, "abstract", false));
}

json_object *qmp_qom_list_properties(QmpContext *ctx, json_object *args, GError **err)
{
    return qom_qmp_list_properties(arg_str(args, "typename"), err);
}

json_object *qmp_device_list_properties(QmpContext *ctx, json_object *args, GError **err)
{
    return qom_qmp_device_list_properties(arg_str(args, "typename"), err);
}

json_object *qmp_device_add(QmpContext *ctx, json_object *args, GError **err)
{
    return device_add(ctx->machine, args, err) ? json_object_new_object() : NULL;
}

json_object *qmp_device_del(QmpContext *ctx, json_object *args, GError **err)
{
    return device_del(ctx->machine, arg_str(args, "id"), err) ? json_object_new_object() : NULL;
}

json_object *qmp_object_add(QmpContext *ctx, json_object *args, GError **err)
{
    return user_object_add(args, err) ? json_object_new_object() : NULL;
}

json_object *qmp_object_del(QmpContext *ctx, json_object *args, GError **err)
{
    return user_object_del(arg_str(args, "id"), err) ? json_object_new_object() : NULL;
}

/* ---- query-qmp-schema: what object-add takes is what the registered classes say ---- */

static const char *wire_type(const Property *prop)
{
    switch (prop->kind) {
    case PROP_KIND_BOOL:
    case PROP_KIND_BIT:
        return "bool";
    case PROP_KIND_U8:
    case PROP_KIND_U16:
    case PROP_KIND_U32:
    case PROP_KIND_U64:
    case PROP_KIND_I32:
    case PROP_KIND_I64:
    case PROP_KIND_SIZE:
        return "int";
    case PROP_KIND_CUSTOM:
        return "any";
    default:
        return "str";
    }
}

static json_object *describe_class_options(const ObjectClass *klass, const char *name)
{
    json_object *entity = json_object_new_object(), *members = json_object_new_array();
    g_autoptr(GPtrArray) props = object_property_list(klass);
    put_str(entity, "name", name);
    put_str(entity, "meta-type", "object");
    for (unsigned i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];
        if (prop->flags & PROP_READONLY)
            continue;
        json_object *member = json_object_new_object();
        put_str(member, "name", prop->name);
        put_str(member, "type", wire_type(prop));
        if (!(prop->flags & PROP_REQUIRED))
            put(member, "default", NULL);
        json_object_array_add(members, member);
    }
    put(entity, "members", members);
    return entity;
}

void introspect_object_add(json_object *entity, json_object *entities)
{
    g_autoptr(GPtrArray) classes = object_class_list(NULL, false);
    json_object *variants = json_object_new_array();
    for (unsigned i = 0; i < classes->len; i++) {
        const ObjectClass *klass = classes->pdata[i];
        if (!user_object_class_ok(klass))
            continue;
        g_autofree char *name = g_strdup_printf("%s-properties", klass->name);
        json_object *variant = json_object_new_object();
        put_str(variant, "case", klass->name);
        put_str(variant, "type", name);
        json_object_array_add(variants, variant);
        json_object_array_add(entities, describe_class_options(klass, name));
    }
    put_str(entity, "tag", "qom-type");
    put(entity, "variants", variants);
}

void introspect_object_types(json_object *entity, json_object *entities)
{
    g_autoptr(GPtrArray) classes = object_class_list(NULL, false);
    json_object *values, *members;
    json_object_object_get_ex(entity, "values", &values);
    json_object_object_get_ex(entity, "members", &members);
    for (unsigned i = 0; i < classes->len; i++) {
        const ObjectClass *klass = classes->pdata[i];
        if (!user_object_class_ok(klass))
            continue;
        json_object *member = json_object_new_object();
        put_str(member, "name", klass->name);
        json_object_array_add(members, member);
        json_object_array_add(values, json_object_new_string(klass->name));
    }
}
