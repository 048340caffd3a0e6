// People write what they know: `pi:8642`, what stands in the browser's address bar, or the stream itself.

const HAS_SCHEME = /^[a-z][a-z0-9+.-]*:\/\//i;

/** The address of the stream. `base`, when there is one, is the module's or the page's own. */
export function streamAddress(given: string | URL | undefined, base?: string): URL {
  const from = base !== undefined && /^https?:/i.test(base) ? base : undefined;
  const url = given === undefined ? new URL('ws', required(from)) : parseAddress(String(given), from);
  const secure = url.protocol === 'https:' || url.protocol === 'wss:';
  if (!secure && url.protocol !== 'http:' && url.protocol !== 'ws:') {
    throw new SyntaxError(`${url.href} is no address of a board: write it as in http://pi:8642 or ws://pi:8642/ws`);
  }
  url.protocol = secure ? 'wss:' : 'ws:';
  if (url.pathname.endsWith('/')) url.pathname += 'ws';
  url.hash = ''; // A fragment in a WebSocket's address is an error in older browsers.
  return url;
}

function parseAddress(given: string, base: string | undefined): URL {
  if (HAS_SCHEME.test(given)) return new URL(given);
  if (given.startsWith('/') || given.startsWith('.')) return new URL(given, required(base));
  // The same security as the page has: a page that came encrypted may not open a plain stream.
  return new URL(`${base?.startsWith('https:') ? 'https' : 'http'}://${given}`);
}

function required(base: string | undefined): string {
  if (base === undefined) throw new SyntaxError('which board? Give its address, as in new Boardcast("http://pi:8642")');
  return base;
}

/** What the board serves beside its stream, such as `api/history`. */
export function besideStream(stream: URL, path: string): URL {
  const url = new URL(path, stream);
  url.protocol = stream.protocol === 'wss:' ? 'https:' : 'http:';
  return url;
}
