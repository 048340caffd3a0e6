// Where a client stands in the streams of many boards that one server speaks for: docs/protocol.md, "A fleet". What was
// lost is told there, board by board; of those that could not go on, the snapshot shows it. Functions of messages alone.

import type { Loss } from './place.js';
import type { Data, Device, Gap, Message } from './protocol.js';

/** The last batch that is here of one device, as in `since`. */
export interface Since {
  epoch: string;
  seq: number;
}

interface Stand {
  epoch: string | null;
  /** The newest batch, gap or snapshot that arrived; `null` before the first. */
  seen: number | null;
  /** All values up to `seen` are here. */
  whole: boolean;
  /** Since this connection's hello, nothing has said yet where it goes on. */
  joining: boolean;
}

/** The first level of a channel's name, which in a fleet is its device. */
export const deviceOf = (name: string): string => name.slice(0, name.indexOf('/') >>> 0);

export class FleetPlace {
  private readonly stands = new Map<string, Stand>();
  /** The `subscribe` whose answer is awaited: until it comes, what arrives is of the former selection. */
  private reselecting: number | null = null;
  private paced = false;

  /** For each device that may go on: from where; `null` when none may. */
  get since(): Record<string, Since> | null {
    const entries: [string, Since][] = [];
    for (const [name, { epoch, seen, whole }] of this.stands) {
      if (whole && epoch !== null && seen !== null) entries.push([name, { epoch, seq: seen }]);
    }
    return entries.length > 0 ? Object.fromEntries(entries) : null;
  }

  /** Another selection was asked for: the values of what it adds are not here. As `Place.reselect`. */
  reselect(id: number | null): void {
    for (const stand of this.stands.values()) stand.whole = false;
    this.reselecting = id;
  }

  /** Notes what has arrived; gives what that shows to be lost. */
  take(message: Message): Loss[] {
    switch (message.type) {
      case 'hello':
        this.reselecting = null;
        for (const stand of this.stands.values()) stand.joining = true;
        return [];
      case 'subscribed':
        this.answered(message.id);
        this.paced = message.maxHz !== undefined;
        // A paced client gets the newest values instead of what was between: a snapshot is no loss to it, either.
        if (message.recovered || this.paced) this.joined();
        return [];
      case 'error':
        this.answered(message.id);
        return [];
      case 'devices':
        return message.devices.flatMap((device) => this.describe(device));
      case 'gap':
        return this.miss(message);
      case 'data':
        return this.advance(message);
      default:
        return [];
    }
  }

  /**
   * A new start is told here before the last words of the former one have all come, in binary messages that name none.
   * It counts when its snapshot comes, which names it. A tick has the newest alone, and no snapshot.
   */
  private describe({ name, status, epoch, seq }: Device): Loss[] {
    if (status === 'gone') this.stands.delete(name);
    else if (this.paced && epoch !== undefined) return this.enter(name, epoch, seq);
    return [];
  }

  private answered(id: unknown): void {
    if (id === this.reselecting) this.reselecting = null;
  }

  /** The devices whose places the server was told go on; with a pace, all. */
  private joined(): void {
    for (const stand of this.stands.values()) if (stand.whole || this.paced) stand.joining = false;
  }

  /** A device with another epoch has started anew: what was lost of the former start, nobody knows. */
  private enter(device: string, epoch: string, to: number): Loss[] {
    const stand = this.standOf(device);
    const changed = stand.epoch !== null && stand.epoch !== epoch;
    if (changed) Object.assign(stand, { seen: null, whole: false });
    stand.epoch = epoch;
    return changed ? [{ device, from: 1, to, epochChanged: true }] : [];
  }

  private miss({ device = '', epoch, from, to }: Gap): Loss[] {
    if (epoch !== undefined) this.enter(device, epoch, to);
    const stand = this.standOf(device);
    const first = stand.seen === null ? (from ?? 1) : Math.max(from ?? 0, stand.seen + 1);
    Object.assign(stand, { seen: Math.max(to, stand.seen ?? to), whole: false, joining: false });
    return first <= to ? [{ device, from: first, to, epochChanged: false }] : [];
  }

  private advance({ device = '', epoch, seq, snapshot, more }: Data): Loss[] {
    const lost = epoch === undefined ? [] : this.enter(device, epoch, seq);
    const stand = this.standOf(device);
    // Of a paced message's parts only the last has brought all.
    if (more && !snapshot) return lost;
    // Its place was not among those that the server was told.
    const { seen } = stand;
    if (stand.joining && snapshot && seen !== null && seen < seq) lost.push({ device, from: seen + 1, to: seq, epochChanged: false });
    stand.joining = false;
    stand.seen = Math.max(seq, stand.seen ?? seq);
    if (snapshot) stand.whole = !more && this.reselecting === null;
    return lost;
  }

  private standOf(device: string): Stand {
    let stand = this.stands.get(device);
    if (!stand) this.stands.set(device, (stand = { epoch: null, seen: null, whole: false, joining: false }));
    return stand;
  }
}
