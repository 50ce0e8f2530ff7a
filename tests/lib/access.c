/* The guest's side: ports, memory, time, lines, PCI. See qtest-client.h. */
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* ---- raw ---- */

static void note_irq(QtEmu *q, const char *line)
{
    char what[8];
    unsigned n;
    if (sscanf(line, "IRQ %7s %u", what, &n) != 2 || n >= QT_IRQS)
        g_error("bad report '%s'", line);
    q->irq[n] = !strcmp(what, "raise");
    q->raises[n] += q->irq[n];
}

/* The answer to the command that was just sent. (owned) */
static char *answer(QtEmu *q, const char *command)
{
    for (;;) {
        char *line = qt_lines_read(&q->qtest);
        if (!line)
            g_error("the emulator closed the channel after '%.100s'", command);
        if (!g_str_has_prefix(line, "IRQ "))
            return line;
        note_irq(q, line);
        g_free(line);
    }
}

char *qt_command(QtEmu *q, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autoptr(GString) line = g_string_new(NULL);
    g_string_vprintf(line, fmt, ap);
    va_end(ap);
    g_string_append_c(line, '\n');
    qt_lines_send(&q->qtest, line->str, line->len);
    return answer(q, line->str);
}

static void expect_ok(const char *command, const char *got)
{
    if (strcmp(got, "OK") && !g_str_has_prefix(got, "OK "))
        g_error("'%.100s' was answered with '%.200s'", command, got);
}

/* Sends name and two numbers; the number after OK. */
static uint64_t number_command(QtEmu *q, const char *name, uint64_t a, const uint64_t *b)
{
    char line[80];
    if (b)
        snprintf(line, sizeof(line), "%s 0x%" G_GINT64_MODIFIER "x 0x%" G_GINT64_MODIFIER "x", name, a, *b);
    else
        snprintf(line, sizeof(line), "%s 0x%" G_GINT64_MODIFIER "x", name, a);
    g_autofree char *got = qt_command(q, "%s", line);
    expect_ok(line, got);
    return got[2] ? g_ascii_strtoull(got + 3, NULL, 0) : 0;
}

static uint64_t get(QtEmu *q, const char *name, uint64_t at) { return number_command(q, name, at, NULL); }
static void put(QtEmu *q, const char *name, uint64_t at, uint64_t value) { number_command(q, name, at, &value); }

/* ---- ports and memory ---- */

uint8_t qt_inb(QtEmu *q, uint16_t port) { return get(q, "inb", port); }
uint16_t qt_inw(QtEmu *q, uint16_t port) { return get(q, "inw", port); }
uint32_t qt_inl(QtEmu *q, uint16_t port) { return get(q, "inl", port); }
void qt_outb(QtEmu *q, uint16_t port, uint8_t value) { put(q, "outb", port, value); }
void qt_outw(QtEmu *q, uint16_t port, uint16_t value) { put(q, "outw", port, value); }
void qt_outl(QtEmu *q, uint16_t port, uint32_t value) { put(q, "outl", port, value); }
uint8_t qt_readb(QtEmu *q, uint64_t gpa) { return get(q, "readb", gpa); }
uint16_t qt_readw(QtEmu *q, uint64_t gpa) { return get(q, "readw", gpa); }
uint32_t qt_readl(QtEmu *q, uint64_t gpa) { return get(q, "readl", gpa); }
uint64_t qt_readq(QtEmu *q, uint64_t gpa) { return get(q, "readq", gpa); }
void qt_writeb(QtEmu *q, uint64_t gpa, uint8_t value) { put(q, "writeb", gpa, value); }
void qt_writew(QtEmu *q, uint64_t gpa, uint16_t value) { put(q, "writew", gpa, value); }
void qt_writel(QtEmu *q, uint64_t gpa, uint32_t value) { put(q, "writel", gpa, value); }
void qt_writeq(QtEmu *q, uint64_t gpa, uint64_t value) { put(q, "writeq", gpa, value); }

void qt_memread(QtEmu *q, uint64_t gpa, void *buf, size_t len)
{
    gsize got_len;
    if (!len)
        return;
    g_autofree char *got = qt_command(q, "b64read 0x%" G_GINT64_MODIFIER "x 0x%zx", gpa, len);
    expect_ok("b64read", got);
    g_autofree guchar *data = g_base64_decode(got + 3, &got_len);
    g_assert_cmpuint(got_len, ==, len);
    memcpy(buf, data, len);
}

