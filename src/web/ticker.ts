// Readings may arrive a thousand times a second; eyes and batteries are content with four. All drawing of the page
// happens in one animation frame at a time, and none while nobody can see it.

const LEAST_INTERVAL_MS = 250;
/** Time passes on the page (staleness, countdown, sliding charts) even when nothing arrives. */
const BEAT_MS = 1000;

export class Ticker {
  private lastDraw = -Infinity;
  private scheduled = false;

  constructor(private readonly draw: (nowMs: number) => void) {
    setInterval(() => this.request(), BEAT_MS);
    document.addEventListener('visibilitychange', () => this.request());
  }

  request(): void {
    if (this.scheduled || document.hidden) return;
    this.scheduled = true;
    const wait = Math.max(0, this.lastDraw + LEAST_INTERVAL_MS - performance.now());
    setTimeout(() => requestAnimationFrame(() => this.run()), wait);
  }

  private run(): void {
    this.scheduled = false;
    this.lastDraw = performance.now();
    this.draw(this.lastDraw);
  }
}
