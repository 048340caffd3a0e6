//! What the settings say of the way out.

use std::path::PathBuf;

use crate::{
    error::{Error, Result},
    mqtt::{Broker, Qos, Secret},
    telemetry::{Filter, Filters},
    wire::subscribe::Pace,
};

/// Which broker, which channels, as what; each as its setting says it.
#[derive(Clone, Debug, PartialEq)]
pub struct UplinkSettings {
    /// Where readings are published; `None`: nowhere, and nothing else counts.
    pub broker: Option<Broker>,
    /// The file whose first line is the password; `None`: that of the address,
    /// or the service manager's, if it passed one.
    pub password_file: Option<PathBuf>,
    /// Certificates (PEM) that are trusted in place of the system's.
    pub authority: Option<PathBuf>,
    /// Whom the broker knows the board as; `None`: `boardcast-` and its name.
    pub client_id: Option<String>,
    /// The first levels of every topic.
    pub prefix: String,
    /// How surely messages arrive.
    pub qos: Qos,
    /// The channels that are published; empty: all.
    pub channels: Vec<Filter>,
    /// At most so many messages with readings a second; `None`: every batch.
    pub max_hz: Option<Pace>,
    /// The channels that have a topic of their own, too.
    pub per_channel: Vec<Filter>,
    /// The channels that Home Assistant is told of; they have a topic, too.
    pub home_assistant: Vec<Filter>,
    /// The first levels of Home Assistant's topics.
    pub home_assistant_prefix: String,
}

impl Default for UplinkSettings {
    fn default() -> Self {
        Self {
            broker: None,
            password_file: None,
            authority: None,
            client_id: None,
            prefix: "boardcast".into(),
            qos: Qos::AtMostOnce,
            channels: Vec::new(),
            max_hz: None,
            per_channel: Vec::new(),
            home_assistant: Vec::new(),
            home_assistant_prefix: "homeassistant".into(),
        }
    }
}

/// The filters of one setting.
fn filters(name: &str, list: &[Filter]) -> Result<Filters> {
    let parsed = Filters::parse(list.iter().map(Filter::as_str));
    parsed.map_err(|error| Error::Setting(format!("{name}: {error}")))
}

impl UplinkSettings {
    /// What [`channels`](Self::channels) selects.
    ///
    /// # Errors
    /// [`Error::Setting`] when there are too many filters, here and below.
    pub fn published(&self) -> Result<Filters> {
        match &*self.channels {
            [] => Ok(Filters::all()),
            list => filters("mqtt_channels", list),
        }
    }

    /// What [`per_channel`](Self::per_channel) selects.
    ///
    /// # Errors
    /// As above.
    pub fn alone(&self) -> Result<Filters> {
        filters("mqtt_per_channel", &self.per_channel)
    }

    /// What [`home_assistant`](Self::home_assistant) selects.
    ///
    /// # Errors
    /// As above.
    pub fn announced(&self) -> Result<Filters> {
        filters("mqtt_home_assistant", &self.home_assistant)
    }

    /// Whether the settings go together.
    ///
    /// # Errors
    /// [`Error::Setting`] says what to change.
    pub fn check(&self) -> Result<()> {
        self.published()?;
        self.alone()?;
        self.announced().map(drop)
    }

    /// How many descriptors it takes: a socket, what wakes its thread, and a
    /// file while it is read.
    pub fn descriptors(&self) -> usize {
        if self.broker.is_some() { 3 } else { 0 }
    }

    /// The file of the password: the one that is named, or the one that the
    /// service manager has passed by `LoadCredential=boardcast.mqtt:PATH`
    /// (systemd.exec(5), "Credentials").
    pub fn password_path(&self) -> Option<PathBuf> {
        let passed = || {
            let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
            Some(PathBuf::from(folder).join("boardcast.mqtt")).filter(|path| path.exists())
        };
        self.password_file.clone().or_else(passed)
    }

    /// The password, where it is not in the address.
    ///
    /// # Errors
    /// As of [`Secret::read`].
    pub fn password(&self) -> Result<Option<Secret>> {
        self.password_path().map(|path| Secret::read(&path)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_channels_are_all_and_too_many_filters_are_told_with_their_setting() {
        let mut settings = UplinkSettings::default();
        assert_eq!(settings.published().expect("fine"), Filters::all());
        assert!(settings.announced().expect("fine").is_empty());
        let filter = |n| Filter::parse(&format!("a/{n}")).expect("valid");
        settings.per_channel = (0..65).map(filter).collect();
        let why = settings.check().expect_err("too many").to_string();
        assert!(why.contains("mqtt_per_channel") && why.contains("64"), "{why}");
    }
}
