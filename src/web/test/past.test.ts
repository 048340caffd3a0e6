// When the board is asked for what was.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { History, HistoryQuery } from '../../../clients/js/src/history.js';
import { Past } from '../past';
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
