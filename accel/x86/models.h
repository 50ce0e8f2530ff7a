/*
 * CPU models: what -cpu names. Const data; each becomes the object type "<name>-x86_64-cpu".
 */
#pragma once

#include "accel/x86/features.h"

struct X86Model {
    const char *name, *desc;
    const char *vendor, *model_id;
    unsigned family, model, stepping;
    uint32_t level, xlevel;
    uint32_t features[X86_WORDS];
    bool everything;      /* all that this host can do: max, host */
    bool deprecated;
};

extern const X86Model x86_models[];
extern const unsigned x86_model_count;

/* Text of -cpu help. (owned) */
char *x86_cpu_help(void);
/*
 * query-cpu-definitions: array of {name, typename, unavailable-features, migration-safe, static, deprecated}. (owned)
 */
json_object *x86_cpu_definitions(Machine *machine);
/*
 * query-cpu-model-expansion: type is "static" or "full", model is {"name": ..., "props": {...}}. The answer is
 * {"model": {"name",
 * "props"}}. (owned)
 */
json_object *x86_cpu_expand_model(Machine *machine, const char *type, json_object *model, GError **err) WARN_UNUSED;

/* Applies "a=b,+c,-d" to a new CPU object. */
bool x86_cpu_set_options(X86Cpu *cpu, const char *options, GError **err) WARN_UNUSED;
/* Decides the feature words from model, options and host; reports what is missing unless quiet. */
bool x86_cpu_settle(X86Cpu *cpu, bool quiet, GError **err) WARN_UNUSED;
/* Fills cpu->cpuid. */
void x86_cpuid_build(X86Cpu *cpu);
/* Names of bits in words[]. (owned, container and strings) */
GPtrArray *x86_feature_names(const uint32_t words[X86_WORDS]);
