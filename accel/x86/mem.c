/*
 * Linear memory access on behalf of instructions: through the engine's TLB when it knows the page, else by a page walk.
 */
#include "accel/x86/internal.h"

#define PAGE 4096u

/* Linear addresses wrap at 4 GiB outside 64-bit code; system structures of long mode lie in 64-bit space. */
static inline uint64_t lin_mask(const X86Cpu *cpu, unsigned access)
{
    if (x86_code64(&cpu->st) || ((access & X86_SUPERVISOR) && x86_long_mode(&cpu->st)))
        return UINT64_MAX;
    return 0xffffffffu;
}

static inline void *lookup(X86Cpu *cpu, uint64_t lin, unsigned access)
{
    if (!cpu->engine || !cpu->engine->tlb_lookup || (access & X86_SUPERVISOR))
        return NULL;
    return cpu->engine->tlb_lookup(cpu, lin, access);
}

static inline void translate(X86Cpu *cpu, uint64_t lin, unsigned access, X86Translation *tr)
{
    if (!x86_mmu_translate(cpu, lin, access, tr))
        x86_fault_translation(cpu, tr);
}

static inline uint64_t host_ld(const void *p, unsigned size)
{
    switch (size) {
    case 1: return *(const uint8_t *)p;
    case 2: return ld16(p);
    case 4: return ld32(p);
    default: return ld64(p);
    }
}

static inline void host_st(void *p, uint64_t value, unsigned size)
{
    switch (size) {
    case 1: *(uint8_t *)p = value; break;
    case 2: st16(p, value); break;
    case 4: st32(p, value); break;
    default: st64(p, value); break;
    }
}

void x86_ram_written(X86Cpu *cpu, const X86RamRef *ref, unsigned size)
{
    if (ram_watched(ref->ram, ref->offset, size)) {
        x86_fpu_out(cpu);
        ram_watch_hit(ref->ram, ref->offset, size);
    }
}

static uint64_t physical_ld(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    X86RamRef ref;
    if (x86_ram_ref(cpu, gpa, false, &ref))
        return host_ld(ref.hva, size);
    x86_fpu_out(cpu);
    return vcpu_mmio_read(&cpu->vcpu, gpa, size);
}

static void physical_st(X86Cpu *cpu, uint64_t gpa, uint64_t value, unsigned size)
{
    X86RamRef ref;
    if (x86_ram_ref(cpu, gpa, true, &ref)) {
        host_st(ref.hva, value, size);
        x86_ram_written(cpu, &ref, size);
        return;
    }
    x86_fpu_out(cpu);
    vcpu_mmio_write(&cpu->vcpu, gpa, value, size);
}

uint64_t x86_ld(X86Cpu *cpu, uint64_t lin, unsigned size, unsigned access)
{
    if ((lin & (PAGE - 1)) + size <= PAGE) {
        void *hva = lookup(cpu, lin, access);
        if (hva)
            return host_ld(hva, size);
        X86Translation tr;
        translate(cpu, lin, access, &tr);
        return physical_ld(cpu, tr.gpa, size);
    }
    uint64_t value = 0;
    x86_ld_bytes(cpu, lin, &value, size, access);
    return value;
}

void x86_st(X86Cpu *cpu, uint64_t lin, uint64_t value, unsigned size, unsigned access)
{
    access = (access & ~X86_KIND) | X86_WRITE;
    if ((lin & (PAGE - 1)) + size <= PAGE) {
        void *hva = lookup(cpu, lin, access);
        if (hva) {
            host_st(hva, value, size);
            return;
        }
        X86Translation tr;
        translate(cpu, lin, access, &tr);
        physical_st(cpu, tr.gpa, value, size);
        return;
    }
    x86_st_bytes(cpu, lin, &value, size, access);
}

/* Largest power of two up to 8 that divides neither address nor exceeds len. */
static inline unsigned chunk_size(uint64_t addr, unsigned len)
{
    unsigned size = 8;
    while (size > len || (addr & (size - 1)))
        size >>= 1;
    return size;
}

static void page_ld(X86Cpu *cpu, uint64_t gpa, uint8_t *buf, unsigned len)
{
    for (unsigned step; len; gpa += step, buf += step, len -= step) {
        step = chunk_size(gpa, len);
        host_st(buf, physical_ld(cpu, gpa, step), step);
    }
}

static void page_st(X86Cpu *cpu, uint64_t gpa, const uint8_t *buf, unsigned len)
{
    for (unsigned step; len; gpa += step, buf += step, len -= step) {
        step = chunk_size(gpa, len);
        physical_st(cpu, gpa, host_ld(buf, step), step);
    }
}

/* Splits at the page boundary (len <= 4096: at most two pages). Returns the bytes in the first page. */
static unsigned split(X86Cpu *cpu, uint64_t lin, unsigned len, unsigned access, X86Translation tr[2])
{
    unsigned first = MIN(len, PAGE - (unsigned)(lin & (PAGE - 1)));
    translate(cpu, lin, access, &tr[0]);
    if (first < len)
        translate(cpu, (lin + first) & lin_mask(cpu, access), access, &tr[1]);
    return first;
}

void x86_ld_bytes(X86Cpu *cpu, uint64_t lin, void *buf, unsigned len, unsigned access)
{
    X86Translation tr[2];
    unsigned first = split(cpu, lin, len, access, tr);
    page_ld(cpu, tr[0].gpa, buf, first);
    if (first < len)
        page_ld(cpu, tr[1].gpa, (uint8_t *)buf + first, len - first);
}

void x86_st_bytes(X86Cpu *cpu, uint64_t lin, const void *buf, unsigned len, unsigned access)
{
    X86Translation tr[2];
    unsigned first = split(cpu, lin, len, (access & ~X86_KIND) | X86_WRITE, tr);
    page_st(cpu, tr[0].gpa, buf, first);
    if (first < len)
        page_st(cpu, tr[1].gpa, (const uint8_t *)buf + first, len - first);
}

void x86_probe(X86Cpu *cpu, uint64_t lin, unsigned len, unsigned access)
{
    X86Translation tr[2];
    split(cpu, lin, len, access, tr);
}

void *x86_atomic_ptr(X86Cpu *cpu, uint64_t lin, unsigned size, X86RamRef *ref)
{
    if ((lin & (PAGE - 1)) + size > PAGE)
        return NULL;
    X86Translation tr;
    translate(cpu, lin, X86_WRITE, &tr);
    return x86_ram_ref(cpu, tr.gpa, true, ref) ? ref->hva : NULL;
}
