// One channel on the page, as a chart or as a line of text. Both keep room for everything they may have to say, so that
// a value, a badge or an error never moves its neighbours.

import type { View } from './chart';
import { el, setAttribute, setText } from './dom';
import type { Form } from './layout';
import type { OnScreen } from './onscreen';
import { Plot } from './plot';
import { nameOf, present } from './present';
import type { Limits } from './scale';
import type { Channel, Health } from './store';

export class Card {
  readonly element: HTMLLIElement;
  private readonly path = el('span', 'path');
  private readonly name = el('span');
  private readonly heading = el('h3', 'name', this.path, this.name);
  private readonly badge = el('span', 'badge');
  private readonly number = el('span', 'number');
  private readonly unit = el('span', 'unit');
  private readonly value = el('p', 'value', this.number, this.unit);
  private readonly note = el('p', 'note');
  private readonly plot: Plot | null;

  constructor(
    private channel: Channel,
    readonly form: Form,
    onScreen: OnScreen,
  ) {
    const { name } = channel.description;
    this.plot =
      form === 'chart'
        ? new Plot(onScreen, { lines: [channel.series], limits: () => limitsOf(this.channel), large: false }, `Chart of ${name}`)
        : null;
    this.element = el('li', form === 'chart' ? 'card' : 'fact', this.heading, this.badge, this.value);
    if (this.plot) this.element.append(this.plot.element);
    this.element.append(this.note);
    this.element.dataset.channel = name;
    this.value.dataset.value = '';
  }

  /** Whether this card can go on showing `channel`: its chart is bound to one series. */
  fits(channel: Channel, form: Form): boolean {
    return this.form === form && this.channel.series === channel.series;
  }

  update(channel: Channel, health: Health): void {
    this.channel = channel;
    const shown = present(channel, health);
    const { path, name } = nameOf(channel);
    const { description } = channel;
    setText(this.path, path);
    setText(this.name, name);
    setAttribute(this.heading, 'title', description.source ? `${description.name} (${description.source})` : description.name);
    setText(this.number, shown.value.number);
    setText(this.unit, shown.value.unit && ` ${shown.value.unit}`);
    setAttribute(this.value, 'data-raw', shown.raw);
    setText(this.badge, shown.badge);
    setAttribute(this.element, 'data-health', health);
    setAttribute(this.element, 'data-alarm', shown.alarm ? '' : null);
    const note = shown.reason || (this.form === 'text' ? shown.changed : '');
    setText(this.note, note);
    setAttribute(this.note, 'title', note || null);
    if (this.form === 'text') setAttribute(this.value, 'title', shown.value.number);
  }

  draw(view: View): void {
    this.plot?.draw(view, this.channel.version);
  }

  restyle(): void {
    this.plot?.restyle();
  }

  remove(): void {
    this.plot?.remove();
    this.element.remove();
  }
}

export function limitsOf(channel: Channel): Limits {
  const { unit, min, max, kind } = channel.description;
  const limits: Limits = { counter: kind === 'counter' || (unit === 's' && channel.description.name === 'uptime') };
  if (unit !== undefined) limits.unit = unit;
  if (min !== undefined) limits.min = min;
  if (max !== undefined) limits.max = max;
  return limits;
}
