/*
 * MSI-X: vector table, pending bits, masks.
 *
 * Notifications come from any thread, so everything here is behind the table's own lock; messages are sent after it
 * was dropped. Source: PCI Local Bus Specification 3.0 §6.8.2, §6.8.3.
 */
#include "hw/pci/pci-internal.h"

#define MSIX_CONTROL 2
#define MSIX_CONTROL_MASK_ALL 0x4000
#define MSIX_CONTROL_ENABLE 0x8000
#define MSIX_TABLE 4
#define MSIX_PBA 8

#define ENTRY_ADDRESS 0
#define ENTRY_DATA 8
#define ENTRY_CONTROL 12
#define ENTRY_CONTROL_MASKED 0x1

struct MsixState {
    GMutex lock;
    unsigned vectors;
    bool enabled, mask_all;
    uint8_t *table;          /* [vectors * MSIX_ENTRY_SIZE] */
    uint64_t *pending;       /* [(vectors + 63) / 64] */
    MemoryRegion table_mr, pba_mr;
    MemoryRegion *exclusive; /* the BAR of msix_init_exclusive_bar (owned) */
    MsixVectorFunc *changed;
};

typedef struct Message {
    uint64_t addr;
    uint32_t data;
} Message;

static unsigned pba_size(unsigned vectors)
{
    return (vectors + 63) / 64 * 8;
}

static bool vector_masked_locked(const MsixState *msix, unsigned vector)
{
    return !msix->enabled || msix->mask_all ||
           (ld32(msix->table + vector * MSIX_ENTRY_SIZE + ENTRY_CONTROL) & ENTRY_CONTROL_MASKED);
}

static Message vector_message_locked(const MsixState *msix, unsigned vector)
{
    const uint8_t *entry = msix->table + vector * MSIX_ENTRY_SIZE;
    return (Message) { .addr = ld64(entry + ENTRY_ADDRESS), .data = ld32(entry + ENTRY_DATA) };
}

/* Takes the vector's pending bit if it can be sent now. */
static bool take_pending_locked(MsixState *msix, unsigned vector, Message *message)
{
    uint64_t bit = 1ull << (vector % 64);

    if (!(msix->pending[vector / 64] & bit) || vector_masked_locked(msix, vector))
        return false;
    msix->pending[vector / 64] &= ~bit;
    *message = vector_message_locked(msix, vector);
    return true;
}

static void send_message(PciDevice *pci, Message message)
{
    if (pci_bus_master_enabled(pci))
        msi_send(pci->dev.machine, message.addr, message.data);
}

/* After a change of masks or of the entry: pending messages go out, the observer hears. */
static void vector_updated(PciDevice *pci, unsigned vector)
{
    MsixState *msix = pci->msix;
    Message pending, now;

    g_mutex_lock(&msix->lock);
    bool send = take_pending_locked(msix, vector, &pending);
    bool masked = vector_masked_locked(msix, vector);
    now = vector_message_locked(msix, vector);
    g_mutex_unlock(&msix->lock);
    if (msix->changed)
        msix->changed(pci, vector, masked, now.addr, now.data);
    if (send)
        send_message(pci, pending);
}

static uint64_t msix_table_read(void *opaque, uint64_t offset, unsigned size)
{
    PciDevice *pci = opaque;
    MsixState *msix = pci->msix;
    uint32_t value = 0;

    g_mutex_lock(&msix->lock);
    if (offset + size <= msix->vectors * MSIX_ENTRY_SIZE)
        memcpy(&value, msix->table + offset, size);
    g_mutex_unlock(&msix->lock);
    return value;
}

static void msix_table_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    PciDevice *pci = opaque;
    MsixState *msix = pci->msix;

    if (offset + size > msix->vectors * MSIX_ENTRY_SIZE)
        return;
    /* Address bits 0-1 and all of the vector control but its mask bit are reserved. */
    if (offset % MSIX_ENTRY_SIZE == ENTRY_ADDRESS)
        value &= ~3ull;
    else if (offset % MSIX_ENTRY_SIZE == ENTRY_CONTROL)
        value &= ENTRY_CONTROL_MASKED;
    g_mutex_lock(&msix->lock);
    memcpy(msix->table + offset, &value, size);
    g_mutex_unlock(&msix->lock);
    vector_updated(pci, offset / MSIX_ENTRY_SIZE);
}

