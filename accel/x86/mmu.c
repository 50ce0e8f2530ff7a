/*
 * Page walks: 32-bit, PAE and 4-level paging, SDM 3A ch. 4.
 *
 * The PAE directory pointers are read from memory on each walk, not held in registers from the load of CR3 on (SDM
 * 4.4.1
 * allows software no use of the difference other than changing them without a CR3 load, which AMD processors honour).
 */
#include "accel/x86/internal.h"
#include "accel/x86/features.h"

#define PTE_P  0x001u
#define PTE_W  0x002u
#define PTE_U  0x004u
#define PTE_A  0x020u
#define PTE_D  0x040u
#define PTE_PS 0x080u
#define PTE_G  0x100u
#define PTE_NX (1ull << 63)

typedef struct Level {
    uint64_t gpa;        /* of the entry */
    uint64_t value;
    uint8_t *hva;        /* NULL: not RAM, A and D can't be set */
} Level;

typedef struct Walk {
    Level level[4];      /* from the root */
    unsigned n;
    unsigned entry_size; /* 4 or 8 bytes */
    bool user, writable, nx;
    uint64_t base, page_size;
} Walk;

static inline uint64_t a20_mask(const X86Cpu *cpu, uint64_t gpa)
{
    return cpu->st.a20 ? gpa : gpa & ~(1ull << 20);
}

