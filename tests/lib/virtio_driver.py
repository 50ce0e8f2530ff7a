"""A small virtio-pci driver for tests: modern and legacy interface, split and packed rings, indirect descriptors, event
index, MSI-X. It plays a correct guest; tests reach into it to play a wrong one. Source: virtio 1.2 chapters 2 and 4."""
import struct

from qtest import wait_until

F_NOTIFY_ON_EMPTY, F_ANY_LAYOUT, F_INDIRECT, F_EVENT_IDX, F_VERSION_1, F_PACKED, F_RING_RESET = 24, 27, 28, 29, 32, 34, 40
S_ACK, S_DRIVER, S_DRIVER_OK, S_FEATURES_OK, S_NEEDS_RESET, S_FAILED = 1, 2, 4, 8, 0x40, 0x80
NEXT, WRITE, INDIRECT = 1, 2, 4
PACKED_AVAIL, PACKED_USED = 1 << 7, 1 << 15
NO_VECTOR = 0xffff


class Pci:
    """One function on bus 0, found by its slot."""

    def __init__(self, m, slot, fn=0):
        self.m = m
        self.base = 0x80000000 | slot << 11 | fn << 8

    def cfg(self, reg, size):
        self.m.out(0xcf8, self.base | reg & 0xfc, 4)
        return self.m.inp(0xcfc + (reg & 3), size)

    def set_cfg(self, reg, value, size):
        self.m.out(0xcf8, self.base | reg & 0xfc, 4)
        self.m.out(0xcfc + (reg & 3), value, size)

    def caps(self):
        at = self.cfg(0x34, 1)
        while at:
            yield self.cfg(at, 1), at
            at = self.cfg(at + 1, 1)

    def map_bars(self, io=0xc000, mem=0xe0000000):
        self.bars = {}
        n = 0
        while n < 6:
            reg = 0x10 + 4 * n
            self.set_cfg(reg, 0xffffffff, 4)
            value = self.cfg(reg, 4)
            if value & 1:
                size = (~(value & ~3) + 1) & 0xffff
                io = (io + size - 1) & ~(size - 1)
                self.set_cfg(reg, io, 4)
                self.bars[n] = ("io", io)
                io += size
            elif value:
                size = (~(value & ~15) + 1) & 0xffffffff
                mem = (mem + size - 1) & ~(size - 1)
                self.set_cfg(reg, mem, 4)
                self.bars[n] = ("mem", mem)
                mem += size
                if value & 6 == 4:
                    self.set_cfg(reg + 4, 0, 4)
                    n += 1
            n += 1
        self.set_cfg(4, 7, 2)


def find_virtio(m, virtio_id):
    """Slots of the functions of a virtio device type."""
    found = []
    for slot in range(32):
        pci = Pci(m, slot)
        ids = pci.cfg(0, 4)
        if ids & 0xffff != 0x1af4:
            continue
        if ids >> 16 == 0x1040 + virtio_id or (0x1000 <= ids >> 16 < 0x1040 and pci.cfg(0x2e, 2) == virtio_id):
            found.append(slot)
    return found


