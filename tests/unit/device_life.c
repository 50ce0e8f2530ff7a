/* Devices: realize and its undo at every step, buses, irq lists, hot-plug rules, reset order, boot order, help. */
#include <hw/bus.h>
#include <json-c/json.h>

#include <string.h>

#include "hw/core/device-class.h"
#include "qom/qom-qmp.h"
#include "monitor/events.h"
#include "system/machine.h"

static Machine *machine;
static GString *calls;   /* what ran, in order */
static GString *events;  /* DEVICE_DELETED data */

/* linked with --wrap: stands in for the monitor */
void __wrap_qmp_event_emit(const char *name, json_object *data);
void __wrap_qmp_event_emit(const char *name, json_object *data)
{
    g_string_append_printf(events, "%s %s;", name,
                           json_object_to_json_string_ext(data, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(data);
}

/* A bus whose plug refuses slot 13 and whose guest answers an unplug later. */
typedef struct {
    Device dev;
    uint32_t slot;
    bool fail_base, fail, fail_late, provide;
    Irq *out[2];
    unsigned in_level, in_count;
    Bus *bus;
} Dev;

static bool test_plug(Bus *bus, Device *dev, GError **err)
{
    g_string_append(calls, "plug ");
    if (((Dev *)dev)->slot != 13)
        return true;
    error_set(err, "slot 13 is unlucky");
    return false;
}
static void test_unplug(Bus *bus, Device *dev) { g_string_append(calls, "unplug "); }
static void test_announce(Bus *bus, Device *dev) { g_string_append(calls, "announce "); }
static void test_bus_reset(Bus *bus) { g_string_append_printf(calls, "reset:%s ", bus->obj.id); }
static bool test_unplug_request(Bus *bus, Device *dev, GError **err)
{
    if (((Dev *)dev)->slot == 14) {
        error_set(err, "the guest holds on");
        return false;
    }
    g_string_append(calls, "ask ");
    return true;
}
static char *test_firmware_path(Bus *bus, Device *dev) { return g_strdup_printf("/test@%x", ((Dev *)dev)->slot); }

static const BusClass test_bus = {
    .name = "test-bus", .parent = TYPE_BUS, .size = sizeof(Bus), .kind = "TEST", .max_devices = 3, .plug = test_plug,
    .unplug = test_unplug, .announce = test_announce, .unplug_request = test_unplug_request,
    .firmware_path = test_firmware_path, .reset = test_bus_reset,
};
REGISTER_OBJECT(test_bus)

static void dev_irq(void *opaque, unsigned n, bool level)
{
    Dev *dev = opaque;
    dev->in_level = level;
    dev->in_count += n + 1;
}

static bool base_realize(Device *dev, GError **err)
{
    g_string_append(calls, "base+ ");
    if (((Dev *)dev)->fail_base) {
        error_set(err, "the base fails");
        return false;
    }
    return true;
}
static void base_unrealize(Device *dev) { g_string_append(calls, "base- "); }
static void base_reset(Device *dev) { g_string_append(calls, "reset:base "); }

static bool leaf_realize(Device *dev, GError **err)
{
    Dev *d = (Dev *)dev;
    g_string_append(calls, "leaf+ ");
    if (d->fail) {
        error_set(err, "the leaf fails");
        return false;
    }
    device_init_irq_in(dev, NULL, dev_irq, 4);
    device_init_irq_out(dev, "out", d->out, 2);
    if (!d->provide)
        return true;
    d->bus = bus_new(dev->machine, "test-bus", dev, NULL);
    d->bus->hotpluggable = true;
    if (!d->fail_late)
        return true;
    /* leaves a device on its own bus for the core to clean up */
    Device *inner = device_new(dev->machine, "test-leaf", err);
    if (!inner || !device_realize(inner, d->bus, err))
        return false;
    error_set(err, "the leaf fails late");
    return false;
}
static void leaf_unrealize(Device *dev) { g_string_append(calls, "leaf- "); }
static void leaf_reset(Device *dev) { g_string_append_printf(calls, "reset:leaf:%s ", dev->obj.id); }

static const Property base_props[] = {
    PROP_U32("slot", Dev, slot, 0, 0, 31, "where on the bus"),
    PROP_BOOL("fail-base", Dev, fail_base, false, "fault"),
    PROP_BOOTINDEX,
    PROP_END
};
static const Property leaf_props[] = {
    PROP_BOOL("fail", Dev, fail, false, "fault"),
    PROP_BOOL("fail-late", Dev, fail_late, false, "fault"),
    PROP_BOOL("provide", Dev, provide, false, "has a bus"),
    PROP_END
};

static const DeviceClass base_table = {
    .name = "test-base", .parent = TYPE_DEVICE, .size = sizeof(Dev), .abstract = true, .props = base_props, .bus = "TEST",
    .realize = base_realize, .unrealize = base_unrealize, .reset = base_reset, .category = DEV_STORAGE,
};
REGISTER_DEVICE(base_table)
static const DeviceClass leaf_table = {
    .name = "test-leaf", .parent = "test-base", .desc = "a leaf", .props = leaf_props, .realize = leaf_realize,
    .unrealize = leaf_unrealize, .reset = leaf_reset,
};
REGISTER_DEVICE(leaf_table)
static const DeviceClass cold_table = { .name = "test-cold", .parent = "test-base", .no_hotplug = true };
REGISTER_DEVICE(cold_table)
static const DeviceClass board_table = { .name = "test-board", .parent = TYPE_DEVICE, .internal = true, .size = sizeof(Dev),
                                         .unrealize = leaf_unrealize };
REGISTER_DEVICE(board_table)
static const DeviceClass busless_table = { .name = "test-busless", .parent = TYPE_DEVICE };
REGISTER_DEVICE(busless_table)

static const MachineClass test_machine = { .name = "test-machine", .parent = TYPE_MACHINE, .machine_name = "test" };
REGISTER_OBJECT(test_machine)

static Device *root_dev;
static Bus *root_bus;

static void setup(void)
{
    g_autoptr(GError) err = NULL;
    machine = (Machine *)object_new("test-machine", &err);
    g_assert_no_error(err);
    object_add_child(object_get_root(), "machine", &machine->obj);
    domain_lock(machine->domain);
    root_dev = device_new(machine, "test-board", &err);
    g_assert_true(device_realize(root_dev, NULL, &err));
    root_bus = bus_new(machine, "test-bus", root_dev, "test.0");
    root_bus->hotpluggable = true;
    g_string_truncate(calls, 0);
    g_string_truncate(events, 0);
}

static void teardown(void)
{
    devices_unrealize_all(machine);
    Domain *domain = machine->domain;
    object_remove_from_parent(&machine->obj);
    domain_unlock(domain);
    object_unref(&machine->obj);
    machine = NULL;
}

static Device *add(const char *json, const char *refusal)
{
    g_autoptr(GError) err = NULL;
    json_object *options = json_tokener_parse(json);
    g_assert_nonnull(options);
    Device *dev = device_add(machine, options, &err);
    json_object_put(options);
    g_assert_cmpstr(err ? err->message : NULL, ==, refusal);
    g_assert_true(!dev == !!refusal);
    return dev;
}

static void del(const char *id, const char *refusal)
{
    g_autoptr(GError) err = NULL;
    g_assert_true(device_del(machine, id, &err) == !refusal);
    g_assert_cmpstr(err ? err->message : NULL, ==, refusal);
}

static void test_add(void)
{
    setup();
    Device *dev = add("{\"driver\":\"test-leaf\",\"id\":\"a\",\"slot\":5}", NULL);
    g_assert_cmpstr(calls->str, ==, "plug base+ leaf+ ");
    g_assert_true(dev->realized && dev->bus == root_bus && !dev->hotplugged);
    g_autofree char *path = object_path(&dev->obj);
    g_assert_cmpstr(path, ==, "/machine/peripheral/a");
    Device *anon = add("{\"driver\":\"test-leaf\",\"bus\":\"test.0\"}", NULL);
    g_autofree char *anon_path = object_path(&anon->obj);
    g_assert_cmpstr(anon_path, ==, "/machine/peripheral-anon/device[0]");
    g_autofree char *root_path = object_path(&root_dev->obj);
    g_assert_cmpstr(root_path, ==, "/machine/unattached/device[0]");
    g_assert_true(object_resolve("/machine/peripheral/a/parent_bus", NULL) == &root_bus->obj);
    g_autoptr(GError) err = NULL;
    g_assert_false(object_set_uint(&dev->obj, "slot", 6, &err));
    g_assert_cmpstr(err->message, ==, "test-leaf '/machine/peripheral/a': property 'slot' can't be changed any more, it is in use");
    g_string_truncate(calls, 0);
    del("a", NULL);
    g_assert_cmpstr(calls->str, ==, "leaf- base- unplug ");
    g_assert_cmpstr(events->str, ==, "DEVICE_DELETED {\"device\":\"a\",\"path\":\"/machine/peripheral/a\"};");
    g_assert_cmpuint(root_bus->devices->len, ==, 1);
    teardown();
}

static void test_refused(void)
{
    setup();
    static const char *const bad[][2] = {
        { "{}", "a device needs 'driver', the name of its model" },
        { "{\"driver\":5}", "'driver' of a device must be text, not 5" },
        { "{\"driver\":\"test-laef\"}", "'test-laef' is not a device model; did you mean 'test-leaf'?" },
        { "{\"driver\":\"container\"}", "'container' is not a device model" },
        { "{\"driver\":\"test-base\"}", "device model 'test-base' is abstract: only models derived from it can be added" },
        { "{\"driver\":\"test-board\"}", "device 'test-board' is part of the machine and can't be added by users" },
        { "{\"driver\":\"test-leaf\",\"id\":\"1\"}",
          "device id '1' is not valid: it takes a letter, then letters, digits, '-', '.' and '_'" },
        { "{\"driver\":\"test-leaf\",\"bus\":\"pci.0\"}", "test-leaf: there is no bus 'pci.0'; there are 'test.0'" },
        { "{\"driver\":\"test-busless\",\"bus\":\"test.0\"}", "device model 'test-busless' plugs into no bus: bus=test.0 can't be used" },
        { "{\"driver\":\"test-leaf\",\"slto\":1}", "test-leaf: there is no property 'slto'; did you mean 'slot'?" },
        { "{\"driver\":\"test-leaf\",\"slot\":32}", "test-leaf: property 'slot' can't be 32: it takes a number from 0 to 31" },
        { "{\"driver\":\"test-leaf\",\"slot\":13,\"id\":\"x\"}", "slot 13 is unlucky" },
        { "{\"driver\":\"test-leaf\",\"fail-base\":true,\"id\":\"x\"}", "the base fails" },
        { "{\"driver\":\"test-leaf\",\"fail\":true,\"id\":\"x\"}", "the leaf fails" },
        { "{\"driver\":\"test-leaf\",\"provide\":true,\"fail-late\":true,\"id\":\"x\"}", "the leaf fails late" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        add(bad[i][0], bad[i][1]);
        g_assert_cmpuint(root_bus->devices->len, ==, 0);
        g_assert_null(object_resolve("/machine/peripheral/x", NULL));
    }
    g_assert_cmpstr(events->str, ==, "");
    g_string_truncate(calls, 0);
    add("{\"driver\":\"test-leaf\",\"fail\":true}", "the leaf fails");
    g_assert_cmpstr(calls->str, ==, "plug base+ leaf+ base- unplug ");
    g_string_truncate(calls, 0);
    add("{\"driver\":\"test-leaf\",\"provide\":true,\"fail-late\":true}", "the leaf fails late");
    g_assert_cmpstr(calls->str, ==, "plug base+ leaf+ plug base+ leaf+ leaf- base- unplug base- unplug ");

    add("{\"driver\":\"test-leaf\",\"id\":\"a\"}", NULL);
    add("{\"driver\":\"test-leaf\",\"id\":\"a\"}", "there is a device with the id 'a' already");
    add("{\"driver\":\"test-leaf\"}", NULL);
    add("{\"driver\":\"test-leaf\"}", NULL);
    add("{\"driver\":\"test-leaf\"}", "test-leaf: every TEST bus is full: 'test.0'");
    add("{\"driver\":\"test-leaf\",\"bus\":\"test.0\"}", "test-leaf: bus 'test.0' is full: it takes 3 devices");
    teardown();
}

static void test_nested(void)
{
    setup();
    Device *hub = add("{\"driver\":\"test-leaf\",\"id\":\"hub\",\"provide\":true}", NULL);
    g_assert_cmpstr(((Dev *)hub)->bus->obj.id, ==, "hub.0");
    Device *one = add("{\"driver\":\"test-leaf\",\"id\":\"one\",\"bus\":\"hub\",\"slot\":7}", NULL);
    Device *two = add("{\"driver\":\"test-leaf\",\"id\":\"two\",\"bus\":\"hub.0\"}", NULL);
    Device *three = add("{\"driver\":\"test-leaf\",\"bus\":\"/machine/peripheral/hub/hub.0\"}", NULL);
    g_assert_true(one->bus == two->bus && two->bus == three->bus && one->bus->provider == hub);
    add("{\"driver\":\"test-leaf\",\"id\":\"four\"}", NULL);
    g_string_truncate(calls, 0);
    device_reset_tree(hub);
    g_assert_cmpstr(calls->str, ==, "reset:base reset:leaf:one reset:base reset:leaf:two reset:base reset:leaf:device[0] "
                                    "reset:hub.0 reset:base reset:leaf:hub ");
    g_autofree char *path = device_firmware_path(one);
    g_assert_cmpstr(path, ==, "/test@0/test@7");
    g_string_truncate(calls, 0);
    del("hub", NULL);
    g_assert_cmpstr(calls->str, ==, "leaf- base- unplug leaf- base- unplug leaf- base- unplug leaf- base- unplug ");
    g_assert_cmpstr(events->str, ==,
                    "DEVICE_DELETED {\"path\":\"/machine/peripheral-anon/device[0]\"};"
                    "DEVICE_DELETED {\"device\":\"two\",\"path\":\"/machine/peripheral/two\"};"
                    "DEVICE_DELETED {\"device\":\"one\",\"path\":\"/machine/peripheral/one\"};"
                    "DEVICE_DELETED {\"device\":\"hub\",\"path\":\"/machine/peripheral/hub\"};");
    teardown();
}

static void test_hotplug(void)
{
    setup();
    add("{\"driver\":\"test-leaf\",\"id\":\"cold\"}", NULL);
    machine->started = true;
    g_string_truncate(calls, 0);
    Device *dev = add("{\"driver\":\"test-leaf\",\"id\":\"hot\",\"slot\":2}", NULL);
    g_assert_cmpstr(calls->str, ==, "plug base+ leaf+ reset:base reset:leaf:hot announce ");
    g_assert_true(dev->hotplugged);
    add("{\"driver\":\"test-cold\"}", "device model 'test-cold' can't be added while the machine runs");
    root_bus->hotpluggable = false;
    add("{\"driver\":\"test-leaf\"}", "bus 'test.0' takes no devices while the machine runs");
    del("hot", "device 'hot' can't be removed while the machine runs: bus 'test.0' doesn't allow it");
    root_bus->hotpluggable = true;

    g_string_truncate(calls, 0);
    del("hot", NULL);
    g_assert_cmpstr(calls->str, ==, "ask ");
    g_assert_true(dev->realized && dev->unplugging);
    del("hot", "device 'hot' is being unplugged already: the guest has not answered");
    g_assert_cmpstr(events->str, ==, "");
    device_unplug_complete(dev);
    g_assert_cmpstr(events->str, ==, "DEVICE_DELETED {\"device\":\"hot\",\"path\":\"/machine/peripheral/hot\"};");

    dev = add("{\"driver\":\"test-leaf\",\"id\":\"sticky\",\"slot\":14}", NULL);
    del("sticky", "the guest holds on");
    g_assert_false(dev->unplugging);
    del("/machine/unattached/device[0]", "device '/machine/unattached/device[0]' is part of the machine and can't be removed");
    del("/machine", "'/machine' is of type test-machine, not a device");
    g_autoptr(GError) err = NULL;
    g_assert_false(device_del(machine, "nobody", &err));
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_DEVICE_NOT_FOUND));
    g_assert_cmpstr(err->message, ==, "there is no device 'nobody'");
    teardown();
}

static void record(void *opaque, unsigned n, bool level)
{
    g_string_append_printf(opaque, "%u%c ", n, level ? '+' : '-');
}

static void test_irqs(void)
{
    setup();
    Dev *a = (Dev *)add("{\"driver\":\"test-leaf\",\"id\":\"a\"}", NULL);
    Dev *b = (Dev *)add("{\"driver\":\"test-leaf\",\"id\":\"b\"}", NULL);
    g_autoptr(GString) seen = g_string_new(NULL), out = g_string_new(NULL);
    g_assert_null(device_irq_in(&b->dev, NULL, 4));
    g_assert_null(device_irq_in(&b->dev, "other", 0));
    g_assert_true(device_irq_in(&b->dev, "unnamed-gpio-in", 0) == device_irq_in(&b->dev, NULL, 0));
    irq_set(a->out[1], true); /* open */
    device_connect_irq(&a->dev, "out", 1, device_irq_in(&b->dev, NULL, 3));
    irq_raise(a->out[1]);
    g_assert_cmpuint(b->in_count, ==, 4);
    g_assert_true(b->in_level);
    g_assert_true(device_observe_irqs(&b->dev, NULL, true, record, seen));
    g_assert_true(device_observe_irqs(&a->dev, "out", false, record, out));
    g_assert_false(device_observe_irqs(&a->dev, "none", false, record, out));
    irq_pulse(a->out[1]);
    irq_raise(a->out[0]); /* observed although it is open */
    device_connect_irq(&a->dev, "out", 0, device_irq_in(&b->dev, NULL, 2));
    irq_raise(a->out[0]);
    g_assert_cmpstr(out->str, ==, "1+ 1- 0+ 0+ ");
    g_assert_cmpstr(seen->str, ==, "3+ 3- 2+ ");
    teardown();
}

static void test_bootindex(void)
{
    setup();
    add("{\"driver\":\"test-leaf\",\"slot\":1,\"bootindex\":7}", NULL);
    add("{\"driver\":\"test-leaf\",\"slot\":2,\"bootindex\":0,\"id\":\"d\"}", NULL);
    add("{\"driver\":\"test-leaf\",\"bootindex\":0}",
        "test-leaf: bootindex 0 is taken by /machine/peripheral/d: each device needs its own");
    add("{\"driver\":\"test-leaf\",\"bootindex\":-2}",
        "test-leaf: property 'bootindex' can't be -2: it takes a number from -1 to 2147483647");
    g_autoptr(GPtrArray) order = boot_order(machine);
    g_assert_cmpuint(order->len, ==, 2);
    g_assert_cmpstr(order->pdata[0], ==, "/test@2");
    g_assert_cmpstr(order->pdata[1], ==, "/test@1");
    teardown();
}

static void test_help(void)
{
    g_autofree char *list = device_list_help();
    g_assert_nonnull(strstr(list, "Storage devices:\nname \"test-cold\", bus TEST\nname \"test-leaf\", bus TEST, desc \"a leaf\"\n"));
    g_assert_null(strstr(list, "test-board"));
    g_autoptr(GError) err = NULL;
    g_autofree char *help = device_class_help("test-leaf", &err);
    g_assert_cmpstr(help, ==,
                    "test-leaf options:\n"
                    "  bootindex=<int32>      - place in the firmware's boot order, -1: none (default: -1)\n"
                    "  fail=<bool>            - fault (default: off)\n"
                    "  fail-base=<bool>       - fault (default: off)\n"
                    "  fail-late=<bool>       - fault (default: off)\n"
                    "  provide=<bool>         - has a bus (default: off)\n"
                    "  slot=<uint32>          - where on the bus (default: 0)\n");
    g_assert_null(device_class_help("nothing", &err));
    g_assert_cmpstr(err->message, ==, "'nothing' is not a device model");
    g_clear_error(&err);
    json_object *props = qom_qmp_device_list_properties("test-leaf", &err);
    g_assert_cmpint(json_object_array_length(props), ==, 6);
    json_object_put(props);
    g_assert_null(qom_qmp_device_list_properties("test-base", &err));
    g_assert_true(g_error_matches(err, RHEA_ERROR, RHEA_ERROR_GENERIC));
}

static void test_guest_error(void)
{
    setup();
    for (unsigned i = 0; i < 1000; i++)
        guest_error(root_dev, "write of 0x%x", i);
    g_assert_cmpuint(root_dev->guest_errors, ==, 1000);
    teardown();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    calls = g_string_new(NULL);
    events = g_string_new(NULL);
    g_test_add_func("/device/add", test_add);
    g_test_add_func("/device/refused", test_refused);
    g_test_add_func("/device/nested", test_nested);
    g_test_add_func("/device/hotplug", test_hotplug);
    g_test_add_func("/device/irqs", test_irqs);
    g_test_add_func("/device/bootindex", test_bootindex);
    g_test_add_func("/device/help", test_help);
    g_test_add_func("/device/guest-error", test_guest_error);
    int status = g_test_run();
    g_string_free(calls, TRUE);
    g_string_free(events, TRUE);
    return status;
}
