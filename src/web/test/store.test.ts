// What survives a lost connection, a restart of the board, a gap; and what must not.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from '../../../clients/js/src/protocol.js';
import type { Points } from '../series';
import { CONFIRM_MS, GAP_NOTE_MS, GONE_MS, Store, type Channel } from '../store';

const cpu = { name: 'cpu/usage', unit: '%', kind: 'gauge', status: 'ok', stale_after: 5 };
const door = { name: 'door', kind: 'state', status: 'ok' };

function send(store: Store, message: object, nowMs = 0): void {
  const parsed = parse(JSON.stringify(message));
  assert.ok(parsed, 'the test sends what the page understands');
  store.apply(parsed, nowMs);
}

const hello = (epoch: string, channels: object[], more: object = {}): object => ({
  type: 'hello', version: 1, device: 'pi', epoch, seq: 1, time: 100, synced: true, heartbeat: 15, channels, ...more,
});
const data = (t: number, values: object, more: object = {}): object => ({ type: 'data', seq: 1, t, values, ...more });

function channel(store: Store, name: string): Channel {
  const found = store.channels.get(name);
  assert.ok(found, `${name} is there`);
  return found;
}

function line(store: Store, name: string): (number | null)[] {
  const out: Points = { x: [], y: [], isolated: [] };
  channel(store, name).series.copy(-Infinity, out);
  return out.y;
}

test('values land in their channels, unknown names nowhere', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(100, { 'cpu/usage': 12.5, 'no/such': 1 }, { snapshot: true }));
  assert.equal(channel(store, 'cpu/usage').value, 12.5);
  assert.equal(store.channels.size, 1);
  assert.equal(store.device, 'pi');
});

test('a channel remembers how fine its readings are', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  for (const value of [1, 0.25, 3]) send(store, data(100, { 'cpu/usage': value }));
  assert.equal(channel(store, 'cpu/usage').places, 2);
});

test('descriptions may follow the hello', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  const before = store.shape;
  send(store, { type: 'channels', channels: [door] });
  assert.deepEqual([...store.channels.keys()], ['cpu/usage', 'door']);
  assert.ok(store.shape > before);
});

test('a change of status alone moves nothing on the page', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  const { shape } = store;
  const { version } = channel(store, 'cpu/usage');
  send(store, { type: 'channels', channels: [{ ...cpu, status: 'error', reason: 'unplugged' }] });
  assert.equal(store.shape, shape);
  assert.ok(channel(store, 'cpu/usage').version > version);
});

test('the same board again, and nothing was lost: charts go on as if nothing had been', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(101, { 'cpu/usage': 1 }));
  store.lost(500);
  send(store, hello('a', [cpu]));
  send(store, data(109, { 'cpu/usage': 2 }));
  assert.deepEqual(line(store, 'cpu/usage'), [1, 2]);
  assert.equal(store.missed, 0);
});

test('the same board again, and readings were lost: charts go on, with a gap', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(101, { 'cpu/usage': 1 }));
  send(store, hello('a', [cpu]));
  store.lose({ from: 2, to: 9, epochChanged: false }, 0);
  send(store, data(109, { 'cpu/usage': 2 }, { snapshot: true }));
  assert.deepEqual(line(store, 'cpu/usage'), [1, null, 2]);
  assert.equal(store.missed, 8);
});

test('what was before comes in front, for the channels that are known', () => {
  const store = new Store();
  send(store, hello('a', [cpu, door]));
  send(store, data(120, { 'cpu/usage': 9 }));
  const track = { min: [1, null], mean: [2, null], max: [3, null] };
  store.prefill({ from: 100, to: 120, step: 10, t: [100, 110], channels: new Map([['cpu/usage', track], ['no/such', track]]) });
  assert.deepEqual(line(store, 'cpu/usage'), [1, 3, null, 9]);
  assert.equal(store.channels.size, 2);
});

test('binary columns are read like others, NaN is no reading', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  const values = new Map([['cpu/usage', new Float64Array([1, NaN, 3])]]);
  store.apply({ type: 'data', seq: 2, snapshot: false, more: false, times: new Float64Array([101, 102, 103]), values }, 0);
  assert.deepEqual(line(store, 'cpu/usage'), [1, null, 3]);
});

test('a new start of the board: the list is rebuilt, charts of the same name go on', () => {
  const store = new Store();
  send(store, hello('a', [cpu, door]));
  send(store, data(101, { 'cpu/usage': 1, door: 'open' }));
  const { series } = channel(store, 'cpu/usage');
  store.lose({ from: 1, to: 3, epochChanged: true }, 0);
  send(store, hello('b', [cpu]));
  assert.deepEqual([...store.channels.keys()], ['cpu/usage']);
  assert.equal(channel(store, 'cpu/usage').series, series);
  send(store, data(109, { 'cpu/usage': 2 }));
  assert.deepEqual(line(store, 'cpu/usage'), [1, null, 2]);
});

test('a channel described only after the new hello still finds its past, but not for ever', () => {
  const store = new Store();
  send(store, hello('a', [cpu, door]));
  send(store, data(101, { door: 'open' }));
  send(store, hello('b', [cpu]), 1000);
  send(store, { type: 'channels', channels: [door] }, 1100);
  assert.equal(channel(store, 'door').value, 'open');

  send(store, hello('c', [cpu]), 2000);
  store.tick(2000 + CONFIRM_MS);
  send(store, { type: 'channels', channels: [door] }, 2000 + CONFIRM_MS);
  assert.equal(channel(store, 'door').value, null);
});

