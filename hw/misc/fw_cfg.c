/*
 * The fw_cfg device: selector and data ports, and the DMA interface.
 *
 * Guests only read: nothing here is writable from their side, a DMA write reports an error.
 * Source: QEMU documentation "fw_cfg device" (ports, keys, big-endian directory and DMA descriptor).
 */
#include "hw/misc/fw_cfg.h"

#include <json-c/json.h>
#include <mem/dma.h>

#include "hw/i386/firmware.h"
#include "system/machine.h"

#define TYPE_FW_CFG "fw_cfg_io"
#define SELECT_PORT 0x510
#define DMA_PORT 0x514
#define FILES_MAX 0x400
#define NO_ENTRY 0xffff

#define DMA_ERROR 0x01
#define DMA_READ 0x02
#define DMA_SKIP 0x04
#define DMA_SELECT 0x08
#define DMA_WRITE 0x10

static const uint8_t dma_signature[8] = "QEMU CFG";

typedef struct Entry {
    uint16_t key;
    char *name;          /* NULL for numbered keys */
    const uint8_t *data;
    size_t len;
    bool owned;
} Entry;

struct FwCfg {
    Device dev;
    MemoryRegion ports, dma;
    GHashTable *entries;   /* key -> Entry * */
    GPtrArray *files;      /* Entry *, in key order, owned by entries */
    uint16_t selected;
    uint32_t position;
    uint8_t dma_addr[8];   /* as written, big-endian */
};

static void entry_free(gpointer opaque)
{
    Entry *entry = opaque;

    if (entry->owned)
        g_free((void *)entry->data);
    g_free(entry->name);
    g_free(entry);
}

static Entry *entry_for_key(FwCfg *fw, uint16_t key)
{
    return g_hash_table_lookup(fw->entries, GUINT_TO_POINTER(key));
}

static Entry *entry_set(FwCfg *fw, uint16_t key, const void *data, size_t len, bool copy)
{
    Entry *entry = entry_for_key(fw, key);

    if (!entry) {
        entry = g_new0(Entry, 1);
        entry->key = key;
        g_hash_table_insert(fw->entries, GUINT_TO_POINTER(key), entry);
    } else if (entry->owned) {
        g_free((void *)entry->data);
    }
    entry->data = copy ? g_memdup2(data, len) : data;
    entry->len = len;
    entry->owned = copy;
    return entry;
}

void fw_cfg_set_bytes(FwCfg *fw, uint16_t key, const void *data, size_t len)
{
    entry_set(fw, key, data, len, true);
}

void fw_cfg_set_borrowed(FwCfg *fw, uint16_t key, const void *data, size_t len)
{
    entry_set(fw, key, data, len, false);
}

void fw_cfg_set_u16(FwCfg *fw, uint16_t key, uint16_t value)
{
    uint8_t bytes[2];
    st16(bytes, value);
    fw_cfg_set_bytes(fw, key, bytes, sizeof(bytes));
}

void fw_cfg_set_u32(FwCfg *fw, uint16_t key, uint32_t value)
{
    uint8_t bytes[4];
    st32(bytes, value);
    fw_cfg_set_bytes(fw, key, bytes, sizeof(bytes));
}

void fw_cfg_set_u64(FwCfg *fw, uint16_t key, uint64_t value)
{
    uint8_t bytes[8];
    st64(bytes, value);
    fw_cfg_set_bytes(fw, key, bytes, sizeof(bytes));
}

void fw_cfg_set_string(FwCfg *fw, uint16_t key, const char *text)
{
    fw_cfg_set_bytes(fw, key, text, strlen(text) + 1);
}

/* The directory: be32 count, then be32 size, be16 key, be16 zero, 56 bytes of name for each. */
static void rebuild_directory(FwCfg *fw)
{
    g_autoptr(GByteArray) dir = g_byte_array_new();
    uint32_t count = GUINT32_TO_BE(fw->files->len);

    g_byte_array_append(dir, (uint8_t *)&count, 4);
    for (unsigned i = 0; i < fw->files->len; i++) {
        const Entry *entry = fw->files->pdata[i];
        uint8_t record[64] = { 0 };
        st32(record, GUINT32_TO_BE(entry->len));
        st16(record + 4, GUINT16_TO_BE(entry->key));
        g_strlcpy((char *)record + 8, entry->name, sizeof(record) - 8);
        g_byte_array_append(dir, record, sizeof(record));
    }
    fw_cfg_set_bytes(fw, FW_CFG_FILE_DIR, dir->data, dir->len);
}

static Entry *find_file(FwCfg *fw, const char *name)
{
    for (unsigned i = 0; i < fw->files->len; i++) {
        Entry *entry = fw->files->pdata[i];
        if (strcmp(entry->name, name) == 0)
            return entry;
    }
    return NULL;
}

