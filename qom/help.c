/* Help texts, all made from the class tables. */
#include "qom/help.h"

#include <string.h>

#include "qom/internal.h"
#include "qom/property-parse.h"

const char *property_type_name(const Property *prop)
{
    static const char *const names[] = {
        [PROP_KIND_BOOL] = "bool", [PROP_KIND_ONOFF] = "OnOffAuto", [PROP_KIND_U8] = "uint8", [PROP_KIND_U16] = "uint16",
        [PROP_KIND_U32] = "uint32", [PROP_KIND_U64] = "uint64", [PROP_KIND_I32] = "int32", [PROP_KIND_I64] = "int64",
        [PROP_KIND_SIZE] = "size", [PROP_KIND_STR] = "str", [PROP_KIND_ENUM] = "str", [PROP_KIND_DISK] = "str",
        [PROP_KIND_CHARDEV] = "str", [PROP_KIND_NETDEV] = "str", [PROP_KIND_PCI_ADDR] = "int32", [PROP_KIND_MAC] = "str",
        [PROP_KIND_UUID] = "str", [PROP_KIND_BIT] = "bool", [PROP_KIND_CUSTOM] = "any",
    };
    if (prop->kind == PROP_KIND_LINK) {
        g_autofree char *link = g_strdup_printf("link<%s>", prop->type);
        return g_intern_string(link);
    }
    return prop->type ? prop->type : names[prop->kind];
}

json_object *property_default_json(const Property *prop)
{
    switch (prop->kind) {
    case PROP_KIND_CUSTOM: case PROP_KIND_LINK: case PROP_KIND_DISK: case PROP_KIND_CHARDEV: case PROP_KIND_NETDEV:
        return NULL;
    case PROP_KIND_STR: case PROP_KIND_MAC: case PROP_KIND_UUID:
        return prop->def_str ? json_object_new_string(prop->def_str) : NULL;
    default:
        if (prop->flags & (PROP_REQUIRED | PROP_READONLY))
            return NULL;
        return property_number_json(prop, prop->def);
    }
}

char *property_help_line(const Property *prop)
{
    GString *line = g_string_new(NULL);
    g_autofree char *left = g_strdup_printf("%s=<%s>", prop->name, property_type_name(prop));
    g_string_append_printf(line, "%-22s - %s", left, prop->help ? prop->help : "");
    if (prop->kind == PROP_KIND_ENUM) {
        g_autofree char *names = g_strjoinv("/", (char **)prop->names);
        g_string_append_printf(line, " (%s)", names);
    }
    /* a stand-in value such as "65535: one for each vCPU" is explained by the help itself */
    bool explained = prop->help && strstr(prop->help, "(default");
    json_object *def = explained ? NULL : property_default_json(prop);
    if (prop->flags & PROP_REQUIRED)
        g_string_append(line, " (required)");
    else if (json_object_is_type(def, json_type_boolean))
        g_string_append_printf(line, " (default: %s)", json_object_get_boolean(def) ? "on" : "off");
    else if (json_object_is_type(def, json_type_string))
        g_string_append_printf(line, " (default: \"%s\")", json_object_get_string(def));
    else if (def)
        g_string_append_printf(line, " (default: %s)", json_object_get_string(def));
    json_object_put(def);
    return g_string_free(line, FALSE);
}

static gint compare_props(gconstpointer a, gconstpointer b)
{
    const Property *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

char *object_class_help(const ObjectClass *klass)
{
    g_autoptr(GPtrArray) props = object_property_list(klass);
    g_ptr_array_sort(props, compare_props);
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%s options:\n", klass->name);
    for (guint i = 0; i < props->len; i++) {
        const Property *prop = props->pdata[i];
        if (prop->flags & (PROP_HIDDEN | PROP_READONLY))
            continue;
        g_autofree char *line = property_help_line(prop);
        g_string_append_printf(text, "  %s\n", line);
    }
    return g_string_free(text, FALSE);
}

char *object_list_help(const char *title, const char *ancestor, bool (*wanted)(const ObjectClass *klass))
{
    g_autoptr(GPtrArray) classes = object_class_list(ancestor, false);
    GString *text = g_string_new(NULL);
    g_string_append_printf(text, "%s\n", title);
    for (guint i = 0; i < classes->len; i++) {
        const ObjectClass *klass = classes->pdata[i];
        if (wanted && !wanted(klass))
            continue;
        g_string_append_printf(text, "  %-24s%s%s\n", klass->name, klass->desc ? " " : "", klass->desc ? klass->desc : "");
    }
    return g_string_free(text, FALSE);
}

char *user_object_list_help(void)
{
    return object_list_help("List of user creatable objects:", NULL, user_object_class_ok);
}
