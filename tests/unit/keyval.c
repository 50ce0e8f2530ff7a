/* Option text, typed members, sizes, names, configuration files. */
#include "util/keyval.h"

#include <string.h>

#include "util/size.h"

static void check(const char *text, const char *implied, unsigned flags, const char *expected)
{
    g_autoptr(GError) err = NULL;
    json_object *parsed = keyval_parse(text, implied, flags, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(json_object_to_json_string_ext(parsed, JSON_C_TO_STRING_PLAIN), ==, expected);
    json_object_put(parsed);
}

static void check_refused(const char *text, const char *part)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(keyval_parse(text, "type", 0, &err));
    g_assert_nonnull(err);
    if (!strstr(err->message, part))
        g_error("'%s' has no '%s'", err->message, part);
}

static void test_plain(void)
{
    check("", NULL, 0, "{}");
    check("a=b", NULL, 0, "{\"a\":\"b\"}");
    check("virtio-blk,drive=d,serial=a,,b", "driver", 0, "{\"driver\":\"virtio-blk\",\"drive\":\"d\",\"serial\":\"a,b\"}");
    check("driver=x,id=y", "driver", 0, "{\"driver\":\"x\",\"id\":\"y\"}");
    check("socket,server,nowait,path=/a=b", "backend", 0,
          "{\"backend\":\"socket\",\"server\":\"on\",\"wait\":\"off\",\"path\":\"\\/a=b\"}");
    check("a=,b=,,", NULL, 0, "{\"a\":\"\",\"b\":\",\"}");
    check("a=1,a=2", NULL, 0, "{\"a\":\"2\"}");
    check("x,no-flag", "t", 0, "{\"t\":\"x\",\"no-flag\":\"on\"}");
}

static void test_nested(void)
{
    check("a.b=1,a.c.d=2", NULL, 0, "{\"a\":{\"b\":\"1\",\"c\":{\"d\":\"2\"}}}");
    check("l.0=x,l.1=y", NULL, 0, "{\"l\":[\"x\",\"y\"]}");
    check("l.1.k=y,l.0.k=x", NULL, 0, "{\"l\":[{\"k\":\"x\"},{\"k\":\"y\"}]}");
    check("qcow2,file.filename=/x", "driver", 0, "{\"driver\":\"qcow2\",\"file\":{\"filename\":\"\\/x\"}}");
    check("a.b=1", NULL, KEYVAL_FLAT, "{\"a.b\":\"1\"}");
}

static void test_json(void)
{
    check(" {\"a\": [1, true]} ", "t", 0, "{\"a\":[1,true]}");
    check_refused("{\"a\":", "ends too early");
    check_refused("{\"a\": 1} x", "unexpected character");
    check_refused("{a}", "not a JSON object");
}

static void test_refused(void)
{
    check_refused("t,=x", "'' is not a valid name");
    check_refused("t,a b=x", "'a b' is not a valid name");
    check_refused("t,a..b=x", "'a..b'");
    check_refused("t,x y", "'x y' is neither");
    check_refused("t,a=1,a.b=2", "can't both");
    check_refused("t,a.b=2,a=1", "together");
    check_refused("t,a.0=2,a.2=1", "'a.1' is missing");
    check_refused("t,a.0=2,a.x=1", "list 'a'");
}

static void test_help(void)
{
    char *name;
    g_assert_true(keyval_wants_help("help", &name));
    g_assert_null(name);
    g_assert_true(keyval_wants_help("e1000,help", &name));
    g_assert_cmpstr(name, ==, "e1000");
    g_free(name);
    g_assert_true(keyval_wants_help("driver=e1000,?", &name));
    g_assert_cmpstr(name, ==, "e1000");
    g_free(name);
    g_assert_false(keyval_wants_help("e1000,id=help", &name));
    g_assert_false(keyval_wants_help("{\"help\":1}", &name));
}

static void test_members(void)
{
    static const char *const modes[] = { "slow", "fast", NULL };
    static const char *const known[] = { "n", "m", "b", "s", "size", "mode", "flag", NULL };
    g_autoptr(GError) err = NULL;
    json_object *o = keyval_parse("n=0x10,b=on,s=text,size=2,mode=fast,flag", NULL, 0, &err);
    uint64_t n = 1, size = 0;
    bool b = false, absent = true;
    int mode = 0;
    const char *s = NULL;
    g_assert_true(keyval_get_uint(o, "-x", "n", 0, 16, &n, &err) && n == 16);
    g_assert_true(keyval_get_bool(o, "-x", "b", &b, &err) && b);
    g_assert_true(keyval_get_bool(o, "-x", "missing", &absent, &err) && absent);
    g_assert_true(keyval_get_str(o, "-x", "s", &s, &err));
    g_assert_cmpstr(s, ==, "text");
    g_assert_true(keyval_get_size(o, "-x", "size", 'M', &size, &err) && size == 2 * MIB);
    g_assert_true(keyval_get_enum(o, "-x", "mode", modes, &mode, &err) && mode == 1);
    g_assert_true(keyval_check_known(o, "-x", known, &err));
    g_assert_no_error(err);

    g_assert_false(keyval_get_uint(o, "-x", "n", 0, 15, &n, &err));
    g_assert_cmpstr(err->message, ==, "-x: n can't be '0x10': it takes a number from 0 to 15");
    g_clear_error(&err);
    g_assert_false(keyval_get_bool(o, "-x", "s", &b, &err));
    g_assert_cmpstr(err->message, ==, "-x: s can't be 'text': it takes on or off");
    g_clear_error(&err);
    static const char *const other[] = { "n", "bb", "s", "sizes", NULL };
    g_assert_false(keyval_check_known(o, "-x", other, &err));
    g_assert_cmpstr(err->message, ==, "-x: there is no option 'b'; did you mean 'bb'?");
    json_object_put(o);
}

