//! The table of `doctor`: its rows, and how they are shown (docs/check.md). Filled by the other files of
//! `doctor`, printed by `main`.

use crate::cli::output;
use anyhow::Result;
use serde::Serialize;

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is.
    Yes,
    /// In part, or only for others.
    Partly,
    /// It is not.
    No,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Yes => "yes",
            State::Partly => "partly",
            State::No => "no",
        }
    }
}

impl From<bool> for State {
    fn from(there: bool) -> State {
        if there { State::Yes } else { State::No }
    }
}

/// One thing that a host offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// kernel, namespaces, seccomp, cgroups, security, ids, programs or state.
    pub area: &'static str,
    /// What it is.
    pub what: String,
    /// Whether it is there.
    pub state: State,
    /// What it is good for, or what was found.
    pub meaning: String,
    /// What to do where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// No container can run without it.
    pub essential: bool,
}

/// The rows so far.
#[derive(Debug, Default)]
pub struct Rows {
    area: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    /// Begins an area.
    pub fn area(&mut self, area: &'static str) {
        self.area = area;
    }

    /// Adds a row; the remedy is kept where something is missing.
    pub fn add_row(
        &mut self,
        what: impl Into<String>,
        state: impl Into<State>,
        meaning: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (state, remedy) = (state.into(), remedy.into());
        self.rows.push(Row {
            area: self.area,
            what: what.into(),
            state,
            meaning: meaning.into(),
            remedy: Some(remedy).filter(|remedy| state != State::Yes && !remedy.is_empty()),
            essential: false,
        });
    }

    /// The row added last is one that no container can run without.
    pub fn essential(&mut self) {
        if let Some(last) = self.rows.last_mut() {
            last.essential = true;
        }
    }

    /// All of them.
    pub fn into_report(self) -> Report {
        let runs = self.rows.iter().all(|row| !row.essential || row.state != State::No);
        Report { runs, rows: self.rows }
    }
}

/// The result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether containers can run here, as this user.
    pub runs: bool,
    /// What was looked at.
    pub rows: Vec<Row>,
}

impl Report {
    /// 0 when containers can run, else 1.
    pub fn status(&self) -> u8 {
        u8::from(!self.runs)
    }

    /// One line of JSON.
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// A table; a remedy is the line below its row.
    pub fn text(&self) -> String {
        let head = ["AREA", "WHAT", "STATE", "MEANING"].map(str::to_owned);
        let cells = |row: &Row| {
            [
                row.area.to_owned(),
                output::cell(&row.what),
                row.state.name().to_owned(),
                output::cell(&row.meaning),
            ]
        };
        let table: Vec<[String; 4]> = std::iter::once(head).chain(self.rows.iter().map(cells)).collect();
        let lines = output::aligned(&table, 0);
        let mut out = String::new();
        for (i, line) in lines.lines().enumerate() {
            out.push_str(line);
            out.push('\n');
            let remedy = i.checked_sub(1).and_then(|i| self.rows.get(i)).and_then(|row| row.remedy.as_ref());
            if let Some(remedy) = remedy {
                out.push_str(&format!("    {}\n", output::cell(remedy)));
            }
        }
        out.push_str(match self.runs {
            true => "Containers can run here.\n",
            false => "Containers cannot run here: something without which none can is missing.\n",
        });
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: State) -> Report {
        let mut rows = Rows::default();
        rows.area("kernel");
        rows.add_row("openat2", state, "paths", "update");
        rows.essential();
        rows.add_row("x", State::No, "y", "");
        rows.into_report()
    }

    #[test]
    fn table_and_status() {
        let expected = "AREA     WHAT      STATE   MEANING\nkernel   openat2   no      paths\n    update\n\
            kernel   x         no      y\nContainers cannot run here: something without which none can is missing.\n";
        assert_eq!((report(State::No).text().as_str(), report(State::No).status()), (expected, 1));
        let good = report(State::Yes);
        assert!(
            good.status() == 0 && !good.text().contains("update") && good.text().ends_with("can run here.\n")
        );
        assert_eq!(report(State::Partly).status(), 0);
        let row = "{\"area\":\"kernel\",\"what\":\"openat2\",\"state\":\"yes\",\"meaning\":\"paths\",\"essential\":true}";
        assert!(good.json().unwrap().starts_with(&format!("{{\"runs\":true,\"rows\":[{row},")));
    }
}
