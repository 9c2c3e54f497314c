//! What a guest can hand to the host, as functions of bytes: a [`Target`] takes any input, and answers with what is wrong.
//!
//! A panic is wrong too. The inputs in `corpus/` are tried by the tests, on stable Rust; [`run`](runner::run) goes on from
//! them at random.

#![forbid(unsafe_code)]

mod accesses;
mod calls;
mod input;
mod machine;
pub mod runner;

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
pub const TARGETS: [Target; 2] = [
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
];

#[cfg(test)]
mod tests;
