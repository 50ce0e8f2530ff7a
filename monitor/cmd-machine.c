/* QMP commands about machines, processors, memory and buses. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <hw/pci.h>
#include <mem/dma.h>

#include "chardev/internal.h"
#include "monitor/hmp-cpu.h"
#include "monitor/qmp.h"
#include "monitor/qmp-commands.h"
#include "system/vcpu.h"

static json_object *describe_machine(const MachineClass *klass)
{
    json_object *info = json_object_new_object();
    put_bool(info, "hotpluggable-cpus", klass->hotpluggable_cpus);
    put_str(info, "name", klass->machine_name);
    put_bool(info, "numa-mem-supported", false);
    if (klass->default_cpu) {
        g_autofree char *type = g_strconcat(klass->default_cpu, "-x86_64-cpu", NULL);
        put_str(info, "default-cpu-type", type);
    }
    put_int(info, "cpu-max", klass->max_cpus);
    put_bool(info, "deprecated", klass->deprecated);
    if (klass->is_default)
        put_bool(info, "is-default", true);
    if (klass->alias)
        put_str(info, "alias", klass->alias);
    if (klass->default_ram_id)
        put_str(info, "default-ram-id", klass->default_ram_id);
    put_bool(info, "acpi", klass->max_cpus > 1 && klass->default_cpu);
    return info;
}

json_object *qmp_query_machines(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    g_autoptr(GPtrArray) classes = object_class_list(TYPE_MACHINE, false);
    for (unsigned i = 0; i < classes->len; i++)
        json_object_array_add(list, describe_machine(classes->pdata[i]));
    return list;
}

json_object *qmp_query_current_machine(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    put_bool(info, "wakeup-suspend-support", false); /* no board suspends to memory */
    return info;
}

json_object *qmp_query_memory_size_summary(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *info = json_object_new_object();
    put_uint(info, "base-memory", ctx->machine->ram_size);
    put_uint(info, "plugged-memory", 0);
    return info;
}

/* Place of a CPU in the topology of -smp: threads vary fastest, then cores, dies, sockets. */
static json_object *cpu_props(const SmpConfig *smp, unsigned index)
{
    json_object *props = json_object_new_object();
    put_int(props, "core-id", index / smp->threads % smp->cores);
    put_int(props, "thread-id", index % smp->threads);
    if (smp->dies > 1)
        put_int(props, "die-id", index / smp->threads / smp->cores % smp->dies);
    put_int(props, "socket-id", index / smp->threads / smp->cores / smp->dies);
    return props;
}

json_object *qmp_query_cpus_fast(QmpContext *ctx, json_object *args, GError **err)
{
    json_object *list = json_object_new_array();
    Machine *m = ctx->machine;
    for (unsigned i = 0; i < m->nr_vcpus; i++) {
        json_object *info = json_object_new_object();
        g_autofree char *path = object_path(OBJECT(m->vcpus[i]));
        put_int(info, "thread-id", m->vcpus[i]->thread_id ? m->vcpus[i]->thread_id : getpid());
        put(info, "props", cpu_props(&m->smp, i));
        put_str(info, "qom-path", path);
        put_int(info, "cpu-index", i);
        put_str(info, "target", "x86_64");
        json_object_array_add(list, info);
    }
    return list;
}

/* "qemu64,+avx" is of the type qemu64-x86_64-cpu. (owned) */
static char *cpu_type_name(const Machine *m)
{
    const char *model = m->cpu_type ? m->cpu_type : machine_class(m)->default_cpu;
    g_autofree char *name = g_strndup(model, strcspn(model, ","));
    return g_strconcat(name, "-x86_64-cpu", NULL);
}

json_object *qmp_query_hotpluggable_cpus(QmpContext *ctx, json_object *args, GError **err)
{
    Machine *m = ctx->machine;
    json_object *list = json_object_new_array();
    if (!m->nr_vcpus)
        return list;
    g_autofree char *type = cpu_type_name(m);
    /* Where CPUs can't be plugged, those that are there. */
    for (unsigned i = machine_class(m)->hotpluggable_cpus ? m->smp.maxcpus : m->nr_vcpus; i-- > 0;) {
        json_object *info = json_object_new_object();
        put(info, "props", cpu_props(&m->smp, i));
        put_int(info, "vcpus-count", 1);
        if (i < m->nr_vcpus) {
            g_autofree char *path = object_path(OBJECT(m->vcpus[i]));
            put_str(info, "qom-path", path);
        }
        put_str(info, "type", type);
        json_object_array_add(list, info);
    }
    return list;
}

json_object *qmp_query_pci(QmpContext *ctx, json_object *args, GError **err)
{
    return pci_query(ctx->machine);
}

/* ---- memory to files ---- */

typedef bool ReadMemory(QmpContext *ctx, unsigned cpu, uint64_t addr, void *buf, uint64_t len, GError **err);

static bool read_physical(QmpContext *ctx, unsigned cpu, uint64_t addr, void *buf, uint64_t len, GError **err)
{
    if (dma_read(ctx->machine->mem, addr, buf, len) == MEMTX_OK)
        return true;
    error_set(err, "There is no memory at guest physical address 0x%" PRIx64, addr);
    return false;
}

static bool write_file(int fd, const uint8_t *buf, size_t len)
{
    while (len) {
        ssize_t n = write(fd, buf, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        buf += n;
        len -= n;
    }
    return true;
}

static bool save_memory(QmpContext *ctx, json_object *args, ReadMemory *read_memory, GError **err)
{
    static uint8_t chunk[64 * KIB];
    uint64_t addr = arg_uint(args, "val", 0), left = arg_uint(args, "size", 0);
    const char *filename = arg_str(args, "filename");
    unsigned cpu = arg_int(args, "cpu-index", ctx->cpu_index);
    if (arg_has(args, "cpu-index") && cpu >= ctx->machine->nr_vcpus) {
        error_set(err, "There is no CPU %u: this machine has %u", cpu, ctx->machine->nr_vcpus);
        return false;
    }
    int fd = chardev_open_path(filename, O_WRONLY | O_CREAT | O_TRUNC, err);
    if (fd < 0)
        return false;
    bool ok = true;
    while (left && ok) {
        uint64_t n = MIN(left, sizeof(chunk));
        ok = read_memory(ctx, cpu, addr, chunk, n, err);
        if (ok && !write_file(fd, chunk, n)) {
            error_set_errno(err, errno, "Can't write '%s'", filename);
            ok = false;
        }
        addr += n;
        left -= n;
    }
    close(fd);
    return ok;
}

static bool read_linear(QmpContext *ctx, unsigned cpu, uint64_t addr, void *buf, uint64_t len, GError **err)
{
    QmpContext other = *ctx;
    other.cpu_index = cpu;
    return hmp_read_linear(&other, addr, buf, len, err) == len;
}

json_object *qmp_memsave(QmpContext *ctx, json_object *args, GError **err)
{
    return save_memory(ctx, args, read_linear, err) ? json_object_new_object() : NULL;
}

json_object *qmp_pmemsave(QmpContext *ctx, json_object *args, GError **err)
{
    return save_memory(ctx, args, read_physical, err) ? json_object_new_object() : NULL;
}
