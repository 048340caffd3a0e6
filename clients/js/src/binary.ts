// A fast sensor sends a thousand readings a second. They are not parsed at all: the board aligns its columns so that a
// typed array can be laid over the message's own bytes. Byte by byte: docs/protocol.md, "Binary data".

/** A binary data message, as it lies in its buffer. */
export interface Table {
  seq: number;
  /** The instant of row 0, seconds since 1970. */
  t: number;
  /** The numbers of the channels, one a column. */
  ids: Uint32Array;
  /** One a row, seconds since 1970. */
  times: Float64Array;
  /** Each a view of the message, one entry a row; NaN is "no reading". */
  columns: (Float64Array | Float32Array)[];
}

const DATA = 1;
const SINGLE = 1;
const EVEN = 2;
const HEAD = 24;

/** Typed arrays have the machine's byte order. On the rare other machine a client asks for JSON instead. */
export const CAN_READ_BINARY = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

const aligned = (offset: number): number => (offset + 7) & ~7;

/**
 * What a binary message holds, or `null` when it is of a later version and to be ignored. Copies no value. Throws a
 * `RangeError` when it is none.
 */
export function decode(buffer: ArrayBuffer): Table | null {
  const view = new DataView(buffer);
  if (buffer.byteLength > 0 && view.getUint8(0) !== DATA) return null;
  if (buffer.byteLength < HEAD) throw malformed('it has no head');
  const flags = view.getUint8(1);
  if ((flags & ~(SINGLE | EVEN)) !== 0) return null;
  const columns = view.getUint16(2, true);
  const rows = view.getUint32(4, true);
  const even = (flags & EVEN) !== 0;
  const seq = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32;
  if (columns === 0 || rows === 0 || (rows === 1 && even)) throw malformed('it has no columns, no rows, or one that is even');
  if (!Number.isSafeInteger(seq)) throw malformed('its number is too large');

  const distances = aligned(HEAD + 4 * columns);
  const values = aligned(distances + (rows === 1 ? 0 : even ? 8 : 4 * rows));
  const width = (flags & SINGLE) !== 0 ? 4 : 8;
  if (buffer.byteLength !== values + width * columns * rows) throw malformed('its length is another');

  const t = view.getFloat64(16, true);
  const Numbers = width === 4 ? Float32Array : Float64Array;
  return {
    seq,
    t,
    ids: new Uint32Array(buffer, HEAD, columns),
    times: timesOf(view, t, rows, distances, even),
    columns: Array.from({ length: columns }, (_, c) => new Numbers(buffer, values + width * rows * c, rows)),
  };
}

const malformed = (why: string): RangeError => new RangeError(`a binary message is malformed: ${why}`);

function timesOf(view: DataView, t: number, rows: number, distances: number, even: boolean): Float64Array {
  const times = new Float64Array(rows).fill(t);
  if (rows === 1) return times;
  const step = even ? view.getFloat64(distances, true) : 0;
  const offset = (row: number): number => (even ? row * step : view.getFloat32(distances + 4 * row, true));
  return times.map((_, row) => t + offset(row));
}
