// The library's examples, as a reader of the documentation runs them.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from './deadline.mjs';
import { WebSocket } from 'ws';
import { startExample } from './program.mjs';
import { Arrivals, within } from './waiting.mjs';

async function joinChat(t, url) {
  const socket = new WebSocket(url);
  t.after(() => socket.terminate());
  const heard = new Arrivals();
  socket.on('message', (data) => heard.push(data.toString()));
  await within(once(socket, 'open'), 'WebSocket');
  const { localPort } = socket._socket;
  return { heard, localPort, say: (text) => socket.send(text), leave: () => socket.close() };
}

test('push: everyone hears the load of this machine, and watch prints it', async (t) => {
  const push = await startExample(t, 'push', '127.0.0.1:0');
  const guest = await joinChat(t, push.url);
  assert.match(await guest.heard.next('first push'), /^\d+\.\d\d \d+\.\d\d /);
  const watch = await startExample(t, 'watch', push.url);
  assert.match((await watch.line(watch.stdout, /^\d+\.\d\d /))[0], /\d/);
  push.signal('SIGKILL');
  await watch.line(watch.stderr, /^Disconnected: 1006/);
  assert.deepEqual(await within(watch.exited, 'end of watch'), { code: 0, signal: null });
});

test('chat: a room hears its own, and only that', async (t) => {
  const chat = await startExample(t, 'chat', '127.0.0.1:0');
  const anna = await joinChat(t, `${chat.url}/kitchen`);
  // A handshake may be over before the handler has let her in: who hears herself is in.
  anna.say('hello?');
  assert.equal(await anna.heard.next('own word'), `${anna.localPort}: hello?`);
  const bela = await joinChat(t, `${chat.url}/kitchen`);
  const carl = await joinChat(t, `${chat.url}/cellar`);
  assert.equal(await anna.heard.next('arrival'), `${bela.localPort} comes in`);
  bela.say('tea is ready');
  const said = `${bela.localPort}: tea is ready`;
  assert.equal(await anna.heard.next('word'), said);
  assert.equal(await bela.heard.next('own word'), said);
  carl.say('it is cold here');
  assert.equal(await carl.heard.next('own word'), `${carl.localPort}: it is cold here`);
  anna.say('coming');
  assert.equal(await bela.heard.next('answer'), `${anna.localPort}: coming`);
  assert.equal(carl.heard.all.length, 1);
});

test('custom_source: a sensor of ten lines is on the stream, with its unit', async (t) => {
  const board = await startExample(t, 'custom_source', '127.0.0.1:0');
  const viewer = await joinChat(t, `${board.url}/ws`);
  const told = async (type, sought) => {
    for (;;) {
      const message = JSON.parse(await viewer.heard.next(type));
      if (message.type === type && sought(message)) return message;
    }
  };
  const { channels } = await told('channels', () => true);
  assert.deepEqual(channels.map(({ name, unit, source }) => [name, unit, source]), [['kernel/entropy', 'bit', 'entropy']]);
  const { values } = await told('data', ({ snapshot }) => !snapshot);
  assert.ok(Number.isInteger(values['kernel/entropy']), JSON.stringify(values));
});
