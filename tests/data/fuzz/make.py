#!/usr/bin/env python3
"""Writes the seeds of frames and of history, which are no text, into this folder.

They follow RFC 6455, RFC 7692 and the layout at the head of
src/telemetry/history/file.rs. Run it anew after a change; what is not in here
(text, and cases that fuzzing has found) is left as it is.
"""

import pathlib
import struct
import zlib

FOLDER = pathlib.Path(__file__).parent


def write(target, name, data):
    folder = FOLDER / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


# Frames: a byte that says how (bit 0: compression; bits 1 to 3: the read
# buffer; bits 4 to 7: how much came with the handshake), then the wire. A mask
# of zeroes shows what is masked; some frames have another.
TEXT, BINARY, CLOSE, PING, PONG, FIN, RSV1 = 1, 2, 8, 9, 10, 0x80, 0x40


def frame(first, payload=b"", mask=bytes(4), length=None):
    length = len(payload) if length is None else length
    if length < 126:
        head = bytes([first, 0x80 | length])
    elif length < 65536:
        head = bytes([first, 0xFE]) + struct.pack(">H", length)
    else:
        head = bytes([first, 0xFF]) + struct.pack(">Q", length)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))


def squeezed(text, flush=zlib.Z_SYNC_FLUSH):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out = packer.compress(text) + packer.flush(flush)
    return out[:-4] if flush == zlib.Z_SYNC_FLUSH else out


SUBSCRIBE = b'{"type":"subscribe","channels":["cpu/#"],"max_hz":5}'
MASK = b"\x37\xfa\x21\x3d"
for name, how, wire in [
    ("text", 0, frame(FIN | TEXT, SUBSCRIBE) + frame(FIN | CLOSE, b"\x03\xe8bye")),
    ("masked", 0x52, frame(FIN | TEXT, SUBSCRIBE, MASK) + frame(FIN | PING, b"x", MASK)),
    ("fragments", 2, frame(TEXT, "zw\u00f6".encode()[:3]) + frame(FIN | PING, b"p")
     + frame(0, "\u00f6".encode()[1:]) + frame(FIN, b"lf") + frame(FIN | CLOSE)),
    ("binary", 0x86, frame(FIN | BINARY, bytes(range(256))) + frame(FIN | PONG)),
    ("too-big", 10, frame(FIN | BINARY, bytes(6001))),
    ("huge", 0, frame(FIN | BINARY, b"x", length=1 << 40)),
    ("not-utf8", 4, frame(FIN | TEXT, b"\xc3\x28")),
    ("close-codes", 0, frame(FIN | CLOSE, b"\x0f\xa1\xe2\x82\xac")),
    ("bad-close", 0, frame(FIN | CLOSE, b"\x03")),
    ("reserved", 0, frame(FIN | 3) + frame(0x30 | TEXT)),
    ("long-ping", 0, frame(FIN | PING, bytes(126))),
    ("unmasked", 0, b"\x81\x02hi"),
    ("squeezed", 1, frame(FIN | RSV1 | TEXT, squeezed(SUBSCRIBE)) + frame(FIN | CLOSE, b"\x03\xe9")),
    ("squeezed-fragments", 0x35, frame(RSV1 | TEXT, squeezed(SUBSCRIBE)[:9], MASK)
     + frame(FIN | PING) + frame(FIN, squeezed(SUBSCRIBE)[9:], MASK)),
    ("squeezed-ended", 1, frame(FIN | RSV1 | BINARY, squeezed(b"ended", zlib.Z_FINISH) + b"\0")
     + frame(FIN | RSV1 | TEXT, b"\0")),
    ("squeezed-stored", 7, frame(FIN | RSV1 | TEXT, b"\x00\x05\x00\xfa\xffHello\x00")),
    ("squeezed-bomb", 1, frame(FIN | RSV1 | TEXT, squeezed(b"a" * 100_000))),
    ("squeezed-broken", 1, frame(FIN | RSV1 | TEXT, b"\xff\xff\xff")),
    ("squeezed-mixed", 9, frame(FIN | TEXT, b"plain") + frame(FIN | RSV1 | TEXT, squeezed(b"x" * 300))
     + frame(FIN | RSV1 | PING)),
]:
    write("frames", name, bytes([how]) + wire)


# History: a byte that says how (bit 0: packed already; bits 1 and 2: how the
# board was started since), then the file.
def text(words):
    return bytes([len(words)]) + words


def head(version=2, boot=b"b", uptime=600_000, wall=1_763_796_000_000, steps=(1000, 10_000, 60_000)):
    out = b"boardcast-h\n" + struct.pack("<I", version) + text(boot) + struct.pack("<qq", uptime, wall)
    if version > 1:
        out += struct.pack("<I", 250)
    return out + bytes([len(steps)]) + b"".join(struct.pack("<I", step) for step in steps)


def block(first, buckets, single=True):
    held = sum(1 << number for number, *_ in buckets)
    out = struct.pack("<qBI", first, single, held)
    for _, count, *numbers in buckets:
        out += struct.pack("<H3f" if single else "<H3d", count, *numbers)
    return out


def series(counter, *levels):
    out = bytes([counter])
    for lost, blocks in levels:
        out += struct.pack("<qI", lost, len(blocks)) + b"".join(blocks)
    return out


NEVER = -(1 << 63)
NONE = (NEVER, [])
few = series(0, (NEVER, [block(0, [(0, 1, 1.5, 1.5, 1.5), (29, 9, 1, 2, 3)])]), NONE, NONE)
wide = series(1, (0, [block(30, [(3, 2, 1e12, 1.5e12, 2e12)], False)]), (5, [block(0, [(1, 1, 7, 7, 7)])]), NONE)
many = series(0, (NEVER, [block(30 * at, [(at % 30, 1, at, at + 9, at + 99)]) for at in range(31)]),
              NONE, (NEVER, [block(-30, [(2, 65535, -1, 0, 1)]), block(0, [(0, 1, 0, 0, 0)])]))
for name, how, data in [
    ("empty", 0, head() + b"\0"),
    ("few", 0, head() + text(b"cpu/usage") + few + text(b"net/eth0/rx_bytes") + wide + b"\0"),
    ("many", 0, head(boot=b"a") + b"".join(text(b"a/%d" % at) + many for at in range(8)) + b"\0"),
    ("first-version", 4, head(version=1, boot=b"") + text(b"cpu/usage") + few + b"\0"),
    ("next-version", 0, head(version=3)),
    ("twice", 2, head(boot=b"a", wall=0) + text(b"a") + few + text(b"a") + wide + b"\0"),
    ("waits", 6, head() + text(b"a") + few + b"\0"),
    ("no-end", 0, head() + text(b"a") + few),
    ("more", 0, head() + b"\0\0"),
    ("late", 4, head() + text(b"a") + series(0, ((1 << 45) - 1, [block((1 << 45) - 30, [(29, 1, 0, 0, 0)])]), NONE, NONE) + b"\0"),
    ("impossible", 0, head() + text(b"a") + series(0, NONE, NONE, (0, [block(0, [(0, 1, 3, 2, 1)])])) + b"\0"),
]:
    write("history", name, bytes([how]) + data)
packer = zlib.compressobj(9, zlib.DEFLATED, 31)
write("history", "packed", b"\1" + packer.compress(head() + text(b"a") + few + b"\0") + packer.flush())
