"""QMP as clients know it: framing, negotiation, error classes, ids, schema."""
import json
import os
import random
import socket
import sys
import tempfile
import unittest

from rhea import Case, Qmp


class Negotiation(Case):
    def test_greeting(self):
        greeting = self.emulator().qmp.greeting
        self.assertEqual(list(greeting), ['QMP'])
        version = greeting['QMP']['version']
        for part in ('major', 'minor', 'micro'):
            self.assertIsInstance(version['qemu'][part], int)
        self.assertIsInstance(version['package'], str)
        self.assertIn('oob', greeting['QMP']['capabilities'])

    def test_commands_wait_for_it(self):
        emulator = self.emulator()
        emulator.qmp.sock.close()
        qmp = emulator.connect(negotiate=False)
        self.assertEqual(qmp.error('query-version')['class'], 'CommandNotFound')
        self.assertEqual(qmp.error('no-such')['class'], 'CommandNotFound')
        self.assertEqual(qmp.error('qmp_capabilities', enable=['none'])['class'], 'GenericError')
        self.assertEqual(qmp.error('query-version')['class'], 'CommandNotFound')
        self.assertEqual(qmp.command('qmp_capabilities', enable=['oob']), {})
        self.assertEqual(qmp.error('qmp_capabilities')['class'], 'CommandNotFound')
        self.assertEqual(qmp.raw('{"exec-oob": "query-version"}')['error']['class'], 'GenericError')
        qmp.command('query-version')

    def test_oob_needs_enabling(self):
        qmp = self.emulator().qmp
        self.assertEqual(qmp.raw('{"exec-oob": "query-version", "id": 3}')['error']['class'], 'GenericError')

    def test_many_clients_in_turn(self):
        emulator = self.emulator()
        emulator.qmp.sock.close()
        for i in range(30):
            qmp = emulator.connect(negotiate=i % 2 == 0)
            if i % 3 == 0:
                qmp.send('{"execute": "qu')
            qmp.sock.close()
        emulator.qmp = emulator.connect()
        self.assertIn('running', emulator.qmp.command('query-status'))

    def test_no_events_before_it(self):
        emulator = self.emulator('-S')
        path = os.path.join(emulator.folder, 'second')
        emulator.qmp.command('chardev-add', id='second', backend={
            'type': 'socket', 'data': {'addr': {'type': 'unix', 'data': {'path': path}}, 'server': True, 'wait': False}})
        emulator.qmp.command('cont')
        emulator.qmp.wait_event('RESUME')


