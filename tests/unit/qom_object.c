/* Classes, instances, properties of every kind, the tree and its paths, -global, -object, and the QMP view of them. */
#include <json-c/json.h>
#include <qom/object.h>

#include <string.h>

#include "qom/help.h"
#include "qom/internal.h"
#include "qom/qom-qmp.h"

typedef struct {
    Object obj;
    bool flag;
    OnOffAuto tri;
    uint8_t u8;
    uint16_t queues;
    uint32_t u32;
    uint64_t u64, size, bits;
    int32_t i32;
    int64_t i64;
    char *text;
    int mode;
    Object *link;
    void *disk;
    int32_t addr;
    uint8_t mac[6], uuid[16];
    int custom, refined;
} Thing;

static GString *calls; /* of init, finalize, complete, in order */
static const char *const modes[] = { "slow", "fast", NULL };

static json_object *custom_get(Object *obj, const Property *prop, GError **err)
{
    return json_object_new_int(((Thing *)obj)->custom);
}

static bool custom_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    ((Thing *)obj)->custom = (int)strlen(json_object_get_string(value));
    return true;
}

static bool refined_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    ((Thing *)obj)->refined = json_object_get_int(value) * 10;
    return true;
}

static const Property thing_props[] = {
    PROP_BOOL("flag", Thing, flag, true, "a switch"),
    PROP_ONOFF("tri", Thing, tri, ON_OFF_AUTO_AUTO, "a three-way switch"),
    PROP_U8("u8", Thing, u8, 3, 0, 0, "a byte"),
    PROP_U16("num-queues", Thing, queues, 1, 1, 64, "request queues"),
    PROP_U32("u32", Thing, u32, 7, 0, 0, "a number"),
    PROP_U64("u64", Thing, u64, 8, 0, 0, "a big number"),
    PROP_I32("i32", Thing, i32, -1, -5, 5, "a signed number"),
    { .name = "i64", .kind = PROP_KIND_I64, .offset = offsetof(Thing, i64), .help = "a big signed number" },
    PROP_SIZE("size", Thing, size, MIB, "a size"),
    PROP_STR("text", Thing, text, "hello", "some text"),
    PROP_ENUM("mode", Thing, mode, 1, modes, "a mode"),
    PROP_LINK("link", Thing, link, "test-thing", "another one"),
    PROP_DISK("disk", Thing, disk, 0, "a back end"),
    PROP_BIT("bit3", Thing, bits, 3, true, "a bit"),
    PROP_BIT("bit63", Thing, bits, 63, false, "another bit"),
    { .name = "addr", .kind = PROP_KIND_PCI_ADDR, .offset = offsetof(Thing, addr), .def = (uint64_t)-1, .help = "address" },
    { .name = "mac", .kind = PROP_KIND_MAC, .offset = offsetof(Thing, mac), .help = "address" },
    { .name = "uuid", .kind = PROP_KIND_UUID, .offset = offsetof(Thing, uuid), .help = "identity" },
    PROP_CUSTOM("custom", custom_get, custom_set, "length of a text"),
    { .name = "refined", .kind = PROP_KIND_U8, .max = 9, .set = refined_set, .get = custom_get, .help = "a digit" },
    { .name = "live", .kind = PROP_KIND_BOOL, .flags = PROP_LIVE, .offset = offsetof(Thing, flag), .def = 1, .help = "live" },
    { .name = "fixed", .kind = PROP_KIND_CUSTOM, .flags = PROP_READONLY, .get = custom_get, .help = "read only" },
    PROP_END
};

static void thing_init(Object *obj)
{
    Thing *thing = (Thing *)obj;
    g_assert_cmpuint(thing->u32, ==, 7);
    g_string_append(calls, "thing+ ");
}

static void thing_finalize(Object *obj)
{
    g_string_append(calls, "thing- ");
}

static bool thing_complete(Object *obj, GError **err)
{
    if (((Thing *)obj)->u32 != 99)
        return true;
    error_set(err, "99 does not complete");
    return false;
}

static bool thing_can_delete(Object *obj, GError **err)
{
    if (((Thing *)obj)->u32 != 98)
        return true;
    error_set(err, "98 stays");
    return false;
}

