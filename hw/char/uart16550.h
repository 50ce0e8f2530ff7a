/*
 * 16550A UART: the chip that isa-serial and pci-serial put on their buses.
 */
#pragma once

#include <chardev/chardev.h>
#include <hw/device.h>

#define UART_FIFO 16
#define UART_PORTS 8
#define UART_CLOCK_HZ 1843200u

/* A received character and the line errors that came with it. */
typedef struct UartRx {
    uint8_t data, errors;
} UartRx;

typedef struct Uart {
    Device *dev;            /* that it is part of */
    Chardev *chr;           /* NULL: nothing is connected */
    CharFrontend *fe;
    Irq *irq;               /* borrowed */
    void (*set_irq)(struct Uart *uart, bool level); /* instead of irq, when it is not NULL */
    bool irq_level;
    bool wakeup;
    uint32_t baudbase;      /* highest rate: clock / 16 */

    uint8_t ier, lcr, mcr, msr, fcr, scratch;
    uint8_t lsr;            /* OE and transmitter bits; the receiver's are worked out */
    uint16_t divisor;
    bool thr_pending;       /* "transmitter empty" has not been read from IIR yet */
    bool timeout_pending;   /* characters wait below the trigger level for four character times */
    UartRx rx[UART_FIFO];
    uint8_t rx_head, rx_count;
    uint8_t tx[UART_FIFO];
    uint8_t tx_head, tx_count;
    bool rx_refused;        /* the back end was told there is no room */
    Timer *timeout;
} Uart;

/* Attaches to uart->chr, if any. dev, chr, irq and baudbase are set. */
bool uart_realize(Uart *uart, GError **err) WARN_UNUSED;
void uart_unrealize(Uart *uart);
void uart_reset(Uart *uart);
bool uart_post_load(Uart *uart, GError **err);

extern const MemoryRegionOps uart_ops; /* 8 registers; opaque is the Uart */
extern const StateField uart_state[];

/* Properties of both wrappers. T is the wrapper's type, with a member `uart`. */
#define UART_PROPS(T)                                                                                              \
    { .name = "chardev", .kind = PROP_KIND_CHARDEV, .offset = offsetof(T, uart.chr),                               \
      .help = "id of the character device at the other end" },                                                     \
    PROP_U32("baudbase", T, uart.baudbase, 115200, 1, 4000000, "highest rate in bits a second"),                   \
    PROP_BOOL("wakeup", T, uart.wakeup, false, "received characters wake a suspended guest")
