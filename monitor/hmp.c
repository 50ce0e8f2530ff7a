/* The human monitor's command line: words to arguments, arguments to a command. */
#include "monitor/hmp.h"

#include <string.h>

#include "monitor/hmp-cpu.h"
#include "monitor/schema.h"
#include "util/keyval.h"

void hmp_print(Hmp *hmp, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_string_append_vprintf(hmp->out, fmt, ap);
    va_end(ap);
}

void hmp_error(Hmp *hmp, GError *error)
{
    hmp_print(hmp, "Error: %s\r\n", error->message);
    g_error_free(error);
}

json_object *hmp_call(Hmp *hmp, const char *name, json_object *args)
{
    const SchemaCommand *command = schema_find_command(name);
    g_autoptr(json_object) empty = json_object_new_object();
    GError *error = NULL;
    json_object *result = NULL;
    if (schema_check(command->args, args ? args : empty, &error))
        result = command->func(hmp->ctx, args ? args : empty, &error);
    if (error) {
        json_object_put(result);
        hmp_error(hmp, error);
        return NULL;
    }
    return result ? result : json_object_new_object();
}

/* ---- expressions ---- */

static void skip_space(const char **p)
{
    while (g_ascii_isspace(**p))
        (*p)++;
}

static bool parse_sum(QmpContext *ctx, const char **p, uint64_t *value, unsigned depth, GError **err);

static bool parse_unary(QmpContext *ctx, const char **p, uint64_t *value, unsigned depth, GError **err)
{
    skip_space(p);
    if (depth > 64) {
        error_set(err, "the expression nests too deeply");
        return false;
    }
    char c = **p;
    if (c == '-' || c == '+' || c == '~') {
        (*p)++;
        if (!parse_unary(ctx, p, value, depth + 1, err))
            return false;
        *value = c == '-' ? -*value : c == '~' ? ~*value : *value;
        return true;
    }
    if (c == '(') {
        (*p)++;
        if (!parse_sum(ctx, p, value, depth + 1, err))
            return false;
        skip_space(p);
        if (**p != ')') {
            error_set(err, "a ')' is missing before '%s'", *p);
            return false;
        }
        (*p)++;
        return true;
    }
    if (c == '$') {
        size_t len = strspn(*p + 1, "abcdefghijklmnopqrstuvwxyz0123456789");
        g_autofree char *name = g_strndup(*p + 1, len);
        *p += len + 1;
        return hmp_register(ctx, name, value, err);
    }
    char *end;
    *value = g_ascii_strtoull(*p, &end, 0);
    if (end == *p || !g_ascii_isdigit(c)) {
        error_set(err, "a number is expected at '%s'", *p);
        return false;
    }
    *p = end;
    return true;
}

/* In "0 16 /tmp/file" the slash is not a division. */
static bool is_path(const char *p)
{
    return p[0] == '/' && g_ascii_isspace(p[-1]) && !g_ascii_isspace(p[1]);
}

static bool parse_product(QmpContext *ctx, const char **p, uint64_t *value, unsigned depth, GError **err)
{
    if (!parse_unary(ctx, p, value, depth, err))
        return false;
    for (skip_space(p); **p && strchr("*/%&|^", **p) && !is_path(*p); skip_space(p)) {
        char op = *(*p)++;
        uint64_t right;
        if (!parse_unary(ctx, p, &right, depth, err))
            return false;
        if ((op == '/' || op == '%') && !right) {
            error_set(err, "division by zero");
            return false;
        }
        *value = op == '*' ? *value * right : op == '/' ? *value / right : op == '%' ? *value % right
               : op == '&' ? *value & right : op == '|' ? *value | right : *value ^ right;
    }
    return true;
}

static bool parse_sum(QmpContext *ctx, const char **p, uint64_t *value, unsigned depth, GError **err)
{
    if (!parse_product(ctx, p, value, depth, err))
        return false;
    for (skip_space(p); **p == '+' || **p == '-'; skip_space(p)) {
        char op = *(*p)++;
        uint64_t right;
        if (!parse_product(ctx, p, &right, depth, err))
            return false;
        *value = op == '+' ? *value + right : *value - right;
    }
    return true;
}

bool hmp_expression(QmpContext *ctx, const char **text, uint64_t *value, GError **err)
{
    return parse_sum(ctx, text, value, 0, err);
}

/* ---- arguments ---- */

/* A word, or a string in double quotes with \n \t \\ \" escapes. (owned) */
static char *take_word(const char **p)
{
    GString *word = g_string_new(NULL);
    if (**p != '"') {
        while (**p && !g_ascii_isspace(**p))
            g_string_append_c(word, *(*p)++);
        return g_string_free(word, FALSE);
    }
    for ((*p)++; **p && **p != '"'; (*p)++) {
        char c = **p;
        if (c == '\\' && (*p)[1]) {
            c = *++(*p);
            c = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
        }
        g_string_append_c(word, c);
    }
    if (**p == '"')
        (*p)++;
    return g_string_free(word, FALSE);
}

/* "/10xg": count, then x d u o c i s, and b h w g. */
static bool take_format(Hmp *hmp, const char **p, GError **err)
{
    hmp->count = 1;
    hmp->format = 'x';
    hmp->size = 'w';
    if (**p != '/')
        return true;
    (*p)++;
    if (g_ascii_isdigit(**p)) {
        char *end;
        guint64 n = g_ascii_strtoull(*p, &end, 10);
        hmp->count = MIN(n, 65536);
        *p = end;
    }
    for (; **p && !g_ascii_isspace(**p); (*p)++) {
        if (strchr("xduoci", **p)) {
            hmp->format = **p;
        } else if (strchr("bhwg", **p)) {
            hmp->size = **p;
        } else {
            error_set(err, "'%c' is not a format; there are x d u o c, sizes b h w g", **p);
            return false;
        }
    }
    return true;
}