static const ObjectClass thing_class = {
    .name = "test-thing", .desc = "a thing", .size = sizeof(Thing), .props = thing_props, .init = thing_init,
    .finalize = thing_finalize, .complete = thing_complete, .can_delete = thing_can_delete,
};
REGISTER_OBJECT(thing_class)

typedef struct {
    Thing thing;
    char *more;
} Special;

static const Property special_props[] = {
    PROP_STR("more", Special, more, NULL, "more text"),
    PROP_U32("u32", Special, thing.u32, 7, 0, 100, "a number with a limit"),
    { .name = "needed", .kind = PROP_KIND_U8, .flags = PROP_REQUIRED, .offset = offsetof(Thing, u8), .help = "a must" },
    PROP_END
};

static void special_init(Object *obj)
{
    g_string_append(calls, "special+ ");
}

static void special_finalize(Object *obj)
{
    g_string_append(calls, "special- ");
}

static const ObjectClass special_class = {
    .name = "test-special-8.2,x", .parent = "test-thing", .size = sizeof(Special), .props = special_props,
    .init = special_init, .finalize = special_finalize,
};
REGISTER_OBJECT(special_class)

static const ObjectClass abstract_class = { .name = "test-abstract", .abstract = true };
REGISTER_OBJECT(abstract_class)

/* A back end family of one. */
static int attached;
static char backend_name[] = "disk0";
static void *backend_find(const char *id) { return !strcmp(id, "disk0") || !strcmp(id, "busy") ? backend_name : NULL; }
static const char *backend_get_name(void *backend) { return backend; }
static bool backend_attach(void *backend, Object *owner, GError **err)
{
    if (attached) {
        error_set(err, "'disk0' is in use");
        return false;
    }
    attached++;
    return true;
}
static void backend_detach(void *backend, Object *owner) { attached--; }
static char *backend_ids(void) { return g_strdup("disk0"); }
static const PropBackendOps backend_ops = { backend_find, backend_get_name, backend_attach, backend_detach, backend_ids };

static Thing *thing_new(const char *type)
{
    g_autoptr(GError) err = NULL;
    Object *obj = object_new(type, &err);
    g_assert_no_error(err);
    return (Thing *)obj;
}

static void check_set(void *obj, const char *name, const char *text)
{
    g_autoptr(GError) err = NULL;
    if (!object_set_text(obj, name, text, &err))
        g_error("%s", err->message);
}

static void check_refused(void *obj, const char *name, const char *text, const char *message)
{
    g_autoptr(GError) err = NULL;
    g_assert_false(object_set_text(obj, name, text, &err));
    g_assert_cmpstr(err->message, ==, message);
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_GENERIC));
}

static void check_get(void *obj, const char *name, const char *expected)
{
    g_autoptr(GError) err = NULL;
    json_object *value = object_get_json(obj, name, &err);
    g_assert_no_error(err);
    g_assert_cmpstr(json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE), ==,
                    expected);
    json_object_put(value);
}

static void test_life(void)
{
    g_string_truncate(calls, 0);
    Thing *thing = thing_new("test-special-8.2,x");
    g_assert_true(object_is_a(&thing->obj, "test-thing"));
    g_assert_false(object_is_a(&thing->obj, "container"));
    g_assert_cmpstr(object_type_name(&thing->obj), ==, "test-special-8.2,x");
    object_unref(&thing->obj);
    g_assert_cmpstr(calls->str, ==, "thing+ special+ special- thing- ");
}

static void test_unknown(void)
{
    g_autoptr(GError) err = NULL;
    g_assert_null(object_new("test-thign", &err));
    g_assert_cmpstr(err->message, ==, "there is no object type 'test-thign'; did you mean 'test-thing'?");
    g_clear_error(&err);
    g_assert_null(object_new("test-abstract", &err));
    g_assert_cmpstr(err->message, ==, "object type 'test-abstract' is abstract: only types derived from it can be made");
}

