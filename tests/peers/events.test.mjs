// Server-sent events, read by those who know them: curl, Node's fetch, and Chromium's EventSource.

import assert from 'node:assert/strict';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { launch, Tab } from './browser.mjs';
import { Board, Program } from './program.mjs';
import { within } from './waiting.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

test('curl prints the events as they come, and ends well when the board stops', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const curl = new Program(t, ['curl', '-q', '--silent', '--no-buffer', '--noproxy', '*', `${board.origin}/events?channels=uptime`]);
  const [, epoch] = await curl.line(curl.stdout, /^data: \{"type":"hello".*"epoch":"([0-9a-f]{16})"/);
  for (let events = 0; events < 3; events++) {
    const [, seq] = await curl.line(curl.stdout, new RegExp(`^id: ${epoch}:(\\d+)$`));
    await curl.line(curl.stdout, new RegExp(`^data: \\{"type":"data","seq":${seq},.*"uptime":`));
  }
  board.signal('SIGTERM');
  assert.equal((await board.exited).code, 0);
  await curl.line(curl.stdout, /^: the server stops$/);
  assert.equal((await within(curl.exited, 'end of curl')).code, 0);
});

test('fetch reads them, piece by piece, and goes on where it was', async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  /** The last place among some events. */
  const read = async (headers, enough) => {
    const stop = new AbortController();
    const answer = await fetch(`${board.origin}/events?channels=uptime`, { headers, signal: stop.signal });
    assert.equal(answer.headers.get('content-encoding'), null);
    let text = '';
    for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (enough(text)) break;
    }
    stop.abort();
    return text;
  };
  const first = await read({}, (text) => /"type":"data".*\n\n/.test(text));
  const place = first.match(/^id: (.*)$/gm).at(-1).slice(4);
  const second = await read({ 'Last-Event-ID': place }, (text) => /"type":"data".*\n\n/.test(text));
  assert.match(second, /"type":"subscribed".*"recovered":true/);
  assert.doesNotMatch(second, /"snapshot":true/);
});

test("Chromium's EventSource gets them, and comes back by itself to a board that was away", async (t) => {
  const board = await Board.start(t, '--interval', '100ms');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(`${board.origin}/healthz`);
  await tab.page.evaluate(() => {
    globalThis.seen = [];
    const source = new EventSource('/events?channels=uptime');
    source.onmessage = ({ data, lastEventId }) => globalThis.seen.push({ ...JSON.parse(data), lastEventId });
  });
  const waits = (what, ...more) => tab.page.waitForFunction(what, ...more);
  await waits(() => globalThis.seen.filter(({ type }) => type === 'data').length >= 3);
  const seen = await tab.page.evaluate(() => globalThis.seen);
  const { epoch } = seen[0];
  const data = seen.filter(({ type }) => type === 'data');
  for (const [at, { seq, lastEventId, values }] of data.entries()) {
    assert.equal(lastEventId, `${epoch}:${seq}`);
    assert.equal(typeof values.uptime, 'number');
    if (at > 0) assert.ok(seq > data[at - 1].seq);
  }
  await board.again(t);
  // Another epoch: all anew, beginning with a snapshot.
  await waits((old) => globalThis.seen.some(({ type, epoch }) => type === 'hello' && epoch !== old), epoch);
  await waits((old) => globalThis.seen.some(({ type, snapshot, lastEventId }) => type === 'data' && snapshot && !lastEventId.startsWith(old)), epoch);
});
