/*
 * Where RAM and firmware lie in a pc's address space.
 *
 * RAM fills from 0 up to the PCI hole below 4 GiB; the rest continues at 4 GiB. A firmware image ends at 4 GiB, its last
 * 128 KiB appear below 1 MiB too (82371SB datasheet §2.2.6, XBCS).
 */
#include "hw/i386/firmware.h"
#include "hw/i386/pc.h"
#include "system/memory-backend.h"

#define DEFAULT_BIOS "bios-256k.bin"
#define BIOS_MAX (16 * MIB)
#define LOW_BIOS_SIZE (128 * KIB)
/* RAM that does not fit below the first mark is cut at the second, so that what is above 4 GiB is a multiple of 1 GiB's. */
#define LOW_RAM_MAX 0xe0000000ull
#define LOW_RAM_SPLIT 0xc0000000ull
#define RAM_MIN MIB

static bool check_ram_size(const PcMachine *pc, GError **err)
{
    const Machine *machine = &pc->machine;
    uint64_t max = machine_class(machine)->max_ram;

    if (machine->ram_size < RAM_MIN) {
        error_set(err, "%" PRIu64 " bytes of RAM are too little: %s takes at least 1 MiB", machine->ram_size,
                  machine_class(machine)->machine_name);
        return false;
    }
    if (machine->ram_size > max) {
        error_set(err, "%" PRIu64 " MiB of RAM are too much: %s takes at most %" PRIu64 " MiB", machine->ram_size / MIB,
                  machine_class(machine)->machine_name, max / MIB);
        return false;
    }
    if (pc->max_low_ram && (pc->max_low_ram > PC_PCI_HOLE_END || pc->max_low_ram < MIB || pc->max_low_ram % 4096)) {
        error_set(err, "max-ram-below-4g=%" PRIu64 " is not a multiple of 4 KiB between 1 MiB and 0x%x", pc->max_low_ram,
                  PC_PCI_HOLE_END);
        return false;
    }
    return true;
}

static bool make_ram(Machine *machine, GError **err)
{
    const char *name = machine_class(machine)->default_ram_id;

    if (machine->memory_backend) {
        RamBlock *ram = memory_backend_take(machine->memory_backend, OBJECT(machine), machine->ram_size, err);
        if (!ram)
            return false;
        memory_region_init_ram_block(&machine->ram, OBJECT(machine), name, ram);
    } else if (!memory_region_init_ram(&machine->ram, OBJECT(machine), name, ROUND_UP_TO(machine->ram_size, 4096ull), err)) {
        return false;
    }
    machine_advise_ram(machine, machine->ram.ram);
    return true;
}

bool pc_memory_place_ram(PcMachine *pc, GError **err)
{
    Machine *machine = &pc->machine;

    if (!check_ram_size(pc, err) || !make_ram(machine, err))
        return false;
    uint64_t total = machine->ram.size;
    uint64_t limit = pc->max_low_ram ? pc->max_low_ram : total > LOW_RAM_MAX ? LOW_RAM_SPLIT : LOW_RAM_MAX;
    pc->low_ram = MIN(total, limit);
    pc->high_ram = total - pc->low_ram;

    memory_transaction_begin();
    memory_region_init_alias(&pc->low_alias, OBJECT(pc), "ram-below-4g", &machine->ram, 0, pc->low_ram);
    memory_region_add(&machine->mem_root, 0, &pc->low_alias, 0);
    if (pc->high_ram) {
        memory_region_init_alias(&pc->high_alias, OBJECT(pc), "ram-above-4g", &machine->ram, pc->low_ram, pc->high_ram);
        memory_region_add(&machine->mem_root, 4 * GIB, &pc->high_alias, 0);
    }
    memory_transaction_commit();
    return true;
}

bool pc_memory_load_bios(PcMachine *pc, GError **err)
{
    const char *name = pc->machine.boot.bios ? pc->machine.boot.bios : DEFAULT_BIOS;
    g_autofree char *path = firmware_find(name);
    g_autofree char *data = NULL;
    gsize size;

    if (!path) {
        /* A kernel that is started directly needs none. */
        if (pc->boot_image && !pc->machine.boot.bios)
            return true;
        g_autofree char *dirs = firmware_dirs_text();
        error_set(err, "firmware '%s' was not found; directories searched: %s (Debian: package seabios)", name, dirs);
        return false;
    }
    if (!firmware_read(path, BIOS_MAX, &data, &size, err)) {
        g_prefix_error(err, "firmware: ");
        return false;
    }
    if (size % (64 * KIB)) {
        error_set(err, "firmware '%s' has %zu bytes, which is not a multiple of 64 KiB", path, size);
        return false;
    }
    if (!memory_region_init_rom(&pc->bios, OBJECT(pc), "pc.bios", size, err))
        return false;
    memcpy(pc->bios.ram->host, data, size);

    MemoryRegion *pci = i440fx_pci_memory(pc->host);
    uint64_t low = MIN(size, LOW_BIOS_SIZE);
    memory_transaction_begin();
    memory_region_add(pci, 4 * GIB - size, &pc->bios, 10);
    memory_region_init_alias(&pc->bios_alias, OBJECT(pc), "isa-bios", &pc->bios, size - low, low);
    memory_region_add(pci, MIB - low, &pc->bios_alias, 10);
    memory_transaction_commit();
    return true;
}

static void add_entry(E820Entry *entries, unsigned *n, uint64_t addr, uint64_t end, uint32_t type)
{
    if (addr < end) {
        g_assert(*n < PC_E820_MAX);
        entries[(*n)++] = (E820Entry) { .addr = addr, .size = end - addr, .type = type };
    }
}

unsigned pc_memory_e820(const PcMachine *pc, E820Entry entries[PC_E820_MAX], bool direct)
{
    unsigned n = 0;

    if (direct) {
        /* The last KiB below 640 KiB is the extended BIOS data area. */
        add_entry(entries, &n, 0, 0x9fc00, E820_RAM);
        add_entry(entries, &n, 0x9fc00, 0xa0000, E820_RESERVED);
        add_entry(entries, &n, 0xf0000, 0x100000, E820_RESERVED);
        add_entry(entries, &n, MIB, pc->low_ram - PC_TABLES_AREA, E820_RAM);
        add_entry(entries, &n, pc->low_ram - PC_TABLES_AREA, pc->low_ram, E820_RESERVED);
        add_entry(entries, &n, 0xfffc0000, 0x100000000ull, E820_RESERVED);
    } else {
        add_entry(entries, &n, 0, pc->low_ram, E820_RAM);
    }
    add_entry(entries, &n, 4 * GIB, 4 * GIB + pc->high_ram, E820_RAM);
    return n;
}
