"""The conversation that libvirt 9.0 has with an emulator: probing, starting a domain, living with it. Recorded from the outside."""
import os
import signal
import socket
import unittest

from rhea import Case, Qmp

ALWAYS_ASKED = ['virtio-blk-pci', 'scsi-hd', 'ide-hd', 'PIIX4_PM', 'kvm-pit', 'ICH9-LPC', 'virtio-balloon-pci', 'virtio-balloon-ccw',
                'virtio-balloon-device', 'usb-host']
ASKED_IF_LISTED = ['virtio-net-pci', 'virtio-scsi-pci', 'vfio-pci', 'usb-redir', 'usb-storage', 'VGA', 'vmware-svga', 'qxl', 'virtio-gpu-pci',
                   'virtio-gpu-device', 'intel-iommu', 'mch', 'nvdimm', 'pcie-root-port', 'vhost-user-fs-device', 'virtio-mem-pci',
                   'virtio-iommu-pci']


class Probe(Case):
    def setUp(self):
        self.qmp = self.emulator('-S', '-no-user-config', '-nographic', '-machine', 'none,accel=kvm:tcg').qmp

    def test_in_order(self):
        qmp = self.qmp
        version = qmp.command('query-version')
        self.assertGreaterEqual((version['qemu']['major'], version['qemu']['minor']), (5, 2))
        self.assertIn('package', version)
        self.assertEqual(qmp.command('query-target')['arch'], 'x86_64')
        self.assertTrue(qmp.command('query-qmp-schema'))
        commands = [c['name'] for c in qmp.command('query-commands')]
        for name in ('query-cpu-definitions', 'query-cpu-model-expansion', 'query-hotpluggable-cpus', 'set-action'):
            self.assertIn(name, commands)
        self.assertIn('enabled', qmp.command('query-kvm'))
        types = [t['name'] for t in qmp.command('qom-list-types')]
        for name in ('tcg-accel', 'isa-serial', 'rng-random', 'rng-builtin', 'virtio-rng-pci', 'iothread', 'max-x86_64-cpu', 'pvpanic',
                     'memory-backend-memfd', 'virtio-blk-pci', 'memory-backend-file', 'i8042'):
            self.assertIn(name, types)
        for name in ALWAYS_ASKED + [t for t in ASKED_IF_LISTED if t in types]:
            reply = qmp.request('device-list-properties', typename=name)
            if 'error' in reply:
                self.assertEqual(reply['error']['class'], 'DeviceNotFound', name)
                self.assertNotIn(name, types)
            else:
                for prop in reply['return']:
                    self.assertIn('name', prop)
        names = [p['name'] for p in qmp.command('device-list-properties', typename='PIIX4_PM')]
        for name in ('disable_s3', 'disable_s4'):
            self.assertIn(name, names)
        for name in ('memory-backend-file', 'memory-backend-memfd', 'max-x86_64-cpu', 'none-machine'):
            self.assertIsInstance(qmp.command('qom-list-properties', typename=name), list)
        self.check_machines(qmp.command('query-machines'))
        models = {m['name']: m for m in qmp.command('query-cpu-definitions')}
        for name in ('qemu64', 'max'):
            self.assertEqual(models[name]['unavailable-features'], [])
            self.assertIn(models[name]['typename'], types)
        self.assertEqual(qmp.command('query-tpm-models'), [])
        self.assertEqual(qmp.command('query-tpm-types'), [])
        self.assertTrue(qmp.command('query-command-line-options'))
        self.assertEqual(qmp.command('query-migrate-capabilities'), [])
        for kind, props in (('static', None), ('static', {'migratable': False}), ('full', {'migratable': False})):
            model = {'name': 'max', **({'props': props} if props else {})}
            expanded = qmp.command('query-cpu-model-expansion', type=kind, model=model)
            self.assertTrue(expanded['model']['props'])

    def check_machines(self, machines):
        pc = next(m for m in machines if m.get('alias') == 'pc')
        self.assertTrue(pc['name'].startswith('pc-i440fx-'))
        self.assertTrue(pc['is-default'])
        self.assertEqual((pc['default-ram-id'], pc['numa-mem-supported']), ('pc.ram', False))


