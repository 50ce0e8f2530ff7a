/* The human monitor's commands. */
#include <inttypes.h>
#include <string.h>

#include <block/block.h>
#include <hw/device.h>
#include <mem/dma.h>
#include <ui/input.h>

#include "monitor/hmp-cpu.h"
#include "monitor/hmp.h"
#include "system/vcpu.h"

HmpFunc hmp_info, hmp_help;

static const char *get(json_object *o, const char *name)
{
    const char *text = arg_str(o, name);
    return text ? text : "";
}

static void quit_command(Hmp *hmp)
{
    json_object_put(hmp_call(hmp, "quit", NULL));
}

/* ---- memory ---- */

static unsigned size_of(char size)
{
    return size == 'b' ? 1 : size == 'h' ? 2 : size == 'g' ? 8 : 4;
}

static void print_value(Hmp *hmp, uint64_t value, unsigned bytes)
{
    value &= mask_bytes(bytes);
    int64_t as_signed = (int64_t)(value << (64 - bytes * 8)) >> (64 - bytes * 8);
    switch (hmp->format) {
    case 'd':
        hmp_print(hmp, "%" PRId64, as_signed);
        break;
    case 'u':
        hmp_print(hmp, "%" PRIu64, value);
        break;
    case 'o':
        hmp_print(hmp, "%#" PRIo64, value);
        break;
    case 'c':
        hmp_print(hmp, g_ascii_isprint(value) && value < 0x80 ? "'%c'" : "'\\x%02x'", (unsigned)(value & 0xff));
        break;
    default:
        hmp_print(hmp, "0x%0*" PRIx64, bytes * 2, value);
    }
}

typedef bool ReadBytes(Hmp *hmp, uint64_t addr, void *buf, size_t len);

static bool read_physical(Hmp *hmp, uint64_t addr, void *buf, size_t len)
{
    return dma_read(hmp->ctx->machine->mem, addr, buf, len) == MEMTX_OK;
}

static bool read_linear(Hmp *hmp, uint64_t addr, void *buf, size_t len)
{
    return hmp_read_linear(hmp->ctx, addr, buf, len, NULL) == len;
}

static void dump(Hmp *hmp, uint64_t addr, ReadBytes *read_bytes)
{
    unsigned bytes = size_of(hmp->format == 'c' ? 'b' : hmp->size), columns = bytes == 8 ? 2 : bytes == 4 ? 4 : 8;
    for (unsigned i = 0; i < hmp->count; i++, addr += bytes) {
        uint8_t buf[8] = { 0 };
        if (i % columns == 0)
            hmp_print(hmp, "%s%016" PRIx64 ":", i ? "\r\n" : "", addr);
        hmp_print(hmp, " ");
        if (!read_bytes(hmp, addr, buf, bytes)) {
            hmp_print(hmp, "Cannot access memory\r\n");
            return;
        }
        print_value(hmp, ld64(buf), bytes);
    }
    hmp_print(hmp, "\r\n");
}

static void dump_physical(Hmp *hmp)
{
    if (hmp->format == 'i')
        hmp_disassemble(hmp, arg_uint(hmp->args, "addr", 0), true);
    else
        dump(hmp, arg_uint(hmp->args, "addr", 0), read_physical);
}

static void dump_linear(Hmp *hmp)
{
    if (hmp->format == 'i')
        hmp_disassemble(hmp, arg_uint(hmp->args, "addr", 0), false);
    else
        dump(hmp, arg_uint(hmp->args, "addr", 0), read_linear);
}

static void print_expression(Hmp *hmp)
{
    hmp->size = 'g';
    uint64_t value = arg_uint(hmp->args, "value", 0);
    if (hmp->format == 'x')
        hmp_print(hmp, "0x%" PRIx64, value);
    else
        print_value(hmp, value, 8);
    hmp_print(hmp, "\r\n");
}

