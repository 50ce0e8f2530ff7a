/* The hook by which system/plugin.c brings in loadable modules when a class name is not known yet. */
#pragma once

#include <rhea/base.h>

/* Loads what provides the class `name`, or everything there is for NULL. True if something new was registered. */
typedef bool ClassLoader(const char *name);
void object_set_class_loader(ClassLoader *func);
