// Joins the parts; everything that touches the browser's globals for more than the document does so here.

import { Board } from '../../clients/js/src/board.js';
import { byId } from './dom';
import { Past } from './past';
import { Store } from './store';
import { Ticker } from './ticker';
import { PageView } from './view';
import { chosenSeconds } from './window';

const store = new Store();
const page = new PageView(store);
// A page that was opened with one shows it to the stream, too; others have the cookie of /login.
const token = new URLSearchParams(location.search).get('token');
// A secret must not stay where it is shown, copied and kept.
if (token !== null) history.replaceState(null, '', location.pathname + location.hash);
const board = new Board(undefined, { binary: true, ...(token !== null && { token }) }, { base: location.href });
const past = new Past((query) => board.history(query), store);
const seconds = chosenSeconds(byId('window'), () => lookBack());
const ticker = new Ticker((now) => page.update(board, seconds(), now));

function lookBack(): void {
  ticker.request();
  if (board.status === 'live') void past.reachBack(seconds()).then(() => ticker.request());
}

/** A connection is new: its first readings come when all channels are described. */
let joined = false;
board.addEventListener('open', () => (joined = true));
board.addEventListener('message', ({ message }) => {
  store.apply(message, performance.now());
  ticker.request();
  if (!joined || message.type !== 'data') return;
  joined = false;
  lookBack();
});
board.addEventListener('gap', (loss) => store.lose(loss, performance.now()));
board.addEventListener('close', () => store.lost(performance.now()));
board.addEventListener('status', () => ticker.request());
// For the browser's console: `board.latest`, `board.on('cpu/#', console.log)`.
Object.assign(window, { board });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => page.restyle());
