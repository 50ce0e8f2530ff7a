/*
 * iothread objects (-object iothread,id=...): a loop with a thread of its own. A device with an iothread= link runs its data
 * path on the link's domain instead of the machine's.
 */
#pragma once

#include <qom/object.h>
#include <rhea/loop.h>

#define TYPE_IOTHREAD "iothread"

/* Borrowed, valid while a reference to the object is held. */
Domain *iothread_domain(Object *iothread);
