//! What `check` found, and how it is shown: lines for people, in colour on a terminal, or JSON for programs
//! (docs/check.md). Filled by the other files of `check`, printed by `main`.

use crate::bundle::problems::OneLine;
use crate::bundle::{Problem, Problems, Warnings};
use crate::sort::sort_by;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The bundle is wrong: `create` fails anywhere.
    Error,
    /// This host, or this user on it, lacks something: `create` fails here.
    Host,
    /// It works, but is risky or without effect.
    Warning,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Host => "host",
            Level::Warning => "warning",
        }
    }

    /// Red, magenta, yellow (ECMA-48).
    fn colour(self) -> &'static str {
        match self {
            Level::Error => "\x1b[1;31m",
            Level::Host => "\x1b[1;35m",
            Level::Warning => "\x1b[1;33m",
        }
    }
}

/// One thing found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Where, as a JSON path; empty for the document itself.
    pub path: String,
    /// What is wrong, and what is allowed.
    pub message: String,
    /// What to do, or what was meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// The things found so far.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Something is wrong with the bundle.
    pub fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Level::Error, path, message);
    }

    /// Something is risky, or has no effect.
    pub fn warning(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Level::Warning, path, message);
    }

    /// This host lacks something.
    pub fn host(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Level::Host, path, message);
    }

    /// Of a level that is chosen.
    pub fn push(&mut self, level: Level, path: impl Into<String>, message: impl Into<String>) {
        let (path, message) = (path.into(), message.into());
        self.0.push(Finding { level, path, message, suggestion: None });
    }

    /// Adds to what was found last what to do about it.
    pub fn suggest(&mut self, suggestion: impl Into<String>) {
        if let Some(last) = self.0.last_mut() {
            last.suggestion = Some(suggestion.into());
        }
    }

    /// Adds to what was found last a name that may have been meant.
    pub fn suggest_name(&mut self, name: Option<String>) {
        if let Some(name) = name {
            self.suggest(format!("did you mean `{name}`?"));
        }
    }

    /// What the lowering refuses.
    pub fn problems(&mut self, problems: &Problems) {
        problems.0.iter().for_each(|problem| self.take(Level::Error, problem));
    }

    /// What the lowering warns of.
    pub fn warnings(&mut self, warnings: &Warnings) {
        warnings.0.iter().for_each(|warning| self.take(Level::Warning, warning));
    }

    fn take(&mut self, level: Level, problem: &Problem) {
        let (path, message) = (problem.path.clone(), problem.text.clone());
        self.0.push(Finding { level, path, message, suggestion: problem.suggestion() });
    }

    /// All that was found, the worst first, otherwise in the order in which it was looked for.
    pub fn into_report(self, bundle: &Path) -> Report {
        let mut findings = self.0;
        sort_by(&mut findings, |a, b| a.level < b.level);
        Report { bundle: bundle.display().to_string(), findings }
    }
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The bundle directory.
    pub bundle: String,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// 0 when nothing was found, 1 when `create` would fail, 2 with warnings alone.
    pub fn status(&self) -> u8 {
        match (self.count(Level::Error) + self.count(Level::Host), self.findings.len()) {
            (0, 0) => 0,
            (0, _) => 2,
            _ => 1,
        }
    }

    /// One line of JSON.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// A line for each finding, one more for its suggestion, and a last one that counts them.
    pub fn text(&self, colour: bool) -> String {
        let paint = |start: &str, text: &str| match colour {
            true => format!("{start}{text}\x1b[0m"),
            false => text.to_owned(),
        };
        let mut out = String::new();
        for finding in &self.findings {
            let level = paint(finding.level.colour(), finding.level.name());
            let path = OneLine(&finding.path).to_string();
            let place =
                if path.is_empty() { String::new() } else { format!("{}: ", paint("\x1b[1m", &path)) };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{level}: {place}{}", OneLine(&finding.message));
            if let Some(suggestion) = &finding.suggestion {
                let _ = writeln!(out, "    {}", OneLine(suggestion));
            }
        }
        out + &self.summary()
    }

    fn summary(&self) -> String {
        let count = |level, one: &str, many: &str| match self.count(level) {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        let parts: Vec<String> = [
            count(Level::Error, "error", "errors"),
            count(Level::Host, "thing that this host lacks", "things that this host lacks"),
            count(Level::Warning, "warning", "warnings"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let found = if parts.is_empty() { "nothing found".to_owned() } else { parts.join(", ") };
        format!("{}: {found}\n", OneLine(&self.bundle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut findings = Findings::default();
        findings.warning("linux.seccomp", "missing");
        findings.error("", "not\nvalid");
        findings.host("mounts[0].source", "no such");
        findings.suggest_name(Some("other".into()));
        findings.into_report(Path::new("/b"))
    }

    #[test]
    fn text_and_colour() {
        let expected = "error: not\\nvalid\nhost: mounts[0].source: no such\n    did you mean `other`?\n\
                        warning: linux.seccomp: missing\n/b: 1 error, 1 thing that this host lacks, 1 warning\n";
        assert_eq!(report().text(false), expected);
        assert!(report().text(true).starts_with("\x1b[1;31merror\x1b[0m: not"));
        assert_eq!(Findings::default().into_report(Path::new("/b")).text(true), "/b: nothing found\n");
    }

    #[test]
    fn status_and_json() {
        let status = |fill: fn(&mut Findings)| {
            let mut findings = Findings::default();
            fill(&mut findings);
            findings.into_report(Path::new("/b")).status()
        };
        assert_eq!(status(|_| {}), 0);
        assert_eq!(status(|f| f.error("", "x")), 1);
        assert_eq!(status(|f| f.host("", "x")), 1);
        assert_eq!(status(|f| f.warning("", "x")), 2);
        let json = report().json().unwrap();
        assert!(
            json.starts_with("{\"bundle\":\"/b\",\"findings\":[{\"level\":\"error\",\"path\":\"\","),
            "{json}"
        );
    }
}
