/* What the files of hw/core share. */
#pragma once

#include <hw/bus.h>
#include <hw/device.h>

enum { CLASS_DEPTH_MAX = 8 };

/*
 * The tables of a device's class from TYPE_DEVICE down to its own; returns their number. Functions of several levels run
 * one after the other, see hw/device.h.
 */
unsigned device_class_levels(const ObjectClass *klass, const DeviceClass *levels[CLASS_DEPTH_MAX]);

bool bus_plug(Bus *bus, Device *dev, GError **err) WARN_UNUSED;
void bus_unplug(Bus *bus, Device *dev);

void device_gpios_free(Device *dev);

/* Refuses a bootindex that another realized device has. */
bool bootindex_check(Device *dev, GError **err) WARN_UNUSED;
