//! What the settings say of channels, whatever their source says: a label, a
//! unit, a scale, how often.
//!
//! A channel's *terms* (`hub/terms.rs`) are what comes of its rules in a hub.

use std::{borrow::Cow, time::Duration};

use super::{Channel, ChannelName, Filter, Value};

/// What one `[[channel]]` table of the settings says of the channels that its
/// filter matches. What is `None` stays as the source has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which channels.
    pub filter: Filter,
    /// A name for people. An empty one takes away the source's.
    pub label: Option<String>,
    /// The SenML unit, after scaling. An empty one takes away the source's.
    pub unit: Option<String>,
    /// Numbers are multiplied by this,
    pub scale: Option<f64>,
    /// and then this is added. What was read before a rule came, or changed,
    /// stays as it was: the latest value until the next one, and history.
    pub offset: Option<f64>,
    /// The least value that is possible or normal, after scaling. Without it
    /// the source's is scaled.
    pub min: Option<f64>,
    /// The greatest value that is possible or normal, after scaling. Without
    /// it the source's is scaled.
    pub max: Option<f64>,
    /// After how long without a reading the channel is stale. Without it: as
    /// its source says, but not before `every`, or `idle_every` while that
    /// counts, has passed three times.
    pub stale_after: Option<Duration>,
    /// The channel is not taken at all: it is not declared, has no history,
    /// and its values are dropped. One that was there before is gone.
    pub hide: Option<bool>,
    /// At most one reading in this time, to within a twentieth of it: a sensor
    /// that is read each second is not in step to the millisecond. Readings of
    /// instants before the last one that was taken are dropped; the first good
    /// one after a failure is always taken.
    pub every: Option<Duration>,
    /// The same, while nobody [watches](super::Hub::watch) the channel.
    pub idle_every: Option<Duration>,
}

/// The rules of all channels; where two speak of the same thing, the later one
/// counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    /// All that is said of a channel, as one rule; `None` when nothing is.
    pub(super) fn of(&self, name: &ChannelName) -> Option<Rule> {
        let mut matching = self.0.iter().filter(|rule| rule.filter.matches(name));
        let first = matching.next()?.clone();
        Some(matching.cloned().fold(first, |said, later| later.over(said)))
    }
}

impl Rule {
    /// A rule for these channels that says nothing so far.
    pub fn new(filter: Filter) -> Self {
        Self {
            filter,
            label: None,
            unit: None,
            scale: None,
            offset: None,
            min: None,
            max: None,
            stale_after: None,
            hide: None,
            every: None,
            idle_every: None,
        }
    }

    /// This rule, and what only the earlier one says.
    fn over(self, earlier: Self) -> Self {
        Self {
            filter: self.filter,
            label: self.label.or(earlier.label),
            unit: self.unit.or(earlier.unit),
            scale: self.scale.or(earlier.scale),
            offset: self.offset.or(earlier.offset),
            min: self.min.or(earlier.min),
            max: self.max.or(earlier.max),
            stale_after: self.stale_after.or(earlier.stale_after),
            hide: self.hide.or(earlier.hide),
            every: self.every.or(earlier.every),
            idle_every: self.idle_every.or(earlier.idle_every),
        }
    }

    pub(super) fn hides(&self) -> bool {
        self.hide == Some(true)
    }

    /// The time between two readings that are taken; zero: all are.
    pub(super) fn pace(&self, watched: bool) -> Duration {
        let every = self.every.unwrap_or_default();
        if watched { every } else { every.max(self.idle_every.unwrap_or_default()) }
    }

