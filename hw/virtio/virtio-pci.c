/*
 * Virtio over PCI (virtio 1.2 §4.1): a PCI function that carries a virtio device as its child "virtio-backend". Modern functions have
 * their registers in a memory BAR described by capabilities; transitional ones have the legacy I/O block as well. For each
 * device class the PCI classes are made here.
 *
 * Numbers (BAR layout, ids) are those of QEMU's functions, so that drivers and tools see the device they know.
 */
#include "hw/virtio/virtio-pci.h"

#include <hw/msix.h>
#include <json-c/json.h>
#include <string.h>

#include "accel/accel.h"
#include "system/machine.h"

#define VENDOR_REDHAT 0x1af4
#define MODERN_ID_BASE 0x1040
#define VECTORS_AUTO UINT32_MAX

/* Capability types, §4.1.4. */
enum { CAP_COMMON = 1, CAP_NOTIFY = 2, CAP_ISR = 3, CAP_DEVICE = 4, CAP_PCI = 5 };

/* What a generated class is for. */
typedef enum { FORM_GENERIC, FORM_TRANSITIONAL, FORM_NON_TRANSITIONAL } VirtioPciForm;
typedef struct VirtioPciKind {
    const VirtioClass *device;
    VirtioPciForm form;
} VirtioPciKind;

static const VirtioPciKind *kind_of(const VirtioPci *proxy)
{
    return (const VirtioPciKind *)proxy->pci.dev.obj.klass->data;
}

/* ---- interrupts ---- */

static void update_intx(void *opaque)
{
    VirtioPci *proxy = (VirtioPci *)opaque;
    bool level = __atomic_load_n(&proxy->vdev->isr, __ATOMIC_SEQ_CST) != 0 && !msix_enabled(&proxy->pci);
    pci_set_irq(&proxy->pci, level);
}

static void raise_intx(VirtioPci *proxy, uint8_t bits)
{
    __atomic_fetch_or(&proxy->vdev->isr, bits, __ATOMIC_SEQ_CST);
    if (domain_is_locked(proxy->pci.dev.machine->domain))
        update_intx(proxy);
    else
        bh_schedule(proxy->intx_bh);
}

void virtio_pci_lower_intx(VirtioPci *proxy)
{
    if (domain_is_locked(proxy->pci.dev.machine->domain))
        update_intx(proxy);
    else
        bh_schedule(proxy->intx_bh);
}

static void notify_queue(VirtioDevice *vdev, Virtq *vq)
{
    VirtioPci *proxy = (VirtioPci *)vdev->transport_data;
    if (msix_enabled(&proxy->pci)) {
        if (vq->vector != VIRTIO_NO_VECTOR)
            msix_notify(&proxy->pci, vq->vector);
    } else {
        raise_intx(proxy, 1);
    }
}

static void notify_config(VirtioDevice *vdev)
{
    VirtioPci *proxy = (VirtioPci *)vdev->transport_data;
    if (msix_enabled(&proxy->pci)) {
        if (vdev->config_vector != VIRTIO_NO_VECTOR)
            msix_notify(&proxy->pci, vdev->config_vector);
    } else {
        raise_intx(proxy, 2);
    }
}

static const VirtioTransport pci_transport = {.notify_queue = notify_queue, .notify_config = notify_config};

/* ---- doorbells ---- */

static void bell_rung(void *opaque)
{
    VirtioPciBell *bell = (VirtioPciBell *)opaque;
    virtio_kick_queue(bell->proxy->vdev, bell->queue);
}

/*
 * A doorbell costs a wake-up of the device's loop. That pays where the loop has a thread to itself or where the kernel rings it; else
 * the vCPU, which holds the lock already, does the work at once.
 */
static bool bells_pay(const VirtioPci *proxy)
{
    const Machine *machine = proxy->pci.dev.machine;
    return proxy->ioeventfd && (proxy->vdev->dev.domain != machine->domain ||
                                (machine->accel && accel_class(machine->accel)->kernel_doorbells));
}

static void add_bells(VirtioPci *proxy)
{
    VirtioDevice *vdev = proxy->vdev;
    if (!bells_pay(proxy))
        return;
    proxy->n_bells = vdev->n_vqs;
    proxy->bells = g_new0(VirtioPciBell, MAX(proxy->n_bells, 1));
    for (unsigned i = 0; i < proxy->n_bells; i++) {
        VirtioPciBell *bell = &proxy->bells[i];
        *bell = (VirtioPciBell){.proxy = proxy, .queue = i, .bh = bh_new(vdev->dev.domain, bell_rung, bell)};
        MemNotifier modern = {.offset = (uint64_t)i * virtio_pci_notify_stride(proxy), .bh = bell->bh, .eventfd = -1};
        MemNotifier legacy = {.offset = 16, .size = 2, .match = true, .data = i, .bh = bell->bh, .eventfd = -1};
        if (proxy->modern)
            memory_region_add_notifier(&proxy->notify, &modern);
        if (proxy->legacy)
            memory_region_add_notifier(&proxy->legacy_bar, &legacy);
    }
}

