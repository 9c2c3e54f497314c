//! Headers of Debian's kernels, with which modules are built: unpacked into the cache, and installed nowhere.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::Apt;
use super::cache::Cache;
use super::tools::unpack;
use crate::process;
use crate::progress::step;

/// Raised when the same packages make another folder.
const RECIPE: u32 = 1;
/// Where the packages have the headers themselves.
const SOURCE: &str = "usr/src";
/// Libraries for the programs of a build, where this machine's are too old.
const LIBRARIES: &str = "lib-of-programs";

/// The headers of one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Headers {
    folder: PathBuf,
    /// The kernel's name of itself, as `uname -r` says it.
    pub(crate) release: String,
}

impl Headers {
    /// Those of a kernel, from packages that were fetched with it or from the package lists of `apt`, which is asked only
    /// if there are none.
    pub(super) fn ready(cache: &Cache, release: &str, apt: impl FnOnce() -> Result<Apt>) -> Result<Self> {
        let folder = cache.component(&format!("headers-{release}"), RECIPE, |folder| {
            let debs = cache.path("debs");
            let mut apt = Lazy::new(apt);
            let files = match kept(&debs, release)? {
                Some(files) => files,
                None => fetch(apt.get()?, &debs, release)?,
            };
            step(release, "unpacking headers", || {
                for file in &files {
                    unpack(file, folder, &cache.setup_log())?;
                }
                make_movable(&folder.join(SOURCE))?;
                // It has nothing but type information, which only a program that is not here would read.
                let types = folder.join(SOURCE).join(name_of(release)).join("vmlinux");
                if types.exists() {
                    fs::remove_file(types)?;
                }
                lend_libraries(folder, &files, &mut apt, &cache.setup_log())
            })
        })?;
        Ok(Self { folder, release: release.to_owned() })
    }

    /// What `make -C` is given.
    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.join(SOURCE).join(name_of(&self.release))
    }

    /// The compiler that has built the kernel, by the name of its program such as `gcc-12`.
    pub(crate) fn compiler(&self) -> Result<String> {
        let file = self.tree().join("include/generated/compile.h");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let name = compiler_of(&text).with_context(|| format!("{} names no gcc", file.display()))?;
        Ok(name.to_owned())
    }
}

/// The package of a kernel's headers.
fn name_of(release: &str) -> String {
    format!("linux-headers-{release}")
}

/// Fetches a kernel's headers into `debs`, where they stay: when the kernel is out of date, nobody has them any more.
pub(super) fn fetch(apt: &Apt, debs: &Path, release: &str) -> Result<Vec<PathBuf>> {
    let name = name_of(release);
    step(&name, "to build the module for Linux guests, about 20 MB", || {
        let partial = debs.join("partial");
        apt.download(&[&name], &partial)?;
        let first = file_of(&partial, &name)?.context("apt-get download left no file")?;
        let others = others(&first)?;
        apt.download(&others.iter().map(String::as_str).collect::<Vec<_>>(), &partial)?;
        for name in others.iter().chain([&name]) {
            let file = file_of(&partial, name)?.with_context(|| format!("apt-get left no {name}"))?;
            fs::rename(&file, debs.join(file.file_name().context("a package without a name")?))?;
        }
        kept(debs, release)?.context("not all of the headers were fetched")
    })
}

/// The packages of a kernel's headers in a folder, if all of them are there.
fn kept(debs: &Path, release: &str) -> Result<Option<Vec<PathBuf>>> {
    let Some(first) = file_of(debs, &name_of(release))? else { return Ok(None) };
    let mut files = Vec::new();
    for name in others(&first)? {
        let Some(file) = file_of(debs, &name)? else { return Ok(None) };
        files.push(file);
    }
    files.push(first);
    Ok(Some(files))
}

/// The packages that the headers are spread over beside the first.
fn others(package: &Path) -> Result<Vec<String>> {
    let depends = process::output(Command::new("dpkg-deb").arg("-f").arg(package).arg("Depends"))?;
    let names = parts(&depends);
    if names.len() != 2 {
        bail!(
            "{} depends on {names:?}, in place of common headers and of the programs of a build",
            package.display()
        );
    }
    Ok(names)
}

fn parts(depends: &str) -> Vec<String> {
    let is_part = |name: &&str| {
        name.starts_with("linux-headers-") && name.ends_with("-common") || name.starts_with("linux-kbuild-")
    };
    words(depends).filter(is_part).map(str::to_owned).collect()
}

/// The names in a field such as `a (= 1), b | c`.
fn words(field: &str) -> impl Iterator<Item = &str> {
    field.split([',', '|']).filter_map(|term| term.split_whitespace().next())
}

/// The file of a package in a folder.
pub(super) fn file_of(folder: &Path, package: &str) -> Result<Option<PathBuf>> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(None) };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.strip_prefix(package).is_some_and(|rest| rest.starts_with('_') && rest.ends_with(".deb")) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// The package's makefiles name each other by where it would be installed.
fn make_movable(source: &Path) -> Result<()> {
    for entry in fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))? {
        let file = entry?.path().join("Makefile");
        let Ok(text) = fs::read_to_string(&file) else { continue };
        if text.contains("include /usr/src/") {
            fs::write(&file, movable(&text))?;
        }
    }
    Ok(())
}

