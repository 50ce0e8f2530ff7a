/* Sizes as users write them. */
#include "util/size.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool unit_shift(char unit, unsigned *shift)
{
    static const char units[] = "BKMGTPE";
    const char *at = unit ? strchr(units, g_ascii_toupper(unit)) : NULL;
    if (at)
        *shift = (unsigned)(at - units) * 10;
    return at;
}

/* The digits after the point as a part of 2^shift, rounded down. 18 digits are exact in 128 bits, more change nothing. */
static uint64_t fraction_bytes(const char *digits, size_t count, unsigned shift)
{
    uint64_t value = 0, scale = 1;
    for (size_t i = 0; i < count && i < 18; i++, scale *= 10)
        value = value * 10 + (uint64_t)(digits[i] - '0');
    return (uint64_t)(((unsigned __int128)value << shift) / scale);
}

bool size_parse(const char *text, char unit, uint64_t *out)
{
    if (!g_ascii_isdigit(*text))
        return false;
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;
    errno = 0;
    uint64_t whole = strtoull(text, &end, hex ? 16 : 10);
    if (errno)
        return false;
    const char *fraction = NULL;
    size_t digits = 0;
    if (*end == '.') {
        fraction = ++end;
        digits = strspn(end, "0123456789");
        end += digits;
        if (!digits || hex)
            return false;
    }
    unsigned shift;
    if (!unit_shift(*end ? *end : unit, &shift) || (*end && end[1]) || (hex && *end))
        return false;
    if (fraction && !shift)
        return false;
    unsigned __int128 bytes = ((unsigned __int128)whole << shift) + fraction_bytes(fraction, digits, shift);
    *out = (uint64_t)bytes;
    return bytes <= UINT64_MAX;
}

char *size_format(uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned i = 0;
    double value = (double)bytes;
    for (; value >= 1024 && i + 1 < G_N_ELEMENTS(units); i++)
        value /= 1024;
    return g_strdup_printf("%.3g %s", value, units[i]);
}
