// The page of a fleet, in the browser: the overview, the page of a device, and what becomes of both when boards and
// servers go and come.
//
//   SCREENSHOTS   a folder: what the page looks like is saved there.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { DESKTOP, launch, PHONE, Tab } from './browser.mjs';
import { FleetServer } from './fleetserver.mjs';
import { joinWithNode } from './peers.mjs';
import { Board, Fleet } from './program.mjs';
import { Link } from './proxy.mjs';
import { account, recordOf } from './record.mjs';
import { until } from './waiting.mjs';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** So many real boards, by their name in the fleet. */
async function boards(t, ...names) {
  const started = names.map((name) => Board.start(t, '--interval', '200ms', '--name', `own-name-of-${name}`));
  return Object.fromEntries((await Promise.all(started)).map((board, i) => [names[i], board]));
}

// These run in the page.

/** What a tile says: name, state, vitals. */
function tileOf(name) {
  const tile = document.querySelector(`[data-device="${name}"]`);
  const texts = (selector) => [...(tile?.querySelectorAll(selector) ?? [])].map(({ textContent }) => textContent);
  return tile && { status: tile.dataset.status, said: texts('.state')[0], titles: texts('dt'), values: texts('dd'), lines: tile.querySelectorAll('polyline').length };
}

function hasVitals(name) {
  return document.querySelectorAll(`[data-device="${name}"] dd`).length > 1;
}

/** Vitals and line. With values that rest, as those of a busy processor, the line still grows. */
function drawingOf(name) {
  const tile = document.querySelector(`[data-device="${name}"]`);
  return [tile.querySelector('dl').textContent, ...[...tile.querySelectorAll('polyline')].map((line) => line.getAttribute('points'))].join();
}

const order = () => [...document.querySelectorAll('#devices > li')].filter(({ hidden }) => !hidden).map(({ dataset }) => dataset.device);

/** Waits until the tiles of these devices say this. */
async function say(tab, status, ...names) {
  for (const name of names) await tab.page.waitForSelector(`[data-device="${name}"][data-status="${status}"]`, { timeout: 40_000 });
}

/** Waits until a tile looks other than it does now, after `stir` made it. */
async function moves(tab, name, stir = () => {}) {
  const before = await tab.page.evaluate(drawingOf, name);
  stir();
  await until(async () => (await tab.page.evaluate(drawingOf, name)) !== before, `change of the tile of ${name}`);
}

async function click(tab, name) {
  await tab.page.click(`[data-device="${name}"] a`);
  await tab.page.waitForFunction((name) => document.title === name, name);
}

function nothingWrong(tab, host, { failed } = {}) {
  assert.deepEqual(tab.strangers(host), []);
  assert.deepEqual(tab.complaints().filter(({ text }) => !failed?.test(text)), []);
  assert.deepEqual(tab.errors, []);
}

async function picture(tab, name) {
  const { SCREENSHOTS } = process.env;
  if (!SCREENSHOTS) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  await tab.page.screenshot({ path: join(SCREENSHOTS, name) });
}

test('each board has a tile that moves; a click opens its page, and back leads to the tile', async (t) => {
  const fleet = await Fleet.start(t, await boards(t, 'pi2', 'pi10', 'shed'), '--name', 'a-fleet');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(fleet.origin);
  await say(tab, 'online', 'pi2', 'pi10', 'shed');
  assert.equal(await tab.page.title(), 'a-fleet');
  assert.equal(await tab.page.textContent('#count'), '3 devices: 3 online');
  assert.deepEqual(await tab.page.evaluate(order), ['pi2', 'pi10', 'shed'], 'as people count');
  for (const name of ['pi2', 'pi10', 'shed']) await tab.page.waitForFunction(hasVitals, name);
  await moves(tab, 'pi10');
  await tab.page.waitForSelector('[data-device="pi10"] polyline', { state: 'attached' });
  const tile = await tab.page.evaluate(tileOf, 'pi10');
  assert.equal(tile.said, 'online', 'not by colour alone');
  assert.ok(tile.titles.includes('CPU') && tile.titles.includes('Memory'), tile.titles.join());
  const asked = tab.requests.filter((address) => address.startsWith(fleet.stream));
  assert.deepEqual(asked, [`${fleet.stream}?channels=`], 'no more than the vitals of all');

  await click(tab, 'pi10');
  await tab.live('cpu/usage', 'mem/used', 'uptime');
  await tab.changes('uptime');
  assert.ok(await tab.page.isVisible('[data-headline="cpu"]'));
  assert.ok(!(await tab.page.isVisible('#devices')));
  assert.match(await tab.page.textContent('#count'), /^\d+ channels$/);
  await tab.page.goBack();
  await tab.page.waitForSelector('[data-device="pi10"]');
  assert.equal(await tab.page.evaluate(() => document.activeElement.textContent), 'pi10', 'the keyboard goes on there');
  assert.ok(!(await tab.page.isVisible('[data-headline="cpu"]')));
  await moves(tab, 'pi10');
  nothingWrong(tab, fleet.address);
});

