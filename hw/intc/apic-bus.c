/*
 * Messages between local APICs, I/O APICs and MSI sources.
 *
 * Source: Intel SDM vol. 3A 10.6 (destinations, ICR), 10.11 (MSI), 10.12.10 (x2APIC logical ids).
 */
#include "hw/intc/apic-internal.h"

#include <hw/msix.h>

#define ICR_DEST_SHIFT 32
#define ICR_LOGICAL 0x00800u
#define ICR_STATUS  0x01000u
#define ICR_ASSERT  0x04000u
#define ICR_LEVEL   0x08000u

static void receive_msi(void *opaque, uint64_t addr, uint32_t data)
{
    apic_deliver_msi(opaque, addr, data);
}

void apic_bus_create(Machine *machine)
{
    ApicBus *bus = g_new0(ApicBus, 1);
    bus->machine = machine;
    machine->apic_bus = bus;
    memory_region_init_io(&bus->window, OBJECT(machine), NULL, &apic_window_ops, bus, "apic-msi", APIC_WINDOW_SIZE);
    memory_region_add(&machine->mem_root, APIC_DEFAULT_BASE, &bus->window, 0x1000);
    msi_set_receiver(machine, receive_msi, machine);
}

void apic_bus_destroy(Machine *machine)
{
    if (!machine->apic_bus)
        return;
    msi_set_receiver(machine, NULL, NULL);
    memory_region_clear(&machine->apic_bus->window);
    g_clear_pointer(&machine->apic_bus, g_free);
}

void apic_bus_set_pic(Machine *machine, int (*ack)(Device *pic), Device *pic)
{
    machine->apic_bus->pic = pic;
    machine->apic_bus->pic_ack = ack;
}

void apic_bus_add_ioapic(Machine *machine, void (*eoi)(void *opaque, uint8_t vector), void *opaque)
{
    ApicBus *bus = machine->apic_bus;
    g_assert(bus->nr_ioapics < G_N_ELEMENTS(bus->ioapics));
    bus->ioapics[bus->nr_ioapics].eoi = eoi;
    bus->ioapics[bus->nr_ioapics++].opaque = opaque;
}

void apic_bus_broadcast_eoi(ApicBus *bus, uint8_t vector)
{
    for (unsigned i = 0; i < bus->nr_ioapics; i++)
        bus->ioapics[i].eoi(bus->ioapics[i].opaque, vector);
}

void apic_bus_add(ApicBus *bus, Apic *a)
{
    unsigned n = 0;
    while (n < APIC_BUS_MAX && bus->apics[n])
        n++;
    g_assert(n < APIC_BUS_MAX); /* boards limit CPUs to fewer */
    bus->apics[n] = a;
    if (n >= bus->nr_apics)
        bus->nr_apics = n + 1;
}

void apic_bus_remove(ApicBus *bus, Apic *a)
{
    for (unsigned n = 0; n < bus->nr_apics; n++)
        if (bus->apics[n] == a)
            bus->apics[n] = NULL;
}

static bool matches_logical(const Apic *a, uint32_t dest)
{
    if (apic_is_x2(a))
        return dest >> 16 == a->ldr >> 16 && (dest & a->ldr & 0xffff);
    uint8_t mine = a->ldr >> 24;
    if (dest > 0xff)
        return false;
    if (a->dfr >> 28 == 0xf)
        return mine & dest;
    if (a->dfr >> 28 == 0) /* cluster model; cluster 15 is everybody */
        return (dest >> 4 == 0xf || dest >> 4 == mine >> 4) && (mine & dest & 0xf);
    return false;
}

static bool matches(const Apic *a, const ApicMessage *msg)
{
    if (!apic_is_on(a))
        return false;
    if (msg->dest == APIC_BROADCAST)
        return true;
    return msg->logical ? matches_logical(a, msg->dest) : msg->dest == a->id;
}

static bool accept(Apic *a, const ApicMessage *msg)
{
    Vcpu *vcpu = &a->cpu->vcpu;
    bool taken = true;
    g_mutex_lock(&a->lock);
    switch (msg->mode) {
    case APIC_FIXED:
    case APIC_LOWEST:
        taken = apic_accept_locked(a, msg->vector, msg->level);
        break;
    case APIC_SMI:
        vcpu_interrupt(vcpu, VCPU_INT_SMI);
        break;
    case APIC_NMI:
        vcpu_interrupt(vcpu, VCPU_INT_NMI);
        break;
    case APIC_INIT:
        if (!(msg->level && msg->deassert)) /* a level de-assert only synchronises arbitration ids */
            vcpu_interrupt(vcpu, VCPU_INT_INIT);
        break;
    case APIC_SIPI:
        vcpu->sipi_vector = msg->vector;
        vcpu_interrupt(vcpu, VCPU_INT_SIPI);
        break;
    case APIC_EXTINT:
        a->extint_message = true;
        apic_update_locked(a);
        break;
    default:
        taken = false;
    }
    g_mutex_unlock(&a->lock);
    return taken;
}

