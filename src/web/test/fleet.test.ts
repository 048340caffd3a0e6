// The overview's arithmetic, and one device of a fleet as if it were a board.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Data, Device } from '../../../clients/js/src/protocol.js';
import { historyOf, ofDevice } from '../device';
import { Fleet, POINTS, ago, chosenVitals, sparkline, type Entry } from '../fleet';
import { addressOf, deviceIn } from '../route';

const device = (name: string, status: Device['status'] = 'online', t: number | null = null): Device => ({ name, status, epoch: 'e', seq: 1, t });
const data = (name: string, values: Record<string, number>, t = 100, snapshot = false): Data => ({
  type: 'data',
  device: name,
  epoch: 'e',
  seq: 2,
  snapshot,
  more: false,
  times: [t],
  values: new Map(Object.entries(values).map(([channel, value]) => [`${name}/${channel}`, [value]])),
});
const entryOf = (fleet: Fleet, name: string): Entry => fleet.devices.get(name) as Entry;

test('who needs an eye comes first, the longest away first, and all others by name', () => {
  const fleet = new Fleet();
  fleet.meet([device('pi10'), device('pi9'), device('b', 'stale', 50), device('c', 'offline', 90), device('a', 'offline', 40), device('d', 'offline')]);
  assert.deepEqual(fleet.ordered().map(({ name }) => name), ['d', 'a', 'c', 'b', 'pi9', 'pi10']);
  assert.equal(fleet.summary(), '6 devices: 2 online, 1 stale, 3 offline');
  fleet.meet([device('d', 'gone'), device('a', 'gone'), device('c', 'gone'), device('b', 'gone'), device('pi9', 'gone')]);
  assert.equal(fleet.summary(), '1 device: 1 online');
  assert.equal(new Fleet().summary(), '');
});

test('a device shows those vitals that it has', () => {
  const fleet = new Fleet();
  const shown = (): unknown[] => entryOf(fleet, 'pi').vitals.map((name) => name && entryOf(fleet, 'pi').values.get(name));
  fleet.meet([device('pi')]);
  fleet.take(data('pi', { 'thermal/gpu': 40, 'thermal/soc_thermal': 51, 'mem/used': 2e9 }), 5);
  assert.deepEqual(shown(), [undefined, 51, 2e9]);
  fleet.take(data('pi', { 'cpu/usage': 7, 'cpu/temperature': 48 }), 6);
  assert.deepEqual(shown(), [7, 48, 2e9]);
  fleet.take(data('pi', { 'cpu/usage': NaN }), 7);
  assert.deepEqual(shown(), [7, 48, 2e9], 'the last good value stays');
  fleet.take(data('nobody', { 'cpu/usage': 7 }), 7);
  assert.equal(fleet.devices.size, 1);
});

test('an address may name other vitals, and what is no filter counts for nothing', () => {
  const usual = ['+/cpu/usage', '+/cpu/temperature', '+/thermal/+', '+/mem/used'];
  for (const search of ['', '?', '?vitals=', '?vitals=<b>,/', '?vitals=#/x']) assert.deepEqual(new Fleet(chosenVitals(search)).filters, usual);
  const fleet = new Fleet(chosenVitals('?vitals=room/+,a!b,door/open,1,2,3'));
  assert.deepEqual(fleet.filters, ['+/room/+', '+/door/open', '+/1']);
  fleet.meet([device('pi')]);
  fleet.take(data('pi', { 'room/humidity': 40 }), 5);
  assert.deepEqual(entryOf(fleet, 'pi').vitals, ['room/humidity', undefined, undefined]);
});

test('the line of a device has a hole where it was away, and is bounded', () => {
  const fleet = new Fleet();
  fleet.meet([device('pi')]);
  fleet.take(data('pi', { 'cpu/usage': 10 }, 100, true), 1000);
  assert.equal(entryOf(fleet, 'pi').arrivedAt, null, 'a snapshot may be old');
  fleet.take(data('pi', { 'cpu/usage': 20 }, 101), 2000);
  assert.equal(entryOf(fleet, 'pi').arrivedAt, 2000);
  fleet.meet([device('pi', 'stale')]);
  fleet.lose('pi');
  fleet.take(data('pi', { 'cpu/usage': 30 }, 105), 6000);
  fleet.take(data('pi', { 'cpu/usage': 130 }, 106), 7000);
  const { recent } = entryOf(fleet, 'pi');
  assert.deepEqual(recent, [10, 20, null, 30, 130]);
  assert.deepEqual(sparkline(recent, [0, 130]), ['55,18.5 56,16.9', '58,15.4 59,0.0']);
  fleet.pause();
  assert.equal(entryOf(fleet, 'pi').arrivedAt, null, 'what came before says nothing of how old it is now');
  for (let i = 0; i < 200; i += 1) fleet.take(data('pi', { 'cpu/usage': i }), i);
  assert.equal(entryOf(fleet, 'pi').recent.length, POINTS);
});

test('how long ago, in words that are short enough for a tile', () => {
  const words: [number, string][] = [[-3, 'now'], [1.9, 'now'], [12, '12 s'], [119, '1 min'], [7200, '2 h'], [6 * 86_400, '6 d']];
  for (const [seconds, word] of words) assert.equal(ago(seconds), word);
});

test('a device is a board of its own to the rest of the page', () => {
  const message = ofDevice(data('pi', { 'cpu/usage': 7 }), 'pi');
  assert.deepEqual(message?.type === 'data' && [...message.values.keys()], ['cpu/usage']);
  assert.equal(ofDevice(data('pi10', { 'cpu/usage': 7 }), 'pi1'), null);
  assert.equal(ofDevice({ type: 'heartbeat', seq: 1, time: 1 }, 'pi'), null);
  const channels = ['pi/a', 'pi10/a', 'pi/b/c'].map((name, id) => ({ id, name, kind: 'gauge' as const, status: 'ok' as const }));
  const told = ofDevice({ type: 'channels', channels }, 'pi');
  assert.deepEqual(told?.type === 'channels' && told.channels.map(({ name }) => name), ['a', 'b/c']);
  const track = { min: [], mean: [], max: [] };
  const past = historyOf({ t: [], step: 1, channels: new Map([['pi/a', track], ['x/a', track]]) } as never, 'pi');
  assert.deepEqual([...past.channels.keys()], ['a']);
});

test('addresses lead to devices and back', () => {
  for (const name of ['pi-1', 'a b', '50%', '<b>', 'Küche']) assert.equal(deviceIn(addressOf(name)), name);
  for (const hash of ['', '#/', '#/device/', '#/device/a/b', '#/device/%', '#/device/%2B', '#/device/+', '#/device/%23', 'x']) assert.equal(deviceIn(hash), null);
});
