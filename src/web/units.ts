// Boards send SenML units (RFC 8428 §12.1, RFC 8798), which are made for machines: `Cel`, `B/s`, seconds of uptime.
// People read °C, MiB/s and days. This is the only place that translates, so that a value, an axis and a tooltip agree.

import type { Value } from '../../clients/js/src/protocol.js';

/** Number and unit apart, so that the unit can be set smaller. */
export interface Formatted {
  number: string;
  unit: string;
}

export const NO_READING = '–';

const SI = ['', 'k', 'M', 'G', 'T', 'P'];
const BINARY = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

/** Units that only look different: value and decimals stay. (A `Map`: an object has a `constructor` and the like, too, and
 *  the unit may be anybody's.) `decimals` fixed means that a value never changes its width
 *  by being round. */
const PLAIN = new Map<string, { show: string; decimals?: number }>(Object.entries({
  '%': { show: '%', decimals: 1 },
  '%RH': { show: '% RH', decimals: 1 },
  '%EL': { show: '%', decimals: 0 },
  '/': { show: '' },
  count: { show: '', decimals: 0 },
  Cel: { show: '°C', decimals: 1 },
  K: { show: 'K', decimals: 1 },
  deg: { show: '°', decimals: 1 },
  lat: { show: '°', decimals: 5 },
  lon: { show: '°', decimals: 5 },
  hPa: { show: 'hPa', decimals: 1 },
  '1/min': { show: 'rpm', decimals: 0 },
  rpm: { show: 'rpm', decimals: 0 },
  'beat/min': { show: 'bpm', decimals: 0 },
  '1/s': { show: '/s' },
  m2: { show: 'm²' },
  m3: { show: 'm³' },
  'm/s2': { show: 'm/s²', decimals: 2 },
  'm3/s': { show: 'm³/s' },
  'W/m2': { show: 'W/m²' },
  'kg/m3': { show: 'kg/m³' },
  'cd/m2': { show: 'cd/m²' },
  'ug/m3': { show: 'µg/m³' },
  dB: { show: 'dB', decimals: 1 },
  dBm: { show: 'dBm', decimals: 0 },
  pH: { show: 'pH', decimals: 2 },
  ms: { show: 'ms', decimals: 1 },
}));

/** Units that take a prefix. `milli`: whether the ones below 1 do, too: there are no millihertz
 *  to read on a board, but there are milliamperes. */
const PREFIXED = new Map<string, { show: string; table: string[]; base: number; milli: boolean }>(Object.entries({
  B: { show: 'B', table: BINARY, base: 1024, milli: false },
  'B/s': { show: 'B/s', table: BINARY, base: 1024, milli: false },
  bit: { show: 'bit', table: SI, base: 1000, milli: false },
  'bit/s': { show: 'bit/s', table: SI, base: 1000, milli: false },
  Hz: { show: 'Hz', table: SI, base: 1000, milli: false },
  Ohm: { show: 'Ω', table: SI, base: 1000, milli: false },
  J: { show: 'J', table: SI, base: 1000, milli: false },
  V: { show: 'V', table: SI, base: 1000, milli: true },
  A: { show: 'A', table: SI, base: 1000, milli: true },
  W: { show: 'W', table: SI, base: 1000, milli: true },
}));

export const isBinary = (unit: string | undefined): boolean => unit === 'B' || unit === 'B/s';
export const isPercent = (unit: string | undefined): boolean => unit === '%' || unit === '%RH' || unit === '%EL';

/** More than this many decimal places are never shown. */
export const MOST_PLACES = 6;

/** How many decimal places a reading really has: 0.42 has two, a third has as many as are counted. */
export function placesOf(value: number): number {
  for (let places = 0, power = 1; places < MOST_PLACES; places++, power *= 10) {
    if (Math.round(value * power) / power === value) return places;
  }
  return MOST_PLACES;
}

/** `places` is the most that this channel's readings had so far: a load of 0.06 gets no more digits than it was sent
 *  with, and one that happens to be 1 no fewer than its neighbours. */
export function format(value: Value, unit: string | undefined, places: number): Formatted {
  if (value === null) return { number: NO_READING, unit: '' };
  if (typeof value === 'boolean') return { number: value ? 'yes' : 'no', unit: '' };
  if (typeof value === 'string') return { number: value, unit: '' };
  if (unit === 's') return { number: duration(value), unit: '' };
  return formatNumber(value, unit, places);
}

