/*
 * The commands of the test channel. One line in, one answer line out: "OK ...", "FAIL ..." or "ERR". See qtest.h.
 */
#include <mem/dma.h>

#include <errno.h>
#include <string.h>

#include "accel/accel.h"
#include "accel/qtest/internal.h"
#include "system/memory_internal.h"

#define ARGS_MAX 5
#define TRANSFER_MAX (256 * MIB)

typedef struct Args {
    char *at[ARGS_MAX + 1];
    unsigned n;
} Args;

/* Words of the line; the last one takes whatever is left. */
static Args split(char *line)
{
    Args a = { 0 };
    for (char *p = line; *p && a.n <= ARGS_MAX;) {
        while (*p == ' ')
            *p++ = '\0';
        if (!*p)
            break;
        a.at[a.n++] = p;
        p += strcspn(p, " ");
    }
    return a;
}

static bool number(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    *value = g_ascii_strtoull(text, &end, 0);
    return !errno && end != text && !*end;
}

/* ---- ports and memory ---- */

static unsigned width_of(char suffix)
{
    switch (suffix) {
    case 'b': return 1;
    case 'w': return 2;
    case 'l': return 4;
    case 'q': return 8;
    }
    return 0;
}

static MemTx access_one(AddressSpace *as, uint64_t addr, uint64_t *value, unsigned size, bool write)
{
    MemView *view = address_space_view_ref(as);
    MemTx tx = write ? mem_view_write(view, addr, *value, size) : mem_view_read(view, addr, value, size);
    mem_view_unref(view);
    return tx;
}

static void port_access(Qtest *q, const Args *a, unsigned size, bool write)
{
    uint64_t port, value = 0;
    if (a->n != (write ? 3u : 2u) || !number(a->at[1], &port) || port > 0xffff || (write && !number(a->at[2], &value))) {
        qtest_sendf(q, "FAIL %s wants a port up to 0xffff%s", a->at[0], write ? " and a value" : "");
        return;
    }
    access_one(q->machine->io, port, &value, size, write);
    if (write)
        qtest_send(q, "OK");
    else
        qtest_sendf(q, "OK 0x%04" PRIx64, value);
}

static void memory_access(Qtest *q, const Args *a, unsigned size, bool write)
{
    uint64_t addr, value = 0;
    if (a->n != (write ? 3u : 2u) || !number(a->at[1], &addr) || (write && !number(a->at[2], &value))) {
        qtest_sendf(q, "FAIL %s wants an address%s", a->at[0], write ? " and a value" : "");
        return;
    }
    MemTx tx = access_one(q->machine->mem, addr, &value, size, write);
    if (write)
        qtest_send(q, "OK");
    else /* a test reads what nobody answers for as zero */
        qtest_sendf(q, "OK 0x%016" PRIx64, tx == MEMTX_DECODE_ERROR ? 0 : value);
}

/* Address and length of a block command, and a buffer of that length. (owned) NULL: answered with FAIL. */
static uint8_t *block_args(Qtest *q, const Args *a, unsigned words, uint64_t *addr, uint64_t *len)
{
    uint8_t *buf = NULL;
    if (a->n == words && number(a->at[1], addr) && number(a->at[2], len) && *len && *len <= TRANSFER_MAX)
        buf = g_try_malloc0(*len);
    if (!buf)
        qtest_sendf(q, "FAIL %s wants an address and a length of 1 to %" PRIu64, a->at[0], (uint64_t)TRANSFER_MAX);
    return buf;
}

static void cmd_read(Qtest *q, const Args *a)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t addr, len;
    g_autofree uint8_t *buf = block_args(q, a, 3, &addr, &len);
    if (!buf)
        return;
    dma_read_fill(q->machine->mem, addr, buf, len, 0);
    g_autofree char *line = g_malloc(len * 2 + 6);
    char *p = stpcpy(line, "OK 0x");
    for (uint64_t i = 0; i < len; i++) {
        *p++ = digits[buf[i] >> 4];
        *p++ = digits[buf[i] & 15];
    }
    *p = '\0';
    qtest_send(q, line);
}

