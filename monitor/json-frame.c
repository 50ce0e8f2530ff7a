/* JSON framing. See json-frame.h. */
#include "monitor/json-frame.h"

#include <json-c/json.h>
#include <string.h>

#define TEXT_KEPT (64 * KIB)

enum {
    START,         /* between values */
    RECOVER,       /* after an error: until a line end or the start of a value */
    VALUE,         /* a value must come */
    VALUE_OR_END,  /* or ']' */
    KEY,           /* a member name must come */
    KEY_OR_END,    /* or '}' */
    COLON,
    COMMA_OR_END,
    STRING, ESCAPE, UNICODE,
    WORD,          /* number or literal */
};

JsonFrame *json_frame_new(void)
{
    JsonFrame *f = g_new0(JsonFrame, 1);
    f->tokener = json_tokener_new_ex(JSON_FRAME_MAX_DEPTH + 8);
    f->text = g_string_new(NULL);
    f->stack = g_malloc(JSON_FRAME_MAX_DEPTH);
    return f;
}

void json_frame_free(JsonFrame *f)
{
    if (!f)
        return;
    json_tokener_free(f->tokener);
    g_string_free(f->text, TRUE);
    g_free(f->stack);
    g_free(f);
}

void json_frame_reset(JsonFrame *f)
{
    json_tokener_reset(f->tokener);
    f->depth = 0;
    f->state = START;
    /* The memory of a big request is not kept. */
    if (f->text->allocated_len > TEXT_KEPT) {
        g_string_free(f->text, TRUE);
        f->text = g_string_new(NULL);
    }
    g_string_truncate(f->text, 0);
}

/* ---- the automaton: each step returns false with err at an offending byte ---- */

static bool bad_byte(JsonFrame *f, unsigned char c, const char *expected, GError **err)
{
    if (g_ascii_isprint(c))
        error_set(err, "JSON syntax error at '%c': %s", c, expected);
    else
        error_set(err, "JSON syntax error at byte 0x%02x: %s", c, expected);
    return false;
}

static void value_done(JsonFrame *f)
{
    f->state = f->depth ? COMMA_OR_END : START;
}

static bool open_bracket(JsonFrame *f, char c, GError **err)
{
    if (f->depth == JSON_FRAME_MAX_DEPTH) {
        error_set(err, "JSON nesting is deeper than %d levels", JSON_FRAME_MAX_DEPTH);
        return false;
    }
    f->stack[f->depth++] = c;
    f->state = c == '{' ? KEY_OR_END : VALUE_OR_END;
    return true;
}

static bool close_bracket(JsonFrame *f, char c, GError **err)
{
    char open = c == '}' ? '{' : '[';
    if (!f->depth || f->stack[f->depth - 1] != open)
        return bad_byte(f, c, "it closes nothing that is open", err);
    f->depth--;
    value_done(f);
    return true;
}

static void begin_string(JsonFrame *f, char quote)
{
    f->after = f->state == KEY || f->state == KEY_OR_END ? COLON : COMMA_OR_END;
    f->quote = quote;
    f->state = STRING;
    f->utf8_left = 0;
}

static bool step_value(JsonFrame *f, unsigned char c, GError **err)
{
    if (c == '{' || c == '[')
        return open_bracket(f, c, err);
    if (c == ']' && f->state == VALUE_OR_END)
        return close_bracket(f, c, err);
    if (c == '"' || c == '\'') {
        begin_string(f, c);
        return true;
    }
    if (g_ascii_isalnum(c) || c == '-') {
        f->word[0] = c;
        f->word_len = 1;
        f->state = WORD;
        return true;
    }
    return bad_byte(f, c, "a value must stand there", err);
}

/* The next byte's bounds inside a UTF-8 sequence (Unicode 15, table 3-7). */
static bool utf8_lead(JsonFrame *f, unsigned char c)
{
    f->utf8_min_next = 0x80;
    f->utf8_max_next = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        f->utf8_left = 1;
    } else if (c >= 0xe0 && c <= 0xef) {
        f->utf8_left = 2;
        if (c == 0xe0)
            f->utf8_min_next = 0xa0;
        if (c == 0xed) /* no surrogates */
            f->utf8_max_next = 0x9f;
    } else if (c >= 0xf0 && c <= 0xf4) {
        f->utf8_left = 3;
        if (c == 0xf0)
            f->utf8_min_next = 0x90;
        if (c == 0xf4)
            f->utf8_max_next = 0x8f;
    } else {
        return false;
    }
    return true;
}

static bool step_string(JsonFrame *f, unsigned char c, GError **err)
{
    if (f->utf8_left) {
        if (c < f->utf8_min_next || c > f->utf8_max_next)
            return bad_byte(f, c, "the string is not UTF-8", err);
        f->utf8_left--;
        f->utf8_min_next = 0x80;
        f->utf8_max_next = 0xbf;
    } else if (c == (unsigned char)f->quote) {
        if (f->after == COLON)
            f->state = COLON;
        else
            value_done(f);
    } else if (c == '\\') {
        f->state = ESCAPE;
    } else if (c < 0x20) {
        return bad_byte(f, c, "a control character in a string is written as an escape", err);
    } else if (c >= 0x80 && !utf8_lead(f, c)) {
        return bad_byte(f, c, "the string is not UTF-8", err);
    }
    return true;
}

