// A fleet server that says whatever a test wants: the page as it was bundled, and the stream by a script. For what real
// boards do not do: thousands of devices, and names that nobody may have.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { here } from './program.mjs';
import { Arrivals } from './waiting.mjs';

const dist = join(here, '../../src/web/dist');
const TYPES = { html: 'text/html', js: 'text/javascript', css: 'text/css', svg: 'image/svg+xml' };
// As in src/web/mod.rs.
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'";

export class FleetServer {
  /** What the page sends. */
  asked = new Arrivals();
  #devices;
  #channels;
  #sockets = new Set();
  #seq = 1;

  /** `devices` as in docs/protocol.md; each has these `channels`, named without it, at `start` (50) to begin with. */
  static async start(t, devices, channels) {
    const server = createServer(async (request, response) => {
      const name = request.url.slice(1).split('?')[0] || 'index.html';
      const type = TYPES[name.split('.').at(-1)];
      const body = type && (await readFile(join(dist, name)).catch(() => null));
      const head = body ? { 'Content-Type': type, 'Content-Security-Policy': POLICY } : {};
      response.writeHead(body ? 200 : 204, head).end(body ?? undefined);
    });
    const fleet = new FleetServer();
    fleet.#devices = new Map(devices.map((device) => [device.name, { epoch: 'e', seq: 1, t: Date.now() / 1000, ...device }]));
    fleet.#channels = channels.map((channel) => ({ kind: 'gauge', status: 'ok', ...channel }));
    const sockets = new WebSocketServer({ server, handleProtocols: () => 'boardcast.v1.json' });
    sockets.on('connection', (socket) => fleet.#greet(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => {
      for (const socket of sockets.clients) socket.terminate();
      server.close();
    });
    fleet.origin = `http://127.0.0.1:${server.address().port}`;
    return fleet;
  }

  #greet(socket) {
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    socket.on('message', (text) => {
      const message = JSON.parse(text);
      if (message.type === 'subscribe') this.#subscribe(socket, message);
      this.asked.push(message);
    });
    send(socket, { type: 'hello', version: 1, device: 'fleet', epoch: 'f', seq: 1, time: Date.now() / 1000, synced: true, heartbeat: 15, fleet: true, channels: [] });
    this.#list(socket, [...this.#devices.values()]);
    send(socket, { type: 'heartbeat', seq: 1, time: Date.now() / 1000 });
  }

  #list(socket, devices) {
    for (let i = 0; i < devices.length; i += 150) send(socket, { type: 'devices', devices: devices.slice(i, i + 150) });
  }

  /** All channels of all devices, or of that one whose page it is. */
  #subscribe(socket, { channels: filters, id }) {
    send(socket, { type: 'subscribed', channels: filters, recovered: false, id });
    const of = [...this.#devices.values()].filter(({ name }) => filters.every((filter) => filter.startsWith('+/') || filter === `${name}/#`));
    for (const device of of) {
      const channels = this.#channels.map((channel) => ({ ...channel, id: -1, name: `${device.name}/${channel.name}` }));
      send(socket, { type: 'channels', channels });
      send(socket, { ...this.#data(device, ({ start = 50 }) => start), snapshot: true });
    }
    send(socket, { type: 'heartbeat', seq: 1, time: Date.now() / 1000 });
  }

  #data({ name, epoch, seq, t }, value) {
    return { type: 'data', device: name, epoch, seq, t, values: Object.fromEntries(this.#channels.map((channel) => [`${name}/${channel.name}`, value(channel)])) };
  }

  /** A batch of each device that is online; `value` gets the device and the channel. */
  tick(value = () => Math.round(Math.random() * 1000) / 10) {
    this.#seq += 1;
    const t = Date.now() / 1000;
    for (const device of this.#devices.values()) {
      if (device.status !== 'online') continue;
      Object.assign(device, { seq: this.#seq, t });
      const text = JSON.stringify(this.#data(device, (channel) => value(device, channel)));
      for (const socket of this.#sockets) socket.send(text);
    }
  }

  /** These devices are doing otherwise than before. */
  tell(...changes) {
    const changed = changes.map((change) => ({ epoch: 'e', seq: 1, t: null, ...this.#devices.get(change.name), ...change }));
    for (const device of changed) this.#devices.set(device.name, device);
    for (const socket of this.#sockets) this.#list(socket, changed);
  }
}

const send = (socket, message) => socket.send(JSON.stringify(message));
