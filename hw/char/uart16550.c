/*
 * 16550A UART.
 *
 * What the guest transmits is handed to the back end at once, so the transmitter is empty again unless the back end has no room;
 * then the FIFO fills, THRE and TEMT stay clear, and the back end calls when it can go on. What is received waits in
 * the back end until the FIFO has room: nothing is lost and nothing polls.
 *
 * Source: National Semiconductor PC16550D data sheet (June 1995).
 * Limits: characters take no time on the wire. DCD, DSR and CTS are always asserted outside loopback.
 */
#include "hw/char/uart16550.h"

#include "system/machine.h"

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCRATCH };

#define IER_RX 0x01
#define IER_THR 0x02
#define IER_LINE 0x04
#define IER_MODEM 0x08
#define IIR_NONE 0x01
#define IIR_MODEM 0x00
#define IIR_THR 0x02
#define IIR_RX 0x04
#define IIR_LINE 0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFOS 0xc0
#define FCR_ENABLE 0x01
#define FCR_CLEAR_RX 0x02
#define FCR_CLEAR_TX 0x04
#define FCR_DMA 0x08
#define FCR_TRIGGER 0xc0
#define LCR_BREAK 0x40
#define LCR_DLAB 0x80
#define MCR_DTR 0x01
#define MCR_RTS 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define LSR_DR 0x01
#define LSR_OE 0x02
#define LSR_PE 0x04
#define LSR_FE 0x08
#define LSR_BI 0x10
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define LSR_FIFO_ERROR 0x80
#define LSR_ERRORS (LSR_OE | LSR_PE | LSR_FE | LSR_BI)
#define MSR_DELTA 0x0f
#define MSR_TERI 0x04
#define MSR_CTS 0x10
#define MSR_DSR 0x20
#define MSR_RI 0x40
#define MSR_DCD 0x80

static bool fifo_on(const Uart *u) { return u->fcr & FCR_ENABLE; }
static bool loops(const Uart *u) { return u->mcr & MCR_LOOP; }
static unsigned fifo_size(const Uart *u) { return fifo_on(u) ? UART_FIFO : 1; }

static unsigned rx_trigger(const Uart *u)
{
    static const uint8_t levels[4] = { 1, 4, 8, 14 };
    return fifo_on(u) ? levels[u->fcr >> 6] : 1;
}

/* Line errors as register LSR shows them: those of the oldest character, and OE. */
static uint8_t line_errors(const Uart *u)
{
    return (u->lsr & LSR_OE) | (u->rx_count ? u->rx[u->rx_head].errors : 0);
}

/* Nanoseconds of one character at the programmed rate and format. */
static int64_t character_ns(const Uart *u)
{
    unsigned half_bits = 2 * (1 + 5 + (u->lcr & 3)) + (u->lcr & 8 ? 2 : 0); /* start, data, parity */
    half_bits += !(u->lcr & 4) ? 2 : (u->lcr & 3) == 0 ? 3 : 4;             /* 1, 1.5 or 2 stop bits */
    return (int64_t)half_bits * (u->divisor ? u->divisor : 1) * NS_PER_SEC / 2 / u->baudbase;
}

/* ---- interrupts ---- */

/* The pending source of the highest priority, data sheet table III. */
static uint8_t interrupt_id(const Uart *u)
{
    if ((u->ier & IER_LINE) && line_errors(u))
        return IIR_LINE;
    if ((u->ier & IER_RX) && u->rx_count >= rx_trigger(u))
        return IIR_RX;
    if ((u->ier & IER_RX) && u->timeout_pending)
        return IIR_TIMEOUT;
    if ((u->ier & IER_THR) && u->thr_pending)
        return IIR_THR;
    if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTA))
        return IIR_MODEM;
    return IIR_NONE;
}

/* OUT2 connects the chip's interrupt to the PC's line. */
static void update_irq(Uart *u)
{
    bool level = (u->mcr & MCR_OUT2) && interrupt_id(u) != IIR_NONE;
    if (level == u->irq_level)
        return;
    u->irq_level = level;
    if (u->set_irq)
        u->set_irq(u, level);
    else
        irq_set(u->irq, level);
}

