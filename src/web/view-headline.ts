// "Is the board well?" should be answered before anybody scrolls. These tiles repeat channels that also stand in their
// groups, larger and joined: used of total, received beside sent.

import type { View } from './chart';
import { arrange, el, setAttribute, setText } from './dom';
import { headlineOf, split, type Headline } from './layout';
import type { OnScreen } from './onscreen';
import { Plot } from './plot';
import { nameOf } from './present';
import type { Channel, Store } from './store';
import { format, text } from './units';
import { limitsOf } from './view-card';

interface TileSpec {
  key: string;
  title: string;
  /** The lines of the chart, and the large values; the first also sets the scale. */
  names: string[];
  /** Before each large value. */
  marks: string[];
  /** The upper end of the scale. */
  max: () => number | undefined;
  detail: () => string;
}

export class HeadlineView {
  private readonly tiles = new Map<string, Tile>();

  constructor(
    private readonly root: HTMLElement,
    private readonly store: Store,
    private readonly onScreen: OnScreen,
  ) {}

  /** The set of channels may have changed. */
  arrange(): void {
    const specs = this.specs(headlineOf(this.store.channels));
    const wanted = new Map<string, TileSpec>(specs.map((spec) => [`${spec.key} ${spec.names.join(' ')}`, spec]));
    for (const [key, tile] of this.tiles) {
      const spec = wanted.get(key);
      const same = spec?.names.every((name, i) => this.store.channels.get(name)?.series === tile.series[i]);
      if (same) continue;
      tile.remove();
      this.tiles.delete(key);
    }
    for (const [key, spec] of wanted) {
      if (!this.tiles.has(key)) this.tiles.set(key, new Tile(spec, this.store, this.onScreen));
    }
    arrange(this.root, [...wanted.keys()].map((key) => (this.tiles.get(key) as Tile).element));
    this.root.hidden = wanted.size === 0;
  }

  update(nowMs: number): void {
    for (const tile of this.tiles.values()) tile.update(nowMs);
  }

  draw(view: View): void {
    for (const tile of this.tiles.values()) tile.draw(view);
  }

  restyle(): void {
    for (const tile of this.tiles.values()) tile.restyle();
  }

  private specs({ cpu, memory, temperature, network }: Headline): TileSpec[] {
    const specs: TileSpec[] = [];
    const nothing = (): undefined => undefined;
    if (cpu !== undefined) {
      specs.push({ key: 'cpu', title: 'CPU', names: [cpu], marks: [''], max: () => 100, detail: () => this.loads() });
    }
    if (memory) {
      const { used, total } = memory;
      const max = (): number | undefined => (total === undefined ? undefined : this.numberOf(total));
      specs.push({ key: 'mem', title: 'Memory', names: [used], marks: [''], max, detail: () => this.share(used, total) });
    }
    if (temperature !== undefined) {
      const detail = (): string => this.title(temperature);
      specs.push({ key: 'thermal', title: 'Temperature', names: [temperature], marks: [''], max: nothing, detail });
    }
    if (network) {
      const { title, rx, tx } = network;
      specs.push({ key: 'net', title: 'Network', names: [rx, tx], marks: ['↓', '↑'], max: nothing, detail: () => title });
    }
    return specs;
  }

  private loads(): string {
    const loads = ['load/1m', 'load/5m', 'load/15m'].map((name) => this.numberOf(name));
    return loads.every((load) => load !== undefined) ? `load ${loads.map((load) => load?.toFixed(2)).join(' · ')}` : '';
  }

  private share(used: string, total: string | undefined): string {
    const [part, whole] = [this.numberOf(used), total === undefined ? undefined : this.numberOf(total)];
    if (part === undefined || !whole) return '';
    return `of ${text(format(whole, 'B', 0))} · ${((part / whole) * 100).toFixed(0)} %`;
  }

  private title(name: string): string {
    const channel = this.store.channels.get(name);
    if (!channel) return '';
    const { path, name: last } = nameOf(channel);
    return channel.description.label ?? (split(name).group === 'thermal' ? path + last : '');
  }

  private numberOf(name: string): number | undefined {
    const value = this.store.channels.get(name)?.value;
    return typeof value === 'number' ? value : undefined;
  }
}

class Tile {
  readonly element: HTMLElement;
  readonly series: Channel['series'][];
  private readonly numbers: { number: HTMLElement; unit: HTMLElement }[];
  private readonly detail = el('p', 'detail');
  private readonly badge = el('span', 'badge');
  private readonly plot: Plot;

  constructor(
    private readonly spec: TileSpec,
    private readonly store: Store,
    onScreen: OnScreen,
  ) {
    this.series = this.channels().map((channel) => channel.series);
    this.plot = new Plot(onScreen, { lines: this.series, limits: () => this.limits(), large: true }, `Chart of ${spec.names.join(' and ')}`);
    this.numbers = spec.names.map(() => ({ number: el('span', 'number'), unit: el('span', 'unit') }));
    const values = this.numbers.map(({ number, unit }, i) => {
      const mark = el('span', `mark mark-${i}`, spec.marks[i] ?? '');
      mark.hidden = !spec.marks[i];
      return el('p', 'value', mark, number, unit);
    });
    this.element = el(
      'article',
      'tile',
      el('h2', 'name', spec.title),
      this.badge,
      this.detail,
      el('div', 'values', ...values),
      this.plot.element,
    );
    this.element.dataset.headline = spec.key;
    this.element.dataset.group = spec.key;
  }

  update(nowMs: number): void {
    const channels = this.channels();
    channels.forEach((channel, i) => {
      const { number, unit } = format(channel.value, channel.description.unit, channel.places);
      const shown = this.numbers[i];
      if (!shown) return;
      setText(shown.number, number);
      setText(shown.unit, unit && ` ${unit}`);
    });
    setText(this.detail, this.spec.detail());
    const health = channels.map((channel) => this.store.health(channel, nowMs)).find((h) => h !== 'ok') ?? 'ok';
    setAttribute(this.element, 'data-health', health);
    setText(this.badge, health === 'ok' || health === 'waiting' ? '' : health === 'missing' ? 'no reading' : health);
  }

  draw(view: View): void {
    this.plot.draw(view, this.channels().reduce((sum, channel) => sum + channel.version, 0));
  }

  restyle(): void {
    this.plot.restyle();
  }

  remove(): void {
    this.plot.remove();
    this.element.remove();
  }

  private channels(): Channel[] {
    return this.spec.names.flatMap((name) => this.store.channels.get(name) ?? []);
  }

  private limits(): ReturnType<typeof limitsOf> {
    const [first] = this.channels();
    const limits = first ? limitsOf(first) : { counter: false };
    const max = this.spec.max();
    return max === undefined ? limits : { ...limits, max, whole: true };
  }
}
