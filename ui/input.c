/* Routes input events to devices. See ui/input.h. */
#include <ui/input.h>

#include <rhea/timer.h>

#include "system/machine.h"

#define QUEUE_LIMIT 1024 /* typed keys that wait; more are dropped */

struct InputHandler {
    InputRouter *router;
    const InputHandlerOps *ops;
    void *opaque;
    unsigned index;
    bool enabled, touched; /* touched: got events since the last sync */
};

/* One step of typing: wait, or an event. */
typedef struct TypeStep {
    unsigned wait_ms;
    InputEvent event;
} TypeStep;

typedef struct LedWatch {
    InputLedFunc *func;
    void *opaque;
} LedWatch;

struct InputRouter {
    Machine *machine;
    GList *handlers;  /* InputHandler *, highest priority first */
    unsigned next_index;
    unsigned leds;
    GArray *led_watches;
    GQueue typing;    /* TypeStep * */
    Timer *timer;     /* armed while a wait is at the head */
};

static InputRouter *router_of(Machine *machine)
{
    if (!machine->input) {
        InputRouter *router = g_new0(InputRouter, 1);
        router->machine = machine;
        router->led_watches = g_array_new(FALSE, FALSE, sizeof(LedWatch));
        g_queue_init(&router->typing);
        machine->input = router;
    }
    return machine->input;
}

void input_cleanup(Machine *machine)
{
    InputRouter *router = machine->input;
    if (!router)
        return;
    machine->input = NULL;
    timer_free(router->timer);
    g_queue_clear_full(&router->typing, g_free);
    g_list_free_full(router->handlers, g_free);
    g_array_unref(router->led_watches);
    g_free(router);
}

InputHandler *input_register(Machine *machine, const InputHandlerOps *ops, void *opaque, bool low)
{
    InputRouter *router = router_of(machine);
    InputHandler *handler = g_new0(InputHandler, 1);
    *handler = (InputHandler){ .router = router, .ops = ops, .opaque = opaque, .enabled = true,
                               .index = router->next_index++ };
    router->handlers = low ? g_list_append(router->handlers, handler) : g_list_prepend(router->handlers, handler);
    return handler;
}

void input_unregister(InputHandler *handler)
{
    if (!handler)
        return;
    handler->router->handlers = g_list_remove(handler->router->handlers, handler);
    g_free(handler);
}

void input_activate(InputHandler *handler)
{
    InputRouter *router = handler->router;
    router->handlers = g_list_prepend(g_list_remove(router->handlers, handler), handler);
}

void input_set_enabled(InputHandler *handler, bool enabled)
{
    handler->enabled = enabled;
}

static InputHandler *handler_for(InputRouter *router, unsigned kinds)
{
    for (GList *i = router->handlers; i; i = i->next) {
        InputHandler *handler = i->data;
        if (handler->enabled && (handler->ops->kinds & kinds))
            return handler;
    }
    return NULL;
}

static void deliver(InputRouter *router, const InputEvent *event)
{
    InputHandler *handler = handler_for(router, event->kind);
    if (!handler || !runstate_is_running(router->machine->run))
        return;
    handler->touched = true;
    handler->ops->event(handler->opaque, event);
}

void input_send(Machine *machine, const InputEvent *event)
{
    deliver(router_of(machine), event);
}

void input_sync(Machine *machine)
{
    for (GList *i = router_of(machine)->handlers; i; i = i->next) {
        InputHandler *handler = i->data;
        if (!handler->touched)
            continue;
        handler->touched = false;
        if (handler->ops->sync)
            handler->ops->sync(handler->opaque);
    }
}

void input_send_key(Machine *machine, KeyCode key, bool down)
{
    input_send(machine, &(InputEvent){ .kind = INPUT_KEY, .key = { key, down } });
}

void input_send_button(Machine *machine, InputButton button, bool down)
{
    input_send(machine, &(InputEvent){ .kind = INPUT_BUTTON, .button = { button, down } });
}

void input_send_rel(Machine *machine, InputAxis axis, int32_t value)
{
    input_send(machine, &(InputEvent){ .kind = INPUT_REL, .move = { axis, value } });
}

