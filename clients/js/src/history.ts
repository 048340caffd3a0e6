// What was, over HTTP: for charts that don't start empty. docs/protocol.md, "history".

import { BoardcastError } from './error.js';

/** What to ask for. Without `last` and `from` it is the last 15 minutes. */
export interface HistoryQuery {
  /** Filters; when left out, those of the client, or all. */
  channels?: string | readonly string[];
  /** Seconds, or a text such as `15m`, `3h`, `2d`. */
  last?: number | string;
  /** Seconds since 1970, or a `Date`. */
  from?: number | Date;
  /** The end; now, when left out. */
  to?: number | Date;
  /** The most instants wanted. */
  points?: number;
  signal?: AbortSignal;
}

/** One channel's past; `null` where there was no reading. */
export interface Track {
  min: (number | null)[];
  mean: (number | null)[];
  max: (number | null)[];
}

/** Channels' past: the entries of each track belong to those of `t`. */
export interface History {
  from: number;
  to: number;
  /** The resolution, in seconds. */
  step: number;
  /** The start of each step, seconds since 1970. */
  t: number[];
  channels: Map<string, Track>;
}

/** Writes the question into the address. */
export function historyAddress(url: URL, query: HistoryQuery, filters: readonly string[]): URL {
  const seconds = (instant: number | Date): string => String(typeof instant === 'number' ? instant : instant.getTime() / 1000);
  const { channels = filters, last, from, to, points } = query;
  url.searchParams.set('channels', typeof channels === 'string' ? channels : channels.join(','));
  if (last !== undefined) url.searchParams.set('last', typeof last === 'number' ? `${last}s` : last);
  if (from !== undefined) url.searchParams.set('from', seconds(from));
  if (to !== undefined) url.searchParams.set('to', seconds(to));
  if (points !== undefined) url.searchParams.set('points', String(points));
  return url;
}

/** Asks, and checks what comes. */
export async function fetchHistory(url: URL, signal: AbortSignal | undefined, token: string | undefined): Promise<History> {
  const headers: Record<string, string> = token === undefined ? {} : { Authorization: `Bearer ${token}` };
  const response = await fetch(url.href, { headers, ...(signal && { signal }) });
  if (!response.ok) {
    const sentence = (await response.text()).trim();
    throw new BoardcastError(`http_${response.status}`, sentence || response.statusText);
  }
  const history = readHistory(await response.json());
  if (!history) throw new BoardcastError('bad_message', 'the board answered with something that is no history');
  return history;
}

/** What such an answer says, or `null`; tracks that don't fit are left out. */
export function readHistory(json: unknown): History | null {
  const { from, to, step, t, channels } = (json ?? {}) as Record<string, unknown>;
  if (typeof from !== 'number' || typeof to !== 'number' || typeof step !== 'number') return null;
  if (!Array.isArray(t) || !t.every((instant) => typeof instant === 'number')) return null;
  const tracks = new Map<string, Track>();
  for (const [name, track] of Object.entries((channels ?? {}) as Record<string, Track | null>)) {
    if (track && [track.min, track.mean, track.max].every((list) => Array.isArray(list) && list.length === t.length)) {
      tracks.set(name, track);
    }
  }
  return { from, to, step, t, channels: tracks };
}
