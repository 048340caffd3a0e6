// Prometheus's own eyes on /metrics: promtool, and a server that scrapes it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from './deadline.mjs';
import { Board, folder, here, Program } from './program.mjs';
import { until, within } from './waiting.mjs';

const find = (name) => [join(here, `../.prometheus/usr/bin/${name}`)].find(existsSync) ?? name;

/** What promtool says to a page, on whichever output; it is silent when all is well. */
async function lint(page) {
  const tool = spawn(find('promtool'), ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [tool.stdout, tool.stderr]) stream.on('data', (bytes) => (said += bytes));
  tool.stdin.end(page);
  const code = await within(new Promise((done) => tool.on('close', done)), 'end of promtool');
  assert.equal(said, '');
  assert.equal(code, 0);
}

async function push(board, lines) {
  const type = { 'Content-Type': 'application/json' };
  const answer = await fetch(`${board.origin}/api/publish`, { method: 'POST', body: lines, headers: type });
  assert.equal(answer.status, 200, await answer.text());
}

const pageOf = async (board) => (await fetch(`${board.origin}/metrics`)).text();

/** A port that was free a moment ago. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.on('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

/** A Prometheus with the configuration of docs/prometheus.md, but for its target and its pace. */
async function scrape(t, board) {
  const [, yaml] = /```yaml\n([^]*?)```/.exec(await readFile(join(here, '../../docs/prometheus.md'), 'utf8'));
  const config = yaml.replace(/targets: .*/, `targets: ["${board.address}"]`).replace('10s', '200ms');
  const home = await folder(t);
  await writeFile(join(home, 'prometheus.yml'), config);
  for (let tries = 1; ; tries++) {
    const address = `127.0.0.1:${await freePort()}`;
    const own = [`--config.file=${home}/prometheus.yml`, `--storage.tsdb.path=${home}/data`, `--web.listen-address=${address}`];
    const program = new Program(t, [find('prometheus'), ...own]);
    const found = program.line(program.stderr, /Server is ready|address already in use|Error loading/);
    const { input } = await found;
    if (input.includes('is ready')) return `http://${address}/api/v1`;
    assert.ok(tries < 5 && !input.includes('Error loading'), input);
    await program.stop();
  }
}

test('promtool has nothing to say to the page of a board', async (t) => {
  const board = await Board.start(t, '--demo');
  await lint(await pageOf(board));
});

test('nor to one whose channels have names made to confuse it', async (t) => {
  const board = await Board.start(t);
  const words = ['ms', 'total', 'count', 'gauge', 'kilometers', 'minutes', 'Info', 'x_bucket', 'a.b', 'a-b', '_', '-', 'sum', 's'];
  const units = ['ms', '%', 'B', 'Cel', 'furlong', 'fn/"', 'kg', 'km/h', undefined];
  const names = words.flatMap((word, at) => [word, `net/${word}/rx_bytes`, `net/eth0/${word}`, `${word}/${words.at(at - 3)}`, `clients/${word}`]);
  names.push('clients', 'connections', 'channel/up', 'reading', 'reading_ratio', 'a/b', 'a_b', 'panics_total', 'build');
  const pack = names.map((n, at) => ({ n, v: at, u: units[at % units.length] }));
  await push(board, JSON.stringify(pack));
  const page = await pageOf(board);
  for (const word of ['boardcast_reading', 'unit="furlong"']) assert.ok(page.includes(word), page);
  await lint(page);
});

test('a Prometheus scrapes it three times, and knows what /api/latest says', async (t) => {
  const board = await Board.start(t);
  const pushed = [
    { n: 'room/temperature', u: 'Cel', v: 21.5 },
    { n: 'room/humidity', u: '%RH', v: 48.3 },
    { n: 'line/voltage', u: 'mV', v: 3312 },
    { n: 'a/ms', u: 'ms', v: 7 },
  ];
  await push(board, JSON.stringify(pushed));
  const api = await scrape(t, board);
  const ask = async (query) => {
    const answer = await (await fetch(`${api}/query?${new URLSearchParams({ query })}`)).json();
    assert.equal(answer.status, 'success', `${query}: ${answer.error}`);
    return answer.data.result;
  };
  const before = await (await fetch(`${board.origin}/api/latest`)).json();
  const scrapes = () => ask('count_over_time(boardcast_uptime_seconds[1m])');
  await until(async () => Number((await scrapes())[0]?.value[1]) >= 3, 'third scrape');
  const after = await (await fetch(`${board.origin}/api/latest`)).json();
  const value = async (query) => {
    const found = await ask(query);
    assert.equal(found.length, 1, query);
    return Number(found[0].value[1]);
  };
  assert.equal(await value('up'), 1);
  assert.equal(await value('boardcast_room_temperature_celsius'), after.values['room/temperature']);
  assert.equal(await value('boardcast_room_humidity_ratio'), after.values['room/humidity'] / 100);
  assert.equal(await value('boardcast_line_voltage_volts'), after.values['line/voltage'] / 1000);
  assert.equal(await value('boardcast_reading_seconds{channel="a/ms"}'), 0.007);
  assert.equal(await value('boardcast_mem_total_bytes'), after.values['mem/total']);
  const since = await value('boardcast_uptime_seconds');
  assert.ok(since >= before.values.uptime - 2 && since <= after.values.uptime, `${since}`);
  const up = await ask('boardcast_channel_up');
  const channels = (await (await fetch(`${board.origin}/api/channels`)).json()).channels.map(({ name }) => name);
  assert.deepEqual(up.map(({ metric }) => metric.channel).sort(), channels.sort());
  // It has read the OpenMetrics of it: text has no units.
  const metadata = await (await fetch(`${api}/metadata?metric=boardcast_room_temperature_celsius`)).json();
  assert.equal(metadata.data.boardcast_room_temperature_celsius[0].unit, 'celsius');
  // What the dashboard asks, it understands.
  const dashboard = JSON.parse(await readFile(join(here, '../../docs/grafana-dashboard.json'), 'utf8'));
  for (const { expr } of dashboard.panels.flatMap(({ targets }) => targets)) {
    await ask(expr.replaceAll('$board', board.address).replaceAll('$__rate_interval', '1m'));
  }
  const cpu = await ask(dashboard.panels[2].targets[0].expr.replaceAll('$board', board.address));
  assert.equal(cpu.length, 1);
});
