/* The command line's options: one table that the parser, -help and query-command-line-options read. */
#pragma once

#include "system/config.h"

/* argv without the program's name. False with one sentence. */
bool cli_parse(Config *config, int argc, char **argv, GError **err) WARN_UNUSED;
/* -help (owned) */
char *cli_help_text(void);
/* query-command-line-options: [{"option", "parameters"}], only the one called name unless NULL. (owned) */
json_object *cli_describe_options(const char *name);
