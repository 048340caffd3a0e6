// Coming back, with a fake socket, a fake clock and a chosen "random".

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BACKOFF_MAX_MS, HEALTHY_MS, HELLO_TIMEOUT_MS, Link, PROBE_MS, type LinkState } from '../src/link.js';
import { parse } from '../src/protocol.js';
import { FakeWorld } from './fakes.js';

interface Started {
  world: FakeWorld;
  link: Link;
  messages: string[];
  states: LinkState[];
  losses: number[];
}

function started(): Started {
  const world = new FakeWorld();
  const messages: string[] = [];
  const states: LinkState[] = [];
  const losses: number[] = [];
  const link = new Link(world, {
    decode: (data) => (typeof data === 'string' ? parse(data) : null),
    message: ({ type }) => messages.push(type),
    state: (state) => states.push(state),
    lost: (code) => losses.push(code),
  });
  link.start();
  return { world, link, messages, states, losses };
}

const data = { type: 'data', seq: 2, t: 1, values: {} };

/** How long the link says it will wait. */
function wait(world: FakeWorld, link: Link): number {
  assert.ok(link.state === 'reconnecting' && link.retryAt !== null, 'it is waiting');
  return link.retryAt - world.time;
}

/** The probes that the newest socket was sent. */
const probes = (world: FakeWorld): number => world.newest.sent.filter(({ type }) => type === 'ping').length;

function pong(world: FakeWorld): void {
  world.newest.receive({ type: 'pong', id: world.newest.sent[world.newest.sent.length - 1]?.id, time: 1 });
}

test('live only after the hello, and nothing is passed on before it', () => {
  const { world, link, messages, states } = started();
  assert.equal(link.state, 'connecting');
  world.newest.receive(data);
  assert.equal(link.state, 'connecting');
  world.newest.hello();
  world.newest.receive(data);
  world.newest.receive({ type: 'later' });
  assert.equal(link.state, 'live');
  assert.deepEqual(messages, ['hello', 'data']);
  assert.deepEqual(states, ['live']);
});

test('the ceiling of the wait doubles from a second to thirty', () => {
  const { world, link } = started();
  const waits: number[] = [];
  for (let i = 0; i < 8; i++) {
    world.newest.drop();
    waits.push(wait(world, link));
    world.pass(wait(world, link));
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16_000, BACKOFF_MAX_MS, BACKOFF_MAX_MS, BACKOFF_MAX_MS]);
  assert.equal(world.sockets.length, 9);
});

test('the jitter is full, down to a floor that does not hammer', () => {
  const { world, link } = started();
  world.chance = 0.5;
  world.newest.drop();
  assert.equal(wait(world, link), 750);
  world.pass(750);
  world.chance = 0;
  world.newest.drop();
  assert.equal(wait(world, link), 500);
});

test('a server that refuses us as we are is asked seldom', () => {
  const { world, link } = started();
  world.chance = 0;
  for (const [code, least] of [[1008, 15_000], [4401, 60_000], [4403, 60_000]] as const) {
    world.newest.hello();
    world.newest.drop(code, 'token missing');
    assert.equal(wait(world, link), least, String(code));
    assert.deepEqual([link.reason, link.code], ['token missing', code]);
    world.pass(least);
  }
});

test('a healthy connection resets the back-off, a greeting alone does not', () => {
  const { world, link } = started();
  for (let i = 0; i < 3; i++) {
    world.newest.drop();
    world.pass(wait(world, link));
  }
  world.newest.hello();
  world.newest.drop();
  assert.equal(wait(world, link), 8000);
  world.pass(8000);
  world.newest.hello();
  world.pass(HEALTHY_MS);
  world.newest.drop();
  assert.equal(wait(world, link), 1000);
});

test('silence for two heartbeats is a dead link, any traffic is life', () => {
  const { world, link, losses } = started();
  world.newest.hello({ heartbeat: 10 });
  const first = world.newest;
  world.pass(18_000);
  first.receive({ type: 'heartbeat', seq: 1, time: 1 });
  world.pass(19_999);
  assert.equal(link.state, 'live');
  world.pass(1);
  assert.equal(link.state, 'reconnecting');
  assert.ok(first.closed);
  assert.deepEqual(losses, [1006]);
});

test('the late end of a connection that was given up changes nothing', () => {
  const { world, link, messages } = started();
  world.newest.hello({ heartbeat: 1 });
  const first = world.newest;
  world.pass(2000 + 1000);
  assert.equal(world.sockets.length, 2);
  world.newest.hello();
  first.drop();
  first.receive({ type: 'heartbeat', seq: 1, time: 1 });
  assert.equal(link.state, 'live');
  assert.deepEqual(messages, ['hello', 'hello']);
});

