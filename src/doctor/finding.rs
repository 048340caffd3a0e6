//! What a check says, and how all that was said is printed.
//!
//! ```text
//! ok    board    Raspberry Pi 4 Model B Rev 1.4, Linux 6.6.51+rpt-rpi-v8, up 1 d 3 h 26 min
//! warn  1-wire   w1_bus_master1: 28-0316a2794bff has no driver
//!                → sudo modprobe w1-therm
//! ```

use serde_json::json;

use crate::watch::printable;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know; nothing is wrong.
    Note,
    /// Something will not be read, or not for long.
    Warn,
    /// Something is failing now.
    Bad,
}

impl Level {
    /// The word that is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// One thing that was found, and what mends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How much it matters.
    pub level: Level,
    /// What it is, in one sentence.
    pub what: String,
    /// What to do; a command or a line of settings where there is one.
    pub mend: Option<String>,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>) -> Self {
        Self { level, what: what.into(), mend: None }
    }

    pub(super) fn ok(what: impl Into<String>) -> Self {
        Self::new(Level::Ok, what)
    }

    pub(super) fn note(what: impl Into<String>) -> Self {
        Self::new(Level::Note, what)
    }

    pub(super) fn warn(what: impl Into<String>) -> Self {
        Self::new(Level::Warn, what)
    }

    pub(super) fn bad(what: impl Into<String>) -> Self {
        Self::new(Level::Bad, what)
    }

    pub(super) fn mend(self, mend: impl Into<String>) -> Self {
        Self { mend: Some(mend.into()), ..self }
    }
}

/// All findings, in the order of their themes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    findings: Vec<(&'static str, Finding)>,
}

impl Report {
    pub(super) fn add(&mut self, theme: &'static str, findings: Vec<Finding>) {
        self.findings.extend(findings.into_iter().map(|finding| (theme, finding)));
    }

    /// Whether something is to be mended: a warning, or worse.
    pub fn needs_mending(&self) -> bool {
        self.findings.iter().any(|(_, finding)| finding.level >= Level::Warn)
    }

    /// For people: a line for each finding, and one below it for the mend.
    /// What comes from files of the board has no control characters.
    pub fn text(&self) -> String {
        let width = self.findings.iter().map(|(theme, _)| theme.len()).max().unwrap_or_default();
        let mut text = String::new();
        for (theme, finding) in &self.findings {
            let level = finding.level.as_str();
            text += &format!("{level:<4}  {theme:<width$}  {}\n", printable(&finding.what));
            if let Some(mend) = &finding.mend {
                text += &format!("      {:<width$}  → {}\n", "", printable(mend));
            }
        }
        text
    }

    /// For programs: one object on one line,
    /// `{"mend":true,"findings":[{"level":"warn","theme":"clock","what":"…","mend":"…"}]}`;
    /// the inner `mend` is null where there is nothing to do.
    pub fn json(&self) -> String {
        let findings: Vec<_> = self
            .findings
            .iter()
            .map(|(theme, finding)| {
                let Finding { level, what, mend } = finding;
                json!({"level": level.as_str(), "theme": theme, "what": what, "mend": mend})
            })
            .collect();
        format!("{}\n", json!({"mend": self.needs_mending(), "findings": findings}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_aligned_for_people_and_one_line_for_programs() {
        let mut report = Report::default();
        report.add("a", vec![Finding::ok("fine"), Finding::note("so\x1b[2J").mend("x")]);
        assert!(!report.needs_mending());
        report.add("theme", vec![Finding::bad("worn \"out\"")]);
        assert!(report.needs_mending());
        assert_eq!(
            report.text(),
            "ok    a      fine\nnote  a      so·[2J\n             → x\nbad   theme  worn \"out\"\n"
        );
        let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
        assert_eq!(json["mend"], true);
        assert_eq!(json["findings"][1]["mend"], "x");
        assert_eq!(json["findings"][2]["level"], "bad");
        assert!(json["findings"][2]["mend"].is_null());
    }
}
