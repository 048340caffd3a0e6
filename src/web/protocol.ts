// The page meets boards that are older or newer than itself. Everything that arrives is therefore checked here, once,
// so that no other file has to wonder whether a field exists; what this version doesn't know is dropped without noise.

export type Value = number | boolean | string | null;
export type Kind = 'gauge' | 'counter' | 'state';
export type Status = 'ok' | 'stale' | 'error' | 'gone';

export interface Description {
  name: string;
  kind: Kind;
  status: Status;
  unit?: string;
  label?: string;
  min?: number;
  max?: number;
  staleAfter?: number;
  source?: string;
  reason?: string;
}

export interface Hello {
  type: 'hello';
  version: number;
  device: string;
  epoch: string;
  seq: number;
  time: number;
  synced: boolean;
  heartbeat: number;
  channels: Description[];
}

export interface Channels {
  type: 'channels';
  channels: Description[];
}

export interface Data {
  type: 'data';
  seq: number;
  snapshot: boolean;
  /** One instant per row; a message without `dt` has one row. */
  times: number[];
  values: Map<string, Value[]>;
}

export type Message =
  | Hello
  | Channels
  | Data
  | { type: 'gap'; from: number; to: number }
  | { type: 'heartbeat'; seq: number; time: number }
  | { type: 'clock'; time: number; synced: boolean }
  | { type: 'error'; code: string; message: string };

type Fields = Record<string, unknown>;

const isObject = (x: unknown): x is Fields => typeof x === 'object' && x !== null && !Array.isArray(x);
const number = (x: unknown): number | undefined => (typeof x === 'number' && Number.isFinite(x) ? x : undefined);
const string = (x: unknown): string | undefined => (typeof x === 'string' ? x : undefined);
const nonEmpty = (x: unknown): string | undefined => string(x) || undefined;

/** A message that this page understands, or `null` for anything else. Never throws. */
export function parse(text: string): Message | null {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isObject(json)) return null;
  switch (json.type) {
    case 'hello':
      return parseHello(json);
    case 'channels':
      return { type: 'channels', channels: parseDescriptions(json.channels) };
    case 'data':
      return parseData(json);
    case 'gap':
      return parseGap(json);
    case 'heartbeat':
    case 'clock': {
      const time = number(json.time);
      if (time === undefined) return null;
      return json.type === 'clock'
        ? { type: 'clock', time, synced: json.synced !== false }
        : { type: 'heartbeat', time, seq: number(json.seq) ?? 0 };
    }
    case 'error':
      return { type: 'error', code: string(json.code) ?? '', message: string(json.message) ?? '' };
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
    channels: parseDescriptions(json.channels),
  };
}

function parseDescriptions(json: unknown): Description[] {
  if (!Array.isArray(json)) return [];
  const out: Description[] = [];
  for (const item of json) {
    const description = isObject(item) ? parseDescription(item) : null;
    if (description) out.push(description);
  }
  return out;
}

const KINDS: readonly unknown[] = ['gauge', 'counter', 'state'];
const STATUSES: readonly unknown[] = ['ok', 'stale', 'error', 'gone'];

function parseDescription(json: Fields): Description | null {
  const name = nonEmpty(json.name);
  if (name === undefined) return null;
  const description: Description = {
    name,
    kind: KINDS.includes(json.kind) ? (json.kind as Kind) : 'gauge',
    status: STATUSES.includes(json.status) ? (json.status as Status) : 'ok',
  };
  const unit = nonEmpty(json.unit);
  const label = nonEmpty(json.label);
  const min = number(json.min);
  const max = number(json.max);
  const staleAfter = number(json.stale_after);
  const source = nonEmpty(json.source);
  const reason = nonEmpty(json.reason);
  if (unit !== undefined) description.unit = unit;
  if (label !== undefined) description.label = label;
  if (min !== undefined) description.min = min;
  if (max !== undefined) description.max = max;
  if (staleAfter !== undefined && staleAfter > 0) description.staleAfter = staleAfter;
  if (source !== undefined) description.source = source;
  if (reason !== undefined) description.reason = reason;
  return description;
}

const isValue = (x: unknown): x is Value =>
  x === null || typeof x === 'number' || typeof x === 'boolean' || typeof x === 'string';

function parseData(json: Fields): Data | null {
  const t = number(json.t);
  if (t === undefined || !isObject(json.values)) return null;
  const manyRows = Array.isArray(json.dt);
  const times = manyRows ? (json.dt as unknown[]).map((d) => t + (number(d) ?? 0)) : [t];
  const values = new Map<string, Value[]>();
  for (const [name, given] of Object.entries(json.values)) {
    const column: unknown[] = manyRows && Array.isArray(given) ? given : [given];
    // A column of another length than its instants has no meaning that could be guessed.
    if (column.length === times.length && column.every(isValue)) values.set(name, column);
  }
  return { type: 'data', seq: number(json.seq) ?? 0, snapshot: json.snapshot === true, times, values };
}

function parseGap(json: Fields): Message | null {
  const from = number(json.from);
  const to = number(json.to);
  return from === undefined || to === undefined || to < from ? null : { type: 'gap', from, to };
}
