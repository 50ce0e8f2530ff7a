/* The hook by which system/plugin.c brings in loadable modules when a class name is not known yet. */
#pragma once

#include <rhea/base.h>

/* Loads what provides the class `name`, or everything there is for NULL. True if something new was registered. */
typedef bool ClassLoader(const char *name);
void object_set_class_loader(ClassLoader *func);

/*
 * Classes registered between begin and commit come from a plugin: commit checks names and parents and adds all of them, or none
 * and says why.
 */
void object_classes_begin(void);
bool object_classes_commit(GError **err) WARN_UNUSED;
