// The JavaScript client, the very module that the program serves, in Node; in a page: page.test.mjs.
//
//   BOARDCAST_STRESS   set: many more cuts.

import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { test } from './deadline.mjs';
import { pathToFileURL } from 'node:url';
import WebSocket from 'ws';
import { Board, Fleet } from './program.mjs';
import { Link, seeded } from './proxy.mjs';
import { account, recordOf } from './record.mjs';
import { Arrivals, until, within } from './waiting.mjs';

// What a browser has: the client hears of it when "the page is looked at again", and does not wait any longer.
globalThis.document = new EventTarget();
const look = () => globalThis.document.dispatchEvent(new Event('visibilitychange'));

/** The module as `board` serves it. */
async function servedBy(t, board) {
  const response = await fetch(`${board.origin}/boardcast.js`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type'), /^text\/javascript/);
  const folder = await mkdtemp(path(tmpdir(), 'boardcast-peers-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = path(folder, 'boardcast.mjs');
  await writeFile(file, await response.text());
  return import(pathToFileURL(file).href);
}

/** A client of `url`, and its messages. */
async function join(t, board, options = {}, url = board.origin) {
  const { Boardcast } = await servedBy(t, board);
  const client = new Boardcast(url, { WebSocket, ...options });
  t.after(() => client.close());
  const messages = new Arrivals();
  client.addEventListener('message', ({ message }) => messages.push(message));
  return { client, messages, of: (type) => messages.find((message) => message.type === type, type) };
}

/** Collects what `on` gives for a filter. */
function readings(client, filter) {
  const arrivals = new Arrivals();
  client.on(filter, (reading) => arrivals.push(reading));
  return arrivals;
}

test('the client reads values, descriptions and the latest', async (t) => {
  const board = await Board.start(t, '--interval', '100ms', '--name', 'a-board');
  const { client } = await join(t, board);
  const memory = readings(client, 'mem/used');
  for (let count = 0; count < 3; count += 1) {
    const { value, t: instant, channel } = await memory.next('reading');
    assert.ok(value > 0);
    assert.ok(Math.abs(instant - Date.now() / 1000) < 5);
    assert.equal(channel.unit, 'B');
  }
  assert.equal(client.status, 'live');
  assert.equal(client.hello.device, 'a-board');
  assert.equal(typeof client.latest.get('mem/used').value, 'number');
  assert.equal(client.channels.get('mem/used').kind, 'gauge');
});

test('binary readings lie in the message that brought them, and are those that JSON brings', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const channels = ['mem/#', 'cpu/usage'];
  const [binary, json] = [await join(t, board, { channels, binary: true }), await join(t, board, { channels })];
  const typed = ({ type, values }) => type === 'data' && [...values.values()].some(ArrayBuffer.isView);
  const columns = ({ values }) => Object.fromEntries([...values].map(([name, [value]]) => [name, value]));
  const first = await binary.messages.find(typed, 'binary message');
  const buffers = new Set([...first.values.values()].map(({ buffer }) => buffer));
  assert.equal(buffers.size, 1, 'all columns are views of one buffer');
  for (const column of first.values.values()) assert.ok(column.byteOffset > 0 && column.buffer.byteLength > column.byteLength);

  const start = await json.messages.find(({ type, seq, snapshot }) => type === 'data' && !snapshot && seq > first.seq, 'batch');
  const same = await binary.messages.find(({ type, seq }) => type === 'data' && seq === start.seq, 'the same batch');
  assert.ok(typed(same));
  assert.deepEqual(columns(same), columns(start));
});

test('subscriptions: only what was asked for, only as often, and changed on the way', async (t) => {
  const board = await Board.start(t, '--interval', '20ms');
  const { client, of, messages } = await join(t, board, { channels: [] });
  await of('hello');
  assert.equal(client.latest.size, 0);
  const answer = await within(client.subscribe(['mem/used', '+/1m']), 'answer');
  assert.deepEqual(answer.channels, ['+/1m', 'mem/used']);
  const { values } = await messages.find(({ type, snapshot }) => type === 'data' && !snapshot, 'batch');
  for (const name of values.keys()) assert.ok(['mem/used', 'load/1m'].includes(name), name);

  const paced = await within(client.subscribe(['mem/#'], { maxHz: 4 }), 'answer');
  assert.equal(paced.maxHz, 4);
  const times = [];
  while (times.length < 4) {
    await messages.find(({ type, snapshot }) => type === 'data' && !snapshot, 'tick');
    times.push(performance.now());
  }
  // Three periods of 250 ms, less what the first may have waited to be read.
  assert.ok(times[3] - times[0] > 500, `they came within ${times[3] - times[0]} ms`);
  assert.ok([...client.latest.keys()].length > 2);
});

test('what is published arrives, and a refusal is told by its name', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const { client, of } = await join(t, board);
  await of('hello');
  await within(client.publish({ 'room/temperature': 21.5 }), 'answer');
  await until(() => client.latest.get('room/temperature')?.value === 21.5, 'reading');
  await assert.rejects(within(client.publish({ 'cpu/usage': 7 }), 'answer'), { code: 'refused' });
});

test('what was can be asked for', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const { client, of } = await join(t, board);
  await of('hello');
  const filled = async () => {
    const { t: instants, channels } = await client.history({ channels: 'mem/used', last: '1m' });
    const { mean } = channels.get('mem/used') ?? { mean: [] };
    return mean.some((value) => value > 0) && { instants, mean };
  };
  const { instants, mean } = await until(filled, 'history');
  assert.equal(instants.length, mean.length);
  await assert.rejects(client.history({ channels: '#', last: 'yesterday' }), { code: 'http_400' });
});

