// The client as a page uses it, over sockets that the test holds.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Board, type Options } from '../src/board.js';
import type { Reading } from '../src/readings.js';
import { FakeSocket, FakeWorld } from './fakes.js';

const STREAM = 'ws://pi:8642/ws';
const cpu = { id: 3, name: 'cpu/temperature', kind: 'gauge', unit: 'Cel', status: 'ok' };
const door = { id: 4, name: 'door', kind: 'state', status: 'ok' };

interface Started {
  board: Board;
  world: FakeWorld;
  events: string[];
  socket: () => FakeSocket;
}

function started(options: Options = {}): Started {
  const world = new FakeWorld();
  class Recorded extends FakeSocket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols);
      world.sockets.push(this);
    }
  }
  const board = new Board(STREAM, { ...options, WebSocket: Recorded }, { world });
  const events: string[] = [];
  board.addEventListener('open', ({ hello }) => events.push(`open ${hello.device}`));
  board.addEventListener('close', ({ code }) => events.push(`close ${code}`));
  board.addEventListener('gap', ({ from, to, epochChanged }) => events.push(`gap ${from}-${to}${epochChanged ? ' anew' : ''}`));
  return { board, world, events, socket: () => world.newest };
}

/** The connection is lost, and the next one is opened. */
function cut({ world }: Started): void {
  world.newest.drop();
  world.pass(30_000);
}

const data = (seq: number, values: object, more: object = {}): object => ({ type: 'data', seq, t: 100 + seq, values, ...more });
const snapshot = (seq: number, values: object = {}): object => data(seq, values, { snapshot: true });
const greet = (socket: FakeSocket, seq = 1, epoch = 'a'): void => socket.hello({ seq, epoch, channels: [cpu, door] });

/** Lets promises and microtasks run. */
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

test('readings reach those who asked for their channel, with its description', () => {
  const { board, socket } = started();
  const heard: Reading[] = [];
  const off = board.on('cpu/#', (reading) => heard.push(reading));
  greet(socket());
  socket().receive(snapshot(1, { 'cpu/temperature': 48.5, door: 'open' }));
  socket().receive(data(2, { 'cpu/temperature': 49, door: 'shut' }));
  off();
  socket().receive(data(3, { 'cpu/temperature': 50 }));
  assert.deepEqual(heard.map(({ name, value, t, snapshot, channel }) => [name, value, t, snapshot, channel?.unit]), [
    ['cpu/temperature', 48.5, 101, true, 'Cel'],
    ['cpu/temperature', 49, 102, false, 'Cel'],
  ]);
  assert.deepEqual([...board.latest], [['cpu/temperature', { value: 50, t: 103 }], ['door', { value: 'shut', t: 102 }]]);
  assert.deepEqual([...board.channels.keys()], ['cpu/temperature', 'door']);
});

test('many rows come as one call, the newest in front', () => {
  const { board, socket } = started();
  const heard: Reading[] = [];
  board.on('imu/ax', (reading) => heard.push(reading));
  greet(socket());
  socket().receive(data(2, { 'imu/ax': [1, 2, 3] }, { dt: [0, 0.5, 1] }));
  assert.equal(heard.length, 1);
  assert.deepEqual([heard[0]?.value, heard[0]?.t], [3, 103]);
  assert.deepEqual([[...(heard[0]?.values ?? [])], [...(heard[0]?.times ?? [])]], [[1, 2, 3], [102, 102.5, 103]]);
});

test('who comes late hears at once what is known, and nothing twice', async () => {
  const { board, socket } = started();
  greet(socket());
  socket().receive(snapshot(1, { door: 'open' }));
  const heard: unknown[] = [];
  board.on('door', ({ value, snapshot }) => heard.push([value, snapshot]));
  await settle();
  assert.deepEqual(heard, [['open', true]]);

  const nested: unknown[] = [];
  const off = board.on('cpu/temperature', () => {
    off();
    board.on('door', ({ value }) => nested.push(value));
  });
  socket().receive(data(2, { 'cpu/temperature': 1, door: 'shut' }));
  await settle();
  assert.deepEqual(nested, ['shut']);
});

