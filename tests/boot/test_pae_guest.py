#!/usr/bin/env python3
"""Debian's 32-bit PAE kernel reaches init and computes what a CPU must."""

import hashlib
import sys

import guests
from emulator import Emulator

SUM = sum(i * i % 7 for i in range(1, 20001))


def main():
    arguments = ["-nodefaults", "-no-reboot", "-m", "256", "-kernel", guests.need("pae/vmlinuz"),
                 "-initrd", guests.need("pae/initrd.img"), "-append", "console=ttyS0 quiet panic=-1"]
    with Emulator(arguments, echo=sys.stdout) as guest:
        assert guest.serial.expect(r"INIT-REACHED (\w+)\s", 180).group(1) == "i686"
        guest.serial.expect(r"\bpae\b", 20)
        assert int(guest.serial.expect(r"GUEST-SUM (\d+)\s", 120).group(1)) == SUM
        digest = guest.serial.expect(r"GUEST-SHA (\w+)\s", 120).group(1)
        assert digest == hashlib.sha256(bytes(4 << 20)).hexdigest(), digest
        guest.serial.expect("GUEST-DONE", 20)
        assert guest.wait(30) == 0, guest.stderr()


main()