test('a board that falls silent is stale, one that dies is offline, and back it is online, without a reload', async (t) => {
  const known = await boards(t, 'a', 'b', 'c');
  const fleet = await Fleet.start(t, known);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(fleet.origin);
  await say(tab, 'online', 'a', 'b', 'c');
  await tab.page.evaluate(() => (window.marker = 'the same document'));
  known.c.signal('SIGSTOP');
  await say(tab, 'stale', 'c');
  assert.equal(await tab.page.textContent('#count'), '3 devices: 2 online, 1 stale');
  assert.deepEqual(await tab.page.evaluate(order), ['c', 'a', 'b'], 'who needs an eye comes first');
  await click(tab, 'c');
  await tab.page.waitForSelector('body[data-device="stale"]');
  assert.equal(await tab.page.textContent('#pill'), 'Stale');

  await known.c.stop();
  await tab.page.waitForSelector('body[data-device="offline"]');
  assert.equal(await tab.page.textContent('#pill'), 'Offline');
  assert.match(await tab.page.textContent('#count'), /^offline: /);
  assert.equal(await tab.page.textContent('#announcement'), 'This device is offline');
  const own = await Tab.open(t, browser);
  await own.page.goto(`${fleet.origin}/#/device/c`);
  await own.page.waitForSelector('body[data-device="offline"]');
  await own.live('uptime', 'mem/used');
  await tab.page.click('#back');
  await say(tab, 'offline', 'c');

  await known.c.again(t);
  await own.page.waitForSelector('body[data-device="online"]');
  for (let i = 0; i < 2; i += 1) await own.changes('uptime');
  // Behind the hole, and no line leads across.
  await own.page.waitForSelector('[data-headline="mem"] .plot[data-breaks="1"]');
  assert.equal(await own.page.isVisible('[data-health="stale"]'), false);
  nothingWrong(own, fleet.address);
  await say(tab, 'online', 'a', 'b', 'c');
  await tab.page.waitForFunction(hasVitals, 'c');
  assert.deepEqual(await tab.page.evaluate(order), ['a', 'b', 'c']);
  assert.equal(await tab.page.evaluate(() => window.marker), 'the same document');
  nothingWrong(tab, fleet.address);
});

test('a fleet server that was killed is found again at its address, by the overview and by a device\'s page', async (t) => {
  const fleet = await Fleet.start(t, await boards(t, 'a', 'b'));
  const [overview, device] = [await Tab.open(t, browser), await Tab.open(t, browser, PHONE)];
  await overview.page.goto(fleet.origin);
  await device.page.goto(`${fleet.origin}/#/device/b`);
  await say(overview, 'online', 'a', 'b');
  await device.live('uptime');
  for (const { page } of [overview, device]) await page.evaluate(() => (window.marker = 'the same document'));
  await fleet.stop();
  for (const { page } of [overview, device]) await page.waitForSelector('body[data-state="reconnecting"]');
  const again = await fleet.again(t);
  for (const tab of [overview, device]) await tab.live();
  await say(overview, 'online', 'a', 'b');
  await device.changes('uptime');
  const failed = new RegExp(`^WebSocket connection to '${fleet.stream}[^']*' failed`);
  for (const tab of [overview, device]) {
    assert.equal(await tab.page.evaluate(() => window.marker), 'the same document');
    nothingWrong(tab, again.address, { failed });
  }
});

test('a server that was killed: the page goes on at another one, with each batch once and no gap in its charts', async (t) => {
  const known = await boards(t, 'a', 'b');
  const [first, second] = [await Fleet.start(t, known), await Fleet.start(t, known)];
  const link = await Link.start(t, first);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(`${link.origin}/#/device/b`);
  await tab.live('uptime', 'mem/used');
  await tab.page.evaluate(`void (window.record = (${recordOf})(board))`);
  await tab.changes('uptime');
  // It has the board's batches from here on, too.
  const { messages } = await joinWithNode(t, second.stream);
  await messages.find(({ type, device }) => type === 'data' && device === 'b', 'batch of b');
  const before = await tab.page.evaluate(() => board.hello.epoch);

  link.to(second);
  await first.stop();
  await tab.page.waitForSelector('body[data-state="reconnecting"]');
  await tab.live();
  for (let i = 0; i < 2; i += 1) await tab.changes('uptime');
  assert.notEqual(await tab.page.evaluate(() => board.hello.epoch), before, 'another server');
  const { seqs, gaps, snapshots, recovered } = account(await tab.page.evaluate('window.record'));
  assert.deepEqual([gaps, snapshots, recovered], [[], [], 1]);
  assert.deepEqual(seqs, seqs.map((_, i) => seqs[0] + i), 'each once and in order');
  assert.equal(await tab.page.getAttribute('[data-headline="mem"] .plot', 'data-breaks'), '0');
  assert.deepEqual(tab.errors, []);
});