void input_send_abs(Machine *machine, InputAxis axis, int32_t value)
{
    input_send(machine, &(InputEvent){ .kind = INPUT_ABS, .move = { axis, CLAMP(value, 0, INPUT_ABS_MAX) } });
}

/* ---- typing ---- */

static void type_on(void *opaque);

static void type_run(InputRouter *router)
{
    TypeStep *step;
    while ((step = g_queue_peek_head(&router->typing))) {
        if (step->wait_ms) {
            if (!router->timer)
                router->timer = timer_new(router->machine->domain, CLOCK_GUEST, type_on, router);
            timer_mod(router->timer, domain_now(router->machine->domain, CLOCK_GUEST) + step->wait_ms * 1000000ll);
            return;
        }
        g_queue_pop_head(&router->typing);
        deliver(router, &step->event);
        input_sync(router->machine);
        g_free(step);
    }
}

static void type_on(void *opaque)
{
    InputRouter *router = opaque;
    g_free(g_queue_pop_head(&router->typing)); /* the wait that is over */
    type_run(router);
}

static void queue_step(InputRouter *router, TypeStep step)
{
    if (router->typing.length < QUEUE_LIMIT)
        g_queue_push_tail(&router->typing, g_memdup2(&step, sizeof step));
}

void input_type_keys(Machine *machine, const KeyCode *keys, unsigned n, unsigned hold_ms)
{
    InputRouter *router = router_of(machine);
    bool idle = g_queue_is_empty(&router->typing);
    if (router->typing.length + 2 * (size_t)n + 2 > QUEUE_LIMIT)
        return;
    for (unsigned i = 0; i < n; i++)
        queue_step(router, (TypeStep){ .event = { .kind = INPUT_KEY, .key = { keys[i], true } } });
    queue_step(router, (TypeStep){ .wait_ms = MAX(hold_ms, 1) });
    for (unsigned i = n; i-- > 0;)
        queue_step(router, (TypeStep){ .event = { .kind = INPUT_KEY, .key = { keys[i], false } } });
    queue_step(router, (TypeStep){ .wait_ms = MAX(hold_ms, 1) });
    if (idle)
        type_run(router);
}

/* ---- pointers ---- */

bool input_is_absolute(Machine *machine)
{
    InputHandler *pointer = handler_for(router_of(machine), INPUT_REL | INPUT_ABS);
    return pointer && (pointer->ops->kinds & INPUT_ABS);
}

void input_foreach_mouse(Machine *machine, InputMouseFunc *func, void *opaque)
{
    bool current = true;
    for (GList *i = router_of(machine)->handlers; i; i = i->next) {
        InputHandler *handler = i->data;
        if (!(handler->ops->kinds & (INPUT_REL | INPUT_ABS)))
            continue;
        if (!func(opaque, handler->index, handler->ops->name, current, handler->ops->kinds & INPUT_ABS))
            return;
        current = false;
    }
}

bool input_select_mouse(Machine *machine, unsigned index)
{
    for (GList *i = router_of(machine)->handlers; i; i = i->next) {
        InputHandler *handler = i->data;
        if (handler->index == index && (handler->ops->kinds & (INPUT_REL | INPUT_ABS))) {
            input_activate(handler);
            return true;
        }
    }
    return false;
}

/* ---- lights ---- */

unsigned input_leds(Machine *machine)
{
    return router_of(machine)->leds;
}

void input_set_leds(Machine *machine, unsigned leds)
{
    InputRouter *router = router_of(machine);
    if (router->leds == leds)
        return;
    router->leds = leds;
    for (unsigned i = 0; i < router->led_watches->len; i++) {
        LedWatch watch = g_array_index(router->led_watches, LedWatch, i);
        watch.func(watch.opaque, leds);
    }
}

void input_watch_leds(Machine *machine, InputLedFunc *func, void *opaque)
{
    LedWatch watch = { func, opaque };
    g_array_append_val(router_of(machine)->led_watches, watch);
}

void input_unwatch_leds(Machine *machine, InputLedFunc *func, void *opaque)
{
    GArray *watches = router_of(machine)->led_watches;
    for (unsigned i = 0; i < watches->len; i++) {
        LedWatch *watch = &g_array_index(watches, LedWatch, i);
        if (watch->func == func && watch->opaque == opaque) {
            g_array_remove_index(watches, i);
            return;
        }
    }
}
