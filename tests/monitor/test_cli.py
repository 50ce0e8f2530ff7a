"""The command line: every bad input is one sentence and status 1; what is accepted has an effect."""
import json
import os
import re
import subprocess
import unittest

from rhea import BINARY, Case, run

# arguments, what the sentence has to say
BAD = [
    (['-no-such-option'], 'invalid option'),
    (['-machin', 'none'], 'did you mean -machine'),
    (['--machin', 'none'], 'did you mean -machine'),
    (['-machine'], 'requires an argument'),
    (['-M', 'nonee'], "did you mean 'none'"),
    (['-M', 'none,no-such=1'], 'no-such'),
    (['-M', 'none', '-accel', 'no-such'], 'no-such'),
    (['-M', 'none,accel=qtest', '-accel', 'qtest'], 'exclude'),
    (['-M', 'none', '-smp', '0'], 'cpus'),
    (['-M', 'none', '-smp', '-1'], 'cpus'),
    (['-M', 'none', '-smp', 'two'], 'two'),
    (['-M', 'none', '-smp', '2'], 'at most 1'),
    (['-M', 'none', '-smp', 'cpus=1,sockets=2,cores=2,threads=2'], 'not the number'),
    (['-M', 'none', '-smp', 'cpu=1'], "cpus"),
    (['-M', 'none', '-smp', '99999999999999999999'], 'cpus'),
    (['-M', 'none', '-m', '12Q'], '12Q'),
    (['-M', 'none', '-m', '128'], 'no memory'),
    (['-M', 'none', '-cpu', 'qemu64'], 'no processor'),
    (['-M', 'none', '-rtc', 'base=yesterday'], 'yesterday'),
    (['-M', 'none', '-rtc', 'base=2024-13-45'], '2024-13-45'),
    (['-M', 'none', '-rtc', 'clock=sundial'], 'sundial'),
    (['-M', 'none', '-rtc', 'driftfix=maybe'], 'maybe'),
    (['-M', 'none', '-boot', 'z'], "'z'"),
    (['-M', 'none', '-boot', 'order=cc'], "'cc'"),
    (['-M', 'none', '-boot', 'menu=perhaps'], 'perhaps'),
    (['-M', 'none', '-boot', 'splash-time=x'], 'splash-time'),
    (['-M', 'none', '-boot', 'splash=/x'], 'splash'),
    (['-M', 'none', '-uuid', 'xyz'], 'xyz'),
    (['-M', 'none', '-name', 'guest=a,process=b'], 'process'),
    (['-M', 'none', '-name', 'guest=a,debug-threads=2'], 'debug-threads'),
    (['-M', 'none', '-action', 'reboot=sleep'], 'sleep'),
    (['-M', 'none', '-action', 'watchdog=reset'], 'watchdog'),
    (['-M', 'none', '-initrd', '/x'], '-kernel'),
    (['-M', 'none', '-append', 'x'], '-kernel'),
    (['-M', 'none', '-device', 'no-such-device'], 'no-such-device'),
    (['-M', 'none', '-device', '{"driver":"no-such-device"}'], 'no-such-device'),
    (['-M', 'none', '-device', '{"driver":'], 'JSON'),
    (['-M', 'none', '-device', '{"id":"x"}'], 'driver'),
    (['-M', 'none', '-device', ''], '-device'),
    (['-M', 'none', '-object', 'no-such,id=x'], 'no-such'),
    (['-M', 'none', '-object', 'iothread'], 'id'),
    (['-M', 'none', '-object', 'iothread,id=1x'], '1x'),
    (['-M', 'none', '-object', 'iothread,id=a', '-object', 'iothread,id=a'], "a"),
    (['-M', 'none', '-object', 'iothread,id=a,no-such=1'], 'no-such'),
    (['-M', 'none', '-object', 'secret,id=s,file=/no/such/file'], '/no/such/file'),
    (['-M', 'none', '-global', 'nonsense'], 'DRIVER.PROPERTY=VALUE'),
    (['-M', 'none', '-global', 'driver=a,property=b'], 'DRIVER.PROPERTY=VALUE'),
    (['-M', 'none', '-chardev', 'nul,id=x'], "did you mean 'null'"),
    (['-M', 'none', '-chardev', 'null'], 'id'),
    (['-M', 'none', '-chardev', 'null,id=a b'], 'a b'),
    (['-M', 'none', '-chardev', 'null,id=a,patth=x'], 'patth'),
    (['-M', 'none', '-chardev', 'null,id=a', '-chardev', 'null,id=a'], 'exists'),
    (['-M', 'none', '-chardev', 'spicevmc,id=a,name=vdagent'], 'spicevmc'),
    (['-M', 'none', '-chardev', 'socket,id=a'], 'path='),
    (['-M', 'none', '-chardev', 'socket,id=a,path=/x,port=1'], 'exclude'),
    (['-M', 'none', '-chardev', 'socket,id=a,path=' + 'x' * 200 + ',server=on,wait=off'], 'too long'),
    (['-M', 'none', '-chardev', 'socket,id=a,path=/no/such/folder/s,server=on,wait=off'], '/no/such/folder/s'),
    (['-M', 'none', '-chardev', 'socket,id=a,host=127.0.0.1'], 'port='),
    (['-M', 'none', '-chardev', 'socket,id=a,host=127.0.0.1,port=no-such-service'], 'no-such-service'),
    (['-M', 'none', '-chardev', 'socket,id=a,path=/x,server=on,reconnect=1'], 'reconnect'),
    (['-M', 'none', '-chardev', 'mux,id=a,chardev=b'], "'b'"),
    (['-M', 'none', '-serial', 'vc'], 'vc'),
    (['-M', 'none', '-serial', 'chardev:none'], "'none'"),
    (['-M', 'none', '-monitor', 'stdoi'], "did you mean 'stdio'"),
    (['-M', 'none', '-qmp', 'tcp:noport'], 'HOST:PORT'),
    (['-M', 'none', '-mon', 'chardev=x'], "'x'"),
    (['-M', 'none', '-mon', 'mode=control'], 'chardev=ID'),
    (['-M', 'none', '-chardev', 'null,id=x', '-mon', 'x,mode=contrl'], 'control'),
    (['-M', 'none', '-chardev', 'null,id=x', '-mon', 'x,pretty=2'], 'pretty'),
    (['-M', 'none', '-display', 'gtk'], 'gtk'),
    (['-M', 'none', '-vga', 'std'], 'std'),
    (['-M', 'none', '-nic', 'user'], 'user'),
    (['-M', 'none', '-net', 'nic'], 'nic'),
    (['-M', 'none', '-netdev', 'user,id=n'], '-nic none'),
    (['-M', 'none', '-sandbox', 'on'], 'sandbox'),
    (['-M', 'none', '-sandbox', 'maybe'], 'maybe'),
    (['-M', 'none', '-overcommit', 'cpu-pm=on'], 'cpu-pm'),
    (['-M', 'none', '-overcommit', 'mem=on'], 'mem'),
    (['-M', 'none', '-msg', 'timestamp=7'], 'timestamp'),
    (['-M', 'none', '-add-fd', 'fd=77,set=1'], '77'),
    (['-M', 'none', '-add-fd', 'fd=1,set=1'], 'standard'),
    (['-M', 'none', '-add-fd', 'set=1'], 'fd='),
    (['-M', 'none', '-pidfile', '/no/such/folder/pid'], '/no/such/folder/pid'),
    (['-M', 'none', '-readconfig', '/no/such/file'], '/no/such/file'),
    (['-M', 'none', '-run-with', 'x=1'], 'x'),
    (['-M', 'none', '-blockdev', 'driver=file,node-name=n,filename=/no/such/file'], '/no/such/file'),
    (['-M', 'none', '-blockdev', 'driver=nosuch,node-name=n'], 'nosuch'),
    (['-M', 'none', '-drive', 'file=/no/such/file,if=none,id=d'], '/no/such/file'),
    (['-M', 'none', '-drive', 'fiel=/x'], 'fiel'),
    (['-M', 'none', '-runas', 'nobody'], 'not supported'),
    (['-M', 'none', '-gdb', 'tcp::1234'], 'not supported'),
    (['-M', 'none', '-s'], 'not supported'),
    (['-M', 'none', '-watchdog-action', 'reset'], 'not supported'),
    (['-M', 'none', '-incoming', 'defer'], 'not supported'),
    (['-M', 'none', '-usb'], 'not supported'),
    (['-device', 'no-such,help'], 'no-such'),
    (['-machine', 'no-such,help'], 'no-such'),
    (['-M', 'none', '-qtest', 'nonsense'], 'nonsense'),
    (['-M', 'none', '-qtest-log', 'x'], '-qtest'),
    (['-M', 'none', '-fw_cfg', 'name=opt/x,string=y'], 'fw_cfg'),
    (['-M', 'none', '-kernel', '/x'], 'kernel'),
    (['-M', 'pc', '-kernel', '/no/such/kernel'], '/no/such/kernel'),
    (['-M', 'pc', '-kernel', '/etc/passwd'], '/etc/passwd'),
    (['-M', 'pc', '-kernel', '/'], "'/'"),
    (['-M', 'pc', '-bios', '/no/such/bios'], '/no/such/bios'),
    (['-M', 'pc', '-bios', '/etc/passwd'], '/etc/passwd'),
    (['-M', 'pc', '-m', '100T'], '100 TiB'),
    (['-M', 'pc', '-m', '0'], 'too little'),
    (['-M', 'pc', '-m', 'size=64,slots=2,maxmem=1G'], 'slots'),
    (['-M', 'pc', '-cpu', 'no-such'], 'no-such'),
    (['-M', 'pc', '-cpu', 'qemu64,+no-such'], 'no-such'),
    (['-M', 'pc', '-cpu', 'qemu64,avx=7'], "'7'"),
    (['-M', 'pc', '-smp', '300'], 'at most 255'),
    (['-M', 'pc', '-smp', '4,maxcpus=8'], 'maxcpus=8'),
    (['-M', 'pc', '-smp', '4,sockets=3'], 'not the number'),
    (['-M', 'pc', '-serial', 'null'] + ['-serial', 'null'] * 4, '4 serial ports'),
    (['-M', 'pc', '-device', 'virtio-blk-pci'], "'drive' must be given"),
    (['-M', 'pc', '-device', 'virtio-blk-pci,drive=none'], "'none'"),
    (['-M', 'pc', '-device', 'isa-serial,chardev=none'], "'none'"),
    (['-M', 'pc', '-device', 'virtio-rng-pci,addr=99'], "'99'"),
    (['-M', 'pc', '-device', 'virtio-rng-pci,addr=5', '-device', 'virtio-rng-pci,addr=5'], '5'),
    (['-M', 'pc', '-device', 'virtio-rng-pci,bus=pci.7'], 'pci.7'),
    (['-M', 'pc', '-device', 'virtio-rng-pci,id=a', '-device', 'virtio-rng-pci,id=a'], "'a'"),
    (['-M', 'pc', '-device', 'virtio-rng-pci,no-such=1'], 'no-such'),
    (['-M', 'pc', '-fw_cfg', 'name=opt/x'], 'file='),
    (['-M', 'pc', '-fw_cfg', 'name=opt/x,file=/no/such/file'], '/no/such/file'),
    (['-M', 'pc', '-smbios', 'type=99'], 'type=99'),
    (['-M', 'pc', '-smbios', 'type=1,colour=red'], 'colour'),
    (['-M', 'pc', '-object', 'memory-backend-ram,id=m,size=64M', '-machine', 'memory-backend=m', '-m', '128'], '64 MiB'),
    (['-M', 'pc', '-machine', 'memory-backend=none'], "'none'"),
    (['-M', 'pc,usb=on'], 'usb'),
    (['-M', 'pc,no-such=1'], 'no-such'),
    (['-M', 'pc', '-accel', 'dbt,no-such=1'], 'no-such'),
    (['-M', 'pc', '-drive', 'file=/x,if=no-such'], 'no-such'),
    (['-M', 'pc', '-debugcon', 'no-such'], 'no-such'),
]


