/*
 * The test channel: a line protocol by which a test program plays the guest's CPUs. Facts of the wire are those that QEMU's
 * test programs know ("qtest protocol").
 *
 * The channel works beside any accelerator; clock commands are there only under the accelerator `qtest`, which
 * executes nothing. `-qtest` opens it on a character device, `-object qtest,chardev=ID[,log=FILE]` does the same.
 */
#pragma once

#include <chardev/chardev.h>

#include "system/machine.h"

typedef struct Qtest Qtest;

/*
 * Serves the protocol on chr. log: a file that gets a copy of the traffic; NULL, "none" and "/dev/null" are no log. Nothing is
 * answered before the main loop runs, with the machine complete. (owned: qtest_free) owner may be NULL.
 */
Qtest *qtest_new(Machine *machine, Chardev *chr, Object *owner, const char *log, GError **err) WARN_UNUSED;
void qtest_free(Qtest *q); /* NULL is allowed */

/* For the command line: the channel lives as long as the process. */
bool qtest_start(Machine *machine, Chardev *chr, const char *log, GError **err) WARN_UNUSED;
