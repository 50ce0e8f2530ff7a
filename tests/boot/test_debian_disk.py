#!/usr/bin/env python3
"""A Debian disk image boots through SeaBIOS and GRUB to a login; work done there survives a clean shutdown."""

import hashlib
import random
import subprocess
import sys
import tempfile

import guests
from emulator import Emulator

PROMPT = r"root@rhea-guest:[^\n]*# "


def log_in(serial):
    serial.expect("GNU GRUB", 120)
    serial.expect("rhea-guest login: ", 400)
    serial.send("root\n")
    serial.expect("Password: ", 60)
    serial.send("rhea\n")
    serial.expect(PROMPT, 120)
    run(serial, "stty -echo; bind 'set enable-bracketed-paste off' 2>/dev/null; PS1='root@rhea-guest:# '")


def run(serial, command, seconds=120):
    """Output of a shell command, which must succeed."""
    serial.send(f"{command}; echo \"<$?>\"\n")
    start = serial.seen
    status = serial.expect(r"<(\d+)>", seconds).group(1)
    output = serial.text[start:serial.seen]
    assert status == "0", f"{command}: {output}"
    serial.expect(PROMPT, 60)
    return output


def arguments(disk):
    return ["-nodefaults", "-m", "512", "-drive", f"file={disk},format=raw,if=virtio,cache=writeback"]


def main():
    random.seed(7)
    text = bytes(random.choices(b"the quick brown fox\n", k=200_000))
    with tempfile.TemporaryDirectory() as folder:
        disk = guests.copy("debian.img", folder)
        with Emulator(arguments(disk), echo=sys.stdout) as guest:
            serial = guest.serial
            log_in(serial)
            assert "1267650600228229401496703205376" in run(serial, "python3 -c 'print(2**100)'")
            run(serial, "printf '#include <stdio.h>\\nint main(void){printf(\"gcc says %%d\\\\n\", 6 * 7);}' >/root/t.c")
            assert "gcc says 42" in run(serial, "gcc -O2 -o /root/t /root/t.c && /root/t", 300)
            run(serial, "python3 -c \"import random; random.seed(7); open('/root/data','wb')"
                        ".write(bytes(random.choices(b'the quick brown fox\\n', k=200_000)))\"")
            run(serial, "gzip -k9 /root/data && gunzip -c /root/data.gz | cmp - /root/data")
            assert hashlib.sha256(text).hexdigest() in run(serial, "sha256sum /root/data")
            guest.qmp.command("system_powerdown")
            guest.qmp.event("POWERDOWN")
            assert guest.qmp.event("SHUTDOWN", 180)["data"] == {"guest": True, "reason": "guest-shutdown"}
            assert guest.wait(60) == 0, guest.stderr()
        state = subprocess.run(["dumpe2fs", "-h", f"{disk}?offset=1048576"], capture_output=True, text=True, check=True)
        assert "Filesystem state:         clean" in state.stdout, state.stdout
        assert "needs_recovery" not in state.stdout, state.stdout
        with Emulator(arguments(disk), echo=sys.stdout) as guest:
            log_in(guest.serial)
            assert hashlib.sha256(text).hexdigest() in run(guest.serial, "sha256sum /root/data")
            assert "gcc says 42" in run(guest.serial, "/root/t")
            guest.qmp.command("system_powerdown")
            assert guest.wait(180) == 0, guest.stderr()


main()
