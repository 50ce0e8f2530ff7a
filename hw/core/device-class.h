/*
 * Questions to device classes, with what a table leaves out taken from its ancestors; help for -device. For the command line and
 * QMP, not for devices.
 */
#pragma once

#include <hw/device.h>

const char *device_class_bus_kind(const ObjectClass *klass);    /* NULL: none */
DeviceCategory device_class_category(const ObjectClass *klass);
bool device_class_no_hotplug(const ObjectClass *klass);
bool device_class_user_creatable(const ObjectClass *klass);

/* Finds a class that -device may make, or says why not. */
const DeviceClass *device_class_for_user(const char *driver, GError **err) WARN_UNUSED;

/* "-device help": by category. (owned) */
char *device_list_help(void);
/* "-device NAME,help" (owned) */
char *device_class_help(const char *driver, GError **err) WARN_UNUSED;

/* Takes every device of the machine down, last made first, without events. At the end of the process. */
void devices_unrealize_all(Machine *machine);

/* "/pci@i0cf8/scsi@4/disk@0,0" (owned); "" for a device without address. */
char *device_firmware_path(Device *dev);
/* Firmware paths of the devices with a bootindex, in its order, for fw_cfg's "bootorder". (container owned) of char * */
GPtrArray *boot_order(Machine *machine);

/* Whether guest_error() writes a line (-d guest_errors); counted in any case. */
void guest_error_set_log(bool on);