void qt_memwrite(QtEmu *q, uint64_t gpa, const void *buf, size_t len)
{
    if (!len)
        return;
    g_autofree char *data = g_base64_encode(buf, len);
    g_autofree char *got = qt_command(q, "b64write 0x%" G_GINT64_MODIFIER "x 0x%zx %s", gpa, len, data);
    expect_ok("b64write", got);
}

void qt_memset(QtEmu *q, uint64_t gpa, uint8_t byte, size_t len)
{
    g_autofree char *got = qt_command(q, "memset 0x%" G_GINT64_MODIFIER "x 0x%zx 0x%x", gpa, len, byte);
    expect_ok("memset", got);
}

uint64_t qt_alloc(QtEmu *q, size_t len, size_t align)
{
    uint64_t at = (q->next_ram + align - 1) & ~(uint64_t)(align - 1);
    q->next_ram = at + len;
    qt_memset(q, at, 0, len);
    return at;
}

/* ---- time ---- */

int64_t qt_clock_step(QtEmu *q, int64_t ns)
{
    g_autofree char *got = qt_command(q, "clock_step %" G_GINT64_FORMAT, ns);
    expect_ok("clock_step", got);
    return g_ascii_strtoll(got + 3, NULL, 0);
}

int64_t qt_clock_step_next(QtEmu *q)
{
    g_autofree char *got = qt_command(q, "clock_step");
    if (g_str_has_prefix(got, "FAIL"))
        return -1;
    expect_ok("clock_step", got);
    return g_ascii_strtoll(got + 3, NULL, 0);
}

int64_t qt_clock_set(QtEmu *q, int64_t ns)
{
    g_autofree char *got = qt_command(q, "clock_set %" G_GINT64_FORMAT, ns);
    expect_ok("clock_set", got);
    return g_ascii_strtoll(got + 3, NULL, 0);
}

/* ---- lines ---- */

static void intercept(QtEmu *q, char *command)
{
    g_autofree char *line = command, *got = NULL;
    memset(q->irq, 0, sizeof(q->irq));
    memset(q->raises, 0, sizeof(q->raises));
    got = qt_command(q, "%s", line);
    expect_ok(line, got);
}

void qt_irq_intercept_in(QtEmu *q, const char *path)
{
    intercept(q, g_strdup_printf("irq_intercept_in %s", path));
}

void qt_irq_intercept_out(QtEmu *q, const char *path, const char *list)
{
    intercept(q, g_strdup_printf("irq_intercept_out %s%s%s", path, list ? " " : "", list ? list : ""));
}

bool qt_irq(QtEmu *q, unsigned n)
{
    g_assert_cmpuint(n, <, QT_IRQS);
    qt_inb(q, 0); /* reports stand in front of the answer */
    return q->irq[n];
}

unsigned qt_irq_raises(QtEmu *q, unsigned n)
{
    qt_irq(q, n);
    return q->raises[n];
}

void qt_irq_wait(QtEmu *q, unsigned n, bool level)
{
    gint64 end = g_get_monotonic_time() + QT_TIMEOUT_MS * 1000ll;
    while (qt_irq(q, n) != level) {
        if (g_get_monotonic_time() > end)
            g_error("line %u did not become %d", n, level);
        g_usleep(200);
    }
}

void qt_set_irq_in(QtEmu *q, const char *path, const char *list, unsigned n, bool level)
{
    g_autofree char *got = qt_command(q, "set_irq_in %s %s %u %d", path, list ? list : "unnamed-gpio-in", n, level);
    expect_ok("set_irq_in", got);
}

/* ---- PCI ---- */

static void pci_select(QtEmu *q, uint8_t devfn, uint8_t reg)
{
    qt_outl(q, 0xcf8, 0x80000000u | devfn << 8 | (reg & 0xfc));
}

uint8_t qt_pci_read8(QtEmu *q, uint8_t devfn, uint8_t reg)
{
    pci_select(q, devfn, reg);
    return qt_inb(q, 0xcfc + (reg & 3));
}

