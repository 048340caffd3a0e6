// What a channel looks like in words, the same wherever it is shown: the last good value stays, and beside it stands,
// in text and not in colour alone, why it may not be believed.

import { split } from './layout';
import type { Channel, Health } from './store';
import { clockTime, format, type Formatted } from './units';

export interface Presented {
  value: Formatted;
  raw: string;
  health: Health;
  badge: string;
  reason: string;
  changed: string;
  alarm: boolean;
}

const BADGES: Record<Health, string> = {
  ok: '',
  waiting: 'waiting',
  missing: 'no reading',
  stale: 'stale',
  error: 'error',
  gone: 'gone',
};

export function present(channel: Channel, health: Health): Presented {
  const { description, value } = channel;
  return {
    value: format(value, description.unit, channel.places),
    raw: String(value),
    health,
    badge: BADGES[health],
    reason: health === 'error' ? (description.reason ?? '') : '',
    changed: channel.changedAt === null ? 'no change seen' : `since ${clockTime(channel.changedAt)}`,
    alarm: isAlarm(description.name, value),
  };
}

/** The one topic whose states have a known meaning: the firmware says that the board is short of power or too hot. */
function isAlarm(name: string, value: unknown): boolean {
  return value === true && name.startsWith('power/') && !name.endsWith('_since_boot');
}

/** The levels before the last are context, the last is the name; a label replaces both. */
export function nameOf(channel: Channel): { path: string; name: string } {
  const { label, name } = channel.description;
  if (label !== undefined) return { path: '', name: label };
  const { rest } = split(name);
  const slash = rest.lastIndexOf('/');
  return { path: rest.slice(0, slash + 1), name: rest.slice(slash + 1) };
}