static void remove_bells(VirtioPci *proxy)
{
    if (!proxy->bells)
        return;
    for (unsigned i = 0; i < proxy->n_bells; i++) {
        if (proxy->modern)
            memory_region_remove_notifier(&proxy->notify, (uint64_t)i * virtio_pci_notify_stride(proxy), 0, false, 0);
        if (proxy->legacy)
            memory_region_remove_notifier(&proxy->legacy_bar, 16, 2, true, i);
        bh_free(proxy->bells[i].bh);
    }
    g_clear_pointer(&proxy->bells, g_free);
}

/* ---- configuration space ---- */

/* The window that the configuration access capability opens; NULL-sized if what the driver set is not usable. */
static bool cfg_window(VirtioPci *proxy, uint32_t *offset, uint32_t *length)
{
    const uint8_t *cap = proxy->pci.config + proxy->pci_cfg_cap;
    uint64_t size = proxy->modern_bar.size;
    *offset = ld32(cap + 8);
    *length = ld32(cap + 12);
    return cap[4] == VIRTIO_PCI_MODERN_BAR && (*length == 1 || *length == 2 || *length == 4) && *offset < size &&
           *length <= size - *offset && IS_ALIGNED(*offset, *length);
}

static uint32_t config_read(PciDevice *pci, unsigned addr, unsigned size)
{
    VirtioPci *proxy = VIRTIO_PCI(pci);
    uint32_t offset, length;
    if (proxy->pci_cfg_cap && pci_config_touches(addr, size, proxy->pci_cfg_cap + 16u, 4) &&
        cfg_window(proxy, &offset, &length)) {
        uint32_t value = virtio_pci_bar_read(proxy, offset, length);
        memcpy(pci->config + proxy->pci_cfg_cap + 16, &value, length);
    }
    return pci_default_config_read(pci, addr, size);
}

static void config_write(PciDevice *pci, unsigned addr, uint32_t value, unsigned size)
{
    VirtioPci *proxy = VIRTIO_PCI(pci);
    uint32_t offset, length;
    pci_default_config_write(pci, addr, value, size);
    if (proxy->pci_cfg_cap && pci_config_touches(addr, size, proxy->pci_cfg_cap + 16u, 4) &&
        cfg_window(proxy, &offset, &length))
        virtio_pci_bar_write(proxy, offset, ld32(pci->config + proxy->pci_cfg_cap + 16), length);
}

static uint8_t add_cap(VirtioPci *proxy, uint8_t type, uint32_t offset, uint32_t length, uint8_t size, GError **err)
{
    uint8_t at = pci_add_capability(&proxy->pci, PCI_CAP_VENDOR, 0, size, err);
    if (!at)
        return 0;
    uint8_t *cap = proxy->pci.config + at;
    cap[2] = size;
    cap[3] = type;
    cap[4] = type == CAP_PCI ? 0 : VIRTIO_PCI_MODERN_BAR;
    st32(cap + 8, offset);
    st32(cap + 12, length);
    return at;
}

static bool add_caps(VirtioPci *proxy, GError **err)
{
    uint32_t notify_size = (uint32_t)proxy->notify.size;
    uint8_t notify;
    if (!add_cap(proxy, CAP_COMMON, VIRTIO_PCI_COMMON, VIRTIO_PCI_REGION, 16, err) ||
        !add_cap(proxy, CAP_ISR, VIRTIO_PCI_ISR, VIRTIO_PCI_REGION, 16, err) ||
        !add_cap(proxy, CAP_DEVICE, VIRTIO_PCI_DEVICE, VIRTIO_PCI_REGION, 16, err) ||
        !(notify = add_cap(proxy, CAP_NOTIFY, VIRTIO_PCI_NOTIFY, notify_size, 20, err)) ||
        !(proxy->pci_cfg_cap = add_cap(proxy, CAP_PCI, 0, 0, 20, err)))
        return false;
    st32(proxy->pci.config + notify + 16, virtio_pci_notify_stride(proxy));
    uint8_t *wmask = proxy->pci.wmask + proxy->pci_cfg_cap;
    wmask[4] = 0xff;
    memset(wmask + 8, 0xff, 12);
    return true;
}

