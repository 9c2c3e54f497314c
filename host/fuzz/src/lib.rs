//! What each side of pvir reads of what others have written, as functions of bytes: a [`Target`] takes any input, and answers with what is wrong.
//!
//! A panic is wrong too. The inputs in `corpus/` are tried by the tests, on stable Rust; [`run`](runner::run) goes on from
//! them at random.

mod accesses;
mod calls;
mod devices;
mod files;
mod functions;
mod guest;
mod input;
mod machine;
pub mod runner;
mod saved;

use anyhow::Result;

/// Something that is tried with any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// What it tries.
    pub about: &'static str,
    /// Tries it.
    ///
    /// # Errors
    /// What is not as it has to be.
    pub run: fn(&[u8]) -> Result<()>,
}

/// All of them.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "calls",
        about: "request blocks of any content, while devices raise interrupts and the host raises events",
        run: calls::run,
    },
    Target {
        name: "accesses",
        about: "reads and writes of trapped tables, pending bits and capabilities, of any place and width",
        run: accesses::run,
    },
    Target {
        name: "functions",
        about: "configuration space and BARs of functions of any layout, over a VMM that refuses now and then",
        run: functions::run,
    },
    Target {
        name: "device",
        about: "registers, table and capability of the emulated device, while a guest maps its entries",
        run: devices::run,
    },
    Target {
        name: "saved",
        about: "a snapshot's file, the library's saved state and a saved function, changed anywhere",
        run: saved::run,
    },
    Target { name: "elf", about: "the kernel file, of any bytes", run: files::elf },
    Target { name: "bus", about: "addresses of BARs: windows, and what decodes them", run: files::bus },
    Target {
        name: "control",
        about: "clients of the control socket: any bytes in any pieces, with any number of files",
        run: files::control,
    },
    Target {
        name: "guest",
        about: "the guest's crate against a host that answers anything, and whose event area changes",
        run: guest::run,
    },
    Target { name: "discovery", about: "CPUID leaves of any content", run: guest::discovery },
    Target {
        name: "config",
        about: "the guest's crate at a device whose configuration space says anything",
        run: guest::config,
    },
];

#[cfg(test)]
mod tests;
