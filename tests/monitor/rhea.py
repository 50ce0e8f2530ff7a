"""An emulator process under test and a QMP client for it."""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

BINARY = os.environ.get('RHEA_BINARY', 'build/rhea-system-x86_64')
TIMEOUT = float(os.environ.get('RHEA_TEST_TIMEOUT', '20'))


class Qmp:
    """One client on a stream socket (or any object with recv and sendall)."""

    def __init__(self, sock, negotiate=True):
        self.sock, self.buffer, self.events = sock, b'', []
        if hasattr(sock, 'settimeout'):
            sock.settimeout(TIMEOUT)
        self.greeting = self.read()
        if negotiate:
            assert self.command('qmp_capabilities') == {}

    def read(self):
        """The next object, events included."""
        while b'\n' not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError('QMP connection closed')
            self.buffer += data
        line, self.buffer = self.buffer.split(b'\n', 1)
        return json.loads(line)

    def reply(self):
        """The next object that is not an event; events are kept."""
        while True:
            obj = self.read()
            if 'event' not in obj:
                return obj
            self.events.append(obj)

    def send(self, data):
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def raw(self, data):
        self.send(data)
        return self.reply()

    def request(self, name, **arguments):
        obj = {'execute': name}
        if arguments:
            obj['arguments'] = {k.replace('_', '-'): v for k, v in arguments.items()}
        return self.raw(json.dumps(obj))

    def command(self, name, **arguments):
        reply = self.request(name, **arguments)
        if 'return' not in reply:
            raise AssertionError(f'{name}: {reply}')
        return reply['return']

    def error(self, name, **arguments):
        reply = self.request(name, **arguments)
        if 'error' not in reply:
            raise AssertionError(f'{name} succeeded: {reply}')
        return reply['error']

    def hmp(self, line):
        return self.command('human-monitor-command', command_line=line)

    def wait_event(self, name):
        while True:
            for i, event in enumerate(self.events):
                if event['event'] == name:
                    return self.events.pop(i)
            obj = self.read()
            assert 'event' in obj, obj
            self.events.append(obj)

    def recovered(self):
        """The stream is understood again."""
        reply = self.raw("{ 'execute': 'no-such-command' }")
        assert reply['error']['class'] == 'CommandNotFound', reply


class Emulator:
    def __init__(self, *args, qmp=True, pass_fds=(), stdin=subprocess.DEVNULL, **popen):
        self.folder = tempfile.mkdtemp(prefix='rhea-test-')
        self.path = os.path.join(self.folder, 'qmp')
        command = [BINARY, '-display', 'none', '-nodefaults']
        if not any(a in ('-M', '-machine') for a in args):
            command += ['-M', 'none']
        if qmp:
            command += ['-qmp', f'unix:{self.path},server=on,wait=off']
        self.process = subprocess.Popen(command + list(args), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        pass_fds=pass_fds, **popen)
        self.qmp = self.connect() if qmp else None

    def socket(self, path=None):
        deadline = time.monotonic() + TIMEOUT
        while True:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(path or self.path)
                return sock
            except OSError:
                sock.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def connect(self, **kwargs):
        return Qmp(self.socket(), **kwargs)

    def stop(self, sig=signal.SIGTERM):
        """Ends it; (status, stdout, stderr)."""
        if self.process.poll() is None and sig:
            self.process.send_signal(sig)
        out, err = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out.decode(errors='replace'), err.decode(errors='replace')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        if self.qmp:
            self.qmp.sock.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def run(*args, **kwargs):
    """A process that ends by itself: (status, stdout, stderr)."""
    done = subprocess.run([BINARY, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False, **kwargs)
    return done.returncode, done.stdout.decode(errors='replace'), done.stderr.decode(errors='replace')


class Case(unittest.TestCase):
    def emulator(self, *args, **kwargs):
        emulator = Emulator(*args, **kwargs)
        self.addCleanup(emulator.__exit__)
        return emulator

    def folder(self):
        folder = tempfile.mkdtemp(prefix='rhea-test-')
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return folder
