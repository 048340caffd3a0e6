// Two WebSocket clients that nobody here has written, with one face: what opened, what came, how it ended.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import WebSocket from 'ws';
import { here, Program } from './program.mjs';
import { Arrivals, within } from './waiting.mjs';

const python = join(here, '../.venv/bin/python');

/** Node's `ws`. `ca` names a file: the certificate that is trusted. */
export async function joinWithNode(t, url, { protocols = [], origin, messages: count, ca } = {}) {
  const socket = new WebSocket(url, protocols, { origin, ca: ca && (await readFile(ca)) });
  t.after(() => socket.terminate());
  const messages = new Arrivals();
  socket.on('message', (data, isBinary) => {
    messages.push(isBinary ? { binary: data.length } : JSON.parse(data));
    if (messages.all.length === count) socket.close();
  });
  const closed = new Promise((resolve) => {
    socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
  });
  await within(once(socket, 'open'), 'WebSocket');
  return { subprotocol: socket.protocol, messages, closed, send: (message) => socket.send(JSON.stringify(message)) };
}

/** How the server refuses: `{status, body}`. */
export async function refusal(t, url, { protocols = [], origin } = {}) {
  const socket = new WebSocket(url, protocols, { origin });
  t.after(() => socket.terminate());
  socket.on('error', () => {}); // terminate() before it opened is one.
  const answer = new Promise((resolve, reject) => {
    socket.on('open', () => reject(new Error('the server did not refuse')));
    socket.on('unexpected-response', (_, response) => resolve(response));
  });
  const response = await within(answer, 'refusal');
  const body = Buffer.concat(await within(response.toArray(), 'end of the body')).toString();
  return { status: response.statusCode, body };
}

/** The code with which a page of `origin`, which could not see a status, is shown out. */
export async function shownOut(t, url, origin) {
  const { closed, messages } = await joinWithNode(t, url, { origin });
  const { code } = await within(closed, 'end');
  return { code, messages: messages.all.length };
}

/** Python's `websockets`, through `client.py`. */
export async function joinWithPython(t, url, { protocols = [], messages: count, ca } = {}) {
  const args = protocols.flatMap((name) => ['--subprotocol', name]);
  if (count !== undefined) args.push('--messages', String(count));
  const trust = ca ? ['env', `SSL_CERT_FILE=${ca}`] : [];
  const client = new Program(t, [...trust, python, join(here, 'client.py'), url, ...args]);
  const opened = JSON.parse((await client.line(client.stdout, /^\{"event": "open"/)).input);
  const messages = new Arrivals();
  const closed = (async () => {
    for await (const line of client.stdout) {
      const { event, message, code, reason } = JSON.parse(line);
      if (event === 'close') return { code, reason };
      messages.push(message);
    }
    throw new Error(`the Python client failed:\n${client.stderr.all.join('\n')}`);
  })();
  closed.catch(() => {}); // The test that waits for it hears of it.
  return { subprotocol: opened.subprotocol ?? '', messages, closed };
}

export const PEERS = [
  ['Node ws', joinWithNode],
  ['a Python client', joinWithPython],
];
