// uPlot knows how to draw lines quickly; this file knows what a line on a board means: gaps stay gaps, the axis ends at
// the board's "now", colours come from the style sheet. Nothing else in the page imports uPlot.

import uPlot from 'uplot';
import { yRange, type Limits } from './scale';
import type { Points, Series } from './series';
import { clockTime, format, placesOf, short, text } from './units';

export interface ChartOptions {
  lines: Series[];
  limits: () => Limits;
  /** With a time axis; without, the chart is a spark line with the two ends of its scale. */
  large: boolean;
  /** Where the reading under the pointer is written. */
  tip: HTMLElement;
}

export interface View {
  /** The board's time at the right edge. */
  end: number;
  seconds: number;
}

const SYNC = 'boardcast';
const FONT = '10px system-ui, sans-serif';
const GUTTER = 60;
const TIME_AXIS = 18;

export class Chart {
  private readonly plot: uPlot;
  private readonly points: Points[];
  private colors: Colors;
  private view: View = { end: 0, seconds: 300 };

  constructor(
    private readonly host: HTMLElement,
    private readonly options: ChartOptions,
    width: number,
    height: number,
  ) {
    this.colors = readColors(host);
    this.points = options.lines.map(() => ({ x: [], y: [], isolated: [] }));
    const empty: uPlot.AlignedData = [[], ...options.lines.map(() => [])];
    this.plot = new uPlot(this.uplotOptions(width, height), empty, host);
  }

  /** How often the lines are interrupted, as far as they are shown. */
  get breaks(): number {
    return this.points.reduce((sum, { y }) => sum + y.slice(1, -1).filter((value) => value === null).length, 0);
  }

  /** The instant of the oldest reading that is drawn. */
  get oldest(): number {
    return Math.min(...this.points.map(({ x }) => x[0] ?? Infinity));
  }

  draw(view: View): void {
    this.view = view;
    const from = view.end - view.seconds;
    this.options.lines.forEach((series, i) => series.copy(from, this.points[i] as Points));
    this.plot.setData(this.data());
  }

  resize(width: number, height: number): void {
    if (width !== this.plot.width || height !== this.plot.height) this.plot.setSize({ width, height });
  }

  /** The colour scheme changed. */
  restyle(): void {
    this.colors = readColors(this.host);
    this.plot.redraw(false, true);
  }

  destroy(): void {
    this.plot.destroy();
  }

  private data(): uPlot.AlignedData {
    const tables = this.points.map(({ x, y }): uPlot.AlignedData => [x, y]);
    const [only] = tables;
    return tables.length === 1 && only ? only : uPlot.join(tables);
  }

  private uplotOptions(width: number, height: number): uPlot.Options {
    const { lines, large } = this.options;
    const grid = { show: true, stroke: () => this.colors.grid, width: 1 };
    const common = { stroke: () => this.colors.text, font: FONT, ticks: { show: false }, gap: 4 };
    return {
      width,
      height,
      padding: [7, 0, large ? 0 : 7, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false, setScale: false },
        points: { size: 6, width: 0, fill: (_, i) => this.colors.lines[i - 1] ?? '' },
        sync: { key: SYNC, setSeries: false },
      },
      scales: {
        x: { time: true, range: () => [this.view.end - this.view.seconds, this.view.end] },
        y: { range: (_, low, high) => yRange(low, high, this.options.limits()) },
      },
      axes: [
        {
          ...common,
          show: large,
          size: TIME_AXIS,
          space: 42,
          grid: { show: false },
          values: (u, splits) => splits.map((t) => this.timeLabel(u, t)),
        },
        {
          ...common,
          side: 1,
          size: GUTTER,
          grid,
          splits: (u) => this.splits(u),
          values: (_, splits) => this.scaleLabels(splits),
        },
      ],
      series: [
        {},
        ...lines.map((_, i) => ({
          stroke: () => this.colors.lines[i] ?? '',
          ...(i === 0 ? { fill: () => this.colors.fill } : {}),
          fillTo: (u: uPlot) => u.scales.y?.min ?? 0,
          width: 1.5,
          points: { show: false, size: 4, fill: () => this.colors.lines[i] ?? '', filter: () => this.isolated(i) },
        })),
      ],
      hooks: { setCursor: [(u) => this.showTip(u)] },
    };
  }

  /** Empty where the left edge would cut it. */
  private timeLabel(u: uPlot, t: number): string {
    const label = clockTime(t).slice(0, this.view.seconds < 120 ? 8 : 5);
    return u.valToPos(t, 'x') < label.length * 3 ? '' : label;
  }

  /** Both ends of the scale, which `yRange` made readable, and in a large chart the middle. */
  private splits(u: uPlot): number[] {
    const { min = 0, max = 1 } = u.scales.y ?? {};
    return this.options.large ? [min, (min + max) / 2, max] : [min, max];
  }

  /** No scale without readings, and no two labels that read the same (an uptime of days, in minutes). */
  private scaleLabels(splits: number[]): string[] {
    if (this.points.every(({ x }) => x.length === 0)) return splits.map(() => '');
    const { unit } = this.options.limits();
    const labels = splits.map((value) => short(value, unit));
    return labels.map((label, i) => (labels.indexOf(label) < i ? '' : label));
  }

  /** Only for single lines: in a joined table the indices are others, and rates seldom stand alone. */
  private isolated(line: number): number[] | null {
    const isolated = this.points[line]?.isolated ?? [];
    return this.points.length === 1 && isolated.length > 0 ? isolated : null;
  }

  private showTip(u: uPlot): void {
    const { tip } = this.options;
    const { idx } = u.cursor;
    const t = idx === null || idx === undefined ? undefined : u.data[0][idx];
    const { unit } = this.options.limits();
    const values = u.data.slice(1).map((column) => {
      const value = column[idx as number];
      return typeof value === 'number' ? text(format(value, unit, placesOf(value))) : '';
    });
    tip.hidden = t === undefined || values.every((value) => value === '');
    if (t !== undefined && !tip.hidden) tip.textContent = [clockTime(t), ...values].filter(Boolean).join('  ');
  }
}

interface Colors {
  lines: string[];
  fill: string;
  grid: string;
  text: string;
}

function readColors(host: HTMLElement): Colors {
  const style = getComputedStyle(host);
  const color = (name: string): string => style.getPropertyValue(name).trim();
  return { lines: [color('--line'), color('--line-2')], fill: color('--fill'), grid: color('--grid'), text: color('--muted') };
}
