// The page, in the browser.
//
//   SCREENSHOTS        a folder: what the page looks like is saved there.
//   BOARDCAST_STRESS   set: the laptop sleeps for a minute, not for seconds.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { DESKTOP, launch, launchToSleep, PHONE, Tab } from './browser.mjs';
import { joinWithNode } from './peers.mjs';
import { Board } from './program.mjs';
import { Link } from './proxy.mjs';
import { account, recordOf } from './record.mjs';
import { within } from './waiting.mjs';

/**
 * Readings move. Which ones do depends on the machine: the processor's share rests at 0 or at 100 for seconds when it
 * idles or is overloaded, so that one must show what the stream says; time passes; memory is what this takes.
 */
async function readingsMove(t, tab, board) {
  await tab.live('cpu/usage', 'mem/used', 'uptime');
  const { messages } = await joinWithNode(t, board.stream);
  for (let round = 0; round < 3; round += 1) {
    await tab.follows('cpu/usage', messages);
    await tab.changes('uptime');
  }
  await tab.follows('mem/used', messages);
  await tab.changes('mem/used', () => Buffer.alloc(64 << 20, 1));
}

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test('the page goes live and its readings change', async (t) => {
  const board = await Board.start(t, '--interval', '100ms', '--name', 'a-board');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await readingsMove(t, tab, board);
  assert.equal(await tab.page.title(), 'a-board');
  assert.ok(tab.requests.some((address) => address.startsWith(board.stream)));
  assert.deepEqual(tab.strangers(board.address), []);
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
});

/** Starts to record what the page's own client tells, under the name of `window.record`. */
async function startRecord(tab) {
  await tab.page.evaluate(`void (window.record = (${recordOf})(board))`);
  await tab.page.waitForFunction(() => window.record.some(({ seq }) => seq));
}

const recordIn = async (tab) => account(await tab.page.evaluate('window.record'));

/**
 * Waits until the large chart was drawn with what is new, and is interrupted so often. (At a hundred readings a second
 * the kernel's clock is too coarse for the processor's share, which then has gaps of its own: that of the memory has not.)
 */
async function drawn(tab, breaks) {
  await tab.changes('uptime');
  await tab.page.waitForSelector(`[data-headline="mem"] .plot[data-breaks="${breaks}"]`);
}

/** Lets `count` batches pass, as somebody else sees them. */
async function pass(messages, count) {
  const { seq } = messages.all.findLast(({ type }) => type === 'data') ?? (await messages.find(({ type }) => type === 'data', 'batch'));
  await messages.find(({ type, seq: now }) => type === 'data' && now >= seq + count, `batch ${count} later`);
}

const OUTAGE_MS = 3000;
const outage = () => new Promise((resolve) => setTimeout(resolve, OUTAGE_MS));

test('the page finds back by itself, without a reload, after the board was without power for 3 s; its chart has a gap', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const tab = await Tab.open(t, browser);
  // The browser would report a look back that the outage cuts.
  const past = tab.page.waitForResponse(/\/api\/history/);
  await tab.page.goto(board.origin);
  await tab.live('cpu/usage');
  await drawn(tab, 0);
  await (await past).finished();
  await tab.page.evaluate(() => (window.marker = 'the same document'));
  assert.deepEqual(tab.complaints(), []);

  await board.stop();
  await tab.page.waitForSelector('body[data-state="reconnecting"]');
  const failed = new RegExp(`^WebSocket connection to '${board.stream}[^']*' failed`);
  await tab.console.find(({ text }) => failed.test(text), 'failed attempt in the console');
  await outage();
  await readingsMove(t, tab, await board.again(t));
  await drawn(tab, 1);

  assert.equal(await tab.page.evaluate(() => window.marker), 'the same document');
  assert.equal(await tab.closeCodes.next('close in the page'), 1006);
  // The browser itself reports each attempt while nobody listens; nothing can keep it from that.
  assert.deepEqual(tab.complaints().filter(({ text }) => !failed.test(text)), []);
  assert.deepEqual(tab.strangers(board.address), []);
  assert.deepEqual(tab.errors, []);
});

test('a link that is away for 3 s costs no reading: the page goes on where it was, and its chart has no gap', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const link = await Link.start(t, board);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(link.origin);
  await tab.live('cpu/usage');
  await startRecord(tab);
  await drawn(tab, 0);

  link.down();
  await tab.page.waitForSelector('body[data-state="reconnecting"]');
  const { messages } = await joinWithNode(t, board.stream);
  await messages.find(({ type }) => type === 'data', 'batch');
  await outage();
  link.up();
  await tab.live('cpu/usage');
  await drawn(tab, 0);

  const { seqs, gaps, recovered } = await recordIn(tab);
  assert.deepEqual(gaps, []);
  assert.equal(recovered, 1);
  assert.deepEqual(seqs, seqs.map((_, i) => seqs[0] + i), 'each once and in order');
  const during = messages.all.filter(({ type }) => type === 'data').slice(0, 10);
  for (const { seq } of during) assert.ok(seqs.includes(seq), `${seq}, of the time without a link, came later`);
  assert.ok(await tab.page.isHidden('#missed'));
  assert.deepEqual(tab.errors, []);
});

