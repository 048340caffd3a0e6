//! Topics, and filters with wildcards (MQTT 5 section 4.7).
//!
//! ```text
//! zigbee2mqtt/+          one level
//! tele/+/SENSOR
//! shellies/#             all levels that follow, and none
//! $share/fleet/b/+/data  one of several clients gets each: filter "b/+/data"
//! ```

use crate::error::{Error, Result};

/// The longest topic or filter, in bytes: the protocol's.
const LONGEST: usize = 65_535;

/// Whether it can be published to: not empty, no wildcards, no NUL.
pub fn is_topic(text: &str) -> bool {
    !text.is_empty() && text.len() <= LONGEST && !text.contains(['+', '#', '\0'])
}

/// A filter of topics, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// What the wildcards of a filter matched, in their order; that of `#` may
/// have several levels, or none.
pub type Captures<'a> = Vec<&'a str>;

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`Error::Filter`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Err(Error::Filter(format!("{text:?} is no filter of MQTT topics: {why}")));
        if text.is_empty() || text.len() > LONGEST || text.contains('\0') {
            return refuse("it has 1 to 65535 bytes, and no NUL");
        }
        let matched = match text.strip_prefix("$share/") {
            None => text,
            Some(shared) => match shared.split_once('/') {
                Some((name, filter))
                    if !name.is_empty() && !name.contains(['+', '#']) && !filter.is_empty() =>
                {
                    filter
                }
                _ => return refuse("a shared one is $share/NAME/FILTER"),
            },
        };
        let mut levels = matched.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.len() > 1 && level.contains(['+', '#']) {
                return refuse("+ and # stand for whole levels, as in a/+/c or a/#");
            }
            if level == "#" && levels.peek().is_some() {
                return refuse("# is its last level");
            }
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many wildcards it has.
    pub fn wildcards(&self) -> usize {
        self.levels().filter(|level| matches!(*level, "+" | "#")).count()
    }

    /// Whether a topic is one of those that it means.
    pub fn matches(&self, topic: &str) -> bool {
        self.walk(topic, |_| {})
    }

    /// What its wildcards match in a topic; `None` when the filter does not
    /// mean it.
    pub fn captures<'a>(&self, topic: &'a str) -> Option<Captures<'a>> {
        let mut found = Vec::new();
        self.walk(topic, |part| found.push(part)).then_some(found)
    }

    fn levels(&self) -> impl Iterator<Item = &str> {
        let shared = self.0.strip_prefix("$share/").and_then(|shared| shared.split_once('/'));
        shared.map_or(&*self.0, |(_, filter)| filter).split('/')
    }

    fn walk<'a>(&self, topic: &'a str, mut found: impl FnMut(&'a str)) -> bool {
        let mut rest = Some(topic);
        for (place, level) in self.levels().enumerate() {
            // The broker's own topics are meant by those who name them (4.7.2).
            let own = place == 0 && topic.starts_with('$');
            if level == "#" {
                found(rest.unwrap_or_default());
                return !own;
            }
            let Some(text) = rest else { return false };
            let (first, more) = text.split_once('/').map_or((text, None), |(a, b)| (a, Some(b)));
            match level {
                "+" if !own => found(first),
                level if level == first => {}
                _ => return false,
            }
            rest = more;
        }
        rest.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_means_topics_and_its_wildcards_catch_levels() {
        for (filter, topic, found) in [
            ("a/b", "a/b", Some(&[][..])),
            ("a/b", "a/c", None),
            ("a/b", "a/b/c", None),
            ("a/b/c", "a/b", None),
            ("a/+/c", "a/x/c", Some(&["x"][..])),
            ("+/+", "/x", Some(&["", "x"][..])),
            ("a/+", "a", None),
            ("a/+", "a/", Some(&[""][..])),
            ("a/#", "a/b/c", Some(&["b/c"][..])),
            ("a/#", "a", Some(&[""][..])),
            ("a/#", "ab", None),
            ("#", "a/b", Some(&["a/b"][..])),
            ("#", "$SYS/x", None),
            ("+/x", "$SYS/x", None),
            ("$SYS/+", "$SYS/x", Some(&["x"][..])),
            ("+/a/#", "x/a/b/c", Some(&["x", "b/c"][..])),
            ("$share/g/a/+", "a/b", Some(&["b"][..])),
        ] {
            let read = Filter::parse(filter).expect(filter);
            assert_eq!(read.captures(topic).as_deref(), found, "{filter} {topic}");
            assert_eq!(read.matches(topic), found.is_some());
            if let Some(found) = found {
                assert_eq!(read.wildcards(), found.len());
            }
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_the_mend() {
        for (text, mend) in [
            ("", "bytes"),
            ("a\0", "NUL"),
            ("a/b+", "whole levels"),
            ("a#", "whole levels"),
            ("a/#/b", "last"),
            ("$share/g", "$share/NAME"),
            ("$share//a", "$share/NAME"),
            ("$share/+/a", "$share/NAME"),
        ] {
            let error = Filter::parse(text).expect_err(text).to_string();
            assert!(error.contains(mend), "{error}");
        }
        assert!(is_topic("a/b") && !is_topic("a/+") && !is_topic("") && !is_topic("a\0"));
    }
}
