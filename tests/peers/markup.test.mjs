// What sensors, settings and publishers say is text to the page, whatever it looks like; and what the page's policy
// (Content-Security-Policy) forbids even if that failed, and who may show it in a frame.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { launch, Tab } from './browser.mjs';
import { Board, folder } from './program.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

// Whichever of them runs says so.
const EVIL = [
  '<img src=x onerror="window.struck=1">',
  '"><script>window.struck=1</script>',
  "');window.struck=1;//",
  'javascript:window.struck=1',
  '\u202egnp.exe\u2066\u200f',
  '<a href="javascript:window.struck=1" autofocus onfocus=window.struck=1>x</a>',
  '<svg/onload=window.struck=1>'.repeat(40).slice(0, 1024), // The longest text.
  '{{constructor.constructor("window.struck=1")()}}',
  '<base href="//evil.example/">&lt;b&gt;&#60;i&#62;',
  '__proto__',
];

/** Names that are allowed, and mean something to JavaScript or to a selector; the longest, and the deepest. */
const NAMES = ['__proto__/x', 'constructor', 'hasOwnProperty/toString', '.', '-/--/..', 'x'.repeat(128), 'a/b/c/d/e/f/g/h', '0'];

const quoted = JSON.stringify;

async function publish(board, values) {
  const headers = { 'Content-Type': 'application/json' };
  // Not of an object, in which `__proto__` would be something else.
  const body = `{${Object.entries(values).map(([name, value]) => `${quoted(name)}:${quoted(value)}`)}}`;
  const answer = await fetch(`${board.origin}/api/publish`, { method: 'POST', body, headers });
  assert.equal(answer.status, 200, await answer.text());
}

/** What in the document is not of the page's own making. */
function strangers() {
  const own = 'HTML HEAD META TITLE LINK SCRIPT BODY HEADER IMG H1 H2 H3 P MAIN ARTICLE DIV SPAN A FIELDSET LEGEND LABEL INPUT NOSCRIPT SECTION UL LI CANVAS';
  const tags = new Set(own.split(' '));
  const found = [];
  for (const element of document.querySelectorAll('*')) {
    if (!tags.has(element.tagName)) found.push(element.tagName);
    for (const { name, value } of element.attributes) {
      const address = ['href', 'src', 'action', 'formaction'].includes(name);
      const known = ['favicon.svg', 'app.css', 'app.js', 'login', 'api/latest', '#/'].includes(value);
      if (name.startsWith('on') || name === 'srcdoc' || (address && !known)) found.push(`${element.tagName} ${name}=${value}`);
    }
  }
  if (window.struck) found.push('a script that ran');
  return found;
}

