// A place in the page where a chart can be: it exists for every number, while the chart itself, with its canvas, lives
// only as long as it is on screen. Redraws are skipped when neither the readings nor the time would move a pixel.

import { Chart, type ChartOptions, type View } from './chart';
import { el, setAttribute } from './dom';
import type { OnScreen } from './onscreen';

export class Plot {
  readonly element: HTMLElement;
  private readonly tip = el('p', 'tip');
  private chart: Chart | null = null;
  private drawn = '';
  private view: View | null = null;

  constructor(
    private readonly onScreen: OnScreen,
    private readonly options: Omit<ChartOptions, 'tip'>,
    label: string,
  ) {
    this.tip.hidden = true;
    this.tip.setAttribute('aria-hidden', 'true');
    this.element = el('div', 'plot', this.tip);
    this.element.setAttribute('role', 'img');
    this.element.setAttribute('aria-label', label);
    onScreen.add(this.element, this);
  }

  shown(width: number, height: number): void {
    if (this.chart) this.chart.resize(width, height);
    else this.chart = new Chart(this.element, { ...this.options, tip: this.tip }, width, height);
    this.drawn = '';
    if (this.view) this.draw(this.view, 0);
  }

  hidden(): void {
    this.chart?.destroy();
    this.chart = null;
    this.tip.hidden = true;
  }

  /** `version` changes with the readings. */
  draw(view: View, version: number): void {
    this.view = view;
    if (!this.chart) return;
    const state = `${version} ${view.end} ${view.seconds}`;
    if (state === this.drawn) return;
    this.drawn = state;
    this.chart.draw(view);
    // A picture says nothing to a test, or to a script of the page's owner.
    setAttribute(this.element, 'data-breaks', String(this.chart.breaks));
    setAttribute(this.element, 'data-oldest', String(this.chart.oldest));
  }

  restyle(): void {
    this.chart?.restyle();
  }

  remove(): void {
    this.onScreen.remove(this.element);
    this.element.remove();
  }
}
