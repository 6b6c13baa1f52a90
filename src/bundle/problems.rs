//! What is found in a document: problems, each with its place as a JSON path, and warnings in the same
//! shape. The lowering and the reading of JSON note them; `create` reports all in one line, `check` each on
//! its own.

use crate::near;
use std::fmt::{self, Write};

/// One thing found in a document: the JSON path (`process.user.uid`, `mounts[3].options[0]`;
/// empty for the document itself) and what is wrong, with the remedy where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, as a JSON path.
    pub path: String,
    /// What is wrong and what is allowed.
    pub text: String,
    /// Words that are not known, and those that are.
    unknown: Option<Unknown>,
}

/// Words of a document that are none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unknown {
    given: Vec<String>,
    known: Vec<&'static str>,
}

impl Problem {
    /// One without a known word to suggest.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Problem {
        Problem { path: path.into(), text: text.into(), unknown: None }
    }

    /// The same with the words that are not known, and those that are.
    pub fn among<S: Into<String>>(
        mut self,
        given: impl IntoIterator<Item = S>,
        known: impl IntoIterator<Item = &'static str>,
    ) -> Problem {
        let given = given.into_iter().map(Into::into).collect();
        self.unknown = Some(Unknown { given, known: known.into_iter().collect() });
        self
    }

    /// What may have been meant: ``did you mean `network`?``. Looked for only now, as it takes time.
    pub fn suggestion(&self) -> Option<String> {
        let unknown = self.unknown.as_ref()?;
        let near = |given: &str| near::nearest(given, unknown.known.iter().copied());
        let found = unknown.given.iter().filter_map(|given| Some((given, near(given)?)));
        let several = unknown.given.len() > 1;
        let words = found.map(|(given, near)| match several {
            true => format!("`{near}` for `{given}`"),
            false => format!("`{near}`"),
        });
        let words: Vec<String> = words.collect();
        (!words.is_empty()).then(|| format!("did you mean {}?", words.join(", ")))
    }
}

/// All problems found in one document, in document order.
#[derive(Debug, Default, Clone)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Notes one problem.
    #[track_caller]
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        crate::error::noted(std::panic::Location::caller());
        self.0.push(Problem::new(path, text));
    }

    /// Notes words that are none of the known ones.
    #[track_caller]
    pub fn add_unknown<S: Into<String>>(
        &mut self,
        path: impl Into<String>,
        text: impl Into<String>,
        given: impl IntoIterator<Item = S>,
        known: impl IntoIterator<Item = &'static str>,
    ) {
        crate::error::noted(std::panic::Location::caller());
        self.0.push(Problem::new(path, text).among(given, known));
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What is no error but should be known.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Warnings(pub Vec<Problem>);

impl Warnings {
    /// Notes one.
    pub fn note(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.0.push(Problem::new(path, text));
    }

    /// Notes words that are none of the known ones.
    pub fn note_unknown<S: Into<String>>(
        &mut self,
        path: impl Into<String>,
        text: impl Into<String>,
        given: impl IntoIterator<Item = S>,
        known: impl IntoIterator<Item = &'static str>,
    ) {
        self.0.push(Problem::new(path, text).among(given, known));
    }

    /// Writes each to the log, without suggestions: that is for `check`.
    pub fn log(&self) {
        for warning in &self.0 {
            crate::warn!("{}: {}", OneLine(&warning.path), OneLine(&warning.text));
        }
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    /// All problems on one line, whatever the document's strings hold: `path: text; path: text`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    /// On one line: `path: text (did you mean …?)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", OneLine(&self.path))?;
        }
        write!(f, "{}", OneLine(&self.text))?;
        match self.suggestion() {
            Some(suggestion) => write!(f, " ({})", OneLine(&suggestion)),
            None => Ok(()),
        }
    }
}

/// A text with its control characters escaped.
pub struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() { write!(f, "{}", c.escape_debug())? } else { f.write_char(c)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_with_the_near_word() {
        let mut problems = Problems::default();
        problems.add("a.b", "x\ny");
        problems.add_unknown("", "unknown `pdi`", ["pdi"], ["pid", "user"]);
        assert_eq!(problems.to_string(), "a.b: x\\ny; unknown `pdi` (did you mean `pid`?)");
        let several = |given: &[&str]| Problem::new("k", "t").among(given.iter().copied(), ["pid", "user"]);
        assert_eq!(several(&["zzz"]).to_string(), "k: t");
        let expected = "k: t (did you mean `pid` for `pidd`, `user` for `usr`?)";
        assert_eq!(several(&["pidd", "zzz", "usr"]).to_string(), expected);
    }
}
