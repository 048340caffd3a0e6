// What a newer, an older or a broken board may send.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, type Data, type Hello } from '../src/protocol.js';

const parsed = (message: unknown): ReturnType<typeof parse> => parse(JSON.stringify(message));

test('a hello is read whole, with what it leaves out filled in', () => {
  const hello = parsed({
    type: 'hello', version: 1, device: 'pi', epoch: '9f', seq: 7, time: 1000.5, future: true,
    channels: [{ id: 0, name: 'cpu/usage', unit: '%', kind: 'gauge', min: 0, max: 100, stale_after: 5, status: 'ok' }],
  }) as Hello;
  assert.equal(hello.heartbeat, 15);
  assert.equal(hello.synced, true);
  assert.equal(hello.mayPublish, false);
  assert.deepEqual(hello.channels, [
    { id: 0, name: 'cpu/usage', kind: 'gauge', status: 'ok', unit: '%', min: 0, max: 100, staleAfter: 5 },
  ]);
});

test('a hello without epoch or time is none', () => {
  assert.equal(parsed({ type: 'hello', time: 1, channels: [] }), null);
  assert.equal(parsed({ type: 'hello', epoch: 'a', channels: [] }), null);
});

test('what cannot be understood is dropped and never throws', () => {
  for (const text of ['', '{', 'null', '3', '[]', '{}', '{"type":"later"}', '{"type":"data"}', '{"type":"data","t":1,"values":[]}']) {
    assert.equal(parse(text), null, text);
  }
});

test('an unknown kind or status falls back, a channel without a name is skipped', () => {
  const message = parsed({ type: 'channels', channels: [{ id: 4, name: 'a', kind: 'histogram', status: 'odd', unit: '' }, { id: 3 }, null, 'x'] });
  assert.deepEqual(message, { type: 'channels', channels: [{ id: 4, name: 'a', kind: 'gauge', status: 'ok' }] });
});

test('one row and many rows come out alike', () => {
  const one = parsed({ type: 'data', seq: 1, t: 10, values: { a: 1, b: false, c: 'x', d: null } }) as Data;
  assert.deepEqual(one.times, [10]);
  assert.deepEqual([...one.values], [['a', [1]], ['b', [false]], ['c', ['x']], ['d', [null]]]);
  const many = parsed({ type: 'data', seq: 2, t: 10, dt: [0, 0.5], values: { a: [1, 2] } }) as Data;
  assert.deepEqual(many.times, [10, 10.5]);
  assert.deepEqual([...many.values], [['a', [1, 2]]]);
});

test('a column that does not fit its rows, or holds an object, is dropped alone', () => {
  const data = parsed({ type: 'data', seq: 2, t: 10, dt: [0, 1], values: { short: [1], odd: [{}, 1], good: [1, null] } }) as Data;
  assert.deepEqual([...data.values.keys()], ['good']);
});

test('names that mean something in JavaScript are just names', () => {
  const data = parse('{"type":"data","seq":1,"t":1,"values":{"__proto__":1,"constructor":2}}') as Data;
  assert.deepEqual([...data.values.keys()].sort(), ['__proto__', 'constructor']);
});

test('a part says whether more follows', () => {
  const part = (fields: object): boolean => (parsed({ type: 'data', seq: 1, t: 1, values: {}, ...fields }) as Data).more;
  assert.deepEqual([part({}), part({ more: true }), part({ snapshot: true }), part({ snapshot: true, more: true })], [false, true, false, true]);
});

test('a gap that runs backwards is none', () => {
  assert.deepEqual(parsed({ type: 'gap', from: 4, to: 9 }), { type: 'gap', from: 4, to: 9 });
  assert.equal(parsed({ type: 'gap', from: 9, to: 4 }), null);
});

test('answers keep the number of their question', () => {
  assert.deepEqual(parsed({ type: 'subscribed', channels: ['a'], max_hz: 5, recovered: true, id: 7 }), {
    type: 'subscribed', channels: ['a'], maxHz: 5, recovered: true, id: 7,
  });
  assert.deepEqual(parsed({ type: 'subscribed', channels: ['a'] }), { type: 'subscribed', channels: ['a'], recovered: false });
  assert.deepEqual(parsed({ type: 'error', code: 'bad_filter', message: 'no', id: 'x' }), { type: 'error', code: 'bad_filter', message: 'no', id: 'x' });
  assert.deepEqual(parsed({ type: 'published', id: 3 }), { type: 'published', id: 3 });
});