bool fw_cfg_add_file(FwCfg *fw, const char *name, const void *data, size_t len, GError **err)
{
    if (strlen(name) > FW_CFG_NAME_MAX) {
        error_set(err, "fw_cfg file name '%s' is longer than %d bytes", name, FW_CFG_NAME_MAX);
        return false;
    }
    if (find_file(fw, name)) {
        error_set(err, "fw_cfg file '%s' exists already", name);
        return false;
    }
    if (fw->files->len >= FILES_MAX || len > UINT32_MAX) {
        error_set(err, "fw_cfg has no room for file '%s' (%zu bytes; %d files at most)", name, len, FILES_MAX);
        return false;
    }
    Entry *entry = entry_set(fw, FW_CFG_FILE_FIRST + fw->files->len, data, len, true);
    entry->name = g_strdup(name);
    g_ptr_array_add(fw->files, entry);
    rebuild_directory(fw);
    return true;
}

void fw_cfg_set_file(FwCfg *fw, const char *name, const void *data, size_t len)
{
    Entry *entry = find_file(fw, name);

    if (entry) {
        entry_set(fw, entry->key, data, len, true);
        rebuild_directory(fw);
        return;
    }
    g_autoptr(GError) err = NULL;
    if (!fw_cfg_add_file(fw, name, data, len, &err))
        g_error("%s", err->message);
}

const void *fw_cfg_file(FwCfg *fw, const char *name, size_t *len)
{
    const Entry *entry = find_file(fw, name);

    *len = entry ? entry->len : 0;
    return entry ? entry->data : NULL;
}

static void select_key(FwCfg *fw, uint16_t key)
{
    /* Bit 14 once selected write mode; keys are below it, or arch-specific with bit 15. */
    fw->selected = key & 0xbfff;
    fw->position = 0;
}

static uint8_t next_byte(FwCfg *fw)
{
    const Entry *entry = entry_for_key(fw, fw->selected);

    if (!entry || fw->position >= entry->len)
        return 0;
    return entry->data[fw->position++];
}

static uint64_t ports_read(void *opaque, uint64_t offset, unsigned size)
{
    FwCfg *fw = opaque;

    return offset == 1 && size == 1 ? next_byte(fw) : 0;
}

static void ports_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    FwCfg *fw = opaque;

    if (offset == 0 && size == 2)
        select_key(fw, value);
}

/* Copies len bytes of the selected entry to guest memory, zeroes behind its end. */
static bool dma_copy_out(FwCfg *fw, uint64_t gpa, uint32_t len)
{
    const Entry *entry = entry_for_key(fw, fw->selected);
    AddressSpace *as = fw->dev.machine->mem;
    uint32_t have = entry && fw->position < entry->len ? MIN(len, entry->len - fw->position) : 0;

    if (have && dma_write(as, gpa, entry->data + fw->position, have) != MEMTX_OK)
        return false;
    fw->position += have;
    return len == have || dma_set(as, gpa + have, 0, len - have) == MEMTX_OK;
}

static void dma_transfer(FwCfg *fw, uint64_t gpa)
{
    AddressSpace *as = fw->dev.machine->mem;
    uint8_t desc[16];

    if (dma_read(as, gpa, desc, sizeof(desc)) != MEMTX_OK) {
        guest_error(&fw->dev, "DMA descriptor at 0x%" PRIx64 " is not in memory", gpa);
        return;
    }
    uint32_t control = GUINT32_FROM_BE(ld32(desc)), len = GUINT32_FROM_BE(ld32(desc + 4));
    uint64_t addr = GUINT64_FROM_BE(ld64(desc + 8));
    bool ok = true;

    if (control & DMA_SELECT)
        select_key(fw, control >> 16);
    if (control & DMA_READ) {
        ok = dma_copy_out(fw, addr, len);
    } else if (control & DMA_WRITE) {
        ok = false;
    } else if (control & DMA_SKIP) {
        const Entry *entry = entry_for_key(fw, fw->selected);
        uint64_t end = entry ? entry->len : 0;
        fw->position = MIN((uint64_t)fw->position + len, MAX(end, fw->position));
    }
    dma_st32(as, gpa, GUINT32_TO_BE(ok ? 0 : DMA_ERROR));
}

static uint64_t dma_port_read(void *opaque, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, dma_signature + offset, size);
    return value;
}

static void dma_port_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    FwCfg *fw = opaque;

    memcpy(fw->dma_addr + offset, &value, size);
    if (offset + size < sizeof(fw->dma_addr))
        return;
    uint64_t gpa = GUINT64_FROM_BE(ld64(fw->dma_addr));
    memset(fw->dma_addr, 0, sizeof(fw->dma_addr));
    dma_transfer(fw, gpa);
}

static const MemoryRegionOps ports_ops = {
    .read = ports_read, .write = ports_write, .min_access = 1, .max_access = 2, .valid_min = 1, .valid_max = 2, .unaligned = true,
};
static const MemoryRegionOps dma_ops = {
    .read = dma_port_read, .write = dma_port_write, .min_access = 1, .max_access = 8, .valid_min = 1, .valid_max = 8,
};

static void fw_cfg_init(Object *obj)
{
    FwCfg *fw = (FwCfg *)obj;

    fw->entries = g_hash_table_new_full(NULL, NULL, NULL, entry_free);
    fw->files = g_ptr_array_new();
    fw->selected = NO_ENTRY;
}