static void port_in(Hmp *hmp)
{
    MemView *view = address_space_view_ref(hmp->ctx->machine->io);
    uint64_t value = 0;
    unsigned bytes = hmp->size == 'g' ? 4 : size_of(hmp->size);
    mem_view_read(view, arg_uint(hmp->args, "port", 0) & 0xffff, &value, bytes);
    mem_view_unref(view);
    hmp_print(hmp, "port%c[0x%04x] = 0x%0*" PRIx64 "\r\n", bytes == 1 ? 'b' : bytes == 2 ? 'w' : 'l',
              (unsigned)arg_uint(hmp->args, "port", 0) & 0xffff, bytes * 2, value & mask_bytes(bytes));
}

static void port_out(Hmp *hmp)
{
    MemView *view = address_space_view_ref(hmp->ctx->machine->io);
    unsigned bytes = hmp->size == 'g' ? 4 : size_of(hmp->size);
    mem_view_write(view, arg_uint(hmp->args, "port", 0) & 0xffff, arg_uint(hmp->args, "value", 0), bytes);
    mem_view_unref(view);
}

/* ---- info ---- */

static void info_status(Hmp *hmp)
{
    Machine *m = hmp->ctx->machine;
    RunStateKind state = runstate_get(m->run);
    bool running = state == RUN_RUNNING;
    hmp_print(hmp, "VM status: %s%s%s%s\r\n", running ? "running" : "paused", running || state == RUN_PAUSED ? "" : " (",
              running || state == RUN_PAUSED ? "" : runstate_name(state), running || state == RUN_PAUSED ? "" : ")");
}

static void info_version(Hmp *hmp)
{
    hmp_print(hmp, "Rhea %s\r\n", RHEA_VERSION);
}

static void info_name(Hmp *hmp)
{
    if (hmp->ctx->machine->name)
        hmp_print(hmp, "%s\r\n", hmp->ctx->machine->name);
}

static void info_uuid(Hmp *hmp)
{
    g_autoptr(json_object) info = hmp_call(hmp, "query-uuid", NULL);
    hmp_print(hmp, "%s\r\n", get(info, "UUID"));
}

static void info_kvm(Hmp *hmp)
{
    g_autoptr(json_object) info = hmp_call(hmp, "query-kvm", NULL);
    hmp_print(hmp, "kvm support: %s\r\n", arg_bool(info, "enabled", false) ? "enabled"
              : arg_bool(info, "present", false) ? "disabled" : "not compiled");
}

static void info_block(Hmp *hmp)
{
    g_autofree char *text = block_info_text();
    hmp_print(hmp, "%s", text);
}

static void info_mice(Hmp *hmp)
{
    g_autoptr(json_object) list = hmp_call(hmp, "query-mice", NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *mouse = json_object_array_get_idx(list, i);
        hmp_print(hmp, "%c Mouse #%d: %s%s\r\n", arg_bool(mouse, "current", false) ? '*' : ' ', (int)arg_int(mouse, "index", 0),
                  get(mouse, "name"), arg_bool(mouse, "absolute", false) ? " (absolute)" : "");
    }
    if (list && !json_object_array_length(list))
        hmp_print(hmp, "No mouse devices connected\r\n");
}

static void info_iothreads(Hmp *hmp)
{
    g_autoptr(json_object) list = hmp_call(hmp, "query-iothreads", NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *thread = json_object_array_get_idx(list, i);
        hmp_print(hmp, "%s:\r\n  thread_id=%d\r\n  poll-max-ns=%" PRId64 "\r\n", get(thread, "id"), (int)arg_int(thread, "thread-id", 0),
                  arg_int(thread, "poll-max-ns", 0));
    }
}

/* ---- input ---- */