export function text(formatted: Formatted): string {
  if (formatted.unit === '') return formatted.number;
  return formatted.unit === '°' ? formatted.number + formatted.unit : `${formatted.number} ${formatted.unit}`;
}

function formatNumber(value: number, unit: string | undefined, places: number): Formatted {
  if (unit === 'Pa' && Math.abs(value) >= 10_000) return formatNumber(value / 100, 'hPa', places);
  const prefixed = unit === undefined ? undefined : PREFIXED.get(unit);
  if (prefixed) return withPrefix(value, prefixed, places);
  const plain = unit === undefined ? undefined : PLAIN.get(unit);
  const decimals = plain?.decimals ?? Math.min(places, decimalsFor(value));
  return { number: fixed(value, decimals), unit: plain?.show ?? unit ?? '' };
}

function withPrefix(value: number, p: { show: string; table: string[]; base: number; milli: boolean }, places: number): Formatted {
  const size = Math.abs(value);
  if (p.milli && size > 0 && size < 0.9995) {
    // Below a tenth of a milli it's noise around zero, and micro would make it look important.
    const milli = value * 1000;
    return { number: fixed(milli, Math.abs(milli) >= 100 ? 0 : 1), unit: `m${p.show}` };
  }
  let scaled = value;
  let step = 0;
  // 1023.9 KiB would be rounded to "1024 KiB": the next prefix starts where rounding would end.
  while (Math.abs(scaled) >= p.base - 0.5 && step < p.table.length - 1) {
    scaled /= p.base;
    step += 1;
  }
  const decimals = step === 0 && (places === 0 || !p.milli) ? 0 : threeDigits(scaled);
  return { number: fixed(scaled, decimals), unit: (p.table[step] ?? '') + p.show };
}

function threeDigits(value: number): number {
  const size = Math.abs(value);
  return size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
}

function decimalsFor(value: number): number {
  const size = Math.abs(value);
  if (size >= 999.5) return 0;
  if (size >= 0.0995 || size === 0) return threeDigits(value);
  return size >= 0.00095 ? 4 : 6;
}

const GROUPS = /\B(?=(\d{3})+$)/g;
const THIN_SPACE = '\u2009';

function fixed(value: number, decimals: number): string {
  if (Math.abs(value) >= 1e15) return value.toExponential(3).replace('-', '−');
  const digits = Math.abs(value).toFixed(decimals);
  const [whole = '', fraction] = digits.split('.');
  const grouped = whole.length > 4 ? whole.replace(GROUPS, THIN_SPACE) : whole;
  // -0.04 with one decimal is "0.0", not "−0.0".
  const minus = value < 0 && Number(digits) !== 0 ? '−' : '';
  return minus + grouped + (fraction === undefined ? '' : `.${fraction}`);
}

/** "3 d 4 h 12 min": two or three parts, the smaller ones left out when they no longer matter. */
export function duration(seconds: number): string {
  const size = Math.abs(seconds);
  const minus = seconds < 0 && size >= 0.0005 ? '−' : '';
  if (size < 0.9995) return `${minus}${fixed(size * 1000, 0)} ms`;
  if (size < 59.95) return `${minus}${fixed(size, Number.isInteger(size) ? 0 : 1)} s`;
  const whole = size < 60 ? 60 : Math.floor(size);
  const [d, h, m, s] = [Math.floor(whole / 86_400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  const parts = d > 0 ? [`${fixed(d, 0)} d`, `${h} h`, `${m} min`] : h > 0 ? [`${h} h`, `${m} min`] : [`${m} min`, `${s} s`];
  return minus + parts.join(' ');
}

/** What fits beside a chart. */
const LONGEST_LABEL = 10;

/** For axes: as short as it can be and still be right. */
export function short(value: number, unit: string | undefined): string {
  if (unit === 's') return duration(value).split(' ').slice(0, 2).join(' ');
  const { number, unit: shown } = formatNumber(value, unit, MOST_PLACES);
  const trimmed = number.includes('e') ? number : number.replace(/\.0+$/, '').replace(/(\.\d*?)0+$/, '$1');
  const whole = text({ number: trimmed, unit: shown });
  return whole.length > LONGEST_LABEL ? trimmed : whole;
}

const two = (n: number): string => String(n).padStart(2, '0');

/** A board's instant in the visitor's time zone. */
export function clockTime(seconds: number): string {
  const date = new Date(seconds * 1000);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}
