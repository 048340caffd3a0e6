// Who may come in, seen from a browser: the form for a token, and a reverse proxy (nginx).

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { test } from './deadline.mjs';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { launch, Tab } from './browser.mjs';
import { joinWithNode } from './peers.mjs';
import { Board, boardcast, folder, here, Program, runner } from './program.mjs';
import { within } from './waiting.mjs';

const nginx = [join(here, '../.nginx/usr/sbin/nginx')].find(existsSync) ?? 'nginx';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** `boardcast token …`: what it prints. */
async function tokenCommand(...words) {
  const [program, ...args] = [...runner, boardcast, 'token', ...words];
  return (await promisify(execFile)(program, args)).stdout.trim();
}

/** A new token in the file: its secret. */
const newToken = (file, name, role) => tokenCommand('new', name, '--role', role, '--tokens', file);

/** A port that is free now; another program may take it before it is used. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * nginx in front of a board: at `/`, as docs/access.md has it, and below `/cut/`, without that, and `/kept/`, with it. At `/far/` it speaks for a
 * stranger, `/misnamed/` has the stream under another name, and `/panel` shows `/cut/` in a frame.
 */
async function proxied(t, board) {
  const home = await folder(t);
  // Between asking for a port and taking it somebody else may.
  for (let tries = 1; ; tries += 1) {
    const address = `127.0.0.1:${await freePort()}`;
    await writeFile(join(home, 'nginx.conf'), await settingsOf(home, board.address, address));
    const proxy = new Program(t, [nginx, '-p', home, '-c', join(home, 'nginx.conf'), '-e', 'stderr']);
    const [, started] = await proxy.line(proxy.stderr, /(start worker process \d+)|bind\(\) to .* failed/);
    if (started) return address;
    assert.ok(tries < 5, 'no port for nginx');
  }
}

async function settingsOf(home, upstream, address) {
  const page = await readFile(join(here, '../../docs/access.md'), 'utf8');
  const [, root] = /```nginx\n(location \/ \{[^]*?\n\})\n```/.exec(page);
  assert.ok(root.includes('127.0.0.1:8642'));

  const to = (path, { client = '$proxy_add_x_forwarded_for', host = '$http_host' } = {}) => `
      proxy_pass http://${upstream}${path};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For ${client};
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host ${host};`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${home}/${kind};`);
  return `daemon off; worker_processes 1; pid ${home}/pid; error_log stderr notice;
    events { worker_connections 64; }
    http {
      access_log off; ${temporary.join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      server {
        listen ${address};
        ${root.replace('127.0.0.1:8642', upstream)}
        location /cut/ { ${to('/')} }
        location /kept/ { ${to('')} }
        location /far/ { ${to('/', { client: '203.0.113.7' })} }
        location /misnamed/ { ${to('/')} }
        location /misnamed/ws { ${to('/ws', { host: 'evil.example' })} }
        location /panel { default_type text/html; return 200 '<!doctype html><link rel=icon href=data:,><iframe src="/cut/" width=800 height=600></iframe>'; }
      }
    }`;
}

/** Shows a token to the form that `page`, or a frame of it, has open. */
async function enter(page, token) {
  await page.locator('input[name=token]').fill(token);
  await page.locator('button').click();
}

test('a board that wants a token leads a browser to its form, and is live behind it; a token that is taken back ends that', async (t) => {
  const file = join(await folder(t), 'tokens');
  const secret = await newToken(file, 'phone', 'view');
  // Programs on the board need none, and the browser is on the board: somebody speaks for it.
  const board = await Board.start(t, '--interval', '100ms', '--tokens', file, '--view-needs-token', '--trusted-proxy', '127.0.0.1');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  assert.equal(new URL(tab.page.url()).pathname, '/login');
  await enter(tab.page, 'bc_wrong');
  await tab.page.waitForSelector('p[role=alert]:has-text("not known")');
  await enter(tab.page, secret);
  await tab.live('uptime');
  assert.equal(new URL(tab.page.url()).pathname, '/');
  // The one complaint is that of the wrong token.
  assert.deepEqual(tab.complaints().map(({ text }) => /401/.test(text)), [true]);
  assert.deepEqual(tab.errors, []);
  assert.deepEqual(await tab.page.evaluate('document.cookie'), '', 'no script sees it');

  const other = await newToken(file, 'other', 'view');
  await tokenCommand('revoke', 'phone', '--tokens', file);
  board.signal('SIGHUP');
  await board.line(board.stderr, /read anew/);
  // Who is in stays; the next connection is refused in a way that a page can see.
  const code = await tab.page.evaluate(
    (url) => new Promise((resolve) => (new WebSocket(url).onclose = (event) => resolve(event.code))),
    board.stream,
  );
  assert.equal(code, 4401);

  // Who comes back is told what to do.
  await board.again(t);
  const link = tab.page.locator('#refused');
  await link.waitFor();
  assert.match(await link.textContent(), /wants a token/);
  assert.equal(await tab.page.textContent('#pill'), 'Not let in');
  await link.click();
  await enter(tab.page, other);
  await tab.live('uptime');
});

test('a token in the address of the page opens it, and does not stay there', async (t) => {
  const file = join(await folder(t), 'tokens');
  const secret = await newToken(file, 'panel', 'view');
  const board = await Board.start(t, '--tokens', file, '--view-needs-token', '--token-in-url', '--trusted-proxy', '127.0.0.1');
  const tab = await Tab.open(t, browser);
  const past = tab.page.waitForResponse(/\/api\/history/);
  await tab.page.goto(`${board.origin}/?token=${secret}#here`);
  await tab.live('uptime');
  assert.equal((await past).status(), 200);
  assert.equal(tab.page.url(), `${board.origin}/#here`);
  assert.deepEqual(tab.requests.filter((address) => address.includes(secret)), [`${board.origin}/?token=${secret}`]);
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
});