test('labels, units, texts, reasons and names can never become markup', async (t) => {
  const settings = join(await folder(t), 'settings.toml');
  const rule = (i, text) =>
    ['text', 'number'].map((kind) => `[[channel]]\nname = "evil/${kind}${i}"\nlabel = ${quoted(text)}\nunit = ${quoted(text)}\n`);
  const script = (text) => `printf '%s' ${`'${text.replaceAll("'", "'\\''")}'`} >&2; exit 3`;
  const source = (i, text) =>
    `[[source]]\nname = "broken${i}"\nkind = "command"\ncommand = ${quoted(script(text))}\nevery = "1s"\n`;
  const short = EVIL.map((text) => text.slice(0, 60));
  await writeFile(settings, [...short.flatMap((text, i) => rule(i, text)), ...short.slice(0, 6).map((text, i) => source(i, text))].join('\n'));
  const board = await Board.start(t, '--interval', '100ms', '--socket', 'none', '--name', EVIL[0], '--config', settings);
  const texts = EVIL.map((text, i) => [`evil/text${i}`, text]);
  const numbers = EVIL.map((_, i) => [`evil/number${i}`, i + 0.5]);
  const named = [...NAMES.map((name) => [name, 1.5]), ...NAMES.map((name) => [`s/${name}`.slice(0, 128).split('/').slice(0, 8).join('/'), 'text'])];
  const values = [...texts, ...numbers, ...named];
  await publish(board, Object.fromEntries(values));

  const tab = await Tab.open(t, browser);
  const dialogs = [];
  tab.page.on('dialog', (dialog) => {
    dialogs.push(dialog.message());
    void dialog.dismiss();
  });
  await tab.page.goto(board.origin);
  await tab.live('uptime', 'broken0', ...values.map(([name]) => name));
  const shown = (name) => tab.page.locator(`[data-channel="${name}"]`);
  for (const [name, value] of values) {
    assert.equal(await shown(name).locator('[data-value]').getAttribute('data-raw'), String(value), name);
  }
  for (const [i, text] of short.entries()) {
    assert.equal(await shown(`evil/text${i}`).locator('h3').textContent(), text);
    assert.equal(await shown(`evil/number${i}`).locator('.unit').textContent(), ` ${text}`);
  }
  await shown('broken0').locator(`.note:has-text("exited with code 3")`).waitFor();
  for (const [i, text] of short.slice(0, 6).entries()) {
    const reason = await shown(`broken${i}`).locator('.note').textContent();
    assert.ok(reason.includes(text.slice(0, 20)), `${reason} for ${text}`);
  }
  assert.equal(await tab.page.title(), EVIL[0]);
  assert.equal(await tab.page.textContent('#device'), EVIL[0]);
  // Under the pointer, too, and in the charts that are drawn by then.
  await tab.page.hover('[data-channel="evil/number0"] .plot');
  await tab.changes('uptime');
  assert.deepEqual(await tab.page.evaluate(strangers), []);
  const widths = await tab.page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(widths[0] <= widths[1], `it is ${widths[0]} wide in a window of ${widths[1]}`);
  assert.deepEqual(dialogs, []);
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
  assert.deepEqual(tab.strangers(board.address), []);
});

test('the page runs nothing but what was bundled, even if something were put into it', async (t) => {
  const board = await Board.start(t, '--socket', 'none');
  const policy = (await fetch(board.origin)).headers.get('content-security-policy');
  assert.match(policy, /^default-src 'none'; script-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|\*|data:/);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('uptime');
  await tab.page.evaluate(() => {
    const put = (tag, fields) => document.body.append(Object.assign(document.createElement(tag), fields));
    put('script', { textContent: 'window.struck = 1' });
    put('script', { src: 'data:text/javascript,window.struck=1' });
    put('base', { href: '/elsewhere/' });
    put('iframe', { src: '/login' });
    document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.struck = 1"><p style="color:red">x</p>');
    void fetch('http://127.0.0.1:1/').catch(() => {});
  });
  const forbidden = ['script-src-elem inline', 'script-src-elem data', 'base-uri', 'frame-src', 'script-src-attr', 'style-src-attr', 'connect-src'];
  const missing = new Set(forbidden);
  while (missing.size > 0) {
    const violation = await tab.violations.next(`breach of ${[...missing]}`);
    for (const what of missing) if (violation.startsWith(what)) missing.delete(what);
  }
  assert.equal(await tab.page.evaluate('window.struck'), undefined);
  // What is not waited for may come later.
  tab.expectViolations();
});

/** A page of another origin with the board in a frame. */
async function panel(t, board) {
  const server = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html').end(`<!doctype html><iframe src="${board.origin}/" width=800 height=600></iframe>`);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  t.after(() => server.closeAllConnections());
  return `http://127.0.0.1:${server.address().port}`;
}

test('it is shown in the frames of those pages that the settings name, live from the next reload on', async (t) => {
  const settings = join(await folder(t), 'settings.toml');
  await writeFile(settings, '');
  const board = await Board.start(t, '--interval', '100ms', '--socket', 'none', '--config', settings);
  const origin = await panel(t, board);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(origin);
  await tab.console.find(({ text }) => /frame-ancestors/.test(text), 'refusal in the console');

  await writeFile(settings, `frame_ancestor = [${quoted(origin)}]`);
  board.signal('SIGHUP');
  await board.line(board.stderr, /read anew/);
  await tab.page.goto(origin);
  const frame = tab.page.frameLocator('iframe');
  await frame.locator('body[data-state="live"]').waitFor();
  assert.deepEqual(tab.errors, []);
});
