"""Character devices with real sockets, terminals and files. What connects them is a second monitor: it answers what it is sent."""
import fcntl
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import time
import unittest

from rhea import BINARY, TIMEOUT, Case, Qmp, run


class FdSocket:
    """A descriptor (terminal, fifo) as Qmp wants it."""

    def __init__(self, read_fd, write_fd=None):
        self.read_fd, self.write_fd = read_fd, read_fd if write_fd is None else write_fd

    def recv(self, n):
        if not select.select([self.read_fd], [], [], TIMEOUT)[0]:
            raise TimeoutError
        return os.read(self.read_fd, n)

    def sendall(self, data):
        os.write(self.write_fd, data)


class Sockets(Case):
    def test_unix_server_serves_again(self):
        emulator = self.emulator()
        for _ in range(3):
            emulator.qmp.sock.close()
            emulator.qmp = emulator.connect()
            info = emulator.qmp.command('query-chardev')
            self.assertEqual(info, [{'frontend-open': True, 'filename': f'unix:{emulator.path},server=on', 'label': 'compat_monitor0'}])
        emulator.stop()
        self.assertFalse(os.path.exists(emulator.path))

    def test_second_client_waits(self):
        emulator = self.emulator()
        second = emulator.socket()
        second.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            second.recv(1)
        emulator.qmp.sock.close()
        emulator.qmp = Qmp(second)

    def test_client(self):
        path = os.path.join(self.folder(), 's')
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(1)
        emulator = self.emulator('-qmp', f'unix:{path}', qmp=False)
        emulator.qmp = Qmp(listener.accept()[0])
        self.assertEqual(emulator.qmp.command('query-chardev')[0]['filename'], f'unix:{path}')

    def test_client_without_server(self):
        status, _, err = run('-M', 'none', '-qmp', 'unix:/tmp/rhea-no-such-socket')
        self.assertEqual(status, 1)
        self.assertEqual(err.count('\n'), 1)
        self.assertIn('rhea-no-such-socket', err)

    def test_reconnect(self):
        path = os.path.join(self.folder(), 's')
        emulator = self.emulator('-chardev', f'socket,id=c,path={path},reconnect=1', '-mon', 'c,mode=control')
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(path)
        listener.listen(1)
        listener.settimeout(TIMEOUT)
        for _ in range(2):
            peer = Qmp(listener.accept()[0])
            peer.command('query-status')
            peer.sock.close()
        listener.close()
        deadline = time.monotonic() + TIMEOUT
        while 'disconnected:unix:' + path not in [c['filename'] for c in emulator.qmp.command('query-chardev')]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_tcp(self):
        emulator = self.emulator('-qmp', 'tcp:127.0.0.1:0,server=on,wait=off,nodelay=on')
        info = next(c for c in emulator.qmp.command('query-chardev') if 'tcp' in c['filename'])
        port = int(info['filename'].split(':')[3].split(',')[0])
        peer = Qmp(socket.create_connection(('127.0.0.1', port)))
        info = next(c for c in peer.command('query-chardev') if 'tcp' in c['filename'])
        local = peer.sock.getsockname()
        self.assertEqual(info['filename'], f'tcp:127.0.0.1:{port},server=on <-> 127.0.0.1:{local[1]}')
        peer.sock.close()

    def test_tcp_port_range(self):
        blocker = socket.socket()
        self.addCleanup(blocker.close)
        blocker.bind(('127.0.0.1', 0))
        blocker.listen(1)
        port = blocker.getsockname()[1]
        emulator = self.emulator('-chardev', f'socket,id=c,host=127.0.0.1,port={port},to={min(port + 20, 65535)},server=on,wait=off')
        info = next(c for c in emulator.qmp.command('query-chardev') if c['label'] == 'c')
        self.assertNotIn(f':{port},', info['filename'])
        status, _, err = run('-M', 'none', '-chardev', f'socket,id=c,host=127.0.0.1,port={port},server=on,wait=off')
        self.assertEqual((status, err.count('\n')), (1, 1))

    def test_old_spelling(self):
        path = os.path.join(self.folder(), 's')
        emulator = self.emulator('-qmp', f'unix:{path},server,nowait')
        Qmp(emulator.socket(path)).sock.close()

    def test_abstract(self):
        name = f'rhea-test-{os.getpid()}'
        self.emulator('-chardev', f'socket,id=c,path={name},abstract=on,server=on,wait=off', '-mon', 'c,mode=control')
        sock = socket.socket(socket.AF_UNIX)
        sock.connect('\0' + name)
        Qmp(sock).sock.close()

    def test_inherited_listener(self):
        """As libvirt hands over its monitor."""
        path = os.path.join(self.folder(), 's')
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen(1)
        fd = listener.fileno()
        emulator = self.emulator('-S', '-chardev', f'socket,id=charmonitor,fd={fd},server=on,wait=off',
                                 '-mon', 'chardev=charmonitor,id=monitor,mode=control', qmp=False, pass_fds=[fd])
        listener.close()
        for _ in range(3):
            qmp = Qmp(emulator.socket(path))
            self.assertEqual(qmp.command('query-status')['status'], 'prelaunch')
            qmp.sock.close()
        self.assertEqual(emulator.stop()[0], 0)
        self.assertTrue(os.path.exists(path), 'an inherited socket is not ours to remove')

    def test_inherited_connection(self):
        ours, theirs = socket.socketpair()
        emulator = self.emulator('-chardev', f'socket,id=c,fd={theirs.fileno()}', '-mon', 'c,mode=control', qmp=False,
                                 pass_fds=[theirs.fileno()])
        theirs.close()
        emulator.qmp = Qmp(ours)
        emulator.qmp.command('query-status')

    def test_wrong_descriptors(self):
        ours, theirs = socket.socketpair()
        for option in (f'fd={theirs.fileno()},server=on,wait=off', 'fd=77', 'fd=name', 'fd=2'):
            done = subprocess.run([BINARY, '-M', 'none', '-chardev', 'socket,id=c,' + option], pass_fds=[theirs.fileno()], timeout=TIMEOUT,
                                  stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
            self.assertEqual((done.returncode, done.stderr.count(b'\n')), (1, 1), option)
        ours.close()
        theirs.close()

    def test_wait(self):
        path = os.path.join(self.folder(), 's')
        emulator = self.emulator('-chardev', f'socket,id=c,path={path},server=on', qmp=False)
        sock = emulator.socket(path)
        self.assertIsNone(emulator.process.poll())
        sock.close()
        self.assertEqual(emulator.stop()[0], 0)

    def test_sigterm_while_waiting(self):
        path = os.path.join(self.folder(), 's')
        emulator = self.emulator('-chardev', f'socket,id=c,path={path},server=on', qmp=False)
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        self.assertEqual(emulator.stop()[0], 0)
        self.assertFalse(os.path.exists(path))

    def test_telnet(self):
        emulator = self.emulator('-monitor', 'telnet:127.0.0.1:0,server=on,wait=off')
        info = next(c for c in emulator.qmp.command('query-chardev') if 'tcp' in c['filename'])
        sock = socket.create_connection(('127.0.0.1', int(info['filename'].split(':')[3].split(',')[0])))
        sock.settimeout(TIMEOUT)
        data = b''
        while b'(qemu) ' not in data:
            data += sock.recv(4096)
        self.assertTrue(data.startswith(b'\xff\xfb'), data)
        sock.sendall(b'\xff\xfd\x03in\xff\xfa\x18\x00xterm\xff\xf0fo sta\xff\xf1tus\r\0')
        while b'running' not in data:
            data += sock.recv(4096)
        sock.close()

    def test_add_remove(self):
        emulator = self.emulator()
        qmp, path = emulator.qmp, os.path.join(emulator.folder, 'added')
        backend = {'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': path}}, 'wait': False}}
        for _ in range(3):
            qmp.command('chardev-add', id='c1', backend=backend)
            self.assertTrue(os.path.exists(path))
            self.assertIn('exists', qmp.error('chardev-add', id='c1', backend=backend)['desc'])
            emulator.socket(path).close()
            qmp.command('chardev-remove', id='c1')
            self.assertFalse(os.path.exists(path))
        self.assertEqual(qmp.error('chardev-remove', id='c1')['class'], 'GenericError')
        self.assertIn('in use', qmp.error('chardev-remove', id='compat_monitor0')['desc'])
        self.assertIn('wait', qmp.error('chardev-add', id='c1', backend={'type': 'socket', 'data': {
            'addr': {'type': 'unix', 'data': {'path': path}}, 'wait': True}})['desc'])
        self.assertEqual(len(qmp.command('query-chardev')), 1)

    def test_big_answers_over_a_slow_reader(self):
        qmp = self.emulator().qmp
        qmp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        qmp.send('{"execute": "query-qmp-schema"}' * 20)
        time.sleep(0.3)
        first = qmp.reply()
        for _ in range(19):
            self.assertEqual(qmp.reply(), first)