test('a callback that throws stops no other', async () => {
  const { board, socket } = started();
  const reported: unknown[] = [];
  globalThis.reportError = (error) => reported.push(error);
  const heard: unknown[] = [];
  board.on('door', () => {
    throw new Error('clumsy');
  });
  board.on('door', ({ value }) => heard.push(value));
  greet(socket());
  socket().receive(data(2, { door: 'open' }));
  socket().receive(data(3, { door: 'shut' }));
  assert.deepEqual(heard, ['open', 'shut']);
  assert.equal(reported.length, 2);
});

test('binary values are the message itself, and "no reading" is null', () => {
  const { board, socket } = started({ binary: true });
  assert.deepEqual(socket().protocols, ['boardcast.v1.bin', 'boardcast.v1.json']);
  assert.equal(socket().binaryType, 'arraybuffer');
  const message = new ArrayBuffer(24 + 8 + 2 * 8);
  const view = new DataView(message);
  view.setUint8(0, 1);
  view.setUint16(2, 2, true);
  view.setUint32(4, 1, true);
  view.setUint32(8, 9, true);
  view.setFloat64(16, 200, true);
  view.setUint32(24, cpu.id, true);
  view.setUint32(28, 77, true);
  view.setFloat64(32, 48.5, true);
  const heard: Reading[] = [];
  board.on('#', (reading) => heard.push(reading));
  greet(socket());
  socket().receive(message);
  view.setFloat64(32, NaN, true);
  socket().receive(message.slice(0));
  assert.deepEqual(heard.map(({ name, value, t }) => [name, value, t]), [['cpu/temperature', 48.5, 200], ['cpu/temperature', null, 200]]);
  const [first] = heard;
  assert.ok(first?.values instanceof Float64Array);
  assert.equal(first.values.buffer, message);
  socket().drop();
  assert.deepEqual(heard.length, 2);
});

test('after a cut it goes on where it was, and says so to nobody', () => {
  const at = started({ channels: ['cpu/#', 'door'], maxHz: 5, token: 'Ä ~' });
  const address = (): URL => new URL(at.socket().url);
  assert.equal(address().searchParams.get('since'), null);
  assert.equal(address().searchParams.get('channels'), 'cpu/#,door');
  assert.equal(address().searchParams.get('max_hz'), '5');
  assert.equal(address().searchParams.get('token'), null, 'no secret in an address');
  assert.deepEqual(at.socket().protocols, ['boardcast.v1.json', 'boardcast.auth.w4Qgfg']);
  greet(at.socket());
  at.socket().receive(snapshot(1));
  at.socket().receive(data(2, { door: 'open' }));
  cut(at);
  assert.equal(address().searchParams.get('since'), 'a:2');
  assert.equal(address().searchParams.get('channels'), 'cpu/#,door');
  greet(at.socket(), 9);
  at.socket().receive({ type: 'subscribed', channels: [], recovered: true });
  at.socket().receive(data(3, { door: 'shut' }));
  assert.deepEqual(at.events, ['open pi', 'close 1006', 'open pi']);
});

test('what was lost is told before what comes after it', () => {
  const at = started();
  at.board.on('door', ({ value }) => at.events.push(String(value)));
  greet(at.socket());
  at.socket().receive(snapshot(1, { door: 'open' }));
  cut(at);
  greet(at.socket(), 90);
  at.socket().receive({ type: 'subscribed', channels: [], recovered: false });
  at.socket().receive(snapshot(90, { door: 'shut' }));
  at.socket().receive({ type: 'gap', from: 91, to: 95 });
  at.socket().receive(snapshot(95, { door: 'ajar' }));
  assert.deepEqual(at.events, ['open pi', 'open', 'close 1006', 'open pi', 'gap 2-90', 'shut', 'gap 91-95', 'ajar']);
});