uint16_t qt_pci_read16(QtEmu *q, uint8_t devfn, uint8_t reg)
{
    pci_select(q, devfn, reg);
    return qt_inw(q, 0xcfc + (reg & 3));
}

uint32_t qt_pci_read32(QtEmu *q, uint8_t devfn, uint8_t reg)
{
    pci_select(q, devfn, reg);
    return qt_inl(q, 0xcfc);
}

void qt_pci_write8(QtEmu *q, uint8_t devfn, uint8_t reg, uint8_t value)
{
    pci_select(q, devfn, reg);
    qt_outb(q, 0xcfc + (reg & 3), value);
}

void qt_pci_write16(QtEmu *q, uint8_t devfn, uint8_t reg, uint16_t value)
{
    pci_select(q, devfn, reg);
    qt_outw(q, 0xcfc + (reg & 3), value);
}

void qt_pci_write32(QtEmu *q, uint8_t devfn, uint8_t reg, uint32_t value)
{
    pci_select(q, devfn, reg);
    qt_outl(q, 0xcfc, value);
}

uint8_t qt_pci_find(QtEmu *q, uint16_t vendor, uint16_t device)
{
    for (unsigned devfn = 0; devfn < 256; devfn++)
        if (qt_pci_read32(q, devfn, 0) == ((uint32_t)device << 16 | vendor))
            return devfn;
    g_error("there is no PCI function %04x:%04x", vendor, device);
}

uint8_t qt_pci_find_cap(QtEmu *q, uint8_t devfn, uint8_t id, uint8_t after)
{
    uint8_t at = qt_pci_read8(q, devfn, after ? after + 1 : 0x34);
    for (int bound = 48; at && bound; bound--) {
        if (qt_pci_read8(q, devfn, at) == id)
            return at;
        at = qt_pci_read8(q, devfn, at + 1);
    }
    return 0;
}

QtBar qt_pci_map_bar(QtEmu *q, uint8_t devfn, unsigned n)
{
    uint8_t reg = 0x10 + n * 4;
    QtBar bar = { 0 };
    qt_pci_write32(q, devfn, reg, UINT32_MAX);
    uint32_t low = qt_pci_read32(q, devfn, reg);
    bool wide = !(low & 1) && (low & 6) == 4;
    uint64_t mask = UINT64_MAX << 32 | low;
    if (!low)
        return bar;
    if (wide) {
        qt_pci_write32(q, devfn, reg + 4, UINT32_MAX);
        mask = (uint64_t)qt_pci_read32(q, devfn, reg + 4) << 32 | low;
    }
    bar.io = low & 1;
    bar.size = -(mask & ~(uint64_t)(bar.io ? 3 : 15));
    if (bar.io)
        bar.size &= 0xffff;
    uint64_t *next = bar.io ? &q->next_io : &q->next_mem;
    bar.addr = (*next + bar.size - 1) & ~(bar.size - 1);
    *next = bar.addr + bar.size;
    qt_pci_write32(q, devfn, reg, bar.addr);
    if (wide)
        qt_pci_write32(q, devfn, reg + 4, bar.addr >> 32);
    return bar;
}

void qt_pci_enable(QtEmu *q, uint8_t devfn)
{
    qt_pci_write16(q, devfn, 4, qt_pci_read16(q, devfn, 4) | 7);
}

uint64_t qt_bar_read(QtEmu *q, QtBar bar, uint64_t offset, unsigned size)
{
    static const char *const io[] = { [1] = "inb", [2] = "inw", [4] = "inl", [8] = NULL };
    static const char *const mem[] = { [1] = "readb", [2] = "readw", [4] = "readl", [8] = "readq" };
    g_assert(size <= 8 && (bar.io ? io : mem)[size]);
    return get(q, (bar.io ? io : mem)[size], bar.addr + offset);
}

void qt_bar_write(QtEmu *q, QtBar bar, uint64_t offset, uint64_t value, unsigned size)
{
    static const char *const io[] = { [1] = "outb", [2] = "outw", [4] = "outl", [8] = NULL };
    static const char *const mem[] = { [1] = "writeb", [2] = "writew", [4] = "writel", [8] = "writeq" };
    g_assert(size <= 8 && (bar.io ? io : mem)[size]);
    put(q, (bar.io ? io : mem)[size], bar.addr + offset, value);
}
