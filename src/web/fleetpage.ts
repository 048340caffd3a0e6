// The page of a fleet: the overview, or one device as if it were a board of its own. Which of the two stands in the address.

import type { Loss } from '../../clients/js/src/place.js';
import type { Hello, Message } from '../../clients/js/src/protocol.js';
import type { Board } from '../../clients/js/src/board.js';
import { BoardClock } from './boardclock';
import { ofDevice } from './device';
import { byId } from './dom';
import { Fleet, VITALS, VITALS_HZ } from './fleet';
import { OnScreen } from './onscreen';
import { deviceIn } from './route';
import type { Store } from './store';
import { FleetView } from './view-fleet';
import type { About } from './view-status';

export class FleetPage {
  /** The device that is shown; `null`: the overview. */
  shown: string | null | undefined;

  private readonly fleet = new Fleet();
  /** The server's own clock, which the overview reckons ages by. */
  private readonly clock = new BoardClock();
  private readonly view = new FleetView(this.fleet, new OnScreen());
  private scrolled = 0;
  private name = '';

  constructor(
    private readonly board: Board,
    private readonly store: Store,
    changed: () => void,
  ) {
    byId('filter').addEventListener('input', changed);
    addEventListener('hashchange', () => {
      this.route();
      changed();
    });
    this.route();
  }

  /** Goes where the address says, and asks for what is shown there and nothing else. */
  private route(): void {
    const device = deviceIn(location.hash);
    if (device === this.shown) return;
    if (this.shown === null) this.scrolled = scrollY;
    this.shown = device;
    const overview = device === null;
    for (const id of ['devices', 'filter']) byId(id).hidden = !overview;
    for (const id of ['groups', 'window', 'back']) byId(id).hidden = overview;
    this.store.enter(device ?? '');
    const asked = overview ? this.board.subscribe(VITALS, { maxHz: VITALS_HZ }) : this.board.subscribe([`${device}/#`]);
    asked.catch(() => {}); // The page is being closed.
    requestAnimationFrame(() => scrollTo(0, overview ? this.scrolled : 0));
  }

  /** What of a message the store of the shown device should hear. */
  take(message: Message, nowMs: number): Message | null {
    if (message.type === 'hello') this.greeted(message, nowMs);
    if (message.type === 'heartbeat' || message.type === 'clock') this.clock.set(message.time, nowMs);
    if (message.type === 'devices') this.fleet.meet(message.devices);
    if (typeof this.shown === 'string') return ofDevice(message, this.shown);
    if (message.type === 'data') this.fleet.take(message, nowMs);
    return null;
  }

  private greeted({ device, time }: Hello, nowMs: number): void {
    this.name = device;
    this.clock.set(time, nowMs);
    this.store.rejoined(nowMs);
  }

  /** Whether it is a loss of what is shown. */
  lose({ device }: Loss): boolean {
    if (device !== undefined) this.fleet.lose(device);
    return device === this.shown;
  }

  update(nowMs: number): void {
    if (this.shown === null) this.view.update(nowMs, this.clock.now(nowMs));
  }

  about(): About {
    if (typeof this.shown !== 'string') {
      const none = this.fleet.devices.size === 0;
      return { title: this.name, count: this.fleet.summary(), empty: none ? 'No device has been heard of yet.' : null };
    }
    const entry = this.fleet.devices.get(this.shown);
    const size = this.store.channels.size;
    const channels = size === 0 ? [] : [size === 1 ? '1 channel' : `${size} channels`];
    const state = entry?.status ?? 'gone';
    const doing = state === 'online' ? [] : [entry?.reason ? `${state}: ${entry.reason}` : state];
    const empty = entry ? 'Nothing has been heard of this device yet.' : 'This fleet has no device of this name.';
    return { title: this.shown, count: [...doing, ...channels].join(' · '), empty: size === 0 ? empty : null, device: state };
  }
}
