// The order in which a board is read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupsOf, headlineOf } from '../layout';
import { parse } from '../../../clients/js/src/protocol.js';
import { Store } from '../store';

function board(channels: object[], values: object = {}): Store['channels'] {
  const store = new Store();
  const hello = { type: 'hello', version: 1, device: 'pi', epoch: 'a', seq: 0, time: 0, channels };
  for (const message of [hello, { type: 'data', seq: 1, t: 1, snapshot: true, values }]) {
    const parsed = parse(JSON.stringify(message));
    assert.ok(parsed);
    store.apply(parsed, 0);
  }
  return store.channels;
}

const named = (...names: string[]): object[] => names.map((name) => ({ name, kind: 'gauge', status: 'ok' }));

test('known groups first, unknown ones by the alphabet, the program itself last', () => {
  const groups = groupsOf(board(named('boardcast/clients', 'zoo/a', 'net/eth0/rx', 'attic/t', 'thermal/a', 'mem/used', 'cpu/usage', 'load/1m')));
  assert.deepEqual(groups.map((group) => group.key), ['cpu', 'mem', 'load', 'net', 'thermal', 'attic', 'zoo', 'boardcast']);
});

test("within a group the board's order, but things side by side and counted like people count", () => {
  const [group] = groupsOf(board(named('cpu/usage', 'cpu/core10/usage', 'cpu/core2/usage', 'cpu/core10/frequency', 'cpu/iowait')));
  assert.deepEqual(group?.charts, ['cpu/usage', 'cpu/iowait', 'cpu/core2/usage', 'cpu/core10/usage', 'cpu/core10/frequency']);
});

test('totals stand behind rates, states and texts become lines', () => {
  const channels = [
    { name: 'x/total', kind: 'counter', status: 'ok' },
    { name: 'x/mode', kind: 'state', status: 'ok' },
    ...named('x/text', 'x/rate'),
  ];
  const [group] = groupsOf(board(channels, { 'x/text': 'warm', 'x/rate': 3, 'x/mode': 7 }));
  assert.deepEqual(group?.charts, ['x/rate', 'x/total']);
  assert.deepEqual(group?.texts, ['x/mode', 'x/text']);
});

test('a name without levels is a group of its own', () => {
  assert.deepEqual(groupsOf(board(named('uptime'))).map(({ key, title, charts }) => ({ key, title, charts })), [
    { key: 'uptime', title: 'Uptime', charts: ['uptime'] },
  ]);
});

test('the headline takes what there is', () => {
  assert.deepEqual(headlineOf(board(named('garden/soil'))), {});
  assert.deepEqual(headlineOf(board(named('cpu/usage', 'mem/used', 'mem/total'))), {
    cpu: 'cpu/usage',
    memory: { used: 'mem/used', total: 'mem/total' },
  });
});

test('the temperature is that of the chip, whatever else is measured', () => {
  const cel = (name: string): object => ({ name, unit: 'Cel', kind: 'gauge', status: 'ok' });
  assert.equal(headlineOf(board([cel('balcony/temperature'), cel('thermal/nvme'), cel('thermal/cpu-thermal')])).temperature, 'thermal/cpu-thermal');
  assert.equal(headlineOf(board([cel('thermal/cpu-thermal'), cel('cpu/temperature')])).temperature, 'cpu/temperature');
  assert.equal(headlineOf(board([cel('balcony/temperature')])).temperature, undefined);
});

test('the network is the link that carries the traffic, never the loopback', () => {
  const links = ['lo', 'eth0', 'wlan0', 'docker0'].flatMap((link) => [`net/${link}/rx`, `net/${link}/tx`, `net/${link}/rx_bytes`]);
  const channels = board(named(...links), { 'net/lo/rx_bytes': 9e9, 'net/docker0/rx_bytes': 8e9, 'net/eth0/rx_bytes': 0, 'net/wlan0/rx_bytes': 5e6 });
  assert.deepEqual(headlineOf(channels).network, { title: 'wlan0', rx: 'net/wlan0/rx', tx: 'net/wlan0/tx' });
});

test('a group that is called like what every object has is titled so', () => {
  assert.deepEqual(groupsOf(board(named('constructor/a', '__proto__/a', 'toString/a'))).map(({ title }) => title).sort(), ['__proto__', 'constructor', 'toString']);
});
