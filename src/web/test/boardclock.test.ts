// The right edge of every chart.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BoardClock } from '../boardclock';

test('time goes on between messages', () => {
  const clock = new BoardClock();
  assert.equal(clock.now(0), null);
  clock.set(1000, 5000);
  assert.equal(clock.now(7500), 1002.5);
});

test('one batch with an odd time stamp moves nothing', () => {
  const clock = new BoardClock();
  clock.set(1000, 0);
  for (let s = 1; s <= 20; s++) {
    clock.observe(1000 + s, s * 1000);
    clock.observe(s % 5 === 0 ? 99_999 : 3, s * 1000);
  }
  assert.equal(clock.now(20_000), 1020);
});

test('a step that all batches agree on is followed', () => {
  const clock = new BoardClock();
  clock.set(0, 0);
  for (let s = 1; s <= 8; s++) clock.observe(1_700_000_000 + s, s * 1000);
  assert.equal(clock.now(8000), 1_700_000_008);
});

test('slow drift is followed', () => {
  const clock = new BoardClock();
  clock.set(0, 0);
  for (let s = 1; s <= 3600; s++) clock.observe(s * 1.001, s * 1000);
  assert.ok(Math.abs((clock.now(3_600_000) as number) - 3603.6) < 0.05);
});
