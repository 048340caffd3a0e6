//! What the file keeps, through damage, reboots and clocks that are wrong.

use std::{
    io::Read,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use super::*;
use crate::telemetry::{
    Batch, BootTime, ChannelId, Publisher, Summary,
    history::{
        Series,
        oracle::{Dice, Hands, board, instant},
    },
};

fn head(boot: &str, uptime: i64, wall: i64) -> Head {
    Head { boot: boot.into(), uptime, wall, phase: 0 }
}

#[test]
fn within_one_start_of_the_board_instants_stay_as_they_are() {
    let then = head("a", 5000, 1_000_000);
    assert_eq!(shift(&then, &head("a", 9000, 99_000_000_000)), 0, "whatever the clock says");
    assert_ne!(shift(&head("", 5000, 0), &head("", 9000, 60_000)), 0, "nobody knows");
}

#[test]
fn after_a_reboot_the_wall_clock_places_them_and_never_after_the_start() {
    // Written at 12:00:00, five seconds after boot; it is 12:01:00, three seconds after boot.
    let then = head("a", 5000, TODAY);
    let now = head("b", 3000, TODAY + 60_000);
    let placed = then.uptime + shift(&then, &now);
    assert_eq!(now.uptime - placed, 60_000, "a minute ago");
    // A clock that starts in the past.
    let now = head("b", 3000, 0);
    assert_eq!(then.uptime + shift(&then, &now), 0, "just before the start");
}

/// A folder of its own, with a boot id in it; gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Relaxed);
        let name = format!("boardcast-archive-{}-{number}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(folder.0.join("proc/sys/kernel/random")).expect("made");
        folder.boot("first");
        folder
    }

    fn boot(&self, id: &str) {
        let text = format!("{id}\n");
        fs::write(self.0.join("proc/sys/kernel/random/boot_id"), text).expect("written");
    }

    fn file(&self) -> PathBuf {
        self.0.join("history")
    }

    fn archive(&self, hub: &Hub) -> Archive {
        Archive::new(hub.clone(), self.file(), &self.0).expect("a file")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("listed").map(|entry| entry.expect("listed"));
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name != "proc").collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const HOUR: i64 = 3_600_000;
/// A day in 2026, in milliseconds.
const TODAY: i64 = 1_763_796_000_000;

type Parts = (Arc<Hands>, Hub, Publisher, Vec<ChannelId>);

/// A board that has run for some hours.
fn busy(channels: usize, seconds: i64) -> Parts {
    let (hands, hub, publisher, ids) = board(channels, 1 << 20);
    hands.step(TODAY);
    let mut dice = Dice::new(3);
    for second in 0..seconds {
        publish(&publisher, &ids, second * 1000, (dice.roll() % 1000) as f64 / 10.0);
    }
    hands.set(seconds * 1000);
    (hands, hub, publisher, ids)
}

fn publish(publisher: &Publisher, ids: &[ChannelId], at: i64, value: f64) {
    let mut batch = Batch::at(instant(at));
    for (number, id) in ids.iter().enumerate() {
        batch.set(*id, value + number as f64 * 1e10);
    }
    publisher.publish(batch);
}

/// An empty board with the same channels, so long after its start.
fn fresh(channels: usize, uptime: i64, wall: i64) -> Parts {
    let parts = board(channels, 1 << 20);
    parts.0.set(uptime);
    parts.0.step(wall - uptime);
    parts
}

/// Everything of one channel at one resolution, with wall times.
fn level(hub: &Hub, id: ChannelId, number: usize) -> Vec<(i64, Summary)> {
    let start = (hub.clock().wall_of(BootTime::default()) * 1000.0) as i64;
    let step = levels::LEVELS[number].step;
    let look = |series: &Series| {
        let buckets = series.buckets(number, i64::MIN..i64::MAX);
        buckets.map(|(bucket, summary)| (start + bucket * step, summary)).collect()
    };
    hub.history().with(id, look).unwrap_or_default()
}

/// The same at each resolution.
fn all(hub: &Hub, id: ChannelId) -> Vec<(i64, Summary)> {
    (0..levels::LEVELS.len()).flat_map(|number| level(hub, id, number)).collect()
}

#[test]
fn a_restart_of_the_program_loses_nothing() {
    let folder = Folder::new();
    let (_, before, _, ids) = busy(5, 10_000);
    folder.archive(&before).write().expect("written");
    assert_eq!(folder.names(), ["history"]);

    let (_, after, publisher, ids_after) = fresh(5, 10_001_000, TODAY + 10_001_000);
    assert_eq!(folder.archive(&after).load(), Loaded::Done);
    assert_eq!(after.history().size().1, 5, "kept before anybody declares them");
    publish(&publisher, &ids_after, 10_001_000, 1.0);
    for (old, new) in ids.iter().zip(&ids_after) {
        let (old, new) = (all(&before, *old), all(&after, *new));
        assert!(old.len() > 1000);
        // The newest buckets of the old one and the first of the new one are the same.
        let same = |(at, summary): &(i64, Summary)| {
            // What was open is closed now, and perhaps rounded.
            let close = |left: f64, right: f64| (left - right).abs() <= 1e-6 * summary.max;
            let fits = |kept: &Summary| {
                close(kept.min, summary.min)
                    && close(kept.mean, summary.mean)
                    && close(kept.max, summary.max)
            };
            new.iter().any(|(other, kept)| at == other && fits(kept))
        };
        let missing: Vec<_> = old.iter().filter(|bucket| !same(bucket)).collect();
        assert!(missing.is_empty(), "{} of {}: {:?}", missing.len(), old.len(), missing[0]);
    }
    assert!(after.history().size().0 <= 1 << 20);
    assert_eq!(after.history().size().0, after.history().lock().counted());
}

#[test]
fn no_history_at_all_is_a_whole_file_too() {
    let folder = Folder::new();
    let (_, before, ..) = board(0, 1 << 20);
    folder.archive(&before).write().expect("written");
    let (_, after, ..) = board(0, 1 << 20);
    assert_eq!(folder.archive(&after).load(), Loaded::Done);
    assert_eq!(folder.names(), ["history"], "not set aside as damaged");
}

#[test]
fn after_a_reboot_the_curve_goes_on_by_the_wall_clock() {
    let folder = Folder::new();
    let (_, before, _, ids) = busy(1, 5000);
    folder.archive(&before).write().expect("written");
    folder.boot("second");
    // Ten minutes later; the clock is right.
    let (hands, after, publisher, ids_after) = fresh(1, 20_000, TODAY + 5_000_000 + 600_000);
    hands.sync();
    assert_eq!(folder.archive(&after).load(), Loaded::Done);
    publish(&publisher, &ids_after, 20_000, 1.0);
    let (old, mut new) = (all(&before, ids[0]), all(&after, ids_after[0]));
    assert_eq!(new.len(), old.len() + 3, "and one reading in each resolution");
    new.retain(|(at, _)| *at < TODAY + 5_500_000);
    assert_eq!(new.len(), old.len());
    for (old, new) in old.iter().zip(&new) {
        assert_eq!(old.1.max as f32, new.1.max as f32);
        let moved = old.0 - new.0;
        assert!((0..60_000).contains(&moved), "less than a bucket: {moved}");
    }
    let points = after.history().plan(&ids_after, -570_000..20_001, 4320);
    assert!(points.instants().all(|at| at >= 0), "the board was off in between");
}

#[test]
fn a_file_of_an_earlier_start_waits_for_the_clock_but_not_for_ever() {
    let folder = Folder::new();
    folder.archive(&busy(1, 100).1).write().expect("written");
    folder.boot("second");
    // No battery: the clock starts in 1970.
    let (hands, hub, publisher, ids) = fresh(1, 10_000, 10_000);
    let mut archive = folder.archive(&hub);
    assert_eq!(archive.load(), Loaded::Waiting);
    publish(&publisher, &ids, 11_000, 5.0);
    hands.set(30_000);
    hands.step(TODAY + 300_000);
    assert_eq!(archive.load(), Loaded::Waiting, "it was set, but who says by whom");
    hands.sync();
    assert_eq!(archive.load(), Loaded::Done);
    let first = all(&hub, ids[0])[0].0;
    assert!((TODAY - 1000..=TODAY).contains(&first), "{}", first - TODAY);

    let (hands, hub, _, _) = fresh(1, 10_000, TODAY + 400_000);
    let mut archive = folder.archive(&hub);
    assert_eq!(archive.load(), Loaded::Waiting);
    hands.set(120_000);
    assert_eq!(archive.load(), Loaded::Done, "a board without a network trusts its clock");
    assert_eq!(hub.history().size().1, 1);
}

#[test]
fn what_still_waits_is_not_lost_by_a_write() {
    let folder = Folder::new();
    folder.archive(&busy(1, 1000).1).write().expect("written");
    folder.boot("second");
    let (_, hub, publisher, ids) = fresh(1, 10_000, 10_000);
    let mut archive = folder.archive(&hub);
    assert_eq!(archive.load(), Loaded::Waiting);
    publish(&publisher, &ids, 11_000, 5.0);
    archive.write().expect("written");
    let buckets = all(&hub, ids[0]);
    assert!(buckets.len() > 900, "{}", buckets.len());
    assert!(buckets.iter().all(|(at, _)| *at <= 11_000), "nothing of it is after the start");
}

#[test]
fn a_damaged_file_is_set_aside_wherever_it_is_damaged() {
    let folder = Folder::new();
    folder.archive(&busy(2, 200).1).write().expect("written");
    let whole = fs::read(folder.file()).expect("read");
    let (_, hub, _, _) = fresh(2, 300_000, TODAY);
    let mut damages = Vec::new();
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        damages.push(whole[..length].to_vec());
    }
    // gzip's head (RFC 1952 section 2.3) has a time and a system that nobody reads.
    for place in (0..4).chain((10..whole.len()).step_by(whole.len() / 300)) {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 8);
        damages.push(flipped);
    }
    damages.push([&whole[..], b"more"].concat());
    let unpack = |bytes: &[u8]| {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).map(|_| plain).ok()
    };
    let plain = unpack(&whole).expect("whole");
    let mut harmless = 0;
    for (number, damage) in damages.iter().enumerate() {
        fs::write(folder.file(), damage).expect("written");
        assert_eq!(folder.archive(&hub).load(), Loaded::Done);
        if unpack(damage).as_ref() == Some(&plain) {
            // What follows the end of the stream, and a bit in it that means nothing.
            assert_eq!(folder.names(), ["history"], "damage {number}");
            harmless += 1;
        } else {
            assert_eq!(folder.names(), ["history.damaged"], "damage {number}");
        }
        let _ = fs::remove_file(folder.0.join("history.damaged"));
    }
    assert!((1..damages.len() / 20).contains(&harmless), "{harmless} of {}", damages.len());
}

