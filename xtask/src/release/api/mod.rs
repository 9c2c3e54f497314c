//! The public API of the libraries, recorded in `docs/api/`: a change of it is seen where it is made, and accepted by
//! recording it anew.
//!
//! rustc expands the macros of a library, and the rest is read from its source ([`names`], [`lines`]). The JSON of rustdoc
//! says more, but has another form with every few versions of Rust; source has one form for all.

mod expand;
mod lines;
mod names;
mod text;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::build::workspace;
use crate::runner::Verdict;

/// Compare the libraries' public API with the recorded one, in docs/api.
#[derive(Args)]
pub(crate) struct Options {
    /// Record it as it is now
    #[arg(long)]
    record: bool,
}

/// The libraries whose API others build on. `pvir` is a program first, and its library promises less.
const LIBRARIES: [&str; 4] = ["pvir-abi", "pvir-guest", "pvir-host", "pvir-test-device"];

/// What stands before a line that is there only with the library's features.
const WITH_FEATURES: &str = "[features] ";

/// How a library differs from its record.
#[derive(Debug, Default, PartialEq, Eq)]
struct Difference {
    gone: Vec<String>,
    new: Vec<String>,
}

/// `xtask api`.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.record {
        for library in LIBRARIES {
            let path = path(library);
            fs::write(&path, current(library)?)
                .with_context(|| format!("cannot write {}", path.display()))?;
            println!("recorded {}", path.display());
        }
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", compare_all()?);
    Ok(ExitCode::SUCCESS)
}

/// `cargo/api`.
pub(super) fn check() -> Result<Verdict> {
    Ok(Verdict::Passed(compare_all()?))
}

/// How many items each library has; an error if one is not as it is recorded.
fn compare_all() -> Result<String> {
    let mut differences = String::new();
    let mut counts = Vec::new();
    for library in LIBRARIES {
        let path = path(library);
        let recorded = fs::read_to_string(&path).with_context(|| format!("no record {}", path.display()))?;
        let current = current(library)?;
        counts.push(format!("{library} {}", current.lines().count()));
        let Difference { gone, new } = compare(&recorded, &current);
        differences.extend(gone.iter().map(|line| format!("\n{library}: - {line}")));
        differences.extend(new.iter().map(|line| format!("\n{library}: + {line}")));
    }
    if differences.is_empty() {
        return Ok(format!("lines of {}", counts.join(", ")));
    }
    bail!(
        "the public API is not the recorded one{differences}\n\
         help: if that is meant, `./run.sh api --record`, and a line in CHANGELOG.md; a line that goes breaks users"
    )
}

fn compare(recorded: &str, current: &str) -> Difference {
    let [recorded, current] = [recorded, current].map(|text| text.lines().collect::<BTreeSet<_>>());
    let only = |here: &BTreeSet<&str>, there: &BTreeSet<&str>| -> Vec<String> {
        here.difference(there).map(|line| (*line).to_owned()).collect()
    };
    Difference { gone: only(&recorded, &current), new: only(&current, &recorded) }
}

/// The API of a library as its source has it: a line for each item, those of features marked.
fn current(library: &str) -> Result<String> {
    let plain = lines::of(&names::Library::read(library, &expand::expanded(library, &[])?)?);
    let all = lines::of(&names::Library::read(library, &expand::expanded(library, &["--all-features"])?)?);
    let known: BTreeSet<&String> = plain.iter().collect();
    if let Some(line) = plain.iter().find(|line| !all.contains(line)) {
        bail!("{library}: a feature takes something away: {line}");
    }
    let mark = |line: &String| {
        if known.contains(line) { format!("{line}\n") } else { format!("{WITH_FEATURES}{line}\n") }
    };
    Ok(all.iter().map(mark).collect())
}

fn path(library: &str) -> PathBuf {
    workspace::root().join("docs/api").join(format!("{library}.txt"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_and_go_are_told_apart() {
        let difference = compare("a\nb\n", "b\nc\n");
        assert_eq!(difference, Difference { gone: vec!["a".into()], new: vec!["c".into()] });
        assert_eq!(compare("a\nb\n", "a\nb\n"), Difference::default());
    }
}