static void timeout_reached(void *opaque)
{
    Uart *u = opaque;
    u->timeout_pending = u->rx_count > 0;
    update_irq(u);
}

/* Characters below the trigger level interrupt when nothing happens to them for four character times. */
static void restart_timeout(Uart *u)
{
    u->timeout_pending = false;
    if (fifo_on(u) && u->rx_count && (u->ier & IER_RX))
        timer_mod(u->timeout, domain_now(u->dev->domain, CLOCK_GUEST) + 4 * character_ns(u));
    else if (timer_pending(u->timeout))
        timer_del(u->timeout);
}

/* ---- receiver ---- */

static void receive(Uart *u, uint8_t data, uint8_t errors)
{
    if (u->rx_count == fifo_size(u)) {
        u->lsr |= LSR_OE;
        if (!fifo_on(u)) /* the register is overwritten, the FIFO is not */
            u->rx[u->rx_head] = (UartRx){ data, errors };
        return;
    }
    u->rx[(u->rx_head + u->rx_count++) % UART_FIFO] = (UartRx){ data, errors };
}

static void clear_rx(Uart *u)
{
    u->rx_head = u->rx_count = 0;
    restart_timeout(u);
}

/* Lets the back end go on once the FIFO has run empty, not for each character that leaves it. */
static void accept_more(Uart *u)
{
    if (!u->rx_refused || u->rx_count)
        return;
    u->rx_refused = false;
    if (u->fe)
        chardev_accept_input(u->fe);
}

static uint8_t read_data(Uart *u)
{
    uint8_t data = u->rx[u->rx_head].data; /* an empty receiver gives the last character again */
    if (u->rx_count) {
        u->rx_count--;
        u->rx_head = (u->rx_head + 1) % UART_FIFO;
        if (!u->rx_count)
            u->rx[u->rx_head].data = data;
    }
    restart_timeout(u);
    update_irq(u);
    accept_more(u);
    return data;
}

static size_t uart_can_read(void *opaque)
{
    Uart *u = opaque;
    size_t room = loops(u) ? 0 : fifo_size(u) - u->rx_count;
    if (!room)
        u->rx_refused = true;
    return room;
}

static void uart_read_chars(void *opaque, const uint8_t *buf, size_t len)
{
    Uart *u = opaque;
    for (size_t i = 0; i < len; i++)
        receive(u, buf[i], 0);
    restart_timeout(u);
    update_irq(u);
}

static void uart_event(void *opaque, CharEvent event)
{
    Uart *u = opaque;
    if (event != CHAR_EVENT_BREAK || loops(u))
        return;
    receive(u, 0, LSR_BI);
    restart_timeout(u);
    update_irq(u);
}

/* ---- transmitter ---- */

static void transmitter_is_empty(Uart *u)
{
    if (!(u->lsr & LSR_THRE))
        u->thr_pending = true;
    u->lsr |= LSR_THRE | LSR_TEMT;
}

/* Sends as much of the FIFO as the back end takes. */
static void transmit(Uart *u)
{
    while (u->tx_count) {
        size_t run = MIN(u->tx_count, UART_FIFO - u->tx_head);
        size_t sent = u->fe ? chardev_write(u->fe, u->tx + u->tx_head, run) : run;
        u->tx_head = (u->tx_head + sent) % UART_FIFO;
        u->tx_count -= sent;
        if (sent < run)
            return; /* uart_writable() follows */
    }
    transmitter_is_empty(u);
}

static void uart_writable(void *opaque)
{
    transmit(opaque);
    update_irq(opaque);
}

static void write_data(Uart *u, uint8_t value)
{
    u->thr_pending = false;
    u->lsr &= ~(LSR_THRE | LSR_TEMT);
    if (loops(u)) {
        receive(u, value & mask_bytes(1) >> (3 - (u->lcr & 3)), 0);
        transmitter_is_empty(u);
        restart_timeout(u);
    } else if (u->tx_count < fifo_size(u)) {
        u->tx[(u->tx_head + u->tx_count++) % UART_FIFO] = value;
        transmit(u);
    } else if (!fifo_on(u)) { /* written before it was empty: the older character is lost, as in the chip */
        u->tx[u->tx_head] = value;
    }
    update_irq(u);
}

