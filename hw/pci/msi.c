/*
 * MSI capability and message delivery.
 *
 * Source: PCI Local Bus Specification 3.0 §6.8.1, §6.8.3; Intel SDM vol. 3A §11.11 for where messages go.
 */
#include "hw/pci/pci-internal.h"

#include "system/machine.h"

#define MSI_CONTROL 2
#define MSI_CONTROL_ENABLE 0x0001
#define MSI_CONTROL_CAPABLE_SHIFT 1
#define MSI_CONTROL_GRANTED_SHIFT 4
#define MSI_CONTROL_64BIT 0x0080
#define MSI_CONTROL_MASKABLE 0x0100
#define MSI_ADDRESS 4
#define MSI_DATA 12
#define MSI_MASK 16
#define MSI_PENDING 20

void msi_set_receiver(Machine *machine, MsiReceiveFunc *func, void *opaque)
{
    machine->msi_receive = func;
    machine->msi_receive_opaque = opaque;
}

void msi_send(Machine *machine, uint64_t addr, uint32_t data)
{
    if ((addr & ~0xfffffull) == 0xfee00000) {
        if (machine->msi_receive)
            machine->msi_receive(machine->msi_receive_opaque, addr, data);
        return;
    }
    /* Only RAM: a message into a register window could call back into its own sender. */
    DmaMap map;
    if (dma_map(machine->mem, addr, 4, true, &map)) {
        if (map.len == 4)
            st32(map.hva, data);
        dma_unmap(&map, map.len == 4 ? 4 : 0);
    }
}

bool msi_init(PciDevice *pci, uint8_t offset, unsigned vectors, bool maskable, GError **err)
{
    g_assert(vectors >= 1 && vectors <= 32 && (vectors & (vectors - 1)) == 0);
    uint8_t cap = pci_add_capability(pci, PCI_CAP_MSI, offset, maskable ? 24 : 16, err);
    if (!cap)
        return false;

    unsigned log2 = __builtin_ctz(vectors);
    st16(pci->config + cap + MSI_CONTROL,
         MSI_CONTROL_64BIT | (maskable ? MSI_CONTROL_MASKABLE : 0) | log2 << MSI_CONTROL_CAPABLE_SHIFT);
    st16(pci->wmask + cap + MSI_CONTROL, MSI_CONTROL_ENABLE | 7 << MSI_CONTROL_GRANTED_SHIFT);
    st64(pci->wmask + cap + MSI_ADDRESS, ~3ull);
    st16(pci->wmask + cap + MSI_DATA, 0xffff);
    if (maskable)
        st32(pci->wmask + cap + MSI_MASK, vectors == 32 ? UINT32_MAX : (1u << vectors) - 1);
    pci->msi_cap = cap;
    return true;
}

bool msi_enabled(const PciDevice *pci)
{
    return pci->msi_cap && (ld16(pci->config + pci->msi_cap + MSI_CONTROL) & MSI_CONTROL_ENABLE);
}

unsigned msi_vectors_enabled(const PciDevice *pci)
{
    if (!msi_enabled(pci))
        return 0;
    uint16_t control = ld16(pci->config + pci->msi_cap + MSI_CONTROL);
    unsigned capable = control >> MSI_CONTROL_CAPABLE_SHIFT & 7, granted = control >> MSI_CONTROL_GRANTED_SHIFT & 7;
    return 1u << MIN(capable, granted);
}

static void msi_transmit(PciDevice *pci, unsigned vector, unsigned granted)
{
    const uint8_t *cap = pci->config + pci->msi_cap;
    uint32_t data = ld16(cap + MSI_DATA);

    /* The low bits of the data are the vector when more than one was granted. */
    data = (data & ~(granted - 1)) | vector;
    if (pci_bus_master_enabled(pci))
        msi_send(pci->dev.machine, ld64(cap + MSI_ADDRESS), data);
}

void msi_notify(PciDevice *pci, unsigned vector)
{
    unsigned granted = msi_vectors_enabled(pci);

    if (!granted)
        return;
    vector &= granted - 1;
    uint8_t *cap = pci->config + pci->msi_cap;
    if ((ld16(cap + MSI_CONTROL) & MSI_CONTROL_MASKABLE) && (ld32(cap + MSI_MASK) >> vector & 1)) {
        st32(cap + MSI_PENDING, ld32(cap + MSI_PENDING) | 1u << vector);
        return;
    }
    msi_transmit(pci, vector, granted);
}

void msi_config_written(PciDevice *pci, unsigned addr, unsigned size)
{
    if (!pci->msi_cap || !pci_config_touches(addr, size, pci->msi_cap, 24))
        return;
    unsigned granted = msi_vectors_enabled(pci);
    uint8_t *cap = pci->config + pci->msi_cap;
    if (!granted || !(ld16(cap + MSI_CONTROL) & MSI_CONTROL_MASKABLE))
        return;

    uint32_t fire = ld32(cap + MSI_PENDING) & ~ld32(cap + MSI_MASK);
    st32(cap + MSI_PENDING, ld32(cap + MSI_PENDING) & ~fire);
    for (unsigned vector = 0; vector < granted; vector++)
        if (fire >> vector & 1)
            msi_transmit(pci, vector, granted);
}

void msi_reset(PciDevice *pci)
{
    if (!pci->msi_cap)
        return;
    unsigned size = ld16(pci->config + pci->msi_cap + MSI_CONTROL) & MSI_CONTROL_MASKABLE ? 24 : 16;
    for (unsigned i = pci->msi_cap; i < pci->msi_cap + size; i++)
        pci->config[i] &= ~pci->wmask[i];
    if (size == 24)
        st32(pci->config + pci->msi_cap + MSI_PENDING, 0);
}
