// One board: what it says, kept up to date over however many connections that takes.

import { besideStream, streamAddress } from './address.js';
import { CAN_READ_BINARY, decode } from './binary.js';
import { BoardcastError } from './error.js';
import { eventOf, type BoardcastEventMap, type ConnectionStatus } from './events.js';
import { fetchHistory, historyAddress, type History, type HistoryQuery } from './history.js';
import { FleetPlace, deviceOf } from './fleet.js';
import { Link, type Socket, type World } from './link.js';
import { Place } from './place.js';
import { parse, type Channel, type Column, type Data, type Device, type Hello, type Message, type Subscribed, type Value } from './protocol.js';
import { Readings, type Callback, type Latest } from './readings.js';
import { checked, type Selection } from './selection.js';
import { watchWakeUps } from './wake.js';

export interface Options {
  /** Which channels: filters such as `cpu/#` or `+/temperature`. Everything, when left out; nothing, when empty. */
  channels?: readonly string[];
  /** At most so many messages a second, each with the newest values. Every batch, when left out. */
  maxHz?: number;
  /** Ask for numbers as typed arrays, which are not parsed and not copied. */
  binary?: boolean;
  /** Goes with every connection, as the subprotocol entry `boardcast.auth.…`, and with every request, as `Authorization`. */
  token?: string;
  /** What opens connections, where there is no global `WebSocket` (Node before 22): `ws`. */
  WebSocket?: new (url: string, protocols?: string[]) => unknown;
}

/** What is around a board, apart from its network. */
export interface Surroundings {
  /** The address of the module or of the page. */
  base?: string;
  /** Clock and chance, for tests. */
  world?: Omit<World, 'open'>;
}

interface Pending {
  resolve(message: Message): void;
  reject(error: BoardcastError): void;
  /** Of a `subscribe`, which the next connection carries out when this one ends before its answer: what held before. */
  before?: Selection;
}

const REAL: Omit<World, 'open'> = {
  now: () => Date.now(),
  random: () => Math.random(),
  setTimeout: (run, ms) => setTimeout(run, ms),
  clearTimeout: (timer) => clearTimeout(timer as number),
};
const CLOSED = 'the client was closed';
/** The board takes 8 KiB of a request's head, most of which browsers may need: a longer query is sent as a message. */
const MOST_QUERY = 2048;
const PROTOCOLS = ['boardcast.v1.bin', 'boardcast.v1.json'];

/** What is offered. A token goes with it, since a browser's WebSocket can send no header; the board never names it. */
function protocolsOf({ binary, token }: Options): string[] {
  const known = binary && CAN_READ_BINARY ? PROTOCOLS : [];
  if (token === undefined) return known;
  const bytes = String.fromCharCode(...new TextEncoder().encode(token));
  const entry = btoa(bytes).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
  return [...(known.length > 0 ? known : ['boardcast.v1.json']), `boardcast.auth.${entry}`];
}

export class Board extends EventTarget {
  /** The address of the stream, without what is asked of it. */
  readonly url: string;
  /** The last greeting; `null` before the first. */
  hello: Hello | null = null;

  private readonly link: Link;
  private readonly place = new Place();
  /** The same, where many boards are spoken for. */
  private readonly fleet = new FleetPlace();
  private readonly known = new Map<string, Device>();
  /** Devices of which this connection has said nothing yet; whoever is left when all had their turn is gone. */
  private unheard = new Set<string>();
  private readonly readings = new Readings(report);
  /** By their number, within one start of the board. */
  private readonly names = new Map<number, string>();
  private readonly pending = new Map<number, Pending>();
  private readonly unwatch: () => void;
  private readonly token: string | undefined;
  private selection: Selection;
  /** The selection in the address of the connection; `null` where that asks for nothing, since it would be too long. */
  private asked: Selection | null = null;
  /** Where the first `subscribe` goes on with this selection, which was too long for the address. */
  private resume: { selection: Selection; since: object } | null = null;
  private lastId = 0;

