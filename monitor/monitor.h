/* What the files of monitor/ share. */
#pragma once

#include "monitor/json-frame.h"
#include "monitor/qmp.h"

typedef struct HmpLine HmpLine;

struct Monitor {
    QmpContext ctx;
    CharFrontend *fe;
    bool control, pretty;
    /* QMP */
    JsonFrame *frame;
    bool open, negotiated, oob;
    bool muted;          /* the client does not read its answers */
    /* human */
    HmpLine *line;
    GPtrArray *named_fds; /* names given by getfd here; they go when the client does */
};

/* Every monitor, in order of creation. Main domain locked. */
GPtrArray *monitor_list(void);
/* Queued events go to the sessions now. Main domain locked. */
void events_flush(void);
void events_start(Domain *domain);
void events_stop(void);
/* One JSON object as a line. */
void qmp_session_send(Monitor *mon, json_object *object);

/* Human monitors, hmp-session.c. */
void hmp_session_start(Monitor *mon);
void hmp_session_stop(Monitor *mon);
/* Start-up is over: who has the keyboard of a mux now keeps it. */
void hmp_session_ready(Monitor *mon);
extern const CharFrontendOps hmp_session_ops;
