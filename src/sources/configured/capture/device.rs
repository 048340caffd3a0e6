//! An IIO device whose buffer is read: found, set up, and left as it was.
//!
//! **What is written**, below the device's folder of `/sys`, and only while its
//! buffer is off: `*_en` of the scan elements, `current_timestamp_clock`,
//! `sampling_frequency` and `trigger/current_trigger` where the settings want
//! one, `buffer/length`, `buffer/watermark`, and `buffer/enable`. At the end
//! the buffer is switched off, and elements and clock are as they were.
//!
//! A buffer that is on already was set up by somebody else: it is read as it
//! is, and nothing is written, then or at the end.
//!
//! Newer kernels have `buffer0/` with all of it, and still the old folders
//! (Documentation/ABI/testing/sysfs-bus-iio, Documentation/iio/iio_devbuf.rst).

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::{libc, time::ClockId};

use super::{
    element::{Layout, ScanElement},
    folder::{Folder, Undo, cannot_open, cannot_write, find, is_refused, on_bus},
    stamps,
};
use crate::{
    sources::{
        iio::{Factor, Input, shared},
        vitals::file::quoted,
    },
    telemetry::{Channel, Kind, Levels},
};

/// The most scan elements of a device.
const MAX_ELEMENTS: usize = 64;
/// How many samples the kernel keeps: those of a second, within these bounds.
const LENGTHS: (f64, f64) = (64.0, 8192.0);
/// How often a read should be woken, a second.
const WAKES: f64 = 50.0;

/// The device was unplugged.
pub(super) const GONE: &str = "the device is gone: plug it in again";

/// What the settings want of a device.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// Its name, label or folder.
    pub device: String,
    /// Which elements; empty: all.
    pub elements: Vec<String>,
    pub rate: Option<f64>,
    pub trigger: Option<String>,
    /// The levels before the channels' names; `None`: `iio/<device>`.
    pub prefix: Option<String>,
}

/// A device whose buffer is on.
#[derive(Debug)]
pub(super) struct Buffer {
    pub file: File,
    /// The bytes of one sample of all elements.
    pub frame: usize,
    pub columns: Vec<Column>,
    /// Where the time stamp is, and of which clock it is.
    pub stamp: Option<(usize, ScanElement, ClockId)>,
    /// Samples a second, where the device says so.
    pub rate: Option<f64>,
    folder: Folder,
    enable: String,
    /// Puts back what was written; dropped last.
    _undo: Undo,
}

/// One channel, and how its values come out of a frame.
#[derive(Debug)]
pub(super) struct Column {
    pub channel: Channel,
    start: usize,
    element: ScanElement,
    offset: f64,
    scale: f64,
    factor: Factor,
}

impl Column {
    /// Its value in a frame, in the channel's unit.
    pub(super) fn value(&self, frame: &[u8]) -> f64 {
        let bytes = frame.get(self.start..).unwrap_or_default();
        self.factor.apply((self.element.number(bytes) + self.offset) * self.scale)
    }
}

impl Buffer {
    /// Finds the device and switches its buffer on.
    ///
    /// # Errors
    /// A sentence that says what is in the way, and what to do.
    pub(super) fn open(root: &Path, wanted: &Wanted) -> Result<Self, String> {
        let (folder, device) = find(root, &wanted.device)?;
        let parts = Parts::of(&folder)?;
        let names = folder.list(parts.elements);
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let inputs: Vec<_> = names.iter().filter_map(|name| Input::element(name)).collect();
        let inputs: Vec<_> = inputs.into_iter().filter(|input| !is_stamp(input)).collect();
        let chosen = choose(&inputs, wanted)?;
        // Opened first: while somebody else reads it, nothing is touched.
        let node = root.join("dev").join(&folder.name);
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&node);
        let file = file.map_err(|error| cannot_open(&node, &error))?;
        let mut undo = Undo::default();
        let enable = format!("{}/enable", parts.buffer);
        if folder.line(&enable)?.as_deref() != Some("1") {
            undo = set_up(root, &folder, &parts, &names, &chosen, &inputs, wanted)?;
        }
        let rate = rate_of(root, &folder, &chosen);
        let (columns, stamp, frame) = lay_out(&folder, &parts, &names, &device, &chosen, wanted)?;
        Ok(Self { file, frame, columns, stamp, rate, folder, enable, _undo: undo })
    }

    /// Why no more samples come, where the device's folder says so: who waits
    /// for a device that is unplugged is woken, but not told (`iio_buffer_poll`).
    pub(super) fn ended(&self) -> Option<&'static str> {
        match self.folder.line(&self.enable) {
            Ok(Some(on)) if on == "0" => Some("its buffer was switched off by another program"),
            Ok(None) => Some(GONE),
            _ => None,
        }
    }
}

/// Where a device keeps what.
struct Parts {
    buffer: &'static str,
    elements: &'static str,
}

