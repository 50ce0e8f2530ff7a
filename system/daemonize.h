/*
 * -daemonize and -pidfile. The parent waits until its child has everything set up, so that its exit status tells how start-up went.
 */
#pragma once

#include <rhea/base.h>

/* Forks; only the child returns. The parent ends with 0 after daemonize_finish(), else with 1. Before any thread was made. */
bool daemonize_start(GError **err) WARN_UNUSED;
/* In the child: leaves directory, terminal and standard streams behind, lets the parent go. */
bool daemonize_finish(GError **err) WARN_UNUSED;
/* Locks and writes the file; it is removed when the process ends. */
bool pidfile_create(const char *path, GError **err) WARN_UNUSED;
