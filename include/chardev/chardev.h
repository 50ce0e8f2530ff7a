/*
 * Character devices: byte streams between something in the machine (a UART, a console, a monitor: the front end) and
 * something outside (a terminal, a socket, a file: the back end).
 *
 * A back end serves one front end; a `mux` (or any back end with mux=on) serves up to eight, one of which has the input focus.
 * Everything here runs with the lock of chardev_domain() held, which is the machine's domain; back ends call front ends only from there.
 *
 * A back end is a class (CharClass) registered by name, its options are its property table.
 */
#pragma once

#include <qom/object.h>
#include <rhea/loop.h>

typedef struct Chardev Chardev;
typedef struct CharClass CharClass;
typedef struct CharFrontend CharFrontend;

typedef enum {
    CHAR_EVENT_OPENED,  /* somebody is at the other end */
    CHAR_EVENT_CLOSED,  /* nobody is */
    CHAR_EVENT_BREAK,   /* a serial break came in (C-a b, telnet break) */
    CHAR_EVENT_MUX_IN,  /* this front end has the keyboard now (mux) */
    CHAR_EVENT_MUX_OUT, /* it lost it */
} CharEvent;

/* What a front end wants to hear. Each may be NULL. All run on the chardev's domain with its lock held. */
typedef struct CharFrontendOps {
    /* How many bytes read() may be given now; 0 mutes the input until chardev_accept_input(). NULL: input is dropped. */
    size_t (*can_read)(void *opaque);
    /* 1 <= len <= the last can_read(). */
    void (*read)(void *opaque, const uint8_t *buf, size_t len);
    void (*event)(void *opaque, CharEvent event);
    /* After a short chardev_write(): there is room again. Called once per short write. */
    void (*writable)(void *opaque);
} CharFrontendOps;

/* ---- front-end side ---- */

/* By id. (borrowed) NULL if unknown. */
Chardev *chardev_find(const char *id);
const char *chardev_id(const Chardev *chr);
Domain *chardev_domain(const Chardev *chr);

/*
 * Connects a front end. owner is for messages and may be NULL; a device whose PROP_CHARDEV property holds chr passes itself.
 * An OPENED event follows at once if the other end is there. (owned: chardev_detach) NULL with a sentence when it is in use.
 */
CharFrontend *chardev_attach(Chardev *chr, Object *owner, const CharFrontendOps *ops, void *opaque, GError **err) WARN_UNUSED;
void chardev_detach(CharFrontend *fe); /* NULL is allowed */
Chardev *chardev_of(const CharFrontend *fe);

/* Writes what fits without waiting; bytes taken, 0..len. When less than len, ops.writable follows. No peer: everything is taken and dropped. */
size_t chardev_write(CharFrontend *fe, const void *buf, size_t len);
/* Takes everything: what does not fit now is kept in a buffer of the chardev (bounded to 64 MiB, then dropped) and sent later, in order. */
void chardev_write_all(CharFrontend *fe, const void *buf, size_t len);
/* can_read() may have grown. */
void chardev_accept_input(CharFrontend *fe);
/* Is the other end there? */
bool chardev_is_connected(const CharFrontend *fe);
/* Is the guest's side open (virtio-serial ports say so; others are open from attach on)? Shown by query-chardev. */
void chardev_set_frontend_open(CharFrontend *fe, bool open);
/* Serial line to a real line (pass-through) or ignored: a break of the guest. */
void chardev_send_break(CharFrontend *fe);
/* Descriptors that came with the last bytes read (SCM_RIGHTS); -1 when there are none. (owned fd, oldest first) */
int chardev_take_fd(CharFrontend *fe);

/* ---- life ---- */

/*
 * Makes /chardevs/ID from flat options: "id", "backend" (or "type"), "mux", "logfile", "logappend" and the class's properties. domain is the machine's.
 * (borrowed)
 */
Chardev *chardev_add(Domain *domain, json_object *options, GError **err) WARN_UNUSED;
/* Refused while a front end uses it. */
bool chardev_remove(const char *id, GError **err) WARN_UNUSED;
/* Closes all, at the end of the process. */
void chardev_close_all(void);

/* ---- back-end side ---- */

#define CHAR_CLASS_FIELDS                                                                                              \
    OBJECT_CLASS_FIELDS;           /* .name is "chardev-socket" */                                                     \
    const char *backend_name;      /* "socket" */                                                                      \
    const char *const *aliases;    /* other names for backend=, NULL-terminated */                                     \
    bool internal;                 /* not for users (-chardev) */                                                      \
    /* Opens after the properties were set. Calls chardev_set_connected() when (or once) a peer is there. */           \
    bool (*open)(Chardev *chr, GError **err);                                                                          \
    /* Undoes open; also after a failed one. */                                                                        \
    void (*close)(Chardev *chr);                                                                                       \
    /* As write(2) without waiting: bytes taken, or 0 when none fit now. */                                            \
    size_t (*write)(Chardev *chr, const uint8_t *buf, size_t len);                                                     \
    /* Input wanted (the front end has room) or not. */                                                                \
    void (*set_reading)(Chardev *chr, bool on);                                                                        \
    /* chardev_writable() is to be called once write would take bytes. NULL: write never takes less than all. */        \
    void (*want_writable)(Chardev *chr);                                                                               \
    int (*take_fd)(Chardev *chr);                                                                                      \
    void (*send_break)(Chardev *chr);                                                                                  \
    /* Text for query-chardev's filename. (owned) NULL: the backend's name */                                          \
    char *(*filename)(Chardev *chr)

struct CharClass {
    CHAR_CLASS_FIELDS;
};

#define TYPE_CHARDEV "chardev"
#define CHAR_MAX_FRONTENDS 8

struct Chardev {
    Object obj;
    Domain *domain;
    Object *owner;          /* reserved for this device by a property; borrowed */
    CharFrontend *frontends[CHAR_MAX_FRONTENDS];
    unsigned nr_frontends, focus;
    bool mux;               /* several front ends, C-a escapes */
    bool escapes;           /* C-a escapes without mux too (never set for a plain back end) */
    bool escape_seen;
    bool at_line_start, timestamps;
    int64_t timestamps_start;
    bool connected;
    bool reading;
    char *logfile;
    bool logappend;
    int log_fd;
    GByteArray *pending;    /* bytes of chardev_write_all that did not fit */
    bool short_write;       /* a front end waits for writable */
};

static inline const CharClass *char_class(const Chardev *chr) { return (const CharClass *)chr->obj.klass; }

/* Bytes that came in, at most chardev_room(). */
void chardev_input(Chardev *chr, const uint8_t *buf, size_t len);
/* How many bytes the front end in focus takes now. */
size_t chardev_room(Chardev *chr);
void chardev_set_connected(Chardev *chr, bool connected);
void chardev_break(Chardev *chr);
void chardev_writable(Chardev *chr);
