// Charts end at "now" on the board, not in the browser: a board without a clock chip may believe that it is 1970, and
// jumps when network time arrives. Between messages the browser's monotonic clock carries the time on.

/** How often the estimate is compared with what arrived. */
const REVIEW_MS = 3000;

export class BoardClock {
  private offset: number | null = null;
  private reviewAt = 0;
  private correction: number | null = null;

  /** It is another board's clock from here on. */
  reset(): void {
    this.offset = this.correction = null;
  }

  /** The board said what time it is. */
  set(boardTime: number, nowMs: number): void {
    this.offset = boardTime - nowMs / 1000;
    this.correction = null;
    this.reviewAt = nowMs + REVIEW_MS;
  }

  /** A batch carries the instant `t`. One odd time stamp must not move all charts, but when no batch agrees with the
   *  estimate any more, the clock has stepped (or the two crystals have drifted apart): the smallest move that makes
   *  one agree is taken. */
  observe(t: number, nowMs: number): void {
    if (this.offset === null) return this.set(t, nowMs);
    const off = t - (this.offset + nowMs / 1000);
    if (this.correction === null || Math.abs(off) < Math.abs(this.correction)) this.correction = off;
    if (nowMs < this.reviewAt) return;
    this.offset += this.correction;
    this.correction = null;
    this.reviewAt = nowMs + REVIEW_MS;
  }

  now(nowMs: number): number | null {
    return this.offset === null ? null : this.offset + nowMs / 1000;
  }
}
