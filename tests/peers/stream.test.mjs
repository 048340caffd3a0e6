// What arrives at `/ws`, seen by clients of other languages.

import assert from 'node:assert/strict';
import { test } from './deadline.mjs';
import { Board } from './program.mjs';
import { joinWithNode, PEERS, refusal, shownOut } from './peers.mjs';
import { within } from './waiting.mjs';

const JSON_V1 = 'boardcast.v1.json';
/** The longest there is: after the first readings nothing is published as long as a test runs. */
const QUIET = ['--interval', '60m'];

/** The hello, and the names that were described before the snapshot, which must have its number. */
async function greeting(messages) {
  const hello = await messages.next('hello');
  assert.equal(hello.type, 'hello');
  assert.equal(hello.version, 1);
  const described = new Set(hello.channels.map(({ name }) => name));
  // A long list of channels comes in parts.
  const isChannels = ({ type }) => type === 'channels';
  let message = await messages.next('snapshot');
  for (; isChannels(message); message = await messages.next('snapshot')) {
    for (const { name } of message.channels) described.add(name);
  }
  assert.equal(message.type, 'data');
  assert.equal(message.snapshot, true);
  assert.equal(message.seq, hello.seq);
  return { hello, described, snapshot: message };
}

for (const [name, join] of PEERS) {
  test(`${name} gets hello, then a snapshot of the same number, then five data messages, each one further`, async (t) => {
    const board = await Board.start(t, '--interval', '100ms');
    const { messages } = await join(t, board.stream);
    const { hello, described } = await greeting(messages);
    const seen = {};
    let seq = hello.seq;
    while (seq < hello.seq + 5) {
      const message = await messages.find(({ type, snapshot }) => type !== 'channels' && !snapshot, 'data message');
      assert.equal(message.type, 'data');
      assert.equal(message.seq, seq + 1);
      assert.ok(Math.abs(message.t - Date.now() / 1000) < 5, `its time is ${message.t}`);
      for (const channel of Object.keys(message.values)) assert.ok(described.has(channel), `${channel} was not described`);
      Object.assign(seen, message.values);
      seq = message.seq;
    }
    assert.equal(typeof seen['cpu/usage'], 'number');
  });

  test(`${name} that comes late gets the snapshot at once, although nothing new is published`, async (t) => {
    const board = await Board.start(t, ...QUIET);
    const early = await joinWithNode(t, board.stream);
    const { snapshot } = await greeting(early.messages);
    const late = await join(t, board.stream);
    assert.deepEqual((await greeting(late.messages)).snapshot, snapshot);
    assert.ok(snapshot.values['mem/used'] > 0);
  });

  test(`${name} that offers ${JSON_V1} among others gets it`, async (t) => {
    const board = await Board.start(t, ...QUIET);
    const { subprotocol, messages } = await join(t, board.stream, { protocols: ['unheard-of', JSON_V1] });
    assert.equal(subprotocol, JSON_V1);
    await greeting(messages);
  });

  test(`${name} that offers no subprotocol gets none`, async (t) => {
    const board = await Board.start(t, ...QUIET);
    const { subprotocol } = await join(t, board.stream);
    assert.equal(subprotocol, '');
  });

  test(`${name} that says goodbye hears 1000 back`, async (t) => {
    const board = await Board.start(t, '--interval', '100ms');
    // 1005 is Node's word for a Close frame without a code, which is what it sent itself.
    const expected = join === joinWithNode ? 1005 : 1000;
    const { closed } = await join(t, board.stream, { messages: 3 });
    assert.equal((await within(closed, 'close')).code, expected);
  });
}

test('a client that offers only unknown subprotocols is refused with 400 and told which to offer', async (t) => {
  const board = await Board.start(t, ...QUIET);
  const { status, body } = await refusal(t, board.stream, { protocols: ['unheard-of', 'boardcast.v9.json'] });
  assert.equal(status, 400);
  assert.match(body, /boardcast\.v1\.json/);
});

test('a page of another origin is refused with 4403, one of the own and an allowed one are not', async (t) => {
  const board = await Board.start(t, ...QUIET, '--allow-origin', 'https://panel.example');
  for (const origin of ['http://elsewhere.example', 'null', 'https://panel.example:8443', `${board.origin}1`]) {
    assert.deepEqual(await shownOut(t, board.stream, origin), { code: 4403, messages: 0 }, origin);
    const answer = await fetch(`${board.origin}/api/latest`, { headers: { Origin: origin } });
    assert.equal(answer.status, 403);
    assert.match(await answer.text(), /--allow-origin/);
  }
  for (const origin of [board.origin, 'https://panel.example']) {
    const { messages } = await joinWithNode(t, board.stream, { origin });
    await greeting(messages);
  }
});

test('an origin that was not allowed on the command line is refused', async (t) => {
  const board = await Board.start(t, ...QUIET);
  assert.equal((await shownOut(t, board.stream, 'https://panel.example')).code, 4403);
});

test('ping is answered with its id, publish to a channel of another source is refused, what is unknown is an error, and the connection lives on', async (t) => {
  const board = await Board.start(t, ...QUIET);
  const client = await joinWithNode(t, board.stream);
  await greeting(client.messages);
  const ask = async (message) => {
    client.send(message);
    return client.messages.next(`answer to ${JSON.stringify(message)}`);
  };
  const alive = async (id) => {
    const pong = await ask({ type: 'ping', id });
    assert.deepEqual({ type: pong.type, id: pong.id }, { type: 'pong', id });
    assert.ok(Math.abs(pong.time - Date.now() / 1000) < 5, `its time is ${pong.time}`);
  };
  await alive(7);
  for (const [message, code] of [
    [{ type: 'publish', id: 8, values: { 'cpu/usage': 21.5 } }, 'refused'],
    [{ type: 'dance', id: 'nine' }, 'unknown_type'],
    ['not an object', 'bad_message'],
  ]) {
    const answer = await ask(message);
    assert.equal(answer.type, 'error');
    assert.equal(answer.code, code);
    assert.equal(answer.id, message.id);
    assert.ok(answer.message.includes(' '), 'it has a sentence');
  }
  await alive(10);
});
