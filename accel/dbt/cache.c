/*
 * The code cache of one vCPU: arenas that fill up and are dropped as a whole, the block table, links between blocks, the jump
 * cache and the lists of blocks by code page. Nothing here is shared with other vCPUs.
 */
#include "accel/dbt/emit.h"

#include <sys/mman.h>

#define HASH_BITS 16
#define PAGES_BITS 13

static void *map_lazy(size_t size, int flags)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE | (flags & MAP_32BIT ? PROT_EXEC : 0),
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

bool dbt_cache_init(DbtVcpu *v, unsigned n_vcpus, GError **err)
{
    v->code_size = (n_vcpus <= 1 ? 20 : n_vcpus <= 2 ? 12 : n_vcpus <= 4 ? 8 : 6) * MIB; /* the arenas add about as much */
    v->max_blocks = v->code_size / 256;
    v->max_links = v->max_blocks * 2;
    v->max_side = v->code_size / 16;
    v->hash_mask = (1u << HASH_BITS) - 1;
    v->pages_mask = (1u << PAGES_BITS) - 1;
    v->code = map_lazy(v->code_size, MAP_32BIT);
    v->blocks = map_lazy(v->max_blocks * sizeof(Block), 0);
    v->links = map_lazy(v->max_links * sizeof(Link), 0);
    v->side = map_lazy(v->max_side, 0);
    v->hash = map_lazy((v->hash_mask + 1) * sizeof(Block *), 0);
    v->pages = map_lazy((v->pages_mask + 1) * sizeof(CodePage), 0);
    if (!v->code || !v->blocks || !v->links || !v->side || !v->hash || !v->pages) {
        error_set(err, "no memory for a code cache of %u MiB in the low 2 GiB of the address space", v->code_size >> 20);
        return false;
    }
    madvise(v->code, v->code_size, MADV_HUGEPAGE);
    dbt_emit_trampolines(v);
    for (unsigned m = 0; m < MODE_COUNT; m++)
        for (unsigned i = 0; i < JC_SIZE; i++)
            v->ctx->jc[m][i] = v->tr_miss;
    dbt_cache_flush(v);
    v->n_flushes = 0;
    return true;
}

void dbt_cache_free(DbtVcpu *v)
{
    if (v->code)
        munmap(v->code, v->code_size);
    if (v->blocks)
        munmap(v->blocks, v->max_blocks * sizeof(Block));
    if (v->links)
        munmap(v->links, v->max_links * sizeof(Link));
    if (v->side)
        munmap(v->side, v->max_side);
    if (v->hash)
        munmap(v->hash, (v->hash_mask + 1) * sizeof(Block *));
    if (v->pages)
        munmap(v->pages, (v->pages_mask + 1) * sizeof(CodePage));
}

void dbt_cache_flush(DbtVcpu *v)
{
    dbt_jc_flush(v);
    v->code_used = v->code_start;
    v->n_blocks = 0;
    v->n_links = 1;
    v->n_side = 0;
    memset(v->hash, 0, (v->hash_mask + 1) * sizeof(Block *));
    memset(v->pages, 0, (v->pages_mask + 1) * sizeof(CodePage));
    v->n_pages = 0;
    v->n_flushes++;
}

/* ---- jump cache ------------------------------------------------------------------------------------------------ */

static void flush_mode(DbtVcpu *v, unsigned m)
{
    if (v->n_jc_log[m] < JC_LOG) {
        for (unsigned i = 0; i < v->n_jc_log[m]; i++)
            v->ctx->jc[m][v->jc_log[m][i]] = v->tr_miss;
    } else {
        for (unsigned i = 0; i < JC_SIZE; i++)
            v->ctx->jc[m][i] = v->tr_miss;
    }
    for (unsigned i = 0; i < RAS_SIZE; i++)
        v->ctx->ras[m][i] = v->tr_jc[m];
    v->n_jc_log[m] = 0;
    v->jc_local[m] = false;
}

void dbt_jc_flush(DbtVcpu *v)
{
    for (unsigned m = 0; m < MODE_COUNT; m++)
        flush_mode(v, m);
    for (unsigned i = 0; i < G_N_ELEMENTS(v->jc_pages); i++)
        v->jc_pages[i] = 0;
}

