//! Builds the programs that run in L1: `pvir` and the lab's own, linked statically since L1 has no libraries.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::build::{kernel, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const LAB_PROGRAMS: [&str; 3] = ["lab-init", "lab-witness", "lab-driver"];

/// What a lab takes along.
pub(crate) struct Programs {
    /// The first program of L1.
    pub(crate) init: PathBuf,
    /// What goes to `PATH`.
    pub(crate) on_path: Vec<PathBuf>,
    /// The test kernel.
    pub(crate) kernel: PathBuf,
}

impl Programs {
    /// Builds everything; cheap when nothing changed.
    pub(crate) fn build() -> Result<Self> {
        // two target folders, so the two builds do not wait for each other
        let (kernel, programs) = std::thread::scope(|scope| {
            let kernel = scope.spawn(|| kernel::build(&kernel::Options::default()));
            let programs = static_programs();
            (kernel.join(), programs)
        });
        let kernel = kernel.map_err(|_| anyhow::anyhow!("the build of the kernel panicked"))??;
        let folder = programs?;
        let [init, witness, driver] = LAB_PROGRAMS.map(|name| folder.join(name));
        Ok(Self { init, on_path: vec![folder.join("pvir"), witness, driver], kernel })
    }
}

/// Builds the static programs and returns the folder that holds them.
fn static_programs() -> Result<PathBuf> {
    let target_dir = workspace::target_dir("static");
    let mut pvir = cargo_build(&target_dir);
    pvir.args(["--package", "pvir", "--bin", "pvir"]);
    workspace::run_build(&mut pvir, "pvir")?;

    let mut lab = cargo_build(&target_dir);
    // without the features of the program that runs now, and so without most of its dependencies
    lab.args(["--package", "xtask", "--no-default-features"]);
    for name in LAB_PROGRAMS {
        lab.args(["--bin", name]);
    }
    workspace::run_build(&mut lab, "the lab's programs")?;
    Ok(target_dir.join(TARGET).join("release"))
}

fn cargo_build(target_dir: &Path) -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--quiet", "--release", "--target", TARGET, "--target-dir"]).arg(target_dir);
    // every megabyte is unpacked by an emulator, at each boot
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    workspace::set_rustflags(&mut cargo, ["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
    cargo
}