test('never more than one socket is open', () => {
  const { world, link } = started();
  const alive = (): number => world.sockets.filter(({ closed }) => !closed).length;
  for (let i = 0; i < 50; i++) {
    link.nudge();
    if (i % 3 === 0) world.newest.hello({ heartbeat: 1 });
    link.networkChanged();
    world.pass(i * 400);
    assert.ok(alive() <= 1, `${alive()} are open`);
    assert.ok(world.pending <= 2, `${world.pending} timers run`);
  }
});

test('a handshake that hangs is given up', () => {
  const { world, link } = started();
  world.pass(HELLO_TIMEOUT_MS - 1);
  assert.equal(link.state, 'connecting');
  world.pass(1);
  assert.equal(link.state, 'reconnecting');
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
  assert.equal(link.state, 'live');
  assert.equal(probes(world), 0, 'the hello is fresh');
  assert.equal(world.pending, 1, 'the timers of the past are gone');
});

test('a nudge asks a link that was quiet for a while, and the answer settles it', () => {
  const { world, link, messages } = started();
  world.newest.hello();
  world.pass(2000);
  link.nudge();
  link.nudge();
  assert.equal(probes(world), 1);
  world.pass(PROBE_MS - 1);
  pong(world);
  world.pass(PROBE_MS);
  assert.equal(link.state, 'live');
  assert.deepEqual(messages, ['hello'], 'the answer is nobody else’s');
});

test('a link that does not answer is given up soon', () => {
  const { world, link } = started();
  world.newest.hello();
  world.pass(2000);
  link.nudge();
  world.pass(PROBE_MS);
  assert.equal(link.state, 'reconnecting');
});

test('another network: asked at once, however fresh; what was still queued only puts the end off', () => {
  const { world, link } = started();
  world.newest.hello();
  link.networkChanged();
  assert.equal(probes(world), 1);
  world.pass(PROBE_MS - 1);
  world.newest.receive(data);
  world.pass(PROBE_MS - 1);
  assert.equal(link.state, 'live');
  world.pass(1);
  assert.equal(link.state, 'reconnecting');
});

test('after a sleep in which no timer ran, a nudge finds the dead link at once', () => {
  const { world, link } = started();
  world.newest.hello();
  world.time += 3_600_000;
  link.nudge();
  assert.equal(link.state, 'reconnecting');
});

test('a timer that comes late means a sleep: the link must answer, and what came meanwhile is heard first', () => {
  const { world, link, messages } = started();
  world.newest.hello();
  world.sleep(60_000);
  assert.equal(link.state, 'live');
  assert.equal(probes(world), 1);
  world.newest.receive(data);
  world.newest.drop(1013);
  assert.equal(link.state, 'reconnecting');
  assert.deepEqual(messages, ['hello', 'data']);
});

test('the first message after a sleep may have been there before it: the link must answer', () => {
  const { world, link } = started();
  world.newest.hello();
  world.time += 60_000;
  world.newest.receive(data);
  assert.equal(probes(world), 1);
  world.pass(PROBE_MS);
  assert.equal(link.state, 'reconnecting');
});

test('a clock that is set back does not make the link immortal', () => {
  const { world, link } = started();
  world.newest.hello();
  world.pass(10_000);
  // Timers run by the monotonic clock, so that they come as if nothing had been.
  const real = world.now;
  world.now = () => real() - 3_600_000;
  world.pass(40_000);
  assert.equal(link.state, 'reconnecting');
});

test('what the server says when it closes is kept', () => {
  const { world, link } = started();
  world.newest.drop(1001, 'the server stops');
  assert.equal(link.reason, 'the server stops');
  world.pass(1000);
  assert.equal(link.retryAt, null, 'an attempt is on its way');
  assert.equal(link.reason, 'the server stops');
  world.newest.hello();
  assert.equal(link.reason, '');
});

test('a browser that refuses to open a socket is asked again later', () => {
  const { world, link } = started();
  world.refuse = true;
  world.newest.drop();
  world.pass(1000);
  assert.equal(wait(world, link), 2000);
  world.refuse = false;
  world.pass(2000);
  world.newest.hello();
  assert.equal(link.state, 'live');
});

test('stopped is stopped: no timer, no socket, no late word', () => {
  for (const live of [true, false]) {
    const { world, link, losses } = started();
    if (live) world.newest.hello();
    link.networkChanged();
    link.stop();
    link.stop();
    assert.equal(link.state, 'closed');
    assert.ok(world.newest.closed);
    assert.equal(world.pending, 0);
    world.newest.drop();
    world.newest.hello();
    link.nudge();
    link.networkChanged();
    assert.equal(world.sockets.length, 1);
    assert.deepEqual(losses, live ? [1000] : []);
  }
});
