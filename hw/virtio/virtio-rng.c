/* virtio-rng, virtio 1.2 §5.4: random bytes for the guest, from a back end, at a limited rate. */
#include <errno.h>
#include <hw/virtio.h>
#include <json-c/json.h>
#include <rhea/rng.h>
#include <string.h>

#include "system/machine.h"

#define QUEUE_SIZE 8
#define REQUEST_MAX 65536u /* bytes asked for at once */

typedef struct VirtioRng {
    VirtioDevice vdev;
    Object *rng;           /* rng-backend */
    uint64_t max_bytes;    /* in each period */
    uint32_t period_ms;
    Object *own_rng;       /* made here when rng= was not given */
    RngRequest *request;
    uint64_t quota;        /* bytes left in this period */
    Timer *timer;
} VirtioRng;
#define VIRTIO_RNG(ptr) ((VirtioRng *)(ptr))

static void process(VirtioRng *rng);

/* Into as many buffers as it fills; what is left over when the guest took buffers back is dropped. */
static void got_bytes(void *opaque, const uint8_t *bytes, size_t len, int errnum)
{
    VirtioRng *rng = VIRTIO_RNG(opaque);
    Virtq *vq = &rng->vdev.vqs[0];
    rng->request = NULL;
    if (!len) {
        report_warning("virtio-rng: the random number source failed: %s", g_strerror(errnum));
        return;
    }
    rng->quota -= MIN(rng->quota, len);
    for (size_t used = 0; used < len;) {
        VirtqElem elem;
        if (!rng->vdev.machine_running || !virtq_pop(vq, &elem))
            break;
        size_t part = iov_from_buf(elem.in, elem.n_in, 0, bytes + used, len - used);
        virtq_push(vq, &elem, (uint32_t)part);
        if (!part) {
            virtio_error(&rng->vdev, "a buffer that can't be written");
            break;
        }
        used += part;
    }
    virtq_notify(vq);
    process(rng);
}

/* Bytes that the next waiting buffer can take; 0 if there is none. */
static size_t wanted(VirtioRng *rng)
{
    Virtq *vq = &rng->vdev.vqs[0];
    VirtqElem elem;
    if (!virtq_pop(vq, &elem))
        return 0;
    size_t bytes = MIN(elem.in_bytes, REQUEST_MAX);
    if (!bytes) {
        virtio_error(&rng->vdev, "a buffer that can't be written");
        virtq_drop(vq, &elem);
        return 0;
    }
    virtq_unpop(vq, &elem);
    return bytes;
}

static void process(VirtioRng *rng)
{
    if (rng->request || !rng->vdev.started || !rng->vdev.machine_running)
        return;
    size_t bytes = wanted(rng);
    if (!bytes)
        return;
    if (!timer_pending(rng->timer))
        timer_mod(rng->timer, domain_now(rng->vdev.dev.domain, CLOCK_GUEST) + rng->period_ms * 1000000ll);
    bytes = MIN(bytes, rng->quota);
    if (bytes) /* else the timer goes on */
        rng->request = rng_request(rng->rng ?: rng->own_rng, rng->vdev.dev.domain, bytes, got_bytes, rng);
}

static void new_period(void *opaque)
{
    VirtioRng *rng = VIRTIO_RNG(opaque);
    rng->quota = rng->max_bytes;
    process(rng);
}

static void virtio_rng_kick(VirtioDevice *vdev, Virtq *vq)
{
    process(VIRTIO_RNG(vdev));
}

static void virtio_rng_stop(VirtioDevice *vdev)
{
    VirtioRng *rng = VIRTIO_RNG(vdev);
    if (rng->request)
        rng_cancel(rng->request);
    rng->request = NULL;
}

static void virtio_rng_stop_queue(VirtioDevice *vdev, Virtq *vq)
{
    virtio_rng_stop(vdev);
}

static unsigned virtio_rng_vectors(VirtioDevice *vdev)
{
    return 2;
}

static bool virtio_rng_realize(Device *dev, GError **err)
{
    VirtioRng *rng = VIRTIO_RNG(dev);
    if (!rng->period_ms) {
        error_set(err, "period=0: virtio-rng needs a period of at least 1 ms");
        return false;
    }
    if (rng->max_bytes > INT64_MAX) {
        error_set(err, "max-bytes=%" PRIu64 " is too big: up to %" PRId64 " are possible", rng->max_bytes, INT64_MAX);
        return false;
    }
    if (!rng->rng) {
        rng->own_rng = object_new("rng-builtin", err);
        if (!rng->own_rng)
            return false;
        object_add_child(OBJECT(dev), "default-backend", rng->own_rng);
        const ObjectClass *klass = rng->own_rng->klass;
        if (klass->complete && !klass->complete(rng->own_rng, err)) {
            object_remove_from_parent(rng->own_rng);
            g_clear_pointer(&rng->own_rng, object_unref);
            return false;
        }
    }
    rng->quota = rng->max_bytes;
    rng->timer = timer_new(dev->domain, CLOCK_GUEST, new_period, rng);
    virtio_add_queue(&rng->vdev, QUEUE_SIZE);
    return true;
}

static void virtio_rng_unrealize(Device *dev)
{
    VirtioRng *rng = VIRTIO_RNG(dev);
    virtio_reset(&rng->vdev);
    g_clear_pointer(&rng->timer, timer_free);
    if (rng->own_rng) {
        object_remove_from_parent(rng->own_rng);
        g_clear_pointer(&rng->own_rng, object_unref);
    }
}

static const Property virtio_rng_props[] = {
    PROP_LINK("rng", VirtioRng, rng, TYPE_RNG_BACKEND, "where the bytes come from (default: the host's generator)"),
    PROP_U64("max-bytes", VirtioRng, max_bytes, INT64_MAX, 0, 0, "bytes that the guest gets in one period"),
    PROP_U32("period", VirtioRng, period_ms, 65536, 0, 0, "length of a period, ms"),
    PROP_END
};

static const VirtioClass virtio_rng_class = {
    .name = "virtio-rng", .desc = "virtio source of random numbers", .size = sizeof(VirtioRng), .props = virtio_rng_props,
    .category = DEV_MISC, .realize = virtio_rng_realize, .unrealize = virtio_rng_unrealize,
    .device_id = VIRTIO_ID_RNG, .pci_class = 0x00ff, .pci_legacy_id = 0x1005, .vectors = virtio_rng_vectors,
    .kick = virtio_rng_kick, .stop = virtio_rng_stop, .stop_queue = virtio_rng_stop_queue,
};
VIRTIO_DEVICE(virtio_rng_class)
