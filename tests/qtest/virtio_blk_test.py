#!/usr/bin/env python3
"""virtio-blk over PCI: every interface and ring, every request, hostile chains, reset and unplug with requests under way."""
import os
import random
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import virtio_driver as vd
from qtest import Machine, QmpError, refused, wait_until
from virtio_blk import (F_CONFIG_WCE, F_DISCARD, F_FLUSH, F_MQ, F_RO, IOERR, OK, T_DISCARD, T_FLUSH, T_GET_ID, T_IN, T_OUT,
                        T_WRITE_ZEROES, UNSUPP, Blk)

MIB = 1 << 20
ALL = ~0
NO_EVENT = ~(1 << vd.F_EVENT_IDX)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="rhea-blk-")
        self.image = os.path.join(self.dir.name, "disk.img")
        with open(self.image, "wb") as f:
            f.truncate(4 * MIB)

    def tearDown(self):
        self.dir.cleanup()

    def machine(self, props="", drive="", extra=(), model="virtio-blk-pci"):
        return Machine("-drive", f"if=none,id=d0,format=raw,file={self.image}{drive}",
                       "-device", f"{model},id=disk0,addr=4,drive=d0{props}", *extra)

    def file_bytes(self, offset, size):
        with open(self.image, "rb") as f:
            f.seek(offset)
            return f.read(size)