static void cmd_write(Qtest *q, const Args *a)
{
    uint64_t addr, len;
    if (a->n == 4 && strlen(a->at[3]) < 3) {
        qtest_send(q, "ERR invalid argument size");
        return;
    }
    g_autofree uint8_t *buf = block_args(q, a, 4, &addr, &len);
    if (!buf)
        return;
    const char *hex = a->at[3] + 2;
    for (uint64_t i = 0; i < len && hex[0] && hex[1]; i++, hex += 2)
        buf[i] = MAX(g_ascii_xdigit_value(hex[0]), 0) << 4 | MAX(g_ascii_xdigit_value(hex[1]), 0);
    dma_write(q->machine->mem, addr, buf, len);
    qtest_send(q, "OK");
}

static void cmd_b64read(Qtest *q, const Args *a)
{
    uint64_t addr, len;
    g_autofree uint8_t *buf = block_args(q, a, 3, &addr, &len);
    if (!buf)
        return;
    dma_read_fill(q->machine->mem, addr, buf, len, 0);
    g_autofree char *text = g_base64_encode(buf, len);
    qtest_sendf(q, "OK %s", text);
}

static void cmd_b64write(Qtest *q, const Args *a)
{
    uint64_t addr, len;
    gsize got;
    g_autofree uint8_t *buf = block_args(q, a, 4, &addr, &len);
    if (!buf)
        return;
    g_autofree uint8_t *data = g_base64_decode(a->at[3], &got);
    if (!got) {
        qtest_send(q, "ERR invalid base64 data");
        return;
    }
    dma_write(q->machine->mem, addr, data, MIN(len, got));
    qtest_send(q, "OK");
}

static void cmd_memset(Qtest *q, const Args *a)
{
    uint64_t addr, len, value;
    if (a->n != 4 || !number(a->at[1], &addr) || !number(a->at[2], &len) || !number(a->at[3], &value) || len > TRANSFER_MAX) {
        qtest_sendf(q, "FAIL memset wants an address, a length up to %" PRIu64 " and a byte", (uint64_t)TRANSFER_MAX);
        return;
    }
    dma_set(q->machine->mem, addr, value, len);
    qtest_send(q, "OK");
}

static void cmd_endianness(Qtest *q, const Args *a)
{
    qtest_send(q, "OK little");
}

/* ---- clock ---- */

static bool clock_is_ours(Qtest *q, const Args *a)
{
    if (q->machine->accel && accel_class(q->machine->accel)->manual_clock)
        return true;
    qtest_sendf(q, "FAIL Unknown command '%s'", a->at[0]);
    return false;
}

/* moves: whether standing still counts as done. */
static void step_to(Qtest *q, int64_t target, bool may_stand)
{
    Clocks *clocks = q->machine->clocks;
    int64_t now = clock_now(clocks, CLOCK_GUEST);
    bool ok = target > now || (may_stand && target == now);
    if (target > now)
        clocks_step_to(clocks, target);
    qtest_sendf(q, "%s %" PRId64, ok ? "OK" : "FAIL", clock_now(clocks, CLOCK_GUEST));
}

static void cmd_clock_step(Qtest *q, const Args *a)
{
    uint64_t ns;
    int64_t now = clock_now(q->machine->clocks, CLOCK_GUEST), target;
    if (!clock_is_ours(q, a))
        return;
    if (a->n == 1) {
        clocks_step_to(q->machine->clocks, now); /* what is due at this very moment is not a step */
        int64_t next = clocks_next_deadline(q->machine->clocks);
        if (next < 0)
            qtest_send(q, "FAIL no timer is pending");
        else
            step_to(q, next, true);
        return;
    }
    if (a->n != 2 || !number(a->at[1], &ns) || ns > INT64_MAX || __builtin_add_overflow(now, (int64_t)ns, &target)) {
        qtest_send(q, "FAIL clock_step wants nanoseconds");
        return;
    }
    step_to(q, target, false);
}

static void cmd_clock_set(Qtest *q, const Args *a)
{
    uint64_t ns;
    if (!clock_is_ours(q, a))
        return;
    if (a->n != 2 || !number(a->at[1], &ns) || ns > INT64_MAX) {
        qtest_send(q, "FAIL clock_set wants nanoseconds");
        return;
    }
    step_to(q, ns, true);
}

/* ---- irq lines ---- */

static void observe(void *opaque, unsigned n, bool level)
{
    Qtest *q = opaque;
    if (n >= QTEST_IRQS)
        return;
    uint64_t bit = 1ull << (n % 64), *word = &q->levels[n / 64];
    g_mutex_lock(&q->lock);
    bool changed = !(*word & bit) == level;
    if (changed)
        *word ^= bit;
    /* Sent under the same lock: reports stay in the order of the changes. */
    if (changed)
        qtest_report_locked(q, n, level);
    g_mutex_unlock(&q->lock);
}

