/* The human monitor: commands as tables. Most of them are a QMP command with its arguments typed as words. */
#pragma once

#include "monitor/qmp.h"

typedef struct Hmp {
    QmpContext *ctx;
    GString *out;
    json_object *args;   /* what the command's spec names; absent optional ones are not in it */
    /* "/20xw" of x, xp, print */
    unsigned count;
    char format, size;
} Hmp;

typedef void HmpFunc(Hmp *hmp);

typedef struct HmpCommand {
    const char *name;       /* "quit|q": first the full name */
    /*
     * "id:s,size:i?": names and kinds, '?' optional. s word or quoted string, S rest of the line, i integer expression, b on|off,
     * o key=value options (a member object), -f:f flag, fmt:/ a format.
     */
    const char *args;
    const char *params;     /* for help */
    const char *help;
    HmpFunc *func;
    const char *qmp;        /* instead of func: this command with args as its arguments */
} HmpCommand;

/* NULL-terminated by name. */
extern const HmpCommand hmp_commands[];
extern const HmpCommand hmp_info_commands[];

/* Calls a QMP command; its result (owned), NULL after an error that was printed. args is borrowed, NULL for none. */
json_object *hmp_call(Hmp *hmp, const char *command, json_object *args);
void hmp_print(Hmp *hmp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
void hmp_error(Hmp *hmp, GError *error); /* takes error */
/* *text is moved past an expression of numbers, $registers, + - * / % & | ^ ~ ( ). */
bool hmp_expression(QmpContext *ctx, const char **text, uint64_t *value, GError **err);