class Interfaces(Case):
    """The same work through every interface and ring."""

    def work(self, dev, indirect=False):
        rng = random.Random(5)
        self.assertEqual(dev.capacity(), 4 * MIB // 512)
        model = bytearray(64 * 512)
        for i in range(40):
            sector, count = rng.randrange(60), rng.randrange(1, 5)
            data = rng.randbytes(512 * count)
            if rng.random() < 0.6:
                dev.write_sectors(sector, data, indirect=indirect)
                model[512 * sector:512 * (sector + count)] = data
            else:
                self.assertEqual(dev.read_sectors(sector, count, indirect=indirect),
                                 bytes(model[512 * sector:512 * (sector + count)]))
        self.assertEqual(dev.io(T_FLUSH, 0)[0], OK)
        self.assertEqual(self.file_bytes(0, len(model)), bytes(model))

    def run_mode(self, props="", model="virtio-blk-pci", indirect=False, **kw):
        with self.machine(props, model=model) as m:
            size = kw.pop("size", None)
            dev = Blk(m, 4, **kw).start(size=size)
            self.work(dev, indirect)
            self.assertFalse(dev.needs_reset())

    def test_modern(self):
        self.run_mode()

    def test_modern_small_ring(self):
        self.run_mode(size=4)

    def test_modern_no_event_idx(self):
        self.run_mode(features=NO_EVENT)

    def test_modern_indirect(self):
        self.run_mode(indirect=True)

    def test_modern_msix(self):
        self.run_mode(msix=True)

    def test_modern_no_ioeventfd(self):
        self.run_mode(",ioeventfd=off")

    def test_page_per_vq(self):
        self.run_mode(",page-per-vq=on")

    def test_legacy(self):
        self.run_mode(legacy=True)

    def test_legacy_msix(self):
        self.run_mode(legacy=True, msix=True)

    def test_legacy_indirect(self):
        self.run_mode(legacy=True, indirect=True)

    def test_transitional(self):
        self.run_mode(model="virtio-blk-pci-transitional", legacy=True)

    def test_non_transitional(self):
        self.run_mode(model="virtio-blk-pci-non-transitional")

    def test_packed(self):
        self.run_mode(",packed=on")

    def test_packed_odd_size(self):
        self.run_mode(",packed=on", size=7)

    def test_packed_indirect(self):
        self.run_mode(",packed=on", indirect=True, size=5)

    def test_packed_no_event_idx(self):
        self.run_mode(",packed=on", features=NO_EVENT)

    def test_iothread(self):
        with self.machine(",iothread=t0", extra=("-object", "iothread,id=t0")) as m:
            self.work(Blk(m, 4).start())

    def test_iothread_msix(self):
        with self.machine(",iothread=t0", extra=("-object", "iothread,id=t0")) as m:
            self.work(Blk(m, 4, msix=True).start())

    def test_direct(self):
        with self.machine(drive=",cache=none") as m:
            self.work(Blk(m, 4).start())

    def test_threads(self):
        with self.machine(drive=",aio=threads") as m:
            self.work(Blk(m, 4).start())

    def test_ids(self):
        for model, ids, revision, subsystem in (("virtio-blk-pci", 0x10011af4, 0, 2), ("virtio-blk-pci-transitional", 0x10011af4, 0, 2),
                                                ("virtio-blk-pci-non-transitional", 0x10421af4, 1, 0x1100)):
            with self.machine(model=model) as m:
                pci = vd.Pci(m, 4)
                self.assertEqual(pci.cfg(0, 4), ids)
                self.assertEqual(pci.cfg(8, 4), 0x01000000 | revision)
                self.assertEqual(pci.cfg(0x2e, 2), subsystem)

    def test_queues(self):
        with self.machine(",num-queues=4") as m:
            dev = Blk(m, 4, msix=True)
            self.assertEqual(dev.vectors, 5)
            dev.start(queues=4)
            self.assertTrue(dev.has(F_MQ))
            self.assertEqual(dev.config(34, 2), 4)
            for q in range(4):
                dev.write_sectors(q, bytes([q + 1]) * 512, queue=q)
                wait_until("interrupt", lambda: dev.interrupted(q))
            self.assertEqual(self.file_bytes(0, 2048), b"".join(bytes([q + 1]) * 512 for q in range(4)))
            self.assertEqual(dev.get(18, 2), 4)
            dev.set(22, 4, 2)
            self.assertEqual(dev.get(24, 2), 0)

    def test_cfg_capability(self):
        """The registers through configuration space."""
        with self.machine() as m:
            dev = Blk(m, 4)
            cap = dev.regions[5][3]
            dev.pci.set_cfg(cap + 4, dev.regions[4][0], 1)
            dev.pci.set_cfg(cap + 8, dev.regions[4][1], 4)
            dev.pci.set_cfg(cap + 12, 4, 4)
            self.assertEqual(dev.pci.cfg(cap + 16, 4), 4 * MIB // 512)
            dev.pci.set_cfg(cap + 8, dev.regions[1][1] + 20, 4)
            dev.pci.set_cfg(cap + 12, 1, 4)
            dev.pci.set_cfg(cap + 16, 1, 1)
            self.assertEqual(dev.status, 1)
            # windows that reach outside, and lengths that don't exist
            for bar, offset, length in ((1, 0, 4), (4, 0x3ffe, 4), (4, 0xffffffff, 4), (4, 0, 3), (200, 0, 4), (4, 1, 4)):
                dev.pci.set_cfg(cap + 4, bar, 1)
                dev.pci.set_cfg(cap + 8, offset, 4)
                dev.pci.set_cfg(cap + 12, length, 4)
                dev.pci.cfg(cap + 16, 4)
                dev.pci.set_cfg(cap + 16, 0, 4)
            self.assertEqual(dev.status, 1)


class Requests(Case):
    def test_id(self):
        with self.machine(",serial=ABCDEFGHIJ") as m:
            dev = Blk(m, 4).start()
            self.assertEqual(dev.io(T_GET_ID, 0, read=20), (OK, b"ABCDEFGHIJ" + bytes(10), 21))

    def test_limits(self):
        with self.machine() as m:
            dev = Blk(m, 4).start()
            last = 4 * MIB // 512
            self.assertEqual(dev.io(T_IN, last - 1, read=512)[0], OK)
            self.assertEqual(dev.io(T_IN, last, read=512)[0], IOERR)
            self.assertEqual(dev.io(T_IN, last - 1, read=1024)[0], IOERR)
            self.assertEqual(dev.io(T_IN, 2 ** 64 - 1, read=512)[0], IOERR)
            self.assertEqual(dev.io(T_IN, 2 ** 55, read=512)[0], IOERR)
            self.assertEqual(dev.io(T_IN, 0, read=100)[0], IOERR)
            self.assertEqual(dev.io(T_OUT, last, b"x" * 512)[0], IOERR)
            self.assertEqual(dev.io(99, 0, read=512)[0], UNSUPP)
            self.assertEqual(dev.io(2, 0, read=512)[0], UNSUPP)
            self.assertFalse(dev.needs_reset())

    def test_discard_and_zeroes(self):
        with self.machine(drive=",discard=unmap") as m:
            dev = Blk(m, 4).start()
            dev.write_sectors(0, b"\xaa" * 65536)
            self.assertEqual(dev.io(T_WRITE_ZEROES, 0, struct.pack("<QII", 8, 8, 0))[0], OK)
            self.assertEqual(dev.read_sectors(0, 24), b"\xaa" * 4096 + bytes(4096) + b"\xaa" * 4096)
            self.assertEqual(dev.io(T_WRITE_ZEROES, 0, struct.pack("<QII", 16, 8, 1))[0], OK)
            self.assertEqual(dev.io(T_DISCARD, 0, struct.pack("<QII", 32, 64, 0))[0], OK)
            self.assertEqual(dev.io(T_DISCARD, 0, struct.pack("<QII", 32, 64, 1))[0], UNSUPP)
            self.assertEqual(dev.io(T_DISCARD, 0, struct.pack("<QII", 32, 64, 2))[0], UNSUPP)
            self.assertEqual(dev.io(T_DISCARD, 0, struct.pack("<QII", 8191, 2, 0))[0], IOERR)
            self.assertEqual(dev.io(T_WRITE_ZEROES, 0, struct.pack("<QII", 0, 0xffffffff, 0))[0], IOERR)
            self.assertEqual(dev.io(T_WRITE_ZEROES, 0, struct.pack("<QII", 2 ** 63, 8, 0))[0], IOERR)
            self.assertEqual(dev.io(T_DISCARD, 0, b"abc")[0], IOERR)
            self.assertEqual(dev.read_sectors(0, 8), b"\xaa" * 4096)
            self.assertTrue(dev.has(F_DISCARD))
            self.assertEqual(dev.config(36, 4), 4194303)

    def test_layouts(self):
        """Header, data and status cut in every way (virtio 1.2 2.7.4)."""
        with self.machine() as m:
            dev = Blk(m, 4).start()
            at = m.alloc(8192)
            payload = bytes(range(256)) * 4
            m.write(at, struct.pack("<IIQ", T_OUT, 0, 3) + payload)
            q = dev.queues[0]
            for cut in (1, 7, 15, 17, 500, 1039):
                q.request([(at, cut, False), (at + cut, 16 + 1024 - cut, False), (at + 4096, 1, True)])
                self.assertEqual(m.rd(at + 4096, 1), OK)
                self.assertEqual(self.file_bytes(3 * 512, 1024), payload)
            q.request([(at, 1040, False), (at + 4096, 1, True)])  # all in one
            m.write(at, struct.pack("<IIQ", T_IN, 0, 3))
            written = q.request([(at, 16, False), (at + 2048, 100, True), (at + 2148, 925, True)])  # status behind the data
            self.assertEqual((written, m.read(at + 2048, 1025)), (1025, payload + b"\0"))
            bufs = [(at, 16, False)] + [(at + 2048 + 16 * i, 16, True) for i in range(64)] + [(at + 4096, 1, True)]
            self.assertEqual(q.request(bufs), 1025)
            self.assertEqual(m.read(at + 2048, 1024), payload)
            self.assertEqual(q.request(bufs, indirect=True), 1025)

    def test_merging(self):
        """Neighbours in one kick are one request; content and completion stay single."""
        with self.machine() as m:
            dev = Blk(m, 4).start()
            q = dev.queues[0]
            built = [dev.build(T_OUT, i, bytes([i]) * 512) for i in range(20)]
            built += [dev.build(T_OUT, 100 - i, bytes([i]) * 512) for i in range(5)]
            heads = [q.add(b[0]) for b in built]
            q.kick()
            self.assertEqual([q.wait(h) for h in heads], [1] * 25)
            self.assertEqual({m.rd(b[2], 1) for b in built}, {OK})
            self.assertEqual(self.file_bytes(0, 20 * 512), b"".join(bytes([i]) * 512 for i in range(20)))
            self.assertEqual(self.file_bytes(96 * 512, 5 * 512), b"".join(bytes([4 - i]) * 512 for i in range(5)))
            stats = m.qmp("query-blockstats")[0]["stats"]
            self.assertGreaterEqual(stats["wr_merged"], 19)
            reads = [dev.build(T_IN, i, read=512) for i in range(20)]
            heads = [q.add(b[0]) for b in reads]
            q.kick()
            self.assertEqual([q.wait(h) for h in heads], [513] * 20)
            for i, b in enumerate(reads):
                self.assertEqual(m.read(b[1], 512), bytes([i]) * 512)

    def test_many(self):
        """More than fits into the ring at once, completions out of order, indices beyond 65535 are not reached but wrap of the ring is."""
        for props in ("", ",packed=on"):
            with self.subTest(props), self.machine(props + ",queue-size=16") as m:
                dev = Blk(m, 4).start()
                q = dev.queues[0]
                for turn in range(12):
                    built = [dev.build(T_OUT, turn * 5 + i, bytes([turn]) * 512) for i in range(5)]
                    heads = [q.add(b[0]) for b in built]
                    q.kick()
                    for h in heads:
                        q.wait(h)
                self.assertEqual(self.file_bytes(0, 60 * 512), b"".join(bytes([t]) * 2560 for t in range(12)))

    def test_read_only(self):
        with self.machine(drive=",readonly=on") as m:
            dev = Blk(m, 4).start()
            self.assertTrue(dev.has(F_RO))
            self.assertEqual(dev.io(T_OUT, 0, b"x" * 512)[0], IOERR)
            self.assertEqual(dev.io(T_DISCARD, 0, struct.pack("<QII", 0, 8, 0))[0] in (IOERR, UNSUPP), True)
            self.assertEqual(dev.read_sectors(0, 1), bytes(512))
        self.assertEqual(self.file_bytes(0, 512), bytes(512))

    def test_write_cache(self):
        with self.machine() as m:
            dev = Blk(m, 4).start()
            self.assertTrue(dev.has(F_CONFIG_WCE) and dev.has(F_FLUSH))
            self.assertEqual(dev.config(32, 1), 1)
            dev.set_config(32, 0, 1)
            self.assertEqual(dev.config(32, 1), 0)
            dev.write_sectors(0, b"d" * 512)
            self.assertFalse(m.qmp("query-block")[0]["inserted"]["cache"]["writeback"])
            dev.reset()
            dev.start()
            self.assertEqual(dev.config(32, 1), 1)
        with self.machine() as m:  # a driver that knows neither: durable writes
            dev = Blk(m, 4, features=~(1 << F_CONFIG_WCE | 1 << F_FLUSH)).start()
            dev.write_sectors(0, b"e" * 512)
            self.assertFalse(m.qmp("query-block")[0]["inserted"]["cache"]["writeback"])

    def test_topology(self):
        with self.machine(",logical_block_size=4096,physical_block_size=16384,min_io_size=8192,opt_io_size=65536") as m:
            dev = Blk(m, 4).start()
            self.assertEqual((dev.config(20, 4), dev.config(24, 1), dev.config(26, 2), dev.config(28, 4)), (4096, 2, 2, 16))
            self.assertEqual(dev.io(T_IN, 1, read=4096)[0], IOERR)
            self.assertEqual(dev.io(T_IN, 8, read=512)[0], IOERR)
            self.assertEqual(dev.io(T_IN, 8, read=4096)[0], OK)

    def test_resize(self):
        with self.machine() as m:
            dev = Blk(m, 4, msix=True).start()
            generation = dev.get(21, 1)
            m.qmp("block_resize", device="d0", size=8 * MIB)
            wait_until("configuration interrupt", dev.config_interrupted)
            self.assertEqual(dev.capacity(), 8 * MIB // 512)
            self.assertNotEqual(dev.get(21, 1), generation)
            dev.write_sectors(8 * MIB // 512 - 1, b"z" * 512)

    def test_interrupts(self):
        """Event index and flag decide who is woken."""
        with self.machine() as m:
            dev = Blk(m, 4, msix=True).start()
            q = dev.queues[0]
            self.assertTrue(q.event)
            q.set_used_event(2)  # only when the third is used
            for i, expected in enumerate((None, False, True)):
                dev.read_sectors(0, 1)
                got = dev.interrupted(0)
                if expected is not None:
                    self.assertEqual(got, expected, i)
        with self.machine() as m:
            dev = Blk(m, 4, msix=True, features=NO_EVENT).start()
            q = dev.queues[0]
            m.wr(q.avail, 1, 2)  # NO_INTERRUPT
            dev.read_sectors(0, 1)
            time.sleep(0.02)
            self.assertFalse(dev.interrupted(0))
            m.wr(q.avail, 0, 2)
            dev.read_sectors(0, 1)
            wait_until("interrupt", lambda: dev.interrupted(0))

    def test_intx(self):
        with self.machine() as m:
            m.cmd("irq_intercept_in ioapic")
            dev = Blk(m, 4).start()
            dev.read_sectors(0, 1)
            self.assertEqual(dev.isr(), 1)
            self.assertEqual(dev.isr(), 0)


class Hostile(Case):
    """What no driver does. The device asks for a reset, and works again after it."""

    def broken(self, act, props="", must=True, **kw):
        with self.machine(props) as m:
            dev = Blk(m, 4, **kw).start()
            act(m, dev, dev.queues[0])
            dev.ring(0)
            if must:
                wait_until("NEEDS_RESET", dev.needs_reset)
            else:
                time.sleep(0.02)
            dev.start()
            dev.write_sectors(1, b"k" * 512)
            self.assertEqual(dev.read_sectors(1, 1), b"k" * 512)
            self.assertFalse(dev.needs_reset())

    def chain(self, *descs):
        """descs: (addr, len, flags, next) from descriptor 0 on; None as addr is good memory."""
        def act(m, dev, q):
            good = m.alloc(4096)
            m.write(good, struct.pack("<IIQ", T_IN, 0, 0))
            for i, (addr, length, flags, nxt) in enumerate(descs):
                q.put_desc(i, good if addr is None else addr, length, flags, nxt)
            q.publish(0)
        return act

    def test_loop(self):
        self.broken(self.chain((None, 16, 1, 1), (None, 16, 1, 0)))

    def test_self_loop(self):
        self.broken(self.chain((None, 16, 1, 0)))

    def test_next_outside(self):
        self.broken(self.chain((None, 16, 1, 60000)))

    def test_zero_length(self):
        self.broken(self.chain((None, 16, 1, 1), (None, 0, 3, 2), (None, 1, 2, 0)))

    def test_outside_ram(self):
        self.broken(self.chain((None, 16, 1, 1), (0x4000000000, 512, 3, 2), (None, 1, 2, 0)))

    def test_end_of_address_space(self):
        self.broken(self.chain((None, 16, 1, 1), (2 ** 64 - 256, 512, 3, 2), (None, 1, 2, 0)))

    def test_into_registers(self):
        self.broken(self.chain((None, 16, 1, 1), (0xfee00000, 512, 3, 2), (None, 1, 2, 0)))

    def test_four_gib(self):
        self.broken(self.chain((None, 16, 1, 1), (0, 0xffffffff, 3, 2), (None, 1, 2, 0)))

    def test_rom(self):
        self.broken(self.chain((None, 16, 1, 1), (0xfffffe00, 512, 3, 2), (None, 1, 2, 0)))

    def test_order(self):
        self.broken(self.chain((None, 16, 3, 1), (None, 16, 0, 0)))

    def test_no_header(self):
        self.broken(self.chain((None, 15, 1, 1), (None, 1, 2, 0)))

    def test_no_status(self):
        self.broken(self.chain((None, 16, 0, 0)))

    def test_indirect_with_next(self):
        self.broken(self.chain((None, 16, 5, 1), (None, 1, 2, 0)))

    def test_indirect_bad_size(self):
        self.broken(self.chain((None, 17, 4, 0)))
        self.broken(self.chain((None, 0, 4, 0)))

    def test_indirect_not_negotiated(self):
        self.broken(self.chain((None, 16, 4, 0)), features=~(1 << vd.F_INDIRECT))

    def test_indirect_outside(self):
        self.broken(self.chain((0x4000000000, 32, 4, 0)))

    def indirect(self, *descs, length=None):
        def act(m, dev, q):
            table = m.alloc(4096)
            good = m.alloc(4096)
            data = b"".join(struct.pack("<QIHH", good if a is None else a, *rest) for a, *rest in descs)
            m.write(table, data)
            q.put_desc(0, table, length or len(data), 4, 0)
            q.publish(0)
        return act

    def test_indirect_nested(self):
        self.broken(self.indirect((None, 16, 4, 0)))

    def test_indirect_loop(self):
        self.broken(self.indirect((None, 16, 1, 1), (None, 16, 1, 0)))

    def test_indirect_next_outside(self):
        self.broken(self.indirect((None, 16, 1, 2), (None, 16, 1, 0)))

    def test_indirect_huge(self):
        """A table of 4 GiB whose chain is short is fine; one that never ends is not."""
        def act(m, dev, q):
            table = m.alloc(16 * 2000)
            m.write(table, b"".join(struct.pack("<QIHH", 0x100000, 16, 1, i + 1) for i in range(1999)))
            q.put_desc(0, table, 16 * 2000, 4, 0)
            q.publish(0)
        self.broken(act)

    def test_head_outside(self):
        self.broken(lambda m, dev, q: q.publish(q.size))

    def test_index_jump(self):
        self.broken(lambda m, dev, q: m.wr(q.avail + 2, q.size + 1, 2))

    def test_same_head_over_and_over(self):
        def act(m, dev, q):
            bufs, _, _ = dev.build(T_IN, 0, read=512)
            head = q.add(bufs)
            for _ in range(20):
                q.publish(head)
        self.broken(act, must=False)

    def test_packed_endless_chain(self):
        def act(m, dev, q):
            for i in range(q.size):
                m.write(q.desc + 16 * i, struct.pack("<QIHH", 0x100000, 16, 0, vd.PACKED_AVAIL | vd.NEXT))
        with self.machine(",packed=on") as m:
            dev = Blk(m, 4).start(size=8)
            act(m, dev, dev.queues[0])
            dev.ring(0)
            wait_until("NEEDS_RESET", dev.needs_reset)
            dev.start()
            dev.write_sectors(1, b"k" * 512)

    def test_packed_zero_and_outside(self):
        for addr, length in ((0x100000, 0), (0x4000000000, 16)):
            with self.machine(",packed=on") as m:
                dev = Blk(m, 4).start(size=8)
                m.write(dev.queues[0].desc, struct.pack("<QIHH", addr, length, 0, vd.PACKED_AVAIL))
                dev.ring(0)
                wait_until("NEEDS_RESET", dev.needs_reset)

    def test_ring_places(self):
        """Rings outside RAM, unaligned, of a size that does not exist."""
        for desc, avail, used in ((0x4000000000, 0x100000, 0x101000), (0x100000, 2 ** 64 - 2, 0x101000),
                                  (0x100008, 0x101000, 0x102000), (0x100000, 0x101000, 0x102002),
                                  (0x3fffff0, 0x101000, 0x102000), (0x100000, 0x101000, 0xfff00000)):
            with self.subTest(desc=hex(desc), avail=hex(avail), used=hex(used)), self.machine() as m:
                dev = Blk(m, 4)
                dev.negotiate()
                dev.place_queue(0, 128, desc, avail, used)
                dev.drive()
                dev.ring(0)
                wait_until("NEEDS_RESET", dev.needs_reset)
                dev.start()
                dev.write_sectors(1, b"k" * 512)

    def test_ring_size(self):
        with self.machine() as m:
            dev = Blk(m, 4)
            dev.negotiate()
            for size in (0, 257, 1024, 65535):
                dev.set(24, size, 2)
                self.assertEqual(dev.get(24, 2), 256)
            dev.set(24, 100, 2)
            dev.place_queue(0, 100, 0x100000, 0x101000, 0x102000)
            dev.drive()
            wait_until("NEEDS_RESET", dev.needs_reset)

    def test_features(self):
        with self.machine() as m:
            dev = Blk(m, 4)
            dev.reset()
            dev.status = 3
            dev.accept(dev.offered() | 1 << 60)
            dev.status = 11
            self.assertFalse(dev.status & vd.S_FEATURES_OK)

    def test_registers(self):
        """Any access anywhere: nothing breaks."""
        rng = random.Random(11)
        with self.machine(",num-queues=2") as m:
            dev = Blk(m, 4, msix=True)
            for i in range(3000):
                base, span = rng.choice(((dev.common, 0x1000), (dev.common, 64), (dev.common, 64), (dev.devcfg, 128), (dev.isr_at, 16),
                                         (dev.notify, 0x1000), (dev.pci.bars[1][1], 0x1000)))
                size = rng.choice((1, 2, 4, 8))
                at = base + rng.randrange(span) // size * size
                if rng.random() < 0.4:
                    m.rd(at, size)
                else:
                    m.wr(at, rng.choice((0, 1, 0xff, 0xffff, 0xffffffff, rng.getrandbits(64))) & (1 << 8 * size) - 1, size)
            io = dev.pci.bars[0][1]
            for i in range(1000):
                size = rng.choice((1, 2, 4))
                if rng.random() < 0.4:
                    m.inp(io + rng.randrange(128) // size * size, size)
                else:
                    m.out(io + rng.randrange(128) // size * size, rng.getrandbits(8 * size), size)
            dev._enable_msix()
            dev.start()
            dev.write_sectors(1, b"k" * 512)

    def test_random_rings(self):
        """Random bytes as rings and tables, on both formats."""
        for seed in range(6):
            for props in ("", ",packed=on"):
                rng = random.Random(seed)
                with self.subTest(seed=seed, props=props), self.machine(props) as m:
                    dev = Blk(m, 4)
                    for turn in range(6):
                        dev.start(size=16)
                        q = dev.queues[0]
                        table = b""
                        for i in range(16):
                            addr = rng.choice((q.desc, m.alloc(64), 0xa0000, 0, rng.getrandbits(26), rng.getrandbits(64)))
                            length = rng.choice((1, 16, 32, 512, 513, 4096, rng.getrandbits(32)))
                            if props:
                                table += struct.pack("<QIHH", addr, length, rng.getrandbits(16),
                                                     rng.choice((0x80, 0x80, 0x81, 0x82, 0x83, 0x84, 0x8080, 0x8000, rng.getrandbits(16))))
                            else:
                                table += struct.pack("<QIHH", addr, length, rng.choice((0, 1, 2, 3, 4, rng.getrandbits(16))),
                                                     rng.choice((rng.randrange(16), rng.getrandbits(16))))
                        m.write(q.desc, table)
                        if not props:
                            m.write(q.avail, struct.pack("<HH", 0, rng.randrange(16)) + bytes(rng.randrange(16) if i % 2 == 0 else 0 for i in range(32)))
                        dev.ring(0)
                    dev.start()
                    dev.write_sectors(1, b"k" * 512)
                    self.assertEqual(dev.read_sectors(1, 1), b"k" * 512)


class Life(Case):
    def test_reset_in_flight(self):
        for props, extra in (("", ()), (",iothread=t0", ("-object", "iothread,id=t0"))):
            with self.subTest(props), self.machine(props, extra=extra) as m:
                dev = Blk(m, 4).start()
                for turn in range(10):
                    q = dev.queues[0]
                    for i in range(20):
                        q.add(dev.build(T_OUT, 64 * i, bytes([turn]) * 32768)[0])
                    q.kick()
                    if turn % 3 == 0:
                        m.qmp("system_reset")
                        m.wait_event("RESET")
                        dev.pci.map_bars()
                    dev.start()
                dev.write_sectors(0, b"r" * 512)
                self.assertEqual(self.file_bytes(0, 512), b"r" * 512)

    def test_queue_reset(self):
        with self.machine(",num-queues=2") as m:
            dev = Blk(m, 4).start(queues=2)
            self.assertTrue(dev.has(vd.F_RING_RESET))
            dev.write_sectors(0, b"a" * 512, queue=1)
            dev.set(22, 1, 2)
            dev.set(58, 1, 2)
            self.assertEqual((dev.get(58, 2), dev.get(28, 2)), (0, 0))
            dev.write_sectors(1, b"b" * 512, queue=0)
            dev.add_queue(1, 8)
            dev.write_sectors(2, b"c" * 512, queue=1)
            self.assertEqual(self.file_bytes(0, 1536), b"a" * 512 + b"b" * 512 + b"c" * 512)

    def test_stop(self):
        """A stopped machine's disk stands still and goes on with cont."""
        with self.machine() as m:
            dev = Blk(m, 4).start()
            m.qmp("stop")
            bufs, _, status = dev.build(T_OUT, 0, b"s" * 512)
            head = dev.queues[0].add(bufs)
            dev.queues[0].kick()
            time.sleep(0.05)
            self.assertEqual(m.rd(status, 1), 0xff)
            m.qmp("cont")
            dev.queues[0].wait(head)
            self.assertEqual(self.file_bytes(0, 512), b"s" * 512)

    def test_hotplug(self):
        second = os.path.join(self.dir.name, "second.img")
        with open(second, "wb") as f:
            f.truncate(MIB)
        with Machine() as m:
            for turn in range(2):
                m.qmp("blockdev-add", driver="file", node_name="store", filename=second)
                m.qmp("blockdev-add", driver="raw", node_name="fmt", file="store")
                m.qmp("device_add", driver="virtio-blk-pci", drive="fmt", id="vd", addr="5")
                dev = Blk(m, 5).start()
                dev.write_sectors(turn, b"h" * 512)
                with self.assertRaises(QmpError):
                    m.qmp("blockdev-del", node_name="fmt")
                q = dev.queues[0]
                for i in range(8):
                    q.add(dev.build(T_OUT, 64 + 8 * i, b"u" * 4096)[0])
                q.kick()
                m.qmp("device_del", id="vd")
                m.out(0xae08, 1 << 5, 4)  # the guest lets go
                event = m.wait_event("DEVICE_DELETED")
                while event["data"].get("device") != "vd":
                    event = m.wait_event("DEVICE_DELETED")
                m.qmp("blockdev-del", node_name="fmt")
                m.qmp("blockdev-del", node_name="store")
                self.assertEqual(vd.Pci(m, 5).cfg(0, 4), 0xffffffff)
            self.assertEqual(m.qmp("query-named-block-nodes"), [])

    def test_query(self):
        with self.machine() as m:
            dev = Blk(m, 4).start()
            dev.write_sectors(0, b"q" * 1024)
            dev.read_sectors(0, 1)
            dev.io(T_FLUSH, 0)
            entry = m.qmp("query-block")[0]
            self.assertEqual((entry["device"], entry["qdev"]), ("d0", "/machine/peripheral/disk0/virtio-backend"))
            stats = m.qmp("query-blockstats")[0]["stats"]
            self.assertEqual((stats["wr_bytes"], stats["rd_bytes"], stats["wr_operations"], stats["flush_operations"]), (1024, 512, 1, 1))


class Errors(Case):
    def disk(self, policy):
        """A disk whose second half can't be written: the file is on a full host. A size limit of the process plays that."""
        import resource
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, old[1]))
        try:
            return self.machine(policy)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)

    def setUp(self):
        super().setUp()
        import signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def test_report(self):
        with self.disk(",werror=report") as m:
            dev = Blk(m, 4).start()
            self.assertEqual(dev.io(T_OUT, 4096, b"x" * 512)[0], IOERR)
            self.assertEqual(dev.io(T_OUT, 0, b"x" * 512)[0], OK)
            event = m.wait_event("BLOCK_IO_ERROR")["data"]
            self.assertEqual((event["device"], event["operation"], event["action"], event["nospace"]), ("d0", "write", "report", False))

    def test_ignore(self):
        with self.disk(",werror=ignore") as m:
            dev = Blk(m, 4).start()
            self.assertEqual(dev.io(T_OUT, 4096, b"x" * 512)[0], OK)

    def test_stop_and_retry(self):
        import resource
        with self.disk(",werror=stop") as m:
            dev = Blk(m, 4).start()
            bufs, _, status = dev.build(T_OUT, 4096, b"y" * 512)
            head = dev.queues[0].add(bufs)
            dev.queues[0].kick()
            self.assertEqual(m.wait_event("BLOCK_IO_ERROR")["data"]["action"], "stop")
            m.wait_event("STOP")
            self.assertEqual(m.qmp("query-status")["status"], "io-error")
            self.assertEqual(m.qmp("query-block")[0]["io-status"], "failed")
            self.assertEqual(m.rd(status, 1), 0xff)
            resource.prlimit(m.proc.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            m.qmp("cont")
            dev.queues[0].wait(head)
            self.assertEqual(m.rd(status, 1), OK)
            self.assertEqual(m.qmp("query-block")[0]["io-status"], "ok")
            self.assertEqual(self.file_bytes(4096 * 512, 512), b"y" * 512)


class Refused(Case):
    def words(self, *args):
        return refused("-drive", f"if=none,id=d0,format=raw,file={self.image}", *args)

    def test_options(self):
        self.assertIn("drive", refused("-device", "virtio-blk-pci"))
        self.assertIn("d1", self.words("-device", "virtio-blk-pci,drive=d1"))
        for bad in ("num-queues=0", "queue-size=5", "queue-size=2048", "logical_block_size=100", "scsi=on", "seriall=x",
                    "physical_block_size=512,logical_block_size=4096", "disable-legacy=on,disable-modern=on", "iothread=none",
                    "werror=maybe", "vectors=5000"):
            with self.subTest(bad):
                self.assertTrue(self.words("-device", f"virtio-blk-pci,drive=d0,{bad}"))

    def test_in_use(self):
        words = self.words("-device", "virtio-blk-pci,drive=d0", "-device", "virtio-blk-pci,drive=d0")
        self.assertIn("in use", words)

    def test_locked(self):
        with self.machine():
            self.assertIn("lock", self.words("-device", "virtio-blk-pci,drive=d0"))

    def test_missing(self):
        self.assertIn("No such file", refused("-drive", "if=none,id=d0,format=raw,file=/nonexistent/x"))


if __name__ == "__main__":
    unittest.main()
