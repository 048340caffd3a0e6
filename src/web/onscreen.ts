// Sixty charts would cost a phone its battery for a page of which it shows eight. One observer for all tells which plots
// are near the screen, and how large they are, without ever asking for layout in between.

export interface Plot {
  /** The plot came near the screen, or changed its size while it was there. */
  shown(width: number, height: number): void;
  hidden(): void;
}

export class OnScreen {
  private readonly plots = new Map<Element, Plot>();
  private readonly sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const { width, height } = contentRect;
      if (width > 0 && height > 0) this.plots.get(target)?.shown(Math.floor(width), Math.floor(height));
    }
  });
  private readonly seen = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) {
          this.sizes.observe(target); // Reports at once.
        } else {
          this.sizes.unobserve(target);
          this.plots.get(target)?.hidden();
        }
      }
    },
    { rootMargin: '150px' },
  );

  add(element: Element, plot: Plot): void {
    this.plots.set(element, plot);
    this.seen.observe(element);
  }

  remove(element: Element): void {
    this.plots.get(element)?.hidden();
    this.plots.delete(element);
    this.seen.unobserve(element);
    this.sizes.unobserve(element);
  }
}