test('what the same board no longer names goes after a while', () => {
  const store = new Store();
  send(store, hello('a', [cpu, door]));
  send(store, hello('a', [cpu]), 1000);
  store.tick(1000 + CONFIRM_MS - 1);
  assert.equal(store.channels.size, 2);
  store.tick(1000 + CONFIRM_MS);
  assert.deepEqual([...store.channels.keys()], ['cpu/usage']);
});

test('a gap is counted, interrupts the lines, and its note goes away', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(101, { 'cpu/usage': 1 }));
  store.lose({ from: 10, to: 156, epochChanged: false }, 5000);
  send(store, data(109, { 'cpu/usage': 2 }, { snapshot: true }), 5000);
  assert.equal(store.missed, 147);
  assert.deepEqual(line(store, 'cpu/usage'), [1, null, 2]);
  store.tick(5000 + GAP_NOTE_MS - 1);
  assert.equal(store.missed, 147);
  store.tick(5000 + GAP_NOTE_MS);
  assert.equal(store.missed, 0);
});

test('no reading: the last good value stays, and the line is interrupted', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(101, { 'cpu/usage': 1 }));
  send(store, data(102, { 'cpu/usage': null }), 1000);
  const found = channel(store, 'cpu/usage');
  assert.equal(found.value, 1);
  assert.equal(store.health(found, 1000), 'missing');
  send(store, data(103, { 'cpu/usage': 3 }), 2000);
  assert.equal(store.health(found, 2000), 'ok');
  assert.deepEqual(line(store, 'cpu/usage'), [1, null, 3]);
});

test('silence makes a channel stale, its next reading fresh', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  const found = channel(store, 'cpu/usage');
  assert.equal(store.health(found, 60_000), 'waiting');
  send(store, data(101, { 'cpu/usage': 1 }), 1000);
  assert.equal(store.health(found, 6000), 'ok');
  assert.equal(store.health(found, 6001), 'stale');
  send(store, data(107, { 'cpu/usage': 1 }), 7000);
  assert.equal(store.health(found, 7000), 'ok');
});

test('a lost connection makes no channel stale that was not, and after the hello silence counts again', () => {
  const store = new Store();
  send(store, hello('a', [cpu]));
  send(store, data(101, { 'cpu/usage': 1 }), 1000);
  store.lost(2000);
  store.lost(60_000);
  const found = channel(store, 'cpu/usage');
  assert.equal(store.health(found, 90_000), 'ok');
  send(store, hello('a', [cpu]), 90_000);
  assert.equal(store.health(found, 90_000), 'stale');
});

test('a snapshot shows the last value of a failed sensor, without drawing it as new', () => {
  const store = new Store();
  send(store, hello('a', [{ ...cpu, status: 'error', reason: 'unplugged' }]));
  send(store, data(101, { 'cpu/usage': 42 }, { snapshot: true }));
  const found = channel(store, 'cpu/usage');
  assert.equal(found.value, 42);
  assert.equal(found.series.length, 0);
  assert.equal(store.health(found, 0), 'error');
});

test('the time of a change is that of the row in which it changed', () => {
  const store = new Store();
  send(store, hello('a', [door]));
  send(store, data(101, { door: 'closed' }));
  assert.equal(channel(store, 'door').changedAt, null);
  send(store, data(110, { door: ['closed', 'open', 'open'] }, { dt: [0, 1, 2] }));
  assert.equal(channel(store, 'door').changedAt, 111);
});

test('gone: greyed for a while, then removed, unless it comes back', () => {
  const store = new Store();
  send(store, hello('a', [cpu, door]));
  const gone = [{ ...cpu, status: 'gone' }, { ...door, status: 'gone' }];
  send(store, { type: 'channels', channels: gone }, 1000);
  assert.equal(store.health(channel(store, 'door'), 1000), 'gone');
  send(store, { type: 'channels', channels: [cpu] }, 2000);
  store.tick(1000 + GONE_MS);
  assert.deepEqual([...store.channels.keys()], ['cpu/usage']);
});

test('an announced step of the clock moves the right edge at once', () => {
  const store = new Store();
  send(store, hello('a', [cpu], { synced: false }));
  assert.equal(store.synced, false);
  send(store, { type: 'clock', step: 1e9, time: 1e9 + 100, synced: true }, 1000);
  assert.equal(store.synced, true);
  assert.equal(store.clock.now(2000), 1e9 + 101);
});

for (const [way, step] of [['forward', 4e7], ['back', -90]] as const) {
  test(`a clock that is set ${way} moves the curves as a whole`, () => {
    const store = new Store();
    send(store, hello('a', [cpu, door], { synced: false }));
    send(store, data(101.2, { 'cpu/usage': 1, door: 'shut' }));
    send(store, data(102.2, { 'cpu/usage': 2, door: 'open' }));
    const { version } = channel(store, 'cpu/usage');
    send(store, { type: 'clock', step, time: 102.5 + step, synced: true }, 300);
    assert.ok(channel(store, 'cpu/usage').version > version, 'it is drawn again');
    assert.equal(channel(store, 'door').changedAt, 102.2 + step);
    send(store, data(103.2 + step, { 'cpu/usage': 3 }), 1000);
    const out: Points = { x: [], y: [], isolated: [] };
    channel(store, 'cpu/usage').series.copy(-Infinity, out);
    assert.deepEqual(out.x.map((t) => Math.round((t - step) * 10) / 10), [101.2, 102.2, 103.2]);
    assert.deepEqual(out.y, [1, 2, 3]);
  });
}
