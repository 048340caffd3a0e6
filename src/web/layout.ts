// Which channel stands where. A board sends a flat list in the order of its sources; people look for the four numbers
// that tell whether it's well, and then for a topic. Pure, because the order is easily broken and easily tested.

import type { Channel } from './store';

/** Charts for numbers; a line of text for what a chart can't tell. */
export type Form = 'chart' | 'text';

export interface Group {
  key: string;
  title: string;
  charts: string[];
  texts: string[];
}

export interface Headline {
  cpu?: string;
  memory?: { used: string; total?: string };
  temperature?: string;
  network?: { title: string; rx: string; tx: string };
}

const FIRST = ['cpu', 'mem', 'swap', 'load', 'pressure', 'processes', 'uptime', 'net', 'disk', 'fs', 'thermal', 'power', 'board'];
const LAST = ['boardcast'];

const TITLES = new Map<string, string>(Object.entries({
  cpu: 'CPU',
  mem: 'Memory',
  swap: 'Swap',
  load: 'Load',
  pressure: 'Pressure',
  processes: 'Processes',
  uptime: 'Uptime',
  net: 'Network',
  disk: 'Disks',
  fs: 'File systems',
  thermal: 'Temperatures',
  power: 'Power',
  hwmon: 'Sensor chips',
  iio: 'Converters and sensors',
  w1: '1-Wire',
  supply: 'Batteries and supplies',
  led: 'LEDs',
  backlight: 'Backlights',
  clock: 'Clocks',
  board: 'Board',
  boardcast: 'Boardcast',
}));

export function formOf(channel: Channel): Form {
  if (channel.description.kind === 'state') return 'text';
  return typeof channel.value === 'string' || typeof channel.value === 'boolean' ? 'text' : 'chart';
}

/** The group and what is left of the name within it: `net/eth0/rx` is `eth0/rx` in `net`. */
export function split(name: string): { group: string; rest: string } {
  const slash = name.indexOf('/');
  return slash < 0 ? { group: name, rest: name } : { group: name.slice(0, slash), rest: name.slice(slash + 1) };
}

export function groupsOf(channels: ReadonlyMap<string, Channel>): Group[] {
  const groups = new Map<string, string[]>();
  for (const name of channels.keys()) {
    const { group } = split(name);
    const names = groups.get(group);
    if (names) names.push(name);
    else groups.set(group, [name]);
  }
  return [...groups]
    .sort(([a], [b]) => place(a) - place(b) || compare(a, b))
    .map(([key, names]) => {
      const ordered = together(names);
      const form = (name: string): Form => formOf(channels.get(name) as Channel);
      const charts = ordered.filter((name) => form(name) === 'chart');
      return {
        key,
        title: TITLES.get(key) ?? key,
        // A rate is looked at; a total is looked up.
        charts: [...charts.filter((name) => !isCounter(channels, name)), ...charts.filter((name) => isCounter(channels, name))],
        texts: ordered.filter((name) => form(name) === 'text'),
      };
    });
}

/** The four that a visitor looks for first; those that the board has. */
export function headlineOf(channels: ReadonlyMap<string, Channel>): Headline {
  const headline: Headline = {};
  const has = (name: string): boolean => {
    const channel = channels.get(name);
    return channel !== undefined && formOf(channel) === 'chart';
  };
  if (has('cpu/usage')) headline.cpu = 'cpu/usage';
  if (has('mem/used')) headline.memory = has('mem/total') ? { used: 'mem/used', total: 'mem/total' } : { used: 'mem/used' };
  const temperature = temperatureOf([...channels].filter(([name]) => has(name)));
  if (temperature !== undefined) headline.temperature = temperature;
  const network = networkOf(channels, has);
  if (network) headline.network = network;
  return headline;
}

function temperatureOf(charts: [string, Channel][]): string | undefined {
  const celsius = charts.filter(([, channel]) => channel.description.unit === 'Cel').map(([name]) => name);
  const ofTheChip = /^cpu\/temp|^thermal\/.*(cpu|soc|pkg|core)/i;
  return celsius.find((name) => name === 'cpu/temperature') ?? celsius.find((name) => ofTheChip.test(name))
    ?? celsius.find((name) => name.startsWith('thermal/'));
}

/** Interfaces that only exist inside the board. */
const VIRTUAL = /^(lo|docker|veth|br-|virbr|cni|flannel|dummy|tap|tun|ifb)/;

function networkOf(channels: ReadonlyMap<string, Channel>, has: (name: string) => boolean): Headline['network'] {
  const links: { title: string; rx: string; tx: string; carried: number }[] = [];
  for (const rx of channels.keys()) {
    const title = /^net\/([^/]+)\/rx$/.exec(rx)?.[1];
    const tx = `net/${title}/tx`;
    if (title === undefined || VIRTUAL.test(title) || !has(rx) || !has(tx)) continue;
    links.push({ title, rx, tx, carried: numberOf(channels, `${rx}_bytes`) + numberOf(channels, `${tx}_bytes`) });
  }
  // A board has a socket that nothing is plugged into and a radio that does the work, or the other way round.
  const busiest = links.reduce<(typeof links)[number] | undefined>((best, link) => (best && best.carried >= link.carried ? best : link), undefined);
  return busiest && { title: busiest.title, rx: busiest.rx, tx: busiest.tx };
}

function numberOf(channels: ReadonlyMap<string, Channel>, name: string): number {
  const value = channels.get(name)?.value;
  return typeof value === 'number' ? value : 0;
}

function place(group: string): number {
  const first = FIRST.indexOf(group);
  if (first >= 0) return first;
  const last = LAST.indexOf(group);
  return FIRST.length + (last >= 0 ? 1 + last : 0);
}

const isCounter = (channels: ReadonlyMap<string, Channel>, name: string): boolean =>
  channels.get(name)?.description.kind === 'counter';

/** The board's own order, but what belongs to one thing (`eth0/rx`, `eth0/tx`) side by side, and core10 after core9. */
function together(names: string[]): string[] {
  const thing = (name: string): string => {
    const { rest } = split(name);
    const slash = rest.indexOf('/');
    return slash < 0 ? '' : rest.slice(0, slash);
  };
  const order = new Map(names.map((name, i) => [name, i]));
  return [...names].sort((a, b) => compare(thing(a), thing(b)) || (order.get(a) ?? 0) - (order.get(b) ?? 0));
}

const collator = new Intl.Collator('en', { numeric: true });
const compare = (a: string, b: string): number => collator.compare(a, b);
