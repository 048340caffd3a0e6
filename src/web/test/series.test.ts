// The ring behind a chart: bounded, gaps stay gaps, spikes stay visible.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAPACITY, Series, type Points } from '../series';

function points(series: Series, from = -Infinity): Points {
  const out: Points = { x: [], y: [], isolated: [] };
  series.copy(from, out);
  return out;
}

test('readings come out in order', () => {
  const series = new Series();
  for (let t = 0; t < 5; t++) series.push(t, t * 10);
  assert.deepEqual(points(series), { x: [0, 1, 2, 3, 4], y: [0, 10, 20, 30, 40], isolated: [] });
});

test('only the window is copied, and one reading before it', () => {
  const series = new Series();
  for (let t = 0; t < 10; t++) series.push(t, t);
  assert.deepEqual(points(series, 6.5).x, [6, 7, 8, 9]);
  assert.deepEqual(points(series, 7).x, [6, 7, 8, 9]);
  assert.deepEqual(points(series, 100).x, [9]);
});

test('a full ring forgets the oldest', () => {
  const series = new Series(4);
  for (let t = 0; t < 11; t++) series.push(t, t);
  assert.equal(series.length, 4);
  assert.deepEqual(points(series).x, [7, 8, 9, 10]);
});

test('the ring holds 15 minutes of a kilohertz, and every spike in them', () => {
  const series = new Series();
  for (let i = 0; i < 900_000; i++) series.push(i / 1000, i === 450_123 ? 99 : Math.sin(i));
  const { x, y } = points(series);
  assert.ok(series.length <= CAPACITY);
  assert.ok(x[0] !== undefined && x[0] < 1, 'the oldest second is still there');
  assert.equal(Math.max(...(y as number[])), 99);
  assert.ok(x.every((t, i) => i === 0 || t >= (x[i - 1] as number)), 'the times never decrease');
});

test('the lowest and the highest of a second stay, in the order they came', () => {
  const series = new Series();
  for (const [t, v] of [[0, 5], [0.2, 9], [0.4, 1], [0.9, 6], [1, 4]] as const) series.push(t, v);
  assert.deepEqual(points(series), { x: [0.2, 0.4, 1], y: [9, 1, 4], isolated: [] });
});

test('a gap interrupts the line once, and not before the first reading', () => {
  const series = new Series();
  series.gap();
  assert.equal(series.length, 0);
  series.push(1, 10);
  series.push(2, 20);
  series.gap();
  series.gap();
  series.push(9, 90);
  assert.deepEqual(points(series), { x: [1, 2, 2, 9], y: [10, 20, null, 90], isolated: [3] });
});

test('a gap within a second does not lose what came before it', () => {
  const series = new Series();
  series.push(1.1, 10);
  series.gap();
  series.push(1.2, 20);
  series.push(1.3, 30);
  series.push(1.4, 25);
  assert.deepEqual(points(series).y, [10, null, 20, 30]);
});

test('a clock that is set back starts the ring anew', () => {
  const series = new Series();
  series.push(1000, 1);
  series.push(1001, 2);
  series.push(400, 3);
  series.push(401, 4);
  assert.deepEqual(points(series), { x: [400, 401], y: [3, 4], isolated: [] });
});

test('a curve that is moved goes on where it is, gaps and the newest second with it', () => {
  const series = new Series(5);
  for (const [t, v] of [[1, 10], [2, 20], [3, 30]] as const) series.push(t, v);
  series.gap();
  series.push(4.25, 40);
  series.push(4.5, 50);
  series.shift(-0.5);
  series.push(4.25, 45);
  assert.deepEqual(points(series), { x: [2.5, 2.5, 3.75, 4, 4.25], y: [30, null, 40, 50, 45], isolated: [0] });
  series.shift(1000);
  series.push(1005.5, 60);
  assert.deepEqual(points(series).x, [1002.5, 1003.75, 1004, 1004.25, 1005.5]);
  assert.equal(series.length, 5);
});

test('jitter between two batches is no step of the clock', () => {
  const series = new Series();
  series.push(10, 1);
  series.push(11.2, 2);
  series.push(11.0, 3);
  assert.deepEqual(points(series), { x: [10, 11.2, 11.2], y: [1, 2, 3], isolated: [] });
});

test('buffers are reused without leftovers', () => {
  const series = new Series();
  for (let t = 0; t < 9; t++) series.push(t, t);
  const out: Points = { x: [], y: [], isolated: [] };
  series.copy(-Infinity, out);
  series.copy(7, out);
  assert.deepEqual(out, { x: [6, 7, 8], y: [6, 7, 8], isolated: [] });
});

const shown = (series: Series): [number, number | null][] => {
  const { x, y } = points(series);
  return x.map((t, i) => [t, y[i] ?? null]);
};

test('the past comes in front, and the newest slice goes on', () => {
  const series = new Series(20, 1);
  series.push(30.1, 5);
  series.push(30.2, 6);
  series.prefill({ t: [0, 10, 20, 25], step: 10, low: [1, null, 2, 7], high: [1, null, 3, 8] });
  series.push(30.3, 4);
  assert.deepEqual(shown(series), [[0, 1], [0, null], [20, 2], [25, 3], [30.2, 6], [30.3, 4]], 'the last step overlaps what is here');
});

test('the past alone, and then the present', () => {
  const series = new Series(20, 1);
  series.prefill({ t: [0, 10], step: 10, low: [1, 2], high: [1, 2] });
  series.push(20, 3);
  assert.deepEqual(shown(series), [[0, 1], [10, 2], [20, 3]]);
});

test('where there is no room for all of the past, the newest stays', () => {
  const series = new Series(3, 1);
  series.push(30, 5);
  series.prefill({ t: [0, 10, 20], step: 10, low: [1, 2, 3], high: [1, 2, 3] });
  assert.deepEqual(shown(series), [[10, 2], [20, 3], [30, 5]]);
});