#[test]
fn nonsense_with_a_right_checksum_is_no_history_either() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let folder = Folder::new();
    let (_, hub, _, _) = fresh(2, 300_000, TODAY);
    let mut good = Vec::new();
    flate2::read::GzDecoder::new(
        &{
            folder.archive(&busy(1, 100).1).write().expect("written");
            fs::read(folder.file()).expect("read")
        }[..],
    )
    .read_to_end(&mut good)
    .expect("unpacked");
    let mut dice = Dice::new(11);
    for round in 0..500 {
        let mut bad = good.clone();
        for _ in 0..=dice.roll() % 3 {
            let place = dice.roll() as usize % bad.len();
            bad[place] = dice.roll() as u8;
        }
        let mut out = GzEncoder::new(Vec::new(), Compression::fast());
        out.write_all(&bad).expect("packed");
        fs::write(folder.file(), out.finish().expect("packed")).expect("written");
        // It may look right by chance; it must not panic, and keep the budget.
        folder.archive(&hub).load();
        assert!(hub.history().size().0 <= 1 << 20, "round {round}");
    }
    // A bomb: zeros without end.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::fast());
    bomb.write_all(&good[..good.len() - 1]).expect("packed");
    for _ in 0..100 {
        bomb.write_all(&vec![0xff; 1 << 20]).expect("packed");
    }
    fs::write(folder.file(), bomb.finish().expect("packed")).expect("written");
    folder.archive(&hub).load();
    assert!(folder.names().contains(&"history.damaged".to_owned()));
}

