// MQTT 5.0, section 4.7.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOf, matches } from '../src/filter.js';

test('a filter selects what the specification says', () => {
  for (const [filter, selected, others] of [
    ['cpu/usage', ['cpu/usage'], ['cpu', 'cpu/usage/x', 'Cpu/usage']],
    ['cpu/#', ['cpu', 'cpu/usage', 'cpu/core0/usage'], ['cpux', 'gpu/usage']],
    ['+/temperature', ['cpu/temperature', 'room/temperature'], ['temperature', 'a/b/temperature', 'cpu/temperature/x']],
    ['cpu/+/usage', ['cpu/core0/usage'], ['cpu/usage', 'cpu/core0', 'cpu/a/b/usage']],
    ['+', ['uptime'], ['cpu/usage']],
    ['+/#', ['uptime', 'cpu/usage'], []],
    ['#', ['uptime', 'cpu/usage', 'a/b/c'], []],
  ] as [string, string[], string[]][]) {
    for (const name of selected) assert.ok(matches(filter, name), `${filter} selects ${name}`);
    for (const name of others) assert.ok(!matches(filter, name), `${filter} does not select ${name}`);
  }
});

test('what is no filter is told in a sentence', () => {
  for (const filter of ['#', '+', 'cpu/#', '+/+/x', 'a.b-c_d/9']) assert.equal(faultOf(filter), null, filter);
  const long = 'x'.repeat(129);
  for (const filter of ['', '/', 'a//b', 'a/', '#/a', 'a#', 'a/b+', 'a b', 'a,b', 'ä', 'a/a/a/a/a/a/a/a/a', long]) {
    assert.ok(faultOf(filter)?.includes(' '), filter);
  }
});
