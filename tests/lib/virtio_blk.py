"""Requests of virtio-blk on top of virtio_driver."""
import struct

from virtio_driver import Device, find_virtio

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
F_SEG_MAX, F_RO, F_BLK_SIZE, F_FLUSH, F_TOPOLOGY, F_CONFIG_WCE, F_MQ, F_DISCARD, F_WRITE_ZEROES = 2, 5, 6, 9, 10, 11, 12, 13, 14


class Blk(Device):
    def __init__(self, m, slot=None, **kw):
        super().__init__(m, find_virtio(m, 2)[0] if slot is None else slot, **kw)
        self.scratch = m.alloc(4096)

    def capacity(self):
        return self.config(0, 8)

    def build(self, kind, sector, data=b"", read=0, cuts=None):
        """Buffers of one request: [(addr, len, device writes)], and where data and status are."""
        base = self.m.alloc(16 + max(len(data), read) + 1, 16)
        self.m.write(base, struct.pack("<IIQ", kind, 0, sector) + data)
        if read:
            self.m.write(base + 16, bytes([0xcc]) * read)
        status = base + 16 + max(len(data), read)
        self.m.wr(status, 0xff, 1)
        bufs = [(base, 16, False)]
        if data:
            bufs.append((base + 16, len(data), False))
        if read:
            bufs.append((base + 16, read, True))
        bufs.append((status, 1, True))
        return bufs, base + 16, status

    def io(self, kind, sector, data=b"", read=0, queue=0, indirect=False):
        """(status, data, bytes that the device says it wrote)"""
        bufs, at, status = self.build(kind, sector, data, read)
        written = self.queues[queue].request(bufs, indirect)
        return self.m.rd(status, 1), self.m.read(at, read), written

    def read_sectors(self, sector, count, **kw):
        status, data, written = self.io(T_IN, sector, read=512 * count, **kw)
        assert status == OK and written == 512 * count + 1, (status, written)
        return data

    def write_sectors(self, sector, data, **kw):
        status, _, written = self.io(T_OUT, sector, data, **kw)
        assert status == OK and written == 1, (status, written)
