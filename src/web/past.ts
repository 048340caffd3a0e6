// Charts that start empty say nothing for their first minutes, though the board knows what was. It is asked once, when
// the page goes live, again when somebody wants to see further back, and for the hole when the page was away for so long
// that the stream could not bring what it missed.

import type { History, HistoryQuery } from '../../clients/js/src/history.js';
import type { Store } from './store';

/** Two points a step, lowest and highest: as much as a chart of a few hundred pixels can show. */
const POINTS = 300;
/** More numbers than this, channels times points, a board refuses to look up at once. */
const MOST_NUMBERS = 66_666;

export class Past {
  /** How far back it was asked for, in seconds. */
  private reach = 0;

  constructor(
    private readonly ask: (query: HistoryQuery) => Promise<History>,
    private readonly store: Store,
  ) {}

  /** Makes sure that the charts reach so many seconds back, as soon as all channels are known. */
  async reachBack(seconds: number): Promise<void> {
    if (seconds <= this.reach) return;
    const former = this.reach;
    this.reach = seconds;
    try {
      this.store.prefill(await this.ask({ last: seconds, points: this.points() }));
    } catch {
      // A board without a history, or one that has just gone: charts fill as time passes.
      if (this.reach === seconds) this.reach = former;
    }
  }

  /** Fills the hole after the instant `after`, as far back as the charts reach; `now` is the board's time. */
  async bridge(after: number, now: number): Promise<void> {
    try {
      const from = Math.max(after, now - this.reach);
      this.store.prefill(await this.ask({ from, points: this.points() }), after);
    } catch {
      // The hole stays.
    }
  }

  private points(): number {
    return Math.min(POINTS, Math.floor(MOST_NUMBERS / Math.max(1, this.store.channels.size)));
  }
}