static void test_defaults(void)
{
    Thing *thing = thing_new("test-thing");
    static const char *const expected[][2] = {
        { "type", "\"test-thing\"" }, { "flag", "true" }, { "tri", "\"auto\"" }, { "u8", "3" }, { "num-queues", "1" },
        { "u64", "8" }, { "i32", "-1" }, { "i64", "0" }, { "size", "1048576" }, { "text", "\"hello\"" },
        { "mode", "\"fast\"" }, { "link", "\"\"" }, { "disk", "\"\"" }, { "bit3", "true" }, { "bit63", "false" },
        { "addr", "-1" }, { "mac", "\"00:00:00:00:00:00\"" }, { "uuid", "\"00000000-0000-0000-0000-000000000000\"" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(expected); i++)
        check_get(thing, expected[i][0], expected[i][1]);
    g_assert_cmphex(thing->bits, ==, 8);
    g_assert_false(object_was_given(&thing->obj, "u8"));
    object_unref(&thing->obj);
}

static void test_text(void)
{
    static const char *const good[][3] = {
        { "flag", "off", "false" }, { "flag", "yes", "true" }, { "tri", "off", "\"off\"" }, { "tri", "on", "\"on\"" },
        { "tri", "auto", "\"auto\"" }, { "u8", "0xff", "255" }, { "num-queues", "64", "64" }, { "u32", "4294967295", "4294967295" },
        { "u64", "18446744073709551615", "18446744073709551615" }, { "i32", "-5", "-5" },
        { "i64", "-9223372036854775808", "-9223372036854775808" }, { "i64", "9223372036854775807", "9223372036854775807" },
        { "size", "1.5G", "1610612736" }, { "text", "", "\"\"" }, { "mode", "slow", "\"slow\"" }, { "bit3", "off", "false" },
        { "bit63", "on", "true" }, { "addr", "06.3", "51" }, { "addr", "0x1f.0x7", "255" }, { "addr", "a", "80" },
        { "mac", "52:54:00:ab:CD:ef", "\"52:54:00:ab:cd:ef\"" },
        { "uuid", "550e8400-e29b-41d4-a716-446655440000", "\"550e8400-e29b-41d4-a716-446655440000\"" },
        { "custom", "four", "4" },
    };
    Thing *thing = thing_new("test-thing");
    for (unsigned i = 0; i < G_N_ELEMENTS(good); i++) {
        check_set(thing, good[i][0], good[i][1]);
        check_get(thing, good[i][0], good[i][2]);
        g_assert_true(object_was_given(&thing->obj, good[i][0]));
    }
    check_set(thing, "refined", "7");
    g_assert_cmpint(thing->refined, ==, 70);
    g_assert_cmphex(thing->bits, ==, 1ull << 63);
    object_unref(&thing->obj);
}

static void test_refused(void)
{
#define T(name) "test-thing: property '" name "' can't be "
    static const char *const bad[][3] = {
        { "flag", "maybe", T("flag") "'maybe': it takes on or off" },
        { "tri", "x", T("tri") "'x': it takes on, off or auto" },
        { "u8", "256", T("u8") "'256': it takes a number from 0 to 255" },
        { "u8", "-1", T("u8") "'-1': it takes a number from 0 to 255" },
        { "num-queues", "0", T("num-queues") "'0': it takes a number from 1 to 64" },
        { "num-queues", "65", T("num-queues") "'65': it takes a number from 1 to 64" },
        { "u32", " 1", T("u32") "' 1': it takes a number from 0 to 4294967295" },
        { "u64", "18446744073709551616", T("u64") "'18446744073709551616': it takes a number from 0 to 18446744073709551615" },
        { "i32", "6", T("i32") "'6': it takes a number from -5 to 5" },
        { "i32", "-6", T("i32") "'-6': it takes a number from -5 to 5" },
        { "i64", "9223372036854775808",
          T("i64") "'9223372036854775808': it takes a number from -9223372036854775808 to 9223372036854775807" },
        { "size", "1Q", T("size") "'1Q': it takes a size from 0 to 18446744073709551615 bytes, such as 512M or 1.5G" },
        { "mode", "medium", T("mode") "'medium': it takes one of slow, fast" },
        { "link", "nowhere", T("link") "'nowhere': it takes the id or path of an object of type test-thing" },
        { "link", "/", T("link") "'/': it takes the id or path of an object of type test-thing" },
        { "disk", "none", T("disk") "'none': it takes the name of a block node or drive; there are disk0" },
        { "addr", "20", T("addr") "'20': it takes slot or slot.function in hexadecimal, slot 0 to 1f and function 0 to 7, such as 06.0" },
        { "addr", "1.8", T("addr") "'1.8': it takes slot or slot.function in hexadecimal, slot 0 to 1f and function 0 to 7, such as 06.0" },
        { "mac", "52:54:00:12:34", T("mac") "'52:54:00:12:34': it takes an address such as 52:54:00:12:34:56" },
        { "refined", "10", T("refined") "'10': it takes a number from 0 to 9" },
        { "fixed", "1", "test-thing: property 'fixed' can only be read" },
        { "num-queue", "1", "test-thing: there is no property 'num-queue'; did you mean 'num-queues'?" },
        { "zebra", "1", "test-thing: there is no property 'zebra'" },
    };
#undef T
    Thing *thing = thing_new("test-thing");
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        check_refused(thing, bad[i][0], bad[i][1], bad[i][2]);
        g_assert_false(object_was_given(&thing->obj, bad[i][0]));
    }
    g_assert_cmpuint(thing->queues, ==, 1);
    object_unref(&thing->obj);
}

