// A board reboots, Wi-Fi fades, a laptop sleeps. A page must come back by itself, soon, and without a hundred pages
// falling on a board that has just started: hence full jitter. Half-open connections are common on Wi-Fi and the browser
// never reports them, so silence is what counts. The world is passed in: tests run this without a network or a clock.

import type { Message } from './protocol.js';

/** The part of a browser's WebSocket that is used. */
export interface Socket {
  binaryType: string;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: ((event: unknown) => void) | null;
  send(text: string): void;
  close(): void;
}

export interface World {
  open(): Socket;
  /** The wall clock, in milliseconds: the monotonic one stands still while a laptop sleeps. */
  now(): number;
  random(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** `connecting` while the first attempt lasts, `reconnecting` from each end to the next greeting, `closed` for good. */
export type LinkState = 'connecting' | 'live' | 'reconnecting' | 'closed';

export interface Listener {
  /** What arrived, understood, or `null`. */
  decode(data: unknown): Message | null;
  message(message: Message): void;
  state(state: LinkState): void;
  /** A connection that was live has ended. */
  lost(code: number, reason: string): void;
}

export const BACKOFF_FLOOR_MS = 500;
export const BACKOFF_FIRST_MS = 1000;
export const BACKOFF_MAX_MS = 30_000;
/** For the TCP and WebSocket handshakes and the hello together: a lost SYN would otherwise hang for two minutes. */
export const HELLO_TIMEOUT_MS = 10_000;
/** A board that greets and falls over at once must not reset the back-off. */
export const HEALTHY_MS = 3000;
/** Silence, in heartbeats, after which a link is dead. */
export const SILENCE_FACTOR = 2;
/** How often that is looked at, and how late that look may come before it means that the machine slept. */
export const LOOK_MS = 5000;
export const LATE_MS = 5000;
/** For the answer to a question of ours, when there is doubt. */
export const PROBE_MS = 3000;
/** What was heard so recently needs no such question. */
const FRESH_MS = 1000;

const PROBE = 'probe';
/** The server will not have us as we are: it is asked seldom, in case it is told otherwise. */
const REFUSED: Readonly<Record<number, number>> = {
  1008: BACKOFF_MAX_MS,
  // Each wrong token counts, and five in a minute lock this address out: a few pages that were left open must not.
  4401: 4 * BACKOFF_MAX_MS,
  4403: 4 * BACKOFF_MAX_MS,
};

export class Link {
  /** Where things stand. */
  state: LinkState = 'connecting';
  /** While it waits: when the next attempt starts, by `World.now`. */
  retryAt: number | null = null;
  /** What is known of why the last connection or attempt ended. */
  reason = '';
  /** The close code of the last connection, when it is not live: 4401 wants a token, 4403 lets nobody in from here. */
  code: number | null = null;

  private socket: Socket | null = null;
  private attempt = 0;
  private timer: unknown = null;
  private probeTimer: unknown = null;
  private heardAt = 0;
  private liveSince = 0;
  private lookAt = 0;
  private silenceMs = 0;

  constructor(
    private readonly world: World,
    private readonly listener: Listener,
  ) {}

  start(): void {
    this.connect();
  }

  /** Sends, when it is live. */
  send(message: object): boolean {
    if (this.state !== 'live' || !this.socket) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /** Somebody looks at the page again, or the network is back: waiting any longer makes no sense. */
  nudge(): void {
    if (this.state === 'live') {
      const silence = this.silence();
      if (silence >= this.silenceMs) this.fail('the board fell silent');
      else if (silence >= FRESH_MS) this.probe();
    } else if (this.retryAt !== null) {
      this.connect();
    }
  }

  /** The network is another one: what came a moment ago says nothing about the next. */
  networkChanged(): void {
    if (this.state === 'live') this.probe();
    else this.nudge();
  }

  private isLive(): boolean {
    return this.state === 'live';
  }

  stop(): void {
    if (this.state === 'closed') return;
    const live = this.state === 'live';
    this.drop();
    this.retryAt = null;
    this.reason = '';
    this.enter('closed');
    if (live) this.listener.lost(1000, '');
  }

  private connect(): void {
    this.clearTimers();
    const waited = this.retryAt !== null;
    this.retryAt = null;
    let socket: Socket;
    try {
      socket = this.world.open();
    } catch (error) {
      this.ended(1006, String(error));
      return;
    }
    this.socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event) => this.ended(event.code, event.reason);
    socket.onerror = () => {}; // Its close follows, and says more. Node's `ws` would throw without a listener.
    this.startTimer(() => this.fail('the board did not answer'), HELLO_TIMEOUT_MS);
    if (waited) this.listener.state(this.state);
  }

  private received(data: unknown): void {
    const slept = this.state === 'live' && this.silence() >= this.silenceMs;
    this.heardAt = this.world.now();
    if (this.probeTimer !== null) this.startProbeTimer();
    const message = this.listener.decode(data);
    if (message?.type === 'pong' && message.id === PROBE) {
      this.clearProbe();
      return;
    }
    if (this.isLive()) {
      if (this.heardAt - this.liveSince >= HEALTHY_MS) this.attempt = 0;
    } else if (message?.type === 'hello') {
      this.greeted(message.heartbeat);
    } else if (message?.type === 'error') {
      this.reason = message.message; // Nothing means anything before the hello, but this says why there is none.
      return;
    } else {
      return;
    }
    if (!this.isLive()) return; // Whoever heard of the greeting has closed it.
    // Of what a sleeping machine's kernel has kept, the last may be the end: the link itself must answer.
    if (slept) this.probe();
    if (message) this.listener.message(message);
  }

  private greeted(heartbeat: number): void {
    this.liveSince = this.heardAt;
    this.silenceMs = SILENCE_FACTOR * heartbeat * 1000;
    this.reason = '';
    this.look();
    this.enter('live');
  }

  /** One timer that looks at the time of the last message, instead of one that is set anew by every message. */
  private look(): void {
    const late = this.state === 'live' && this.world.now() - this.lookAt >= LATE_MS;
    const left = this.silenceMs - this.silence();
    if (late) {
      // What came meanwhile is still in the browser's queue, the end of the connection with it.
      this.probe();
    } else if (left <= 0) {
      this.fail('the board fell silent');
      return;
    }
    const wait = Math.min(LOOK_MS, left > 0 ? left : PROBE_MS);
    this.lookAt = this.world.now() + wait;
    this.startTimer(() => this.look(), wait);
  }

  private silence(): number {
    const now = this.world.now();
    this.heardAt = Math.min(this.heardAt, now); // The clock was set back.
    return now - this.heardAt;
  }

  /** Asks the board for a sign of life. While messages still come they put the deadline off. */
  private probe(): void {
    if (this.probeTimer !== null) return;
    this.startProbeTimer();
    this.send({ type: 'ping', id: PROBE });
  }

  private startProbeTimer(): void {
    this.clearProbe();
    this.probeTimer = this.world.setTimeout(() => this.fail('the board did not answer'), PROBE_MS);
  }

  /** We end it. */
  private fail(why: string): void {
    this.ended(1006, why);
  }

  private ended(code: number, reason: string): void {
    const live = this.state === 'live';
    this.drop();
    if (live && this.world.now() - this.liveSince >= HEALTHY_MS) this.attempt = 0;
    const delay = this.delay(code);
    this.attempt += 1;
    this.retryAt = this.world.now() + delay;
    this.reason = reason || this.reason;
    this.code = code;
    this.startTimer(() => this.connect(), delay);
    this.enter('reconnecting');
    if (live) this.listener.lost(code, reason);
  }

  /** Full jitter: clients that were cut off together come back apart. */
  private delay(code: number): number {
    const doubled = BACKOFF_FIRST_MS * 2 ** Math.min(this.attempt, 16);
    const refused = REFUSED[code];
    const ceiling = refused ?? Math.min(BACKOFF_MAX_MS, doubled);
    const floor = refused === undefined ? BACKOFF_FLOOR_MS : refused / 2;
    return floor + this.world.random() * (ceiling - floor);
  }

  private drop(): void {
    this.clearTimers();
    const socket = this.socket;
    this.socket = null;
    if (!socket) return;
    // Its close event may come a minute later, or never: it's no longer ours.
    socket.onmessage = socket.onclose = null;
    socket.close();
  }

  private enter(state: LinkState): void {
    this.state = state;
    this.listener.state(state);
  }

  private startTimer(run: () => void, ms: number): void {
    if (this.timer !== null) this.world.clearTimeout(this.timer);
    this.timer = this.world.setTimeout(() => {
      this.timer = null;
      run();
    }, ms);
  }

  private clearTimers(): void {
    if (this.timer !== null) this.world.clearTimeout(this.timer);
    this.timer = null;
    this.clearProbe();
  }

  private clearProbe(): void {
    if (this.probeTimer !== null) this.world.clearTimeout(this.probeTimer);
    this.probeTimer = null;
  }
}