#[test]
fn a_disk_that_takes_nothing_leaves_the_old_file() {
    /// Takes so many bytes and then is full.
    struct Disk(usize);
    impl io::Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let length = bytes.len().min(self.0);
            self.0 -= length;
            if length == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(length) }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_, hub, _, _) = busy(1, 1000);
    let head = head("a", 1, 1);
    let whole = file::write(Vec::new(), &head, hub.history(), 0).expect("written").len();
    for room in (0..whole).step_by(whole / 100) {
        assert!(file::write(Disk(room), &head, hub.history(), 0).is_err(), "{room}");
    }
    assert!(file::write(Disk(whole), &head, hub.history(), 0).is_ok());

    // A folder stands where the temporary file should.
    let folder = Folder::new();
    let mut archive = folder.archive(&hub);
    archive.write().expect("written");
    fs::create_dir(folder.0.join("history.new")).expect("made");
    let error = archive.write().expect_err("nowhere to write").to_string();
    assert!(error.contains("history") && !error.contains('\n'), "{error}");
    assert_eq!(folder.archive(&fresh(1, 2_000_000, TODAY).1).load(), Loaded::Done);
    assert!(!folder.names().contains(&"history.damaged".to_owned()));
}

#[test]
fn a_folder_is_not_taken_for_a_damaged_file() {
    let folder = Folder::new();
    fs::create_dir(folder.file()).expect("made");
    let hub = fresh(1, 1, 1).1;
    let error = Archive::new(hub, folder.file(), &folder.0).expect_err("a folder");
    assert!(error.to_string().contains("is no file"), "{error}");
    assert_eq!(folder.names(), ["history"]);
}

