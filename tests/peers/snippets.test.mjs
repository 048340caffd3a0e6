// The code that people copy, run as they would: the README's three lines, and the article's.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { launch, Tab } from './browser.mjs';
import { Board, here, startWelcome } from './program.mjs';

const README = join(here, '../../README.md');

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test('the three lines of JavaScript in the README print readings', async (t) => {
  const readme = await readFile(README, 'utf8').catch(() => assert.fail(`there is no ${README}`));
  const code = /^```js\n(.*?)^```$/ms.exec(readme)?.[1];
  assert.ok(code, 'the README has no ```js block');
  assert.equal(code.trim().split('\n').length, 3, 'the first ```js block of the README has three lines');
  const address = 'ws://127.0.0.1:8642/ws';
  assert.ok(code.includes(address), `it connects to ${address}`);

  const board = await Board.start(t, '--interval', '100ms');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.page.evaluate(code.replace(address, board.stream));
  for (let count = 0; count < 3; count += 1) {
    const { text } = await tab.console.next('reading in the console');
    assert.match(text, /^\d+(\.\d+)? %$/);
  }
  assert.deepEqual(tab.errors, []);
});

/** As the article has it. */
const ARTICLE = `
ws.onopen = function() {
    //连接建立成功时执行的函数
    console.log("Connection established")
}
ws.onclose = function() {
    //连接断开时执行的函数
    console.log("Disconnected")
}
ws.onmessage = function(message) {
    //收到服务器消息时执行的函数
    console.log(message.data)
}
`;

test("the article's page, opened from a file, talks with examples/welcome.rs", async (t) => {
  const welcome = await startWelcome(t);
  const folder = await mkdtemp(join(tmpdir(), 'boardcast-peers-'));
  t.after(() => rm(folder, { recursive: true }));
  const file = join(folder, 'article.html');
  const script = `const ws = new WebSocket("ws://${welcome.address}")\n${ARTICLE}`;
  await writeFile(file, `<!doctype html><meta charset="utf-8"><title>WebSocket</title><script>${script}</script>`);

  const tab = await Tab.open(t, browser);
  await tab.page.goto(pathToFileURL(file).href);
  assert.equal((await tab.console.next('first line')).text, 'Connection established');
  assert.equal((await tab.console.next('second line')).text, 'Welcome!');
  await tab.page.evaluate('ws.send("hi")');
  await welcome.line(welcome.stderr, /Received message from 127\.0\.0\.1:\d+ ==> hi$/);
  await welcome.stop();
  const isLog = ({ type }) => type === 'log';
  assert.equal((await tab.console.find(isLog, 'last line')).text, 'Disconnected');
  assert.deepEqual(tab.errors, []);
});