/* ---- life ---- */

static bool choose_forms(VirtioPci *proxy, GError **err)
{
    const VirtioPciKind *kind = kind_of(proxy);
    bool can_legacy = kind->device->pci_legacy_id != 0;
    switch (kind->form) {
    case FORM_TRANSITIONAL:
        if (proxy->disable_legacy == ON_OFF_AUTO_ON || proxy->disable_modern) {
            error_set(err, "%s is legacy and modern at once: disable-legacy and disable-modern don't fit",
                      proxy->pci.dev.obj.klass->name);
            return false;
        }
        proxy->legacy = proxy->modern = true;
        return true;
    case FORM_NON_TRANSITIONAL:
        if (proxy->disable_legacy == ON_OFF_AUTO_OFF || proxy->disable_modern) {
            error_set(err, "%s is modern only: disable-legacy=off and disable-modern=on don't fit",
                      proxy->pci.dev.obj.klass->name);
            return false;
        }
        proxy->modern = true;
        proxy->legacy = false;
        return true;
    default:
        proxy->legacy = can_legacy && proxy->disable_legacy != ON_OFF_AUTO_ON;
        proxy->modern = !proxy->disable_modern;
        if (proxy->legacy || proxy->modern)
            return true;
        error_set(err, "%s: disable-legacy=on and disable-modern=on leave nothing", proxy->pci.dev.obj.klass->name);
        return false;
    }
}

static void set_ids(VirtioPci *proxy)
{
    const VirtioClass *device = kind_of(proxy)->device;
    uint8_t *config = proxy->pci.config;
    st16(config + PCI_VENDOR_ID, VENDOR_REDHAT);
    st16(config + PCI_SUBSYSTEM_VENDOR_ID, VENDOR_REDHAT);
    if (proxy->legacy) {
        st16(config + PCI_DEVICE_ID, device->pci_legacy_id);
        st16(config + PCI_SUBSYSTEM_ID, device->device_id);
        config[PCI_REVISION_ID] = 0;
    } else {
        st16(config + PCI_DEVICE_ID, MODERN_ID_BASE + device->device_id);
        st16(config + PCI_SUBSYSTEM_ID, PCI_SUBDEVICE_DEFAULT);
        config[PCI_REVISION_ID] = 1;
    }
    pci_set_interrupt_pin(&proxy->pci, 1);
}

static void add_modern_bar(VirtioPci *proxy)
{
    Object *owner = OBJECT(proxy);
    Domain *domain = proxy->pci.dev.domain;
    uint64_t notify_size = proxy->page_per_vq ? (uint64_t)VIRTIO_MAX_QUEUES * 0x1000 : VIRTIO_PCI_REGION;
    uint64_t size = 1;
    while (size < VIRTIO_PCI_NOTIFY + notify_size)
        size <<= 1;
    memory_region_init(&proxy->modern_bar, owner, "virtio-pci", size);
    memory_region_init_io(&proxy->common, owner, domain, &virtio_pci_common_ops, proxy, "virtio-pci-common", VIRTIO_PCI_REGION);
    memory_region_init_io(&proxy->isr, owner, domain, &virtio_pci_isr_ops, proxy, "virtio-pci-isr", VIRTIO_PCI_REGION);
    memory_region_init_io(&proxy->device, owner, domain, &virtio_pci_device_ops, proxy, "virtio-pci-device", VIRTIO_PCI_REGION);
    memory_region_init_io(&proxy->notify, owner, proxy->vdev->dev.domain, &virtio_pci_notify_ops, proxy, "virtio-pci-notify",
                          notify_size);
    memory_region_add(&proxy->modern_bar, VIRTIO_PCI_COMMON, &proxy->common, 0);
    memory_region_add(&proxy->modern_bar, VIRTIO_PCI_ISR, &proxy->isr, 0);
    memory_region_add(&proxy->modern_bar, VIRTIO_PCI_DEVICE, &proxy->device, 0);
    memory_region_add(&proxy->modern_bar, VIRTIO_PCI_NOTIFY, &proxy->notify, 0);
    pci_register_bar(&proxy->pci, VIRTIO_PCI_MODERN_BAR, PCI_BAR_MEM64 | PCI_BAR_PREFETCH, &proxy->modern_bar);
}

