/* The memory map: flattening, lookup, splitting of register accesses, DMA, watch bits. */
#include <mem/dma.h>

#include <string.h>

typedef struct Call { char dir; uint64_t offset, value; unsigned size; } Call;

typedef struct Probe {
    Call calls[64];
    unsigned n;
    uint8_t regs[64];
} Probe;

static uint64_t probe_read(void *opaque, uint64_t offset, unsigned size)
{
    Probe *p = opaque;
    uint64_t v = 0;
    memcpy(&v, p->regs + offset % 56, size);
    p->calls[p->n++ % 64] = (Call){ 'r', offset, v, size };
    return v;
}

static void probe_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Probe *p = opaque;
    p->calls[p->n++ % 64] = (Call){ 'w', offset, value, size };
    memcpy(p->regs + offset % 56, &value, size);
}

static const MemoryRegionOps plain_ops = { .read = probe_read, .write = probe_write };

static char *dump(AddressSpace *as)
{
    GString *s = g_string_new(NULL);
    MemView *view = address_space_view_ref(as);
    for (unsigned i = 0; i < view->n; i++) {
        const MemRange *r = &view->ranges[i];
        g_string_append_printf(s, "%s%" PRIx64 "+%" PRIx64 ":%s@%" PRIx64 "%s", i ? " " : "", r->start, r->size, r->mr->name,
                               r->offset, r->readonly ? "!" : "");
    }
    mem_view_unref(view);
    return g_string_free(s, FALSE);
}

static void expect(AddressSpace *as, const char *want)
{
    g_autofree char *got = dump(as);
    g_assert_cmpstr(got, ==, want);
}

static void init_ram(MemoryRegion *mr, const char *name, uint64_t size)
{
    g_autoptr(GError) err = NULL;
    if (!memory_region_init_ram(mr, NULL, name, size, &err))
        g_error("%s", err->message);
}

static void test_flatten(void)
{
    Probe p = { 0 };
    MemoryRegion root, ram, io, low, win;
    memory_region_init(&root, NULL, "root", UINT64_MAX);
    init_ram(&ram, "ram", 0x100000);
    memory_region_init_io(&io, NULL, NULL, &plain_ops, &p, "io", 0x1000);
    AddressSpace *as = address_space_new(&root, "t");
    expect(as, "");
    memory_region_add(&root, 0x1000, &ram, 0);
    expect(as, "1000+100000:ram@0");
    memory_region_add(&root, 0x2000, &io, 1);
    expect(as, "1000+1000:ram@0 2000+1000:io@0 3000+fe000:ram@2000");
    memory_region_set_enabled(&io, false);
    expect(as, "1000+100000:ram@0");
    memory_region_set_enabled(&io, true);
    /* lower priority: covered where RAM is */
    memory_region_remove(&io);
    memory_region_add(&root, 0x800, &io, -1);
    expect(as, "800+800:io@0 1000+100000:ram@0");
    /* a container clips what is in it */
    memory_region_init(&low, NULL, "low", 0x900);
    memory_region_remove(&io);
    memory_region_add(&low, 0x400, &io, 0);
    memory_region_add(&root, 0, &low, 5);
    expect(as, "400+500:io@0 1000+100000:ram@0");
    /* an alias of the middle of RAM, read-only, far up */
    memory_region_init_alias(&win, NULL, "win", &ram, 0x3000, 0x2000);
    memory_region_set_readonly(&win, true);
    memory_region_add(&root, 0xfffffffffffff000ull, &win, 0);
    expect(as, "400+500:io@0 1000+100000:ram@0 fffffffffffff000+1000:ram@3000!");
    memory_region_set_alias_offset(&win, 0x5000);
    memory_region_set_addr(&low, 0x200);
    memory_region_set_size(&win, 0x800);
    expect(as, "600+500:io@0 1000+100000:ram@0 fffffffffffff000+800:ram@5000!");
    address_space_free(as);
    memory_region_clear(&win);
    memory_region_clear(&low);
    memory_region_clear(&io);
    memory_region_clear(&ram);
    memory_region_clear(&root);
}