impl Parts {
    fn of(folder: &Folder) -> Result<Self, String> {
        [("buffer", "scan_elements"), ("buffer0", "buffer0")]
            .into_iter()
            .find(|(buffer, elements)| {
                folder.has(&format!("{buffer}/enable")) && folder.has(elements)
            })
            .map(|(buffer, elements)| Self { buffer, elements })
            .ok_or_else(|| {
                "this device has no buffer (its driver has none, or it has no interrupt); \
                 without a capture it is polled"
                    .into()
            })
    }

    fn element(&self, input: &Input<'_>, what: &str) -> String {
        format!("{}/{}_{what}", self.elements, input.base)
    }
}

fn is_stamp(input: &Input<'_>) -> bool {
    input.base == "in_timestamp"
}

/// The elements that the settings name, or all.
fn choose<'a>(inputs: &[Input<'a>], wanted: &Wanted) -> Result<Vec<Input<'a>>, String> {
    let named = |name: &String, input: &&Input<'a>| input.shown() == name || input.base == name;
    for name in &wanted.elements {
        if !inputs.iter().any(|input| named(name, &input)) {
            let there: Vec<_> = inputs.iter().take(32).map(Input::shown).collect();
            return Err(format!("it has no element {}; it has {}", quoted(name), there.join(", ")));
        }
    }
    let all = wanted.elements.is_empty();
    let chosen = inputs.iter().filter(|one| all || wanted.elements.iter().any(|n| named(n, one)));
    Ok(chosen.copied().take(MAX_ELEMENTS).collect())
}

/// Writes what is to be, and switches the buffer on.
fn set_up(
    root: &Path,
    folder: &Folder,
    parts: &Parts,
    names: &BTreeSet<&str>,
    chosen: &[Input<'_>],
    inputs: &[Input<'_>],
    wanted: &Wanted,
) -> Result<Undo, String> {
    let mut undo = Undo::of(folder);
    let all = wanted.elements.is_empty();
    for input in inputs {
        let on = chosen.iter().any(|one| one.base == input.base);
        let file = parts.element(input, "en");
        match undo.write(&file, if on { "1" } else { "0" }) {
            // Some devices cannot have all of theirs at once.
            Err(error) if all && error.raw_os_error() == Some(libc::EINVAL) => {}
            outcome => outcome.map_err(|error| cannot_write(&folder.path(&file), &error))?,
        }
    }
    if names.contains("in_timestamp_en") {
        // Without stamps, or in another clock, it goes as well.
        let _ = undo.write(&format!("{}/in_timestamp_en", parts.elements), "1");
        let _ = undo.write("current_timestamp_clock", "boottime");
    }
    if let Some(rate) = wanted.rate {
        set_rate(root, folder, chosen, rate, wanted.trigger.as_deref())?;
    }
    if let Some(trigger) = &wanted.trigger {
        folder.write("trigger/current_trigger", trigger).map_err(|error| {
            if is_refused(&error) {
                return cannot_write(&folder.path("trigger/current_trigger"), &error);
            }
            let there = on_bus(root, "trigger").filter_map(|one| one.line("name").ok().flatten());
            let there: Vec<_> = there.take(16).collect();
            format!("it takes no trigger {}; there are: {}", quoted(trigger), there.join(", "))
        })?;
    }
    // Of these the driver's own values do, too.
    let rate = rate_of(root, folder, chosen).unwrap_or(0.0);
    let length = rate.clamp(LENGTHS.0, LENGTHS.1) as u32;
    let watermark = ((rate / WAKES) as u32).clamp(1, length / 2);
    let _ = folder.write(&format!("{}/length", parts.buffer), &length.to_string());
    let _ = folder.write(&format!("{}/watermark", parts.buffer), &watermark.to_string());
    let enable = format!("{}/enable", parts.buffer);
    undo.write(&enable, "1").map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) if folder.line("trigger/current_trigger") == Ok(Some(String::new())) => {
            "it needs a trigger: name one in the settings (`name` of \
             /sys/bus/iio/devices/trigger*; iio-trig-hrtimer makes them)"
                .into()
        }
        _ => cannot_write(&folder.path(&enable), &error),
    })?;
    Ok(undo)
}

