// Whether a client has got everything once and in order, or was told what it did not get. Fed with what the JavaScript
// client tells: its `message` and `gap` events. This file also runs inside a page.

/** Starts to record; `board` is a client, of a fleet, too: what is of a device then has its name as `device`. */
export function recordOf(board) {
  const record = [];
  board.addEventListener('message', ({ message: { type, device, seq, snapshot, more, recovered } }) => {
    const whose = type === 'data' && device !== undefined ? { device } : {};
    if (type === 'data' || type === 'subscribed' || type === 'hello') record.push({ type, ...whose, seq, snapshot, more, recovered });
  });
  board.addEventListener('gap', ({ device, from, to, epochChanged }) => {
    record.push({ type: 'gap', ...(device !== undefined && { device }), from, to, epochChanged });
  });
  return record;
}

/**
 * `seqs` are the batches that came, each once; `told` says whether a number was told to be lost, or is that of a
 * snapshot. Throws when something came twice or out of order.
 */
export function account(record) {
  const seqs = [];
  const gaps = [];
  const snapshots = [];
  let recovered = 0;
  for (const { type, seq, snapshot, ...rest } of record) {
    if (type === 'gap') gaps.push(rest);
    if (type === 'subscribed' && rest.recovered) recovered += 1;
    if (type !== 'data') continue;
    const newest = Math.max(seqs.at(-1) ?? -1, snapshots.at(-1) ?? -1);
    if (snapshot ? seq < newest : seq <= newest) throw new Error(`${seq} came after ${newest}`);
    (snapshot ? snapshots : seqs).push(seq);
  }
  const came = new Set(seqs);
  const accounted = (seq) =>
    came.has(seq) || seq <= Math.min(...snapshots) || gaps.some(({ from, to }) => from <= seq && seq <= to);
  return { seqs, gaps, snapshots, recovered, accounted };
}
