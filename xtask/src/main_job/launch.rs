//! Runs `pvir` in the chosen place, its output kept in files.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write, stderr};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use patience::Patience;

use super::environment::{Environment, LAB_DEVICES};
use crate::build::Programs;
use crate::lab::{self, Outcome, Streams};

/// Reports where it runs, then becomes `pvir` with the place's devices. The same in every place.
const SCRIPT: &str = r#"
report() { echo "@pvir-where $*"; }
report cpu "$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)"
report kernel "$(uname -r)"
for module in /sys/module/kvm_*; do [ -e "$module" ] && report kvm "${module##*/}"; done
for unit in /sys/class/iommu/*; do [ -e "$unit" ] && report iommu "${unit##*/}"; done
for device in $PVIR_DEVICES; do set -- "$@" --device "vfio=$device"; done
exec pvir "$@"
"#;
const EMULATED: &str = "emulated,vectors=10";
/// What booting and the like may take without a word, in seconds of an idle machine, however few interrupts are asked for.
const BASE_SECONDS: u64 = 60;
/// The slowest of all environments, the lab, does more than that.
const INTERRUPTS_PER_SECOND: u64 = 200;
/// How often a run on this machine is looked at.
const PERIOD: Duration = Duration::from_millis(20);

pub(super) struct Order<'a> {
    pub(super) cpus: u32,
    pub(super) interrupts: u64,
    pub(super) verbose: bool,
    /// Where the logs go.
    pub(super) logs: &'a Path,
}

impl Order<'_> {
    /// What the guest and `pvir` wrote to stdout.
    pub(super) fn guest_log(&self) -> PathBuf {
        self.logs.join("guest.log")
    }

    /// What `pvir` wrote to stderr.
    pub(super) fn pvir_log(&self) -> PathBuf {
        self.logs.join("pvir.log")
    }

    /// How long a run may say nothing: the guest reports its counts when all interrupts have come.
    fn silence(&self) -> Duration {
        Duration::from_secs(BASE_SECONDS + self.interrupts / INTERRUPTS_PER_SECOND)
    }

    fn arguments(&self, place: &Environment) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["sh", "-c", SCRIPT, "pvir", "run"].map(OsString::from).to_vec();
        let append = format!("direct interrupts={}", self.interrupts);
        let cpus = self.cpus.to_string();
        arguments.extend(["--cpus", &cpus, "--json", "-"].map(OsString::from));
        arguments.extend(["--append", &append].map(OsString::from));
        if matches!(place, Environment::Emulated) {
            arguments.extend(["--device", EMULATED].map(OsString::from));
        }
        arguments
    }

    fn tee(&self, path: &Path) -> Result<Tee> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Tee { file, through: self.verbose })
    }
}

/// Runs it and returns how it ended. That it failed is no error.
pub(super) fn run(place: &Environment, programs: &Programs, order: &Order<'_>) -> Result<Outcome> {
    let arguments = order.arguments(place);
    let (stdout, stderr) = (order.tee(&order.guest_log())?, order.tee(&order.pvir_log())?);
    match place {
        Environment::Lab { setup, iommu } => {
            let options = lab::Options {
                iommu: *iommu,
                devices: LAB_DEVICES.map(str::to_owned).to_vec(),
                silence: order.silence(),
                logs: Some(order.logs.to_path_buf()),
                ..lab::Options::default()
            };
            lab::run_with(setup, programs, &options, &arguments, Streams::output_only(stdout, stderr))
        }
        Environment::Machine { devices } => {
            here(order, &arguments, &devices.join(" "), programs, stdout, stderr)
        }
        Environment::Emulated => here(order, &arguments, "", programs, stdout, stderr),
    }
}

fn here(
    order: &Order<'_>,
    arguments: &[OsString],
    devices: &str,
    programs: &Programs,
    mut stdout: Tee,
    mut stderr: Tee,
) -> Result<Outcome> {
    let [shell, rest @ ..] = arguments else { return Ok(Outcome::Ended(0)) };
    let folders = programs.on_path.iter().filter_map(|program| program.parent()).map(Path::to_path_buf);
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(folders.chain(env::split_paths(&inherited)))?;
    let mut child = Command::new(shell)
        .args(rest)
        .env("PATH", path)
        .env("PVIR_DEVICES", devices)
        .env("PVIR_KERNEL", &programs.kernel)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start sh")?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = thread::scope(|scope| {
        scope.spawn(|| stderr.copy(err));
        let kept = scope.spawn(|| stdout.copy(out));
        let status = wait(&mut child, order);
        let kept = kept.join().unwrap_or_else(|_| Err(io::Error::other("the thread that keeps it panicked")));
        kept.context("cannot keep the output of pvir").and(status)
    })?;
    Ok(match (status.signal(), status.code()) {
        (Some(signal), _) => Outcome::Interrupted(signal),
        (None, code) => Outcome::Ended(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)),
    })
}

/// Waits for the end; kills a run that says nothing any more.
fn wait(child: &mut Child, order: &Order<'_>) -> Result<ExitStatus> {
    let said = || order.guest_log().metadata().map_or(0, |file| file.len());
    let (mut patience, mut known) = (Patience::new(order.silence()), 0);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let now = said();
        if now != known {
            known = now;
            patience.progress();
        } else if patience.is_over() {
            child.kill()?;
            child.wait()?;
            bail!("the guest said nothing for {} s", patience.waited().as_secs());
        }
        thread::sleep(PERIOD);
    }
}

/// A log, shown as well if that is wanted. The report has stdout for itself.
struct Tee {
    file: File,
    through: bool,
}

impl Tee {
    fn copy(&mut self, from: Option<impl Read>) -> io::Result<()> {
        from.map_or(Ok(()), |mut from| io::copy(&mut from, self).map(drop))
    }
}

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        if self.through {
            stderr().write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
