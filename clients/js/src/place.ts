// Where a client stands in the stream: what it has, from where it may go on after a cut, and what never reached it.
// docs/protocol.md, "resuming". Functions of messages alone: no socket, no clock.

import type { Message } from './protocol.js';

/** Batches that did not reach this client. */
export interface Loss {
  /** Whose they are, in a fleet. */
  device?: string;
  from: number;
  to: number;
  /** The board has started anew: `from` and `to` count in the new start; what was lost of the former, nobody knows. */
  epochChanged: boolean;
}

export class Place {
  private epoch: string | null = null;
  /** The newest batch, gap or snapshot that arrived; `null` before the first. */
  private seen: number | null = null;
  /** All values up to `seen` are here. Not so between the parts of a snapshot, nor after a change of the subscription. */
  private whole = false;
  /** Since this connection's hello, nothing has said yet where the stream goes on. */
  private joining = false;
  /** The `subscribe` whose answer is awaited: until it comes, what arrives is of the former selection. */
  private reselecting: number | null = null;

  /** As in `?since=`; `null` when only a snapshot helps. */
  get since(): string | null {
    return this.whole && this.epoch !== null && this.seen !== null ? `${this.epoch}:${this.seen}` : null;
  }

  /**
   * Another selection was asked for: the values of what it adds are not here. `id` is that of the message; `null` while
   * there is no connection, when the address of the next one asks.
   */
  reselect(id: number | null): void {
    this.whole = false;
    this.reselecting = id;
  }

  /** Notes what has arrived; gives what that shows to be lost. */
  take(message: Message): Loss | null {
    switch (message.type) {
      case 'hello':
        return this.greet(message.epoch, message.seq);
      case 'subscribed':
        this.answered(message.id);
        if (message.recovered) {
          this.joining = false;
          this.whole = this.reselecting === null;
        }
        return null;
      case 'error':
        this.answered(message.id); // The former selection goes on.
        return null;
      case 'gap':
        this.seen = message.to;
        this.whole = false;
        return { from: message.from ?? message.to, to: message.to, epochChanged: false };
      case 'data':
        // Of a paced message's parts only the last has brought all; going on from before it brings them again.
        if (message.more && !message.snapshot) return null;
        return this.advance(message.seq, message.snapshot, !message.more);
      case 'heartbeat':
        // Of a connection that asked for nothing so far, it says nothing of what its first selection brings.
        if (this.joining && this.reselecting !== null) return null;
        return this.advance(message.seq, true, true);
      default:
        return null;
    }
  }

  private answered(id: unknown): void {
    if (id === this.reselecting) this.reselecting = null;
  }

  private greet(epoch: string, seq: number): Loss | null {
    const changed = this.epoch !== null && this.epoch !== epoch;
    this.epoch = epoch;
    this.joining = true;
    this.whole = false;
    this.reselecting = null; // The connection was opened with the newest selection.
    if (!changed) return null;
    this.seen = null;
    return { from: 1, to: seq, epochChanged: true };
  }

  /** `standsForAll`: it holds, or vouches for, everything up to `seq`; otherwise it is the batch `seq` itself. */
  private advance(seq: number, standsForAll: boolean, whole: boolean): Loss | null {
    const to = standsForAll ? seq : seq - 1;
    const from = this.seen === null ? null : this.seen + 1;
    const lost = this.joining && from !== null && to >= from ? { from, to, epochChanged: false } : null;
    this.joining = false;
    this.seen = Math.max(seq, this.seen ?? seq);
    this.whole = whole && this.reselecting === null;
    return lost;
  }
}
