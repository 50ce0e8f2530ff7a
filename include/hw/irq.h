/*
 * Irq lines: a level that one device drives and another (or a controller) receives.
 */
#pragma once

#include <rhea/base.h>

typedef struct Irq Irq;
/* n is the input's number at the receiver. Called with the level on every irq_set, also when unchanged. */
typedef void IrqFunc(void *opaque, unsigned n, bool level);

struct Irq {
    IrqFunc *func;
    void *opaque;
    unsigned n;
    /* test interception: told before func */
    IrqFunc *observer;
    void *observer_opaque;
};

/* NULL is an unconnected line. Caller holds the lock of the domain it runs in; the receiver takes its own. */
static inline void irq_set(Irq *irq, bool level)
{
    if (!irq)
        return;
    if (G_UNLIKELY(irq->observer))
        irq->observer(irq->observer_opaque, irq->n, level);
    irq->func(irq->opaque, irq->n, level);
}
static inline void irq_raise(Irq *irq) { irq_set(irq, true); }
static inline void irq_lower(Irq *irq) { irq_set(irq, false); }
static inline void irq_pulse(Irq *irq) { irq_set(irq, true); irq_set(irq, false); }

Irq *irq_new(IrqFunc *func, void *opaque, unsigned n); /* (owned: irq_free) */
void irq_free(Irq *irq);
