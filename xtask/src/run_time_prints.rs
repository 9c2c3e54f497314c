//! No `println!` or `eprintln!` in what runs beside a guest: they panic when the stream is gone, and wait for its reader.
//! Clippy refuses them where a crate says so, and this sees to it that each says so.

use std::fs;

use crate::build::workspace;

#[test]
fn crates_that_run_beside_a_guest_refuse_to_print() {
    for root in ["host/src/lib.rs", "host/test-device/src/lib.rs", "host/vmm/src/lib.rs"] {
        let source = fs::read_to_string(workspace::root().join(root)).unwrap();
        let refusal = "#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]";
        assert!(source.contains(refusal), "{root} does not refuse to print");
        assert!(!source.contains("allow(clippy::print_"), "{root}");
    }
}
