/* Saved state: every kind of row, versions, hooks, and what a damaged state is answered with. */
#include <json-c/json.h>

#include <string.h>

#include "hw/core/device-class.h"
#include "hw/core/state.h"
#include "system/machine.h"

typedef struct {
    uint8_t a;
    uint16_t b[2];
} Part;

typedef struct {
    Device dev;
    bool flag;
    uint8_t u8;
    uint16_t u16;
    uint32_t u32, added;
    uint64_t u64, list[3];
    int64_t i64;
    uint8_t bytes[4];
    Part part, parts[2];
    Timer *timer;
    unsigned loads;
} Dev;

static bool after_load(void *instance, uint32_t version, GError **err)
{
    Dev *d = instance;
    if (d->u8 == 99) {
        error_set(err, "99 is no state to be in");
        return false;
    }
    d->loads += version;
    return true;
}

static const StateField part_state[] = { STATE_U8_(Part, a), STATE_ARRAY_(Part, b, STATE_U16), STATE_END };
static const StateField base_state[] = { STATE_BOOL_(Dev, flag), STATE_END };
static const StateField dev_state[] = {
    STATE_U8_(Dev, u8), STATE_U16_(Dev, u16), STATE_U32_(Dev, u32), STATE_U64_(Dev, u64), STATE_I64_(Dev, i64),
    STATE_ARRAY_(Dev, list, STATE_U64), STATE_BYTES_(Dev, bytes), STATE_TIMER_(Dev, timer),
    { .name = "part", .kind = STATE_STRUCT, .offset = offsetof(Dev, part), .stride = sizeof(Part), .sub = part_state },
    STATE_STRUCTS_(Dev, parts, part_state),
    { .name = "added", .kind = STATE_U32, .offset = offsetof(Dev, added), .since = 2 },
    STATE_POST_LOAD(after_load), STATE_END
};

static void tick(void *opaque) {}
static bool dev_realize(Device *dev, GError **err)
{
    ((Dev *)dev)->timer = timer_new(dev->domain, CLOCK_GUEST, tick, dev);
    return true;
}
static void dev_unrealize(Device *dev) { timer_free(((Dev *)dev)->timer); }

static const DeviceClass base_class = { .name = "state-base", .parent = TYPE_DEVICE, .size = sizeof(Dev), .abstract = true,
                                        .state = base_state, .state_version = 1 };
REGISTER_DEVICE(base_class)
static const DeviceClass dev_class = { .name = "state-dev", .parent = "state-base", .state = dev_state, .state_version = 2,
                                       .realize = dev_realize, .unrealize = dev_unrealize };
REGISTER_DEVICE(dev_class)
static const MachineClass test_machine = { .name = "test-machine", .parent = TYPE_MACHINE, .machine_name = "test" };
REGISTER_OBJECT(test_machine)

static Machine *machine;

static Dev *make(void)
{
    g_autoptr(GError) err = NULL;
    Device *dev = device_new(machine, "state-dev", &err);
    g_assert_true(dev && device_realize(dev, NULL, &err));
    return (Dev *)dev;
}

static const char SAVED[] =
    "{\"state-base\":{\"flag\":true,\"version\":1},"
    "\"state-dev\":{\"u8\":255,\"u16\":65535,\"u32\":4294967295,\"u64\":18446744073709551615,\"i64\":-5,"
    "\"list\":[1,2,3],\"bytes\":\"00017fff\",\"timer\":5000,\"part\":{\"a\":1,\"b\":[2,3]},"
    "\"parts\":[{\"a\":4,\"b\":[5,6]},{\"a\":7,\"b\":[8,9]}],\"added\":10,\"version\":2}}";

