//! The program `pvir`: the VMM of the library, assembled of its own parts.

use std::process::ExitCode;

fn main() -> ExitCode {
    pvir::run_program(std::env::args_os(), &pvir::OwnParts)
}
