/*
 * Irq lines and the named lists of them that devices have. An observed output list gets a tap between each pin and its
 * target, so that unobserved machines pay nothing for the possibility.
 */
#include <hw/irq.h>

#include <string.h>

#include "hw/core/internal.h"

typedef struct {
    Irq irq;      /* stands in the device's pin; opaque leads back here */
    Irq *target;  /* where the pin was connected, NULL: open */
} IrqTap;

typedef struct {
    char *name;   /* NULL: the unnamed list */
    bool inputs;
    unsigned n;
    Irq *lines;   /* [n] of an input list */
    Irq **pins;   /* [n] of an output list, the device's */
    IrqTap *taps; /* [n] of an observed output list */
} GpioList;

Irq *irq_new(IrqFunc *func, void *opaque, unsigned n)
{
    Irq *irq = g_new0(Irq, 1);
    *irq = (Irq){ .func = func, .opaque = opaque, .n = n };
    return irq;
}

void irq_free(Irq *irq)
{
    g_free(irq);
}

static GpioList *find_list(const Device *dev, const char *name, bool inputs)
{
    if (name && !strcmp(name, inputs ? "unnamed-gpio-in" : "unnamed-gpio-out"))
        name = NULL;
    for (GList *l = dev->gpios; l; l = l->next) {
        GpioList *list = l->data;
        if (list->inputs == inputs && !g_strcmp0(list->name, name))
            return list;
    }
    return NULL;
}

static GpioList *add_list(Device *dev, const char *name, bool inputs, unsigned n)
{
    g_assert(!find_list(dev, name, inputs));
    GpioList *list = g_new0(GpioList, 1);
    list->name = g_strdup(name);
    list->inputs = inputs;
    list->n = n;
    dev->gpios = g_list_append(dev->gpios, list);
    return list;
}

void device_init_irq_in(Device *dev, const char *name, IrqFunc *func, unsigned n)
{
    GpioList *list = add_list(dev, name, true, n);
    list->lines = g_new0(Irq, n);
    for (unsigned i = 0; i < n; i++)
        list->lines[i] = (Irq){ .func = func, .opaque = dev, .n = i };
}

void device_init_irq_out(Device *dev, const char *name, Irq **pins, unsigned n)
{
    add_list(dev, name, false, n)->pins = pins;
}

Irq *device_irq_in(Device *dev, const char *name, unsigned n)
{
    GpioList *list = find_list(dev, name, true);
    return list && n < list->n ? &list->lines[n] : NULL;
}

void device_connect_irq(Device *dev, const char *name, unsigned n, Irq *target)
{
    GpioList *list = find_list(dev, name, false);
    g_assert(list && n < list->n);
    if (list->taps)
        list->taps[n].target = target;
    else
        list->pins[n] = target;
}

static void tap_forward(void *opaque, unsigned n, bool level)
{
    irq_set(((IrqTap *)opaque)->target, level);
}

static void insert_taps(GpioList *list)
{
    list->taps = g_new0(IrqTap, list->n);
    for (unsigned i = 0; i < list->n; i++) {
        IrqTap *tap = &list->taps[i];
        tap->target = list->pins[i];
        tap->irq = (Irq){ .func = tap_forward, .opaque = tap, .n = i };
        list->pins[i] = &tap->irq;
    }
}

bool device_observe_irqs(Device *dev, const char *name, bool inputs, IrqFunc *observer, void *opaque)
{
    GpioList *list = find_list(dev, name, inputs);
    if (!list)
        return false;
    if (!inputs && !list->taps)
        insert_taps(list);
    for (unsigned i = 0; i < list->n; i++) {
        Irq *line = inputs ? &list->lines[i] : &list->taps[i].irq;
        line->observer_opaque = opaque;
        line->observer = observer;
    }
    return true;
}

static void list_free(void *opaque)
{
    GpioList *list = opaque;
    g_free(list->name);
    g_free(list->lines);
    g_free(list->taps);
    g_free(list);
}

void device_gpios_free(Device *dev)
{
    g_list_free_full(dev->gpios, list_free);
    dev->gpios = NULL;
}
