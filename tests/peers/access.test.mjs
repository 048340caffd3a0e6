// Who may come in, seen from a browser: the form for a token, a reverse proxy (nginx), what sensors say as markup.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { once } from 'node:events';
import { promisify } from 'node:util';
import { launch, Tab } from './browser.mjs';
import { joinWithNode } from './peers.mjs';
import { Board, boardcast, here, Program, runner } from './program.mjs';
import { within } from './waiting.mjs';

const nginx = [join(here, '../.nginx/usr/sbin/nginx')].find(existsSync) ?? 'nginx';

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'boardcast-access-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

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

/** nginx in front of a board: at `/`, and below `/cut/`, without that, and `/kept/`, with it. */
async function proxied(t, board) {
  const home = await folder(t);
  const port = await freePort();
  const to = (path) => `
      proxy_pass http://${board.address}${path};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;`;
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${home}/${kind};`);
  await writeFile(
    join(home, 'nginx.conf'),
    `daemon off; worker_processes 1; pid ${home}/pid; error_log stderr notice;
    events { worker_connections 64; }
    http {
      access_log off; ${temporary.join(' ')}
      map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
      server {
        listen 127.0.0.1:${port};
        location / { ${to('')} }
        location /cut/ { ${to('/')} }
        location /kept/ { ${to('')} }
      }
    }`,
  );
  const proxy = new Program(t, [nginx, '-p', home, '-c', join(home, 'nginx.conf'), '-e', 'stderr']);
  await proxy.line(proxy.stderr, /start worker process \d+/);
  return `127.0.0.1:${port}`;
}

test('a board that wants a token leads a browser to its form, and is live behind it; a token that is taken back ends that', async (t) => {
  const file = join(await folder(t), 'tokens');
  const secret = await newToken(file, 'phone', 'view');
  // Programs on the board need none, and the browser is on the board: somebody speaks for it.
  const board = await Board.start(t, '--interval', '100ms', '--tokens', file, '--view-needs-token', '--trusted-proxy', '127.0.0.1');
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  assert.equal(new URL(tab.page.url()).pathname, '/login');
  await tab.page.fill('input[name=token]', 'bc_wrong');
  await tab.page.click('button');
  await tab.page.waitForSelector('p[role=alert]:has-text("not known")');
  await tab.page.fill('input[name=token]', secret);
  await tab.page.click('button');
  await tab.live('uptime');
  assert.equal(new URL(tab.page.url()).pathname, '/');
  // The one complaint is that of the wrong token.
  assert.deepEqual(tab.complaints().map(({ text }) => /401/.test(text)), [true]);
  assert.deepEqual(tab.errors, []);
  assert.deepEqual(await tab.page.evaluate('document.cookie'), '', 'no script sees it');

  await newToken(file, 'other', 'view');
  await tokenCommand('revoke', 'phone', '--tokens', file);
  board.signal('SIGHUP');
  await board.line(board.stderr, /read anew/);
  // Who is in stays; the next connection is refused in a way that a page can see.
  const code = await tab.page.evaluate(
    (url) => new Promise((resolve) => (new WebSocket(url).onclose = (event) => resolve(event.code))),
    board.stream,
  );
  assert.equal(code, 4401);
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
    assert.ok(tab.requests.includes(`ws://${address}${path}ws`), path);
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

  // A stranger, through another proxy that is not trusted: this test.
  const stranger = { headers: { 'X-Forwarded-For': '203.0.113.7' } };
  const direct = await fetch(`${board.origin}/api/latest`, stranger);
  assert.equal(direct.status, 403);
  assert.match(await direct.text(), /203\.0\.113\.7 is not in a network/);
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

// What sensors, settings and whoever may publish can say, and a page could take for markup.
const EVIL = [
  '<img src=x onerror="window.struck=1">',
  '"><script>window.struck=1</script>',
  "');window.struck=1;//",
  'javascript:window.struck=1',
  '\u202egnp.exe',
  '<svg/onload=window.struck=1>'.repeat(30).slice(0, 1000),
  '{{constructor.constructor("window.struck=1")()}}',
];

test('names, labels and strings can never become markup', async (t) => {
  const settings = join(await folder(t), 'settings.toml');
  const text = (value) => JSON.stringify(value);
  await writeFile(
    settings,
    EVIL.slice(0, 4).map((label, i) => `[[channel]]\nname = "evil/${i}"\nlabel = ${text(label.slice(0, 60))}\n`).join('\n'),
  );
  const board = await Board.start(t, '--interval', '100ms', '--socket', 'none', '--name', EVIL[0].slice(0, 60), '--config', settings);
  const values = Object.fromEntries(EVIL.map((value, i) => [`evil/${i}`, value]));
  const answer = await fetch(`${board.origin}/api/publish`, { method: 'POST', body: text(values), headers: { 'Content-Type': 'application/json' } });
  assert.equal(answer.status, 200, await answer.text());
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('uptime', ...Object.keys(values));
  for (const [channel, value] of Object.entries(values)) {
    assert.equal(await tab.page.evaluate((name) => document.querySelector(`[data-channel="${name}"] [data-value]`).dataset.raw, channel), value);
  }
  const inside = await tab.page.evaluate(() => ({
    struck: Boolean(window.struck),
    scripts: [...document.scripts].map(({ src }) => src),
    images: [...document.images].map(({ src }) => src),
    strangers: [...document.querySelectorAll('iframe,object,embed,base,link:not([rel=icon],[rel=stylesheet]),[onerror],[onload]')].length,
  }));
  assert.deepEqual(inside, { struck: false, scripts: [`${board.origin}/app.js`], images: [`${board.origin}/favicon.svg`], strangers: 0 });
  assert.deepEqual(tab.complaints(), []);
  assert.deepEqual(tab.errors, []);
  assert.deepEqual(tab.strangers(board.address), []);
});

test('the page runs nothing but what was bundled, and is in no frame but its own', async (t) => {
  const board = await Board.start(t, '--socket', 'none', '--frame-ancestor', 'https://panel.example');
  const policy = (await fetch(board.origin)).headers.get('content-security-policy');
  assert.match(policy, /^default-src 'none'; script-src 'self';/);
  assert.match(policy, /frame-ancestors 'self' https:\/\/panel\.example$/);
  assert.doesNotMatch(policy, /unsafe|\*/);
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('uptime');
  await tab.page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.struck = 1';
    document.body.append(script);
    document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="window.struck = 1">');
  });
  await tab.console.find(({ text }) => /Content Security Policy/.test(text), 'complaint of the browser');
  assert.equal(await tab.page.evaluate('window.struck'), undefined);
});
