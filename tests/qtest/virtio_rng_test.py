#!/usr/bin/env python3
"""virtio-rng over PCI: bytes, their rate, back ends, hostile buffers."""
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from qtest import Machine, refused, wait_until
from virtio_driver import Device, Pci


class Rng(unittest.TestCase):
    def ask(self, m, dev, sizes):
        at = m.alloc(sum(sizes))
        m.write(at, bytes(sum(sizes)))
        q = dev.queues[0]
        bufs, pos = [], at
        for size in sizes:
            bufs.append((pos, size, True))
            pos += size
        written = q.request(bufs)
        return m.read(at, sum(sizes)), written

    def check(self, *props, **kw):
        with Machine(*props) as m:
            dev = Device(m, 4, **kw).start()
            data, written = self.ask(m, dev, [64, 1, 100])
            self.assertTrue(1 <= written <= 165)
            self.assertNotEqual(data[:written], bytes(written))
            self.assertEqual(data[written:], bytes(165 - written))
            again, _ = self.ask(m, dev, [64, 1, 100])
            self.assertNotEqual(data, again)

    def test_builtin(self):
        self.check("-device", "virtio-rng-pci,addr=4")

    def test_legacy(self):
        self.check("-device", "virtio-rng-pci-transitional,addr=4", legacy=True)

    def test_packed(self):
        self.check("-device", "virtio-rng-pci,addr=4,packed=on")

    def test_urandom(self):
        self.check("-object", "rng-random,id=r0,filename=/dev/urandom", "-device", "virtio-rng-pci-non-transitional,addr=4,rng=r0")

    def test_ids(self):
        with Machine("-device", "virtio-rng-pci,addr=4", "-device", "virtio-rng-pci-non-transitional,addr=5") as m:
            self.assertEqual((Pci(m, 4).cfg(0, 4), Pci(m, 4).cfg(8, 4), Pci(m, 4).cfg(0x2e, 2)), (0x10051af4, 0x00ff0000, 4))
            self.assertEqual((Pci(m, 5).cfg(0, 4), Pci(m, 5).cfg(8, 4)), (0x10441af4, 0x00ff0001))

    def test_rate(self):
        """max-bytes in a period of guest time."""
        with Machine("-device", "virtio-rng-pci,addr=4,max-bytes=100,period=1000") as m:
            dev = Device(m, 4).start()
            data, written = self.ask(m, dev, [64])
            self.assertEqual(written, 64)
            data, written = self.ask(m, dev, [64])
            self.assertEqual(written, 36)
            q = dev.queues[0]
            at = m.alloc(64)
            head = q.add([(at, 64, True)])
            q.kick()
            time.sleep(0.05)
            self.assertFalse(q.poll())
            m.clock_step(999 * 1000000)
            time.sleep(0.02)
            self.assertFalse(q.poll())
            m.clock_step(2 * 1000000)
            self.assertEqual(q.wait(head), 64)

    def test_hostile(self):
        with Machine("-device", "virtio-rng-pci,addr=4") as m:
            dev = Device(m, 4).start()
            at = m.alloc(64)
            q = dev.queues[0]
            q.add([(at, 64, False)])  # nothing to write to
            q.kick()
            wait_until("NEEDS_RESET", dev.needs_reset)
            dev.start()
            self.assertGreater(self.ask(m, dev, [8])[1], 0)

    def test_reset_in_flight(self):
        with Machine("-device", "virtio-rng-pci,addr=4") as m:
            for _ in range(20):
                dev = Device(m, 4).start()
                q = dev.queues[0]
                for i in range(4):
                    q.add([(m.alloc(4096), 4096, True)])
                q.kick()
            m.qmp("system_reset")
            m.wait_event("RESET")
            dev = Device(m, 4).start()
            self.assertGreater(self.ask(m, dev, [8])[1], 0)

    def test_refused(self):
        for bad in ("period=0", "max-bytes=9223372036854775808", "rng=nobody", "maxbytes=1"):
            self.assertTrue(refused("-device", f"virtio-rng-pci,{bad}"))


if __name__ == "__main__":
    unittest.main()
