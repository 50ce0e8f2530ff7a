/* Shared by the back ends: a stream over one or two descriptors, and what the process gives to character devices. */
#pragma once

#include <chardev/chardev.h>

struct CharFrontend {
    Chardev *chr;
    Object *owner;
    const CharFrontendOps *ops;
    void *opaque;
    bool open;          /* the machine's side */
    bool wants_room;    /* after a short write */
    GByteArray *queued; /* input that came while it was full (mux) */
};

/* Bytes of chardev_write_all that wait for room. */
size_t chardev_backlog(const CharFrontend *fe);

/* What C-a x and C-a s lead to; set once by main, may be NULL. */
typedef struct CharHooks {
    void (*quit)(void *opaque);
    void (*sync)(void *opaque);
    bool (*interrupted)(void); /* the process was told to end while start-up waits for a peer */
    bool running;              /* start-up is over: nothing may wait any more */
    void *opaque;
} CharHooks;
void chardev_set_hooks(const CharHooks *hooks);
const CharHooks *chardev_hooks(void);

/* Mux escapes, chardev/mux.c. */
size_t mux_room(Chardev *chr);
void mux_input(Chardev *chr, const uint8_t *buf, size_t len);
void mux_set_focus(Chardev *chr, unsigned index);
void mux_drain(CharFrontend *fe);
/* Output of a mux with the time in front of each line. (owned) */
GByteArray *mux_stamp(Chardev *chr, const uint8_t *buf, size_t len);

/*
 * A stream over descriptors: in may be -1 (write only), out may be -1. Descriptors are owned. on_eof is called once when
 * the input ends or the descriptor fails.
 */
typedef struct FdStream {
    Chardev *chr;
    int in, out;
    FdWatch *in_watch, *out_watch;
    bool want_out, stay_open; /* stay_open: 0, 1, 2 of the process are not closed */
    bool wait_out;            /* poll before each write: the descriptor is not O_NONBLOCK */
    void (*on_eof)(Chardev *chr);
} FdStream;
void fd_stream_open(FdStream *s, Chardev *chr, int in, int out, void (*on_eof)(Chardev *chr));
void fd_stream_close(FdStream *s);
void fd_stream_set_reading(FdStream *s, bool on);
void fd_stream_want_writable(FdStream *s);
size_t fd_stream_write(FdStream *s, const uint8_t *buf, size_t len);

/* Like open(2) with O_CLOEXEC, /dev/fdset/N included. */
int chardev_open_path(const char *path, int flags, GError **err) WARN_UNUSED;

/* Options as QMP's chardev-add and the short spellings of -serial write them, as flat options. (owned) */
json_object *chardev_flatten_backend(const char *id, json_object *backend, GError **err) WARN_UNUSED;
/* -chardev BACKEND,id=ID,... (owned) */
json_object *chardev_parse_option(const char *text, GError **err) WARN_UNUSED;
/* "unix:PATH,server=on", "stdio", "mon:stdio", ... of -serial, -monitor, -qmp; NULL with err unset for "none". */
json_object *chardev_parse_short(const char *id, const char *text, bool *mon, GError **err) WARN_UNUSED;

/* The terminal's path, for chardev-add's answer. (borrowed) NULL for other back ends. */
const char *chardev_pty_path(Chardev *chr);
/* Every name that backend= takes, NULL-terminated. (array owned: g_free) */
const char *const *chardev_backend_names(void);
/* As query-chardev shows it. (owned) */
char *chardev_filename(Chardev *chr);