static bool step_escape(JsonFrame *f, unsigned char c, GError **err)
{
    if (f->state == UNICODE) {
        if (!g_ascii_isxdigit(c))
            return bad_byte(f, c, "\\u takes four hexadecimal digits", err);
        if (--f->hex_left == 0)
            f->state = STRING;
        return true;
    }
    if (c == 'u') {
        f->hex_left = 4;
        f->state = UNICODE;
        return true;
    }
    if (!c || !strchr("\"'\\/bfnrt", c))
        return bad_byte(f, c, "no such escape in a string", err);
    f->state = STRING;
    return true;
}

/* RFC 8259 section 6. */
static bool is_number(const char *p)
{
    if (*p == '-')
        p++;
    if (*p == '0')
        p++;
    else if (g_ascii_isdigit(*p))
        while (g_ascii_isdigit(*p))
            p++;
    else
        return false;
    if (*p == '.') {
        if (!g_ascii_isdigit(*++p))
            return false;
        while (g_ascii_isdigit(*p))
            p++;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-')
            p++;
        if (!g_ascii_isdigit(*p))
            return false;
        while (g_ascii_isdigit(*p))
            p++;
    }
    return !*p;
}

static bool in_word(unsigned char c)
{
    return g_ascii_isalnum(c) || c == '.' || c == '+' || c == '-';
}

static bool end_word(JsonFrame *f, GError **err)
{
    f->word[f->word_len] = '\0';
    if (strcmp(f->word, "true") && strcmp(f->word, "false") && strcmp(f->word, "null") && !is_number(f->word)) {
        error_set(err, "JSON syntax error: '%s' is neither a number nor true, false, null", f->word);
        return false;
    }
    value_done(f);
    return true;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool step(JsonFrame *f, unsigned char c, GError **err)
{
    switch (f->state) {
    case STRING:
        return step_string(f, c, err);
    case ESCAPE:
    case UNICODE:
        return step_escape(f, c, err);
    case WORD:
        if (in_word(c)) {
            if (f->word_len == sizeof(f->word) - 1)
                return bad_byte(f, c, "the number has too many digits", err);
            f->word[f->word_len++] = c;
            return true;
        }
        if (!end_word(f, err))
            return false;
        break;
    }
    if (is_space(c))
        return true;
    switch (f->state) {
    case START:
    case VALUE:
    case VALUE_OR_END:
        return step_value(f, c, err);
    case KEY:
    case KEY_OR_END:
        if (c == '"' || c == '\'') {
            begin_string(f, c);
            return true;
        }
        if (c == '}' && f->state == KEY_OR_END)
            return close_bracket(f, c, err);
        return bad_byte(f, c, "a member name in quotes must stand there", err);
    case COLON:
        if (c != ':')
            return bad_byte(f, c, "a colon must stand there", err);
        f->state = VALUE;
        return true;
    case COMMA_OR_END:
        if (c == '}' || c == ']')
            return close_bracket(f, c, err);
        if (c != ',')
            return bad_byte(f, c, "a comma or the closing bracket must stand there", err);
        f->state = f->stack[f->depth - 1] == '{' ? KEY : VALUE;
        return true;
    }
    g_assert_not_reached();
}

/* ---- values ---- */

/* Bytes that end a recovery: the rest of a broken line is not reported again. */
static bool ends_recovery(unsigned char c)
{
    return c == '{' || c == '[' || (c < 0x20 && c != '\t') || c >= 0xfe;
}

static bool fail(JsonFrame *f, unsigned char c)
{
    json_frame_reset(f);
    f->state = c == '\n' || c >= 0xfe ? START : RECOVER;
    return false;
}

static bool take_value(JsonFrame *f, json_object **value, GError **err)
{
    json_object *obj = json_tokener_parse_ex(f->tokener, f->text->str, (int)f->text->len);
    enum json_tokener_error code = json_tokener_get_error(f->tokener);
    if (code == json_tokener_continue) /* a word at top level is over only when something follows */
        obj = json_tokener_parse_ex(f->tokener, " ", 1), code = json_tokener_get_error(f->tokener);
    json_frame_reset(f);
    if (code == json_tokener_success) {
        *value = obj;
        return true;
    }
    json_object_put(obj);
    error_set(err, "JSON syntax error: %s", json_tokener_error_desc(code));
    return false;
}

bool json_frame_feed(JsonFrame *f, const char *buf, size_t len, size_t *used, json_object **value, GError **err)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = buf[i];
        if (f->state == RECOVER) {
            if (!ends_recovery(c))
                continue;
            f->state = START;
            if (c >= 0xfe || c < 0x20)
                continue;
        }
        if (f->state == START && is_space(c))
            continue;
        if (f->state == WORD && !f->depth && !in_word(c)) {
            /* A word at top level ends before the byte that follows it. */
            *used = i;
            return (end_word(f, err) && take_value(f, value, err)) || fail(f, c);
        }
        *used = i + 1;
        bool quote_escape = f->state == ESCAPE && c == '\'';
        if (!step(f, c, err))
            return fail(f, c);
        if (f->text->len >= JSON_FRAME_MAX_BYTES) {
            error_set(err, "JSON value is longer than %" PRIu64 " MiB", JSON_FRAME_MAX_BYTES / MIB);
            return fail(f, c);
        }
        if (quote_escape) /* json-c does not know this one */
            g_string_append(f->text, "u0027");
        else
            g_string_append_c(f->text, c);
        if (f->state == START)
            return take_value(f, value, err) || fail(f, c);
    }
    *used = len;
    return false;
}
