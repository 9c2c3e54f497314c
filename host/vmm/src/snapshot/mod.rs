//! Saving a running machine into a file, and a machine that goes on from there.
//!
//! Everything of the guest's is in the file: RAM, the registers of the vCPUs with their local APICs, the devices of the
//! machine, and the library's part ([`SavedState`](pvir_host::service::SavedState), `SavedFunction`). Nothing of the host's
//! is: no pair, no GSI. A device of the host is reset in the machine that goes on, and the guest told. A machine goes on
//! from it that is started with the same vCPUs and RAM and with devices of the same kind, on a host with the same CPU.
//!
//! The control socket takes the wish and the open file (`desk`); the main thread stops the vCPUs, and then
//! `machine` saves in the order of docs/embedding.md, "Save and restore".

mod command;
mod desk;
mod file;
#[cfg(feature = "fuzz")]
pub(crate) mod fuzz;
mod machine;
mod state;
mod time;

pub(crate) use command::{HELP, Request, SaveArgs, run as run_command};
pub(crate) use desk::SaveDesk;
pub(crate) use machine::{Parts, Snapshot, save};
