// Readings on their way from tools that nobody here has written to the page, over each input.
//
// How long the last step took, from the end of the tool to the picture, is told with each test; nothing asserts it.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { after, before, describe } from 'node:test';
import { test } from './deadline.mjs';
import { promisify } from 'node:util';
import { launch, Tab } from './browser.mjs';
import { Board, here, Program } from './program.mjs';
import { DEADLINE_MS, within } from './waiting.mjs';

const python = join(here, '../.venv/bin/python');
const telegraf = join(here, '../data/lines/telegraf.txt');

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Runs a tool to its end, with this as its input: what it printed. */
async function run(command, input = '') {
  const [file, ...args] = command;
  const done = promisify(execFile)(file, args, { timeout: DEADLINE_MS });
  // A tool that reads none of its input may be gone before it is written; its status says how it went.
  done.child.stdin.on('error', (error) => assert.equal(error.code, 'EPIPE'));
  done.child.stdin.end(input);
  return (await done).stdout;
}

/** Waits until the page shows these values, by channel, and tells how long that took. */
async function shows(t, tab, values) {
  const start = performance.now();
  for (const [channel, value] of Object.entries(values)) await tab.reaches(channel, (raw) => raw === String(value));
  t.diagnostic(`on the page after ${(performance.now() - start).toFixed()} ms`);
}

/** Where the board takes datagrams: host and port. */
function udpOf(board) {
  const [place] = board.stdout.all.flatMap((line) => / udp (\S+)$/.exec(line)?.[1] ?? []);
  return place.split(':');
}

async function pageOf(t, board) {
  const tab = await Tab.open(t, browser);
  await tab.page.goto(board.origin);
  await tab.live('uptime');
  return tab;
}

test("a shell loop's readings are on the page as it prints them: while sleep 1; do echo … | boardcast serve --stdin", async (t) => {
  const loop = 'while sleep 1; do echo "room/temp=$((RANDOM%30))"; done';
  // What it prints is seen here at the same time.
  const board = await Board.piped(t, `${loop} | tee >(cat >&2)`, '--socket', 'none');
  const tab = await pageOf(t, board);
  const { all: printed } = board.stderr;
  for (let round = 0; round < 3; round += 1) {
    const before = printed.length;
    const next = async () => {
      while (printed.length === before) await board.stderr.next('line');
    };
    await within(next(), 'line of the loop');
    const start = performance.now();
    await tab.reaches('room/temp', (raw) => printed.slice(before).includes(`room/temp=${raw}`));
    t.diagnostic(`${printed[before]} is on the page after ${(performance.now() - start).toFixed()} ms`);
  }
});

describe('on the page is what comes from', () => {
  const ends = [];
  const hooks = { after: (end) => ends.unshift(end) };
  let socket;
  let udp;
  let board;
  let tab;
  before(async () => {
    const folder = await mkdtemp(join(tmpdir(), 'bc-'));
    ends.push(() => rm(folder, { recursive: true }));
    socket = join(folder, 's');
    board = await Board.start(hooks, '--socket', socket, '--udp', '0');
    udp = udpOf(board);
    tab = await pageOf(hooks, board);
  });
  after(async () => {
    for (const end of ends) await end();
  });

  test('nc, on the Unix socket: a stream and a datagram', async (t) => {
    assert.equal(await run(['nc', '-N', '-U', socket], 'nc/stream 1.5\n'), '');
    await run(['nc', '-u', '-U', '-w', '1', `${socket}.dgram`], 'nc/datagram=2.5\n');
    await shows(t, tab, { 'nc/stream': 1.5, 'nc/datagram': 2.5 });
  });

  test('socat, on the Unix socket and over UDP; it hears what is refused', async (t) => {
    const heard = await run(['socat', '-t', '10', '-', `UNIX-CONNECT:${socket}`], 'socat/stream=1.5\ndoor=open\n');
    assert.match(heard, /^error: line 2: "open" is neither /);
    await run(['socat', '-u', '-', `UNIX-SENDTO:${socket}.dgram`], 'socat/datagram=2.5\n');
    await run(['socat', '-u', '-', `UDP-SENDTO:${udp.join(':')}`], 'socat.udp:3.5|g\n');
    await shows(t, tab, { 'socat/stream': 1.5, 'socat/datagram': 2.5, 'socat.udp': 3.5 });
  });

  test('bash alone, over UDP', async (t) => {
    await run(['bash', '-c', `echo "bash/temp 21.5" > /dev/udp/${udp.join('/')}`]);
    await shows(t, tab, { 'bash/temp': 21.5 });
  });

  test('curl, to /api/publish', async (t) => {
    const curl = ['curl', '-q', '--silent', '--show-error', '--noproxy', '*', `${board.origin}/api/publish`];
    const answer = await run([...curl, '--data-binary', '@-'], 'curl/temp=21.5\ncurl/door=false\ncurl=\n');
    const { lines, values, bad, line } = JSON.parse(answer);
    assert.deepEqual({ lines, values, bad, line }, { lines: 3, values: 2, bad: 1, line: 3 });
    await run([...curl, '--header', 'Content-Type: application/json', '--data', '{"curl":{"json":3.5}}']);
    await shows(t, tab, { 'curl/temp': 21.5, 'curl/door': false, 'curl/json': 3.5 });
  });

  test('a Python script, with the standard library', async (t) => {
    await run([python, join(here, 'push.py'), 'plain', socket]);
    await shows(t, tab, { 'python/temp': 21.5, 'python/door': true });
  });

  test('a statsd client of PyPI: gauges, and what is added to them', async (t) => {
    await run([python, join(here, 'push.py'), 'statsd', ...udp]);
    await shows(t, tab, { 'statsd.room.temp': 21.5, 'statsd.room.frost': -4, 'statsd.fan': 1200, 'statsd.pump': 0.5 });
  });

  test("InfluxDB's own client: a point in line protocol, over UDP", async (t) => {
    await run([python, join(here, 'push.py'), 'influx', ...udp]);
    const place = 'weather/roof__west/a_1';
    await shows(t, tab, { [`${place}/temp`]: 21.5, [`${place}/gusts`]: 3, [`${place}/dry`]: true, [`${place}/sky`]: 'half "open"' });
  });

  test("Telegraf's lines, as its socket_writer sends them", async (t) => {
    const text = (await readFile(telegraf, 'utf8')).replaceAll('TIME', String(BigInt(Date.now()) * 1_000_000n));
    assert.equal(await run(['socat', '-t', '10', '-', `UNIX-CONNECT:${socket}`], text), '');
    await shows(t, tab, {
      'cpu/cpu0/pi-kitchen/usage_idle': 97.5,
      'cpu/cpu-total/pi-kitchen/usage_user': 2,
      'disk/mmcblk0p2/ext4/pi-kitchen/rw/_/used': 4294967296,
      'disk/mmcblk0p1/vfat/pi-kitchen/rw/_boot_firmware/used_percent': 25,
      'net/pi-kitchen/eth0/bytes_recv': 123456789,
      'system/pi-kitchen/load1': 0.5,
      'system/pi-kitchen/uptime_format': '14 days, 11:07',
      'temp/pi-kitchen/rp1_adc_input/temp': 41.5,
    });
  });
});

