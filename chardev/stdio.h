/* What the process start and end need to know of the terminal. */
#pragma once

#include <rhea/base.h>

/* Gives the terminal its modes back. Async-signal-safe; idempotent. */
void stdio_restore_terminal(void);
bool stdio_in_use(void);
