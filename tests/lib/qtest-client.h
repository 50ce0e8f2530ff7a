/*
 * A small client of the test channel: starts an emulator without guest code, plays its CPUs, talks QMP to it.
 *
 * The emulator is the program in the environment variable RHEA_BINARY; any that speaks the protocol will do. Every
 * function ends the test program with a message when the emulator misbehaves, dies, or is silent for 30 s. No
 * emulator outlives the test program. Not for several threads.
 *
 *     QtEmu *q = qt_start("-machine pc -device virtio-rng-pci,addr=4");
 *     g_assert_cmphex(qt_pci_read16(q, QT_DEVFN(4, 0), 0), ==, 0x1af4);
 *     qt_quit(q);
 */
#pragma once

#include <glib.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct QtEmu QtEmu;

/* ---- life ---- */

/* Starts it with these arguments (printf; split like a shell does); the machine is complete on return. -accel qtest is added. */
QtEmu *qt_start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* The same without -accel qtest: the arguments say what executes. */
QtEmu *qt_start_accel(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
/* SIGTERM; the exit status must be 0. Frees q. */
void qt_quit(QtEmu *q);
/* It is ending by itself: waits up to 30 s, returns the exit status (128 + n for a signal) and frees q. */
int qt_wait_exit(QtEmu *q);
/* Runs the emulator with arguments that make it stop by itself. Exit status; in *output what it printed on stderr and stdout (owned). */
int qt_run(char **output, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
GPid qt_pid(const QtEmu *q);
/* An empty directory for files of this test program, removed at its end. */
const char *qt_tmpdir(void);
/* Whether the emulator has this machine (-machine NAME) or class of device (-device NAME). Cached. */
bool qt_has_machine(const char *name);
bool qt_has_device(const char *name);

/* ---- raw ---- */

/* Sends one line, returns the answer line without IRQ reports. (owned) */
char *qt_command(QtEmu *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* ---- ports and memory ---- */

uint8_t qt_inb(QtEmu *q, uint16_t port);
uint16_t qt_inw(QtEmu *q, uint16_t port);
uint32_t qt_inl(QtEmu *q, uint16_t port);
void qt_outb(QtEmu *q, uint16_t port, uint8_t value);
void qt_outw(QtEmu *q, uint16_t port, uint16_t value);
void qt_outl(QtEmu *q, uint16_t port, uint32_t value);
uint8_t qt_readb(QtEmu *q, uint64_t gpa);
uint16_t qt_readw(QtEmu *q, uint64_t gpa);
uint32_t qt_readl(QtEmu *q, uint64_t gpa);
uint64_t qt_readq(QtEmu *q, uint64_t gpa);
void qt_writeb(QtEmu *q, uint64_t gpa, uint8_t value);
void qt_writew(QtEmu *q, uint64_t gpa, uint16_t value);
void qt_writel(QtEmu *q, uint64_t gpa, uint32_t value);
void qt_writeq(QtEmu *q, uint64_t gpa, uint64_t value);
void qt_memread(QtEmu *q, uint64_t gpa, void *buf, size_t len);
void qt_memwrite(QtEmu *q, uint64_t gpa, const void *buf, size_t len);
void qt_memset(QtEmu *q, uint64_t gpa, uint8_t byte, size_t len);
/* Guest RAM that nothing else uses, from 1 MiB upwards; zeroed. align is a power of two. Never freed. */
uint64_t qt_alloc(QtEmu *q, size_t len, size_t align);

/* ---- time ---- */

/* ns; return the clock afterwards. step_next goes to the next timer, -1 when there is none. */
int64_t qt_clock_step(QtEmu *q, int64_t ns);
int64_t qt_clock_step_next(QtEmu *q);
int64_t qt_clock_set(QtEmu *q, int64_t ns);

/* ---- lines ---- */

/* From now on levels of the device's unnamed inputs (usual: "ioapic") or of its outputs are known. list NULL: unnamed. */
void qt_irq_intercept_in(QtEmu *q, const char *path);
void qt_irq_intercept_out(QtEmu *q, const char *path, const char *list);
/* Level now; how often it rose since interception. */
bool qt_irq(QtEmu *q, unsigned n);
unsigned qt_irq_raises(QtEmu *q, unsigned n);
void qt_set_irq_in(QtEmu *q, const char *path, const char *list, unsigned n, bool level);
/* Polls until the line has this level, in real time: for what other threads do. */
void qt_irq_wait(QtEmu *q, unsigned n, bool level);

/* ---- PCI by ports 0xcf8 and 0xcfc, bus 0 ---- */

#define QT_DEVFN(slot, fn) ((uint8_t)((slot) << 3 | (fn)))
uint8_t qt_pci_read8(QtEmu *q, uint8_t devfn, uint8_t reg);
uint16_t qt_pci_read16(QtEmu *q, uint8_t devfn, uint8_t reg);
uint32_t qt_pci_read32(QtEmu *q, uint8_t devfn, uint8_t reg);
void qt_pci_write8(QtEmu *q, uint8_t devfn, uint8_t reg, uint8_t value);
void qt_pci_write16(QtEmu *q, uint8_t devfn, uint8_t reg, uint16_t value);
void qt_pci_write32(QtEmu *q, uint8_t devfn, uint8_t reg, uint32_t value);
/* First function with these ids on bus 0; ends the test if there is none. */
uint8_t qt_pci_find(QtEmu *q, uint16_t vendor, uint16_t device);
/* Offset of the capability, 0 if it has none. after: continue behind that one; 0 starts. */
uint8_t qt_pci_find_cap(QtEmu *q, uint8_t devfn, uint8_t id, uint8_t after);
typedef struct QtBar {
    bool io;
    uint64_t addr, size;   /* bytes; size 0: there is no such BAR */
} QtBar;
/* Sizes BAR n (0..5), gives it an address (I/O from 0xc000, memory from 0xe0000000). 64-bit ones take two numbers. */
QtBar qt_pci_map_bar(QtEmu *q, uint8_t devfn, unsigned n);
/* I/O, memory and bus master on. */
void qt_pci_enable(QtEmu *q, uint8_t devfn);
/* An access to a mapped BAR, by port or memory. size 1, 2, 4, 8. */
uint64_t qt_bar_read(QtEmu *q, QtBar bar, uint64_t offset, unsigned size);
void qt_bar_write(QtEmu *q, QtBar bar, uint64_t offset, uint64_t value, unsigned size);

/* ---- QMP ---- */

/* Sends the text (JSON, printf) and returns the reply as it came; events on the way are kept. (owned: json_object_put) */
json_object *qt_qmp_raw(QtEmu *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* {"execute": command, "arguments": ARGS}; args is printf text such as "{'id': '%s'}" with ' for ", or NULL. Returns the value. (owned) */
json_object *qt_qmp(QtEmu *q, const char *command, const char *args, ...) G_GNUC_PRINTF(3, 4);
/* The same where an error is expected: its class must be this one; returns the description. (owned) */
char *qt_qmp_error(QtEmu *q, const char *class, const char *command, const char *args, ...) G_GNUC_PRINTF(4, 5);
/* The next event of this name, one kept before included; other events stay kept. (owned) */
json_object *qt_event_wait(QtEmu *q, const char *name);
/* Whether such an event has come by now. */
bool qt_event_seen(QtEmu *q, const char *name);
/* human-monitor-command. (owned) */
char *qt_hmp(QtEmu *q, const char *fmt, ...) G_GNUC_PRINTF(2, 3);
/* Member by path "a.b.c" of a json object, NULL if missing. (borrowed) */
json_object *qt_json_at(json_object *obj, const char *path);
const char *qt_json_str(json_object *obj, const char *path);
int64_t qt_json_int(json_object *obj, const char *path);
bool qt_json_bool(json_object *obj, const char *path);
