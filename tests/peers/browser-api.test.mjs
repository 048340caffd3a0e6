// What the article's API shows in Chromium with our server at the other end.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { launch, Tab } from './browser.mjs';
import { Peer } from './program.mjs';
import { within } from './waiting.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Runs a function in a page of our server's host: Chromium lets no page from nowhere connect to the loopback. */
async function pageOf(t, ours) {
  const { page } = await Tab.open(t, browser);
  // What the server says to who does not ask for a WebSocket is a page, too.
  await page.goto(`http://${ours.address}/`);
  return (run, argument, ms) => within(page.evaluate(run, argument), 'answer of the page', ms);
}

test('Chromium sees what each attribute of a WebSocket should be, from CONNECTING to CLOSED', async (t) => {
  const ours = await Peer.listen(t, { protocols: 'chat.v2,chat.v1' });
  const inPage = await pageOf(t, ours);
  const seen = await inPage(async (url) => {
    const ws = new WebSocket(url, ['chat.v1', 'chat.v2']);
    const next = (name) => new Promise((resolve) => ws.addEventListener(name, resolve, { once: true }));
    const { url: absolute, binaryType } = ws;
    const states = [ws.readyState];
    await next('open');
    states.push(ws.readyState);
    const { protocol, extensions } = ws;
    const buffered = [ws.bufferedAmount];
    ws.send('four');
    buffered.push(ws.bufferedAmount);
    const { data } = await next('message');
    buffered.push(ws.bufferedAmount);
    const closed = next('close');
    ws.close(4001, 'that is all');
    states.push(ws.readyState);
    const { code, reason, wasClean } = await closed;
    states.push(ws.readyState);
    return { absolute, binaryType, states, protocol, extensions, buffered, data, close: { code, reason, wasClean } };
  }, ours.url.slice(0, -1));
  assert.deepEqual(seen, {
    absolute: ours.url,
    binaryType: 'blob',
    states: [0, 1, 2, 3],
    protocol: 'chat.v2',
    extensions: '',
    buffered: [0, 4, 0],
    data: 'four',
    close: { code: 4001, reason: 'that is all', wasClean: true },
  });
  const open = await ours.event('open');
  assert.deepEqual({ ...open, peer: '' }, { url: ours.url, protocol: 'chat.v2', extensions: '', state: 1, peer: '' });
  assert.deepEqual(await ours.event('close'), { code: 4001, reason: 'that is all', clean: true, state: 3 });
});

test('Chromium hears how the server closes: without a code, with one and a reason, and not at all', async (t) => {
  const ours = await Peer.listen(t);
  const inPage = await pageOf(t, ours);
  const ended = (order) =>
    inPage(async ([url, order]) => {
      const ws = new WebSocket(url);
      ws.onopen = () => ws.send(order);
      const event = await new Promise((resolve) => (ws.onclose = resolve));
      return [event.code, event.reason, event.wasClean];
    }, [ours.url, order]);
  assert.deepEqual(await ended('do close'), [1005, '', true]);
  assert.deepEqual(await ended('do close 1000'), [1000, '', true]);
  assert.deepEqual(await ended('do close 4999 grüße'), [4999, 'grüße', true]);
  assert.deepEqual(await ended('do fail 1011 it broke'), [1011, 'it broke', true]);
  const lost = inPage(async (url) => {
    const ws = new WebSocket(url);
    ws.onopen = () => ws.send('here');
    const event = await new Promise((resolve) => (ws.onclose = resolve));
    return [event.code, event.reason, event.wasClean];
  }, ours.url);
  await ours.event('message');
  await ours.program.stop();
  assert.deepEqual(await lost, [1006, '', false]);
});

const LENGTHS = [0, 1, 125, 126, 65_535, 65_536, 1 << 20, 16 << 20];

test('Chromium sends each kind of data from 0 bytes to 16 MiB, and gets it back as it was', async (t) => {
  const ours = await Peer.listen(t);
  const inPage = await pageOf(t, ours);
  const wrong = await inPage(sendEachKind, { url: ours.url, lengths: LENGTHS }, 60_000);
  assert.deepEqual(wrong, []);
});

/** Runs in the page; gives what did not come back as it was. */
async function sendEachKind({ url, lengths }) {
  const ws = new WebSocket(url);
  await new Promise((resolve) => (ws.onopen = resolve));

  /** Above this each kind is sent once: a debug build takes a second for 16 MiB. */
  const MUCH = 1 << 20;
  /** No byte stands where its neighbour of 65,536 further on could be taken for it. */
  const bytesOf = (length) => {
    const bytes = new Uint8Array(length);
    for (let index = 0; index < length; index += 1) bytes[index] = index ^ (index >> 8) ^ (index >> 16);
    return bytes;
  };
  /** Letters of one, two, three and four bytes, filled up. */
  const textOf = (length) => 'aé語𝄞'.repeat(length / 10) + 'x'.repeat(length % 10);
  /** Cut out of the middle of something larger. */
  const viewOf = (bytes, View) => {
    const around = new Uint8Array(bytes.length + 16);
    around.set(bytes, 8);
    const size = View.BYTES_PER_ELEMENT ?? 1;
    return new View(around.buffer, 8, bytes.length / size);
  };
  const kinds = {
    string: (_, length) => textOf(length),
    ArrayBuffer: (bytes) => bytes.buffer,
    Blob: (bytes) => new Blob([bytes]),
    Uint8Array: (bytes) => viewOf(bytes, Uint8Array),
    DataView: (bytes) => (bytes.length > MUCH ? null : viewOf(bytes, DataView)),
    Float64Array: (bytes) => (bytes.length > MUCH || bytes.length % 8 ? null : viewOf(bytes, Float64Array)),
  };
  const typesFor = (kind, length) => {
    if (kind === 'string' || (kind === 'Blob' && length > MUCH)) return ['blob'];
    return length > MUCH ? ['arraybuffer'] : ['arraybuffer', 'blob'];
  };
  const same = (one, other) => {
    let index = 0;
    while (index < one.length && one[index] === other[index]) index += 1;
    return index === one.length && index === other.length;
  };

  const wrong = [];
  for (const length of lengths) {
    const bytes = bytesOf(length);
    for (const [kind, make] of Object.entries(kinds)) {
      const data = make(bytes, length);
      if (data === null) continue;
      for (const binaryType of typesFor(kind, length)) {
        ws.binaryType = binaryType;
        const answer = new Promise((resolve, reject) => {
          ws.onmessage = resolve;
          ws.onclose = ({ code }) => reject(new Error(`closed with ${code} at ${kind} of ${length}`));
        });
        ws.send(data);
        const { data: back } = await answer;
        const isType = back instanceof (binaryType === 'blob' ? Blob : ArrayBuffer);
        const fine =
          kind === 'string'
            ? back === data
            : isType && same(bytes, new Uint8Array(binaryType === 'blob' ? await back.arrayBuffer() : back));
        if (!fine) wrong.push(`${kind} of ${length} as ${binaryType}`);
      }
    }
  }
  return wrong;
}
