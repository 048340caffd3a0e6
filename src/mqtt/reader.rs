//! Packets out of a stream, in bounded memory.
//!
//! ```text
//! 30 1a 00 04 t o p i …    type and flags; how much follows, in 1 to 4 bytes; that much
//! ```
//!
//! A buffer grows with what has come, never with what was announced. Of a
//! message that is longer than it may be, the head alone is kept, to
//! acknowledge it; the rest is read past.

use bytes::{Buf, BytesMut};

/// The longest packet that is no PUBLISH: a CONNACK with a long reason.
const CONTROL: usize = 16 * 1024;
/// A buffer that has grown beyond this is given back when it is empty.
const KEPT: usize = 64 * 1024;

/// Cuts a stream into packets.
#[derive(Debug)]
pub(super) struct Reader {
    buffer: BytesMut,
    /// So many bytes are still to be read past.
    skip: usize,
    longest: usize,
}

/// What a stream has next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    /// Nothing whole yet.
    Nothing,
    /// A whole packet.
    Packet(BytesMut),
    /// A message that is too long; its identifier when it has QoS 1.
    TooLong(Option<u16>),
}

impl Reader {
    /// One that takes messages of up to so many bytes.
    pub(super) fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), skip: 0, longest }
    }

    /// Takes what has come. Ask for all that is [`next`](Self::next) before
    /// more is fed.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
    }

    /// The next packet.
    ///
    /// # Errors
    /// What comes is no MQTT; the text says how it is seen.
    pub(super) fn next(&mut self) -> Result<Next, String> {
        let Some((head, body)) = length(&self.buffer)? else { return Ok(self.nothing()) };
        let first = self.buffer[0];
        let is_message = first >> 4 == 3;
        let whole = head + body;
        if !is_message && whole > CONTROL {
            return Err("a packet without a message that is longer than 16 KiB".into());
        }
        if whole <= self.longest.max(CONTROL) {
            if self.buffer.len() < whole {
                return Ok(Next::Nothing);
            }
            return Ok(Next::Packet(self.buffer.split_to(whole)));
        }
        self.read_past(first, head, whole)
    }

    fn read_past(&mut self, first: u8, head: usize, whole: usize) -> Result<Next, String> {
        let wants_answer = first & 0b0110 != 0;
        let mut id = None;
        if wants_answer {
            // Behind the topic, which has its length before it.
            let Some(&[high, low]) = self.buffer.get(head..head + 2) else {
                return Ok(Next::Nothing);
            };
            let place = head + 2 + usize::from(u16::from_be_bytes([high, low]));
            if place + 2 > whole {
                return Err("a message that ends within its topic".into());
            }
            let Some(&[high, low]) = self.buffer.get(place..place + 2) else {
                return Ok(Next::Nothing);
            };
            id = Some(u16::from_be_bytes([high, low]));
        }
        let here = whole.min(self.buffer.len());
        self.buffer.advance(here);
        self.skip = whole - here;
        Ok(Next::TooLong(id))
    }

    fn nothing(&mut self) -> Next {
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT {
            self.buffer = BytesMut::new();
        }
        Next::Nothing
    }

    /// How many bytes it holds.
    #[cfg(any(test, fuzzing))]
    pub(super) fn held(&self) -> usize {
        self.buffer.len()
    }
}

/// How long the head of a packet is, and what follows it (MQTT 5 section
/// 1.5.5); `None` when that has not come yet.
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, String> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    if first >> 4 == 0 {
        return Err("what comes is no MQTT".into());
    }
    let mut length = 0;
    for (place, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(Some((2 + place, length)));
        }
    }
    if rest.len() < 4 { Ok(None) } else { Err("what comes is no MQTT".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(flags: u8, length: usize) -> Vec<u8> {
        let mut rest = length;
        let mut bytes = vec![0x30 | flags];
        while {
            let more = rest >= 128;
            bytes.push((rest % 128) as u8 | if more { 0x80 } else { 0 });
            rest /= 128;
            more
        } {}
        let head = bytes.len();
        bytes.extend([0, 1, b'a', 0, 7]);
        bytes.resize(head + length, b'x');
        bytes
    }

    #[test]
    fn packets_come_out_whole_however_they_come_in() {
        let mut stream = publish(0, 20);
        stream.extend([0xd0, 0]);
        for size in [1, 2, 7, 100] {
            let (mut reader, mut found) = (Reader::new(1024), Vec::new());
            for piece in stream.chunks(size) {
                reader.feed(piece);
                while let Next::Packet(packet) = reader.next().expect("well-formed") {
                    found.push(packet.to_vec());
                }
            }
            assert_eq!(found, [&stream[..22], &stream[22..]], "{size}");
        }
    }

    #[test]
    fn a_message_that_is_too_long_is_read_past_and_costs_its_head() {
        for (flags, id) in [(0, None), (2, Some(7))] {
            let (mut reader, mut told, mut pongs, mut most) = (Reader::new(64), 0, 0, 0);
            let mut stream = publish(flags, 3_000_000);
            stream.extend([0xd0, 0]);
            for piece in stream.chunks(4096) {
                reader.feed(piece);
                loop {
                    match reader.next().expect("well-formed") {
                        Next::Nothing => break,
                        Next::TooLong(found) => {
                            assert_eq!(found, id);
                            told += 1;
                        }
                        Next::Packet(packet) => {
                            assert_eq!(packet[..], [0xd0, 0]);
                            pongs += 1;
                        }
                    }
                }
                most = most.max(reader.held());
            }
            assert_eq!((told, pongs), (1, 1));
            assert!(most <= 4096, "{most}");
        }
    }

    #[test]
    fn what_is_no_mqtt_is_told_early() {
        for bytes in [&b"\0\0"[..], &[0x30, 0xff, 0xff, 0xff, 0xff][..], &[0x20, 0xff, 0xff, 3][..]]
        {
            let mut reader = Reader::new(1024);
            reader.feed(bytes);
            assert!(reader.next().is_err(), "{bytes:?}");
        }
        let mut reader = Reader::new(64);
        // Its topic is said to be longer than all of it.
        let mut bytes = publish(2, CONTROL + 1);
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        reader.feed(&bytes);
        assert!(reader.next().is_err());
    }
}
