/* The registers of virtio over PCI: common configuration (§4.1.4.3), notification, ISR, and the legacy I/O block (§4.1.4.10). */
#include "hw/virtio/virtio-pci.h"

#include <hw/msix.h>
#include <string.h>

/* Offsets in the common configuration. */
enum {
    COMMON_DFSELECT = 0, COMMON_DF = 4, COMMON_GFSELECT = 8, COMMON_GF = 12, COMMON_MSIX = 16, COMMON_NUMQ = 18,
    COMMON_STATUS = 20, COMMON_GENERATION = 21, COMMON_Q_SELECT = 22, COMMON_Q_SIZE = 24, COMMON_Q_MSIX = 26,
    COMMON_Q_ENABLE = 28, COMMON_Q_NOFF = 30, COMMON_Q_DESC = 32, COMMON_Q_AVAIL = 40, COMMON_Q_USED = 48,
    COMMON_Q_NDATA = 56, COMMON_Q_RESET = 58, COMMON_SIZE = 60,
};

/* Offsets in the legacy block. */
enum {
    LEGACY_DF = 0, LEGACY_GF = 4, LEGACY_PFN = 8, LEGACY_NUM = 12, LEGACY_SELECT = 14, LEGACY_NOTIFY = 16, LEGACY_STATUS = 18,
    LEGACY_ISR = 19, LEGACY_CONFIG_VECTOR = 20, LEGACY_QUEUE_VECTOR = 22,
};

static Virtq *selected(const VirtioPci *proxy)
{
    return proxy->queue_select < proxy->vdev->n_vqs ? &proxy->vdev->vqs[proxy->queue_select] : NULL;
}

/* What the device keeps of a vector that the driver chose: NO_VECTOR if it has no such entry. */
static uint16_t valid_vector(const VirtioPci *proxy, uint16_t vector)
{
    return vector < msix_vectors(&proxy->pci) ? vector : VIRTIO_NO_VECTOR;
}

static void set_status(VirtioPci *proxy, uint8_t status)
{
    if (!status) {
        virtio_pci_reset_device(proxy);
        return;
    }
    virtio_set_status(proxy->vdev, status);
}

/* ---- common configuration ---- */

static uint32_t common_feature(VirtioPci *proxy)
{
    uint64_t offered = virtio_offered_features(proxy->vdev, true);
    return proxy->feature_select < 2 ? (uint32_t)(offered >> (32 * proxy->feature_select)) : 0;
}

static uint64_t common_read_queue(const Virtq *vq, uint32_t offset)
{
    switch (offset) {
    case COMMON_Q_SIZE: return vq->num;
    case COMMON_Q_MSIX: return vq->vector;
    case COMMON_Q_ENABLE: return vq->enabled;
    case COMMON_Q_NOFF: return vq->index;
    case COMMON_Q_DESC: return (uint32_t)vq->desc;
    case COMMON_Q_DESC + 4: return vq->desc >> 32;
    case COMMON_Q_AVAIL: return (uint32_t)vq->avail;
    case COMMON_Q_AVAIL + 4: return vq->avail >> 32;
    case COMMON_Q_USED: return (uint32_t)vq->used;
    case COMMON_Q_USED + 4: return vq->used >> 32;
    case COMMON_Q_NDATA: return vq->index;
    case COMMON_Q_RESET: return 0; /* a reset is complete when the write returns */
    default: return 0;
    }
}

static uint32_t common_field(VirtioPci *proxy, uint32_t offset)
{
    VirtioDevice *vdev = proxy->vdev;
    switch (offset) {
    case COMMON_DFSELECT: return proxy->feature_select;
    case COMMON_DF: return common_feature(proxy);
    case COMMON_GFSELECT: return proxy->driver_feature_select;
    case COMMON_GF:
        return proxy->driver_feature_select < 2 ? (uint32_t)(proxy->driver_features >> (32 * proxy->driver_feature_select)) : 0;
    case COMMON_MSIX: return vdev->config_vector;
    case COMMON_NUMQ: return vdev->n_vqs;
    case COMMON_STATUS: return vdev->status;
    case COMMON_GENERATION: return __atomic_load_n(&vdev->config_generation, __ATOMIC_SEQ_CST) & 0xff;
    case COMMON_Q_SELECT: return proxy->queue_select;
    default: {
        const Virtq *vq = selected(proxy);
        return vq ? (uint32_t)common_read_queue(vq, offset) : 0;
    }
    }
}

static uint64_t common_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    DOMAIN_GUARD(proxy->vdev->dev.domain);
    return offset < COMMON_SIZE ? common_field(proxy, (uint32_t)offset) & mask_bytes(size) : 0;
}

static void set_half(uint64_t *field, bool high, uint32_t value)
{
    *field = high ? (*field & 0xffffffff) | (uint64_t)value << 32 : (*field & ~0xffffffffull) | value;
}

