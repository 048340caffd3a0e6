// A world without a network or a clock: sockets that say what they are told, timers that run when a test lets time pass.

import type { Socket, World } from '../src/link.js';

export class FakeSocket implements Socket {
  binaryType = '';
  onmessage: Socket['onmessage'] = null;
  onclose: Socket['onclose'] = null;
  onerror: Socket['onerror'] = null;
  closed = false;
  readonly sent: Record<string, unknown>[] = [];

  constructor(
    readonly url = '',
    readonly protocols: string[] = [],
  ) {}

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }
  close(): void {
    this.closed = true;
  }
  receive(message: object): void {
    this.onmessage?.({ data: message instanceof ArrayBuffer ? message : JSON.stringify(message) });
  }
  hello(fields: object = {}): void {
    this.receive({ type: 'hello', version: 1, device: 'pi', epoch: 'a', seq: 0, time: 1, heartbeat: 15, channels: [], ...fields });
  }
  drop(code = 1006, reason = ''): void {
    this.onclose?.({ code, reason });
  }
}

export class FakeWorld implements World {
  time = 1e12;
  chance = 1;
  refuse = false;
  readonly sockets: FakeSocket[] = [];
  private timers: { at: number; run: () => void }[] = [];

  // Own properties, not methods: a world can be spread.
  open = (): Socket => {
    if (this.refuse) throw new Error('blocked');
    const socket = new FakeSocket();
    this.sockets.push(socket);
    return socket;
  };
  now = (): number => this.time;
  random = (): number => this.chance;
  setTimeout = (run: () => void, ms: number): unknown => {
    const timer = { at: this.time + ms, run };
    this.timers.push(timer);
    return timer;
  };
  clearTimeout = (timer: unknown): void => {
    this.timers = this.timers.filter((other) => other !== timer);
  };
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

  /** The machine sleeps: time passes, no timer runs; what fell due runs on waking. */
  sleep(ms: number): void {
    this.time += ms;
    this.pass(0);
  }
}