  /**
   * Connects at once, and again whenever the connection is lost.
   *
   * @param url `http://pi:8642`, `pi:8642`, `ws://pi:8642/ws`
   */
  constructor(url: string | URL | undefined, options: Options = {}, { base, world = REAL }: Surroundings = {}) {
    super();
    this.url = streamAddress(url, base).href;
    this.selection = checked(options);
    this.token = options.token;
    const Constructor = options.WebSocket ?? globalThis.WebSocket;
    if (!Constructor) throw new TypeError('there is no WebSocket here: give one, as in new Boardcast(url, { WebSocket })');
    const protocols = protocolsOf(options);
    const open = (): Socket => new Constructor(this.address(), protocols) as Socket;
    this.link = new Link({ ...world, open }, {
      decode: (data) => {
        try {
          return this.decode(data);
        } catch (error) {
          report(error); // A fault of the board: to be seen, and no reason to fail.
          return null;
        }
      },
      message: (message) => this.take(message),
      state: () => this.dispatchEvent(eventOf('status', { status: this.status, retryAt: this.retryAt, reason: this.reason })),
      lost: (code, reason) => this.lost(code, reason),
    });
    this.unwatch = watchWakeUps(this.link);
    this.link.start();
  }

  /** Whether its readings are live. */
  get status(): ConnectionStatus {
    return this.link.state;
  }

  /** While it waits: when the next attempt starts, in milliseconds since 1970. */
  get retryAt(): number | null {
    return this.link.retryAt;
  }

  /** Why the last connection or attempt ended, as far as that is known. */
  get reason(): string {
    return this.link.reason;
  }

  /** The close code of the last connection while there is none: 4401 wants a token, 4403 lets nobody in from here. */
  get code(): number | null {
    return this.link.code;
  }

  /** The newest reading of every channel, by name. */
  get latest(): ReadonlyMap<string, Latest> {
    return this.readings.latest;
  }

  /** What is known of every channel, by name. */
  get channels(): ReadonlyMap<string, Channel> {
    return this.readings.channels;
  }

  /** In a fleet: its devices, by name. */
  get devices(): ReadonlyMap<string, Device> {
    return this.known;
  }

  /**
   * Calls back with each reading of the channels that `filter` selects, first with what is known already. What a
   * callback throws is reported, and stops no other.
   *
   * @returns what ends it
   */
  on(filter: string, callback: Callback): () => void {
    return this.readings.on(filter, callback);
  }

  /**
   * Selects other channels, from now on and over all connections. A snapshot of them comes first.
   *
   * @returns what the board made of it
   */
  async subscribe(channels: readonly string[], { maxHz }: Pick<Options, 'maxHz'> = {}): Promise<Subscribed> {
    const before = this.selection;
    this.selection = checked({ channels, maxHz });
    const id = ++this.lastId;
    if (this.status === 'live') this.sendSelection(id);
    else this.reselect(null);
    return (await this.answerTo(id, before)) as Subscribed;
  }

  private sendSelection(id: number): void {
    const { channels, maxHz } = this.selection;
    const rate = maxHz === undefined ? {} : { max_hz: maxHz };
    const since = this.since();
    this.link.send({ type: 'subscribe', channels: channels ?? ['#'], ...rate, ...since, id });
    // A fleet's place goes on with the devices that it was sent with.
    if (!this.hello?.fleet || !('since' in since)) this.reselect(id);
  }

  private reselect(id: number | null): void {
    this.place.reselect(id);
    this.fleet.reselect(id);
  }

  /** It counts once, and only for the selection that it was of. */
  private since(): { since?: object } {
    const { resume } = this;
    this.resume = null;
    return resume?.selection === this.selection ? { since: resume.since } : {};
  }

  /** Sends readings to the board, where that is allowed; done when the board has them. */
  async publish(values: Readonly<Record<string, Value>>): Promise<void> {
    const id = ++this.lastId;
    if (!this.link.send({ type: 'publish', values, id }) && this.status !== 'closed') {
      throw new BoardcastError('offline', 'there is no connection to the board at present');
    }
    await this.answerTo(id);
  }

