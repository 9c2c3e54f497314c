//! Takes a program along with its libraries to a machine that has none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::copy;
use crate::process;

/// What the machine there starts; it stands beside the program.
const RUN: &str = "run";

/// What a program is linked with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Linked {
    /// Starts it; a static program has none.
    loader: Option<PathBuf>,
    /// The loader too.
    libraries: Vec<PathBuf>,
}

/// Copies a program and its libraries to `folder`, where `run` starts it.
pub(super) fn take(command: &Command, folder: &Path) -> Result<()> {
    let lib = folder.join("lib");
    fs::create_dir_all(&lib)?;
    let program = Path::new(command.get_program());
    copy(program, &folder.join("program"))?;
    let linked = linked(command)?;
    for library in &linked.libraries {
        copy(library, &lib.join(name(library)?))?;
    }
    let script = script(linked.loader.as_deref())?;
    let run = folder.join(RUN);
    fs::write(&run, script)?;
    fs::set_permissions(&run, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The program's own loader finds the libraries that came along, wherever the folder is.
fn script(loader: Option<&Path>) -> Result<String> {
    let start = match loader {
        Some(loader) => {
            let name = name(loader)?;
            format!("\"$here/lib/{name}\" --library-path \"$here/lib\" \"$here/program\"")
        }
        None => "\"$here/program\"".to_owned(),
    };
    Ok(format!("#!/bin/sh\nhere=${{0%/*}}\nexec {start} \"$@\"\n"))
}

fn name(path: &Path) -> Result<&str> {
    path.file_name().and_then(|name| name.to_str()).with_context(|| format!("no name: {}", path.display()))
}

fn linked(command: &Command) -> Result<Linked> {
    let mut ldd = Command::new("ldd");
    ldd.arg(command.get_program());
    ldd.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("LC_ALL", "C");
    match process::output(&mut ldd) {
        Ok(listed) => read(&listed),
        // so says ldd of static programs, those that are not position-independent
        Err(error) if error.to_string().contains("not a dynamic executable") => Ok(Linked::default()),
        Err(error) => Err(error),
    }
}

/// Reads what ldd lists.
fn read(listed: &str) -> Result<Linked> {
    let mut linked = Linked::default();
    for line in listed.lines() {
        ensure!(!line.contains("not found"), "a library is missing: {}", line.trim());
        let mut words = line.split_whitespace();
        let is_loader = line.trim_start().starts_with('/');
        let Some(path) = words.rfind(|word| word.starts_with('/')).map(PathBuf::from) else { continue };
        if is_loader {
            linked.loader = Some(path.clone());
        }
        linked.libraries.push(path);
    }
    ensure!(linked.loader.is_some() || linked.libraries.is_empty(), "ldd names no loader: {listed}");
    Ok(linked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_loader_are_read_from_what_ldd_lists() {
        let linked = read(concat!(
            "\tlinux-vdso.so.1 (0x00007ffd)\n",
            "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n",
            "\t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n",
        ));
        let paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        let loader = Some(paths[1].clone());
        assert_eq!(linked.unwrap(), Linked { loader, libraries: paths.to_vec() });
        assert_eq!(read("\tstatically linked\n").unwrap(), Linked::default());
        assert!(read("\tlibfdt.so.1 => not found\n\t/lib64/ld.so (0x1)\n").is_err());
    }

    #[test]
    fn a_program_is_taken_along_with_its_loader() {
        let folder = tempfile::tempdir().unwrap();
        take(&Command::new("/bin/echo"), folder.path()).unwrap();
        let script = fs::read_to_string(folder.path().join(RUN)).unwrap();
        let loader = script.split('"').find_map(|word| word.strip_prefix("$here/lib/")).unwrap();
        assert!(folder.path().join("lib").join(loader).is_file(), "{script}");
        assert!(folder.path().join("program").is_file());
    }

    #[test]
    fn a_static_program_is_started_without_a_loader() {
        assert!(script(None).unwrap().ends_with("exec \"$here/program\" \"$@\"\n"));
    }
}
