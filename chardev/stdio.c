/*
 * The terminal (or whatever 0 and 1 are) that the process was started on.
 *
 * A terminal is put in raw mode and gets its own modes back on every way out: close, exit, deadly signals, stop and
 * continue. The descriptors are shared with the parent, so they are not made O_NONBLOCK.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "chardev/internal.h"
#include "chardev/stdio.h"

typedef struct CharStdio {
    Chardev chr;
    bool signal;
    FdStream stream;
} CharStdio;

/* One terminal per process; signal handlers need to reach it. */
static struct {
    volatile sig_atomic_t raw;
    bool in_use, exit_handler;
    struct termios before, during;
} tty;

void stdio_restore_terminal(void)
{
    if (tty.raw) {
        tty.raw = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &tty.before);
    }
}

static void on_deadly_signal(int sig)
{
    stdio_restore_terminal();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void on_continue(int sig)
{
    if (tty.raw) {
        int saved = errno;
        tcsetattr(STDIN_FILENO, TCSANOW, &tty.during);
        errno = saved;
    }
}

/* Only where nobody else handles the signal: an accelerator may use SIGSEGV for guest memory. */
static void catch_signals(void)
{
    static const int deadly[] = { SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGQUIT };
    struct sigaction old, sa = { .sa_handler = on_deadly_signal, .sa_flags = SA_RESETHAND | SA_NODEFER };
    for (size_t i = 0; i < G_N_ELEMENTS(deadly); i++)
        if (!sigaction(deadly[i], NULL, &old) && old.sa_handler == SIG_DFL)
            sigaction(deadly[i], &sa, NULL);
    struct sigaction cont = { .sa_handler = on_continue, .sa_flags = SA_RESTART };
    sigaction(SIGCONT, &cont, NULL);
}

static void make_raw(bool keep_signals)
{
    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &tty.before))
        return;
    tty.during = tty.before;
    tty.during.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
    tty.during.c_oflag |= OPOST;
    tty.during.c_lflag &= ~(ECHO | ECHONL | ICANON | IEXTEN);
    if (!keep_signals)
        tty.during.c_lflag &= ~ISIG;
    tty.during.c_cflag = (tty.during.c_cflag & ~(CSIZE | PARENB)) | CS8;
    tty.during.c_cc[VMIN] = 1;
    tty.during.c_cc[VTIME] = 0;
    catch_signals();
    if (!tty.exit_handler)
        atexit(stdio_restore_terminal);
    tty.exit_handler = true;
    tty.raw = 1;
    tcsetattr(STDIN_FILENO, TCSANOW, &tty.during);
}

static void stdio_eof(Chardev *chr)
{
    /* Input is over; output goes on. */
}

static bool stdio_open(Chardev *chr, GError **err)
{
    CharStdio *io = (CharStdio *)chr;
    if (tty.in_use) {
        error_set(err, "Only one character device can be on stdio; with mux=on several users share it");
        return false;
    }
    if (fcntl(STDIN_FILENO, F_GETFD) < 0 && fcntl(STDOUT_FILENO, F_GETFD) < 0) {
        error_set(err, "Standard input and output are closed");
        return false;
    }
    tty.in_use = true;
    io->stream.stay_open = io->stream.wait_out = true;
    int in = fcntl(STDIN_FILENO, F_GETFD) < 0 ? -1 : STDIN_FILENO;
    fd_stream_open(&io->stream, chr, in, STDOUT_FILENO, stdio_eof);
    make_raw(io->signal);
    chardev_set_connected(chr, true);
    return true;
}

static void stdio_close(Chardev *chr)
{
    CharStdio *io = (CharStdio *)chr;
    if (!io->stream.chr)
        return;
    fd_stream_close(&io->stream);
    stdio_restore_terminal();
    tty.in_use = false;
}

bool stdio_in_use(void)
{
    return tty.in_use;
}

static size_t stdio_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fd_stream_write(&((CharStdio *)chr)->stream, buf, len);
}

static void stdio_set_reading(Chardev *chr, bool on)
{
    fd_stream_set_reading(&((CharStdio *)chr)->stream, on);
}

static void stdio_want_writable(Chardev *chr)
{
    fd_stream_want_writable(&((CharStdio *)chr)->stream);
}

static const Property stdio_props[] = {
    PROP_BOOL("signal", CharStdio, signal, true, "C-c, C-z and C-\\ on the terminal act on the emulator, not on the guest"),
    PROP_END
};

static const CharClass stdio_class = {
    .name = "chardev-stdio", .parent = TYPE_CHARDEV, .desc = "standard input and output", .size = sizeof(CharStdio),
    .props = stdio_props, .backend_name = "stdio", .open = stdio_open, .close = stdio_close, .write = stdio_write,
    .set_reading = stdio_set_reading, .want_writable = stdio_want_writable,
};
REGISTER_OBJECT(stdio_class)
