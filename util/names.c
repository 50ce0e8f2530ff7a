/* "Did you mean": the nearest of a list of names. */
#include <rhea/base.h>

#include <string.h>

/*
 * Optimal string alignment distance (insert, delete, replace, swap of neighbours), letters compared without case, _ as -.
 * Names longer than the table are compared by their first part, which is what a typo hint needs.
 */
enum { LONGEST = 63 };

static char plain(char c)
{
    return c == '_' ? '-' : g_ascii_tolower(c);
}

static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][LONGEST + 1];
    size_t la = MIN(strlen(a), LONGEST), lb = MIN(strlen(b), LONGEST);
    unsigned *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= lb; j++)
        last[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned change = last[j - 1] + (plain(a[i - 1]) != plain(b[j - 1]));
            now[j] = MIN(change, MIN(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && plain(a[i - 1]) == plain(b[j - 2]) && plain(a[i - 2]) == plain(b[j - 1]))
                now[j] = MIN(now[j], before[j - 2] + 1);
        }
        unsigned *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[lb];
}

const char *nearest_name(const char *given, const char *const *candidates)
{
    const char *best = NULL;
    unsigned best_distance = (unsigned)MAX(1, MIN(strlen(given), LONGEST) / 3) + 1;
    for (const char *const *name = candidates; *name; name++) {
        unsigned d = distance(given, *name);
        /* half of the longer name at least must agree, or "b" would be a typo of "n" */
        if (d < best_distance && d * 2 <= MAX(strlen(given), strlen(*name))) {
            best_distance = d;
            best = *name;
        }
    }
    if (best)
        return best;
    /* a whole word in front: "virtio-net" for "virtio-net-pci" */
    size_t len = strlen(given);
    for (const char *const *name = candidates; *name && len >= 3; name++)
        if (g_str_has_prefix(*name, given) && (*name)[len] == '-')
            return *name;
    return NULL;
}