class Files(Case):
    def test_file(self):
        path = os.path.join(self.folder(), 'out')
        for append, expected in ((False, 1), (True, 2), (False, 1)):
            emulator = self.emulator('-chardev', f'file,id=f,path={path},append={"on" if append else "off"}', '-mon', 'f,mode=control')
            emulator.stop()
            with open(path, encoding='utf-8') as f:
                self.assertEqual(f.read().count('"QMP"'), expected)

    def test_file_input(self):
        folder = self.folder()
        with open(f'{folder}/in', 'w', encoding='utf-8') as f:
            f.write('{"execute":"qmp_capabilities"}{"execute":"query-name","id":"from a file"}{"execute":"quit"}')
        emulator = self.emulator('-chardev', f'file,id=f,path={folder}/out,input-path={folder}/in', '-mon', 'f,mode=control', qmp=False)
        self.assertEqual(emulator.stop(sig=None)[0], 0)
        with open(f'{folder}/out', encoding='utf-8') as f:
            self.assertIn('from a file', f.read())

    def test_log(self):
        folder = self.folder()
        for append in ('off', 'on'):
            emulator = self.emulator('-chardev', f'null,id=n,logfile={folder}/log,logappend={append}', '-mon', 'n,mode=control')
            emulator.stop()
        with open(f'{folder}/log', encoding='utf-8') as f:
            self.assertEqual(f.read().count('"QMP"'), 2)

    def test_fdset(self):
        """As libvirt hands over log files."""
        path = os.path.join(self.folder(), 'log')
        with open(path, 'wb') as f:
            emulator = self.emulator('-add-fd', f'set=3,fd={f.fileno()},opaque=serial0-source', '-chardev', 'file,id=c,path=/dev/fdset/3,append=on',
                                     '-mon', 'c,mode=control', pass_fds=[f.fileno()])
            sets = emulator.qmp.command('query-fdsets')
            self.assertEqual((sets[0]['fdset-id'], sets[0]['fds'][0]['opaque']), (3, 'serial0-source'))
            emulator.stop()
        with open(path, 'rb') as f:
            self.assertEqual(f.read().count(b'"QMP"'), 1)

    def test_pipe(self):
        folder = self.folder()
        os.mkfifo(f'{folder}/p.in')
        os.mkfifo(f'{folder}/p.out')
        out = os.open(f'{folder}/p.out', os.O_RDWR)
        into = os.open(f'{folder}/p.in', os.O_RDWR)
        emulator = self.emulator('-qmp', f'pipe:{folder}/p', qmp=False)
        qmp = Qmp(FdSocket(out, into))
        qmp.command('query-status')
        qmp.command('quit')
        self.assertEqual(emulator.stop(sig=None)[0], 0)
        os.close(out)
        os.close(into)

    def test_bad_paths(self):
        for option in ('file,id=f,path=/no/such/folder/f', 'file,id=f', 'pipe,id=f,path=/no/such/pipe', 'ringbuf,id=f,size=3', 'ringbuf,id=f,size=0',
                       'null,id=f,logfile=/no/such/folder/f', 'file,id=f,path=/dev/fdset/9'):
            status, _, err = run('-M', 'none', '-chardev', option)
            self.assertEqual((status, err.count('\n')), (1, 1), option + err)