class Errors(Case):
    def test_bad(self):
        folder = self.folder()
        for args, words in BAD:
            with self.subTest(args=args):
                status, out, err = run('-display', 'none', *args, cwd=folder)
                self.assertEqual(status, 1, err)
                self.assertEqual(out, '')
                self.assertEqual(err.count('\n'), 1, err)
                self.assertTrue(err.startswith('rhea-system-x86_64: '), err)
                self.assertIn(words, err)
                self.assertEqual(os.listdir(folder), [])

    def test_nothing_left_behind(self):
        folder = self.folder()
        status, _, _ = run('-M', 'none', '-pidfile', 'pid', '-qmp', 'unix:sock,server=on,wait=off', '-chardev', 'pty,id=p,path=link',
                           '-device', 'no-such-device', '-display', 'none', cwd=folder)
        self.assertEqual(status, 1)
        self.assertEqual(os.listdir(folder), [])


class Help(Case):
    def test_texts(self):
        for args, words in ((['-help'], '-machine'), (['-h'], '-daemonize'), (['-version'], 'version'), (['-M', 'help'], 'none'),
                            (['-machine', 'none,help'], 'none-machine'), (['-accel', 'help'], 'qtest'), (['-object', 'help'], 'iothread'),
                            (['-object', 'iothread,help'], 'poll-max-ns'), (['-chardev', 'help'], 'socket'), (['-device', 'help'], ''),
                            (['-chardev', 'socket,help'], 'reconnect'), (['-cpu', 'help'], 'qemu64'), (['-device', '?'], '')):
            status, out, err = run(*args)
            self.assertEqual((status, err), (0, ''), args)
            self.assertIn(words, out)

    def test_closed_output(self):
        with open('/dev/full', 'wb') as full:
            done = subprocess.run([BINARY, '-help'], stdout=full, stderr=subprocess.DEVNULL, check=False)
        self.assertEqual(done.returncode, 1)