test('nginx in front of it: live at its own address and below a path, whoever asks is known', async (t) => {
  const file = join(await folder(t), 'tokens');
  const secret = await newToken(file, 'shed', 'publish');
  const board = await Board.start(t, '--interval', '100ms', '--socket', 'none', '--tokens', file, '--trusted-proxy', '127.0.0.1', '--base-path', '/kept');
  const address = await proxied(t, board);
  for (const path of ['/', '/cut/', '/kept/']) {
    const tab = await Tab.open(t, browser);
    await tab.page.goto(`http://${address}${path}`);
    await tab.live('uptime');
    assert.ok(tab.requests.some((url) => url.split('?')[0] === `ws://${address}${path}ws`), path);
    assert.deepEqual(tab.complaints(), []);
    assert.deepEqual(tab.errors, []);
  }
  const ask = (path, options) => fetch(`http://${address}${path}`, { redirect: 'manual', ...options });
  // nginx makes it whole.
  assert.equal(new URL((await ask('/kept')).headers.get('location'), 'http://x').pathname, '/kept/');

  // What a client says of itself stands before what the proxy heard, and does not count.
  // (It asks from an address that is no proxy's.)
  const client = ['--silent', '--interface', '127.0.0.2', '--header', 'X-Forwarded-For: 203.0.113.7', '--output', '/dev/null'];
  const { stdout } = await promisify(execFile)('curl', [...client, '--write-out', '%{http_code}', `http://${address}/api/latest`]);
  assert.equal(stdout, '200');
  // The proxy speaks for somebody: without a token nothing is pushed in, although the proxy is on the board.
  const push = (headers = {}) => ask('/kept/api/publish', { method: 'POST', body: 'room/temp=21.5', headers });
  assert.equal((await push()).status, 403);
  assert.equal((await push({ Authorization: `Bearer ${secret}` })).status, 200);
  const hello = async (options) => {
    const { messages } = await joinWithNode(t, `ws://${address}/ws`, options);
    return messages.find(({ type }) => type === 'hello', 'hello');
  };
  assert.equal((await hello()).may_publish, false);
  const entry = `boardcast.auth.${Buffer.from(secret).toString('base64url')}`;
  assert.equal((await hello({ protocols: ['boardcast.v1.json', entry] })).may_publish, true);

  // A stranger, as nginx tells, and as this test does, which is a proxy as well.
  const far = await ask('/far/api/latest');
  assert.equal(far.status, 403);
  assert.match(await far.text(), /203\.0\.113\.7 is not in a network/);
  const stranger = { headers: { 'X-Forwarded-For': '203.0.113.7' } };
  const direct = await fetch(`${board.origin}/api/latest`, stranger);
  assert.equal(direct.status, 403);
  assert.match(await direct.text(), /203\.0\.113\.7 is not in a network/);
});