class Ringbuf(Case):
    def test_wraps(self):
        qmp = self.emulator('-chardev', 'ringbuf,id=r,size=8').qmp
        qmp.command('ringbuf-write', device='r', data='abcdefghijkl')
        self.assertEqual(qmp.command('ringbuf-read', device='r', size=4), 'efgh')
        qmp.command('ringbuf-write', device='r', data='AAH/', format='base64')
        self.assertEqual(qmp.command('ringbuf-read', device='r', size=100, format='base64'), 'aWprbAAB/w==')
        self.assertEqual(qmp.command('ringbuf-read', device='r', size=1), '')
        for arguments in ({'device': 'r', 'size': 0}, {'device': 'x', 'size': 1}, {'device': 'compat_monitor0', 'size': 1}):
            self.assertEqual(qmp.error('ringbuf-read', **arguments)['class'], 'GenericError')


class Terminals(Case):
    def test_pty(self):
        emulator = self.emulator('-chardev', 'pty,id=p', '-mon', 'p,mode=control')
        info = next(c for c in emulator.qmp.command('query-chardev') if c['label'] == 'p')
        self.assertTrue(info['filename'].startswith('pty:/dev/pts/'))
        for _ in range(3):
            fd = os.open(info['filename'][4:], os.O_RDWR | os.O_NOCTTY)
            qmp = Qmp(FdSocket(fd))
            qmp.command('query-status')
            os.close(fd)
            time.sleep(0.05)
        out = emulator.stop()[1]
        self.assertEqual(out, f'char device redirected to {info["filename"][4:]} (label p)\n')

    def test_pty_is_raw(self):
        emulator = self.emulator('-chardev', 'pty,id=p')
        info = next(c for c in emulator.qmp.command('query-chardev') if c['label'] == 'p')
        fd = os.open(info['filename'][4:], os.O_RDWR | os.O_NOCTTY)
        self.assertFalse(termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ICANON))
        os.close(fd)

    def test_pty_added(self):
        qmp = self.emulator().qmp
        answer = qmp.command('chardev-add', id='p', backend={'type': 'pty'})
        self.assertTrue(answer['pty'].startswith('/dev/pts/'))
        qmp.command('chardev-remove', id='p')


