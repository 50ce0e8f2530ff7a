/* A human at a monitor: prompt, echo, line editing (arrows, backspace, C-a C-e C-k C-u C-w), history. */
#include <string.h>

#include "chardev/internal.h"
#include "monitor/monitor.h"

#define PROMPT "(qemu) " /* what scripts wait for */
#define LINE_MAX_BYTES 4095
#define HISTORY_MAX 64

struct HmpLine {
    GString *text;
    size_t cursor;
    GPtrArray *history;   /* char *, oldest first */
    unsigned recall;      /* index in history, its length: the new line */
    int escape;           /* 0, ESC seen, CSI seen */
    char csi;
    bool focused;         /* mux: this monitor has the keyboard */
    bool greeted, after_cr;
};

static void say(Monitor *mon, const char *text)
{
    chardev_write_all(mon->fe, text, strlen(text));
}

static void prompt(Monitor *mon)
{
    say(mon, PROMPT);
}

void hmp_session_start(Monitor *mon)
{
    mon->line = g_new0(HmpLine, 1);
    mon->line->text = g_string_new(NULL);
    mon->line->history = g_ptr_array_new_with_free_func(g_free);
}

void hmp_session_stop(Monitor *mon)
{
    if (!mon->line)
        return;
    g_string_free(mon->line->text, TRUE);
    g_ptr_array_unref(mon->line->history);
    g_clear_pointer(&mon->line, g_free);
}

/* Redraws from `from` to the end of the line and puts the terminal's cursor where the line's is. */
static void redraw(Monitor *mon, size_t from)
{
    HmpLine *l = mon->line;
    g_autofree char *text = g_strdup_printf("%s\033[K", l->text->str + from);
    say(mon, text);
    if (l->text->len > l->cursor) {
        g_autofree char *back = g_strdup_printf("\033[%zuD", l->text->len - l->cursor);
        say(mon, back);
    }
}

static void move_to(Monitor *mon, size_t to)
{
    HmpLine *l = mon->line;
    if (to == l->cursor)
        return;
    g_autofree char *text = to < l->cursor ? g_strdup_printf("\033[%zuD", l->cursor - to) : g_strdup_printf("\033[%zuC", to - l->cursor);
    say(mon, text);
    l->cursor = to;
}

static void erase(Monitor *mon, size_t from, size_t to)
{
    HmpLine *l = mon->line;
    move_to(mon, from);
    g_string_erase(l->text, from, to - from);
    redraw(mon, from);
}

static void recall(Monitor *mon, int step)
{
    HmpLine *l = mon->line;
    unsigned n = l->history->len, to = l->recall + step;
    if ((step < 0 && !l->recall) || (step > 0 && l->recall >= n))
        return;
    l->recall = to;
    move_to(mon, 0);
    g_string_assign(l->text, to < n ? l->history->pdata[to] : "");
    l->cursor = l->text->len;
    redraw(mon, 0);
}

static void run_line(Monitor *mon)
{
    HmpLine *l = mon->line;
    g_autofree char *line = g_strdup(l->text->str);
    say(mon, "\r\n");
    g_string_truncate(l->text, 0);
    l->cursor = 0;
    if (*line) {
        if (l->history->len == HISTORY_MAX)
            g_ptr_array_remove_index(l->history, 0);
        g_ptr_array_add(l->history, g_strdup(line));
    }
    l->recall = l->history->len;
    g_autofree char *out = hmp_run(&mon->ctx, line);
    say(mon, out);
    prompt(mon);
}

static void insert(Monitor *mon, char c)
{
    HmpLine *l = mon->line;
    if (l->text->len >= LINE_MAX_BYTES)
        return;
    g_string_insert_c(l->text, l->cursor, c);
    l->cursor++;
    if (l->cursor == l->text->len)
        chardev_write_all(mon->fe, &c, 1);
    else
        redraw(mon, l->cursor - 1);
}

