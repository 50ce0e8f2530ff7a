/* "-device help", "-device NAME,help" and their siblings, made from the class tables. All (owned), NULL: no such NAME. */
#pragma once

char *cli_help_machine(const char *name);
char *cli_help_accel(const char *name);
char *cli_help_cpu(const char *name);
char *cli_help_device(const char *name);
char *cli_help_object(const char *name);
char *cli_help_chardev(const char *name);
