/*
 * How devices reach guest memory. Every function checks the whole range against the address space: a guest cannot
 * make a device touch host memory outside guest RAM. Any thread.
 */
#pragma once

#include <mem/memory.h>
#include <sys/uio.h>

/* Copies; register windows inside the range are accessed as registers. Holes read as all ones and give MEMTX_DECODE_ERROR. */
MemTx dma_read(AddressSpace *as, uint64_t gpa, void *buf, uint64_t len);
MemTx dma_write(AddressSpace *as, uint64_t gpa, const void *buf, uint64_t len);
MemTx dma_set(AddressSpace *as, uint64_t gpa, uint8_t byte, uint64_t len);

/* Single little-endian values, one aligned host access when gpa is aligned (rings need that). */
uint16_t dma_ld16(AddressSpace *as, uint64_t gpa, MemTx *result);
uint32_t dma_ld32(AddressSpace *as, uint64_t gpa, MemTx *result);
uint64_t dma_ld64(AddressSpace *as, uint64_t gpa, MemTx *result);
MemTx dma_st16(AddressSpace *as, uint64_t gpa, uint16_t value);
MemTx dma_st32(AddressSpace *as, uint64_t gpa, uint32_t value);
MemTx dma_st64(AddressSpace *as, uint64_t gpa, uint64_t value);

/*
 * Direct access to RAM: in *map the hva of gpa and the bytes that are contiguous there (map->len, 1 to len). False when
 * gpa is not RAM, or is read-only and write is asked. The memory stays until dma_unmap, which also tells watchers
 * about the first `written` bytes. A map may be unmapped on another thread.
 */
typedef struct DmaMap {
    void *hva;
    uint64_t len;
    RamBlock *ram;
    uint64_t ram_offset;
} DmaMap;
bool dma_map(AddressSpace *as, uint64_t gpa, uint64_t len, bool write, DmaMap *map) WARN_UNUSED;
void dma_unmap(DmaMap *map, uint64_t written);
