// A page of live numbers that are no longer live is worse than none: who speaks, whether it still does, and what was
// missed stands at the top, always.

import { byId, setAttribute, setText } from './dom';
import type { LinkState } from './link';
import type { Store } from './store';

export class StatusView {
  private readonly device = byId('device');
  private readonly pill = byId('pill');
  private readonly announcement = byId('announcement');
  private readonly missed = byId('missed');
  private readonly unsynced = byId('unsynced');
  private readonly count = byId('count');
  private readonly empty = byId('empty');

  update(store: Store, link: LinkState, nowMs: number): void {
    const offline = !navigator.onLine && link.name !== 'live';
    setAttribute(document.body, 'data-state', link.name);
    setText(this.pill, pillText(link, offline, nowMs));
    setAttribute(this.pill, 'title', link.name === 'reconnecting' && link.why ? link.why : null);
    // The countdown is for the eyes; read aloud every second it would be torture.
    setText(this.announcement, ANNOUNCEMENTS[link.name]);
    if (store.device) {
      setText(this.device, store.device);
      if (document.title !== store.device) document.title = store.device;
    }
    this.unsynced.hidden = store.synced || link.name !== 'live';
    this.missed.hidden = store.missed === 0;
    if (store.missed > 0) setText(this.missed, store.missed === 1 ? '1 batch missed' : `${store.missed} batches missed`);
    const size = store.channels.size;
    setText(this.count, size === 0 ? '' : size === 1 ? '1 channel' : `${size} channels`);
    this.empty.hidden = size > 0;
    setText(this.empty, link.name === 'live' ? 'This board sends no readings yet.' : 'Waiting for the board.');
  }
}

const ANNOUNCEMENTS: Record<LinkState['name'], string> = {
  connecting: 'Connecting to the board',
  live: 'Connected, values are live',
  reconnecting: 'Connection lost, values are no longer live',
};

function pillText(link: LinkState, offline: boolean, nowMs: number): string {
  if (link.name === 'live') return 'Live';
  if (link.name === 'connecting') return 'Connecting';
  if (offline) return 'Offline';
  const seconds = link.retryAt === null ? 0 : Math.ceil((link.retryAt - nowMs) / 1000);
  return seconds > 0 ? `Reconnecting in ${seconds} s` : 'Reconnecting';
}
