// Joins the parts; everything that touches the browser's globals for more than the document does so here.

import { Board } from '../../clients/js/src/board.js';
import { historyOf } from './device';
import { byId } from './dom';
import { FleetPage } from './fleetpage';
import { Past } from './past';
import { Store } from './store';
import { Ticker } from './ticker';
import { PageView } from './view';
import { aboutBoard } from './view-status';
import { chosenSeconds } from './window';

const store = new Store();
const page = new PageView(store);
// A page that was opened with one shows it to the stream, too; others have the cookie of /login.
const query = new URLSearchParams(location.search);
const token = query.get('token');
query.delete('token');
// A secret must not stay where it is shown, copied and kept.
if (token !== null) history.replaceState(null, '', `${location.pathname}?${query}`.replace(/\?$/, '') + location.hash);
// Nothing is asked for before it is known who answers: of a fleet, everything would be too much.
const options = { channels: [], binary: true, ...(token !== null && { token }) };
const board = new Board(undefined, options, { base: location.href });
/** Once it is known that many boards are spoken for. */
let fleet: FleetPage | null = null;
let met = false;

const past = new Past(async (query) => {
  const device = fleet?.shown;
  if (typeof device !== 'string') return board.history(query);
  const was = historyOf(await board.history({ ...query, channels: `${device}/#` }), device);
  if (fleet?.shown !== device) throw new Error(); // Nobody looks at that one any more.
  return was;
}, store);
const seconds = chosenSeconds(byId('window'), () => lookBack());
const ticker = new Ticker(draw);

function draw(now: number): void {
  page.update(board, fleet?.about() ?? aboutBoard(store, board.status === 'live'), seconds(), now);
  fleet?.update(now);
}

function lookBack(): void {
  ticker.request();
  if (board.status === 'live' && fleet?.shown !== null) void past.reachBack(seconds()).then(() => ticker.request());
}

/** A connection, or a device, is new: its first readings come when all channels are described. */
let joined = false;
board.addEventListener('open', ({ hello }) => {
  joined = true;
  if (!met && hello.fleet) {
    fleet = new FleetPage(board, store, () => {
      joined = true;
      past.forget();
      draw(performance.now());
    });
    fleet.route();
  } else if (!met) {
    board.subscribe(['#']).catch(() => {}); // The page is being closed.
  } else if (hello.fleet !== (fleet !== null)) {
    location.reload(); // Another program answers at this address.
  }
  met = true;
});
board.addEventListener('devices', ({ devices }) => fleet?.meet(devices));
board.addEventListener('message', ({ message }) => {
  const now = performance.now();
  const told = fleet ? fleet.take(message, now) : message;
  if (told) store.apply(told, now);
  ticker.request();
  // What was on its way for the overview comes before the channels of the device.
  if (!joined || told?.type !== 'data' || store.channels.size === 0) return;
  joined = false;
  lookBack();
});
board.addEventListener('gap', (loss) => {
  if (!fleet || fleet.lose(loss)) store.lose(loss, performance.now());
});
board.addEventListener('close', () => store.lost(performance.now()));
board.addEventListener('status', () => ticker.request());
// For the browser's console: `board.latest`, `board.on('cpu/#', console.log)`.
Object.assign(window, { board });
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => page.restyle());