class Framing(Case):
    def setUp(self):
        self.qmp = self.emulator().qmp

    def test_byte_by_byte(self):
        text = '{ "execute" : "query-name", "id": "a\\u00e4\\n\\"b" }\r\n'.encode()
        for byte in text:
            self.qmp.send(bytes([byte]))
        reply = self.qmp.reply()
        self.assertEqual(reply['id'], 'aä\n"b')
        self.assertEqual(reply['return'], {})

    def test_any_packets(self):
        rng = random.Random(7)
        requests = b''.join(b'{"execute":"query-version","id":%d}%s' % (i, rng.choice([b'', b'\n', b'\r\n', b'   ']))
                            for i in range(300))
        at = 0
        while at < len(requests):
            n = rng.choice([1, 2, 3, 17, 100, 1000])
            self.qmp.send(requests[at:at + n])
            at += n
        for i in range(300):
            self.assertEqual(self.qmp.reply()['id'], i)

    def test_quotes(self):
        reply = self.qmp.raw("{'execute': 'query-version', 'id': 'it\\'s \"x\"'}")
        self.assertEqual(reply['id'], 'it\'s "x"')

    def test_ids(self):
        for value in (1, -5, 0, 1.5, True, False, None, 'x', [], [1, [2, {'a': None}]], {'b': [1]}, 2**63 - 1, 2**64 - 1, '\u20ac\U0001f600'):
            reply = self.qmp.raw(json.dumps({'execute': 'query-name', 'id': value}))
            self.assertEqual(reply['id'], value)
            self.assertIn('return', reply)
        self.assertNotIn('id', self.qmp.raw('{"execute": "query-name"}'))
        self.assertEqual(self.qmp.raw('{"execute": "no", "id": [7]}')['id'], [7])

    def test_errors_at_the_byte(self):
        for garbage in (b'{]', b'{\xff', b'{\x01', b"{'bad \xff", b"{'execute': 'nonexistent', 'id':'\n", b'%p', b'[}', b'}', b']',
                        b'{"a" 1', b'{"a":}', b'{,', b'[1 2', b'{"a": 01,', b'{"a": truth,', b'{"a": 1.}', b'{"a":"\\x', b'{"a":"\\u12g',
                        b'{"a":"\xc3(', b'{"a":"\xed\xa0\x80', b'{"a":"\xf5', b'\xfe', b'tru ', b'{"a": -}', b"{'a': +1", b'{"a": 1e}'):
            self.qmp.send(garbage)
            self.assertEqual(self.qmp.reply()['error']['class'], 'GenericError', garbage)
            self.qmp.send(b'\n')
            self.qmp.recovered()

    def test_exactly_one_error(self):
        for garbage in (b'%%%%p foo bar "baz" , : }\n', b'nonsense all along the line\n', b'{"a": "\x02" , "b": 1}\n'):
            self.qmp.send(garbage)
            self.assertIn('error', self.qmp.reply())
            self.qmp.recovered()

    def test_reset_byte(self):
        self.qmp.send(b'{"execute": "query-na\xff')
        self.assertIn('error', self.qmp.reply())
        self.qmp.recovered()

    def test_not_an_object(self):
        for text in ('null\n', '1\n', '"x"', '[]', 'true\n', '[{"execute": "query-name"}]', '-1.5e3\n'):
            self.assertEqual(self.qmp.raw(text)['error']['class'], 'GenericError', text)
            self.qmp.recovered()

    def test_shape(self):
        for text in ('{}', '{"id": 1}', '{"execute": true}', '{"execute": 1}', '{"execute": "query-name", "arguments": []}',
                     '{"execute": "query-name", "arguments": null}', '{"execute": "query-name", "extra": 1}',
                     '{"execute": "query-name", "exec-oob": "query-name"}', '{"arguments": {}}', '{"execute": null}'):
            self.assertEqual(self.qmp.raw(text)['error']['class'], 'GenericError', text)
            self.qmp.recovered()

    def test_nesting(self):
        depth = 1000
        self.assertEqual(self.qmp.raw('{"execute": "query-name", "id": ' + '[' * depth + ']' * depth + '}').get('return'), {})
        self.qmp.send('{"a":' * 1000 + '[' * 25)
        self.assertIn('nesting', self.qmp.reply()['error']['desc'])
        self.qmp.send('\n')
        self.qmp.recovered()

    def test_large_request(self):
        big = 'x' * (1 << 20)
        self.assertEqual(len(self.qmp.raw(json.dumps({'execute': 'query-name', 'id': big}))['id']), 1 << 20)
        error = self.qmp.error('qom-get', path=big, property='type')
        self.assertEqual(error['class'], 'DeviceNotFound')
        self.qmp.recovered()

    def test_reader_that_does_not_read(self):
        self.qmp.send('{"execute": "query-qmp-schema"}' * 100 + '{"execute":"query-name"}' * 300)
        for _ in range(100):
            self.assertGreater(len(self.qmp.reply()['return']), 100)
        for _ in range(300):
            self.assertEqual(self.qmp.reply()['return'], {})

    def test_random_garbage(self):
        rng = random.Random(11)
        alphabet = b'{}[]:,"\'\\ \n0123456789-+.eEtrufalsn%\x00\x01\x7f\xc3\xa9\xff'
        for _ in range(200):
            self.qmp.send(bytes(rng.choice(alphabet) for _ in range(rng.randrange(1, 80))) + b'\xff\n')
        self.qmp.send('{"execute": "query-name", "id": "end"}')
        while self.qmp.reply().get('id') != 'end':
            pass