static void fw_cfg_finalize(Object *obj)
{
    FwCfg *fw = (FwCfg *)obj;

    g_hash_table_unref(fw->entries);
    g_ptr_array_unref(fw->files);
}

static void fw_cfg_reset(Device *dev)
{
    FwCfg *fw = (FwCfg *)dev;

    select_key(fw, 0);
    memset(fw->dma_addr, 0, sizeof(fw->dma_addr));
}

static bool fw_cfg_realize(Device *dev, GError **err)
{
    FwCfg *fw = (FwCfg *)dev;

    memory_region_init_io(&fw->ports, OBJECT(dev), dev->domain, &ports_ops, fw, "fwcfg", 2);
    memory_region_init_io(&fw->dma, OBJECT(dev), dev->domain, &dma_ops, fw, "fwcfg.dma", 8);
    fw_cfg_set_bytes(fw, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_set_u32(fw, FW_CFG_ID, 1 | 2); /* traditional interface, DMA */
    rebuild_directory(fw);
    return true;
}

static void fw_cfg_unrealize(Device *dev)
{
    FwCfg *fw = (FwCfg *)dev;

    memory_region_clear(&fw->ports);
    memory_region_clear(&fw->dma);
    if (dev->machine->fw_cfg == fw)
        dev->machine->fw_cfg = NULL;
}

static const StateField fw_cfg_state[] = {
    STATE_U16_(FwCfg, selected),
    STATE_U32_(FwCfg, position),
    STATE_BYTES_(FwCfg, dma_addr),
    STATE_END
};

static const DeviceClass fw_cfg_class = {
    .name = TYPE_FW_CFG, .parent = TYPE_DEVICE, .desc = "firmware configuration", .size = sizeof(FwCfg), .internal = true,
    .init = fw_cfg_init, .finalize = fw_cfg_finalize, .state = fw_cfg_state, .state_version = 1,
    .realize = fw_cfg_realize, .unrealize = fw_cfg_unrealize, .reset = fw_cfg_reset, .category = DEV_MISC,
};
REGISTER_DEVICE(fw_cfg_class)

/* ---- -fw_cfg ------------------------------------------------------------------------------------------------------- */

#define PENDING_KEY "rhea-fw-cfg-options"

static const char *option_text(json_object *options, const char *name)
{
    json_object *value;

    return json_object_object_get_ex(options, name, &value) ? json_object_get_string(value) : NULL;
}

static void drop_options(gpointer options)
{
    json_object_put(options);
}

static bool add_option_now(FwCfg *fw, json_object *options, GError **err)
{
    const char *name = option_text(options, "name"), *file = option_text(options, "file");
    const char *string = option_text(options, "string");
    g_autofree char *data = NULL;
    gsize len = 0;

    if (string)
        return fw_cfg_add_file(fw, name, string, strlen(string), err);
    if (!g_file_get_contents(file, &data, &len, NULL)) {
        error_set(err, "fw_cfg file '%s': can't read '%s'", name, file);
        return false;
    }
    return fw_cfg_add_file(fw, name, data, len, err);
}

bool fw_cfg_add_option(Machine *machine, json_object *options, GError **err)
{
    const char *name = option_text(options, "name");

    json_object_object_foreach(options, key, value) {
        static const char *const known[] = { "name", "file", "string", NULL };
        if (!g_strv_contains(known, key)) {
            error_set(err, "there is no option '%s' (name, file, string)", key);
            return false;
        }
        (void)value;
    }
    if (!name || !*name) {
        error_set(err, "name= is needed");
        return false;
    }
    if (!option_text(options, "file") == !option_text(options, "string")) {
        error_set(err, "fw_cfg file '%s' needs one of file= and string=", name);
        return false;
    }
    if (!g_str_has_prefix(name, "opt/"))
        report_warning("-fw_cfg name '%s' does not start with opt/, which is where users' files belong", name);
    if (machine->fw_cfg)
        return add_option_now(machine->fw_cfg, options, err);

    GPtrArray *pending = g_object_get_data(G_OBJECT(machine), PENDING_KEY);
    if (!pending) {
        pending = g_ptr_array_new_with_free_func(drop_options);
        g_object_set_data_full(G_OBJECT(machine), PENDING_KEY, pending, (GDestroyNotify)g_ptr_array_unref);
    }
    g_ptr_array_add(pending, json_object_get(options));
    return true;
}

FwCfg *fw_cfg_create(Machine *machine, MemoryRegion *io, GError **err)
{
    Device *dev = device_new(machine, TYPE_FW_CFG, err);
    FwCfg *fw = (FwCfg *)dev;

    if (!dev || !device_realize(dev, NULL, err))
        return NULL;
    memory_region_add(io, SELECT_PORT, &fw->ports, 0);
    memory_region_add(io, DMA_PORT, &fw->dma, 0);
    machine->fw_cfg = fw;

    GPtrArray *pending = g_object_get_data(G_OBJECT(machine), PENDING_KEY);
    for (unsigned i = 0; pending && i < pending->len; i++)
        if (!add_option_now(fw, pending->pdata[i], err))
            return NULL;
    return fw;
}
