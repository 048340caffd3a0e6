//! The file that keeps history over a restart.
//!
//! gzip (RFC 1952), whose checksum and length tell whether it is whole, around:
//!
//! ```text
//!  magic     12 bytes  "boardcast-h\n"
//!  version   u32       2; 1 is read, too: it has no phase
//!  boot      u8, text  the kernel's boot id, empty where there is none
//!  uptime    i64       milliseconds since boot, when it was written
//!  wall      i64       milliseconds since 1970, at the same moment
//!  phase     u32       milliseconds: what the moves over all reboots left over
//!  levels    u8        and for each: u32, its step in milliseconds
//!  then for each channel
//!    name    u8, text  at least 1 byte
//!    counter u8        0 or 1
//!    for each level
//!      lost    i64     buckets before this number were given up
//!      blocks  u32     and for each:
//!        first   i64   the number of its first bucket, in steps since boot
//!        single  u8    1: the numbers are f32, otherwise f64
//!        held    u32   bit n: there are readings in bucket first + n; for each such bucket:
//!          count u16, min, mean, max
//!  end       u8        0
//! ```
//!
//! All numbers are little-endian. A file of an unknown version or with other
//! steps cannot be used.

use std::{
    io::{self, BufReader, ErrorKind, Read, Write},
    ops::Range,
};

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};

use super::{
    History, LEVELS, Series, Store, Summary,
    block::{BUCKETS, Block},
    levels::Level,
    store::Entry,
};
use crate::telemetry::ChannelName;

const MAGIC: &[u8; 12] = b"boardcast-h\n";
const VERSION: u32 = 2;
/// The longest step, of which all others are parts.
const WHOLE: i64 = LEVELS[LEVELS.len() - 1].step;
/// Numbers of buckets beyond this are nonsense: a million years.
const FAR: i64 = 1 << 45;
/// Fast: a board's CPU is dear, and level 9 saves a tenth more.
const LEVEL: Compression = Compression::fast();

/// `held` has a bit for each bucket of a block.
const _: () = assert!(BUCKETS <= u32::BITS as usize);

/// When a file was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The kernel's boot id.
    pub(super) boot: String,
    /// Milliseconds since boot.
    pub(super) uptime: i64,
    /// Milliseconds since 1970.
    pub(super) wall: i64,
    /// By how much buckets of earlier starts should have been moved in all, as far as it is
    /// no whole number of the longest steps.
    pub(super) phase: i64,
}

impl Head {
    /// The phase after a move of so many milliseconds.
    pub(super) fn moved(&self, shift: i64) -> i64 {
        (self.phase + shift).rem_euclid(WHOLE)
    }

    /// By how many buckets of `step` that move is: downwards, what is left over counts at
    /// the next. So it does not add up over many reboots.
    fn buckets(&self, shift: i64, step: i64) -> i64 {
        (self.phase + shift).div_euclid(step) - self.phase.div_euclid(step)
    }
}

/// Writes everything that is held and has had a reading since `oldest`
/// (milliseconds since boot); what is older nobody will ask for.
pub(super) fn write<W: Write>(
    out: W,
    head: &Head,
    history: &History,
    oldest: i64,
) -> io::Result<W> {
    let mut out = GzEncoder::new(out, LEVEL);
    let mut buffer = Vec::new();
    put_head(&mut buffer, head);
    out.write_all(&buffer)?;
    for name in history.names() {
        // The lock is held for one channel at a time, and never while writing.
        buffer.clear();
        history.with_name(&name, |series| {
            if series.newest().is_some_and(|newest| newest >= oldest) {
                put_text(&mut buffer, name.as_str());
                put_series(&mut buffer, series);
            }
        });
        out.write_all(&buffer)?;
    }
    out.write_all(&[0])?;
    out.finish()
}

fn put_head(out: &mut Vec<u8>, head: &Head) {
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    put_text(out, &head.boot);
    out.extend_from_slice(&head.uptime.to_le_bytes());
    out.extend_from_slice(&head.wall.to_le_bytes());
    out.extend_from_slice(&(head.phase as u32).to_le_bytes());
    out.push(LEVELS.len() as u8);
    for level in &LEVELS {
        out.extend_from_slice(&(level.step as u32).to_le_bytes());
    }
}

/// Names have at most 128 bytes, boot ids 36.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let length = u8::try_from(text.len()).unwrap_or(0);
    out.push(length);
    out.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

fn put_series(out: &mut Vec<u8>, series: &Series) {
    out.push(series.is_counter().into());
    for level in 0..LEVELS.len() {
        out.extend_from_slice(&series.lost(level).to_le_bytes());
        let start = out.len();
        out.extend_from_slice(&0_u32.to_le_bytes());
        let mut blocks = 0_u32;
        let mut run: Vec<(i64, Summary)> = Vec::with_capacity(BUCKETS);
        for bucket in series.buckets(level, i64::MIN..i64::MAX) {
            let fits = run.last().is_none_or(|(last, summary)| {
                Block::first_of(*last) == Block::first_of(bucket.0)
                    && *last < bucket.0
                    && summary.single == bucket.1.single
            });
            if !fits {
                put_run(out, &run);
                run.clear();
                blocks += 1;
            }
            run.push(bucket);
        }
        if !run.is_empty() {
            put_run(out, &run);
            blocks += 1;
        }
        out[start..start + 4].copy_from_slice(&blocks.to_le_bytes());
    }
}

