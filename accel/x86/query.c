/*
 * What users ask about CPU models: -cpu help, query-cpu-definitions, query-cpu-model-expansion.
 */
#include "accel/x86/models.h"

#include <json-c/json.h>
#include <string.h>

char *x86_cpu_help(void)
{
    GString *out = g_string_new("Available CPUs:\n");
    for (unsigned i = 0; i < x86_model_count; i++)
        g_string_append_printf(out, "  %-12s %s\n", x86_models[i].name, x86_models[i].desc);
    g_string_append(out, "\nRecognized CPUID flags (those this host can give first):\n");
    uint32_t supported[X86_WORDS];
    x86_features_supported(supported);
    for (int pass = 1; pass >= 0; pass--) {
        unsigned column = 0;
        for (unsigned i = 0; i < x86_feature_count; i++) {
            if (x86_word_has(supported, x86_feature_table[i].id) != pass)
                continue;
            g_autofree char *name = x86_feature_name(x86_feature_table[i].id);
            if (column + strlen(name) > 76)
                column = 0;
            g_string_append_printf(out, "%s%s", column ? " " : i ? "\n  " : "  ", name);
            column += strlen(name) + 1;
        }
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, FALSE);
}

/* A CPU object of the model that is never realized. (owned) */
static X86Cpu *trial_cpu(Machine *machine, const char *model, GError **err)
{
    g_autofree char *type = g_strconcat(model, "-" TYPE_X86_CPU, NULL);
    if (!object_class_find(type)) {
        error_set(err, "CPU model '%s' is not known", model);
        return NULL;
    }
    return X86_CPU(device_new(machine, type, err));
}

static json_object *names_json(const uint32_t words[X86_WORDS])
{
    json_object *array = json_object_new_array();
    g_autoptr(GPtrArray) names = x86_feature_names(words);
    for (unsigned i = 0; i < names->len; i++)
        json_object_array_add(array, json_object_new_string(names->pdata[i]));
    return array;
}

static json_object *definition(const X86Model *m, const uint32_t *supported)
{
    uint32_t missing[X86_WORDS];
    for (unsigned i = 0; i < X86_WORDS; i++)
        missing[i] = m->features[i] & ~supported[i];
    g_autofree char *type = g_strconcat(m->name, "-" TYPE_X86_CPU, NULL);
    json_object *o = json_object_new_object();
    json_object_object_add(o, "name", json_object_new_string(m->name));
    json_object_object_add(o, "typename", json_object_new_string(type));
    json_object_object_add(o, "unavailable-features", names_json(missing));
    json_object_object_add(o, "migration-safe", json_object_new_boolean(!m->everything));
    json_object_object_add(o, "static", json_object_new_boolean(g_str_equal(m->name, "base")));
    json_object_object_add(o, "deprecated", json_object_new_boolean(m->deprecated));
    return o;
}

json_object *x86_cpu_definitions(Machine *machine)
{
    uint32_t supported[X86_WORDS];
    x86_features_supported(supported);
    json_object *array = json_object_new_array();
    for (unsigned i = 0; i < x86_model_count; i++)
        json_object_array_add(array, definition(&x86_models[i], supported));
    return array;
}

static bool apply_props(X86Cpu *cpu, json_object *props, GError **err)
{
    if (!props)
        return true;
    json_object_object_foreach(props, name, value)
        if (!object_set_json(OBJECT(cpu), name, value, err))
            return false;
    return true;
}

static json_object *props_json(X86Cpu *cpu, bool all, GError **err)
{
    json_object *out = json_object_new_object();
    static const char *const identity[] = { "vendor", "model-id", "family", "model", "stepping", "level", "xlevel" };
    for (unsigned i = 0; i < G_N_ELEMENTS(identity); i++)
        json_object_object_add(out, identity[i], object_get_json(OBJECT(cpu), identity[i], err));
    for (unsigned i = 0; i < x86_feature_count; i++) {
        X86Feature f = x86_feature_table[i].id;
        if (!all && !x86_has(cpu, f))
            continue;
        g_autofree char *name = x86_feature_name(f);
        json_object_object_add(out, name, json_object_new_boolean(x86_has(cpu, f)));
    }
    return out;
}

json_object *x86_cpu_expand_model(Machine *machine, const char *type, json_object *model, GError **err)
{
    bool full = g_str_equal(type, "full");
    if (!full && !g_str_equal(type, "static")) {
        error_set(err, "CPU model expansion type '%s' is not 'static' or 'full'", type);
        return NULL;
    }
    json_object *name = NULL, *props = NULL;
    json_object_object_get_ex(model, "name", &name);
    json_object_object_get_ex(model, "props", &props);
    if (!name) {
        error_set(err, "CPU model has no 'name'");
        return NULL;
    }
    X86Cpu *cpu = trial_cpu(machine, json_object_get_string(name), err);
    if (!cpu)
        return NULL;
    json_object *answer = NULL;
    if (apply_props(cpu, props, err) && x86_cpu_settle(cpu, true, err)) {
        json_object *expanded = json_object_new_object();
        json_object_object_add(expanded, "name", full ? json_object_get(name) : json_object_new_string("base"));
        json_object_object_add(expanded, "props", props_json(cpu, true, err));
        answer = json_object_new_object();
        json_object_object_add(answer, "model", expanded);
    }
    object_unref(OBJECT(cpu));
    return answer;
}
