// Both ends of `boardcast::websocket` with Node's `ws` at the other one.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { describe } from 'node:test';
import { test } from './deadline.mjs';
import WebSocket, { WebSocketServer } from 'ws';
import { refusal, shownOut } from './peers.mjs';
import { Peer } from './program.mjs';
import { Arrivals, until, within } from './waiting.mjs';

/** Node's end: what comes to it, and how it ends. */
function watch(t, socket) {
  t.after(() => socket.terminate());
  const messages = new Arrivals();
  const pings = new Arrivals();
  const pongs = new Arrivals();
  socket.on('message', (data, isBinary) => messages.push(isBinary ? data : data.toString()));
  socket.on('ping', (data) => pings.push(data.toString()));
  socket.on('pong', (data) => pongs.push(data.toString()));
  const closed = once(socket, 'close').then(([code, reason]) => ({ code, reason: reason.toString() }));
  closed.catch(() => {}); // The test that waits for it hears of it.
  return { socket, messages, pings, pongs, closed: () => within(closed, 'close at Node') };
}

/** Listens on a free port of the loopback until the test ends. */
async function listenOn(t, server) {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const sockets = new Set();
  server.on('connection', (socket) => sockets.add(socket));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `ws://127.0.0.1:${server.address().port}/`;
}

/** Node's server, and the sockets of its clients. */
async function startNode(t, options) {
  const http = createServer();
  const server = new WebSocketServer({ server: http, ...options });
  const clients = new Arrivals();
  server.on('connection', (socket) => clients.push(watch(t, socket)));
  return { clients, url: await listenOn(t, http) };
}

/** Ours is the server: `{ours, node}`, both open. */
async function withOurServer(t) {
  const ours = await Peer.listen(t);
  const node = watch(t, new WebSocket(ours.url));
  await within(once(node.socket, 'open'), 'WebSocket');
  return { ours, node, open: await ours.event('open') };
}

/** Ours is the client. */
async function withOurClient(t) {
  const server = await startNode(t);
  const ours = Peer.dial(t, server.url);
  const node = await server.clients.next('client');
  return { ours, node, open: await ours.event('open'), url: server.url };
}

const BYTES = randomBytes(1 << 20);
/** Two bytes of UTF-8 a letter: a fragment's end may cut one. */
const TEXT = 'żółw'.repeat(30_000);