void dbt_jc_flush_local(DbtVcpu *v)
{
    for (unsigned m = 0; m < MODE_COUNT; m++)
        if (v->jc_local[m])
            flush_mode(v, m);
}

void dbt_jc_enter_mode(DbtVcpu *v, uint32_t key, uint64_t cs_base)
{
    unsigned m = key & KEY_MODE;
    if (v->jc_key[m] == key && v->jc_cs[m] == cs_base)
        return;
    flush_mode(v, m);
    v->jc_key[m] = key;
    v->jc_cs[m] = cs_base;
}

void dbt_jc_note(DbtVcpu *v, unsigned mode, uint64_t lin, bool global)
{
    v->jc_pages[(lin >> 18) & 63] |= 1ull << ((lin >> 12) & 63);
    v->jc_local[mode] |= !global;
}

void dbt_jc_set(DbtVcpu *v, unsigned mode, uint64_t pc, uint64_t host)
{
    uint64_t *slot = &v->ctx->jc[mode][pc & 0xffff];
    if (*slot == v->tr_miss && v->n_jc_log[mode] < JC_LOG)
        v->jc_log[mode][v->n_jc_log[mode]++] = pc & 0xffff;
    *slot = host;
}

/* ---- blocks ---------------------------------------------------------------------------------------------------- */

static uint32_t block_hash(const DbtVcpu *v, uint64_t pc, uint64_t page)
{
    return ((pc ^ (page >> 7)) * 0x9e3779b97f4a7c15ull >> 32) & v->hash_mask;
}

Block *dbt_block_find(DbtVcpu *v, uint64_t pc, uint32_t key, uint64_t page)
{
    for (Block *b = v->hash[block_hash(v, pc, page)]; b; b = b->hash_next) {
        if (b->pc != pc || b->key != key || b->page[0] != page || b->cs_base != v->cs_base)
            continue;
        if (b->page[1]) {
            ExecTlb second;
            uint64_t lin = (b->cs_base + pc + 0x1000) & ~0xfffull;
            if (!dbt_fetch(v, key_bits(key) == 64 ? lin : (uint32_t)lin, &second) || second.hva != b->page[1])
                continue;
        }
        return b;
    }
    return NULL;
}

CodePage *dbt_page_find(DbtVcpu *v, uint64_t hva)
{
    for (uint32_t i = (uint32_t)(hva >> 12) * 0x9e3779b1u >> (32 - PAGES_BITS);; i = (i + 1) & v->pages_mask) {
        if (v->pages[i].hva == hva)
            return &v->pages[i];
        if (!v->pages[i].hva)
            return NULL;
    }
}

CodePage *dbt_page_get(DbtVcpu *v, uint64_t hva)
{
    CodePage *page = dbt_page_find(v, hva);
    if (page)
        return page;
    uint32_t i = (uint32_t)(hva >> 12) * 0x9e3779b1u >> (32 - PAGES_BITS);
    while (v->pages[i].hva)
        i = (i + 1) & v->pages_mask;
    v->n_pages++;
    v->pages[i] = (CodePage){ .hva = hva };
    return &v->pages[i];
}

void dbt_block_insert(DbtVcpu *v, Block *b)
{
    uint32_t h = block_hash(v, b->pc, b->page[0]);
    b->hash_next = v->hash[h];
    v->hash[h] = b;
    b->valid = true;
    for (unsigned i = 0; i < 2 && b->page[i]; i++) {
        CodePage *page = dbt_page_find(v, b->page[i]);
        b->page_next[i] = page->blocks;
        page->blocks = b;
    }
}