#[test]
fn channels_that_nobody_reads_any_more_leave_the_file_after_two_days() {
    let folder = Folder::new();
    let (hands, hub, publisher, ids) = busy(2, 100);
    let mut archive = folder.archive(&hub);
    hands.set(47 * HOUR);
    publish(&publisher, &ids[..1], 47 * HOUR, 1.0);
    archive.write().expect("written");
    let kept = |hub: &Hub| {
        folder.archive(hub).load();
        hub.history().size().1
    };
    assert_eq!(kept(&fresh(2, 47 * HOUR, TODAY).1), 2);
    hands.set(49 * HOUR);
    archive.write().expect("written");
    assert_eq!(kept(&fresh(2, 49 * HOUR, TODAY).1), 1);
}

#[test]
fn a_smaller_budget_keeps_the_newest() {
    let folder = Folder::new();
    folder.archive(&busy(5, 20_000).1).write().expect("written");
    let (hands, hub, _, _) = board(5, 100_000);
    hands.set(20_000_000);
    folder.archive(&hub).load();
    let (bytes, channels) = hub.history().size();
    assert!(bytes <= 100_000 && channels == 5, "{bytes} bytes of {channels} channels");
    assert!(
        hub.history().names().iter().all(|name| {
            hub.history().with_name(name, Series::newest) == Some(Some(20_000_000))
        })
    );
}

