// The programs under test, as processes of their own. Whatever a test leaves behind ends with it.
//
//   BOARDCAST     the program; target/debug/boardcast when unset. Its examples are beside it.
//   TEST_RUNNER   what to run it with, such as `qemu-arm -L /usr/arm-linux-gnueabihf`.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Arrivals, within } from './waiting.mjs';

export const here = dirname(fileURLToPath(import.meta.url));
export const boardcast = resolve(process.env.BOARDCAST || join(here, '../../target/debug/boardcast'));
export const runner = (process.env.TEST_RUNNER ?? '').split(/\s+/).filter(Boolean);

/** A folder that is gone after the test. */
export async function folder(t) {
  const path = await mkdtemp(join(tmpdir(), 'boardcast-'));
  t.after(() => rm(path, { recursive: true }));
  return path;
}

const running = new Set();
process.on('exit', () => running.forEach(kill));
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1));

/** With whatever a runner may have started: each has a process group of its own. */
function kill({ pid }) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error; // It has ended by itself.
  }
}

/** One process, its lines, and its end. */
export class Program {
  stdout = new Arrivals();
  stderr = new Arrivals();
  #child;

  /** Ends with the test `t` at the latest. */
  constructor(t, command) {
    const [file, ...args] = command;
    // The environment's RUST_LOG would change what the program says.
    const env = { ...process.env, RUST_LOG: undefined };
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#child = child;
    if (child.pid) running.add(child);
    for (const name of ['stdout', 'stderr']) {
      createInterface({ input: child[name] }).on('line', (line) => this[name].push(line));
    }
    child.on('error', (error) => this.stderr.push(`${file}: ${error.message}`));
    /** Once all its output was read: `{code, signal}`. */
    this.exited = new Promise((resolve) => {
      child.on('close', (code, signal) => {
        running.delete(child);
        this.stdout.end();
        this.stderr.end();
        resolve({ code, signal });
      });
    });
    t.after(() => this.stop());
  }

  signal(name) {
    this.#child.kill(name);
  }

  /** At once and without a word, as when the power fails. */
  async stop() {
    if (running.has(this.#child)) kill(this.#child);
    return within(this.exited, 'end of a killed process');
  }

  /** The next line of `stream` that matches `pattern`, matched. */
  async line(stream, pattern) {
    try {
      return pattern.exec(await stream.find((line) => pattern.test(line), `line like ${pattern}`));
    } catch (error) {
      error.message += `\nThe program said:\n${[...this.stdout.all, ...this.stderr.all].join('\n')}`;
      throw error;
    }
  }
}

/** A Boardcast that listens on a free port of the loopback. */
export class Board extends Program {
  static async start(t, ...args) {
    const board = Board.#at(t, '127.0.0.1:0', args);
    await board.#greeted();
    return board;
  }

  /** The same, at the end of a pipe: `script | boardcast serve --stdin`. */
  static async piped(t, script, ...args) {
    const own = [...runner, boardcast, 'serve', '--stdin', '--listen', '127.0.0.1:0', ...args];
    const board = new Board(t, ['bash', '-c', `${script} | exec "$@"`, 'bash', ...own]);
    await board.#greeted();
    return board;
  }

  #args;

  static #at(t, address, args) {
    const board = new Board(t, [...runner, boardcast, '--listen', address, ...args]);
    board.#args = args;
    return board;
  }

  async #greeted() {
    [, this.origin] = await this.line(this.stdout, /^ +page +(https?:\S+)\/$/);
    [, this.stream] = await this.line(this.stdout, /^ +stream +(wss?:\S+)$/);
    await this.line(this.stdout, /^ +channels +[1-9]/);
    this.address = new URL(this.origin).host;
  }

  /** The same board after a power cut: same address, new process. */
  async again(t) {
    await this.stop();
    const board = Board.#at(t, this.address, this.#args);
    await board.#greeted();
    return board;
  }
}

/** `boardcast fleet` on a free port of the loopback, with a link to each of these boards: `{name: board}`. */
export class Fleet extends Program {
  static async start(t, boards, ...args) {
    const links = Object.entries(boards).flatMap(([name, { stream }]) => ['--board', `${name}=${stream}`]);
    return Fleet.#at(t, '127.0.0.1:0', [...links, ...args]);
  }

  #args;

  static async #at(t, address, args) {
    const fleet = new Fleet(t, [...runner, boardcast, 'fleet', '--listen', address, ...args]);
    fleet.#args = args;
    [, fleet.origin] = await fleet.line(fleet.stdout, /^ +page +(https?:\S+)\/$/);
    [, fleet.stream] = await fleet.line(fleet.stdout, /^ +stream +(wss?:\S+)$/);
    fleet.address = new URL(fleet.origin).host;
    return fleet;
  }

  /** Another one at the same address, which knows nothing of this one. */
  async again(t) {
    await this.stop();
    return Fleet.#at(t, this.address, this.#args);
  }
}

const example = (name, args) => [...runner, join(dirname(boardcast), 'examples', name), ...args];

/** The article's server, `examples/welcome.rs`. */
export async function startWelcome(t) {
  const welcome = new Program(t, example('welcome', ['127.0.0.1:0']));
  const [, address] = await welcome.line(welcome.stderr, /Listening on (\S+)/);
  return Object.assign(welcome, { address });
}

/** Another example: a server that says where it listens, or a client that says where it is connected. */
export async function startExample(t, name, ...args) {
  const program = new Program(t, example(name, args));
  const client = name === 'watch';
  const where = client ? program.line(program.stderr, /^Connected to (\S+)/) : program.line(program.stdout, /^Listening on (\S+)/);
  const [, address] = await where;
  return Object.assign(program, { url: `ws://${address}` });
}

/** Our end of a WebSocket, `tests/conformance/peer.rs`, and what it tells of it. */
export class Peer {
  /** The server, at `url`; `options` such as `protocols: 'a,b'`. */
  static async listen(t, options) {
    const peer = new Peer(t, 'listen', '127.0.0.1:0', options);
    const [address] = await peer.program.line(peer.program.stdout, /^127\S+$/);
    return Object.assign(peer, { address, url: `ws://${address}/` });
  }

  /** The client, of the server at `url`. */
  static dial(t, url, options) {
    return new Peer(t, 'dial', url, options);
  }

  constructor(t, mode, where, options = {}) {
    const words = Object.entries(options).map(([name, value]) => `${name}=${value}`);
    this.program = new Program(t, example('conformance-peer', [mode, where, ...words]));
  }

  /** What the next event of this name tells. */
  async event(name) {
    const { input } = await this.program.line(this.program.stdout, new RegExp(`^\\["${name}",`));
    return JSON.parse(input)[1];
  }
}