static void test_json(void)
{
    Thing *thing = thing_new("test-thing");
    g_autoptr(GError) err = NULL;
    json_object *options = json_tokener_parse("{\"flag\":false,\"u8\":9,\"num-queues\":\"5\",\"u64\":18446744073709551615,"
                                              "\"i32\":-2,\"addr\":\"0x5\",\"text\":\"t\",\"skipped\":1}");
    static const char *const skip[] = { "skipped", NULL };
    g_assert_true(object_set_all_json(&thing->obj, options, skip, &err));
    g_assert_no_error(err);
    g_assert_true(!thing->flag && thing->u8 == 9 && thing->queues == 5 && thing->u64 == UINT64_MAX && thing->i32 == -2 &&
                  thing->addr == 40);
    json_object_put(options);
    static const char *const bad[][2] = {
        { "{\"u8\":-1}", "test-thing: property 'u8' can't be -1: it takes a number from 0 to 255" },
        { "{\"u8\":1.5}", "test-thing: property 'u8' can't be 1.5: it takes a number from 0 to 255" },
        { "{\"u8\":null}", "test-thing: property 'u8' can't be 'null': it takes a number from 0 to 255" },
        { "{\"text\":5}", "test-thing: property 'text' can't be 5: it takes text" },
        { "{\"flag\":1}", "test-thing: property 'flag' can't be 1: it takes on or off" },
        { "{\"i64\":9223372036854775808}", "test-thing: property 'i64' can't be 9223372036854775808: it takes a number from "
                                           "-9223372036854775808 to 9223372036854775807" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        json_object *one = json_tokener_parse(bad[i][0]);
        g_assert_false(object_set_all_json(&thing->obj, one, NULL, &err));
        g_assert_cmpstr(err->message, ==, bad[i][1]);
        g_clear_error(&err);
        json_object_put(one);
    }
    object_unref(&thing->obj);
}

static void count_notify(GObject *obj, GParamSpec *spec, gpointer counter)
{
    g_assert_cmpstr(spec->name, ==, "num-queues");
    ++*(int *)counter;
}

static void test_gobject(void)
{
    Thing *thing = thing_new("test-special-8.2,x");
    int notified = 0;
    g_signal_connect(thing, "notify::num-queues", G_CALLBACK(count_notify), &notified);
    g_object_set(thing, "num-queues", 12u, "text", "via gobject", NULL);
    g_assert_cmpuint(thing->queues, ==, 12);
    guint queues;
    g_autofree char *text = NULL;
    guint64 size;
    g_object_get(thing, "num-queues", &queues, "text", &text, "size", &size, NULL);
    g_assert_cmpuint(queues, ==, 12);
    g_assert_cmpstr(text, ==, "via gobject");
    g_assert_cmpuint(size, ==, MIB);
    check_set(thing, "num-queues", "13");
    g_assert_cmpint(notified, ==, 2);
    const GParamSpec *spec = g_object_class_find_property(G_OBJECT_GET_CLASS(thing), "num-queues");
    g_assert_cmpuint(G_PARAM_SPEC_UINT(spec)->maximum, ==, 64);
    spec = g_object_class_find_property(G_OBJECT_GET_CLASS(thing), "u32");
    g_assert_cmpuint(G_PARAM_SPEC_UINT(spec)->maximum, ==, 100);
    g_test_expect_message("GLib-GObject", G_LOG_LEVEL_WARNING, "*num-queues*");
    g_object_set(thing, "num-queues", 1000u, NULL);
    g_test_assert_expected_messages();
    g_assert_cmpuint(thing->queues, ==, 13);
    object_unref(&thing->obj);
}

static void test_backend(void)
{
    Thing *one = thing_new("test-thing"), *two = thing_new("test-thing");
    check_set(one, "disk", "disk0");
    check_get(one, "disk", "\"disk0\"");
    check_set(one, "disk", "disk0");
    check_refused(two, "disk", "disk0", "test-thing: property 'disk': 'disk0' is in use");
    g_assert_null(two->disk);
    object_unref(&one->obj);
    g_assert_cmpint(attached, ==, 0);
    check_set(two, "disk", "disk0");
    object_unref(&two->obj);
    g_assert_cmpint(attached, ==, 0);
}

static void test_override(void)
{
    Thing *special = thing_new("test-special-8.2,x");
    g_autoptr(GError) err = NULL;
    g_assert_false(object_set_uint(&special->obj, "u32", 101, &err));
    g_assert_cmpstr(err->message, ==, "test-special-8.2,x: property 'u32' can't be 101: it takes a number from 0 to 100");
    g_autoptr(GPtrArray) props = object_property_list(special->obj.klass);
    unsigned u32 = 0;
    for (guint i = 0; i < props->len; i++)
        u32 += !strcmp(((const Property *)props->pdata[i])->name, "u32");
    g_assert_cmpuint(u32, ==, 1);
    g_clear_error(&err);
    g_assert_false(object_check_required(&special->obj, &err));
    g_assert_cmpstr(err->message, ==, "test-special-8.2,x: property 'needed' must be given: a must");
    object_unref(&special->obj);
}

static void test_tree(void)
{
    Object *folder = object_get_container("/t/a");
    Thing *x = thing_new("test-thing"), *y = thing_new("test-thing"), *z = thing_new("test-thing");
    object_add_child(folder, "x", &x->obj);
    object_add_child(&x->obj, "y[*]", &y->obj);
    object_add_child(object_get_container("/t/b"), "y[*]", &z->obj);
    g_autofree char *path = object_path(&y->obj);
    g_assert_cmpstr(path, ==, "/t/a/x/y[0]");
    bool ambiguous;
    g_assert_true(object_resolve("/t/a/x/y[0]", NULL) == &y->obj);
    g_assert_true(object_resolve("/", NULL) == object_get_root());
    g_assert_true(object_resolve("x/y[0]", &ambiguous) == &y->obj && !ambiguous);
    g_assert_true(object_resolve("a/x", &ambiguous) == &x->obj);
    g_assert_null(object_resolve("y[0]", &ambiguous));
    g_assert_true(ambiguous);
    g_assert_null(object_resolve("nothing", &ambiguous));
    g_assert_false(ambiguous);
    g_assert_null(object_resolve("", NULL));

    check_set(z, "link", "/t/a/x");
    g_assert_true(z->link == &x->obj);
    g_assert_true(object_resolve("/t/b/y[0]/link/y[0]", NULL) == &y->obj);
    check_get(z, "link", "\"/t/a/x\"");
    check_get(x, "y[0]", "\"/t/a/x/y[0]\"");
    check_refused(y, "u8", "x", "test-thing 'y[0]': property 'u8' can't be 'x': it takes a number from 0 to 255");
    check_set(z, "link", "");
    g_assert_null(z->link);

    g_string_truncate(calls, 0);
    object_unref(&y->obj);
    object_unref(&z->obj);
    object_remove_from_parent(&x->obj);
    g_assert_cmpstr(calls->str, ==, "");
    object_unref(&x->obj);
    g_assert_cmpstr(calls->str, ==, "thing- thing- ");
    object_remove_from_parent(object_get_container("/t"));
    g_assert_null(object_resolve("/t", NULL));
}

static void test_globals(void)
{
    object_add_global("test-thing", "num-queues", "9");
    object_add_global("test-thing", "more", "for the derived only");
    object_add_global("test-special-8.2,x", "u8", "200");
    g_assert_null(object_check_globals());
    Thing *thing = thing_new("test-thing"), *special = thing_new("test-special-8.2,x");
    g_assert_cmpuint(thing->queues, ==, 9);
    g_assert_cmpuint(thing->u8, ==, 3);
    g_assert_cmpuint(special->queues, ==, 9);
    g_assert_cmpuint(special->u8, ==, 200);
    g_assert_cmpstr(((Special *)special)->more, ==, "for the derived only");
    object_unref(&thing->obj);
    object_unref(&special->obj);
    object_add_global("test-thing", "num-queues", "many");
    g_autoptr(GError) err = NULL;
    g_assert_null(object_new("test-thing", &err));
    g_assert_cmpstr(err->message, ==, "-global test-thing.num-queues=many: test-thing: property 'num-queues' can't be "
                                      "'many': it takes a number from 1 to 64");
    object_clear_globals();
    object_add_global("test-thing", "num-quues", "9");
    g_autofree char *typo = object_check_globals();
    g_assert_cmpstr(typo, ==, "-global test-thing.num-quues=9: 'test-thing' has no property 'num-quues'; did you mean 'num-queues'?");
    object_clear_globals();
    object_add_global("test-thinq", "u8", "9");
    g_autofree char *unknown = object_check_globals();
    g_assert_cmpstr(unknown, ==, "-global test-thinq.u8=9: there is no device or object type 'test-thinq'; did you mean 'test-thing'?");
    object_clear_globals();
}

static Object *add_user(const char *json, GError **err)
{
    json_object *options = json_tokener_parse(json);
    Object *obj = user_object_add(options, err);
    json_object_put(options);
    return obj;
}

static void test_user_objects(void)
{
    g_autoptr(GError) err = NULL;
    Object *obj = add_user("{\"qom-type\":\"test-thing\",\"id\":\"o1\",\"u32\":98,\"text\":\"x\"}", &err);
    g_assert_no_error(err);
    g_assert_true(obj && user_object_find("o1") == obj);
    static const char *const bad[][2] = {
        { "{\"qom-type\":\"test-thing\",\"id\":\"o1\"}", "there is an object with the id 'o1' already" },
        { "{\"qom-type\":\"test-thing\"}", "an object needs 'id'" },
        { "{\"id\":\"o2\"}", "an object needs 'qom-type'" },
        { "{\"qom-type\":\"test-thing\",\"id\":\"2o\"}",
          "object id '2o' is not valid: it takes a letter, then letters, digits, '-', '.' and '_'" },
        { "{\"qom-type\":\"container\",\"id\":\"o2\"}", "there is no object type 'container' that users can make" },
        { "{\"qom-type\":\"test-things\",\"id\":\"o2\"}",
          "there is no object type 'test-things' that users can make; did you mean 'test-thing'?" },
        { "{\"qom-type\":\"test-thing\",\"id\":\"o2\",\"u32\":99}", "99 does not complete" },
        { "{\"qom-type\":\"test-special-8.2,x\",\"id\":\"o2\"}",
          "test-special-8.2,x: property 'needed' must be given: a must" },
        { "{\"qom-type\":5,\"id\":\"o2\"}", "'qom-type' of an object must be text, not 5" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_assert_null(add_user(bad[i][0], &err));
        g_assert_cmpstr(err->message, ==, bad[i][1]);
        g_clear_error(&err);
        g_assert_null(user_object_find("o2"));
    }
    check_refused(obj, "u8", "1", "test-thing '/objects/o1': property 'u8' can't be changed any more, it is in use");
    check_set(obj, "live", "off");

    g_assert_false(user_object_del("o1", &err));
    g_assert_cmpstr(err->message, ==, "98 stays");
    g_clear_error(&err);
    ((Thing *)obj)->u32 = 1;
    Thing *user = thing_new("test-thing");
    check_set(user, "link", "o1");
    g_assert_false(user_object_del("o1", &err));
    g_assert_cmpstr(err->message, ==, "object 'o1' is in use and can't be deleted");
    g_clear_error(&err);
    object_unref(&user->obj);
    g_assert_true(user_object_del("o1", &err));
    g_assert_false(user_object_del("o1", &err));
    g_assert_cmpstr(err->message, ==, "there is no object with the id 'o1'");
}

static const char *plain(json_object *value)
{
    return json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
}

static void test_qmp(void)
{
    g_autoptr(GError) err = NULL;
    Object *obj = add_user("{\"qom-type\":\"test-thing\",\"id\":\"o1\"}", &err);
    g_assert_nonnull(obj);
    json_object *list = qom_qmp_list("/objects", &err);
    g_assert_cmpstr(plain(list), ==, "[{\"name\":\"type\",\"type\":\"string\"},{\"name\":\"o1\",\"type\":\"child<test-thing>\"}]");
    json_object_put(list);
    list = qom_qmp_list("/objects/o1", &err);
    g_assert_nonnull(strstr(plain(list), "{\"name\":\"link\",\"type\":\"link<test-thing>\"}"));
    g_assert_nonnull(strstr(plain(list), "{\"name\":\"num-queues\",\"type\":\"uint16\"}"));
    json_object_put(list);
    g_assert_null(qom_qmp_list("/nowhere", &err));
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_DEVICE_NOT_FOUND));
    g_clear_error(&err);
    json_object *value = qom_qmp_get("/objects/o1", "u8", &err);
    g_assert_cmpint(json_object_get_int(value), ==, 3);
    json_object_put(value);
    value = json_object_new_boolean(false);
    g_assert_true(qom_qmp_set("/objects/o1", "live", value, &err));
    json_object_put(value);
    g_assert_false(((Thing *)obj)->flag);

    list = qom_qmp_list_types("test-thing", false);
    g_assert_cmpstr(plain(list), ==, "[{\"name\":\"test-thing\",\"parent\":\"object\"},"
                                     "{\"name\":\"test-special-8.2,x\",\"parent\":\"test-thing\"}]");
    json_object_put(list);
    list = qom_qmp_list_types(NULL, false);
    g_assert_null(strstr(plain(list), "test-abstract"));
    json_object_put(list);
    list = qom_qmp_list_types(NULL, true);
    g_assert_nonnull(strstr(plain(list), "{\"name\":\"test-abstract\",\"abstract\":true,\"parent\":\"object\"}"));
    json_object_put(list);
    list = qom_qmp_list_properties("test-thing", &err);
    g_assert_nonnull(strstr(plain(list), "{\"name\":\"num-queues\",\"type\":\"uint16\",\"description\":\"request queues\",\"default-value\":1}"));
    json_object_put(list);
    g_assert_null(qom_qmp_list_properties("nonsense", &err));
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_GENERIC));
    g_clear_error(&err);
    g_assert_null(qom_qmp_device_list_properties("test-thing", &err));
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_DEVICE_NOT_FOUND));
    g_clear_error(&err);
    g_assert_true(user_object_del("o1", &err));
}

