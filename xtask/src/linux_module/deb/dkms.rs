//! The package is whole, is the same when it is built again, and DKMS builds the module from what it has.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{build, tree, version};
use crate::lab::setup::{Headers, Setup, unpacked};
use crate::process;
use crate::runner::{Verdict, skip};

/// What the package has beside the sources.
const FILES: [(&str, u32); 6] = [
    ("usr/lib/udev/rules.d/60-pvir.rules", 0o644),
    ("usr/lib/modules-load.d/pvir.conf", 0o644),
    ("usr/share/initramfs-tools/hooks/pvir", 0o755),
    ("usr/share/doc/pvir-dkms/changelog.gz", 0o644),
    ("usr/share/doc/pvir-dkms/copyright", 0o644),
    ("usr/share/doc/pvir-dkms/README.md", 0o644),
];
const SOURCES: [&str; 6] = ["Kbuild", "Makefile", "dkms.conf", "main.c", "pvir.h", "include/pvir_abi.h"];
const CONTROL: [(&str, u32); 5] =
    [("control", 0o644), ("md5sums", 0o644), ("postinst", 0o755), ("prerm", 0o755), ("postrm", 0o755)];

/// `build/linux-deb`.
pub(in crate::linux_module) fn check() -> Result<Verdict> {
    for tool in ["dpkg-deb", "make"] {
        if process::find(tool).is_none() {
            return skip(tool);
        }
    }
    let work = tempfile::tempdir()?;
    let [first, second] = ["first", "second"].map(|name| build(&work.path().join(name)));
    let (first, second) = (first?, second?);
    ensure!(fs::read(&first)? == fs::read(&second)?, "built twice, it is not the same");
    let opened = work.path().join("opened");
    let control = work.path().join("control");
    for (how, to) in [("-x", &opened), ("-e", &control)] {
        process::output(Command::new("dpkg-deb").arg(how).arg(&first).arg(to))?;
    }
    content(&opened, &control)?;
    let headers = match Setup::ready()?.headers() {
        Ok(headers) => headers,
        Err(error) => return skip(format!("headers of the lab's kernel ({error:#})")),
    };
    let wanted = headers.compiler()?;
    if process::find(&wanted).is_none() {
        return skip(format!("{wanted}, with which Linux {} was built", headers.release));
    }
    let (module, how) = module(&opened.join("usr/src"), &headers, work.path())?;
    let said = process::output(Command::new("strings").arg(&module)).context("no program strings")?;
    let line = format!("version={}", version());
    ensure!(said.lines().any(|said| said == line), "{} is not of {line}", module.display());
    Ok(Verdict::Passed(format!("the module for Linux {} is built from it by {how}", headers.release)))
}

fn content(opened: &Path, control: &Path) -> Result<()> {
    let sources = SOURCES.map(|name| (format!("{}/{name}", tree::source()), 0o644));
    let files = FILES.map(|(name, mode)| (name.to_owned(), mode));
    for (name, mode) in files.iter().chain(&sources) {
        has(opened, name, *mode)?;
    }
    for (name, mode) in CONTROL {
        has(control, name, mode)?;
    }
    for name in ["postinst", "prerm", "postrm"] {
        let script = control.join(name);
        process::output(Command::new("sh").arg("-n").arg(&script))?;
        ensure!(!fs::read_to_string(&script)?.contains('@'), "{name} has a word that was not replaced");
    }
    process::output(Command::new("sh").arg("-n").arg(opened.join("usr/share/initramfs-tools/hooks/pvir")))?;
    // all of the Kbuild's, and no more than that
    let folder = opened.join(tree::source());
    let names: BTreeSet<String> = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    ensure!(!names.contains("test") && !names.contains("packaging"), "it has {names:?}");
    process::output(
        Command::new("md5sum").args(["--check", "--quiet"]).arg(control.join("md5sums")).current_dir(opened),
    )
    .map(drop)
}

fn has(folder: &Path, name: &str, mode: u32) -> Result<()> {
    let path = folder.join(name);
    let metadata = path.metadata().with_context(|| format!("the package has no {name}"))?;
    let is = metadata.permissions().mode() & 0o777;
    ensure!(is == mode, "{name} has the mode {is:o} in place of {mode:o}");
    Ok(())
}

/// The module, and what has built it: `dkms` of this machine or of Debian's package, or by the very line that is for it,
/// where that does not start.
fn module(sources: &Path, headers: &Headers, work: &Path) -> Result<(PathBuf, String)> {
    let name = format!("pvir/{}", version());
    let log = work.join("build.log");
    let dkms = match process::find("dkms") {
        Some(found) => Ok(found),
        None => unpacked("dkms").map(|folder| folder.join("usr/sbin/dkms")),
    };
    if let (Ok(dkms), Some(bash)) = (&dkms, process::find("bash")) {
        let made = work.join("dkms");
        fs::create_dir_all(&made)?;
        let mut command = Command::new(bash);
        command.arg(dkms).arg("build").arg("--dkmstree").arg(&made).arg("--sourcetree").arg(sources);
        command
            .arg("--kernelsourcedir")
            .arg(headers.tree())
            .args(["-k", &format!("{}/x86_64", headers.release)]);
        command.args(["-m", &name]).env_remove("MAKEFLAGS").env_remove("MFLAGS").env("LC_ALL", "C");
        process::run_logged(&mut command, &log)?;
        let module = made.join(format!("{name}/{}/x86_64/module/pvir.ko", headers.release));
        ensure!(module.is_file(), "dkms has built no {}: {}", module.display(), fs::read_to_string(&log)?);
        return Ok((module, "dkms".into()));
    }
    let folder = sources.join(format!("pvir-{}", version()));
    let line = "kernel_source_dir=$1; . ./dkms.conf; eval \"${MAKE[0]}\"";
    let mut command = Command::new("bash");
    command.current_dir(&folder).args(["-c", line, "bash"]).arg(headers.tree());
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS");
    process::run_logged(&mut command, &log)?;
    Ok((folder.join("pvir.ko"), "the line of dkms.conf; there is no dkms".into()))
}