class Domain(Case):
    """A domain with the devices that there are, on the pc machine."""

    def start(self):
        folder = self.folder()
        self.disk = os.path.join(folder, 'disk.raw')
        with open(self.disk, 'wb') as f:
            f.truncate(1 << 20)
        key = os.path.join(folder, 'master-key.aes')
        with open(key, 'wb') as f:
            f.write(bytes(32))
        path = os.path.join(folder, 'monitor')
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(path)
        self.listener.listen(1)
        fd = self.listener.fileno()
        emulator = self.emulator(
            '-name', 'guest=test,debug-threads=on', '-S',
            '-object', '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"%s"}' % key,
            '-machine', 'pc-i440fx-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram', '-accel', 'tcg', '-cpu', 'qemu64', '-m', '64',
            '-object', '{"qom-type":"memory-backend-ram","id":"pc.ram","size":67108864}', '-overcommit', 'mem-lock=off',
            '-smp', '2,sockets=2,cores=1,threads=1', '-uuid', '6ba7b810-9dad-11d1-80b4-00c04fd430c8', '-no-user-config',
            '-chardev', f'socket,id=charmonitor,fd={fd},server=on,wait=off', '-mon', 'chardev=charmonitor,id=monitor,mode=control',
            '-rtc', 'base=utc,driftfix=slew', '-no-hpet', '-no-shutdown', '-global', 'PIIX4_PM.disable_s3=1',
            '-global', 'PIIX4_PM.disable_s4=1', '-boot', 'strict=on',
            '-blockdev', '{"driver":"file","filename":"%s","node-name":"libvirt-1-storage","cache":{"direct":false,"no-flush":false},'
            '"auto-read-only":true,"discard":"unmap"}' % self.disk,
            '-blockdev', '{"node-name":"libvirt-1-format","read-only":false,"discard":"unmap","cache":{"direct":false,"no-flush":false},'
            '"driver":"raw","file":"libvirt-1-storage"}',
            '-device', '{"driver":"virtio-blk-pci","bus":"pci.0","addr":"0x6","drive":"libvirt-1-format","id":"virtio-disk0","bootindex":1,'
            '"write-cache":"on"}',
            '-chardev', 'pty,id=charserial0', '-device', '{"driver":"isa-serial","chardev":"charserial0","id":"serial0","index":0}',
            '-object', '{"qom-type":"rng-random","id":"objrng0","filename":"/dev/urandom"}',
            '-device', '{"driver":"virtio-rng-pci","rng":"objrng0","id":"rng0","bus":"pci.0","addr":"0x8"}',
            '-sandbox', 'off', '-msg', 'timestamp=on', qmp=False, pass_fds=[fd])
        emulator.qmp = Qmp(emulator.socket(path))
        return emulator

    def test_start_and_stop(self):
        emulator = self.start()
        qmp = emulator.qmp
        self.assertEqual(qmp.command('query-migrate-capabilities'), [])
        chardevs = {c['label']: c for c in qmp.command('query-chardev')}
        self.assertTrue(chardevs['charserial0']['filename'].startswith('pty:/dev/pts/'))
        for cpu in qmp.command('query-hotpluggable-cpus'):
            self.assertEqual((cpu['type'], cpu['vcpus-count']), ('qemu64-x86_64-cpu', 1))
            self.assertIn('socket-id', cpu['props'])
        cpus = qmp.command('query-cpus-fast')
        self.assertEqual([c['props']['socket-id'] for c in cpus], [0, 1])
        self.assertEqual(len({c['thread-id'] for c in cpus}), 2)
        for prop in qmp.command('qom-list', path=cpus[0]['qom-path']):
            if prop['type'] == 'bool':
                self.assertIsInstance(qmp.command('qom-get', path=cpus[0]['qom-path'], property=prop['name']), bool)
        self.assertEqual(qmp.command('qom-get', path=cpus[0]['qom-path'], property='unavailable-features'), [])
        self.assertEqual(qmp.command('query-iothreads'), [])
        peripherals = {p['name']: p['type'] for p in qmp.command('qom-list', path='/machine/peripheral')}
        for name in ('virtio-disk0', 'serial0', 'rng0'):
            self.assertTrue(peripherals[name].startswith('child<'), peripherals)
        nodes = {n['node-name']: n for n in qmp.command('query-named-block-nodes', flat=True)}
        self.assertEqual(nodes['libvirt-1-format']['image']['virtual-size'], 1 << 20)
        block = qmp.command('query-block')
        self.assertEqual(block[0]['qdev'], '/machine/peripheral/virtio-disk0/virtio-backend')
        self.assertEqual((block[0]['device'], block[0]['removable']), ('', False))
        stats = qmp.command('query-blockstats')
        self.assertEqual(stats[0]['stats']['wr_bytes'], 0)
        qmp.command('cont')
        self.assertEqual(qmp.command('query-status')['status'], 'running')
        # libvirtd restarts
        qmp.sock.close()
        emulator.qmp = qmp = Qmp(emulator.socket(self.listener.getsockname()))
        qmp.command('query-status')
        self.assertEqual(qmp.command('query-jobs'), [])
        status, _, err = emulator.stop(signal.SIGTERM)
        self.assertEqual(status, 0, err)

    def test_hotplug(self):
        emulator = self.start()
        qmp = emulator.qmp
        path = self.disk + '2'
        with open(path, 'wb') as f:
            f.truncate(1 << 20)
        qmp.command('blockdev-add', driver='file', filename=path, node_name='libvirt-2-storage')
        qmp.command('blockdev-add', driver='raw', file='libvirt-2-storage', node_name='libvirt-2-format')
        qmp.command('device_add', driver='virtio-blk-pci', bus='pci.0', addr='0x9', drive='libvirt-2-format', id='virtio-disk1')
        self.assertIn('virtio-disk1', [p['name'] for p in qmp.command('qom-list', path='/machine/peripheral')])
        self.assertIn('in use', qmp.error('blockdev-del', node_name='libvirt-2-format')['desc'])
        self.assertEqual(qmp.error('device_add', driver='virtio-blk-pci', bus='pci.0', addr='0x9', drive='libvirt-2-format',
                                   id='virtio-disk2')['class'], 'GenericError')
        self.assertEqual(qmp.error('device_del', id='virtio-disk7')['class'], 'DeviceNotFound')
        qmp.command('object-add', qom_type='iothread', id='iothread1')
        self.assertEqual(qmp.command('query-iothreads')[0]['id'], 'iothread1')
        qmp.command('object-del', id='iothread1')


if __name__ == '__main__':
    unittest.main()