test('a board that has started anew is known anew', () => {
  const at = started();
  greet(at.socket());
  at.socket().receive(snapshot(1, { door: 'open' }));
  cut(at);
  at.socket().hello({ seq: 4, epoch: 'b', channels: [cpu] });
  assert.deepEqual(at.events, ['open pi', 'close 1006', 'gap 1-4 anew', 'open pi']);
  assert.deepEqual([...at.board.channels.keys()], ['cpu/temperature']);
  assert.equal(at.board.latest.size, 0);
});

test('subscribe: the answer, and the next connection asks for the same', async () => {
  const at = started();
  greet(at.socket());
  at.socket().receive(snapshot(1));
  const answer = at.board.subscribe(['door'], { maxHz: 2 });
  const { id, ...sent } = at.socket().sent[0] ?? {};
  assert.deepEqual(sent, { type: 'subscribe', channels: ['door'], max_hz: 2 });
  at.socket().receive({ type: 'subscribed', channels: ['door'], max_hz: 2, recovered: false, id });
  assert.equal((await answer).maxHz, 2);
  cut(at);
  assert.equal(new URL(at.socket().url).search, '?channels=door&max_hz=2', 'its snapshot had not come: no since');
});

test('subscribe while there is no connection, or while one is cut: the next one answers', async () => {
  const at = started({ channels: [] });
  assert.equal(new URL(at.socket().url).search, '?channels=');
  const early = at.board.subscribe(['door']);
  // This connection was opened before, and asks for nothing.
  greet(at.socket());
  const [message] = at.socket().sent;
  assert.deepEqual(message?.channels, ['door']);
  at.socket().receive({ type: 'subscribed', channels: [], recovered: false });
  const late = at.board.subscribe(['cpu/#']);
  cut(at);
  assert.equal(new URL(at.socket().url).searchParams.get('channels'), 'cpu/#');
  greet(at.socket());
  at.socket().receive({ type: 'subscribed', channels: ['cpu/#'], recovered: false });
  assert.deepEqual((await early).channels, ['cpu/#']);
  assert.deepEqual((await late).channels, ['cpu/#']);
});

test('a subscribe that is refused leaves things as they were', async () => {
  const at = started({ channels: ['door'] });
  greet(at.socket());
  await assert.rejects(at.board.subscribe(['a b']), { code: 'bad_filter' });
  await assert.rejects(at.board.subscribe(['a'], { maxHz: 0 }), { code: 'bad_rate' });
  assert.equal(at.socket().sent.length, 0);
  const refused = at.board.subscribe(['cpu/#']);
  at.socket().receive({ type: 'error', code: 'bad_filter', message: 'no', id: at.socket().sent[0]?.id });
  await assert.rejects(refused, { code: 'bad_filter', message: 'no' });
  cut(at);
  assert.equal(new URL(at.socket().url).searchParams.get('channels'), 'door');
});

test('publish: done, refused, lost, offline, closed', async () => {
  const at = started();
  await assert.rejects(at.board.publish({ a: 1 }), { code: 'offline' });
  greet(at.socket());
  const publish = (): { done: Promise<void>; id: unknown } => {
    const done = at.board.publish({ 'room/temperature': 21.5 });
    const sent = at.socket().sent;
    return { done, id: sent[sent.length - 1]?.id };
  };
  const done = publish();
  const refused = publish();
  assert.notEqual(done.id, refused.id);
  at.socket().receive({ type: 'error', code: 'not_allowed', message: 'no', id: refused.id });
  at.socket().receive({ type: 'published', id: done.id });
  await done.done;
  await assert.rejects(refused.done, { code: 'not_allowed', message: 'no' });
  const lost = publish();
  cut(at);
  await assert.rejects(lost.done, { code: 'lost' });
  greet(at.socket());
  const closed = publish();
  at.board.close();
  await assert.rejects(closed.done, { code: 'lost' });
  await assert.rejects(at.board.publish({ a: 1 }), { code: 'closed' });
});

