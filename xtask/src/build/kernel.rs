//! Builds the test kernel, a bare-metal ELF.
//!
//! `x86_64-unknown-none` is the better target: its functions use general registers alone. But not every toolchain has its
//! core library (Debian's has not), and the prebuilt core of `x86_64-unknown-linux-gnu` serves as well. The ABI of that
//! target has the XMM registers, and is left as it is: to take `sse2` away from it is to break its ABI, which rustc is
//! about to forbid (Rust issue 116344). The kernel switches SSE on at its start, and its stubs keep the registers of what
//! they interrupt (`cpu/stubs.s`).
//!
//! An inner cargo with its own target directory keeps the flags from everything else in the workspace. Why each:
//!
//! - `--cfg=bare_metal`: without it the package is an empty host program.
//! - `relocation-model=static`, `-static`, `-no-pie`: the kernel runs where it was linked, and nobody relocates it.
//! - `force-frame-pointers`: a debugger needs no unwind tables, which the linker script drops.
//! - `linker`, `linker-flavor`, `-fuse-ld=bfd`: the same linker everywhere, see [`rustflags`].
//! - `-nostartfiles`, `-nostdlib`: nothing of what a host program starts with.
//! - `--build-id=none`: its note would stand beside the only one that a loader looks for.
//! - `max-page-size=4096`: segments lie close together.
//! - `metadata`: a change of the linker script makes a rebuild.
//! - `lto=fat`, `codegen-units=1`: what of the prebuilt core nobody uses goes.
//! - `panic=abort`: nothing unwinds; the linker script drops the tables for it.
//! - `strip=none`: the symbols are for debuggers.
//! - `llvm-args`, for the host's target alone: see [`GENERAL_REGISTERS`].

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::build::workspace;

/// Says where the kernel is instead of building it.
const PREBUILT: &str = "PVIR_KERNEL";
const PACKAGE: &str = "pvir-test-kernel";
/// The kernel of `docs/your-kernel.md`, an example of the same package.
const HOBBY_KERNEL: &str = "hobby-kernel";
pub(crate) const BARE_TARGET: &str = "x86_64-unknown-none";
const HOST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Keeps LLVM from using vector registers where the source has no vectors: to copy, to clear, in loops.
///
/// The ABI does not change by it, and the kernel is right without it. It is for hypervisors that interpret the guest's
/// ring 0, such as `kvm_pvm`: KVM's interpreter knows moves of vector registers, but no arithmetic with them. What the
/// prebuilt core has of that stands in its formatting alone, which the kernel does in ring 3
/// (`usermode::with_all_instructions`). Options of LLVM are not promised to stay: where this one is unknown, it is left
/// out.
const GENERAL_REGISTERS: &str = "llvm-args=-force-attribute=noimplicitfloat";

/// Every target that the kernel can be built for, the better one first.
pub(crate) const TARGETS: [&str; 2] = [BARE_TARGET, HOST_TARGET];

/// Build the test kernel and print the path of its ELF file.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Build for this target [default: x86_64-unknown-none, or the host's where its core library is not installed]
    #[arg(long, value_name = "TRIPLE", value_parser = [BARE_TARGET, HOST_TARGET])]
    target: Option<String>,
    /// Build the kernel of docs/your-kernel.md in its place
    #[arg(long, conflicts_with = "target")]
    hobby: bool,
    #[arg(skip)]
    warnings: Warnings,
}

/// What becomes of the compiler's warnings.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Warnings {
    /// They are shown. A newer compiler may have new ones, for which nobody's build shall fail.
    #[default]
    Shown,
    /// They are shown, and the build has failed.
    Refused,
}

impl Options {
    /// Builds for this target, and fails if that prints a warning.
    pub(crate) fn for_target(target: &str) -> Self {
        Self { target: Some(target.to_owned()), hobby: false, warnings: Warnings::Refused }
    }
}

/// Builds the kernel and returns the path of its ELF file.
pub(crate) fn build(options: &Options) -> Result<PathBuf> {
    if options.hobby {
        return build_hobby_kernel();
    }
    // a target that is asked for by name is one to build
    if let Some(path) = env::var_os(PREBUILT).filter(|_| options.target.is_none()) {
        let path = PathBuf::from(path);
        return path.canonicalize().with_context(|| format!("${PREBUILT} names {}", path.display()));
    }
    let target = match &options.target {
        Some(target) => target,
        None => usual_target()?,
    };
    let target_dir = workspace::target_dir("kernel");
    let mut cargo = cargo("build", target)?;
    match options.warnings {
        Warnings::Shown => workspace::run_build(&mut cargo, "the test kernel")?,
        Warnings::Refused => run_without_warning(&mut cargo)?,
    }
    let elf = target_dir.join(target).join("release").join(PACKAGE);
    elf.canonicalize().with_context(|| format!("the build left no kernel at {}", elf.display()))
}