static bool take_argument(Hmp *hmp, const char *name, char kind, const char **p, GError **err)
{
    uint64_t number;
    GError *error = NULL;
    g_autofree char *word = NULL;
    switch (kind) {
    case 'i':
        if (!hmp_expression(hmp->ctx, p, &number, &error)) {
            g_propagate_prefixed_error(err, error, "%s: ", name);
            return false;
        }
        put_uint(hmp->args, name, number);
        return true;
    case 'S':
        put_str(hmp->args, name, *p);
        *p += strlen(*p);
        return true;
    case 'b':
        word = take_word(p);
        if (strcmp(word, "on") && strcmp(word, "off")) {
            error_set(err, "%s is on or off, not '%s'", name, word);
            return false;
        }
        put_bool(hmp->args, name, !strcmp(word, "on"));
        return true;
    default:
        word = take_word(p);
        put_str(hmp->args, name, word);
        return true;
    }
}

static bool take_options(Hmp *hmp, const char *implied, const char **p, GError **err)
{
    json_object *options = keyval_parse(*p, implied, 0, err);
    *p += strlen(*p);
    if (!options)
        return false;
    json_object_put(hmp->args);
    hmp->args = options;
    return true;
}

static bool parse_arguments(Hmp *hmp, const HmpCommand *command, const char *p, GError **err)
{
    g_auto(GStrv) specs = g_strsplit(command->args ? command->args : "", ",", -1);
    for (char **spec = specs; *spec; spec++) {
        char *kind = strchr(*spec, ':');
        *kind++ = '\0';
        bool optional = kind[1] == '?';
        skip_space(&p);
        if (*kind == '/') {
            if (!take_format(hmp, &p, err))
                return false;
            continue;
        }
        if (*kind == 'f') {
            if (g_str_has_prefix(p, *spec) && (!p[2] || g_ascii_isspace(p[2]))) {
                put_bool(hmp->args, *spec, true);
                p += 2;
            }
            continue;
        }
        if (!*p) {
            if (optional)
                continue;
            error_set(err, "%.*s needs %s; it is used as: %.*s %s", (int)strcspn(command->name, "|"), command->name, *spec,
                      (int)strcspn(command->name, "|"), command->name, command->params);
            return false;
        }
        if (!(*kind == 'o' ? take_options(hmp, *spec, &p, err) : take_argument(hmp, *spec, *kind, &p, err)))
            return false;
    }
    skip_space(&p);
    if (*p) {
        error_set(err, "%.*s: too many words: '%s'", (int)strcspn(command->name, "|"), command->name, p);
        return false;
    }
    return true;
}

/* ---- commands ---- */

static const HmpCommand *find_command(const HmpCommand *table, const char *name)
{
    for (; table->name; table++) {
        g_auto(GStrv) names = g_strsplit(table->name, "|", -1);
        if (g_strv_contains((const char *const *)names, name))
            return table;
    }
    return NULL;
}

static void unknown_command(Hmp *hmp, const HmpCommand *table, const char *prefix, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    for (; table->name; table++)
        g_ptr_array_add(names, g_strndup(table->name, strcspn(table->name, "|")));
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    hmp_print(hmp, "unknown command: '%s%s'", prefix, name);
    if (near)
        hmp_print(hmp, "; did you mean '%s%s'?", prefix, near);
    hmp_print(hmp, "\r\n");
}

static void run_command(Hmp *hmp, const HmpCommand *table, const char *prefix, const char *line)
{
    skip_space(&line);
    /* x/10i: the format may follow without a space. */
    size_t len = strcspn(line, " \t/");
    g_autofree char *name = g_strndup(line, len);
    if (!len)
        return;
    const HmpCommand *command = find_command(table, name);
    if (!command) {
        unknown_command(hmp, table, prefix, name);
        return;
    }
    GError *error = NULL;
    if (!parse_arguments(hmp, command, line + len, &error))
        hmp_error(hmp, error);
    else if (command->qmp)
        json_object_put(hmp_call(hmp, command->qmp, hmp->args));
    else
        command->func(hmp);
}

void hmp_info(Hmp *hmp);
void hmp_info(Hmp *hmp)
{
    const char *what = arg_str(hmp->args, "what");
    g_autofree char *line = g_strdup(what ? what : "");
    json_object_put(hmp->args);
    hmp->args = json_object_new_object();
    if (*line) {
        run_command(hmp, hmp_info_commands, "info ", line);
        return;
    }
    for (const HmpCommand *c = hmp_info_commands; c->name; c++)
        hmp_print(hmp, "info %s%s%s -- %s\r\n", c->name, c->params[0] ? " " : "", c->params, c->help);
}

void hmp_help(Hmp *hmp);
void hmp_help(Hmp *hmp)
{
    const char *name = arg_str(hmp->args, "name");
    const HmpCommand *one = name ? find_command(hmp_commands, name) : NULL;
    if (name && !one) {
        unknown_command(hmp, hmp_commands, "", name);
        return;
    }
    for (const HmpCommand *c = hmp_commands; c->name; c++)
        if (!one || c == one)
            hmp_print(hmp, "%s%s%s -- %s\r\n", c->name, c->params[0] ? " " : "", c->params, c->help);
}

char *hmp_run(QmpContext *ctx, const char *line)
{
    Hmp hmp = { .ctx = ctx, .out = g_string_new(NULL), .args = json_object_new_object() };
    run_command(&hmp, hmp_commands, "", line);
    json_object_put(hmp.args);
    return g_string_free(hmp.out, FALSE);
}
