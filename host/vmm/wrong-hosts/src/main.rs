//! The VMM `pvir`, made wrong from outside: one part of its machine breaks one statement of the contract, everything
//! else is as ever. The conformance suite must notice (`./run.sh test kvm/wrong-hosts`, `docs/conformance.md`).
//!
//! `pvir-wrong-hosts NAME run ...` is `pvir run ...` on the wrong host NAME ([`list`] has them all), or on one whose parts
//! are wrapped in the same way and that keeps the contract ([`variant`]): `honest` changes nothing, and `records-1` and the like
//! are hosts of another build that the suite must not call wrong.
//!
//! The parts are those that an [`Assembly`](pvir::Assembly) chooses: an interposer before the hypercall service
//! ([`service`]), [`memory`], the interrupt [`router`], each [`device`] and its [`registers`], and
//! [`cpuid`].

mod cpuid;
mod device;
mod lines;
mod list;
mod memory;
mod parts;
mod registers;
mod router;
mod service;
mod variant;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use list::Wrong;
use parts::Parts;
use variant::Variant;

/// As `pvir` answers a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut arguments: Vec<_> = env::args_os().collect();
    let name = if arguments.len() > 1 { arguments.remove(1) } else { OsString::new() };
    let Some(variant) = Variant::named(&name) else {
        eprintln!("usage: pvir-wrong-hosts HOST run ...\nHOST keeps docs/abi.md:");
        Variant::RIGHT.iter().for_each(|(_, name)| eprintln!("  {name}"));
        eprintln!("or breaks a statement of it:");
        Wrong::ALL.iter().for_each(|(_, name, statement)| eprintln!("  {name:<22} {statement}"));
        return ExitCode::from(USAGE);
    };
    pvir::run_program(arguments, &Parts::new(variant))
}
