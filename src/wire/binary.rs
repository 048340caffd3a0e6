//! The binary data message, as `docs/protocol.md` specifies it byte by byte.
//!
//! ```text
//!  0  1  flags  C C  R R R R   seq seq seq seq seq seq seq seq
//! 16  t t t t t t t t          id 0     id 1     id 2     (zeros)
//! 40  step                     column 0: R values, then column 1, …
//! ```
//!
//! Little-endian; every column begins where a browser can read it in place as
//! a `Float32Array` or `Float64Array`.

use std::time::Duration;

use crate::{
    error::{Error, Result},
    telemetry::{Batch, Channel, ChannelId, ChannelState, Kind, Value},
};

/// The kind of a data message: its first byte.
const DATA: u8 = 1;
/// Flag: values are f32.
const SINGLE: u8 = 1;
/// Flag: rows are evenly spaced.
const EVEN: u8 = 2;
/// Bytes before the numbers of the channels.
const HEAD: usize = 24;
/// Numbers of batches end here, so that JavaScript can count them: 2^53.
const SEQ_END: u64 = 1 << 53;
/// Sources count in whole nanoseconds: rows that are even but for that are even.
const ROUNDING: Duration = Duration::from_nanos(2);

/// One batch as a binary message: of its columns those that `select` wants.
/// `start` is the wall time of its first row, in seconds since 1970.
///
/// `None` when it has to go as JSON, because a selected column holds a truth or
/// a text; and when no column is selected, so that there is nothing to send.
pub fn data(
    seq: u64,
    start: f64,
    batch: &Batch,
    channels: &[ChannelState],
    select: impl Fn(ChannelId) -> bool,
) -> Option<Vec<u8>> {
    let described = |(id, values)| Some((ChannelState::find(channels, id)?, values));
    let selected = batch.columns().filter(|(id, _)| select(*id));
    let columns: Vec<(&ChannelState, &[Value])> = selected.filter_map(described).collect();
    let numeric = |value: &Value| matches!(value, Value::Number(_) | Value::Null);
    if columns.is_empty() || !columns.iter().all(|(_, values)| values.iter().all(numeric)) {
        return None;
    }
    let single = columns.iter().all(|(state, values)| fits_single(&state.channel, values));
    let step = step(batch);
    let flags = if single { SINGLE } else { 0 } | if step.is_some() { EVEN } else { 0 };
    let rows = batch.rows();
    let mut message =
        Vec::with_capacity(HEAD + 16 + 4 * (columns.len() + rows) + 8 * columns.len() * rows);
    message.extend([DATA, flags]);
    message.extend(u16::try_from(columns.len()).ok()?.to_le_bytes());
    message.extend(u32::try_from(rows).ok()?.to_le_bytes());
    message.extend(seq.to_le_bytes());
    message.extend(start.to_le_bytes());
    for (state, _) in &columns {
        message.extend(state.id.get().to_le_bytes());
    }
    align(&mut message);
    match step {
        Some(step) => message.extend(step.to_le_bytes()),
        None if rows > 1 => {
            let offsets = batch.offsets().map(|offset| offset.as_secs_f64() as f32);
            offsets.for_each(|offset| message.extend(offset.to_le_bytes()));
        }
        None => {}
    }
    align(&mut message);
    for value in columns.iter().flat_map(|(_, values)| *values) {
        let number = value.as_f64().filter(|number| number.is_finite());
        match (single, number) {
            (true, Some(number)) => message.extend((number as f32).to_le_bytes()),
            (true, None) => message.extend(0x7fc0_0000_u32.to_le_bytes()),
            (false, Some(number)) => message.extend(number.to_le_bytes()),
            (false, None) => message.extend(0x7ff8_0000_0000_0000_u64.to_le_bytes()),
        }
    }
    Some(message)
}

/// Whether a column loses nothing as f32. A total is never cut short, even
/// where it is exact: it would change its form as it grows.
fn fits_single(channel: &Channel, values: &[Value]) -> bool {
    let exact = |number: f64| f64::from(number as f32) == number;
    let mut numbers = values.iter().filter_map(Value::as_f64);
    channel.kind != Kind::Counter
        && numbers.all(|number| exact(number) || channel.as_single(number).is_some())
}

