// Signs that a page, or the machine below it, was away and is back. In Node and in workers some or all do not exist.

import type { Link } from './link.js';

/** Tells the link of them, until the answer is called. */
export function watchWakeUps(link: Pick<Link, 'nudge' | 'networkChanged'>): () => void {
  const seen = (): void => {
    if (!globalThis.document?.hidden) link.nudge();
  };
  const online = (): void => link.networkChanged();
  const watched: [EventTarget | undefined, string, () => void][] = [
    [globalThis.document, 'visibilitychange', seen],
    [globalThis.document, 'resume', seen], // Page Lifecycle: thawed.
    [target(), 'pageshow', seen], // Back from the back-forward cache, its socket gone.
    [target(), 'online', online],
  ];
  for (const [on, type, run] of watched) on?.addEventListener(type, run);
  return () => {
    for (const [on, type, run] of watched) on?.removeEventListener(type, run);
  };
}

/** The window, or the worker's own scope. */
function target(): EventTarget | undefined {
  return typeof globalThis.addEventListener === 'function' ? globalThis : undefined;
}
