// A bad link: a TCP proxy that is cut when the test says so, or by itself after a random number of bytes.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function seeded(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Link {
  /** Connections so far. */
  count = 0;
  #pairs = new Set();
  #up = true;
  #reset;
  #host;
  #port;

  /**
   * `budget` gives, for each connection, how many bytes from the board pass before it is cut; `reset`, whether by a
   * reset, which loses what is on the way, or by an end.
   */
  static async start(t, board, { budget = () => Infinity, reset = () => false } = {}) {
    const link = new Link();
    link.#reset = reset;
    link.to(board);
    const server = createServer((near) => link.#join(near, connect(link.#port, link.#host), budget()));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      server.close();
      link.down();
    });
    link.address = `127.0.0.1:${server.address().port}`;
    link.origin = `http://${link.address}`;
    link.stream = `ws://${link.address}/ws`;
    return link;
  }

  /** Cuts all, and lets nobody through. */
  down() {
    this.#up = false;
    for (const pair of this.#pairs) this.#cut(pair);
  }

  up() {
    this.#up = true;
  }

  /** Who comes from now on is led to this one. */
  to(board) {
    const [host, port] = board.address.split(':');
    [this.#host, this.#port] = [host, Number(port)];
  }

  #join(near, far, left) {
    this.count += 1;
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const socket of pair) {
      socket.on('error', () => {}); // A reset is what this is for.
      socket.on('close', () => this.#cut(pair));
    }
    if (!this.#up) return this.#cut(pair);
    near.pipe(far);
    far.on('data', (bytes) => {
      // In the middle of a message as well as of a frame's head.
      if (!near.write(bytes.subarray(0, left))) far.pause();
      left -= bytes.length;
      if (left <= 0) this.#cut(pair);
    });
    near.on('drain', () => far.resume());
  }

  #cut(pair) {
    if (!this.#pairs.delete(pair)) return;
    const [near, far] = pair;
    if (this.#reset()) near.resetAndDestroy();
    else near.end(() => near.destroy());
    far.destroy();
  }
}
