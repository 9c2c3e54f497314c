//! The test kernel of pvir: a PVH guest that exercises paravirtual interrupt remapping from the inside.
//!
//! Built with `--cfg bare_metal` it is the kernel; without, an empty host program, so that `cargo build`,
//! `cargo test` and `cargo clippy --workspace` work everywhere. The flow: [`machine::boot`] enters 64-bit mode and reads
//! what the VMM says, [`machine::cpu`] and [`machine::memory`] make a machine of it, [`words`] does what the command line
//! asks for, [`machine::exit`] ends the VM with a code.
//!
//! Two products are among the words: [`conformance`], the suite that judges any host of the contract, and [`bench`], the
//! guest's side of the benchmark. All others are [`tests`] of pvir itself.

#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod bench;
#[cfg(bare_metal)]
mod conformance;
#[cfg(bare_metal)]
mod harness;
#[cfg(bare_metal)]
mod machine;
#[cfg(bare_metal)]
mod raw;
#[cfg(bare_metal)]
mod remapping;
#[cfg(bare_metal)]
mod tests;
#[cfg(bare_metal)]
mod words;

#[cfg(bare_metal)]
use machine::{boot, console, cpu, exit, memory};

/// Called by [`boot`] on the boot processor, on its first stack, with interrupts off.
#[cfg(bare_metal)]
fn main(start_info: u64) -> ! {
    let boot = match boot::start_info::read(start_info) {
        Ok(boot) => boot,
        Err(error) => exit::refuse(&error),
    };
    console::init(boot.command_line);
    log::info!("pvir test kernel, command line: {}", boot.command_line.text());
    memory::init(&boot);
    if let Err(error) = cpu::start_all(&boot) {
        exit::refuse(&error);
    }
    let verdict = words::run(&boot);
    exit::exit(verdict)
}

#[cfg(not(bare_metal))]
fn main() {}
