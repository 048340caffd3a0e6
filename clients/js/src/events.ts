// The events of a board, and the types that let an editor know them.

import type { LinkState } from './link.js';
import type { Device, Hello, Message } from './protocol.js';
import type { Loss } from './place.js';

/** `status`, and `board.status`: `connecting`, `live`, `reconnecting`, `closed`. */
export type ConnectionStatus = LinkState;

export interface StatusEvent extends Event {
  readonly status: ConnectionStatus;
  /** When the next attempt starts (milliseconds since 1970), while it waits for that. */
  readonly retryAt: number | null;
  /** Why the last connection ended, as far as that is known. */
  readonly reason: string;
}

export interface OpenEvent extends Event {
  readonly hello: Hello;
}

export interface CloseEvent extends Event {
  /** Those of docs/protocol.md, "How it ends"; 1006 when nobody said goodbye. */
  readonly code: number;
  readonly reason: string;
}

/** The batches `from` to `to` (of `device`, in a fleet) did not reach this client. */
export interface GapEvent extends Event, Readonly<Loss> {}

export interface DevicesEvent extends Event {
  /** Those that are new or have changed; all that are known: `board.devices`. */
  readonly devices: readonly Device[];
}

export interface MessageEvent extends Event {
  readonly message: Message;
}

export interface BoardcastEventMap {
  /** A connection is live: the board has greeted. */
  open: OpenEvent;
  /** A connection that was live has ended; another attempt follows by itself, unless it was `close()`. */
  close: CloseEvent;
  /** Readings were lost. It comes before the first reading behind the gap. */
  gap: GapEvent;
  /** `board.status`, `board.retryAt` or `board.reason` has changed. */
  status: StatusEvent;
  /** Devices of a fleet are new, or are doing otherwise than before. */
  devices: DevicesEvent;
  /** Everything that arrives, as docs/protocol.md has it. */
  message: MessageEvent;
}

/** An event of this name with these properties. */
export function eventOf<K extends keyof BoardcastEventMap>(
  type: K,
  properties: Omit<BoardcastEventMap[K], keyof Event>,
): BoardcastEventMap[K] {
  return Object.assign(new Event(type), properties) as unknown as BoardcastEventMap[K];
}
