//! Compressing a message (RFC 7692 section 7.2.1), each by itself.

use bytes::{BufMut, Bytes, BytesMut};
use tungstenite::protocol::frame::{FrameHeader, coding::OpCode};
use zlib_rs::{Deflate, DeflateConfig, DeflateFlush, Status};

use super::spares::Spares;

/// A shorter message is sent as it is. At 256 bytes our JSON shrinks by half; at
/// 128 by 29 bytes, which is less than the TCP/IP header of the packet.
const SHORTEST: usize = 256;

/// zlib's default. 1 takes half the time and leaves a third more bytes; above
/// 6 there is nothing left to gain on messages of a few KiB.
const LEVEL: i32 = 6;

/// Blocks of at most 2,048 symbols: 14 KiB, where zlib's default of 8 takes
/// 112 KiB and compresses our messages no better.
const MEMORY_LEVEL: i32 = 5;

/// The base-2 logarithm of the window that we compress with, unless the peer
/// wants a smaller one: 161 KiB for the compressor, where 15 bits take 273 KiB
/// and make our longest messages 1 % shorter.
pub(super) const WINDOW: u8 = 12;

/// Compressors, with their windows.
static SPARES: Spares<(u8, Deflate), 1> = Spares::new();

/// What a flush ends with, and a message is sent without (section 7.2.1).
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// One whole unmasked frame with the message compressed, for all clients with
/// this [`window`](super::Agreement::window); `None` when the message is
/// better sent as it is.
pub(crate) fn deflate_frame(opcode: OpCode, message: &[u8], window: u8) -> Option<Bytes> {
    let payload = deflate(message, window)?;
    let header = FrameHeader { opcode, rsv1: true, ..FrameHeader::default() };
    let length = payload.len() as u64;
    let mut frame = BytesMut::with_capacity(header.len(length) + payload.len()).writer();
    // Writing to memory cannot fail.
    let _ = header.format(length, &mut frame);
    let mut frame = frame.into_inner();
    frame.put_slice(&payload);
    Some(frame.freeze())
}

/// The payload alone: for a client, whose frames are masked one by one, and
/// have RSV1 set by hand.
pub(crate) fn deflate(message: &[u8], window: u8) -> Option<Vec<u8>> {
    // A peer may allow no more than 256 bytes, which zlib does not do.
    if message.len() < SHORTEST || window < 9 {
        return None;
    }
    let (_, mut deflate) = SPARES
        .take()
        .filter(|&(its_window, _)| its_window == window)
        .unwrap_or_else(|| (window, compressor(window)));
    let payload = squeeze(message, &mut deflate);
    SPARES.give((window, deflate));
    payload
}

fn compressor(window: u8) -> Deflate {
    Deflate::new_with_config(DeflateConfig {
        level: LEVEL,
        window_bits: -i32::from(window),
        mem_level: MEMORY_LEVEL,
        ..DeflateConfig::default()
    })
}

fn squeeze(message: &[u8], deflate: &mut Deflate) -> Option<Vec<u8>> {
    deflate.reset();
    // What does not fit is not smaller than the message.
    let mut payload = vec![0; message.len() + TAIL.len()];
    let status = deflate.compress(message, &mut payload, DeflateFlush::SyncFlush);
    let length = usize::try_from(deflate.total_out()).ok()?;
    // A flush is complete when it left room (zlib's manual, deflate).
    let complete = status == Ok(Status::Ok) && length < payload.len();
    if !complete || !payload[..length].ends_with(&TAIL) {
        return None;
    }
    payload.truncate(length - TAIL.len());
    Some(payload)
}

#[cfg(test)]
mod tests {
    use tungstenite::protocol::frame::coding::Data;
    use zlib_rs::{Inflate, InflateFlush};

    use super::*;

    fn inflated(payload: &[u8], window: u8) -> Vec<u8> {
        let bytes = [payload, &TAIL].concat();
        let mut out = vec![0; 100_000];
        let mut inflate = Inflate::new(false, window);
        inflate.decompress(&bytes, &mut out, InflateFlush::SyncFlush).expect("inflated");
        assert_eq!(inflate.total_in(), bytes.len() as u64);
        out.truncate(inflate.total_out() as usize);
        out
    }

    fn noise(bytes: u64) -> Vec<u8> {
        (0..bytes).map(|n| ((n * n * 2_654_435_761) >> 21) as u8).collect()
    }

    fn json(bytes: usize) -> Vec<u8> {
        let values = (0_u64..)
            .flat_map(|n| format!("\"net/eth{}/rx\":{},", n % 97, n * 7919 % 100_003).into_bytes());
        values.take(bytes).collect()
    }

    #[test]
    fn a_message_shrinks_and_ends_without_the_tail() {
        // Section 7.2.3.1.
        let expected = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
        // Five bytes become seven: it takes a longer room to see them.
        assert_eq!(squeeze(b"Hello", &mut compressor(15)), None);
        let hellos = b"Hello".repeat(60);
        let payload = deflate(&hellos, 15).expect("smaller");
        assert_eq!(payload[..5], expected[..5]);
        assert_eq!(inflated(&payload, 15), hellos);
    }

    #[test]
    fn a_frame_has_rsv1_and_no_tail() {
        let text = json(2000);
        let frame = deflate_frame(OpCode::Data(Data::Text), &text, 15).expect("smaller");
        assert_eq!(frame[0], 0xc1);
        assert_eq!(frame[1], 126, "not masked, an extended length");
        let length = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
        assert_eq!((frame.len(), inflated(&frame[4..], 15)), (4 + length, text));
    }

    #[test]
    fn what_would_not_shrink_is_left_alone() {
        assert_eq!(deflate(&noise(10_000), 15), None);
        assert_eq!(deflate(&[b'x'; SHORTEST - 1], 15), None);
        assert_eq!(deflate(&[], 15), None);
        assert!(deflate(&[b'x'; SHORTEST], 15).is_some());
        assert_eq!(deflate(&[b'x'; SHORTEST], 8), None);
    }

    #[test]
    fn every_window_is_kept_to() {
        for bytes in [300, 1000, 5000, 60_000] {
            let text = json(bytes);
            for window in 9..=15 {
                let payload = deflate(&text, window).expect("smaller");
                assert_eq!(inflated(&payload, window), text, "{bytes} bytes, {window} bits");
            }
        }
        // zlib-rs inflates with a large window whatever it is told, so look at
        // it from the other side: what lies too far back is not found.
        let twice = [&noise(400), &vec![0; 3000][..], &noise(400)].concat();
        for window in 9..=15 {
            let found = deflate(&twice, window).expect("smaller").len() < 600;
            assert_eq!(found, window >= 12, "{window} bits");
        }
    }
}
