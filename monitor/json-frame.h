/*
 * Cuts a byte stream into JSON values, whatever pieces it arrives in.
 *
 * Every byte goes through a small automaton that knows JSON's grammar (RFC 8259, strings in single quotes too), so that an error is
 * reported at the byte that makes it one and the stream is understood again right after. A whole value is given to json-c.
 */
#pragma once

#include <rhea/base.h>

typedef struct json_object json_object;
struct json_tokener;

#define JSON_FRAME_MAX_DEPTH 1024
#define JSON_FRAME_MAX_BYTES (64 * MIB)

typedef struct JsonFrame {
    struct json_tokener *tokener;
    char *stack;           /* open brackets, [depth] */
    unsigned depth;
    int state, after;      /* after: state when a string or word is over */
    char quote;
    char word[64];         /* the number or literal under way */
    unsigned word_len;
    unsigned hex_left;     /* of \uXXXX */
    unsigned utf8_left, utf8_min_next, utf8_max_next;
    GString *text;         /* the value under way */
} JsonFrame;

JsonFrame *json_frame_new(void);
void json_frame_free(JsonFrame *frame);
void json_frame_reset(JsonFrame *frame);

/*
 * Takes bytes from buf up to the end of one value or one error; *used is how many. True with *value (owned) when a value is complete
 * (null is a NULL *value); false with err on an error, false without err when more bytes are needed (then all were used).
 */
bool json_frame_feed(JsonFrame *frame, const char *buf, size_t len, size_t *used, json_object **value, GError **err);
