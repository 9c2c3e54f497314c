//! The module builds for the kernels that it says it supports, without a warning, and has the form of the kernel's code.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::{Missing, build};
use crate::build::workspace;
use crate::lab::setup::{Headers, Setup, headers_of, kernels_with_headers};
use crate::process;
use crate::runner::{Step, Verdict, skip};

/// The oldest kernel that is supported.
const OLDEST: &str = "6.1.";
const CHECKPATCH: &str = "checkpatch.pl";
/// Its rules that are not kept, each for a reason.
const NOT_KEPT: [&str; 7] = [
    // the module is built for several kernels, and one header of it asks which
    "LINUX_VERSION_CODE",
    "CONSTANT_COMPARISON",
    // the contract's header is for every C and C++: its types, its bits, and `_Static_assert`
    "PREFER_KERNEL_TYPES",
    "BIT_MACRO",
    "CAMELCASE",
    // TRACE_EVENT is written so everywhere
    "OPEN_ENDED_LINE",
    "PARENTHESIS_ALIGNMENT",
];

/// What is asked of the source.
pub(crate) fn of_source() -> Vec<Step> {
    vec![
        Step {
            name: "source/linux-module",
            about: "checkpatch --strict finds nothing in the module for Linux guests",
            run: checkpatch,
        },
        Step {
            name: "build/linux-module",
            about: "the module for Linux guests builds for the lab's kernel, without a warning",
            run: || judge(Setup::ready()?.headers()),
        },
        Step {
            name: "build/linux-module-6.1",
            about: "it builds for the oldest kernel that it supports",
            run: || {
                judge(of_release(|kernels| kernels.into_iter().find(|release| release.starts_with(OLDEST))))
            },
        },
        Step {
            name: "build/linux-module-newest",
            about: "it builds for Debian's newest kernel",
            run: || judge(of_release(|mut kernels| kernels.pop())),
        },
    ]
}

fn of_release(choose: impl FnOnce(Vec<String>) -> Option<String>) -> Result<Headers> {
    headers_of(&choose(kernels_with_headers()?).context("Debian has headers of no such kernel")?)
}

/// Headers that cannot be had are no failure: the machine may be no Debian, or without a network.
fn judge(headers: Result<Headers>) -> Result<Verdict> {
    let headers = match headers {
        Ok(headers) => headers,
        Err(error) => return skip(format!("headers of that kernel ({error:#})")),
    };
    let built = match build(&headers)? {
        Ok(built) => built,
        Err(Missing(what)) => return skip(what),
    };
    let warnings = built.warnings()?;
    ensure!(warnings.is_empty(), "{}", warnings.join("\n"));
    let modules = built.all()?;
    ensure!(modules.contains(&built.module()), "only {modules:?} was built");
    let sparse =
        if process::find("sparse").is_some() { ", checked by sparse" } else { "; there is no sparse" };
    Ok(Verdict::Passed(format!("Linux {}, by {}{sparse}", headers.release, built.compiler)))
}

fn checkpatch() -> Result<Verdict> {
    let Some(program) = process::find(CHECKPATCH) else {
        return skip(format!("{CHECKPATCH} of the kernel's source on PATH"));
    };
    // It leaves a file where it is started.
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(program);
    command.current_dir(folder.path());
    command.args([
        "--no-tree",
        "--strict",
        "--terse",
        "--no-summary",
        "--file",
        "--ignore",
        &NOT_KEPT.join(","),
    ]);
    process::output(command.args(files()?)).map(|_| Verdict::passed())
}

/// All that is C, the header of the contract too.
fn files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in ["guest/linux", "guest/linux/test", "shared-abi/include"] {
        for entry in fs::read_dir(workspace::root().join(folder)).with_context(|| folder.to_owned())? {
            let path = entry?.path();
            files.extend(path.extension().is_some_and(|end| end == "c" || end == "h").then_some(path));
        }
    }
    files.sort();
    Ok(files)
}
