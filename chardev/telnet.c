/* Telnet, the server's side: character at a time, eight bits, the guest echoes. */
#include "chardev/telnet.h"

#include <string.h>

enum { IAC = 255, DONT = 254, DO = 253, WONT = 252, WILL = 251, SB = 250, BREAK = 243, SE = 240 };
enum { OPT_BINARY = 0, OPT_ECHO = 1, OPT_SGA = 3 };
enum { DATA, COMMAND, OPTION, SUB, SUB_IAC, AFTER_CR };

const uint8_t *telnet_hello(Telnet *t, size_t *len)
{
    static const uint8_t hello[] = {
        IAC, WILL, OPT_ECHO, IAC, WILL, OPT_SGA, IAC, WILL, OPT_BINARY, IAC, DO, OPT_BINARY,
    };
    memset(t, 0, sizeof(*t));
    *len = sizeof(hello);
    return hello;
}

size_t telnet_decode(Telnet *t, uint8_t *buf, size_t len, bool *is_break)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = buf[i];
        switch (t->state) {
        case AFTER_CR: /* CR NUL and CR LF stand for the key Return */
            t->state = DATA;
            if (c == 0 || c == '\n')
                break;
            /* fall through */
        case DATA:
            if (c == IAC) {
                t->state = COMMAND;
                break;
            }
            buf[out++] = c;
            if (c == '\r')
                t->state = AFTER_CR;
            break;
        case COMMAND:
            t->state = c >= WILL && c != IAC ? OPTION : c == SB ? SUB : DATA;
            if (c == IAC)
                buf[out++] = IAC;
            else if (c == BREAK)
                *is_break = true;
            break;
        case OPTION: /* the peer's choice changes nothing here */
            t->state = DATA;
            break;
        case SUB:
            if (c == IAC)
                t->state = SUB_IAC;
            break;
        case SUB_IAC:
            t->state = c == SE ? DATA : SUB;
            break;
        }
    }
    return out;
}

bool telnet_part(const uint8_t *buf, size_t *len)
{
    const uint8_t *iac = memchr(buf, IAC, *len);
    if (iac == buf)
        return true;
    if (iac)
        *len = iac - buf;
    return false;
}