static void reset_queue(VirtioPci *proxy, Virtq *vq)
{
    VirtioDevice *vdev = proxy->vdev;
    if (!virtio_has_feature(vdev, VIRTIO_F_RING_RESET))
        return;
    if (vdev->started)
        virtio_class(vdev)->stop_queue(vdev, vq);
    virtq_reset(vq);
}

static void enable_queue(VirtioPci *proxy, Virtq *vq)
{
    if (vq->enabled)
        return;
    vq->enabled = true;
    /* after a queue reset the device is running already */
    if (proxy->vdev->started && virtq_start(vq) && virtq_has_work(vq))
        virtio_kick_queue(proxy->vdev, vq->index);
}

static void common_write_queue(VirtioPci *proxy, Virtq *vq, uint32_t offset, uint32_t value)
{
    bool high = offset & 4;
    switch (offset) {
    case COMMON_Q_MSIX:
        vq->vector = valid_vector(proxy, (uint16_t)value);
        return;
    case COMMON_Q_ENABLE:
        if (value == 1)
            enable_queue(proxy, vq);
        return;
    case COMMON_Q_RESET:
        if (value == 1)
            reset_queue(proxy, vq);
        return;
    default:
        break;
    }
    if (vq->enabled)
        return; /* its place can't change while it is in use: §4.1.4.3.2 */
    switch (offset) {
    case COMMON_Q_SIZE:
        if (value && value <= vq->max)
            vq->num = (uint16_t)value;
        break;
    case COMMON_Q_DESC: case COMMON_Q_DESC + 4: set_half(&vq->desc, high, value); break;
    case COMMON_Q_AVAIL: case COMMON_Q_AVAIL + 4: set_half(&vq->avail, high, value); break;
    case COMMON_Q_USED: case COMMON_Q_USED + 4: set_half(&vq->used, high, value); break;
    default: break;
    }
}

static void common_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    VirtioDevice *vdev = proxy->vdev;
    DOMAIN_GUARD(vdev->dev.domain);
    uint32_t v = (uint32_t)value;
    switch (offset) {
    case COMMON_DFSELECT: proxy->feature_select = v; break;
    case COMMON_GFSELECT: proxy->driver_feature_select = v; break;
    case COMMON_GF:
        if (proxy->driver_feature_select < 2)
            set_half(&proxy->driver_features, proxy->driver_feature_select, v);
        if (!(vdev->status & VIRTIO_STATUS_FEATURES_OK))
            vdev->guest_features = proxy->driver_features;
        break;
    case COMMON_MSIX: vdev->config_vector = valid_vector(proxy, (uint16_t)v); break;
    case COMMON_STATUS: set_status(proxy, (uint8_t)v); break;
    case COMMON_Q_SELECT: proxy->queue_select = (uint16_t)v; break;
    default: {
        Virtq *vq = offset < COMMON_SIZE ? selected(proxy) : NULL;
        if (vq)
            common_write_queue(proxy, vq, (uint32_t)offset, v);
        break;
    }
    }
}

const MemoryRegionOps virtio_pci_common_ops = {.read = common_read, .write = common_write, .min_access = 1, .max_access = 4};

/* ---- ISR, device configuration, notification ---- */

static uint64_t isr_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    if (offset)
        return 0;
    uint8_t isr = __atomic_exchange_n(&proxy->vdev->isr, 0, __ATOMIC_SEQ_CST);
    virtio_pci_lower_intx(proxy);
    return isr;
}

static void ignore_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
}

const MemoryRegionOps virtio_pci_isr_ops = {.read = isr_read, .write = ignore_write, .min_access = 1, .max_access = 4};

static uint64_t device_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    VirtioDevice *vdev = proxy->vdev;
    uint16_t config_size = virtio_class(vdev)->config_size;
    uint32_t value = 0;
    if (offset >= config_size)
        return 0;
    DOMAIN_GUARD(vdev->dev.domain);
    g_autofree uint8_t *config = g_malloc0(config_size + 4u);
    virtio_config_read(vdev, config);
    memcpy(&value, config + offset, size);
    return value;
}

static void device_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    DOMAIN_GUARD(proxy->vdev->dev.domain);
    virtio_config_write(proxy->vdev, (uint32_t)offset, (uint32_t)value, size);
}

const MemoryRegionOps virtio_pci_device_ops = {.read = device_read, .write = device_write, .min_access = 1, .max_access = 4};

static uint64_t notify_read(void *opaque, uint64_t offset, unsigned size)
{
    return 0;
}

/* The region belongs to the device's domain, so its lock is held. */
static void notify_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    uint32_t stride = virtio_pci_notify_stride(proxy);
    if (offset % stride == 0)
        virtio_kick_queue(proxy->vdev, (unsigned)(offset / stride));
}

const MemoryRegionOps virtio_pci_notify_ops = {.read = notify_read, .write = notify_write, .min_access = 1, .max_access = 4};

/* ---- legacy ---- */