static uint64_t msix_pba_read(void *opaque, uint64_t offset, unsigned size)
{
    PciDevice *pci = opaque;
    MsixState *msix = pci->msix;
    uint32_t value = 0;

    g_mutex_lock(&msix->lock);
    if (offset + size <= pba_size(msix->vectors))
        memcpy(&value, (uint8_t *)msix->pending + offset, size);
    g_mutex_unlock(&msix->lock);
    return value;
}

static void msix_pba_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    /* Read-only to software. */
}

static const MemoryRegionOps msix_table_ops = {
    .read = msix_table_read, .write = msix_table_write, .min_access = 4, .max_access = 4, .valid_min = 4, .valid_max = 8,
};
static const MemoryRegionOps msix_pba_ops = {
    .read = msix_pba_read, .write = msix_pba_write, .min_access = 4, .max_access = 4, .valid_min = 4, .valid_max = 8,
};

bool msix_init(PciDevice *pci, const MsixLayout *layout, GError **err)
{
    g_assert(layout->vectors >= 1 && layout->vectors <= MSIX_VECTORS_MAX && !pci->msix);
    g_assert(layout->table_offset % 8 == 0 && layout->pba_offset % 8 == 0);
    uint8_t cap = pci_add_capability(pci, PCI_CAP_MSIX, layout->cap_offset, 12, err);
    if (!cap)
        return false;

    MsixState *msix = g_new0(MsixState, 1);
    g_mutex_init(&msix->lock);
    msix->vectors = layout->vectors;
    msix->table = g_malloc0(layout->vectors * MSIX_ENTRY_SIZE);
    msix->pending = g_malloc0(pba_size(layout->vectors));
    pci->msix = msix;
    pci->msix_cap = cap;

    st16(pci->config + cap + MSIX_CONTROL, layout->vectors - 1);
    st16(pci->wmask + cap + MSIX_CONTROL, MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL);
    st32(pci->config + cap + MSIX_TABLE, layout->table_offset | layout->table_bar);
    st32(pci->config + cap + MSIX_PBA, layout->pba_offset | layout->pba_bar);

    memory_region_init_io(&msix->table_mr, OBJECT(pci), pci->dev.domain, &msix_table_ops, pci, "msix-table",
                          layout->vectors * MSIX_ENTRY_SIZE);
    memory_region_add(layout->table_mr, layout->table_offset, &msix->table_mr, 1);
    memory_region_init_io(&msix->pba_mr, OBJECT(pci), pci->dev.domain, &msix_pba_ops, pci, "msix-pba",
                          pba_size(layout->vectors));
    memory_region_add(layout->pba_mr, layout->pba_offset, &msix->pba_mr, 1);
    msix_reset(pci);
    return true;
}

bool msix_init_exclusive_bar(PciDevice *pci, unsigned vectors, uint8_t bar, GError **err)
{
    unsigned table_size = vectors * MSIX_ENTRY_SIZE, pba_offset = MAX(2048, ROUND_UP_TO(table_size, 8u)), size = 4096;
    MemoryRegion *mr = g_new0(MemoryRegion, 1);

    while (size < pba_offset + pba_size(vectors))
        size *= 2;
    memory_region_init(mr, OBJECT(pci), "msix", size);
    MsixLayout layout = {
        .vectors = vectors, .table_mr = mr, .pba_mr = mr, .table_bar = bar, .pba_bar = bar, .pba_offset = pba_offset,
    };
    if (!msix_init(pci, &layout, err)) {
        memory_region_clear(mr);
        g_free(mr);
        return false;
    }
    pci->msix->exclusive = mr;
    pci_register_bar(pci, bar, PCI_BAR_MEM32, mr);
    return true;
}

void msix_unmap(PciDevice *pci)
{
    MsixState *msix = pci->msix;

    if (!msix)
        return;
    memory_region_clear(&msix->table_mr);
    memory_region_clear(&msix->pba_mr);
    if (msix->exclusive)
        memory_region_clear(msix->exclusive);
}

