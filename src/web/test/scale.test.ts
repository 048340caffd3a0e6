// An axis that neither exaggerates nor hides.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nice, yRange } from '../scale';

const gauge = { counter: false };

test('an idle CPU is no storm, a busy one fills the chart and no more', () => {
  assert.deepEqual(yRange(0.2, 0.9, { ...gauge, unit: '%' }), [0, 10]);
  assert.deepEqual(yRange(2, 97, { ...gauge, unit: '%' }), [0, 100]);
  assert.deepEqual(yRange(2, 140, { ...gauge, unit: '%' }), [0, 200]);
});

test('bytes end at a number that reads well in KiB, MiB and GiB', () => {
  assert.deepEqual(yRange(0, 3.1 * 2 ** 20, { ...gauge, unit: 'B/s' }), [0, 4 * 2 ** 20]);
  assert.equal(nice(900 * 2 ** 10, true), 2 ** 20);
  assert.equal(nice(1030 * 2 ** 10, true), 2 * 2 ** 20);
});

test('the noise of a thermometer stays noise', () => {
  const [low, high] = yRange(48.2, 48.4, { ...gauge, unit: 'Cel' });
  assert.ok(high - low >= 4 && low < 48.2 && high > 48.4);
});

test('whatever comes, the range holds the readings and has a height', () => {
  for (const [low, high] of [[0, 0], [5, 5], [-3, -3], [-1, 1], [1e-9, 2e-9], [1e15, 1e15 + 1], [-5, 0]] as const) {
    for (const unit of [undefined, '%', 'B', 'Cel', 'V', 's']) {
      for (const counter of [false, true]) {
        const [from, to] = yRange(low, high, unit === undefined ? { counter } : { counter, unit });
        assert.ok(from <= low && to >= high && to > from, `${low}..${high} ${unit} ${counter}: ${from}..${to}`);
      }
    }
  }
});

test('without readings the limits of the channel, or something', () => {
  assert.deepEqual(yRange(null, null, { ...gauge, min: -40, max: 85 }), [-40, 85]);
  assert.deepEqual(yRange(null, null, gauge), [0, 1]);
});

test('a counter is not squeezed by its long way from zero', () => {
  const [low] = yRange(4e9, 4.001e9, { counter: true, unit: 'B' });
  assert.ok(low > 3.9e9);
});

test('used of total shows the total', () => {
  assert.deepEqual(yRange(100, 120, { ...gauge, unit: 'B', max: 4096, whole: true }), [0, 4096]);
});

test('a unit that every object has is a unit like others', () => {
  for (const unit of ['constructor', '__proto__']) assert.deepEqual(yRange(-1, 1, { ...gauge, unit }), yRange(-1, 1, { ...gauge, unit: 'furlong' }));
});
