// Joins the parts; everything that touches the browser's globals for more than the document does so here.

import { byId } from './dom';
import { Link, type Socket } from './link';
import { Store } from './store';
import { Ticker } from './ticker';
import { PageView } from './view';
import { chosenSeconds } from './window';

const store = new Store();
const page = new PageView(store);
const seconds = chosenSeconds(byId('window'), () => ticker.request());
const ticker = new Ticker((now) => page.update(link.state, seconds(), now));
const link = new Link(
  {
    open,
    now: () => performance.now(),
    random: Math.random,
    setTimeout: (run, ms) => setTimeout(run, ms),
    clearTimeout: (timer) => clearTimeout(timer as number),
  },
  {
    message: (message) => {
      store.apply(message, performance.now());
      ticker.request();
    },
    state: ({ name }) => {
      if (name === 'reconnecting') store.lost(performance.now());
      ticker.request();
    },
  },
);

function open(): Socket {
  const url = new URL('ws', location.href);
  url.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
  url.hash = ''; // A fragment in a WebSocket's address is an error in older browsers.
  return new WebSocket(url.href) as Socket;
}

addEventListener('online', () => link.nudge());
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) link.nudge();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => page.restyle());

link.start();
