/*
 * Where firmware images and option ROMs are found on the host.
 */
#pragma once

#include <rhea/base.h>

/*
 * A name with a slash is a path. Otherwise the current directory is tried as the user may have meant a file there, then the
 * distributions' firmware directories. (owned) NULL if it is nowhere.
 */
char *firmware_find(const char *name);
/* Reads a whole regular file of at most max bytes and at least one. */
bool firmware_read(const char *path, uint64_t max, char **data, gsize *len, GError **err) WARN_UNUSED;
/* "a, b, c" of the directories that are searched, for messages. (owned) */
char *firmware_dirs_text(void);
/* -L: a directory to search before those. */
void firmware_add_dir(const char *dir);
