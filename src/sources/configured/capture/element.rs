//! How a sample lies in the buffer: bytes become numbers.
//!
//! ```text
//! scan_elements/in_accel_x_type    le:s12/16>>4    12 bits, signed, in 16, from bit 4 on
//! scan_elements/in_accel_y_type    le:s12/16>>4
//! scan_elements/in_timestamp_type  le:s64/64>>0
//!
//! bytes  0 1   2 3   4 5 6 7   8 … 15
//!        x     y     empty     time stamp
//! ```
//!
//! Documentation/driver-api/iio/buffers.rst has the form of a type,
//! `[be|le]:[f|s|u]bits/storagebits[Xrepeat][>>shift]`. An element begins at a
//! multiple of its own size (with its repetitions), and a frame, which is one
//! sample of all elements, is as long as a multiple of the largest
//! (drivers/iio/industrialio-buffer.c, `iio_compute_scan_bytes`; the kernel's
//! arithmetic wants sizes that are powers of two).

use crate::sources::vitals::file::quoted;

/// The most bytes of a frame. The widest converters have 64 channels.
const MAX_FRAME: usize = 4096;

/// How one element of a frame is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanElement {
    big_endian: bool,
    coding: Coding,
    /// How many bits mean something.
    bits: u32,
    /// How many bytes one value takes: 1, 2, 4 or 8.
    bytes: usize,
    /// How many values there are, one behind the other.
    repeat: usize,
    /// How many bits lie below those that mean something.
    shift: u32,
}

/// What the bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// Two's complement.
    Signed,
    Unsigned,
    /// IEEE 754, of 32 or 64 bits.
    Float,
}

impl ScanElement {
    /// Reads a type as the kernel prints it.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bad = |why: &str| format!("a scan element's type {}: {why}", quoted(text.trim()));
        let form = || bad("not as in le:s12/16>>4");
        let (order, rest) = text.trim().split_once(':').ok_or_else(form)?;
        let big_endian = match order {
            "be" => true,
            "le" => false,
            _ => return Err(form()),
        };
        let coding = match rest.get(..1) {
            Some("s") => Coding::Signed,
            Some("u") => Coding::Unsigned,
            Some("f") => Coding::Float,
            _ => return Err(form()),
        };
        let (bits, rest) = rest[1..].split_once('/').ok_or_else(form)?;
        let (rest, shift) = rest.split_once(">>").unwrap_or((rest, "0"));
        let (storage, repeat) = rest.split_once('X').unwrap_or((rest, "1"));
        let number = |digits: &str| {
            let few = (1..=3).contains(&digits.len());
            let plain = few && digits.bytes().all(|digit| digit.is_ascii_digit());
            if plain { digits.parse::<u32>().map_err(|_| form()) } else { Err(form()) }
        };
        let (bits, storage, shift) = (number(bits)?, number(storage)?, number(shift)?);
        // Not repeated is 0 or 1.
        let repeat = number(repeat)?.max(1) as usize;
        if !matches!(storage, 8 | 16 | 32 | 64) {
            return Err(bad("a value takes 8, 16, 32 or 64 bits"));
        }
        if bits == 0 || bits + shift > storage {
            return Err(bad("its bits do not fit into what it takes"));
        }
        if coding == Coding::Float && (bits < 32 || bits != storage) {
            return Err(bad("a floating point number has 32 or 64 bits"));
        }
        let bytes = storage as usize / 8;
        if !repeat.is_power_of_two() || bytes * repeat > MAX_FRAME {
            return Err(bad("it is repeated 1, 2, 4, 8 or some such number of times"));
        }
        Ok(Self { big_endian, coding, bits, bytes, repeat, shift })
    }

    /// How many values it has.
    pub(super) fn values(&self) -> usize {
        self.repeat
    }

    /// How many bytes one value takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many bytes all its values take.
    fn size(&self) -> usize {
        self.bytes * self.repeat
    }

    /// The value in these bytes, as the kernel shows it in `_raw`.
    pub(super) fn number(&self, bytes: &[u8]) -> f64 {
        let bits = self.unsigned(bytes);
        match self.coding {
            Coding::Unsigned => bits as f64,
            Coding::Signed => self.signed(bits) as f64,
            Coding::Float if self.bits == 32 => f32::from_bits(bits as u32).into(),
            Coding::Float => f64::from_bits(bits),
        }
    }

    /// The same as a whole number, to its last bit.
    pub(super) fn whole(&self, bytes: &[u8]) -> i64 {
        self.signed(self.unsigned(bytes))
    }

    fn unsigned(&self, bytes: &[u8]) -> u64 {
        let fold = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        let bytes = &bytes[..bytes.len().min(self.bytes)];
        let stored = match self.big_endian {
            true => bytes.iter().fold(0, fold),
            false => bytes.iter().rev().fold(0, fold),
        };
        stored >> self.shift & (u64::MAX >> (64 - self.bits))
    }

    fn signed(&self, bits: u64) -> i64 {
        let above = 64 - self.bits;
        (bits << above) as i64 >> above
    }
}

