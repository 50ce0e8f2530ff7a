/* iothread objects. */
#include "system/iothread.h"

#include <unistd.h>

#include "system/loop_internal.h"

typedef struct {
    Object obj;
    Domain *domain;
    pid_t thread_id;
    int64_t poll_max_ns, poll_grow, poll_shrink;
} Iothread;

static void iothread_apply_polling(Iothread *io)
{
    if (!io->domain)
        return;
    domain_lock(io->domain);
    domain_set_polling(io->domain, io->poll_max_ns, (unsigned)io->poll_grow, (unsigned)io->poll_shrink);
    domain_unlock(io->domain);
}

static bool poll_set(Object *obj, const Property *prop, json_object *value, GError **err)
{
    *(int64_t *)((char *)obj + prop->offset) = json_object_get_int64(value);
    iothread_apply_polling((Iothread *)obj);
    return true;
}

/* The thread tells its id itself: GLib doesn't know it. */
typedef struct {
    GMutex lock;
    GCond known;
    pid_t id;
} ThreadId;

static void tell_id(void *opaque)
{
    ThreadId *id = opaque;
    g_mutex_lock(&id->lock);
    id->id = gettid();
    g_cond_signal(&id->known);
    g_mutex_unlock(&id->lock);
}

static bool iothread_complete(Object *obj, GError **err)
{
    Iothread *io = (Iothread *)obj;
    g_autofree char *name = g_strdup_printf("IO %s", obj->id);
    io->domain = domain_new(name, NULL);
    iothread_apply_polling(io);
    if (!domain_start_thread(io->domain, err)) {
        g_clear_pointer(&io->domain, domain_free);
        return false;
    }
    ThreadId id = { 0 };
    g_mutex_init(&id.lock);
    g_cond_init(&id.known);
    domain_post(io->domain, tell_id, &id);
    g_mutex_lock(&id.lock);
    while (!id.id)
        g_cond_wait(&id.known, &id.lock);
    g_mutex_unlock(&id.lock);
    g_mutex_clear(&id.lock);
    g_cond_clear(&id.known);
    io->thread_id = id.id;
    return true;
}

static void iothread_finalize(Object *obj)
{
    Iothread *io = (Iothread *)obj;
    if (!io->domain)
        return;
    domain_stop_thread(io->domain);
    domain_free(io->domain);
}

#define PROP_POLL(n, f, d, h) \
    { .name = n, .kind = PROP_KIND_I64, .flags = PROP_LIVE, .offset = offsetof(Iothread, f), .def = d, .min = 0, \
      .max = 1000000000, .help = h, .set = poll_set }

static const Property iothread_props[] = {
    PROP_POLL("poll-max-ns", poll_max_ns, 32768, "longest busy wait for events before sleeping, ns; 0: none"),
    PROP_POLL("poll-grow", poll_grow, 0, "factor by which a busy wait that was too short grows; 0: 2"),
    PROP_POLL("poll-shrink", poll_shrink, 0, "divisor by which a useless busy wait shrinks; 0: to nothing"),
    PROP_END
};

static const ObjectClass iothread_class = {
    .name = TYPE_IOTHREAD, .desc = "a loop with its own thread, for devices' iothread=", .size = sizeof(Iothread),
    .props = iothread_props, .complete = iothread_complete, .finalize = iothread_finalize,
};
REGISTER_OBJECT(iothread_class)

Domain *iothread_domain(Object *iothread)
{
    g_assert(object_is_a(iothread, TYPE_IOTHREAD));
    return ((Iothread *)iothread)->domain;
}

json_object *iothreads_query(void)
{
    json_object *list = json_object_new_array();
    const Object *folder = object_get_container("/objects");
    for (guint i = 0; folder->child_order && i < folder->child_order->len; i++) {
        if (!object_is_a(folder->child_order->pdata[i], TYPE_IOTHREAD))
            continue;
        const Iothread *io = folder->child_order->pdata[i];
        json_object *entry = json_object_new_object();
        json_object_object_add(entry, "id", json_object_new_string(io->obj.id));
        json_object_object_add(entry, "thread-id", json_object_new_int64(io->thread_id));
        json_object_object_add(entry, "poll-max-ns", json_object_new_int64(io->poll_max_ns));
        json_object_object_add(entry, "poll-grow", json_object_new_int64(io->poll_grow));
        json_object_object_add(entry, "poll-shrink", json_object_new_int64(io->poll_shrink));
        json_object_array_add(list, entry);
    }
    return list;
}
