#!/usr/bin/env python3
"""memtest86+ (Debian's package, entered as a Linux kernel) passes its first test; its screen is read from the serial console."""

import sys

import guests
from emulator import Emulator


def main():
    kernel = "/boot/memtest86+x64.bin"
    try:
        open(kernel, "rb").close()
    except OSError:
        print(f"SKIP: {kernel} is missing (package memtest86+)")
        sys.exit(guests.SKIP)
    arguments = ["-nodefaults", "-m", "32", "-kernel", kernel, "-append", "console=ttyS0,115200"]
    with Emulator(arguments, echo=sys.stdout) as guest:
        guest.serial.expect(r"Memtest86\+ v6", 60)
        guest.serial.expect(r"#0 ", 60)
        guest.serial.expect(r"#[1-9]", 120)  # another test has begun, so the first one is over
        assert "Errors: 0" in guest.serial.text
        assert "FAIL" not in guest.serial.text
        guest.qmp.command("quit")
        assert guest.wait(20) == 0


main()
