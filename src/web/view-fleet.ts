// The overview: a tile a device. There may be thousands, of which a screen shows thirty: all stand in the document, so
// that the browser's own search and a screen reader find them; only those near the screen are filled and kept up to date.

import { arrange, byId, el, setAttribute, setText } from './dom';
import { ago, sparkline, vitalsOf, type Entry, type Fleet } from './fleet';
import type { OnScreen } from './onscreen';
import { addressOf } from './route';
import { format } from './units';

const SVG = 'http://www.w3.org/2000/svg';

export class FleetView {
  private readonly list = byId('devices');
  private readonly filter = byId('filter') as HTMLInputElement;
  private readonly tiles = new Map<string, Tile>();
  private arranged = '';

  constructor(
    private readonly fleet: Fleet,
    private readonly onScreen: OnScreen,
  ) {}

  /** `serverNow`: the server's clock, in seconds since 1970; `null` while it is not known. */
  update(nowMs: number, serverNow: number | null): void {
    const wanted = `${this.fleet.shape} ${this.filter.value}`;
    if (wanted !== this.arranged) {
      this.arranged = wanted;
      this.arrange();
    }
    for (const tile of this.tiles.values()) tile.update(nowMs, serverNow);
  }

  private arrange(): void {
    for (const [name, tile] of this.tiles) {
      if (this.fleet.devices.get(name) === tile.entry) continue;
      tile.remove(this.onScreen);
      this.tiles.delete(name);
    }
    const sought = this.filter.value.trim().toLowerCase();
    const elements = this.fleet.ordered().map((entry) => {
      let tile = this.tiles.get(entry.name);
      if (!tile) this.tiles.set(entry.name, (tile = new Tile(entry, this.onScreen)));
      tile.element.hidden = !entry.name.toLowerCase().includes(sought);
      return tile.element;
    });
    arrange(this.list, elements);
  }
}

class Tile {
  readonly element = el('li', 'device');
  private readonly state = el('span', 'state');
  private readonly age = el('span', 'age');
  private readonly values = el('dl', 'vitals');
  private readonly chart = document.createElementNS(SVG, 'svg');
  private visible = false;
  private drawn = 0;

  constructor(
    readonly entry: Entry,
    onScreen: OnScreen,
  ) {
    const link = el('a', 'name', entry.name);
    link.href = addressOf(entry.name);
    setAttribute(this.chart, 'viewBox', '0 0 60 20');
    setAttribute(this.chart, 'preserveAspectRatio', 'none');
    setAttribute(this.chart, 'aria-hidden', 'true');
    this.element.append(link, el('p', 'doing', this.state, this.age), this.values, this.chart);
    this.element.dataset.device = entry.name;
    onScreen.add(this.element, {
      shown: () => (this.visible = true),
      hidden: () => (this.visible = false),
    });
  }

  update(nowMs: number, serverNow: number | null): void {
    const { entry } = this;
    setAttribute(this.element, 'data-status', entry.status);
    if (!this.visible) return;
    setText(this.state, entry.status);
    setAttribute(this.state, 'title', entry.reason || null);
    const seconds =
      entry.arrivedAt !== null ? (nowMs - entry.arrivedAt) / 1000 : entry.t !== null && serverNow !== null ? serverNow - entry.t : null;
    setText(this.age, seconds === null ? 'never heard' : ago(seconds));
    if (this.drawn === entry.version) return;
    this.drawn = entry.version;
    this.show();
  }

  private show(): void {
    const vitals = vitalsOf(this.entry);
    while (this.values.children.length > vitals.length) this.values.lastElementChild?.remove();
    vitals.forEach(({ title, unit, value }, i) => {
      const there = this.values.children[i] ?? this.values.appendChild(el('div', '', el('dt'), el('dd')));
      const { number, unit: shown } = format(value, unit, 1);
      setText(there.firstElementChild as Element, title);
      setText(there.lastElementChild as Element, shown ? `${number} ${shown}` : number);
    });
    const lines = sparkline(this.entry.recent);
    while (this.chart.children.length > lines.length) this.chart.lastElementChild?.remove();
    lines.forEach((points, i) => {
      const line = this.chart.children[i] ?? this.chart.appendChild(document.createElementNS(SVG, 'polyline'));
      setAttribute(line, 'points', points);
    });
  }

  remove(onScreen: OnScreen): void {
    onScreen.remove(this.element);
    this.element.remove();
  }
}
