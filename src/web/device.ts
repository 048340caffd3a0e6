// One device of a fleet as if it were a board of its own: the rest of the page knows no other. Pure functions of messages.

import type { History } from '../../clients/js/src/history.js';
import type { Message } from '../../clients/js/src/protocol.js';

/** What of a fleet's message concerns this device, with the names that it has itself; `null`: nothing. */
export function ofDevice(message: Message, device: string): Message | null {
  const own = (name: string): string | null => (name.startsWith(`${device}/`) ? name.slice(device.length + 1) : null);
  switch (message.type) {
    case 'channels': {
      const channels = message.channels.flatMap((channel) => {
        const name = own(channel.name);
        return name === null ? [] : [{ ...channel, name }];
      });
      return channels.length > 0 ? { ...message, channels } : null;
    }
    case 'data': {
      if (message.device !== device) return null;
      const values = [...message.values].flatMap(([name, column]) => {
        const short = own(name);
        return short === null ? [] : [[short, column] as const];
      });
      return { ...message, values: new Map(values) };
    }
    default:
      return null; // The greeting, the clock and the heartbeat are the server's own.
  }
}

/** The same of what was. */
export function historyOf({ channels, ...rest }: History, device: string): History {
  const own = [...channels].filter(([name]) => name.startsWith(`${device}/`));
  return { ...rest, channels: new Map(own.map(([name, track]) => [name.slice(device.length + 1), track])) };
}
