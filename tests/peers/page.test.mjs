// The page, in the browser.
//
//   SCREENSHOTS   a folder: what the page looks like is saved there.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DESKTOP, launch, PHONE, Tab } from './browser.mjs';
import { joinWithNode } from './peers.mjs';
import { Board } from './program.mjs';

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
  assert.ok(tab.requests.includes(board.stream));
  assert.deepEqual(tab.strangers(board.address), []);
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
});

test('the page finds back by itself, without a reload, after the board lost power', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('cpu/usage');
  await tab.page.evaluate(() => (window.marker = 'the same document'));
  assert.deepEqual(tab.complaints(), []);

  await board.stop();
  await tab.page.waitForSelector('body[data-state="reconnecting"]');
  const failed = new RegExp(`^WebSocket connection to '${board.stream}' failed`);
  await tab.console.find(({ text }) => failed.test(text), 'failed attempt in the console');
  await readingsMove(t, tab, await board.again(t));

  assert.equal(await tab.page.evaluate(() => window.marker), 'the same document');
  assert.equal(await tab.closeCodes.next('close in the page'), 1006);
  // The browser itself reports each attempt while nobody listens; nothing can keep it from that.
  assert.deepEqual(tab.complaints().filter(({ text }) => !failed.test(text)), []);
  assert.deepEqual(tab.strangers(board.address), []);
  assert.deepEqual(tab.errors, []);
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