for (const [name, connect] of [
  ['our server and Node ws', withOurServer],
  ['our client and a Node ws server', withOurClient],
]) {
  describe(name, () => {
    test('agree on what is open', async (t) => {
      const { ours, node, open, url } = await connect(t);
      assert.deepEqual(
        { protocol: open.protocol, extensions: open.extensions, state: open.state },
        { protocol: '', extensions: '', state: 1 },
      );
      assert.equal(open.url, url ?? ours.url);
      assert.equal(node.socket.protocol, '');
      assert.equal(node.socket.extensions, '');
    });

    test('send text and binary messages of every size there and back', async (t) => {
      const { ours, node } = await connect(t);
      for (const message of ['', 'a', TEXT, BYTES.subarray(0, 0), ...[1, 125, 126, 65_535, 65_536].map((size) => BYTES.subarray(0, size)), BYTES]) {
        node.socket.send(message);
        const told = await ours.event('message');
        assert.deepEqual(told, { binary: typeof message !== 'string', length: Buffer.byteLength(message) });
        const echo = await node.messages.next('echo');
        assert.ok(typeof message === 'string' ? echo === message : message.equals(echo), `echo of ${told.length} bytes`);
      }
    });

    test('put fragments together, with pings between them', async (t) => {
      const { ours, node } = await connect(t);
      for (const [whole, binary] of [[Buffer.from(TEXT), false], [BYTES, true]]) {
        const size = 9_999;
        let last;
        for (let start = 0; start < whole.length; start += size) {
          const fin = start + size >= whole.length;
          node.socket.send(whole.subarray(start, start + size), { binary, fin });
          if (!fin) node.socket.ping((last = String(start)));
        }
        assert.deepEqual(await ours.event('message'), { binary, length: whole.length });
        assert.ok(whole.equals(Buffer.from(await node.messages.next('echo'))));
        // Some pings may go without an answer, the last one not (RFC 6455 section 5.5.3).
        await node.pongs.find((pong) => pong === last, `pong to ${last}`);
      }
    });

    test('answer pings, and measure the round trip of their own', async (t) => {
      const { ours, node } = await connect(t);
      for (const payload of ['', 'x'.repeat(125)]) {
        node.socket.ping(payload);
        assert.equal(await node.pongs.next('pong'), payload);
      }
      node.socket.send('do ping');
      await node.pings.next('ping');
      const { took, roundTrip } = await ours.event('pong');
      assert.ok(took > 0 && took < 5, `it took ${took} s`);
      assert.ok(Math.abs(roundTrip - took) < 2e-6, `the round trip is ${roundTrip} s`);
    });

    for (const [code, reason] of [[undefined, ''], [1000, ''], [1000, 'done'], [3000, 'é'.repeat(61)], [4999, 'x'.repeat(123)]]) {
      const words = `${code ?? 'no code'} and a reason of ${Buffer.byteLength(reason)} bytes`;

      test(`tell each other ${words}, Node first`, async (t) => {
        const { ours, node } = await connect(t);
        node.socket.close(code, reason);
        assert.deepEqual(await ours.event('close'), { code: code ?? 1005, reason, clean: true, state: 3 });
        // The reply has the same code (RFC 6455 section 5.5.1).
        assert.equal((await node.closed()).code, code ?? 1005);
      });

      test(`tell each other ${words}, ours first`, async (t) => {
        const { ours, node } = await connect(t);
        node.socket.send(`do close ${code ?? ''} ${reason}`.trimEnd());
        assert.deepEqual(await node.closed(), { code: code ?? 1005, reason });
        const { code: back, clean, state } = await ours.event('close');
        assert.deepEqual({ back, clean, state }, { back: code ?? 1005, clean: true, state: 3 });
      });
    }

    test('hear 1011 and 1008 from a program of ours that fails the connection', async (t) => {
      for (const code of [1008, 1011]) {
        const { node } = await connect(t);
        node.socket.send(`do fail ${code} it broke`);
        assert.deepEqual(await node.closed(), { code, reason: 'it broke' });
      }
    });

    test('go on after a close with what may not be sent', async (t) => {
      const { ours, node } = await connect(t);
      for (const [order, kind] of [
        ['close 999', 'close code'],
        ['close 1005', 'close code'],
        ['close 1001', 'close code'],
        ['fail 1006 lost', 'close code'],
        [`close 1000 ${'x'.repeat(124)}`, 'close reason'],
      ]) {
        node.socket.send(`do ${order}`);
        assert.equal((await ours.event('error')).kind, kind, order);
      }
      node.socket.send('still here');
      assert.equal(await node.messages.next('echo'), 'still here');
    });

    test('see 1006 when the other one is gone without a word', async (t) => {
      const { ours, node } = await connect(t);
      node.socket.terminate();
      assert.deepEqual(await ours.event('close'), { code: 1006, reason: '', clean: false, state: 3 });
    });
  });
}

describe('our server', () => {
  test('chooses the subprotocol that it likes best among those that are offered', async (t) => {
    const ours = await Peer.listen(t, { protocols: 'chat.v2,chat.v1' });
    for (const [offered, chosen] of [
      [['chat.v1', 'chat.v2'], 'chat.v2'],
      [['other', 'chat.v1'], 'chat.v1'],
      [[], ''],
    ]) {
      const { socket } = watch(t, new WebSocket(ours.url, offered));
      await within(once(socket, 'open'), 'WebSocket');
      assert.equal(socket.protocol, chosen);
      assert.equal((await ours.event('open')).protocol, chosen);
    }
    const { status, body } = await refusal(t, ours.url, { protocols: ['chat.v3'] });
    assert.equal(status, 400);
    assert.match(body, /chat\.v2, chat\.v1/);
  });

  test('refuses a page of an origin that is not its own with 4403', async (t) => {
    const ours = await Peer.listen(t, { origins: 'https://panel.example' });
    assert.equal((await shownOut(t, ours.url, 'https://elsewhere.example')).code, 4403);
    const { socket } = watch(t, new WebSocket(ours.url, { origin: 'https://panel.example' }));
    await within(once(socket, 'open'), 'WebSocket');
  });

  test('refuses one client too many with 503, and takes it when another has gone', async (t) => {
    const ours = await Peer.listen(t, { connections: 2 });
    const guests = [0, 1].map(() => watch(t, new WebSocket(ours.url)));
    await Promise.all(guests.map(({ socket }) => within(once(socket, 'open'), 'WebSocket')));
    assert.equal((await refusal(t, ours.url)).status, 503);
    guests[0].socket.close();
    // Its thread lets go of the place a moment after the last word.
    const opens = () => {
      const { socket } = watch(t, new WebSocket(ours.url));
      return once(socket, 'open').then(() => true, () => false);
    };
    await until(opens, 'place for another');
  });

  test('knows the address and port of its client', async (t) => {
    const { node, open } = await withOurServer(t);
    const { localAddress, localPort } = node.socket._socket;
    assert.equal(open.peer, `${localAddress}:${localPort}`);
  });
});

