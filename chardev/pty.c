/* A pseudo terminal: its path is told to the user, who opens it with screen, minicom, virsh console. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <rhea/timer.h>

#include "chardev/internal.h"
#include "util/exit-paths.h"

/* How often a pty that nobody has open is looked at: there is no event for an open. */
#define LOOK_NS (100 * 1000 * 1000ll)

typedef struct CharPty {
    Chardev chr;
    FdStream stream;
    Timer *timer;
    char *name;   /* /dev/pts/N */
    char *link;   /* path= symbolic link, or NULL */
} CharPty;

static bool somebody_there(CharPty *pty)
{
    struct pollfd pfd = { .fd = pty->stream.in, .events = POLLIN };
    return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

static void look(void *opaque)
{
    CharPty *pty = opaque;
    if (somebody_there(pty))
        chardev_set_connected(&pty->chr, true);
    else
        timer_mod(pty->timer, domain_now(pty->chr.domain, CLOCK_MONO) + LOOK_NS);
}

static void hung_up(Chardev *chr)
{
    chardev_set_connected(chr, false);
    fd_stream_set_reading(&((CharPty *)chr)->stream, false);
    look(chr);
}

static int open_master(char **name, GError **err)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char path[64];
    if (master < 0 || grantpt(master) || unlockpt(master) || ptsname_r(master, path, sizeof(path))) {
        error_set_errno(err, errno, "Can't make a pseudo terminal");
        if (master >= 0)
            close(master);
        return -1;
    }
    /* Raw from the start; and once opened and closed, poll tells whether somebody has it open. */
    int slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios modes;
    if (slave >= 0 && !tcgetattr(slave, &modes)) {
        cfmakeraw(&modes);
        tcsetattr(slave, TCSANOW, &modes);
    }
    if (slave >= 0)
        close(slave);
    fcntl(master, F_SETFL, fcntl(master, F_GETFL) | O_NONBLOCK);
    *name = g_strdup(path);
    return master;
}

static bool pty_open(Chardev *chr, GError **err)
{
    CharPty *pty = (CharPty *)chr;
    int master = open_master(&pty->name, err);
    if (master < 0)
        return false;
    fd_stream_open(&pty->stream, chr, master, master, hung_up);
    if (pty->link && symlink(pty->name, pty->link)) {
        error_set_errno(err, errno, "Can't make the symbolic link '%s'", pty->link);
        g_clear_pointer(&pty->link, g_free);
        return false;
    }
    if (pty->link)
        exit_paths_add(pty->link);
    pty->timer = timer_new(chr->domain, CLOCK_MONO, look, pty);
    if (!chardev_hooks()->running) /* start-up: scripts read this line */
        printf("char device redirected to %s (label %s)\n", pty->name, chardev_id(chr)), fflush(stdout);
    look(pty);
    return true;
}

static void pty_close(Chardev *chr)
{
    CharPty *pty = (CharPty *)chr;
    g_clear_pointer(&pty->timer, timer_free);
    fd_stream_close(&pty->stream);
    if (pty->link)
        exit_paths_unlink(pty->link);
    g_clear_pointer(&pty->name, g_free);
}

static size_t pty_write(Chardev *chr, const uint8_t *buf, size_t len)
{
    return fd_stream_write(&((CharPty *)chr)->stream, buf, len);
}

static void pty_set_reading(Chardev *chr, bool on)
{
    CharPty *pty = (CharPty *)chr;
    fd_stream_set_reading(&pty->stream, on && chr->connected);
}

static void pty_want_writable(Chardev *chr)
{
    fd_stream_want_writable(&((CharPty *)chr)->stream);
}

static char *pty_filename(Chardev *chr)
{
    return g_strconcat("pty:", ((CharPty *)chr)->name, NULL);
}

const char *chardev_pty_path(Chardev *chr)
{
    return object_is_a(OBJECT(chr), "chardev-pty") ? ((CharPty *)chr)->name : NULL;
}

static const Property pty_props[] = {
    PROP_STR("path", CharPty, link, NULL, "symbolic link to make to the terminal"),
    PROP_END
};

static const CharClass pty_class = {
    .name = "chardev-pty", .parent = TYPE_CHARDEV, .desc = "new pseudo terminal", .size = sizeof(CharPty), .props = pty_props,
    .backend_name = "pty", .open = pty_open, .close = pty_close, .write = pty_write, .set_reading = pty_set_reading,
    .want_writable = pty_want_writable, .filename = pty_filename,
};
REGISTER_OBJECT(pty_class)
