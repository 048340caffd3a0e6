// Charts that start empty say nothing for their first minutes, though the board knows what was. It is asked once, when
// the page goes live, and again when somebody wants to see further back.

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

  /** Other charts are shown, which have no past yet. */
  forget(): void {
    this.reach = 0;
  }

  /** Makes sure that the charts reach so many seconds back, as soon as all channels are known. */
  async reachBack(seconds: number): Promise<void> {
    if (seconds <= this.reach) return;
    const former = this.reach;
    this.reach = seconds;
    try {
      const fitting = Math.floor(MOST_NUMBERS / Math.max(1, this.store.channels.size));
      this.store.prefill(await this.ask({ last: seconds, points: Math.min(POINTS, fitting) }));
    } catch {
      // A board without a history, or one that has just gone: charts fill as time passes.
      if (this.reach === seconds) this.reach = former;
    }
  }
}