test('a link that is away for longer than the board remembers: the page says what it missed, and its chart has a gap', async (t) => {
  const board = await Board.start(t, '--interval', '10ms');
  const link = await Link.start(t, board);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(link.origin);
  await tab.live('cpu/usage');
  await startRecord(tab);
  await drawn(tab, 0);

  link.down();
  await tab.page.waitForSelector('body[data-state="reconnecting"]');
  const place = await tab.page.evaluate(() => `${board.hello.epoch}:${Math.max(...record.map(({ seq }) => seq ?? 0))}`);
  await forgotten(t, board, place);
  link.up();
  await tab.live('cpu/usage');
  await drawn(tab, 1);

  const { seqs, gaps, snapshots, recovered, accounted } = await recordIn(tab);
  assert.equal(recovered, 0);
  assert.deepEqual(gaps.map(({ to, epochChanged }) => [to, epochChanged]), [[snapshots.at(-1), false]]);
  const all = Array.from({ length: seqs.at(-1) - seqs[0] }, (_, i) => seqs[0] + i);
  assert.deepEqual(all.filter((seq) => !accounted(seq)), [], 'lost silently');
  assert.match(await tab.page.textContent('#missed'), /^\d+ batches missed$/);
  assert.deepEqual(tab.errors, []);
});

/** Waits until nobody can go on at `place` any more. */
async function forgotten(t, board, place) {
  for (;;) {
    const { messages } = await joinWithNode(t, `${board.stream}?channels=uptime&since=${place}`);
    const { recovered } = await messages.find(({ type }) => type === 'subscribed', 'answer');
    if (!recovered) return;
    await pass(messages, 100);
  }
}

test('the charts of a page that comes late begin before it came', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const { messages } = await joinWithNode(t, board.stream);
  const { t: began } = await messages.find(({ type, snapshot }) => type === 'data' && !snapshot, 'first batch');
  await pass(messages, 50);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('cpu/usage');
  // The history's finest step is a second.
  const reachesBack = (began) => document.querySelector('[data-headline="mem"] .plot')?.dataset.oldest < began + 2;
  await tab.page.waitForFunction(reachesBack, began);
  await drawn(tab, 0);
  assert.deepEqual(tab.complaints(), []);
});

test('the page decodes binary readings in place', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('cpu/usage');
  const layout = await tab.page.evaluate(
    () =>
      new Promise((resolve) => {
        board.addEventListener('message', ({ message }) => {
          const [column] = message.values?.values() ?? [];
          if (ArrayBuffer.isView(column)) resolve({ offset: column.byteOffset, own: column.byteLength, all: column.buffer.byteLength });
        });
      }),
  );
  assert.ok(layout.offset >= 32 && layout.all > layout.own, JSON.stringify(layout));
});

const SLEEP_SECONDS = process.env.BOARDCAST_STRESS ? 60 : 5;

test(`a laptop that slept for ${SLEEP_SECONDS} s shows live readings again, and what was lost is a gap`, async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const laptop = await launchToSleep(t);
  const tab = await Tab.open(t, laptop.browser);
  await tab.page.goto(board.origin);
  await tab.live('cpu/usage');
  await tab.page.evaluate(() => (window.marker = 'the same document'));
  await startRecord(tab);
  await drawn(tab, 0);
  const { messages } = await joinWithNode(t, board.stream);
  await messages.find(({ type }) => type === 'data', 'batch');

  await laptop.sleep();
  for (let second = 0; second < SLEEP_SECONDS; second += 1) await pass(messages, 10);
  laptop.wake();
  const { seq } = messages.all.findLast(({ type }) => type === 'data');
  const caughtUp = () => tab.page.waitForFunction((seq) => window.record.some((event) => event.seq > seq + 20), seq);
  await within(caughtUp(), 'reading of after the sleep');
  await tab.live('cpu/usage');
  await readingsMove(t, tab, board);

  const { seqs, gaps, accounted } = await recordIn(tab);
  const all = Array.from({ length: seqs.at(-1) - seqs[0] }, (_, i) => seqs[0] + i);
  assert.deepEqual(all.filter((seq) => !accounted(seq)), [], 'lost silently');
  await drawn(tab, gaps.length);
  assert.equal(await tab.page.evaluate(() => window.marker), 'the same document');
  assert.deepEqual(tab.errors, []);
  t.diagnostic(`${seqs.length} batches, ${gaps.length} gaps told`);
});

for (const [name, viewport] of Object.entries({ desktop: DESKTOP, phone: PHONE })) {
  test(`the page fits the width of a ${name}`, async (t) => {
    const board = await Board.start(t, '--interval', '100ms');
    const tab = await Tab.open(t, browser, viewport);
    await tab.page.goto(board.origin);
    await tab.live('cpu/usage', 'mem/used');
    await tab.changes('uptime');
    const widths = await tab.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(widths[0] <= widths[1], `it is ${widths[0]} wide in a window of ${widths[1]}`);
    if (process.env.SCREENSHOTS) {
      await mkdir(process.env.SCREENSHOTS, { recursive: true });
      await tab.page.screenshot({ path: join(process.env.SCREENSHOTS, `${name}.png`) });
    }
  });
}