void dbt_block_kill(DbtVcpu *v, Block *b)
{
    if (!b->valid)
        return;
    b->valid = false;
    for (Block **p = &v->hash[block_hash(v, b->pc, b->page[0])]; *p; p = &(*p)->hash_next)
        if (*p == b) {
            *p = b->hash_next;
            break;
        }
    for (unsigned i = 0; i < 2 && b->page[i]; i++)
        for (Block **p = &dbt_page_find(v, b->page[i])->blocks; *p; p = &(*p)->page_next[(*p)->page[0] != b->page[i]])
            if (*p == b) {
                *p = b->page_next[i];
                break;
            }
    while (b->links_in)
        dbt_unlink(v, b->links_in);
    for (unsigned i = 0; i < b->n_links; i++)
        dbt_unlink(v, b->first_link + i);
    uint64_t *slot = &v->ctx->jc[b->key & KEY_MODE][b->pc & 0xffff];
    if (*slot == b->checked)
        *slot = v->tr_miss;
}

Block *dbt_block_at_host(DbtVcpu *v, uint64_t host)
{
    uint32_t lo = 0, hi = v->n_blocks;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (v->blocks[mid].host_end <= host)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < v->n_blocks && v->blocks[lo].checked <= host ? &v->blocks[lo] : NULL;
}

uint64_t dbt_guest_pc(DbtVcpu *v, const Block *b, uint64_t host)
{
    const uint8_t *side = v->side + b->side;
    uint64_t at = b->host;
    unsigned guest = 0;
    for (unsigned i = 0; i < b->n_insns; i++) {
        unsigned len = *side++;
        if (len == 255) {
            len = side[0] | side[1] << 8;
            side += 2;
        }
        at += len;
        if (host < at)
            return b->pc + guest;
        guest += *side++;
    }
    return b->pc + (v->ctx->meta & META_PC_MASK); /* in a slow path stub */
}

void dbt_block_cut(DbtVcpu *v, Block *b, unsigned guest_off)
{
    const uint8_t *side = v->side + b->side;
    uint64_t at = b->host;
    unsigned guest = 0;
    for (unsigned i = 0; i + 1 < b->n_insns && guest <= guest_off; i++) {
        unsigned len = *side++;
        if (len == 255) {
            len = side[0] | side[1] << 8;
            side += 2;
        }
        at += len;
        guest += *side++;
    }
    if (guest <= guest_off || v->code_used + 64 > v->code_size)
        return; /* it is the last one: the exits are unlinked already */
    Emit e = { v->code + v->code_used }, jump = { (uint8_t *)(uintptr_t)at };
    e_jmp(&jump, e_pos(&e));
    uint64_t pc = b->pc + guest;
    e_mov_imm(&e, HOST_S0, key_bits(b->key) == 64 ? pc : key_bits(b->key) == 32 ? (uint32_t)pc : (uint16_t)pc);
    e_jmp(&e, v->tr_poll);
    v->code_used += 32;
}

/* ---- links ----------------------------------------------------------------------------------------------------- */

/* A block on two pages is entered only through the jump cache, which is dropped when mappings change. */
static uint32_t jc_bounce(DbtVcpu *v, Block *to)
{
    Emit e = { v->code + v->code_used };
    unsigned mode = to->key & KEY_MODE;
    uint32_t at = e_pos(&e);
    e_mov_imm(&e, HOST_S0, to->pc);
    e_rm(&e, 0, 0xff, 4, 4, CTX(jc) + (int)(mode * JC_SIZE + (to->pc & 0xffff)) * 8);
    v->code_used += ROUND_UP_TO(e_pos(&e) - at, 16);
    return at;
}

void dbt_link(DbtVcpu *v, uint32_t id, Block *to)
{
    Link *link = &v->links[id];
    if (link->to || !link->from->valid || !to->valid)
        return;
    if (to->page[1]) {
        if (v->code_used + 64 < v->code_size)
            e_patch32(link->site, jc_bounce(v, to));
        return;
    }
    link->to = to;
    link->prev = 0;
    link->next = to->links_in;
    if (to->links_in)
        v->links[to->links_in].prev = id;
    to->links_in = id;
    e_patch32(link->site, to->host);
}

void dbt_unlink(DbtVcpu *v, uint32_t id)
{
    Link *link = &v->links[id];
    if (!link->to)
        return;
    if (link->prev)
        v->links[link->prev].next = link->next;
    else
        link->to->links_in = link->next;
    if (link->next)
        v->links[link->next].prev = link->prev;
    link->to = NULL;
    e_patch32(link->site, link->stub);
}