static void csi_key(Monitor *mon, char c)
{
    HmpLine *l = mon->line;
    switch (c) {
    case 'A':
        recall(mon, -1);
        break;
    case 'B':
        recall(mon, 1);
        break;
    case 'C':
        move_to(mon, MIN(l->cursor + 1, l->text->len));
        break;
    case 'D':
        move_to(mon, l->cursor ? l->cursor - 1 : 0);
        break;
    case 'H':
        move_to(mon, 0);
        break;
    case 'F':
        move_to(mon, l->text->len);
        break;
    case '~':
        if (l->csi == '3' && l->cursor < l->text->len)
            erase(mon, l->cursor, l->cursor + 1);
        break;
    }
}

static void erase_word(Monitor *mon)
{
    HmpLine *l = mon->line;
    size_t from = l->cursor;
    while (from && l->text->str[from - 1] == ' ')
        from--;
    while (from && l->text->str[from - 1] != ' ')
        from--;
    erase(mon, from, l->cursor);
}

static void control_key(Monitor *mon, char c)
{
    HmpLine *l = mon->line;
    switch (c) {
    case 1: /* C-a */
        move_to(mon, 0);
        break;
    case 5: /* C-e */
        move_to(mon, l->text->len);
        break;
    case 4: /* C-d */
        if (l->cursor < l->text->len)
            erase(mon, l->cursor, l->cursor + 1);
        break;
    case 8:
    case 127:
        if (l->cursor)
            erase(mon, l->cursor - 1, l->cursor);
        break;
    case 11: /* C-k */
        erase(mon, l->cursor, l->text->len);
        break;
    case 21: /* C-u */
        erase(mon, 0, l->cursor);
        break;
    case 23: /* C-w */
        erase_word(mon);
        break;
    case 27:
        l->escape = 1;
        break;
    }
}

static void key(Monitor *mon, char c)
{
    HmpLine *l = mon->line;
    if (l->escape == 1) {
        l->escape = c == '[' || c == 'O' ? 2 : 0;
        l->csi = 0;
    } else if (l->escape == 2) {
        if (g_ascii_isdigit(c) || c == ';') {
            l->csi = c;
            return;
        }
        l->escape = 0;
        csi_key(mon, c);
    } else if (c == '\n' && l->after_cr) {
        /* the second half of CR LF */
    } else if (c == '\r' || c == '\n') {
        run_line(mon);
    } else if ((unsigned char)c >= 0x20 && c != 127) {
        insert(mon, c);
    } else {
        control_key(mon, c);
    }
    if (mon->line)
        l->after_cr = c == '\r';
}

static size_t human_can_read(void *opaque)
{
    return 256;
}

static void human_read(void *opaque, const uint8_t *buf, size_t len)
{
    for (size_t i = 0; i < len; i++)
        key(opaque, buf[i]);
}

static void greet(Monitor *mon)
{
    say(mon, "Rhea " RHEA_VERSION " monitor - type 'help' for more information\r\n");
    prompt(mon);
    mon->line->greeted = true;
}

static void human_event(void *opaque, CharEvent event)
{
    Monitor *mon = opaque;
    bool mux = chardev_of(mon->fe)->mux;
    switch (event) {
    case CHAR_EVENT_OPENED:
        mon->open = true;
        g_string_truncate(mon->line->text, 0);
        mon->line->cursor = 0;
        if (!mux)
            greet(mon);
        break;
    case CHAR_EVENT_CLOSED:
        mon->open = false;
        break;
    case CHAR_EVENT_MUX_IN:
        if (mon->line->focused)
            break;
        mon->line->focused = true;
        /* During start-up the guest's console takes the focus away again: see hmp_session_ready(). */
        if (!chardev_hooks()->running)
            break;
        if (!mon->line->greeted) {
            greet(mon);
        } else {
            say(mon, "\r\n" PROMPT);
            say(mon, mon->line->text->str);
        }
        break;
    case CHAR_EVENT_MUX_OUT:
        mon->line->focused = false;
        break;
    case CHAR_EVENT_BREAK:
        break;
    }
}

void hmp_session_ready(Monitor *mon)
{
    if (mon->line->focused && !mon->line->greeted)
        greet(mon);
}

const CharFrontendOps hmp_session_ops = { .can_read = human_can_read, .read = human_read, .event = human_event };
