//! Levels for things that come and go: interfaces, thermal zones.

use std::collections::BTreeMap;

use crate::telemetry::Levels;

/// The level of each thing that is there. A thing keeps its level while it is
/// there, whatever comes or goes beside it; then the level is free again, so
/// that the table never grows beyond what is there (a container host names
/// new interfaces all day).
#[derive(Debug)]
pub(in crate::sources) struct Names<K> {
    levels: BTreeMap<K, String>,
}

impl<K> Default for Names<K> {
    fn default() -> Self {
        Self { levels: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Names<K> {
    /// Takes note of what is there now: a key and a foreign name for each.
    /// Where foreign names collide, the earlier newcomer gets the plain level.
    pub(in crate::sources) fn update<'a, I>(&mut self, present: I)
    where
        K: 'a,
        I: Iterator<Item = (&'a K, &'a str)> + Clone,
    {
        let mut old = std::mem::take(&mut self.levels);
        let mut levels = Levels::default();
        // A level is its own level again: kernel names are far shorter than
        // what `Levels` cuts (interfaces 15 bytes, zone types 19).
        for (key, _) in present.clone() {
            if let Some(level) = old.remove(key) {
                self.levels.insert(key.clone(), levels.level(&level));
            }
        }
        for (key, foreign) in present {
            self.levels.entry(key.clone()).or_insert_with(|| levels.level(foreign));
        }
    }

    /// The level of a thing that was there at the last update.
    pub(in crate::sources) fn level(&self, key: &K) -> Option<&str> {
        self.levels.get(key).map(String::as_str)
    }

    /// All levels.
    pub(in crate::sources) fn levels(&self) -> impl Iterator<Item = &str> {
        self.levels.values().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(names: &mut Names<u32>, present: &[(u32, &str)]) -> Vec<String> {
        names.update(present.iter().map(|(key, name)| (key, *name)));
        names.levels().map(str::to_owned).collect()
    }

    #[test]
    fn a_level_is_kept_while_its_thing_is_there() {
        let mut names = Names::default();
        assert_eq!(update(&mut names, &[(1, "a b"), (2, "a+b")]), ["a_b", "a_b_2"]);
        assert_eq!(update(&mut names, &[(2, "a+b")]), ["a_b_2"]);
        assert_eq!(update(&mut names, &[(0, "a=b"), (2, "a+b")]), ["a_b", "a_b_2"]);
        assert_eq!(names.level(&1), None);
    }

    #[test]
    fn an_own_name_that_looks_like_a_numbered_one_collides_with_nothing() {
        let mut names = Names::default();
        assert_eq!(update(&mut names, &[(1, "x:"), (2, "x;")]), ["x_", "x__2"]);
        assert_eq!(update(&mut names, &[(1, "x:"), (2, "x;"), (3, "x__2")])[2], "x__2_2");
    }
}