test('status tells where things stand', () => {
  const at = started();
  const seen: unknown[] = [at.board.status];
  at.board.addEventListener('status', ({ status, retryAt, reason }) => seen.push([status, retryAt && retryAt - at.world.time, reason]));
  greet(at.socket());
  at.socket().drop(1001, 'the server stops');
  at.world.pass(1000);
  greet(at.socket());
  at.board.close();
  assert.deepEqual(seen, [
    'connecting',
    ['live', null, ''],
    ['reconnecting', 1000, 'the server stops'],
    ['reconnecting', null, 'the server stops'],
    ['live', null, ''],
    ['closed', null, ''],
  ]);
  assert.deepEqual(at.events, ['open pi', 'close 1001', 'open pi', 'close 1000']);
  assert.equal(at.world.pending, 0);
  assert.equal(at.world.sockets.length, 2);
});

test('the page is seen again, or the network is back: it heals at once, until it is closed', () => {
  const page = new EventTarget() as EventTarget & { hidden: boolean };
  page.hidden = true;
  const window = new EventTarget();
  const scope = globalThis as unknown as Record<string, unknown>;
  const former = { document: scope.document, add: scope.addEventListener, remove: scope.removeEventListener };
  scope.document = page;
  scope.addEventListener = window.addEventListener.bind(window);
  scope.removeEventListener = window.removeEventListener.bind(window);
  try {
    const at = started();
    at.socket().drop();
    page.dispatchEvent(new Event('visibilitychange'));
    assert.equal(at.world.sockets.length, 1, 'it was hidden just now');
    page.hidden = false;
    page.dispatchEvent(new Event('visibilitychange'));
    assert.equal(at.world.sockets.length, 2);
    at.socket().drop();
    window.dispatchEvent(new Event('online'));
    assert.equal(at.world.sockets.length, 3);
    at.socket().drop();
    window.dispatchEvent(new Event('pageshow'));
    assert.equal(at.world.sockets.length, 4);
    at.board.close();
    window.dispatchEvent(new Event('online'));
    assert.equal(at.world.sockets.length, 4);
  } finally {
    scope.document = former.document;
    scope.addEventListener = former.add;
    scope.removeEventListener = former.remove;
  }
});

test('a wish that no board could fulfil is refused at once', () => {
  const world = new FakeWorld();
  const fresh = (options: Options): Board => new Board(STREAM, { WebSocket: FakeSocket, ...options }, { world });
  assert.throws(() => fresh({ channels: ['a//b'] }), { code: 'bad_filter' });
  assert.throws(() => fresh({ channels: Array.from({ length: 65 }, () => 'a') }), { code: 'bad_filter' });
  assert.throws(() => fresh({ maxHz: -1 }), { code: 'bad_rate' });
  const board = fresh({});
  assert.throws(() => board.on('#/a', () => {}), { code: 'bad_filter' });
  board.close();
});

test('another selection that is asked for while there is no connection begins with a snapshot', () => {
  const at = started({ channels: ['door'] });
  greet(at.socket());
  at.socket().receive({ type: 'subscribed', channels: ['door'], recovered: false });
  at.socket().receive(snapshot(1, { door: 'open' }));
  at.socket().drop();
  void at.board.subscribe(['cpu/#']).catch(() => {});
  at.world.pass(30_000);
  assert.equal(new URL(at.socket().url).search, '?channels=cpu%2F%23', 'no since: it never had these');
});

