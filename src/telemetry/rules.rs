//! What the settings say of channels, whatever their source says: a label, a
//! unit, a scale, how often.

use std::time::Duration;

use super::Filter;

/// What one `[[channel]]` table of the settings says of the channels that its
/// filter matches. What is `None` stays as the source has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which channels.
    pub filter: Filter,
    /// A name for people.
    pub label: Option<String>,
    /// The SenML unit, after scaling.
    pub unit: Option<String>,
    /// Numbers are multiplied by this,
    pub scale: Option<f64>,
    /// and then this is added.
    pub offset: Option<f64>,
    /// The least value that is possible or normal, after scaling.
    pub min: Option<f64>,
    /// The greatest value that is possible or normal, after scaling.
    pub max: Option<f64>,
    /// After how long without a reading the channel is stale.
    pub stale_after: Option<Duration>,
    /// The channel is not taken at all.
    pub hide: Option<bool>,
    /// At most one reading in this time.
    pub every: Option<Duration>,
    /// The same, while nobody watches the channel.
    pub idle_every: Option<Duration>,
}

/// The rules of all channels; where two speak of the same thing, the later one
/// counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);
