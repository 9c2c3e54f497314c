//! The test kernel of pvir: a PVH guest that exercises paravirtual interrupt remapping from the inside.
//!
//! Built with `--cfg bare_metal` it is the kernel; without, an empty host program, so that `cargo build`,
//! `cargo test` and `cargo clippy --workspace` work everywhere. The flow: [`boot`] enters 64-bit mode and reads
//! what the VMM says, [`cpu`] and [`memory`] make a machine of it, [`scenarios`] does what the command line asks
//! for, [`exit`] ends the VM with a code.

#![cfg_attr(bare_metal, no_std, no_main)]

#[cfg(bare_metal)]
mod boot;
#[cfg(bare_metal)]
mod conformance;
#[cfg(bare_metal)]
mod console;
#[cfg(bare_metal)]
mod cpu;
#[cfg(bare_metal)]
mod devices;
#[cfg(bare_metal)]
mod exit;
#[cfg(bare_metal)]
mod memory;
#[cfg(bare_metal)]
mod panic;
#[cfg(bare_metal)]
mod pci;
#[cfg(bare_metal)]
mod raw;
#[cfg(bare_metal)]
mod remapping;
#[cfg(bare_metal)]
mod scenarios;

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
    let verdict = scenarios::run(&boot);
    exit::exit(verdict)
}

#[cfg(not(bare_metal))]
fn main() {}
