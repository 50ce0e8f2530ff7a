/*
 * A client's bytes, cut anywhere: the framing never loses its place. The same bytes in one piece and in many give the same values and
 * errors, and a request behind a reset byte is understood.
 */
#include <json-c/json.h>
#include <string.h>

#include "chardev/telnet.h"
#include "monitor/json-frame.h"
#include "monitor/json-out.h"
#include "tests/fuzz/fuzz.h"

static const char *const words[] = {
    "{", "}", "[", "]", ":", ",", "\"", "'", "\\", "\\u12", "\\n", "\"a\"", "'b'", "{\"execute\": \"x\"}", "null", "true", "-1.5e3",
    "18446744073709551615", " ", "\n", "\xff", "\xc3\xa4", "\xc3", "\x01", "%", "{\"a\":[1,{'b':\"\\'\"}]}", "0", "1e", "tru",
};

/* What comes out, as text: values as JSON, errors as '!'. */
static void feed(JsonFrame *frame, const char *text, size_t len, GString *out)
{
    while (len) {
        size_t used = 0;
        json_object *value = NULL;
        GError *err = NULL;
        if (json_frame_feed(frame, text, len, &used, &value, &err)) {
            json_out(out, value, false);
            g_string_append_c(out, ';');
        } else if (err) {
            g_assert_true(err->message[0]);
            g_string_append_c(out, '!');
        } else {
            g_assert_cmpuint(used, ==, len);
        }
        g_clear_error(&err);
        json_object_put(value);
        g_assert_cmpuint(used, <=, len);
        text += used;
        len -= used;
    }
}

static void check_recovery(JsonFrame *frame)
{
    GString *out = g_string_new(NULL);
    feed(frame, "\xff", 1, out);
    g_string_truncate(out, 0);
    feed(frame, "{'id': 7}", 9, out);
    g_assert_cmpstr(out->str, ==, "{\"id\": 7};");
    g_string_free(out, TRUE);
}

static void check_telnet(const char *text, size_t len)
{
    Telnet t = { 0 };
    uint8_t *copy = g_memdup2(text, len);
    bool is_break = false;
    g_assert_cmpuint(telnet_decode(&t, copy, len, &is_break), <=, len);
    g_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };
    GString *text = g_string_new(NULL), *whole = g_string_new(NULL), *pieces = g_string_new(NULL);
    for (unsigned n = fuzz_u8(&in); n; n--) {
        uint8_t kind = fuzz_u8(&in);
        if (kind < 200)
            g_string_append(text, words[kind % G_N_ELEMENTS(words)]);
        else
            g_string_append_c(text, (char)fuzz_u8(&in));
    }
    JsonFrame *one = json_frame_new(), *many = json_frame_new();
    feed(one, text->str, text->len, whole);
    for (size_t at = 0; at < text->len;) {
        size_t n = 1 + fuzz_u8(&in) % 9;
        n = MIN(n, text->len - at);
        feed(many, text->str + at, n, pieces);
        at += n;
    }
    if (!g_str_equal(whole->str, pieces->str)) {
        g_autofree char *shown = g_strescape(text->str, NULL);
        g_error("'%s': in one piece %s, in many %s", shown, whole->str, pieces->str);
    }
    check_recovery(one);
    check_recovery(many);
    check_telnet(text->str, text->len);
    json_frame_free(one);
    json_frame_free(many);
    g_string_free(text, TRUE);
    g_string_free(whole, TRUE);
    g_string_free(pieces, TRUE);
    return 0;
}
