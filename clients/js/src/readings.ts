// Who wants to hear of which channel, and what each heard last.

import { faultOf, matches } from './filter.js';
import { BoardcastError } from './error.js';
import type { Channel, Column, Data, Value } from './protocol.js';

/** What a callback gets: the newest reading of one channel, and, of a fast one, all that came with it. */
export interface Reading {
  /** The channel's name. */
  name: string;
  /** The newest; `null` is "no reading". */
  value: Value;
  /** When it was read, seconds since 1970 by the board's clock. */
  t: number;
  /** The channel's description. */
  channel: Channel | undefined;
  /** Whose it is, in a fleet. */
  device?: string;
  /** It is the latest there is, but nothing new: sent on joining, and after a gap. */
  snapshot: boolean;
  /** All that came in this message, the newest last. In typed arrays, which binary messages give, NaN is "no reading". */
  values: Column;
  /** The instants of `values`. */
  times: readonly number[] | Float64Array;
}

/** The newest reading of a channel. */
export interface Latest {
  value: Value;
  /** Seconds since 1970. */
  t: number;
}

export type Callback = (reading: Reading) => void;

interface Listener {
  filter: string;
  callback: Callback;
  /** It hears nothing of the message in which it came: `replay` tells it. Infinity: it is over. */
  heardFrom: number;
}

const plain = (value: Value | undefined): Value => (value === undefined || Number.isNaN(value) ? null : value);

export class Readings {
  readonly latest = new Map<string, Latest>();
  readonly channels = new Map<string, Channel>();
  private listeners: Listener[] = [];
  /** By name: matching a filter costs more than finding it. */
  private readonly found = new Map<string, Listener[]>();
  private messages = 0;

  /** `fault` gets what callbacks throw. */
  constructor(private readonly fault: (error: unknown) => void) {}

  describe(channels: readonly Channel[]): void {
    for (const channel of channels) this.channels.set(channel.name, channel);
  }

  /** The board has started anew: what it was says nothing about what it is. */
  forget(): void {
    this.latest.clear();
    this.channels.clear();
  }

  /** A device has started anew, or is gone for good with its channels. */
  forgetDevice(device: string, forGood: boolean): void {
    const of = (name: string): boolean => name.startsWith(`${device}/`);
    for (const name of this.latest.keys()) if (of(name)) this.latest.delete(name);
    if (!forGood) return;
    for (const name of this.channels.keys()) if (of(name)) this.channels.delete(name);
  }

  on(filter: string, callback: Callback): () => void {
    const fault = faultOf(filter);
    if (fault !== null) throw new BoardcastError('bad_filter', fault);
    const listener = { filter, callback, heardFrom: this.messages + 1 };
    this.listeners.push(listener);
    this.found.clear();
    // A state that never changes would never be heard of by those who come late.
    queueMicrotask(() => this.replay(listener));
    return () => {
      listener.heardFrom = Infinity;
      this.listeners = this.listeners.filter((other) => other !== listener);
      this.found.clear();
    };
  }

  /** Nobody hears of anything any more. */
  end(): void {
    for (const listener of this.listeners) listener.heardFrom = Infinity;
  }

  take(data: Data): void {
    this.messages += 1;
    const last = data.times.length - 1;
    const t = data.times[last];
    if (t === undefined) return;
    for (const [name, column] of data.values) this.latest.set(name, { value: plain(column[last]), t });
    for (const [name, values] of data.values) {
      const listeners = this.listenersOf(name);
      if (listeners.length === 0) continue;
      const { snapshot, times, device } = data;
      const whose = device === undefined ? {} : { device };
      const channel = this.channels.get(name);
      const reading = { name, value: plain(values[last]), t, channel, ...whose, snapshot, values, times };
      for (const listener of listeners) if (listener.heardFrom <= this.messages) this.tell(listener, reading);
    }
  }

  private replay(listener: Listener): void {
    for (const [name, { value, t }] of [...this.latest]) {
      if (!this.listeners.includes(listener)) return;
      if (!matches(listener.filter, name)) continue;
      const channel = this.channels.get(name);
      this.tell(listener, { name, value, t, channel, snapshot: true, values: [value], times: [t] });
    }
  }

  private tell({ callback }: Listener, reading: Reading): void {
    try {
      callback(reading);
    } catch (error) {
      this.fault(error);
    }
  }

  private listenersOf(name: string): Listener[] {
    let listeners = this.found.get(name);
    if (!listeners) {
      listeners = this.listeners.filter(({ filter }) => matches(filter, name));
      this.found.set(name, listeners);
    }
    return listeners;
  }
}
