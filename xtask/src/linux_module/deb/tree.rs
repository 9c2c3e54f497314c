//! What the package has, file by file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{PACKAGE, version};
use crate::build::workspace;
use crate::linux_module::build::is_source;
use crate::process;

const MODULE: &str = "guest/linux";
const HEADERS: &str = "shared-abi/include";
const PACKAGING: &str = "guest/linux/packaging";
/// Files of the machine that is installed on: each by its name in the source, its place, and its mode.
const LOADING: [(&str, &str, u32); 3] = [
    ("60-pvir.rules", "usr/lib/udev/rules.d/60-pvir.rules", 0o644),
    ("initramfs-hook", "usr/share/initramfs-tools/hooks/pvir", 0o755),
    ("modules-load.conf", "usr/lib/modules-load.d/pvir.conf", 0o644),
];
const SCRIPTS: [&str; 3] = ["postinst", "prerm", "postrm"];

/// Where DKMS looks for the source.
pub(super) fn source() -> String {
    format!("usr/src/pvir-{}", version())
}

/// Fills an empty folder, with the moment of the build in the changelog.
pub(super) fn lay_out(tree: &Path, epoch: u64) -> Result<()> {
    let root = workspace::root();
    for file in sources()? {
        let name = file.strip_prefix(root.join(HEADERS)).map(|name| Path::new("include").join(name));
        let name = name.or_else(|_| file.strip_prefix(root.join(MODULE)).map(Path::to_path_buf))?;
        put(&tree.join(source()).join(name), &fs::read(&file)?, 0o644)?;
    }
    let packaging = |name: &str| {
        let path = root.join(PACKAGING).join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    for (name, place, mode) in LOADING {
        put(&tree.join(place), packaging(name)?.as_bytes(), mode)?;
    }
    let docs = tree.join("usr/share/doc").join(PACKAGE);
    let licence =
        packaging("copyright")?.replace("@MIT@", &indented(&fs::read_to_string(root.join("LICENSE-MIT"))?));
    put(&docs.join("copyright"), licence.as_bytes(), 0o644)?;
    put(&docs.join("README.md"), &fs::read(root.join(MODULE).join("README.md"))?, 0o644)?;
    changelog(&docs.join("changelog"), epoch)?;
    folders(tree)?;

    let control = tree.join("DEBIAN");
    let size = size(tree)?.div_ceil(1024).to_string();
    let fields = packaging("control")?.replace("@SIZE@", &size).replace("@VERSION@", version());
    put(&control.join("md5sums"), sums(tree)?.as_bytes(), 0o644)?;
    put(&control.join("control"), fields.as_bytes(), 0o644)?;
    for name in SCRIPTS {
        put(&control.join(name), packaging(name)?.replace("@VERSION@", version()).as_bytes(), 0o755)?;
    }
    folders(tree)
}

/// What is built of, without the modules of the tests.
fn sources() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in [MODULE, HEADERS] {
        let folder = workspace::root().join(folder);
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let is_wanted = is_source(&path) || path.ends_with("dkms.conf") || path.ends_with("README.md");
            files.extend((path.is_file() && is_wanted).then_some(path));
        }
    }
    files.sort();
    Ok(files)
}

/// As Debian has it (deb-changelog(5)), for a package whose changes stand in the project's own.
fn changelog(path: &Path, epoch: u64) -> Result<()> {
    let date = process::output(Command::new("date").args(["-u", "-R", "-d"]).arg(format!("@{epoch}")))?;
    let text = format!(
        "{PACKAGE} ({}) unstable; urgency=medium\n\n  * This version; what has changed is in the project's CHANGELOG.md.\n\n \
         -- The pvir founders <pvir@localhost>  {date}",
        version()
    );
    put(path, text.as_bytes(), 0o644)?;
    // without its name and time
    process::output(Command::new("gzip").args(["-9", "-n"]).arg(path)).map(drop)
}

/// Lines of a field in a control file (deb-src-control(5)): each begins with a blank, an empty one is a dot.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.trim().is_empty() { " .".to_owned() } else { format!(" {line}") };
    text.trim().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// The checksums by which `dpkg --verify` finds what was changed.
fn sums(tree: &Path) -> Result<String> {
    let files = files(tree)?;
    let names = files.iter().map(|file| file.strip_prefix(tree)).collect::<Result<Vec<_>, _>>()?;
    process::output(Command::new("md5sum").current_dir(tree).args(names))
}

fn size(tree: &Path) -> Result<u64> {
    files(tree)?.iter().map(|file| Ok(file.metadata()?.len())).sum()
}

/// All files below a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    found.sort();
    Ok(found)
}

/// Folders have the mode that they have everywhere, whatever this user's is.
fn folders(folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            folders(&path)?;
        }
    }
    Ok(())
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_a_field() {
        assert_eq!(indented("one\n\ntwo\n"), " one\n .\n two");
    }

    #[test]
    fn the_version_is_the_same_everywhere() {
        let root = workspace::root().join(MODULE);
        for (file, line) in [
            ("dkms.conf", format!("PACKAGE_VERSION=\"{}\"", version())),
            ("main.c", format!("MODULE_VERSION(\"{}\");", version())),
        ] {
            assert!(fs::read_to_string(root.join(file)).unwrap().contains(&line), "{file}: {line}");
        }
    }
}
