// What the page knows about the board, apart from how it is drawn: channels, their latest values and their recent past.
// It outlives connections and restarts of the board, so that charts go on where they were, with a gap and not a lie.

import { BoardClock } from './boardclock';
import type { History } from '../../clients/js/src/history.js';
import type { Loss } from '../../clients/js/src/place.js';
import type { Channel as Description, Data, Hello, Message, Value } from '../../clients/js/src/protocol.js';
import { Series } from './series';
import { MOST_PLACES, placesOf } from './units';

export interface Channel {
  description: Description;
  /** The last good value; `null` until there was one. */
  value: Value;
  /** The newest reading was "no reading". */
  missing: boolean;
  /** The most decimal places that a reading had so far. */
  places: number;
  /** When the value was seen to change, in the board's time. */
  changedAt: number | null;
  /** When the newest reading arrived, in the browser's milliseconds. */
  arrivedAt: number | null;
  series: Series;
  /** Counts every change that could be seen. */
  version: number;
  /** Named by the board since the last hello. */
  confirmed: boolean;
  goneAt: number | null;
}

export type Health = 'ok' | 'waiting' | 'missing' | 'stale' | 'error' | 'gone';

/** Large boards describe their channels in several messages after the hello; what is not named by then is no more. */
export const CONFIRM_MS = 10_000;
/** A channel that went away stays greyed for this long, so that its going is noticed. */
export const GONE_MS = 10_000;
/** The note about missed batches goes away again. */
export const GAP_NOTE_MS = 60_000;

export class Store {
  readonly clock = new BoardClock();
  readonly channels = new Map<string, Channel>();
  device = '';
  synced = true;
  /** Counts changes to the set of channels or to their descriptions. */
  shape = 0;
  /** Batches that this page was told it missed, in the recent past. */
  missed = 0;

  private epoch: string | null = null;
  private missedAt = 0;
  private helloAt: number | null = null;
  private lostAt: number | null = null;
  /** Of the board's former start, by name: taken up again when the new one names them, too. */
  private readonly former = new Map<string, Channel>();

  apply(message: Message, nowMs: number): void {
    switch (message.type) {
      case 'hello':
        return this.hello(message, nowMs);
      case 'channels':
        return this.describe(message.channels, nowMs);
      case 'data':
        return this.data(message, nowMs);
      case 'clock':
        this.synced = message.synced;
        if (message.step !== 0) this.shift(message.step);
        return this.clock.set(message.time, nowMs);
      case 'heartbeat':
        return this.clock.set(message.time, nowMs);
      default:
        return; // What was lost comes to `lose`; the rest answers what a client sent.
    }
  }

  /** Readings are missing from here on: no line may lead across. */
  lose({ from, to, epochChanged }: Loss, nowMs: number): void {
    if (!epochChanged) {
      this.missed += to - from + 1;
      this.missedAt = nowMs;
    }
    this.interrupt();
  }

  /** No line may lead from here to what comes next. */
  interrupt(): void {
    for (const channel of this.channels.values()) channel.series.gap();
  }

  /** What was before the page came. */
  prefill({ t, step, channels }: History): void {
    for (const [name, { min, max }] of channels) {
      const channel = this.channels.get(name);
      channel?.series.prefill({ t, step, low: min, high: max });
      if (channel) channel.version += 1;
    }
  }

  /** The connection is gone: from now on nothing can arrive, which says nothing about any single channel. */
  lost(nowMs: number): void {
    this.lostAt ??= nowMs;
  }

  /** What happens by time alone. */
  tick(nowMs: number): void {
    if (this.missed > 0 && nowMs - this.missedAt >= GAP_NOTE_MS) this.missed = 0;
    if (this.helloAt !== null && nowMs - this.helloAt >= CONFIRM_MS) {
      this.helloAt = null;
      this.former.clear();
      for (const [name, channel] of this.channels) if (!channel.confirmed) this.remove(name);
    }
    for (const [name, channel] of this.channels) {
      if (channel.goneAt !== null && nowMs - channel.goneAt >= GONE_MS) this.remove(name);
    }
  }