void msix_free(PciDevice *pci)
{
    MsixState *msix = g_steal_pointer(&pci->msix);

    if (!msix)
        return;
    g_free(msix->exclusive);
    g_mutex_clear(&msix->lock);
    g_free(msix->table);
    g_free(msix->pending);
    g_free(msix);
}

bool msix_present(const PciDevice *pci)
{
    return pci->msix != NULL;
}

unsigned msix_vectors(const PciDevice *pci)
{
    return pci->msix ? pci->msix->vectors : 0;
}

bool msix_enabled(const PciDevice *pci)
{
    return pci->msix && __atomic_load_n(&pci->msix->enabled, __ATOMIC_RELAXED);
}

void msix_notify(PciDevice *pci, unsigned vector)
{
    MsixState *msix = pci->msix;

    if (!msix || vector >= msix->vectors || !msix_enabled(pci))
        return;
    g_mutex_lock(&msix->lock);
    msix->pending[vector / 64] |= 1ull << (vector % 64);
    Message message;
    bool send = take_pending_locked(msix, vector, &message);
    g_mutex_unlock(&msix->lock);
    if (send)
        send_message(pci, message);
}

bool msix_is_masked(const PciDevice *pci, unsigned vector)
{
    MsixState *msix = pci->msix;

    if (!msix || vector >= msix->vectors)
        return true;
    g_mutex_lock(&msix->lock);
    bool masked = vector_masked_locked(msix, vector);
    g_mutex_unlock(&msix->lock);
    return masked;
}

void msix_clear_pending(PciDevice *pci, unsigned vector)
{
    MsixState *msix = pci->msix;

    if (!msix || vector >= msix->vectors)
        return;
    g_mutex_lock(&msix->lock);
    msix->pending[vector / 64] &= ~(1ull << (vector % 64));
    g_mutex_unlock(&msix->lock);
}

void msix_set_vector_notifier(PciDevice *pci, MsixVectorFunc *func)
{
    if (pci->msix)
        pci->msix->changed = func;
}

void msix_config_written(PciDevice *pci, unsigned addr, unsigned size)
{
    MsixState *msix = pci->msix;

    if (!msix || !pci_config_touches(addr, size, pci->msix_cap + MSIX_CONTROL, 2))
        return;
    uint16_t control = ld16(pci->config + pci->msix_cap + MSIX_CONTROL);
    bool enabled = control & MSIX_CONTROL_ENABLE, mask_all = control & MSIX_CONTROL_MASK_ALL;

    g_mutex_lock(&msix->lock);
    bool same = enabled == msix->enabled && mask_all == msix->mask_all;
    __atomic_store_n(&msix->enabled, enabled, __ATOMIC_RELAXED);
    msix->mask_all = mask_all;
    g_mutex_unlock(&msix->lock);
    /* The pin is not used while MSI-X is on. */
    if (enabled)
        pci_set_irq(pci, false);
    for (unsigned vector = 0; !same && vector < msix->vectors; vector++)
        vector_updated(pci, vector);
}

void msix_reset(PciDevice *pci)
{
    MsixState *msix = pci->msix;

    if (!msix)
        return;
    uint8_t *control = pci->config + pci->msix_cap + MSIX_CONTROL;
    st16(control, ld16(control) & ~(MSIX_CONTROL_ENABLE | MSIX_CONTROL_MASK_ALL));
    g_mutex_lock(&msix->lock);
    msix->enabled = msix->mask_all = false;
    memset(msix->table, 0, msix->vectors * MSIX_ENTRY_SIZE);
    for (unsigned vector = 0; vector < msix->vectors; vector++)
        st32(msix->table + vector * MSIX_ENTRY_SIZE + ENTRY_CONTROL, ENTRY_CONTROL_MASKED);
    memset(msix->pending, 0, pba_size(msix->vectors));
    g_mutex_unlock(&msix->lock);
    for (unsigned vector = 0; msix->changed && vector < msix->vectors; vector++)
        msix->changed(pci, vector, true, 0, 0);
}
