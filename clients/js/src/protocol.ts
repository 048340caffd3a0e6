// A client meets boards that are older or newer than itself. Everything that arrives is therefore checked here, once,
// so that no other file has to wonder whether a field exists; what this version doesn't know is dropped without noise.
// docs/protocol.md is the specification.

/** What a channel may say; `null` is "no reading". */
export type Value = number | boolean | string | null;
/** `gauge` goes up and down, `counter` only grows, `state` is one of a few. */
export type Kind = 'gauge' | 'counter' | 'state';
/** How a channel is. The last good value stays valid as such. */
export type Status = 'ok' | 'stale' | 'error' | 'gone';

/** What is known of a channel, apart from its readings. */
export interface Channel {
  /** Its number within one start of the board; -1 when the board named none. */
  id: number;
  /** Levels joined by `/`, such as `cpu/temperature`. */
  name: string;
  kind: Kind;
  status: Status;
  /** A SenML unit (RFC 8428 section 12.1, RFC 8798): `%`, `B`, `B/s`, `Cel`, `s`. */
  unit?: string;
  /** A name for people. */
  label?: string;
  /** The least and the most that it can be. */
  min?: number;
  max?: number;
  /** Seconds without a reading after which it is stale. */
  staleAfter?: number;
  /** Who reads it. */
  source?: string;
  /** Why its status is `error`. */
  reason?: string;
}

/** Whether anything is heard of a device of a fleet; `gone`: it is forgotten, with its channels. */
export type DeviceStatus = 'online' | 'stale' | 'offline' | 'gone';

/** A board that a fleet server speaks for. */
export interface Device {
  /** The first level of its channels' names. */
  name: string;
  status: DeviceStatus;
  /** New at each of its starts; absent while it is not known. */
  epoch?: string;
  /** Its newest batch. */
  seq: number;
  /** When that was read, seconds since 1970; `null` when there is none. */
  t: number | null;
  /** More of its status, for people. */
  reason?: string;
}

/** New or changed devices, each described whole. */
export interface Devices {
  type: 'devices';
  devices: Device[];
}

/** The first message of each connection. */
export interface Hello {
  type: 'hello';
  version: number;
  /** The board's name. */
  device: string;
  /** New at each start of the board: `seq` and `id` mean something only within one. */
  epoch: string;
  /** The newest batch. */
  seq: number;
  /** The board's clock, seconds since 1970. */
  time: number;
  /** Whether that clock is known to be right. */
  synced: boolean;
  /** Seconds of silence after which the board gives a sign of life. */
  heartbeat: number;
  /** Whether `publish` is allowed. */
  mayPublish: boolean;
  /** It speaks for many boards: channels are named `DEVICE/CHANNEL`. */
  fleet: boolean;
  channels: Channel[];
}

/** New or changed descriptions, each whole. */
export interface Channels {
  type: 'channels';
  channels: Channel[];
}

/** One entry per row. Numbers that came as binary are a view of the message's own bytes; NaN in them is "no reading". */
export type Column = readonly Value[] | Float64Array | Float32Array;

/** Readings: a small table whose rows are instants and whose columns are channels. */
export interface Data {
  type: 'data';
  /** Whose they are, and of which start of it, in a fleet; `seq` counts in that. */
  device?: string;
  epoch?: string;
  seq: number;
  /** The latest value of every channel, not something new. */
  snapshot: boolean;
  /** Another part with the same `seq` follows, of a snapshot or of a paced message. */
  more: boolean;
  /** One instant per row, seconds since 1970. */
  times: readonly number[] | Float64Array;
  /** By the channel's name. */
  values: Map<string, Column>;
}

/** These batches did not reach this client. */
export interface Gap {
  type: 'gap';
  /** Whose they are, and of which start of it, in a fleet. */
  device?: string;
  epoch?: string;
  /** Absent where the server does not know how far the client had come. */
  from?: number;
  to: number;
}

/** What holds from here on. */
export interface Subscribed {
  type: 'subscribed';
  channels: string[];
  maxHz?: number;
  /** The client goes on where it was, without a loss. */
  recovered: boolean;
  id?: number | string;
}

/** Every message that a client understands. */
export type Message =
  | Hello
  | Channels
  | Devices
  | Data
  | Gap
  | Subscribed
  | { type: 'heartbeat'; seq: number; time: number }
  | { type: 'clock'; step: number; time: number; synced: boolean }
  | { type: 'published'; id?: number | string }
  | { type: 'pong'; id?: number | string; time: number }
  | { type: 'error'; code: string; message: string; id?: number | string };

type Fields = Record<string, unknown>;

const isObject = (x: unknown): x is Fields => typeof x === 'object' && x !== null && !Array.isArray(x);
const number = (x: unknown): number | undefined => (typeof x === 'number' && Number.isFinite(x) ? x : undefined);
const string = (x: unknown): string | undefined => (typeof x === 'string' ? x : undefined);
const nonEmpty = (x: unknown): string | undefined => string(x) || undefined;