static Device *find_device(Qtest *q, const char *path)
{
    bool ambiguous = false;
    Object *obj = object_resolve(path, &ambiguous);
    if (obj && object_is_a(obj, TYPE_DEVICE))
        return DEVICE(obj);
    qtest_send(q, "FAIL Unknown device");
    return NULL;
}

static void intercept(Qtest *q, const Args *a, bool inputs)
{
    const char *list = a->n == 3 ? a->at[2] : NULL;
    if (a->n < 2 || a->n > (inputs ? 2u : 3u)) {
        qtest_sendf(q, "FAIL %s wants a device%s", a->at[0], inputs ? "" : " and perhaps the name of a list");
        return;
    }
    Device *dev = find_device(q, a->at[1]);
    if (!dev)
        return;
    if (q->intercepted) {
        bool same = q->intercepted == dev && q->inputs == inputs;
        qtest_send(q, same ? "OK" : "FAIL IRQ intercept already enabled");
        return;
    }
    if (!device_observe_irqs(dev, list, inputs, observe, q)) {
        qtest_sendf(q, "FAIL the device has no such list of %s lines", inputs ? "input" : "output");
        return;
    }
    q->intercepted = (Device *)object_ref(OBJECT(dev));
    q->inputs = inputs;
    q->list = g_strdup(list);
    qtest_send(q, "OK");
}

static void cmd_intercept_in(Qtest *q, const Args *a) { intercept(q, a, true); }
static void cmd_intercept_out(Qtest *q, const Args *a) { intercept(q, a, false); }

static void cmd_set_irq_in(Qtest *q, const Args *a)
{
    uint64_t n, level;
    if (a->n != 5 || !number(a->at[3], &n) || !number(a->at[4], &level)) {
        qtest_send(q, "FAIL set_irq_in wants a device, a list, a line and a level");
        return;
    }
    Device *dev = find_device(q, a->at[1]);
    if (!dev)
        return;
    Irq *irq = n <= G_MAXUINT ? device_irq_in(dev, a->at[2], n) : NULL;
    if (!irq) {
        qtest_send(q, "FAIL the device has no such input line");
        return;
    }
    irq_set(irq, level != 0);
    qtest_send(q, "OK");
}

/* ---- dispatch ---- */

static void cmd_module_load(Qtest *q, const Args *a)
{
    /* A module registers classes: looking one up brings in the module that has it. */
    g_autofree char *prefixed = a->n == 3 ? g_strconcat(a->at[1], a->at[2], NULL) : NULL;
    bool ok = prefixed && (object_class_find(a->at[2]) || object_class_find(prefixed));
    qtest_send(q, ok ? "OK" : "FAIL");
}

static const struct {
    const char *name;
    void (*func)(Qtest *q, const Args *a);
} commands[] = {
    { "read", cmd_read },
    { "write", cmd_write },
    { "b64read", cmd_b64read },
    { "b64write", cmd_b64write },
    { "memset", cmd_memset },
    { "clock_step", cmd_clock_step },
    { "clock_set", cmd_clock_set },
    { "endianness", cmd_endianness },
    { "irq_intercept_in", cmd_intercept_in },
    { "irq_intercept_out", cmd_intercept_out },
    { "set_irq_in", cmd_set_irq_in },
    { "module_load", cmd_module_load },
};

/* inb..outl, readb..writeq: name and width in one word. */
static bool sized_command(Qtest *q, const Args *a)
{
    static const struct { const char *stem; bool port, write; } stems[] = {
        { "in", true, false }, { "out", true, true }, { "read", false, false }, { "write", false, true },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(stems); i++) {
        size_t len = strlen(stems[i].stem);
        const char *word = a->at[0];
        unsigned size = strlen(word) == len + 1 && !strncmp(word, stems[i].stem, len) ? width_of(word[len]) : 0;
        if (!size || (stems[i].port && size == 8))
            continue;
        if (stems[i].port)
            port_access(q, a, size, stems[i].write);
        else
            memory_access(q, a, size, stems[i].write);
        return true;
    }
    return false;
}

void qtest_command(Qtest *q, char *line)
{
    Args a = split(line);
    if (!a.n)
        return;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (g_str_equal(a.at[0], commands[i].name)) {
            commands[i].func(q, &a);
            return;
        }
    }
    if (!sized_command(q, &a))
        qtest_sendf(q, "FAIL Unknown command '%s'", a.at[0]);
}