/// The distance between rows in seconds, when there are several and it is the
/// same between all.
fn step(batch: &Batch) -> Option<f64> {
    let last = batch.end().since(batch.start());
    let steps = u32::try_from(batch.rows() - 1).ok().filter(|&steps| steps > 0)?;
    let first = batch.offsets().nth(1)?;
    if batch.offsets().zip(0..).all(|(offset, row)| Some(offset) == first.checked_mul(row)) {
        // Not last / steps, which may differ from it in the last digit.
        return Some(first.as_secs_f64());
    }
    let step = last.as_secs_f64() / f64::from(steps);
    let even = |(offset, row): (Duration, u32)| {
        let expected = Duration::try_from_secs_f64(step * f64::from(row)).unwrap_or_default();
        offset.abs_diff(expected) <= ROUNDING
    };
    batch.offsets().zip(0..).all(even).then_some(step)
}

/// Zeros up to a multiple of 8.
fn align(message: &mut Vec<u8>) {
    message.resize(message.len().next_multiple_of(8), 0);
}

/// What a binary data message says.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    /// The number of the batch.
    pub seq: u64,
    /// When its first row was read, in seconds since 1970.
    pub t: f64,
    /// The numbers of the channels, one a column; at least one.
    pub ids: Vec<u32>,
    /// The distance of each row from `t`, in seconds; the first is 0.
    pub offsets: Vec<f64>,
    /// Column after column, each of as many values as there are rows.
    values: Vec<f64>,
}

impl Data {
    /// Each channel's number with its column, one value a row; no reading is NaN.
    pub fn columns(&self) -> impl Iterator<Item = (u32, &[f64])> {
        self.ids.iter().copied().zip(self.values.chunks_exact(self.offsets.len()))
    }
}

/// Understands one binary message. `None`: a message of a later version, which
/// is to be ignored.
///
/// # Errors
/// [`Error::Malformed`] names the rule that the message breaks. Nothing larger
/// than a few times the message is ever allocated.
pub fn decode(message: &[u8]) -> Result<Option<Data>> {
    let wrong = |why: &str| Err(Error::Malformed(why.into()));
    match message {
        [] => return wrong("an empty binary message"),
        [DATA, flags, ..] if flags & !(SINGLE | EVEN) == 0 => {}
        [DATA] => return wrong(SHORT),
        _ => return Ok(None),
    }
    let mut rest = Reader { message, at: 0 };
    let [_, flags] = rest.take()?;
    let columns = u16::from_le_bytes(rest.take()?);
    let rows = u32::from_le_bytes(rest.take()?);
    let seq = u64::from_le_bytes(rest.take()?);
    let t = f64::from_le_bytes(rest.take()?);
    let (single, even) = (flags & SINGLE != 0, flags & EVEN != 0);
    if rows == 0 || columns == 0 {
        return wrong("a batch without rows or columns");
    }
    if even && rows == 1 {
        return wrong("one row cannot be evenly spaced");
    }
    if seq >= SEQ_END {
        return wrong("a number of a batch is below 2^53");
    }
    if message.len() as u64 != length(columns, rows, single, even) {
        return wrong("its length is not what its head says");
    }
    let ids = (0..columns).map(|_| Ok(u32::from_le_bytes(rest.take()?))).collect::<Result<_>>()?;
    rest.align()?;
    let offsets = rest.offsets(rows, even)?;
    rest.align()?;
    let count = usize::from(columns) * offsets.len();
    let values = (0..count).map(|_| rest.number(single)).collect::<Result<Vec<_>>>()?;
    let finite = values.iter().all(|value| !value.is_infinite());
    if !(t.is_finite() && finite && offsets.iter().all(|offset| offset.is_finite())) {
        return wrong("an infinity, or a time that is no number");
    }
    Ok(Some(Data { seq, t, ids, offsets, values }))
}

const SHORT: &str = "it ends too early";

