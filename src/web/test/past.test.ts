// When the board is asked for what was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { History, HistoryQuery } from '../../../clients/js/src/history.js';
import { Past } from '../past';
import type { Points } from '../series';
import { Store } from '../store';

const NOTHING: History = { from: 0, to: 1, step: 1, t: [], channels: new Map() };

test('once for as far as one wants to see, and again for more', async () => {
  const asked: HistoryQuery[] = [];
  const past = new Past(async (query) => {
    asked.push(query);
    return NOTHING;
  }, new Store());
  for (const seconds of [300, 300, 60, 900, 300]) await past.reachBack(seconds);
  assert.deepEqual(asked.map(({ last }) => last), [300, 900]);
});

test('a board with very many channels is asked for fewer points', async () => {
  const store = new Store();
  const channels = Array.from({ length: 1024 }, (_, id) => ({ id, name: `many/c${id}`, kind: 'gauge', status: 'ok' }) as const);
  store.apply({ type: 'channels', channels }, 0);
  let points: number | undefined;
  const past = new Past(async (query) => {
    points = query.points;
    return NOTHING;
  }, store);
  await past.reachBack(300);
  assert.equal(points, 65);
});

test('what could not be had is asked for again, and troubles nobody', async () => {
  let asked = 0;
  const past = new Past(async () => {
    asked += 1;
    throw new Error('404');
  }, new Store());
  await past.reachBack(300);
  await past.reachBack(300);
  assert.equal(asked, 2);
});

test('a hole is asked for from its beginning, but no further back than the charts reach', async () => {
  const asked: HistoryQuery[] = [];
  const store = new Store();
  const cpu = { id: 0, name: 'cpu', kind: 'gauge', status: 'ok' } as const;
  store.apply({ type: 'channels', channels: [cpu] }, 0);
  const data = (t: number, value: number): void =>
    store.apply({ type: 'data', seq: 1, snapshot: false, more: false, times: [t], values: new Map([['cpu', [value]]]) }, 0);
  const track = { min: [2, 3], mean: [2, 3], max: [2, 3] };
  const past = new Past(async (query) => {
    asked.push(query);
    return query.from === undefined ? NOTHING : { from: 1000, to: 1100, step: 60, t: [1020, 1080], channels: new Map([['cpu', track]]) };
  }, store);
  await past.reachBack(300);
  data(1000, 1);
  assert.equal(store.readAt, 1000);
  store.lose({ from: 2, to: 90, epochChanged: false }, 0);
  data(1200, 4);
  await past.bridge(1000, 1200);
  await past.bridge(1000, 9000);
  assert.deepEqual(asked.slice(1).map(({ from, to }) => [from, to]), [[1000, undefined], [8700, undefined]]);
  const out: Points = { x: [], y: [], isolated: [] };
  store.channels.get('cpu')?.series.copy(-Infinity, out);
  assert.deepEqual([out.x, out.y], [[1000, 1020, 1080, 1200], [1, 2, 3, 4]]);
});

test('a hole that nobody can fill stays', async () => {
  const past = new Past(async () => {
    throw new Error('503');
  }, new Store());
  await past.bridge(1, 2);
});
