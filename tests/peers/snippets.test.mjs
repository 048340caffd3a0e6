// The code that people copy, run as they would: the README's three lines, and the article's.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { pathToFileURL } from 'node:url';
import { launch, Tab } from './browser.mjs';
import { Board, here, startWelcome } from './program.mjs';

const README = join(here, '../../README.md');

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** The JavaScript in the README, block by block, for the board at `address`. */
async function snippets(address) {
  const readme = await readFile(README, 'utf8').catch(() => assert.fail(`there is no ${README}`));
  const blocks = [...readme.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code);
  const own = '127.0.0.1:8642';
  for (const code of blocks) assert.ok(code.includes(own), `it connects to ${own}`);
  return blocks.map((code) => code.replaceAll(own, address));
}

async function printsReadings(tab) {
  for (let count = 0; count < 3; count += 1) {
    const { text } = await tab.console.next('reading in the console');
    assert.match(text, /^\d+(\.\d+)? %$/);
  }
  assert.deepEqual(tab.errors, []);
}

test('the first three lines of JavaScript in the README print readings, in a page of another host that is let in', async (t) => {
  const elsewhere = createServer((_, response) => response.end('<!doctype html><title>Elsewhere</title>'));
  elsewhere.listen(0, '127.0.0.1');
  await once(elsewhere, 'listening');
  t.after(() => elsewhere.close());
  const origin = `http://127.0.0.1:${elsewhere.address().port}`;

  const board = await Board.start(t, '--interval', '100ms', '--allow-origin', origin);
  const [code] = await snippets(board.address);
  assert.equal(code.trim().split('\n').length, 3);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(origin);
  await tab.page.addScriptTag({ type: 'module', content: code });
  await printsReadings(tab);
});

test('the three lines of JavaScript in the README that need no module print readings', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const [, code] = await snippets(board.address);
  assert.equal(code.trim().split('\n').length, 3);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  // As a script of its own: the page has a `board`, too.
  await tab.page.evaluate(`{ ${code} }`);
  await printsReadings(tab);
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
  const peer = `127.0.0.1:${await portOfClient(welcome.address)}`;
  const [, said] = await welcome.line(welcome.stderr, /(Received message .*)$/);
  assert.equal(said, `Received message from ${peer} ==> hi`);
  await tab.page.evaluate('ws.close()');
  await welcome.line(welcome.stderr, new RegExp(` ${peer} has gone: 1005`));
  assert.equal((await tab.console.next('last line')).text, 'Disconnected');
  assert.equal(await tab.closeCodes.next('close in the page'), 1005);
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
});

/** The port of the only client of this address, as the kernel knows it (proc_net_tcp(5)). */
async function portOfClient(address) {
  const port = (text) => Number.parseInt(text.split(':')[1], 16);
  const server = Number(address.split(':')[1]);
  const rows = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((row) => row.trim().split(/\s+/));
  const ESTABLISHED = '01';
  const ports = rows.filter(([, , remote, state]) => state === ESTABLISHED && port(remote) === server);
  assert.equal(ports.length, 1);
  return port(ports[0][1]);
}
