/*
 * Properties as GObject parameters: each row of a class's table becomes a GParamSpec of the matching type, so that GObject's
 * notification and generic tools work. Values that arrive as GValue take the same checks as JSON ones.
 */
#include "qom/internal.h"

#include <string.h>

static GQuark prop_quark(void)
{
    static GQuark quark;
    return quark ? quark : (quark = g_quark_from_static_string("rhea-property"));
}

/* GObject takes letters, digits, - and _ and treats the last two alike. */
static const char *param_name(GObjectClass *gclass, const Property *prop)
{
    g_autofree char *name = g_strdup(prop->name);
    g_strcanon(name, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-", '-');
    if (!g_ascii_isalpha(*name)) {
        char *prefixed = g_strconcat("p-", name, NULL);
        g_free(name);
        name = prefixed;
    }
    while (g_object_class_find_property(gclass, name)) {
        const GParamSpec *other = g_object_class_find_property(gclass, name);
        const Property *theirs = g_param_spec_get_qdata((GParamSpec *)other, prop_quark());
        if (other->owner_type != G_OBJECT_CLASS_TYPE(gclass) && theirs && !strcmp(theirs->name, prop->name))
            break; /* redefines the ancestor's */
        char *longer = g_strconcat(name, "-x", NULL);
        g_free(name);
        name = longer;
    }
    return g_intern_string(name);
}

/* GObject wants the default inside the range; ours may lie outside ("0: as many as vCPUs"). */
static GParamSpec *param_spec_number(const char *name, const Property *prop, GParamFlags flags)
{
    const char *help = prop->help ? prop->help : "";
    bool whole = !prop->min && !prop->max;
    static const uint64_t tops[] = {
        [PROP_KIND_U8] = UINT8_MAX, [PROP_KIND_U16] = UINT16_MAX, [PROP_KIND_U32] = UINT32_MAX, [PROP_KIND_U64] = UINT64_MAX,
        [PROP_KIND_I32] = INT32_MAX, [PROP_KIND_I64] = INT64_MAX, [PROP_KIND_SIZE] = UINT64_MAX,
    };
    uint64_t def = prop->def;
    if (prop->kind == PROP_KIND_I32 || prop->kind == PROP_KIND_I64 || prop->kind == PROP_KIND_PCI_ADDR) {
        bool wide = prop->kind == PROP_KIND_I64;
        int64_t low = whole ? (wide ? INT64_MIN : INT32_MIN) : (int64_t)prop->min;
        int64_t high = whole ? (int64_t)(wide ? INT64_MAX : INT32_MAX) : (int64_t)prop->max;
        low = MIN(low, (int64_t)def);
        high = MAX(high, (int64_t)def);
        return wide ? g_param_spec_int64(name, NULL, help, low, high, (gint64)def, flags)
                    : g_param_spec_int(name, NULL, help, (gint)low, (gint)high, (gint)def, flags);
    }
    uint64_t low = MIN(prop->min, def), high = MAX(whole ? tops[prop->kind] : prop->max, def);
    if (prop->kind == PROP_KIND_U64 || prop->kind == PROP_KIND_SIZE)
        return g_param_spec_uint64(name, NULL, help, low, high, def, flags);
    return g_param_spec_uint(name, NULL, help, (guint)low, (guint)high, (guint)def, flags);
}

static GParamSpec *param_spec_of(const char *name, const Property *prop)
{
    GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;
    if (!(prop->flags & PROP_READONLY))
        flags |= G_PARAM_WRITABLE;
    const char *help = prop->help ? prop->help : "";
    switch (prop->kind) {
    case PROP_KIND_BOOL: case PROP_KIND_BIT:
        return g_param_spec_boolean(name, NULL, help, !!prop->def, flags);
    case PROP_KIND_U8: case PROP_KIND_U16: case PROP_KIND_U32: case PROP_KIND_U64: case PROP_KIND_I32: case PROP_KIND_I64:
    case PROP_KIND_SIZE: case PROP_KIND_PCI_ADDR:
        return param_spec_number(name, prop, flags);
    case PROP_KIND_LINK:
        return g_param_spec_object(name, NULL, help, G_TYPE_OBJECT, flags);
    case PROP_KIND_ENUM:
        return g_param_spec_string(name, NULL, help, prop->names[prop->def], flags);
    default:
        return g_param_spec_string(name, NULL, help, prop->def_str, flags);
    }
}

void param_install_all(GObjectClass *gclass, ClassEntry *entry)
{
    guint id = 1;
    for (const Property *prop = entry->klass->props; prop && prop->name; prop++) {
        GParamSpec *spec = param_spec_of(param_name(gclass, prop), prop);
        g_param_spec_set_qdata(spec, prop_quark(), (void *)prop);
        g_object_class_install_property(gclass, id++, spec);
    }
}

static json_object *value_to_json(const GValue *value)
{
    switch (G_VALUE_TYPE(value)) {
    case G_TYPE_BOOLEAN: return json_object_new_boolean(g_value_get_boolean(value));
    case G_TYPE_UINT: return json_object_new_int64(g_value_get_uint(value));
    case G_TYPE_INT: return json_object_new_int64(g_value_get_int(value));
    case G_TYPE_INT64: return json_object_new_int64(g_value_get_int64(value));
    case G_TYPE_UINT64: return json_object_new_uint64(g_value_get_uint64(value));
    case G_TYPE_STRING: return g_value_get_string(value) ? json_object_new_string(g_value_get_string(value)) : NULL;
    default: return NULL;
    }
}

/* GObject's setter has no error: what the checks refuse is logged and leaves the value as it was. */
void param_set(GObject *gobject, guint id, const GValue *value, GParamSpec *pspec)
{
    const Property *prop = g_param_spec_get_qdata(pspec, prop_quark());
    g_autoptr(GError) err = NULL;
    bool ok;
    if (G_VALUE_HOLDS_OBJECT(value)) {
        ok = object_set_link(OBJECT(gobject), prop->name, g_value_get_object(value), &err);
    } else {
        json_object *json = value_to_json(value);
        ok = object_set_json(OBJECT(gobject), prop->name, json, &err);
        json_object_put(json);
    }
    if (!ok)
        g_warning("%s", err->message);
}

void param_get(GObject *gobject, guint id, GValue *value, GParamSpec *pspec)
{
    const Property *prop = g_param_spec_get_qdata(pspec, prop_quark());
    if (prop->kind == PROP_KIND_LINK && !prop->get) {
        g_value_set_object(value, *(GObject **)((char *)gobject + prop->offset));
        return;
    }
    g_autoptr(GError) err = NULL;
    json_object *json = property_load_json(OBJECT(gobject), prop, &err);
    if (err) {
        g_warning("%s", err->message);
        return;
    }
    switch (G_VALUE_TYPE(value)) {
    case G_TYPE_BOOLEAN: g_value_set_boolean(value, json_object_get_boolean(json)); break;
    case G_TYPE_UINT: g_value_set_uint(value, (guint)json_object_get_uint64(json)); break;
    case G_TYPE_INT: g_value_set_int(value, json_object_get_int(json)); break;
    case G_TYPE_INT64: g_value_set_int64(value, json_object_get_int64(json)); break;
    case G_TYPE_UINT64: g_value_set_uint64(value, json_object_get_uint64(json)); break;
    case G_TYPE_STRING: g_value_set_string(value, json ? json_object_get_string(json) : NULL); break;
    default: break;
    }
    json_object_put(json);
}

/* Only looked up when somebody listens: most properties are set long before anybody could. */
void param_notify(Object *obj, const Property *prop)
{
    guint signal = g_signal_lookup("notify", G_TYPE_OBJECT);
    if (!g_signal_handler_find(obj, G_SIGNAL_MATCH_ID, signal, 0, NULL, NULL, NULL))
        return;
    guint n;
    g_autofree GParamSpec **specs = g_object_class_list_properties(G_OBJECT_GET_CLASS(obj), &n);
    for (guint i = 0; i < n; i++)
        if (g_param_spec_get_qdata(specs[i], prop_quark()) == prop)
            g_object_notify_by_pspec(G_OBJECT(obj), specs[i]);
}
