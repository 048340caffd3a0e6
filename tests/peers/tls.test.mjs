// `https://` and `wss://`, as programs and a browser see them that have TLS of their own. A program that was built
// without TLS has nothing to show here.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { test } from './deadline.mjs';
import { promisify } from 'node:util';
import { launch, Tab } from './browser.mjs';
import { PEERS } from './peers.mjs';
import { Board, boardcast, runner } from './program.mjs';
import { DEADLINE_MS, within } from './waiting.mjs';

const run = promisify(execFile);
const program = (...args) => run([...runner, boardcast][0], [...runner, boardcast, ...args].slice(1));
const curl = (...args) =>
  run('curl', ['-q', '--silent', '--show-error', '--noproxy', '*', '--max-time', String(DEADLINE_MS / 1000), ...args]);

let folder;
/** What cannot be done is not there: the reason, or false. */
let without = false;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'boardcast-tls-'));
  const { stderr } = await program('cert', '--out', join(folder, 'own')).catch((error) => error);
  if (stderr.includes('no TLS')) without = 'this program was built without TLS';
  await authority();
});
after(() => rm(folder, { recursive: true }));

/** An authority, and certificates that it has signed, made by openssl. */
async function authority() {
  const at = (name) => join(folder, name);
  const openssl = (...args) => run('openssl', args);
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const ca = ['-x509', '-days', '2', '-subj', '/CN=a test authority', '-addext', 'keyUsage=critical,keyCertSign'];
  await openssl('req', ...ca, ...key, '-keyout', at('ca.key'), '-out', at('ca.pem'));
  const sign = async (name, who, ...days) => {
    await writeFile(at(`${name}.ext`), `subjectAltName=${who}\nextendedKeyUsage=serverAuth\n`);
    await openssl('req', '-new', ...key, '-subj', `/CN=${name}`, '-keyout', at(`${name}.key`), '-out', at(`${name}.csr`));
    const by = ['-CA', at('ca.pem'), '-CAkey', at('ca.key'), '-CAcreateserial', '-extfile', at(`${name}.ext`)];
    await openssl('x509', '-req', '-in', at(`${name}.csr`), ...by, ...days, '-out', at(`${name}.pem`));
  };
  await sign('good', 'IP:127.0.0.1,DNS:localhost', '-days', '1');
  // openssl refuses a negative number of days in newer versions, and none is enough: it ends as it begins.
  await sign('ended', 'IP:127.0.0.1', '-days', '0');
  await sign('other', 'DNS:elsewhere.example', '-days', '1');
}

const start = (t, name, ...args) =>
  Board.start(t, '--tls-cert', join(folder, `${name}.pem`), '--tls-key', join(folder, `${name}.key`), ...args);

describe('over TLS', () => {
  const skipped = (t) => without && t.skip(without);

  for (const [name, connect] of PEERS) {
    test(`${name} that trusts the authority gets the stream and closes cleanly`, async (t) => {
      if (without) return skipped(t);
      const board = await start(t, 'good', '--interval', '100ms');
      assert.match(board.stream, /^wss:/);
      const { messages, closed } = await connect(t, board.stream, { ca: join(folder, 'ca.pem'), messages: 5 });
      assert.equal((await messages.next('hello')).type, 'hello');
      assert.ok([1000, 1005].includes((await within(closed, 'close')).code));
    });

    test(`${name} takes the certificate that the board has made, when it is given it`, async (t) => {
      if (without) return skipped(t);
      const own = (file) => join(folder, 'own', file);
      const board = await Board.start(t, '--tls-cert', own('cert.pem'), '--tls-key', own('key.pem'));
      const { messages } = await connect(t, board.stream, { ca: own('cert.pem') });
      assert.equal((await messages.next('hello')).type, 'hello');
    });
  }

  test('curl gets the page, several files over one connection, and a large answer', async (t) => {
    if (without) return skipped(t);
    const board = await start(t, 'good');
    const trust = ['--cacert', join(folder, 'ca.pem')];
    const two = [`${board.origin}/`, '--output', '/dev/null', `${board.origin}/metrics`, '--output', '/dev/null'];
    const { stdout } = await curl(...trust, '--write-out', '%{http_code} %{num_connects} %{ssl_verify_result}\n', ...two);
    assert.equal(stdout, '200 1 0\n200 0 0\n');
    const plain = board.origin.replace('https:', 'http:');
    const moved = await curl(...trust, '--location', '--write-out', ' %{num_redirects}', `${plain}/healthz`);
    assert.match(moved.stdout, /"status":"ok".* 1$/s);
  });

  test('curl refuses a certificate of nobody, one that has ended, one of another name; and is refused with TLS 1.1', async (t) => {
    if (without) return skipped(t);
    const why = async (name, ...args) => {
      const board = await start(t, name);
      return curl(...args, `${board.origin}/healthz`).then(assert.fail, (error) => error.stderr);
    };
    const trust = ['--cacert', join(folder, 'ca.pem')];
    assert.match(await why('good'), /unable to get local issuer certificate/);
    assert.match(await why('ended', ...trust), /certificate has expired/);
    assert.match(await why('other', ...trust), /no alternative certificate subject name matches/);
    const old = ['--tls-max', '1.1', '--ciphers', 'ALL:@SECLEVEL=0'];
    assert.match(await why('good', ...trust, ...old), /alert/);
  });

  test('Chromium that trusts the authority shows the page, live, and complains about nothing', async (t) => {
    if (without) return skipped(t);
    const home = join(folder, 'home');
    const database = `sql:${join(home, '.pki/nssdb')}`;
    await mkdir(join(home, '.pki/nssdb'), { recursive: true });
    await run('certutil', ['-N', '--empty-password', '-d', database]);
    await run('certutil', ['-A', '-n', 'a test authority', '-t', 'C,,', '-i', join(folder, 'ca.pem'), '-d', database]);
    const browser = await launch({ home });
    t.after(() => browser.close());
    const at = (name) => join(folder, name);
    for (const end of ['pem', 'key']) await copyFile(at(`good.${end}`), at(`renewed.${end}`));
    const board = await start(t, 'renewed', '--interval', '100ms');
    const tab = await Tab.open(t, browser);
    await tab.page.goto(`${board.origin}/`);
    await tab.live('cpu/usage');
    await tab.changes('uptime');
    assert.ok(tab.requests.some((address) => address.startsWith('wss:')));
    assert.deepEqual(tab.complaints(), []);

    // Renewed while the page looks on: the old connection goes on, a new one sees the new certificate.
    for (const end of ['pem', 'key']) await copyFile(at(`ended.${end}`), at(`renewed.${end}`));
    board.signal('SIGHUP');
    await board.line(board.stderr, /a new certificate/);
    await tab.changes('uptime');
    assert.equal(tab.closeCodes.all.length, 0);
    const error = await (await Tab.open(t, browser)).page.goto(`${board.origin}/`).then(assert.fail, (error) => error);
    assert.match(error.message, /ERR_CERT_DATE_INVALID/);
  });
});