/* "ctrl-alt-f1"; a part may be a number like 0x1d. */
static void sendkey(Hmp *hmp)
{
    g_auto(GStrv) names = g_strsplit(arg_str(hmp->args, "keys"), "-", -1);
    g_autoptr(json_object) args = json_object_new_object();
    json_object *keys = json_object_new_array();
    put(args, "keys", keys);
    if (arg_has(hmp->args, "hold"))
        put_uint(args, "hold-time", arg_int(hmp->args, "hold", 100));
    for (char **name = names; *name; name++) {
        json_object *key = json_object_new_object();
        char *end;
        guint64 number = g_ascii_strtoull(*name, &end, 0);
        bool is_number = g_str_has_prefix(*name, "0x") && !*end;
        put_str(key, "type", is_number ? "number" : "qcode");
        if (is_number)
            put_uint(key, "data", number);
        else /* the minus key can't be written as itself; "<" has a name */
            put_str(key, "data", !strcmp(*name, "<") ? "less" : *name);
        json_object_array_add(keys, key);
    }
    json_object_put(hmp_call(hmp, "send-key", args));
}

static void mouse_set(Hmp *hmp)
{
    if (!input_select_mouse(hmp->ctx->machine, arg_int(hmp->args, "index", 0)))
        hmp_print(hmp, "Error: there is no mouse %d\r\n", (int)arg_int(hmp->args, "index", 0));
}

static void mouse_move(Hmp *hmp)
{
    Machine *m = hmp->ctx->machine;
    bool absolute = input_is_absolute(m);
    static const char *const names[] = { "dx", "dy" };
    for (int axis = AXIS_X; axis <= AXIS_Y; axis++) {
        int64_t value = arg_int(hmp->args, names[axis], 0);
        if (absolute)
            input_send_abs(m, axis, CLAMP(value, 0, INPUT_ABS_MAX));
        else
            input_send_rel(m, axis, CLAMP(value, INT16_MIN, INT16_MAX));
    }
    input_sync(m);
}

static void mouse_button(Hmp *hmp)
{
    Machine *m = hmp->ctx->machine;
    static const InputButton buttons[] = { BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT };
    int64_t state = arg_int(hmp->args, "state", 0);
    static const unsigned bits[] = { 1, 4, 2 };
    for (size_t i = 0; i < G_N_ELEMENTS(buttons); i++)
        input_send_button(m, buttons[i], state & bits[i]);
    input_sync(m);
}

static void info_chardev(Hmp *hmp)
{
    g_autoptr(json_object) list = hmp_call(hmp, "query-chardev", NULL);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *info = json_object_array_get_idx(list, i);
        hmp_print(hmp, "%s: filename=%s\r\n", get(info, "label"), get(info, "filename"));
    }
}

static void info_cpus(Hmp *hmp)
{
    Machine *m = hmp->ctx->machine;
    for (unsigned i = 0; i < m->nr_vcpus; i++)
        hmp_print(hmp, "%c CPU #%u: thread_id=%d\r\n", i == hmp->ctx->cpu_index ? '*' : ' ', i, (int)m->vcpus[i]->thread_id);
}

static void info_pci(Hmp *hmp)
{
    g_autoptr(json_object) buses = hmp_call(hmp, "query-pci", NULL);
    for (size_t b = 0; buses && b < json_object_array_length(buses); b++) {
        json_object *devices, *device, *id, *class_info, *regions;
        json_object_object_get_ex(json_object_array_get_idx(buses, b), "devices", &devices);
        for (size_t i = 0; i < json_object_array_length(devices); i++) {
            device = json_object_array_get_idx(devices, i);
            json_object_object_get_ex(device, "id", &id);
            json_object_object_get_ex(device, "class_info", &class_info);
            json_object_object_get_ex(device, "regions", &regions);
            hmp_print(hmp, "  Bus %2d, device %3d, function %d:\r\n    %s: PCI device %04x:%04x\r\n", (int)arg_int(device, "bus", 0),
                      (int)arg_int(device, "slot", 0), (int)arg_int(device, "function", 0),
                      arg_has(class_info, "desc") ? get(class_info, "desc") : "Device", (unsigned)arg_int(id, "vendor", 0),
                      (unsigned)arg_int(id, "device", 0));
            for (size_t r = 0; r < json_object_array_length(regions); r++) {
                json_object *region = json_object_array_get_idx(regions, r);
                uint64_t at = arg_int(region, "address", 0), size = arg_int(region, "size", 0);
                hmp_print(hmp, "      BAR%d: %s at 0x%" PRIx64 " [0x%" PRIx64 "].\r\n", (int)arg_int(region, "bar", 0),
                          !strcmp(get(region, "type"), "io") ? "I/O" : "memory", at, at + size - 1);
            }
            hmp_print(hmp, "      id \"%s\"\r\n", get(device, "qdev_id"));
        }
    }
}

