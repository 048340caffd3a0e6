// Brings the document in line with the store, a few times a second, touching only what differs. Elements are kept by
// channel name, so that a reconnect or a restart of the board leaves scroll position, focus and charts alone.

import { arrange, byId, el, setText } from './dom';
import { formOf, groupsOf, type Group } from './layout';
import { OnScreen } from './onscreen';
import type { Channel, Store } from './store';
import { Card } from './view-card';
import { HeadlineView } from './view-headline';
import { StatusView, type About, type Connection } from './view-status';

interface GroupElements {
  section: HTMLElement;
  title: HTMLElement;
  charts: HTMLElement;
  texts: HTMLElement;
}

/** The widest page has this many columns. */
const MOST_COLUMNS = 6;

export class PageView {
  private readonly onScreen = new OnScreen();
  private readonly status = new StatusView();
  private readonly headline: HeadlineView;
  private readonly root = byId('groups');
  private readonly groups = new Map<string, GroupElements>();
  private readonly cards = new Map<string, Card>();
  private arranged = '';

  constructor(private readonly store: Store) {
    this.headline = new HeadlineView(byId('headline'), store, this.onScreen);
  }

  update(link: Connection, about: About, seconds: number, nowMs: number): void {
    this.store.tick(nowMs);
    this.status.update(this.store, link, about);
    const shape = this.shape();
    if (shape !== this.arranged) {
      this.arranged = shape;
      this.arrange();
    }
    for (const [name, card] of this.cards) {
      const channel = this.store.channels.get(name);
      if (channel) card.update(channel, this.store.health(channel, nowMs));
    }
    this.headline.update(nowMs);

    const end = this.store.clock.now(nowMs);
    if (end === null) return;
    const view = { end: roundUp(end, seconds), seconds };
    this.headline.draw(view);
    for (const card of this.cards.values()) card.draw(view);
  }

  restyle(): void {
    this.headline.restyle();
    for (const card of this.cards.values()) card.restyle();
  }

  /** Changes when something has to move: the set of channels, or a channel that turns out to be text. */
  private shape(): string {
    let texts = 0;
    for (const channel of this.store.channels.values()) if (formOf(channel) === 'text') texts += 1;
    return `${this.store.shape} ${texts}`;
  }

  private arrange(): void {
    for (const [name, card] of this.cards) {
      const channel = this.store.channels.get(name);
      if (channel && card.fits(channel, formOf(channel))) continue;
      card.remove();
      this.cards.delete(name);
    }
    for (const [name, channel] of this.store.channels) {
      if (!this.cards.has(name)) this.cards.set(name, this.newCard(channel));
    }
    const groups = groupsOf(this.store.channels);
    const keys = new Set(groups.map((group) => group.key));
    for (const key of [...this.groups.keys()]) if (!keys.has(key)) this.groups.delete(key);
    arrange(this.root, groups.map((group) => this.arrangeGroup(group)));
    this.headline.arrange();
  }

  private newCard(channel: Channel): Card {
    return new Card(channel, formOf(channel), this.onScreen);
  }

  private arrangeGroup(group: Group): HTMLElement {
    const elements = this.groups.get(group.key) ?? newGroup(group.key);
    this.groups.set(group.key, elements);
    setText(elements.title, group.title);
    const element = (name: string): HTMLElement => (this.cards.get(name) as Card).element;
    arrange(elements.charts, group.charts.map(element));
    arrange(elements.texts, group.texts.map(element));
    elements.charts.hidden = group.charts.length === 0;
    elements.texts.hidden = group.texts.length === 0;
    elements.section.dataset.span = String(columns(group));
    return elements.section;
  }
}

/** How many columns a group is worth; small groups share a row. */
function columns({ charts, texts }: Group): number {
  const wanted = charts.length > 0 ? charts.length : Math.min(4, texts.length);
  return Math.min(MOST_COLUMNS, Math.max(1, wanted));
}

function newGroup(key: string): GroupElements {
  const title = el('h2');
  title.id = `group-${key}`;
  const charts = list('cards');
  const texts = list('facts');
  const section = el('section', 'group', title, charts, texts);
  section.dataset.group = key;
  section.setAttribute('aria-labelledby', title.id);
  return { section, title, charts, texts };
}

/** Safari takes a list without bullets for no list at all, unless told. */
function list(className: string): HTMLElement {
  const element = el('ul', className);
  element.setAttribute('role', 'list');
  return element;
}

/** The right edge moves in steps of about a pixel: in between, a redraw would show the same picture. */
function roundUp(end: number, seconds: number): number {
  const step = Math.max(0.25, seconds / 300);
  return Math.ceil(end / step) * step;
}
