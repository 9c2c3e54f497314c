//! Runs cases in L1: starts `pvir` with the test kernel, looks at kernel and hardware at each checkpoint through
//! `lab-witness`, and checks. One line of JSON for each case, then a number as exit status: how many failed.
//!
//! Nothing here is shared with the code under test.

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

mod cases;
mod control_socket;
mod expect;
mod footprint;
mod host;
mod kexec;
mod trace;
mod vm;
mod witness;

const USAGE: &str = "lab-driver CASE...: runs cases in the lab; their names:";
/// In place of cases, and in a Linux guest: kernel, initramfs and command line of a crash kernel.
const KEXEC: &str = "kexec";

/// What a case that holds has to say.
#[derive(Default)]
pub(crate) struct CaseReport {
    /// For people.
    pub(crate) note: String,
    /// For who started us, to check further.
    pub(crate) data: Value,
}

impl From<String> for CaseReport {
    fn from(note: String) -> Self {
        Self { note, data: Value::Null }
    }
}

/// A case.
pub(crate) type Case = fn() -> Result<CaseReport>;

fn main() -> ExitCode {
    let names: Vec<String> = env::args().skip(1).collect();
    if let [KEXEC, kernel, initrd, command_line] = *names.iter().map(String::as_str).collect::<Vec<_>>() {
        return match kexec::load(kernel, initrd, command_line) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("lab-driver: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let unknown = names.iter().find(|name| cases::find(name).is_none());
    if names.is_empty() || unknown.is_some() {
        let all: Vec<&str> = cases::ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("{USAGE} {}", all.join(" "));
        return ExitCode::FAILURE;
    }
    let mut failed = 0u8;
    for name in &names {
        let Some(case) = cases::find(name) else { continue };
        let started = Instant::now();
        let result = case();
        // what one case leaves behind must not look like a failure of the next
        let result = result.and_then(|shown| host::nothing_left().map(|()| shown));
        let seconds = started.elapsed().as_secs_f64();
        let line = match result {
            Ok(CaseReport { note, data }) => {
                json!({"case": name, "ok": true, "note": note, "data": data, "seconds": seconds})
            }
            Err(error) => {
                failed = failed.saturating_add(1);
                json!({"case": name, "ok": false, "note": format!("{error:#}"), "seconds": seconds})
            }
        };
        println!("{line}");
    }
    failed.into()
}