/* mem_view_find() without leaving code that keeps off the vector registers. */
static __attribute__((noinline)) const MemRange *search_range(X86Cpu *cpu, uint64_t gpa)
{
    const MemView *view = cpu->vcpu.mem_view;
    unsigned low = 0, high = view->n;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        const MemRange *range = &view->ranges[mid];
        if (gpa < range->start) {
            high = mid;
        } else if (gpa - range->start < range->size) {
            cpu->ram_hint = mid;
            return range;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

static inline const MemRange *find_range(X86Cpu *cpu, uint64_t gpa)
{
    const MemView *view = cpu->vcpu.mem_view;
    unsigned hint = cpu->ram_hint;
    if (G_LIKELY(hint < view->n && gpa - view->ranges[hint].start < view->ranges[hint].size))
        return &view->ranges[hint];
    return search_range(cpu, gpa);
}

bool x86_ram_ref(X86Cpu *cpu, uint64_t gpa, bool write, X86RamRef *ref)
{
    const MemRange *range = find_range(cpu, gpa);
    if (!range)
        return false;
    MemoryRegionKind kind = range->mr->kind;
    bool writable = kind == MR_RAM && !range->readonly;
    if (!writable && (write || (kind != MR_RAM && kind != MR_ROM && kind != MR_ROMD)))
        return false;
    ref->ram = range->mr->ram;
    ref->offset = gpa - range->start + range->offset;
    ref->hva = ref->ram->host + ref->offset;
    ref->writable = writable;
    return true;
}

static __attribute__((noinline)) uint64_t entry_read_slow(X86Cpu *cpu, uint64_t gpa, unsigned size)
{
    X86RamRef ref;
    if (x86_ram_ref(cpu, gpa, false, &ref)) /* ROM */
        return size == 8 ? ld64(ref.hva) : ld32(ref.hva);
    x86_fpu_out(cpu);
    return vcpu_mmio_read(&cpu->vcpu, gpa, size);
}

static inline void entry_read(X86Cpu *cpu, Level *l, uint64_t gpa, unsigned size)
{
    l->gpa = gpa = a20_mask(cpu, gpa);
    const MemRange *range = find_range(cpu, gpa);
    if (G_UNLIKELY(!range || range->mr->kind != MR_RAM || range->readonly)) {
        l->hva = NULL;
        l->value = entry_read_slow(cpu, gpa, size);
        return;
    }
    l->hva = range->mr->ram->host + range->offset + (gpa - range->start);
    l->value = size == 8 ? __atomic_load_n((uint64_t *)l->hva, __ATOMIC_RELAXED)
                         : __atomic_load_n((uint32_t *)l->hva, __ATOMIC_RELAXED);
}

/* Sets bits in the entry if it is still what was read. false: it changed, walk again. */
static __attribute__((noinline)) bool entry_change(X86Cpu *cpu, Level *l, unsigned size, uint64_t bits)
{
    bool done;
    if (size == 8) {
        uint64_t old = l->value;
        done = __atomic_compare_exchange_n((uint64_t *)l->hva, &old, old | bits, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    } else {
        uint32_t old = l->value;
        done = __atomic_compare_exchange_n((uint32_t *)l->hva, &old, old | (uint32_t)bits, false, __ATOMIC_SEQ_CST,
                                           __ATOMIC_SEQ_CST);
    }
    X86RamRef ref;
    if (!done)
        return false;
    l->value |= bits;
    if (x86_ram_ref(cpu, l->gpa, true, &ref))
        x86_ram_written(cpu, &ref, size);
    return true;
}

static inline bool entry_set(X86Cpu *cpu, Level *l, unsigned size, uint64_t bits)
{
    if (G_LIKELY((l->value & bits) == bits || !l->hva))
        return true;
    return entry_change(cpu, l, size, bits);
}

/* Bits from MAXPHYADDR up to 51. */
static inline uint64_t address_reserved(const X86Cpu *cpu)
{
    return cpu->phys_bits >= 52 ? 0 : ((1ull << 52) - 1) & ~((1ull << cpu->phys_bits) - 1);
}

#define ADDR_MASK 0x000ffffffffff000ull

/* The result of a walk that stops: 0 mapped, else PF_P/PF_RSVD of the error code; -1 for not present. */
enum { WALK_OK, WALK_ABSENT, WALK_RESERVED };

static int walk_legacy(X86Cpu *cpu, uint64_t lin, Walk *w)
{
    w->entry_size = 4;
    Level *l = &w->level[w->n++];
    entry_read(cpu, l, (cpu->st.cr3 & 0xfffff000u) + (lin >> 22) * 4, 4);
    uint64_t pde = l->value;
    if (!(pde & PTE_P))
        return WALK_ABSENT;
    w->user = pde & PTE_U;
    w->writable = pde & PTE_W;
    if ((pde & PTE_PS) && (cpu->st.cr4 & CR4_PSE)) {
        /* PSE-36: bits 13-20 are address bits 32-39; bit 21 is reserved */
        unsigned high_bits = cpu->phys_bits > 40 ? 8 : cpu->phys_bits > 32 ? cpu->phys_bits - 32 : 0;
        uint64_t high = (pde >> 13) & 0xff;
        if ((pde & (1u << 21)) || high >> high_bits)
            return WALK_RESERVED;
        w->base = (pde & 0xffc00000u) | high << 32;
        w->page_size = 4 * MIB;
        return WALK_OK;
    }
    l = &w->level[w->n++];
    entry_read(cpu, l, (pde & 0xfffff000u) + ((lin >> 12) & 0x3ff) * 4, 4);
    if (!(l->value & PTE_P))
        return WALK_ABSENT;
    w->user &= (l->value & PTE_U) != 0;
    w->writable &= (l->value & PTE_W) != 0;
    w->base = l->value & 0xfffff000u;
    w->page_size = 4 * KIB;
    return WALK_OK;
}

static int walk_wide(X86Cpu *cpu, uint64_t lin, Walk *w)
{
    const X86State *st = &cpu->st;
    bool four = st->efer & EFER_LMA;
    uint64_t reserved = address_reserved(cpu);
    if (!four)
        reserved |= 0x7ff0000000000000ull; /* 62-52 are ignored in 4-level tables only */
    if (!(st->efer & EFER_NXE))
        reserved |= PTE_NX;
    w->entry_size = 8;
    w->user = w->writable = true;
    uint64_t table = four ? st->cr3 & ADDR_MASK : st->cr3 & 0xffffffe0u;

    for (int shift = four ? 39 : 30;; shift -= 9) {
        Level *l = &w->level[w->n++];
        unsigned index_mask = !four && shift == 30 ? 3 : 0x1ff;
        entry_read(cpu, l, table + ((lin >> shift) & index_mask) * 8, 8);
        uint64_t e = l->value;
        if (!(e & PTE_P))
            return WALK_ABSENT;
        if (!four && shift == 30) {
            if (e & (address_reserved(cpu) | 0xfff00000000001e6ull))
                return WALK_RESERVED;
            table = e & ADDR_MASK;
            continue;
        }
        if (e & reserved)
            return WALK_RESERVED;
        w->user &= (e & PTE_U) != 0;
        w->writable &= (e & PTE_W) != 0;
        w->nx |= (e & PTE_NX) != 0;
        bool leaf = shift == 12;
        if (shift > 12 && (e & PTE_PS)) {
            if (shift == 39 || (shift == 30 && !x86_has(cpu, X86_FEAT_PDPE1GB)))
                return WALK_RESERVED;
            if (e & ((1ull << shift) - 1) & 0xffffffffffffe000ull)
                return WALK_RESERVED;
            leaf = true;
        }
        if (leaf) {
            w->page_size = 1ull << shift;
            w->base = e & ADDR_MASK & ~(w->page_size - 1);
            return WALK_OK;
        }
        table = e & ADDR_MASK;
    }
}

/* What this privilege may do with the page, without regard to D. */
static uint8_t walk_perms(const X86Cpu *cpu, const Walk *w, bool user_access, bool implicit)
{
    const X86State *st = &cpu->st;
    uint8_t perms = 0;
    if (user_access) {
        if (!w->user)
            return 0;
        perms = X86_PERM_R | (w->writable ? X86_PERM_W : 0) | X86_PERM_X;
    } else {
        bool smap = w->user && (st->cr4 & CR4_SMAP) && (implicit || !(st->rflags & FL_AC));
        if (!smap)
            perms |= X86_PERM_R | (w->writable || !(st->cr0 & CR0_WP) ? X86_PERM_W : 0);
        if (!(w->user && (st->cr4 & CR4_SMEP)))
            perms |= X86_PERM_X;
    }
    if (w->nx)
        perms &= ~X86_PERM_X;
    return perms;
}

static bool walk_fault(X86Cpu *cpu, uint64_t lin, unsigned access, uint32_t error, X86Translation *out)
{
    const X86State *st = &cpu->st;
    if ((access & X86_KIND) == X86_WRITE)
        error |= PF_W;
    if (st->cpl == 3 && !(access & X86_SUPERVISOR))
        error |= PF_U;
    bool nx_paging = (st->cr4 & CR4_PAE) && (st->efer & EFER_NXE);
    if ((access & X86_KIND) == X86_EXEC && (nx_paging || (st->cr4 & CR4_SMEP)))
        error |= PF_I;
    out->fault_vector = EXC_PF;
    out->fault_error = error;
    out->fault_lin = lin;
    return false;
}

static void translate_identity(X86Cpu *cpu, uint64_t lin, X86Translation *out)
{
    *out = (X86Translation) {
        .gpa = a20_mask(cpu, lin & 0xffffffffu), .page_size = 4 * KIB, .perms = X86_PERM_R | X86_PERM_W | X86_PERM_X,
    };
}

bool x86_mmu_translate(X86Cpu *cpu, uint64_t lin, unsigned access, X86Translation *out)
{
    const X86State *st = &cpu->st;
    if (!(st->cr0 & CR0_PG)) {
        translate_identity(cpu, lin, out);
        return true;
    }
    static const uint8_t need_of[] = { X86_PERM_R, X86_PERM_W, X86_PERM_X };
    bool user_access = st->cpl == 3 && !(access & X86_SUPERVISOR);
    bool write = (access & X86_KIND) == X86_WRITE;
again:;
    Walk w; /* the levels are filled as far as n says */
    w.n = 0;
    w.nx = false;
    int result = st->cr4 & CR4_PAE ? walk_wide(cpu, lin, &w) : walk_legacy(cpu, lin, &w);
    if (result != WALK_OK)
        return walk_fault(cpu, lin, access, result == WALK_RESERVED ? PF_P | PF_RSVD : 0, out);
    uint8_t perms = walk_perms(cpu, &w, user_access, access & X86_SUPERVISOR);
    if (!(perms & need_of[access & X86_KIND]))
        return walk_fault(cpu, lin, access, PF_P, out);

    Level *leaf = &w.level[w.n - 1];
    if (!(access & X86_PROBE)) {
        bool pdpt_first = (st->cr4 & CR4_PAE) && !(st->efer & EFER_LMA); /* PAE directory pointers have no A bit */
        for (unsigned i = pdpt_first; i < w.n - 1; i++)
            if (!entry_set(cpu, &w.level[i], w.entry_size, PTE_A))
                goto again;
        if (!entry_set(cpu, leaf, w.entry_size, PTE_A | (write ? PTE_D : 0)))
            goto again;
        if (!(leaf->value & PTE_D) && leaf->hva)
            perms &= ~X86_PERM_W;
    }
    *out = (X86Translation) {
        .gpa = a20_mask(cpu, w.base | (lin & (w.page_size - 1))), .page_size = w.page_size, .perms = perms,
        .user = w.user, .global = (leaf->value & PTE_G) && (st->cr4 & CR4_PGE),
    };
    return true;
}