  /** What was. */
  history(query: HistoryQuery = {}): Promise<History> {
    const url = besideStream(new URL(this.url), 'api/history');
    const { channels } = this.selection;
    return fetchHistory(historyAddress(url, query, channels?.length ? channels : ['#']), query.signal, this.token);
  }

  /** Ends it for good. */
  close(): void {
    this.unwatch();
    this.readings.end();
    this.link.stop();
    this.refuse(() => true, 'closed', CLOSED);
  }

  /** The address of the next connection: what is asked for, and from where on. */
  private address(): string {
    const url = new URL(this.url);
    const { channels, maxHz } = this.selection;
    this.asked = this.selection;
    this.resume = null;
    if (this.hello?.fleet) {
      // The places of many are no query; and the address may lead to another server of the same fleet.
      const places = this.fleet.since;
      if (places) return this.resumed(url, places);
    }
    const since = this.hello?.fleet ? null : this.place.since;
    if (channels) url.searchParams.set('channels', channels.join(','));
    if (url.search.length > MOST_QUERY) {
      const [epoch, seq] = since?.split(':') ?? [];
      return this.resumed(url, since === null ? null : { epoch, seq: Number(seq) });
    }
    if (maxHz !== undefined) url.searchParams.set('max_hz', String(maxHz));
    if (since !== null) url.searchParams.set('since', since);
    return url.href;
  }

  /** An address that asks for nothing: the first message does. */
  private resumed(url: URL, since: object | null): string {
    url.searchParams.set('channels', '');
    this.asked = null;
    this.resume = since && { selection: this.selection, since };
    return url.href;
  }

  private decode(data: unknown): Message | null {
    if (typeof data === 'string') return parse(data);
    if (!(data instanceof ArrayBuffer)) return null;
    const table = decode(data);
    if (!table) return null;
    const { seq, times, ids, columns } = table;
    const values = new Map<string, Column>();
    ids.forEach((id, i) => {
      const name = this.names.get(id);
      if (name !== undefined) values.set(name, columns[i] as Column);
    });
    const [name] = values.keys();
    const whose = this.hello?.fleet && name !== undefined ? { device: deviceOf(name) } : {};
    return { type: 'data', ...whose, seq, snapshot: false, more: false, times, values };
  }

  private take(message: Message): void {
    const fleet = message.type === 'hello' ? message.fleet : this.hello?.fleet;
    const loss = fleet ? null : this.place.take(message);
    const losses = fleet ? this.fleet.take(message) : loss ? [loss] : [];
    if (message.type === 'hello') this.greeted(message, loss?.epochChanged ?? false);
    if (message.type === 'devices') this.meet(message.devices);
    if (fleet && message.type === 'heartbeat') this.missed();
    if (message.type === 'data') this.heard(message);
    if (message.type === 'channels') this.describe(message.channels);
    for (const { device, epochChanged } of losses) if (device !== undefined && epochChanged) this.readings.forgetDevice(device, false);
    // Whoever hears of one may close it.
    for (const lost of losses) this.dispatchEvent(eventOf('gap', lost));
    if (message.type === 'devices') this.dispatchEvent(eventOf('devices', { devices: message.devices }));
    if (message.type === 'hello' && this.status !== 'closed') this.dispatchEvent(eventOf('open', { hello: message }));
    if (this.status === 'closed') return;
    this.dispatchEvent(eventOf('message', { message }));
    if (message.type === 'data') this.readings.take(message);
    else this.answered(message);
  }

  private greeted(hello: Hello, startedAnew: boolean): void {
    const another = this.hello !== null && this.hello.fleet !== hello.fleet;
    // A place among a fleet's is none on a board.
    if (another) this.resume = null;
    if (another) this.known.clear();
    this.hello = hello;
    this.unheard = new Set(this.known.keys());
    this.names.clear();
    if (startedAnew || another) this.readings.forget();
    this.describe(hello.channels);
    // Another was chosen while the connection was under way; and an address that asks for nothing has no answer.
    const unanswered = this.selection.channels?.length === 0 && this.pending.size > 0;
    if (this.asked !== this.selection || unanswered) this.sendSelection([...this.pending.keys()].pop() ?? ++this.lastId);
  }

