// `systemctl stop` and Ctrl-C: every client is told, and the program ends by itself.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { launch, Tab } from './browser.mjs';
import { Board } from './program.mjs';
import { joinWithNode, joinWithPython } from './peers.mjs';
import { within } from './waiting.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

for (const signal of ['SIGTERM', 'SIGINT']) {
  test(`on ${signal} Node ws, a Python client and the page see 1001, and the program ends well within 5 s`, async (t) => {
    const board = await Board.start(t, '--interval', '100ms');
    const node = await joinWithNode(t, board.stream);
    const python = await joinWithPython(t, board.stream);
    const tab = await Tab.open(t, browser);
    await tab.page.goto(board.origin);
    await tab.live('cpu/usage');

    board.signal(signal);
    const ended = await within(board.exited, 'end of the program', 5000);
    assert.deepEqual(ended, { code: 0, signal: null });
    assert.equal((await within(node.closed, 'close at Node ws')).code, 1001);
    assert.equal((await within(python.closed, 'close at the Python client')).code, 1001);
    assert.equal(await tab.closeCodes.next('close in the page'), 1001);
  });
}