/* Ring of one queue at a page frame, §2.7.2. */
static void legacy_set_pfn(VirtioPci *proxy, uint32_t pfn)
{
    Virtq *vq = selected(proxy);
    if (!pfn) {
        virtio_pci_reset_device(proxy); /* how old drivers give a queue back */
        return;
    }
    if (!vq || proxy->vdev->started)
        return;
    vq->desc = (uint64_t)pfn << 12;
    vq->avail = vq->desc + 16ull * vq->num;
    vq->used = ROUND_UP_TO(vq->avail + 4 + 2ull * vq->num + 2, 4096ull);
    vq->legacy = true;
    vq->enabled = true;
}

uint32_t virtio_pci_legacy_config_offset(const VirtioPci *proxy)
{
    return msix_enabled(&proxy->pci) ? 24 : 20;
}

static uint64_t legacy_field(VirtioPci *proxy, uint32_t offset)
{
    VirtioDevice *vdev = proxy->vdev;
    const Virtq *vq = selected(proxy);
    switch (offset) {
    case LEGACY_DF: return virtio_offered_features(vdev, false);
    case LEGACY_GF: return (uint32_t)vdev->guest_features;
    case LEGACY_PFN: return vq ? vq->desc >> 12 : 0;
    case LEGACY_NUM: return vq ? vq->max : 0;
    case LEGACY_SELECT: return proxy->queue_select;
    case LEGACY_STATUS: return vdev->status;
    case LEGACY_ISR: return isr_read(proxy, 0, 1);
    case LEGACY_CONFIG_VECTOR: return vdev->config_vector;
    case LEGACY_QUEUE_VECTOR: return vq ? vq->vector : VIRTIO_NO_VECTOR;
    default: return 0;
    }
}

static uint64_t legacy_read(void *opaque, uint64_t offset, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    uint32_t config = virtio_pci_legacy_config_offset(proxy);
    if (offset >= config)
        return device_read(proxy, offset - config, size);
    DOMAIN_GUARD(proxy->vdev->dev.domain);
    return legacy_field(proxy, (uint32_t)offset) & mask_bytes(size);
}

static void legacy_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    VirtioDevice *vdev = proxy->vdev;
    uint32_t config = virtio_pci_legacy_config_offset(proxy);
    if (offset >= config) {
        device_write(proxy, offset - config, value, size);
        return;
    }
    DOMAIN_GUARD(vdev->dev.domain);
    Virtq *vq = selected(proxy);
    switch (offset) {
    case LEGACY_GF:
        if (!vdev->started)
            vdev->guest_features = (uint32_t)value & virtio_offered_features(vdev, false);
        break;
    case LEGACY_PFN: legacy_set_pfn(proxy, (uint32_t)value); break;
    case LEGACY_SELECT: proxy->queue_select = (uint16_t)value; break;
    case LEGACY_NOTIFY: virtio_kick_queue(vdev, (uint16_t)value); break;
    case LEGACY_STATUS:
        /* Linux before 2.6.34 forgets to switch bus mastering on */
        if (value & VIRTIO_STATUS_DRIVER_OK && !pci_bus_master_enabled(&proxy->pci))
            pci_default_config_write(&proxy->pci, PCI_COMMAND, ld16(proxy->pci.config + PCI_COMMAND) | PCI_COMMAND_MASTER, 2);
        set_status(proxy, (uint8_t)value);
        break;
    case LEGACY_CONFIG_VECTOR: vdev->config_vector = valid_vector(proxy, (uint16_t)value); break;
    case LEGACY_QUEUE_VECTOR:
        if (vq)
            vq->vector = valid_vector(proxy, (uint16_t)value);
        break;
    default: break;
    }
}

const MemoryRegionOps virtio_pci_legacy_ops = {.read = legacy_read, .write = legacy_write, .min_access = 1, .max_access = 4};

/* ---- access through configuration space ---- */

static const MemoryRegionOps *region_at(VirtioPci *proxy, uint64_t *offset)
{
    if (*offset >= VIRTIO_PCI_NOTIFY) {
        *offset -= VIRTIO_PCI_NOTIFY;
        return &virtio_pci_notify_ops;
    }
    static const MemoryRegionOps *const pages[] = {&virtio_pci_common_ops, &virtio_pci_isr_ops, &virtio_pci_device_ops};
    const MemoryRegionOps *ops = pages[*offset / VIRTIO_PCI_REGION];
    *offset %= VIRTIO_PCI_REGION;
    return ops;
}

uint32_t virtio_pci_bar_read(VirtioPci *proxy, uint64_t offset, unsigned size)
{
    const MemoryRegionOps *ops = region_at(proxy, &offset);
    return (uint32_t)(ops->read(proxy, offset, size) & mask_bytes(size));
}

void virtio_pci_bar_write(VirtioPci *proxy, uint64_t offset, uint32_t value, unsigned size)
{
    const MemoryRegionOps *ops = region_at(proxy, &offset);
    DOMAIN_GUARD(proxy->vdev->dev.domain);
    ops->write(proxy, offset, value & mask_bytes(size), size);
}
