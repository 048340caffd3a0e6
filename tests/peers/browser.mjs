// Headless Chromium, the distribution's own, and everything that a page in it says, asks for and complains about.
//
//   CHROMIUM   the browser; Debian's when unset.

import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { chromium } from 'playwright-core';
import { Arrivals, DEADLINE_MS, within } from './waiting.mjs';

const OPTIONS = {
  executablePath: process.env.CHROMIUM || '/usr/bin/chromium',
  args: [
    '--headless',
    '--no-sandbox', // It refuses to run as root with one, and CI often is root.
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    // Whatever else it may want from outside: nothing has an address but the loopback.
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
  ],
};

/**
 * Playwright adds a fresh user data folder, and removes it. `home` names a folder whose `.pki/nssdb` says which
 * authorities the browser trusts beside its own.
 */
export function launch({ home } = {}) {
  return chromium.launch({ ...OPTIONS, env: home ? { ...process.env, HOME: home } : process.env });
}

/**
 * A browser of its own that can be put to sleep, all its processes at once, as closing the lid does. (The freezing of
 * pages that DevTools offer does nothing in headless Chromium.)
 */
export async function launchToSleep(t) {
  const server = await chromium.launchServer(OPTIONS);
  const { pid } = server.process();
  const all = async () => (await descendants(pid)).filter((process) => process.state !== 'Z');
  const wake = () => all().then((processes) => signal(processes, 'SIGCONT'));
  t.after(async () => {
    await wake(); // Stopped processes would not end.
    await server.close();
  });
  const sleep = async () => {
    // A process that is started meanwhile is caught in the next round.
    const awake = async () => (await all()).filter(({ state }) => state !== 'T');
    for (let rest = await awake(); rest.length > 0; rest = await awake()) signal(rest, 'SIGSTOP');
  };
  return { browser: await chromium.connect(server.wsEndpoint()), sleep, wake };
}

function signal(processes, name) {
  for (const { pid } of processes) {
    try {
      process.kill(pid, name);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error; // It has ended by itself.
    }
  }
}

/** This process and all below it, with their states (proc_pid_stat(5)). */
async function descendants(root) {
  const found = [];
  for (const entry of await readdir('/proc')) {
    const stat = /^\d+$/.test(entry) && (await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => ''));
    const [, state, parent] = /\) (\S) (\d+)/.exec(stat || '') ?? [];
    if (state) found.push({ pid: Number(entry), parent: Number(parent), state });
  }
  const below = (pid) => found.filter(({ parent }) => parent === pid).flatMap((child) => [child, ...below(child.pid)]);
  return [...found.filter(({ pid }) => pid === root), ...below(root)];
}

export const DESKTOP = { width: 1280, height: 900 };
export const PHONE = { width: 390, height: 844 };

/** A tab of its own, and what happened in it. */
export class Tab {
  /** Every line of the console: `{type, text}`. */
  console = new Arrivals();
  /** Exceptions that no script caught. */
  errors = [];
  /** The address of every request and every WebSocket. */
  requests = [];
  /** The close code of every WebSocket that has ended. */
  closeCodes = new Arrivals();
  /** What a Content-Security-Policy forbade; at the end of a test nothing that it has not read. */
  violations = new Arrivals();
  #mayViolate = false;

  static async open(t, browser, viewport = DESKTOP) {
    const context = await browser.newContext({ viewport });
    const tab = new Tab();
    t.after(async () => {
      await context.close();
      if (!tab.#mayViolate) assert.deepEqual(tab.violations.unread(), [], 'forbidden by a Content-Security-Policy');
    });
    context.on('request', (request) => tab.requests.push(request.url()));
    tab.page = await context.newPage();
    tab.page.setDefaultTimeout(DEADLINE_MS);
    tab.page.on('websocket', (socket) => tab.requests.push(socket.url()));
    tab.page.on('console', (line) => tab.console.push({ type: line.type(), text: line.text() }));
    tab.page.on('pageerror', (error) => tab.errors.push(error.message));
    await tab.page.exposeFunction('tellCloseCode', (code) => tab.closeCodes.push(code));
    await tab.page.addInitScript(listenToCloseCodes);
    await tab.page.exposeFunction('tellViolation', (violation) => tab.violations.push(violation));
    await tab.page.addInitScript(listenToViolations);
    return tab;
  }

  /** Waits until the board's page has a live connection and shows these channels. */
  async live(...channels) {
    // Between two tries the page waits for up to 30 s.
    await this.page.waitForSelector('body[data-state="live"]', { timeout: DEADLINE_MS + 30_000 });
    for (const channel of channels) await this.page.waitForFunction(rawValueOf, channel);
  }

  /** Waits until the page shows another value of this channel than it does now, after `stir` made one. */
  async changes(channel, stir = () => {}) {
    const before = await this.#raw(channel);
    const kept = stir();
    await this.#shows(channel, (raw) => raw !== before, `change of ${channel} from ${before}`);
    return kept;
  }

  /** Waits until the page shows a value of this channel that comes to `messages` from now on. */
  async follows(channel, messages) {
    const first = messages.all.length;
    const streamed = () => messages.all.slice(first).map(({ values }) => String(values?.[channel]));
    await this.#shows(channel, (raw) => streamed().includes(raw), `streamed value of ${channel} on the page`);
  }

  /** Waits until the page shows this value of the channel: `fits` gets it as a text. */
  async reaches(channel, fits) {
    const seen = [];
    const search = (raw) => {
      if (raw !== seen.at(-1)) seen.push(raw);
      return fits(raw);
    };
    await this.#shows(channel, search, `${channel} on the page`).catch((error) => {
      error.message += `; it showed ${seen.slice(-5).join(', ')}`;
      throw error;
    });
  }

  #raw(channel) {
    return this.page.evaluate(rawValueOf, channel);
  }

  async #shows(channel, fits, what) {
    let late = false;
    const search = async () => {
      while (!late && !fits(await this.#raw(channel))) await this.page.evaluate(nextPicture);
    };
    await within(search(), what).finally(() => (late = true));
  }

  /** From here on a Content-Security-Policy may forbid what it wants. */
  expectViolations() {
    this.#mayViolate = true;
  }

  /** Lines of the console that report something wrong. */
  complaints() {
    return this.console.all.filter(({ type }) => type === 'error' || type === 'warning');
  }

  /** Requests that left this host. */
  strangers(host) {
    return this.requests.filter((address) => new URL(address).host !== host);
  }
}

// These run in the page.

function rawValueOf(channel) {
  return document.querySelector(`[data-channel="${channel}"] [data-value]`)?.dataset.raw;
}

function nextPicture() {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}

function listenToViolations() {
  addEventListener('securitypolicyviolation', ({ effectiveDirective, blockedURI, sourceFile, lineNumber }) => {
    window.tellViolation(`${effectiveDirective} ${blockedURI} (${sourceFile}:${lineNumber})`);
  });
}

function listenToCloseCodes() {
  window.WebSocket = class extends WebSocket {
    constructor(...args) {
      super(...args);
      this.addEventListener('close', (event) => window.tellCloseCode(event.code));
    }
  };
}
