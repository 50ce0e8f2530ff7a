/* Ids that users give to devices, objects, block nodes, character devices. */
#pragma once

#include <stdbool.h>

/* A letter, then letters, digits, '-', '.' and '_'. */
bool id_well_formed(const char *id);
