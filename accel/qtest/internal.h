/* What the files of the test channel share. */
#pragma once

#include "accel/qtest/qtest.h"

#include <stdio.h>

#define QTEST_IRQS 256

struct Qtest {
    Machine *machine;
    CharFrontend *fe;
    GByteArray *in;
    size_t scanned;            /* bytes of `in` without a line end */
    Timer *start;              /* looks whether the machine is complete */
    BottomHalf *flush;
    FILE *log;
    int64_t log_start;
    /* answers and reports not yet sent; reports may come from any thread */
    GMutex lock;               /* leaf */
    GByteArray *out;
    Device *intercepted;       /* reference held; NULL: none */
    bool inputs;
    char *list;                /* name of the intercepted list, NULL: unnamed */
    uint64_t levels[QTEST_IRQS / 64];
};

/* channel.c: one line to the client, without its line end. Any thread. */
void qtest_send(Qtest *q, const char *line);
void qtest_sendf(Qtest *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* A line's change of level, q->lock held. Any thread. */
void qtest_report_locked(Qtest *q, unsigned n, bool level);

/* commands.c: does what the line says and answers. line is changed. Main domain locked. */
void qtest_command(Qtest *q, char *line);