/// Where the elements of a frame are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// The first byte of each element.
    pub starts: Vec<usize>,
    /// The bytes of a frame.
    pub size: usize,
}

impl Layout {
    /// Of elements in the order of their indices.
    ///
    /// # Errors
    /// When there is none, or a frame were longer than 4 KiB.
    pub(super) fn new(elements: &[ScanElement]) -> Result<Self, String> {
        let mut starts = Vec::with_capacity(elements.len());
        let (mut end, mut largest) = (0_usize, 1);
        for element in elements {
            let start = end.next_multiple_of(element.size());
            starts.push(start);
            end = start + element.size();
            largest = largest.max(element.size());
            if end > MAX_FRAME {
                return Err(format!("a sample of all elements has more than {MAX_FRAME} bytes"));
            }
        }
        match end {
            0 => Err("no scan element is switched on".into()),
            _ => Ok(Self { starts, size: end.next_multiple_of(largest) }),
        }
    }
}

/// Bytes that come cut anywhere become frames.
#[derive(Debug)]
pub(super) struct Frames {
    size: usize,
    /// The start of a frame whose end has not come yet.
    rest: Vec<u8>,
}

impl Frames {
    /// Of so many bytes each.
    pub(super) fn new(size: usize) -> Self {
        Self { size, rest: Vec::with_capacity(size) }
    }

    /// Calls `each` for every frame that ends in `bytes`.
    pub(super) fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        if !self.rest.is_empty() {
            let missing = (self.size - self.rest.len()).min(bytes.len());
            let (head, tail) = bytes.split_at(missing);
            self.rest.extend_from_slice(head);
            bytes = tail;
            if self.rest.len() < self.size {
                return;
            }
            each(&self.rest);
            self.rest.clear();
        }
        let frames = bytes.chunks_exact(self.size);
        self.rest.extend_from_slice(frames.remainder());
        frames.for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Marsaglia's xorshift, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }

