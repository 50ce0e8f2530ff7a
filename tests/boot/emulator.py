"""Runs an emulator for the boot tests: serial port and QMP on sockets, with waits that have a limit.

The binary is RHEA_BINARY, or build/rhea-system-x86_64; the same class also drives QEMU for the comparisons.
"""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import tempfile
import time


class Timeout(AssertionError):
    """What was waited for did not come in time; the text holds the end of the output."""


class Stream:
    """A socket whose output is kept, with waits for a regular expression in what has not been consumed yet."""

    def __init__(self, sock, echo=None):
        self.sock = sock
        self.text = ""
        self.seen = 0
        self.echo = echo

    def pump(self, seconds):
        """Takes what arrives within `seconds`; False at the end of the stream."""
        ready, _, _ = select.select([self.sock], [], [], seconds)
        if not ready:
            return True
        data = self.sock.recv(65536)
        text = data.decode("utf-8", "replace")
        self.text += text
        if self.echo and text:
            self.echo.write(text)
            self.echo.flush()
        return bool(data)

    def expect(self, pattern, seconds=60):
        """The match of `pattern` after everything matched before."""
        limit = time.monotonic() + seconds
        alive = True
        while True:
            match = re.search(pattern, self.text[self.seen:])
            if match:
                self.seen += match.end()
                return match
            left = limit - time.monotonic()
            if left <= 0 or not alive:
                why = "time is up" if alive else "the other end closed"
                raise Timeout(f"{why} waiting for {pattern!r}; the last output was:\n{self.text[-3000:]}")
            alive = self.pump(min(left, 1))

    def send(self, text):
        self.sock.sendall(text.encode())


class Qmp:
    """A QMP client that has negotiated; events are kept in order of arrival."""

    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("r")
        self.events = []
        self.greeting = self._read()
        self.command("qmp_capabilities")

    def _read(self):
        line = self.file.readline()
        if not line:
            raise EOFError("the QMP socket was closed")
        return json.loads(line)

    def raw(self, name, **arguments):
        """The whole reply object, an error too."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = {k.replace("_", "-") if k.endswith("_") else k: v for k, v in arguments.items()}
        self.sock.sendall((json.dumps(request) + "\r\n").encode())
        while True:
            reply = self._read()
            if "event" in reply:
                self.events.append(reply)
            else:
                return reply

    def command(self, name, **arguments):
        reply = self.raw(name, **arguments)
        if "return" not in reply:
            raise AssertionError(f"{name} {arguments}: {reply}")
        return reply["return"]

    def event(self, name, seconds=60):
        """The next event of this name; earlier ones of other names stay."""
        limit = time.monotonic() + seconds
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            self.sock.settimeout(max(0.01, limit - time.monotonic()))
            try:
                reply = self._read()
            except (TimeoutError, socket.timeout):
                raise Timeout(f"no event {name} within {seconds} s; others: {self.events}") from None
            finally:
                self.sock.settimeout(None)
            if "event" in reply:
                self.events.append(reply)


class Emulator:
    """One process. Serial port 0 and QMP are connected; used as a context manager it never leaves the process behind."""

    def __init__(self, arguments, binary=None, serial=True, echo=None):
        self.binary = binary or default_binary()
        self.dir = tempfile.mkdtemp(prefix="rhea-test-")
        argv = [self.binary, "-display", "none", "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off"]
        if serial:
            argv += ["-serial", f"unix:{self.dir}/serial,server=on,wait=on"]
        argv += ["-monitor", "none"] + list(arguments)
        self.started = time.monotonic()
        self.stderr_file = open(f"{self.dir}/stderr", "w+b")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.stderr_file, stderr=self.stderr_file)
        try:
            self.serial = Stream(self._connect("serial"), echo) if serial else None
            self.qmp = Qmp(self._connect("qmp"))
            self.greeting_seconds = time.monotonic() - self.started
        except BaseException:
            self.close()
            raise

    def stderr(self):
        self.stderr_file.flush()
        with open(f"{self.dir}/stderr", encoding="utf-8", errors="replace") as f:
            return f.read()

    def _connect(self, name):
        limit = time.monotonic() + 30
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(f"{self.dir}/{name}")
                return sock
            except OSError:
                sock.close()
                if self.process.poll() is not None:
                    raise AssertionError(f"{self.binary} ended with status {self.process.returncode}: "
                                         f"{self.stderr()}") from None
                if time.monotonic() > limit:
                    raise Timeout(f"{self.binary} does not listen on {name}: {self.stderr()}") from None
                time.sleep(0.001)

    def wait(self, seconds=60):
        """Exit status."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            tail = self.serial.text[-2000:] if self.serial else ""
            raise Timeout(f"still running after {seconds} s; serial output ends with:\n{tail}") from None

    def resident_kib(self):
        """Memory of the process that is not guest RAM, in KiB: everything resident but the mapping named by guest RAM's size."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stream in (getattr(self, "serial", None), getattr(self, "qmp", None)):
            if stream:
                stream.sock.close()
        self.stderr_file.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def default_binary():
    here = os.path.dirname(os.path.abspath(__file__))
    return os.environ.get("RHEA_BINARY", os.path.join(here, "..", "..", "build", "rhea-system-x86_64"))