/* The APIC with the lowest processor priority among the destinations; equals take turns. */
static Apic *arbitrate(ApicBus *bus, const ApicMessage *msg)
{
    unsigned n = bus->nr_apics, start = bus->next_lowest % MAX(n, 1);
    Apic *best = NULL;
    unsigned best_ppr = 0, best_index = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned index = (start + i) % n;
        Apic *a = bus->apics[index];
        if (!a || !matches(a, msg) || !apic_soft_enabled(a))
            continue;
        unsigned ppr = apic_ppr_locked(a); /* a snapshot without the lock: a wrong guess only costs latency */
        if (!best || ppr < best_ppr) {
            best = a;
            best_ppr = ppr;
            best_index = index;
        }
    }
    if (best)
        bus->next_lowest = best_index + 1;
    return best;
}

bool apic_deliver(Machine *machine, const ApicMessage *msg)
{
    ApicBus *bus = machine->apic_bus;
    if (!bus)
        return false;
    if (msg->mode == APIC_LOWEST) {
        Apic *a = arbitrate(bus, msg);
        return a && accept(a, msg);
    }
    bool taken = false;
    for (unsigned i = 0; i < bus->nr_apics; i++) {
        Apic *a = bus->apics[i];
        if (a && matches(a, msg))
            taken |= accept(a, msg);
    }
    return taken;
}

void apic_decode_msi(uint64_t addr, uint32_t data, ApicMessage *msg)
{
    *msg = (ApicMessage){
        .dest = (addr >> 12) & 0xff, .logical = addr & 4, .vector = data, .mode = (data >> 8) & 7,
        .level = data & 0x8000, .deassert = (data & 0x8000) && !(data & 0x4000),
    };
    /* The redirection hint asks for one of the destinations (SDM 10.11.1). */
    if ((addr & 8) && msg->logical && msg->mode == APIC_FIXED)
        msg->mode = APIC_LOWEST;
    if (!msg->logical && msg->dest == 0xff)
        msg->dest = APIC_BROADCAST;
}

bool apic_deliver_msi(Machine *machine, uint64_t addr, uint32_t data)
{
    ApicMessage msg;
    apic_decode_msi(addr, data, &msg);
    return apic_deliver(machine, &msg);
}

static void deliver_to_all(Apic *from, const ApicMessage *msg, bool self)
{
    ApicBus *bus = from->bus;
    for (unsigned i = 0; i < bus->nr_apics; i++) {
        Apic *a = bus->apics[i];
        if (a && apic_is_on(a) && (self || a != from))
            accept(a, msg);
    }
}

/* ICR was written: SDM vol. 3A 10.6.1. icr has the destination in its high half as the current mode writes it. */
void apic_send_icr(Apic *a, uint64_t icr)
{
    bool x2 = apic_is_x2(a);
    uint32_t dest = icr >> ICR_DEST_SHIFT;
    ApicMessage msg = {
        .dest = x2 ? dest : dest >> 24, .vector = icr, .mode = (icr >> 8) & 7, .logical = icr & ICR_LOGICAL,
        .level = icr & ICR_LEVEL, .deassert = !(icr & ICR_ASSERT),
    };
    if (!x2 && !msg.logical && msg.dest == 0xff)
        msg.dest = APIC_BROADCAST;
    if (msg.mode <= APIC_LOWEST && msg.vector < 16) {
        g_mutex_lock(&a->lock);
        apic_raise_error_locked(a, ESR_SEND_ILLEGAL);
        g_mutex_unlock(&a->lock);
        return;
    }
    if (msg.mode <= APIC_LOWEST)
        msg.level = false; /* IPIs are edges whatever the bit says */
    if (msg.mode == APIC_EXTINT || msg.mode == APIC_RESERVED3)
        return;
    switch ((icr >> 18) & 3) {
    case 0:
        apic_deliver(a->dev.machine, &msg);
        break;
    case 1: /* self: fixed only, the others are undefined */
        if (msg.mode == APIC_FIXED)
            accept(a, &msg);
        break;
    case 2:
        deliver_to_all(a, &msg, true);
        break;
    case 3:
        deliver_to_all(a, &msg, false);
        break;
    }
}
