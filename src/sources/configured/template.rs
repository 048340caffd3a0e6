//! How a topic becomes the name of a channel, or what goes before the names of
//! several.
//!
//! ```text
//! zigbee/{1}      what the first wildcard of the filter matched
//! {1}/{2}
//! {topic}         all of it; so it is without a template
//! ```
//!
//! What is not allowed in a channel's name becomes `_`.

use crate::{
    error::{Error, Result},
    mqtt::Filter,
    telemetry::{ChannelName, allowed},
};

/// A name with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What this wildcard matched, from 0.
    Wildcard(usize),
    Topic,
}

impl Default for Template {
    fn default() -> Self {
        Self(vec![Part::Topic])
    }
}

impl Template {
    /// Reads a template that is for topics of these filters.
    ///
    /// # Errors
    /// [`Error::Setting`] says what is wrong with it.
    pub fn parse(text: &str, filters: &[Filter]) -> Result<Self> {
        let refuse = |why: String| Err(Error::Setting(format!("channel {text:?}: {why}")));
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            let Some((hole, behind)) = behind.split_once('}') else {
                return refuse("a { has no }: write it as in zigbee/{1}".into());
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(match (hole, hole.parse::<usize>()) {
                ("topic", _) => Part::Topic,
                (_, Ok(number @ 1..)) => Part::Wildcard(number - 1),
                _ => return refuse(format!("there is no {{{hole}}}: use {{topic}}, {{1}}, {{2}}")),
            });
            rest = behind;
        }
        parts.push(Part::Text(rest.to_owned()));
        let template = Self(parts);
        for filter in filters {
            let has = filter.wildcards();
            let wants = |part: &Part| match part {
                Part::Wildcard(number) if *number >= has => Some(number + 1),
                _ => None,
            };
            if let Some(number) = template.0.iter().find_map(wants) {
                let filter = filter.as_str();
                return refuse(format!(
                    "{{{number}}} is what wildcard {number} matched, and {filter:?} has {has}"
                ));
            }
        }
        // As it is with a topic of the shortest kind.
        let most = filters.iter().map(Filter::wildcards).max().unwrap_or(0);
        template.fill(None, "x", &vec!["x"; most]).map(|_| template)
    }

    /// The name for a topic, of which the wildcards have matched so much.
    ///
    /// # Errors
    /// [`Error::Channel`] when it is too long for a channel's name, or has too
    /// many levels.
    pub(super) fn fill(
        &self,
        prefix: Option<&ChannelName>,
        topic: &str,
        matched: &[&str],
    ) -> Result<ChannelName> {
        let mut name = prefix.map_or(String::new(), |prefix| format!("{prefix}/"));
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Wildcard(number) => {
                    push_levels(&mut name, matched.get(*number).copied().unwrap_or_default());
                }
                Part::Topic => push_levels(&mut name, topic),
            }
        }
        ChannelName::new(&name)
    }
}

/// Levels of a topic as levels of a name.
fn push_levels(name: &mut String, topic: &str) {
    let start = name.len();
    for level in topic.split('/') {
        if name.len() > start {
            name.push('/');
        }
        if level.is_empty() {
            name.push('_');
        }
        let fits = |c: char| if c.is_ascii() && allowed(c as u8) { c } else { '_' };
        name.extend(level.chars().map(fits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::parse(text).expect(text)).collect()
    }

    #[test]
    fn a_topic_fills_the_holes_of_a_name() {
        for (template, filter, topic, name) in [
            ("zigbee/{1}", "zigbee2mqtt/+", "zigbee2mqtt/Küche 1", "zigbee/K_che_1"),
            ("{2}/{1}", "tele/+/+", "tele/plug/STATE", "STATE/plug"),
            ("all/{1}", "shellies/#", "shellies/a/relay/0", "all/a/relay/0"),
            ("all/{1}", "shellies/#", "shellies", "all/_"),
            ("p{1}-x", "+/v", "7/v", "p7-x"),
            ("{topic}", "a/b", "a/b", "a/b"),
            ("fixed", "a/b", "a/b", "fixed"),
        ] {
            let filters = filters(&[filter]);
            let read = Template::parse(template, &filters).expect(template);
            let matched = filters[0].captures(topic).expect(topic);
            let filled = read.fill(None, topic, &matched).expect(template);
            assert_eq!(filled.as_str(), name);
        }
        let prefix = ChannelName::new("home").expect("a name");
        let filled = Template::default().fill(Some(&prefix), "a/b", &[]).expect("a name");
        assert_eq!(filled.as_str(), "home/a/b");
        let deep = ["x"; 200].join("/");
        assert!(Template::default().fill(None, &deep, &[]).is_err());
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_mend() {
        for (template, mend) in [
            ("zigbee/{1", "has no }"),
            ("zigbee/{0}", "use {topic}"),
            ("zigbee/{name}", "use {topic}"),
            ("zigbee/{2}", "\"zigbee2mqtt/+\" has 1"),
            ("zig bee", "channel name"),
            ("", "channel name"),
        ] {
            let error = Template::parse(template, &filters(&["zigbee2mqtt/+"]));
            let error = error.expect_err(template).to_string();
            assert!(error.contains(mend), "{error}");
        }
    }
}
