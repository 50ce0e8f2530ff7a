/* Virtio over PCI, virtio 1.2 §4.1: private to hw/virtio. */
#pragma once

#include <hw/pci.h>
#include <hw/virtio.h>

/* Registers NAME-pci and its -transitional and -non-transitional forms for a device class (named NAME-device). */
void virtio_pci_register(const VirtioClass *klass, const char *name);

#define TYPE_VIRTIO_PCI "virtio-pci"

/* virtio.c: properties of every virtio device. */
extern const Property virtio_device_props[];

/* Layout of the modern BAR. */
#define VIRTIO_PCI_LEGACY_BAR 0
#define VIRTIO_PCI_MSIX_BAR 1
#define VIRTIO_PCI_MODERN_BAR 4
#define VIRTIO_PCI_COMMON 0x0000
#define VIRTIO_PCI_ISR 0x1000
#define VIRTIO_PCI_DEVICE 0x2000
#define VIRTIO_PCI_NOTIFY 0x3000
#define VIRTIO_PCI_REGION 0x1000

typedef struct VirtioPci VirtioPci;

/* One doorbell that bypasses the register callbacks. */
typedef struct VirtioPciBell {
    VirtioPci *proxy;
    unsigned queue;
    BottomHalf *bh;
} VirtioPciBell;

struct VirtioPci {
    PciDevice pci;
    VirtioDevice *vdev;        /* the "virtio-backend" child; reference held */
    OnOffAuto disable_legacy;
    bool disable_modern;
    bool ioeventfd, page_per_vq;
    uint32_t n_vectors;
    bool legacy, modern;       /* what is offered */
    Bus *bus;
    MemoryRegion legacy_bar, modern_bar, common, isr, device, notify;
    VirtioPciBell *bells;      /* [n_bells] */
    unsigned n_bells;
    BottomHalf *intx_bh;       /* drives INTx for devices in other domains */
    uint8_t pci_cfg_cap;       /* offset of the configuration access capability */
    uint32_t feature_select, driver_feature_select;
    uint64_t driver_features;  /* being put together */
    uint16_t queue_select;
};
#define VIRTIO_PCI(ptr) ((VirtioPci *)(ptr))

/* virtio-pci-regs.c */
extern const MemoryRegionOps virtio_pci_common_ops, virtio_pci_isr_ops, virtio_pci_device_ops, virtio_pci_notify_ops,
    virtio_pci_legacy_ops;
/* An access inside the modern BAR, as the configuration access capability makes it. */
uint32_t virtio_pci_bar_read(VirtioPci *proxy, uint64_t offset, unsigned size);
void virtio_pci_bar_write(VirtioPci *proxy, uint64_t offset, uint32_t value, unsigned size);
static inline uint32_t virtio_pci_notify_stride(const VirtioPci *proxy)
{
    return proxy->page_per_vq ? 0x1000 : 4;
}

/* virtio-pci.c */
void virtio_pci_reset_device(VirtioPci *proxy);
void virtio_pci_lower_intx(VirtioPci *proxy);
uint32_t virtio_pci_legacy_config_offset(const VirtioPci *proxy);
