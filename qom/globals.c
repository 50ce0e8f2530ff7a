/* -global: values that new instances of a class start with. One list for the process, as the command line has one. */
#include "qom/internal.h"

typedef struct {
    char *driver, *property, *value;
} Global;

static GPtrArray *globals;

static void global_free(void *opaque)
{
    Global *global = opaque;
    g_free(global->driver);
    g_free(global->property);
    g_free(global->value);
    g_free(global);
}

void object_add_global(const char *driver, const char *property, const char *value)
{
    if (!globals)
        globals = g_ptr_array_new_with_free_func(global_free);
    Global *global = g_new(Global, 1);
    *global = (Global){ g_strdup(driver), g_strdup(property), g_strdup(value) };
    g_ptr_array_add(globals, global);
}

void object_clear_globals(void)
{
    g_clear_pointer(&globals, g_ptr_array_unref);
}

/* A property that only classes derived from the driver have is skipped on the others. */
bool globals_apply(Object *obj, GError **err)
{
    for (guint i = 0; globals && i < globals->len; i++) {
        const Global *global = globals->pdata[i];
        const ObjectClass *driver = object_class_find(global->driver);
        if (!driver || !object_class_is_a(obj->klass, driver->name) ||
            !object_property_find(obj->klass, global->property))
            continue;
        if (!object_set_text(obj, global->property, global->value, err)) {
            g_prefix_error(err, "-global %s.%s=%s: ", global->driver, global->property, global->value);
            return false;
        }
    }
    return true;
}

static bool property_exists_below(const ObjectClass *driver, const char *property)
{
    if (object_property_find(driver, property))
        return true;
    g_autoptr(GPtrArray) derived = object_class_list(driver->name, true);
    for (guint i = 0; i < derived->len; i++)
        if (object_property_find(derived->pdata[i], property))
            return true;
    return false;
}

static const char *nearest_driver(const char *driver)
{
    g_autoptr(GPtrArray) classes = object_class_list(NULL, true);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < classes->len; i++)
        g_ptr_array_add(names, (void *)((const ObjectClass *)classes->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    return nearest_name(driver, (const char *const *)names->pdata);
}

char *object_check_globals(void)
{
    for (guint i = 0; globals && i < globals->len; i++) {
        const Global *global = globals->pdata[i];
        const ObjectClass *driver = object_class_find(global->driver);
        if (!driver) {
            const char *near = nearest_driver(global->driver);
            return g_strdup_printf("-global %s.%s=%s: there is no device or object type '%s'%s%s%s", global->driver,
                                   global->property, global->value, global->driver, near ? "; did you mean '" : "",
                                   near ? near : "", near ? "'?" : "");
        }
        if (property_exists_below(driver, global->property))
            continue;
        const char *near = property_nearest(driver, global->property);
        return g_strdup_printf("-global %s.%s=%s: '%s' has no property '%s'%s%s%s", global->driver, global->property,
                               global->value, driver->name, global->property, near ? "; did you mean '" : "",
                               near ? near : "", near ? "'?" : "");
    }
    return NULL;
}
