/*
 * Message signalled interrupts: MSI and MSI-X of PCI devices.
 *
 * MSI-X notifications may come from any thread: the vector table has a lock of its own.
 * Source: PCI Local Bus Specification 3.0 §6.8.
 */
#pragma once

#include <hw/pci.h>

/*
 * One message: a 32-bit write of data at addr. Writes into 0xfee00000-0xfeefffff reach the local APICs, others are memory
 * writes. Any thread, no locks needed.
 */
void msi_send(Machine *machine, uint64_t addr, uint32_t data);
/* The interrupt controller that receives messages for 0xfeexxxxx; called from any thread. Set by the local APICs' code or board. */
typedef void MsiReceiveFunc(void *opaque, uint64_t addr, uint32_t data);
void msi_set_receiver(Machine *machine, MsiReceiveFunc *func, void *opaque);

/* MSI with 1, 2, 4 ... 32 vectors, 64-bit addresses, per-vector masking when maskable. offset 0: the first free place. From realize. */
bool msi_init(PciDevice *pci, uint8_t offset, unsigned vectors, bool maskable, GError **err) WARN_UNUSED;
bool msi_enabled(const PciDevice *pci);
unsigned msi_vectors_enabled(const PciDevice *pci); /* as the guest granted */
/* Sends vector (taken modulo the granted number), or leaves it pending while masked. Ignored while MSI is off. Domain locked. */
void msi_notify(PciDevice *pci, unsigned vector);

#define MSIX_VECTORS_MAX 2048
#define MSIX_ENTRY_SIZE 16

/*
 * MSI-X with 1..2048 vectors from realize. Table and pending bits are mapped into the given BAR regions (containers; both may be
 * the same) at 8-byte aligned offsets. cap_offset 0: the first free place.
 */
typedef struct MsixLayout {
    unsigned vectors;
    MemoryRegion *table_mr, *pba_mr;
    uint8_t table_bar, pba_bar;
    uint32_t table_offset, pba_offset;
    uint8_t cap_offset;
} MsixLayout;
bool msix_init(PciDevice *pci, const MsixLayout *layout, GError **err) WARN_UNUSED;
/* The same in a BAR of its own (at least 4 KiB): table at 0, pending bits behind it. */
bool msix_init_exclusive_bar(PciDevice *pci, unsigned vectors, uint8_t bar, GError **err) WARN_UNUSED;
bool msix_present(const PciDevice *pci);
unsigned msix_vectors(const PciDevice *pci); /* 0 without MSI-X */
bool msix_enabled(const PciDevice *pci);
/* Sends the vector's message; pending while the vector or the function is masked; ignored while MSI-X is off or out of range. */
void msix_notify(PciDevice *pci, unsigned vector);
bool msix_is_masked(const PciDevice *pci, unsigned vector);
/* Takes a pending bit back. */
void msix_clear_pending(PciDevice *pci, unsigned vector);
/*
 * Told when a vector's message or effective mask changes (also through enable and function mask), so that irqfd routes can follow.
 * NULL func: none. Machine's domain locked.
 */
typedef void MsixVectorFunc(PciDevice *pci, unsigned vector, bool masked, uint64_t addr, uint32_t data);
void msix_set_vector_notifier(PciDevice *pci, MsixVectorFunc *func);