/// Builds the kernel of `docs/your-kernel.md` and returns the path of its ELF file.
pub(crate) fn build_hobby_kernel() -> Result<PathBuf> {
    let target = usual_target()?;
    workspace::run_build(cargo("build", target)?.args(["--example", HOBBY_KERNEL]), "the hobby kernel")?;
    let elf = workspace::target_dir("kernel").join(target).join("release/examples").join(HOBBY_KERNEL);
    elf.canonicalize().with_context(|| format!("the build left no kernel at {}", elf.display()))
}

fn usual_target() -> Result<&'static str> {
    Ok(if has_core(BARE_TARGET)? { BARE_TARGET } else { HOST_TARGET })
}

/// Lints the kernel as it is built for `target`: the workspace's own run of clippy sees an empty program.
pub(crate) fn lint(target: &str) -> Result<()> {
    let mut cargo = cargo("clippy", target)?;
    cargo.args(["--bins", "--examples"]);
    workspace::run_build(cargo.args(["--", "--deny", "warnings"]), "the kernels under clippy")
}

/// Runs a build, and fails too if it has printed anything: a quiet cargo prints only warnings and errors. Those of an
/// earlier build of the same crates are printed again.
fn run_without_warning(cargo: &mut Command) -> Result<()> {
    let output =
        cargo.stderr(Stdio::piped()).output().context("cannot start cargo to build the test kernel")?;
    let text = String::from_utf8_lossy(&output.stderr);
    eprint!("{text}");
    if !output.status.success() {
        bail!("building the test kernel failed ({}); the compiler's messages are above", output.status);
    }
    ensure!(text.trim().is_empty(), "building the test kernel has printed a warning; it is above");
    Ok(())
}

/// An inner cargo for the kernel.
fn cargo(subcommand: &str, target: &str) -> Result<Command> {
    let script = workspace::root().join("test-kernel").join("link.ld");
    let mut cargo = workspace::cargo();
    cargo.args([
        subcommand,
        "--quiet",
        "--release",
        "--package",
        PACKAGE,
        "--target",
        target,
        "--target-dir",
    ]);
    cargo.arg(workspace::target_dir("kernel"));
    for (key, value) in [("LTO", "fat"), ("PANIC", "abort"), ("CODEGEN_UNITS", "1"), ("STRIP", "none")] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    let flags = rustflags(target, &script)?;
    workspace::set_rustflags(&mut cargo, flags.iter().map(String::as_str));
    Ok(cargo)
}

/// The compiler's and linker's flags for `target`.
///
/// The linker is the C compiler's own: `rust-lld` is not part of every toolchain, and where it is the default GNU ld is
/// asked for by name, so that the same linker script is read by the same program everywhere.
fn rustflags(target: &str, script: &Path) -> Result<Vec<String>> {
    let script_text = script.to_str().with_context(|| format!("{} is not UTF-8", script.display()))?;
    let mut flags: Vec<String> = vec!["--cfg=bare_metal".into()];
    let mut codegen = |option: &str| flags.push(format!("-C{option}"));
    codegen("relocation-model=static");
    codegen("force-frame-pointers=yes");
    codegen(&format!("linker={}", env::var("CC").unwrap_or_else(|_| "cc".into())));
    codegen("linker-flavor=gcc");
    if target == HOST_TARGET && is_understood(GENERAL_REGISTERS)? {
        codegen(GENERAL_REGISTERS);
    }
    for argument in
        ["-nostartfiles", "-nostdlib", "-static", "-no-pie", "-fuse-ld=bfd", "-Wl,--build-id=none"]
    {
        codegen(&format!("link-arg={argument}"));
    }
    codegen(&format!("link-arg=-Wl,-z,max-page-size=4096,-T,{script_text}"));
    // cargo does not see the linker script: its content in the crates' metadata makes a change of it a rebuild
    codegen(&format!("metadata={:016x}", content_hash(script)?));
    Ok(flags)
}

/// Whether the compiler takes this code generation option: with an unknown option of LLVM it does nothing but fail.
fn is_understood(option: &str) -> Result<bool> {
    let output = Command::new(workspace::tool("RUSTC", "rustc"))
        .args(["-C", option, "--print", "cfg"])
        .current_dir(workspace::root())
        .output()
        .context("cannot start rustc to ask for its options")?;
    Ok(output.status.success())
}

fn content_hash(path: &Path) -> Result<u64> {
    let text = fs::read(path).with_context(|| format!("cannot read the linker script {}", path.display()))?;
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    Ok(hasher.finish())
}

/// Whether the toolchain has the core library of `target` installed.
pub(crate) fn has_core(target: &str) -> Result<bool> {
    let output = Command::new(workspace::tool("RUSTC", "rustc"))
        .args(["--print", "sysroot"])
        .current_dir(workspace::root())
        .output()
        .context("cannot start rustc to ask for its sysroot")?;
    if !output.status.success() {
        bail!("rustc --print sysroot failed ({})", output.status);
    }
    let sysroot = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    let Ok(libraries) = fs::read_dir(sysroot.join("lib/rustlib").join(target).join("lib")) else {
        return Ok(false);
    };
    Ok(libraries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")))
}