class Device:
    def __init__(self, m, slot, legacy=False, features=~0, msix=False, place=0):
        self.m = m
        self.pci = Pci(m, slot)
        self.pci.map_bars(io=0xc000 + 0x400 * place, mem=0xe0000000 + 0x2000000 * place)
        self.legacy = legacy
        self.want = features
        self.msix = None
        self.queues = {}
        self.msix_cap = next((at for cap, at in self.pci.caps() if cap == 0x11), None)
        self._find_regions()
        if msix:
            self._enable_msix()

    def _find_regions(self):
        self.regions = {}
        for cap, at in self.pci.caps():
            if cap != 9:
                continue
            kind = self.pci.cfg(at + 3, 1)
            self.regions[kind] = (self.pci.cfg(at + 4, 1), self.pci.cfg(at + 8, 4), self.pci.cfg(at + 12, 4), at)
            if kind == 2:
                self.notify_mult = self.pci.cfg(at + 16, 4)
        if not self.legacy:
            self.common, self.notify, self.isr_at, self.devcfg = (
                self.pci.bars[self.regions[k][0]][1] + self.regions[k][1] for k in (1, 2, 3, 4))
        else:
            self.io_base = self.pci.bars[0][1]

    def _enable_msix(self):
        size = (self.pci.cfg(self.msix_cap + 2, 2) & 0x7ff) + 1
        table = self.pci.cfg(self.msix_cap + 4, 4)
        base = self.pci.bars[table & 7][1] + (table & ~7)
        self.msix = self.m.alloc(4 * size)
        self.vectors = size
        self.m.write(self.msix, bytes(4 * size))
        for i in range(size):
            self.m.wr(base + 16 * i, self.msix + 4 * i, 4)
            self.m.wr(base + 16 * i + 4, 0, 4)
            self.m.wr(base + 16 * i + 8, 0x1000 + i, 4)
            self.m.wr(base + 16 * i + 12, 0, 4)
        self.pci.set_cfg(self.msix_cap + 2, 0x8000, 2)

    # ---- registers ----

    def get(self, offset, size):
        return self.m.rd(self.common + offset, size)

    def set(self, offset, value, size):
        self.m.wr(self.common + offset, value, size)

    @property
    def status(self):
        return self.m.inp(self.io_base + 18, 1) if self.legacy else self.get(20, 1)

    @status.setter
    def status(self, value):
        self.m.out(self.io_base + 18, value, 1) if self.legacy else self.set(20, value, 1)

    def isr(self):
        return self.m.inp(self.io_base + 19, 1) if self.legacy else self.m.rd(self.isr_at, 1)

    def config(self, offset, size):
        if self.legacy:
            at = self.io_base + (24 if self.msix else 20) + offset
            return sum(self.m.inp(at + i, 1) << 8 * i for i in range(size))
        return self.m.rd(self.devcfg + offset, size)

    def set_config(self, offset, value, size):
        if self.legacy:
            self.m.out(self.io_base + (24 if self.msix else 20) + offset, value, size)
        else:
            self.m.wr(self.devcfg + offset, value, size)

    def offered(self):
        if self.legacy:
            return self.m.inp(self.io_base, 4)
        bits = 0
        for i in range(2):
            self.set(0, i, 4)
            bits |= self.get(4, 4) << 32 * i
        return bits

    def accept(self, bits):
        self.features = bits
        if self.legacy:
            self.m.out(self.io_base + 4, bits, 4)
            return
        for i in range(2):
            self.set(8, i, 4)
            self.set(12, bits >> 32 * i & 0xffffffff, 4)

    def has(self, bit):
        return self.features >> bit & 1

    # ---- life ----

    def reset(self):
        self.status = 0
        wait_until("device reset", lambda: self.status == 0)
        self.queues = {}

    def negotiate(self):
        self.reset()
        self.status = S_ACK
        self.status = S_ACK | S_DRIVER
        want = self.want & self.offered()
        if self.legacy:
            want &= ~(1 << F_NOTIFY_ON_EMPTY)
        self.accept(want)
        if not self.legacy:
            self.status = S_ACK | S_DRIVER | S_FEATURES_OK
            assert self.status & S_FEATURES_OK, "features refused"

    def add_queue(self, index, size=None):
        packed = not self.legacy and self.has(F_PACKED)
        self.queues[index] = (PackedQueue if packed else SplitQueue)(self, index, size)
        return self.queues[index]

    def drive(self):
        self.status = self.status | S_DRIVER_OK

    def start(self, queues=1, size=None):
        self.negotiate()
        if self.msix:
            if self.legacy:
                self.m.out(self.io_base + 20, 0, 2)
            else:
                self.set(16, 0, 2)
        for i in range(queues):
            self.add_queue(i, size)
        self.drive()
        return self

    def place_queue(self, index, size, desc, avail, used):
        if self.legacy:
            self.m.out(self.io_base + 14, index, 2)
            if self.msix:
                self.m.out(self.io_base + 22, index + 1, 2)
            self.m.out(self.io_base + 8, desc >> 12, 4)
            return
        self.set(22, index, 2)
        self.set(24, size, 2)
        if self.msix:
            self.set(26, index + 1, 2)
        self.set(32, desc, 8)
        self.set(40, avail & 0xffffffff, 4)
        self.set(44, avail >> 32, 4)
        self.set(48, used, 8)
        self.set(28, 1, 2)

    def max_size(self, index):
        if self.legacy:
            self.m.out(self.io_base + 14, index, 2)
            return self.m.inp(self.io_base + 12, 2)
        self.set(22, index, 2)
        return self.get(24, 2)

    def ring(self, index):
        if self.legacy:
            self.m.out(self.io_base + 16, index, 2)
        else:
            self.m.wr(self.notify + index * self.notify_mult, index, 2)

    def interrupted(self, index):
        """True once for each interrupt of a queue (MSI-X) or of the device (INTx)."""
        if not self.msix:
            return self.isr() & 1 == 1
        at = self.msix + 4 * (index + 1)
        if not self.m.rd(at, 4):
            return False
        self.m.wr(at, 0, 4)
        return True

    def config_interrupted(self):
        if not self.msix:
            return self.isr() & 2 == 2
        value = self.m.rd(self.msix, 4)
        self.m.wr(self.msix, 0, 4)
        return value != 0

    def needs_reset(self):
        return self.status & S_NEEDS_RESET != 0


class Queue:
    def __init__(self, dev, index, size):
        self.dev, self.m, self.index = dev, dev.m, index
        most = dev.max_size(index)
        assert most, "no such queue"
        self.size = most if dev.legacy or not size else size
        self.event = dev.has(F_EVENT_IDX)
        self.free = list(range(self.size))
        self.waiting = {}
        self._place()

    def _indirect(self, bufs, packed):
        table = b""
        for i, (addr, length, write) in enumerate(bufs):
            last = i + 1 == len(bufs)
            flags = (WRITE if write else 0) | (0 if last or packed else NEXT)
            table += struct.pack("<QIHH", addr, length, *((0, flags) if packed else (flags, 0 if last else i + 1)))
        at = self.m.alloc(len(table), 16)
        self.m.write(at, table)
        return [(at, len(table), INDIRECT)]

    def wait(self, head):
        """Until the chain comes back; bytes written."""
        wait_until("a used buffer", lambda: self.poll() and head in self.done)
        return self.done.pop(head)

    def request(self, bufs, indirect=False):
        head = self.add(bufs, indirect)
        self.kick()
        return self.wait(head)