static void test_merge_and_share(void)
{
    MemoryRegion root, ram, a, b, master, all;
    memory_region_init(&root, NULL, "root", UINT64_MAX);
    init_ram(&ram, "ram", 0x10000);
    memory_region_init_alias(&a, NULL, "a", &ram, 0, 0x4000);
    memory_region_init_alias(&b, NULL, "b", &ram, 0x4000, 0xc000);
    memory_transaction_begin();
    memory_region_add(&root, 0, &a, 0);
    memory_region_add(&root, 0x4000, &b, 0);
    memory_transaction_commit();
    AddressSpace *as = address_space_new(&root, "mem");
    expect(as, "0+10000:ram@0");
    /* a bus master's space behind a switch shows the very same view */
    memory_region_init(&master, NULL, "master", UINT64_MAX);
    memory_region_init_alias(&all, NULL, "all", &root, 0, UINT64_MAX);
    memory_region_add(&master, 0, &all, 0);
    AddressSpace *dma = address_space_new(&master, "dma");
    g_assert_cmpuint(address_space_generation(as), ==, address_space_generation(dma));
    memory_region_set_enabled(&all, false);
    expect(dma, "");
    g_assert_cmpuint(address_space_generation(as), !=, address_space_generation(dma));
    memory_region_set_enabled(&all, true);
    g_assert_cmpuint(address_space_generation(as), ==, address_space_generation(dma));
    /* nested transactions, one rebuild; no change, no new view */
    uint64_t before = address_space_generation(as);
    memory_transaction_begin();
    memory_transaction_begin();
    memory_region_set_enabled(&a, false);
    memory_transaction_commit();
    g_assert_cmpuint(address_space_generation(as), ==, before);
    memory_region_set_enabled(&a, true);
    memory_transaction_commit();
    g_assert_cmpuint(address_space_generation(as), ==, before);
    address_space_free(dma);
    address_space_free(as);
    memory_region_clear(&all);
    memory_region_clear(&master);
    memory_region_clear(&a);
    memory_region_clear(&b);
    memory_region_clear(&ram);
    memory_region_clear(&root);
}

static void test_random_flatten(void)
{
    /* Against a painter that colours bytes one by one. */
    enum { SIZE = 256, N = 8 };
    for (int round = 0; round < 500; round++) {
        MemoryRegion root, box, mr[N];
        Probe p = { 0 };
        int paint[SIZE], prio_of[SIZE];
        memory_region_init(&root, NULL, "root", SIZE);
        memory_region_init(&box, NULL, "box", SIZE);
        for (int i = 0; i < SIZE; i++)
            paint[i] = -1, prio_of[i] = -100;
        AddressSpace *as = address_space_new(&root, "t");
        for (int i = 0; i < N; i++) {
            uint64_t at = g_test_rand_int_range(0, SIZE), len = g_test_rand_int_range(1, 100);
            int prio = g_test_rand_int_range(-2, 3);
            memory_region_init_io(&mr[i], NULL, NULL, &plain_ops, &p, "r", len);
            memory_region_add(&root, at, &mr[i], prio);
            for (uint64_t x = at; x < at + len && x < SIZE; x++)
                if (prio >= prio_of[x])
                    paint[x] = i, prio_of[x] = prio;
        }
        MemView *view = address_space_view_ref(as);
        unsigned hint = 0;
        for (int x = 0; x < SIZE; x++) {
            const MemRange *r = mem_view_find(view, x, &hint);
            if (paint[x] < 0) {
                g_assert_null(r);
            } else {
                g_assert_true(r && r->mr == &mr[paint[x]]);
                g_assert_cmpuint(x - r->start + r->offset, ==, x - mr[paint[x]].addr);
            }
        }
        mem_view_unref(view);
        address_space_free(as);
        for (int i = 0; i < N; i++)
            memory_region_clear(&mr[i]);
        memory_region_clear(&box);
        memory_region_clear(&root);
    }
}

typedef struct IoSetup {
    Probe probe;
    MemoryRegion root, io;
    AddressSpace *as;
    MemView *view;
} IoSetup;

static void io_open(IoSetup *s, const MemoryRegionOps *ops)
{
    memset(s, 0, sizeof(*s));
    for (unsigned i = 0; i < sizeof(s->probe.regs); i++)
        s->probe.regs[i] = 0x10 + i;
    memory_region_init(&s->root, NULL, "root", UINT64_MAX);
    memory_region_init_io(&s->io, NULL, NULL, ops, &s->probe, "io", 0x20);
    memory_region_add(&s->root, 0x100, &s->io, 0);
    s->as = address_space_new(&s->root, "t");
    s->view = address_space_view_ref(s->as);
}

static void io_close(IoSetup *s)
{
    mem_view_unref(s->view);
    address_space_free(s->as);
    memory_region_clear(&s->io);
    memory_region_clear(&s->root);
}

