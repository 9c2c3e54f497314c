//! The part of the test kernel that needs no machine: parsers, the writer of machine-readable lines, and what Linux does.
//!
//! It is compiled into the kernel and, unchanged, into host tests (`cargo test -p pvir-test-kernel`) and into xtask.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod acpi;
pub mod cmdline;
pub mod histogram;
pub mod json;
pub mod linux;
pub mod statements;
