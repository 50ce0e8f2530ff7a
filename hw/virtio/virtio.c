/*
 * The part of virtio that all devices share: status, features, configuration space, reset, and the registration of a device
 * under its names (virtio 1.2 §2 and §3).
 */
#include <hw/virtio.h>

#include <string.h>

#include "hw/virtio/virtio-pci.h"
#include "system/machine.h"

#define FEATURES_TRANSPORT (0x3full << 24 | 0xffull << 28 | 0x3ffull << 32)

static void on_run_change(void *opaque, bool running, RunStateKind state)
{
    VirtioDevice *vdev = (VirtioDevice *)opaque;
    DOMAIN_GUARD(vdev->dev.domain);
    vdev->machine_running = running;
    if (!running || !vdev->started)
        return;
    for (unsigned i = 0; i < vdev->n_vqs; i++)
        virtio_kick_queue(vdev, i);
}

static bool virtio_base_realize(Device *dev, GError **err)
{
    VirtioDevice *vdev = VIRTIO_DEVICE_OF(dev);
    g_assert(vdev->transport);
    vdev->config_vector = VIRTIO_NO_VECTOR;
    vdev->machine_running = dev->machine->run ? runstate_is_running(dev->machine->run) : true;
    if (dev->machine->run)
        runstate_on_change(dev->machine->run, on_run_change, vdev);
    return true;
}

static void free_queues(VirtioDevice *vdev)
{
    for (unsigned i = 0; i < vdev->n_vqs; i++)
        virtq_reset(&vdev->vqs[i]);
    g_clear_pointer(&vdev->vqs, g_free);
    vdev->n_vqs = 0;
}

/* After the class's unrealize, which has stopped the device. */
static void virtio_base_unrealize(Device *dev)
{
    VirtioDevice *vdev = VIRTIO_DEVICE_OF(dev);
    if (dev->machine->run)
        runstate_off_change(dev->machine->run, on_run_change, vdev);
    free_queues(vdev);
}

const Property virtio_device_props[] = {
    PROP_BIT("indirect_desc", VirtioDevice, host_features, VIRTIO_F_INDIRECT_DESC, true, "offer indirect descriptors"),
    PROP_BIT("event_idx", VirtioDevice, host_features, VIRTIO_F_EVENT_IDX, true, "offer event indexes"),
    PROP_BIT("notify_on_empty", VirtioDevice, host_features, VIRTIO_F_NOTIFY_ON_EMPTY, true, "legacy: interrupt when a queue runs empty"),
    PROP_BIT("any_layout", VirtioDevice, host_features, VIRTIO_F_ANY_LAYOUT, true, "legacy: buffers may be split anywhere"),
    PROP_BIT("packed", VirtioDevice, host_features, VIRTIO_F_RING_PACKED, false, "offer packed rings"),
    PROP_BIT("queue_reset", VirtioDevice, host_features, VIRTIO_F_RING_RESET, true, "offer the reset of single queues"),
    PROP_END
};

static const DeviceClass virtio_device_class = {
    .name = TYPE_VIRTIO_DEVICE, .parent = TYPE_DEVICE, .desc = "virtio device", .size = sizeof(VirtioDevice), .abstract = true,
    .props = virtio_device_props, .bus = "virtio-bus", .realize = virtio_base_realize, .unrealize = virtio_base_unrealize,
};
REGISTER_DEVICE(virtio_device_class)

Virtq *virtio_add_queue(VirtioDevice *vdev, uint16_t max)
{
    g_assert(vdev->n_vqs < VIRTIO_MAX_QUEUES && !vdev->started);
    vdev->vqs = g_renew(Virtq, vdev->vqs, vdev->n_vqs + 1);
    virtq_init(&vdev->vqs[vdev->n_vqs], vdev, (uint16_t)vdev->n_vqs, max);
    return &vdev->vqs[vdev->n_vqs++];
}

/* ---- features ---- */

uint64_t virtio_offered_features(VirtioDevice *vdev, bool modern)
{
    const VirtioClass *klass = virtio_class(vdev);
    uint64_t offered = (vdev->host_features & FEATURES_TRANSPORT) | (klass->features ? klass->features(vdev) : 0);
    if (!klass->stop_queue)
        offered &= ~VIRTIO_BIT(VIRTIO_F_RING_RESET);
    if (!modern)
        return offered & 0xffffffff;
    offered &= ~(VIRTIO_BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | VIRTIO_BIT(VIRTIO_F_ANY_LAYOUT));
    return offered | VIRTIO_BIT(VIRTIO_F_VERSION_1);
}

static bool accept_features(VirtioDevice *vdev)
{
    const VirtioClass *klass = virtio_class(vdev);
    bool modern = virtio_has_feature(vdev, VIRTIO_F_VERSION_1);
    uint64_t chosen = vdev->guest_features;
    if (chosen & ~virtio_offered_features(vdev, modern))
        return false;
    return !klass->set_features || klass->set_features(vdev, chosen);
}