    /// The description that its source gave, as readers are told it.
    pub(super) fn describe(&self, declared: &Channel) -> Channel {
        let text = |rule: &Option<String>, own: &Option<Cow<'static, str>>| match rule {
            Some(text) => (!text.is_empty()).then(|| Cow::from(text.clone())),
            None => own.clone(),
        };
        let mut ends = [declared.min, declared.max].map(|end| self.scaled(end?).as_f64());
        if self.scale.is_some_and(|scale| scale < 0.0) {
            ends.reverse();
        }
        let pace = self.pace(true).saturating_mul(3);
        Channel {
            name: declared.name.clone(),
            kind: declared.kind,
            label: text(&self.label, &declared.label),
            unit: text(&self.unit, &declared.unit),
            min: self.min.or(ends[0]),
            max: self.max.or(ends[1]),
            stale_after: self.stale_after.or(declared.stale_after.map(|own| own.max(pace))),
            single_precision: declared.single_precision,
        }
    }

    /// Scales the numbers among these values; what is then none is null.
    pub(super) fn scale(&self, values: &mut [Value]) {
        if self.scale.is_none() && self.offset.is_none() {
            return;
        }
        for value in values {
            if let Value::Number(number) = value {
                *value = self.scaled(*number);
            }
        }
    }

    fn scaled(&self, number: f64) -> Value {
        Value::from(number * self.scale.unwrap_or(1.0) + self.offset.unwrap_or_default())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A rule that says nothing so far.
    pub(crate) fn rule(filter: &str) -> Rule {
        Rule::new(Filter::parse(filter).expect("valid"))
    }

    fn name(text: &str) -> ChannelName {
        ChannelName::new(text).expect("valid")
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_later_rule_counts_field_by_field() {
        let rules = Rules(vec![
            Rule { every: Some(SECOND), hide: Some(true), ..rule("room/#") },
            Rule { unit: Some("Cel".into()), scale: Some(2.0), ..rule("+/temp") },
            Rule { hide: Some(false), scale: Some(3.0), ..rule("room/temp") },
        ]);
        let said = rules.of(&name("room/temp")).expect("said");
        let expected = Rule {
            every: Some(SECOND),
            hide: Some(false),
            unit: Some("Cel".into()),
            scale: Some(3.0),
            ..rule("room/temp")
        };
        assert_eq!(said, expected);
        assert!(rules.of(&name("room/door")).is_some_and(|rule| rule.hides()));
        assert!(!rules.of(&name("other/temp")).is_some_and(|rule| rule.hides()));
        assert_eq!(rules.of(&name("other/door")), None);
    }

    #[test]
    fn a_description_is_what_the_source_says_where_no_rule_does() {
        let declared = Channel::gauge("a").expect("valid").unit("V").label("A").range(-1.0, 2.0);
        let declared = declared.stale_after(SECOND).single_precision();
        assert_eq!(rule("a").describe(&declared), declared);
        let all = Rule {
            label: Some("Own".into()),
            unit: Some("Cel".into()),
            min: Some(7.0),
            max: Some(9.0),
            stale_after: Some(SECOND * 2),
            every: Some(SECOND * 60),
            ..rule("a")
        };
        let own = declared.clone().label("Own").unit("Cel").range(7.0, 9.0);
        assert_eq!(all.describe(&declared), own.stale_after(SECOND * 2));
        let nothing = Rule { label: Some(String::new()), unit: Some(String::new()), ..rule("a") };
        let bare = nothing.describe(&declared);
        assert_eq!((bare.label, bare.unit), (None, None));
    }

    #[test]
    fn the_ends_of_a_range_are_scaled_and_stay_in_their_order() {
        let declared = Channel::gauge("a").expect("valid").range(0.0, 10.0);
        let ends = |scale: f64, offset: f64, max: Option<f64>| {
            let rule = Rule { scale: Some(scale), offset: Some(offset), max, ..rule("a") };
            let described = rule.describe(&declared);
            (described.min, described.max)
        };
        assert_eq!(ends(1.8, 32.0, None), (Some(32.0), Some(50.0)));
        assert_eq!(ends(-1.0, 5.0, None), (Some(-5.0), Some(5.0)));
        assert_eq!(ends(-1.0, 5.0, Some(1.0)), (Some(-5.0), Some(1.0)));
        assert_eq!(ends(f64::MAX, 0.0, None), (Some(0.0), None), "no number has no place");
    }

    #[test]
    fn stale_follows_the_pace_unless_a_rule_says_when() {
        let declared = Channel::gauge("a").expect("valid");
        let rule = Rule { every: Some(SECOND * 60), idle_every: Some(SECOND * 600), ..rule("a") };
        assert_eq!(rule.describe(&declared).stale_after, None, "it never is");
        let declared = declared.stale_after(SECOND * 3);
        assert_eq!(rule.describe(&declared).stale_after, Some(SECOND * 180));
        let never = Rule { every: Some(Duration::MAX), ..rule.clone() };
        assert_eq!(never.describe(&declared).stale_after, Some(Duration::MAX));
        let slow = declared.clone().stale_after(SECOND * 300);
        assert_eq!(rule.describe(&slow).stale_after, Some(SECOND * 300));
    }

    #[test]
    fn numbers_are_scaled_and_nothing_else() {
        let texts = || [Value::from(true), Value::from("x"), Value::Null];
        let scale = |rule: Rule, number: f64| {
            let [a, b, c] = texts();
            let mut values = [Value::from(number), a, b, c];
            rule.scale(&mut values);
            assert_eq!(values[1..], texts());
            values[0].clone()
        };
        assert_eq!(scale(Rule { scale: Some(2.0), ..rule("a") }, 1.5), Value::Number(3.0));
        assert_eq!(scale(Rule { offset: Some(2.0), ..rule("a") }, 1.5), Value::Number(3.5));
        let both = Rule { scale: Some(1.8), offset: Some(32.0), ..rule("a") };
        assert_eq!(scale(both, 100.0), Value::Number(212.0));
        assert_eq!(scale(Rule { scale: Some(1e300), ..rule("a") }, 1e300), Value::Null);
        assert_eq!(scale(rule("a"), 1.5), Value::Number(1.5));
    }
}