static void clear_tx(Uart *u)
{
    u->tx_head = u->tx_count = 0;
    transmitter_is_empty(u);
}

/* ---- registers ---- */

static void write_ier(Uart *u, uint8_t value)
{
    uint8_t rising = value & ~u->ier;
    u->ier = value & 0x0f;
    if ((rising & IER_THR) && (u->lsr & LSR_THRE))
        u->thr_pending = true;
    if (rising & IER_RX)
        restart_timeout(u);
}

static void write_fcr(Uart *u, uint8_t value)
{
    bool toggled = (value ^ u->fcr) & FCR_ENABLE;
    u->fcr = value & FCR_ENABLE ? value & (FCR_ENABLE | FCR_DMA | FCR_TRIGGER) : 0;
    bool clear_receiver = toggled || (value & (FCR_ENABLE | FCR_CLEAR_RX)) == (FCR_ENABLE | FCR_CLEAR_RX);
    bool clear_sender = toggled || (value & (FCR_ENABLE | FCR_CLEAR_TX)) == (FCR_ENABLE | FCR_CLEAR_TX);
    if (clear_receiver)
        clear_rx(u);
    if (clear_sender && u->tx_count)
        clear_tx(u);
}

static void write_lcr(Uart *u, uint8_t value)
{
    bool begins = value & ~u->lcr & LCR_BREAK;
    u->lcr = value;
    if (!begins)
        return;
    if (loops(u))
        receive(u, 0, LSR_BI);
    else if (u->fe)
        chardev_send_break(u->fe);
}

