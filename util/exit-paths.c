/* Files removed when the process ends, whichever way. */
#include "util/exit-paths.h"

#include <string.h>
#include <unistd.h>

/* Fixed slots, so that a signal handler can walk them at any moment. */
static char *volatile slots[64];

void exit_paths_add(const char *path)
{
    /* The working directory may change (-daemonize). */
    char *absolute = g_canonicalize_filename(path, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(slots); i++)
        if (g_atomic_pointer_compare_and_exchange(&slots[i], NULL, absolute))
            return;
    g_free(absolute); /* more than 64: those past them are removed by their owners only */
}

void exit_paths_unlink(const char *path)
{
    g_autofree char *absolute = g_canonicalize_filename(path, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(slots); i++) {
        char *slot = slots[i];
        if (slot && !strcmp(slot, absolute) && g_atomic_pointer_compare_and_exchange(&slots[i], slot, NULL)) {
            unlink(slot);
            g_free(slot);
            return;
        }
    }
}

void exit_paths_remove(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(slots); i++) {
        char *slot = slots[i];
        slots[i] = NULL;
        if (slot)
            unlink(slot);
    }
}

void exit_paths_clear(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(slots); i++) {
        g_autofree char *slot = slots[i];
        if (slot && g_atomic_pointer_compare_and_exchange(&slots[i], slot, NULL))
            unlink(slot);
    }
}
