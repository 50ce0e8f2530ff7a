/*
 * QMP events: queued by any thread, sent by the main loop. Those that can come in storms are merged per second.
 */
#include "monitor/events.h"

#include <json-c/json.h>
#include <string.h>

#include <rhea/timer.h>

#include "monitor/monitor.h"


/* At most one a second of each kind, or of each value of `key`; the last one wins. */
static const struct { const char *name, *key; } limits[] = {
    { "RTC_CHANGE", NULL }, { "WATCHDOG", NULL }, { "BALLOON_CHANGE", NULL }, { "VSERPORT_CHANGE", "id" },
    { "MEMORY_DEVICE_SIZE_CHANGE", "qom-path" }, { "QUORUM_REPORT_BAD", NULL }, { "QUORUM_FAILURE", NULL },
};
#define LIMIT_NS NS_PER_SEC

/* A limited kind during its second. */
typedef struct Throttle {
    char *key;
    json_object *held; /* sent when the second is over, NULL if nothing came */
    Timer *timer;
} Throttle;

static GMutex lock;            /* guards queue and domain; leaf */
static GQueue queue = G_QUEUE_INIT;
static Domain *events_domain;
static BottomHalf *flush_bh;
static GHashTable *throttles;  /* key -> Throttle; main domain */

static json_object *event_object(const char *name, json_object *data)
{
    gint64 now = g_get_real_time();
    json_object *event = json_object_new_object(), *stamp = json_object_new_object();
    put_int(stamp, "seconds", now / G_USEC_PER_SEC);
    put_int(stamp, "microseconds", now % G_USEC_PER_SEC);
    put(event, "timestamp", stamp);
    put_str(event, "event", name);
    if (data)
        put(event, "data", data);
    return event;
}

void qmp_event_emit(const char *name, json_object *data)
{
    g_mutex_lock(&lock);
    if (!events_domain) {
        json_object_put(data); /* no monitor */
    } else {
        g_queue_push_tail(&queue, event_object(name, data));
        bh_schedule(flush_bh);
    }
    g_mutex_unlock(&lock);
}

static void broadcast(json_object *event)
{
    GPtrArray *list = monitor_list();
    for (unsigned i = 0; i < list->len; i++) {
        Monitor *mon = list->pdata[i];
        if (mon->control && mon->negotiated)
            qmp_session_send(mon, event);
    }
}

static void throttle_free(gpointer opaque)
{
    Throttle *t = opaque;
    timer_free(t->timer);
    json_object_put(t->held);
    g_free(t->key);
    g_free(t);
}

static void throttle_over(void *opaque)
{
    Throttle *t = opaque;
    if (!t->held) {
        g_hash_table_remove(throttles, t->key);
        return;
    }
    broadcast(t->held);
    g_clear_pointer(&t->held, json_object_put);
    timer_mod(t->timer, domain_now(events_domain, CLOCK_MONO) + LIMIT_NS);
}

/* (owned) NULL when the kind has no limit */
static char *throttle_key(json_object *event)
{
    json_object *name, *data, *part;
    json_object_object_get_ex(event, "event", &name);
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++) {
        if (strcmp(limits[i].name, json_object_get_string(name)))
            continue;
        bool keyed = limits[i].key && json_object_object_get_ex(event, "data", &data) &&
                     json_object_object_get_ex(data, limits[i].key, &part);
        return g_strdup_printf("%s:%s", limits[i].name, keyed ? json_object_get_string(part) : "");
    }
    return NULL;
}

static void send_event(json_object *event)
{
    g_autofree char *key = throttle_key(event);
    if (!key) {
        broadcast(event);
        return;
    }
    Throttle *t = g_hash_table_lookup(throttles, key);
    if (t) {
        json_object_put(t->held);
        t->held = json_object_get(event);
        return;
    }
    broadcast(event);
    t = g_new0(Throttle, 1);
    t->key = g_steal_pointer(&key);
    t->timer = timer_new(events_domain, CLOCK_MONO, throttle_over, t);
    timer_mod(t->timer, domain_now(events_domain, CLOCK_MONO) + LIMIT_NS);
    g_hash_table_insert(throttles, t->key, t);
}

void events_flush(void)
{
    for (;;) {
        g_mutex_lock(&lock);
        json_object *event = g_queue_pop_head(&queue);
        g_mutex_unlock(&lock);
        if (!event)
            return;
        send_event(event);
        json_object_put(event);
    }
}

static void flush_later(void *opaque)
{
    events_flush();
}

void events_start(Domain *domain)
{
    throttles = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, throttle_free);
    flush_bh = bh_new(domain, flush_later, NULL);
    g_mutex_lock(&lock);
    events_domain = domain;
    g_mutex_unlock(&lock);
}

void events_stop(void)
{
    g_mutex_lock(&lock);
    events_domain = NULL;
    for (json_object *event; (event = g_queue_pop_head(&queue));)
        json_object_put(event);
    g_mutex_unlock(&lock);
    g_clear_pointer(&flush_bh, bh_free);
    g_clear_pointer(&throttles, g_hash_table_unref);
}