/// The files that have the rate: the device's, the channels', the trigger's.
fn rate_files(root: &Path, folder: &Folder, chosen: &[Input<'_>]) -> Vec<(Folder, String)> {
    let own = folder.list("");
    let own: BTreeSet<&str> = own.iter().map(String::as_str).collect();
    let files = chosen.iter().filter_map(|input| shared(&own, input, "sampling_frequency"));
    let files: BTreeSet<String> = files.collect();
    let mut files: Vec<_> = files.into_iter().map(|file| (folder.clone(), file)).collect();
    if let Ok(Some(name)) = folder.line("trigger/current_trigger") {
        let trigger = on_bus(root, "trigger")
            .find(|one| one.line("name").is_ok_and(|n| n.as_ref() == Some(&name)));
        files.extend(trigger.map(|one| (one, "sampling_frequency".to_owned())));
    }
    files.retain(|(folder, file)| folder.has(file));
    files
}

fn rate_of(root: &Path, folder: &Folder, chosen: &[Input<'_>]) -> Option<f64> {
    let mut files = rate_files(root, folder, chosen).into_iter();
    let rate = files.find_map(|(folder, file)| folder.number(&file).ok().flatten());
    rate.filter(|rate| *rate > 0.0)
}

fn set_rate(
    root: &Path,
    folder: &Folder,
    chosen: &[Input<'_>],
    rate: f64,
    trigger: Option<&str>,
) -> Result<(), String> {
    let mut files = rate_files(root, folder, chosen);
    if let Some(name) = trigger {
        let named = |one: &Folder| one.line("name").is_ok_and(|n| n.as_deref() == Some(name));
        let own = on_bus(root, "trigger").find(named).filter(|one| one.has("sampling_frequency"));
        files.retain(|(one, _)| one.path == folder.path);
        files.extend(own.map(|one| (one, "sampling_frequency".to_owned())));
    }
    if files.is_empty() {
        return Err("its rate cannot be set: it has no sampling_frequency; leave it out".into());
    }
    for (folder, file) in files {
        folder.write(&file, &rate.to_string()).map_err(|error| {
            let there = folder.line(&format!("{file}_available")).ok().flatten();
            match there.filter(|_| !is_refused(&error)) {
                Some(there) => format!("it has no rate of {rate}; it has {there}"),
                None => cannot_write(&folder.path(&file), &error),
            }
        })?;
    }
    Ok(())
}

type LaidOut = (Vec<Column>, Option<(usize, ScanElement, ClockId)>, usize);

/// The channels of the elements that are on, the time stamp, and the bytes of
/// a frame.
fn lay_out(
    folder: &Folder,
    parts: &Parts,
    names: &BTreeSet<&str>,
    device: &str,
    chosen: &[Input<'_>],
    wanted: &Wanted,
) -> Result<LaidOut, String> {
    let own = folder.list("");
    let own: BTreeSet<&str> = own.iter().map(String::as_str).collect();
    let mut on = Vec::new();
    for input in names.iter().filter_map(|name| Input::element(name)).take(2 * MAX_ELEMENTS) {
        let read = |what| {
            let file = parts.element(&input, what);
            let line = folder.line(&file)?;
            line.ok_or_else(|| format!("{} is missing", folder.path(&file).display()))
        };
        if read("en")? == "1" {
            let index = read("index")?;
            let index: u32 = index.parse().map_err(|_| format!("an index {}", quoted(&index)))?;
            // The time stamp is always the last one, whatever its index is.
            on.push(((is_stamp(&input), index), input, ScanElement::parse(&read("type")?)?));
        }
    }
    on.sort_by_key(|(place, ..)| *place);
    let is_off = |input: &&Input<'_>| on.iter().all(|(_, one, _)| one.base != input.base);
    // Without names, all are wanted that can be had.
    if let Some(missing) = chosen.iter().find(is_off).filter(|_| !wanted.elements.is_empty()) {
        return Err(format!(
            "its buffer is on without {}: name the elements that are to be captured, or switch \
             the buffer off first",
            missing.shown()
        ));
    }
    let elements: Vec<ScanElement> = on.iter().map(|(.., element)| *element).collect();
    let layout = Layout::new(&elements)?;
    // As the scan for the polled reader has it (`found/scan.rs`).
    let level = Levels::default().level(&device.chars().take(32).collect::<String>());
    let prefix = wanted.prefix.clone().unwrap_or_else(|| format!("iio/{level}"));
    let mut levels = Levels::default();
    let (mut columns, mut stamp) = (Vec::new(), None);
    for ((_, input, element), start) in on.iter().zip(layout.starts) {
        if is_stamp(input) {
            let clock = stamps::clock(folder.line("current_timestamp_clock")?.as_deref());
            stamp = clock.map(|clock| (start, *element, clock));
            continue;
        }
        if chosen.iter().all(|one| one.base != input.base) {
            continue;
        }
        let number = |what| match shared(&own, input, what) {
            Some(file) => folder.number(&file),
            None => Ok(None),
        };
        let (scale, offset) = (number("scale")?, number("offset")?.unwrap_or(0.0));
        let label = folder.line(&format!("{}_label", input.base)).ok().flatten();
        let name = format!("{prefix}/{}", levels.level(input.shown()));
        for value in 0..element.values() {
            // The parts of a rotation have a level each: x, y, z, w as 0 to 3.
            let name = if element.values() > 1 { format!("{name}/{value}") } else { name.clone() };
            let described = input.describe(&name, device, label.as_deref(), scale.is_some());
            let (mut channel, factor) =
                described.ok_or_else(|| format!("{name} is no channel's name"))?;
            channel.kind = if input.is_text() { Kind::Gauge } else { channel.kind };
            let (start, scale) = (start + value * element.bytes(), scale.unwrap_or(1.0));
            columns.push(Column { channel, start, element: *element, offset, scale, factor });
        }
    }
    Ok((columns, stamp, layout.size))
}