class Arguments(Case):
    def setUp(self):
        self.qmp = self.emulator().qmp

    def test_missing_and_unexpected(self):
        self.assertIn("'id'", self.qmp.error('device_del')['desc'])
        self.assertIn("did you mean 'path'", self.qmp.error('qom-list', pat='/', path='/')['desc'])
        self.assertIn("'x'", self.qmp.error('stop', x=1)['desc'])

    def test_types(self):
        for value in (1, True, None, [], {}, 1.5):
            self.assertIn('string', self.qmp.error('qom-list', path=value)['desc'])
        self.assertIn('integer', self.qmp.error('pmemsave', val='0', size=1, filename='/x')['desc'])
        self.assertIn('not negative', self.qmp.error('pmemsave', val=-1, size=1, filename='/x')['desc'])
        self.assertIn('reset, shutdown', self.qmp.error('set-action', reboot='sometimes')['desc'])
        self.assertIn('backend.type', self.qmp.error('chardev-add', id='x', backend={'type': 'nul'})['desc'])
        self.assertIn('backend.data', self.qmp.error('chardev-add', id='x', backend={'type': 'file'})['desc'])

    def test_error_classes(self):
        self.assertEqual(self.qmp.error('device-list-properties', typename='no-such')['class'], 'DeviceNotFound')
        self.assertEqual(self.qmp.error('qom-list-properties', typename='no-such')['class'], 'GenericError')
        self.assertEqual(self.qmp.error('device_del', id='no-such')['class'], 'DeviceNotFound')
        self.assertEqual(self.qmp.error('qom-list', path='/no/such')['class'], 'DeviceNotFound')
        self.assertEqual(self.qmp.error('query-balloon')['class'], 'DeviceNotActive')
        self.assertEqual(self.qmp.error('no-such')['class'], 'CommandNotFound')