fn put_run(out: &mut Vec<u8>, run: &[(i64, Summary)]) {
    let Some((bucket, summary)) = run.first() else { return };
    let (first, single) = (Block::first_of(*bucket), summary.single);
    out.extend_from_slice(&first.to_le_bytes());
    out.push(single.into());
    let held = run.iter().fold(0_u32, |held, (bucket, _)| held | 1 << (bucket - first));
    out.extend_from_slice(&held.to_le_bytes());
    for (_, summary) in run {
        let count = u16::try_from(summary.count).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for number in [summary.min, summary.mean, summary.max] {
            if single {
                out.extend_from_slice(&(number as f32).to_le_bytes());
            } else {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
    }
}

/// Reads a file into entries that take at most `budget` bytes. `shift` tells
/// from the head by how many milliseconds instants have to be moved, or that
/// nobody knows yet; then it gives `None`.
///
/// # Errors
/// `InvalidData` with a reason when the file cannot be used; whatever reading gave.
pub(super) fn read(
    input: impl Read,
    budget: usize,
    shift: impl FnOnce(&Head) -> Option<i64>,
) -> io::Result<Option<Vec<Entry>>> {
    // No whole file of this budget is longer, unpacked, than four times as much.
    let bound = budget.saturating_mul(4).saturating_add(1 << 20) as u64;
    let mut input = Input(BufReader::new(GzDecoder::new(BufReader::new(input)).take(bound)));
    let head = input.head()?;
    let Some(shift) = shift(&head) else { return Ok(None) };
    // Nothing of an earlier start may come to stand after it.
    let last = if shift == 0 { i64::MAX } else { -1 };
    let mut scratch = Store::new(budget);
    loop {
        let name = input.text()?;
        if name.is_empty() {
            break;
        }
        let name = ChannelName::new(&name).map_err(|error| damaged(&error.to_string()))?;
        scratch.adopt(Entry::new(
            name,
            input.series(|level, bucket| (bucket + head.buckets(shift, level.step)).min(last))?,
        ));
    }
    // Only the end of a gzip stream tells whether what came before it is right.
    if input.0.read(&mut [0])? != 0 {
        return Err(damaged("something follows its end"));
    }
    Ok(Some(scratch.into_adopted()))
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

struct Input<R>(R);

impl<R: Read> Input<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.bytes::<1>()?[0])
    }

    fn i64(&mut self) -> io::Result<i64> {
        Ok(i64::from_le_bytes(self.bytes()?))
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn text(&mut self) -> io::Result<String> {
        let mut text = vec![0; self.byte()?.into()];
        self.0.read_exact(&mut text)?;
        String::from_utf8(text).map_err(|_| damaged("a text is not UTF-8"))
    }

    fn head(&mut self) -> io::Result<Head> {
        if self.bytes()? != *MAGIC {
            return Err(damaged("it is no history of boardcast"));
        }
        let version = self.u32()?;
        if !(1..=VERSION).contains(&version) {
            let sentence = format!("it has version {version}, and up to {VERSION} is understood");
            return Err(damaged(&sentence));
        }
        let mut head =
            Head { boot: self.text()?, uptime: self.i64()?, wall: self.i64()?, phase: 0 };
        if version > 1 {
            head.phase = i64::from(self.u32()?) % WHOLE;
        }
        let near = -FAR..FAR;
        if !near.contains(&head.uptime) || !near.contains(&head.wall) {
            return Err(damaged("its time is out of range"));
        }
        let levels = usize::from(self.byte()?);
        let steps = (0..levels).map(|_| self.u32()).collect::<io::Result<Vec<_>>>()?;
        if !steps.iter().map(|&step| i64::from(step)).eq(LEVELS.iter().map(|level| level.step)) {
            return Err(damaged("it has other resolutions"));
        }
        Ok(head)
    }

    fn series(&mut self, place: impl Fn(&Level, i64) -> i64) -> io::Result<Series> {
        let mut series = Series::new(self.byte()? == 1);
        for (number, level) in LEVELS.iter().enumerate() {
            let lost = self.i64()?;
            if lost > -FAR {
                series.lose(number, place(level, lost.min(FAR)));
            }
            for _ in 0..self.u32()? {
                self.block(|bucket, summary| {
                    series.merge(number, place(level, bucket), summary);
                })?;
            }
        }
        Ok(series)
    }

    fn block(&mut self, mut bucket: impl FnMut(i64, &Summary)) -> io::Result<()> {
        let first = self.i64()?;
        if !(-FAR..FAR).contains(&first) {
            return Err(damaged("an instant is out of range"));
        }
        let single = self.byte()? == 1;
        let held = self.u32()?;
        let numbers: Range<i64> = 0..BUCKETS as i64;
        for number in numbers.filter(|number| held & 1 << number != 0) {
            let count = u16::from_le_bytes(self.bytes()?).into();
            let [min, mean, max] = self.numbers(single)?;
            let fine =
                count > 0 && min.is_finite() && max.is_finite() && min <= mean && mean <= max;
            if !fine {
                return Err(damaged("a bucket has impossible numbers"));
            }
            bucket(first + number, &Summary { min, mean, max, count, single });
        }
        Ok(())
    }

    fn numbers(&mut self, single: bool) -> io::Result<[f64; 3]> {
        let mut numbers = [0.0; 3];
        for number in &mut numbers {
            *number = if single {
                f32::from_le_bytes(self.bytes()?).into()
            } else {
                f64::from_le_bytes(self.bytes()?)
            };
        }
        Ok(numbers)
    }
}
