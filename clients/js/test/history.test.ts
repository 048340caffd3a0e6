// The past, over a fetch that the test answers.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Board, type Options } from '../src/board.js';
import { FakeSocket, FakeWorld } from './fakes.js';

const board = (options: Options = {}): Board =>
  new Board('ws://pi:8642/ws', { WebSocket: FakeSocket, ...options }, { world: new FakeWorld() });

/** What is asked, when `status` and `body` are the answer. */
function answering(status: number, body: string): (URL & { token?: string | null })[] {
  const asked: (URL & { token?: string | null })[] = [];
  globalThis.fetch = async (url, init) => {
    asked.push(Object.assign(new URL(String(url)), { token: new Headers(init?.headers).get('authorization') }));
    return new Response(body, { status });
  };
  return asked;
}

const answer = { from: 100, to: 120, step: 10, t: [100, 110], channels: { 'cpu/usage': { min: [1, null], mean: [2, null], max: [3, null] } } };

test('the question, in the words of the server', async () => {
  const asked = answering(200, JSON.stringify(answer));
  const history = await board({ channels: ['cpu/#', 'door'], token: 't' }).history({ last: '15m', points: 300 });
  assert.equal(asked[0]?.href, 'http://pi:8642/api/history?channels=cpu%2F%23%2Cdoor&last=15m&points=300');
  assert.equal(asked[0]?.token, 'Bearer t');
  assert.deepEqual([history.step, history.t], [10, [100, 110]]);
  assert.deepEqual(history.channels.get('cpu/usage'), answer.channels['cpu/usage']);
  await board().history({ last: 90, channels: 'door' });
  assert.equal(asked[1]?.search, '?channels=door&last=90s');
  assert.equal(asked[1]?.token, null);
  await board().history({ from: new Date(5000), to: 10 });
  assert.equal(asked[2]?.search, '?channels=%23&from=5&to=10');
});

test('a refusal is an error with its sentence', async () => {
  answering(404, 'there is nothing here\n');
  await assert.rejects(board().history(), { code: 'http_404', message: 'there is nothing here' });
});

test('a track that does not fit its instants is left out, a strange answer is an error', async () => {
  answering(200, JSON.stringify({ ...answer, channels: { ...answer.channels, odd: { min: [1], mean: [1], max: [1] }, none: null } }));
  assert.deepEqual([...(await board().history()).channels.keys()], ['cpu/usage']);
  answering(200, '[]');
  await assert.rejects(board().history(), { code: 'bad_message' });
});
