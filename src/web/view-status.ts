// A page of live numbers that are no longer live is worse than none: who speaks, whether it still does, and what was
// missed stands at the top, always.

import { byId, setAttribute, setText } from './dom';
import type { Board } from '../../clients/js/src/board.js';
import type { Store } from './store';

/** What is told of the connection. */
export type Connection = Pick<Board, 'status' | 'retryAt' | 'reason' | 'code'>;

/** What is told of who speaks. */
export interface About {
  title: string;
  count: string;
  /** What stands where nothing else does; `null` where something does. */
  empty: string | null;
  /** How a device of a fleet is doing, where the page is of one. */
  device?: string;
}

/** The same, of a board. */
export function aboutBoard(store: Store, live: boolean): About {
  const size = store.channels.size;
  const empty = live ? 'This board sends no readings yet.' : 'Waiting for the board.';
  const count = size === 0 ? '' : size === 1 ? '1 channel' : `${size} channels`;
  return { title: store.device, count, empty: size > 0 ? null : empty };
}

export class StatusView {
  private readonly device = byId('device');
  private readonly pill = byId('pill');
  private readonly announcement = byId('announcement');
  private readonly missed = byId('missed');
  private readonly unsynced = byId('unsynced');
  private readonly count = byId('count');
  private readonly empty = byId('empty');
  private readonly refused = byId('refused');

  update(store: Store, link: Connection, { title, count, empty, device }: About): void {
    const offline = !navigator.onLine && link.status !== 'live';
    setAttribute(document.body, 'data-state', link.status);
    setAttribute(document.body, 'data-device', device ?? null);
    const away = link.status === 'live' && device !== undefined && device !== 'online';
    setText(this.pill, away ? device.replace(/^./, (c) => c.toUpperCase()) : pillText(link, offline));
    setAttribute(this.pill, 'title', link.reason || null);
    const refusal = link.status === 'live' ? null : (REFUSALS[link.code ?? 0] ?? null);
    // The countdown is for the eyes; read aloud every second it would be torture.
    setText(this.announcement, refusal?.text ?? (away ? `This device is ${device}` : ANNOUNCEMENTS[link.status]));
    this.refused.hidden = refusal === null;
    setText(this.refused, refusal?.text ?? '');
    // Without an address it is text.
    setAttribute(this.refused, 'href', refusal?.href ?? null);
    if (title) {
      setText(this.device, title);
      if (document.title !== title) document.title = title;
    }
    this.unsynced.hidden = store.synced || link.status !== 'live';
    this.missed.hidden = store.missed === 0;
    if (store.missed > 0) setText(this.missed, store.missed === 1 ? '1 batch missed' : `${store.missed} batches missed`);
    setText(this.count, count);
    this.empty.hidden = empty === null;
    setText(this.empty, empty ?? '');
  }
}

const ANNOUNCEMENTS: Record<Connection['status'], string> = {
  connecting: 'Connecting to the board',
  live: 'Connected, values are live',
  reconnecting: 'Connection lost, values are no longer live',
  closed: 'Not connected',
};

/** What a person can do when the board does not let the page in, and where. */
const REFUSALS: Record<number, { text: string; href: string | null }> = {
  4401: { text: 'This board wants a token: show one', href: 'login' },
  4403: { text: 'This board does not let this page in under this name: open it by its address', href: null },
};

function pillText({ status, retryAt, code }: Connection, offline: boolean): string {
  if (status === 'live') return 'Live';
  if (code !== null && code in REFUSALS) return 'Not let in';
  if (status === 'connecting') return 'Connecting';
  if (offline) return 'Offline';
  const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
  return seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting';
}
