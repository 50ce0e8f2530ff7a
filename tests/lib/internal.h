/* Shared by the files of the client library. */
#pragma once

#include "qtest-client.h"

#define QT_TIMEOUT_MS 30000
#define QT_IRQS 256

/* A stream of lines. */
typedef struct QtLines {
    int fd;
    GString *in;
} QtLines;

struct QtEmu {
    GPid pid;
    QtLines qtest, qmp;
    GQueue events;             /* json_object * */
    bool irq[QT_IRQS];
    unsigned raises[QT_IRQS];
    uint64_t next_ram, next_io, next_mem;
};

/* Ends the test program, naming what was going on. */
#define qt_fail(q, ...) g_error(__VA_ARGS__)

void qt_lines_send(QtLines *l, const char *text, size_t len);
/* Next line without its end. (owned) NULL at the end of the stream; the test ends after QT_TIMEOUT_MS. */
char *qt_lines_read(QtLines *l);
/* Whether something can be read without waiting. */
bool qt_lines_ready(QtLines *l);

/* qmp.c */
void qt_qmp_greet(QtEmu *q);