static void expect_calls(Probe *p, const char *want)
{
    g_autoptr(GString) s = g_string_new(NULL);
    for (unsigned i = 0; i < p->n; i++)
        g_string_append_printf(s, "%s%c%u@%" PRIx64, i ? " " : "", p->calls[i].dir, p->calls[i].size, p->calls[i].offset);
    g_assert_cmpstr(s->str, ==, want);
    p->n = 0;
}

static void test_dispatch(void)
{
    static const MemoryRegionOps bytes = { probe_read, probe_write, .max_access = 1 };
    static const MemoryRegionOps dwords = { probe_read, probe_write, .min_access = 4, .max_access = 4 };
    static const MemoryRegionOps quads = { probe_read, probe_write, .max_access = 8, .valid_min = 2 };
    static const MemoryRegionOps anyhow = { probe_read, probe_write, .unaligned = true };
    IoSetup s;
    uint64_t v;

    io_open(&s, &plain_ops);
    mem_view_read(s.view, 0x100, &v, 8);
    g_assert_cmphex(v, ==, 0x1716151413121110);
    expect_calls(&s.probe, "r4@0 r4@4");
    mem_view_read(s.view, 0x101, &v, 4);
    g_assert_cmphex(v, ==, 0x14131211);
    expect_calls(&s.probe, "r1@1 r2@2 r1@4");
    mem_view_write(s.view, 0x103, 0xaabbccdd, 4);
    expect_calls(&s.probe, "w1@3 w2@4 w1@6");
    g_assert_cmphex(ld32(s.probe.regs + 3), ==, 0xaabbccdd);
    /* over the end: the rest is a hole */
    g_assert_cmpint(mem_view_read(s.view, 0x11e, &v, 4), ==, MEMTX_DECODE_ERROR);
    g_assert_cmphex(v, ==, 0xffff2f2e);
    expect_calls(&s.probe, "r2@1e");
    g_assert_cmpint(mem_view_read(s.view, 0x50, &v, 2), ==, MEMTX_DECODE_ERROR);
    g_assert_cmphex(v, ==, 0xffff);
    io_close(&s);

    io_open(&s, &bytes);
    mem_view_read(s.view, 0x102, &v, 4);
    g_assert_cmphex(v, ==, 0x15141312);
    expect_calls(&s.probe, "r1@2 r1@3 r1@4 r1@5");
    io_close(&s);

    io_open(&s, &dwords);
    mem_view_read(s.view, 0x106, &v, 2);
    g_assert_cmphex(v, ==, 0x1716);
    expect_calls(&s.probe, "r4@4");
    mem_view_read(s.view, 0x103, &v, 4);
    g_assert_cmphex(v, ==, 0x16151413);
    expect_calls(&s.probe, "r4@0 r4@4");
    mem_view_write(s.view, 0x109, 0x5a, 1);
    expect_calls(&s.probe, "w4@8");
    g_assert_cmphex(ld32(s.probe.regs + 8), ==, 0x5a00);
    io_close(&s);

    io_open(&s, &quads);
    mem_view_read(s.view, 0x108, &v, 8);
    expect_calls(&s.probe, "r8@8");
    g_assert_cmpint(mem_view_read(s.view, 0x108, &v, 1), ==, MEMTX_DECODE_ERROR);
    g_assert_cmphex(v, ==, 0xff);
    mem_view_write(s.view, 0x108, 1, 1);
    expect_calls(&s.probe, "");
    io_close(&s);

    io_open(&s, &anyhow);
    mem_view_read(s.view, 0x101, &v, 4);
    expect_calls(&s.probe, "r4@1");
    mem_view_read(s.view, 0x101, &v, 8);
    expect_calls(&s.probe, "r4@1 r4@5");
    io_close(&s);
}

/* A write that answers with a write to itself. */
typedef struct Loop { AddressSpace *as; unsigned entered; } Loop;

static void loop_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    Loop *l = opaque;
    l->entered++;
    dma_st32(l->as, 0, 1);
}

static void test_recursion(void)
{
    static const MemoryRegionOps ops = { .write = loop_write };
    Loop l = { 0 };
    MemoryRegion root, io;
    memory_region_init(&root, NULL, "root", UINT64_MAX);
    memory_region_init_io(&io, NULL, NULL, &ops, &l, "io", 16);
    memory_region_add(&root, 0, &io, 0);
    l.as = address_space_new(&root, "t");
    dma_st32(l.as, 0, 1);
    g_assert_cmpuint(l.entered, ==, 2);
    dma_st32(l.as, 0, 1);
    g_assert_cmpuint(l.entered, ==, 4);
    address_space_free(l.as);
    memory_region_clear(&io);
    memory_region_clear(&root);
}