const VITALS = [
  { name: 'cpu/usage', unit: '%', min: 0, max: 100 },
  { name: 'thermal/cpu', unit: 'Cel' },
  { name: 'mem/used', unit: 'B' },
];

test('of two thousand devices those on screen are drawn; they can be found, and back leads to the same place', async (t) => {
  const names = Array.from({ length: 2000 }, (_, i) => `pi${i}`);
  const fleet = await FleetServer.start(t, names.map((name) => ({ name, status: 'online' })), VITALS);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(fleet.origin);
  await tab.page.waitForFunction(hasVitals, 'pi0');
  const { channels, max_hz: rate } = await fleet.asked.next('subscription');
  assert.deepEqual([channels, rate], [['+/cpu/usage', '+/cpu/temperature', '+/thermal/+', '+/mem/used'], 1]);
  await moves(tab, 'pi0', () => fleet.tick());
  assert.equal(await tab.page.textContent('#count'), '2000 devices: 2000 online');
  const drawn = await tab.page.evaluate(() => document.querySelectorAll('li:has(dd)').length);
  assert.ok(drawn > 10 && drawn < 200, `${drawn} tiles are filled`);
  assert.equal((await tab.page.evaluate(order)).length, 2000, 'all are in the document');
  assert.equal((await tab.page.evaluate(tileOf, 'pi1999')).said, 'online', 'and say how they are');

  fleet.tell({ name: 'pi1500', status: 'offline', t: 5, reason: 'no power' }, { name: 'pi7', status: 'offline', t: 3 }, { name: 'pi9', status: 'stale' });
  await say(tab, 'offline', 'pi1500', 'pi7');
  assert.deepEqual((await tab.page.evaluate(order)).slice(0, 4), ['pi7', 'pi1500', 'pi9', 'pi0'], 'the longest away first');
  fleet.tell({ name: 'pi1500', status: 'online' }, { name: 'pi7', status: 'online' }, { name: 'pi9', status: 'gone' });
  await tab.page.waitForSelector('[data-device="pi9"]', { state: 'detached' });
  assert.deepEqual(await tab.page.evaluate(order), names.filter((name) => name !== 'pi9'));

  await tab.page.fill('#filter', 'I199');
  await tab.page.waitForFunction(() => document.querySelectorAll('#devices > li:not([hidden])').length === 11);
  await tab.page.fill('#filter', '');
  await tab.page.evaluate(() => scrollTo(0, 20_000));
  await tab.page.waitForFunction(() => document.querySelectorAll('li:has(dd)').length > 20);
  const name = await tab.page.evaluate(() => document.elementFromPoint(600, 600).closest('li').dataset.device);
  await tab.page.focus(`[data-device="${name}"] a`);
  const before = await tab.page.evaluate(() => scrollY);
  await tab.page.keyboard.press('Enter');
  await tab.live('cpu/usage');
  assert.equal(await tab.page.evaluate(() => scrollY), 0);
  const { channels: own } = await fleet.asked.next('subscription');
  assert.deepEqual(own, [`${name}/#`]);
  await tab.page.goBack();
  await tab.page.waitForFunction((name) => document.activeElement.textContent === name, name);
  assert.equal(await tab.page.evaluate(() => scrollY), before);
  await tab.page.goForward();
  await tab.live('cpu/usage');
  await tab.page.click('#back');
  await tab.page.waitForSelector(`[data-device="${name}"]`);
  assert.equal(await tab.page.evaluate(() => scrollY), before);
  nothingWrong(tab, new URL(fleet.origin).host);
});

test('an address may name the vitals; a device that is not there is said to be none', async (t) => {
  const fleet = await FleetServer.start(t, [{ name: 'a', status: 'online' }], [{ name: 'room/humidity', unit: '%RH', label: 'Air' }]);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(`${fleet.origin}/?vitals=room/%2B,door/open#/device/nobody`);
  await tab.page.waitForFunction(() => document.querySelector('#empty').textContent === 'This fleet has no device of this name.');
  await tab.page.click('#back');
  await tab.page.waitForFunction(() => document.querySelector('dd')?.textContent === '50.0 % RH');
  assert.equal(await tab.page.textContent('dt'), 'Air');
  nothingWrong(tab, new URL(fleet.origin).host);
});

