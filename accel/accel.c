/*
 * The abstract accelerator class, and which accelerator a machine gets. See accel/accel.h.
 */
#include "accel/accel.h"

#include <json-c/json.h>
#include <string.h>

static const AccelClass accel_class_table = {
    .name = TYPE_ACCEL,
    .parent = TYPE_OBJECT,
    .desc = "an accelerator: what executes the guest's code",
    .size = sizeof(Accel),
    .abstract = true,
};
REGISTER_OBJECT(accel_class_table)

static bool names_class(const AccelClass *klass, const char *name)
{
    if (g_str_equal(klass->accel_name, name))
        return true;
    for (const char *const *alias = klass->aliases; alias && *alias; alias++)
        if (g_str_equal(*alias, name))
            return true;
    return false;
}

/* Const AccelClass *, best first: the default is the first of them that works. (owned) */
static GPtrArray *all_classes(bool loaded_only)
{
    GPtrArray *all = loaded_only ? object_class_list_loaded(TYPE_ACCEL, false) : object_class_list(TYPE_ACCEL, false);
    for (unsigned i = all->len; i-- > 0;)
        if (!((const AccelClass *)all->pdata[i])->accel_name)
            g_ptr_array_remove_index(all, i);
    return all;
}

const AccelClass *accel_find(const char *name)
{
    for (int loaded_only = 1; loaded_only >= 0; loaded_only--) {
        g_autoptr(GPtrArray) all = all_classes(loaded_only);
        for (unsigned i = 0; i < all->len; i++)
            if (names_class(all->pdata[i], name))
                return all->pdata[i];
    }
    return NULL;
}

char *accel_names(void)
{
    g_autoptr(GPtrArray) all = all_classes(false);
    GString *out = g_string_new(NULL);
    for (unsigned i = 0; i < all->len; i++)
        g_string_append_printf(out, "%s%s", i ? ", " : "", ((const AccelClass *)all->pdata[i])->accel_name);
    return g_string_free(out, FALSE);
}

/* "a,b=c,d" after the name: properties; a bare word is a switch turned on. ",," stands for a comma. */
static json_object *parse_options(const char *text, GError **err)
{
    json_object *options = json_object_new_object();
    g_autoptr(GString) part = g_string_new(NULL);
    for (const char *p = text; *p || part->len; p++) {
        if (*p && (*p != ',' || p[1] == ',')) {
            g_string_append_c(part, *p);
            p += *p == ',';
            continue;
        }
        char *equals = strchr(part->str, '=');
        if (equals)
            *equals = '\0';
        if (!*part->str) {
            error_set(err, "accelerator options '%s': a name is missing before a comma or '='", text);
            json_object_put(options);
            return NULL;
        }
        json_object_object_add(options, part->str, json_object_new_string(equals ? equals + 1 : "on"));
        g_string_truncate(part, 0);
        if (!*p)
            break;
    }
    return options;
}

static bool start(Machine *machine, const AccelClass *klass, const char *options_text, GError **err)
{
    json_object *options = parse_options(options_text, err);
    if (!options)
        return false;
    g_autoptr(Object) obj = object_new(klass->name, err);
    bool ok = obj && object_set_all_json(obj, options, NULL, err);
    json_object_put(options);
    if (!ok)
        return false;
    Accel *accel = (Accel *)obj;
    accel->machine = machine;
    if (klass->start && !klass->start(accel, machine, err))
        return false;
    machine->accel = (Accel *)object_ref(obj);
    object_add_child(&machine->obj, "accel", obj);
    if (klass->manual_clock)
        clocks_set_manual(machine->clocks);
    return true;
}

/* One alternative, "name[,options]". False with *why growing by one phrase when it can't be used; err for what is wrong in itself. */
static bool try_one(Machine *machine, const char *name, const char *options, GString *why, GError **err)
{
    g_autoptr(GError) reason = NULL;
    const AccelClass *klass = accel_find(name);
    if (!klass)
        error_set(&reason, "'%s' is not an accelerator of this build", name);
    else if (klass->available && !klass->available(&reason))
        g_prefix_error(&reason, "'%s' can't be used: ", name);
    else
        return start(machine, klass, options, err);
    g_string_append_printf(why, "%s%s", why->len ? "; " : "", reason->message);
    return false;
}

/* "kvm:tcg,prop=x": the options go to each alternative that knows them all. */
static bool try_entry(Machine *machine, const char *entry, GString *why, GError **err)
{
    const char *comma = strchr(entry, ',');
    g_autofree char *list = comma ? g_strndup(entry, comma - entry) : g_strdup(entry);
    g_auto(GStrv) names = g_strsplit(list, ":", -1);
    for (char **name = names; *name; name++) {
        g_autoptr(GError) local = NULL;
        if (try_one(machine, *name, comma ? comma + 1 : "", why, &local))
            return true;
        if (local) {
            g_propagate_prefixed_error(err, g_steal_pointer(&local), "accelerator '%s': ", *name);
            return false;
        }
    }
    return false;
}

static bool start_default(Machine *machine, GError **err)
{
    g_autoptr(GPtrArray) all = all_classes(true);
    g_autoptr(GString) why = g_string_new(NULL);
    for (unsigned i = 0; i < all->len; i++) {
        const AccelClass *klass = all->pdata[i];
        g_autoptr(GError) local = NULL;
        if (!klass->run) /* executes nothing: only when asked for by name */
            continue;
        if (try_one(machine, klass->accel_name, "", why, &local))
            return true;
        if (local)
            g_string_append_printf(why, "%s%s", why->len ? "; " : "", local->message);
    }
    error_set(err, "no accelerator works on this host%s%s", why->len ? ": " : "", why->str);
    return false;
}

bool accel_select(Machine *machine, const char *const *entries, GError **err)
{
    g_autoptr(GString) why = g_string_new(NULL);
    if (!entries || !*entries)
        return start_default(machine, err);
    for (; *entries; entries++) {
        g_autoptr(GError) local = NULL;
        if (try_entry(machine, *entries, why, &local))
            return true;
        if (local) {
            g_propagate_error(err, g_steal_pointer(&local));
            return false;
        }
    }
    g_autofree char *names = accel_names();
    error_set(err, "no accelerator that was asked for works: %s (this build has: %s)", why->str, names);
    return false;
}
