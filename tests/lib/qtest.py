"""A machine under the qtest accelerator: ports, memory, time and irqs over one socket, QMP over another.

The emulator connects to both sockets, as QEMU's does, so that the same tests run on QEMU for a second opinion:
RHEA_BIN=qemu-system-x86_64."""
import base64
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

BINARY = os.environ.get("RHEA_BIN", "./rhea-system-x86_64")
IS_QEMU = "qemu-" in os.path.basename(BINARY)
TIMEOUT = float(os.environ.get("RHEA_TEST_TIMEOUT", "30"))


class QmpError(Exception):
    def __init__(self, error):
        super().__init__(error["desc"])
        self.klass = error["class"]


class Machine:
    """with Machine("-device", ...) as m: ... The process must end cleanly on SIGTERM."""

    def __init__(self, *args, ram="64M", accel="qtest"):
        self.dir = tempfile.mkdtemp(prefix="rhea-qtest-")
        self.irqs = set()
        self.events = []
        self.msgs = b""
        self.line = b""
        listeners = [self._listen("qtest"), self._listen("qmp")]
        command = [BINARY, "-nodefaults", "-display", "none", "-m", ram, "-qtest", f"unix:{self.dir}/qtest",
                   "-chardev", f"socket,path={self.dir}/qmp,id=qmp0", "-mon", "chardev=qmp0,mode=control",
                   *args, "-accel", accel]
        self.proc = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        try:
            self.sock, self.mon = (self._accept(l) for l in listeners)
        except Exception:
            self.proc.kill()
            raise
        self.cmd("endianness")
        self._qmp_read()
        self.qmp("qmp_capabilities")
        self.next_page = 0x100000

    def _listen(self, name):
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(f"{self.dir}/{name}")
        sock.listen(1)
        sock.settimeout(0.2)
        return sock

    def _accept(self, listener):
        end = time.time() + TIMEOUT
        while time.time() < end:
            try:
                sock, _ = listener.accept()
                sock.settimeout(TIMEOUT)
                listener.close()
                return sock
            except socket.timeout:
                if self.proc.poll() is not None:
                    raise RuntimeError("emulator ended: " + self.proc.stderr.read().decode())
        raise RuntimeError("emulator did not connect")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(kind is None)

    def close(self, check=True):
        self.proc.terminate()
        try:
            status = self.proc.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            status = "hang on SIGTERM"
        self.stderr = self.proc.stderr.read().decode(errors="replace")
        self.proc.stderr.close()
        self.sock.close()
        self.mon.close()
        shutil.rmtree(self.dir, ignore_errors=True)
        if check and status != 0:
            raise RuntimeError(f"exit status {status}: {self.stderr}")
        if "Sanitizer" in self.stderr or "runtime error" in self.stderr:
            raise RuntimeError(self.stderr)

    # ---- the test channel ----

    def cmd(self, text):
        self.sock.sendall(text.encode() + b"\n")
        while True:
            words = self._read_line().split()
            if words[0] == "IRQ":
                number = int(words[2])
                self.irqs.add(number) if words[1] == "raise" else self.irqs.discard(number)
                continue
            if words[0] != "OK":
                raise RuntimeError(f"{text[:60]}: {' '.join(words)}")
            return words[1:]

    def _read_line(self):
        while b"\n" not in self.line:
            data = self.sock.recv(65536)
            if not data:
                raise RuntimeError("emulator closed the test channel: " + self.proc.stderr.read().decode())
            self.line += data
        line, self.line = self.line.split(b"\n", 1)
        return line.decode()

    def inp(self, port, size):
        return int(self.cmd(f"in{'bwxl'[size - 1]} 0x{port:x}")[0], 16)

    def out(self, port, value, size):
        self.cmd(f"out{'bwxl'[size - 1]} 0x{port:x} 0x{value:x}")

    def rd(self, addr, size):
        return int(self.cmd(f"read{ {1: 'b', 2: 'w', 4: 'l', 8: 'q'}[size]} 0x{addr:x}")[0], 16)

    def wr(self, addr, value, size):
        self.cmd(f"write{ {1: 'b', 2: 'w', 4: 'l', 8: 'q'}[size]} 0x{addr:x} 0x{value:x}")

    def read(self, addr, size):
        return base64.b64decode(self.cmd(f"b64read 0x{addr:x} 0x{size:x}")[0]) if size else b""

    def write(self, addr, data):
        if data:
            self.cmd(f"b64write 0x{addr:x} 0x{len(data):x} {base64.b64encode(data).decode()}")

    def alloc(self, size, align=4096):
        addr = (self.next_page + align - 1) & ~(align - 1)
        self.next_page = addr + size
        return addr

    def clock_step(self, ns=None):
        return int(self.cmd("clock_step" if ns is None else f"clock_step {ns}")[0])

    # ---- QMP ----

    def _qmp_read(self):
        while b"\n" not in self.msgs:
            data = self.mon.recv(65536)
            if not data:
                raise RuntimeError("emulator closed QMP")
            self.msgs += data
        line, self.msgs = self.msgs.split(b"\n", 1)
        return json.loads(line) if line.strip() else self._qmp_read()

    def qmp(self, execute, **arguments):
        arguments = {k.replace("_", "-") if k not in ("driver", "device_id") else k: v for k, v in arguments.items()}
        self.mon.sendall(json.dumps({"execute": execute, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = self._qmp_read()
            if "event" in reply:
                self.events.append(reply)
            elif "error" in reply:
                raise QmpError(reply["error"])
            elif "return" in reply:
                return reply["return"]

    def wait_event(self, name):
        """The next event of this name, also if it came while we waited for something else."""
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(i)
            self.events.append(self._qmp_read())


def refused(*args):
    """Starts an emulator that must refuse its command line; its words."""
    done = subprocess.run([BINARY, "-nodefaults", "-display", "none", *args, "-accel", "qtest"], timeout=TIMEOUT,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 1, (done.returncode, done.stderr)
    assert done.stderr.strip(), "no word on stderr"
    return done.stderr


def wait_until(what, condition, machine=None):
    end = time.time() + TIMEOUT
    while not condition():
        if time.time() > end:
            raise RuntimeError(f"timed out waiting for {what}")
        time.sleep(0.001)
