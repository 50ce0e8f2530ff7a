/*
 * CPU models: options of -cpu, CPUID, topology, queries.
 */
#include <json-c/json.h>
#include <string.h>

#include "tests/cpu/x86_rig.h"

static uint32_t leaf(Rig *rig, uint32_t n, uint32_t sub, unsigned reg)
{
    uint32_t out[4];
    x86_cpuid(rig->cpu, n, sub, out);
    return out[reg];
}

static void test_options(void)
{
    Rig *rig = rig_new("qemu64,+popcnt,-sse3,sse4_1=on,model=8,vendor=GenuineIntel,phys-bits=36,model-id=a test");
    g_assert_cmphex(leaf(rig, 1, 0, 2) & (1 | 1 << 19 | 1 << 23 | 1u << 31), ==, 1 << 19 | 1 << 23 | 1u << 31);
    g_assert_cmphex(leaf(rig, 1, 0, 0), ==, 0xf81);
    g_assert_cmphex(leaf(rig, 0, 0, 1), ==, 0x756e6547);
    g_assert_cmphex(leaf(rig, 0x80000008, 0, 0), ==, 36 | 48 << 8);
    g_assert_cmphex(leaf(rig, 0x80000002, 0, 0), ==, ld32("a te"));
    g_assert_cmphex(leaf(rig, 0x80000001, 0, 3) >> 29 & 1, ==, 1);
    rig_free(rig);
}

static void expect_error(const char *cpu, const char *part)
{
    g_autoptr(GError) err = NULL;
    Machine *m = (Machine *)object_new("none-machine", &err);
    g_assert_null(x86_cpu_new(m, cpu, 0, &err));
    g_test_message("%s", err->message);
    g_assert_nonnull(strstr(err->message, part));
    object_unref(OBJECT(m));
}

static void test_errors(void)
{
    expect_error("qemu65", "nearest name is 'qemu64'");
    expect_error("max,+popcnd", "nearest name is 'popcnt'");
    expect_error("max,avx=perhaps", "avx");
    expect_error("max,vendor=me", "12 characters");
    expect_error("max,+avx512f,enforce", "not available on this host: avx512f");
    expect_error("max,pmu=on", "performance counters");
    expect_error("max,phys-bits=20", "phys-bits");
}

static void test_dependencies(void)
{
    Rig *rig = rig_new("max,-xsave");
    g_assert_false(x86_has(rig->cpu, X86_FEAT_AVX));
    g_assert_false(x86_has(rig->cpu, X86_FEAT_AVX2));
    g_assert_cmphex(leaf(rig, 0xd, 0, 0), ==, 0);
    rig_free(rig);
}

static void test_levels(void)
{
    Rig *rig = rig_new("x86-64-v2,check=off");
    g_assert_true(x86_has(rig->cpu, X86_FEAT_SSE42));
    g_assert_false(x86_has(rig->cpu, X86_FEAT_AVX));
    rig_free(rig);
    rig = rig_new("x86-64-v3,check=off");
    g_assert_cmpint(x86_has(rig->cpu, X86_FEAT_AVX2), ==, rig->cpu->missing[X86_WORD_7_EBX] == 0);
    /* XSAVE size follows XCR0; OSXSAVE follows CR4 */
    rig->st->xcr0 = 1;
    g_assert_cmpuint(leaf(rig, 0xd, 0, 1), ==, 576);
    rig->st->xcr0 = 7;
    g_assert_cmpuint(leaf(rig, 0xd, 0, 1), ==, 832);
    g_assert_cmphex(leaf(rig, 1, 0, 2) >> 27 & 1, ==, 0);
    rig->st->cr4 |= CR4_OSXSAVE;
    g_assert_cmphex(leaf(rig, 1, 0, 2) >> 27 & 1, ==, 1);
    rig_free(rig);
}

static void test_topology(void)
{
    SmpConfig smp = { .cpus = 12, .maxcpus = 12, .sockets = 2, .dies = 1, .cores = 3, .threads = 2 };
    static const uint32_t want[12] = { 0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13 };
    for (unsigned i = 0; i < 12; i++)
        g_assert_cmpuint(x86_apic_id(&smp, i), ==, want[i]);
}

static void test_queries(void)
{
    g_autoptr(GError) err = NULL;
    json_object *definitions = x86_cpu_definitions(NULL);
    g_assert_cmpuint(json_object_array_length(definitions), ==, x86_model_count);
    json_object *first = json_object_array_get_idx(definitions, 0), *value;
    g_assert_true(json_object_object_get_ex(first, "typename", &value));
    g_assert_cmpstr(json_object_get_string(value), ==, "qemu64-x86_64-cpu");
    g_assert_true(json_object_object_get_ex(first, "unavailable-features", &value));
    g_assert_cmpuint(json_object_array_length(value), ==, 0);
    json_object_put(definitions);

    Machine *m = (Machine *)object_new("none-machine", &err);
    json_object *model = json_tokener_parse("{\"name\":\"qemu64\",\"props\":{\"cx16\":false}}");
    json_object *answer = x86_cpu_expand_model(m, "full", model, &err);
    g_assert_no_error(err);
    json_object *expanded, *props;
    g_assert_true(json_object_object_get_ex(answer, "model", &expanded));
    g_assert_true(json_object_object_get_ex(expanded, "props", &props));
    g_assert_true(json_object_object_get_ex(props, "cx16", &value));
    g_assert_false(json_object_get_boolean(value));
    g_assert_true(json_object_object_get_ex(props, "sse2", &value));
    g_assert_true(json_object_get_boolean(value));
    json_object_put(answer);
    json_object_put(model);
    object_unref(OBJECT(m));
    g_autofree char *help = x86_cpu_help();
    g_assert_nonnull(strstr(help, "x86-64-v3"));
}

static void test_msrs(void)
{
    Rig *rig = rig_new("qemu64");
    rig_long(rig, 0x1000);
    rig_gate(rig, EXC_GP, RIG_CODE64, 0x9000, 0x8e, 0);
    RIG_CODE(rig, 0x1000, 0x0f, 0x30, 0x0f, 0x32, 0x0f, 0x32);
    rig->st->gpr[R_RCX] = 0x277;
    rig->st->gpr[R_RAX] = 0x07010600;
    rig->st->gpr[R_RDX] = 0x00070106;
    rig_step(rig, 1);
    rig->st->gpr[R_RAX] = 0;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->gpr[R_RAX], ==, 0x07010600);
    rig->st->gpr[R_RCX] = 0x12345;
    rig_step(rig, 1);
    g_assert_cmphex(rig->st->rip, ==, 0x9000);
    rig_free(rig);
}

static void test_tsc(void)
{
    uint64_t hz = x86_tsc_hz();
    g_assert_cmpuint(hz, >, 100000000);
    g_assert_cmpuint(hz, <, 10000000000ull);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/models/options", test_options);
    g_test_add_func("/models/errors", test_errors);
    g_test_add_func("/models/dependencies", test_dependencies);
    g_test_add_func("/models/levels", test_levels);
    g_test_add_func("/models/topology", test_topology);
    g_test_add_func("/models/queries", test_queries);
    g_test_add_func("/msr/access", test_msrs);
    g_test_add_func("/tsc/hz", test_tsc);
    return g_test_run();
}