static void test_sizes(void)
{
    static const struct {
        const char *text;
        char unit;
        uint64_t bytes;
    } good[] = {
        { "0", 'B', 0 }, { "512", 'M', 512 * MIB }, { "512M", 'B', 512 * MIB }, { "1.5G", 'M', 3 * GIB / 2 },
        { "262144k", 'B', 256 * MIB }, { "0x10000", 'B', 65536 }, { "1.25", 'M', 5 * MIB / 4 }, { "15E", 'B', 15ull << 60 },
        { "18446744073709551615", 'B', UINT64_MAX }, { "7T", 'B', 7ull << 40 }, { "4b", 'M', 4 },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        uint64_t bytes = 1;
        g_assert_true(size_parse(good[i].text, good[i].unit, &bytes));
        g_assert_cmpuint(bytes, ==, good[i].bytes);
    }
    static const char *const bad[] = { "", "M", "-1", "1.5", "1.G", "16E", "1MB", "1 M", "0x", "18446744073709551616", "1x" };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        uint64_t bytes;
        if (size_parse(bad[i], 'B', &bytes))
            g_error("'%s' was taken as %" PRIu64, bad[i], bytes);
    }
}

static void test_nearest(void)
{
    static const char *const names[] = { "virtio-blk-pci", "virtio-rng-pci", "e1000", "isa-serial", "qemu64", NULL };
    g_assert_cmpstr(nearest_name("virtio-blk-pic", names), ==, "virtio-blk-pci");
    g_assert_cmpstr(nearest_name("virtio_rng_pci", names), ==, "virtio-rng-pci");
    g_assert_cmpstr(nearest_name("e100", names), ==, "e1000");
    g_assert_cmpstr(nearest_name("virtio-blk", names), ==, "virtio-blk-pci");
    g_assert_null(nearest_name("floppy", names));
    g_autofree char *lengthy = g_strnfill(5000, 'x');
    g_assert_null(nearest_name(lengthy, names));
}

static void test_config(void)
{
    g_autoptr(GError) err = NULL;
    json_object *groups = keyval_parse_config("# a comment\n[machine]\n type = \"pc\"\n\n[device \"d0\"]\n driver=\"e1000\"\n addr = 5\n",
                                              "t.cfg", &err);
    g_assert_no_error(err);
    g_assert_cmpstr(json_object_to_json_string_ext(groups, JSON_C_TO_STRING_PLAIN), ==,
                    "[{\"group\":\"machine\",\"options\":{\"type\":\"pc\"}},"
                    "{\"group\":\"device\",\"id\":\"d0\",\"options\":{\"driver\":\"e1000\",\"addr\":\"5\"}}]");
    json_object_put(groups);
    static const char *const bad[][2] = {
        { "x = 1\n", "t.cfg:1: 'x = 1' stands before the first group" },
        { "[a]\nnonsense\n", "t.cfg:2: 'nonsense' is neither a group nor 'name = \"value\"'" },
        { "[a\n", "t.cfg:1: '[a' is not a group: it takes [group] or [group \"id\"]" },
        { "[a \"b]\n", "t.cfg:1: '[a \"b]' is not a group: it takes [group] or [group \"id\"]" },
        { "[a]\nb = \"c\n", "t.cfg:2: the value of 'b' has no closing quote" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_clear_error(&err);
        g_assert_null(keyval_parse_config(bad[i][0], "t.cfg", &err));
        g_assert_cmpstr(err->message, ==, bad[i][1]);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/keyval/plain", test_plain);
    g_test_add_func("/keyval/nested", test_nested);
    g_test_add_func("/keyval/json", test_json);
    g_test_add_func("/keyval/refused", test_refused);
    g_test_add_func("/keyval/help", test_help);
    g_test_add_func("/keyval/members", test_members);
    g_test_add_func("/keyval/config", test_config);
    g_test_add_func("/size", test_sizes);
    g_test_add_func("/nearest-name", test_nearest);
    return g_test_run();
}
