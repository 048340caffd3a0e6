//! What a peer sends, on its way to tungstenite: frames of compressed messages
//! become plain ones, everything else passes as it came.
//!
//! ```text
//!  wire         c1 len mask f2 48 cd c9 c9 07 00        FIN, RSV1, text; "Hello" compressed
//!  tungstenite  81 len 0000 H  e  l  l  o               a mask of zeroes where there was one
//! ```
//!
//! It decides nothing that tungstenite decides: RSV1 where it does not belong,
//! a fragment out of order, a missing mask reach it as they came, or as the
//! same mistake in a plain frame.

use std::io::{self, Read};

use bytes::{Buf, BytesMut};

use super::{Agreement, pieces::Pieces};
use crate::net::head::{Frame, Head};

/// Stands between the wire and tungstenite on a connection that has an
/// [`Agreement`](super::Agreement).
///
/// It holds what was read and not yet taken (at most one read of tungstenite)
/// and, only while a compressed message is under way, zlib's state with one
/// window (47 KiB) and one piece of 4 KiB. A message that expands without end
/// comes out piece by piece, as fast as it is read, until tungstenite's limit
/// on the size of a message ends it.
#[derive(Debug, Default)]
pub(crate) struct Inflater {
    wire: BytesMut,
    place: Place,
    head: Head,
    /// Payload of the present frame that has not come yet.
    payload_left: u64,
    message: Option<Box<Pieces>>,
}

/// Where the wire's next byte belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// To a frame that passes, or to the next one, whatever that is.
    #[default]
    Passing,
    /// To the header of a frame that we replace,
    Header,
    /// or to its payload.
    Payload,
}

impl Inflater {
    /// `already_read` came behind the handshake.
    pub(crate) fn new(_: Agreement, already_read: &[u8]) -> Self {
        Self { wire: already_read.into(), ..Self::default() }
    }

