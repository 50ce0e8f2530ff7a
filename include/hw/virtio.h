/*
 * Virtio devices, independent of how they are attached (virtio 1.2). A device is one const table; VIRTIO_DEVICE registers from it
 * NAME-device on a virtio-bus, and NAME-pci, NAME-pci-transitional, NAME-pci-non-transitional.
 */
#pragma once

#include <hw/bus.h>
#include <hw/virtq.h>

typedef struct VirtioClass VirtioClass;
typedef struct VirtioTransport VirtioTransport;

/* Device types, virtio 1.2 §5. */
#define VIRTIO_ID_NET 1
#define VIRTIO_ID_BLOCK 2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG 4
#define VIRTIO_ID_BALLOON 5
#define VIRTIO_ID_SCSI 8
#define VIRTIO_ID_GPU 16
#define VIRTIO_ID_INPUT 18

/* Status bits, §2.1. */
#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER 0x02
#define VIRTIO_STATUS_DRIVER_OK 0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED 0x80

/* Feature bits of all devices, §6 and §6.3. */
#define VIRTIO_F_NOTIFY_ON_EMPTY 24
#define VIRTIO_F_ANY_LAYOUT 27
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_VERSION_1 32
#define VIRTIO_F_ACCESS_PLATFORM 33
#define VIRTIO_F_RING_PACKED 34
#define VIRTIO_F_IN_ORDER 35
#define VIRTIO_F_RING_RESET 40
#define VIRTIO_BIT(n) (1ull << (n))

#define VIRTIO_NO_VECTOR 0xffff
#define VIRTIO_MAX_QUEUES 1024u

#define VIRTIO_CLASS_FIELDS                                                                                                 \
    DEVICE_CLASS_FIELDS;         /* .name is the family's: "virtio-blk"; .parent, .bus are filled in */                     \
    uint16_t device_id;          /* VIRTIO_ID_* */                                                                          \
    uint16_t pci_class;          /* base class << 8 | sub-class of the PCI function */                                     \
    uint16_t pci_legacy_id;      /* device id of the transitional function, 0: there is none */                            \
    uint16_t config_size;        /* bytes of the device-specific configuration */                                          \
    bool no_legacy_forms;        /* only NAME-pci exists (devices newer than virtio 1.0) */                                \
    /* MSI-X vectors by default; NULL: one per queue and one for configuration. After the device's realize. */             \
    unsigned (*vectors)(VirtioDevice *vdev);                                                                               \
    uint64_t (*features)(VirtioDevice *vdev); /* offered device-specific bits (0..23, 50..63) */                           \
    /* The driver's choice, a subset of the offered; a false is "FEATURES_OK does not stick". NULL: takes any. */          \
    bool (*set_features)(VirtioDevice *vdev, uint64_t features);                                                           \
    /* DRIVER_OK was set: queues are live. */                                                                              \
    void (*start)(VirtioDevice *vdev);                                                                                      \
    /* Reset or unplug: every element taken has to be dropped before it returns; then queues are cleared. */               \
    void (*stop)(VirtioDevice *vdev);                                                                                       \
    /* The same for one queue (RING_RESET). NULL: the feature is not offered. */                                           \
    void (*stop_queue)(VirtioDevice *vdev, Virtq *vq);                                                                     \
    /* The guest rang. */                                                                                                  \
    void (*kick)(VirtioDevice *vdev, Virtq *vq);                                                                           \
    /* Fills config[config_size] with what the driver reads. */                                                            \
    void (*config_read)(VirtioDevice *vdev, uint8_t *config);                                                              \
    /* The driver wrote len bytes at offset; config holds all of it with them. NULL: read-only. */                         \
    void (*config_write)(VirtioDevice *vdev, const uint8_t *config, uint32_t offset, uint32_t len)

struct VirtioClass {
    VIRTIO_CLASS_FIELDS;
};

struct VirtioDevice {
    Device dev;
    const VirtioTransport *transport;
    void *transport_data;
    AddressSpace *as;           /* memory as the device sees it */
    Virtq *vqs;                 /* [n_vqs] */
    unsigned n_vqs;
    uint8_t status;
    bool started;               /* DRIVER_OK seen, class start ran */
    uint8_t isr;                /* bit 0 queue, bit 1 configuration; atomic */
    uint64_t host_features;     /* offered; also the storage of the feature properties */
    uint64_t guest_features;    /* accepted */
    uint32_t config_generation; /* atomic */
    uint16_t config_vector;
    bool machine_running;
};

#define TYPE_VIRTIO_DEVICE "virtio-device"
#define VIRTIO_DEVICE_OF(ptr) ((VirtioDevice *)(ptr))
static inline const VirtioClass *virtio_class(const VirtioDevice *vdev) { return (const VirtioClass *)vdev->dev.obj.klass; }
static inline bool virtio_has_feature(const VirtioDevice *vdev, unsigned bit) { return vdev->guest_features >> bit & 1; }
/* Legacy driver: it set DRIVER_OK without VERSION_1. */
static inline bool virtio_is_legacy(const VirtioDevice *vdev) { return !virtio_has_feature(vdev, VIRTIO_F_VERSION_1); }

/* How it reaches the guest. Any thread that holds the device's domain lock. */
struct VirtioTransport {
    void (*notify_queue)(VirtioDevice *vdev, Virtq *vq);
    void (*notify_config)(VirtioDevice *vdev);
};

/* From the class's realize: adds a queue of at most `max` entries (power of two). Its number is the order of the calls. */
Virtq *virtio_add_queue(VirtioDevice *vdev, uint16_t max);
/* The configuration changed: generation and interrupt. */
void virtio_config_changed(VirtioDevice *vdev);
/* Guest nonsense: counted, NEEDS_RESET set, the driver told; queues are dead until the reset. */
void virtio_error(VirtioDevice *vdev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
static inline bool virtio_is_broken(const VirtioDevice *vdev) { return vdev->status & VIRTIO_STATUS_NEEDS_RESET; }

/* For transports. Device's domain locked. */
bool virtio_set_status(VirtioDevice *vdev, uint8_t status);
void virtio_reset(VirtioDevice *vdev);
uint64_t virtio_offered_features(VirtioDevice *vdev, bool modern);
void virtio_kick_queue(VirtioDevice *vdev, unsigned index);
void virtio_config_read(VirtioDevice *vdev, uint8_t *config);
void virtio_config_write(VirtioDevice *vdev, uint32_t offset, uint32_t value, unsigned size);

void virtio_register(const VirtioClass *klass);
#define VIRTIO_DEVICE(table) RHEA_REGISTER(virtio_register, table)