/** A server that answers whatever it is asked. */
function answering(t, head) {
  return listenOn(t, createTcpServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(head));
  }));
}

describe('our client', () => {
  test('gets the subprotocol that a Node server chooses', async (t) => {
    const handleProtocols = (offered) => ['chat.v2', 'chat.v1'].find((name) => offered.has(name)) ?? false;
    const server = await startNode(t, { handleProtocols });
    for (const [offered, chosen] of [['chat.v1,chat.v2', 'chat.v2'], ['other,chat.v1', 'chat.v1']]) {
      const ours = Peer.dial(t, server.url, { protocols: offered });
      assert.equal((await ours.event('open')).protocol, chosen);
    }
    const { kind, says } = await Peer.dial(t, server.url, { protocols: 'other' }).event('error');
    assert.equal(kind, 'handshake 101');
    assert.match(says, /none of the subprotocols/);
  });

  test('sends what it reads from somewhere in fragments, which Node puts together', async (t) => {
    const server = await startNode(t);
    for (const length of [0, 1, 16_384, 1_000_000]) {
      Peer.dial(t, server.url, { stream: length });
      const { messages } = await server.clients.next('client');
      assert.ok(Buffer.alloc(length, 'x').equals(await messages.next('message')), `${length} bytes`);
    }
  });

  for (const [status, name] of [[400, 'Bad Request'], [401, 'Unauthorized'], [403, 'Forbidden'], [503, 'Service Unavailable']]) {
    test(`says that a Node server refused with ${status}`, async (t) => {
      const verifyClient = (_, decide) => decide(false, status, `because of ${status}`);
      const { url } = await startNode(t, { verifyClient });
      const { kind, says } = await Peer.dial(t, url).event('error');
      assert.equal(kind, `handshake ${status}`);
      assert.match(says, new RegExp(`${status}.*${name}.*because of ${status}`));
    });
  }

  test('says that a server answered 200, which is no WebSocket', async (t) => {
    const http = createServer((_, response) => response.end('hello'));
    // Without an 'upgrade' listener Node answers such a request as any other.
    const { kind, says } = await Peer.dial(t, await listenOn(t, http)).event('error');
    assert.equal(kind, 'handshake 200');
    assert.match(says, /200/);
  });

  test('does not take an answer with another key, of no HTTP, or that ends too early', async (t) => {
    const wrongKey =
      'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n' +
      'Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n';
    for (const [head, wanted, words] of [
      [wrongKey, 'handshake 101', /Sec-WebSocket-Accept/],
      ['SSH-2.0-OpenSSH_9.2\r\n', 'handshake 0', /not HTTP/],
      ['HTTP/1.1 101 Switch', 'io UnexpectedEof', /before it had answered/],
      [`HTTP/1.1 101 OK\r\nX: ${'y'.repeat(20_000)}`, 'handshake 0', /16 KiB/],
    ]) {
      const { kind, says } = await Peer.dial(t, await answering(t, head)).event('error');
      assert.equal(kind, wanted, says);
      assert.match(says, words);
    }
  });

  test('gives up when a server never answers, and when nobody listens', async (t) => {
    const silent = await listenOn(t, createTcpServer());
    const late = await Peer.dial(t, silent, { patience: 300 }).event('error');
    assert.equal(late.kind, 'io TimedOut');
    const closed = createTcpServer().listen(0, '127.0.0.1');
    await once(closed, 'listening');
    const { port } = closed.address();
    await new Promise((done) => closed.close(done));
    const { kind, says } = await Peer.dial(t, `ws://127.0.0.1:${port}/`).event('error');
    assert.equal(kind, 'io ConnectionRefused');
    assert.match(says, new RegExp(`connect to ws://127.0.0.1:${port}/`));
  });
});