test('what logger(1) sends over UDP is refused with a sentence that says why', async (t) => {
  const board = await Board.start(t, '--socket', 'none', '--udp', '0');
  const [host, port] = udpOf(board);
  await run(['logger', '--udp', '--server', host, '--port', port, 'room/temp=21.5']);
  await board.line(board.stderr, /udp: a line is refused: a message of syslog is no reading; send the line alone/);
});

describe('on the page is what comes from a source of the settings:', () => {
  const ends = [];
  const hooks = { after: (end) => ends.unshift(end) };
  let folder;
  let tab;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bc-'));
    ends.push(() => rm(folder, { recursive: true }));
    const say = (line) => `SYSTEM:while sleep 0.2; do echo ${line}; done`;
    const server = new Program(hooks, ['socat', '-d', '-d', 'TCP-LISTEN:0,bind=127.0.0.1', say('tcp/temp 21.5')]);
    const [, address] = await server.line(server.stderr, / listening on \S+ (\S+)$/);
    new Program(hooks, ['socat', `PTY,raw,echo=0,link=${join(folder, 'uart')}`, say('41.5')]);
    const file = join(folder, 'settings.toml');
    await writeFile(file, settings(address, join(folder, 'uart')));
    const board = await Board.start(hooks, '--socket', 'none', '--config', file);
    tab = await pageOf(hooks, board);
  });
  after(async () => {
    for (const end of ends) await end();
  });

  test('a command, in each format', async (t) => {
    const { size } = await stat('/etc/passwd');
    const page = Number(await run(['getconf', 'PAGESIZE']));
    await shows(t, tab, {
      'lines/size': size,
      'value/page': page,
      'pattern/page': page,
      'json/root': '/',
      'columns/lines': (await readFile('/etc/passwd', 'utf8')).split('\n').length - 1,
      'columns/bytes': size,
    });
  });

  test('a file', async (t) => {
    await shows(t, tab, { 'file/most': Number(await readFile('/proc/sys/kernel/pid_max', 'utf8')) });
  });

  test('a server of lines: socat', async (t) => {
    await shows(t, tab, { 'tcp/temp': 21.5 });
  });

  // QEMU's user mode does not know TCGETS2.
  test('a serial port: the terminal of socat', { skip: Boolean(process.env.TEST_RUNNER) }, async (t) => {
    await shows(t, tab, { 'serial/soil': 41.5 });
  });
});

const settings = (address, port) => `
[[source]]
name = "lines"
kind = "command"
command = ["stat", "--format=lines/size=%s", "/etc/passwd"]
every = "1s"

[[source]]
name = "value"
kind = "command"
command = "getconf PAGESIZE"
every = "1s"
channel = "value/page"

[[source]]
name = "pattern"
kind = "command"
command = ["getconf", "-a"]
every = "1s"
pattern = '^PAGESIZE +(?<pattern.page>[0-9]+)'

[[source]]
name = "json"
kind = "command"
command = "findmnt --json --first-only /"
every = "1s"
pointers = { "json/root" = "/filesystems/0/target" }

[[source]]
name = "columns"
kind = "command"
command = "wc -lc /etc/passwd"
every = "1s"
prefix = "columns"
columns = ["lines", "bytes", "-"]
separator = " "

[[source]]
name = "file"
kind = "file"
path = "/proc/sys/kernel/pid_max"
every = "500ms"
channel = "file/most"

[[source]]
name = "tcp"
kind = "tcp"
address = "${address}"

[[source]]
name = "serial"
kind = "serial"
port = "${port}"
baud = 115200
channel = "serial/soil"
`;