static void test_help(void)
{
    g_autofree char *help = object_class_help(object_class_find("test-thing"));
    g_assert_nonnull(strstr(help, "test-thing options:\n  addr=<int32>           - address (default: -1)\n"));
    g_assert_nonnull(strstr(help, "  num-queues=<uint16>    - request queues (default: 1)\n"));
    g_assert_nonnull(strstr(help, "  mode=<str>             - a mode (slow/fast) (default: \"fast\")\n"));
    g_assert_null(strstr(help, "fixed"));
    g_autofree char *list = user_object_list_help();
    g_assert_nonnull(strstr(list, "  test-thing               a thing\n"));
    g_assert_null(strstr(list, "container"));
}

static void test_alias(void)
{
    object_class_add_alias("short", "test-thing");
    g_assert_true(object_class_find("short") == &thing_class);
    g_assert_cmpstr(object_class_alias("test-thing"), ==, "short");
    Thing *thing = thing_new("short");
    object_unref(&thing->obj);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    calls = g_string_new(NULL);
    property_set_backend_ops(PROP_KIND_DISK, &backend_ops);
    g_test_add_func("/qom/life", test_life);
    g_test_add_func("/qom/unknown", test_unknown);
    g_test_add_func("/qom/defaults", test_defaults);
    g_test_add_func("/qom/text", test_text);
    g_test_add_func("/qom/refused", test_refused);
    g_test_add_func("/qom/json", test_json);
    g_test_add_func("/qom/gobject", test_gobject);
    g_test_add_func("/qom/backend", test_backend);
    g_test_add_func("/qom/override", test_override);
    g_test_add_func("/qom/tree", test_tree);
    g_test_add_func("/qom/globals", test_globals);
    g_test_add_func("/qom/user-objects", test_user_objects);
    g_test_add_func("/qom/qmp", test_qmp);
    g_test_add_func("/qom/help", test_help);
    g_test_add_func("/qom/alias", test_alias);
    int status = g_test_run();
    g_string_free(calls, TRUE);
    return status;
}
