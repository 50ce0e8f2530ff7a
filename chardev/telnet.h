/* The few parts of telnet (RFC 854, 856, 857, 858) that a serial console needs. */
#pragma once

#include <rhea/base.h>

typedef struct Telnet {
    int state;
    uint8_t verb;
} Telnet;

/* Starts a connection; what to send first. (borrowed) */
const uint8_t *telnet_hello(Telnet *t, size_t *len);
/* Removes commands from buf in place; bytes that are left. *is_break is set when a break command was among them. */
size_t telnet_decode(Telnet *t, uint8_t *buf, size_t len, bool *is_break);
/* Output: the part of buf without 0xff, at most *len, goes into *len; true when buf starts with a 0xff, which is sent doubled. */
bool telnet_part(const uint8_t *buf, size_t *len);
