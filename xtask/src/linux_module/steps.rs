//! The module builds for the kernels that it says it supports, without a warning, and has the form of the kernel's code.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::build::{Missing, build};
use super::deb;
use crate::build::workspace;
use crate::lab::setup::{Headers, Setup, headers_of, kernels_with_headers};
use crate::process;
use crate::runner::{Step, Verdict, skip};

/// The oldest kernel that is supported.
const OLDEST: &str = "6.1.";
const CHECKPATCH: &str = "checkpatch.pl";
/// What tells of the module's parameters.
const PAGES: [&str; 2] = ["docs/linux-guest.md", "guest/linux/README.md"];
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
            name: "build/linux-module",
            about: "the module for Linux guests builds for the lab's kernel, without a warning",
            run: || judge(Setup::ready()?.headers()),
        },
        Step {
            name: "build/linux-style",
            about: "checkpatch --strict and sparse find nothing in the module for Linux guests",
            run: style,
        },
        Step {
            name: "build/linux-parameters",
            about: "the module's parameters are those of its pages",
            run: parameters,
        },
        Step {
            name: "build/linux-deb",
            about: "its package for Debian is whole and reproducible, and DKMS builds the module from it",
            run: deb::check,
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
    let sparse = if built.sparse { ", checked by sparse" } else { ", not by sparse" };
    Ok(Verdict::Passed(format!("Linux {}, by {}{sparse}", headers.release, built.compiler)))
}

/// What lacks a tool is skipped, after what the other one has found.
fn style() -> Result<Verdict> {
    let setup = match Setup::ready() {
        Ok(setup) => setup,
        Err(error) => return skip(format!("the lab, whose kernel's source has checkpatch ({error:#})")),
    };
    let missing = checkpatch(&setup)?;
    let built = match setup.headers() {
        Ok(headers) => build(&headers)?.map_err(|Missing(what)| what),
        Err(error) => Err(format!("headers of the lab's kernel ({error:#})")),
    };
    let missing_too = match &built {
        Ok(built) if built.sparse => {
            let warnings = built.warnings()?;
            ensure!(warnings.is_empty(), "{}", warnings.join("\n"));
            None
        }
        Ok(_) => Some("sparse".to_owned()),
        Err(missing) => Some(missing.clone()),
    };
    let missing: Vec<String> = missing.into_iter().chain(missing_too).collect();
    if missing.is_empty() { Ok(Verdict::passed()) } else { skip(missing.join("; ")) }
}

/// What is missing for it, if anything.
fn checkpatch(setup: &Setup) -> Result<Option<String>> {
    let program = match process::find(CHECKPATCH).map_or_else(|| setup.checkpatch(), Ok) {
        Ok(program) => program,
        Err(error) => return Ok(Some(format!("{CHECKPATCH} of the kernel's source ({error:#})"))),
    };
    // Debian's smallest perl has not all that it uses.
    if process::output(Command::new("perl").args(["-MTerm::ANSIColor", "-MEncode", "-e", "1"])).is_err() {
        return Ok(Some("perl, with its modules".into()));
    }
    // It leaves a file where it is started.
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("perl");
    command.arg(program).current_dir(folder.path());
    let ignored = NOT_KEPT.join(",");
    command.args(["--no-tree", "--strict", "--terse", "--no-summary", "--file", "--ignore", &ignored]);
    // What it finds it says on its output; on the other stream it complains that it is in no kernel's tree.
    let output = command.args(files()?).output().context("cannot start perl")?;
    let found = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{found}{}",
        if found.is_empty() { String::from_utf8_lossy(&output.stderr) } else { "".into() }
    );
    Ok(None)
}

/// Compared with the first column of the tables in both pages that name them.
fn parameters() -> Result<Verdict> {
    let built = match Setup::ready()?.headers() {
        Ok(headers) => build(&headers)?.map_err(|Missing(what)| what),
        Err(error) => Err(format!("headers of the lab's kernel ({error:#})")),
    };
    let built = match built {
        Ok(built) => built,
        Err(missing) => return skip(missing),
    };
    let module = fs::read(built.module())?;
    let parameters = parameters_of(&module);
    ensure!(!parameters.is_empty(), "the module has none");
    for page in PAGES {
        let text = fs::read_to_string(workspace::root().join(page))?;
        let told = parameters_told(&text);
        ensure!(told == parameters, "{page} tells of {told:?}, the module has {parameters:?}");
    }
    Ok(Verdict::Passed(parameters.into_iter().collect::<Vec<_>>().join(", ")))
}

/// As `modinfo -p` reads them: strings of the module that end in a zero.
fn parameters_of(module: &[u8]) -> BTreeSet<String> {
    let strings = module.split(|byte| *byte == 0).filter_map(|string| std::str::from_utf8(string).ok());
    let names = strings.filter_map(|string| string.strip_prefix("parm=")?.split_once(':'));
    names.map(|(name, _)| name.to_owned()).collect()
}

fn parameters_told(page: &str) -> BTreeSet<String> {
    let table = page.lines().skip_while(|line| !line.starts_with("| parameter |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_of_a_module_and_of_a_page() {
        let module = b"\x7fELF\xff\0parm=batch:most records\0parmtype=batch:uint\0parm=conduit:how\0";
        let page = "| other |\n|---|\n| `x` |\n\n| parameter | |\n|---|---|\n| `conduit` | `auto` |\n| `batch` | |\n\n| `y` |\n";
        let expected = BTreeSet::from(["batch".to_owned(), "conduit".to_owned()]);
        assert_eq!((parameters_of(module), parameters_told(page)), (expected.clone(), expected));
    }
}
