// The HTTP side, seen by curl.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, before, describe } from 'node:test';
import { test } from './deadline.mjs';
import { promisify } from 'node:util';
import { Board } from './program.mjs';
import { DEADLINE_MS } from './waiting.mjs';

/** One request: `{status, headers, body}`; curl itself checks framing and compression. */
async function curl(...args) {
  const own = ['-q', '--silent', '--show-error', '--include', '--noproxy', '*', '--max-time', String(DEADLINE_MS / 1000)];
  const { stdout } = await promisify(execFile)('curl', [...own, ...args], { encoding: 'buffer', maxBuffer: 1 << 24 });
  const end = stdout.indexOf('\r\n\r\n');
  const [first, ...lines] = stdout.subarray(0, end).toString().split('\r\n');
  const headers = {};
  for (const line of lines) {
    const [, name, value] = /^([^:]+): *(.*)$/.exec(line);
    // RFC 9110 section 5.2: lines of one name are one list.
    headers[name.toLowerCase()] = [headers[name.toLowerCase()] ?? [], value].flat().join(', ');
  }
  return { status: Number(first.split(' ')[1]), headers, body: stdout.subarray(end + 4) };
}

const isSentence = (body) => /^\S+( \S+){4,}\n$/.test(body.toString());

describe('curl', () => {
  const ends = [];
  let board;
  before(async () => {
    board = await Board.start({ after: (end) => ends.push(end) });
  });
  after(() => Promise.all(ends.map((end) => end())));

  test('gets the same page with and without compression, and every file that it names', async () => {
    const plain = await curl(`${board.origin}/`);
    assert.equal(plain.status, 200);
    assert.equal(plain.headers['content-type'], 'text/html; charset=utf-8');
    assert.equal(plain.headers['content-encoding'], undefined);
    const names = [...plain.body.toString().matchAll(/(?:src|href)="([\w.-]+\.(?:js|css|svg))"/g)].map(([, name]) => name);
    assert.ok(names.includes('app.js') && names.includes('app.css'), `it names ${names}`);
    for (const name of ['', 'boardcast.js', ...new Set(names)]) {
      const address = `${board.origin}/${name}`;
      const [plain, gzip] = await Promise.all([curl(address), curl('--compressed', address)]);
      assert.equal(plain.status, 200, name);
      assert.equal(gzip.headers['content-encoding'], 'gzip', name);
      assert.match(gzip.headers.vary, /\bAccept-Encoding\b/, name);
      assert.ok(Number(gzip.headers['content-length']) < plain.body.length, `${name} is smaller on the way`);
      assert.deepEqual(gzip.body, plain.body, name);
    }
  });

  test('looks back: JSON in columns, the same as CSV, compressed on the way', async () => {
    const address = `${board.origin}/api/history?channels=cpu/%23,uptime&last=1m`;
    const [json, csv] = await Promise.all([curl(address), curl('--compressed', '--header', 'Accept: text/csv', address)]);
    assert.equal(json.status, 200);
    assert.equal(json.headers['content-type'], 'application/json');
    assert.equal(csv.headers['content-type'], 'text/csv; charset=utf-8');
    assert.equal(csv.headers['content-encoding'], 'gzip');
    assert.match(csv.headers.vary, /\bAccept\b.*\bAccept-Encoding\b/);
    const { step, t, channels } = JSON.parse(json.body);
    assert.equal(step, 1);
    assert.ok(t.length >= 1 && 'cpu/usage' in channels && 'uptime' in channels);
    for (const [name, { min, mean, max }] of Object.entries(channels)) {
      assert.deepEqual([min.length, mean.length, max.length], [t.length, t.length, t.length], name);
      for (const i of t.keys()) assert.ok(min[i] === null || (min[i] <= mean[i] && mean[i] <= max[i]), name);
    }
    const [names, ...rows] = csv.body.toString().trimEnd().split('\r\n').map((line) => line.split(','));
    assert.deepEqual(names.slice(0, 1), ['time']);
    assert.deepEqual(new Set(names.slice(1)), new Set(Object.keys(channels).flatMap((name) => ['min', 'mean', 'max'].map((part) => `${name}.${part}`))));
    assert.ok(rows.length >= t.length && rows.every((row) => row.length === names.length));
    const unclear = await curl(`${board.origin}/api/history?channels=uptime&last=15`);
    assert.equal(unclear.status, 400);
    assert.ok(isSentence(unclear.body), unclear.body.toString());
  });

  test('that has the page already is told so by its entity tag', async () => {
    const { headers } = await curl(`${board.origin}/`);
    const again = await curl('--header', `If-None-Match: ${headers.etag}`, `${board.origin}/`);
    assert.equal(again.status, 304);
    assert.equal(again.headers.etag, headers.etag);
    assert.equal(again.body.length, 0);
    const other = await curl('--header', 'If-None-Match: "another"', `${board.origin}/`);
    assert.equal(other.status, 200);
  });

  test('gets the same head for HEAD as for GET, and no body', async () => {
    for (const path of ['/', '/app.js', '/nothing']) {
      const get = await curl(board.origin + path);
      const head = await curl('--head', board.origin + path);
      assert.equal(head.status, get.status, path);
      assert.deepEqual(head.headers, get.headers, path);
      assert.equal(head.body.length, 0, path);
    }
  });

  test('is told in a sentence that there is nothing, that nothing can be changed, or that this is the stream', async () => {
    const nothing = await curl(`${board.origin}/nothing`);
    assert.equal(nothing.status, 404);
    assert.ok(isSentence(nothing.body), nothing.body.toString());
    for (const [method, path] of [['POST', '/'], ['DELETE', '/api/latest'], ['PUT', '/metrics']]) {
      const { status, headers, body } = await curl('--request', method, '--data', 'x', board.origin + path);
      assert.equal(status, 405, `${method} ${path}`);
      assert.equal(headers.allow, 'GET, HEAD');
      assert.ok(isSentence(body), body.toString());
    }
    const stream = await curl(`${board.origin}/ws`);
    assert.equal(stream.status, 426);
    assert.equal(stream.headers.upgrade, 'websocket');
    assert.ok(isSentence(stream.body), stream.body.toString());
  });

  test('reads channels, latest values, metrics and health', async () => {
    const get = async (path) => (await curl(board.origin + path)).body.toString();
    const { channels } = JSON.parse(await get('/api/channels'));
    assert.equal(channels.find(({ name }) => name === 'mem/used').unit, 'B');
    const latest = JSON.parse(await get('/api/latest'));
    assert.equal(latest.type, 'data');
    assert.equal(typeof latest.values['mem/used'], 'number');
    assert.match(await get('/metrics'), /^boardcast_connections \d+$/m);
    assert.equal(JSON.parse(await get('/healthz')).status, 'ok');
  });

  test('can ask several times over one connection', async () => {
    const own = ['-q', '--silent', '--noproxy', '*', '--write-out', '%{http_code} %{num_connects}\n', '--output', '/dev/null'];
    const urls = ['/', '/app.js', '/nothing', '/api/latest'].flatMap((path) => [board.origin + path]);
    const outputs = urls.slice(1).flatMap(() => ['--output', '/dev/null']);
    const { stdout } = await promisify(execFile)('curl', [...own, ...outputs, ...urls]);
    assert.equal(stdout, '200 1\n200 0\n404 0\n200 0\n');
  });
});