  health(channel: Channel, nowMs: number): Health {
    const { status, staleAfter } = channel.description;
    if (status !== 'ok') return status;
    if (channel.arrivedAt === null) return 'waiting';
    const until = Math.min(nowMs, this.lostAt ?? nowMs);
    if (staleAfter !== undefined && until - channel.arrivedAt > staleAfter * 1000) return 'stale';
    return channel.missing ? 'missing' : 'ok';
  }

  /** Another device is looked at: nothing of the one before says anything about it. */
  enter(device: string): void {
    this.device = device;
    this.clock.reset();
    this.channels.clear();
    this.former.clear();
    this.missed = 0;
    this.helloAt = this.lostAt = null;
    this.shape += 1;
  }

  /** There is a connection again; what it does not name soon is no more. */
  rejoined(nowMs: number): void {
    this.helloAt = nowMs;
    this.lostAt = null;
    for (const channel of this.channels.values()) channel.confirmed = false;
  }

  private hello(hello: Hello, nowMs: number): void {
    this.clock.set(hello.time, nowMs);
    this.device = hello.device;
    this.synced = hello.synced;
    this.rejoined(nowMs);
    for (const [name, channel] of this.channels) {
      if (this.epoch !== null && this.epoch !== hello.epoch) {
        this.former.set(name, channel);
        this.channels.delete(name);
      }
    }
    this.epoch = hello.epoch;
    this.shape += 1;
    this.describe(hello.channels, nowMs);
  }

  private describe(descriptions: Description[], nowMs: number): void {
    for (const description of descriptions) {
      const gone = description.status === 'gone';
      let channel = this.channels.get(description.name);
      if (!channel) {
        if (gone) continue;
        channel = this.former.get(description.name) ?? newChannel(description);
        this.former.delete(description.name);
        this.channels.set(description.name, channel);
        this.shape += 1;
      }
      // Status changes come often (a cable, a cold sensor); only the rest moves things on the page.
      if (!sameIdentity(channel.description, description)) this.shape += 1;
      channel.description = description;
      channel.confirmed = true;
      channel.goneAt = gone ? (channel.goneAt ?? nowMs) : null;
      if (gone) channel.series.gap();
      channel.version += 1;
    }
  }

  private data(data: Data, nowMs: number): void {
    const newest = data.times[data.times.length - 1];
    if (newest === undefined) return;
    this.clock.observe(newest, nowMs);
    for (const [name, column] of data.values) {
      const channel = this.channels.get(name);
      if (!channel) continue;
      // A snapshot repeats the last good value of a channel that is silent: to be shown, but it's no reading of now.
      const repeated = data.snapshot && channel.description.status !== 'ok';
      for (let row = 0; row < column.length; row++) record(channel, data.times[row] as number, column[row] as Value, repeated);
      if (!repeated) channel.arrivedAt = nowMs;
      channel.version += 1;
    }
  }

  /** The board's clock was set. Nothing else has happened: the curves move as a whole, with the time beneath them. */
  private shift(seconds: number): void {
    for (const channel of [...this.channels.values(), ...this.former.values()]) {
      channel.series.shift(seconds);
      if (channel.changedAt !== null) channel.changedAt += seconds;
      channel.version += 1;
    }
  }

  private remove(name: string): void {
    this.channels.delete(name);
    this.shape += 1;
  }
}

function newChannel(description: Description): Channel {
  return {
    description,
    value: null,
    missing: false,
    places: 0,
    changedAt: null,
    arrivedAt: null,
    series: new Series(),
    version: 0,
    confirmed: true,
    goneAt: null,
  };
}

function record(channel: Channel, t: number, value: Value, repeated: boolean): void {
  if (value === null || Number.isNaN(value)) {
    channel.missing = true;
    channel.series.gap();
    return;
  }
  if (!repeated) channel.missing = false;
  if (channel.value !== null && channel.value !== value) channel.changedAt = t;
  channel.value = value;
  if (typeof value !== 'number') return;
  if (channel.places < MOST_PLACES) channel.places = Math.max(channel.places, placesOf(value));
  if (!repeated) channel.series.push(t, value);
}

function sameIdentity(a: Description, b: Description): boolean {
  return a.kind === b.kind && a.unit === b.unit && a.label === b.label;
}
