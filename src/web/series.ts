// The page may stay open for weeks and a sensor may deliver a thousand readings a second, so a chart keeps a fixed number
// of points whatever comes. Within one slice of time only the lowest and the highest reading stay: a chart can't show
// more than that in a pixel, and a spike of one millisecond is still seen.

export const SLICE_SECONDS = 1;
/** 15 minutes, the longest window on offer, with two points a second. */
export const CAPACITY = 2 * 15 * 60;

/** A clock that is set back by less than this is jitter between two batches, not a step. */
const BACKWARDS_TOLERANCE = 1;

export interface Points {
  x: number[];
  /** `null` interrupts the line. */
  y: (number | null)[];
  /** Readings between two gaps, which no line would show. */
  isolated: number[];
}

/** Readings of before, `null` where there was none: one entry a step. */
export interface Past {
  t: readonly number[];
  step: number;
  low: readonly (number | null)[];
  high: readonly (number | null)[];
}

export class Series {
  private readonly t: Float64Array;
  private readonly v: Float64Array;
  private start = 0;
  private count = 0;
  private lastTime = -Infinity;

  // The newest slice, still open: its extremes, in the one or two newest places of the ring.
  private slice = NaN;
  private inSlice = 0;
  private lowT = 0;
  private lowV = 0;
  private highT = 0;
  private highV = 0;

  constructor(
    private readonly capacity: number = CAPACITY,
    private readonly sliceSeconds: number = SLICE_SECONDS,
  ) {
    this.t = new Float64Array(capacity);
    this.v = new Float64Array(capacity);
  }

  get length(): number {
    return this.count;
  }

  push(time: number, value: number): void {
    let t = time;
    if (t < this.lastTime) {
      if (t < this.lastTime - BACKWARDS_TOLERANCE) this.clear();
      else t = this.lastTime;
    }
    this.lastTime = t;
    const slice = Math.floor(t / this.sliceSeconds);
    if (slice !== this.slice) {
      this.slice = slice;
      this.inSlice = 0;
    }
    this.inSlice += 1;
    if (this.inSlice === 1) {
      this.lowT = this.highT = t;
      this.lowV = this.highV = value;
      this.append(t, value);
    } else {
      if (value < this.lowV) [this.lowT, this.lowV] = [t, value];
      if (value >= this.highV) [this.highT, this.highV] = [t, value];
      if (this.inSlice === 2) this.append(t, value);
      this.writeExtremes();
    }
  }

  /** Interrupts the line between the newest reading and the next one. */
  gap(): void {
    if (this.count === 0 || Number.isNaN(this.v[this.at(this.count - 1)])) return;
    this.append(this.lastTime, NaN);
    this.slice = NaN;
  }

  /** The board's clock was set by so many seconds: the same instants by the new one. */
  shift(seconds: number): void {
    for (let i = 0; i < this.count; i++) (this.t[this.at(i)] as number) += seconds;
    this.lastTime += seconds;
    this.slice = NaN; // A new one begins: its borders are others.
  }

  /** Puts what was before the first reading in front of it. Within a step only its lowest and highest reading are known. */
  prefill({ t, step, low, high }: Past): void {
    const here = this.all();
    const first = here[0]?.[0] ?? Infinity;
    const past = new Series(this.capacity, this.sliceSeconds);
    t.forEach((start, i) => {
      if (start + step > first) return;
      const [lowest, highest] = [low[i] ?? null, high[i] ?? null];
      if (lowest === null || highest === null) return past.gap();
      past.push(start, lowest);
      if (highest !== lowest) past.push(start + step / 2, highest);
    });
    this.start = this.count = 0;
    for (const [time, value] of [...past.all(), ...here]) this.append(time, value);
    this.lastTime = Math.max(this.lastTime, past.lastTime);
  }

  private all(): [number, number][] {
    return Array.from({ length: this.count }, (_, i) => [this.t[this.at(i)] as number, this.v[this.at(i)] as number]);
  }

  /** The points from `from` on, and one before it so that the line enters from the edge. Reuses the arrays of `out`. */
  copy(from: number, out: Points): void {
    let first = this.lowerBound(from);
    if (first > 0) first -= 1;
    const n = this.count - first;
    out.x.length = out.y.length = n;
    out.isolated.length = 0;
    for (let i = 0; i < n; i++) {
      const at = this.at(first + i);
      const value = this.v[at] as number;
      out.x[i] = this.t[at] as number;
      out.y[i] = Number.isNaN(value) ? null : value;
    }
    for (let i = 0; i < n; i++) {
      if (out.y[i] !== null && (out.y[i - 1] ?? null) === null && (out.y[i + 1] ?? null) === null) out.isolated.push(i);
    }
  }

  private clear(): void {
    this.start = this.count = 0;
    this.lastTime = -Infinity;
    this.slice = NaN;
  }

  private append(t: number, v: number): void {
    if (this.count === this.capacity) this.start = (this.start + 1) % this.capacity;
    else this.count += 1;
    const at = this.at(this.count - 1);
    this.t[at] = t;
    this.v[at] = v;
  }

  private writeExtremes(): void {
    const older = this.at(this.count - 2);
    const newer = this.at(this.count - 1);
    const lowFirst = this.lowT <= this.highT;
    this.t[older] = lowFirst ? this.lowT : this.highT;
    this.v[older] = lowFirst ? this.lowV : this.highV;
    this.t[newer] = lowFirst ? this.highT : this.lowT;
    this.v[newer] = lowFirst ? this.highV : this.lowV;
  }

  private at(index: number): number {
    return (this.start + index) % this.capacity;
  }

  private lowerBound(time: number): number {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.t[this.at(middle)] as number) < time) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