  private meet(devices: readonly Device[]): void {
    for (const device of devices) {
      this.unheard.delete(device.name);
      if (device.status !== 'gone') this.known.set(device.name, device);
      else if (this.known.delete(device.name)) this.readings.forgetDevice(device.name, true);
    }
  }

  /** After the greeting a heartbeat comes behind the last device. */
  private missed(): void {
    const devices = [...this.unheard].flatMap((name) => this.known.get(name) ?? []).map((device) => ({ ...device, status: 'gone' as const }));
    this.unheard.clear();
    if (devices.length === 0) return;
    this.meet(devices);
    this.dispatchEvent(eventOf('devices', { devices }));
  }

  /** A new batch alone is no change of a device that would be told. */
  private heard({ device, seq, times }: Data): void {
    const known = device === undefined ? undefined : this.known.get(device);
    const t = times[times.length - 1];
    if (known && t !== undefined) Object.assign(known, { seq, t });
  }

  private describe(channels: readonly Channel[]): void {
    for (const { id, name } of channels) this.names.set(id, name);
    this.readings.describe(channels);
  }

  private answerTo(id: number, before?: Selection): Promise<Message> {
    if (this.status === 'closed') return Promise.reject(new BoardcastError('closed', CLOSED));
    return new Promise((resolve, reject) => this.pending.set(id, { resolve, reject, ...(before && { before }) }));
  }

  private answered(message: Exclude<Message, Data>): void {
    if (message.type === 'subscribed') return this.subscribed(message);
    const id = 'id' in message ? message.id : undefined;
    const pending = typeof id === 'number' ? this.pending.get(id) : undefined;
    if (!pending) return;
    if (message.type !== 'error') {
      pending.resolve(message);
    } else {
      // A newer `subscribe` overtook this one: its answer is that of both.
      if (message.code === 'replaced') return;
      if (pending.before) this.revert(id as number, pending.before);
      pending.reject(new BoardcastError(message.code, message.message));
    }
    this.pending.delete(id as number);
  }

  /** The selection of this `subscribe` does not hold: the one before does, unless a newer was asked for. */
  private revert(id: number, before: Selection): void {
    const newer = [...this.pending].find(([other, pending]) => other > id && pending.before);
    if (newer) newer[1].before = before;
    else this.selection = before;
  }

  /** It answers every `subscribe` up to its own; without a number it is the answer to the connection's address. */
  private subscribed(message: Subscribed): void {
    if (message.id === undefined && this.asked !== this.selection) return;
    const upTo = typeof message.id === 'number' ? message.id : Infinity;
    for (const [id, { resolve, before }] of [...this.pending]) {
      if (!before || id > upTo) continue;
      this.pending.delete(id);
      resolve(message);
    }
  }

  private refuse(which: (pending: Pending) => boolean, code: string, why: string): void {
    for (const [id, pending] of [...this.pending]) {
      if (!which(pending)) continue;
      this.pending.delete(id);
      pending.reject(new BoardcastError(code, why));
    }
  }

  private lost(code: number, reason: string): void {
    this.refuse(({ before }) => before === undefined, 'lost', 'the connection ended before the board answered');
    this.dispatchEvent(eventOf('close', { code, reason }));
  }
}

// Only types: `addEventListener` knows the events of `BoardcastEventMap`.
export interface Board {
  addEventListener<K extends keyof BoardcastEventMap>(
    type: K,
    listener: (event: BoardcastEventMap[K]) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: AddEventListenerOptions | boolean): void;
}

/** As an exception that nobody caught, but later: what called back goes on. */
function report(error: unknown): void {
  if (typeof globalThis.reportError === 'function') globalThis.reportError(error);
  else
    setTimeout(() => {
      throw error;
    });
}
