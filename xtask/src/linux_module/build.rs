//! Builds the modules in `guest/linux` for one kernel, once for each state of the source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::workspace;
use crate::lab::setup::{Cache, Headers, unpacked};
use crate::process;
use crate::progress::step;

/// Raised when the same source makes other files.
const RECIPE: u32 = 1;
/// What is built, and what it includes, by paths from the root of the source.
const SOURCES: [&str; 2] = [MODULE, "shared-abi/include"];
const MODULE: &str = "guest/linux";
const TESTS: &str = "guest/linux/test";
const LOG: &str = "build.log";
/// How kbuild says that `sparse` looks at a file.
const CHECKED: &str = "CHECK ";
/// What the newer compiler of a kernel can do and an older one cannot: the kernel's own configuration says that it can.
const NEWER: &str = "CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=";

/// What a build gave.
pub(crate) struct Built {
    folder: PathBuf,
    /// Whether `sparse` has looked at it too.
    pub(super) sparse: bool,
    /// The compiler that was taken, and whether it is another one than the kernel's.
    pub(crate) compiler: String,
}

/// What a machine lacks to build modules.
pub(crate) struct Missing(pub(crate) String);

impl Built {
    /// The module that makes a Linux guest know pvir.
    pub(crate) fn module(&self) -> PathBuf {
        self.folder.join("pvir.ko")
    }

    /// All modules: that one, and those of the tests.
    pub(crate) fn all(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.folder).with_context(|| self.folder.display().to_string())?;
        let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.retain(|path| path.extension().is_some_and(|end| end == "ko"));
        files.sort();
        Ok(files)
    }

    /// What the compiler, the linker of modules and, where it is, `sparse` warned of in our own files.
    pub(crate) fn warnings(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.join(LOG))?;
        Ok(warnings(&log).map(str::to_owned).collect())
    }
}

/// Builds, or finds what was built of the same source before.
pub(crate) fn build(headers: &Headers) -> Result<Result<Built, Missing>> {
    let wanted = headers.compiler()?;
    let Some((compiler, version)) = compiler(&wanted) else {
        return Ok(Err(Missing(format!("{wanted}, with which Linux {} was built", headers.release))));
    };
    if process::find("make").is_none() {
        return Ok(Err(Missing("make".into())));
    }
    let sparse = sparse();
    let sources = sources()?;
    let recipe = (RECIPE, &version, sparse.is_some(), &sources, fs::read(headers.tree().join("Makefile"))?);
    let folder = Cache::open()?.component(&format!("module-{}", headers.release), recipe, |folder| {
        let what = format!("for Linux {}, by {version}", headers.release);
        step("the module for Linux guests", what, || {
            let source = folder.join("source");
            for (name, content) in &sources {
                let file = source.join(name);
                fs::create_dir_all(file.parent().context("no folder")?)?;
                fs::write(&file, content)?;
            }
            let log = folder.join(LOG);
            for part in [MODULE, TESTS] {
                let part = source.join(part);
                if !part.join("Kbuild").exists() {
                    continue;
                }
                make(headers, &part, &compiler, compiler != wanted, sparse.as_deref(), &log)?;
                keep_modules(&part, folder)?;
            }
            Ok(fs::remove_dir_all(&source)?)
        })
    })?;
    let compiler = if compiler == wanted { compiler } else { format!("{compiler} in place of {wanted}") };
    // Not every kernel's headers have what starts it.
    let sparse =
        fs::read_to_string(folder.join(LOG))?.lines().any(|line| line.trim_start().starts_with(CHECKED));
    Ok(Ok(Built { folder, sparse, compiler }))
}

/// The machine's, or that of Debian's package.
fn sparse() -> Option<PathBuf> {
    let unpacked = || Some(unpacked("sparse").ok()?.join("usr/bin/sparse"));
    let sparse = process::find("sparse").or_else(unpacked)?;
    // one that lacks a library is none
    process::output(Command::new(&sparse).arg("--version")).is_ok().then_some(sparse)
}

