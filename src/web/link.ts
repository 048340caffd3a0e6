// A board reboots, Wi-Fi fades, a laptop sleeps. The page must come back by itself, soon, and without a hundred pages
// falling on a board that has just started: hence full jitter. Half-open connections are common on Wi-Fi and the browser
// never reports them, so silence is what counts. The world is passed in: tests run this without a network or a clock.

import { parse, type Message } from './protocol';

/** The part of a browser's WebSocket that is used. */
export interface Socket {
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  close(): void;
}

export interface World {
  open(): Socket;
  /** Monotonic milliseconds. */
  now(): number;
  random(): number;
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
}

export type LinkState =
  | { name: 'connecting' }
  | { name: 'live' }
  /** `retryAt` is null while an attempt is on its way; `why` is what the server said when it closed. */
  | { name: 'reconnecting'; retryAt: number | null; why: string };

export interface Listener {
  message(message: Message): void;
  state(state: LinkState): void;
}

export const BACKOFF_FIRST_MS = 500;
export const BACKOFF_MAX_MS = 30_000;
const BACKOFF_FLOOR_MS = 100;
/** For the TCP and WebSocket handshakes and the hello together: a lost SYN would otherwise hang for two minutes. */
export const HELLO_TIMEOUT_MS = 10_000;
/** A board that greets and falls over at once must not reset the back-off. */
export const HEALTHY_MS = 3000;
const SILENCE_FACTOR = 2.5;

export class Link {
  private socket: Socket | null = null;
  private current: LinkState = { name: 'connecting' };
  private attempt = 0;
  private timer: unknown = null;
  private lastTraffic = 0;
  private liveSince = 0;
  private silenceMs = 0;

  constructor(
    private readonly world: World,
    private readonly listener: Listener,
  ) {}

  get state(): LinkState {
    return this.current;
  }

  start(): void {
    this.listener.state(this.current);
    this.connect();
  }

  /** The network is back, or somebody looks at the page again: waiting any longer makes no sense. */
  nudge(): void {
    if (this.current.name === 'reconnecting' && this.current.retryAt !== null) this.connect();
    else if (this.current.name === 'live') this.watchSilence();
  }

  private connect(): void {
    this.clearTimer();
    if (this.current.name === 'reconnecting') this.enter({ ...this.current, retryAt: null });
    let socket: Socket;
    try {
      socket = this.world.open();
    } catch {
      this.lost('');
      return;
    }
    this.socket = socket;
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event) => this.lost(event.reason);
    this.startTimer(() => this.lost('the board did not answer'), HELLO_TIMEOUT_MS);
  }

  private received(data: unknown): void {
    const now = this.world.now();
    this.lastTraffic = now;
    const message = typeof data === 'string' ? parse(data) : null;
    if (this.current.name === 'live') {
      if (now - this.liveSince >= HEALTHY_MS) this.attempt = 0;
    } else if (message?.type === 'hello') {
      this.liveSince = now;
      this.silenceMs = SILENCE_FACTOR * message.heartbeat * 1000;
      this.enter({ name: 'live' });
      this.watchSilence();
    } else if (message?.type !== 'error') {
      return; // Nothing means anything before the hello, but an error says why there is none.
    }
    if (message) this.listener.message(message);
  }

  /** One timer that looks at the time of the last message, instead of one that is set anew by every message. */
  private watchSilence(): void {
    this.clearTimer();
    const left = this.lastTraffic + this.silenceMs - this.world.now();
    if (left <= 0) this.lost('the board fell silent');
    else this.startTimer(() => this.watchSilence(), left);
  }

  private lost(why: string): void {
    this.clearTimer();
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      // Its close event may come a minute later, or never: it's no longer ours.
      socket.onmessage = socket.onclose = null;
      socket.close();
    }
    if (this.current.name === 'live' && this.world.now() - this.liveSince >= HEALTHY_MS) this.attempt = 0;
    const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(this.attempt, 16));
    const delay = Math.max(BACKOFF_FLOOR_MS, this.world.random() * ceiling);
    this.attempt += 1;
    this.enter({ name: 'reconnecting', retryAt: this.world.now() + delay, why });
    this.startTimer(() => this.connect(), delay);
  }

  private enter(state: LinkState): void {
    this.current = state;
    this.listener.state(state);
  }

  private startTimer(run: () => void, ms: number): void {
    this.clearTimer();
    this.timer = this.world.setTimeout(() => {
      this.timer = null;
      run();
    }, ms);
  }

  private clearTimer(): void {
    if (this.timer !== null) this.world.clearTimeout(this.timer);
    this.timer = null;
  }
}
