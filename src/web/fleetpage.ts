// The page of a fleet: the overview, or one device as if it were a board of its own. Which of the two stands in the address.

import type { Loss } from '../../clients/js/src/place.js';
import type { Device, Hello, Message } from '../../clients/js/src/protocol.js';
import type { Board } from '../../clients/js/src/board.js';
import { BoardClock } from './boardclock';
import { ofDevice } from './device';
import { byId } from './dom';
import { chosenVitals, Fleet, VITALS_HZ } from './fleet';
import { deviceIn } from './route';
import type { Store } from './store';
import { FleetView } from './view-fleet';
import type { About } from './view-status';

export class FleetPage {
  /** The device that is shown; `null`: the overview. */
  shown: string | null | undefined;

  private readonly fleet: Fleet;
  /** The server's own clock, which the overview reckons ages by. */
  private readonly clock = new BoardClock();
  private readonly view: FleetView;
  private scrolled = 0;
  /** The server has named all devices that it knows. */
  private listed = false;
  private name = '';

  constructor(
    private readonly board: Board,
    private readonly store: Store,
    /** Another device is shown, or none: what is drawn is no longer true. */
    private readonly changed: () => void,
  ) {
    this.fleet = new Fleet(chosenVitals(location.search));
    this.view = new FleetView(this.fleet, board.channels);
    byId('filter').addEventListener('input', () => this.update(performance.now()));
    // What stands there is other than what the browser remembers the place of.
    history.scrollRestoration = 'manual';
    addEventListener('hashchange', () => this.route());
  }

  /** Goes where the address says, and asks for what is shown there and nothing else. */
  route(): void {
    const device = deviceIn(location.hash);
    if (device === this.shown) return;
    const before = this.shown;
    if (before === null) this.scrolled = scrollY;
    this.shown = device;
    const overview = device === null;
    for (const id of ['devices', 'filter']) byId(id).hidden = !overview;
    for (const id of ['groups', 'window', 'back']) byId(id).hidden = overview;
    this.store.enter(device ?? '');
    if (!overview) this.fleet.pause();
    const asked = overview ? this.board.subscribe(this.fleet.filters, { maxHz: VITALS_HZ }) : this.board.subscribe([`${device}/#`]);
    asked.catch(() => {}); // The page is being closed, or nobody can have this name.
    this.changed();
    scrollTo(0, overview ? this.scrolled : 0);
    if (overview && before) this.view.focus(before);
  }

  /** Devices are new or have changed. */
  meet(devices: readonly Device[]): void {
    this.fleet.meet(devices);
    // Whatever comes next comes behind a hole.
    if (devices.some(({ name, status }) => name === this.shown && status !== 'online')) this.store.interrupt();
  }

  /** What of a message the store of the shown device should hear. */
  take(message: Message, nowMs: number): Message | null {
    if (message.type === 'hello') this.greeted(message, nowMs);
    if (message.type === 'heartbeat') {
      this.listed = true;
      this.clock.set(message.time, nowMs);
    }
    if (typeof this.shown === 'string') return ofDevice(message, this.shown);
    if (message.type === 'data') this.fleet.take(message, nowMs);
    return null;
  }

  private greeted({ device, time }: Hello, nowMs: number): void {
    this.name = device;
    this.clock.set(time, nowMs);
    this.store.rejoined(nowMs);
    // What was between is not lost to who asks for the newest alone, but no line may lead across.
    this.fleet.pause();
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
    const count = [...doing, ...channels].join(' · ');
    if (!entry && !this.listed) return { title: this.shown, count: '', empty: 'Waiting for the fleet.' };
    const empty = entry ? 'Nothing has been heard of this device yet.' : 'This fleet has no device of this name.';
    return { title: this.shown, count, empty: size === 0 ? empty : null, device: state };
  }
}