class Answers(Case):
    """Every query answers as the schema says."""

    def setUp(self):
        self.qmp = self.emulator('-name', 'guest=test,debug-threads=on', '-uuid', '00010203-0405-0607-0809-0a0b0c0d0e0f').qmp
        self.schema = {e['name']: e for e in self.qmp.command('query-qmp-schema')}

    def check(self, name, value, where):
        entity = self.schema[name]
        meta = entity['meta-type']
        if meta == 'builtin':
            kinds = {'string': str, 'int': int, 'number': (int, float), 'boolean': bool, 'null': type(None), 'value': object}
            self.assertIsInstance(value, kinds[entity['json-type']], where)
        elif meta == 'enum':
            self.assertIn(value, entity['values'], where)
        elif meta == 'array':
            self.assertIsInstance(value, list, where)
            for i, one in enumerate(value):
                self.check(entity['element-type'], one, f'{where}[{i}]')
        elif meta == 'object':
            members = {m['name']: m for m in entity['members']}
            for m in members.values():
                if 'default' not in m:
                    self.assertIn(m['name'], value, where)
            for key, one in value.items():
                if key in members:
                    self.check(members[key]['type'], one, f'{where}.{key}')
                else:
                    self.assertEqual(name, 'SchemaInfo', f'{where}.{key} is not in the schema')

    def test_queries(self):
        names = [c['name'] for c in self.qmp.command('query-commands')]
        self.assertEqual(names, sorted(names))
        asked = 0
        for name in names:
            arguments = self.schema[self.schema[name]['arg-type']]['members']
            if not name.startswith('query-') or any('default' not in m for m in arguments):
                continue
            reply = self.qmp.request(name)
            if 'return' in reply:
                self.check(self.schema[name]['ret-type'], reply['return'], name)
                asked += 1
            else:
                self.assertIn(name, ('query-balloon', 'query-hotpluggable-cpus'), reply)
        self.assertGreater(asked, 25)

    def test_schema_is_closed(self):
        """Each type that is named exists, each once."""
        entities = self.qmp.command('query-qmp-schema')
        self.assertEqual(len(entities), len({e['name'] for e in entities}))
        for entity in entities:
            names = [entity[k] for k in ('arg-type', 'ret-type', 'element-type') if k in entity]
            names += [m['type'] for m in entity.get('members', []) if 'type' in m] + [v['type'] for v in entity.get('variants', [])]
            for name in names:
                self.assertIn(name, self.schema, entity)

    def test_names(self):
        self.assertEqual(self.qmp.command('query-name'), {'name': 'test'})
        self.assertEqual(self.qmp.command('query-uuid'), {'UUID': '00010203-0405-0607-0809-0a0b0c0d0e0f'})
        self.assertEqual(self.qmp.command('query-target'), {'arch': 'x86_64'})
        self.assertEqual(self.qmp.command('query-migrate-capabilities'), [])

    def test_libvirt_paths(self):
        """What libvirt looks for in the schema, as far as it is true here."""
        self.assertIn('json-cli-hotplug', self.schema['device_add']['features'])
        object_add = self.schema[self.schema['object-add']['arg-type']]
        qom_type = next(m['type'] for m in object_add['members'] if m['name'] == 'qom-type')
        self.assertIn('secret', self.schema[qom_type]['values'])
        self.assertIn('iothread', [v['case'] for v in object_add['variants']])
        nodes = self.schema[self.schema['query-named-block-nodes']['arg-type']]
        self.assertIn('flat', [m['name'] for m in nodes['members']])
        add = self.schema[self.schema['chardev-add']['arg-type']]
        backend = self.schema[next(m['type'] for m in add['members'] if m['name'] == 'backend')]
        wrapper = self.schema[next(v['type'] for v in backend['variants'] if v['case'] == 'socket')]
        data = self.schema[next(m['type'] for m in wrapper['members'] if m['name'] == 'data')]
        self.assertIn('reconnect', [m['name'] for m in data['members']])

    def test_machines(self):
        machines = {m['name']: m for m in self.qmp.command('query-machines')}
        for m in machines.values():
            self.assertIs(m['numa-mem-supported'], False)
            self.assertIn('acpi', m)
            if m['name'] != 'none':
                self.assertTrue(m['default-cpu-type'].endswith('-x86_64-cpu'))

    def test_options(self):
        options = {o['option']: [p['name'] for p in o['parameters']] for o in self.qmp.command('query-command-line-options')}
        self.assertIn('strict', options['boot-opts'])
        self.assertEqual(len(self.qmp.command('query-command-line-options', option='rtc')), 1)
        self.assertEqual(self.qmp.error('query-command-line-options', option='no-such')['class'], 'GenericError')


class RunControl(Case):
    def test_stop_cont_reset(self):
        qmp = self.emulator().qmp
        self.assertEqual(qmp.command('query-status'), {'status': 'running', 'running': True})
        qmp.command('stop')
        event = qmp.wait_event('STOP')
        self.assertGreater(event['timestamp']['seconds'], 1600000000)
        self.assertIn('microseconds', event['timestamp'])
        self.assertEqual(qmp.command('query-status'), {'status': 'paused', 'running': False})
        qmp.command('cont')
        qmp.wait_event('RESUME')
        qmp.command('system_reset')
        self.assertEqual(qmp.wait_event('RESET')['data'], {'guest': False, 'reason': 'host-qmp-system-reset'})
        qmp.command('system_powerdown')
        qmp.wait_event('POWERDOWN')

    def test_prelaunch(self):
        qmp = self.emulator('-S').qmp
        self.assertEqual(qmp.command('query-status')['status'], 'prelaunch')
        qmp.command('cont')
        self.assertEqual(qmp.command('query-status')['status'], 'running')

    def test_quit(self):
        emulator = self.emulator()
        emulator.qmp.send('{"execute": "quit", "id": 9}')
        self.assertEqual(emulator.qmp.reply(), {'return': {}, 'id': 9})
        self.assertEqual(emulator.qmp.wait_event('SHUTDOWN')['data'], {'guest': False, 'reason': 'host-qmp-quit'})
        status, out, err = emulator.stop(sig=None)
        self.assertEqual((status, out, err), (0, '', ''))

    def test_two_monitors_hear_events(self):
        folder = self.folder()
        second = os.path.join(folder, 'second')
        emulator = self.emulator('-S', '-qmp', f'unix:{second},server=on,wait=off')
        other = Qmp(emulator.socket(second))
        emulator.qmp.command('cont')
        other.wait_event('RESUME')
        emulator.qmp.wait_event('RESUME')
        other.sock.close()
        emulator.qmp.command('stop')