    /// Reads plain frames. Reads the wire only when all that came before is
    /// handed over.
    ///
    /// # Errors
    /// Those of the wire, after which reading may go on (`WouldBlock`), and
    /// [`Corrupt`](super::Corrupt) inside an `InvalidData`.
    pub(crate) fn read(&mut self, wire: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if let Some(length) = self.hand_over(buffer) {
                return Ok(length);
            }
            let holds_more = self.message.as_ref().is_some_and(|message| message.holds_more());
            let starved = self.wire.is_empty() && !holds_more;
            if starved || self.place == Place::Passing {
                if let Some(length) = self.fetch(wire, buffer)? {
                    return Ok(length);
                }
            } else {
                self.transform()?;
            }
        }
    }

    /// Gives what is ready; gives memory back when nothing needs it any more.
    fn hand_over(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let length = self.message.as_mut()?.take(buffer)?;
        if let Some(message) = self.message.take_if(|message| message.is_over()) {
            message.recycle();
            self.shrink();
        }
        Some(length)
    }

    /// Fills the buffer with what may pass as it is: kept bytes, or else new
    /// ones. `None` when the next byte is one that we replace.
    fn fetch(&mut self, wire: &mut impl Read, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let passing = if self.wire.is_empty() {
            let length = wire.read(buffer)?;
            if length == 0 {
                return Ok(Some(0));
            }
            let passing = self.pass(&buffer[..length]);
            self.wire.extend_from_slice(&buffer[passing..length]);
            passing
        } else {
            let length = self.wire.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.wire[..length]);
            let passing = self.pass(&buffer[..length]);
            self.wire.advance(passing);
            self.shrink();
            passing
        };
        Ok((passing > 0).then_some(passing))
    }

    fn shrink(&mut self) {
        if self.wire.is_empty() {
            self.wire = BytesMut::new();
        }
    }

    /// Follows the frames to the first that we replace; says how many bytes
    /// stand before it.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.place == Place::Passing {
            if self.payload_left > 0 {
                let skip = self.payload_left.min((bytes.len() - at) as u64);
                self.payload_left -= skip;
                at += skip as usize;
            } else if self.head.is_empty() && self.is_ours(bytes[at]) {
                self.place = Place::Header;
            } else {
                self.payload_left = self.head.take(bytes[at]).map_or(0, |frame| frame.length);
                at += 1;
            }
        }
        at
    }

    /// Whether the frame with this first byte belongs to a compressed message:
    /// its first fragment has RSV1, the others have not (RFC 7692 section 6.1).
    fn is_ours(&self, first: u8) -> bool {
        const CONTINUATION: u8 = 0x0;
        const TEXT: u8 = 0x1 | Frame::RSV1;
        const BINARY: u8 = 0x2 | Frame::RSV1;
        match first & !Frame::FIN {
            CONTINUATION => self.message.is_some(),
            TEXT | BINARY => self.message.is_none(),
            _ => false,
        }
    }

    /// Makes the next piece of what the wire has brought, if that makes one.
    // Not inlined: its frame would stay beneath every blocked read.
    #[inline(never)]
    fn transform(&mut self) -> io::Result<()> {
        if self.place == Place::Header {
            self.take_header();
        }
        let (Place::Payload, Some(message)) = (self.place, &mut self.message) else {
            return Ok(());
        };
        message.drain()?;
        while self.payload_left > 0 && !self.wire.is_empty() && !message.holds_more() {
            let most = self.payload_left.min(self.wire.len() as u64) as usize;
            let ate = message.feed(&self.wire[..most])?;
            self.wire.advance(ate);
            self.payload_left -= ate as u64;
        }
        if self.payload_left == 0 && !message.holds_more() {
            message.end_frame()?;
        }
        let frame_is_over = self.payload_left == 0 && !message.holds_more();
        if frame_is_over {
            self.place = Place::Passing;
        }
        message.cut(frame_is_over);
        Ok(())
    }

    fn take_header(&mut self) {
        while self.place == Place::Header && !self.wire.is_empty() {
            if let Some(frame) = self.head.take(self.wire.get_u8()) {
                self.payload_left = frame.length;
                self.place = Place::Payload;
                self.message.get_or_insert_with(|| Pieces::new(frame.first)).begin_frame(frame);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tungstenite::{
        Error as WsError, Message as WsMessage, WebSocket,
        error::{CapacityError, ProtocolError},
        protocol::{Role, WebSocketConfig},
    };
    use zlib_rs::{Deflate, DeflateFlush};

    use super::{
        super::{Corrupt, compress},
        *,
    };

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

    fn agreement() -> Agreement {
        Agreement::choose(["permessage-deflate"]).expect("agreed")
    }

    /// A wire that gives its bytes in these pieces.
    struct Slices<'a>(Vec<&'a [u8]>);

    impl<'a> Slices<'a> {
        fn of(bytes: &'a [u8], size: usize) -> Self {
            Self(bytes.chunks(size).rev().collect())
        }
    }

    impl Read for Slices<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let Some(piece) = self.0.pop() else { return Ok(0) };
            let length = piece.len().min(buffer.len());
            buffer[..length].copy_from_slice(&piece[..length]);
            if length < piece.len() {
                self.0.push(&piece[length..]);
            }
            Ok(length)
        }
    }

    /// What tungstenite sees of a wire.
    struct Inlet<R>(Inflater, R);

    impl<R: Read> Read for Inlet<R> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(&mut self.1, buffer)
        }
    }

    impl<R> io::Write for Inlet<R> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
        let second = if mask.is_some() { 0x80 } else { 0 };
        let mut frame = match payload.len() {
            short @ 0..126 => vec![first, second | short as u8],
            long => [&[first, second | 127][..], &(long as u64).to_be_bytes()].concat(),
        };
        frame.extend(mask.into_iter().flatten());
        let mask = mask.unwrap_or_default();
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        frame(first, Some(MASK), payload)
    }

    fn read_all(wire: &[u8], piece: usize, buffer: usize) -> io::Result<Vec<u8>> {
        let mut inflater = Inflater::default();
        let mut wire = Slices::of(wire, piece);
        let (mut all, mut buffer) = (Vec::new(), vec![0; buffer]);
        loop {
            match inflater.read(&mut wire, &mut buffer)? {
                0 => break,
                length => all.extend_from_slice(&buffer[..length]),
            }
        }
        assert!(inflater.message.is_none(), "memory is given back");
        assert_eq!(inflater.wire.capacity(), 0, "memory is given back");
        Ok(all)
    }

    /// What a server's tungstenite makes of the wire: all messages, the end.
    fn messages(wire: &[u8], piece: usize) -> (Vec<WsMessage>, WsError) {
        let inlet = Inlet(Inflater::default(), Slices::of(wire, piece));
        let config = WebSocketConfig::default().read_buffer_size(512);
        let mut socket = WebSocket::from_raw_socket(inlet, Role::Server, Some(config));
        let mut messages = Vec::new();
        loop {
            match socket.read() {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, error),
            }
        }
    }

    fn is_end(error: &WsError) -> bool {
        matches!(error, WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))
    }

    fn is_corrupt(error: &WsError) -> bool {
        matches!(error, WsError::Io(error) if Corrupt::caused(error))
    }

    fn squeezed(plain: &[u8], level: i32, window: u8) -> Vec<u8> {
        let mut deflate = Deflate::new(level, false, window);
        let mut bytes = vec![0; plain.len() + plain.len() / 8 + 100];
        deflate.compress(plain, &mut bytes, DeflateFlush::SyncFlush).expect("deflated");
        bytes.truncate(deflate.total_out() as usize - 4);
        bytes
    }

    /// Numbers that are the same in every run.
    struct Lottery(u64);

    impl Lottery {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) as usize % end
        }

        /// Half noise, half repetition.
        fn bytes(&mut self, length: usize) -> Vec<u8> {
            let mut bytes: Vec<u8> = Vec::new();
            while bytes.len() < length {
                if self.below(2) == 0 || bytes.is_empty() {
                    bytes.push(self.below(256) as u8);
                } else {
                    let from = self.below(bytes.len());
                    let to = (from + self.below(300)).min(bytes.len());
                    bytes.extend_from_within(from..to);
                }
            }
            bytes.truncate(length);
            bytes
        }
    }

    #[test]
    fn the_examples_of_the_rfc_say_hello() {
        let two_blocks =
            [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00];
        let stored = [0x00, 0x05, 0x00, 0xfa, 0xff, b'H', b'e', b'l', b'l', b'o', 0x00];
        let last_block = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        let fragments = [masked(0x41, &HELLO[..3]), masked(0x80, &HELLO[3..])].concat();
        for wire in [
            masked(0xc1, &HELLO),
            fragments,
            masked(0xc1, &stored),
            masked(0xc1, &last_block),
            // Without the byte that section 7.2.3.4 wants behind it.
            masked(0xc1, &last_block[..7]),
            masked(0xc1, &two_blocks),
        ] {
            for piece in 1..=wire.len() {
                let (messages, end) = messages(&wire, piece);
                assert_eq!(messages, [WsMessage::text("Hello")], "{wire:x?} by {piece}");
                assert!(is_end(&end), "{end}");
            }
        }
    }

    #[test]
    fn what_comes_out_is_a_plain_frame_with_the_mask_it_had() {
        let expected = [&[0x81, 0x85, 0, 0, 0, 0][..], b"Hello"].concat();
        assert_eq!(read_all(&masked(0xc1, &HELLO), 99, 99).expect("read"), expected);
        let expected = [&[0x82, 5][..], b"Hello"].concat();
        assert_eq!(read_all(&frame(0xc2, None, &HELLO), 99, 99).expect("read"), expected);
        for buffer in 1..12 {
            let mut inflater = Inflater::new(agreement(), &frame(0xc2, None, &HELLO));
            let (mut all, mut buffer) = (Vec::new(), vec![0; buffer]);
            while let Ok(length @ 1..) = inflater.read(&mut io::empty(), &mut buffer) {
                all.extend_from_slice(&buffer[..length]);
            }
            assert_eq!(all, expected, "into a buffer of {}", buffer.len());
        }
    }

    #[test]
    fn what_came_behind_the_handshake_comes_first() {
        let wire = masked(0xc1, &HELLO);
        let mut inflater = Inflater::new(agreement(), &wire[..4]);
        let mut buffer = [0; 64];
        let length = inflater.read(&mut &wire[4..], &mut buffer).expect("read");
        assert!(buffer[..length].ends_with(b"Hello"));
    }

    #[test]
    fn nothing_compresses_to_nothing() {
        for payload in [&[][..], &[0x00], &[0x03, 0x00]] {
            let wire = [masked(0xc2, payload), masked(0xc1, &HELLO)].concat();
            let (messages, end) = messages(&wire, 3);
            assert_eq!(messages, [WsMessage::binary(""), WsMessage::text("Hello")]);
            assert!(is_end(&end), "{end}");
        }
    }

    #[test]
    fn plain_frames_and_control_frames_pass_untouched() {
        let plain = [
            masked(0x01, b"one "),
            masked(0x89, b"ping"),
            masked(0x80, &[b'x'; 300]),
            masked(0x82, &[7; 70_000]),
            masked(0x88, &[0x03, 0xe8]),
        ]
        .concat();
        for (piece, buffer) in [(1, 9), (7, 1), (512, 512), (100_000, 4096)] {
            assert_eq!(read_all(&plain, piece, buffer).expect("read"), plain);
        }
    }

    #[test]
    fn control_frames_between_fragments_come_through_in_their_place() {
        let wire = [
            masked(0x41, &HELLO[..2]),
            masked(0x89, b"a"),
            masked(0x00, b""),
            masked(0x8a, b"b"),
            masked(0x80, &HELLO[2..]),
            masked(0x81, b"plain"),
            masked(0xc1, &HELLO),
            masked(0x88, &[0x03, 0xe8]),
        ]
        .concat();
        for piece in 1..wire.len() {
            let (messages, _) = messages(&wire, piece);
            let [ping, pong, hello, plain, again, close] = &messages[..] else {
                panic!("{messages:?}")
            };
            assert_eq!((ping.is_ping(), pong.is_pong(), close.is_close()), (true, true, true));
            assert_eq!([hello, plain, again].map(ToString::to_string), ["Hello", "plain", "Hello"]);
        }
    }

    #[test]
    fn mistakes_reach_tungstenite_which_refuses_them() {
        let hello = |first| masked(first, &HELLO);
        let first = || masked(0x41, &HELLO[..3]);
        for (what, wire) in [
            ("RSV1 on a ping", hello(0xc9)),
            ("RSV1 on a continuation", [first(), masked(0xc0, &HELLO[3..])].concat()),
            ("RSV1 on a lone continuation", hello(0xc0)),
            ("a lone continuation", hello(0x80)),
            ("RSV2", hello(0xe1)),
            ("RSV3", hello(0xd2)),
            ("RSV2 on a continuation", [first(), masked(0xa0, &HELLO[3..])].concat()),
            ("an unknown opcode", hello(0xc3)),
            ("no mask", frame(0xc1, None, &HELLO)),
            ("no mask on a continuation", [first(), frame(0x80, None, &HELLO[3..])].concat()),
            ("a message within a message", [first(), masked(0x81, b"x")].concat()),
            ("a compressed one within one", [first(), hello(0xc1)].concat()),
            ("a message behind an empty fragment", [masked(0x41, b""), masked(0x81, b"")].concat()),
            ("a compressed one within a plain one", [masked(0x01, b"x"), hello(0xc1)].concat()),
        ] {
            for piece in [1, 3, 99] {
                let (messages, end) = messages(&wire, piece);
                let refused = matches!(end, WsError::Protocol(_)) && !is_end(&end);
                assert!(refused && messages.is_empty(), "{what}: {end} after {messages:?}");
            }
        }
        let utf8 = masked(0xc1, &squeezed(b"caf\xe9", 6, 15));
        assert!(matches!(messages(&utf8, 99).1, WsError::Utf8(_)));
    }

    #[test]
    fn a_message_that_is_corrupt_or_cut_short_is_an_error() {
        let long = squeezed(&Lottery(1).bytes(1000), 6, 15);
        for (what, payload) in [
            ("no block type", &[0xff, 0xff][..]),
            ("a stored block whose lengths differ", &[0x00, 0x05, 0x00, 0x00, 0x00]),
            // Section 7.2.3.2: the second message of a shared window.
            ("a reference to another message", &[0xf2, 0x00, 0x11, 0x00, 0x00]),
            ("the end is missing", &HELLO[..6]),
            ("half is missing", &long[..long.len() / 2]),
            ("text", b"Hello, this was never compressed"),
        ] {
            let wire = [masked(0xc1, &HELLO), masked(0xc2, payload)].concat();
            for piece in [1, 99_999] {
                let (messages, end) = messages(&wire, piece);
                assert!(messages.len() == 1 && is_corrupt(&end), "{what}: {end}");
            }
        }
    }

    #[test]
    fn every_cut_of_a_message_short_is_noticed() {
        let payload = squeezed(&Lottery(2).bytes(500), 6, 15);
        let noticed = |cut| is_corrupt(&messages(&masked(0xc2, &payload[..cut]), 999).1);
        let missed = (1..payload.len()).filter(|&cut| !noticed(cut)).count();
        assert_eq!(missed, 0, "of {}", payload.len());
    }

    #[test]
    fn any_message_comes_back_however_it_was_sent() {
        let mut lottery = Lottery(7692);
        let (mut wire, mut sent) = (Vec::new(), Vec::new());
        for round in 0..60 {
            let length = lottery.below([10, 1000, 50_000][round % 3]);
            let plain = lottery.bytes(length);
            let payload = squeezed(&plain, [1, 6, 9][lottery.below(3)], 9 + (round % 7) as u8);
            let mut rest = &payload[..];
            let mut first = 0x42;
            while lottery.below(3) > 0 {
                let (fragment, after) = rest.split_at(lottery.below(rest.len() + 1));
                wire.extend(masked(first, fragment));
                (first, rest) = (0, after);
                if lottery.below(4) == 0 {
                    wire.extend(masked(0x8a, b"pong"));
                }
            }
            wire.extend(masked(0x80 | first, rest));
            sent.push(WsMessage::binary(plain));
        }
        for piece in [1, 100, 512, 100_000] {
            let (mut messages, end) = messages(&wire, piece);
            assert!(is_end(&end), "{end}");
            messages.retain(|message| !message.is_pong());
            assert!(messages == sent, "in pieces of {piece}");
        }
    }

    #[test]
    fn no_noise_makes_it_panic_or_hold_more_than_its_bound() {
        let mut lottery = Lottery(6455);
        for _ in 0..300 {
            let payload = squeezed(&lottery.bytes(600), 6, 15);
            let cut = lottery.below(payload.len());
            let mut wire = [
                masked(0x41, &payload[..cut]),
                masked(0x89, b"ping"),
                masked(0x80, &payload[cut..]),
                masked(0xc1, &HELLO),
            ]
            .concat();
            for _ in 0..=lottery.below(3) {
                let at = lottery.below(wire.len());
                wire[at] = lottery.below(256) as u8;
            }
            let mut inflater = Inflater::default();
            let mut wire = Slices::of(&wire, 1 + lottery.below(99));
            let mut buffer = [0; 64];
            while let Ok(1..) = inflater.read(&mut wire, &mut buffer) {
                assert!(inflater.wire.len() <= 64);
            }
        }
    }

    /// Megabytes of zeroes, one message.
    fn bomb(megabytes: usize) -> Vec<u8> {
        let block = [squeezed(&vec![0; 1 << 20], 9, 15), compress::TAIL.to_vec()].concat();
        let mut payload = block.repeat(megabytes);
        payload.truncate(payload.len() - compress::TAIL.len());
        masked(0xc2, &payload)
    }

    #[test]
    fn a_bomb_comes_out_in_small_pieces_from_bounded_memory() {
        let bomb = bomb(32);
        assert!(bomb.len() < 40_000, "{}", bomb.len());
        let mut inflater = Inflater::default();
        let mut wire = &bomb[..];
        let (mut all, mut buffer) = (0, [0; 512]);
        loop {
            match inflater.read(&mut wire, &mut buffer).expect("read") {
                0 => break,
                length => all += length,
            }
            assert!(inflater.wire.capacity() <= 1024, "{}", inflater.wire.capacity());
        }
        assert!((32 << 20..33 << 20).contains(&all), "{all}");
    }

    #[test]
    fn tungstenites_limit_defuses_a_bomb_before_it_is_read() {
        let bomb = bomb(32);
        let inlet = Inlet(Inflater::default(), Slices::of(&bomb, 99_999));
        let config = WebSocketConfig::default()
            .read_buffer_size(512)
            .max_message_size(Some(16 * 1024))
            .max_frame_size(Some(16 * 1024));
        let mut socket = WebSocket::from_raw_socket(inlet, Role::Server, Some(config));
        let end = socket.read().expect_err("too long");
        assert!(matches!(end, WsError::Capacity(CapacityError::MessageTooLong { .. })), "{end}");
        let unread: usize = socket.get_ref().1.0.iter().map(|piece| piece.len()).sum();
        assert!(unread + 1024 > bomb.len(), "{unread} of {} were not read", bomb.len());
    }

    #[test]
    fn a_wire_that_has_nothing_now_may_have_something_later() {
        struct Hesitant<'a>(&'a [u8], bool);
        impl Read for Hesitant<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let length = self.0.len().min(buffer.len()).min(1);
                self.0.read(&mut buffer[..length])
            }
        }
        let bytes = [masked(0x41, &HELLO[..3]), masked(0x80, &HELLO[3..])].concat();
        let mut socket = WebSocket::from_raw_socket(
            Inlet(Inflater::default(), Hesitant(&bytes, false)),
            Role::Server,
            None,
        );
        let mut waits = 0;
        let message = loop {
            match socket.read() {
                Ok(message) => break message,
                Err(WsError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => waits += 1,
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!((message, waits), (WsMessage::text("Hello"), bytes.len()));
    }
}
