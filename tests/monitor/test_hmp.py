"""The human monitor: over QMP, and typed on a socket."""
import os
import unittest

from rhea import Case


class Commands(Case):
    def setUp(self):
        self.qmp = self.emulator('-name', 'box').qmp

    def test_info(self):
        self.assertEqual(self.qmp.hmp('info status'), 'VM status: running\r\n')
        self.qmp.command('stop')
        self.assertEqual(self.qmp.hmp('info status'), 'VM status: paused\r\n')
        self.assertEqual(self.qmp.hmp('info name'), 'box\r\n')
        self.assertIn('compat_monitor0: filename=unix:', self.qmp.hmp('info chardev'))
        for what in ('block', 'chardev', 'cpus', 'iothreads', 'kvm', 'memory_size_summary', 'mice', 'mtree', 'name', 'pci', 'qom-tree',
                     'qtree', 'status', 'uuid', 'version'):
            self.assertNotIn('unknown', self.qmp.hmp('info ' + what))
            self.assertNotIn('Error', self.qmp.hmp('info ' + what))

    def test_help(self):
        text = self.qmp.hmp('help')
        self.assertIn('system_reset', text)
        self.assertEqual(self.qmp.hmp('help device_del').count('\r\n'), 1)
        self.assertIn('info status', self.qmp.hmp('info'))

    def test_errors(self):
        self.assertIn("did you mean 'info'", self.qmp.hmp('inf status'))
        self.assertIn("did you mean 'info status'", self.qmp.hmp('info sttus'))
        self.assertIn('needs id', self.qmp.hmp('device_del'))
        self.assertIn('too many words', self.qmp.hmp('stop now'))
        self.assertIn('Error', self.qmp.hmp('device_add no-such-device'))
        self.assertIn('Error', self.qmp.hmp('object_add no-such,id=x'))
        self.assertEqual(self.qmp.hmp(''), '')
        self.assertIn('unknown', self.qmp.hmp('\x01\x02'))

    def test_expressions(self):
        for text, value in (('1+2*3', '0x7'), ('(1+2)*3', '0x9'), ('0x10', '0x10'), ('-1', '0xffffffffffffffff'), ('~0&0xff', '0xff'),
                            ('7/2', '0x3'), ('7%4', '0x3'), ('1|2^3', '0x0'), ('010', '0x8')):
            self.assertEqual(self.qmp.hmp('print ' + text), value + '\r\n', text)
        self.assertEqual(self.qmp.hmp('p/d 0xffffffffffffffff'), '-1\r\n')
        for text in ('1/0', '1+', '(1', 'x', '', '(' * 1000 + '1'):
            self.assertIn('Error', self.qmp.hmp('print ' + text), text)

    def test_objects(self):
        self.assertEqual(self.qmp.hmp('object_add iothread,id=t1'), '')
        self.assertIn('t1', self.qmp.hmp('info iothreads'))
        self.assertEqual(self.qmp.hmp('object_del t1'), '')
        self.assertIn('Error', self.qmp.hmp('object_del t1'))
        self.assertIn('machine (child<none-machine>)', self.qmp.hmp('qom-list /'))
        self.assertEqual(self.qmp.hmp('qom-get /machine type'), '"none-machine"\r\n')

    def test_ringbuf(self):
        self.assertEqual(self.qmp.hmp('chardev-add ringbuf,id=r,size=16'), '')
        self.assertEqual(self.qmp.hmp('ringbuf_write r "hello world"'), '')
        self.assertEqual(self.qmp.hmp('ringbuf_read r 5'), 'hello\r\n')
        self.assertEqual(self.qmp.hmp('chardev-remove r'), '')


