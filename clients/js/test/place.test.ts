// From where a client may go on, and what it must be told that it has lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Place, type Loss } from '../src/place.js';
import { parse } from '../src/protocol.js';

function told(place: Place, ...messages: object[]): Loss[] {
  return messages.flatMap((message) => {
    const parsed = parse(JSON.stringify(message));
    assert.ok(parsed, JSON.stringify(message));
    return place.take(parsed) ?? [];
  });
}

const hello = (seq: number, epoch = 'e'): object => ({ type: 'hello', epoch, seq, time: 1, channels: [] });
const data = (seq: number): object => ({ type: 'data', seq, t: 1, values: {} });
const snapshot = (seq: number, more = false): object => ({ ...data(seq), snapshot: true, more });
const subscribed = (recovered: boolean, id?: number): object => ({ type: 'subscribed', channels: [], recovered, ...(id && { id }) });
const loss = (from: number, to: number, epochChanged = false): Loss => ({ from, to, epochChanged });

test('each batch and each heartbeat moves the place on', () => {
  const place = new Place();
  assert.equal(place.since, null);
  assert.deepEqual(told(place, hello(7), snapshot(7)), []);
  assert.equal(place.since, 'e:7');
  assert.deepEqual(told(place, data(8), data(12)), [], 'batches of other channels are not lost');
  assert.equal(place.since, 'e:12');
  assert.deepEqual(told(place, { type: 'heartbeat', seq: 20, time: 1 }), []);
  assert.equal(place.since, 'e:20');
});

test('recovered: nothing is lost', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7), data(8));
  assert.deepEqual(told(place, hello(30), subscribed(true)), []);
  assert.equal(place.since, 'e:8', 'a cut before the next batch changes nothing');
  assert.deepEqual(told(place, data(9), data(30)), []);
  assert.equal(place.since, 'e:30');
});

test('not recovered: everything up to the snapshot is lost', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7), data(8));
  assert.deepEqual(told(place, hello(30), subscribed(false)), []);
  assert.deepEqual(told(place, snapshot(30)), [loss(9, 30)]);
  assert.deepEqual(told(place, data(31)), []);
});

test('nothing happened meanwhile: nothing is lost', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7));
  assert.deepEqual(told(place, hello(7), subscribed(false), snapshot(7)), []);
});

test('a snapshot is a place only with its last part', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7, true), snapshot(7, true));
  assert.equal(place.since, null);
  assert.deepEqual(told(place, hello(9), snapshot(9, true)), [loss(8, 9)], 'what came first was seen, but is not all');
  told(place, snapshot(9));
  assert.equal(place.since, 'e:9');
});

test('a paced message is a place only with its last part', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7), { ...data(9), more: true });
  assert.equal(place.since, 'e:7');
  told(place, data(9));
  assert.equal(place.since, 'e:9');
});

test('a gap is told once, and is no place until its snapshot is whole', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7));
  assert.deepEqual(told(place, { type: 'gap', from: 8, to: 90 }), [loss(8, 90)]);
  assert.equal(place.since, null);
  assert.deepEqual(told(place, hello(95), snapshot(95)), [loss(91, 95)], 'cut right behind the gap');
  assert.deepEqual(told(place, { type: 'gap', from: 96, to: 99 }, snapshot(99, true), snapshot(99), data(100)), [loss(96, 99)]);
  assert.equal(place.since, 'e:100');
});

test('a new start of the board is a loss of unknown size', () => {
  const place = new Place();
  told(place, hello(7, 'e'), snapshot(7), data(8));
  assert.deepEqual(told(place, hello(3, 'f'), subscribed(false), snapshot(3)), [loss(1, 3, true)]);
  assert.equal(place.since, 'f:3');
});

test('another selection: no place until its snapshot is here, and nothing that was wanted is lost', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7));
  place.reselect(4);
  told(place, data(8));
  assert.equal(place.since, null, 'this was still of the former selection');
  assert.deepEqual(told(place, subscribed(false, 4), snapshot(20)), []);
  assert.equal(place.since, 'e:20');
});

test('another selection, refused or cut off', () => {
  const place = new Place();
  told(place, hello(7), snapshot(7));
  place.reselect(4);
  told(place, { type: 'error', code: 'bad_filter', message: 'no', id: 4 }, data(8));
  assert.equal(place.since, 'e:8');
  place.reselect(5);
  assert.deepEqual(told(place, hello(12), subscribed(false), snapshot(12)), [loss(9, 12)]);
  assert.equal(place.since, 'e:12');
});

test('where nothing is selected, a heartbeat vouches for all', () => {
  const place = new Place();
  told(place, hello(7), { type: 'heartbeat', seq: 20, time: 1 });
  assert.equal(place.since, 'e:20');
});

test('a recovery of the former selection is no place for the next', () => {
  const place = new Place();
  place.take({ type: 'hello', epoch: 'a', seq: 1 } as never);
  place.take({ type: 'data', seq: 1, snapshot: true, more: false } as never);
  assert.equal(place.since, 'a:1');
  place.take({ type: 'hello', epoch: 'a', seq: 5 } as never);
  place.reselect(7);
  place.take({ type: 'subscribed', channels: [], recovered: true });
  assert.equal(place.since, null);
});
