//! The header of a frame, taken byte by byte (RFC 6455 section 5.2).
//!
//! ```text
//!  81        8a      00 00 00 00          FIN, text; masked, 10 bytes; the mask
//!  82        7e      01 00                FIN, binary; 256 bytes, not masked
//! ```

/// Collects a header from bytes that come cut anywhere.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: [u8; 14],
    have: usize,
}

/// What a whole header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub(super) first: u8,
    pub(super) length: u64,
    pub(super) mask: Option<[u8; 4]>,
}

impl Frame {
    pub(super) const FIN: u8 = 0x80;
    pub(super) const RSV1: u8 = 0x40;
    /// In a header's second byte.
    pub(super) const MASKED: u8 = 0x80;

    pub(super) fn is_last(self) -> bool {
        self.first & Self::FIN != 0
    }
}

impl Head {
    /// Whether no byte was taken yet.
    pub(super) fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Takes the next byte; the header when this was its last. The next byte
    /// then begins another.
    pub(super) fn take(&mut self, byte: u8) -> Option<Frame> {
        self.bytes[self.have] = byte;
        self.have += 1;
        let [first, second, ..] = self.bytes;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let masked = second & Frame::MASKED != 0;
        if self.have < 2 || self.have < 2 + extended + if masked { 4 } else { 0 } {
            return None;
        }
        self.have = 0;
        let (length, rest) = self.bytes[2..].split_at(extended);
        let length = match extended {
            0 => u64::from(second & 0x7f),
            _ => length.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
        };
        let mask = masked.then_some([rest[0], rest[1], rest[2], rest[3]]);
        Some(Frame { first, length, mask })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_whole_at_its_last_byte_and_not_before() {
        let mask = [1, 2, 3, 4];
        let cases = [
            (&[0x81, 5][..], 5, None),
            (&[0x81, 125], 125, None),
            (&[0x81, 0x80, 1, 2, 3, 4], 0, Some(mask)),
            (&[0x81, 126, 1, 0], 256, None),
            (&[0x81, 0xfe, 1, 0, 1, 2, 3, 4], 256, Some(mask)),
            (&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32, None),
            (&[0x81, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4], 1 << 32, Some(mask)),
        ];
        let mut head = Head::default();
        for (bytes, length, mask) in cases {
            let (&last, before) = bytes.split_last().expect("bytes");
            for &byte in before {
                assert_eq!(head.take(byte), None, "{bytes:?}");
                assert!(!head.is_empty());
            }
            assert_eq!(head.take(last), Some(Frame { first: 0x81, length, mask }));
            assert!(head.is_empty());
        }
    }
}
