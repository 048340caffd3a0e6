// Byte by byte, without a copy; the vectors are those that the server's tests read.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decode } from '../src/binary.js';

interface Vector {
  about: string;
  hex: string;
  seq: number;
  t: number;
  flags: number;
  ids: number[];
  offsets: number[];
  columns: (number | null)[][];
  error?: boolean;
  ignored?: boolean;
}

const bytes = (hex: string): ArrayBuffer => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16)).buffer;

/** Two columns of three rows, evenly spaced, single precision: as docs/protocol.md has it. */
function sample(): ArrayBuffer {
  const buffer = new ArrayBuffer(24 + 8 + 8 + 24);
  const view = new DataView(buffer);
  view.setUint8(0, 1);
  view.setUint8(1, 3);
  view.setUint16(2, 2, true);
  view.setUint32(4, 3, true);
  view.setBigUint64(8, 2n ** 40n + 5n, true);
  view.setFloat64(16, 1763796000.5, true);
  view.setUint32(24, 7, true);
  view.setUint32(28, 9, true);
  view.setFloat64(32, 0.25, true);
  [1, 2, 3, 0.5, NaN, -0.5].forEach((value, i) => view.setFloat32(40 + 4 * i, value, true));
  return buffer;
}

test('columns are views of the message, not copies', () => {
  const buffer = sample();
  const table = decode(buffer);
  assert.ok(table);
  assert.equal(table.seq, 2 ** 40 + 5);
  assert.deepEqual([...table.ids], [7, 9]);
  assert.deepEqual([...table.times], [1763796000.5, 1763796000.75, 1763796001]);
  assert.deepEqual(table.columns.map((column) => [...column]), [[1, 2, 3], [0.5, NaN, -0.5]]);
  for (const column of table.columns) {
    assert.ok(column instanceof Float32Array);
    assert.equal(column.buffer, buffer);
  }
});

const isMalformed = (buffer: ArrayBuffer, why: string): void => {
  assert.throws(() => decode(buffer), { name: 'RangeError' }, why);
};

test('what this version does not know is ignored; what is cut or too long is malformed', () => {
  const change = (at: number, value: number): ArrayBuffer => {
    const buffer = sample();
    new Uint8Array(buffer)[at] = value;
    return buffer;
  };
  assert.equal(decode(change(0, 2)), null, 'another kind');
  assert.equal(decode(change(1, 7)), null, 'an unknown flag');
  isMalformed(change(4, 0), 'no rows');
  isMalformed(change(2, 0), 'no columns');
  isMalformed(change(2, 3), 'more columns than bytes');
  isMalformed(change(7, 255), 'four thousand million rows');
  isMalformed(change(14, 32), 'a number that is no integer here');
  for (let length = 0; length < 64; length++) isMalformed(sample().slice(0, length), `${length} bytes`);
  const longer = new Uint8Array(65);
  longer.set(new Uint8Array(sample()));
  isMalformed(longer.buffer, 'a byte too many');
});

// The tests run in their own folder.
const VECTORS = '../../../tests/data/protocol';
const files = readdirSync(VECTORS).filter((name) => name.endsWith('.json'));

test('there are vectors', () => assert.ok(files.length > 10));

for (const file of files) {
  const vector = JSON.parse(readFileSync(`${VECTORS}/${file}`, 'utf8')) as Vector;
  test(`vector ${file}: ${vector.about}`, () => {
    const buffer = bytes(vector.hex);
    if (vector.error) return isMalformed(buffer, vector.about);
    const table = decode(buffer);
    if (vector.ignored) return assert.equal(table, null);
    assert.ok(table, 'it is understood');
    assert.equal(table.seq, vector.seq);
    assert.equal(table.t, vector.t);
    assert.deepEqual([...table.ids], vector.ids);
    assert.deepEqual([...table.times], vector.offsets.map((offset) => vector.t + offset));
    const columns = table.columns.map((column) => [...column].map((value) => (Number.isNaN(value) ? null : value)));
    assert.deepEqual(columns, vector.columns);
    for (const column of table.columns) {
      assert.equal(column.buffer, buffer);
      assert.equal(column instanceof Float32Array, (vector.flags & 1) === 1);
    }
  });
}