class SplitQueue(Queue):
    def _place(self):
        n = self.size
        self.desc = self.m.alloc(16 * n + 6 + 2 * n + 8 * n + 8192 + 6)
        self.avail = self.desc + 16 * n
        self.used = (self.avail + 6 + 2 * n + 4095) & ~4095
        self.m.write(self.desc, bytes(self.used + 6 + 8 * n - self.desc))
        self.avail_idx = self.seen = 0
        self.done = {}
        self.dev.place_queue(self.index, n, self.desc, self.avail, self.used)

    def put_desc(self, i, addr, length, flags, nxt):
        self.m.write(self.desc + 16 * i, struct.pack("<QIHH", addr, length, flags, nxt))

    def add(self, bufs, indirect=False):
        if indirect:
            descs = self._indirect(bufs, False)
        else:
            descs = [(a, l, WRITE if w else 0) for a, l, w in bufs]
        ids = [self.free.pop(0) for _ in descs]
        for k, (addr, length, flags) in enumerate(descs):
            last = k + 1 == len(ids)
            self.put_desc(ids[k], addr, length, flags | (0 if last else NEXT), 0 if last else ids[k + 1])
        self.waiting[ids[0]] = ids
        self.publish(ids[0])
        return ids[0]

    def publish(self, head):
        self.m.wr(self.avail + 4 + 2 * (self.avail_idx % self.size), head, 2)
        self.avail_idx = (self.avail_idx + 1) & 0xffff
        self.m.wr(self.avail + 2, self.avail_idx, 2)

    def wants_kick(self, old):
        if not self.event:
            return not self.m.rd(self.used, 2) & 1
        event = self.m.rd(self.used + 4 + 8 * self.size, 2)
        return (self.avail_idx - event - 1) & 0xffff < (self.avail_idx - old) & 0xffff

    def kick(self, force=True):
        self.dev.ring(self.index)

    def set_used_event(self, value):
        self.m.wr(self.avail + 4 + 2 * self.size, value, 2)

    def poll(self):
        idx = self.m.rd(self.used + 2, 2)
        while self.seen != idx:
            at = self.used + 4 + 8 * (self.seen % self.size)
            head, length = struct.unpack("<II", self.m.read(at, 8))
            self.seen = (self.seen + 1) & 0xffff
            assert head in self.waiting, f"used head {head} was not given"
            self.free += self.waiting.pop(head)
            self.done[head] = length
        return bool(self.done)


class PackedQueue(Queue):
    def _place(self):
        self.desc = self.m.alloc(16 * self.size + 16)
        self.driver_area = self.desc + 16 * self.size
        self.device_area = self.driver_area + 4
        self.m.write(self.desc, bytes(16 * self.size + 16))
        self.at, self.wrap = 0, True
        self.used_at, self.used_wrap = 0, True
        self.done = {}
        self.ids = list(range(self.size))
        self.dev.place_queue(self.index, self.size, self.desc, self.driver_area, self.device_area)

    def flags_now(self):
        return PACKED_AVAIL if self.wrap else PACKED_USED

    def add(self, bufs, indirect=False):
        if indirect:
            descs = self._indirect(bufs, True)
        else:
            descs = [(a, l, WRITE if w else 0) for a, l, w in bufs]
        ident = self.ids.pop(0)
        self.waiting[ident] = len(descs)
        first = None
        for k, (addr, length, flags) in enumerate(descs):
            flags |= self.flags_now() | (NEXT if k + 1 < len(descs) else 0)
            at = self.desc + 16 * self.at
            if first is None:
                first = (at + 14, flags)
                self.m.write(at, struct.pack("<QIH", addr, length, ident))
            else:
                self.m.write(at, struct.pack("<QIHH", addr, length, ident, flags))
            self.at += 1
            if self.at == self.size:
                self.at, self.wrap = 0, not self.wrap
        self.m.wr(*first, 2)
        return ident

    def kick(self):
        self.dev.ring(self.index)

    def poll(self):
        while True:
            at = self.desc + 16 * self.used_at
            addr, length, ident, flags = struct.unpack("<QIHH", self.m.read(at, 16))
            used = bool(flags & PACKED_USED)
            if used != self.used_wrap or bool(flags & PACKED_AVAIL) != used or ident not in self.waiting:
                return bool(self.done)
            n = self.waiting.pop(ident)
            self.ids.append(ident)
            self.done[ident] = length
            self.used_at += n
            if self.used_at >= self.size:
                self.used_at -= self.size
                self.used_wrap = not self.used_wrap