const CUTS = process.env.BOARDCAST_STRESS ? 400 : 40;

for (const [name, options] of Object.entries({
  'everything, as JSON': {},
  'everything, with binary': { binary: true },
  'some channels': { channels: ['mem/#', 'cpu/usage'] },
})) {
  test(`a link that is cut ${CUTS} times loses nothing silently and doubles nothing: ${name}`, async (t) => {
    const board = await Board.start(t, '--interval', '20ms');
    // Who is never cut off tells what there was.
    const reference = await join(t, board, options);
    const truth = recordOf(reference.client);
    const random = seeded(6);
    t.diagnostic('seed 6');
    // From the first bytes of the handshake to some seconds of readings.
    const link = await Link.start(t, board, { budget: () => Math.floor(40_000 * random() ** 3), reset: () => random() < 0.5 });
    const { client, messages } = await join(t, board, options, link.origin);
    const record = recordOf(client);
    client.addEventListener('status', ({ retryAt }) => retryAt && queueMicrotask(look));
    look();
    while (link.count < CUTS) await messages.next('message over a bad link');

    const { seqs, gaps, recovered, accounted } = account(record);
    const last = seqs.at(-1);
    const all = account(truth).seqs.filter((seq) => seq <= last);
    assert.deepEqual(all.filter((seq) => !accounted(seq)), [], 'lost silently');
    assert.deepEqual(gaps.filter(({ epochChanged }) => epochChanged), []);
    assert.ok(recovered > CUTS / 10, `it went on ${recovered} times where it was`);
    const known = new Set(account(truth).seqs);
    const first = all[0];
    assert.deepEqual(seqs.filter((seq) => seq > first && !known.has(seq)), [], 'made up');
    t.diagnostic(`${seqs.length} batches, ${recovered} of ${link.count} connections went on, ${gaps.length} gaps told`);
  });
}

test(`a link that is cut ${CUTS} times, and leads to one of two fleet servers, loses nothing of any board silently`, async (t) => {
  const names = ['a', 'b'];
  const boards = await Promise.all(names.map((board) => Board.start(t, '--interval', '50ms', '--name', board)));
  const known = Object.fromEntries(boards.map((board, i) => [names[i], board]));
  const servers = [await Fleet.start(t, known), await Fleet.start(t, known)];
  const [first] = servers;
  const reference = await join(t, first, { binary: true });
  const truth = recordOf(reference.client);
  const random = seeded(9);
  t.diagnostic('seed 9');
  const link = await Link.start(t, first, { budget: () => Math.floor(80_000 * random() ** 3), reset: () => random() < 0.5 });
  const { client, messages } = await join(t, first, { binary: true }, link.origin);
  const record = recordOf(client);
  client.addEventListener('status', ({ retryAt }) => {
    link.to(servers[random() < 0.5 ? 0 : 1]);
    if (retryAt) queueMicrotask(look);
  });
  look();
  while (link.count < CUTS) await messages.next('message over a bad link');

  for (const board of names) {
    const of = (entries) => account(entries.filter(({ device }) => device === board));
    const { seqs, gaps, accounted } = of(record);
    const came = of(truth).seqs;
    assert.ok(seqs.length > 10, `${seqs.length} batches of ${board}`);
    assert.deepEqual(came.filter((seq) => seq <= seqs.at(-1) && !accounted(seq)), [], `lost silently, of ${board}`);
    assert.deepEqual(gaps.filter(({ epochChanged }) => epochChanged), []);
    assert.deepEqual(seqs.filter((seq) => seq > came[0] && seq <= came.at(-1) && !came.includes(seq)), [], 'made up');
    t.diagnostic(`${board}: ${seqs.length} batches, ${gaps.length} gaps told`);
  }
  const { recovered } = account(record.filter(({ type }) => type === 'subscribed'));
  assert.ok(recovered > CUTS / 10, `it went on ${recovered} times where it was`);
  t.diagnostic(`${recovered} of ${link.count} connections went on`);
});