class Descriptors(Case):
    def setUp(self):
        self.emu = self.emulator()
        self.qmp = self.emu.qmp

    def send_fd(self, text, fds):
        socket.send_fds(self.qmp.sock, [text.encode()], fds)
        return self.qmp.reply()

    def test_getfd(self):
        with open('/dev/null', 'rb') as f:
            self.assertEqual(self.send_fd('{"execute": "getfd", "arguments": {"fdname": "x"}}', [f.fileno()]), {'return': {}})
            self.assertIn('error', self.send_fd('{"execute": "getfd", "arguments": {"fdname": "1x"}}', [f.fileno()]))
        self.assertEqual(self.qmp.error('getfd', fdname='y')['class'], 'GenericError')
        self.qmp.command('closefd', fdname='x')
        self.qmp.error('closefd', fdname='x')

    def test_add_fd(self):
        with tempfile.TemporaryFile() as f:
            reply = self.send_fd('{"execute": "add-fd", "arguments": {"fdset-id": 4, "opaque": "o"}}', [f.fileno()])
            self.assertEqual(reply['return']['fdset-id'], 4)
            sets = self.qmp.command('query-fdsets')
            self.assertEqual(sets[0]['fds'][0]['opaque'], 'o')
            self.qmp.command('chardev-add', id='f', backend={'type': 'file', 'data': {'out': '/dev/fdset/4'}}) \
                if os.get_inheritable(f.fileno()) else None
            self.qmp.command('remove-fd', fdset_id=4)
            self.assertEqual(self.qmp.command('query-fdsets'), [])
            self.assertEqual(self.qmp.error('remove-fd', fdset_id=4)['class'], 'GenericError')
        self.assertIn('error', self.qmp.raw('{"execute": "add-fd"}'))

    def test_socket_by_name(self):
        """A listening socket that libvirt would open, used by chardev-add."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 's')
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(path)
            listener.listen(1)
            self.send_fd('{"execute": "getfd", "arguments": {"fdname": "listener"}}', [listener.fileno()])
            listener.close()
            self.qmp.command('chardev-add', id='c', backend={'type': 'socket', 'data': {
                'addr': {'type': 'fd', 'data': {'str': 'listener'}}, 'server': True, 'wait': False}})
            client = socket.socket(socket.AF_UNIX)
            client.connect(path)
            client.close()
            self.qmp.command('chardev-remove', id='c')

    def test_named_fds_go_with_the_client(self):
        with open('/dev/null', 'rb') as f:
            before = len(os.listdir(f'/proc/{self.emu.process.pid}/fd'))
            self.send_fd('{"execute": "getfd", "arguments": {"fdname": "x"}}', [f.fileno()])
        self.qmp.sock.close()
        qmp = self.emu.connect()
        qmp.error('closefd', fdname='x')
        self.assertEqual(len(os.listdir(f'/proc/{self.emu.process.pid}/fd')), before)
        qmp.sock.close()


sys.setrecursionlimit(20000)

if __name__ == '__main__':
    unittest.main()
