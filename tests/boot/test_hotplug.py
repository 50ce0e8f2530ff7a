#!/usr/bin/env python3
"""A virtio-blk disk comes and goes while Linux runs: the guest sees both, and what it wrote is in the image."""

import os
import sys
import tempfile

import guests
from emulator import Emulator


def main():
    with tempfile.TemporaryDirectory() as folder:
        first, second = os.path.join(folder, "first.img"), os.path.join(folder, "second.img")
        for name in (first, second):
            with open(name, "wb") as f:
                f.truncate(8 << 20)
        with Emulator(guests.bench("guest-test=hotplug", scratch=first), echo=sys.stdout) as guest:
            guest.serial.expect("GUEST-CPUS", 120)
            guest.qmp.command("blockdev-add", **{"driver": "raw", "node-name": "extra",
                                                 "file": {"driver": "file", "filename": second}})
            guest.qmp.command("device_add", driver="virtio-blk-pci", id="disk2", drive="extra")
            assert guest.serial.expect(r"HOTPLUG-SEEN (\d+)\s", 60).group(1) == str((8 << 20) // 512)
            guest.serial.expect("HOTPLUG-READ written by the guest\s", 60)
            paths = [child["name"] for child in guest.qmp.command("qom-list", path="/machine/peripheral")]
            assert "disk2" in paths, paths
            guest.qmp.command("device_del", id="disk2")
            deleted = guest.qmp.event("DEVICE_DELETED", 60)["data"]
            while "device" not in deleted:  # inner parts of the device go first and have only a path
                deleted = guest.qmp.event("DEVICE_DELETED", 60)["data"]
            assert deleted == {"device": "disk2", "path": "/machine/peripheral/disk2"}, deleted
            guest.qmp.command("blockdev-del", **{"node-name": "extra"})
            guest.serial.expect("HOTPLUG-GONE", 60)
            guest.serial.send("\n")
            assert guest.wait(60) == 0, guest.stderr()
        with open(second, "rb") as f:
            assert f.read(20) == b"written by the guest"


main()
