// What the overview knows of each device: how it is doing, a few vitals, and the last minute of one. Without a document.

import { faultOf, matches } from '../../clients/js/src/filter.js';
import type { Data, Device, DeviceStatus, Value } from '../../clients/js/src/protocol.js';

/** One number of a tile: the first of a device's channels that the first of these filters selects which selects any. */
export interface Vital {
  /** What stands above it; '': the channel's own name. */
  title: string;
  filters: string[];
}

const USUAL: Vital[] = [
  { title: 'CPU', filters: ['cpu/usage'] },
  { title: 'Temperature', filters: ['cpu/temperature', 'thermal/+'] },
  { title: 'Memory', filters: ['mem/used'] },
];
/** As many as a tile has room for. */
const MOST_VITALS = 3;
/** As often the overview asks for them, and no more. */
export const VITALS_HZ = 1;
/** Points of a sparkline. */
export const POINTS = 60;

/** The vitals that an address asks for, as in `?vitals=room/temperature,door/+`; the usual ones, where it names none. */
export function chosenVitals(search: string): Vital[] {
  // In a query a plus is a space, which no filter has.
  const asked = (new URLSearchParams(search).get('vitals') ?? '').replace(/ /g, '+').split(',');
  const filters = asked.filter((filter) => faultOf(`+/${filter}`) === null);
  return filters.length === 0 ? USUAL : filters.slice(0, MOST_VITALS).map((filter) => ({ title: '', filters: [filter] }));
}

export interface Entry {
  name: string;
  status: DeviceStatus;
  reason: string;
  /** When its newest reading was read, by its own clock, in seconds since 1970; `null`: never. */
  t: number | null;
  /** When that arrived, in the browser's milliseconds; `null`: before this page came. */
  arrivedAt: number | null;
  /** By the channel's name within the device. */
  values: Map<string, Value>;
  /** The channel of each vital, by that name; `undefined` where the device has none. */
  vitals: (string | undefined)[];
  /** The newest of the first vital, oldest first; `null` where none came. */
  recent: (number | null)[];
  /** Counts every change that could be seen. */
  version: number;
}

const RANKS: Record<DeviceStatus, number> = { offline: 0, stale: 1, online: 2, gone: 3 };
const collator = new Intl.Collator('en', { numeric: true });

export class Fleet {
  readonly devices = new Map<string, Entry>();
  /** Counts changes to the set of devices and to their states. */
  shape = 0;

  constructor(readonly vitals: readonly Vital[] = USUAL) {}

  /** What the overview asks for; the server sends nothing else. */
  get filters(): string[] {
    return this.vitals.flatMap(({ filters }) => filters.map((filter) => `+/${filter}`));
  }

  meet(devices: readonly Device[]): void {
    for (const { name, status, reason = '', t, epoch } of devices) {
      this.shape += 1;
      if (status === 'gone') {
        this.devices.delete(name);
        continue;
      }
      const entry = this.devices.get(name);
      if (!entry) {
        this.devices.set(name, { name, status, reason, t, arrivedAt: null, values: new Map(), vitals: [], recent: [], version: 1 });
        continue;
      }
      Object.assign(entry, { status, reason, version: entry.version + 1 });
      if (epoch !== undefined && t !== null && (entry.t ?? -Infinity) < t) entry.t = t;
      if (status !== 'online') push(entry, null);
    }
  }

  take({ device, times, values, snapshot }: Data, nowMs: number): void {
    const entry = device === undefined ? undefined : this.devices.get(device);
    const t = times[times.length - 1];
    if (!entry || t === undefined) return;
    entry.t = t;
    // A snapshot may be of a device that has been silent for hours.
    if (!snapshot) entry.arrivedAt = nowMs;
    const known = entry.values.size;
    for (const [name, column] of values) {
      const value = column[column.length - 1] ?? null;
      if (value !== null && !Number.isNaN(value)) entry.values.set(name.slice(entry.name.length + 1), value);
    }
    if (entry.values.size > known) entry.vitals = this.vitals.map((vital) => channelOf(vital, entry.values));
    const first = entry.values.get(entry.vitals[0] ?? '');
    if (!snapshot || entry.recent.length === 0) push(entry, typeof first === 'number' ? first : null);
    entry.version += 1;
  }

  /** Readings of this device are missing here: no line may lead across. */
  lose(device: string): void {
    const entry = this.devices.get(device);
    if (entry) push(entry, null);
  }

  /** The overview hears of none for a while. */
  pause(): void {
    for (const entry of this.devices.values()) {
      push(entry, null);
      entry.arrivedAt = null;
    }
  }

  /** What needs somebody's eye comes first: who is away, the longest away first; then all others by name. */
  ordered(): Entry[] {
    const age = ({ t }: Entry): number => t ?? -Infinity;
    return [...this.devices.values()].sort((a, b) => {
      const ranks = RANKS[a.status] - RANKS[b.status];
      if (ranks !== 0) return ranks;
      return (a.status === 'online' ? 0 : Math.sign(age(a) - age(b)) || 0) || collator.compare(a.name, b.name);
    });
  }

  /** `12 devices: 10 online, 1 stale, 1 offline`. */
  summary(): string {
    const counts = new Map<DeviceStatus, number>();
    for (const { status } of this.devices.values()) counts.set(status, (counts.get(status) ?? 0) + 1);
    const parts = (['online', 'stale', 'offline'] as const).flatMap((status) => (counts.has(status) ? `${counts.get(status)} ${status}` : []));
    const size = this.devices.size;
    return size === 0 ? '' : `${size} ${size === 1 ? 'device' : 'devices'}: ${parts.join(', ')}`;
  }
}

function push({ recent }: Entry, value: number | null): void {
  if (value === null && (recent[recent.length - 1] ?? null) === null) return; // One hole is enough.
  recent.push(value);
  if (recent.length > POINTS) recent.shift();
}

function channelOf({ filters }: Vital, values: ReadonlyMap<string, Value>): string | undefined {
  for (const filter of filters) {
    const names = [...values.keys()].filter((name) => matches(filter, name));
    // Of a chip's many zones the one that everybody means.
    const best = names.find((name) => /cpu|soc|pkg|core/i.test(name)) ?? names[0];
    if (best !== undefined) return best;
  }
  return undefined;
}

/** `now`, `12 s`, `5 min`, `3 h`, `2 d`: how long ago, for people. */
export function ago(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 2) return 'now';
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.floor(s / 60)} min`;
  return s < 48 * 3600 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** The points of a line in a box of 60 by 20, one text a piece, on a scale from `low` to `high`. */
export function sparkline(recent: readonly (number | null)[], [low, high]: readonly [number, number]): string[] {
  const lines: string[][] = [[]];
  recent.forEach((value, i) => {
    if (value === null) return void lines.push([]);
    const x = POINTS - recent.length + i;
    lines[lines.length - 1]?.push(`${x},${(20 - ((value - low) / (high - low)) * 20).toFixed(1)}`);
  });
  // A line of one point would not be seen.
  return lines.filter((line) => line.length > 1).map((line) => line.join(' '));
}