test('behind nginx a cookie holds for the path that the form was at, in a frame of the same host, too', async (t) => {
  const file = join(await folder(t), 'tokens');
  const secret = await newToken(file, 'phone', 'view');
  const proxy = ['--trusted-proxy', '127.0.0.1', '--base-path', '/kept'];
  const board = await Board.start(t, '--interval', '100ms', '--tokens', file, '--view-needs-token', ...proxy);
  const address = await proxied(t, board);
  for (const path of ['/cut/', '/kept/']) {
    const tab = await Tab.open(t, browser);
    await tab.page.goto(`http://${address}${path}`);
    assert.equal(new URL(tab.page.url()).pathname, `${path}login`);
    await enter(tab.page, secret);
    await tab.live('uptime');
    assert.equal(tab.page.url(), `http://${address}${path}`);
    const cookies = await tab.page.context().cookies(`http://${address}${path}`);
    const kept = { name: 'boardcast_token', value: secret, path: path.slice(0, -1), httpOnly: true, secure: false, sameSite: 'Strict' };
    assert.deepEqual(cookies.map(({ domain, expires, ...rest }) => rest), [kept]);
    assert.deepEqual(tab.complaints(), []);
  }
  const tab = await Tab.open(t, browser);
  await tab.page.goto(`http://${address}/panel`);
  const frame = tab.page.frameLocator('iframe');
  await enter(frame, secret);
  await frame.locator('body[data-state="live"]').waitFor();
  assert.deepEqual(tab.complaints(), []);
  // Where the proxy says that it came over TLS, it goes back over that only.
  const form = { method: 'POST', body: `token=${secret}`, redirect: 'manual' };
  const answer = await fetch(`${board.origin}/login`, { ...form, headers: { 'X-Forwarded-Proto': 'https' } });
  assert.match(answer.headers.get('set-cookie'), /; Secure$/);
});

test('a proxy that calls the board by a strange name: the page says that it is not let in, and asks seldom', async (t) => {
  const board = await Board.start(t, '--interval', '100ms', '--trusted-proxy', '127.0.0.1');
  const address = await proxied(t, board);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(`http://${address}/misnamed/`);
  const told = tab.page.locator('#refused');
  await told.waitFor();
  assert.match(await told.textContent(), /does not let this page in/);
  assert.equal(await told.getAttribute('href'), null);
  assert.equal(await tab.page.textContent('#announcement'), await told.textContent());
  const wait = await tab.page.evaluate(() => window.board.retryAt - Date.now());
  assert.ok(wait > 30_000, `${wait} ms`);
  assert.deepEqual(tab.closeCodes.all, [4403]);
});

test('the per-address bound counts whom the proxy speaks for', async (t) => {
  const board = await Board.start(t, '--socket', 'none', '--trusted-proxy', '127.0.0.1', '--max-per-address', '2');
  const join = (client) => {
    const headers = { 'X-Forwarded-For': client };
    return fetch(`${board.origin}/healthz`, { headers });
  };
  const { default: WebSocket } = await import('ws');
  const open = async (client) => {
    const socket = new WebSocket(board.stream, { headers: { 'X-Forwarded-For': client } });
    t.after(() => socket.terminate());
    socket.on('error', () => {}); // terminate() before it opened is one.
    const outcome = new Promise((resolve) => {
      socket.on('open', () => resolve(101));
      socket.on('unexpected-response', (_, { statusCode }) => resolve(statusCode));
    });
    return within(outcome, 'handshake');
  };
  assert.deepEqual([await open('10.0.0.7'), await open('10.0.0.7'), await open('10.0.0.7')], [101, 101, 429]);
  assert.equal(await open('10.0.0.8'), 101);
  assert.equal((await join('10.0.0.9')).status, 200);
});

test('a page of another host gets 4403, a program a sentence', async (t) => {
  const board = await Board.start(t, '--socket', 'none');
  const { closed } = await joinWithNode(t, board.stream, { origin: 'http://evil.example' });
  assert.equal((await within(closed, 'end')).code, 4403);
  const named = board.stream.replace('127.0.0.1', 'localhost');
  assert.ok((await joinWithNode(t, named)).messages);
  const { default: WebSocket } = await import('ws');
  const socket = new WebSocket(board.stream, { headers: { Host: 'evil.example' } });
  t.after(() => socket.terminate());
  socket.on('error', () => {});
  const [, response] = await within(once(socket, 'unexpected-response'), 'refusal');
  assert.equal(response.statusCode, 403);
});
