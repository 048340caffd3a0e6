// Many boards over one connection: from where each goes on, what of each was lost, and who is there at all.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Board, type Options } from '../src/board.js';
import { FleetPlace, deviceOf } from '../src/fleet.js';
import type { Loss } from '../src/place.js';
import { parse } from '../src/protocol.js';
import { FakeWorld, type FakeSocket } from './fakes.js';

function told(place: FleetPlace, ...messages: object[]): Loss[] {
  return messages.flatMap((message) => {
    const parsed = parse(JSON.stringify(message));
    assert.ok(parsed, JSON.stringify(message));
    return place.take(parsed);
  });
}

const hello = { type: 'hello', epoch: 'f', seq: 900, time: 1, fleet: true, channels: [] };
const data = (device: string, seq: number, epoch = 'e'): object => ({ type: 'data', device, epoch, seq, t: seq, values: { [`${device}/x`]: seq } });
const snapshot = (device: string, seq: number, more = false, epoch = 'e'): object => ({ ...data(device, seq, epoch), snapshot: true, more });
const gap = (device: string, from: number | undefined, to: number): object => ({ type: 'gap', device, epoch: 'e', ...(from && { from }), to });
const devices = (...list: object[]): object => ({ type: 'devices', devices: list.map((device) => ({ status: 'online', seq: 0, t: null, ...device })) });
const loss = (device: string, from: number, to: number, epochChanged = false): Loss => ({ device, from, to, epochChanged });

test('each device has a place of its own, which no heartbeat moves', () => {
  const place = new FleetPlace();
  assert.equal(place.since, null);
  told(place, hello, devices({ name: 'a', epoch: 'e', seq: 7 }, { name: 'b' }), snapshot('a', 7), snapshot('b', 3, true));
  assert.deepEqual(place.since, { a: { epoch: 'e', seq: 7 } }, 'of b not all parts are here');
  told(place, snapshot('b', 3), data('b', 4), { type: 'heartbeat', seq: 950, time: 1 });
  assert.deepEqual(place.since, { a: { epoch: 'e', seq: 7 }, b: { epoch: 'e', seq: 4 } });
  assert.equal(deviceOf('a/cpu/usage'), 'a');
});

test('what is lost is told device by device, and no more than that', () => {
  const place = new FleetPlace();
  told(place, hello, snapshot('a', 7), snapshot('b', 3));
  assert.deepEqual(told(place, gap('a', 5, 12)), [loss('a', 8, 12)], 'up to 7 all is here');
  assert.deepEqual(place.since, { b: { epoch: 'e', seq: 3 } }, 'of a the latest values are missing');
  assert.deepEqual(told(place, snapshot('a', 12), gap('b', undefined, 3), snapshot('b', 3)), []);
  assert.deepEqual(told(place, gap('b', undefined, 9)), [loss('b', 4, 9)]);
});

test('a device that was started anew has lost what nobody knows', () => {
  const place = new FleetPlace();
  told(place, hello, snapshot('a', 7), snapshot('b', 3));
  assert.deepEqual(told(place, devices({ name: 'a', epoch: 'new', seq: 2 })), [], 'its words have not come yet');
  assert.deepEqual(told(place, snapshot('a', 2, false, 'new'), data('a', 3, 'new')), [loss('a', 1, 2, true)]);
  assert.deepEqual(place.since, { a: { epoch: 'new', seq: 3 }, b: { epoch: 'e', seq: 3 } });
  told(place, devices({ name: 'b', status: 'gone' }));
  assert.deepEqual(Object.keys(place.since ?? {}), ['a']);
});

/** What a binary message says, which names no epoch. */
const binary = (place: FleetPlace, device: string, seq: number): Loss[] =>
  place.take({ type: 'data', device, seq, snapshot: false, more: false, times: [1], values: new Map() });

test('what is on its way from the former start, when the next one is told already, is no place in that', () => {
  const place = new FleetPlace();
  told(place, hello, snapshot('a', 5000), devices({ name: 'a', epoch: 'new', seq: 3 }));
  assert.deepEqual(binary(place, 'a', 5001), []);
  assert.deepEqual(place.since, { a: { epoch: 'e', seq: 5001 } });
  assert.deepEqual(told(place, data('a', 5002)), []);
  assert.deepEqual(told(place, snapshot('a', 3, false, 'new')), [loss('a', 1, 3, true)]);
  assert.deepEqual(binary(place, 'a', 4), []);
  assert.deepEqual(place.since, { a: { epoch: 'new', seq: 4 } }, 'and not 5001, which would leave out all up to there');
});