static void test_round_trip(void)
{
    g_autoptr(GError) err = NULL;
    Dev *one = make(), *two = make();
    one->flag = true;
    one->u8 = 255, one->u16 = 65535, one->u32 = UINT32_MAX, one->u64 = UINT64_MAX, one->i64 = -5;
    memcpy(one->list, (uint64_t[]){ 1, 2, 3 }, sizeof(one->list));
    memcpy(one->bytes, "\x00\x01\x7f\xff", 4);
    one->part = (Part){ 1, { 2, 3 } };
    one->parts[0] = (Part){ 4, { 5, 6 } };
    one->parts[1] = (Part){ 7, { 8, 9 } };
    one->added = 10;
    timer_mod(one->timer, 5000);
    json_object *state = device_state_save(&one->dev);
    g_assert_cmpstr(json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN), ==, SAVED);
    g_assert_true(device_state_load(&two->dev, state, &err));
    g_assert_no_error(err);
    json_object_put(state);
    g_assert_cmpint(timer_deadline(two->timer), ==, 5000);
    g_assert_cmpuint(two->loads, ==, 2);
    state = device_state_save(&two->dev);
    g_assert_cmpstr(json_object_to_json_string_ext(state, JSON_C_TO_STRING_PLAIN), ==, SAVED);
    json_object_put(state);
    device_unrealize(&one->dev);
    device_unrealize(&two->dev);
}

static void test_refused(void)
{
    /* what is replaced in SAVED, by what, and the answer */
    static const char *const bad[][3] = {
        { "\"u8\":255", "\"u8\":256", "state-dev.u8 can't be 256" },
        { "\"u8\":255", "\"u8\":-1", "state-dev.u8 can't be -1" },
        { "\"u8\":255", "\"u8\":\"1\"", "state-dev.u8 can't be \"1\"" },
        { "\"u8\":255", "\"u8\":99", "99 is no state to be in" },
        { "\"u8\":255,", "", "state-dev.u8 is missing" },
        { "[1,2,3]", "[1,2]", "state-dev.list must be a list of 3 values" },
        { "[1,2,3]", "[1,true,3]", "state-dev.list[1] can't be true" },
        { "00017fff", "00017ff", "state-dev.bytes must be the hexadecimal text of 4 bytes" },
        { "00017fff", "00017ffg", "state-dev.bytes must be the hexadecimal text of 4 bytes" },
        { "5000", "-2", "state-dev.timer can't be -2" },
        { "{\"a\":4,\"b\":[5,6]}", "5", "state-dev.parts[0] must be an object" },
        { "\"a\":7", "\"a\":null", "state-dev.parts[1].a can't be null" },
        { "\"flag\":true", "\"flag\":1", "state-base.flag can't be 1" },
        { "\"version\":2", "\"version\":3", "its state of 'state-dev' has version 3, this program knows 2" },
        { "\"state-base\"", "\"other\"", "there is no saved state of 'state-base'" },
    };
    Dev *dev = make();
    g_autofree char *path = object_path(&dev->dev.obj);
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) err = NULL;
        g_auto(GStrv) parts = g_strsplit(SAVED, bad[i][0], 2);
        g_autofree char *text = g_strjoinv(bad[i][1], parts);
        g_autofree char *expected = g_strdup_printf("%s: %s", path, bad[i][2]);
        json_object *state = json_tokener_parse(text);
        g_assert_false(device_state_load(&dev->dev, state, &err));
        g_assert_cmpstr(err->message, ==, expected);
        json_object_put(state);
    }
    device_unrealize(&dev->dev);
}

static void test_older_version(void)
{
    g_autoptr(GError) err = NULL;
    Dev *dev = make();
    dev->added = 77;
    g_auto(GStrv) parts = g_strsplit(SAVED, ",\"added\":10,\"version\":2", 2);
    g_autofree char *text = g_strjoinv(",\"version\":1", parts);
    json_object *state = json_tokener_parse(text);
    g_assert_true(device_state_load(&dev->dev, state, &err));
    g_assert_cmpuint(dev->added, ==, 77);
    g_assert_cmpuint(dev->loads, ==, 1);
    json_object_put(state);
    device_unrealize(&dev->dev);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    machine = (Machine *)object_new("test-machine", NULL);
    object_add_child(object_get_root(), "machine", &machine->obj);
    domain_lock(machine->domain);
    g_test_add_func("/state/round-trip", test_round_trip);
    g_test_add_func("/state/refused", test_refused);
    g_test_add_func("/state/older-version", test_older_version);
    int status = g_test_run();
    Domain *domain = machine->domain;
    object_remove_from_parent(&machine->obj);
    domain_unlock(domain);
    object_unref(&machine->obj);
    return status;
}