/* ---- status ---- */

static void start(VirtioDevice *vdev)
{
    const VirtioClass *klass = virtio_class(vdev);
    if (vdev->started)
        return;
    if (virtio_is_legacy(vdev)) {
        vdev->guest_features &= virtio_offered_features(vdev, false);
        if (klass->set_features)
            klass->set_features(vdev, vdev->guest_features);
    }
    vdev->started = true;
    for (unsigned i = 0; i < vdev->n_vqs; i++)
        if (vdev->vqs[i].enabled && !virtq_start(&vdev->vqs[i]))
            return;
    if (klass->start)
        klass->start(vdev);
    for (unsigned i = 0; i < vdev->n_vqs && vdev->machine_running; i++)
        if (virtq_has_work(&vdev->vqs[i]))
            klass->kick(vdev, &vdev->vqs[i]);
}

void virtio_reset(VirtioDevice *vdev)
{
    const VirtioClass *klass = virtio_class(vdev);
    if (vdev->started && klass->stop)
        klass->stop(vdev);
    vdev->started = false;
    vdev->status = 0;
    vdev->guest_features = 0;
    vdev->config_vector = VIRTIO_NO_VECTOR;
    __atomic_store_n(&vdev->isr, 0, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < vdev->n_vqs; i++)
        virtq_reset(&vdev->vqs[i]);
}

/* Returns false when FEATURES_OK did not stick. */
bool virtio_set_status(VirtioDevice *vdev, uint8_t status)
{
    if (!status) {
        virtio_reset(vdev);
        return true;
    }
    bool ok = true;
    uint8_t added = status & ~vdev->status;
    if (added & VIRTIO_STATUS_FEATURES_OK && !accept_features(vdev)) {
        status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
        ok = false;
    }
    /* a driver can't take NEEDS_RESET back, nor anything else: §2.1.1 */
    vdev->status |= status & (uint8_t)~VIRTIO_STATUS_NEEDS_RESET;
    if (added & VIRTIO_STATUS_DRIVER_OK && !virtio_is_broken(vdev))
        start(vdev);
    return ok;
}

void virtio_kick_queue(VirtioDevice *vdev, unsigned index)
{
    if (index >= vdev->n_vqs)
        return;
    Virtq *vq = &vdev->vqs[index];
    if (!vq->enabled || virtio_is_broken(vdev))
        return;
    /* old drivers ring before DRIVER_OK */
    if (!vdev->started && vq->legacy && vdev->status & VIRTIO_STATUS_DRIVER) {
        start(vdev);
        return;
    }
    /* a stopped machine's devices stand still; the queues are looked at again when it runs */
    if (vdev->started && vdev->machine_running)
        virtio_class(vdev)->kick(vdev, vq);
}

void virtio_error(VirtioDevice *vdev, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    guest_error(&vdev->dev, "%s", text);
    if (virtio_is_broken(vdev))
        return;
    vdev->status |= VIRTIO_STATUS_NEEDS_RESET;
    if (vdev->status & VIRTIO_STATUS_DRIVER_OK)
        virtio_config_changed(vdev);
}

/* ---- configuration space ---- */

void virtio_config_changed(VirtioDevice *vdev)
{
    __atomic_fetch_add(&vdev->config_generation, 1, __ATOMIC_SEQ_CST);
    if (vdev->status & VIRTIO_STATUS_DRIVER_OK)
        vdev->transport->notify_config(vdev);
}

void virtio_config_read(VirtioDevice *vdev, uint8_t *config)
{
    memset(config, 0, virtio_class(vdev)->config_size);
    if (virtio_class(vdev)->config_read)
        virtio_class(vdev)->config_read(vdev, config);
}

void virtio_config_write(VirtioDevice *vdev, uint32_t offset, uint32_t value, unsigned size)
{
    const VirtioClass *klass = virtio_class(vdev);
    if (!klass->config_write || offset >= klass->config_size || size > klass->config_size - offset)
        return;
    g_autofree uint8_t *config = g_malloc0(klass->config_size);
    virtio_config_read(vdev, config);
    memcpy(config + offset, &value, size);
    klass->config_write(vdev, config, offset, size);
}

/* ---- registration ---- */

void virtio_register(const VirtioClass *table)
{
    VirtioClass *klass = g_new(VirtioClass, 1);
    *klass = *table;
    klass->name = g_strdup_printf("%s-device", table->name);
    klass->parent = TYPE_VIRTIO_DEVICE;
    klass->bus = "virtio-bus";
    object_register_class((const ObjectClass *)klass);
    virtio_pci_register(klass, table->name);
}
