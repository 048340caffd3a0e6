// What a client wants of a board. Asked here before the board is: a browser does not tell why a connection was refused.

import { BoardcastError } from './error.js';
import { faultOf } from './filter.js';

export interface Selection {
  /** Filters; everything, when left out. */
  channels?: readonly string[] | undefined;
  /** At most so many messages a second; every batch, when left out. */
  maxHz?: number | undefined;
}

const MOST_FILTERS = 64;

/** The selection, copied; throws what is wrong with it. */
export function checked({ channels, maxHz }: Selection): Selection {
  if (channels && channels.length > MOST_FILTERS) {
    throw new BoardcastError('bad_filter', `${channels.length} filters are more than ${MOST_FILTERS}`);
  }
  for (const filter of channels ?? []) {
    const fault = faultOf(filter);
    if (fault !== null) throw new BoardcastError('bad_filter', fault);
  }
  if (maxHz !== undefined && !(maxHz > 0 && Number.isFinite(maxHz))) {
    throw new BoardcastError('bad_rate', `maxHz is a number above 0, not ${maxHz}`);
  }
  return { channels: channels && [...channels], maxHz };
}