        fn below(&mut self, bound: u64) -> u64 {
            (self.next() >> 8) % bound
        }
    }

    #[test]
    fn types_of_the_documents_are_read() {
        let read = |text| ScanElement::parse(text).expect(text);
        // Documentation/driver-api/iio/buffers.rst: twelve bits of two registers.
        let accel = read("le:s12/16>>4");
        assert_eq!((accel.bits, accel.bytes, accel.shift, accel.repeat), (12, 2, 4, 1));
        assert_eq!(accel.number(&[0xf0, 0x7f]), 2047.0);
        assert_eq!(accel.number(&[0x0f, 0x80]), -2048.0);
        assert_eq!(read("le:s64/64>>0\n").whole(&[0xff; 8]), -1);
        assert_eq!(read("be:u24/32>>8").number(&[1, 2, 3, 99]), 66051.0);
        assert_eq!(read("be:u8/8").number(&[200]), 200.0);
        let quaternion = read("le:s16/32X4>>0");
        assert_eq!((quaternion.values(), quaternion.size()), (4, 16));
        assert_eq!(read("le:s16/16X0>>0"), read("le:s16/16"));
        assert_eq!(read("le:f32/32>>0").number(&1.5_f32.to_le_bytes()), 1.5);
        assert_eq!(read("be:f64/64>>0").number(&(-1e300_f64).to_be_bytes()), -1e300);
        assert_eq!(read("le:u64/64").number(&[0xff; 8]), 2_f64.powi(64));
    }

    #[test]
    fn types_that_cannot_be_are_refused_with_a_sentence() {
        let long = "9".repeat(100_000);
        for bad in [
            "",
            "le",
            "le:",
            "le:s",
            "le:é12/16",
            "xe:s12/16>>4",
            "le:x12/16",
            "le:s12",
            "le:s/16",
            "le:s12/",
            "le:s12/16>>",
            "le:s12/16X>>4",
            "le:s12/16>>4X2",
            "le:s-1/16",
            "le:s+1/16",
            "le:s0/16",
            "le:s17/16",
            "le:s12/16>>5",
            "le:s12/24",
            "le:s12/128",
            "le:s12/0",
            "le:s16/16X3",
            "le:s64/64X999",
            "le:s16/16X99999",
            "le:f16/16",
            "le:f32/64",
            "le:f32/64>>32",
            "le:s12/16>>4294967296",
            &format!("le:s{long}/16"),
            &long,
        ] {
            let why = ScanElement::parse(bad).expect_err(bad);
            assert!(why.starts_with("a scan element's type \"") && why.len() < 200, "{why}");
        }
    }

    /// Sets bits one by one, counted from the least; the others are noise.
    fn pack(element: &ScanElement, value: i128, noise: &mut Random) -> Vec<u8> {
        let mut stored: Vec<bool> = (0..element.bytes * 8).map(|_| noise.below(2) == 1).collect();
        for bit in 0..element.bits {
            stored[(bit + element.shift) as usize] = value >> bit & 1 == 1;
        }
        let byte = |bits: &[bool]| {
            bits.iter().enumerate().map(|(bit, &on)| u8::from(on) << bit).sum::<u8>()
        };
        let mut bytes: Vec<u8> = stored.chunks(8).map(byte).collect();
        if element.big_endian {
            bytes.reverse();
        }
        bytes
    }

    #[test]
    fn what_was_packed_bit_by_bit_is_read() {
        let mut random = Random(0x2545_f491_4f6c_dd1d);
        for _ in 0..20_000 {
            let storage = [8, 16, 32, 64][random.below(4) as usize];
            let bits = 1 + random.below(storage);
            let shift = random.below(storage - bits + 1);
            let signed = random.below(2) == 1;
            let order = ["le", "be"][random.below(2) as usize];
            let sign = if signed { "s" } else { "u" };
            let text = format!("{order}:{sign}{bits}/{storage}>>{shift}");
            let element = ScanElement::parse(&text).expect(&text);
            let lowest = if signed { -(1_i128 << (bits - 1)) } else { 0 };
            let value = match random.below(4) {
                0 => lowest,
                1 => lowest + (1_i128 << bits) - 1,
                _ => lowest + i128::from(random.next()) % (1_i128 << bits),
            };
            let bytes = pack(&element, value, &mut random);
            assert_eq!(element.number(&bytes), value as f64, "{text} {bytes:?}");
            if signed {
                assert_eq!(i128::from(element.whole(&bytes)), value, "{text} {bytes:?}");
            }
        }
    }

    #[test]
    fn elements_lie_where_a_search_byte_by_byte_puts_them() {
        let mut random = Random(88_172_645_463_325_252);
        for _ in 0..5_000 {
            let elements: Vec<ScanElement> = (0..1 + random.below(20))
                .map(|_| {
                    let storage = [8, 16, 32, 64][random.below(4) as usize];
                    let repeat = [1, 1, 1, 2, 4][random.below(5) as usize];
                    let text = format!("le:s8/{storage}X{repeat}>>0");
                    ScanElement::parse(&text).expect(&text)
                })
                .collect();
            let layout = Layout::new(&elements).expect("short enough");
            let mut free = 0;
            let mut largest = 0;
            for (element, start) in elements.iter().zip(&layout.starts) {
                let size = element.bytes * element.repeat;
                let expected = (free..).find(|place| place % size == 0).expect("some place");
                assert_eq!(*start, expected);
                free = expected + size;
                largest = largest.max(size);
            }
            let size = (free..).find(|end| end % largest == 0).expect("some end");
            assert_eq!(layout.size, size);
        }
        let read = |text| ScanElement::parse(text).expect(text);
        // Three axes and a time stamp: six bytes, two empty ones, eight.
        let axis = read("le:s16/16>>0");
        let layout = Layout::new(&[axis, axis, axis, read("le:s64/64>>0")]);
        assert_eq!(layout, Ok(Layout { starts: vec![0, 2, 4, 8], size: 16 }));
        assert_eq!(Layout::new(&[axis, axis, axis]).map(|layout| layout.size), Ok(6));
        assert!(Layout::new(&[]).is_err());
        assert!(Layout::new(&[read("le:s64/64X512"), axis]).is_err());
    }

    #[test]
    fn frames_are_the_same_however_they_are_cut() {
        let bytes: Vec<u8> = (0..96).collect();
        for size in [1, 2, 6, 16, 96] {
            let expected: Vec<&[u8]> = bytes.chunks_exact(size).collect();
            for cut in 1..=bytes.len() {
                let (mut frames, mut heard) = (Frames::new(size), Vec::new());
                for piece in bytes.chunks(cut) {
                    frames.feed(piece, |frame| heard.push(frame.to_vec()));
                    assert!(frames.rest.len() < size);
                }
                assert_eq!(heard, expected, "frames of {size} in pieces of {cut}");
            }
        }
    }
}
