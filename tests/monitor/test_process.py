"""What a process manager relies on: -daemonize, -pidfile, signals, descriptors, nothing left behind."""
import os
import signal
import socket
import subprocess
import time
import unittest

from rhea import BINARY, TIMEOUT, Case, Qmp, run


def alive(pid):
    try:
        with open(f'/proc/{pid}/stat', encoding='ascii') as f:
            return f.read().split()[2] != 'Z'
    except OSError:
        return False


def wait_gone(pid):
    deadline = time.monotonic() + TIMEOUT
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    return not alive(pid)


class Daemon(Case):
    def start(self, *args, **kwargs):
        """As libvirt probes: (exit status, stderr, pid, qmp path, pid file)."""
        folder = self.folder()
        path, pidfile = f'{folder}/qmp.monitor', f'{folder}/qmp.pid'
        done = subprocess.run([BINARY, '-S', '-no-user-config', '-nodefaults', '-nographic', '-machine', 'none,accel=kvm:tcg:qtest',
                               '-qmp', f'unix:{path},server=on,wait=off', '-pidfile', pidfile, '-daemonize', *args],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False,
                              env={'LC_ALL': 'C', 'PATH': os.environ['PATH'], 'HOME': '/'}, **kwargs)
        pid = None
        if os.path.exists(pidfile):
            with open(pidfile, encoding='ascii') as f:
                text = f.read()
            self.assertTrue(text.endswith('\n'))
            pid = int(text)
            self.addCleanup(lambda: alive(pid) and os.kill(pid, signal.SIGKILL))
        return done.returncode, done.stderr.decode(), pid, path, pidfile

    def test_probe(self):
        status, err, pid, path, pidfile = self.start()
        self.assertEqual((status, err), (0, ''))
        self.assertTrue(alive(pid))
        # listens already, and everything of the parent's is closed (capture_output saw the end of both streams)
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        qmp = Qmp(sock)
        qmp.command('query-version')
        qmp.command('query-machines')
        sock.close()
        self.assertEqual(os.readlink(f'/proc/{pid}/cwd'), '/')
        for fd in (0, 1, 2):
            self.assertEqual(os.readlink(f'/proc/{pid}/fd/{fd}'), '/dev/null')
        os.kill(pid, signal.SIGTERM)
        start = time.monotonic()
        self.assertTrue(wait_gone(pid))
        self.assertLess(time.monotonic() - start, 1)
        self.assertFalse(os.path.exists(pidfile))
        self.assertFalse(os.path.exists(path))

    def test_error_is_seen(self):
        status, err, pid, path, pidfile = self.start('-device', 'no-such-device')
        self.assertEqual(status, 1)
        self.assertEqual(err.count('\n'), 1)
        self.assertIn('no-such-device', err)
        self.assertIsNone(pid)
        self.assertFalse(os.path.exists(path))

    def test_second_with_the_pid_file(self):
        _, _, pid, _, pidfile = self.start()
        status, _, err = run('-M', 'none', '-pidfile', pidfile)
        self.assertEqual(status, 1)
        self.assertIn('locked', err)
        self.assertTrue(os.path.exists(pidfile))
        os.kill(pid, signal.SIGTERM)
        self.assertTrue(wait_gone(pid))

    def test_stdio_is_refused(self):
        status, _, err = run('-M', 'none', '-daemonize', '-monitor', 'stdio')
        self.assertEqual((status, err.count('\n')), (1, 1))


class Signals(Case):
    def test_states(self):
        for args, steps in (((), ()), (('-S',), ()), ((), ('stop',)), ((), ('stop', 'cont')), ((), ('system_reset',)),
                            (('-no-shutdown',), ()), (('-no-shutdown', '-S'), ())):
            for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                emulator = self.emulator(*args)
                for step in steps:
                    emulator.qmp.command(step)
                status, out, err = emulator.stop(sig)
                self.assertEqual((status, out), (0, ''), (args, steps, sig, err))
                self.assertEqual(err.count('\n'), 1, err)

    def test_with_processors(self):
        """The same on a machine whose processors run firmware."""
        for args, steps in (((), ()), (('-S',), ()), ((), ('stop',)), ((), ('system_reset',)), (('-smp', '4'), ())):
            emulator = self.emulator('-M', 'pc', '-m', '32', '-accel', 'tcg', *args)
            for step in steps:
                emulator.qmp.command(step)
            status, out, err = emulator.stop()
            self.assertEqual((status, out), (0, ''), (args, steps, err))

    def test_shutdown_event(self):
        emulator = self.emulator('-S')
        emulator.process.terminate()
        self.assertEqual(emulator.qmp.wait_event('SHUTDOWN')['data'], {'guest': False, 'reason': 'host-signal'})
        self.assertEqual(emulator.stop(sig=None)[0], 0)

    def test_right_after_launch(self):
        for delay in (0.0, 0.001, 0.002, 0.004, 0.008):
            process = subprocess.Popen([BINARY, '-M', 'none', '-display', 'none', '-S'], stderr=subprocess.DEVNULL)
            time.sleep(delay)
            process.terminate()
            # before the process has its handlers, the signal itself ends it
            self.assertIn(process.wait(TIMEOUT), (0, -signal.SIGTERM))

    def test_broken_pipes(self):
        emulator = self.emulator()
        for _ in range(5):
            emulator.qmp.send('{"execute": "query-qmp-schema"}' * 10)
            emulator.qmp.sock.close()
            emulator.qmp = emulator.connect()
        emulator.qmp.command('query-status')

    def test_exit_with_parent(self):
        read, write = os.pipe()
        script = f'import subprocess,os; p=subprocess.Popen([{BINARY!r},"-M","none","-display","none","-run-with","exit-with-parent=on"]);' \
                 f'import time; time.sleep(0.5); os.write({write}, str(p.pid).encode())'
        subprocess.run(['python3', '-c', script], pass_fds=[write], timeout=TIMEOUT, check=True, stderr=subprocess.DEVNULL)
        pid = int(os.read(read, 20))
        os.close(read)
        os.close(write)
        self.assertTrue(wait_gone(pid))


class Descriptors(Case):
    def test_no_leaks_over_clients(self):
        emulator = self.emulator()
        count = lambda: len(os.listdir(f'/proc/{emulator.process.pid}/fd'))
        before = count()
        for _ in range(20):
            emulator.qmp.sock.close()
            emulator.qmp = emulator.connect()
        self.assertEqual(count(), before)

    def test_memory_over_clients(self):
        emulator = self.emulator()

        def rss():
            with open(f'/proc/{emulator.process.pid}/statm', encoding='ascii') as f:
                return int(f.read().split()[1]) * 4

        for i in range(60):
            emulator.qmp.send('{"execute": "query-qmp-schema"}' * 3)
            for _ in range(3):
                emulator.qmp.reply()
            if i == 20:
                before = rss()
        if 'asan' not in BINARY:
            self.assertLess(rss() - before, 2048)

    def test_start_up(self):
        """To the greeting within a few milliseconds: half of what QEMU takes is 13."""
        times = []
        for _ in range(9):
            start = time.perf_counter()
            emulator = self.emulator('-S')
            times.append(time.perf_counter() - start)
            emulator.stop()
        if 'asan' not in BINARY:
            self.assertLess(sorted(times)[0], 0.05)


if __name__ == '__main__':
    unittest.main()