/** The fields that are there, for types whose fields may be absent but not `undefined`. */
function present<T extends object>(fields: { [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

/** What a message says, or `null` when this version does not understand it. Never throws. */
export function parse(text: string): Message | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  return isObject(json) ? parseObject(json) : null;
}

function parseObject(json: Fields): Message | null {
  const id = number(json.id) ?? string(json.id);
  const answer = id === undefined ? {} : { id };
  switch (json.type) {
    case 'hello':
      return parseHello(json);
    case 'channels':
      return { type: 'channels', channels: parseList(json.channels, parseChannel) };
    case 'devices':
      return { type: 'devices', devices: parseList(json.devices, parseDevice) };
    case 'data':
      return parseData(json);
    case 'gap':
      return parseGap(json);
    case 'subscribed':
      return { ...parseSubscribed(json), ...answer };
    case 'heartbeat':
    case 'clock':
      return parseTime(json, json.type);
    case 'published':
      return { type: 'published', ...answer };
    case 'pong':
      return { type: 'pong', time: number(json.time) ?? 0, ...answer };
    case 'error':
      return { type: 'error', code: string(json.code) ?? '', message: string(json.message) ?? '', ...answer };
    default:
      return null;
  }
}

function parseHello(json: Fields): Hello | null {
  const epoch = nonEmpty(json.epoch);
  const time = number(json.time);
  if (epoch === undefined || time === undefined) return null;
  const heartbeat = number(json.heartbeat) ?? 0;
  return {
    type: 'hello',
    version: number(json.version) ?? 1,
    device: string(json.device) ?? '',
    epoch,
    seq: number(json.seq) ?? 0,
    time,
    synced: json.synced !== false,
    heartbeat: heartbeat > 0 ? heartbeat : 15,
    mayPublish: json.may_publish === true,
    fleet: json.fleet === true,
    channels: parseList(json.channels, parseChannel),
  };
}

function parseList<T>(json: unknown, parseOne: (item: Fields) => T | null): T[] {
  if (!Array.isArray(json)) return [];
  return json.flatMap((item) => (isObject(item) ? (parseOne(item) ?? []) : []));
}

const DEVICE_STATUSES: readonly unknown[] = ['online', 'stale', 'offline', 'gone'];

function parseDevice(json: Fields): Device | null {
  const name = nonEmpty(json.name);
  if (name === undefined) return null;
  return present<Device>({
    name,
    status: DEVICE_STATUSES.includes(json.status) ? (json.status as DeviceStatus) : 'stale',
    epoch: nonEmpty(json.epoch),
    seq: number(json.seq) ?? 0,
    t: number(json.t) ?? null,
    reason: nonEmpty(json.reason),
  });
}

/** Whose a message is, where that is said. */
const origin = (json: Fields): { device?: string; epoch?: string } =>
  present<{ device?: string; epoch?: string }>({ device: nonEmpty(json.device), epoch: nonEmpty(json.epoch) });

const KINDS: readonly unknown[] = ['gauge', 'counter', 'state'];
const STATUSES: readonly unknown[] = ['ok', 'stale', 'error', 'gone'];

function parseChannel(json: Fields): Channel | null {
  const name = nonEmpty(json.name);
  if (name === undefined) return null;
  const staleAfter = number(json.stale_after) ?? 0;
  return present<Channel>({
    id: number(json.id) ?? -1,
    name,
    kind: KINDS.includes(json.kind) ? (json.kind as Kind) : 'gauge',
    status: STATUSES.includes(json.status) ? (json.status as Status) : 'ok',
    unit: nonEmpty(json.unit),
    label: nonEmpty(json.label),
    min: number(json.min),
    max: number(json.max),
    staleAfter: staleAfter > 0 ? staleAfter : undefined,
    source: nonEmpty(json.source),
    reason: nonEmpty(json.reason),
  });
}

const isValue = (x: unknown): x is Value =>
  x === null || typeof x === 'number' || typeof x === 'boolean' || typeof x === 'string';

function parseData(json: Fields): Data | null {
  const t = number(json.t);
  if (t === undefined || !isObject(json.values)) return null;
  const manyRows = Array.isArray(json.dt);
  const times = manyRows ? (json.dt as unknown[]).map((d) => t + (number(d) ?? 0)) : [t];
  const values = new Map<string, Column>();
  for (const [name, given] of Object.entries(json.values)) {
    const column: unknown[] = manyRows && Array.isArray(given) ? given : [given];
    // A column of another length than its instants has no meaning that could be guessed.
    if (column.length === times.length && column.every(isValue)) values.set(name, column);
  }
  const flags = { snapshot: json.snapshot === true, more: json.more === true };
  return { type: 'data', ...origin(json), seq: number(json.seq) ?? 0, ...flags, times, values };
}

function parseGap(json: Fields): Gap | null {
  const from = number(json.from);
  const to = number(json.to);
  if (to === undefined || to < (from ?? 0)) return null;
  const whose = origin(json);
  // Of a board it has to say where it begins.
  if (from === undefined) return whose.device === undefined ? null : { type: 'gap', ...whose, to };
  return { type: 'gap', ...whose, from, to };
}

function parseSubscribed(json: Fields): Subscribed {
  const channels = Array.isArray(json.channels) ? json.channels.flatMap((filter) => string(filter) ?? []) : [];
  return present<Subscribed>({
    type: 'subscribed',
    channels,
    recovered: json.recovered === true,
    maxHz: number(json.max_hz),
    id: undefined,
  });
}

function parseTime(json: Fields, type: 'heartbeat' | 'clock'): Message | null {
  const time = number(json.time);
  if (time === undefined) return null;
  if (type === 'heartbeat') return { type, seq: number(json.seq) ?? 0, time };
  return { type, step: number(json.step) ?? 0, time, synced: json.synced !== false };
}
