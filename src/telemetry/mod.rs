//! The data: channels, their values, and the hub through which all readings go.
//!
//! ```text
//!  Publisher ──publish(Batch)──▶ Hub ─┬─ latest value of every channel
//!                                  ├─ ring of the last batches, with a seq each
//!                                  ├─ descriptions, with a version
//!                                  └─ history: least, mean, greatest, three resolutions
//! ```
//!
//! Nothing here knows a socket or an encoding: a reader takes a [`View`] and
//! hands in what turns a batch into bytes.

mod batch;
mod channel;
mod filter;
mod history;
mod hub;
mod ring;
mod rules;
mod time;
mod value;

pub(crate) use self::channel::allowed;
#[cfg(any(test, fuzzing))]
pub(crate) use self::history::fuzzing as history_fuzzing;
#[cfg(test)]
pub(crate) use self::rules::tests::rule;
pub use self::{
    batch::Batch,
    channel::{Channel, ChannelId, ChannelName, Kind, Levels, MAX_LEVELS, MAX_NAME, Status},
    filter::{Filter, Filters, MAX_FILTERS},
    history::{Archive, History, Keeper, Loaded, Plan, Summary},
    hub::{
        ChannelState, DeviceId, DeviceState, DeviceStatus, Devices, FleetBounds, FleetMut, Hub,
        HubSettings, Interest, Origin, Publisher, Run, Told, View, Wall, What,
    },
    rules::{Rule, Rules},
    time::{BootTime, Clock, SystemClock},
    value::{MAX_TEXT, Value},
};
