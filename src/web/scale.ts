// The y axis decides whether a chart tells the truth: fitted tightly, the noise of an idle CPU looks like a storm; pinned
// to 0–100, nothing is ever seen. Usage and sizes start at zero; physical quantities keep a least span.

import { isBinary, isPercent } from './units';

export interface Limits {
  unit?: string;
  min?: number;
  max?: number;
  counter: boolean;
  /** Show all from `min` (or zero) to `max`, however little of it is used. */
  whole?: boolean;
}

const FROM_ZERO = new Set(['%', '%EL', 'B', 'B/s', 'bit', 'bit/s', 'count', 'lx', 'rpm', '1/min', '1/s']);

/** The span below which changes are noise, where that is known. */
const LEAST_SPAN = new Map<string, number>(Object.entries({ Cel: 4, K: 4, '%RH': 4, hPa: 2, Pa: 200, V: 0.2, dBm: 6 }));

export function yRange(low: number | null, high: number | null, limits: Limits): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [limits.min ?? 0, limits.max ?? 1];
  const { unit, counter } = limits;
  if (limits.whole && limits.max !== undefined && limits.max > 0 && high <= limits.max) return [Math.min(low, limits.min ?? 0), limits.max];
  const fromZero = !counter && low >= 0 && (unit === undefined || FROM_ZERO.has(unit));
  if (fromZero) return [0, upTo(high, unit, limits.max)];

  const middle = (low + high) / 2;
  const least = (unit === undefined ? undefined : LEAST_SPAN.get(unit)) ?? (Math.abs(middle) * 0.02 || 1);
  const span = Math.max((high - low) * 1.15, counter ? 1 : least);
  const step = nice(span / 4, false);
  let from = Math.floor((middle - span / 2) / step) * step;
  let to = Math.ceil((middle + span / 2) / step) * step;
  // Never below what the quantity can be, unless it is.
  if (limits.min !== undefined && low >= limits.min) from = Math.max(from, limits.min);
  if (limits.max !== undefined && high <= limits.max) to = Math.min(to, limits.max);
  if (low >= 0) from = Math.max(from, 0);
  return from < to ? [from, to] : [from, from + (step || 1)];
}

function upTo(high: number, unit: string | undefined, max: number | undefined): number {
  const least = isPercent(unit) ? 10 : isBinary(unit) ? 1024 : 1;
  const to = nice(Math.max(high * 1.08, least), isBinary(unit));
  const limit = max ?? (unit === '%' ? 100 : undefined);
  return limit !== undefined && limit > 0 && high <= limit ? Math.min(to, limit) : to;
}

/** The next number that reads well on an axis, in tens or, for bytes, within a binary prefix. */
export function nice(value: number, binary: boolean): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  if (binary) {
    const prefix = 1024 ** Math.max(0, Math.floor(Math.log2(value) / 10));
    const within = value / prefix;
    const step = [1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 100, 128, 200, 256, 400, 512, 800, 1024].find((s) => s >= within);
    return (step ?? 1024) * prefix;
  }
  const power = 10 ** Math.floor(Math.log10(value));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((s) => s * power >= value * (1 - 1e-12)) ?? 10;
  return step * power;
}
