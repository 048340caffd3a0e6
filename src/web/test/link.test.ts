// Coming back, with a fake socket, a fake clock and a chosen "random".

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKOFF_MAX_MS, HEALTHY_MS, HELLO_TIMEOUT_MS, Link, type LinkState, type Socket, type World } from '../link';

class FakeSocket implements Socket {
  onmessage: Socket['onmessage'] = null;
  onclose: Socket['onclose'] = null;
  closed = false;
  close(): void {
    this.closed = true;
  }
  receive(message: object): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  hello(heartbeat = 15): void {
    this.receive({ type: 'hello', version: 1, device: 'pi', epoch: 'a', seq: 0, time: 1, heartbeat, channels: [] });
  }
  drop(reason = ''): void {
    this.onclose?.({ code: 1006, reason });
  }
}

class FakeWorld implements World {
  time = 0;
  chance = 1;
  refuse = false;
  readonly sockets: FakeSocket[] = [];
  private timers: { at: number; run: () => void }[] = [];

  open(): Socket {
    if (this.refuse) throw new Error('blocked');
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  }
  now(): number {
    return this.time;
  }
  random(): number {
    return this.chance;
  }
  setTimeout(run: () => void, ms: number): unknown {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return timer;
  }
  clearTimeout(timer: unknown): void {
    this.timers = this.timers.filter((other) => other !== timer);
  }
  get pending(): number {
    return this.timers.length;
  }
  get newest(): FakeSocket {
    return this.sockets[this.sockets.length - 1] as FakeSocket;
  }

  /** Lets time pass, running what falls due in its order. */
  pass(ms: number): void {
    const end = this.time + ms;
    for (;;) {
      const next = this.timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.clearTimeout(next);
      this.time = Math.max(this.time, next.at);
      next.run();
    }
    this.time = end;
  }
}

function started(): { world: FakeWorld; link: Link; messages: string[]; states: LinkState[] } {
  const world = new FakeWorld();
  const messages: string[] = [];
  const states: LinkState[] = [];
  const link = new Link(world, { message: (m) => messages.push(m.type), state: (s) => states.push(s) });
  link.start();
  return { world, link, messages, states };
}

/** How long the link says it will wait. */
function wait(world: FakeWorld, link: Link): number {
  const { state } = link;
  assert.ok(state.name === 'reconnecting' && state.retryAt !== null, 'it is waiting');
  return state.retryAt - world.time;
}

test('live only after the hello, and nothing is passed on before it', () => {
  const { world, link, messages } = started();
  assert.equal(link.state.name, 'connecting');
  world.newest.receive({ type: 'data', seq: 1, t: 1, values: {} });
  assert.equal(link.state.name, 'connecting');
  world.newest.hello();
  world.newest.receive({ type: 'data', seq: 2, t: 1, values: {} });
  world.newest.receive({ type: 'later' });
  assert.equal(link.state.name, 'live');
  assert.deepEqual(messages, ['hello', 'data']);
});

test('the wait doubles from half a second to thirty', () => {
  const { world, link } = started();
  const waits: number[] = [];
  for (let i = 0; i < 9; i++) {
    world.newest.drop();
    waits.push(wait(world, link));
    world.pass(wait(world, link));
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16_000, BACKOFF_MAX_MS, BACKOFF_MAX_MS, BACKOFF_MAX_MS]);
  assert.equal(world.sockets.length, 10);
});

test('the jitter is full, down to a floor that does not hammer', () => {
  const { world, link } = started();
  world.newest.drop();
  world.pass(500);
  world.chance = 0.25;
  world.newest.drop();
  assert.equal(wait(world, link), 250);
  world.pass(250);
  world.chance = 0;
  world.newest.drop();
  assert.equal(wait(world, link), 100);
});

test('a healthy connection resets the back-off, a greeting alone does not', () => {
  const { world, link } = started();
  for (let i = 0; i < 3; i++) {
    world.newest.drop();
    world.pass(wait(world, link));
  }
  world.newest.hello();
  world.newest.drop();
  assert.equal(wait(world, link), 4000);
  world.pass(4000);
  world.newest.hello();
  world.pass(HEALTHY_MS);
  world.newest.drop();
  assert.equal(wait(world, link), 500);
});

test('silence for two and a half heartbeats is a dead link, any traffic is life', () => {
  const { world, link } = started();
  world.newest.hello(10);
  const first = world.newest;
  world.pass(20_000);
  first.receive({ type: 'heartbeat', seq: 1, time: 1 });
  world.pass(24_999);
  assert.equal(link.state.name, 'live');
  world.pass(1);
  assert.equal(link.state.name, 'reconnecting');
  assert.ok(first.closed);
});

test('the late end of a connection that was given up changes nothing', () => {
  const { world, link, messages } = started();
  world.newest.hello(1);
  const first = world.newest;
  world.pass(2500 + 500);
  assert.equal(world.sockets.length, 2);
  world.newest.hello(1);
  first.drop();
  first.receive({ type: 'heartbeat', seq: 1, time: 1 });
  assert.equal(link.state.name, 'live');
  assert.deepEqual(messages, ['hello', 'hello']);
});

test('a handshake that hangs is given up', () => {
  const { world, link } = started();
  world.pass(HELLO_TIMEOUT_MS - 1);
  assert.equal(link.state.name, 'connecting');
  world.pass(1);
  assert.equal(link.state.name, 'reconnecting');
  assert.ok(world.sockets[0]?.closed);
});

test('a nudge ends the wait, and only the wait', () => {
  const { world, link } = started();
  world.newest.drop();
  link.nudge();
  assert.equal(world.sockets.length, 2);
  link.nudge();
  assert.equal(world.sockets.length, 2, 'an attempt is on its way already');
  world.newest.hello();
  link.nudge();
  assert.equal(world.sockets.length, 2, 'it is live');
  assert.equal(link.state.name, 'live');
  assert.equal(world.pending, 1, 'the timers of the past are gone');
});

test('after a sleep in which no timer ran, a nudge finds the dead link at once', () => {
  const { world, link } = started();
  world.newest.hello(15);
  world.time += 3_600_000;
  link.nudge();
  assert.equal(link.state.name, 'reconnecting');
});

test('what the server says when it closes is kept for the page', () => {
  const { world, link } = started();
  world.newest.drop('token missing');
  assert.ok(link.state.name === 'reconnecting');
  assert.equal(link.state.why, 'token missing');
  world.pass(500);
  assert.ok(link.state.name === 'reconnecting');
  assert.equal(link.state.retryAt, null, 'an attempt is on its way');
});

test('a browser that refuses to open a socket is asked again later', () => {
  const { world, link } = started();
  world.refuse = true;
  world.newest.drop();
  world.pass(500);
  assert.equal(wait(world, link), 1000);
  world.refuse = false;
  world.pass(1000);
  world.newest.hello();
  assert.equal(link.state.name, 'live');
});