static void add_legacy_bar(VirtioPci *proxy)
{
    uint64_t size = 32;
    while (size < 24u + virtio_class(proxy->vdev)->config_size)
        size <<= 1;
    memory_region_init_io(&proxy->legacy_bar, OBJECT(proxy), proxy->pci.dev.domain, &virtio_pci_legacy_ops, proxy,
                          "virtio-pci-legacy", size);
    pci_register_bar(&proxy->pci, VIRTIO_PCI_LEGACY_BAR, PCI_BAR_IO, &proxy->legacy_bar);
}

static bool add_msix(VirtioPci *proxy, GError **err)
{
    const VirtioClass *klass = virtio_class(proxy->vdev);
    uint32_t n = proxy->n_vectors;
    if (n == VECTORS_AUTO)
        n = klass->vectors ? klass->vectors(proxy->vdev) : proxy->vdev->n_vqs + 1;
    if (n > MSIX_VECTORS_MAX) {
        error_set(err, "vectors=%u: a function has at most %u", n, MSIX_VECTORS_MAX);
        return false;
    }
    return !n || msix_init_exclusive_bar(&proxy->pci, n, VIRTIO_PCI_MSIX_BAR, err);
}

static bool realize_backend(VirtioPci *proxy, GError **err)
{
    Device *dev = &proxy->pci.dev, *backend = &proxy->vdev->dev;
    proxy->bus = bus_new(dev->machine, "virtio-pci-bus", dev, "virtio-bus");
    proxy->vdev->transport = &pci_transport;
    proxy->vdev->transport_data = proxy;
    proxy->vdev->as = pci_dma_space(&proxy->pci);
    backend->machine = dev->machine;
    backend->domain = dev->domain;
    object_ref(OBJECT(backend)); /* device_realize takes one */
    return device_realize(backend, proxy->bus, err);
}

static void clear_regions(VirtioPci *proxy)
{
    if (proxy->modern) {
        memory_region_clear(&proxy->notify);
        memory_region_clear(&proxy->device);
        memory_region_clear(&proxy->isr);
        memory_region_clear(&proxy->common);
        memory_region_clear(&proxy->modern_bar);
    }
    if (proxy->legacy)
        memory_region_clear(&proxy->legacy_bar);
}

static bool virtio_pci_realize(Device *dev, GError **err)
{
    VirtioPci *proxy = VIRTIO_PCI(dev);
    if (!choose_forms(proxy, err) || !realize_backend(proxy, err))
        return false;
    set_ids(proxy);
    proxy->intx_bh = bh_new(dev->domain, update_intx, proxy);
    if (proxy->legacy)
        add_legacy_bar(proxy);
    if (proxy->modern)
        add_modern_bar(proxy);
    if (add_msix(proxy, err) && (!proxy->modern || add_caps(proxy, err))) {
        add_bells(proxy);
        return true;
    }
    /* the core takes the backend back */
    clear_regions(proxy);
    g_clear_pointer(&proxy->intx_bh, bh_free);
    return false;
}

/* The backend was stopped and unrealized by the core before: it is on our bus. */
static void virtio_pci_unrealize(Device *dev)
{
    VirtioPci *proxy = VIRTIO_PCI(dev);
    remove_bells(proxy);
    g_clear_pointer(&proxy->intx_bh, bh_free);
    clear_regions(proxy);
    proxy->pci_cfg_cap = 0;
}

void virtio_pci_reset_device(VirtioPci *proxy)
{
    virtio_reset(proxy->vdev);
    proxy->feature_select = proxy->driver_feature_select = 0;
    proxy->driver_features = 0;
    proxy->queue_select = 0;
    virtio_pci_lower_intx(proxy);
}

static void virtio_pci_reset(Device *dev)
{
    VirtioPci *proxy = VIRTIO_PCI(dev);
    DOMAIN_GUARD(proxy->vdev->dev.domain);
    virtio_pci_reset_device(proxy);
}

/* ---- classes ---- */

static json_object *forward_get(Object *obj, const Property *prop, GError **err)
{
    return object_get_json(OBJECT(VIRTIO_PCI(obj)->vdev), prop->name, err);
}

static bool forward_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    return object_set_json(OBJECT(VIRTIO_PCI(obj)->vdev), prop->name, value, err);
}

/* The device's properties are the function's, too: rows that hand on to the child. */
static const Property *forwarding_props(const VirtioClass *device)
{
    GArray *rows = g_array_new(TRUE, TRUE, sizeof(Property));
    const Property *tables[] = {device->props, virtio_device_props};
    for (unsigned t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const Property *p = tables[t]; p && p->name; p++) {
            Property row = *p;
            row.offset = 0;
            row.get = forward_get;
            row.set = p->flags & PROP_READONLY ? NULL : forward_set;
            g_array_append_val(rows, row);
        }
    }
    return (const Property *)g_array_free(rows, FALSE);
}

