//! What a campaign has found, in `docs/reports/`, and what it need not do again when it was interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::machine::Machine;
use crate::build::workspace;
use crate::process;

/// Columns of a line of prose.
const COLUMNS: usize = 100;
/// How an item of a list begins.
const ITEM: &str = "- ";

/// A report in the making.
pub(crate) struct Report {
    name: String,
    about: String,
    machine: Machine,
    /// The head of the table, as in Markdown.
    pub(crate) head: Vec<String>,
    kept: Kept,
    rows: Vec<String>,
    notes: Vec<String>,
}

/// What is kept between runs of one commit.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    commit: String,
    done: BTreeMap<String, String>,
}

impl Report {
    /// Begins a report; with what an interrupted run of the same commit has done, unless it is to be done `afresh`.
    pub(crate) fn begin(name: &str, about: &str, command: String, afresh: bool) -> Result<Self> {
        let commit = commit();
        let kept = fs::read(kept_at(name)).ok().and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let is_usable = |kept: &Kept| !afresh && kept.commit == commit && !commit.contains('+');
        let kept = kept.filter(is_usable).unwrap_or(Kept { commit, ..Kept::default() });
        Ok(Self {
            name: name.to_owned(),
            about: about.to_owned(),
            machine: Machine::here(command, Vec::new()),
            head: Vec::new(),
            kept,
            rows: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The name of the campaign.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a part was done by an interrupted run; its row is then in the report.
    pub(crate) fn has_done(&mut self, part: &str) -> bool {
        let row = self.kept.done.get(part).cloned();
        row.iter().for_each(|row| println!("{row} (done before)"));
        let has = row.is_some();
        self.rows.extend(row);
        has
    }

    /// Adds the row of a part. One that is `done` is not done again by a later run of this commit.
    pub(crate) fn add(&mut self, part: &str, row: &str, done: bool) -> Result<()> {
        println!("{row}");
        self.rows.push(row.to_owned());
        if done {
            self.kept.done.insert(part.to_owned(), row.to_owned());
            let at = kept_at(&self.name);
            at.parent().map_or(Ok(()), fs::create_dir_all)?;
            let bytes = serde_json::to_vec(&self.kept)?;
            fs::write(&at, bytes).with_context(|| format!("cannot write {}", at.display()))?;
        }
        Ok(())
    }

    /// Adds a paragraph below the table, or an item of a list.
    pub(crate) fn note(&mut self, line: String) {
        println!("{line}");
        self.notes.push(line);
    }

    /// Writes the report; answers with where it is.
    pub(crate) fn write(&self, failure: Option<&anyhow::Error>) -> Result<PathBuf> {
        let day = self.machine.date.split(' ').next().unwrap_or_default();
        let folder = workspace::root().join("docs/reports");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{day}-{}.md", self.name));
        fs::write(&path, self.text(failure)).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn text(&self, failure: Option<&anyhow::Error>) -> String {
        let [machine, done] = self.machine.lines();
        let mut text = format!("# Campaign {}\n\n", self.name);
        for line in [self.about.clone(), machine, done, format!("commit {}", self.kept.commit)] {
            text.push_str(&wrapped(&format!("- {line}")));
        }
        text.push('\n');
        if !self.head.is_empty() {
            text.push_str(&format!("| {} |\n|{}\n", self.head.join(" | "), "---|".repeat(self.head.len())));
        }
        for row in &self.rows {
            text.push_str(&format!("{row}\n"));
        }
        let mut in_list = false;
        for note in &self.notes {
            let is_item = note.starts_with(ITEM);
            if !(is_item && in_list) {
                text.push('\n');
            }
            text.push_str(&wrapped(note));
            in_list = is_item;
        }
        if let Some(error) = failure {
            text.push_str(&format!("\n**Failed.**\n\n```text\n{error:#}\n```\n"));
        }
        format!("{}\n", text.trim_end())
    }
}

/// A line as Markdown is wrapped here.
fn wrapped(line: &str) -> String {
    let indent = if line.starts_with(ITEM) { "  " } else { "" };
    let (mut text, mut column) = (String::new(), 0);
    for word in line.split_whitespace() {
        let length = word.chars().count();
        match column {
            0 => {}
            _ if column + 1 + length > COLUMNS => {
                text.push_str(&format!("\n{indent}"));
                column = indent.len();
            }
            _ => {
                text.push(' ');
                column += 1;
            }
        }
        text.push_str(word);
        column += length;
    }
    text + "\n"
}

fn kept_at(name: &str) -> PathBuf {
    workspace::target_dir("campaigns").join(format!("{name}.json"))
}

/// The commit, with a plus if there is more in the tree.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        process::output(git.current_dir(workspace::root()).args(arguments)).unwrap_or_default()
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]);
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!docs/reports"]);
    format!("{}{}", commit.trim(), if changed.trim().is_empty() { "" } else { "+" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_wrapped_and_items_are_indented() {
        let line = "word ".repeat(30);
        assert_eq!(wrapped(&line), format!("{}\n{}\n", ["word"; 20].join(" "), ["word"; 10].join(" ")));
        assert_eq!(wrapped("- a b"), "- a b\n");
        assert!(wrapped(&format!("- {line}")).contains("word\n  word"));
        let long = "x".repeat(200);
        assert_eq!(wrapped(&long), format!("{long}\n"));
    }

    #[test]
    fn a_report_says_what_was_run_and_what_failed() {
        let mut report =
            Report::begin("tried", "tries it", "./run.sh campaign tried --for 60s".into(), true).unwrap();
        report.head = vec!["part".into(), "states".into()];
        report.add("one", "| one | 1 |", false).unwrap();
        report.note("1 in all".into());
        let text = report.text(Some(&anyhow::anyhow!("it broke")));
        for part in
            ["# Campaign tried", "./run.sh campaign tried --for 60s", "| one | 1 |", "it broke", "|---|---|"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!report.has_done("one"));
    }
}