static struct { unsigned n; uint64_t offset, len; } watched;

static void on_watch(void *opaque, RamBlock *ram, uint64_t offset, uint64_t len)
{
    watched.n++;
    watched.offset = offset;
    watched.len = len;
}

static void test_dma(void)
{
    static const MemoryRegionOps ops = { probe_read, probe_write };
    Probe p = { 0 };
    MemoryRegion root, a, b, rom, io;
    uint8_t buf[0x3000], back[0x3000];
    g_autoptr(GError) err = NULL;
    MemTx tx;
    memory_region_init(&root, NULL, "root", UINT64_MAX);
    init_ram(&a, "a", 0x1000);
    init_ram(&b, "b", 0x1000);
    g_assert_true(memory_region_init_rom(&rom, NULL, "rom", 0x1000, &err));
    memset(rom.ram->host, 0x77, 0x1000);
    memory_region_init_io(&io, NULL, NULL, &ops, &p, "io", 0x20);
    memory_region_add(&root, 0, &a, 0);
    memory_region_add(&root, 0x1000, &b, 0);
    memory_region_add(&root, 0x2000, &rom, 0);
    memory_region_add(&root, 0x4000, &io, 0);
    AddressSpace *as = address_space_new(&root, "t");
    for (unsigned i = 0; i < sizeof(buf); i++)
        buf[i] = i * 7;
    g_assert_cmpint(dma_write(as, 0, buf, 0x3000), ==, MEMTX_OK);
    g_assert_cmpint(dma_read(as, 0, back, 0x3000), ==, MEMTX_OK);
    g_assert_cmpmem(buf, 0x2000, back, 0x2000);
    g_assert_cmphex(back[0x2000], ==, 0x77); /* ROM kept its contents */
    g_assert_cmpint(dma_read(as, 0x2ff0, back, 0x20), ==, MEMTX_DECODE_ERROR);
    g_assert_cmphex(back[0x0f], ==, 0x77);
    g_assert_cmphex(back[0x10], ==, 0xff);
    /* across two blocks, unaligned */
    g_assert_cmpint(dma_st32(as, 0xffe, 0xdeadbeef), ==, MEMTX_OK);
    g_assert_cmphex(dma_ld32(as, 0xffe, &tx), ==, 0xdeadbeef);
    g_assert_cmphex(ld16(a.ram->host + 0xffe), ==, 0xbeef);
    g_assert_cmphex(ld16(b.ram->host), ==, 0xdead);
    /* registers, byte by byte where it must be */
    g_assert_cmpint(dma_write(as, 0x4001, buf, 7), ==, MEMTX_OK);
    expect_calls(&p, "w1@1 w2@2 w4@4");
    /* ends of the world */
    g_assert_cmpint(dma_read(as, UINT64_MAX - 3, back, 16), ==, MEMTX_DECODE_ERROR);
    g_assert_cmpint(dma_write(as, UINT64_MAX, buf, 1), ==, MEMTX_DECODE_ERROR);
    g_assert_cmpint(dma_read(as, 5, back, 0), ==, MEMTX_OK);
    dma_set(as, 0x10, 0xab, 3);
    g_assert_cmphex(ld32(a.ram->host + 0x10) & 0xffffff, ==, 0xababab);

    DmaMap map;
    g_assert_true(dma_map(as, 0xf00, 0x400, true, &map));
    g_assert_cmpuint(map.len, ==, 0x100);
    g_assert_true(map.hva == a.ram->host + 0xf00);
    g_assert_false(dma_map(as, 0x2000, 4, true, &(DmaMap){ 0 }));
    g_assert_false(dma_map(as, 0x4000, 4, false, &(DmaMap){ 0 }));
    g_assert_false(dma_map(as, UINT64_MAX, 4, false, &(DmaMap){ 0 }));
    ram_set_watch_func(RAM_WATCH_DIRTY, on_watch, NULL);
    a.ram->watch[0] = RAM_WATCH_DIRTY;
    dma_unmap(&map, 0);
    g_assert_cmpuint(watched.n, ==, 0);
    g_assert_true(dma_map(as, 0xf00, 0x400, true, &map));
    /* the memory outlives its region while it is mapped */
    memory_region_clear(&a);
    memset(map.hva, 1, map.len);
    dma_unmap(&map, 0x10);
    g_assert_cmpuint(watched.n, ==, 1);
    g_assert_cmphex(watched.offset, ==, 0xf00);
    g_assert_cmpuint(watched.len, ==, 0x10);
    b.ram->watch[0] = RAM_WATCH_DIRTY;
    dma_st64(as, 0x1ff8, 1);
    g_assert_cmpuint(watched.n, ==, 2);
    dma_write(as, 0x1100, buf, 5);
    g_assert_cmpuint(watched.n, ==, 3);
    g_assert_cmphex(watched.offset, ==, 0x100);
    ram_set_watch_func(RAM_WATCH_DIRTY, NULL, NULL);
    address_space_free(as);
    memory_region_clear(&io);
    memory_region_clear(&rom);
    memory_region_clear(&b);
    memory_region_clear(&root);
}

