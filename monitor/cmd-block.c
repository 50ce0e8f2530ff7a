/* QMP commands about disks and block nodes. */
#include <block/block.h>
#include <string.h>

#include "block/block-int.h"
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"

json_object *qmp_query_block(QmpContext *ctx, json_object *args, GError **err)
{
    return block_query();
}

json_object *qmp_query_blockstats(QmpContext *ctx, json_object *args, GError **err)
{
    return block_query_stats(arg_bool(args, "query-nodes", false));
}

json_object *qmp_query_named_block_nodes(QmpContext *ctx, json_object *args, GError **err)
{
    return block_query_named_nodes(arg_bool(args, "flat", false));
}

json_object *qmp_blockdev_add(QmpContext *ctx, json_object *args, GError **err)
{
    if (!arg_has(args, "node-name")) {
        error_set(err, "'node-name' must be specified for the root node");
        return NULL;
    }
    return blockdev_add(args, err) ? json_object_new_object() : NULL;
}

json_object *qmp_blockdev_del(QmpContext *ctx, json_object *args, GError **err)
{
    return blockdev_del(arg_str(args, "node-name"), err) ? json_object_new_object() : NULL;
}

json_object *qmp_block_resize(QmpContext *ctx, json_object *args, GError **err)
{
    const char *device = arg_str(args, "device"), *node = arg_str(args, "node-name");
    if (!device == !node) {
        error_set(err, "Exactly one of 'device' and 'node-name' must be given");
        return NULL;
    }
    return block_resize(device, node, arg_uint(args, "size", 0), err) ? json_object_new_object() : NULL;
}

/* ---- query-qmp-schema: what blockdev-add takes is what the registered drivers say ---- */

static void add_member(json_object *members, const char *name, const char *type, bool required)
{
    json_object *member = json_object_new_object();
    put_str(member, "name", name);
    put_str(member, "type", type);
    if (!required)
        put(member, "default", NULL);
    json_object_array_add(members, member);
}

static json_object *new_entity(const char *name, const char *meta)
{
    json_object *entity = json_object_new_object();
    put_str(entity, "name", name);
    put_str(entity, "meta-type", meta);
    return entity;
}

static void describe_enum(json_object *entities, const char *name, const char *const *names)
{
    json_object *entity = new_entity(name, "enum"), *values = json_object_new_array(), *members = json_object_new_array();
    for (; *names; names++) {
        json_object *member = json_object_new_object();
        put_str(member, "name", *names);
        json_object_array_add(members, member);
        json_object_array_add(values, json_object_new_string(*names));
    }
    put(entity, "members", members);
    put(entity, "values", values);
    json_object_array_add(entities, entity);
}

/* The type's name of an option; an enum's is added to the entities. (owned) */
static char *option_type(json_object *entities, const BlockDriver *driver, const BlockOption *option)
{
    switch (option->kind) {
    case BLOCK_OPT_BOOL:
        return g_strdup("bool");
    case BLOCK_OPT_SIZE:
    case BLOCK_OPT_UINT:
        return g_strdup("int");
    case BLOCK_OPT_NODE:
        return g_strdup("any");
    case BLOCK_OPT_ENUM: {
        char *name = g_strdup_printf("BlockdevOptions-%s-%s", driver->name, option->name);
        describe_enum(entities, name, option->names);
        return name;
    }
    default:
        return g_strdup("str");
    }
}

static void describe_driver(json_object *entities, const char *name, const BlockDriver *driver)
{
    json_object *entity = new_entity(name, "object"), *members = json_object_new_array();
    for (const BlockOption *o = driver->options; o && o->name; o++) {
        if (strchr(o->name, '.'))
            continue; /* nested: a member object */
        g_autofree char *type = option_type(entities, driver, o);
        add_member(members, o->name, type, o->required);
    }
    put(entity, "members", members);
    json_object_array_add(entities, entity);
}

void introspect_blockdev_add(json_object *entity, json_object *entities)
{
    json_object *variants = json_object_new_array();
    for (unsigned i = 0; block_graph.drivers && i < block_graph.drivers->len; i++) {
        const BlockDriver *driver = block_graph.drivers->pdata[i];
        g_autofree char *name = g_strconcat("BlockdevOptions-", driver->name, NULL);
        json_object *variant = json_object_new_object();
        put_str(variant, "case", driver->name);
        put_str(variant, "type", name);
        json_object_array_add(variants, variant);
        describe_driver(entities, name, driver);
    }
    put_str(entity, "tag", "driver");
    put(entity, "variants", variants);
}

void introspect_block_drivers(json_object *entity, json_object *entities)
{
    json_object *values, *members;
    json_object_object_get_ex(entity, "values", &values);
    json_object_object_get_ex(entity, "members", &members);
    for (unsigned i = 0; block_graph.drivers && i < block_graph.drivers->len; i++) {
        const BlockDriver *driver = block_graph.drivers->pdata[i];
        json_object *member = json_object_new_object();
        put_str(member, "name", driver->name);
        json_object_array_add(members, member);
        json_object_array_add(values, json_object_new_string(driver->name));
    }
}