test('where all could go on, a snapshot is no loss: a paced client gets the newest values instead of what was between', () => {
  const place = new FleetPlace();
  const recovered = { type: 'subscribed', channels: [], max_hz: 1, recovered: true };
  told(place, hello, snapshot('a', 7), snapshot('b', 3), snapshot('c', 3, true));
  assert.deepEqual(told(place, hello, recovered, snapshot('a', 40), data('a', 42)), []);
  assert.deepEqual(place.since, { a: { epoch: 'e', seq: 42 }, b: { epoch: 'e', seq: 3 } });
  assert.deepEqual(told(place, snapshot('c', 9)), [], 'whatever it had');
  // Without a pace, what the server was not told a place of is lost up to its snapshot.
  told(place, hello, snapshot('b', 9, true), hello, { ...recovered, max_hz: undefined });
  assert.deepEqual(told(place, snapshot('a', 50), snapshot('b', 12)), [loss('b', 10, 12)]);
});

test('a tick brings the first words of a new start as they are, behind what is told of the device', () => {
  const place = new FleetPlace();
  told(place, hello, { type: 'subscribed', channels: [], max_hz: 1, recovered: false }, snapshot('a', 5000));
  assert.deepEqual(told(place, devices({ name: 'a', epoch: 'new', seq: 2 })), [loss('a', 1, 2, true)]);
  assert.deepEqual(binary(place, 'a', 4), []);
  assert.equal(place.since, null, 'the rest of its values may have been in what was between');
});

test('another selection has no place until its snapshots are here', () => {
  const place = new FleetPlace();
  told(place, hello, snapshot('a', 7));
  place.reselect(4);
  told(place, data('a', 8), snapshot('a', 8));
  assert.equal(place.since, null, 'that was of the former selection');
  told(place, { type: 'subscribed', channels: [], recovered: false, id: 4 }, snapshot('a', 9));
  assert.deepEqual(place.since, { a: { epoch: 'e', seq: 9 } });
});

test('whatever is cut, each batch comes once or is told to be lost', () => {
  const names = ['a', 'b', 'c'];
  for (let seed = 1; seed <= 300; seed += 1) {
    let state = seed;
    const below = (n: number): number => (state = (state * 48271) % 2147483647) % n;
    const place = new FleetPlace();
    const heads = new Map(names.map((name) => [name, 5]));
    const head = (name: string): number => heads.get(name) as number;
    /** Behind the first snapshot: the numbers that came or were told, as they did. */
    const had = new Map<string, number[]>();
    const hear = (device: string, message: object): void => {
      const losses = told(place, message);
      const { seq, snapshot: whole } = message as { seq?: number; snapshot?: boolean };
      const own = had.get(device);
      if (!own) return void had.set(device, [seq as number]);
      for (const { from, to } of losses) for (let lost = from; lost <= to; lost += 1) own.push(lost);
      if (seq !== undefined && !whole) own.push(seq);
    };
    for (let connection = 0; connection < 12; connection += 1) {
      const since = place.since ?? {};
      told(place, hello);
      // The server's part, as the protocol has it.
      const script: [string, object][] = [];
      for (const device of names) {
        const [to, from] = [head(device), since[device]?.seq];
        if (from !== undefined && from >= to - below(6)) {
          for (let seq = from + 1; seq <= to; seq += 1) script.push([device, data(device, seq)]);
        } else {
          if (from !== undefined) script.push([device, gap(device, below(2) ? from + 1 : undefined, to)]);
          script.push([device, snapshot(device, to, true)], [device, snapshot(device, to)]);
        }
      }
      for (let more = below(20); more > 0; more -= 1) {
        const device = names[below(3)] as string;
        heads.set(device, head(device) + 1);
        script.push([device, data(device, head(device))]);
      }
      // A cut may come anywhere.
      for (const [device, message] of script.slice(0, below(script.length + 1))) hear(device, message);
    }
    for (const [device, numbers] of had) {
      const first = numbers[0] as number;
      const each = Array.from(numbers, (_, i) => first + i);
      assert.deepEqual(numbers, each, `seed ${seed}, ${device}: each once, in order, without a hole`);
    }
  }
});

