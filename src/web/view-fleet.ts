// The overview: a tile a device. There may be thousands, of which a screen shows thirty: all stand in the document, so
// that the browser's own search and a screen reader find them; only those near the screen are filled and kept up to date.

import type { Channel } from '../../clients/js/src/protocol.js';
import { arrange, byId, el, setAttribute, setText } from './dom';
import { ago, POINTS, sparkline, type Entry, type Fleet, type Vital } from './fleet';
import { OnScreen } from './onscreen';
import { addressOf } from './route';
import { yRange } from './scale';
import { format, MOST_PLACES, placesOf, text } from './units';

const SVG = 'http://www.w3.org/2000/svg';

export class FleetView {
  private readonly list = byId('devices');
  private readonly filter = byId('filter') as HTMLInputElement;
  private readonly tiles = new Map<string, Tile>();
  private readonly visible = new Set<Tile>();
  private readonly onScreen = new OnScreen();
  private arranged = '';
  private now: [nowMs: number, serverNow: number | null] = [0, null];

  /** `channels`: what is known of each, by its long name. */
  constructor(
    private readonly fleet: Fleet,
    private readonly channels: ReadonlyMap<string, Channel>,
  ) {}

  /** `serverNow`: the server's clock, in seconds since 1970; `null` while it is not known. */
  update(nowMs: number, serverNow: number | null): void {
    this.now = [nowMs, serverNow];
    const wanted = `${this.fleet.shape} ${this.filter.value}`;
    if (wanted !== this.arranged) {
      this.arranged = wanted;
      this.arrange();
    }
    for (const tile of this.visible) tile.update(nowMs, serverNow);
  }

  /** Who comes back from a device's page goes on at its tile. */
  focus(device: string): void {
    this.tiles.get(device)?.link.focus({ preventScroll: true });
  }

  private arrange(): void {
    for (const [name, tile] of this.tiles) {
      if (this.fleet.devices.get(name) === tile.entry) continue;
      this.onScreen.remove(tile.element);
      this.visible.delete(tile);
      this.tiles.delete(name);
    }
    const sought = this.filter.value.trim().toLowerCase();
    const elements = this.fleet.ordered().map((entry) => {
      const tile = this.tiles.get(entry.name) ?? this.newTile(entry);
      tile.tell();
      tile.element.hidden = !entry.name.toLowerCase().includes(sought);
      return tile.element;
    });
    const { activeElement } = document;
    arrange(this.list, elements);
    // A tile that moved has lost it.
    if (activeElement !== document.activeElement) (activeElement as HTMLElement).focus({ preventScroll: true });
  }

  private newTile(entry: Entry): Tile {
    const tile = new Tile(entry, this.fleet.vitals, this.channels);
    this.tiles.set(entry.name, tile);
    this.onScreen.add(tile.element, {
      shown: () => {
        this.visible.add(tile);
        tile.update(...this.now);
      },
      hidden: () => this.visible.delete(tile),
    });
    return tile;
  }
}

class Tile {
  readonly link: HTMLAnchorElement;
  readonly element = el('li', 'device');
  private readonly state = el('span', 'state');
  private readonly age = el('span', 'age');
  private readonly values = el('dl', 'vitals');
  private readonly chart = document.createElementNS(SVG, 'svg');
  private drawn = 0;

  constructor(
    readonly entry: Entry,
    private readonly vitals: readonly Vital[],
    private readonly channels: ReadonlyMap<string, Channel>,
  ) {
    const link = el('a', 'name', entry.name);
    link.href = addressOf(entry.name);
    this.link = link;
    setAttribute(this.chart, 'viewBox', `0 0 ${POINTS} 20`);
    setAttribute(this.chart, 'preserveAspectRatio', 'none');
    setAttribute(this.chart, 'aria-hidden', 'true');
    this.element.append(link, el('p', 'doing', this.state, this.age), this.values, this.chart);
    this.element.dataset.device = entry.name;
  }

  /** How it is doing, also where no screen shows it. */
  tell(): void {
    const { status, reason } = this.entry;
    setAttribute(this.element, 'data-status', status);
    setText(this.state, status);
    setAttribute(this.state, 'title', reason || null);
  }

  update(nowMs: number, serverNow: number | null): void {
    const { arrivedAt, t, status, version } = this.entry;
    // One that sends no vitals is told of only when its state changes.
    const told = t !== null && serverNow !== null && status !== 'online' ? serverNow - t : null;
    const seconds = arrivedAt === null ? told : (nowMs - arrivedAt) / 1000;
    setText(this.age, seconds !== null ? ago(seconds) : t === null ? 'never heard' : '');
    if (this.drawn === version) return;
    this.drawn = version;
    this.show();
  }

  private show(): void {
    const { entry, values, chart } = this;
    const shown = entry.vitals.flatMap((name, i) => (name === undefined ? [] : [{ name, title: this.vitals[i]?.title }]));
    const described = ({ name }: { name: string }): Channel | undefined => this.channels.get(`${entry.name}/${name}`);
    while (values.children.length > shown.length) values.lastElementChild?.remove();
    shown.forEach((vital, i) => {
      const [title, value] = (values.children[i] ?? values.appendChild(el('div', '', el('dt'), el('dd')))).children;
      const { unit, label } = described(vital) ?? {};
      const now = entry.values.get(vital.name) ?? null;
      setText(title as Element, vital.title || (label ?? vital.name));
      setText(value as Element, text(format(now, unit, typeof now === 'number' ? placesOf(now) : MOST_PLACES)));
    });
    const [first] = shown;
    const numbers = entry.recent.filter((value): value is number => value !== null);
    const [low, high] = numbers.length > 0 ? [Math.min(...numbers), Math.max(...numbers)] : [null, null];
    const { unit = '', min, max } = (first && described(first)) ?? {};
    const limits = { unit, counter: false, whole: true, ...(min !== undefined && { min }), ...(max !== undefined && { max }) };
    const lines = sparkline(entry.recent, yRange(low, high, limits));
    while (chart.children.length > lines.length) chart.lastElementChild?.remove();
    lines.forEach((points, i) => {
      setAttribute(chart.children[i] ?? chart.appendChild(document.createElementNS(SVG, 'polyline')), 'points', points);
    });
  }
}