class Processor(Case):
    """On a stopped pc: the processor stands at its reset vector."""

    def setUp(self):
        self.emu = self.emulator('-M', 'pc', '-m', '16', '-accel', 'tcg', '-S')
        self.qmp = self.emu.qmp

    def test_registers(self):
        text = self.qmp.hmp('info registers')
        self.assertIn('RIP=000000000000fff0', text)
        self.assertIn('CS =f000 00000000ffff0000', text)
        self.assertEqual(self.qmp.hmp('print $rip'), '0xfff0\r\n')
        self.assertIn('no register', self.qmp.hmp('print $nosuch'))

    def test_memory(self):
        self.qmp.hmp('stop')
        self.assertRegex(self.qmp.hmp('xp/4xb 0x1000'), r'^0000000000001000: 0x00 0x00 0x00 0x00\r\n$')
        # SeaBIOS starts with a far jump
        self.assertIn('ljmp', self.qmp.hmp('x/1i 0xfffffff0'))
        self.assertEqual(self.qmp.hmp('gva2gpa 0x1234'), 'gpa: 0x1234\r\n')
        self.assertIn('Cannot access', self.qmp.hmp('xp/x 0xffff00000000'))

    def test_memsave(self):
        for command in ('memsave', 'pmemsave'):
            path = os.path.join(self.emu.folder, command)
            self.assertEqual(self.qmp.hmp(f'{command} 0xfffffff0 16 {path}'), '')
            with open(path, 'rb') as f:
                data = f.read()
            self.assertEqual((len(data), data[0]), (16, 0xea))
        self.assertIn('Error', self.qmp.hmp('memsave 0 16 /no/such/folder/file'))
        self.assertEqual(self.qmp.error('memsave', val=0, size=1, filename='/dev/null', cpu_index=9)['class'], 'GenericError')

    def test_ports(self):
        self.assertEqual(self.qmp.hmp('o/w 0xcf8 0x80000000'), '')
        self.assertEqual(self.qmp.hmp('i/w 0xcfc'), 'portl[0x0cfc] = 0x12378086\r\n')
        self.assertEqual(self.qmp.hmp('i/b 0xcfd'), 'portb[0x0cfd] = 0x80\r\n')

    def test_keys(self):
        self.assertEqual(self.qmp.hmp('sendkey ctrl-alt-delete'), '')
        self.assertIn('Error', self.qmp.hmp('sendkey nosuch'))

    def test_devices(self):
        self.assertEqual(self.qmp.hmp('device_add virtio-rng-pci,id=rng9'), '')
        self.assertIn('rng9', self.qmp.hmp('info qtree'))
        self.assertIn('rng9', self.qmp.hmp('info pci'))
        self.assertIn('Error', self.qmp.hmp('device_add virtio-rng-pci,id=rng9'))


class Typed(Case):
    def setUp(self):
        path = os.path.join(self.folder(), 'mon')
        emulator = self.emulator('-monitor', f'unix:{path},server=on,wait=off')
        self.sock = emulator.socket(path)
        self.sock.settimeout(10)
        self.addCleanup(self.sock.close)
        self.until(b'(qemu) ')

    def until(self, end):
        data = b''
        while not data.endswith(end):
            chunk = self.sock.recv(4096)
            self.assertTrue(chunk, data)
            data += chunk
        return data

    def type(self, keys):
        self.sock.sendall(keys)
        return self.until(b'\r\n(qemu) ')

    def test_line(self):
        self.assertIn(b'VM status: running', self.type(b'info status\n'))
        self.assertIn(b'VM status: running', self.type(b'info status\r\n'))

    def test_editing(self):
        self.assertIn(b'VM status: running', self.type(b'infoo\x7f statys\x08\x08us\r'))
        self.assertIn(b'VM status: running', self.type(b'status\x01info \r'))
        self.assertIn(b'VM status: running', self.type(b'info statusxx\x1b[D\x1b[D\x0b\r'))
        self.assertIn(b'VM status: running', self.type(b'stop\x15info nope\x17status\r'))
        self.assertIn(b'VM status: running', self.type(b'\x1b[A\r'))
        self.assertIn(b'VM status: running', self.type(b'nonsense\x1b[A\x1b[A\x1b[B\r'))
        self.assertIn(b'VM status: running', self.type(b'xinfo status\x1b[H\x1b[3~\r'))

    def test_quit(self):
        self.sock.sendall(b'quit\n')
        data = b''
        while chunk := self.sock.recv(4096):
            data += chunk
        self.assertIn(b'quit', data)


if __name__ == '__main__':
    unittest.main()
