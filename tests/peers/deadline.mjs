// `test` of node:test, with a deadline: without one, a test that hangs is silent until somebody ends all tests.

import { test as endless } from 'node:test';

/** Many times what the slowest takes, also under an emulator. */
const LONGEST_MS = 240_000;

/** As in node:test: `test(name, [options,] run)`. */
export function test(name, ...rest) {
  const run = rest.pop();
  return endless(name, { timeout: LONGEST_MS, ...rest[0] }, run);
}
