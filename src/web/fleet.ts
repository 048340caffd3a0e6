// What the overview knows of each device: how it is doing, a few vitals, and the last minute of one. Without a document.

import type { Data, Device, DeviceStatus } from '../../clients/js/src/protocol.js';

/** What the overview asks for; the server sends nothing else. */
export const VITALS = ['+/cpu/usage', '+/cpu/temperature', '+/thermal/+', '+/mem/used'];
/** As often, and no more. */
export const VITALS_HZ = 1;
/** Points of a sparkline. */
export const POINTS = 60;

export interface Vital {
  title: string;
  unit: string;
  value: number;
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
  values: Map<string, number>;
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

  meet(devices: readonly Device[]): void {
    for (const { name, status, reason = '', t, epoch } of devices) {
      this.shape += 1;
      if (status === 'gone') {
        this.devices.delete(name);
        continue;
      }
      const entry = this.devices.get(name);
      if (!entry) {
        this.devices.set(name, { name, status, reason, t, arrivedAt: null, values: new Map(), recent: [], version: 1 });
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
    for (const [name, column] of values) {
      const value = column[column.length - 1];
      if (typeof value === 'number' && !Number.isNaN(value)) entry.values.set(name.slice(entry.name.length + 1), value);
    }
    const [first] = vitalsOf(entry);
    if (!snapshot || entry.recent.length === 0) push(entry, first?.value ?? null);
    entry.version += 1;
  }

  /** Readings of this device are missing here: no line may lead across. */
  lose(device: string): void {
    const entry = this.devices.get(device);
    if (entry) push(entry, null);
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
  recent.push(value);
  if (recent.length > POINTS) recent.shift();
}

/** The vitals that a device has, the most telling first. */
export function vitalsOf({ values }: Entry): Vital[] {
  const vital = (title: string, unit: string, name: string | undefined): Vital[] => {
    const value = name === undefined ? undefined : values.get(name);
    return value === undefined ? [] : [{ title, unit, value }];
  };
  const zones = [...values.keys()].filter((name) => name.startsWith('thermal/'));
  const zone = zones.find((name) => /cpu|soc|pkg|core/i.test(name)) ?? zones[0];
  return [
    ...vital('CPU', '%', 'cpu/usage'),
    ...vital('Temperature', 'Cel', values.has('cpu/temperature') ? 'cpu/temperature' : zone),
    ...vital('Memory', 'B', 'mem/used'),
  ];
}

/** `now`, `12 s`, `5 min`, `3 h`, `2 d`: how long ago, for people. */
export function ago(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 2) return 'now';
  if (s < 100) return `${s} s`;
  if (s < 100 * 60) return `${Math.floor(s / 60)} min`;
  return s < 48 * 3600 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86_400)} d`;
}

/** The points of a line in a box of 60 by 20, one text a piece; from 0 to 100 where the values are within. */
export function sparkline(recent: readonly (number | null)[]): string[] {
  const numbers = recent.filter((value): value is number => value !== null);
  const [low, high] = [Math.min(0, ...numbers), Math.max(100, ...numbers)];
  const lines: string[][] = [[]];
  recent.forEach((value, i) => {
    if (value === null) return void lines.push([]);
    const x = POINTS - recent.length + i;
    lines[lines.length - 1]?.push(`${x},${(20 - ((value - low) / (high - low)) * 20).toFixed(1)}`);
  });
  // A line of one point would not be seen.
  return lines.filter((line) => line.length > 1).map((line) => line.join(' '));
}
