/*
 * The test channel: a line protocol by which a test program plays the guest's CPUs. Facts of the wire are those that QEMU's
 * test programs know ("qtest protocol").
 *
 * The channel works beside any accelerator; clock commands are there only under the accelerator `qtest`, which
 * executes nothing.
 */
#pragma once

#include "system/machine.h"

/*
 * Opens the channel. spec is what -qtest takes: "unix:PATH" (connects), "unix:PATH,server=on[,wait=off]" (listens), "fd:N" or "stdio".
 * log: a file that gets a copy of the traffic; NULL, "none" and "/dev/null" are no log. Nothing is answered before the main loop runs,
 * with the machine complete. Lives as long as the process.
 */
bool qtest_start(Machine *machine, const char *spec, const char *log, GError **err) WARN_UNUSED;