static void rung(void *opaque) { ++*(unsigned *)opaque; }

static void test_doorbell(void)
{
    unsigned rings = 0;
    Domain *d = domain_new("t", NULL);
    BottomHalf *bh = bh_new(d, rung, &rings);
    IoSetup s;
    io_open(&s, &plain_ops);
    memory_region_add_notifier(&s.io, &(MemNotifier){ .offset = 4, .size = 2, .match = true, .data = 7, .bh = bh, .eventfd = -1 });
    memory_region_add_notifier(&s.io, &(MemNotifier){ .offset = 8, .bh = bh, .eventfd = -1 });
    mem_view_write(s.view, 0x104, 7, 2);
    domain_iterate(d, false);
    g_assert_cmpuint(rings, ==, 1);
    expect_calls(&s.probe, "");
    mem_view_write(s.view, 0x104, 8, 2);
    mem_view_write(s.view, 0x104, 7, 4);
    domain_iterate(d, false);
    g_assert_cmpuint(rings, ==, 1);
    expect_calls(&s.probe, "w2@4 w4@4");
    mem_view_write(s.view, 0x108, 99, 1);
    domain_iterate(d, false);
    g_assert_cmpuint(rings, ==, 2);
    memory_region_remove_notifier(&s.io, 8, 0, false, 0);
    mem_view_write(s.view, 0x108, 99, 1);
    domain_iterate(d, false);
    g_assert_cmpuint(rings, ==, 2);
    io_close(&s);
    bh_free(bh);
    domain_free(d);
}

/* Readers in threads while the map changes: what they see is always one of the two maps. */
typedef struct Race { AddressSpace *as; _Atomic bool end; _Atomic unsigned reads; } Race;

static gpointer race_reader(gpointer data)
{
    Race *r = data;
    while (!r->end) {
        MemTx tx;
        uint32_t v = dma_ld32(r->as, 0x10, &tx);
        g_assert_true(v == 0x11111111 || v == 0x22222222);
        DmaMap map;
        g_assert_true(dma_map(r->as, 0, 4096, false, &map));
        g_assert_true(ld32(map.hva) == 0x11111111 || ld32(map.hva) == 0x22222222);
        dma_unmap(&map, 0);
        r->reads++;
    }
    return NULL;
}

static void test_race(void)
{
    MemoryRegion root, one;
    Race r = { 0 };
    memory_region_init(&root, NULL, "root", UINT64_MAX);
    init_ram(&one, "one", 0x1000);
    memset(one.ram->host, 0x11, 0x1000);
    memory_region_add(&root, 0, &one, 0);
    r.as = address_space_new(&root, "t");
    GThread *t[2];
    for (int i = 0; i < 2; i++)
        t[i] = g_thread_new("reader", race_reader, &r);
    for (int i = 0; i < 300; i++) {
        MemoryRegion *two = g_new0(MemoryRegion, 1);
        init_ram(two, "two", 0x1000);
        memset(two->ram->host, 0x22, 0x1000);
        memory_region_add(&root, 0, two, 1);
        g_thread_yield();
        memory_region_remove(two);
        memory_region_clear(two); /* readers may still be inside the block */
        g_free(two);
    }
    r.end = true;
    for (int i = 0; i < 2; i++)
        g_thread_join(t[i]);
    g_assert_cmpuint(r.reads, >, 0);
    address_space_free(r.as);
    memory_region_clear(&one);
    memory_region_clear(&root);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/flatten", test_flatten);
    g_test_add_func("/memory/merge", test_merge_and_share);
    g_test_add_func("/memory/random", test_random_flatten);
    g_test_add_func("/memory/dispatch", test_dispatch);
    g_test_add_func("/memory/recursion", test_recursion);
    g_test_add_func("/memory/dma", test_dma);
    g_test_add_func("/memory/doorbell", test_doorbell);
    g_test_add_func("/memory/race", test_race);
    return g_test_run();
}
