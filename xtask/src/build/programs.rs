//! Builds the programs that run in L1 (`pvir` and the lab's own, linked statically since L1 has no libraries), and those
//! whose work is counted.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::build::{kernel, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const LAB_PROGRAMS: [&str; 3] = ["lab-init", "lab-witness", "lab-driver"];
/// What was built since this program started: the source is looked at once.
static BUILT: Mutex<Option<Programs>> = Mutex::new(None);

/// What a lab takes along.
#[derive(Clone)]
pub(crate) struct Programs {
    /// The first program of L1.
    pub(crate) init: PathBuf,
    /// What goes to `PATH`.
    pub(crate) on_path: Vec<PathBuf>,
    /// The test kernel.
    pub(crate) kernel: PathBuf,
}

impl Programs {
    /// Builds everything, once in the life of this program: who comes meanwhile waits.
    pub(crate) fn build() -> Result<Self> {
        let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(programs) = &*built {
            return Ok(programs.clone());
        }
        // two target folders, so the two builds do not wait for each other
        let (kernel, programs) = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| kernel::build(&kernel::Options::default()));
            let programs = static_programs();
            (kernel.join(), programs)
        });
        let kernel = kernel.map_err(|_| anyhow::anyhow!("the build of the kernel panicked"))??;
        let folder = programs?;
        let [init, witness, driver] = LAB_PROGRAMS.map(|name| folder.join(name));
        let programs = Self { init, on_path: vec![folder.join("pvir"), witness, driver], kernel };
        Ok(built.insert(programs).clone())
    }

    /// Builds the program of another package, called as its package is, in the same folder and in the same way: it takes
    /// what [`build`](Self::build) has compiled.
    pub(crate) fn build_beside(package: &str) -> Result<PathBuf> {
        let mut cargo = release();
        // beside xtask, as there: what both depend on then has the same features, and is compiled once
        cargo.args(["--package", package, "--package", "xtask", "--no-default-features", "--bin", package]);
        workspace::run_build(&mut cargo, package)?;
        Ok(folder().join(package))
    }
}

/// Builds the static programs and returns the folder that holds them.
fn static_programs() -> Result<PathBuf> {
    let mut cargo = release();
    // without the features of the program that runs now, and so without most of its dependencies
    cargo.args(["--package", "pvir", "--package", "xtask", "--no-default-features", "--bin", "pvir"]);
    for name in LAB_PROGRAMS {
        cargo.args(["--bin", name]);
    }
    workspace::run_build(&mut cargo, "pvir and the lab's programs")?;
    Ok(folder())
}

/// Builds the programs whose instructions are counted, those of the host and of the guest, in this order. They share
/// what was built for `pvir`.
pub(crate) fn work() -> Result<[PathBuf; 2]> {
    let mut cargo = release();
    cargo.args(["--package", "pvir-bench", "--bins"]);
    workspace::run_build(&mut cargo, "the programs whose work is counted")?;
    Ok(["work-host", "work-guest"].map(|name| folder().join(name)))
}

fn target_dir() -> PathBuf {
    workspace::target_dir("static")
}

fn folder() -> PathBuf {
    target_dir().join(TARGET).join("release")
}

/// A cargo that builds as for a release, statically.
fn release() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"]).arg(target_dir());
    // every megabyte is unpacked by an emulator, at each boot
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    workspace::set_rustflags(&mut cargo, ["-Ctarget-feature=+crt-static"]);
    cargo
}
