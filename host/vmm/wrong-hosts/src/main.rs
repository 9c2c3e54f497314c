//! The VMM `pvir`, made wrong from outside: one part of its machine breaks one statement of the contract, everything
//! else is as ever. The conformance suite must notice (`./run.sh test kvm/wrong-hosts`, `docs/conformance.md`).
//!
//! `pvir-wrong-hosts NAME run ...` is `pvir run ...` on the wrong host NAME ([`list`] has them all), or with `honest` on
//! one whose parts are wrapped in the same way and change nothing.
//!
//! The parts are those that an [`Assembly`](pvir::Assembly) chooses: an interposer before the hypercall service
//! ([`service`]), [`memory`], the interrupt [`router`], each [`device`], and [`cpuid`].

mod cpuid;
mod device;
mod list;
mod memory;
mod parts;
mod router;
mod service;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use list::Wrong;
use parts::Parts;

/// The host on which nothing is wrong.
const HONEST: &str = "honest";
/// As `pvir` answers a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().collect();
    let name = if arguments.len() > 1 { arguments.remove(1) } else { OsString::new() };
    let known = Wrong::ALL.iter().find(|(_, known, _)| name == *known).map(|(wrong, ..)| *wrong);
    if known.is_none() && name != HONEST {
        eprintln!(
            "usage: pvir-wrong-hosts HOST run ...\nHOST is `{HONEST}`, or breaks a statement of docs/abi.md:"
        );
        Wrong::ALL.iter().for_each(|(_, name, statement)| eprintln!("  {name:<22} {statement}"));
        return ExitCode::from(USAGE);
    }
    pvir::run_program(arguments, &Parts::new(known))
}