#[test]
fn a_start_without_a_network_does_not_lose_what_was() {
    let folder = Folder::new();
    folder.archive(&busy(1, 1000).1).write().expect("written");
    folder.boot("second");
    // No battery and no network: the clock says 1970 to the end.
    let (hands, hub, publisher, ids) = fresh(1, 130_000, 130_000);
    let mut archive = folder.archive(&hub);
    assert_eq!(archive.load(), Loaded::Done);
    publish(&publisher, &ids, 130_000, 5.0);
    hands.set(200_000);
    archive.write().expect("written");
    folder.boot("third");
    let (hands, hub, _, ids) = fresh(1, 20_000, TODAY + HOUR);
    hands.sync();
    let mut archive = folder.archive(&hub);
    assert_eq!(archive.load(), Loaded::Done);
    archive.write().expect("written");
    assert_eq!(hub.history().size().1, 1);
    let (hands, hub, publisher, _) = fresh(1, 30_000, TODAY + HOUR);
    hands.sync();
    assert_eq!(folder.archive(&hub).load(), Loaded::Done);
    publish(&publisher, &ids, 30_000, 6.0);
    let buckets = all(&hub, ids[0]);
    assert!(buckets.len() > 900, "{} buckets", buckets.len());
    assert!(buckets.iter().all(|(at, _)| *at > TODAY - HOUR), "{:?}", buckets[0]);
}

#[test]
fn over_many_reboots_nothing_drifts() {
    let folder = Folder::new();
    let mut truth = Vec::new();
    // Off for half a minute, for no time that can be told, and for what leaves most over.
    let mut wall = TODAY;
    for round in 0..=100 {
        folder.boot(&format!("boot {round}"));
        let (hands, hub, publisher, ids) = fresh(1, 20_000, wall);
        hands.sync();
        let mut archive = folder.archive(&hub);
        assert_eq!(archive.load(), Loaded::Done);
        publish(&publisher, &ids, 20_000, f64::from(round));
        truth.push(wall);
        for (number, step) in levels::LEVELS.iter().map(|level| level.step).enumerate() {
            let buckets = level(&hub, ids[0], number);
            // The finest holds 15 minutes.
            let since = if number == 0 { wall - 14 * 60_000 } else { TODAY };
            for (value, at) in truth.iter().enumerate().filter(|(_, at)| **at >= since) {
                // It is in a bucket that begins at most a step before it; a step of drift aside.
                let value = value as f64;
                let near = (at - 2 * step + 1)..(at + step);
                let mut held =
                    buckets.iter().filter(|(_, all)| all.min <= value && value <= all.max);
                assert!(
                    held.any(|(begin, _)| near.contains(begin)),
                    "{value}, round {round}, {step}"
                );
            }
            let own = buckets.iter().filter(|(begin, _)| *begin >= wall - 20_000).count();
            assert_eq!(own, 1, "round {round}: nothing else stands after the start");
        }
        hands.set(20_500);
        archive.write().expect("written");
        let off = [30_000, 0, 39_499, 10_499][round as usize % 4];
        wall += 500 + off + 20_000;
    }
}

#[test]
fn a_file_of_the_first_version_is_read() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let folder = Folder::new();
    folder.archive(&busy(2, 100).1).write().expect("written");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&fs::read(folder.file()).expect("read")[..])
        .read_to_end(&mut plain)
        .expect("unpacked");
    plain[12] = 1;
    // Behind the boot id, the uptime and the wall time.
    let phase = 16 + 1 + "first".len() + 16;
    plain.drain(phase..phase + 4);
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(&plain).expect("packed");
    fs::write(folder.file(), out.finish().expect("packed")).expect("written");
    let hub = fresh(2, 200_000, TODAY + 200_000).1;
    assert_eq!(folder.archive(&hub).load(), Loaded::Done);
    assert_eq!((hub.history().size().1, folder.names()), (2, vec!["history".to_owned()]));
}
