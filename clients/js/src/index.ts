// What the module offers. A board serves it as `/boardcast.js`, bundled.

import { Board, type Options } from './board.js';

/**
 * The live readings of a board.
 *
 * ```js
 * import { Boardcast } from 'http://pi:8642/boardcast.js';
 * const board = new Boardcast();
 * board.on('cpu/temperature', ({ value }) => console.log(value));
 * ```
 */
export class Boardcast extends Board {
  /**
   * @param url `http://pi:8642`, `pi:8642`, `ws://pi:8642/ws`. Left out, it is the board that served this module.
   */
  constructor(url?: string | URL, options?: Options) {
    super(url, options, { base: import.meta.url });
  }
}

export { BoardcastError } from './error.js';
export { matches } from './filter.js';
export type { BoardcastEventMap, CloseEvent, ConnectionStatus, DevicesEvent, GapEvent, MessageEvent, OpenEvent, StatusEvent } from './events.js';
export type { History, HistoryQuery, Track } from './history.js';
export type { Options } from './board.js';
export type { Channel, Channels, Column, Data, Device, DeviceStatus, Devices, Gap, Hello, Kind, Message, Status, Subscribed, Value } from './protocol.js';
export type { Callback, Latest, Reading } from './readings.js';