/// What the length must be; in 64 bits it cannot overflow.
fn length(columns: u16, rows: u32, single: bool, even: bool) -> u64 {
    let (columns, rows) = (u64::from(columns), u64::from(rows));
    let ids = (HEAD as u64 + 4 * columns).next_multiple_of(8);
    let offsets = match rows {
        1 => 0,
        _ if even => 8,
        rows => 4 * rows,
    };
    (ids + offsets).next_multiple_of(8) + columns * rows * if single { 4 } else { 8 }
}

/// A place in a message.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.message.get(self.at..).and_then(<[u8]>::first_chunk);
        let bytes = *bytes.ok_or_else(|| Error::Malformed(SHORT.into()))?;
        self.at += N;
        Ok(bytes)
    }

    fn number(&mut self, single: bool) -> Result<f64> {
        Ok(if single {
            f32::from_le_bytes(self.take()?).into()
        } else {
            f64::from_le_bytes(self.take()?)
        })
    }

    /// The distance of each row from the first; call it when the length of the
    /// message is known to fit the rows.
    fn offsets(&mut self, rows: u32, even: bool) -> Result<Vec<f64>> {
        if even {
            let step = self.number(false)?;
            return Ok((0..rows).map(|row| step * f64::from(row)).collect());
        }
        if rows == 1 {
            return Ok(vec![0.0]);
        }
        let offsets = (0..rows).map(|_| self.number(true)).collect::<Result<Vec<_>>>()?;
        if offsets[0] != 0.0 {
            return Err(Error::Malformed("the first row is not at t".into()));
        }
        Ok(offsets)
    }

    fn align(&mut self) -> Result<()> {
        while self.at % 8 != 0 {
            if self.take::<1>()? != [0] {
                return Err(Error::Malformed(
                    "what fills up to a multiple of 8 is not zero".into(),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        telemetry::{BootTime, Hub, HubSettings, Publisher},
        wire::json,
    };

    /// A file of tests/data/protocol; its README.txt names the fields.
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default)]
    struct Vector {
        about: String,
        hex: String,
        flags: u8,
        seq: u64,
        t: f64,
        ids: Vec<u32>,
        offsets: Vec<f64>,
        columns: Vec<Vec<Option<f64>>>,
        kinds: Vec<String>,
        single_precision: bool,
        error: bool,
        ignored: bool,
    }

    impl Vector {
        fn all() -> Vec<Self> {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/protocol");
            let files = std::fs::read_dir(folder).expect("vectors").map(|file| file.expect("read"));
            let vectors = files.filter(|file| file.path().extension().is_some_and(|e| e == "json"));
            let read = |path| std::fs::read_to_string(path).expect("read");
            vectors.map(|file| serde_json::from_str(&read(file.path())).expect("JSON")).collect()
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |at| u8::from_str_radix(&self.hex[at..at + 2], 16).expect("hex");
            (0..self.hex.len()).step_by(2).map(byte).collect()
        }

        fn channels(&self) -> Vec<ChannelState> {
            let (hub, publisher) = hub();
            for id in 0..=self.ids.iter().copied().max().unwrap_or_default() {
                let column = self.ids.iter().position(|&column| column == id);
                let kind = column.and_then(|column| self.kinds.get(column));
                let counter = kind.is_some_and(|kind| kind == "counter");
                let kind = if counter { Kind::Counter } else { Kind::Gauge };
                let mut channel = Channel::new(kind, &format!("c/{id}")).expect("valid");
                channel.single_precision = self.single_precision;
                publisher.channel(channel).expect("declared");
            }
            hub.view().channels().to_vec()
        }

        fn batch(&self) -> Batch {
            let later = self.offsets[1..].iter().map(|&o| Duration::from_secs_f64(o)).collect();
            let mut batch = Batch::rows_at(BootTime::default(), later);
            for (&id, column) in self.ids.iter().zip(&self.columns) {
                let values = column.iter().map(|v| v.map_or(Value::Null, Value::from));
                batch.column(ChannelId(id), values);
            }
            batch
        }
    }

    fn hub() -> (Hub, Publisher) {
        let hub = Hub::new(HubSettings { max_channels: 2000, ..HubSettings::default() });
        let publisher = hub.publisher("test");
        (hub, publisher)
    }

    fn optional(column: &[f64]) -> Vec<Option<f64>> {
        column.iter().map(|&value| (!value.is_nan()).then_some(value)).collect()
    }

    #[test]
    fn vectors_are_decoded_to_what_they_say_and_encoded_to_the_same_bytes() {
        let vectors = Vector::all();
        assert!(vectors.len() > 20, "{} vectors", vectors.len());
        for vector in vectors.iter().filter(|vector| !vector.error && !vector.ignored) {
            let (about, bytes) = (&vector.about, vector.bytes());
            assert_eq!(bytes[1], vector.flags, "{about}");
            let told = decode(&bytes).expect(about).expect(about);
            assert_eq!((told.seq, told.t, &told.ids), (vector.seq, vector.t, &vector.ids));
            assert_eq!(told.offsets, vector.offsets, "{about}");
            let columns: Vec<_> = told.columns().map(|(_, column)| optional(column)).collect();
            assert_eq!(columns, vector.columns, "{about}");
            let channels = vector.channels();
            let again = data(vector.seq, vector.t, &vector.batch(), &channels, |_| true);
            assert_eq!(again.expect(about), bytes, "{about}");
        }
    }

    #[test]
    fn malformed_messages_are_errors_and_later_versions_are_ignored() {
        for vector in Vector::all() {
            let (about, decoded) = (&vector.about, decode(&vector.bytes()));
            match decoded {
                Err(error) => assert!(vector.error, "{about}: {error}"),
                Ok(None) => assert!(vector.ignored, "{about}"),
                Ok(Some(_)) => assert!(!vector.error && !vector.ignored, "{about}"),
            }
        }
    }

    /// SplitMix64: enough chance for tests, the same each time.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }

        fn below(&mut self, end: u64) -> u64 {
            self.next() % end
        }

        /// Between -1 and 1, most of it near 0: the sum of three.
        fn noise(&mut self) -> f64 {
            (0..3).map(|_| self.below(1 << 30) as f64 / f64::from(1 << 29) - 1.0).sum::<f64>() / 3.0
        }

        fn value(&mut self) -> Value {
            match self.below(6) {
                0 => Value::Null,
                1 => Value::from(f64::from_bits(self.next())),
                2 => Value::from(self.below(1 << 53)),
                3 => Value::from(f64::from(self.noise() as f32)),
                _ => Value::from(self.noise()),
            }
        }
    }

    #[test]
    fn what_is_encoded_is_decoded_to_the_same() {
        let (hub, publisher) = hub();
        for id in 0..40 {
            let kind = if id % 7 == 0 { Kind::Counter } else { Kind::Gauge };
            publisher.channel(Channel::new(kind, &format!("c/{id}")).expect("valid")).expect("new");
        }
        let channels = hub.view().channels().to_vec();
        let mut chance = Chance(1);
        for round in 0..2000 {
            let (rows, step) = (chance.below(12), 1 + chance.below(1_000_000_000));
            let even = chance.below(2) == 0;
            let mut at = 0;
            let later = (0..rows).map(|_| {
                at += if even { step } else { chance.below(step) };
                Duration::from_nanos(at)
            });
            let mut batch = Batch::rows_at(BootTime::default(), later.collect());
            for id in (0..40).filter(|_| chance.below(4) == 0).collect::<Vec<_>>() {
                let exact = chance.below(2) == 0;
                let values = (0..=rows).map(|_| match chance.value() {
                    Value::Number(number) if exact => Value::from(f64::from(number as f32)),
                    value => value,
                });
                batch.column(ChannelId(id), values);
            }
            let Some(message) = data(round, 0.5, &batch, &channels, |id| id.0 != 5) else {
                assert!(batch.columns().all(|(id, _)| id.0 == 5));
                continue;
            };
            let told = decode(&message).expect("fine").expect("data");
            assert_eq!((told.seq, told.t), (round, 0.5));
            for (offset, told) in batch.offsets().zip(&told.offsets) {
                let offset = offset.as_secs_f64();
                let lost = offset / f64::from(1 << 24) + 2e-9;
                assert!((told - offset).abs() <= lost, "{told} {offset}");
            }
            let expected = batch.columns().filter(|(id, _)| id.0 != 5);
            let expected = expected.map(|(id, v)| (id.0, v.iter().map(Value::as_f64).collect()));
            let told: Vec<_> = told.columns().map(|(id, v)| (id, optional(v))).collect();
            assert_eq!(told, expected.collect::<Vec<(u32, Vec<Option<f64>>)>>());
        }
    }

    #[test]
    fn chance_bytes_never_harm_the_decoder() {
        let mut chance = Chance(2);
        let vectors: Vec<_> = Vector::all().iter().map(Vector::bytes).collect();
        for _ in 0..50_000 {
            let mut bytes = vectors[chance.below(vectors.len() as u64) as usize].clone();
            for _ in 0..chance.below(4) {
                if let Some(at) = chance.next().checked_rem(bytes.len() as u64) {
                    bytes[at as usize] = chance.next() as u8;
                }
            }
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_truth_a_text_and_an_empty_choice_are_not_for_this_encoding() {
        let (hub, publisher) = hub();
        for name in ["a", "b"] {
            publisher.channel(Channel::gauge(name).expect("valid")).expect("declared");
        }
        let channels = hub.view().channels().to_vec();
        for other in [Value::from(true), Value::from("text")] {
            let mut batch = Batch::at(BootTime::default());
            batch.set(ChannelId(0), 1.0);
            batch.set(ChannelId(1), other);
            assert_eq!(data(1, 0.0, &batch, &channels, |_| true), None);
            assert_eq!(data(1, 0.0, &batch, &channels, |_| false), None);
            let numbers = data(1, 0.0, &batch, &channels, |id| id.0 == 0).expect("numbers");
            let told = decode(&numbers).expect("fine").expect("data");
            assert_eq!(told.columns().collect::<Vec<_>>(), [(0, &[1.0][..])]);
        }
    }

    #[test]
    fn rows_that_are_even_but_for_whole_nanoseconds_are_even() {
        let third = |row: u64| Duration::from_nanos(1_000_000_000 * row / 300);
        let even = Batch::rows_at(BootTime::default(), (1..20).map(third).collect());
        assert!(step(&even).is_some_and(|step| (step - 1.0 / 300.0).abs() < 1e-9));
        let late = Duration::from_nanos(10);
        let odd = Batch::rows_at(BootTime::default(), vec![third(1), third(2) + late, third(3)]);
        assert_eq!(step(&odd), None);
        assert_eq!(step(&Batch::at(BootTime::default())), None);
    }

    #[test]
    fn a_thousand_readings_a_second_of_three_axes_take_at_most_half_the_bytes_of_json() {
        // A 16-bit converter over 4 g each way, at rest, in m/s2; 20 rows a batch.
        const LSB: f64 = 8.0 * 9.80665 / 65536.0;
        let (hub, publisher) = hub();
        let ids = ["imu/ax", "imu/ay", "imu/az"].map(|name| {
            let axis = Channel::gauge(name).expect("valid").unit("m/s2").single_precision();
            publisher.channel(axis).expect("declared")
        });
        let channels = hub.view().channels().to_vec();
        let mut chance = Chance(3);
        let (mut binary, mut text) = (0, 0);
        for seq in 1..=50 {
            let later = (1..20).map(Duration::from_millis).collect();
            let mut batch = Batch::rows_at(BootTime::default(), later);
            for (id, mean) in ids.into_iter().zip([0.12, -0.31, 9.79]) {
                let mut read = || ((mean + 0.05 * chance.noise()) / LSB).round() * LSB;
                let values: Vec<_> =
                    (0..20).map(|_| Value::from(f64::from(read() as f32))).collect();
                batch.column(id, values);
            }
            let start = 1_763_796_000.0 + seq as f64 * 0.02;
            binary += data(seq, start, &batch, &channels, |_| true).expect("numbers").len();
            text += json::data(seq, start, &batch, &channels, |_| true).len();
        }
        println!("1 kHz x 3 axes, one second: {text} bytes as JSON, {binary} as binary");
        assert!(2 * binary <= text, "{binary} bytes against {text}");
    }
}