/** What in the document is not of the page's own making. */
function strangers() {
  const own = 'HTML HEAD META TITLE LINK SCRIPT BODY HEADER IMG H1 H2 H3 P MAIN ARTICLE DIV SPAN A FIELDSET LEGEND LABEL INPUT NOSCRIPT SECTION UL LI DL DT DD svg polyline CANVAS';
  const tags = new Set(own.split(' '));
  const known = ['favicon.svg', 'app.css', 'app.js', 'login', 'api/latest', '#/'];
  const found = window.struck ? ['a script that ran'] : [];
  for (const { tagName, attributes } of document.querySelectorAll('*')) {
    if (!tags.has(tagName)) found.push(tagName);
    for (const { name, value } of attributes) {
      const address = ['href', 'src', 'action', 'formaction'].includes(name) && !known.includes(value);
      if (name.startsWith('on') || name === 'srcdoc' || (address && !/^#\/device\/[\w%.!~*'()-]+$/.test(value))) found.push(`${tagName} ${name}=${value}`);
    }
  }
  return found;
}

test('names and reasons of devices can never become markup, or lead elsewhere', async (t) => {
  const evil = ['<img src=x onerror="window.struck=1">', '"><script>window.struck=1</script>', 'javascript:window.struck=1', '__proto__', 'constructor', '../..', '%', '\u202egnp'];
  const channels = [{ name: 'cpu/usage', unit: evil[0], label: evil[1] }];
  const fleet = await FleetServer.start(t, evil.map((name) => ({ name, status: 'offline', reason: name })), channels);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(fleet.origin);
  await tab.page.waitForFunction((count) => document.querySelectorAll('dd').length === count, evil.length);
  assert.deepEqual((await tab.page.evaluate(order)).sort(), [...evil].sort());
  assert.deepEqual(await tab.page.evaluate(strangers), []);
  for (const name of evil) {
    await tab.page.evaluate((name) => [...document.querySelectorAll('#devices a')].find(({ textContent }) => textContent === name).click(), name);
    await tab.page.waitForFunction((name) => document.querySelector('#device').textContent === name, name);
    assert.equal(await tab.page.textContent('#count').then((text) => text.split(' · ')[0]), `offline: ${name}`);
    assert.deepEqual(await tab.page.evaluate(strangers), []);
    await tab.page.goBack();
    await tab.page.waitForSelector('#devices li');
  }
  nothingWrong(tab, new URL(fleet.origin).host);
});

test('what the overview looks like', { skip: !process.env.SCREENSHOTS }, async (t) => {
  const names = ['gate', 'greenhouse', 'kitchen', 'pi-01', 'pi-02', 'pi-03', 'pi-04', 'pi-05', 'pi-06', 'pump', 'roof', 'shed', 'tank', 'workshop'];
  const now = Date.now() / 1000;
  const how = { shed: { status: 'offline', t: now - 8000, reason: 'no connection: refused' }, pump: { status: 'stale', t: now - 14 } };
  const devices = names.map((name) => ({ name, status: 'online', ...how[name] }));
  const fleet = await FleetServer.start(t, devices, VITALS.map((channel, i) => ({ ...channel, start: [17.2, 44.5, 4.1e8][i] })));
  const light = await Tab.open(t, browser, { ...DESKTOP, height: 540 });
  const dark = await Tab.open(t, browser, PHONE);
  await dark.page.emulateMedia({ colorScheme: 'dark' });
  for (const tab of [light, dark]) {
    await tab.page.goto(fleet.origin);
    await tab.page.waitForFunction(hasVitals, 'gate');
  }
  // Each at a level of its own, with a little unrest.
  const levels = { 'cpu/usage': (i) => 6 + ((i * 37) % 60), 'thermal/cpu': (i) => 41 + ((i * 7) % 17), 'mem/used': (i) => 2.2e8 + ((i * 53) % 17) * 1.05e8 };
  const value = ({ name }, channel) => levels[channel.name](names.indexOf(name)) * (1 + (Math.random() - 0.5) / (channel.name === 'cpu/usage' ? 1 : 50));
  for (let i = 0; i < 62; i += 1) fleet.tick((device, channel) => Number(value(device, channel).toFixed(1)));
  for (const tab of [light, dark]) await tab.page.waitForFunction(() => document.querySelector('[data-device=gate] polyline')?.points.length > 40);
  await picture(light, 'fleet.png');
  await picture(dark, 'fleet-phone-dark.png');
});
