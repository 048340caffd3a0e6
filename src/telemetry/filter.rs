//! Filters select channels by name, with the wildcards of MQTT (version 5.0,
//! section 4.7).
//!
//! ```text
//! cpu/usage         that channel
//! +/temperature     cpu/temperature, room/temperature; not room/a/temperature
//! cpu/#             cpu, cpu/usage, cpu/core0/usage
//! #                 every channel
//! ```

use std::fmt;

use super::{ChannelName, MAX_LEVELS, MAX_NAME};
use crate::error::{Error, Result};

/// The most filters of one subscription.
pub const MAX_FILTERS: usize = 64;

/// One filter: levels joined by `/`, of which `+` stands for exactly one level
/// and `#`, as the last one, for any number of levels, none included.
///
/// ```
/// # use boardcast::telemetry::{ChannelName, Filter};
/// # fn main() -> boardcast::Result<()> {
/// let filter = Filter::parse("cpu/#")?;
/// assert!(filter.matches(&ChannelName::new("cpu/core0/usage")?));
/// assert!(filter.matches(&ChannelName::new("cpu")?));
/// assert!(!filter.matches(&ChannelName::new("cpus/usage")?));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(Box<str>);

impl Filter {
    /// Checks a filter: at most 8 levels and 128 bytes, wildcards only as
    /// whole levels, `#` only as the last.
    ///
    /// # Errors
    /// [`Error::Filter`] names the rule that it breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| {
            // Enough to know it again: what cannot be shown is ten times as long as it was.
            let start: String = text.chars().take(40).collect();
            Err(Error::Filter(format!("filter {start:?}: {why}")))
        };
        if text.len() > MAX_NAME {
            return refuse("longer than 128 bytes");
        }
        if text.split('/').count() > MAX_LEVELS {
            return refuse("more than 8 levels");
        }
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "" => return refuse("an empty level; write it as in cpu/# or +/temperature"),
                "#" if levels.peek().is_some() => return refuse("# may only be the last level"),
                "#" | "+" => {}
                name if name.contains(['#', '+']) => {
                    return refuse("a wildcard is a whole level: cpu/+, not cpu/core+");
                }
                name if !name.bytes().all(super::channel::allowed) => {
                    return refuse("a level may hold A-Z a-z 0-9 . _ - only, or be + or #");
                }
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Whether it selects this channel. Linear in the lengths of both.
    pub fn matches(&self, name: &ChannelName) -> bool {
        let mut names = name.as_str().split('/');
        for level in self.0.split('/') {
            match (level, names.next()) {
                ("#", _) => return true,
                ("+", Some(_)) => {}
                (level, Some(name)) if level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a subscription selects: at most 64 filters, sorted and each once, so
/// that equal subscriptions are equal here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filters(Box<[Filter]>);

impl Filters {
    /// Selects every channel: `#`.
    pub fn all() -> Self {
        Self([Filter("#".into())].into())
    }

    /// Checks a list of filters. An empty one selects nothing.
    ///
    /// # Errors
    /// [`Error::Filter`] when there are more than 64, or one breaks a rule.
    pub fn parse<T: AsRef<str>>(list: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut filters = Vec::new();
        for text in list {
            if filters.len() == MAX_FILTERS {
                return Err(Error::Filter("more than 64 filters; use wildcards".into()));
            }
            filters.push(Filter::parse(text.as_ref())?);
        }
        filters.sort();
        filters.dedup();
        Ok(Self(filters.into()))
    }

    /// Parses filters that are separated by commas, as a query has them:
    /// `cpu/#,+/temperature`.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_list(text: &str) -> Result<Self> {
        Self::parse(text.split(',').filter(|part| !part.is_empty()))
    }

    /// Whether one of the filters selects this channel.
    pub fn matches(&self, name: &ChannelName) -> bool {
        self.0.iter().any(|filter| filter.matches(name))
    }

    /// Whether it selects nothing, whatever channels there are.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The filters, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &Filter> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).expect(text)
    }

    #[test]
    fn wildcards_stand_for_whole_levels() {
        let table = [
            ("cpu/usage", "cpu/usage", true),
            ("cpu/usage", "cpu/usages", false),
            ("cpu/usage", "cpu", false),
            ("cpu/+", "cpu/usage", true),
            ("cpu/+", "cpu/core0/usage", false),
            ("cpu/+", "cpu", false),
            ("+", "cpu", true),
            ("+", "cpu/usage", false),
            ("+/+/usage", "cpu/core0/usage", true),
            ("+/temperature", "room/temperature", true),
            ("cpu/#", "cpu", true),
            ("cpu/#", "cpu/core0/usage", true),
            ("cpu/#", "cpus/usage", false),
            ("+/#", "cpu", true),
            ("#", "anything/at/all", true),
        ];
        for (filter, channel, expected) in table {
            let matches = Filter::parse(filter).expect(filter).matches(&name(channel));
            assert_eq!(matches, expected, "{filter} and {channel}");
        }
    }

    #[test]
    fn bad_filters_are_refused_with_the_rule() {
        let long = "x".repeat(129);
        let table = [
            ("", "empty level"),
            ("cpu/", "empty level"),
            ("/cpu", "empty level"),
            ("cpu//usage", "empty level"),
            ("#/usage", "last level"),
            ("cpu/#/usage", "last level"),
            ("cpu/co+", "whole level"),
            ("cpu#", "whole level"),
            ("cpu usage", "A-Z"),
            ("café", "A-Z"),
            ("a/b/c/d/e/f/g/h/#", "8 levels"),
            (&long, "128 bytes"),
        ];
        for (filter, rule) in table {
            let error = Filter::parse(filter).expect_err(filter).to_string();
            assert!(error.contains(rule), "{filter}: {error}");
        }
    }

    #[test]
    fn equal_subscriptions_are_equal() {
        let one = Filters::parse_list("cpu/#,mem/used,,cpu/#").expect("fine");
        let other = Filters::parse(["mem/used", "cpu/#"]).expect("fine");
        assert_eq!(one, other);
        assert_eq!(one.iter().map(Filter::as_str).collect::<Vec<_>>(), ["cpu/#", "mem/used"]);
        assert!(Filters::parse_list("").expect("fine").is_empty());
        assert!(Filters::parse(vec!["a"; 65]).expect_err("too many").to_string().contains("64"));
    }

    /// A second way to say what a filter means: by recursion over lists, as
    /// the standard's sentences have it, without a word in common with ours.
    fn oracle(filter: &[&str], name: &[&str]) -> bool {
        match (filter, name) {
            (["#"], _) => true,
            ([], []) => true,
            (["+", filter @ ..], [_, name @ ..]) => oracle(filter, name),
            ([level, filter @ ..], [first, name @ ..]) => level == first && oracle(filter, name),
            _ => false,
        }
    }

    #[test]
    fn random_filters_match_as_the_oracle_says() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let mut hits = 0;
        for _ in 0..200_000 {
            let words = ["a", "b", "aa", "+"];
            let mut filter: Vec<&str> = (0..random(5)).map(|_| words[random(4)]).collect();
            if filter.is_empty() || random(3) == 0 {
                filter.push("#");
            }
            let channel: Vec<&str> = (0..=random(5)).map(|_| words[random(3)]).collect();
            let expected = oracle(&filter, &channel);
            let parsed = Filter::parse(&filter.join("/")).expect("valid");
            assert_eq!(
                parsed.matches(&name(&channel.join("/"))),
                expected,
                "{filter:?} {channel:?}"
            );
            hits += usize::from(expected);
        }
        assert!((10_000..190_000).contains(&hits), "{hits} hits: the test tells nothing");
    }
}