class Accepted(Case):
    def test_no_default_config_is_needed(self):
        self.emulator('-no-user-config', '-sandbox', 'off', '-overcommit', 'mem-lock=off', '-msg', 'timestamp=on', '-nic', 'none', '-net', 'none',
                      '-vga', 'none', '-parallel', 'none', '-audio', 'none', '-serial', 'none', '-monitor', 'none').qmp.command('query-status')

    def test_timestamp(self):
        err = run('-M', 'none', '-msg', 'timestamp=on', '-device', 'no-such')[2]
        self.assertRegex(err, r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d')

    def test_order(self):
        """Users of a thing may come before it."""
        emulator = self.emulator('-mon', 'chardev=late,mode=control', '-chardev', 'ringbuf,id=late', '-object', 'iothread,id=t')
        self.assertEqual(emulator.qmp.command('query-iothreads')[0]['id'], 't')
        self.assertIn('QMP', emulator.qmp.command('ringbuf-read', device='late', size=9999))

    def test_json(self):
        emulator = self.emulator('-object', json.dumps({'qom-type': 'iothread', 'id': 'j', 'poll-max-ns': 5000}))
        self.assertEqual(emulator.qmp.command('query-iothreads')[0]['poll-max-ns'], 5000)

    def test_commas(self):
        name = 'a,b=c'
        self.assertEqual(self.emulator('-name', 'guest=a,,b=c').qmp.command('query-name'), {'name': name})

    def test_last_and_merged(self):
        qmp = self.emulator('-name', 'one', '-name', 'debug-threads=on', '-name', 'guest=two', '-no-reboot', '-no-shutdown').qmp
        self.assertEqual(qmp.command('query-name'), {'name': 'two'})

    def test_readconfig(self):
        path = os.path.join(self.folder(), 'conf')
        with open(path, 'w', encoding='utf-8') as f:
            f.write('# a comment\n[name]\n  guest = "from file"\n[object "t9"]\n  qom-type = "iothread"\n'
                    '[chardev "r"]\n  backend = "ringbuf"\n  size = "16"\n[mon]\n  chardev = "r"\n  mode = "control"\n')
        qmp = self.emulator('-readconfig', path).qmp
        self.assertEqual(qmp.command('query-name'), {'name': 'from file'})
        self.assertEqual(qmp.command('query-iothreads')[0]['id'], 't9')
        for text in ('[no-such]\na = "b"\n', '[name]\nnonsense\n', '[name]\nno-such = "1"\n', '[object "x"\n'):
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text)
            status, _, err = run('-M', 'none', '-readconfig', path)
            self.assertEqual((status, err.count('\n')), (1, 1), text)

    def test_reboot_action(self):
        emulator = self.emulator('-no-reboot')
        emulator.qmp.command('system_reset')
        emulator.qmp.wait_event('SHUTDOWN')
        self.assertEqual(emulator.stop(sig=None)[0], 0)

    def test_help_is_complete(self):
        """Each option that is taken is in -help."""
        text = run('-help')[1]
        for option in ('accel', 'machine', 'cpu', 'smp', 'm', 'kernel', 'initrd', 'append', 'bios', 'drive', 'blockdev', 'device', 'chardev', 'serial',
                       'mon', 'monitor', 'qmp', 'nographic', 'display', 'vga', 'name', 'uuid', 'rtc', 'boot', 'S', 'no-reboot', 'no-shutdown', 'action',
                       'nodefaults', 'no-user-config', 'global', 'object', 'fw_cfg', 'smbios', 'debugcon', 'pidfile', 'daemonize', 'readconfig', 'msg',
                       'version', 'help'):
            self.assertTrue(re.search(rf'^-{option}( |$)', text, re.M), option)


if __name__ == '__main__':
    unittest.main()