/* Modem inputs: the outputs in loopback, else a modem that is always ready. */
static void update_modem(Uart *u)
{
    uint8_t lines = MSR_DCD | MSR_DSR | MSR_CTS;
    if (loops(u))
        lines = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
                (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
    uint8_t changed = (lines ^ u->msr) >> 4;
    if (lines & MSR_RI) /* the ring indicator counts when it ends */
        changed &= ~MSR_TERI;
    u->msr = lines | (u->msr & MSR_DELTA) | changed;
}

static void write_mcr(Uart *u, uint8_t value)
{
    bool looped = loops(u);
    u->mcr = value & 0x1f;
    update_modem(u);
    if (looped && !loops(u)) {
        u->rx_refused = true; /* input was held back */
        accept_more(u);
    }
}

static void uart_write(void *opaque, uint64_t offset, uint64_t value64, unsigned size)
{
    Uart *u = opaque;
    uint8_t value = value64;
    bool dlab = u->lcr & LCR_DLAB;
    switch (offset & 7) {
    case REG_DATA:
        if (!dlab) {
            write_data(u, value);
            return;
        }
        u->divisor = (u->divisor & 0xff00) | value;
        break;
    case REG_IER:
        if (dlab)
            u->divisor = (u->divisor & 0xff) | value << 8;
        else
            write_ier(u, value);
        break;
    case REG_IIR: write_fcr(u, value); break;
    case REG_LCR: write_lcr(u, value); break;
    case REG_MCR: write_mcr(u, value); break;
    case REG_SCRATCH: u->scratch = value; break;
    default: return; /* LSR and MSR: writing is for factory tests */
    }
    update_irq(u);
    accept_more(u);
}

static uint8_t read_iir(Uart *u)
{
    uint8_t id = interrupt_id(u);
    if (id == IIR_THR) {
        u->thr_pending = false;
        update_irq(u);
    }
    return id | (fifo_on(u) ? IIR_FIFOS : 0);
}

static uint8_t read_lsr(Uart *u)
{
    uint8_t errors = line_errors(u);
    uint8_t value = (u->lsr & (LSR_THRE | LSR_TEMT)) | errors | (u->rx_count ? LSR_DR : 0);
    for (unsigned i = 0; fifo_on(u) && i < u->rx_count; i++)
        if (u->rx[(u->rx_head + i) % UART_FIFO].errors)
            value |= LSR_FIFO_ERROR;
    if (errors) {
        u->lsr &= ~LSR_OE;
        if (u->rx_count)
            u->rx[u->rx_head].errors = 0;
        update_irq(u);
    }
    return value;
}

static uint8_t read_msr(Uart *u)
{
    uint8_t value = u->msr;
    if (value & MSR_DELTA) {
        u->msr &= ~MSR_DELTA;
        update_irq(u);
    }
    return value;
}

static uint64_t uart_read(void *opaque, uint64_t offset, unsigned size)
{
    Uart *u = opaque;
    bool dlab = u->lcr & LCR_DLAB;
    switch (offset & 7) {
    case REG_DATA: return dlab ? u->divisor & 0xff : read_data(u);
    case REG_IER: return dlab ? u->divisor >> 8 : u->ier;
    case REG_IIR: return read_iir(u);
    case REG_LCR: return u->lcr;
    case REG_MCR: return u->mcr;
    case REG_LSR: return read_lsr(u);
    case REG_MSR: return read_msr(u);
    default: return u->scratch;
    }
}

const MemoryRegionOps uart_ops = { .read = uart_read, .write = uart_write, .min_access = 1, .max_access = 1 };

/* ---- life ---- */

void uart_reset(Uart *u)
{
    u->ier = u->lcr = u->fcr = u->scratch = 0;
    u->mcr = MCR_OUT2; /* firmware of the PC leaves the line connected; polled drivers do not care */
    u->divisor = 0x0c; /* 9600 bits a second, as PC firmware sets up */
    u->thr_pending = u->timeout_pending = false;
    u->tx_head = u->tx_count = 0;
    u->lsr = LSR_THRE | LSR_TEMT;
    u->rx_head = u->rx_count = 0;
    u->msr = MSR_DCD | MSR_DSR | MSR_CTS;
    timer_del(u->timeout);
    update_irq(u);
    accept_more(u);
}

static const CharFrontendOps uart_chardev_ops = {
    .can_read = uart_can_read, .read = uart_read_chars, .event = uart_event, .writable = uart_writable,
};

bool uart_realize(Uart *u, GError **err)
{
    u->timeout = timer_new(u->dev->domain, CLOCK_GUEST, timeout_reached, u);
    u->lsr = LSR_THRE | LSR_TEMT;
    if (!u->chr)
        return true;
    u->fe = chardev_attach(u->chr, OBJECT(u->dev), &uart_chardev_ops, u, err);
    if (u->fe)
        return true;
    g_clear_pointer(&u->timeout, timer_free);
    return false;
}

void uart_unrealize(Uart *u)
{
    g_clear_pointer(&u->fe, chardev_detach);
    g_clear_pointer(&u->timeout, timer_free);
}

bool uart_post_load(Uart *u, GError **err)
{
    if (u->rx_head >= UART_FIFO || u->tx_head >= UART_FIFO || u->rx_count > UART_FIFO || u->tx_count > UART_FIFO) {
        error_set(err, "UART state has %u received and %u unsent characters, a FIFO holds %d", u->rx_count, u->tx_count,
                  UART_FIFO);
        return false;
    }
    restart_timeout(u);
    transmit(u);
    return true;
}

static const StateField rx_state[] = { STATE_U8_(UartRx, data), STATE_U8_(UartRx, errors), STATE_END };

const StateField uart_state[] = {
    STATE_U8_(Uart, ier), STATE_U8_(Uart, lcr), STATE_U8_(Uart, mcr), STATE_U8_(Uart, msr), STATE_U8_(Uart, fcr),
    STATE_U8_(Uart, scratch), STATE_U8_(Uart, lsr), STATE_U16_(Uart, divisor), STATE_BOOL_(Uart, thr_pending),
    STATE_BOOL_(Uart, timeout_pending), STATE_STRUCTS_(Uart, rx, rx_state), STATE_U8_(Uart, rx_head),
    STATE_U8_(Uart, rx_count), STATE_BYTES_(Uart, tx), STATE_U8_(Uart, tx_head), STATE_U8_(Uart, tx_count),
    STATE_BOOL_(Uart, irq_level),
    STATE_END
};