class Stdio(Case):
    """The emulator on a terminal of its own."""

    def launch(self, *args):
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        process = subprocess.Popen([BINARY, '-M', 'none', '-display', 'none', '-nodefaults', *args], stdin=self.slave, stdout=self.slave,
                                   stderr=self.slave, start_new_session=True)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        return process

    def until(self, end):
        data = b''
        while end not in data:
            self.assertTrue(select.select([self.master], [], [], TIMEOUT)[0], data)
            data += os.read(self.master, 4096)
        return data

    def restored(self):
        self.assertEqual(termios.tcgetattr(self.slave), self.before)

    def test_raw_and_restored(self):
        process = self.launch('-monitor', 'stdio')
        self.until(b'(qemu) ')
        self.assertFalse(termios.tcgetattr(self.slave)[3] & (termios.ECHO | termios.ICANON))
        os.write(self.master, b'info status\r')
        self.until(b'running')
        os.write(self.master, b'quit\r')
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.restored()

    def test_restored_on_signals(self):
        for sig, status in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, 0), (signal.SIGSEGV, -11), (signal.SIGABRT, -6),
                            (signal.SIGQUIT, -3), (signal.SIGILL, -4), (signal.SIGFPE, -8), (signal.SIGBUS, -7)):
            if status < 0 and 'asan' in BINARY:
                continue  # the sanitizer's own handlers
            process = self.launch('-monitor', 'stdio')
            self.until(b'(qemu) ')
            process.send_signal(sig)
            self.assertEqual(process.wait(TIMEOUT), status, sig)
            self.restored()

    def test_restored_on_start_error(self):
        process = self.launch('-monitor', 'stdio', '-device', 'no-such-device')
        self.assertEqual(process.wait(TIMEOUT), 1)
        self.restored()

    def test_flags_of_the_terminal_stay(self):
        process = self.launch('-monitor', 'stdio')
        self.until(b'(qemu) ')
        self.assertFalse(fcntl.fcntl(self.slave, fcntl.F_GETFL) & os.O_NONBLOCK)
        process.terminate()
        process.wait(TIMEOUT)

    def test_mux_escapes(self):
        process = self.launch('-chardev', 'stdio,id=m,mux=on,signal=off', '-mon', 'm,mode=control', '-mon', 'm')
        self.until(b'"oob"]}}')
        os.write(self.master, b'\x01h')
        self.until(b'C-a x')
        os.write(self.master, b'\x01c{"execute":"qmp_capabilities"}\n')
        self.until(b'{"return": {}}')
        os.write(self.master, b'\x01t{"execute":"query-name"}\n')
        self.until(b'[00:00:0')
        os.write(self.master, b'\x01\x01')
        self.until(b'0x01')
        os.write(self.master, b'\x01x')
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.restored()

    def test_nographic(self):
        """Console and monitor on one terminal, before the guest runs too."""
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        self.before = termios.tcgetattr(self.slave)
        process = subprocess.Popen([BINARY, '-M', 'pc', '-m', '16', '-accel', 'tcg', '-nographic', '-S'], stdin=self.slave, stdout=self.slave,
                                   stderr=self.slave, start_new_session=True)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        deadline = time.monotonic() + TIMEOUT
        while termios.tcgetattr(self.slave) == self.before and time.monotonic() < deadline:
            time.sleep(0.01)
        os.write(self.master, b'\x01c')
        self.until(b'(qemu) ')
        os.write(self.master, b'info status\r')
        self.until(b'paused (prelaunch)')
        os.write(self.master, b'cont\r\x01c')
        self.until(b'SeaBIOS')
        os.write(self.master, b'\x01x')
        self.assertEqual(process.wait(TIMEOUT), 0)
        self.restored()

    def test_monitor_alone_on_a_mux(self):
        process = self.launch('-serial', 'mon:stdio')
        self.until(b'(qemu) ')
        os.write(self.master, b'quit\r')
        self.assertEqual(process.wait(TIMEOUT), 0)

    def test_two_on_stdio(self):
        status, _, err = run('-M', 'none', '-chardev', 'stdio,id=a', '-chardev', 'stdio,id=b')
        self.assertEqual((status, err.count('\n')), (1, 1))

    def test_end_of_input(self):
        """echo ... | rhea -qmp stdio: the emulator goes on when its input ends."""
        emulator = self.emulator('-qmp', 'stdio', qmp=False, stdin=subprocess.PIPE)
        emulator.process.stdin.write(b'{"execute":"qmp_capabilities"}{"execute":"query-status"}')
        emulator.process.stdin.close()
        emulator.process.stdin = None
        time.sleep(0.2)
        self.assertIsNone(emulator.process.poll())
        status, out, _ = emulator.stop()
        self.assertEqual(status, 0)
        self.assertIn('"status": "running"', out)

    def test_blocked_output(self):
        """A pipe that nobody reads does not stop the emulator, and nothing is lost."""
        read, write = os.pipe()
        process = subprocess.Popen([BINARY, '-M', 'none', '-display', 'none', '-qmp', 'stdio'], stdin=subprocess.PIPE, stdout=write,
                                   stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdin.close()))
        os.close(write)
        process.stdin.write(b'{"execute":"qmp_capabilities"}' + b'{"execute":"query-qmp-schema"}' * 8)
        process.stdin.flush()
        time.sleep(0.3)
        self.assertIsNone(process.poll())
        qmp = Qmp(FdSocket(read, process.stdin.fileno()), negotiate=False)
        self.assertEqual(qmp.reply(), {'return': {}})
        for _ in range(8):
            self.assertGreater(len(qmp.reply()['return']), 100)
        os.close(read)


class Sharing(Case):
    def test_in_use(self):
        status, _, err = run('-M', 'none', '-chardev', 'null,id=n', '-mon', 'n', '-mon', 'n')
        self.assertEqual((status, err.count('\n')), (1, 1))
        self.assertIn('mux=on', err)

    def test_eight(self):
        mons = ['-mon', 'n'] * 8
        self.emulator('-chardev', 'null,id=n,mux=on', *mons)
        status, _, err = run('-M', 'none', '-chardev', 'null,id=n,mux=on', *mons, '-mon', 'n')
        self.assertEqual((status, err.count('\n')), (1, 1))

    def test_mux_backend(self):
        emulator = self.emulator('-chardev', 'ringbuf,id=r', '-chardev', 'mux,id=m,chardev=r', '-mon', 'm,mode=control', '-mon', 'm,mode=control')
        self.assertEqual(emulator.qmp.command('ringbuf-read', device='r', size=10000).count('"QMP"'), 2)


if __name__ == '__main__':
    unittest.main()
