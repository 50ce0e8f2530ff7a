/*
 * Files that must not outlive the process: pid file, listening sockets. They are removed by exit_paths_remove(), also from a
 * signal handler.
 */
#pragma once

#include <rhea/base.h>

/* Remembers path as this process's own. Any thread. */
void exit_paths_add(const char *path);
/* Removes the file now and forgets it. */
void exit_paths_unlink(const char *path);
/* Removes all that are left. Async-signal-safe. */
void exit_paths_remove(void);
/* The same from ordinary code, at the end of the process: nothing stays allocated. */
void exit_paths_clear(void);
