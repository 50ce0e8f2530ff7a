/*
 * Devices and how they register, live and die.
 *
 * Life: NEW (made, defaults set) -> properties set -> REALIZED (visible to the guest) -> GONE. A failed realize leaves
 * nothing behind: realize undoes what it did, the core drops the rest. All callbacks run with the device's
 * domain locked, except init/finalize.
 *
 * A class and its ancestors may each have realize, reset and unrealize: all of them run, ancestors first for realize and
 * reset, last for unrealize. bus, category and no_hotplug are inherited when a table leaves them out.
 */
#pragma once

#include <hw/irq.h>
#include <mem/memory.h>
#include <qom/object.h>
#include <rhea/state.h>
#include <rhea/timer.h>

typedef struct Device Device;
typedef struct DeviceClass DeviceClass;
typedef struct Bus Bus;
typedef struct BusClass BusClass;
typedef struct Machine Machine;

typedef enum {
    DEV_MISC, DEV_BRIDGE, DEV_USB, DEV_STORAGE, DEV_NETWORK, DEV_INPUT, DEV_DISPLAY, DEV_SOUND, DEV_CPU, DEV_WATCHDOG,
    DEV_CATEGORIES
} DeviceCategory;

#define DEVICE_CLASS_FIELDS                                                                                                 \
    OBJECT_CLASS_FIELDS;                                                                                                    \
    DeviceCategory category;                                                                                                \
    const char *bus;             /* kind of bus it plugs into ("PCI", "ISA", "virtio-bus"); NULL: none (wired by the board) */ \
    bool internal;               /* made by boards only: -device refuses it with a sentence */                             \
    bool no_hotplug;             /* device_add refuses it once the machine runs */                                          \
    const StateField *state;     /* saved state, STATE_END-terminated */                                                   \
    uint32_t state_version;                                                                                                 \
    bool (*realize)(Device *dev, GError **err);                                                                             \
    void (*unrealize)(Device *dev);                                                                                         \
    void (*reset)(Device *dev);  /* to power-on state; not at realize: the machine's reset does that */                    \
    /* called by the core for a device_del of a running device whose bus has no guest-visible unplug */                     \
    bool (*unplug_request)(Device *dev, GError **err)

struct DeviceClass {
    DEVICE_CLASS_FIELDS;
};

struct Device {
    Object obj;
    Machine *machine;
    Domain *domain;        /* the machine's unless changed before or in realize */
    Bus *bus;              /* where it is plugged, borrowed (the bus is its owner's child) */
    GPtrArray *buses;      /* Bus *, that it provides */
    bool realized;
    bool hotplugged;       /* added after the machine was started */
    bool unplugging;       /* device_del was accepted, the guest has not answered */
    bool user_created;     /* by -device / device_add: lives under /machine/peripheral(-anon) */
    char *id_str;          /* user's id=, NULL if none (owned) */
    int32_t bootindex;     /* -1 if none */
    GList *gpios;          /* GpioList *, hw/core */
    uint64_t guest_errors; /* counted by guest_error() */
};

#define TYPE_DEVICE "device"
#define DEVICE(ptr) ((Device *)(ptr))
static inline const DeviceClass *device_class(const Device *dev) { return (const DeviceClass *)dev->obj.klass; }

#define REGISTER_DEVICE(table) REGISTER_OBJECT(table)

/* Row for the property tables of devices that firmware can boot from. */
#define PROP_BOOTINDEX \
    { .name = "bootindex", .kind = PROP_KIND_I32, .offset = offsetof(Device, bootindex), .def = (uint64_t)-1, \
      .min = (uint64_t)-1, .max = INT32_MAX, .help = "place in the firmware's boot order, -1: none" }

/* Making devices in board code. The device is not in the tree until realized. (owned until device_realize) */
Device *device_new(Machine *machine, const char *type, GError **err) WARN_UNUSED;
/*
 * Plugs into bus (NULL for none), gives it a place in the tree (/machine/unattached/device[N] unless it has one), realizes.
 * Takes over the caller's reference in success and failure. The pointer stays valid while the device is realized.
 */
bool device_realize(Device *dev, Bus *bus, GError **err) WARN_UNUSED;
/* Removes from the guest's sight and from the tree; emits DEVICE_DELETED for user-created ones. Main domain locked. */
void device_unrealize(Device *dev);

/*
 * -device / device_add: options are "driver", "id", "bus", "addr" and properties. All or nothing. (borrowed)
 */
Device *device_add(Machine *machine, json_object *options, GError **err) WARN_UNUSED;
/* device_del: id or path. Asks the guest where its bus does; completes at once where nothing needs to be asked. */
bool device_del(Machine *machine, const char *id, GError **err) WARN_UNUSED;
Device *device_find(Machine *machine, const char *id_or_path, GError **err) WARN_UNUSED; /* DeviceNotFound */
/* The guest agreed: finish a pending device_del (bus code). */
void device_unplug_complete(Device *dev);

/*
 * Irq lines. Inputs: n lines whose changes reach func. Outputs: pins[i] are filled by connections; a NULL pin is open.
 * name NULL is the unnamed list ("unnamed-gpio-in"/"unnamed-gpio-out" in QMP and qtest).
 */
void device_init_irq_in(Device *dev, const char *name, IrqFunc *func, unsigned n);
void device_init_irq_out(Device *dev, const char *name, Irq **pins, unsigned n);
Irq *device_irq_in(Device *dev, const char *name, unsigned n); /* borrowed; NULL if there is none */
void device_connect_irq(Device *dev, const char *name, unsigned n, Irq *target);
/* qtest: observer for all lines of one list; false if there is no such list. */
bool device_observe_irqs(Device *dev, const char *name, bool inputs, IrqFunc *observer, void *opaque);

/* Guest misbehaviour: counted, traced, at most a few lines a second logged. Never fails, never stops the guest. */
void guest_error(Device *dev, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Depth-first reset of a device and everything on its buses, children of a bus before its owner. */
void device_reset_tree(Device *dev);