fn movable(text: &str) -> String {
    let text = text.replace("KBUILD_OUTPUT=/", "KBUILD_OUTPUT:=/").replace("/usr/src/", "$(pvir-headers)/");
    format!("pvir-headers := $(abspath $(dir $(realpath $(lastword $(MAKEFILE_LIST))))..)\n{text}")
}

/// Programs of a later release of Debian want later libraries than this machine has: they get their own.
fn lend_libraries(
    folder: &Path,
    packages: &[PathBuf],
    apt: &mut Lazy<impl FnOnce() -> Result<Apt>>,
    log: &Path,
) -> Result<()> {
    let programs = programs(&folder.join("usr/lib"))?;
    if programs.iter().all(|program| starts(program)) {
        return Ok(());
    }
    let mut names = Vec::new();
    for package in packages {
        let depends = process::output(Command::new("dpkg-deb").arg("-f").arg(package).arg("Depends"))?;
        names.extend(words(&depends).filter(|name| name.starts_with("lib")).map(str::to_owned));
    }
    let debs = folder.join("debs");
    apt.get()?.download(&names.iter().map(String::as_str).collect::<Vec<_>>(), &debs)?;
    let libraries = folder.join(LIBRARIES);
    for name in names {
        let file = file_of(&debs, &name)?.with_context(|| format!("apt-get left no {name}"))?;
        unpack(&file, &libraries, log)?;
    }
    fs::remove_dir_all(&debs)?;
    for program in programs {
        let depth = program.strip_prefix(folder)?.components().count() - 1;
        let real = program.with_extension("program");
        fs::rename(&program, &real)?;
        fs::write(&program, wrapper(depth))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Starts the program beside it by the loader and the libraries of the same Debian.
fn wrapper(depth: usize) -> String {
    let up = "/..".repeat(depth);
    format!(
        "#!/bin/sh\nhere=$(dirname \"$(readlink -f \"$0\")\")\nlib=$here{up}/{LIBRARIES}/usr/lib/x86_64-linux-gnu\n\
         exec \"$lib/ld-linux-x86-64.so.2\" --library-path \"$lib\" \"$here/$(basename \"$0\").program\" \"$@\"\n"
    )
}

/// All programs below a folder that are no scripts.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() && entry.metadata()?.permissions().mode() & 0o100 != 0 {
                let is_program = fs::read(&path)?.starts_with(b"\x7fELF");
                found.extend(is_program.then_some(path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether this machine's libraries are new enough: the loader says so before the program's first instruction.
fn starts(program: &Path) -> bool {
    process::output(Command::new("ldd").arg("-v").arg(program)).is_ok_and(|text| !text.contains("not found"))
}

fn compiler_of(header: &str) -> Option<&str> {
    let line = header.lines().find_map(|line| line.split_once("LINUX_COMPILER")?.1.split('"').nth(1))?;
    let program = line.split_whitespace().next()?;
    program.find("gcc").map(|start| &program[start..])
}

/// A view of the packages that is made when it is first wanted.
struct Lazy<F> {
    open: Option<F>,
    apt: Option<Apt>,
}

impl<F: FnOnce() -> Result<Apt>> Lazy<F> {
    fn new(open: F) -> Self {
        Self { open: Some(open), apt: None }
    }

    fn get(&mut self) -> Result<&Apt> {
        if let Some(open) = self.open.take() {
            self.apt = Some(open()?);
        }
        self.apt.as_ref().context("the package lists could not be read before")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_headers_are_among_what_they_depend_on() {
        let depends = "linux-base (>= 4.12~), linux-headers-6.12.95+deb12-common (= 6.12.95-1), \
                       linux-image-6.12.95+deb12-amd64 (= 1) | linux-image-6.12.95+deb12-amd64-unsigned (= 1), \
                       linux-kbuild-6.12.95+deb12, gcc-12\n";
        assert_eq!(parts(depends), ["linux-headers-6.12.95+deb12-common", "linux-kbuild-6.12.95+deb12"]);
    }

    #[test]
    fn the_compiler_is_read_with_and_without_its_target() {
        let header =
            |name: &str| format!("#define LINUX_COMPILER\t\t\"{name} (Debian 12.2.0-14) 12.2.0, GNU ld\"\n");
        assert_eq!(compiler_of(&header("gcc-12")), Some("gcc-12"));
        assert_eq!(compiler_of(&header("x86_64-linux-gnu-gcc-14")), Some("gcc-14"));
        assert_eq!(compiler_of(&header("clang")), None);
    }

    #[test]
    fn makefiles_name_their_place_by_themselves() {
        let text = movable("KBUILD_OUTPUT=/usr/src/a\ninclude /usr/src/a-common/Makefile\n");
        let expected = "KBUILD_OUTPUT:=$(pvir-headers)/a\ninclude $(pvir-headers)/a-common/Makefile\n";
        assert_eq!(text.split_once('\n').unwrap().1, expected);
    }
}