static void virtio_pci_init(Object *obj)
{
    VirtioPci *proxy = VIRTIO_PCI(obj);
    GError *err = NULL;
    Object *backend = object_new(kind_of(proxy)->device->name, &err);
    if (!backend)
        g_error("%s", err->message);
    proxy->vdev = VIRTIO_DEVICE_OF(backend);
    object_add_child(obj, "virtio-backend", backend);
}

static void virtio_pci_finalize(Object *obj)
{
    object_unref(OBJECT(VIRTIO_PCI(obj)->vdev));
}

static const Property virtio_pci_props[] = {
    PROP_ONOFF("disable-legacy", VirtioPci, disable_legacy, ON_OFF_AUTO_AUTO, "leave out the legacy interface"),
    PROP_BOOL("disable-modern", VirtioPci, disable_modern, false, "leave out the interface of virtio 1.0 and later"),
    PROP_BOOL("ioeventfd", VirtioPci, ioeventfd, true, "doorbells may wake the loop of the device; off: the vCPU does the work"),
    PROP_BOOL("page-per-vq", VirtioPci, page_per_vq, false, "a page for each queue's doorbell"),
    PROP_U32("vectors", VirtioPci, n_vectors, VECTORS_AUTO, 0, UINT32_MAX, "MSI-X vectors (0: none; default: one per queue and one more)"),
    PROP_END
};

static const PciClass virtio_pci_class = {
    .name = TYPE_VIRTIO_PCI, .parent = TYPE_PCI_DEVICE, .desc = "virtio device on PCI", .size = sizeof(VirtioPci), .abstract = true,
    .props = virtio_pci_props, .bus = PCI_BUS_KIND, .realize = virtio_pci_realize, .unrealize = virtio_pci_unrealize,
    .reset = virtio_pci_reset, .finalize = virtio_pci_finalize, .vendor_id = VENDOR_REDHAT,
    .config_read = config_read, .config_write = config_write,
};
REGISTER_PCI_DEVICE(virtio_pci_class)

static char *virtio_bus_firmware_path(Bus *bus, Device *dev)
{
    return g_strdup(device_class(dev)->category == DEV_STORAGE ? "/disk@0,0" : "");
}

static const BusClass virtio_pci_bus_class = {
    .name = "virtio-pci-bus", .parent = TYPE_BUS, .desc = "place of a virtio device in its PCI function", .size = sizeof(Bus),
    .kind = "virtio-bus", .max_devices = 1, .firmware_path = virtio_bus_firmware_path,
};
REGISTER_OBJECT(virtio_pci_bus_class)

static void register_form(const VirtioClass *device, const char *name, VirtioPciForm form)
{
    static const char *const suffixes[] = {"", "-transitional", "-non-transitional"};
    VirtioPciKind *kind = g_new(VirtioPciKind, 1);
    *kind = (VirtioPciKind){.device = device, .form = form};
    PciClass *klass = g_new0(PciClass, 1);
    *klass = virtio_pci_class;
    klass->name = g_strdup_printf("%s-pci%s", name, suffixes[form]);
    klass->parent = TYPE_VIRTIO_PCI;
    klass->desc = device->desc;
    klass->abstract = false;
    klass->size = 0;
    klass->props = NULL;
    klass->realize = NULL;
    klass->unrealize = NULL;
    klass->reset = NULL;
    klass->finalize = NULL;
    klass->init = virtio_pci_init;
    klass->category = device->category;
    klass->class_id = device->pci_class;
    bool legacy = device->pci_legacy_id && form != FORM_NON_TRANSITIONAL;
    klass->device_id = legacy ? device->pci_legacy_id : MODERN_ID_BASE + device->device_id;
    klass->revision = legacy ? 0 : 1;
    klass->subsystem_vendor_id = VENDOR_REDHAT;
    klass->subsystem_id = legacy ? device->device_id : PCI_SUBDEVICE_DEFAULT;
    klass->props = forwarding_props(device);
    klass->data = kind;
    object_register_class((const ObjectClass *)klass);
}

void virtio_pci_register(const VirtioClass *device, const char *name)
{
    register_form(device, name, FORM_GENERIC);
    if (!device->no_legacy_forms) {
        register_form(device, name, FORM_TRANSITIONAL);
        register_form(device, name, FORM_NON_TRANSITIONAL);
    }
    g_autofree char *pci_name = g_strdup_printf("%s-pci", name);
    object_class_add_alias(name, pci_name);
}