/** A client of a fleet server, its sockets, and what it says. */
function joined(options: Options = {}): { board: Board; world: FakeWorld; losses: Loss[]; socket: () => FakeSocket } {
  const world = new FakeWorld();
  const losses: Loss[] = [];
  const open = class {
    constructor(url: string, protocols?: string[]) {
      const socket = world.open() as FakeSocket;
      Object.assign(socket, { url, protocols });
      return socket as unknown as typeof this;
    }
  };
  const board = new Board('ws://fleet/ws', { ...options, WebSocket: open }, { world });
  board.addEventListener('gap', ({ device, from, to, epochChanged }) => losses.push({ ...(device && { device }), from, to, epochChanged }));
  return { board, world, losses, socket: () => world.sockets[world.sockets.length - 1] as FakeSocket };
}

test('after a cut the first message says where each device goes on, also to another server', () => {
  const { board, world, losses, socket } = joined({ channels: ['+/x'], maxHz: 2 });
  assert.equal(new URL(socket().url).searchParams.get('channels'), '+/x');
  socket().hello({ ...hello });
  socket().receive(devices({ name: 'a', epoch: 'e', seq: 7 }, { name: 'b', epoch: 'e', seq: 3 }));
  socket().receive(snapshot('a', 7));
  socket().receive(snapshot('b', 3));
  socket().receive(data('a', 8));
  assert.equal(board.latest.get('a/x')?.value, 8);
  assert.deepEqual(board.devices.get('a'), { name: 'a', status: 'online', epoch: 'e', seq: 8, t: 8 });

  socket().drop();
  world.pass(3000);
  assert.equal(new URL(socket().url).searchParams.get('channels'), '', 'nothing until it is asked');
  socket().hello({ ...hello, epoch: 'another server', seq: 1 });
  const since = { a: { epoch: 'e', seq: 8 }, b: { epoch: 'e', seq: 3 } };
  assert.deepEqual(socket().sent, [{ type: 'subscribe', channels: ['+/x'], max_hz: 2, since, id: 1 }]);
  socket().receive({ type: 'subscribed', channels: ['+/x'], recovered: true, id: 1 });
  socket().drop();
  world.pass(3000);
  socket().hello({ ...hello });
  assert.deepEqual(socket().sent[0]?.since, since, 'a cut before anything came changes nothing');
  assert.deepEqual(losses, []);
});

test('who is not listed any more is gone when all have had their turn', () => {
  const { board, world, socket } = joined();
  const heard: string[] = [];
  board.addEventListener('devices', ({ devices: list }) => heard.push(...list.map(({ name, status }) => `${name} ${status}`)));
  socket().hello({ ...hello });
  socket().receive(devices({ name: 'a' }, { name: 'b' }));
  socket().receive(snapshot('b', 3));
  socket().drop();
  world.pass(3000);
  socket().hello({ ...hello });
  socket().receive(devices({ name: 'a', status: 'stale' }));
  assert.deepEqual([...board.devices.keys()], ['a', 'b']);
  socket().receive({ type: 'heartbeat', seq: 901, time: 1 });
  assert.deepEqual([...board.devices.keys()], ['a']);
  assert.equal(board.latest.size, 0);
  assert.deepEqual(heard, ['a online', 'b online', 'a stale', 'b gone']);
});

test('a board that answers where a fleet was is asked for everything, and what the fleet said is forgotten', () => {
  const { board, world, socket } = joined();
  socket().hello({ ...hello });
  socket().receive(devices({ name: 'a' }));
  socket().receive(snapshot('a', 7));
  socket().drop();
  world.pass(3000);
  socket().hello({ epoch: 'board', seq: 3 });
  assert.deepEqual(socket().sent[0], { type: 'subscribe', channels: ['#'], id: 1 });
  assert.deepEqual([board.devices.size, board.latest.size], [0, 0]);
});

test('a binary batch is of the device whose channels it holds', () => {
  const { board, socket } = joined({ binary: true });
  const from: unknown[] = [];
  board.on('#', ({ device, value, snapshot: old }) => !old && from.push([device, value]));
  socket().hello({ ...hello });
  socket().receive(devices({ name: 'a', epoch: 'e', seq: 1 }));
  socket().receive({ type: 'channels', channels: [{ id: 4, name: 'a/x', kind: 'gauge', status: 'ok' }] });
  const view = new DataView(new ArrayBuffer(40));
  view.setUint8(0, 1);
  view.setUint16(2, 1, true);
  view.setUint32(4, 1, true);
  view.setUint32(8, 2, true);
  view.setFloat64(16, 5, true);
  view.setUint32(24, 4, true);
  view.setFloat64(32, 21.5, true);
  socket().receive(view.buffer);
  assert.deepEqual(from, [['a', 21.5]]);
  assert.equal(board.devices.get('a')?.seq, 2);
});
