//! The topics of one board.

use crate::telemetry::{ChannelName, Levels};

/// Where things are published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Topics {
    /// The board's name as one level.
    pub(super) level: String,
    pub(super) data: String,
    pub(super) channels: String,
    pub(super) latest: String,
    pub(super) status: String,
    /// All before the name of a channel.
    value: String,
    /// Where Home Assistant looks for the board.
    pub(super) discovery: String,
    /// What that calls the board.
    pub(super) id: String,
    /// Where it says that it has started.
    pub(super) birth: String,
}

impl Topics {
    /// The topics of the board of this name, below these prefixes.
    pub(super) fn new(prefix: &str, home_assistant: &str, device: &str) -> Self {
        let level = Levels::default().level(device);
        let of = |name: &str| format!("{prefix}/{level}/{name}");
        // What its topic may hold: [a-zA-Z0-9_-].
        let id = format!("boardcast_{}", level.replace('.', "_"));
        Self {
            data: of("data"),
            channels: of("channels"),
            latest: of("latest"),
            status: of("status"),
            value: of("value/"),
            discovery: format!("{home_assistant}/device/{id}/config"),
            birth: format!("{home_assistant}/status"),
            id,
            level,
        }
    }

    /// Where the value of a channel stands by itself.
    pub(super) fn value(&self, channel: &ChannelName) -> String {
        format!("{}{channel}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::is_topic;

    #[test]
    fn a_board_is_one_level_whatever_its_name() {
        for (device, level) in
            [("pi-kitchen", "pi-kitchen"), ("Küche/+ #1", "K_che____1"), ("a.b", "a.b")]
        {
            let topics = Topics::new("home/boards", "ha", device);
            assert_eq!(topics.data, format!("home/boards/{level}/data"));
            let channel = ChannelName::new("cpu/core0/usage").expect("valid");
            let value = topics.value(&channel);
            assert_eq!(value, format!("home/boards/{level}/value/cpu/core0/usage"));
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
            assert!(topics.id.bytes().all(known), "{}", topics.id);
            assert_eq!(topics.discovery, format!("ha/device/{}/config", topics.id));
            assert!(
                [&value, &topics.status, &topics.discovery].iter().all(|topic| is_topic(topic))
            );
        }
    }
}
