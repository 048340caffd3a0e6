#!/usr/bin/env python3
"""Writes the test vectors of binary data messages into this folder.

Follows the table of docs/protocol.md, section "Binary data", with Python's
struct module alone, and shares nothing with the program's encoder: a vector
that the encoder itself wrote would prove nothing.
"""

import json
import math
import pathlib
import random
import struct

FOLDER = pathlib.Path(__file__).parent
NO_F32 = bytes.fromhex("0000c07f")
NO_F64 = bytes.fromhex("000000000000f87f")


def single(number):
    """The f32 nearest to a number."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


def padded(data):
    return data + bytes(-len(data) % 8)


def message(seq, t, ids, columns, f32, step=None, offsets=None):
    rows = len(columns[0])
    out = struct.pack("<BBHI", 1, (1 if f32 else 0) | (2 if step is not None else 0), len(ids), rows)
    out += struct.pack("<Qd", seq, t)
    out = padded(out + b"".join(struct.pack("<I", number) for number in ids))
    if step is not None:
        out += struct.pack("<d", step)
    elif rows > 1:
        out += b"".join(struct.pack("<f", offset) for offset in offsets)
    out = padded(out)
    for column in columns:
        for value in column:
            if value is None:
                out += NO_F32 if f32 else NO_F64
            else:
                out += struct.pack("<f" if f32 else "<d", value)
    return out


def vector(name, about, seq, t, ids, columns, f32, step=None, offsets=None, **more):
    data = message(seq, t, ids, columns, f32, step, offsets)
    rows = len(columns[0])
    if step is not None:
        offsets = [step * row for row in range(rows)]
    offsets = [single(offset) for offset in offsets] if step is None and offsets else offsets or [0]
    write(name, {"about": about, "hex": data.hex(), "flags": data[1], "seq": seq, "t": t, "ids": ids,
                 "offsets": offsets, "columns": columns, **more})
    return data


def wrong(name, about, data, **more):
    write(name, {"about": about, "hex": data.hex(), **(more or {"error": True})})


def write(name, fields):
    lines = ",\n ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in fields.items())
    (FOLDER / f"{name}.json").write_text("{" + lines + "}\n")


def acceleration():
    """20 rows of a resting sensor, 1 kHz, in m/s2, as its converter of 16 bits over +-4 g gives them."""
    noise = random.Random(4)
    lsb = 8 * 9.80665 / 65536
    rest = [0.12, -0.31, 9.79]
    return [[single(round((mean + noise.gauss(0, 0.02)) / lsb) * lsb) for _ in range(20)] for mean in rest]


T = 1763796000.125
one = vector("one-row-f64", "one row; 48.31 is not exact as f32", 1042, T, [3, 7], [[48.31], [0.5]], False)
vector("one-row-f32", "one row; every value is exact as f32, so the batch is f32", 1043, T, [3, 7], [[48.5], [-0.25]], True)
vector("even-f64", "three rows, 1 ms apart", 1044, T, [0, 1], [[0.1, 0.2, 0.3], [1, 2, 3]], False, step=0.001)
vector("uneven-f32", "four rows with gaps; distances are f32", 1045, T, [5], [[1, 2, 3, 4]], True, offsets=[0, 0.0013, 0.25, 1.5])
uneven = vector("uneven-f64", "three rows with gaps: distances of 12 bytes, then zeros up to a multiple of 8", 1046, T, [5, 6],
                [[0.1, 0.2, 0.3], [4, 5, 6]], False, offsets=[0, 0.001, 0.004])
vector("nulls-f64", "no reading is the canonical NaN", 1047, T, [1, 2], [[None, 0.1], [None, None]], False, step=0.5)
vector("nulls-f32", "the same as f32", 1048, T, [1, 2], [[None, 0.5], [None, None]], True, step=0.5)
vector("odd-columns", "three columns: zeros behind their ids", 1049, T, [9, 4, 1023], [[0.1], [-1e300], [5e-324]], False)
vector("counter", "a counter is never f32, and so nothing beside it", 1050, T, [0, 1], [[4294967296], [0.5]], False,
       kinds=["counter", "gauge"])
vector("last-seq", "the largest number of a batch, 2^53 - 1", 2**53 - 1, T, [0], [[1]], True)
vector("acceleration", "1 kHz, three axes, single precision", 77, T, [10, 11, 12], acceleration(), True, step=0.001,
       single_precision=True)

for length in [0, 1, 23, 24, len(one) - 1]:
    wrong(f"truncated-{length}", f"cut after {length} bytes", one[:length])
wrong("trailing", "a byte behind the last value", one + b"\0")
wrong("trailing-value", "one value too many", uneven + bytes(8))
wrong("no-rows", "R is 0", struct.pack("<BBHIQdII", 1, 0, 1, 0, 1, T, 3, 0))
wrong("no-columns", "C is 0", struct.pack("<BBHIQd", 1, 0, 0, 1, 1, T))
wrong("huge", "a head that promises 4294967295 rows of 65535 columns", struct.pack("<BBHIQd", 1, 2, 65535, 2**32 - 1, 1, T))
wrong("even-alone", "one row that is said to be evenly spaced", struct.pack("<BBHIQdIIdd", 1, 2, 1, 1, 1, T, 3, 0, 0.5, 1))
wrong("seq-too-large", "seq is 2^53", struct.pack("<BBHIQdIId", 1, 0, 1, 1, 2**53, T, 3, 0, 1))
wrong("unknown-kind", "kind 2: of a later version, to be ignored", b"\x02" + one[1:], ignored=True)
wrong("unknown-flag", "flag 4: of a later version, to be ignored", one[:1] + b"\x04" + one[2:], ignored=True)
assert math.isnan(struct.unpack("<d", NO_F64)[0]) and math.isnan(struct.unpack("<f", NO_F32)[0])
