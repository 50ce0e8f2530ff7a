#!/usr/bin/env python3
"""An unmodified Debian kernel runs guestbench with the right checksum and powers off: status 0.

    test_bench_guest.py [CPUS]
"""

import re
import sys
import tempfile

import guests
from emulator import Emulator

ROWS = """sieve sha256 interp calls chase memcpy nbody sse2 x87 syscall pagefault fork ctxswitch
          disk-seqrd disk-rndrd disk-seqwr disk-rndwr""".split()
CHECK = "131681df0ff242ef"  # of guestbench at scale 10 on a correct CPU


def main():
    cpus = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    with tempfile.TemporaryDirectory() as folder:
        scratch = guests.copy("bench/scratch.img", folder)
        with Emulator(guests.bench("bench=10", smp=cpus, scratch=scratch), echo=sys.stdout) as guest:
            guest.serial.expect("INIT-REACHED", 120)
            assert int(guest.serial.expect(r"GUEST-CPUS (\d+)\s").group(1)) == cpus
            guest.serial.expect("BENCH-DONE", 400)
            assert guest.wait(60) == 0, guest.stderr()
            rows = re.findall(r"BENCH ([\w-]+) +([\d.]+) ns", guest.serial.text)
            assert [name for name, _ in rows] == ROWS, rows
            assert re.search(r"CHECK (\w+)", guest.serial.text).group(1) == CHECK
        with open(scratch, "rb") as f:
            assert f.read(4096) == b"Z" * 4096, "what the guest wrote is not in the image"


main()