static void print_tree(Hmp *hmp, Object *obj, unsigned level)
{
    hmp_print(hmp, "%*s/%s (%s)\r\n", level * 2, "", obj->id ? obj->id : "", object_type_name(obj));
    for (unsigned i = 0; obj->child_order && i < obj->child_order->len; i++)
        print_tree(hmp, obj->child_order->pdata[i], level + 1);
}

static void info_qom_tree(Hmp *hmp)
{
    const char *path = arg_str(hmp->args, "path");
    Object *obj = path ? object_resolve(path, NULL) : object_resolve("/machine", NULL);
    if (obj)
        print_tree(hmp, obj, 0);
    else
        hmp_print(hmp, "Error: there is no object '%s'\r\n", path ? path : "/machine");
}

static void print_property(Hmp *hmp, Object *obj, const Property *prop, unsigned level)
{
    g_autoptr(json_object) value = object_get_json(obj, prop->name, NULL);
    hmp_print(hmp, "%*s%s = %s\r\n", level * 2, "", prop->name, json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
}

static void print_device(Hmp *hmp, Device *dev, unsigned level)
{
    g_autoptr(GPtrArray) props = object_property_list(dev->obj.klass);
    hmp_print(hmp, "%*sdev: %s, id \"%s\"\r\n", level * 2, "", object_type_name(OBJECT(dev)), dev->id_str ? dev->id_str : "");
    for (unsigned i = 0; i < props->len; i++)
        print_property(hmp, OBJECT(dev), props->pdata[i], level + 1);
    for (unsigned i = 0; dev->buses && i < dev->buses->len; i++) {
        Bus *bus = dev->buses->pdata[i];
        hmp_print(hmp, "%*sbus: %s\r\n%*stype %s\r\n", level * 2 + 2, "", bus->obj.id ? bus->obj.id : "", level * 2 + 4, "",
                  object_type_name(OBJECT(bus)));
        for (unsigned d = 0; d < bus->devices->len; d++)
            print_device(hmp, bus->devices->pdata[d], level + 2);
    }
}

static bool print_root_device(Object *obj, void *opaque)
{
    if (object_is_a(obj, TYPE_DEVICE) && !((Device *)obj)->bus)
        print_device(opaque, (Device *)obj, 1);
    return true;
}

static void info_qtree(Hmp *hmp)
{
    hmp_print(hmp, "bus: main-system-bus\r\n  type System\r\n");
    object_foreach(object_get_root(), print_root_device, hmp);
}

static void print_view(Hmp *hmp, AddressSpace *as, const char *name, unsigned digits)
{
    static const char *const kinds[] = { "container", "i/o", "ram", "rom", "romd", "alias" };
    MemView *view = address_space_view_ref(as);
    hmp_print(hmp, "address-space: %s\r\n", name);
    for (unsigned i = 0; i < view->n; i++) {
        const MemRange *range = &view->ranges[i];
        hmp_print(hmp, "  %0*" PRIx64 "-%0*" PRIx64 " (%s%s): %s @%0*" PRIx64 "\r\n", digits, range->start, digits,
                  range->start + range->size - 1, kinds[range->mr->kind], range->readonly ? ", read-only" : "", range->mr->name,
                  digits, range->offset);
    }
    mem_view_unref(view);
}

static void info_mtree(Hmp *hmp)
{
    print_view(hmp, hmp->ctx->machine->mem, "memory", 16);
    print_view(hmp, hmp->ctx->machine->io, "I/O", 4);
}

static void print_json_lines(Hmp *hmp, const char *command)
{
    g_autoptr(json_object) value = hmp_call(hmp, command, NULL);
    for (size_t i = 0; value && json_object_is_type(value, json_type_array) && i < json_object_array_length(value); i++)
        hmp_print(hmp, "%s\r\n", json_object_to_json_string_ext(json_object_array_get_idx(value, i), JSON_C_TO_STRING_SPACED));
}

static void info_hotpluggable_cpus(Hmp *hmp)
{
    print_json_lines(hmp, "query-hotpluggable-cpus");
}

static void info_memory_size(Hmp *hmp)
{
    g_autoptr(json_object) info = hmp_call(hmp, "query-memory-size-summary", NULL);
    hmp_print(hmp, "base memory: %" PRIu64 "\r\nplugged memory: %" PRIu64 "\r\n", (uint64_t)arg_int(info, "base-memory", 0),
              (uint64_t)arg_int(info, "plugged-memory", 0));
}

static void qom_list(Hmp *hmp)
{
    g_autoptr(json_object) args = json_object_new_object();
    put_str(args, "path", arg_str(hmp->args, "path") ? arg_str(hmp->args, "path") : "/");
    g_autoptr(json_object) list = hmp_call(hmp, "qom-list", args);
    for (size_t i = 0; list && i < json_object_array_length(list); i++) {
        json_object *entry = json_object_array_get_idx(list, i);
        hmp_print(hmp, "%s (%s)\r\n", get(entry, "name"), get(entry, "type"));
    }
}

static void qom_get(Hmp *hmp)
{
    g_autoptr(json_object) value = hmp_call(hmp, "qom-get", hmp->args);
    if (value)
        hmp_print(hmp, "%s\r\n", json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
}

static void qom_set(Hmp *hmp)
{
    g_autoptr(json_object) args = json_object_new_object();
    const char *text = arg_str(hmp->args, "value");
    json_object *value = json_tokener_parse(text);
    put_str(args, "path", arg_str(hmp->args, "path"));
    put_str(args, "property", arg_str(hmp->args, "property"));
    put(args, "value", value ? value : json_object_new_string(text));
    json_object_put(hmp_call(hmp, "qom-set", args));
}

static void chardev_add_command(Hmp *hmp)
{
    GError *error = NULL;
    if (!chardev_add(hmp->ctx->machine->domain, hmp->args, &error))
        hmp_error(hmp, error);
}

static void ringbuf_read_command(Hmp *hmp)
{
    g_autoptr(json_object) text = hmp_call(hmp, "ringbuf-read", hmp->args);
    if (text)
        hmp_print(hmp, "%s\r\n", json_object_get_string(text));
}

const HmpCommand hmp_commands[] = {
    { "chardev-add", "backend:o", "BACKEND,id=ID[,option=value...]", "add a character device", chardev_add_command },
    { "chardev-remove", "id:s", "ID", "remove a character device", NULL, "chardev-remove" },
    { "chardev-send-break", "id:s", "ID", "send a break to the front end of a character device", NULL, "chardev-send-break" },
    { "closefd", "fdname:s", "NAME", "close a descriptor that getfd named", NULL, "closefd" },
    { "cont|c", NULL, "", "let the guest run", NULL, "cont" },
    { "cpu", "index:i", "N", "the processor that x, print and info registers mean", hmp_cpu },
    { "device_add", "driver:o", "MODEL[,id=ID][,property=value...]", "add a device", NULL, "device_add" },
    { "device_del", "id:s", "ID", "remove a device", NULL, "device_del" },
    { "getfd", "fdname:s", "NAME", "name the descriptor that came along", NULL, "getfd" },
    { "gva2gpa", "addr:i", "ADDRESS", "physical address of a linear one", hmp_gva2gpa },
    { "help|?", "name:s?", "[COMMAND]", "show the commands", hmp_help },
    { "block_resize", "device:s,size:i", "DRIVE BYTES", "change the size of a disk", NULL, "block_resize" },
    { "i", "fmt:/,port:i", "/FORMAT PORT", "read an I/O port", port_in },
    { "info", "what:S?", "[SUBJECT]", "show things", hmp_info },
    { "memsave", "val:i,size:i,filename:s", "ADDRESS SIZE FILE", "save memory as the processor sees it", NULL, "memsave" },
    { "mouse_button", "state:i", "BITS", "press buttons: 1 left, 2 right, 4 middle", mouse_button },
    { "mouse_move", "dx:i,dy:i", "DX DY", "move the pointer", mouse_move },
    { "mouse_set", "index:i", "N", "choose the pointer that events go to", mouse_set },
    { "nmi", NULL, "", "non-maskable interrupt to all processors", NULL, "inject-nmi" },
    { "o", "fmt:/,port:i,value:i", "/FORMAT PORT VALUE", "write an I/O port", port_out },
    { "object_add", "qom-type:o", "TYPE,id=ID[,property=value...]", "add an object", NULL, "object-add" },
    { "object_del", "id:s", "ID", "remove an object", NULL, "object-del" },
    { "pmemsave", "val:i,size:i,filename:s", "ADDRESS SIZE FILE", "save guest physical memory", NULL, "pmemsave" },
    { "print|p", "fmt:/,value:i", "/FORMAT EXPRESSION", "show the value of an expression", print_expression },
    { "qom-get", "path:s,property:s", "PATH PROPERTY", "show a property of an object", qom_get },
    { "qom-list", "path:s?", "[PATH]", "list an object's properties", qom_list },
    { "qom-set", "path:s,property:s,value:S", "PATH PROPERTY VALUE", "set a property of an object", qom_set },
    { "quit|q", NULL, "", "end the emulator", quit_command },
    { "ringbuf_read", "device:s,size:i", "ID SIZE", "read from a ringbuf", ringbuf_read_command },
    { "ringbuf_write", "device:s,data:s", "ID DATA", "write to a ringbuf", NULL, "ringbuf-write" },
    { "sendkey", "keys:s,hold:i?", "KEY[-KEY...] [MS]", "press keys together", sendkey },
    { "stop|s", NULL, "", "stop the guest", NULL, "stop" },
    { "system_powerdown", NULL, "", "press the power button", NULL, "system_powerdown" },
    { "system_reset", NULL, "", "reset the machine", NULL, "system_reset" },
    { "x", "fmt:/,addr:i", "/FORMAT ADDRESS", "show memory as the processor sees it; format: count, x d u o c i, b h w g", dump_linear },
    { "xp", "fmt:/,addr:i", "/FORMAT ADDRESS", "show guest physical memory", dump_physical },
    { NULL },
};

const HmpCommand hmp_info_commands[] = {
    { "block", NULL, "", "disks", info_block },
    { "chardev", NULL, "", "character devices", info_chardev },
    { "cpus", NULL, "", "processors and their threads", info_cpus },
    { "hotpluggable-cpus", NULL, "", "places for processors", info_hotpluggable_cpus },
    { "iothreads", NULL, "", "iothreads", info_iothreads },
    { "kvm", NULL, "", "whether KVM runs the guest", info_kvm },
    { "memory_size_summary", NULL, "", "size of guest memory", info_memory_size },
    { "mice", NULL, "", "pointers", info_mice },
    { "mtree", "-f:f", "[-f]", "the memory and I/O maps", info_mtree },
    { "name", NULL, "", "the guest's name", info_name },
    { "pci", NULL, "", "PCI functions", info_pci },
    { "qom-tree", "path:s?", "[PATH]", "the tree of objects", info_qom_tree },
    { "qtree", NULL, "", "devices on their buses", info_qtree },
    { "registers", "-a:f", "[-a]", "registers of the processor, or of all", hmp_info_registers },
    { "status", NULL, "", "whether the guest runs", info_status },
    { "uuid", NULL, "", "the guest's UUID", info_uuid },
    { "version", NULL, "", "version of the emulator", info_version },
    { NULL },
};
