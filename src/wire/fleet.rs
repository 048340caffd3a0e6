//! The messages of a server that speaks for many boards, as the chapter "A
//! fleet" of `docs/protocol.md` specifies them.
//!
//! ```text
//! {"type":"devices","devices":[{"name":"pi1","status":"online","epoch":"9f…","seq":42,"t":1763796001.118}]}
//! {"type":"data","device":"pi1","epoch":"9f…","seq":42,"t":1763796001.118,"values":{"pi1/cpu/usage":13.1}}
//! {"type":"gap","device":"pi1","epoch":"9f…","from":43,"to":60}
//! ```
//!
//! Names are levels of channels, epochs letters and digits
//! ([`is_epoch`]): neither has anything that JSON would have to escape.

use std::fmt::Write;

use super::json::{self, PART_BYTES, millis, text, to_vec};
use crate::telemetry::{Batch, ChannelId, ChannelState, DeviceState, Origin, Run};

/// The longest epoch, in bytes.
const MAX_EPOCH: usize = 64;

/// Whether this can be a device's epoch.
pub fn is_epoch(text: &str) -> bool {
    (1..=MAX_EPOCH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// What is told of a device.
fn description(device: &DeviceState) -> String {
    let DeviceState { name, status, seq, .. } = device;
    let mut out = format!(r#"{{"name":"{name}","status":"{}""#, status.as_str());
    // Writing to memory cannot fail, here and below.
    if let Some(run) = &device.run {
        let _ = write!(out, r#","epoch":"{}""#, run.epoch);
    }
    let _ = write!(out, r#","seq":{seq},"t":"#);
    let _ = match device.t {
        Some(t) => write!(out, "{}", millis(t)),
        None => write!(out, "null"),
    };
    if let Some(reason) = &device.reason {
        out += r#","reason":"#;
        out += &text(to_vec(&**reason));
    }
    out.push('}');
    out
}

/// The `devices` messages for these, and for those that were forgotten, in
/// parts of about [`PART_BYTES`]; none for none.
pub fn devices<'a>(
    devices: impl Iterator<Item = &'a DeviceState>,
    gone: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let gone = gone.map(|name| format!(r#"{{"name":"{name}","status":"gone","seq":0,"t":null}}"#));
    let mut parts: Vec<String> = Vec::new();
    for one in devices.map(description).chain(gone) {
        match parts.last_mut() {
            Some(part) if part.len() + one.len() < PART_BYTES => {
                part.push(',');
                *part += &one;
            }
            _ => parts.push(format!(r#"{{"type":"devices","devices":[{one}"#)),
        }
    }
    parts.iter_mut().for_each(|part| *part += "]}");
    parts
}

/// The body of `/api/devices`.
pub fn device_list(name: &str, epoch: &str, devices: &[DeviceState]) -> String {
    let name = text(to_vec(name));
    let all: Vec<_> = devices.iter().map(description).collect();
    format!(r#"{{"device":{name},"epoch":"{epoch}","devices":[{}]}}"#, all.join(","))
}

/// The selected columns of a device's batch, or of its snapshot.
pub fn data(
    origin: &Origin,
    batch: &Batch,
    channels: &[ChannelState],
    select: &dyn Fn(ChannelId) -> bool,
) -> String {
    json::data_of(Some(origin), origin.seq, origin.t, batch, channels, select)
}

/// The newest values of a device's channels, as [`json::newest`] has them; only
/// of channels that have one. `t` is the instant of the newest.
pub fn newest<'a>(
    run: &Run,
    seq: u64,
    t: f64,
    snapshot: bool,
    mut channels: impl Iterator<Item = &'a ChannelState>,
) -> Vec<String> {
    let whose = format!(r#""device":"{}","epoch":"{}","#, run.name, run.epoch);
    json::newest_of(&whose, seq, millis(t), snapshot, &mut channels)
}

/// These batches of a device did not reach the client: all behind the last
/// that it has, where `from` is not known.
pub fn gap(run: &Run, from: Option<u64>, to: u64) -> String {
    let (name, epoch) = (&run.name, &run.epoch);
    let from = from.map(|from| format!(r#""from":{from},"#)).unwrap_or_default();
    format!(r#"{{"type":"gap","device":"{name}","epoch":"{epoch}",{from}"to":{to}}}"#)
}