test('a selection of nothing is answered over a cut, too', async () => {
  const at = started({ channels: ['door'] });
  greet(at.socket());
  at.socket().drop();
  let answer: unknown = null;
  void at.board.subscribe([]).then((subscribed) => (answer = subscribed));
  at.world.pass(30_000);
  greet(at.socket());
  const asked = at.socket().sent.find(({ type }) => type === 'subscribe');
  if (asked) at.socket().receive({ type: 'subscribed', channels: [], recovered: false, id: asked.id });
  await settle();
  assert.notEqual(answer, null, 'the board says nothing of an empty query');
});

test('after close() nothing is heard', () => {
  const { board, socket } = started();
  const heard: string[] = [];
  board.addEventListener('open', () => board.close());
  board.addEventListener('message', ({ message }) => heard.push(message.type));
  board.on('#', ({ name }) => heard.push(name));
  greet(socket());
  assert.deepEqual(heard, []);
});

test('a callback that closes is the last that hears', () => {
  const { board, socket } = started();
  const heard: string[] = [];
  board.on('#', ({ name }) => {
    heard.push(name);
    board.close();
  });
  greet(socket());
  socket().receive(snapshot(1, { 'cpu/temperature': 1, door: 'open' }));
  assert.deepEqual(heard, ['cpu/temperature']);
});

test('an off() counts at once', () => {
  const { board, socket } = started();
  const heard: string[] = [];
  let off = (): void => {};
  board.on('door', () => off());
  off = board.on('door', () => heard.push('second'));
  greet(socket());
  socket().receive(data(2, { door: 'open' }));
  assert.deepEqual(heard, []);
});

test('a selection that is too long for an address is sent as a message, and goes on after a cut all the same', async () => {
  const channels = Array.from({ length: 64 }, (_, i) => `${'long/'.repeat(7)}${String(i).padStart(90, '0')}`);
  const at = started({ channels, maxHz: 5, token: 'secret' });
  const joined = (): Record<string, unknown> => {
    assert.equal(new URL(at.socket().url).search, '?channels=');
    assert.deepEqual(at.socket().sent, []);
    greet(at.socket(), 9);
    assert.equal(at.socket().sent.length, 1);
    return at.socket().sent[0] ?? {};
  };
  const outage = (): void => {
    at.world.pass(5000); // It was a good connection: the next comes soon.
    cut(at);
  };
  const { id: first, ...asked } = joined();
  assert.deepEqual(asked, { type: 'subscribe', channels, max_hz: 5 });
  at.socket().receive({ type: 'subscribed', channels, max_hz: 5, recovered: false, id: first });
  at.socket().receive(snapshot(9));
  at.socket().receive(data(10, { door: 'open' }));
  outage();
  const { id: second, ...again } = joined();
  assert.deepEqual(again, { type: 'subscribe', channels, max_hz: 5, since: { epoch: 'a', seq: 10 } });
  at.socket().receive({ type: 'heartbeat', seq: 12, time: 1 });
  at.socket().receive({ type: 'subscribed', channels, max_hz: 5, recovered: true, id: second });
  at.socket().receive(data(11, { door: 'shut' }));
  assert.deepEqual(at.events, ['open pi', 'close 1006', 'open pi'], 'nothing was lost');

  const changed = at.board.subscribe(channels.slice(1));
  at.socket().receive({ type: 'subscribed', channels: [], recovered: false, id: at.socket().sent[1]?.id });
  assert.equal(at.socket().sent[1]?.since, undefined, 'it counts once');
  await changed;
  at.socket().receive(snapshot(20));
  outage();
  // Another is chosen as soon as the connection is there, before its own.
  at.board.addEventListener('status', ({ status }) => status === 'live' && void at.board.subscribe(channels));
  greet(at.socket(), 30);
  assert.deepEqual(at.socket().sent.map(({ since }) => since), [undefined, undefined], 'it never had these');
  at.socket().receive({ type: 'subscribed', channels, recovered: false, id: at.socket().sent[1]?.id });
  at.socket().receive(snapshot(30));
  outage();
  assert.equal(new URL(at.socket().url).searchParams.get('since'), null);
});
