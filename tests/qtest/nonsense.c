/*
 * Nonsense from a guest: random accesses to every register of the machine. Nothing may crash, hang or leak; afterwards a reset brings the
 * machine back to what it was. RHEA_SEED and RHEA_ROUNDS change the sequence and its length.
 */
#include <qtest-client.h>

#include <stdlib.h>
#include <string.h>

#define ROUNDS 20000

static uint64_t state;

static uint32_t dice(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % n;
}

static uint32_t odd_value(void)
{
    static const uint32_t values[] = { 0, 1, 0x80, 0xff, 0xffff, 0x80000000, 0xfffffff0, UINT32_MAX, 0x600, 0xc001, 0xe0000000, 0xfee00000 };
    return dice(3) ? dice(UINT32_MAX) : values[dice(G_N_ELEMENTS(values))];
}

static void poke_port(QtEmu *q, uint16_t port)
{
    switch (dice(6)) {
    case 0: qt_inb(q, port); break;
    case 1: qt_inw(q, port); break;
    case 2: qt_inl(q, port); break;
    case 3: qt_outb(q, port, odd_value()); break;
    case 4: qt_outw(q, port, odd_value()); break;
    default: qt_outl(q, port, odd_value()); break;
    }
}

static void poke_memory(QtEmu *q, uint64_t gpa)
{
    switch (dice(6)) {
    case 0: qt_readb(q, gpa); break;
    case 1: qt_readl(q, gpa); break;
    case 2: qt_readq(q, gpa); break;
    case 3: qt_writeb(q, gpa, odd_value()); break;
    case 4: qt_writel(q, gpa, odd_value()); break;
    default: qt_writeq(q, gpa, (uint64_t)odd_value() << 32 | odd_value()); break;
    }
}

static void poke(QtEmu *q)
{
    /* first port and how many: the chips of the board */
    static const uint16_t ports[][2] = {
        { 0x20, 2 }, { 0x40, 4 }, { 0x60, 5 }, { 0x70, 2 }, { 0x92, 1 }, { 0xa0, 2 }, { 0xb2, 2 }, { 0x3f8, 8 }, { 0x4d0, 2 },
        { 0x505, 1 }, { 0x510, 12 }, { 0x600, 64 }, { 0x700, 16 }, { 0xcf8, 8 }, { 0xae00, 24 }, { 0xafe0, 4 }, { 0xc000, 256 },
    };
    static const uint64_t memory[][2] = {
        { 0xa0000, 0x60000 }, { 0xfec00000, 0x1000 }, { 0xfed00000, 0x400 }, { 0xfee00000, 0x1000 }, { 0xe0000000, 0x10000 },
        { 0xfffc0000, 0x40000 },
    };
    static const uint8_t functions[] = { QT_DEVFN(0, 0), QT_DEVFN(1, 0), QT_DEVFN(1, 3), QT_DEVFN(4, 0), QT_DEVFN(5, 0), QT_DEVFN(31, 7) };
    unsigned i;

    switch (dice(4)) {
    case 0:
        i = dice(G_N_ELEMENTS(ports));
        poke_port(q, ports[i][0] + dice(ports[i][1]));
        break;
    case 1:
        i = dice(G_N_ELEMENTS(memory));
        poke_memory(q, memory[i][0] + dice(memory[i][1]));
        break;
    case 2:
        i = functions[dice(G_N_ELEMENTS(functions))];
        if (dice(2))
            qt_pci_write32(q, i, dice(64) * 4, odd_value());
        else
            qt_pci_write8(q, i, dice(256), odd_value());
        break;
    default:
        if (dice(20) == 0)
            qt_clock_step(q, dice(100000000));
        else
            poke_port(q, dice(0x10000));
        break;
    }
}

static void test_nonsense(void)
{
    const char *seed = g_getenv("RHEA_SEED"), *rounds = g_getenv("RHEA_ROUNDS");
    unsigned n = rounds ? atoi(rounds) : ROUNDS;
    state = seed ? strtoull(seed, NULL, 0) : 1;
    g_test_message("RHEA_SEED=%" G_GUINT64_FORMAT, state);
    /* a guest may well switch the machine off here: it stays, stopped */
    QtEmu *q = qt_start("-machine pc -nodefaults -m 64 -no-shutdown -serial null -device pvpanic -device virtio-rng-pci,addr=4 -chardev null,id=c "
                        "-device pci-serial,chardev=c,addr=5 -action panic=none");
    for (unsigned i = 0; i < n; i++)
        poke(q);
    json_object_put(qt_qmp(q, "system_reset", NULL));
    json_object_put(qt_event_wait(q, "RESET"));
    json_object *status = qt_qmp(q, "query-status", NULL);
    g_assert_nonnull(qt_json_str(status, "status"));
    json_object_put(status);
    g_assert_cmphex(qt_pci_read32(q, QT_DEVFN(0, 0), 0), ==, 0x12378086);
    g_assert_cmphex(qt_pci_read32(q, QT_DEVFN(1, 0), 0x60), ==, 0x80808080);
    g_assert_cmphex(qt_readl(q, 0xffff0), ==, qt_readl(q, 0xfffffff0));
    g_assert_cmphex(qt_inl(q, 0x514), ==, 0x554d4551);
    qt_writel(q, 0x100000, 0x12345678);
    g_assert_cmphex(qt_readl(q, 0x100000), ==, 0x12345678);
    qt_quit(q);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/nonsense/registers", test_nonsense);
    return g_test_run();
}