fn make(
    headers: &Headers,
    part: &Path,
    compiler: &str,
    is_other: bool,
    sparse: Option<&Path>,
    log: &Path,
) -> Result<()> {
    let mut make = Command::new("make");
    make.arg("-C").arg(headers.tree()).arg(format!("M={}", part.display()));
    // With all of its warnings, none of which it has.
    make.args([&format!("CC={compiler}"), "W=1", "modules"]);
    if is_other {
        make.arg(NEWER);
    }
    if let Some(sparse) = sparse {
        make.args(["C=1", &format!("CHECK={}", sparse.display())]);
    }
    // What an outer make or cargo has set is about another build.
    make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env("LC_ALL", "C");
    process::run_logged(&mut make, log)
}

/// Moves the modules that a part has into `folder`, without what only a debugger reads.
fn keep_modules(part: &Path, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(part)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "ko") {
            let kept = folder.join(path.file_name().context("no name")?);
            fs::copy(&path, &kept)?;
            process::output(Command::new("strip").arg("--strip-debug").arg(&kept))?;
        }
    }
    Ok(())
}

/// The compiler's program and what it says it is: the one that is wanted, or the machine's own.
fn compiler(wanted: &str) -> Option<(String, String)> {
    [wanted, "gcc"].into_iter().find_map(|name| {
        process::find(name)?;
        let said = process::output(Command::new(name).arg("--version")).ok()?;
        Some((name.to_owned(), said.lines().next()?.to_owned()))
    })
}

/// Every file that is built or included, by its path from the root.
fn sources() -> Result<BTreeMap<String, Vec<u8>>> {
    let root = workspace::root();
    let mut sources = BTreeMap::new();
    let mut folders: Vec<PathBuf> = SOURCES.iter().map(|name| root.join(name)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if is_source(&path) {
                let name = path.strip_prefix(root)?.to_str().context("a name that is no text")?;
                sources.insert(name.to_owned(), fs::read(&path)?);
            }
        }
    }
    if !sources.keys().any(|name| name.ends_with("Kbuild")) {
        bail!("{MODULE} has nothing to build");
    }
    Ok(sources)
}

/// What a user's own build leaves in the folder is none.
pub(super) fn is_source(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_made = name.ends_with(".mod.c") || name.starts_with('.');
    let ends = [".c", ".h", ".S", "Kbuild", "Makefile"];
    !is_made && ends.iter().any(|end| name.ends_with(end))
}

/// Lines of a log that warn of our own files, or of the modules that are made of them.
fn warnings(log: &str) -> impl Iterator<Item = &str> {
    let is_own = |line: &&str| {
        let file = line.split(':').next().unwrap_or_default();
        let is_of_module = file.contains(MODULE) || !file.contains('/');
        is_of_module && (line.contains(" warning: ") || line.contains("WARNING: modpost"))
            || line.contains(": error: ")
    };
    log.lines().filter(is_own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_warnings_of_our_own_files_are_told() {
        let log = "warning: pahole version differs from the one used to build the kernel\n\
            /c/src/linux-headers-7-common/include/linux/fs.h:1302:9: warning: 'counted_by' attribute directive ignored\n\
            /c/source/guest/linux/domain.c:10:5: warning: unused variable 'x'\n\
            calls.c:3:1: warning: symbol 'y' was not declared. Should it be static?\n\
            WARNING: modpost: missing MODULE_DESCRIPTION() in pvir.o\n";
        let told: Vec<_> = warnings(log).map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(told, ["/c/source/guest/linux/domain.c", "calls.c", "WARNING"]);
    }

    #[test]
    fn what_a_build_leaves_is_no_source() {
        let kept = ["a.c", "b.h", "Kbuild", "Makefile", "a.mod.c", ".a.c", "a.o", "a.ko", "Module.symvers"];
        let kept: Vec<_> = kept.into_iter().filter(|name| is_source(Path::new(name))).collect();
        assert_eq!(kept, ["a.c", "b.h", "Kbuild", "Makefile"]);
    }
}
