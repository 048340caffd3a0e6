// SenML in, what a person reads out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Value } from '../../../clients/js/src/protocol.js';
import { clockTime, duration, format, placesOf, short, text } from '../units';

const shown = (value: Value, unit?: string, places = typeof value === 'number' ? placesOf(value) : 0): string =>
  text(format(value, unit, places));

test('each unit as it is written on paper', () => {
  const table: [Value, string | undefined, string][] = [
    [48.31, 'Cel', '48.3 °C'],
    [-3.25, 'Cel', '−3.3 °C'],
    [-0.04, 'Cel', '0.0 °C'],
    [48, 'Cel', '48.0 °C'],
    [12.345, '%', '12.3 %'],
    [100, '%', '100.0 %'],
    [55.5, '%RH', '55.5 % RH'],
    [0, 'B', '0 B'],
    [1023, 'B', '1023 B'],
    [1024, 'B', '1.00 KiB'],
    [432013312, 'B', '412 MiB'],
    [1.5 * 2 ** 30, 'B', '1.50 GiB'],
    [2 ** 20 - 1, 'B', '1.00 MiB'],
    [0.4, 'B/s', '0 B/s'],
    [123456, 'B/s', '121 KiB/s'],
    [1.5e9, 'Hz', '1.50 GHz'],
    [600e6, 'Hz', '600 MHz'],
    [50, 'Hz', '50 Hz'],
    [5.124, 'V', '5.12 V'],
    [0.812, 'V', '812 mV'],
    [0.0042, 'A', '4.2 mA'],
    [-0.5, 'A', '−500 mA'],
    [0, 'W', '0 W'],
    [101325, 'Pa', '1013.3 hPa'],
    [12, 'Pa', '12 Pa'],
    [1220, '1/min', '1220 rpm'],
    [3, 'count', '3'],
    [52.123456, 'lat', '52.12346°'],
    [320, 'lx', '320 lx'],
    [7, 'furlong', '7 furlong'],
    [187, undefined, '187'],
    [0.15, undefined, '0.15'],
    [1234567, undefined, '1\u2009234\u2009567'],
  ];
  for (const [value, unit, expected] of table) assert.equal(shown(value, unit), expected);
});

test('a channel that had fractions keeps its decimals when the value is round', () => {
  assert.equal(shown(1, undefined, 2), '1.00');
  assert.equal(shown(1, undefined, 0), '1');
  assert.equal(shown(0.06, undefined, 2), '0.06');
  assert.equal(shown(0.0612345, undefined, 6), '0.0612');
});

test('decimal places are counted as a person would', () => {
  const table: [number, number][] = [[0, 0], [7, 0], [-2.5, 1], [0.06, 2], [48.31, 2], [1.005, 3], [1 / 3, 6], [1e20, 0], [1e-9, 6]];
  for (const [value, places] of table) assert.equal(placesOf(value), places, String(value));
});

test('texts, booleans and no reading', () => {
  assert.equal(shown('Debian'), 'Debian');
  assert.equal(shown(true), 'yes');
  assert.equal(shown(false), 'no');
  assert.equal(shown(null, 'Cel'), '–');
});

test('seconds become days, hours and minutes', () => {
  const table: [number, string][] = [
    [0, '0 ms'], [0.25, '250 ms'], [42, '42 s'], [61, '1 min 1 s'], [3599, '59 min 59 s'], [7260, '2 h 1 min'],
    [3 * 86400 + 4 * 3600 + 12 * 60 + 7, '3 d 4 h 12 min'], [59.99, '1 min 0 s'],
  ];
  for (const [seconds, expected] of table) assert.equal(duration(seconds), expected);
});

test('numbers that are too large for a page do not break it', () => {
  assert.equal(shown(1e20, undefined, 0), '1.000e+20');
  assert.equal(shown(5e20, 'B'), '444\u2009089 PiB');
});

test('a unit that every object has is a unit like others', () => {
  for (const unit of ['constructor', '__proto__', 'toString']) assert.equal(shown(21.5, unit), `21.5 ${unit}`);
});

test('axis labels are short, and drop the unit before they are cut off', () => {
  assert.equal(short(100, '%'), '100 %');
  assert.equal(short(0, 'B'), '0 B');
  assert.equal(short(4 * 2 ** 20, 'B/s'), '4 MiB/s');
  assert.equal(short(47.5, 'Cel'), '47.5 °C');
  assert.equal(short(101580, 'Pa'), '1015.8 hPa');
  assert.equal(short(1234.5, 'kg/m3'), '1235 kg/m³');
  assert.equal(short(123.45, 'furlong'), '123');
  assert.equal(short(273612, 's'), '3 d');
});

test('the time of day', () => {
  assert.equal(clockTime(1763796001.9), '07:20:01');
});

test('a unit that every object answers to is one that is not known', () => {
  assert.equal(shown(1.5, 'constructor'), '1.5 constructor');
  assert.equal(shown(1.5, '__proto__'), '1.5 __proto__');
});
